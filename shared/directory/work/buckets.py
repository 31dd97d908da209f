"""Rows that lie in a partition for each bucket, a page at a time over all buckets.

A cursor names the bucket and the key of the page's last row. So it goes on from there, whatever rows come and go.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from typing import Final

from shared.directory.errors import InvalidCursor
from shared.directory.keys import DIGEST, ID, behind
from shared.tables.access import AT_ONCE, read_range, together
from shared.tables.port import Row, Tables

MORE: Final = 4
"""Times as many buckets that are read next where there was nothing in those before."""
ACCOUNT_CURSOR: Final = re.compile(rf"[0-9a-f]{{2}}{ID.pattern}_[0-9a-f]{{{DIGEST}}}")
"""A cursor over rows of which an account may have several: the bucket, the account's id, and a digest."""


def read_place(cursor: str, form: re.Pattern[str], buckets: int) -> tuple[int, str]:
    """Return the bucket and the key that a cursor names, the beginning for "". Raises InvalidCursor."""
    if not cursor:
        return 0, ""
    if not form.fullmatch(cursor) or int(cursor[:2], 16) >= buckets:
        raise InvalidCursor
    return int(cursor[:2], 16), cursor[2:]


Entries = list[tuple[int, Row]]
"""Rows, each with its bucket."""


async def read_page(
    tables: Tables,
    partition: Callable[[int], str],
    buckets: int,
    place: tuple[int, str],
    count: int,
    *,
    low: str = "",
    high: str | None = None,
) -> tuple[Entries, str | None]:
    """Return `count` rows from behind a place with low <= key < high, and the next cursor."""
    async with aclosing(read_pages(tables, partition, buckets, place, [count], low=low, high=high)) as pages:
        return await anext(pages)


async def read_pages(
    tables: Tables,
    partition: Callable[[int], str],
    buckets: int,
    place: tuple[int, str],
    counts: Iterable[int],
    *,
    low: str = "",
    high: str | None = None,
    select: Sequence[str] | None = None,
) -> AsyncGenerator[tuple[Entries, str | None]]:
    """Yield a page of each of these counts of rows, or fewer at the end, each with the next cursor."""
    (first, after), looked, seen = place, 0, 0
    for count in counts:
        found: Entries = []
        bucket = first
        while len(found) < count and bucket < buckets:
            left = count - len(found)
            some = range(bucket, min(bucket + _next(looked, seen, left), buckets))
            entered = bool(after) and bucket == first
            begins = (max(low, behind(after)) if entered else low, *[low] * (len(some) - 1))
            read = await together(
                *(
                    read_range(tables, partition(one), at, high, top=left, select=select)
                    for one, at in zip(some, begins, strict=True)
                )
            )
            found += [(one, row) for one, rows in zip(some, read, strict=True) for row in rows]
            # A bucket that is entered behind some of its rows, or not read to its end, says nothing of the others.
            whole = [len(rows) for rows in read[entered:] if len(rows) < left]
            looked, seen = looked + len(whole), seen + sum(whole)
            bucket = some.stop
        if len(found) < count:
            yield found, None
            return
        first, after = found[count - 1][0], found[count - 1][1].key
        yield found[:count], f"{first:02x}{after}"


def _next(looked: int, found: int, left: int) -> int:
    """Return how many buckets to read side by side: those that have what is `left`, if all have as many as those did.

    One behind the other, the few rows of a large directory would take a round trip for each bucket.
    """
    if not looked:
        return 1
    return min(AT_ONCE, -(-left * looked // found) if found else MORE * looked)
