"""Jobs over HTTP: what every request about an import, a run or an undo has in common.

A job is recorded before its orchestration starts; whoever meets one that was recorded and not started (a crash between
the two) starts it. What each job is asked for is in the neighbours: requests/runs.py, and a module for each further
kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

from link_orchestrator.messages import Start
from shared.directory.directory import Directory
from shared.directory.errors import Busy, NotFound
from shared.directory.text import dump
from shared.directory.work.jobs import Job, Phase
from shared.directory.work.plan import PAGE, InvalidCursor, PlanRow
from shared.directory.work.seen import stages_of
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

IMPORT, RUN, IDENTITIES = "import", "run", "identities"
UNDO, VERIFICATION = "undo", "verification"
GROUP_IMPORT, ENTRA_GROUPS = "groupimport", "entragroups"
PATHS = {
    IMPORT: "accounts/imports",
    RUN: "linking/runs",
    IDENTITIES: "linking/identities",
    UNDO: "linking/undos",
    VERIFICATION: "linking/verifications",
    GROUP_IMPORT: "groups/imports",
    ENTRA_GROUPS: "linking/groups",
}
ORCHESTRATORS = {
    IMPORT: "import_accounts",
    RUN: "link_accounts",
    UNDO: "undo_links",
    VERIFICATION: "verify_links",
    GROUP_IMPORT: "import_groups",
}
ENDED = frozenset({"Completed", "Failed", "Terminated", "Canceled"})
"""Run-time statuses of an orchestration that does nothing any more."""
ITEMS_A_SLICE = 2_000
"""So many accounts and identities make one slice of a pass, up to one a bucket."""
MEMBERSHIPS_AN_ACCOUNT = 10
"""So many memberships take about as long as an account."""


class Orchestrations(Protocol):
    """The durable client, as far as it is used here."""

    async def start_new(self, name: str, instance_id: str, client_input: Any) -> str: ...

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> None: ...

    async def get_status(self, instance_id: str) -> Any: ...


def slices(items: int) -> int:
    """Return into how many slices the passes over so many items are cut."""
    return max(1, -(-items // ITEMS_A_SLICE))


async def cancel_job(directory: Directory, request: Request, client: Orchestrations, kind: str) -> Job:
    """Mark a job as cancelled; it stops within a page of work. Raises Busy if it has ended already."""
    job = await started(directory, await get_job(directory, request, kind), client)

    def change(job: Job) -> Job:
        _refuse_ended(job)
        return replace(job, cancelled_by=job.cancelled_by or request.by)

    return await directory.jobs.change(job.id, change)


async def tell(directory: Directory, job: Job, client: Orchestrations, verdict: str) -> None:
    """Hand a verdict to the run. Raises Busy if the run has ended meanwhile."""
    try:
        await client.raise_event(job.id, verdict, {})
    # The SDK raises no narrower one where the orchestration is gone.
    except Exception:
        _refuse_ended(await started(directory, job, client))
        raise


def _refuse_ended(job: Job) -> None:
    if job.phase.ended:
        raise Busy(f"phase: the {job.kind} is {job.phase} already")


async def begin(
    directory: Directory, request: Request, client: Orchestrations, kind: str, job_id: str, options: Mapping[str, Any]
) -> Job:
    """Record a job and start its orchestration. Raises Busy naming the job under way, which is started if it was not.

    A job under way whose orchestration is dead has failed by that, and this one takes its place.
    """
    jobs = directory.jobs
    try:
        try:
            job = await jobs.start(kind, request.by, job_id, options)
        except Busy as busy:
            if not busy.holder:
                raise
            holder = await started(directory, await jobs.get(busy.holder), client)
            if not holder.phase.ended:
                path = f"/{PATHS[holder.kind]}/{holder.id}"
                text = f"{holder.id} is under way in this directory: GET {path} shows it, POST {path}/cancel ends it"
                raise Busy(text) from None
            job = await jobs.start(kind, request.by, job_id, options)
    except Busy:
        await directory.stages.clear(job_id, stages_of(job_id))
        raise
    return await started(directory, job, client)


async def started(directory: Directory, job: Job, client: Orchestrations) -> Job:
    """Return the job as it is once it has an orchestration: one that is there must never be replaced.

    An orchestration that ended without a word (terminated by hand, or storage was away for too long) leaves its job
    failed, so that the next one can start.
    """
    if job.phase.ended:
        return job
    status = await client.get_status(job.id)
    if status is None or status.runtime_status is None:
        if job.phase is Phase.STARTED:
            await _start(directory, job, client)
    elif status.runtime_status.value in ENDED:
        # Its last milestone comes before its end: read again, the job has ended unless the milestone is missing.
        job = await directory.jobs.change(job.id, _failed)
        await tidy_up(directory, job.id)
    return job


async def tidy_up(directory: Directory, job_id: str) -> None:
    """Let go of what a job that has ended held: the gate before SCIM, its stages, and where it read on."""
    await directory.gate.open(job_id)
    runs = await directory.jobs.find_seen()
    # What a run saw is of use to others if it is in their chain.
    await directory.stages.clear(job_id, [] if job_id in runs else stages_of(job_id))
    if runs and not (await directory.jobs.get(job_id)).approved:
        await directory.jobs.withdraw_plan(job_id, runs)
    await directory.readings.forget(job_id)


def _failed(job: Job) -> Job:
    return job if job.phase.ended else replace(job, phase=Phase.FAILED)


async def _start(directory: Directory, job: Job, client: Orchestrations) -> None:
    start = Start(
        job=job.id,
        directory=directory.name,
        buckets=directory.keys.buckets,
        slices=job.options["slices"],
        expires_hours=job.options.get("expiresHours", 0),
        groups="groups" in job.options,
        reads="source" in job.options,
        compares="since" in job.options,
    )
    await client.start_new(ORCHESTRATORS[job.kind], job.id, start.to_json())


async def show(directory: Directory, request: Request, client: Orchestrations, kind: str) -> Response:
    """Return a job: its phase, its counts, its progress."""
    job = await started(directory, await get_job(directory, request, kind), client)
    status = await client.get_status(job.id)
    return answer(job, request, 200, getattr(status, "custom_status", None))


async def get_job(directory: Directory, request: Request, kind: str) -> Job:
    """Return the job that a request names. Raises NotFound for none, and for one of another kind."""
    job = await directory.jobs.get(request.id)
    if job.kind != kind:
        raise NotFound(f"no {kind} {request.id}")
    return job


async def list_rows(
    directory: Directory, request: Request, decision: str, name: str, label: str = "decision"
) -> Response:
    """Return a page of a job's rows of one decision ("" for all), under a name; `label` is what decisions are here."""
    plan = directory.plan(request.id)
    try:
        rows, cursor = await plan.page(decision, request.params.get("cursor", ""), read_count(request))
    except InvalidCursor as error:
        raise InvalidValue(f"cursor: {error}") from None
    page: dict[str, Any] = {name: [_row(row, name, label) for row in rows]}
    return Response(200, dump(page | ({"cursor": cursor} if cursor else {})))


def _row(row: PlanRow, name: str, label: str) -> dict[str, Any]:
    document = row.to_json()
    told = {label: document.pop("decision"), **document}
    # Only of a decision more is asked, so only that needs an id.
    return {"id": row.id, **told} if name == "decisions" else told


def shown(job: Job) -> dict[str, Any]:
    """Return a job as the API shows it: counts of decisions, of predicted outcomes, of reviews; links to approve."""
    counts, groups = _grouped(job.counts)
    links = counts.get("link", 0) + groups.get("review", {}).pop("links", 0)
    groups.pop("carried", None)
    return job.to_json() | {"counts": counts} | groups | ({"links": links} if job.kind == RUN and job.planned else {})


def _grouped(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Return counts with plain names, and those like `predicted.matched` by their first word."""
    plain, groups = dict[str, int](), dict[str, dict[str, int]]()
    for name, count in counts.items():
        group, dot, rest = name.partition(".")
        (groups.setdefault(group, {}) if dot else plain)[rest if dot else name] = count
    return plain, groups


def read_count(request: Request) -> int:
    """Return how many rows a page is to have. Raises InvalidValue."""
    count = request.params.get("count", str(PAGE))
    if not count.isdecimal() or len(count) > 4 or not 1 <= int(count) <= 1000:
        raise InvalidValue("count: a number from 1 to 1000")
    return int(count)


def answer(job: Job, request: Request, status: int, progress: object = None) -> Response:
    """Return a job as JSON, with its address; `progress` is shown while it lasts."""
    document = shown(job)
    if isinstance(progress, dict) and not job.phase.ended:
        counts = {"counts": _grouped(progress["counts"])[0]} if "counts" in progress else {}
        document["progress"] = progress | counts
    location = f"{request.base.removesuffix('/scim/v2')}/{PATHS[job.kind]}/{job.id}"
    return Response(status, dump(document), location=location)
