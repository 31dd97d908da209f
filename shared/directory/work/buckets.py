"""Rows that lie in a partition for each bucket, a page at a time over all buckets.

A cursor names the bucket and the key of the page's last row. So it goes on from there, whatever rows come and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
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


async def read_page(
    tables: Tables,
    partition: Callable[[int], str],
    buckets: int,
    place: tuple[int, str],
    count: int,
    *,
    low: str = "",
    high: str | None = None,
) -> tuple[list[tuple[int, Row]], str | None]:
    """Return `count` rows from behind a place with low <= key < high, each with its bucket, and the next cursor."""
    found: list[tuple[int, Row]] = []
    first, after = place
    bucket = first
    while bucket < buckets:
        left = count - len(found)
        some = range(bucket, min(bucket + _next(bucket - first, len(found), left), buckets))
        begin = max(low, behind(after)) if after and bucket == first else low
        begins = (begin, *[low] * (len(some) - 1))
        read = await together(
            *(read_range(tables, partition(one), at, high, top=left) for one, at in zip(some, begins, strict=True))
        )
        found += [(one, row) for one, rows in zip(some, read, strict=True) for row in rows]
        if len(found) >= count:
            last, row = found[count - 1]
            return found[:count], f"{last:02x}{row.key}"
        bucket = some.stop
    return found, None


def _next(looked: int, found: int, left: int) -> int:
    """Return how many buckets to read side by side: those that have what is `left`, if all have as many as before.

    One behind the other, the few rows of a large directory would take a round trip for each bucket.
    """
    if not looked:
        return 1
    return min(AT_ONCE, -(-left * looked // found) if found else MORE * looked)
