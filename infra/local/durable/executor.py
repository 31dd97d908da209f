"""Runs durable orchestrations on a laptop: the real SDK and the real orchestrators, with their histories in a table.

It stands in for the Durable Task extension, for development and tests; in Azure the extension does this work.
Activities run at least once: one whose result was not recorded when the process ended runs again in the next.
Other than in Azure an instance ends although timers are open, and unread events survive continue_as_new.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Self
from uuid import uuid4

from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable import wire
from infra.local.durable.instance import Instance, Result, Stop, first_events
from infra.local.durable.store import OPEN, PENDING, Head, Mail, Parent, Store
from infra.local.durable.wire import Event, Outcome, event
from infra.local.functions import Functions
from shared.tables.port import LimitExceeded, Tables

log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds that instances have to write what they know when the executor closes."""


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


class UnknownOrchestrator(LookupError):
    """There is no orchestrator function of that name."""


class Executor:
    """Runs all instances of one task hub, and at most `concurrency` activities at a time."""

    def __init__(
        self,
        functions: Functions,
        tables: Tables,
        *,
        concurrency: int = 4,
        now: Callable[[], datetime] = utc_now,
        new_id: Callable[[], str] = lambda: uuid4().hex,
    ) -> None:
        self.store = Store(tables)
        self.now = now
        self._functions = functions
        self._concurrency = concurrency
        self._new_id = new_id
        self._instances: dict[str, Instance] = {}
        self._activities: asyncio.Queue[tuple[Instance, int, Event]] = asyncio.Queue()
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
        for _ in range(self._concurrency):
            self._spawn(self._work())
        found = [await self._load(instance_id) for instance_id in await self.store.list_open()]
        for instance in found:
            if instance is not None:
                self._spawn(self._run(instance), ends_itself=True)

    async def close(self) -> None:
        """Stop everything and leave the instances as they are in the tables. Running activities are cancelled."""
        for instance in self._instances.values():
            instance.post(Stop())
        for task in self._serving:
            task.cancel()
        if self._running:
            # An instance may be waiting for a storage service that is away.
            _, stuck = await asyncio.wait(self._running, timeout=_PATIENCE)
            for task in stuck:
                task.cancel()
        await asyncio.gather(*self._serving, *self._running, return_exceptions=True)

    async def start_new(self, name: str, instance_id: str | None = None, input_text: str | None = None) -> str:
        """Start an instance and return its id. Replaces an instance with that id, as Azure does.

        `input_text` is JSON. Raises UnknownOrchestrator, and LimitExceeded for an id that the tables cannot keep.
        """
        if name not in self._functions.orchestrators:
            raise UnknownOrchestrator(f"there is no orchestrator function '{name}'")
        return await self._start(name, instance_id or self._new_id(), input_text, None)

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

    async def terminate(self, instance_id: str, reason: str) -> Head | None:
        """End an instance that is open. Returns it as it was, or None without one. Running activities go on."""
        head = await self.find(instance_id)
        if (instance := self._instances.get(instance_id)) is not None:
            await self._stop(instance, Stop("Terminated", json.dumps(reason)))
        return head

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

    def orchestrator(self, name: str) -> Callable[[str], Awaitable[Outcome]] | None:
        """Return the orchestrator function of that name."""
        return self._functions.orchestrators.get(name)

    def run_activity(self, instance: Instance, scheduled: Event) -> None:
        """Queue an activity."""
        self._activities.put_nowait((instance, instance.head.execution, scheduled))

    def start_child(self, instance: Instance, created: Event) -> None:
        """Start a sub-orchestration apart, because this instance may be waited for by whoever holds the lock."""
        self._spawn(self._start_child(instance, created))

    async def _start_child(self, instance: Instance, created: Event) -> None:
        parent = Parent(instance.head.instance_id, instance.head.execution, created["EventId"])
        child_id = created["InstanceId"] or f"{parent.instance_id}:{parent.execution}:{parent.task_id}"
        try:
            head = await self.find(child_id)
            if head is None or head.parent != parent:
                await self._start(created["Name"], child_id, created["Input"], parent)
            elif head.status not in OPEN:
                self._tell_parent(head)
        except LimitExceeded as problem:
            self._tell_parent(Head(child_id, created["Name"], "Failed", "", "", 1, parent, json.dumps(str(problem))))

    async def _start(self, name: str, instance_id: str, input_text: str | None, parent: Parent | None) -> str:
        async with self._starting:
            former = await self.find(instance_id)
            if former is not None and former.status in OPEN:
                log.warning("the instance %s of %s is open and is replaced", instance_id, former.name)
            if (running := self._instances.get(instance_id)) is not None:
                await self._stop(running, Stop())
            now = self.now()
            moment = now.strftime(wire.TIME)
            execution = former.execution + 1 if former else 1
            head = Head(instance_id, name, PENDING, moment, moment, execution, parent)
            instance = Instance(head, first_events(name, input_text, now), (), self)
            await self.store.begin(head, instance.history.texts)
            self._instances[instance_id] = instance
            self._spawn(self._run(instance), ends_itself=True)
        return instance_id

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
                self._tell_parent(instance.head)
                await self.store.close(head.instance_id)
        # A fault here is ours, not the orchestrator's: the instance stays in the tables for the next process.
        except Exception:
            log.exception("the instance %s of %s cannot go on in this process", head.instance_id, head.name)
        finally:
            del self._instances[head.instance_id]
            instance.gone.set()

    def _tell_parent(self, head: Head) -> None:
        """Hand a result to the parent. A parent that is not there asks by itself when it is taken up."""
        if head.parent is None or (waiting := self._instances.get(head.parent.instance_id)) is None:
            return
        task, now = head.parent.task_id, self.now()
        if head.status == "Completed":
            done = EventType.SUB_ORCHESTRATION_INSTANCE_COMPLETED
            told = event(done, now, TaskScheduledId=task, Result=head.output)
        else:
            failed = EventType.SUB_ORCHESTRATION_INSTANCE_FAILED
            reason = f"The sub-orchestration '{head.name}' ended: {head.status}"
            told = event(failed, now, TaskScheduledId=task, Reason=reason, Details=head.output)
        waiting.post(Result(head.parent.execution, told))

    async def _stop(self, instance: Instance, stop: Stop) -> None:
        instance.post(stop)
        await instance.gone.wait()

    async def _work(self) -> None:
        """Run activities one after the other, as one of several."""
        while True:
            instance, execution, scheduled = await self._activities.get()
            if instance.wants(execution, scheduled["EventId"]):
                instance.post(Result(execution, await self._result(scheduled)))
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
            log.warning("the activity %s failed: %s", name, type(problem).__name__)
            reason = f"Activity function '{name}' failed: {problem}"
            return event(
                EventType.TASK_FAILED, self.now(), TaskScheduledId=task, Reason=reason, Details=type(problem).__name__
            )
        return event(EventType.TASK_COMPLETED, self.now(), TaskScheduledId=task, Result=result)

    def _spawn(self, work: Coroutine[Any, Any, None], *, ends_itself: bool = False) -> None:
        task = asyncio.create_task(work)
        tasks = self._running if ends_itself else self._serving
        tasks.add(task)

        def note(ended: asyncio.Task[None]) -> None:
            tasks.discard(ended)
            if not ended.cancelled() and (problem := ended.exception()) is not None:
                log.error("the executor lost a task", exc_info=problem)

        task.add_done_callback(note)
