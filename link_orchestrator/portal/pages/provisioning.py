"""The provisioning log: what Entra was refused and what to do about it, whom its creates linked, links to other ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown

COUNT: Final = 50
"""Rows of a page: of as many the API says whom an external id is."""
LISTS: Final = {"": "Refused", "adoptions": "Linked by a create", "foreign": "Linked with other ids"}
"""What the page shows, by the query parameter `show`, with the words for it."""
_ANSWERS: Final = {
    "": ("linking/refusals", "refusals"),
    "adoptions": ("linking/adoptions", "adoptions"),
    "foreign": ("linking/foreign-links", "links"),
}
"""Path of the API, and the field of its answer that has the rows."""


class Cause(NamedTuple):
    """Why provisioning is refused: what it is called, what happens next, and what to do in the Entra admin center."""

    name: str
    title: str
    next: str
    remedy: str


CAUSES: Final = (
    Cause(
        "managedHere",
        "The account is managed here",
        "Entra tries again with every cycle, and shows the person as failed. The account and its sign-in stay as they "
        "are.",
        "If the person is whom Entra means, link the account: with a run, or on its page. If not, rename the "
        "account on its page, or in the Entra admin center take the person out of Users and "
        "groups of the enterprise application. The attribute mapping stays as Connect "
        "shows it.",
    ),
    Cause(
        "keptHere",
        "Entra wanted to delete the account",
        "The account stays as it is: provisioning deletes no account that is managed here.",
        "If the account is to stay, do nothing. If it is to go, delete it on its page. Do not link it: provisioning "
        "may then switch it off or delete it.",
    ),
    Cause(
        "protected",
        "The account is protected",
        "Nothing reaches the account while it is protected. Entra goes on trying.",
        "In the Entra admin center, take the person out of Users and groups of the enterprise application, or out of "
        "the scoping filter. Lift the protection on the account's page only if it is no emergency account any more.",
    ),
    Cause(
        "mayBeAnother",
        "The write would make a second account for somebody",
        "Entra goes on trying: the account, which provisioning made, would get what another account has, or a person "
        "whom the last plan left to you.",
        "Look at the person of the external id in the plan, and settle them in a review; or link the other account by "
        "hand, on its page, after this one was deleted.",
    ),
    Cause(
        "changedSince",
        "The account was changed since",
        "Entra sends what was refused again with every cycle: what came through since was in nobody's way any more.",
        "If the account has by now what Entra sends, nothing is left to do. If not, the next refused write is shown "
        "here.",
    ),
    Cause(
        "linkedByNow",
        "The account was linked since",
        "Entra's next cycle comes through.",
        "Nothing is left to do. To see it now, use Provision on demand in the Entra admin center. If it was a deletion "
        "and the account is to stay, release it on its page: a linked account is Entra's to delete.",
    ),
    Cause("deleted", "The account was deleted since", "Entra finds nobody there any more.", "Nothing is left to do."),
)
"""What is in the way of provisioning, in the order in which it is shown."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Log:
    """What the page shows: one of its lists, a page of it."""

    shown: str
    rows: Sequence[Document]
    cursor: str | None = None
    at_first: bool = True

    @property
    def lists(self) -> Mapping[str, str]:
        """The lists, with the words for them."""
        return LISTS

    @property
    def by_cause(self) -> Sequence[tuple[Cause, Sequence[Document]]]:
        """The refused writes of this page by what is in their way, the latest first."""
        latest = sorted(self.rows, key=lambda row: row["last"], reverse=True)
        groups = [(cause, [row for row in latest if row["cause"] == cause.name]) for cause in CAUSES]
        return [(cause, rows) for cause, rows in groups if rows]


async def show(asked: Asked) -> Outcome:
    """Show one of the lists."""
    shown = asked.query.get("show", "")
    shown = shown if shown in LISTS else ""
    cursor = asked.query.get("cursor", "")
    path, name = _ANSWERS[shown]
    asking = {"identities": "true"} if not shown else {}
    page = await asked.api.get(path, cursor=cursor, count=str(COUNT), **asking)
    return Shown("provisioning.html", Log(shown, page[name], page.get("cursor"), not cursor))


async def undo(asked: Asked) -> Outcome:
    """Take back all links that creates over SCIM made."""
    undo = await asked.api.post("linking/adoptions/undo", {})
    return SeeOther(f"undos/{undo['id']}")


PAGES: Final = (Page("provisioning", show, {"undo": undo}, label="Provisioning log"),)
