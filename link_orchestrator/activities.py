"""What the orchestrations' activities do: find the job and the slice, run the pass, keep its counts.

Every pass is safe to run twice: a slice that a crash cut off is run again from its start.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine, Mapping
from dataclasses import replace
from typing import Any

from link_orchestrator.kinds import KINDS, RUN
from link_orchestrator.lifecycle import tidy_up
from link_orchestrator.messages import Compare, Milestone, Slice, SliceDone
from link_orchestrator.orchestrator import AGAIN_PASSES, COMPARE_PASSES, GROUP_PLAN_PASSES, PLAN_PASSES
from link_orchestrator.passes import compare
from link_orchestrator.run import chain_of
from shared.directory.directory import Directories
from shared.directory.work.jobs import Job, Jobs, Phase

PLANNING = frozenset(("changes", *COMPARE_PASSES, *PLAN_PASSES, *AGAIN_PASSES, *GROUP_PLAN_PASSES))
"""Passes that change nothing but what is staged and planned. The others leave off by themselves, between two pages."""
LOOK_SECONDS = 1.0
"""So often it is asked, while one of these runs, whether its job was cancelled."""


async def run_slice(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Run one slice of a pass; answers its counts, or that the job was cancelled."""
    part = Slice.from_json(message)
    directory = await directories.open(part.directory)
    jobs = directory.jobs
    job = await jobs.get(part.job)
    if job.cancelled_by or job.phase.ended:  # where another slice failed for good, this one comes too late
        return SliceDone(stopped=True).to_json()
    work = KINDS[job.kind].passes[part.pass_name](directory, job, part)
    counts = await work if part.pass_name not in PLANNING else await _unless_cancelled(jobs, job.id, work)
    if counts is None:
        return SliceDone(stopped=True).to_json()
    await jobs.count(job.id, f"{part.pass_name}_{part.name}", counts)
    # Cancelled on the way, a pass leaves off early; what it did is counted all the same.
    return SliceDone(counts=counts, stopped=bool((await jobs.get(job.id)).cancelled_by)).to_json()


async def _unless_cancelled(jobs: Jobs, job_id: str, work: Coroutine[Any, Any, Counter[str]]) -> Counter[str] | None:
    """Do work that may be dropped at any point, as by a crash; return None as soon as its job is cancelled."""
    task = asyncio.create_task(work)
    try:
        while not (await asyncio.wait({task}, timeout=LOOK_SECONDS))[0]:
            if (await jobs.get(job_id)).cancelled_by:
                return None
        return task.result()
    finally:
        task.cancel()


async def choose_extent(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Say whether a run plans only what changed; answers an Extent."""
    asked = Compare.from_json(message)
    directory = await directories.open(asked.directory)
    return (await compare.choose_extent(directory, asked.job)).to_json()


async def reach_milestone(directories: Directories, message: Mapping[str, Any]) -> dict[str, Any]:
    """Show a job's new phase, and what it came to, in the tables; answers nothing."""
    reached = Milestone.from_json(message)
    directory = await directories.open(reached.directory)
    jobs = directory.jobs
    phase = Phase(reached.state)
    counts = await jobs.total(reached.job)
    if phase.ended:
        # Whoever sees that it has ended may write at once.
        await directory.gate.open(reached.job)
    if phase is Phase.DONE and (run := await jobs.get(reached.job)).kind == RUN.name:
        await compare.note_done(directory, run)

    def change(job: Job) -> Job:
        if job.phase.ended or (phase is Phase.PLANNED and job.phase is not Phase.STARTED):
            # The activity ran before and its answer was lost; somebody may have approved since.
            return job
        if phase is Phase.PLANNED:
            job = replace(job, planned=jobs.now(), expires=reached.expires)
        reason = reached.reason
        if phase is Phase.DONE and job.kind == RUN.name:
            reason = reason or compare.nothing_changed(job)
        return replace(job, phase=phase, counts=counts, reason=reason)

    job = await jobs.change(reached.job, change)
    if phase is Phase.PLANNED and job.planned and not job.phase.ended:
        # Also where it ran before, died, and somebody approved since.
        await jobs.note_planned(chain_of(job))
    if job.phase.ended:
        await tidy_up(directory, job.id)
    return {}
