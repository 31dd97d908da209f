"""What an administrator can ask for over HTTP after a run: take it back, and see what provisioning made of it.

Both are jobs of their own; what all requests about jobs share is in requests/jobs.py, the passes are in passes/undo.py,
undo_groups.py and verify.py. One account alone is the account API's: shared/admin/account_changes.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from link_orchestrator.passes import undo_groups, verify
from link_orchestrator.requests.jobs import (
    RUN,
    UNDO,
    VERIFICATION,
    Orchestrations,
    answer,
    begin,
    cancel_job,
    get_job,
    list_rows,
    show,
)
from shared.directory.directory import Directory
from shared.directory.errors import Busy, NotFound
from shared.directory.text import dump
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

UNDO_ROWS = (*undo_groups.COUNTED, *undo_groups.COUNTED.values())
VERIFICATION_ROWS = (verify.CONFIRMED, verify.UNCONFIRMED, verify.UNLINKED, verify.CREATED)


class UndoRequest(BaseModel):
    """The body of POST /linking/runs/{id}/undo, which may be left out.

    `changed` says what becomes of accounts that provisioning changed after the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    changed: Literal["refuse", "release"] = "refuse"


async def start_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back a run that has ended: 202 with the undo's address."""
    asked = UndoRequest.model_validate(read_json(request.body) if request.body.strip() else {})
    run = await get_job(directory, request, RUN)
    options = {"run": run.id, "changed": asked.changed, "slices": run.options["slices"]}
    job_id = directory.jobs.new_id(UNDO)
    return answer(await begin(directory, request, client, UNDO, job_id, options), request, 202)


async def find_undo(directory: Directory, request: Request) -> Response:
    """Return the last undo of a run."""
    return await _find_last(directory, request, UNDO)


async def list_undos(directory: Directory, request: Request) -> Response:
    """List the directory's undos, oldest first."""
    undos = [job.to_json() for job in await directory.jobs.list_all() if job.kind == UNDO]
    return Response(200, dump({"undos": undos}))


async def get_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return an undo: its phase, its counts, its progress."""
    return await show(directory, request, client, UNDO)


async def cancel_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel an undo: 202. It stops within a page; what it took back stays so, and another undo takes the rest."""
    return answer(await cancel_job(directory, request, client, UNDO), request, 202)


async def list_undo_rows(directory: Directory, request: Request) -> Response:
    """List the accounts that the run had linked, and what the undo did about each, a page at a time."""
    await get_job(directory, request, UNDO)
    return await _list_rows(directory, request, "outcome", UNDO_ROWS)


async def start_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to look what provisioning made of a run's links: 202 with the verification's address."""
    run = await get_job(directory, request, RUN)
    if run.approved is None:
        raise Busy(f"phase: the run is {run.phase} and was not approved, so there is no link of it to verify")
    job_id = directory.jobs.new_id(VERIFICATION)
    await directory.stages.announce(job_id, [job_id + name for name in verify.STAGES])
    options = {"run": run.id, "slices": run.options["slices"]}
    return answer(await begin(directory, request, client, VERIFICATION, job_id, options), request, 202)


async def find_verification(directory: Directory, request: Request) -> Response:
    """Return the last verification of a run."""
    return await _find_last(directory, request, VERIFICATION)


async def get_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return a verification: its phase, its counts, its progress."""
    return await show(directory, request, client, VERIFICATION)


async def cancel_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel a verification: 202. It stops within a page; what it found until then is kept."""
    return answer(await cancel_job(directory, request, client, VERIFICATION), request, 202)


async def list_verification_rows(directory: Directory, request: Request) -> Response:
    """List what a verification found, a page at a time."""
    await get_job(directory, request, VERIFICATION)
    return await _list_rows(directory, request, "found", VERIFICATION_ROWS)


async def _find_last(directory: Directory, request: Request, kind: str) -> Response:
    run = await get_job(directory, request, RUN)
    jobs = [job for job in await directory.jobs.list_all() if job.kind == kind and job.options.get("run") == run.id]
    if not jobs:
        raise NotFound(f"no {kind} of this run")
    return answer(jobs[-1], request, 200)


async def _list_rows(directory: Directory, request: Request, name: str, known: Sequence[str]) -> Response:
    params: Mapping[str, Any] = request.params
    wanted = params.get(name, "")
    if wanted and wanted not in known:
        raise InvalidValue(f"{name}: one of {', '.join(known)}")
    return await list_rows(directory, request, wanted, "rows", name)
