"""The runs that the schedule in the directory's policy starts, by a timer; what it did last, and going on with it.

Which run comes next is noted before it begins. So of two timers at once one starts it, and where a crash comes between
the two, the next timer starts the run that was noted. A scheduled run that still waits for approval when the next one
is due makes room for it, in one transaction, and hands its reviews on (passes/keep_reviews.py). A run that a person
started makes room for nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple

from link_orchestrator.kinds import RUN, UNDO
from link_orchestrator.lifecycle import Orchestrations, begin_instead, ensure_started, settle_begun
from link_orchestrator.requests.runs import RunRequest, prepare
from link_orchestrator.run import INSTEAD_OF, ONLY_EXCLUDES, REVIEWS_FROM, SCHEDULED, ended_in_words
from link_orchestrator.schedule import is_due, next_start, suspend_for
from link_orchestrator.source import RunSource, Sources, refuse_unready
from shared.directory.directory import Directory
from shared.directory.errors import Busy, NotFound
from shared.directory.policies import SCHEDULE, Stored, Switch
from shared.directory.schedule import ScheduleState
from shared.directory.work.activity import Deed
from shared.directory.work.jobs import Job, State
from shared.json_text import dump
from shared.scim.endpoint import Request, Response


class Way(NamedTuple):
    """What is in the way of a scheduled run: why it can not begin, or the one that makes room for it."""

    blocked: str = ""
    waiting: Job | None = None


async def get_schedule(directory: Directory, request: Request) -> Response:
    """Return the schedule: who switched it on, its last and its next run, and whether it is suspended and why."""
    stored, state = await directory.policies.read(), await directory.schedule.get()
    switch = stored.switches.get(SCHEDULE)
    people = await directory.activity.people([switch.by] if switch else [])
    return Response(200, dump(_shown(stored, state, people)))


async def resume_schedule(directory: Directory, request: Request) -> Response:
    """Let the schedule go on that an undo has suspended. Saying it again is no error."""
    await directory.schedule.resume(request.by)
    return await get_schedule(directory, request)


async def start_due(directory: Directory, client: Orchestrations, sources: Sources) -> None:
    """Start the run that is due by the directory's schedule, if there is one, or note why it is put off."""
    stored, state = await directory.policies.read(), await directory.schedule.get()
    schedule = stored.policy.schedule_in_force
    if schedule is None or state.suspended:
        return
    if ended := ended_in_words(stored):
        await _put_off(directory, state, ended)
        return
    switch = stored.switches[SCHEDULE]
    if not is_due(next_start(schedule, switch, state), directory.schedule.now()):
        return
    begun = None if state.begun else await _find(directory, state.run)
    if begun is None:
        way = await _look_ahead(directory, client, sources)
        if way.blocked:
            await _put_off(directory, state, way.blocked)
            return
        noted = await _note(directory, state)
        if noted is None:
            return  # another timer is at it
        begun = await _begin(directory, client, sources, stored, noted, way.waiting)
        if begun is None:
            return
        await directory.activity.note(Deed("linking_run_start", begun.by, job=begun.id))
        state = noted
    await settle_begun(directory, begun, client)
    await directory.schedule.save(state, replace(state, begun=True, skipped=""))


async def _look_ahead(directory: Directory, client: Orchestrations, sources: Sources) -> Way:
    """Return what is in the way of a run now. An undo that is under way suspends the schedule."""
    try:
        refuse_unready(sources, directory.name)
    except Busy as unready:
        return Way(str(unready))
    waiting = None
    for kind in (RUN, UNDO):
        holder = await directory.jobs.find_under_way(kind.name)
        holder = holder and await ensure_started(directory, holder, client)
        if holder is None or holder.state.ended:
            continue
        if holder.kind == UNDO.name:
            await suspend_for(directory, holder)
            return Way(f"{holder.id} is under way")
        if holder.state is not State.PLANNED or holder.cancelled_by:
            return Way(f"{holder.id} is under way")
        if not holder.options.get(SCHEDULED):
            return Way(f"{holder.id}, which {holder.by} started, waits for approval: approve or cancel it")
        waiting = holder
    return Way(waiting=waiting)


async def _put_off(directory: Directory, state: ScheduleState, why: str) -> None:
    if state.skipped != why:
        await directory.schedule.save(state, replace(state, skipped=why))


async def _note(directory: Directory, state: ScheduleState) -> ScheduleState | None:
    """Note the run that is about to begin, unless it is noted already. Returns None if another timer was faster."""
    if not state.begun:
        return state
    run = directory.jobs.new_id(RUN.name)
    after = replace(state, run=run, started=directory.schedule.now(), begun=False, skipped="")
    return await directory.schedule.save(state, after)


async def _begin(
    directory: Directory,
    client: Orchestrations,
    sources: Sources,
    stored: Stored,
    state: ScheduleState,
    waiting: Job | None,
) -> Job | None:
    """Start the run that is noted. Returns None if somebody else was faster: the next timer looks again."""
    schedule = stored.policy.schedule_in_force
    groups = True if stored.policy.excluded_groups else None
    asked = RunRequest(source=RunSource.model_validate(schedule.source if schedule else {}), groups=groups)
    options = await prepare(directory, asked, sources, state.run)
    options[SCHEDULED] = True
    if groups:
        # Only a person approves groups that are to be linked, and nobody has asked for these.
        options[ONLY_EXCLUDES] = True
    if waiting is not None:
        options[INSTEAD_OF] = waiting.id
    if former := await _with_reviews(directory, waiting):
        options[REVIEWS_FROM] = former
    by = f"{SCHEDULE}:{stored.switches[SCHEDULE].by}"
    return await begin_instead(directory, by, client, state.run, options, waiting)


async def _with_reviews(directory: Directory, waiting: Job | None) -> str | None:
    """Return the run whose reviews the next one keeps: the one that waits, or the last one, if it just came to nothing.

    Who approved a run, or cancelled its plan, has decided on its reviews.
    """
    if waiting is not None:
        return waiting.id
    last = await directory.jobs.find_last(RUN.name)
    if last is None or not last.options.get(SCHEDULED) or last.approved or last.state is State.DONE:
        return None
    if last.planned:
        return None if last.state is State.CANCELLED else last.id
    # It took the place of another, and never came to a plan of its own.
    return last.options.get(REVIEWS_FROM)


async def _find(directory: Directory, job_id: str) -> Job | None:
    with suppress(NotFound):
        return await directory.jobs.get(job_id)
    return None


def _shown(stored: Stored, state: ScheduleState, people: Mapping[str, str]) -> Mapping[str, Any]:
    schedule, switch = stored.policy.schedule_in_force, stored.switches.get(SCHEDULE)
    suspended = {"since": state.suspended, "by": state.suspended_by, "why": state.why}
    return {
        "schedule": schedule.to_json() if schedule else None,
        "switchedOn": _switch(switch, people) if switch else None,
        "lastRun": state.run or None,
        "lastStart": state.started or None,
        "nextStart": next_start(schedule, switch, state) if schedule and switch and not state.suspended else None,
        "putOff": state.skipped or None,
        "suspended": suspended if state.suspended else None,
    }


def _switch(switch: Switch, people: Mapping[str, str]) -> Mapping[str, str]:
    return {"by": switch.by, "at": switch.at} | ({"person": people[switch.by]} if switch.by in people else {})
