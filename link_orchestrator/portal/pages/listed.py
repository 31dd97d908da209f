"""What the lists of accounts and of groups have in common: found by a whole value, or listed by a state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Shown

COUNT: Final = 50
"""Rows of a page."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What such a page shows: what was found, or a page of those in a state."""

    rows: Sequence[Mapping[str, Any]]
    states: Mapping[str, str]
    """What they are listed by, with the words for it; "" is all of them."""
    found_by: Mapping[str, str]
    """What they are found by, with the words for it."""
    find: str = ""
    by: str = ""
    state: str = ""
    cursor: str | None = None
    at_first: bool = True
    more: Sequence[tuple[str, str, str]] = ()
    """Of what was looked for, what more of them have: in words, the kind of value, and the cursor that goes on."""

    @property
    def kinds(self) -> Sequence[tuple[str, str]]:
        """What they are found by, as options."""
        return (("", "Anything"), *self.found_by.items())

    def former(self, row: Mapping[str, Any]) -> str:
        """Return the former user name by which an account was found, "" if it was not found by one."""
        return next((one for one in row.get("formerUserNames", ()) if one.lower() == self.find.lower()), "")


async def show_list(asked: Asked, what: str, states: Mapping[str, str], found_by: Mapping[str, str]) -> Outcome:
    """Show the accounts, or the groups, that have a value or are in a state."""
    find, by, state = asked.query.get("find", "").strip(), asked.query.get("by", ""), asked.query.get("state", "")
    cursor = asked.query.get("cursor", "")
    if find:
        kinds = [by] if by in found_by else [*found_by]
        begin = {"cursor": cursor, "count": str(COUNT)}
        pages = await asyncio.gather(*(asked.api.get(what, **{kind: find}, **begin) for kind in kinds))
        found = {one["id"]: one for page in pages for one in page[what]}
        told = zip(kinds, pages, strict=True)
        more = [(found_by[kind], kind, page["cursor"]) for kind, page in told if "cursor" in page]
        listed = Listed([*found.values()], states, found_by, find, by, at_first=not cursor, more=more)
        return Shown(f"{what}.html", listed)
    page = await asked.api.get(what, state=state, cursor=cursor, count=str(COUNT))
    listed = Listed(page[what], states, found_by, state=state, cursor=page.get("cursor"), at_first=not cursor)
    return Shown(f"{what}.html", listed)
