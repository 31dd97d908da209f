"""Pages over all accounts or all groups, those alone that meet a condition: what the administrator looks through."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from shared.directory.keys import ID, LIVE, RETIRED, behind
from shared.directory.records.listing import Glance, Listing
from shared.directory.work.buckets import read_place

SCANNED: Final = 10_000
"""Resources that one page looks at, at most: it may have fewer rows than asked for, or none, and more may follow.

That is a tenth of a second of processor time.
"""
_CURSOR: Final = re.compile(rf"[0-9a-f]{{2}}(?:{LIVE}|{RETIRED}){ID.pattern}")


async def count_states(
    listing: Listing[Any], states: Mapping[str, Callable[[Glance], bool]]
) -> Mapping[str, int] | None:
    """Return how many resources are in each state, None where there are more than one look takes."""
    counts = Counter(dict.fromkeys(states, 0))
    scanned = 0
    for bucket in range(listing.buckets):
        async for glance in listing.scan_glances(bucket):
            scanned += 1
            if scanned > SCANNED:
                return None
            counts.update(name for name, condition in states.items() if condition(glance))
    return counts


async def select(
    listing: Listing[Any], cursor: str, count: int, condition: Callable[[Glance], bool]
) -> tuple[list[str], str | None]:
    """Return the ids of up to `count` resources that meet a condition, from behind a cursor, and the next cursor.

    Those that SCIM deleted while they are kept are among them. Raises InvalidCursor.
    """
    first, after = read_place(cursor, _CURSOR, listing.buckets)
    low = behind(after) if after else LIVE
    found, scanned = list[str](), 0
    for bucket in range(first, listing.buckets):
        async for glance in listing.scan_glances(bucket, low):
            scanned += 1
            if condition(glance):
                found.append(glance.id)
            if len(found) == count or scanned == SCANNED:
                return found, f"{bucket:02x}{glance.key}"
        low = LIVE
    return found, None
