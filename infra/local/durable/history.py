"""One execution of an orchestration as its events, and what follows from them: open tasks, task ids, retries.

No clock and no storage: store.py keeps the events, instance.py brings new ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable.wire import CALLS, TASKS, TIME, Action, Event, event, task_id

_OPENING = (EventType.TASK_SCHEDULED, EventType.TIMER_CREATED)
_CLOSING = (EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TIMER_FIRED)


class History:
    """Events in the order in which the SDK replays them.

    A task that the retry policy made, not the orchestrator's code, carries `RetryOf` with the id of the first attempt.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.texts: list[str] = []
        self.open: dict[int, Event] = {}
        """Tasks without a result, by task id: the event that scheduled each."""
        self.raised: Counter[str] = Counter()
        """External events that the orchestrator was given, by name."""
        self.in_episode = False
        """Whether an OrchestratorStarted has no OrchestratorCompleted yet."""
        self.fresh = False
        """Whether there is an event that no replay has seen."""
        self.resumes = False
        """Whether one of the fresh events may let the orchestrator's code go on (a failure to be retried does not)."""
        self._opened: list[Event] = []
        self._asked: list[Event] = []
        for one in events:
            self.add(one)

    def add(self, one: Event) -> None:
        """Append an event."""
        kind = one["EventType"]
        if kind == EventType.ORCHESTRATOR_STARTED:
            self.in_episode = True
        elif kind == EventType.ORCHESTRATOR_COMPLETED:
            self.in_episode = self.fresh = self.resumes = False
        elif kind in _OPENING:
            self._opened.append(one)
            self.open[one["EventId"]] = one
            if "RetryOf" not in one:
                self._asked.append(one)
        else:
            self.fresh = True
            self.resumes = self.resumes or not self.is_retried(one)
            if kind == EventType.EVENT_RAISED:
                self.raised[one["Name"]] += 1
            elif kind in _CLOSING:
                del self.open[task_id(one)]
        self.texts.append(json.dumps(one))

    def is_retried(self, one: Event) -> bool:
        """Tell whether this result makes the retry policy schedule something, so that it takes the next task id.

        As in the Durable Task Framework, and so in the SDK, a timer follows every failure, even the last.
        """
        opened = self.open.get(task_id(one))
        if opened is None or "Retry" not in opened:
            return False
        if one["EventType"] == EventType.TIMER_FIRED:
            return bool(opened["Retry"]["attempt"] < opened["Retry"]["attempts"])
        return bool(one["EventType"] == EventType.TASK_FAILED)

    def close(self, one: Event, now: datetime) -> list[Event]:
        """Return what a task's result adds to the history: nothing if the task has one already."""
        opened = self.open.get(task_id(one))
        if opened is None:
            return []
        return [*self.begin_episode(now), one, *(self._retry(opened, now) if self.is_retried(one) else [])]

    def begin_episode(self, now: datetime) -> list[Event]:
        """Return the event that comes before the first new one; its time is the orchestrator's current time."""
        return [] if self.in_episode else [event(EventType.ORCHESTRATOR_STARTED, now)]

    def _retry(self, opened: Event, now: datetime) -> list[Event]:
        retry = opened["Retry"]
        next_id = len(self._opened)
        first: int = opened["RetryOf"] if "RetryOf" in opened else opened["EventId"]
        if opened["EventType"] != EventType.TIMER_CREATED:
            fire_at = (now + timedelta(milliseconds=retry["interval"])).strftime(TIME)
            return [event(EventType.TIMER_CREATED, now, next_id, FireAt=fire_at, Retry=retry, RetryOf=first)]
        again = {**self._opened[first], "EventId": next_id, "RetryOf": first}
        return [{**again, "Retry": {**retry, "attempt": retry["attempt"] + 1}}]

    def disagreement(self, actions: Sequence[Action]) -> str | None:
        """Return how a replay's actions differ from what this history holds, or None.

        Compared is what the Durable Task Framework compares: the kind and the name, in order.
        """
        asked = [_name(a.get("functionName")) for a in actions if a["actionType"] in TASKS]
        for place, one in enumerate(self._asked):
            then, now = _name(one.get("Name")), asked[place] if place < len(asked) else "nothing"
            if then != now:
                return (
                    f"Non-deterministic orchestrator: step {place + 1} was {then} and is {now} on replay. "
                    "Its code changed while it ran, or it depends on something outside its history."
                )
        return None

    def schedule(self, actions: Sequence[Action], now: datetime) -> list[Event]:
        """Return an event for each action that this history does not hold yet."""
        new = [a for a in actions if a["actionType"] in TASKS][len(self._asked) :]
        return [_opening(action, len(self._opened) + place, now) for place, action in enumerate(new)]

    def cancelled_timers(self, actions: Sequence[Action]) -> list[int]:
        """Return the ids of open timers that the orchestrator cancelled."""
        asked = [a for a in actions if a["actionType"] in TASKS]
        pairs = zip(self._asked, asked, strict=False)
        return [one["EventId"] for one, a in pairs if a.get("isCanceled") and one["EventId"] in self.open]

    @property
    def working(self) -> bool:
        """Whether an activity is under way."""
        return any(one["EventType"] != EventType.TIMER_CREATED for one in self.open.values())


def _opening(action: Action, new_id: int, now: datetime) -> Event:
    if action["actionType"] not in CALLS:
        return event(EventType.TIMER_CREATED, now, new_id, FireAt=action["fireAt"])
    fields: dict[str, Any] = {"Name": action["functionName"], "Input": action["input"]}
    if (options := action.get("retryOptions")) is not None:
        interval, attempts = options["firstRetryIntervalInMilliseconds"], options["maxNumberOfAttempts"]
        fields["Retry"] = {"interval": interval, "attempts": attempts, "attempt": 1}
    return event(EventType.TASK_SCHEDULED, now, new_id, **fields)


def _name(activity: str | None) -> str:
    """Return what a task is called in a message: only a timer has no function."""
    return "a timer" if activity is None else f"the activity {activity!r}"
