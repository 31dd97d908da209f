"""Approving a plan, or what pilots left of it: the number typed, the warnings seen, what happens next, the way back."""

from __future__ import annotations

from typing import Any, Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages import of_approval
from link_orchestrator.portal.pages.of_run import Run


async def show(asked: Asked) -> Outcome:
    """Show what an approval would do."""
    return Shown("approve.html", await of_approval.read(asked))


async def approve(asked: Asked) -> Outcome:
    """Approve all of the plan, or what pilots left of it, by its number."""
    run = await Run.read(asked)
    body: dict[str, Any] = {
        "links": of_approval.number(asked, "links", of_approval.links_shown(asked, run)),
        "acknowledged": of_approval.acknowledged(asked, run),
    }
    if "groups" in asked.form:
        body["groups"] = digits(asked.form["groups"])
    return await of_approval.send(asked, body, "approved")


PAGES: Final = (Page("runs/{id}/approve", show, {"approve": approve}, under="runs"),)
