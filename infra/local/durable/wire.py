"""What the Durable Functions host and the Python SDK say to each other, as JSON: events in, actions out.

The SDK's side is azure.durable_functions.models (TaskOrchestrationExecutor and DurableOrchestrationContext); the host's
side in Azure is the Durable Task extension. history.py gives these words their meaning.
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
Action = dict[str, Any]

TIME = "%Y-%m-%dT%H:%M:%S.%fZ"
FAILURE = "$OutOfProcData$:"
"""What the SDK writes between an orchestrator's error message and its last state."""

CALLS = (ActionType.CALL_ACTIVITY, ActionType.CALL_ACTIVITY_WITH_RETRY)
SUB_ORCHESTRATIONS = (ActionType.CALL_SUB_ORCHESTRATOR, ActionType.CALL_SUB_ORCHESTRATOR_WITH_RETRY)
TAKES_AN_ID = (*CALLS, *SUB_ORCHESTRATIONS, ActionType.CREATE_TIMER)
SUPPORTED = (*TAKES_AN_ID, ActionType.CONTINUE_AS_NEW, ActionType.WAIT_FOR_EXTERNAL_EVENT)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one replay answered. `error` is set where the orchestrator raised; `output` is JSON text."""

    actions: Sequence[Action] = ()
    is_done: bool = False
    output: str | None = None
    custom_status: str | None = None
    error: str | None = None


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


def request(texts: Sequence[str], instance_id: str, parent_id: str | None, input_text: str | None) -> str:
    """Return what an orchestrator function is called with. `texts` are the events, each already JSON.

    The two durations of long timers are left out: they exist for Azure Storage's seven days a message, which is no
    limit here, and without them the SDK makes one timer of any length.
    """
    rest = {
        "input": input_text,
        "instanceId": instance_id,
        "isReplaying": False,
        "parentInstanceId": parent_id,
        "upperSchemaVersion": 1,
        "upperSchemaVersionNew": 2,
    }
    return f'{{"history":[{",".join(texts)}],{json.dumps(rest)[1:]}'


def replay(orchestrator: Callable[[str], str], request_text: str) -> Outcome:
    """Run an orchestrator function over a history. Whatever it raises becomes the outcome's `error`."""
    try:
        return _outcome(json.loads(orchestrator(request_text)))
    # An orchestrator is the application's code: any of its errors is an outcome, and none may stop the executor.
    except Exception as problem:
        message, marker, state = str(problem).rpartition(FAILURE)
        if not marker:
            return Outcome(is_done=True, error=f"{type(problem).__name__}: {problem}")
        return _outcome(json.loads(state), error=message.strip())


def _outcome(state: dict[str, Any], error: str | None = None) -> Outcome:
    custom_status = state.get("customStatus")
    actions = tuple(flatten(state["actions"]))
    strange = next((a for a in actions if a["actionType"] not in SUPPORTED), None)
    if strange is not None:
        error = f"action type {strange['actionType']} (entities, durable HTTP) is not supported on a laptop"
    return Outcome(
        actions,
        state["isDone"] or error is not None,
        json.dumps(state.get("output")),
        None if custom_status is None else json.dumps(custom_status),
        error,
    )


def flatten(actions: Sequence[Any]) -> Iterator[Action]:
    """Yield the simple actions in the order in which the SDK numbers their tasks; task_all and task_any hold others."""
    for action in actions:
        if isinstance(action, list):
            yield from flatten(action)
        elif "compoundActions" in action:
            yield from flatten(action["compoundActions"])
        else:
            yield action
