"""One orchestration instance at work: takes results in, has the SDK replay, records what it asks for, sets that off.

Everything is recorded before it is acted on (store.py), so a process may end anywhere and the next one goes on from the
tables. executor.py runs the activities and holds the instances.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable import wire
from infra.local.durable.extension import NotTheSame, Walk, follow
from infra.local.durable.history import History
from infra.local.durable.store import OPEN, RUNNING, Head, Mail, Store
from infra.local.durable.wire import Action, Event, ReplayOutcome, event, utc_now

log = logging.getLogger(__name__)

_PAUSE = 3
"""Times the length of the last replay that an instance gathers results before the next one.

Every replay runs the orchestrator over its whole history. So replaying takes a quarter of a processor at most while
activities have work to do.
"""
_REPLAY_AGAIN = (0.5, 2.0)
"""Seconds between the tries at a replay whose process dies.

After the last the instance has failed: one that stayed open and never went on would keep its job from being started
again.
"""


class Executor(Protocol):
    """What an instance needs of its executor."""

    store: Store

    def orchestrator(self, name: str) -> Callable[[str], Awaitable[ReplayOutcome]] | None:
        """Return the orchestrator function of that name."""

    def run_activity(self, instance: Instance, scheduled: Event) -> None:
        """Run an activity some time and post its result."""


class Instance:
    """Runs one instance from what the tables hold. Messages come in by `post`, in any order and also twice."""

    def __init__(self, head: Head, events: Sequence[Event], mail: Sequence[Mail], executor: Executor) -> None:
        self.head = head
        self.history = History(events)
        self.gone = asyncio.Event()
        """Set by the executor when nothing of this instance runs any more."""
        self._executor = executor
        self._mail = list(mail)
        self._last_mail = max((m.number for m in mail), default=0)
        self._inbox: asyncio.Queue[Event | Mail | None] = asyncio.Queue()
        self._awaited: Counter[str] = Counter()
        self._timers: dict[int, asyncio.TimerHandle] = {}
        self._quiet_until = 0.0
        self._stopping = asyncio.Event()
        self._terminated: str | None = None

    def post(self, message: Event | Mail) -> None:
        """Hand over the event that tells a task's end, or an external event; they are read in turn."""
        self._inbox.put_nowait(message)

    def stop(self, terminated: str | None = None) -> None:
        """Have the instance leave off soon, and stay in the tables as it is, or as terminated for a reason."""
        self._terminated = terminated
        self._stopping.set()
        self._inbox.put_nowait(None)

    def next_mail(self) -> int:
        """Return a number for an external event."""
        self._last_mail += 1
        return self._last_mail

    def wants(self, task_id: int) -> bool:
        """Tell whether the result of a task still matters."""
        return self.is_open and task_id in self.history.open

    @property
    def is_open(self) -> bool:
        """Whether the instance has not ended."""
        return self.head.status in OPEN

    async def run(self) -> None:
        """Work until the instance ends or is stopped."""
        try:
            left = list(self.history.open.values())
            await self._advance()
            for one in left:
                if self.wants(one["EventId"]):
                    self._set_off(one)
            while self.is_open and not self._stopping.is_set():
                await self._receive(await self._messages())
                if self.history.fresh and self._pause() == 0 and self.is_open:
                    await self._advance()
            if self.is_open and self._terminated is not None:
                await self._close("Terminated", json.dumps(self._terminated), self.head.custom_status)
        finally:
            for timer in self._timers.values():
                timer.cancel()

    def _pause(self) -> float | None:
        """Return how many seconds to gather messages before the next replay; None without anything to replay."""
        if not self.history.fresh:
            return None
        return max(0.0, self._quiet_until - time.monotonic()) if self.history.working else 0.0

    async def _messages(self) -> list[Event | Mail | None]:
        """Return what came in; nothing if the time to replay comes first."""
        messages: list[Event | Mail | None] = []
        pause = self._pause()
        if self._inbox.empty() and pause != 0:
            try:
                messages.append(await asyncio.wait_for(self._inbox.get(), pause))
            except TimeoutError:
                return []
        while not self._inbox.empty():
            messages.append(self._inbox.get_nowait())
        return messages

    async def _receive(self, messages: Sequence[Event | Mail | None]) -> None:
        results: list[Event] = []
        for message in messages:
            if isinstance(message, Mail):
                self._mail.append(message)
            elif message is not None:
                results.extend(self._added(self.history.close(message, utc_now())))
        await self._record(results)
        await self._read_mail()

    def _added(self, events: Sequence[Event]) -> Sequence[Event]:
        for one in events:
            self.history.add(one)
        return events

    async def _record(self, events: Sequence[Event], head: Head | None = None, read: Mail | None = None) -> None:
        """Write the last events of the history, then do what they ask for."""
        if not self.is_open or not (events or head):
            return
        texts = self.history.texts
        index = len(texts) - len(events)
        await self._executor.store.append(self.head, index, texts[index:], changed=head, read=read)
        self.head = head or self.head
        for one in events:
            self._set_off(one)

    def _set_off(self, one: Event) -> None:
        match one["EventType"]:
            case EventType.TASK_SCHEDULED:
                self._executor.run_activity(self, one)
            case EventType.TIMER_CREATED:
                self._set_timer(one)

    def _set_timer(self, one: Event) -> None:
        task_id, fire_at = one["EventId"], one["FireAt"]
        delay = (datetime.strptime(fire_at, wire.TIME).replace(tzinfo=UTC) - utc_now()).total_seconds()

        def fire() -> None:
            self.post(event(EventType.TIMER_FIRED, utc_now(), TimerId=task_id, FireAt=fire_at))

        self._timers[task_id] = asyncio.get_running_loop().call_later(max(0.0, delay), fire)

    async def _read_mail(self) -> None:
        """Give the orchestrator the external events that it waits for, oldest first; others stay in the mail."""
        for mail in list(self._mail):
            if self.is_open and self._awaited[mail.name] > self.history.raised[mail.name]:
                now = utc_now()
                raised = event(EventType.EVENT_RAISED, now, Name=mail.name, Input=mail.input)
                self._mail.remove(mail)
                await self._record(self._added([*self.history.begin_episode(now), raised]), read=mail)

    async def _advance(self) -> None:
        """Replay once and record what the orchestrator asked for."""
        started = time.monotonic()
        outcome = await self._replay_patiently()
        if outcome is None:
            return
        self._quiet_until = time.monotonic() + _PAUSE * (time.monotonic() - started)
        try:
            walk = follow(self.history.events, outcome.actions)
        except NotTheSame as problem:
            # One that raised before it had asked for anything asked for nothing of what its history holds.
            outcome = replace(outcome, error=outcome.error or str(problem))
            await self._end(outcome)
        else:
            await self._go_on(outcome, walk)

    async def _replay_patiently(self) -> ReplayOutcome | None:
        """Replay, again if the process that does it dies; None if the instance is to leave off instead."""
        for pause in (*_REPLAY_AGAIN, 0.0):
            try:
                return await self._replay()
            # What the orchestrator raises is a ReplayOutcome; this is the replay itself.
            except Exception as problem:
                log.warning("a replay of %s died: %s", self.head.name, problem)
                reason = str(problem)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
            if self._stopping.is_set():
                return None
        return ReplayOutcome(error=f"its replay died again and again: {reason}")

    async def _replay(self) -> ReplayOutcome:
        orchestrator = self._executor.orchestrator(self.head.name)
        if orchestrator is None:
            return ReplayOutcome(error="there is no such function")
        started = json.loads(self.history.texts[1])
        return await orchestrator(wire.request(self.history.texts, self.head.instance_id, started["Input"]))

    async def _go_on(self, outcome: ReplayOutcome, walk: Walk) -> None:
        """Record what follows from a replay. An instance ends only once nothing that it began is open."""
        if walk.finished and (outcome.is_done or outcome.error):
            await self._end(outcome)
            return
        now = utc_now()
        events = self.history.schedule(walk, now)
        if self.history.in_episode:
            events.append(event(EventType.ORCHESTRATOR_COMPLETED, now))
        await self._record(self._added(events), self._changed(RUNNING, None, outcome.custom_status))
        self.history.cancel(walk.cancelled)
        for task_id in walk.cancelled & self._timers.keys():
            self._timers.pop(task_id).cancel()
        self._awaited = _awaited(outcome.actions)
        await self._read_mail()

    async def _end(self, outcome: ReplayOutcome) -> None:
        """Record how the orchestrator ended."""
        if outcome.error is None:
            await self._close("Completed", outcome.output, outcome.custom_status)
        else:
            message = f"Orchestrator function '{self.head.name}' failed: {outcome.error}"
            await self._close("Failed", json.dumps(message), outcome.custom_status)

    async def _close(self, status: str, output: str | None, custom_status: str | None) -> None:
        await self._record([], self._changed(status, output, custom_status))
        log.info("%s %s: %s", self.head.name, self.head.instance_id, status)

    def _changed(self, status: str, output: str | None, custom_status: str | None) -> Head:
        updated = utc_now().strftime(wire.TIME)
        return replace(self.head, status=status, output=output, custom_status=custom_status, updated=updated)


def first_events(name: str, input_text: str | None, now: datetime) -> list[Event]:
    """Return the events that every execution begins with. The SDK reads `Version` from the second, always."""
    return [
        event(EventType.ORCHESTRATOR_STARTED, now),
        event(EventType.EXECUTION_STARTED, now, Name=name, Input=input_text, Version=None),
    ]


def _awaited(actions: Sequence[Action]) -> Counter[str]:
    waits = (a for a in wire.flatten(actions) if a["actionType"] == ActionType.WAIT_FOR_EXTERNAL_EVENT)
    return Counter(a["externalEventName"] for a in waits)
