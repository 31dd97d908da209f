"""Work on its way between two passes of a job: small JSON items, spread over buckets and packed into large rows.

A pass writes each item to the bucket that the next pass will read it in, so no pass needs more than a bucket in memory.
Rows are named by the slice and the attempt that wrote them, and counted from 0. A slice may run again, or twice at
once, on accounts that changed meanwhile: no attempt takes an item of another away, so whoever reads must bear items
twice, and of an account as it was a moment ago. A row's text has a line for each item: whoever compares items by the
million reads lines and parses only a few.
"""

from __future__ import annotations

import contextlib
import json
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from typing import Any

from shared.directory.claims import together
from shared.directory.keys import Keys
from shared.directory.model import dump, join_text, split_text
from shared.tables.port import ANY, MAX_OPERATIONS, Delete, Tables, Upsert, VersionConflict

ROW_CHARS = 120_000
"""Items are gathered up to this size; with characters beyond ASCII it still fits a row."""
HELD_CHARS = 8_000_000
"""What one writer keeps in memory before it writes out all it has."""


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

    async def lines(self, bucket: int) -> AsyncIterator[list[str]]:
        """Yield a bucket's items as the lines they were written as, a row's at a time."""
        continuation = None
        while True:
            page = await self._tables.query(_partition(self._partition, bucket), top=20, continuation=continuation)
            for row in page.rows:
                yield join_text("items", row.columns).split("\n")
            continuation = page.continuation
            if continuation is None:
                return

    async def clear(self) -> None:
        """Remove the set. What a crash leaves is removed by running it again."""
        await together(*(self._clear(bucket) for bucket in range(self._buckets)))

    async def _clear(self, bucket: int) -> None:
        partition, continuation = _partition(self._partition, bucket), None
        while True:
            page = await self._tables.query(partition, select=[], top=MAX_OPERATIONS, continuation=continuation)
            if page.rows:
                with contextlib.suppress(VersionConflict):  # somebody else is clearing it, too
                    await self._tables.commit(partition, [Delete(row.key, ANY) for row in page.rows])
            continuation = page.continuation
            if continuation is None:
                return


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
            await self._write(bucket)
        self._items[bucket].append(text)
        self._sizes[bucket] += len(text) + 1
        self._held += len(text)
        if self._held > HELD_CHARS:
            await self.close()

    async def close(self) -> None:
        """Write all that is held."""
        await together(*(self._write(bucket) for bucket, items in self._items.items() if items))

    async def _write(self, bucket: int) -> None:
        row = f"{self._slice}_{self._attempt}_{self._rows[bucket]:06d}"
        text = "\n".join(self._items[bucket])
        self._rows[bucket] += 1
        self._held -= self._sizes[bucket] - len(self._items[bucket])
        self._items[bucket] = []
        self._sizes[bucket] = 0
        await self._tables.commit(_partition(self._partition, bucket), [Upsert(row, split_text("items", text))])


def parse(lines: Iterable[str]) -> list[Any]:
    """Return the items of lines; in JSON text a line break stands between items only."""
    items: list[Any] = json.loads(f"[{','.join(lines)}]")
    return items


def _partition(name: str, bucket: int) -> str:
    return f"{name}_{bucket:02x}"
