"""Accounts: found by what they have, or listed by who manages them."""

from __future__ import annotations

from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page
from link_orchestrator.portal.pages.listed import BEGINS, show_list

FOUND_BY: Final = {
    BEGINS: "Beginning of a sign-in name or an address",
    "userName": "Sign-in name",
    "formerUserName": "Former sign-in name",
    "email": "E-mail address",
    "applicationId": "Key of the application",
    "externalId": "Object ID in Entra",
    "objectId": "Object ID of a past sign-in",
    "nameId": "NameID of a past sign-in",
    "employeeNumber": "Employee number",
}
"""What an account is found by, with the words for it."""
STATES: Final = {
    "": "All",
    "local": "Managed here",
    "linked": "Linked",
    "unconfirmed": "Not yet confirmed",
    "provisioned": "Made by Entra",
    "protected": "Protected",
    "inactive": "Inactive",
    "deletedOverScim": "Deleted by Entra",
}
"""What accounts are listed by, with the words for it."""


async def show(asked: Asked) -> Outcome:
    """Show the accounts that have a value, or whose names begin so, or those in a state."""
    return await show_list(asked, "accounts", STATES, FOUND_BY)


PAGES: Final = (Page("accounts", show, label="Accounts"),)
