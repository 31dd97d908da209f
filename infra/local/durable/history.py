"""One execution of an orchestration as its events, and what follows from them: open tasks, task ids, retries.

No clock and no storage: store.py keeps the events, instance.py brings new ones.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable.wire import CALLS, SUB_ORCHESTRATIONS, TAKES_AN_ID, TIME, Action, Event, event, task_id

_OPENING = (EventType.TASK_SCHEDULED, EventType.SUB_ORCHESTRATION_INSTANCE_CREATED, EventType.TIMER_CREATED)
_FAILED = (EventType.TASK_FAILED, EventType.SUB_ORCHESTRATION_INSTANCE_FAILED)
_CLOSING = (
    *_FAILED,
    EventType.TASK_COMPLETED,
    EventType.SUB_ORCHESTRATION_INSTANCE_COMPLETED,
    EventType.TIMER_FIRED,
)


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
        self.fresh = False
        """Whether there is an event that no replay has seen."""
        self.resumes = False
        """Whether one of the fresh events may let the orchestrator's code go on (a failure to be retried does not)."""
        self._opened: list[Event] = []
        self._asked: list[Event] = []
        for one in events:
            self.add(one)

    def add(self, one: Event) -> str:
        """Append an event. Returns its JSON text."""
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
        text = json.dumps(one)
        self.texts.append(text)
        return text

    def is_retried(self, one: Event) -> bool:
        """Tell whether this result makes the retry policy schedule something, so that it takes the next task id.

        As in the Durable Task Framework, and so in the SDK, a timer follows every failure, even the last.
        """
        opened = self.open.get(task_id(one))
        if opened is None or "Retry" not in opened:
            return False
        if one["EventType"] == EventType.TIMER_FIRED:
            return bool(opened["Retry"]["attempt"] < opened["Retry"]["attempts"])
        return one["EventType"] in _FAILED

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
        asked = [_describe(a) for a in actions if a["actionType"] in TAKES_AN_ID]
        for place, one in enumerate(self._asked):
            then, now = _describe_event(one), asked[place] if place < len(asked) else "nothing"
            if then != now:
                return (
                    f"Non-deterministic orchestrator: step {place + 1} was {then} and is {now} on replay. "
                    "Its code changed while it ran, or it depends on something outside its history."
                )
        return None

    def schedule(self, actions: Sequence[Action], now: datetime) -> list[Event]:
        """Return an event for each action that this history does not hold yet."""
        new = [a for a in actions if a["actionType"] in TAKES_AN_ID][len(self._asked) :]
        return [_opening(action, len(self._opened) + place, now) for place, action in enumerate(new)]

    def cancelled_timers(self, actions: Sequence[Action]) -> list[int]:
        """Return the ids of open timers that the orchestrator cancelled."""
        asked = [a for a in actions if a["actionType"] in TAKES_AN_ID]
        pairs = zip(self._asked, asked, strict=False)
        return [one["EventId"] for one, a in pairs if a.get("isCanceled") and one["EventId"] in self.open]

    @property
    def working(self) -> bool:
        """Whether an activity or sub-orchestration is on its way."""
        return any(one["EventType"] != EventType.TIMER_CREATED for one in self.open.values())


def _opening(action: Action, new_id: int, now: datetime) -> Event:
    if action["actionType"] == ActionType.CREATE_TIMER:
        return event(EventType.TIMER_CREATED, now, new_id, FireAt=action["fireAt"])
    fields: dict[str, Any] = {"Name": action["functionName"], "Input": action["input"]}
    if (options := action.get("retryOptions")) is not None:
        interval, attempts = options["firstRetryIntervalInMilliseconds"], options["maxNumberOfAttempts"]
        fields["Retry"] = {"interval": interval, "attempts": attempts, "attempt": 1}
    if action["actionType"] in CALLS:
        return event(EventType.TASK_SCHEDULED, now, new_id, **fields)
    fields["InstanceId"] = action.get("instanceId")
    return event(EventType.SUB_ORCHESTRATION_INSTANCE_CREATED, now, new_id, **fields)


def _describe(action: Action) -> str:
    if action["actionType"] in CALLS:
        return f"the activity {action['functionName']!r}"
    if action["actionType"] in SUB_ORCHESTRATIONS:
        return f"the sub-orchestration {action['functionName']!r}"
    return "a timer"


def _describe_event(one: Event) -> str:
    if one["EventType"] == EventType.TASK_SCHEDULED:
        return f"the activity {one['Name']!r}"
    if one["EventType"] == EventType.SUB_ORCHESTRATION_INSTANCE_CREATED:
        return f"the sub-orchestration {one['Name']!r}"
    return "a timer"
