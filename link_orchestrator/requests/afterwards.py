"""What follows a run: an undo takes it back, a verification finds out what provisioning made of it.

Each is a job of its own. A single account is released with the account API: shared/admin/account_changes.py.
"""

from __future__ import annotations

from typing import Literal

from link_orchestrator import staged
from link_orchestrator.kinds import RUN, UNDO, VERIFICATION
from link_orchestrator.lifecycle import Orchestrations, begin
from link_orchestrator.requests.body import Body
from link_orchestrator.requests.jobs import answer, find_job
from link_orchestrator.schedule import suspend_schedule
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.scim.endpoint import Request, Response


class UndoRequest(Body):
    """How a run is taken back."""

    changed: Literal["refuse", "release"] = "refuse"
    """What becomes of accounts that provisioning changed after the run."""


async def start_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back a run that has ended: 202 with the undo's address. It suspends the schedule of runs."""
    asked = UndoRequest.read(request, required=False)
    run = await find_job(directory, request, RUN)
    options = {"run": run.id, "changed": asked.changed, "slices": run.options["slices"]}
    job_id = directory.jobs.new_id(UNDO.name)
    undo = await begin(directory, request.by, client, UNDO, job_id, options)
    await suspend_schedule(directory, request.by, f"{undo.id} takes back what {run.id} linked")
    return answer(undo, request, 202)


async def start_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to find out what provisioning made of a run's links: 202 with the verification's address."""
    run = await find_job(directory, request, RUN)
    if run.approved is None:
        raise Busy(f"phase: the run is {run.state} and was not approved, so there is no link of it to verify")
    job_id = directory.jobs.new_id(VERIFICATION.name)
    await directory.stages.announce(job_id, staged.names(job_id, staged.VERIFIED))
    options = {"run": run.id, "slices": run.options["slices"]}
    return answer(await begin(directory, request.by, client, VERIFICATION, job_id, options), request, 202)
