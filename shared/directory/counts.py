"""How many live accounts each bucket holds: one row a bucket, changed in the same transaction as the accounts.

The last seen value and its etag are kept, so that a create needs no read of its own; where another process was
faster, the transaction fails on the count and is tried again after a read.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from shared.directory.keys import COUNT, Keys
from shared.tables.port import Insert, Operation, Replace, Tables

FRESH_SECONDS = 2.0
"""A total may lag behind other processes by this long; this process's own changes show at once."""


@dataclass(frozen=True, slots=True)
class Count:
    """A bucket's count as last seen; `etag` is "" while it has no row."""

    accounts: int
    etag: str
    seen: float


class Counts:
    """The counts of one directory."""

    def __init__(self, tables: Tables, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._keys = keys
        self._clock = clock
        self._seen: dict[int, Count] = {}

    async def change(self, bucket: int, by: int) -> Operation:
        """Return the operation that adds `by` to a bucket's count, conditional on the value it was computed from."""
        count = self._seen.get(bucket) or await self._read(bucket)
        columns = {"accounts": count.accounts + by}
        return Replace(COUNT, columns, count.etag) if count.etag else Insert(COUNT, columns)

    def committed(self, bucket: int, by: int, etag: str) -> None:
        """Remember what a transaction with change() left behind."""
        count = self._seen[bucket]
        self._seen[bucket] = Count(count.accounts + by, etag, self._clock())

    def forget(self, bucket: int) -> None:
        """Read a bucket's count again before its next use."""
        self._seen.pop(bucket, None)

    async def all(self) -> list[Count]:
        """Return every bucket's count, none older than FRESH_SECONDS."""
        stale = self._clock() - FRESH_SECONDS
        wanted = [b for b in range(self._keys.buckets) if b not in self._seen or self._seen[b].seen < stale]
        if wanted:
            await asyncio.gather(*(self._read(bucket) for bucket in wanted))
        return [self._seen[bucket] for bucket in range(self._keys.buckets)]

    async def _read(self, bucket: int) -> Count:
        row = await self._tables.get(self._keys.accounts(bucket), COUNT)
        count = Count(int(row.columns["accounts"]) if row else 0, row.etag if row else "", self._clock())
        self._seen[bucket] = count
        return count
