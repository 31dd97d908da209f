"""A counterpart that a person names for a row of a plan: the two side by side, before the row is decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import find_known
from link_orchestrator.portal.pages.of_plan import Row, looked_for
from link_orchestrator.portal.pages.of_run import Document, Run
from link_orchestrator.portal.pages.row import ROW, Side, compare, decide, find_account
from shared.scim.errors import InvalidValue

_WORD: Final = re.compile(r"[^\W\d_]{3,}")
"""A word of a name or of an address, long enough to tell something."""


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A row's side and the one that somebody names for it, as both are now."""

    run: Run
    row: Row
    account: Document
    identity: Document
    holders: Sequence[Document]
    """Other accounts that have the identity."""
    named: str
    """Which of the two was named: account or identity."""
    asked: dict[str, str]
    shown: str = ""
    """The seal of the page's question."""

    @property
    def question(self) -> str:
        """What the page asks: whether the two are the same person, as it shows them."""
        ids = (self.run.id, self.row.id, self.account["id"], self.identity["id"], *(one["id"] for one in self.holders))
        return repr((ids, [*self.sides]))

    @property
    def sides(self) -> Sequence[Side]:
        """What both have, the account's value first."""
        return [one for one in compare(self.account, self.identity) if one.here is not None and one.there is not None]

    @property
    def alike(self) -> bool:
        """Whether the two share anything."""
        return are_alike(self.sides)


def are_alike(sides: Iterable[Side]) -> bool:
    """Tell whether an account and a person share a value, or a word of a name or an address."""
    told = [one for one in sides if one.term != "Active"]
    here, there = (_told(texts) for texts in ((one.here for one in told), (one.there for one in told)))
    return not here.isdisjoint(there)


def _told(texts: Iterable[str | None]) -> set[str]:
    """Return values, and the words before the @ of each, in small letters."""
    values = {value for text in texts if text for value in text.casefold().split(", ")}
    return values | {word for value in values for word in _WORD.findall(value.partition("@")[0])}


async def find_holders(asked: Asked, identity: str, account: str) -> Sequence[Document]:
    """Return the accounts that have an identity, beside the account that is to get it."""
    found = (await asked.api.get("accounts", externalId=identity))["accounts"]
    return [one for one in found if one["id"] != account]


async def show(asked: Asked) -> Outcome:
    """Show the two side by side; the row alone, where one of them is not known."""
    if view := await _read(asked):
        return Shown("counterpart.html", view)
    return SeeOther(f"runs/{asked.path['id']}/rows/{asked.path['row']}", query=looked_for(asked))


async def name(asked: Asked) -> Outcome:
    """Link the two that the page showed, while it still shows them so."""
    view = await _read(asked)
    if view is None or asked.form["shown"] != view.shown:
        named = "identity" if "identity" in asked.form else "account"
        raise InvalidValue(f"{named}: these two were not shown side by side as they are now: look at both, then decide")
    return await decide(asked, {"action": "link", view.named: asked.form[view.named]})


async def _read(asked: Asked) -> Counterpart | None:
    """Return the row's side and the one that is named, None where one of the two is not known."""
    run = await Run.read(asked)
    found = await asked.api.get(ROW, id=run.id, row=asked.path["row"])
    row = Row(found["row"], run.waits)
    named = "identity" if row.decision == "noIdentity" else "account"
    value = asked.form[named] or asked.query.get(named, "")
    account = await find_account(asked, row.account.get("id", "") if named == "identity" else value)
    if named == "identity":
        known = await find_known(asked, value)
        identity = known["identity"] if known else {}
    else:
        person = row.document.get("identity", {})
        whole: Document = next((one for one in found["identities"] if one["id"] == person.get("objectId")), {})
        identity = whole or ({"id": person["objectId"], **person} if "userPrincipalName" in person else {})
    if not account or not identity:
        return None
    holders = await find_holders(asked, identity["id"], account["id"])
    view = Counterpart(run, row, account, identity, holders, named, looked_for(asked))
    return replace(view, shown=asked.seal(view.question))


PAGES: Final = (Page("runs/{id}/rows/{row}/counterpart", show, {"name": name}, under="runs"),)
