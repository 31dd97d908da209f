"""Approving a pilot: some rows of a plan, by their ids, by what they have in common, or by how many.

The page names these people before they are linked. Whom it does not name it does not approve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from link_orchestrator.names import rule_in_words
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages import of_approval
from link_orchestrator.portal.pages.of_plan import RULES, Row
from link_orchestrator.portal.pages.of_run import Document, Run
from link_orchestrator.words import keeps_name
from shared.host.problems import problem
from shared.scim.errors import InvalidValue

FILTERS: Final = {"filter.department": "department", "filter.domain": "domain", "filter.rule": "rule"}
"""What a pilot may select by: fields of the form, and the API's conditions."""
NUMBER: Final = "number"
ROWS: Final = 50
"""People on a page: as many as a page of decisions can tick."""


@dataclass(frozen=True, slots=True)
class Pilot(of_approval.Approval):
    """What the page of a pilot shows."""

    asked: Mapping[str, str] = field(default_factory=dict)
    """By what the people are chosen, as the address has it."""
    rows: Sequence[str] = ()
    """Rows that were ticked among the decisions and are linked, by their ids."""
    others: Sequence[Row] = ()
    """Rows that were ticked and are none that the plan links."""
    people: Sequence[Row] = ()
    """Who would be linked: all of them, or a page."""
    links: int | None = None
    """How many would be linked, None where nothing was chosen yet."""
    renamed: int = 0
    """How many of them get another sign-in name with the first cycle."""
    looked_at: int = 0
    more: bool = False
    """Whether the plan has links that were not looked at."""
    cursor: str = ""
    at_first: bool = True
    shown: str = ""
    """The seal of what the page shows."""
    wrong: str = ""
    """What is wrong with the address."""

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return [("", "Any rule"), *((one, rule_in_words(one)) for one in RULES)]


async def show(asked: Asked) -> Outcome:
    """Show whom a pilot would link; of the rows that were ticked among the decisions, where some were."""
    known, rows = await of_approval.read(asked), asked.form.all("rows")
    told: dict[str, Any] = {"asked": _chosen(asked.query)}
    if known.run.waits and rows:
        told |= await _ticked(asked, rows)
    elif known.run.waits and told["asked"]:
        told |= await _foreseen(asked, known.run)
    return Shown("pilot.html", Pilot(known.run, known.seen, known.left_out, known.decided, known.approvals, **told))


def _chosen(fields: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name in (NUMBER, *FILTERS) if (value := fields.get(name, "").strip())}


async def _ticked(asked: Asked, rows: Sequence[str]) -> Mapping[str, Any]:
    """Return what the page shows of rows that were ticked."""
    path = "linking/runs/{id}/decisions/{row}"
    asking = (asked.api.get(path, id=asked.path["id"], row=row) for row in rows[:ROWS])
    found = await asyncio.gather(*asking, return_exceptions=True)  # the API refuses what is no row once it is sent
    known = [Row(one["row"]) for one in found if isinstance(one, dict)]
    people = [row for row in known if row.is_to_link]
    renamed = sum("userName" in row.changes and not keeps_name(row.changes) for row in people)
    told = {"people": people, "links": len(people), "renamed": renamed, "rows": [row.id for row in people]}
    return told | {"others": [row for row in known if not row.is_to_link]}


async def _foreseen(asked: Asked, run: Run) -> Mapping[str, Any]:
    """Return what the page shows of the people whom the address chooses."""
    chosen, cursor = _chosen(asked.query), asked.query.get("cursor", "")
    conditions = {FILTERS.get(name, name): value for name, value in chosen.items()}
    try:
        found: Document = await asked.api.get(
            "linking/runs/{id}/pilot", id=run.id, **conditions, count=str(ROWS), cursor=cursor
        )
    except (InvalidValue, ValidationError) as error:
        return {"wrong": problem(error)[2]}
    return {
        "people": [Row(one) for one in found["rows"]],
        "links": found["links"],
        "renamed": found["signInNames"],
        "looked_at": found["lookedAt"],
        "more": found["more"],
        "cursor": found.get("cursor", ""),
        "at_first": not cursor,
        "shown": asked.seal(_question(asked, str(run.links), str(run.reviews), str(found["links"]))),
    }


def _question(asked: Asked, *numbers: str) -> str:
    """Return what a page asks: about which people of which plan, by the links, reviews and people that it counted."""
    return f"pilot {asked.path['id']} {numbers} {sorted(_chosen(asked.query).items())}"


async def look(asked: Asked) -> Outcome:
    """Go to the page that names the people who are chosen."""
    fields = {name: asked.form[name] for name in (NUMBER, *FILTERS)}
    chosen = _chosen(fields)
    if not chosen:
        raise InvalidValue("number: say how many people at most, or choose them by department, domain or rule")
    if NUMBER in chosen:
        chosen[NUMBER] = str(of_approval.number(asked, NUMBER))
    return SeeOther(f"runs/{asked.path['id']}/pilot", query=chosen)


async def approve(asked: Asked) -> Outcome:
    """Approve some rows of the plan: those that were ticked, or the people whom the page has named."""
    run = await Run.read(asked)
    body: dict[str, Any] = {"acknowledged": of_approval.acknowledged(asked, run)}
    if rows := asked.form.all("rows"):
        return await of_approval.send(asked, {**body, "rows": list(rows)}, "piloted")
    numbers = [asked.form[name] for name in ("planned", "reviews", "people")]
    if asked.form["shown"] != asked.seal(_question(asked, *numbers)):
        raise InvalidValue("number: look first at who would be linked")
    # The numbers that the page showed: where the plan changed since, or this is sent twice, they are others by now.
    body |= {"links": digits(asked.form["planned"]), "number": digits(asked.form["people"])}
    chosen = {FILTERS[name]: value for name, value in _chosen(asked.query).items() if name in FILTERS}
    return await of_approval.send(asked, body | ({"filter": chosen} if chosen else {}), "piloted")


PAGES: Final = (Page("runs/{id}/pilot", show, {"choose": show, "look": look, "approve": approve}, under="runs"),)
