"""What the lists of accounts and of groups have in common: found by a value, or listed by a state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from link_orchestrator.portal.page import Asked, Outcome, Shown

COUNT: Final = 50
"""Rows of a page."""
BEGINS: Final = "begins"
"""What stands among the kinds of values for how a user name or an address begins, which finds accounts alone."""


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
    begins: bool = False
    """Whether they are those that begin so, as none has the whole value, or as this was asked for."""
    plan: str = ""
    """The last run, in whose plan people are found by the words of their names; "" for none."""

    @property
    def kinds(self) -> Sequence[tuple[str, str]]:
        """What they are found by, as options."""
        return (("", "Anything"), *self.found_by.items())

    @property
    def here(self) -> Mapping[str, str]:
        """What the address of the first page asks for, where a list goes on by a cursor."""
        return {"find": self.find, "by": BEGINS} if self.begins else {"state": self.state}

    def former(self, row: Mapping[str, Any]) -> str:
        """Return the former user name by which an account was found, "" if it was not found by one."""
        return next((one for one in row.get("formerUserNames", ()) if one.lower() == self.find.lower()), "")


async def show_list(asked: Asked, what: str, states: Mapping[str, str], found_by: Mapping[str, str]) -> Outcome:
    """Show the accounts, or the groups, that have a value or are in a state."""
    find, by = asked.query.get("find", "").strip(), asked.query.get("by", "")
    empty = Listed((), states, found_by, find, by, at_first="cursor" not in asked.query)
    if not find:
        return Shown(f"{what}.html", await _list(asked, what, empty))
    if BEGINS not in found_by:
        return Shown(f"{what}.html", await _find(asked, what, empty))
    listed = empty if by == BEGINS else await _find(asked, what, empty)
    nothing = listed.at_first and not (listed.rows or listed.more)
    if by == BEGINS or (nothing and not by):
        listed = await _find_beginning(asked, what, empty)
    return Shown(f"{what}.html", listed)


async def _list(asked: Asked, what: str, empty: Listed) -> Listed:
    """Return a page of those in a state."""
    state = asked.query.get("state", "")
    page = await asked.api.get(what, state=state, cursor=asked.query.get("cursor"), count=str(COUNT))
    return replace(empty, rows=page[what], state=state, cursor=page.get("cursor"))


async def _find(asked: Asked, what: str, empty: Listed) -> Listed:
    """Return those that have a whole value."""
    found_by, by = empty.found_by, empty.by
    kinds = [by] if by in found_by else [kind for kind in found_by if kind != BEGINS]
    begin = {"cursor": asked.query.get("cursor"), "count": str(COUNT)}
    pages = await asyncio.gather(*(asked.api.get(what, **{kind: empty.find}, **begin) for kind in kinds))
    found = {one["id"]: one for page in pages for one in page[what]}
    told = zip(kinds, pages, strict=True)
    more = [(found_by[kind], kind, page["cursor"]) for kind, page in told if "cursor" in page]
    return replace(empty, rows=[*found.values()], more=more)


async def _find_beginning(asked: Asked, what: str, empty: Listed) -> Listed:
    """Return a page of those of which a name begins so."""
    page, runs = await asyncio.gather(
        asked.api.get(what, begins=empty.find, cursor=asked.query.get("cursor"), count=str(COUNT)),
        asked.api.get("linking/runs", count="1"),
    )
    plan = next((run["id"] for run in runs["runs"] if "planned" in run and "reduced" not in run), "")
    return replace(empty, rows=page[what], cursor=page.get("cursor"), begins=True, plan=plan)
