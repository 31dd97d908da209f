"""Approving a plan, whole or a pilot of it: the number typed, the warnings seen, what happens next, the way back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_plan import RULES
from link_orchestrator.portal.pages.of_run import Run, Warned
from shared.scim.errors import InvalidValue

MOST_COUNTED: Final = 50
"""Rows of a pilot of which it is counted what becomes of them: those that a page of decisions can tick."""
FILTERS: Final = ("department", "domain", "rule")
"""What a pilot may select by, of the API's conditions."""


@dataclass(frozen=True, slots=True)
class Approval:
    """What the pages of an approval and of a pilot show."""

    run: Run
    seen: Collection[str] = ()
    """Warnings whose boxes are ticked."""
    rows: Sequence[str] = ()
    """Rows that a pilot links, by their ids; none for a pilot by a number or a filter."""
    renamed: int | None = None
    """How many of these rows' people get another sign-in name with the first cycle; None where that was not counted."""

    @property
    def open(self) -> Sequence[Warned]:
        return self.run.to_acknowledge

    @property
    def known(self) -> Sequence[Warned]:
        """Warnings that need no box any more."""
        return [one for one in self.run.warnings if one not in self.open]

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return [("", "Any rule"), *((one, one) for one in RULES)]


async def show(asked: Asked) -> Outcome:
    """Show what an approval would do."""
    return Shown("approve.html", await _read(asked))


async def show_pilot(asked: Asked) -> Outcome:
    """Show what a pilot would do."""
    return Shown("pilot.html", await _read(asked))


async def _read(asked: Asked) -> Approval:
    rows = asked.form.all("rows")
    renamed = await _renamed(asked, rows) if 0 < len(rows) <= MOST_COUNTED else None
    return Approval(await Run.read(asked), asked.form.all("acknowledged"), rows, renamed)


async def _renamed(asked: Asked, rows: Sequence[str]) -> int:
    """Return of how many rows the first cycle changes the sign-in name."""
    path = "linking/runs/{id}/decisions/{row}"
    asking = (asked.api.get(path, id=asked.path["id"], row=row) for row in rows)
    found = await asyncio.gather(*asking, return_exceptions=True)  # the API refuses what is no row once it is sent
    return sum(isinstance(one, dict) and "userName" in one.get("changes", {}) for one in found)


async def choose(asked: Asked) -> Outcome:
    """Show the pilot of the rows that were ticked among the decisions."""
    return Shown("pilot.html", await _read(asked))


async def approve(asked: Asked) -> Outcome:
    """Approve all of the plan, or what pilots left of it, by its number."""
    run = await Run.read(asked)
    body: dict[str, Any] = {"links": _number(asked, "links", run.links), "acknowledged": _acknowledged(asked, run)}
    if "groups" in asked.form:
        body["groups"] = digits(asked.form["groups"])
    return await _send(asked, body, "approved")


async def approve_pilot(asked: Asked) -> Outcome:
    """Approve some rows of the plan: those that are named, or the first ones that a filter selects."""
    run = await Run.read(asked)
    body: dict[str, Any] = {"acknowledged": _acknowledged(asked, run)}
    chosen = {name: value for name in FILTERS if (value := asked.form[f"filter.{name}"].strip())}
    if rows := asked.form.all("rows"):
        body["rows"] = list(rows)
    elif not chosen and not asked.form["number"].strip():
        raise InvalidValue("number: say how many people at most, or choose them by department, domain or rule")
    else:
        # The number that the page showed: where the plan changed since, or this is sent twice, it is another by now.
        body["links"] = digits(asked.form["planned"])
        body |= {"filter": chosen} if chosen else {}
        body |= {"number": _number(asked, "number")} if asked.form["number"].strip() else {}
    return await _send(asked, body, "piloted")


async def _send(asked: Asked, body: Mapping[str, Any], said: str) -> Outcome:
    # What was reviewed since the page was shown, nobody has looked at: as many links may be those of others.
    body = {**body, "reviews": digits(asked.form["reviews"])}
    # As it is ticked, whatever the run was started with.
    body["pauseProvisioning"] = asked.form["pauseProvisioning"] == "yes"
    await asked.api.post("linking/runs/{id}/approve", body, id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}", said)


def _number(asked: Asked, name: str, expected: int | None = None) -> int:
    typed = digits(asked.form[name])
    if typed is None or (expected is not None and typed != expected):
        told = "a number of people, 1 or more" if expected is None else f"type {expected:,}, the number of links shown"
        raise InvalidValue(f"{name}: {told}")
    return typed


def _acknowledged(asked: Asked, run: Run) -> list[dict[str, str]]:
    """Return the warnings that were ticked, each as it was seen. Raises InvalidValue if one is left out."""
    ticked = [one.partition(" ") for one in asked.form.all("acknowledged")]
    codes = {code for code, _, _ in ticked}
    if any(one.document["code"] not in codes for one in run.to_acknowledge):
        raise InvalidValue("acknowledged: not every warning is ticked: look at each one first")
    return [{"code": code, "digest": digest} for code, _, digest in ticked]


PAGES: Final = (
    Page("runs/{id}/approve", show, {"approve": approve}, under="runs"),
    Page("runs/{id}/pilot", show_pilot, {"choose": choose, "approve": approve_pilot}, under="runs"),
)
