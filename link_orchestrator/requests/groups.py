"""How the members of a planned group differ from those of its counterpart in Entra, page by page."""

from __future__ import annotations

from link_orchestrator.kinds import RUN
from link_orchestrator.passes.plan_groups import describe
from link_orchestrator.requests.jobs import find_job
from shared.admin.parameters import page_answer, read_count, read_cursor
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.scim.endpoint import Request, Response


async def list_difference(directory: Directory, request: Request) -> Response:
    """List who is in one alone of a planned group and its counterpart, named by its object id, a page at a time."""
    run = await find_job(directory, request, RUN)
    differences = directory.differences(run.id, request.params["group"])
    totals = await differences.find_totals()
    if totals is None:
        remedy = f"GET /{RUN.path}/{run.id}/decisions?decision=groupLink lists those of which the members differ"
        raise NotFound("no such group in the run", "group of the run", remedy)
    members, cursor = await differences.page(read_cursor(request, "differing"), read_count(request))
    return page_answer(request, "differing", await describe(directory, members), cursor, totals.to_json())
