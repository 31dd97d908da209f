"""A copy of all tables, in parts, and the tables that it was made of again.

A copy is no moment's picture: others write while it is made. So once it has everything, it goes over the tables again,
and takes what has changed since it began; what two rows say about one another may still be half of a change. Whoever
restores mends that (shared/directory/mending.py).

A manifest lists the parts in their order, each a blob of gzipped lines of JSON: partition, key, columns. While a copy
is being made, its manifest also says how far it is, so that another process goes on from there.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

from pydantic import BaseModel, ConfigDict

from shared.tables.access import write
from shared.tables.port import MAX_PAGE, Damaged, Page, Row, Tables, Upsert, Value

FORMAT: Final = 1
PART_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a part before it is packed. With a page of the service's, which has 4 MiB at most, it is all in memory."""
PAGE_ROWS: Final = MAX_PAGE
"""Rows that are asked for at once."""
SKEW: Final = timedelta(minutes=5)
"""By how much the clock of the service may be behind this machine's."""


class Source(Protocol):
    """Tables that can be read as a whole."""

    async def names(self) -> list[str]:
        """Return the names of the tables that there are."""

    async def page(self, table: str, continuation: str | None, since: str | None, top: int = MAX_PAGE) -> Page:
        """Return rows of a table, of whatever partition, in order; with `since`, those written from that time on."""


class Store(Protocol):
    """Where copies are kept, by name."""

    async def put(self, name: str, content: bytes) -> None:
        """Keep a content."""

    async def get(self, name: str) -> bytes | None:
        """Return a content, None if there is none."""


class Part(BaseModel):
    """A blob of a copy: its name, its number of rows and bytes, and the SHA-256 of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    rows: int
    bytes: int
    sha256: str


class Manifest(BaseModel):
    """What a copy consists of. Until it has `ended`, it goes on at a table of a pass, behind a continuation."""

    model_config = ConfigDict(extra="forbid")

    format: int = FORMAT
    began: str
    ended: str | None = None
    tables: list[str]
    parts: list[Part] = []
    step: int = 0
    continuation: str | None = None

    @property
    def rows(self) -> int:
        """How many rows its parts have; one that changed meanwhile is in two."""
        return sum(part.rows for part in self.parts)

    @property
    def bytes(self) -> int:
        """How many bytes its parts have."""
        return sum(part.bytes for part in self.parts)


class NoCopy(ValueError):
    """There is no complete copy of that name, or it is not what was written."""


async def copy(source: Source, store: Store, name: str, seconds: float) -> tuple[Manifest, bool]:
    """Make a copy of this name, or go on with it, for some seconds and at least a part.

    Returns how far it is, and whether that is news.
    """
    until, manifest = time.monotonic() + seconds, await _read_manifest(store, name)
    if manifest is None:
        manifest = Manifest(began=datetime.now(UTC).isoformat(), tables=await source.names())
    news = not manifest.ended
    while not manifest.ended:
        await _go_on(source, store, name, manifest)
        await store.put(_manifest(name), manifest.model_dump_json().encode())
        if time.monotonic() >= until:
            break
    return manifest, news


async def _go_on(source: Source, store: Store, name: str, manifest: Manifest) -> None:
    """Copy one more part, or note that there is none left."""
    again, number = divmod(manifest.step, max(1, len(manifest.tables)))
    if again > 1 or not manifest.tables:
        manifest.ended = datetime.now(UTC).isoformat()
        return
    table = manifest.tables[number]
    since = (datetime.fromisoformat(manifest.began) - SKEW).isoformat() if again else None
    lines = Lines()
    while lines.bytes < PART_BYTES:
        page = await source.page(table, manifest.continuation, since, PAGE_ROWS)
        lines.add(page.rows)
        manifest.continuation = page.continuation
        if page.continuation is None:
            manifest.step += 1
            break
    if lines.rows:
        content = lines.pack()
        blob = f"{name}/{table}/{len(manifest.parts):06d}.jsonl.gz"
        await store.put(blob, content)
        sha256 = hashlib.sha256(content).hexdigest()
        manifest.parts.append(Part(name=blob, rows=lines.rows, bytes=len(content), sha256=sha256))


GZIP: Final = 31
"""Window bits by which zlib writes the format of gzip."""


class Lines:
    """Rows as lines, packed while they come."""

    def __init__(self) -> None:
        self.rows = self.bytes = 0
        self._packed = io.BytesIO()
        # No file of gzip's: one that is left without a row would write its end where nothing is open any more.
        self._packer = zlib.compressobj(wbits=GZIP)

    def add(self, rows: Sequence[Row]) -> None:
        """Add rows."""
        for row in rows:
            line = json.dumps([row.partition, row.key, row.columns], separators=(",", ":")).encode() + b"\n"
            self._packed.write(self._packer.compress(line))
            self.rows, self.bytes = self.rows + 1, self.bytes + len(line)

    def pack(self) -> bytes:
        """Return the packed lines; none can be added any more."""
        self._packed.write(self._packer.flush())
        return self._packed.getvalue()


def _manifest(name: str) -> str:
    return f"{name}/manifest.json"


async def _read_manifest(store: Store, name: str) -> Manifest | None:
    content = await store.get(_manifest(name))
    return None if content is None else Manifest.model_validate_json(content)


async def find(store: Store, name: str) -> Manifest:
    """Return the manifest of a complete copy. Raises NoCopy."""
    manifest = await _read_manifest(store, name)
    if manifest is None:
        raise NoCopy(f"there is no copy {name}: look for the folders in the container")
    if manifest.format != FORMAT:
        raise NoCopy(f"the copy {name} is of another version of the app: restore it with that one")
    if manifest.ended is None:
        raise NoCopy(f"the copy {name} is not complete: take the one of the day before")
    return manifest


async def restore(store: Store, tables: Tables, manifest: Manifest) -> AsyncIterator[Part]:
    """Write the rows of a copy, part by part, and yield each that is written; it may be done again from the start.

    Raises NoCopy for a part that is not what was written, before any row of it is.
    """
    for part in manifest.parts:
        content = await store.get(part.name)
        if content is None or hashlib.sha256(content).hexdigest() != part.sha256:
            raise NoCopy(
                f"{part.name} is missing or changed: restore an earlier version of the blob, or take another day"
            )
        await _write(tables, content)
        yield part


async def _write(tables: Tables, content: bytes) -> None:
    rows: defaultdict[str, list[Upsert]] = defaultdict(list)
    waiting = 0
    for line in gzip.GzipFile(fileobj=io.BytesIO(content)):
        partition, key, columns = _row(line)
        rows[partition].append(Upsert(key, columns))
        waiting += 1
        if waiting == 5_000:
            await write(tables, rows)
            rows.clear()
            waiting = 0
    await write(tables, rows)


def _row(line: bytes) -> tuple[str, str, dict[str, Value | None]]:
    found: Any = json.loads(line)
    if not (isinstance(found, list) and len(found) == 3):
        raise Damaged("a line of a copy is no row")
    return found[0], found[1], found[2]
