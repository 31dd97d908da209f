"""The order of the passes, as pure generators: no Azure import, no clock, no I/O. Durable Functions replays them.

A replay costs more the longer its history is. So an activity takes a whole slice of a pass, a pass never has more
activities than the directory has buckets, and they run a window at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, TypeVar

from link_orchestrator.messages import (
    ACTIVATING,
    REMOVING,
    WINDOW,
    Answer,
    Approved,
    Compare,
    Extent,
    Message,
    Milestone,
    Reached,
    Read,
    ReadDone,
    SelfApproval,
    SelfApproved,
    Slice,
    SliceDone,
    Start,
)
from shared.directory.text import counted

A = TypeVar("A", bound=Answer)
Steps = Generator[Any, Any, Any]
Orchestrator = Callable[[Any, Any], Steps]
"""Takes the orchestration's context and the retry options of its activities. Its Azure function has the same name."""

PLAN_PASSES = ("collect", "join", "weigh", "decide")
COMPARE_PASSES = ("spread", "lead", "touch", "gather")
FORMER_COMPARE_PASSES = COMPARE_PASSES[1:]
"""Those of a run that began before there was a FORM: once it is planned, its history is replayed as it was."""
AGAIN_PASSES = tuple(f"{name}_again" for name in PLAN_PASSES)
"""PLAN_PASSES over nothing but what COMPARE_PASSES found to have changed since the earlier runs."""
SUGGEST_PASSES, NAME_PASSES = ("suggest",), ("merge_names",)
"""Passes in one slice behind all that plan, beside each other: the first where people and accounts are left over."""
SUGGESTS, MERGES_NAMES, REVIEWS_LAST, TELLS_CREATED = 2, 3, 3, 4
"""The FORM since which there are such passes, REVIEW_PASSES come behind them, and SUGGEST_PASSES run in every plan."""
APPLY_PASSES = ("reserve", "apply")
PILOT_PASSES = APPLY_PASSES[1:]
"""Those of them that apply a part of a plan: what is not in it is neither reserved nor linked, and no group is."""
GROUP_PLAN_PASSES, GROUP_APPLY_PASSES = ("resolve_members", "decide_groups"), ("apply_groups",)
"""Passes that follow those over accounts in a run that plans groups."""
REVIEW_PASSES = ("keep_reviews",)
"""Passes that follow those that plan, in a run that takes the place of another."""
IMPORT_PASSES, GROUP_IMPORT_PASSES = ("import",), ("import_groups",)
PREVIEW_PASSES, GROUP_PREVIEW_PASSES = ("preview",), ("preview_groups",)
UNDO_PASSES = ("undo", "undo_groups")
UNDO_FIRST, UNDO_COUNTS, UNDO_LAST = ("prepare",), ("count",), ("names",)
"""Passes around those of an undo: first and last in one slice, counts where the request names a number of accounts."""
UNDO_IMPORT_PASSES, UNDO_IMPORT_COUNTS = ("undo_import",), ("count_import",)
UNDO_GROUP_IMPORT_PASSES = ("undo_group_import",)
FORESEE_IMPORT_PASSES, FORESEE_GROUP_IMPORT_PASSES = ("foresee_import",), ("foresee_group_import",)
"""Passes that say what the undo of an import would come to."""
VERIFY_PASSES = ("look", "compare", "settle")
SKIMMING = ("changes", "gather")
"""Passes that read no more than one line of each identity or account."""
SKIMMED = 4
"""Ordinary slices that make up one slice of a skimming pass."""
UNCHANGED_TOO = (*SKIMMING, *GROUP_PLAN_PASSES, *GROUP_APPLY_PASSES)
"""Passes that go over the whole directory even where the run decides only on what changed."""
APPROVE, CANCEL = "approve", "cancel"
"""Events that a planned run waits for."""
LONGEST_TIMER = timedelta(days=5)
"""The longest timer. Azure Storage's end after six days. Of a longer one the SDK makes a task that cannot be cancelled
(azure-functions-durable-python #573), and the extension awaits it before whatever the orchestration does next."""
LONGEST_PAUSE = timedelta(minutes=5)
"""The longest time between two tries to reach a service that is away. The first is two seconds, each twice the last."""
PATIENCE = timedelta(hours=12)
"""Time for which a job waits for a service that is away; then it has failed."""

FAULT = "the app failed, again and again: its log says how. What was done until then stays"
"""Why a job has failed of which an activity raised an error in all its attempts."""


def link_accounts(context: Any, retry: Any) -> Steps:
    """Plan a run, wait for its approval, apply it. Returns the state that the job ended in."""
    return (yield from _job(context, retry, _link))


def _in_order(name: str, passes: Sequence[str], progress: str) -> Orchestrator:
    """Return an orchestrator that runs these passes in order. `progress` is the phase that it shows meanwhile."""

    def body(context: Any, retry: Any, start: Start) -> Steps:
        counts = yield from _passes(context, retry, [(pass_name, start) for pass_name in passes], progress)
        return (yield from _end(context, retry, start, "cancelled" if counts is None else "done"))

    def orchestrate(context: Any, retry: Any) -> Steps:
        return (yield from _job(context, retry, body))

    orchestrate.__name__ = name
    return orchestrate


import_accounts = _in_order("import_accounts", IMPORT_PASSES, "import")
import_groups = _in_order("import_groups", GROUP_IMPORT_PASSES, "import")
preview_accounts = _in_order("preview_accounts", PREVIEW_PASSES, "preview")
preview_groups = _in_order("preview_groups", GROUP_PREVIEW_PASSES, "preview")
undo_group_import = _in_order("undo_group_import", UNDO_GROUP_IMPORT_PASSES, "undo")
preview_import_undo = _in_order("preview_import_undo", FORESEE_IMPORT_PASSES, "preview")
preview_group_import_undo = _in_order("preview_group_import_undo", FORESEE_GROUP_IMPORT_PASSES, "preview")
verify_links = _in_order("verify_links", VERIFY_PASSES, "verify")


def undo_links(context: Any, retry: Any) -> Steps:
    """Take links back; where a number of accounts to switch on is named, only if it is right."""
    return (yield from _job(context, retry, _undo))


def _undo(context: Any, retry: Any, start: Start) -> Steps:
    whole = start.model_copy(update={"slices": 1})
    first = [(name, whole) for name in UNDO_FIRST if start.prepares]
    first += [(name, start) for name in UNDO_COUNTS if start.activate is not None]
    last = [(name, start) for name in UNDO_PASSES] + [(name, whole) for name in UNDO_LAST if start.returns_names]
    return (yield from _take_back(context, retry, start, first, last))


def _take_back(
    context: Any, retry: Any, start: Start, first: Sequence[tuple[str, Start]], last: Sequence[tuple[str, Start]]
) -> Steps:
    """Run the passes that change nothing, then the others if the numbers of accounts that were named are right."""
    counts = yield from _passes(context, retry, first, "undo")
    if counts is None:
        return (yield from _end(context, retry, start, "cancelled"))
    if start.activate not in (None, counts[ACTIVATING]):
        reason = (
            f"activate: the undo would switch on {counted(counts[ACTIVATING], 'account')}, not {start.activate}; "
            "nothing was changed: look at them again, and name that number"
        )
        return (yield from _end(context, retry, start, "failed", reason, "activate"))
    if start.remove not in (None, counts[REMOVING]):
        reason = (
            f"remove: the undo would delete {counted(counts[REMOVING], 'account')}, not {start.remove}; "
            "nothing was changed: look at them again, and name that number"
        )
        return (yield from _end(context, retry, start, "failed", reason, "remove"))
    done = yield from _passes(context, retry, last, "undo")
    return (yield from _end(context, retry, start, "cancelled" if done is None else "done"))


def undo_import(context: Any, retry: Any) -> Steps:
    """Take an import of accounts back; where numbers of accounts to switch on or delete are named, only if right."""
    return (yield from _job(context, retry, _undo_import))


def _undo_import(context: Any, retry: Any, start: Start) -> Steps:
    counts = start.activate is not None or start.remove is not None
    first = [(name, start) for name in UNDO_IMPORT_COUNTS if counts]
    return (yield from _take_back(context, retry, start, first, [(name, start) for name in UNDO_IMPORT_PASSES]))


class _CannotGoOnError(Exception):
    """A slice says why its job cannot go on, with a `code` for the log."""

    def __init__(self, why: str, code: str) -> None:
        super().__init__(why)
        self.code = code


def _job(context: Any, retry: Any, body: Callable[[Any, Any, Start], Steps]) -> Steps:
    """Run a job's steps. If they fail for good, record that, which frees the directory for the next job."""
    start = Start.from_json(context.get_input())
    try:
        return (yield from body(context, retry, start))
    except _CannotGoOnError as why:
        return (yield from _end(context, retry, start, "failed", str(why), why.code))
    except Exception:
        yield from _milestone(context, retry, start, "failed", reason=FAULT, code="fault")
        raise


def _link(context: Any, retry: Any, start: Start) -> Steps:
    if start.reads:
        done = yield from _read(context, retry, start)
        if done.failed or done.stopped:
            state = "failed" if done.failed else "cancelled"
            return (yield from _end(context, retry, start, state, done.failed, done.code))
        start = start.model_copy(update={"slices": done.slices})
    extent = Extent(everything=True)
    if start.compares:
        if (yield from _pass(context, retry, start, "changes", "plan")) is None:
            return (yield from _end(context, retry, start, "cancelled"))
        asked = Compare(job=start.job, directory=start.directory)
        extent = yield from _call(context, retry, "choose_extent", asked, Extent)
    planned = yield from _passes(context, retry, _cut(start, extent, _planning(start, extent)), "plan")
    if planned is not None and (finishing := _finishing(start, extent, planned)):
        finished = yield from _slices_of(context, retry, finishing, "plan")
        planned = None if finished is None else planned + finished
    if planned is not None and start.keeps_reviews and start.form >= REVIEWS_LAST:
        # What a review takes off the warnings goes by the suggestions of its row.
        kept = yield from _passes(context, retry, _cut(start, extent, REVIEW_PASSES), "plan")
        planned = None if kept is None else planned + kept
    if planned is None:
        return (yield from _end(context, retry, start, "cancelled"))
    if not (extent.everything or extent.slices or planned["groupLink"]):
        return (yield from _end(context, retry, start, "done"))
    wait = _Wait(context, start)
    while True:
        verdict = yield from _verdict(context, retry, start, wait)
        if verdict != APPROVE:
            state = "cancelled" if verdict == CANCEL else "expired"
            reached = yield from _milestone(context, retry, start, state)
            if reached.state != "approved":
                context.set_custom_status({"phase": state})
                return state
            wait.pilot = reached.pilot
        if not wait.pilot:
            break
        piloted = yield from _passes(context, retry, _cut(start, extent, PILOT_PASSES), "apply")
        if piloted is None:
            return (yield from _end(context, retry, start, "cancelled"))
        reached = yield from _milestone(context, retry, start, "planned", pilot=wait.pilots)
        if reached.state != "planned":
            return (yield from _end(context, retry, start, "cancelled"))
        wait.pilots += 1
    passes = APPLY_PASSES + (GROUP_APPLY_PASSES if start.groups else ())
    applied = yield from _passes(context, retry, _cut(start, extent, passes), "apply")
    return (yield from _end(context, retry, start, "cancelled" if applied is None else "done"))


class _Wait:
    """How long a plan waits for verdicts, how many pilots of it were applied, and whether the last approval is one."""

    def __init__(self, context: Any, start: Start) -> None:
        self.deadline = context.current_utc_datetime + timedelta(hours=start.expires_hours)
        self.expires = _moment(self.deadline)
        self.pilots = 0
        self.pilot = False
        self.cancelled: Any = None
        """The event is waited for once: of two tasks for it, the second alone would hear of it."""


def _planning(start: Start, extent: Extent) -> tuple[str, ...]:
    """Return the passes that plan what is in the extent."""
    compare = COMPARE_PASSES if start.form else FORMER_COMPARE_PASSES
    again = compare + AGAIN_PASSES if extent.slices else ()
    groups = GROUP_PLAN_PASSES if start.groups else ()
    reviews = REVIEW_PASSES if start.keeps_reviews and start.form < REVIEWS_LAST else ()
    return (PLAN_PASSES if extent.everything else again) + groups + reviews


def _finishing(start: Start, extent: Extent, planned: Mapping[str, int]) -> list[Slice]:
    """Return the slices of the passes that finish a plan. None of them needs another."""
    plans = extent.everything or extent.slices
    left = plans if start.form >= TELLS_CREATED else planned["noAccount"] and planned["noIdentity"]
    suggest = SUGGEST_PASSES if start.form >= SUGGESTS and left else ()
    names = (*suggest, *(NAME_PASSES if start.form >= MERGES_NAMES else ()))
    whole = start.model_copy(update={"slices": 1})
    return [slice_ for name in names for slice_ in _slices(whole, name)]


def _cut(start: Start, extent: Extent, passes: tuple[str, ...]) -> list[tuple[str, Start]]:
    """Pair each pass with a Start that cuts it into as many slices as it has work for."""
    few = start.model_copy(update={"slices": max(1, extent.slices)})
    return [(name, start if extent.everything or name in UNCHANGED_TOO else few) for name in passes]


def _read(context: Any, retry: Any, start: Start) -> Steps:
    """Read the run's identities, a few seconds in each activity. Returns the ReadDone that says how that ended."""
    asked = Read(job=start.job, directory=start.directory)
    progress = {"phase": "plan", "pass": "read", "since": _moment(context.current_utc_datetime), "read": 0}
    while True:
        context.set_custom_status(progress)
        done = yield from _call(context, retry, "read_identities", asked, ReadDone)
        if done.slices or done.failed or done.stopped:
            return done
        groups = {"groups": done.groups} if done.groups else {}
        progress = {**progress, "read": done.read, **groups, "waiting": done.why}
        if done.wait:
            context.set_custom_status(progress)
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=done.wait))


def _verdict(context: Any, retry: Any, start: Start, wait: _Wait) -> Steps:
    """Wait until somebody approves or cancels, or the plan expires, unless the run approves itself."""
    wait.pilot = False
    if not wait.pilots:
        yield from _milestone(context, retry, start, "planned", wait.expires)
        if start.approves_itself:
            asked = SelfApproval(job=start.job, directory=start.directory)
            if (yield from _call(context, retry, "approve_itself", asked, SelfApproved)).approved:
                return APPROVE
    context.set_custom_status({"phase": "planned", "expires": wait.expires})
    approved = context.wait_for_external_event(approval_event(wait.pilots))
    wait.cancelled = wait.cancelled or context.wait_for_external_event(CANCEL)
    while True:
        timer = context.create_timer(min(wait.deadline, context.current_utc_datetime + LONGEST_TIMER))
        winner = yield context.task_any([approved, wait.cancelled, timer])
        if winner != timer:
            timer.cancel()
            if winner != approved:
                return CANCEL
            wait.pilot = Approved.from_json(winner.result or {}).pilot
            return APPROVE
        if context.current_utc_datetime >= wait.deadline:
            return "expire"


def approval_event(pilots: int) -> str:
    """Return the name of the event that approves a plan of which this number of pilots was applied.

    Each approval has a name of its own: one that is told twice is no verdict on the rest.
    """
    return f"{APPROVE}{pilots}" if pilots else APPROVE


def _passes(context: Any, retry: Any, passes: Iterable[tuple[str, Start]], progress: str) -> Steps:
    """Run passes in order. Returns the sum of their counts, or None once the job is cancelled."""
    total: Counter[str] = Counter()
    for name, start in passes:
        counts = yield from _pass(context, retry, start, name, progress)
        if counts is None:
            return None
        total.update(counts)
    return total


def _pass(context: Any, retry: Any, start: Start, name: str, progress: str) -> Steps:
    """Run one activity for every slice of a pass. Returns their counts, or None once the job is cancelled."""
    return (yield from _slices_of(context, retry, _slices(start, name), progress))


def _slices_of(context: Any, retry: Any, slices: Sequence[Slice], progress: str) -> Steps:
    """Run one activity for each of these slices, a window at a time. Returns their counts, or None once cancelled."""
    counts: Counter[str] = Counter()
    since = _moment(context.current_utc_datetime)
    for at in range(0, len(slices), WINDOW):
        progress_ = {"phase": progress, "pass": slices[at].pass_name, "since": since, "done": at, "of": len(slices)}
        context.set_custom_status(progress_ | {"counts": dict(counts)})
        window = slices[at : at + WINDOW]
        outage, away = _Outage(), False
        while window:
            # While a service is away one slice finds out whether it still is: all of them would make a long history.
            tried = window[:1] if away else window
            done = yield context.task_all(
                [context.call_activity_with_retry("run_slice", retry, slice_.to_json()) for slice_ in tried]
            )
            answers = [SliceDone.from_json(answer) for answer in done]
            for answer in answers:
                counts.update(answer.counts)
                if answer.failed:
                    raise _CannotGoOnError(answer.failed, answer.code)
                if answer.stopped:
                    return None
            again = [slice_ for slice_, answer in zip(tried, answers, strict=True) if answer.wait or answer.away]
            window, away = [*again, *window[len(tried) :]], any(answer.away for answer in answers)
            if again:
                yield from _pause(context, outage, answers, progress_ | {"counts": dict(counts)})
    return counts


def _call(context: Any, retry: Any, activity: str, message: Message, kind: type[A]) -> Generator[Any, Any, A]:
    """Call an activity, again as long as a service is away that it needs. Returns its answer."""
    outage, progress = _Outage(), context.custom_status or {}
    while True:
        answer = kind.from_json((yield context.call_activity_with_retry(activity, retry, message.to_json())))
        if not answer.away:
            return answer
        yield from _pause(context, outage, [answer], progress)


class _Outage:
    """The time for which a service is away, as far as an activity needs it."""

    def __init__(self) -> None:
        self._began: datetime | None = None
        self._pause = timedelta(seconds=1)

    def pause(self, now: datetime, why: str) -> timedelta:
        """Return the time until the next try. Raises _CannotGoOnError once there were enough of them."""
        self._began = self._began or now
        if now - self._began > PATIENCE:
            hours = PATIENCE // timedelta(hours=1)
            raise _CannotGoOnError(f"{why}. That was so for {hours} hours: start again once it is mended", "storage")
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return self._pause


def _pause(context: Any, outage: _Outage, answers: Sequence[Answer], progress: dict[str, Any]) -> Steps:
    """Wait for what activities wait for that did nothing, and tell it in the progress meanwhile."""
    now, away = context.current_utc_datetime, next((answer.why for answer in answers if answer.away), "")
    if away:
        until = now + outage.pause(now, away)
        why = f"{away}; tried again at {_moment(until)}"
    else:
        until = now + timedelta(seconds=max(answer.wait for answer in answers))
        why = next(answer.why for answer in answers if answer.wait)
    context.set_custom_status(progress | {"waiting": why})
    yield context.create_timer(until)
    context.set_custom_status(progress)


def _slices(start: Start, name: str) -> list[Slice]:
    count = -(-start.slices // SKIMMED) if name in SKIMMING else start.slices
    edges = [start.buckets * n // count for n in range(count + 1)]
    return [
        Slice(job=start.job, directory=start.directory, pass_name=name, low=low, high=high, form=start.form)
        for low, high in pairwise(edges)
        if low < high
    ]


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _milestone(
    context: Any,
    retry: Any,
    start: Start,
    state: str,
    expires: str | None = None,
    reason: str | None = None,
    code: str = "",
    pilot: int | None = None,
) -> Generator[Any, Any, Reached]:
    reached = Milestone(
        job=start.job,
        directory=start.directory,
        state=state,
        expires=expires,
        reason=reason,
        code=code,
        pilot=pilot,
    )
    return (yield from _call(context, retry, "reach_milestone", reached, Reached))


def _end(context: Any, retry: Any, start: Start, state: str, reason: str = "", code: str = "") -> Steps:
    yield from _milestone(context, retry, start, state, reason=reason or None, code=code)
    context.set_custom_status({"phase": state})
    return state
