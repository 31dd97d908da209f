"""Pages over all accounts or all groups, those alone that meet a condition: what the administrator looks through."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, TypeVar

from shared.directory.keys import ID, LIVE, RETIRED, behind
from shared.directory.records.listing import Listing
from shared.directory.records.model import Resource
from shared.directory.work.buckets import read_place

SCANNED: Final = 20_000
"""Resources that one page reads at most: it may have fewer rows than asked for, or none, and more may follow."""
_CURSOR: Final = re.compile(rf"[0-9a-f]{{2}}(?:{LIVE}|{RETIRED}){ID.pattern}")

R = TypeVar("R", bound=Resource)


async def select(
    listing: Listing[R], cursor: str, count: int, condition: Callable[[R], bool]
) -> tuple[list[R], str | None]:
    """Return up to `count` resources that meet a condition, live or retired, from behind a cursor, and the next one.

    Those of accounts are without their documents. Raises InvalidCursor.
    """
    buckets = listing.buckets
    first, after = read_place(cursor, _CURSOR, buckets)
    low = behind(after) if after else LIVE
    found, scanned = list[R](), 0
    for bucket in range(first, buckets):
        async for resource in listing.scan_facts(bucket, low):
            scanned += 1
            if condition(resource):
                found.append(resource)
            if len(found) == count or scanned == SCANNED:
                return found, f"{bucket:02x}{resource.key}"
        low = LIVE
    return found, None
