"""What an administrator can ask for over HTTP: import accounts, upload identities, plan, look, approve, cancel.

Files are read and staged within the request, so that nothing but the tables is needed afterwards; the work itself is
the orchestrations'. What all requests about jobs share is in job_requests.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from link_orchestrator.accounts_file import AccountRow, read_accounts
from link_orchestrator.from_file import read_identities
from link_orchestrator.importing import PROBLEM, write_problems
from link_orchestrator.job_requests import (
    IDENTITIES,
    IMPORT,
    RUN,
    Orchestrations,
    answer,
    begin,
    cancel_job,
    get_job,
    list_rows,
    show,
    slices,
    started,
    tell,
)
from link_orchestrator.orchestrator import APPROVE, CANCEL
from link_orchestrator.planning import STAGES, identity_bucket, stage
from link_orchestrator.tabular import Problem, UnreadableFile
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.identity import Identity
from shared.directory.jobs import Job, Phase
from shared.directory.keys import Key
from shared.directory.matching import DecisionKind
from shared.directory.model import dump
from shared.directory.policy import Policy
from shared.directory.stages import is_older
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue

ROWS_AT_ONCE = 200
"""After so many rows of a file other requests get their turn."""
MAX_FILE_BYTES = 100 * 1024 * 1024
"""A file is in memory while it is staged."""
UPLOAD_DAYS = 30
"""So long may runs be started over an upload of identities; then the nightly sweep removes it."""


class RunRequest(BaseModel):
    """The body of POST /linking/runs. `identities` is the id that an upload of identities was answered with."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    identities: str
    policy: dict[str, Any] | None = None
    expires_hours: float = Field(default=7 * 24, gt=0, le=30 * 24)


class Approval(BaseModel):
    """The body of an approval. `links`, where given, must be the number of links in the plan."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    links: int | None = None


async def import_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the accounts of a file and start their import: 202 with the import's address."""
    jobs = directory.jobs
    job_id = jobs.new_id(IMPORT)
    await directory.stages.announce(job_id, [job_id])
    writer, counts = stage(directory, job_id).writer(), Counter[str]()

    async def add(row: AccountRow) -> None:
        found_by = directory.keys.digest(Key("userName", row.user_name))
        await writer.add(directory.keys.bucket(found_by), row.to_json())

    rows = read_accounts([_file(request)], content_type=request.content_type, mapping=_mapping(request))
    await _stage(directory, job_id, rows, add, counts)
    await writer.close()
    await jobs.count(job_id, "file", {"refused": counts["problems"]})
    options = {"rows": counts["read"], "slices": slices(counts["read"])}
    return answer(await begin(directory, request, client, IMPORT, job_id, options), request, 202)


async def get_import(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return an import: its phase, its counts, its progress."""
    return await show(directory, request, client, IMPORT)


async def cancel_import(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel an import: 202. It stops within some hundred rows; what it brought in already stays."""
    return answer(await cancel_job(directory, request, client, IMPORT), request, 202)


async def list_problems(directory: Directory, request: Request) -> Response:
    """List the rows that were not imported: line, reason, remedy."""
    await get_job(directory, request, IMPORT)
    return await list_rows(directory, request, PROBLEM, "problems")


async def upload_identities(directory: Directory, request: Request) -> Response:
    """Stage the identities of a file for runs to come: 201 with the id to name in POST /linking/runs.

    `after` names the upload of a former part, whose identities belong to this upload, too.
    """
    jobs = directory.jobs
    after = request.params.get("after")
    former = await _upload(directory, after, "after") if after else None
    job_id = jobs.new_id(IDENTITIES)
    await directory.stages.announce(job_id, [job_id], days=UPLOAD_DAYS)
    writer, counts = stage(directory, job_id).writer(), Counter[str]()

    async def add(identity: Identity) -> None:
        await writer.add(identity_bucket(directory, identity.object_id), identity.to_json())

    rows = read_identities([_file(request)], content_type=request.content_type)
    await _stage(directory, job_id, rows, add, counts)
    await writer.close()
    total = {n: counts[n] + (former.counts[n] if former else 0) for n in ("read", "problems")}
    options = {"parts": [*_parts(former), job_id]} if former else {}
    return answer(await jobs.record(IDENTITIES, request.by, job_id, total, options), request, 201)


async def _upload(directory: Directory, job_id: str, name: str) -> Job:
    """Return an upload of identities, by the attribute of this name. Raises InvalidValue for what is none any more."""
    upload = await directory.jobs.get(job_id)
    if upload.kind != IDENTITIES:
        raise InvalidValue(f"{name}: name an upload, the id that POST /linking/identities answered")
    if is_older((await directory.jobs.get(_parts(upload)[0])).started, UPLOAD_DAYS, directory.jobs.now()):
        raise InvalidValue(f"{name}: an upload is kept for {UPLOAD_DAYS} days: upload the identities again")
    return upload


def _parts(upload: Job) -> list[str]:
    """Return the ids of the uploads that belong to one, in order."""
    parts: list[str] = upload.options.get("parts", [upload.id])
    return parts


async def list_unread_identities(directory: Directory, request: Request) -> Response:
    """List the rows of an upload that are no identities: line, reason, remedy."""
    await get_job(directory, request, IDENTITIES)
    return await list_rows(directory, request, PROBLEM, "problems")


async def start_run(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start a linking run over uploaded identities: 202 with the run's address. It changes nothing before approval."""
    asked = RunRequest.model_validate(read_json(request.body))
    jobs = directory.jobs
    upload = await _upload(directory, asked.identities, "identities")
    policy = await directory.policies.get() if asked.policy is None else _policy(asked.policy)
    size = upload.counts["read"] + await directory.listing.total()
    options = {
        "identities": upload.id,
        "parts": _parts(upload),
        "policy": policy.to_json(),
        "expiresHours": asked.expires_hours,
        "slices": slices(size),
    }
    job_id = jobs.new_id(RUN)
    await directory.stages.announce(job_id, [job_id + name for name in STAGES])
    return answer(await begin(directory, request, client, RUN, job_id, options), request, 202)


async def list_runs(directory: Directory, request: Request) -> Response:
    """List the directory's runs, oldest first."""
    runs = [job.to_json() for job in await directory.jobs.list_all() if job.kind == RUN]
    return Response(200, dump({"runs": runs}))


async def get_run(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return a run: its phase, its counts by decision, its progress."""
    return await show(directory, request, client, RUN)


async def list_decisions(directory: Directory, request: Request) -> Response:
    """List the plan's rows, of one decision or all, a page at a time."""
    await get_job(directory, request, RUN)
    decision = request.params.get("decision", "")
    if decision and decision not in set(DecisionKind):
        raise InvalidValue(f"decision: one of {', '.join(DecisionKind)}")
    return await list_rows(directory, request, decision, "decisions")


async def approve(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Approve a run's plan, once it is there: 202. Saying it again is no error."""
    approval = Approval.model_validate(read_json(request.body) if request.body.strip() else {})
    jobs = directory.jobs

    def change(job: Job) -> Job:
        if job.phase not in (Phase.PLANNED, Phase.APPROVED) or job.cancelled_by:
            raise Busy(f"phase: the run is {job.phase}, only a planned run can be approved")
        planned = job.counts.get(DecisionKind.LINK.value, 0)
        if approval.links not in (None, planned):
            raise Busy(f"links: the plan would link {planned} accounts; look at it again and approve that number")
        if job.phase is Phase.APPROVED:
            return job
        return replace(job, phase=Phase.APPROVED, approved=jobs.now(), approved_by=request.by)

    job = await started(directory, await get_job(directory, request, RUN), client)
    job = await jobs.change(job.id, change)
    await tell(directory, job, client, APPROVE)
    return answer(job, request, 202)


async def cancel(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel a run: 202. It stops within a page of work; what it linked already stays linked."""
    job = await cancel_job(directory, request, client, RUN)
    await tell(directory, job, client, CANCEL)
    return answer(job, request, 202)


async def _stage(directory: Directory, job_id: str, rows: Iterable[Any], add: Any, counts: Counter[str]) -> None:
    """Add each row of a file, and put each problem into the report. Raises InvalidSyntax if no row can be used."""
    problems: list[Problem] = []
    first: Problem | None = None
    alike = Counter[str]()
    try:
        for row in rows:
            if isinstance(row, Problem):
                problems.append(row)
                first = first or row
                counts["problems"] += 1
            else:
                await add(row)
                counts["read"] += 1
            if (counts["read"] + counts["problems"]) % ROWS_AT_ONCE == 0:
                await write_problems(directory, job_id, 0, problems, alike)
                problems.clear()
                await asyncio.sleep(0)
    except UnreadableFile as error:
        raise InvalidSyntax(str(error)) from error
    if not counts["read"]:
        why = f" Line {first.line}: {first.reason} {first.remedy}" if first else " It holds none."
        raise InvalidSyntax(f"No row of the file can be used.{why}")
    await write_problems(directory, job_id, 0, problems, alike)


def _file(request: Request) -> bytes:
    if len(request.body) > MAX_FILE_BYTES:
        raise BodyTooLarge(f"A file has at most {MAX_FILE_BYTES} bytes. Split it, and send one part after the other.")
    return request.body


def _mapping(request: Request) -> Mapping[str, str]:
    text = request.params.get("mapping", "{}")
    try:
        return TypeAdapter(dict[str, str]).validate_json(text)
    except ValueError:
        raise InvalidValue('mapping: a JSON object from header to column, like {"Login": "userName"}') from None


def _policy(asked: Mapping[str, Any]) -> Policy:
    try:
        return Policy.from_json(asked)
    except ValueError as error:
        raise InvalidValue(f"policy: {error}") from None
