"""A counterpart that a person names for a row of a plan: the two side by side, before the row is decided."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import find_known
from link_orchestrator.portal.pages.of_plan import Row, looked_for
from link_orchestrator.portal.pages.of_run import Document, Run
from link_orchestrator.portal.pages.row import Side, compare, find_account, name_counterpart

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

    @property
    def _sides(self) -> Sequence[Side]:
        return [one for one in compare(self.account, self.identity) if one.here is not None and one.there is not None]

    @property
    def sides(self) -> Sequence[tuple[str, str | None, str | None]]:
        """What both have, the account's value first."""
        return [(one.term, one.here, one.there) for one in self._sides]

    @property
    def alike(self) -> bool:
        """Whether the two share a value, or a word of a name or an address."""
        told = [one for one in self._sides if one.term != "Active"]
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
    run = await Run.read(asked)
    found = await asked.api.get("linking/runs/{id}/decisions/{row}", id=run.id, row=asked.path["row"])
    row, query = Row(found["row"], run.waits), looked_for(asked)
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
        return SeeOther(f"{run.path}/rows/{row.id}", query=query)
    holders = await find_holders(asked, identity["id"], account["id"])
    return Shown("counterpart.html", Counterpart(run, row, account, identity, holders, named, query))


PAGES: Final = (Page("runs/{id}/rows/{row}/counterpart", show, {"name": name_counterpart}, under="runs"),)
