"""Pages of users: by index (RFC 7644 section 3.4.2.4) or by cursor (RFC 9865).

Where an answer is at hand as a whole, a cursor's position is an offset in it; otherwise it is a place in the directory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scim_users.search import Found, find, find_by_key, read_matching
from shared.directory.directory import Directory
from shared.directory.groups import Group
from shared.directory.listing import START, Place
from shared.directory.model import Account
from shared.scim.cursor import Cursor, open_cursor
from shared.scim.filter import Filter
from shared.scim.query import Query


@dataclass(frozen=True, slots=True)
class Page:
    """Some of the users asked for. By cursor there is no `start_index`, and no `total` where it is not known."""

    accounts: Sequence[Account]
    total: int | None
    start_index: int | None = None
    previous: Cursor | None = None
    next: Cursor | None = None
    groups: Mapping[str, Sequence[Group]] | None = None
    """The users' groups, where they were read along."""


async def get_page(directory: Directory, asked: Query, base: str) -> Page:
    """Return the page that the query asks for.

    Raises TooMany where that would read too many, InvalidCursor, ExpiredCursor, InvalidCount.
    """
    if asked.cursor is None:
        return await _by_index(directory, asked, base)
    cursor = open_cursor(asked, directory.keys.sign)
    if asked.count == 0:
        return Page((), (await _by_index(directory, asked, base)).total)
    if asked.sort is not None:
        return _part(await find(directory, asked, base), cursor, asked.count)
    if asked.filter is None:
        return await _listed(directory, cursor, asked.count)
    found = await find_by_key(directory, asked, base)
    if found is None:
        return await _scanned(directory, asked.filter, base, cursor, asked.count)
    return _part(found, cursor, asked.count)


async def _by_index(directory: Directory, asked: Query, base: str) -> Page:
    if asked.filter is None and asked.sort is None:
        total, accounts = await directory.listing.page(asked.start_index, asked.count)
        return Page(accounts, total, asked.start_index)
    found = await find(directory, asked, base)
    accounts = found.accounts[asked.start_index - 1 :][: asked.count]
    return Page(accounts, len(found.accounts), asked.start_index, groups=found.groups)


async def _listed(directory: Directory, cursor: Cursor, count: int) -> Page:
    """Return a page of all users. One more is read to see whether there is another page."""
    listing, place = directory.listing, _place(cursor)
    total = await listing.total()
    if cursor.back:
        accounts = await listing.read_back(place, count + 1)
        before, shown = len(accounts) > count, accounts[-count:]
        first = listing.place_of(shown[0]) if shown else place
        return Page(shown, total, previous=Cursor(first, back=True) if before else None, next=Cursor(place))
    accounts, _ = await listing.read_on(place, count + 1)
    behind = Cursor(listing.place_of(accounts[count])) if len(accounts) > count else None
    return Page(accounts[:count], total, previous=Cursor(place, back=True) if cursor.position else None, next=behind)


async def _scanned(directory: Directory, tree: Filter, base: str, cursor: Cursor, count: int) -> Page:
    """Return a page of what a filter selects as the directory is read. There is no way back and no total."""
    accounts, behind = await read_matching(directory, tree, base, _place(cursor), count)
    return Page(accounts, None, next=Cursor(behind) if behind else None)


def _part(found: Found, cursor: Cursor, count: int) -> Page:
    """Return a page of an answer that is at hand as a whole."""
    at = int(cursor.position[0]) if cursor.position else 0
    start, end = (max(0, at - count), at) if cursor.back else (at, at + count)
    previous = Cursor((start,), back=True) if start else None
    accounts, total = found.accounts[start:end], len(found.accounts)
    behind = Cursor((end,)) if end < total else None
    return Page(accounts, total, previous=previous, next=behind, groups=found.groups)


def _place(cursor: Cursor) -> Place:
    if not cursor.position:
        return START
    bucket, key = cursor.position
    return Place(int(bucket), str(key))
