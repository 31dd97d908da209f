"""One execution of an orchestration as its events: which tasks are open, and what a replay or a result adds.

No clock and no storage: store.py keeps the events, instance.py brings new ones, extension.py says what follows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable.extension import Walk
from infra.local.durable.wire import CLOSING, OPENING, Event, event, task_id


class History:
    """Events in the order in which the SDK replays them."""

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.events: list[Event] = []
        self.texts: list[str] = []
        """The events as JSON."""
        self.open: dict[int, Event] = {}
        """Tasks whose result is waited for, by id: the event that scheduled each."""
        self.raised: Counter[str] = Counter()
        """External events that the orchestrator was given, by name."""
        self.in_episode = False
        """Whether an OrchestratorStarted has no OrchestratorCompleted yet."""
        self.fresh = False
        """Whether there is an event that no replay has seen."""
        self._scheduled = 0
        for one in events:
            self.add(one)

    def add(self, one: Event) -> None:
        """Append an event."""
        kind = one["EventType"]
        if kind == EventType.ORCHESTRATOR_STARTED:
            self.in_episode = True
        elif kind == EventType.ORCHESTRATOR_COMPLETED:
            self.in_episode = self.fresh = False
        elif kind in OPENING:
            self.open[one["EventId"]] = one
            self._scheduled += 1
        else:
            self.fresh = True
            if kind == EventType.EVENT_RAISED:
                self.raised[one["Name"]] += 1
            elif kind in CLOSING:
                self.open.pop(task_id(one), None)
        self.events.append(one)
        self.texts.append(json.dumps(one))

    def close(self, one: Event, now: datetime) -> list[Event]:
        """Return what a task's result adds to the history: nothing if nobody waits for it."""
        return [*self.begin_episode(now), one] if task_id(one) in self.open else []

    def begin_episode(self, now: datetime) -> list[Event]:
        """Return the event that comes before the first new one; its time is the orchestrator's current time."""
        return [] if self.in_episode else [event(EventType.ORCHESTRATOR_STARTED, now)]

    def schedule(self, walk: Walk, now: datetime) -> list[Event]:
        """Return an event for each task of a way through the actions that this history does not hold yet."""
        new = enumerate(walk.tasks[self._scheduled :], self._scheduled)
        return [event(task.kind, now, number, **task.fields) for number, task in new]

    def cancel(self, numbers: Iterable[int]) -> None:
        """Wait no longer for the results of these tasks."""
        for number in numbers:
            self.open.pop(number, None)

    @property
    def working(self) -> bool:
        """Whether an activity is under way."""
        return any(one["EventType"] != EventType.TIMER_CREATED for one in self.open.values())
