"""Pages of what a query selects: by index (RFC 7644 section 3.4.2.4) or by cursor (RFC 9865), for any resource type.

Where a whole answer is at hand, a cursor's position is an offset in it; otherwise it is a position of the room's
listing. A Source is what a room offers. Pages over several rooms are shared/scim_root's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from shared.scim.cursor import Cursor, Position, Sign, open_cursor, seal
from shared.scim.filter import Filter, count_terms
from shared.scim.limits import MAX_PAGE_CHARS
from shared.scim.messages import list_response
from shared.scim.query import Query
from shared.turns import next_turn

R = TypeVar("R")

BY_CURSOR = 'read it page by page: add &cursor= (in a body "cursor": ""), then go on with the nextCursor of each page'
"""What a client does where a filter reads more than one answer may."""
READ_AT_ONCE = 1_000
"""Resources that one read fetches at most."""
JUDGED_AT_ONCE = 100
"""Resources that a filter judges before it is seen whether the page is full."""
MANY_TERMS = 20
"""Comparisons in a filter from which on it waits for a turn of the event loop, for it takes a while to compile it."""


class Reader(Protocol[R]):
    """Resources in an order that stays as they come and go. The position () is the beginning."""

    async def read_on(self, position: Position, count: int) -> tuple[Sequence[R], Position | None]:
        """Return at most `count` resources from a position on, and the position behind them; None at the end."""

    def place_of(self, resource: R) -> Position:
        """Return the position at which reading on begins with this resource."""


class Listing(Reader[R], Protocol[R]):
    """All resources of one type."""

    async def total(self) -> int:
        """Return how many there are."""

    async def page(self, start: int, count: int) -> tuple[int, Sequence[R]]:
        """Return the total, and at most `count` resources from the `start`-th on, counted from 1."""

    async def read_back(self, position: Position, count: int) -> Sequence[R]:
        """Return the last `count` resources before a position."""


def remedy_by_cursor(asked: Query) -> str:
    """Return what reads all that a query selects, however much that is; what is sorted has to be read as a whole."""
    return f"leave sortBy out and {BY_CURSOR}" if asked.sort else BY_CURSOR


@dataclass(frozen=True, slots=True)
class Source(Generic[R]):
    """What a room's pages are made of.

    `find` returns all that the query selects, sorted; `find_by_key` all that a filter selects, or None where no key
    answers it; `read_matching` goes on from a position through what a filter selects, and may stop early.
    """

    listing: Listing[R]
    find: Callable[[Query], Awaitable[Sequence[R]]]
    find_by_key: Callable[[Filter], Awaitable[Sequence[R] | None]]
    read_matching: Callable[[Filter, Position, int], Awaitable[tuple[Sequence[R], Position | None]]]


@dataclass(frozen=True, slots=True)
class Page(Generic[R]):
    """Some of the resources asked for. By cursor there is no `start_index`, and no `total` where it is not known."""

    resources: Sequence[R]
    total: int | None
    start_index: int | None = None
    previous: Cursor | None = None
    next: Cursor | None = None

    def text(self, texts: Sequence[str], asked: Query, sign: Sign) -> str:
        """Return the list response of the page, whose resources are given as JSON texts."""
        back, on = (seal(cursor, asked, sign) if cursor else None for cursor in (self.previous, self.next))
        return list_response(texts, self.total, self.start_index, previous_cursor=back, next_cursor=on)


async def answer_page(
    source: Source[R], asked: Query, sign: Sign, show: Callable[[Sequence[R]], Awaitable[Sequence[str]]]
) -> str:
    """Return the list response with the page that the query asks for.

    `show` returns the JSON texts of resources, or of the first of them where not all fit on a page (fitting()): then
    the page has no more. Raises InvalidCursor, ExpiredCursor, InvalidCount, and what the source does where it would
    read too many.
    """
    if asked.filter is not None and count_terms(asked.filter) >= MANY_TERMS:
        await next_turn()
    cursor = None if asked.cursor is None else open_cursor(asked, sign)
    fewer = asked
    while True:
        page = await _get(source, fewer, cursor)
        texts = await show(page.resources)
        if len(texts) == len(page.resources):
            return page.text(texts, asked, sign)
        fewer = replace(asked, count=len(texts))


def fitting(texts: Iterable[str]) -> Iterator[str]:
    """Yield the first texts, at least one, as far as they have MAX_PAGE_CHARS together."""
    chars = 0
    for number, text in enumerate(texts):
        chars += len(text)
        if number and chars > MAX_PAGE_CHARS:
            return
        yield text


async def _get(source: Source[R], asked: Query, cursor: Cursor | None) -> Page[R]:
    if cursor is None:
        return await _by_index(source, asked)
    if asked.count == 0:
        return Page((), (await _by_index(source, asked)).total)
    if asked.sort is not None:
        return _part(await source.find(asked), cursor, asked.count)
    if asked.filter is None:
        return await _listed(source.listing, cursor, asked.count)
    found = await source.find_by_key(asked.filter)
    if found is not None:
        return _part(found, cursor, asked.count)
    # There is no way back and no total.
    matching, behind = await source.read_matching(asked.filter, cursor.position, asked.count)
    return Page(matching, None, next=Cursor(behind) if behind else None)


async def read_matching(
    reader: Reader[R], passing: Callable[[Sequence[R]], Awaitable[Sequence[R]]], start: Position, count: int, most: int
) -> tuple[list[R], Position | None]:
    """Return resources from a position on that pass, and the position to read on at; None at the end.

    At most `most` resources are read, so there may be fewer than `count`, or none, before the end.
    """
    found: list[R] = []
    place: Position | None = start
    # Where nearly all pass, no more is read than is shown; where few do, soon many at once.
    at_once = count + 1
    while place is not None and most > 0:
        read, place = await reader.read_on(place, min(most, at_once, READ_AT_ONCE))
        most -= max(1, len(read))
        at_once *= 2
        for at in range(0, len(read), JUDGED_AT_ONCE):
            found += await passing(read[at : at + JUDGED_AT_ONCE])
            if len(found) > count:
                return found[:count], reader.place_of(found[count])
    return found, place


async def _by_index(source: Source[R], asked: Query) -> Page[R]:
    if asked.filter is None and asked.sort is None:
        total, resources = await source.listing.page(asked.start_index, asked.count)
        return Page(resources, total, asked.start_index)
    found = await source.find(asked)
    return Page(found[asked.start_index - 1 :][: asked.count], len(found), asked.start_index)


async def _listed(listing: Listing[R], cursor: Cursor, count: int) -> Page[R]:
    """Return a page of all resources. One more is read to see whether there is another page."""
    total = await listing.total()
    if cursor.back:
        found = await listing.read_back(cursor.position, count + 1)
        before, shown = len(found) > count, found[-count:]
        first = listing.place_of(shown[0]) if shown else cursor.position
        return Page(shown, total, previous=Cursor(first, back=True) if before else None, next=Cursor(cursor.position))
    found, _ = await listing.read_on(cursor.position, count + 1)
    behind = Cursor(listing.place_of(found[count])) if len(found) > count else None
    previous = Cursor(cursor.position, back=True) if cursor.position else None
    return Page(found[:count], total, previous=previous, next=behind)


def _part(found: Sequence[R], cursor: Cursor, count: int) -> Page[R]:
    """Return a page of an answer that is at hand as a whole."""
    at = int(cursor.position[0]) if cursor.position else 0
    start, end = (max(0, at - count), at) if cursor.back else (at, at + count)
    previous = Cursor((start,), back=True) if start else None
    return Page(found[start:end], len(found), previous=previous, next=Cursor((end,)) if end < len(found) else None)
