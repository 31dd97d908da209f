"""How the members of a planned group differ from those of its counterpart in Entra, page by page."""

from __future__ import annotations

from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.passes.plan_groups import describe
from link_orchestrator.requests.jobs import find_job
from link_orchestrator.requests.people import are_kept, find_identities
from shared.admin.parameters import page_answer, read_count, read_cursor
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import fold
from shared.directory.work.jobs import Job
from shared.scim.endpoint import Request, Response

UNREAD: Final = (
    "Nobody with this object id was among the identities that the run read. Look it up in Entra; if it is a person who "
    "is to have an account, bring them with the next plan."
)
NOT_KEPT: Final = "The identities that the run read are kept no longer: look the object id up in Entra."


async def list_difference(directory: Directory, request: Request) -> Response:
    """List who is in one alone of a planned group and its counterpart, named by its object id, a page at a time."""
    run = await find_job(directory, request, RUN)
    differences = directory.differences(run.id, request.params["group"])
    totals = await differences.find_totals()
    if totals is None:
        remedy = f"GET /{RUN.path}/{run.id}/decisions?decision=groupLink lists those of which the members differ"
        raise NotFound("no such group in the run", "group of the run", remedy)
    members, cursor = await differences.page(read_cursor(request, "differing"), read_count(request))
    listed = await _named(directory, run, await describe(directory, members))
    named = {"displayName": totals.name} if totals.name else {}
    return page_answer(request, "differing", listed, cursor, totals.to_json() | named)


async def _named(directory: Directory, run: Job, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Say who the members are who have no account here, as the source of the run had them; or why that is not known."""
    unnamed = [one["identity"] for one in members if "identity" in one and "account" not in one]
    if not unnamed:
        return members
    found = await find_identities(directory, run, [one["objectId"] for one in unnamed])
    missing = UNREAD if len(found) == len(unnamed) or await are_kept(directory, run) else NOT_KEPT
    for one in unnamed:
        identity = found.get(fold(one["objectId"]))
        if identity is None:
            one["unknown"] = missing
        else:
            one["userPrincipalName"] = identity.user_principal_name
            one |= {"displayName": identity.display_name} if identity.display_name else {}
    return members
