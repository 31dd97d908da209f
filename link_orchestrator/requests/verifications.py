"""Verifications: how one starts to find out what provisioning made of a run's links."""

from __future__ import annotations

from link_orchestrator import staged
from link_orchestrator.kinds import RUN, VERIFICATION
from link_orchestrator.lifecycle import Orchestrations, begin
from link_orchestrator.requests.jobs import answer, find_job
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.scim.endpoint import Request, Response


async def start_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to find out what provisioning made of a run's links: 202 with the verification's address."""
    run = await find_job(directory, request, RUN)
    if run.approved is None:
        raise Busy(f"phase: the run is {run.state} and was not approved, so there is no link of it to verify")
    job_id = directory.jobs.new_id(VERIFICATION.name)
    await directory.stages.announce(job_id, staged.names(job_id, staged.VERIFIED))
    options = {"run": run.id, "slices": run.options["slices"]}
    return answer(await begin(directory, request, client, VERIFICATION, job_id, options), request, 202)
