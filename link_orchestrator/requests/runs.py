"""What an administrator can ask for over HTTP: import accounts, upload identities, plan, look, cancel.

Files are read and staged within the request, so that nothing but the tables is needed afterwards; the work itself is
the orchestrations'. What all requests about jobs share is in requests/jobs.py; reviewing and approving a plan, and the
mapping it predicts by, have modules of their own.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictStr, TypeAdapter
from pydantic.alias_generators import to_camel

from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.entra_groups import stages_of
from link_orchestrator.files.identities import read_identities
from link_orchestrator.files.rows import Problem, UnreadableFile
from link_orchestrator.orchestrator import CANCEL
from link_orchestrator.passes import compare
from link_orchestrator.passes.import_accounts import PROBLEM, write_problems
from link_orchestrator.passes.plan import STAGES, identity_bucket
from link_orchestrator.passes.plan_groups import STAGES as GROUP_STAGES
from link_orchestrator.passes.read import KEPT_DAYS, group_stage, stage_names
from link_orchestrator.requests.jobs import (
    ENTRA_GROUPS,
    IDENTITIES,
    IMPORT,
    MEMBERSHIPS_AN_ACCOUNT,
    PATHS,
    RUN,
    Orchestrations,
    answer,
    begin,
    cancel_job,
    get_job,
    list_rows,
    show,
    shown,
    slices,
    tell,
)
from link_orchestrator.requests.mapping import choose_mapping
from link_orchestrator.source import RunSource, SourceFailed, Sources
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.keys import Key
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.text import dump
from shared.directory.work import seen
from shared.directory.work.jobs import Job
from shared.directory.work.stages import is_older
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
    """The body of POST /linking/runs: identities by the id of their upload, or a source to read them from.

    `groups` is the id of an upload, too. Where nothing else is said, a run decides on what changed since the runs
    before it; `full`: on everything.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)

    identities: str | None = None
    source: RunSource | None = None
    groups: StrictStr | StrictBool | None = None
    """Or true: those in the scope of the source."""
    policy: dict[str, Any] | None = None
    mapping: dict[str, Any] | None = None
    pause_provisioning: bool = True
    expires_hours: float = Field(default=7 * 24, gt=0, le=30 * 24)
    full: bool = False


async def import_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the accounts of a file and start their import: 202 with the import's address."""
    jobs = directory.jobs
    job_id = jobs.new_id(IMPORT)
    await directory.stages.announce(job_id, [job_id])
    writer, counts = directory.stage(job_id).writer(), Counter[str]()

    async def add(row: AccountRow) -> None:
        found_by = directory.keys.digest(Key("userName", row.user_name))
        await writer.add(directory.keys.bucket(found_by), row.to_json())

    rows = read_accounts([read_file(request)], content_type=request.content_type, mapping=read_mapping(request))
    await stage_rows(directory, job_id, rows, add, counts)
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
    former = await _upload(directory, after, IDENTITIES, "after") if after else None
    job_id = jobs.new_id(IDENTITIES)
    await directory.stages.announce(job_id, [job_id], days=UPLOAD_DAYS)
    writer, counts = directory.stage(job_id).writer(), Counter[str]()

    async def add(identity: Identity) -> None:
        await writer.add(identity_bucket(directory, identity.object_id), identity.to_json())

    rows = read_identities([read_file(request)], content_type=request.content_type)
    await stage_rows(directory, job_id, rows, add, counts)
    await writer.close()
    total = {n: counts[n] + (former.counts[n] if former else 0) for n in ("read", "problems")}
    options = {"parts": [*_parts(former), job_id]} if former else {}
    return answer(await jobs.record(IDENTITIES, request.by, job_id, total, options), request, 201)


def _parts(upload: Job) -> list[str]:
    """Return the ids of the uploads that belong to one, in order."""
    parts: list[str] = upload.options.get("parts", [upload.id])
    return parts


async def list_unread_identities(directory: Directory, request: Request) -> Response:
    """List the rows of an upload that are no identities: line, reason, remedy."""
    await get_job(directory, request, IDENTITIES)
    return await list_rows(directory, request, PROBLEM, "problems")


async def start_run(directory: Directory, request: Request, client: Orchestrations, sources: Sources) -> Response:
    """Start a linking run: 202 with the run's address. It changes nothing before approval."""
    asked = RunRequest.model_validate(read_json(request.body))
    job_id = directory.jobs.new_id(RUN)
    size = await directory.listing.total()
    identities, read = await _identities(directory, asked, sources, job_id)
    groups, members = await _groups(directory, asked, job_id)
    policy = await directory.policies.get() if asked.policy is None else _policy(asked.policy)
    options = {
        **identities,
        **groups,
        "policy": policy.to_json(),
        "mapping": await choose_mapping(directory, asked.mapping),
        "pauseProvisioning": asked.pause_provisioning,
        "expiresHours": asked.expires_hours,
        "slices": slices(size + read + members // MEMBERSHIPS_AN_ACCOUNT),
    }
    if asked.full:
        options["full"] = True
    elif former := await compare.find_former(directory, options):
        options["since"] = former
    await directory.stages.announce(job_id, _stages(job_id, groups=asked.groups, again="since" in options))
    if asked.source:
        days = KEPT_DAYS if asked.source.graph.scope == "all" else 0  # no other reading is gone on from
        await directory.stages.announce(job_id, stage_names(job_id), days=days)
    await directory.stages.announce(job_id, seen.stages_of(job_id), days=seen.DAYS)
    return answer(await begin(directory, request, client, RUN, job_id, options), request, 202)


async def _identities(
    directory: Directory, asked: RunRequest, sources: Sources, job_id: str
) -> tuple[Mapping[str, Any], int]:
    """Return the options of a run that say where its identities are staged, or read from first, and how many are."""
    if (asked.identities is None) == (asked.source is None):
        raise InvalidValue("identities, source: give one of them: an upload's id, or a source to read from")
    if asked.source is not None:
        try:
            sources.check(directory.name)
        except SourceFailed as missing:
            raise Busy(f"source: this app is not set up to read it: {missing}") from None
        # How many slices it takes is known once they are read.
        return {"source": {"graph": asked.source.graph.to_json()}, "identities": stage_names(job_id)[0]}, 0
    upload = await _upload(directory, asked.identities or "", IDENTITIES, "identities")
    return {"identities": upload.id, "parts": _parts(upload)}, upload.counts["read"]


async def _groups(directory: Directory, asked: RunRequest, job_id: str) -> tuple[Mapping[str, Any], int]:
    """Return the option of a run that says where Entra's groups are staged, or read to, and how many members are."""
    if asked.groups is None or asked.groups is False:
        return {}, 0
    if asked.groups is True:
        if asked.source is None:
            raise InvalidValue("groups: true reads those of the run's source: give source, or the id of an upload here")
        return {"groups": group_stage(stage_names(job_id)[0])}, 0
    upload = await _upload(directory, asked.groups, ENTRA_GROUPS, "groups")
    return {"groups": upload.id}, upload.counts["members"]


def _stages(job_id: str, *, groups: str | bool | None, again: bool) -> list[str]:
    """Return the stages that a run may fill. Each is looked through at its end, so none is named in vain."""
    read: list[str] = []
    if groups is True:
        read += [name for identities in stage_names(job_id) for name in stages_of(group_stage(identities))]
    names = (*STAGES, *(GROUP_STAGES if groups else ()), *(compare.STAGES if again else ()))
    return [*(job_id + name for name in names), *read]


async def list_unusable(directory: Directory, request: Request) -> Response:
    """List what a run's source or upload holds that is no identity: which one in order, reason, remedy."""
    job = await get_job(directory, request, RUN)
    return await list_rows(directory, replace(request, id=job.options["identities"]), PROBLEM, "problems")


async def _upload(directory: Directory, job_id: str, kind: str, name: str) -> Job:
    """Return the upload of a kind that a request names. Raises InvalidValue, and NotFound for none at all."""
    upload = await directory.jobs.get(job_id)
    if upload.kind != kind:
        raise InvalidValue(f"{name}: name an upload, the id that POST /{PATHS[kind]} answered")
    if is_older((await directory.jobs.get(_parts(upload)[0])).started, UPLOAD_DAYS, directory.jobs.now()):
        raise InvalidValue(f"{name}: an upload is kept for {UPLOAD_DAYS} days: upload the {name} again")
    return upload


async def list_runs(directory: Directory, request: Request) -> Response:
    """List the directory's runs, oldest first."""
    runs = [shown(job) for job in await directory.jobs.list_all() if job.kind == RUN]
    return Response(200, dump({"runs": runs}))


async def get_run(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return a run: its phase, its counts by decision, its progress."""
    return await show(directory, request, client, RUN)


async def list_decisions(directory: Directory, request: Request) -> Response:
    """List the plan's rows, of one decision or all, a page at a time."""
    await get_job(directory, request, RUN)
    decision = request.params.get("decision", "")
    known = (*DecisionKind, *GroupDecisionKind)
    if decision and decision not in known:
        raise InvalidValue(f"decision: one of {', '.join(known)}")
    return await list_rows(directory, request, decision, "decisions")


async def cancel(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel a run: 202. It stops within a page of work; what it linked already stays linked."""
    job = await cancel_job(directory, request, client, RUN)
    await tell(directory, job, client, CANCEL)
    return answer(job, request, 202)


async def stage_rows(directory: Directory, job_id: str, rows: Iterable[Any], add: Any, counts: Counter[str]) -> None:
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


def read_file(request: Request) -> bytes:
    """Return the file that was sent. Raises BodyTooLarge."""
    if len(request.body) > MAX_FILE_BYTES:
        raise BodyTooLarge(f"A file has at most {MAX_FILE_BYTES} bytes. Split it, and send one part after the other.")
    return request.body


def read_mapping(request: Request) -> Mapping[str, str]:
    """Return the mapping from headers to columns that was asked for. Raises InvalidValue."""
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
