"""What an administrator can ask for about groups over HTTP: import those here, upload Entra's, see how they differ.

A run plans and links groups beside the accounts: see requests/runs.py for runs, passes/plan_groups.py for what it
decides.
"""

from __future__ import annotations

from collections import Counter

from link_orchestrator.files.entra_groups import EntraGroup, EntraGroupWriter, read_entra_groups, stages_of
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.passes.import_accounts import PROBLEM
from link_orchestrator.passes.plan_groups import describe
from link_orchestrator.requests.jobs import (
    ENTRA_GROUPS,
    GROUP_IMPORT,
    RUN,
    Orchestrations,
    answer,
    begin,
    cancel_job,
    get_job,
    list_rows,
    read_count,
    show,
    slices,
)
from link_orchestrator.requests.runs import UPLOAD_DAYS, read_file, read_mapping, stage_rows
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import Key
from shared.directory.text import dump
from shared.directory.work.plan import InvalidCursor
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue


async def import_groups(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the groups of a file and start their import: 202 with the import's address."""
    jobs, keys = directory.jobs, directory.groups.keys
    job_id = jobs.new_id(GROUP_IMPORT)
    await directory.stages.announce(job_id, [job_id])
    writer, counts = directory.stage(job_id).writer(), Counter[str]()

    async def add(row: GroupRow) -> None:
        await writer.add(keys.bucket(keys.digest(Key("displayName", row.display_name))), row.to_json())
        counts["members"] += len(row.members)

    rows = read_groups([read_file(request)], content_type=request.content_type, mapping=read_mapping(request))
    await stage_rows(directory, job_id, rows, add, counts)
    await writer.close()
    await jobs.count(job_id, "file", {"refused": counts["problems"]})
    options = {"rows": counts["read"], "slices": slices(counts["read"] + counts["members"])}
    return answer(await begin(directory, request, client, GROUP_IMPORT, job_id, options), request, 202)


async def get_import(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return an import of groups: its phase, its counts, its progress."""
    return await show(directory, request, client, GROUP_IMPORT)


async def cancel_import(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel an import of groups: 202. It stops within some hundred rows; what it brought in already stays."""
    return answer(await cancel_job(directory, request, client, GROUP_IMPORT), request, 202)


async def list_problems(directory: Directory, request: Request) -> Response:
    """List the groups and members that were not imported: line, reason, remedy."""
    await get_job(directory, request, GROUP_IMPORT)
    return await list_rows(directory, request, PROBLEM, "problems")


async def upload_entra_groups(directory: Directory, request: Request) -> Response:
    """Stage the groups of Entra for runs to come: 201 with the id to name as `groups` in POST /linking/runs."""
    jobs = directory.jobs
    job_id = jobs.new_id(ENTRA_GROUPS)
    await directory.stages.announce(job_id, stages_of(job_id), days=UPLOAD_DAYS)
    writer, counts = EntraGroupWriter(directory, job_id), Counter[str]()

    async def add(group: EntraGroup) -> None:
        await writer.add(group)
        counts["members"] += len(group.members)

    rows = read_entra_groups([read_file(request)], content_type=request.content_type)
    await stage_rows(directory, job_id, rows, add, counts)
    await writer.close()
    shown = {name: counts[name] for name in ("read", "members", "problems")}
    return answer(await jobs.record(ENTRA_GROUPS, request.by, job_id, shown), request, 201)


async def list_unread_groups(directory: Directory, request: Request) -> Response:
    """List the objects of an upload that are no groups, or without all their members: line, reason, remedy."""
    await get_job(directory, request, ENTRA_GROUPS)
    return await list_rows(directory, request, PROBLEM, "problems")


async def list_difference(directory: Directory, request: Request) -> Response:
    """List who is in one alone of a planned group and its counterpart, named by its object id, a page at a time."""
    run = await get_job(directory, request, RUN)
    differences = directory.differences(run.id, request.params["group"])
    totals = await differences.find_totals()
    if totals is None:
        raise NotFound("no such group in the run")
    try:
        members, cursor = await differences.page(request.params.get("cursor", ""), read_count(request))
    except InvalidCursor as error:
        raise InvalidValue(f"cursor: {error}") from None
    page = totals.to_json() | {"differing": await describe(directory, members)}
    return Response(200, dump(page | ({"cursor": cursor} if cursor else {})))
