"""Undos: what one would come to, and how it starts, of a run or of what creates over SCIM linked.

A single account is released with the account API: shared/admin/account_changes.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StrictInt

from link_orchestrator.kinds import RUN, UNDO
from link_orchestrator.lifecycle import Orchestrations, begin, ensure_started
from link_orchestrator.messages import slices_for
from link_orchestrator.passes.undo import foresee
from link_orchestrator.passes.undo_verdicts import ATTRIBUTES, UNDONE
from link_orchestrator.requests.jobs import answer, find_job, shown, shown_row
from link_orchestrator.run import state_in_words
from shared.admin.body import Body
from shared.admin.parameters import read_choice, refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.work.jobs import Job, State
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MOST_FORESEEN: Final = 500
"""Links that a preview of an undo looks at: for each the history of an account is read."""
MOST_NAMED: Final = 20
"""Accounts that a preview names, of those which do not wholly become what they were, and of those it switches off."""


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
    _refuse_waiting(run)
    return await _start(directory, request, client, asked, {"run": run.id, "slices": run.options["slices"]})


def _refuse_waiting(run: Job) -> None:
    """Raise Busy for a run whose plan, or the rest of it, waits for an approval or is being cancelled."""
    if run.state is State.PLANNED and run.cancelled_by:
        raise Busy(f"phase: {run.id} is {state_in_words(run)}: ask again once it has ended")
    if run.state is State.PLANNED and run.approved:
        raise Busy(f"phase: the rest of {run.id} waits for its approval: cancel it, then take back what it linked")
    if run.state is State.PLANNED:
        raise Busy(f"phase: {run.id} waits for its approval, so there is no link of it to take back: cancel it instead")


async def preview_undo(directory: Directory, request: Request) -> Response:
    """Say what an undo of a run would come to, as things are, by its first 500 links. It changes nothing.

    Also of a pilot, while the rest of its plan waits: that is as it was, and `waits` is how many links of it there are.
    """
    refuse_others(request, "keep")
    run = await find_job(directory, request, RUN)
    waits = run.state is State.PLANNED and bool(run.approved) and not run.cancelled_by
    if not waits:
        _refuse_waiting(run)
    if not (run.state.ended or waits):
        raise Busy(f"phase: {run.id} is {state_in_words(run)}: ask again once it has ended, or cancel it")
    keeps = read_choice(request, "keep", (ATTRIBUTES,)) == ATTRIBUTES
    found = await foresee(directory, run, keeps_attributes=keeps, most=MOST_FORESEEN)
    partly = [row for row in found.rows if row.decision != UNDONE]
    document = {
        "lookedAt": found.looked,
        "more": found.more,
        "outcomes": dict(found.outcomes),
        "attributes": dict(found.attributes.most_common()),
        "wouldSwitchOn": found.activates,
        "wouldSwitchOff": len(found.switched_off),
        "groups": run.counts.get("groupsLinked", 0),
        "waits": shown(run)["links"] if waits else 0,
        "rows": [shown_row(row, UNDO) for row in partly[:MOST_NAMED]],
        "switchedOff": [shown_row(row, UNDO) for row in found.switched_off[:MOST_NAMED]],
    }
    return Response(200, dump(document))


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
