"""Groups: found by name or Object ID, or listed; and one group with its members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.listed import COUNT, show_list

FOUND_BY: Final = {"displayName": "Name", "externalId": "Object ID in Entra"}
"""What a group is found by, with the words for it."""
STATES: Final = {
    "": "All",
    "local": "Managed here",
    "linked": "Linked",
    "provisioned": "Made by Entra",
    "deletedOverScim": "Deleted by Entra",
}
"""What groups are listed by, with the words for it."""

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Group:
    """What the page of one group shows: a page of its members, and one of its history, oldest first."""

    group: Document
    members: Sequence[Document] = ()
    cursor: str | None = None
    at_first: bool = True
    changes_at_first: bool = True

    @property
    def deleted(self) -> bool:
        """Whether nothing but its history is left."""
        return bool(self.group.get("deleted"))


async def show_all(asked: Asked) -> Outcome:
    """Show the groups that have a value, or those in a state."""
    return await show_list(asked, "groups", STATES, FOUND_BY)


async def show(asked: Asked) -> Outcome:
    """Show one group."""
    group_id, query = asked.path["id"], asked.query
    group = await asked.api.get("groups/{id}", id=group_id, cursor=query.get("changes"), count=str(COUNT))
    if group.get("deleted"):
        return Shown("group.html", Group(group, changes_at_first="changes" not in query))
    page = await asked.api.get("members", group=group_id, cursor=query.get("cursor"), count=str(COUNT))
    first = (not query.get("cursor"), not query.get("changes"))
    return Shown("group.html", Group(group, page["members"], page.get("cursor"), *first))


async def release(asked: Asked) -> Outcome:
    """Give the group back to local management."""
    body = {"keep": "attributes"} if asked.form["keep"] == "attributes" else {}
    await asked.api.post("groups/{id}/release", body, id=asked.path["id"])
    return SeeOther(f"groups/{asked.path['id']}", said="released")


PAGES: Final = (
    Page("groups", show_all, label="Groups"),
    Page(
        "groups/{id}",
        show,
        {"release": release},
        under="groups",
        notices={"released": "The group is managed here now. Provisioning's writes to it are refused."},
    ),
)
