"""What an administrator can ask for over HTTP after a run: take it back, and see what provisioning made of it.

Both are jobs of their own (kinds.py). One account alone is the account API's: shared/admin/account_changes.py.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from link_orchestrator import staged
from link_orchestrator.kinds import RUN, UNDO, VERIFICATION
from link_orchestrator.lifecycle import Orchestrations, begin
from link_orchestrator.requests.jobs import answer, find_job
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response


class UndoRequest(BaseModel):
    """The body of POST /linking/runs/{id}/undo, which may be left out.

    `changed` says what becomes of accounts that provisioning changed after the run.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    changed: Literal["refuse", "release"] = "refuse"


async def start_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back a run that has ended: 202 with the undo's address."""
    asked = UndoRequest.model_validate(read_json(request.body) if request.body.strip() else {})
    run = await find_job(directory, request, RUN)
    options = {"run": run.id, "changed": asked.changed, "slices": run.options["slices"]}
    job_id = directory.jobs.new_id(UNDO.name)
    return answer(await begin(directory, request.by, client, UNDO, job_id, options), request, 202)


async def start_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to look what provisioning made of a run's links: 202 with the verification's address."""
    run = await find_job(directory, request, RUN)
    if run.approved is None:
        raise Busy(f"phase: the run is {run.phase} and was not approved, so there is no link of it to verify")
    job_id = directory.jobs.new_id(VERIFICATION.name)
    await directory.stages.announce(job_id, staged.names(job_id, staged.VERIFIED))
    options = {"run": run.id, "slices": run.options["slices"]}
    return answer(await begin(directory, request.by, client, VERIFICATION, job_id, options), request, 202)
