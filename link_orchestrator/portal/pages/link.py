"""A link by hand: who the person is, beside the account, before anything is linked.

The form carries the seal of what the page showed, so that nobody is linked whom the page did not show: by whatever is
sent to its address, or after something of it changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import Account, Document, find_known, read, send
from link_orchestrator.portal.pages.counterpart import are_alike, find_holders
from link_orchestrator.portal.pages.last_plan import Said, accounts_of, of_person
from link_orchestrator.portal.pages.row import Side, compare
from shared.scim.errors import InvalidValue

UNSEEN: Final = (
    "identity: these two were not shown side by side as they are now, so nothing was linked: look at both, then decide"
)


@dataclass(frozen=True, slots=True)
class Pair:
    """An account, and whom it is about to be linked with: an object id, and what is known of it, None for nothing."""

    account: Account
    identity: str
    known: Document | None
    holders: Sequence[Document] = ()
    """Other accounts that have the identity."""
    person_planned: Said | None = None
    """What the last plan says of the person, None where no plan that is kept knows them."""
    shown: str = ""
    """The seal of the page's question."""

    def question(self, version: str) -> str:
        """Return what the page asks of an account of this version: whether it is the person's, as it shows them."""
        planned = self.person_planned
        rows = [(row.id, row.seen, *self.matched_elsewhere) for row in planned.rows] if planned else []
        about = [*rows, *self.others_planned]
        return repr((self.account.account["id"], version, self.identity, self.known, self._holders, about))

    @property
    def _holders(self) -> Sequence[str]:
        return [one["id"] for one in self.holders]

    @property
    def sides(self) -> Sequence[Side]:
        """What both have, the account's value first."""
        if not self.known:
            return ()
        sides = compare(self.account.account, self.known["identity"])
        return [one for one in sides if one.here is not None and one.there is not None]

    @property
    def agreed(self) -> bool:
        """Whether the two share anything, and the last plan matches neither of them with another."""
        return self.alike and not self.matched_elsewhere and not self.others_planned

    @property
    def alike(self) -> bool:
        """Whether it is known who the person is, and the two share anything."""
        return are_alike(self.sides)

    @property
    def matched_elsewhere(self) -> Sequence[tuple[str, str]]:
        """Other accounts that the last plan matches with the person: their ids and names."""
        own, planned = self.account.account["id"], self.person_planned
        found = {id_: name for row in planned.rows for id_, name in accounts_of(row).items()} if planned else {}
        return [(id_, name) for id_, name in found.items() if id_ != own]

    @property
    def others_planned(self) -> Sequence[str]:
        """Other people whom the last plan matches with the account, by name."""
        planned = self.account.planned
        people = [row.person for row in planned.rows] if planned else []
        return [str(one["userPrincipalName"]) for one in people if one and one["objectId"] != self.identity]


async def _read(asked: Asked) -> Pair | None:
    """Return the account and the person whom the form or the address names, None for nobody, or a deleted account."""
    view = await read(asked, groups=False)
    identity = asked.form["identity"] or asked.query.get("identity", "")
    if view.deleted or not identity:
        return None
    known = await find_known(asked, identity)
    identity = known["identity"]["id"] if known else identity
    holders = await find_holders(asked, identity, view.account["id"])
    planned = await of_person(asked, known["identity"]) if known else None
    view_ = Pair(view, identity, known, holders, planned)
    return replace(view_, shown=asked.seal(view_.question(view.version)))


async def show(asked: Asked) -> Outcome:
    """Show who the person is, beside the account."""
    if view := await _read(asked):
        return Shown("link.html", view)
    account = await read(asked, groups=False)
    if account.deleted and asked.refusal:
        return Shown("account.html", account)
    return SeeOther(f"accounts/{asked.path['id']}")


async def link(asked: Asked) -> Outcome:
    """Link the two that the page showed, while it would still show them so.

    Of an account that changed since, or is gone, the API says so.
    """
    view, reason = await _read(asked), asked.form["reason"].strip()
    if view and asked.form["shown"] != asked.seal(view.question(asked.form["version"])):
        raise InvalidValue(UNSEEN)
    body = {"identity": view.identity if view else asked.form["identity"]} | ({"reason": reason} if reason else {})
    await send(asked, "POST", "accounts/{id}/link", body)
    return SeeOther(f"accounts/{asked.path['id']}", "linked")


PAGES: Final = (Page("accounts/{id}/link", show, {"link": link}, under="accounts"),)
