"""What one pass of a job hands on to the next: small JSON items, spread over buckets and packed into large rows.

A pass writes each item to the bucket in which the next pass reads it, so that no pass holds more than a bucket in
memory. The key of a row has its bucket, the slice and the attempt that wrote it, and a number. A slice may run again,
or twice at once, on accounts that changed meanwhile, and no attempt removes the items of another. So readers must
expect an item twice, and an account as it was a moment ago. A row's text has a line for each item: a reader of millions
parses only the lines that it needs.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import Any

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables.access import clear, scan, together
from shared.tables.port import Row, Tables, Upsert
from shared.turns import Turns

ROW_CHARS = 120_000
"""Characters of items that are gathered in a row; whatever the characters, they fit it."""
HELD_CHARS = 8_000_000
"""Characters that a writer keeps in memory before it writes all it has."""
NEIGHBOURS = 8
"""Buckets that share a partition, so that a writer's rows for them share a transaction: if all are full, they fit its
4 MiB, whatever the characters."""
PAGE = 40
"""Rows in a page: five megabytes if all are full."""


class Stage:
    """A stage: one set of items. Its name is the id of a job, followed by a word (link_orchestrator/staged.py)."""

    def __init__(self, tables: Tables, keys: Keys, name: str) -> None:
        self._tables = tables
        self._partition = f"{keys.directory}_s_{name}"
        self._buckets = keys.buckets

    def writer(self, slice_name: str = "0") -> StageWriter:
        """Return a writer for one slice."""
        return StageWriter(self._tables, self._partition, slice_name)

    async def read(self, bucket: int) -> AsyncIterator[list[Any]]:
        """Yield a bucket's items, those of a row at a time."""
        async for lines in self.lines(bucket):
            yield parse(lines)

    async def read_many(self, low: int, high: int) -> AsyncIterator[tuple[int, list[Any]]]:
        """Yield (bucket, items of a row) for the buckets from `low` to before `high`."""
        for first in range(low - low % NEIGHBOURS, high, NEIGHBOURS):
            async for row in self._rows(max(first, low), min(first + NEIGHBOURS, high) - 1):
                yield int(row.key[:2], 16), parse(_lines(row))

    async def lines(self, bucket: int) -> AsyncIterator[list[str]]:
        """Yield a bucket's items as they were written, a line each, those of a row at a time."""
        async for row in self._rows(bucket, bucket):
            yield _lines(row)

    def _rows(self, first: int, last: int) -> AsyncIterator[Row]:
        """Return the rows of some buckets that share a partition."""
        partition, low, high = _partition(self._partition, first), _row_key(first), prefix_end(_row_key(last))
        return scan(self._tables, partition, low, high, page_rows=PAGE)

    async def clear(self) -> None:
        """Remove all items. After a crash this may run again."""
        partitions = [_partition(self._partition, bucket) for bucket in range(0, self._buckets, NEIGHBOURS)]
        await together(*(clear(self._tables, partition) for partition in partitions))


class StageWriter:
    """Adds the items of one slice. Close it, or what it holds is lost."""

    def __init__(self, tables: Tables, partition: str, slice_name: str) -> None:
        self._tables = tables
        self._partition = partition
        self._slice = slice_name
        self._attempt = secrets.token_hex(4)
        self._items: dict[int, list[str]] = defaultdict(list)
        self._sizes: dict[int, int] = defaultdict(int)
        self._rows: dict[int, int] = defaultdict(int)
        self._held = 0
        self._turns = Turns()

    async def add(self, bucket: int, item: object) -> None:
        """Add one item to a bucket."""
        await self.add_line(bucket, dump(item))

    async def add_line(self, bucket: int, text: str) -> None:
        """Add one item as a line, of JSON or of whatever its reader knows."""
        await self._turns.step()
        if self._items[bucket] and self._sizes[bucket] + len(text) > ROW_CHARS:
            await self._write([bucket])
        self._items[bucket].append(text)
        self._sizes[bucket] += len(text) + 1
        self._held += len(text)
        if len(text) > ROW_CHARS:
            await self._write([bucket])  # too large to share a transaction
        if self._held > HELD_CHARS:
            await self.close()

    async def close(self) -> None:
        """Write all that is held."""
        filled = sorted(bucket for bucket, items in self._items.items() if items)
        await together(*(self._write(list(some)) for _, some in groupby(filled, lambda bucket: bucket // NEIGHBOURS)))

    async def _write(self, buckets: Sequence[int]) -> None:
        """Write the items that are held for some buckets of one partition."""
        rows = [self._row(bucket) for bucket in buckets]
        await self._tables.commit_ahead(_partition(self._partition, buckets[0]), rows)

    def _row(self, bucket: int) -> Upsert:
        """Return the operation that writes a bucket's items, and hold them no longer."""
        key = f"{_row_key(bucket)}{self._slice}_{self._attempt}_{self._rows[bucket]:06d}"
        text = "\n".join(self._items[bucket])
        self._rows[bucket] += 1
        self._held -= self._sizes[bucket] - len(self._items[bucket])
        self._items[bucket] = []
        self._sizes[bucket] = 0
        return Upsert(key, split_text("items", text))


def parse(lines: Iterable[str]) -> list[Any]:
    """Return the items of lines. No line break is inside an item: JSON escapes it."""
    items: list[Any] = load(f"[{','.join(lines)}]")
    return items


def _lines(row: Row) -> list[str]:
    return join_text("items", row.columns).split("\n")


def _partition(name: str, bucket: int) -> str:
    return f"{name}_{bucket // NEIGHBOURS:02x}"


def _row_key(bucket: int) -> str:
    """Return the beginning of the keys of a bucket's rows."""
    return f"{bucket:02x}_"
