"""Runs durable orchestrations on a laptop: the real SDK and the real orchestrators, with their histories in a table.

It is a stand-in for the Durable Task extension, for development and tests; in Azure the extension does this work.
Activities run at least once: one whose result was not recorded when the process ended runs again in the next.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Protocol, Self
from uuid import uuid4

from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable import wire
from infra.local.durable.instance import Instance, first_events
from infra.local.durable.store import OPEN, PENDING, Head, Mail, Store
from infra.local.durable.wire import Event, ReplayOutcome, event, utc_now
from shared.tables.port import Tables

log = logging.getLogger(__name__)

_ACTIVITIES = 4
"""Activities under way at once, as `maxConcurrentActivityFunctions` of host.json says for an instance in Azure."""
_PATIENCE = 5.0
"""Seconds that instances have to write what they know when the executor closes."""


class UnknownOrchestrator(LookupError):
    """There is no orchestrator function of that name."""


class AlreadyStarted(Exception):
    """There is an instance of that id, and it has not ended."""


class Functions(Protocol):
    """What instances call, by name (infra/local/functions.py reads it from an app)."""

    @property
    def activities(self) -> Mapping[str, Callable[[Any], Awaitable[Any]]]: ...

    @property
    def orchestrators(self) -> Mapping[str, Callable[[str], Awaitable[ReplayOutcome]]]: ...


class Executor:
    """Runs all instances of one task hub."""

    def __init__(self, functions: Functions, tables: Tables) -> None:
        self.store = Store(tables)
        self._functions = functions
        self._instances: dict[str, Instance] = {}
        self._activities: asyncio.Queue[tuple[Instance, Event]] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._serving: set[asyncio.Task[None]] = set()
        # Held while an instance is put in another's place; an instance that runs never waits for it.
        self._starting = asyncio.Lock()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Take up every instance that a former process left open."""
        for _ in range(_ACTIVITIES):
            self._spawn(self._work(), self._serving)
        found = [await self._load(instance_id) for instance_id in await self.store.list_open()]
        for instance in found:
            if instance is not None:
                self._spawn(self._run(instance), self._running)

    async def close(self) -> None:
        """Stop everything and leave the instances as they are in the tables. Running activities are cancelled."""
        for instance in self._instances.values():
            instance.stop()
        for task in self._serving:
            task.cancel()
        if self._running:
            # An instance may be waiting for a storage service that is away.
            _, stuck = await asyncio.wait(self._running, timeout=_PATIENCE)
            for task in stuck:
                task.cancel()
        await asyncio.gather(*self._serving, *self._running, return_exceptions=True)

    async def start_new(self, name: str, instance_id: str | None = None, input_text: str | None = None) -> str:
        """Start an instance and return its id. It replaces one with that id, if that has ended.

        `input_text` is JSON. Raises UnknownOrchestrator, LimitExceeded for an id that the tables cannot keep, and
        AlreadyStarted as Azure does unless `overridableExistingInstanceStates` of host.json says otherwise.
        """
        if name not in self._functions.orchestrators:
            raise UnknownOrchestrator(f"there is no orchestrator function '{name}'")
        instance_id = instance_id or uuid4().hex
        async with self._starting:
            former = await self.find(instance_id)
            if former is not None and former.status in OPEN:
                raise AlreadyStarted(f"An Orchestration instance with the status {former.status} already exists.")
            if (ending := self._instances.get(instance_id)) is not None:
                await ending.gone.wait()
            now = utc_now()
            moment = now.strftime(wire.TIME)
            execution = former.execution + 1 if former else 1
            head = Head(instance_id, name, PENDING, moment, moment, execution)
            instance = Instance(head, first_events(name, input_text, now), (), self)
            await self.store.begin(head, instance.history.texts)
            self._instances[instance_id] = instance
            self._spawn(self._run(instance), self._running)
        return instance_id

    async def find(self, instance_id: str) -> Head | None:
        """Return what is known of an instance, or None."""
        running = self._instances.get(instance_id)
        return running.head if running else await self.store.find(instance_id)

    async def raise_event(self, instance_id: str, name: str, input_text: str) -> Head | None:
        """Keep an event for an instance that is open; JSON. Returns the instance as it was, or None without one."""
        instance = self._instances.get(instance_id)
        if instance is not None and instance.is_open:
            mail = Mail(instance.next_mail(), name, input_text)
            head = instance.head
            await self.store.post(instance_id, mail)
            instance.post(mail)
            return head
        async with self._starting:
            found = await self.store.find(instance_id)
            if found is not None and found.status in OPEN and instance_id not in self._instances:
                # It could not go on in this process: the next one reads the mail.
                _, kept = await self.store.load(found)
                number = max((mail.number for mail in kept), default=0) + 1
                await self.store.post(instance_id, Mail(number, name, input_text))
            return found

    async def terminate(self, instance_id: str, reason: str) -> None:
        """End an instance that is open, as an operator may in Azure. Running activities go on."""
        if (instance := self._instances.get(instance_id)) is not None:
            instance.stop(terminated=reason)
            await instance.gone.wait()

    async def purge(self, instance_id: str) -> bool:
        """Remove an instance that has ended. Returns whether one was removed."""
        async with self._starting:
            head = await self.find(instance_id)
            if head is None or head.status in OPEN:
                return False
            if (ending := self._instances.get(instance_id)) is not None:
                await ending.gone.wait()
            await self.store.purge(instance_id)
            return True

    # What an instance asks for (instance.Executor).

    def orchestrator(self, name: str) -> Callable[[str], Awaitable[ReplayOutcome]] | None:
        """Return the orchestrator function of that name."""
        return self._functions.orchestrators.get(name)

    def run_activity(self, instance: Instance, scheduled: Event) -> None:
        """Queue an activity."""
        self._activities.put_nowait((instance, scheduled))

    async def _load(self, instance_id: str) -> Instance | None:
        head = await self.store.find(instance_id)
        if head is None:
            # Its start was not answered yet when the process ended.
            await self.store.close(instance_id)
            return None
        instance = self._instances[instance_id] = Instance(head, *await self.store.load(head), self)
        return instance

    async def _run(self, instance: Instance) -> None:
        head = instance.head
        try:
            if instance.is_open:
                await instance.run()
            if not instance.is_open:
                await self.store.close(head.instance_id)
        # A fault here is ours, not the orchestrator's: the instance stays in the tables for the next process.
        except Exception:
            log.exception("the instance %s of %s cannot go on in this process", head.instance_id, head.name)
        finally:
            del self._instances[head.instance_id]
            instance.gone.set()

    async def _work(self) -> None:
        """Run activities one after the other, beside others that do the same."""
        while True:
            instance, scheduled = await self._activities.get()
            if instance.wants(scheduled["EventId"]):
                instance.post(await self._result(scheduled))
            # An activity that never really waits would keep requests and the other instances from running.
            await asyncio.sleep(0)

    async def _result(self, scheduled: Event) -> Event:
        name, task = scheduled["Name"], scheduled["EventId"]
        try:
            activity = self._functions.activities.get(name)
            if activity is None:
                raise LookupError("there is no such function")
            result = json.dumps(await activity(json.loads(scheduled["Input"])))
        # An activity is the application's code: each of its errors is a result that the orchestrator may catch.
        except Exception as problem:
            kind = type(problem).__name__
            log.warning("the activity %s failed: %s", name, kind)
            reason = f"Activity function '{name}' failed: {problem}"
            return event(EventType.TASK_FAILED, utc_now(), TaskScheduledId=task, Reason=reason, Details=kind)
        return event(EventType.TASK_COMPLETED, utc_now(), TaskScheduledId=task, Result=result)

    def _spawn(self, work: Coroutine[Any, Any, None], tasks: set[asyncio.Task[None]]) -> None:
        task = asyncio.create_task(work)
        tasks.add(task)

        def note(ended: asyncio.Task[None]) -> None:
            tasks.discard(ended)
            if not ended.cancelled() and (problem := ended.exception()) is not None:
                log.error("the executor lost a task", exc_info=problem)

        task.add_done_callback(note)
