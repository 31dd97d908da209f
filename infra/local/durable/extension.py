"""What the Durable Task extension makes of a replay: the tasks that it sets off, in order, and what it still awaits.

Every replay answers with all actions so far. The extension goes through them from the first: it sets one off, awaits
it, and only then sets off the next, whatever the orchestrator's code has gone on to meanwhile
(OutOfProcOrchestrationShim in Azure/azure-functions-durable-extension). Below it is the Durable Task Framework
(Azure/durabletask): a task takes the next id when it is set off (TaskOrchestrationContext). A retry policy sets off a
timer after every failure, one that fires at once after the last (RetryInterceptor). An instance ends once it has no
open task (TaskOrchestrationExecutor).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, Protocol

from azure.durable_functions.models.actions.ActionType import ActionType
from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable.wire import CALLS, CLOSING, OPENING, TIME, Action, Event, task_id

_LONGEST_RETRY = timedelta(days=6)
"""The longest interval between two attempts, where the retry options name none."""

Ended = Callable[[bool], None]
"""What goes on when a task has ended; it is told whether the task failed."""


class NotTheSame(Exception):
    """The actions are not those of which the history is."""


class Task(NamedTuple):
    """What schedules a task: the kind of its event, and what that says beside the task's id."""

    kind: EventType
    fields: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What the task is called in a message."""
        return _name(self.fields.get("Name"))


class Walk:
    """One way through an orchestrator's actions, from the first, as far as a history lets it come."""

    def __init__(self, actions: Sequence[Action]) -> None:
        self.tasks: list[Task] = []
        """The tasks by their ids."""
        self.cancelled: set[int] = set()
        """The ids of timers that the orchestrator cancelled."""
        self.now = datetime.min.replace(tzinfo=UTC)
        self._open: dict[int, Ended] = {}
        self._waits: defaultdict[str, list[_Wait]] = defaultdict(list)
        self._early: Counter[str] = Counter()
        self._actions = actions
        self._next = 0
        self._awaited: _Step | None = None

    def take(self, one: Event) -> None:
        """Go on after an event. Raises NotTheSame if it is of a task that was not set off so far."""
        match one["EventType"]:
            case EventType.ORCHESTRATOR_STARTED:
                self.now = datetime.fromisoformat(one["Timestamp"])
            case EventType.EXECUTION_STARTED:
                self._go_on()
            case EventType.EVENT_RAISED:
                self._raise(one["Name"])
                self._go_on()
            case kind if kind in OPENING:
                self._compare(one)
            case kind if kind in CLOSING:
                if (ended := self._open.pop(task_id(one), None)) is not None:
                    ended(kind == EventType.TASK_FAILED)
                    self._go_on()

    @property
    def finished(self) -> bool:
        """Whether nothing is awaited any more, and no task is open: only then an instance ends."""
        return self._next == len(self._actions) and (self._awaited is None or self._awaited.done) and not self._open

    def set_off(self, task: Task, ended: Ended) -> None:
        """Give a task the next id."""
        self._open[len(self.tasks)] = ended
        self.tasks.append(task)

    def cancel(self, task: Task) -> None:
        """Give the next id to a timer that its orchestrator cancelled: nobody waits for it."""
        self.cancelled.add(len(self.tasks))
        self.tasks.append(task)

    def wait(self, name: str, wait: _Wait) -> None:
        """Have a wait end with the next event of a name; of several waits the last one, as in the extension."""
        self._waits[name].append(wait)
        if self._early[name]:
            self._early[name] -= 1
            self._raise(name)

    def _raise(self, name: str) -> None:
        if self._waits[name]:
            self._waits[name].pop().done = True
        else:
            self._early[name] += 1

    def _go_on(self) -> None:
        while (self._awaited is None or self._awaited.done) and self._next < len(self._actions):
            action = self._actions[self._next]
            self._next += 1
            self._awaited = _begin(self, action)

    def _compare(self, one: Event) -> None:
        """Compare what the framework compares: the kind of the task with this id, and its name."""
        place, then = one["EventId"], _name(one.get("Name"))
        now = self.tasks[place].name if place < len(self.tasks) else "nothing"
        if then != now:
            raise NotTheSame(
                f"Non-deterministic orchestrator: task {place} was {then} and is {now} on replay. "
                "Its code changed while it ran, or it depends on something outside its history."
            )


def follow(events: Iterable[Event], actions: Sequence[Action]) -> Walk:
    """Return the way through these actions after all events of a history. Raises NotTheSame."""
    walk = Walk(actions)
    for one in events:
        walk.take(one)
    return walk


class _Step(Protocol):
    """An action that was set off."""

    @property
    def done(self) -> bool: ...


class _Call:
    """A call of an activity, with the attempts that its retry policy makes."""

    def __init__(self, walk: Walk, action: Action) -> None:
        self.done = False
        self._walk = walk
        self._task = Task(EventType.TASK_SCHEDULED, {"Name": action["functionName"], "Input": action["input"]})
        self._delays = _delays(action.get("retryOptions"))
        self._failures = 0
        walk.set_off(self._task, self._ended)

    def _ended(self, failed: bool) -> None:
        if not failed or not self._delays:
            self.done = True
            return
        fire_at = self._walk.now + self._delays[self._failures]
        self._failures += 1
        self._walk.set_off(_timer(fire_at.strftime(TIME)), self._fired)

    def _fired(self, _: bool) -> None:
        if self._failures == len(self._delays):
            self.done = True
        else:
            self._walk.set_off(self._task, self._ended)


class _Timer:
    """A timer."""

    def __init__(self, walk: Walk, action: Action) -> None:
        task = _timer(action["fireAt"])
        self.done = bool(action.get("isCanceled"))
        if self.done:
            walk.cancel(task)
        else:
            walk.set_off(task, self._fired)

    def _fired(self, _: bool) -> None:
        self.done = True


class _Wait:
    """A wait for an external event."""

    def __init__(self, walk: Walk, action: Action) -> None:
        self.done = False
        walk.wait(action["externalEventName"], self)


class _Compound:
    """Several actions at once, until all of them or any of them are done."""

    def __init__(self, walk: Walk, action: Action) -> None:
        self._all = action["actionType"] == ActionType.WHEN_ALL
        self._steps = [_begin(walk, one) for one in action["compoundActions"]]

    @property
    def done(self) -> bool:
        if not self._all:
            return any(step.done for step in self._steps)
        while self._steps and self._steps[-1].done:  # asked after every event, so it must not look at all each time
            self._steps.pop()
        return not self._steps


def _begin(walk: Walk, action: Action) -> _Step:
    """Set off an action."""
    match action["actionType"]:
        case kind if kind in CALLS:
            return _Call(walk, action)
        case ActionType.CREATE_TIMER:
            return _Timer(walk, action)
        case ActionType.WAIT_FOR_EXTERNAL_EVENT:
            return _Wait(walk, action)
        case _:
            return _Compound(walk, action)


def _delays(options: Any) -> Sequence[timedelta]:
    """Return the time after each failure until the next attempt, and none after the last. Empty without a policy."""
    if options is None:
        return ()
    first = timedelta(milliseconds=options["firstRetryIntervalInMilliseconds"])
    growth = options.get("backoffCoefficient", 1)
    most = options.get("maxRetryIntervalInMilliseconds")
    longest = _LONGEST_RETRY if most is None else timedelta(milliseconds=most)
    return [*(min(first * growth**n, longest) for n in range(options["maxNumberOfAttempts"] - 1)), timedelta()]


def _timer(fire_at: str) -> Task:
    return Task(EventType.TIMER_CREATED, {"FireAt": fire_at})


def _name(activity: str | None) -> str:
    """Return what a task is called in a message: only a timer has no function."""
    return "a timer" if activity is None else f"the activity {activity!r}"
