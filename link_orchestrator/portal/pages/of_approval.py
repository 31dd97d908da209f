"""What the pages of an approval and of a pilot have in common: the warnings seen, a number typed, what is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.names import rule_in_words
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, SeeOther
from link_orchestrator.portal.pages.of_plan import RULES, Row
from link_orchestrator.portal.pages.of_run import Document, Run, Warned
from link_orchestrator.words import keeps_name
from shared.scim.errors import InvalidValue

POLICY_CHANGED: Final = "policyChanged"
"""Code of the warning that the directory's policy is another than the plan's."""
MOST_LOOKED_AT: Final = 5_000
"""Links of a plan that are held against the policy with the page, in a tenth of a second; of more by a press."""
MOST_COUNTED: Final = 50
"""Rows of a pilot of which it is counted what becomes of them: those that a page of decisions can tick."""


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
    left_out: Document | None = None
    """Links of the plan that the policy would refuse by now, as the API counts them; None where that was not asked."""

    @property
    def open(self) -> Sequence[Warned]:
        return self.run.to_acknowledge

    @property
    def known(self) -> Sequence[Warned]:
        """Warnings that need no box any more."""
        return [one for one in self.run.warnings if one not in self.open]

    @property
    def may_leave_out(self) -> bool:
        """Whether the policy may leave out more than when the plan was made, and that was not counted."""
        return self.left_out is None and any(one.document["code"] == POLICY_CHANGED for one in self.run.warnings)

    @property
    def policy_leaves_out_more(self) -> bool:
        """Whether somebody was excluded, or an account set aside, since the plan was made."""
        return any((self.left_out or {}).get("entries", {}).values())

    @property
    def refused(self) -> int:
        """How many links of the plan would be refused for that."""
        return sum((self.left_out or {}).get("refused", {}).values())

    @property
    def refused_rows(self) -> Sequence[Row]:
        """The first of them."""
        return [Row(one["row"]) for one in (self.left_out or {}).get("rows", ())]

    @property
    def rules(self) -> Sequence[tuple[str, str]]:
        return [("", "Any rule"), *((one, rule_in_words(one)) for one in RULES)]


async def read(asked: Asked) -> Approval:
    """Return what the page shows, with what was ticked."""
    rows = asked.form.all("rows")
    renamed = await _renamed(asked, rows) if 0 < len(rows) <= MOST_COUNTED else None
    run = await Run.read(asked)
    counts = run.waits and (run.links <= MOST_LOOKED_AT or asked.query.get("count") == "yes")
    left_out = await asked.api.get("linking/runs/{id}/left-out", id=run.id) if counts else None
    return Approval(run, asked.form.all("acknowledged"), rows, renamed, left_out)


async def _renamed(asked: Asked, rows: Sequence[str]) -> int:
    """Return of how many rows the first cycle changes the sign-in name."""
    path = "linking/runs/{id}/decisions/{row}"
    asking = (asked.api.get(path, id=asked.path["id"], row=row) for row in rows)
    found = await asyncio.gather(*asking, return_exceptions=True)  # the API refuses what is no row once it is sent
    changes = [Row(one["row"]).changes for one in found if isinstance(one, dict)]
    return sum("userName" in one and not keeps_name(one) for one in changes)


async def send(asked: Asked, body: Mapping[str, Any], said: str) -> Outcome:
    """Send an approval, with what the page showed of reviews and of provisioning, and go to the run."""
    # What was reviewed since the page was shown, nobody has looked at: as many links may be those of others.
    body = {**body, "reviews": digits(asked.form["reviews"])}
    # As it is ticked, whatever the run was started with.
    body["pauseProvisioning"] = asked.form["pauseProvisioning"] == "yes"
    await asked.api.post("linking/runs/{id}/approve", body, id=asked.path["id"])
    return SeeOther(f"runs/{asked.path['id']}", said)


def number(asked: Asked, name: str, expected: int | None = None) -> int:
    """Return the number that was typed. Raises InvalidValue for none, and for another than is expected."""
    typed = digits(asked.form[name])
    if typed is None or (expected is not None and typed != expected):
        told = "a number of people, 1 or more" if expected is None else f"type {expected:,}, the number of links shown"
        raise InvalidValue(f"{name}: {told}")
    return typed


def acknowledged(asked: Asked, run: Run) -> list[dict[str, str]]:
    """Return the warnings that were ticked, each as it was seen. Raises InvalidValue if one is left out."""
    ticked = [one.partition(" ") for one in asked.form.all("acknowledged")]
    codes = {code for code, _, _ in ticked}
    if any(one.document["code"] not in codes for one in run.to_acknowledge):
        raise InvalidValue("acknowledged: not every warning is ticked: look at each one first")
    return [{"code": code, "digest": digest} for code, _, digest in ticked]
