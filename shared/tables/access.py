"""How code uses the port: ranges of any length, rows that others may delete too, and many requests at once."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import TypeVar

from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    MAX_PAGE,
    Delete,
    Merge,
    Operation,
    Page,
    Row,
    Span,
    Tables,
    TransactionTooLarge,
    VersionConflict,
)
from shared.turns import Turns

AT_ONCE = 64
"""Requests that one step has under way at the same time: as many as one connection pool serves without waiting."""

ROWS_A_TURN = 100
"""Rows of a last page from which on other requests get their turn behind it."""

Commit = Callable[[str, Sequence[Operation]], Awaitable[list[str]]]
"""Commits operations to a partition: Tables.commit or Tables.commit_ahead."""

Item = TypeVar("Item")
Result = TypeVar("Result")


async def scan(
    tables: Tables,
    partition: str,
    low: str = "",
    high: str | None = None,
    *,
    select: Sequence[str] | None = None,
    top: int = sys.maxsize,
    page_rows: int = MAX_PAGE,
) -> AsyncIterator[Row]:
    """Yield the rows with low <= key < high (see port.Tables.query), at most `top` in all and `page_rows` a request."""
    turns = Turns()
    async for page in scan_pages(tables, partition, low, high, select=select, top=top, page_rows=page_rows):
        for row in page.rows:
            yield row
            if turns.is_over:  # what is done with the row counts as work, too
                await turns.step()


async def read_range(
    tables: Tables,
    partition: str,
    low: str = "",
    high: str | None = None,
    *,
    top: int = sys.maxsize,
    select: Sequence[str] | None = None,
) -> list[Row]:
    """Return the rows that scan() yields. Most look-ups are one, of a page: so it is read without a generator."""
    rows: list[Row] = []
    continuation = None
    while top > len(rows):
        size = min(top - len(rows), MAX_PAGE)
        page = await tables.query(partition, low, high, select=select, top=size, continuation=continuation)
        rows += page.rows
        continuation = page.continuation
        if _is_long(page):
            await asyncio.sleep(0)
        if continuation is None:
            break
    return rows


async def read_ranges(tables: Tables, spans: Sequence[Span], *, top: int) -> list[Sequence[Row]]:
    """Return the first `top` rows of each range, at most a page; mostly one round trip brings all of them."""
    pages = await tables.query_many(spans, top=top)
    return [
        page.rows if page.continuation is None or len(page.rows) == top else await read_range(tables, *span, top=top)
        for span, page in zip(spans, pages, strict=True)
    ]


async def scan_pages(
    tables: Tables,
    partition: str,
    low: str = "",
    high: str | None = None,
    *,
    select: Sequence[str] | None = None,
    top: int = sys.maxsize,
    page_rows: int = MAX_PAGE,
) -> AsyncIterator[Page]:
    """Yield the pages of the rows that scan() yields.

    The continuation of the last page tells whether there may be rows behind the first `top`.
    """
    continuation = None
    while top > 0:
        size = min(top, page_rows)
        page = await tables.query(partition, low, high, select=select, top=size, continuation=continuation)
        yield page
        top -= len(page.rows)
        continuation = page.continuation
        if _is_long(page):
            await asyncio.sleep(0)
        if continuation is None:
            return


def _is_long(page: Page) -> bool:
    """Tell whether others get their turn behind a page: on SQLite a read never waits, and a scan would hold them up."""
    return page.continuation is not None or len(page.rows) >= ROWS_A_TURN


async def clear(tables: Tables, partition: str) -> None:
    """Delete the rows of a partition, though others delete them at the same time."""
    continuation = None
    while True:
        page = await tables.query(partition, select=[], top=MAX_OPERATIONS, continuation=continuation)
        with suppress(VersionConflict):  # another deleted some of these rows: what is left of the page is read again
            if page.rows:
                await tables.commit(partition, [Delete(row.key, ANY) for row in page.rows])
            continuation = page.continuation
            if continuation is None:
                return


async def delete(tables: Tables, partition: str, deletes: Iterable[Delete | Merge]) -> int:
    """Delete rows of a partition, or merge into them, but those that changed or are gone; return how many that was."""
    waiting, deleted = list(deletes), 0
    while waiting:
        chunk = waiting[:MAX_OPERATIONS]
        try:
            await tables.commit(partition, chunk)
        except VersionConflict as conflict:
            del waiting[conflict.index]
        else:
            del waiting[:MAX_OPERATIONS]
            deleted += len(chunk)
    return deleted


async def write(tables: Tables, by_partition: Mapping[str, Sequence[Operation]], *, ahead: bool = False) -> None:
    """Commit operations that need not take effect together, in as few transactions as hold them.

    `ahead` as in Tables.commit_ahead.
    """
    commit = tables.commit_ahead if ahead else tables.commit
    await in_waves(
        _commit(commit, partition, part)
        for partition, operations in by_partition.items()
        for part in in_parts(operations, MAX_OPERATIONS)
    )


async def _commit(commit: Commit, partition: str, operations: Sequence[Operation]) -> None:
    """Commit operations in one transaction, or in the halves of one that is too large."""
    try:
        await commit(partition, operations)
    except TransactionTooLarge:
        if len(operations) == 1:
            raise
        for half in in_parts(operations, (len(operations) + 1) // 2):
            await _commit(commit, partition, half)


async def together(*calls: Awaitable[Result]) -> list[Result]:
    """Run calls at once, wait for all of them, then raise the first failure if there is one."""
    if len(calls) < 2:
        return [await call for call in calls]
    results = await asyncio.gather(*calls, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return [result for result in results if not isinstance(result, BaseException)]


async def in_waves(calls: Iterable[Awaitable[Result]]) -> list[Result]:
    """Run calls, AT_ONCE at a time, and return their results in order."""
    results: list[Result] = []
    waiting = iter(calls)
    while wave := list(islice(waiting, AT_ONCE)):
        results += await together(*wave)
    return results


def in_parts(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Yield the items in order, `size` at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))
