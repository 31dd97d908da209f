"""What the Durable Functions host and the Python SDK tell each other, as JSON: events in, actions out.

The SDK's side is azure.durable_functions.models (TaskOrchestrationExecutor and DurableOrchestrationContext). In Azure
the host's side is the Durable Task extension. history.py gives these words their meaning.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.history import HistoryEventType as EventType

Event = dict[str, Any]
"""What happened in an orchestration: one entry of its history."""
Action = dict[str, Any]
"""What an orchestrator asks for."""

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
"""The format of times in events, for strftime and strptime."""
FAILURE = "$OutOfProcData$:"
"""The text that the SDK puts between an orchestrator's error message and its last state."""

CALLS = (ActionType.CALL_ACTIVITY, ActionType.CALL_ACTIVITY_WITH_RETRY)
SUPPORTED = (*CALLS, ActionType.CREATE_TIMER, ActionType.WAIT_FOR_EXTERNAL_EVENT)
OPENING = (EventType.TASK_SCHEDULED, EventType.TIMER_CREATED)
CLOSING = (EventType.TASK_COMPLETED, EventType.TASK_FAILED, EventType.TIMER_FIRED)
"""Events that schedule a task, and that end one."""

LONGEST_TIMER, LONG_TIMER_STEP = "6.00:00:00", "3.00:00:00"
"""How long a timer may be in Azure Storage, and the pieces in which the SDK waits for longer (.NET's TimeSpan)."""


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """What one replay answered. `error` is set where the orchestrator raised; `output` and `custom_status` are JSON.

    `actions` are all that the orchestrator asked for so far, those of one `yield` each.
    """

    actions: Sequence[Action] = ()
    is_done: bool = False
    output: str | None = None
    custom_status: str | None = None
    error: str | None = None


def utc_now() -> datetime:
    """Return the time, with its zone."""
    return datetime.now(UTC)


def event(kind: EventType, now: datetime, event_id: int = -1, **fields: Any) -> Event:
    """Return a history event. The SDK tells old from new by the last OrchestratorStarted, so IsPlayed stays false."""
    return {
        "EventType": int(kind),
        "EventId": event_id,
        "IsPlayed": False,
        "Timestamp": now.astimezone(UTC).strftime(TIME),
        **fields,
    }


def task_id(one: Event) -> int:
    """Return the id of the task whose end this event tells; -1 for other events."""
    found: int = one["TimerId"] if "TimerId" in one else one.get("TaskScheduledId", -1)
    return found


def request(texts: Sequence[str], instance_id: str, input_text: str | None) -> str:
    """Return what an orchestrator function is called with. `texts` are the events, each already JSON.

    The fields are those of the extension's OrchestrationTriggerAttributeBindingProvider.
    """
    rest = {
        "input": input_text,
        "instanceId": instance_id,
        "isReplaying": False,
        "parentInstanceId": None,
        "upperSchemaVersion": 1,
        "upperSchemaVersionNew": 2,
        "longRunningTimerIntervalDuration": LONG_TIMER_STEP,
        "maximumShortTimerDuration": LONGEST_TIMER,
    }
    return f'{{"history":[{",".join(texts)}],{json.dumps(rest)[1:]}'


def replay(orchestrator: Callable[[str], str], request_text: str) -> ReplayOutcome:
    """Run an orchestrator function over a history. Whatever it raises becomes the outcome's `error`."""
    try:
        return _outcome(json.loads(orchestrator(request_text)))
    # An orchestrator is the application's code: any of its errors is an outcome, and none may stop the executor.
    except Exception as problem:
        message, marker, state = str(problem).rpartition(FAILURE)
        if not marker:
            return ReplayOutcome(is_done=True, error=f"{type(problem).__name__}: {problem}")
        return _outcome(json.loads(state), error=message.strip())


def _outcome(state: dict[str, Any], error: str | None = None) -> ReplayOutcome:
    custom_status = state.get("customStatus")
    (actions,) = state["actions"]  # the second and third schema have one list in another
    strange = next((a["actionType"] for a in flatten(actions) if a["actionType"] not in SUPPORTED), None)
    if strange is not None:
        actions, error = (), f"{ActionType(strange).name} is not supported on a laptop"
    return ReplayOutcome(
        tuple(actions),
        state["isDone"] or error is not None,
        json.dumps(state.get("output")),
        None if custom_status is None else json.dumps(custom_status),
        error,
    )


def flatten(actions: Sequence[Any]) -> Iterator[Action]:
    """Yield the simple actions in order; lists and the actions of task_all and task_any hold others."""
    for action in actions:
        if isinstance(action, list):
            yield from flatten(action)
        elif "compoundActions" in action:
            yield from flatten(action["compoundActions"])
        else:
            yield action
