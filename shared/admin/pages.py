"""Pages over all accounts or all groups, those alone that meet a condition: what the administrator looks through."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TypeAlias, TypeVar

from shared.directory.keys import ID, LIVE, RETIRED, behind
from shared.directory.records.listing import Glance, Listing
from shared.directory.work.buckets import read_place
from shared.tables.access import in_parts, together
from shared.tables.port import MAX_PAGE

SCANNED: Final = 10_000
"""Resources that one page looks at, at most: it may have fewer rows than asked for, or none, and more may follow.

That is a tenth of a second of processor time.
"""
BUCKETS_AT_ONCE: Final = 16
"""Buckets that are counted side by side: a query each, where one behind the other is as slow as all of them."""
_CURSOR: Final = re.compile(rf"[0-9a-f]{{2}}(?:{LIVE}|{RETIRED}){ID.pattern}")


class _Keyed(Protocol):
    """What is seen of a resource, whose row has a key."""

    @property
    def key(self) -> str: ...

    @property
    def id(self) -> str: ...


K = TypeVar("K", bound=_Keyed)
Scan: TypeAlias = Callable[[int, str], AsyncIterator[K]]


async def count_states(
    listing: Listing[Any], states: Mapping[str, Callable[[Glance], bool]]
) -> Mapping[str, int] | None:
    """Return how many resources are in each state, None where there are more than one look takes."""
    counts, scanned = Counter(dict.fromkeys(states, 0)), 0
    for buckets in in_parts(range(listing.buckets), BUCKETS_AT_ONCE):
        for found, of in await together(*(_count_bucket(listing, bucket, states) for bucket in buckets)):
            counts.update(found)
            scanned += of
        if scanned > SCANNED:
            return None
    return counts


async def _count_bucket(
    listing: Listing[Any], bucket: int, states: Mapping[str, Callable[[Glance], bool]]
) -> tuple[Counter[str], int]:
    """Return how many resources of a bucket are in each state, and how many there are."""
    counts, scanned = Counter[str](), 0
    async for glance in listing.scan_glances(bucket):
        scanned += 1
        counts.update(name for name, condition in states.items() if condition(glance))
    return counts, scanned


async def select(
    listing: Listing[Any], scan: Scan[K], cursor: str, count: int, condition: Callable[[K], bool]
) -> tuple[list[str], str | None]:
    """Return the ids of up to `count` resources that meet a condition, from behind a cursor, and the next cursor.

    `scan` reads a bucket from a row key on. Those that SCIM deleted while they are kept are among them. Raises
    InvalidCursor.
    """
    first, after = read_place(cursor, _CURSOR, listing.buckets)
    low = behind(after) if after else LIVE
    found, scanned = list[str](), 0
    some: Sequence[int] = (first,)
    while some:
        async for bucket, one in _seen(scan, some, low):
            scanned += 1
            if condition(one):
                found.append(one.id)
            if len(found) == count or scanned == SCANNED:
                return found, f"{bucket:02x}{one.key}"
        # Mostly the first bucket has enough of them. Small ones behind it are read side by side.
        small = MAX_PAGE * listing.buckets // max(1, await listing.total())
        some = range(listing.buckets)[some[-1] + 1 :][: max(1, min(BUCKETS_AT_ONCE, small))]
        low = LIVE
    return found, None


async def _seen(scan: Scan[K], buckets: Sequence[int], low: str) -> AsyncIterator[tuple[int, K]]:
    """Yield what is seen of the resources of some buckets, each with its bucket; one bucket is read as it is needed."""
    if len(buckets) == 1:
        async for one in scan(buckets[0], low):
            yield buckets[0], one
        return
    read = await together(*(_whole(scan(bucket, low)) for bucket in buckets))
    for bucket, ones in zip(buckets, read, strict=True):
        for one in ones:
            yield bucket, one


async def _whole(scanned: AsyncIterator[K]) -> list[K]:
    return [one async for one in scanned]
