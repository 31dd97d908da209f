"""A link by hand: whose the object id is, beside the account, before anything is linked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import Account, Document, find_known, read, send
from link_orchestrator.portal.pages.counterpart import find_holders
from link_orchestrator.portal.pages.row import Side, compare
from shared.scim.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Pair:
    """An account, and whom it is about to be linked with: an object id, and what is known of it, None for nothing."""

    account: Account
    identity: str
    known: Document | None
    holders: Sequence[Document] = ()
    """Other accounts that have the identity."""

    @property
    def sides(self) -> Sequence[Side]:
        """What both have, the account's value first."""
        if not self.known:
            return ()
        sides = compare(self.account.account, self.known["identity"])
        return [one for one in sides if one.here is not None and one.there is not None]


async def show(asked: Asked) -> Outcome:
    """Show whose an object id is, beside the account."""
    view = await read(asked, groups=False)
    identity = asked.form["identity"] or asked.query.get("identity", "")
    if view.deleted and asked.refusal:
        return Shown("account.html", view)
    if view.deleted or not identity:
        return SeeOther(f"accounts/{view.account['id']}")
    known = await find_known(asked, identity)
    holders = await find_holders(asked, known["identity"]["id"] if known else identity, view.account["id"])
    return Shown("link.html", Pair(view, identity, known, holders))


async def link(asked: Asked) -> Outcome:
    """Link the account by hand. Whom nobody knows is linked by a page alone that said so."""
    identity, reason = asked.form["identity"], asked.form["reason"].strip()
    if asked.form["unknown"] != "yes" and await find_known(asked, identity) is None:
        raise InvalidValue("identity: nobody of this object id is in what was read and is kept; nothing was linked")
    body = {"identity": identity} | ({"reason": reason} if reason else {})
    await send(asked, "POST", "accounts/{id}/link", body)
    return SeeOther(f"accounts/{asked.path['id']}", "linked")


PAGES: Final = (Page("accounts/{id}/link", show, {"link": link}, under="accounts"),)
