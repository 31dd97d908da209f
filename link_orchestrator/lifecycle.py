"""How a job begins and ends: it is recorded and started, cancelled or told a verdict, and cleaned up after.

A job is recorded before its orchestration is started. A crash may come between the two, so every later request about
the job starts an orchestration that is missing.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, Protocol, TypeVar

from link_orchestrator.kinds import KINDS, RUN, UNDO, Kind
from link_orchestrator.messages import FORM, Approved, Start
from link_orchestrator.orchestrator import APPROVE, CANCEL, approval_event
from link_orchestrator.run import INSTEAD_OF, PILOT, PILOTS, REVIEWS_FROM, plans_groups, policy_of
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.work.jobs import Job, State
from shared.directory.work.seen import stages_of
from shared.scim.endpoint import Request
from shared.tables.port import Conflict, Unavailable

log = logging.getLogger("scimlink")

MISTAKEN: Final = ("activate", "remove")
"""Codes of jobs that failed by what they were asked for: an undo by a number of accounts that is another by now."""
T = TypeVar("T")

ENDED: Final = frozenset({"Completed", "Failed", "Terminated", "Canceled"})
"""Runtime statuses of an orchestration that has ended."""
LOST: Final = "its orchestration ended without saying how, or is gone. What was done until then stays"
"""Why a job has failed that did not end itself."""


class Orchestrations(Protocol):
    """The part of the durable client that is used here."""

    async def start_new(self, name: str, instance_id: str, client_input: Any) -> str: ...

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> None: ...

    async def get_status(self, instance_id: str) -> Any: ...

    async def purge_instance_history(self, instance_id: str) -> Any: ...


class Client(Orchestrations):
    """The durable client, of which every error is Unavailable: its SDK raises nothing narrower than Exception.

    The extension keeps its instances in storage, too, and a request that it cannot serve is to be sent again.
    """

    def __init__(self, client: Orchestrations) -> None:
        self._client = client

    async def start_new(self, name: str, instance_id: str, client_input: Any) -> str:
        """Start an orchestration. One of that id which has not ended is left: another request was faster."""
        try:
            return await self._client.start_new(name, instance_id, client_input)
        except Exception as error:
            if _is_missing(await self.get_status(instance_id)):
                raise _unavailable(error) from error
            return instance_id

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> None:
        """Tell an orchestration something, unless it has ended."""
        await _asked(self._client.raise_event(instance_id, event_name, event_data))

    async def get_status(self, instance_id: str) -> Any:
        """Return how far an orchestration is."""
        return await _asked(self._client.get_status(instance_id))

    async def purge_instance_history(self, instance_id: str) -> Any:
        """Remove an orchestration."""
        return await _asked(self._client.purge_instance_history(instance_id))


async def _asked(call: Awaitable[T]) -> T:
    try:
        return await call
    except Exception as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> Unavailable:
    log.warning("the orchestrations' client failed with %s", type(error).__name__)
    return Unavailable("the orchestrations do not answer")


def _is_missing(status: Any) -> bool:
    """Tell whether a status says that there is no such orchestration."""
    return status is None or status.runtime_status is None


async def begin(
    directory: Directory, request: Request, client: Orchestrations, kind: Kind, job_id: str, options: Mapping[str, Any]
) -> Job:
    """Record a job and start its orchestration. Raises Busy naming another job that is under way.

    If the orchestration of that other job is dead, the other job has failed, and this one takes its place.
    """
    jobs = directory.jobs
    try:
        try:
            job = await jobs.start(kind.name, request.by, job_id, options, request.person)
        except Busy as busy:
            await refuse_under_way(directory, busy, client)
            job = await jobs.start(kind.name, request.by, job_id, options, request.person)
    except Busy:
        await directory.stages.clear(job_id, stages_of(job_id))
        raise
    return await ensure_started(directory, job, client)


async def begin_instead(
    directory: Directory,
    by: str,
    client: Orchestrations,
    job_id: str,
    options: Mapping[str, Any],
    waiting: Job | None,
) -> Job | None:
    """Record a run, in the place of the one that waits if there is one, and start its orchestration.

    Returns None if somebody was faster: the one that waits was approved, cancelled or reviewed, or another job began.
    """
    jobs = directory.jobs
    try:
        if waiting is None:
            job = await jobs.start(RUN.name, by, job_id, options)
        else:
            why = f"the scheduled run {job_id} took its place, and keeps its reviews where their rows are the same"
            job = await jobs.start_instead(waiting, why, by, job_id, options)
    except (Busy, Conflict):
        return None
    return await settle_begun(directory, job, client)


async def settle_begun(directory: Directory, job: Job, client: Orchestrations) -> Job:
    """Start the orchestration of a recorded run if it has none, and end that of the run whose place it took."""
    if replaced := job.options.get(INSTEAD_OF):
        # An orchestration that is not told, or has ended, does no harm: it finds its job cancelled.
        with suppress(Busy):
            await tell(directory, await directory.jobs.get(replaced), client, CANCEL)
    return await ensure_started(directory, job, client)


async def refuse_under_way(directory: Directory, busy: Busy, client: Orchestrations) -> None:
    """Raise Busy naming the job that holds a lock, unless that job turns out to have ended."""
    if not busy.holder:
        raise busy
    holder = await ensure_started(directory, await directory.jobs.get(busy.holder), client)
    if not holder.state.ended:
        path = f"/{KINDS[holder.kind].path}/{holder.id}"
        text = f"{holder.id} is under way in this directory: GET {path} shows it, POST {path}/cancel ends it"
        raise Busy(text, holder=holder.id)


async def ensure_started(directory: Directory, job: Job, client: Orchestrations) -> Job:
    """Start a job's orchestration if it has none, and never replace one. Returns the job as it is then.

    If the orchestration ended without saying so (it was terminated by hand, or storage was away for too long), or is
    gone, its job has failed, so that the next one can start. An approval of which it was not told it is told again.
    """
    if job.state.ended:
        return job
    status = await client.get_status(job.id)
    missing = _is_missing(status)
    if missing and job.state is State.STARTED:
        await _start(directory, job, client)
    elif missing or status.runtime_status.value in ENDED:
        # An orchestration shows how its job ended before it ends itself: a job that has not ended by now has failed.
        job = await directory.jobs.change(job.id, _failed)
        if job.reason == LOST:
            tell_failed(directory, job, "lost")
        await tidy_up(directory, job.id)
    elif job.state is State.APPROVED and _waits(status):
        await _raise_approval(job, client)
    return job


async def look_after(directory: Directory, client: Orchestrations) -> None:
    """Look at every job that has not ended, as a request would: nobody may have asked for it since it died."""
    for job in await directory.jobs.list_all():
        await ensure_started(directory, job, client)


async def cancel(directory: Directory, job: Job, request: Request, client: Orchestrations) -> Job:
    """Mark a job as cancelled; it stops within a page of work. Raises Busy if it has already ended."""
    job = await ensure_started(directory, job, client)

    def change(job: Job) -> Job:
        _refuse_ended(job)
        if job.cancelled_by:
            return job
        return replace(job, cancelled_by=request.by).told_by("cancelled", request.person)

    job = await directory.jobs.change(job.id, change)
    if KINDS[job.kind].awaits_verdict:
        await tell(directory, job, client, CANCEL)
    return job


async def tell(directory: Directory, job: Job, client: Orchestrations, verdict: str) -> None:
    """Tell a waiting job the administrator's verdict, APPROVE or CANCEL. Raises Busy if the job has ended meanwhile."""
    try:
        await (_raise_approval(job, client) if verdict == APPROVE else client.raise_event(job.id, verdict, {}))
    except Unavailable:  # also if the orchestration is gone
        _refuse_ended(await ensure_started(directory, job, client))
        raise


async def _raise_approval(job: Job, client: Orchestrations) -> None:
    """Tell a job's orchestration what was approved of its plan."""
    told = Approved(pilot=PILOT in job.options)
    await client.raise_event(job.id, approval_event(job.options.get(PILOTS, 0)), told.to_json())


async def tidy_up(directory: Directory, job_id: str) -> None:
    """Release what a job that has ended held: the gate before SCIM, its stages, and its place in a source."""
    await directory.gate.open(job_id)
    runs = await directory.jobs.find_seen()
    # Later runs go on from what the runs of this chain saw, so that is kept.
    await directory.stages.clear(job_id, [] if job_id in runs else stages_of(job_id))
    job = await directory.jobs.get(job_id)
    # Where another run took its place, SCIM goes by this plan until that one has made its own.
    if runs and not job.approved and not job.replaced_by:
        await directory.jobs.withdraw_plan(job_id, runs)
    await directory.readings.forget(job_id)
    if job.kind == RUN.name:
        await directory.findings.clear(job_id)


def tell_failed(directory: Directory, job: Job, code: str) -> None:
    """Log that a job failed, by a code: its reason is for the administrator alone.

    Where what was asked for does not hold, nothing is wrong with the app: whoever asked is told, and nobody is called.
    """
    if code in MISTAKEN:
        log.info("job %s ended by what it was asked for, %s", job.id, code)
    else:
        log.error("job failed: directory=%s kind=%s code=%s job=%s", directory.name, job.kind, code or "other", job.id)


def _refuse_ended(job: Job) -> None:
    if job.state.ended:
        raise Busy(f"phase: the {job.kind} is {job.state} already")


def _waits(status: Any) -> bool:
    """Tell whether an orchestration says that it waits for a verdict."""
    said = status.custom_status
    return isinstance(said, dict) and said.get("phase") == State.PLANNED


def _failed(job: Job) -> Job:
    return job if job.state.ended else replace(job, state=State.FAILED, reason=LOST)


async def _start(directory: Directory, job: Job, client: Orchestrations) -> None:
    orchestrator = KINDS[job.kind].orchestrator
    if orchestrator is None:
        raise ValueError(f"{job.kind} is done once it is recorded")
    start = Start(
        job=job.id,
        directory=directory.name,
        buckets=directory.keys.buckets,
        slices=job.options["slices"],
        expires_hours=job.options.get("expiresHours", 0),
        groups=plans_groups(job),
        reads="source" in job.options,
        compares="since" in job.options,
        prepares=job.kind == UNDO.name,
        returns_names=job.kind == UNDO.name,
        activate=job.options.get("activate"),
        remove=job.options.get("remove"),
        keeps_reviews=REVIEWS_FROM in job.options,
        form=FORM,
        approves_itself=job.kind == RUN.name and policy_of(job).approval_in_force is not None,
    )
    await client.start_new(orchestrator.__name__, job.id, start.to_json())
