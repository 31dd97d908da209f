"""Accounts: found by what they have, or listed by who manages them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown

COUNT: Final = 50
"""Accounts of a page."""
FOUND_BY: Final = {
    "userName": "User name",
    "formerUserName": "Former user name",
    "email": "E-mail address",
    "applicationId": "Key of the application",
    "externalId": "External id",
    "objectId": "Object id of a past sign-in",
    "nameId": "NameID of a past sign-in",
    "employeeNumber": "Employee number",
}
"""What an account is found by, with the words for it."""
STATES: Final = {
    "": "All",
    "local": "Managed here",
    "linked": "Linked",
    "unconfirmed": "Not confirmed yet",
    "provisioned": "Made by Entra",
    "protected": "Protected",
    "inactive": "Inactive",
    "deletedOverScim": "Deleted by Entra",
}
"""What accounts are listed by, with the words for it."""


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the page of accounts shows: what was found, or a page of those in a state."""

    accounts: Sequence[Mapping[str, Any]]
    find: str = ""
    by: str = ""
    state: str = ""
    cursor: str | None = None
    at_first: bool = True

    @property
    def states(self) -> Mapping[str, str]:
        """What accounts are listed by."""
        return STATES

    def former(self, account: Mapping[str, Any]) -> str:
        """Return the former user name by which an account was found, "" if it was not found by one."""
        return next((one for one in account["formerUserNames"] if one.lower() == self.find.lower()), "")

    @property
    def kinds(self) -> Sequence[tuple[str, str]]:
        """What an account is found by, as options."""
        return (("", "Anything"), *FOUND_BY.items())


async def show(asked: Asked) -> Outcome:
    """Show the accounts that have a value, or those in a state."""
    find, by, state = asked.query.get("find", "").strip(), asked.query.get("by", ""), asked.query.get("state", "")
    if find:
        kinds = [by] if by in FOUND_BY else [*FOUND_BY]
        pages = await asyncio.gather(*(asked.api.get("accounts", **{kind: find}) for kind in kinds))
        found = {account["id"]: account for page in pages for account in page["accounts"]}
        return Shown("accounts.html", Accounts([*found.values()], find, by))
    cursor = asked.query.get("cursor", "")
    page = await asked.api.get("accounts", state=state, cursor=cursor, count=str(COUNT))
    return Shown("accounts.html", Accounts(page["accounts"], "", "", state, page.get("cursor"), not cursor))


PAGES: Final = (Page("accounts", show, label="Accounts"),)
