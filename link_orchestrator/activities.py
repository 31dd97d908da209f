"""The activities of the orchestrations: run one slice of a pass and keep its counts, and record how far a job is.

Every activity is safe to run twice: after a crash a slice runs again from its start.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Coroutine, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from link_orchestrator import approving, pilot
from link_orchestrator.kinds import KINDS, RUN
from link_orchestrator.lifecycle import tell_failed, tidy_up
from link_orchestrator.messages import (
    FORM,
    Answer,
    Compare,
    Milestone,
    Reached,
    SelfApproval,
    SelfApproved,
    Slice,
    SliceDone,
)
from link_orchestrator.orchestrator import (
    AGAIN_PASSES,
    COMPARE_PASSES,
    GROUP_PLAN_PASSES,
    NAME_PASSES,
    PLAN_PASSES,
    REVIEW_PASSES,
    SUGGEST_PASSES,
)
from link_orchestrator.passes import compare
from link_orchestrator.run import PILOT, chain_of, reviews_of, told_of_reviews
from link_orchestrator.warnings import gather
from shared.directory.directory import Directories, Directory
from shared.directory.text import timestamp
from shared.directory.work.gate import LONGEST
from shared.directory.work.jobs import Job, Jobs, State
from shared.tables.port import Denied, Throttled, Unavailable
from shared.turns import without_full_collections

log = logging.getLogger("scimlink")

PLANNING = frozenset(
    (
        *("changes", *COMPARE_PASSES, *PLAN_PASSES, *AGAIN_PASSES),
        *(*GROUP_PLAN_PASSES, *REVIEW_PASSES, *SUGGEST_PASSES, *NAME_PASSES),
    )
)
"""Passes that write only staged sets and the plan, so they may be dropped anywhere. The others stop by themselves."""
LOOK_SECONDS = 1.0
"""Seconds between two looks at whether the job of such a pass was cancelled."""
ANOTHER_VERSION = (
    "another version of the app began to plan this run, and the two would not make one plan of it; nothing was "
    "changed: start a new run"
)
WAIT_SECONDS = 2.0
"""Seconds after which a slice that waits for an undo looks again."""


async def answered(work: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """Return what an activity answers; if storage is away, that its orchestration is to wait.

    An exception would be retried by the framework alone, for minutes, while nobody sees what the job waits for.
    """
    try:
        return await work
    except (Throttled, Unavailable) as problem:
        log.warning("an activity waits for storage: %s", type(problem).__name__)
        return Answer(away=True, why="the directory's storage does not answer").to_json()
    except Denied as problem:
        log.error("an activity waits for storage: %s", problem)
        return Answer(away=True, why=f"the directory's storage refuses the app: {problem}").to_json()


async def run_slice(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Run one slice of a pass. The answer is a SliceDone."""
    slice_ = Slice.from_json(message)
    directory = await directories.open(slice_.directory)
    jobs = directory.jobs
    job = await jobs.get(slice_.job)
    if job.cancelled_by or job.state.ended:  # ended: another slice failed for good, and this one comes too late
        return SliceDone(stopped=True).to_json()
    if slice_.pass_name in PLANNING and slice_.form != FORM:
        return SliceDone(failed=ANOTHER_VERSION, code="version").to_json()
    if KINDS[job.kind].waits_for_undo and (undo := await _undo_under_way(directory)):
        return SliceDone(wait=WAIT_SECONDS, why=f"{undo.id} is under way").to_json()
    work = KINDS[job.kind].passes[slice_.pass_name](directory, job, slice_)
    with without_full_collections():
        counts = await work if slice_.pass_name not in PLANNING else await _unless_cancelled(jobs, job.id, work)
    if counts is None:
        return SliceDone(stopped=True).to_json()
    await jobs.count(job.id, f"{slice_.pass_name}_{slice_.name}", counts)
    # A pass that was cancelled on the way stopped early, but what it did counts.
    return SliceDone(counts=counts, stopped=bool((await jobs.get(job.id)).cancelled_by)).to_json()


async def _undo_under_way(directory: Directory) -> Job | None:
    """Return the undo for which imports wait, or None; longer than the gate is closed for it they do not wait."""
    undo = await directory.jobs.find_undo()
    since = timestamp(datetime.fromisoformat(directory.jobs.now()) - LONGEST)
    return undo if undo and undo.started > since else None


async def _unless_cancelled(jobs: Jobs, job_id: str, work: Coroutine[Any, Any, Counter[str]]) -> Counter[str] | None:
    """Return the result of work that may be dropped anywhere, or drop it and return None once its job is cancelled."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if (await jobs.get(job_id)).cancelled_by:
                return None
        return task.result()
    finally:
        task.cancel()


async def choose_extent(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Decide whether a run plans everything or only what changed. The answer is an Extent."""
    asked = Compare.from_json(message)
    directory = await directories.open(asked.directory)
    return (await compare.choose_extent(directory, asked.job)).to_json()


async def approve_itself(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Approve a planned run if the directory's policy lets it approve itself. The answer is a SelfApproved."""
    asked = SelfApproval.from_json(message)
    directory = await directories.open(asked.directory)
    return SelfApproved(approved=await approving.approve_itself(directory, asked.job)).to_json()


async def reach_milestone(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Record in the tables that a job has reached a state, with its counts. The answer is a Reached.

    A plan that was approved does not expire, though its orchestration did not hear of it in time.
    """
    reached = Milestone.from_json(message)
    directory = await directories.open(reached.directory)
    jobs = directory.jobs
    state = State(reached.state)
    if state is State.PLANNED and (job := await jobs.get(reached.job)).reviewed and job.state is State.STARTED:
        # Reviews that it kept of another run count as if they were made in it.
        await jobs.count(job.id, "review", await reviews_of(directory, job.id).total())
    counts = await jobs.total(reached.job)
    if state.ended or reached.pilot is not None:
        # Before the job shows that it has ended, or waits again: whoever sees that must find SCIM open.
        await directory.gate.open(reached.job)
    if state is State.DONE and (run := await jobs.get(reached.job)).kind == RUN.name:
        await compare.note_done(directory, run)

    warned = None
    if state is State.PLANNED and (run := await jobs.get(reached.job)).state is State.STARTED:
        warned = await gather(directory, run, counts)

    def change(job: Job) -> Job:
        if reached.pilot is not None:
            return pilot.ended(job, reached.pilot, counts)
        if job.state.ended or (state is State.PLANNED and job.state is not State.STARTED):
            # The activity ran before, but its answer was lost. Somebody may have approved the run since.
            return job
        if state is State.EXPIRED and job.state is State.APPROVED and not job.cancelled_by:
            return job
        if state is State.PLANNED:
            job = replace(job, planned=jobs.now(), expires=reached.expires, warned=warned)
        reason = reached.reason if state is not State.PLANNED else told_of_reviews(job, counts)
        if state is State.DONE and job.kind == RUN.name:
            reason = reason or compare.nothing_changed(job)
        return replace(job, state=state, counts=counts, reason=reason)

    if state is State.PLANNED and not (job := await jobs.get(reached.job)).state.ended:
        # Before the job shows that it is planned: whoever sees that must find SCIM go by this plan.
        await jobs.note_planned(chain_of(job))
    job = await jobs.change(reached.job, change)
    if job.state.ended:
        if job.state is State.FAILED:
            tell_failed(directory, job, reached.code)
        await tidy_up(directory, job.id)
    elif state is State.EXPIRED:
        await approving.pause(directory, job)  # the gate was opened above
    if reached.pilot is not None and pilot.is_ended(job, reached.pilot):
        return Reached(state=State.PLANNED).to_json()  # also if somebody has approved the rest since
    return Reached(state=job.state, pilot=job.state is State.APPROVED and PILOT in job.options).to_json()
