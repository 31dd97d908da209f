"""What follows a run: an undo takes it back, a verification finds out what provisioning made of it.

Each is a job of its own. A single account is released with the account API: shared/admin/account_changes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StrictInt

from link_orchestrator import staged
from link_orchestrator.kinds import RUN, UNDO, VERIFICATION
from link_orchestrator.lifecycle import Orchestrations, begin, ensure_started
from link_orchestrator.messages import slices_for
from link_orchestrator.requests.jobs import answer, find_job
from link_orchestrator.run import state_in_words
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.work.jobs import State
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue


class UndoRequest(Body):
    """How links are taken back: those of a run, or the adoptions."""

    keep: Literal["attributes"] | None = None
    """What stays as provisioning wrote it; unless given, attributes become what they were before the run."""
    activate: Annotated[StrictInt, Field(ge=0)] | None = None
    """The number of accounts that the undo switches on again; without it they stay inactive, and are listed."""


async def start_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back a run that has ended: 202 with the undo's address. It suspends the schedule of runs."""
    asked = UndoRequest.read(request, required=False)
    run = await ensure_started(directory, await find_job(directory, request, RUN), client)
    if run.state is State.PLANNED and run.cancelled_by:
        raise Busy(f"phase: {run.id} is {state_in_words(run)}: ask again once it has ended")
    if run.state is State.PLANNED and run.approved:
        raise Busy(f"phase: the rest of {run.id} waits for its approval: cancel it, then take back what it linked")
    if run.state is State.PLANNED:
        raise Busy(f"phase: {run.id} waits for its approval, so there is no link of it to take back: cancel it instead")
    return await _start(directory, request, client, asked, {"run": run.id, "slices": run.options["slices"]})


async def start_undo_of_adoptions(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back all links that creates over SCIM made (adoptOnCreate): 202 with the undo's address."""
    asked = UndoRequest.read(request, required=False)
    slices = slices_for(await directory.listing.total())
    return await _start(directory, request, client, asked, {"adoptions": True, "slices": slices})


async def _start(
    directory: Directory, request: Request, client: Orchestrations, asked: UndoRequest, options: Mapping[str, Any]
) -> Response:
    if asked.keep is not None and asked.activate is not None:
        raise InvalidValue("activate: nobody is switched on where attributes stay as they are; leave out keep")
    job_id = directory.jobs.new_id(UNDO.name)
    options = {**options, **asked.model_dump(exclude_none=True)}
    undo = await begin(directory, request, client, UNDO, job_id, options)
    return answer(undo, request, 202)


async def start_verification(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to find out what provisioning made of a run's links: 202 with the verification's address."""
    run = await find_job(directory, request, RUN)
    if run.approved is None:
        raise Busy(f"phase: the run is {run.state} and was not approved, so there is no link of it to verify")
    job_id = directory.jobs.new_id(VERIFICATION.name)
    await directory.stages.announce(job_id, staged.names(job_id, staged.VERIFIED))
    options = {"run": run.id, "slices": run.options["slices"]}
    return answer(await begin(directory, request, client, VERIFICATION, job_id, options), request, 202)
