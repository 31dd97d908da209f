"""Bringing in the application's accounts and groups: a file is staged within the request, and an import started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.kinds import GROUP_IMPORT, IMPORT, Kind
from link_orchestrator.lifecycle import Orchestrations, begin
from link_orchestrator.messages import slices_for
from link_orchestrator.requests.jobs import answer
from link_orchestrator.requests.sent_file import read_columns, read_file, stage_rows
from link_orchestrator.staged import name_bucket
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.scim.endpoint import Request, Response


async def import_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the accounts of a file and start their import: 202 with the import's address."""
    keys = directory.keys
    job_id = directory.jobs.new_id(IMPORT.name)
    await directory.stages.announce(job_id, [job_id])
    writer, counts = directory.stage(job_id).writer(), Counter[str]()

    async def add(row: AccountRow) -> None:
        await writer.add(keys.bucket(keys.digest(Key("userName", row.user_name))), row.to_json())

    rows = read_accounts(read_file(request), content_type=request.content_type, columns=read_columns(request))
    await stage_rows(directory, job_id, rows, add, counts)
    await writer.close()
    return await _begin(directory, request, client, IMPORT, job_id, counts)


async def import_groups(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the groups of a file and start their import: 202 with the import's address."""
    job_id = directory.jobs.new_id(GROUP_IMPORT.name)
    await directory.stages.announce(job_id, [job_id])
    writer, counts = directory.stage(job_id).writer(), Counter[str]()

    async def add(row: GroupRow) -> None:
        await writer.add(name_bucket(directory.groups.keys, row.display_name), row.to_json())
        counts["members"] += len(row.members)

    rows = read_groups(read_file(request), content_type=request.content_type, columns=read_columns(request))
    await stage_rows(directory, job_id, rows, add, counts)
    await writer.close()
    return await _begin(directory, request, client, GROUP_IMPORT, job_id, counts)


async def _begin(
    directory: Directory,
    request: Request,
    client: Orchestrations,
    kind: Kind,
    job_id: str,
    counts: Mapping[str, int],
) -> Response:
    await directory.jobs.count(job_id, "file", {"refused": counts["problems"]})
    options: dict[str, Any] = {"rows": counts["read"], "slices": slices_for(counts["read"] + counts["members"])}
    return answer(await begin(directory, request.by, client, kind, job_id, options), request, 202)
