"""Rows that lie in a partition for each bucket, a page at a time over all buckets.

A cursor names the bucket and the key of the page's last row. So it goes on from there, whatever rows come and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from shared.directory.errors import InvalidCursor
from shared.directory.keys import DIGEST, ID, behind
from shared.tables.access import read_range
from shared.tables.port import Row, Tables

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
    start = max(low, behind(after)) if after else low
    for bucket in range(first, buckets):
        rows = await read_range(tables, partition(bucket), start, high, top=count - len(found))
        found += [(bucket, row) for row in rows]
        if len(found) == count:
            return found, f"{bucket:02x}{found[-1][1].key}"
        start = low
    return found, None
