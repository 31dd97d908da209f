"""Work on its way between two passes of a job: small JSON items, spread over buckets and packed into large rows.

A pass writes each item to the bucket that the next pass will read it in, so no pass needs more than a bucket in memory.
Rows are named by their bucket, the slice and the attempt that wrote them, and counted from 0. A slice may run again, or
twice at once, on accounts that changed meanwhile: no attempt takes an item of another away, so whoever reads must bear
items twice, and of an account as it was a moment ago. A row's text has a line for each item: whoever compares items by
the million reads lines and parses only a few.
"""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import dump, join_text, split_text
from shared.tables.access import clear, scan_pages, together
from shared.tables.port import Row, Tables, Upsert

ROW_CHARS = 120_000
"""Items are gathered up to this size; with characters beyond ASCII it still fits a row."""
HELD_CHARS = 8_000_000
"""What one writer keeps in memory before it writes out all it has."""
NEIGHBOURS = 8
"""So many buckets share a partition, and a writer's rows for them a transaction: an eighth of the requests. Full rows
of two bytes a character, each of which may be half a pair, still fit the 4 MiB of one."""
PAGE = 40
"""Rows read at once: five megabytes if all are full."""


class Stage:
    """One set of staged items: `name` is the run's, upload's or import's id with the pass."""

    def __init__(self, tables: Tables, keys: Keys, name: str) -> None:
        self._tables = tables
        self._partition = f"{keys.directory}_s_{name}"
        self._buckets = keys.buckets

    def writer(self, slice_name: str = "0") -> StageWriter:
        """Return what adds items on behalf of one slice."""
        return StageWriter(self._tables, self._partition, slice_name)

    async def read(self, bucket: int) -> AsyncIterator[list[Any]]:
        """Yield a bucket's items, a row's at a time."""
        async for lines in self.lines(bucket):
            yield parse(lines)

    async def read_many(self, low: int, high: int) -> AsyncIterator[tuple[int, list[Any]]]:
        """Yield the items of the buckets from `low` to before `high`, a row's at a time, each with its bucket."""
        for first in range(low - low % NEIGHBOURS, high, NEIGHBOURS):
            async for row in self._rows(max(first, low), min(first + NEIGHBOURS, high) - 1):
                yield int(row.key[:2], 16), parse(_lines(row))

    async def lines(self, bucket: int) -> AsyncIterator[list[str]]:
        """Yield a bucket's items as the lines they were written as, a row's at a time."""
        async for row in self._rows(bucket, bucket):
            yield _lines(row)

    async def _rows(self, first: int, last: int) -> AsyncIterator[Row]:
        """Yield the rows of some buckets that share a partition."""
        partition, low, high = _partition(self._partition, first), _row_key(first), prefix_end(_row_key(last))
        async for page in scan_pages(self._tables, partition, low, high, page_rows=PAGE):
            for row in page.rows:
                yield row

    async def clear(self) -> None:
        """Remove the set. What a crash leaves is removed by running it again."""
        partitions = [_partition(self._partition, bucket) for bucket in range(0, self._buckets, NEIGHBOURS)]
        await together(*(clear(self._tables, partition) for partition in partitions))


class StageWriter:
    """Adds items on behalf of one slice. Close it, or what it holds is lost."""

    def __init__(self, tables: Tables, partition: str, slice_name: str) -> None:
        self._tables = tables
        self._partition = partition
        self._slice = slice_name
        self._attempt = secrets.token_hex(4)
        self._items: dict[int, list[str]] = defaultdict(list)
        self._sizes: dict[int, int] = defaultdict(int)
        self._rows: dict[int, int] = defaultdict(int)
        self._held = 0

    async def add(self, bucket: int, item: object) -> None:
        """Add one item to a bucket."""
        await self.add_line(bucket, dump(item))

    async def add_line(self, bucket: int, text: str) -> None:
        """Add one item that is a line already, of JSON or whatever its reader knows."""
        if self._items[bucket] and self._sizes[bucket] + len(text) > ROW_CHARS:
            await self._write([bucket])
        self._items[bucket].append(text)
        self._sizes[bucket] += len(text) + 1
        self._held += len(text)
        if len(text) > ROW_CHARS:
            await self._write([bucket])  # too much to share a transaction
        if self._held > HELD_CHARS:
            await self.close()

    async def close(self) -> None:
        """Write all that is held."""
        filled = sorted(bucket for bucket, items in self._items.items() if items)
        await together(*(self._write(list(some)) for _, some in groupby(filled, lambda bucket: bucket // NEIGHBOURS)))

    async def _write(self, buckets: Sequence[int]) -> None:
        """Write what is held for some buckets that share a partition."""
        rows = [self._row(bucket) for bucket in buckets]
        await self._tables.commit(_partition(self._partition, buckets[0]), rows)

    def _row(self, bucket: int) -> Upsert:
        """Return what writes a bucket's items; they are held no longer."""
        key = f"{_row_key(bucket)}{self._slice}_{self._attempt}_{self._rows[bucket]:06d}"
        text = "\n".join(self._items[bucket])
        self._rows[bucket] += 1
        self._held -= self._sizes[bucket] - len(self._items[bucket])
        self._items[bucket] = []
        self._sizes[bucket] = 0
        return Upsert(key, split_text("items", text))


def parse(lines: Iterable[str]) -> list[Any]:
    """Return the items of lines; in JSON text a line break stands between items only."""
    items: list[Any] = json.loads(f"[{','.join(lines)}]")
    return items


def _lines(row: Row) -> list[str]:
    return join_text("items", row.columns).split("\n")


def _partition(name: str, bucket: int) -> str:
    return f"{name}_{bucket // NEIGHBOURS:02x}"


def _row_key(bucket: int) -> str:
    """Return what the keys of a bucket's rows begin with."""
    return f"{bucket:02x}_"
