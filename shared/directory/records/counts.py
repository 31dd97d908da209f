"""How many live accounts each bucket holds: one row a bucket, changed in the same transaction as the accounts.

A bucket is counted in sixteen shares, by the first random digit of its ids. So the search for the n-th account skips a
sixteenth of a bucket at most (listing.py).

The last value and its etag are kept in memory, so that a create needs no read for them. Where another process was
faster, the transaction fails on the count, and is tried again after a read. So a writer that writes the row with its
value unchanged fences off every create under way in the bucket (claims.py).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from shared.directory.keys import COUNT, Keys
from shared.tables.port import Insert, Operation, Replace, Tables

FRESH_SECONDS = 2.0
"""Seconds by which a total may lag behind other processes; this process's own changes count at once."""

SHARES = 16
"""Shares in which a bucket is counted, each a range of its ids."""


def share_of(resource_id: str) -> int:
    """Return the share of its bucket that an id is in: its third digit, as the first two name the bucket."""
    return int(resource_id[2], 16)


@dataclass(frozen=True, slots=True)
class Count:
    """A bucket's count by shares as last read; `etag` is "" while it has no row."""

    shares: tuple[int, ...]
    etag: str
    seen: float

    @property
    def accounts(self) -> int:
        """How many live accounts the bucket holds."""
        return sum(self.shares)

    def changed(self, by: int, ids: Iterable[str]) -> Operation:
        """Return the operation that adds `by` for each id, conditional on this count being the bucket's."""
        columns = {"parts": " ".join(map(str, self.plus(by, ids)))}
        return Replace(COUNT, columns, self.etag) if self.etag else Insert(COUNT, columns)

    def plus(self, by: int, ids: Iterable[str]) -> tuple[int, ...]:
        """Return the shares with `by` added for each id."""
        shares = list(self.shares)
        for resource_id in ids:
            shares[share_of(resource_id)] += by
        return tuple(shares)


UNREAD = Count((0,) * SHARES, "", 0.0)


class Counts:
    """The counts of one directory."""

    def __init__(self, tables: Tables, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._keys = keys
        self._clock = clock
        self._seen: dict[int, Count] = {}
        self._changes: Counter[int] = Counter()
        self._locks: defaultdict[int, asyncio.Lock] = defaultdict(asyncio.Lock)

    def turn(self, bucket: int) -> asyncio.Lock:
        """Return the lock that keeps creates of this process in a bucket from making each other fail."""
        return self._locks[bucket]

    async def get(self, bucket: int) -> Count:
        """Return a bucket's count as this process last read or wrote it."""
        return self._seen.get(bucket) or await self.read(bucket)

    async def read(self, bucket: int) -> Count:
        """Return a bucket's count as it is now."""
        changes = self._changes[bucket]
        row = await self._tables.get(self._keys.resources(bucket), COUNT)
        shares = tuple(map(int, str(row.columns["parts"]).split())) if row else UNREAD.shares
        count = Count(shares, row.etag if row else "", self._clock())
        if self._changes[bucket] == changes:  # otherwise a commit of this process was answered meanwhile, and is newer
            self._seen[bucket] = count
        return count

    def committed(self, bucket: int, count: Count, by: int, ids: Iterable[str], etag: str) -> Count:
        """Return and remember the count after a transaction with `count.changed(by, ids)`."""
        after = Count(count.plus(by, ids), etag, self._clock())
        known = self._seen.get(bucket)
        self.forget(bucket)
        if known is count:  # otherwise another commit is newer
            self._seen[bucket] = after
        return after

    def forget(self, bucket: int) -> None:
        """Have a bucket's count read again before its next use."""
        self._changes[bucket] += 1
        self._seen.pop(bucket, None)

    async def all(self) -> list[Count]:
        """Return every bucket's count, none older than FRESH_SECONDS."""
        stale = self._clock() - FRESH_SECONDS
        known = {bucket: count for bucket, count in self._seen.items() if count.seen >= stale}
        wanted = [bucket for bucket in range(self._keys.buckets) if bucket not in known]
        if wanted:
            known |= zip(wanted, await asyncio.gather(*map(self.read, wanted)), strict=True)
        return [known[bucket] for bucket in range(self._keys.buckets)]
