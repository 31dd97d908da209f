"""The order of the passes, as pure generators: no Azure import, no clock, no I/O. Durable Functions replays them.

A replay costs as much as its history is long, so an activity takes a slice of buckets and a pass has at most as many
activities as a directory has buckets, a window of them at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from link_orchestrator.messages import Compare, Extent, Milestone, Read, ReadDone, Slice, SliceDone, Start

Steps = Generator[Any, Any, Any]

PLAN_PASSES = ("collect", "join", "weigh", "decide")
COMPARE_PASSES = ("lead", "touch", "gather")
AGAIN_PASSES = tuple(f"{stage}_again" for stage in PLAN_PASSES)
"""The same over what changed since the runs before, which the passes before these found."""
APPLY_PASSES = ("reserve", "apply")
UNDO_PASSES = ("undo", "undo_groups")
VERIFY_PASSES = ("look", "compare", "settle")
GROUP_PLAN_PASSES, GROUP_APPLY_PASSES = ("resolve_members", "decide_groups"), ("apply_groups",)
"""What comes behind these in a run that plans groups."""
SKIMMING = ("changes", "gather")
"""Passes that skim everything for what changed: of each identity or account they read a line, ..."""
SKIMMED = 4
"""... so their slices hold so many of the others'."""
UNCHANGED_TOO = (*SKIMMING, *GROUP_PLAN_PASSES, *GROUP_APPLY_PASSES)
"""Passes that look through everything whatever changed."""
WINDOW = 8
"""Slices of a pass that are under way at once."""
APPROVE, CANCEL = "approve", "cancel"


def link_accounts(context: Any, retry: Any) -> Steps:
    """Plan a run, wait for its approval, apply it. Returns the phase it ended in."""
    return (yield from _job(context, retry, _link))


def import_accounts(context: Any, retry: Any) -> Steps:
    """Bring the accounts of a staged file into the directory. Returns the phase it ended in."""
    return (yield from _job(context, retry, _import))


def undo_links(context: Any, retry: Any) -> Steps:
    """Take a run's links back. Returns the phase it ended in."""
    return (yield from _job(context, retry, _undo))


def verify_links(context: Any, retry: Any) -> Steps:
    """Look what provisioning made of a run's links. Returns the phase it ended in."""
    return (yield from _job(context, retry, _verify))


def import_groups(context: Any, retry: Any) -> Steps:
    """Bring the groups of a staged file into the directory. Returns the phase it ended in."""
    return (yield from _job(context, retry, _import_groups))


def _job(context: Any, retry: Any, body: Callable[[Any, Any, Start], Steps]) -> Steps:
    """Run a job's steps; whatever goes wrong for good is shown in the tables, and the directory is free again."""
    start = Start.from_json(context.get_input())
    try:
        return (yield from body(context, retry, start))
    except Exception:
        yield _milestone(context, retry, start, "failed")
        raise


def _link(context: Any, retry: Any, start: Start) -> Steps:
    if start.reads:
        done = yield from _read(context, retry, start)
        if done.failed or done.stopped:
            return (yield from _end(context, retry, start, "failed" if done.failed else "cancelled", done.failed))
        start = start.model_copy(update={"slices": done.slices})
    extent = Extent(everything=True)
    if start.compares:
        if (yield from _pass(context, retry, start, "changes", "plan")) is None:
            return (yield from _end(context, retry, start, "cancelled"))
        asked = Compare(job=start.job, directory=start.directory)
        extent = Extent.from_json((yield context.call_activity_with_retry("choose_extent", retry, asked.to_json())))
    planned = yield from _passes(context, retry, _cut(start, extent, _planning(start, extent)), "plan")
    if planned is None:
        return (yield from _end(context, retry, start, "cancelled"))
    if not (extent.everything or extent.slices or planned["groupLink"]):
        return (yield from _end(context, retry, start, "done"))
    verdict = yield from _verdict(context, retry, start)
    if verdict != APPROVE:
        return (yield from _end(context, retry, start, "cancelled" if verdict == CANCEL else "expired"))
    stages = APPLY_PASSES + (GROUP_APPLY_PASSES if start.groups else ())
    applied = yield from _passes(context, retry, _cut(start, extent, stages), "apply")
    return (yield from _end(context, retry, start, "cancelled" if applied is None else "done"))


def _planning(start: Start, extent: Extent) -> tuple[str, ...]:
    """Return the passes that make a plan of this extent."""
    again = COMPARE_PASSES + AGAIN_PASSES if extent.slices else ()
    return (PLAN_PASSES if extent.everything else again) + (GROUP_PLAN_PASSES if start.groups else ())


def _cut(start: Start, extent: Extent, stages: tuple[str, ...]) -> list[tuple[str, Start]]:
    """Return passes, each cut into as many slices as it has work for."""
    few = start.model_copy(update={"slices": max(1, extent.slices)})
    return [(stage, start if extent.everything or stage in UNCHANGED_TOO else few) for stage in stages]


def _import(context: Any, retry: Any, start: Start) -> Steps:
    return (yield from _through(context, retry, start, ("import",), "import"))


def _undo(context: Any, retry: Any, start: Start) -> Steps:
    return (yield from _through(context, retry, start, UNDO_PASSES, "undo"))


def _verify(context: Any, retry: Any, start: Start) -> Steps:
    return (yield from _through(context, retry, start, VERIFY_PASSES, "verify"))


def _import_groups(context: Any, retry: Any, start: Start) -> Steps:
    return (yield from _through(context, retry, start, ("import_groups",), "import"))


def _through(context: Any, retry: Any, start: Start, stages: tuple[str, ...], phase: str) -> Steps:
    """Run passes one after the other, and end the job: done, or cancelled on the way."""
    counts = yield from _passes(context, retry, [(stage, start) for stage in stages], phase)
    return (yield from _end(context, retry, start, "cancelled" if counts is None else "done"))


def _read(context: Any, retry: Any, start: Start) -> Steps:
    """Read the run's identities, some seconds an activity. Returns the ReadDone that says how it ended."""
    asked = Read(job=start.job, directory=start.directory)
    progress = {"phase": "plan", "pass": "read", "since": _moment(context.current_utc_datetime), "read": 0}
    while True:
        context.set_custom_status(progress)
        answer = yield context.call_activity_with_retry("read_identities", retry, asked.to_json())
        done = ReadDone.from_json(answer)
        if done.slices or done.failed or done.stopped:
            return done
        groups = {"groups": done.groups} if done.groups else {}
        progress = {**progress, "read": done.read, **groups, "waiting": done.why}
        if done.wait:
            context.set_custom_status(progress)
            yield context.create_timer(context.current_utc_datetime + timedelta(seconds=done.wait))


def _verdict(context: Any, retry: Any, start: Start) -> Steps:
    """Wait until somebody approves or cancels, or the plan expires."""
    deadline = context.current_utc_datetime + timedelta(hours=start.expires_hours)
    expires = _moment(deadline)
    yield _milestone(context, retry, start, "planned", expires)
    context.set_custom_status({"phase": "planned", "expires": expires})
    approved, cancelled = context.wait_for_external_event(APPROVE), context.wait_for_external_event(CANCEL)
    expired = context.create_timer(deadline)
    winner = yield context.task_any([approved, cancelled, expired])
    if winner != expired:
        expired.cancel()
    return APPROVE if winner == approved else CANCEL if winner == cancelled else "expire"


def _passes(context: Any, retry: Any, stages: Iterable[tuple[str, Start]], phase: str) -> Steps:
    """Run passes one after the other. Returns their counts, or None if the job was cancelled meanwhile."""
    total: Counter[str] = Counter()
    for stage, start in stages:
        counts = yield from _pass(context, retry, start, stage, phase)
        if counts is None:
            return None
        total.update(counts)
    return total


def _pass(context: Any, retry: Any, start: Start, stage: str, phase: str) -> Steps:
    """Run one activity over every slice, a window at a time. Returns the counts, or None as _passes()."""
    slices = _slices(start, stage)
    counts: Counter[str] = Counter()
    since = _moment(context.current_utc_datetime)
    for at in range(0, len(slices), WINDOW):
        _show(context, {"phase": phase, "pass": stage, "since": since, "done": at, "of": len(slices)}, counts)
        window = slices[at : at + WINDOW]
        done = yield context.task_all(
            [context.call_activity_with_retry("run_slice", retry, part.to_json()) for part in window]
        )
        for answer in map(SliceDone.from_json, done):
            counts.update(answer.counts)
            if answer.stopped:
                return None
    return counts


def _slices(start: Start, stage: str) -> list[Slice]:
    many = -(-start.slices // SKIMMED) if stage in SKIMMING else start.slices
    edges = [start.buckets * n // many for n in range(many + 1)]
    return [
        Slice(job=start.job, directory=start.directory, stage=stage, low=low, high=high)
        for low, high in pairwise(edges)
        if low < high
    ]


def _show(context: Any, progress: dict[str, Any], counts: Counter[str]) -> None:
    context.set_custom_status(progress | {"counts": dict(counts)})


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _milestone(
    context: Any, retry: Any, start: Start, phase: str, expires: str | None = None, reason: str | None = None
) -> Any:
    reached = Milestone(job=start.job, directory=start.directory, phase=phase, expires=expires, reason=reason)
    return context.call_activity_with_retry("reach_milestone", retry, reached.to_json())


def _end(context: Any, retry: Any, start: Start, phase: str, reason: str = "") -> Steps:
    yield _milestone(context, retry, start, phase, reason=reason or None)
    context.set_custom_status({"phase": phase})
    return phase
