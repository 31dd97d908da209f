"""Approving a pilot: some rows of a plan, by their ids, by what they have in common, or by how many."""

from __future__ import annotations

from typing import Any, Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages import of_approval
from link_orchestrator.portal.pages.of_run import Run
from shared.scim.errors import InvalidValue

FILTERS: Final = ("department", "domain", "rule")
"""What a pilot may select by, of the API's conditions."""


async def show(asked: Asked) -> Outcome:
    """Show what a pilot would do; of the rows that were ticked among the decisions, where some were."""
    return Shown("pilot.html", await of_approval.read(asked))


async def approve(asked: Asked) -> Outcome:
    """Approve some rows of the plan: those that are named, or the first ones that a filter selects."""
    run = await Run.read(asked)
    body: dict[str, Any] = {"acknowledged": of_approval.acknowledged(asked, run)}
    chosen = {name: value for name in FILTERS if (value := asked.form[f"filter.{name}"].strip())}
    if rows := asked.form.all("rows"):
        body["rows"] = list(rows)
    elif not chosen and not asked.form["number"].strip():
        raise InvalidValue("number: say how many people at most, or choose them by department, domain or rule")
    else:
        # The number that the page showed: where the plan changed since, or this is sent twice, it is another by now.
        body["links"] = digits(asked.form["planned"])
        body |= {"filter": chosen} if chosen else {}
        body |= {"number": of_approval.number(asked, "number")} if asked.form["number"].strip() else {}
    return await of_approval.send(asked, body, "piloted")


PAGES: Final = (Page("runs/{id}/pilot", show, {"choose": show, "approve": approve}, under="runs"),)
