"""Uploads of Entra's users and groups. For some weeks, runs can be started over them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from link_orchestrator.files.entra_groups import EntraGroup, read_entra_groups
from link_orchestrator.files.identities import number_identities
from link_orchestrator.files.reading import READING, Notes
from link_orchestrator.kinds import ENTRA_GROUPS, IDENTITIES, Kind
from link_orchestrator.passes.import_counts import REPEATED
from link_orchestrator.problem_report import KEPT_IN_BUCKET, ProblemReport
from link_orchestrator.requests.jobs import answer, find_job, kept_until, page_of_jobs
from link_orchestrator.requests.object_ids import ObjectIds
from link_orchestrator.requests.sent_file import PARAMETERS, read_columns, read_file, read_name, stage_rows
from link_orchestrator.run import ASSIGNED
from link_orchestrator.staged import IDS, EntraGroupWriter, entra_groups, parts_of
from shared.admin.parameters import refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.keys import Key
from shared.directory.matching.identity import Identity
from shared.directory.work.jobs import Job
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue


async def list_uploads(directory: Directory, request: Request) -> Response:
    """List the uploads of identities and of groups, the latest first, a page at a time."""
    return await page_of_jobs(directory, request, "uploads", IDENTITIES, ENTRA_GROUPS)


async def upload_identities(directory: Directory, request: Request) -> Response:
    """Stage the identities of a file for runs to come: 201 with the id to name in POST /linking/runs.

    The parameter `after` names the upload of the part before this one; its identities belong to this upload, too.
    """
    refuse_others(request, "after", *PARAMETERS)
    jobs, after = directory.jobs, request.params.get("after")
    former = await find_upload(directory, after, IDENTITIES, "after") if after else None
    job_id = jobs.new_id(IDENTITIES.name)
    await directory.stages.announce(job_id, [job_id, job_id + IDS], days=IDENTITIES.days)
    writer, counts = directory.stage(job_id).writer(), Counter[str]()
    ids = ObjectIds(directory, job_id, parts_of(former) if former else ())

    async def add(row: tuple[int, Identity]) -> None:
        line, identity = row
        digest, text = directory.keys.digest(Key("identity", identity.object_id)), dump(identity.to_json())
        ids.add(digest, text, line)
        await writer.add_line(directory.keys.bucket(digest), text)

    notes = Notes()
    named = read_columns(request)
    rows = number_identities(read_file(request), content_type=request.content_type, columns=named, notes=notes)
    report = await stage_rows(directory, job_id, rows, add, counts)
    await report.close()
    await writer.close()
    async for bucket, voided, repeated in ids.settle():
        report = ProblemReport(directory, job_id, f"{bucket:02x}", KEPT_IN_BUCKET)
        await report.add([*voided, *repeated])
        await report.close()
        for problem in voided:
            notes.problem(problem, was_read=True)
        counts.update(read=-len(voided), problems=len(voided))
        counts[REPEATED] += len(repeated)
    total = {n: counts[n] + (former.counts[n] if former else 0) for n in ("read", "problems")}
    if repetitions := counts[REPEATED] + (former.counts.get(REPEATED, 0) if former else 0):
        total[REPEATED] = repetitions
    options: dict[str, Any] = {"parts": [*parts_of(former), job_id]} if former else {}
    options |= {**read_name(request), READING: notes.reading().to_json()}
    return answer(await jobs.record(IDENTITIES.name, request.by, job_id, total, options), request, 201)


async def upload_groups(directory: Directory, request: Request) -> Response:
    """Stage the groups of Entra for runs to come: 201 with the id to name as `groups` in POST /linking/runs."""
    jobs = directory.jobs
    job_id = jobs.new_id(ENTRA_GROUPS.name)
    await directory.stages.announce(job_id, entra_groups(job_id), days=ENTRA_GROUPS.days)
    writer, counts = EntraGroupWriter(directory, job_id), Counter[str]()

    async def add(group: EntraGroup) -> None:
        await writer.add(group)
        counts["members"] += len(group.members)

    notes = Notes()
    rows = read_entra_groups(read_file(request), content_type=request.content_type, notes=notes)
    report = await stage_rows(directory, job_id, rows, add, counts)
    await report.close()
    await writer.close()
    total = {name: counts[name] for name in ("read", "members", "problems")}
    options = {**read_name(request), READING: notes.reading().to_json()}
    return answer(await jobs.record(ENTRA_GROUPS.name, request.by, job_id, total, options), request, 201)


async def remove_upload(kind: Kind, directory: Directory, request: Request) -> Response:
    """Remove an upload. Raises Busy where a run that has not ended goes by it, or another upload goes on with it."""
    upload = await find_job(directory, request, kind)
    for run in await directory.jobs.list_under_way():
        if upload.id in (*parts_of(run), *run.options.get(ASSIGNED, ()), run.options.get("groups")):
            raise Busy(f"id: {run.id} goes by this upload, and has not ended: let it end, or cancel it, first")
    for other in await directory.jobs.entries(kind.name):
        if other.id != upload.id and upload.id in parts_of(other):
            raise Busy(f"id: {other.id} goes on with this upload: remove that one first")
    await directory.plan(upload.id).clear()
    # The stages go by a sweep: a run may have found the upload just now, and would plan without anybody.
    await directory.stages.let_go(upload.id)
    await directory.jobs.remove(upload)
    return Response(204)


async def find_upload(directory: Directory, job_id: str, kind: Kind, name: str) -> Job:
    """Return the upload of a kind that a request names as its `name`.

    Raises InvalidValue if there is no such upload, or it or a part before it is too old.
    """
    upload = (await directory.jobs.find_many([job_id])).get(job_id)
    if upload is None or upload.kind != kind.name:
        raise InvalidValue(f"{name}: name an upload, the id that POST /{kind.path} answered")
    parts, until = parts_of(upload), kept_until(upload)
    over = until is not None and until < directory.jobs.now()
    if over or len(await directory.jobs.find_many(parts)) < len(parts):
        raise InvalidValue(f"{name}: an upload is kept for {kind.days} days: upload the {name} again")
    return upload
