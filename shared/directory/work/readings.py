"""Readings: how far a run has read the identities of a source, and from where the next run reads only what changed.

Places and bookmarks are the source's own (link_orchestrator/source.py). They may hold its tokens, and are kept here
alone: no history has them, and the API does not show them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from shared.directory.keys import Keys
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables.port import ANY, Conflict, Delete, Insert, Operation, Replace, Tables, Upsert, VersionConflict

READING = "reading_"
BOOKMARK = "bookmark"


@dataclass(frozen=True, slots=True)
class Reading:
    """How far a run is. `place` is where it goes on reading, None once all is read.

    It began, or last began anew, at `begun`, and began anew `restarts` times. At `progressed` it last got on. Until
    `not_before` the source is left alone, for the reason in `waiting`; that was so `busy` times in a row, for `waited`
    seconds in all. `counts` are items that are no identities, by name. `former` is the run since whose reading only
    changes are read, "" where all is read. `progressed` and `not_before` are Unix seconds.
    """

    job: str
    begun: str
    progressed: float
    place: Mapping[str, Any] | None = field(default_factory=dict)
    bookmark: str | None = None
    read: int = 0
    unusable: int = 0
    counts: Mapping[str, int] = field(default_factory=dict)
    busy: int = 0
    waited: float = 0.0
    restarts: int = 0
    former: str = ""
    not_before: float = 0.0
    waiting: str = ""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Bookmark:
    """From where changes can be read: the source's link, and the run that got it, with the time."""

    job: str
    since: str
    link: str


class Readings:
    """The readings of one directory's runs, and its bookmark."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._partition = keys.jobs()

    async def find(self, job_id: str) -> Reading | None:
        """Return how far a run has read, or None before its first page."""
        row = await self._tables.get(self._partition, READING + job_id)
        if row is None:
            return None
        data: dict[str, Any] = load(join_text("reading", row.columns))
        return Reading(**data, etag=row.etag)

    async def save(self, reading: Reading) -> bool:
        """Store how far a run has read; return False if another task did so since the reading was found."""
        data = asdict(reading)
        del data["etag"]
        columns = split_text("reading", dump(data))
        key = READING + reading.job
        operations: list[Operation] = [Replace(key, columns, reading.etag) if reading.etag else Insert(key, columns)]
        if reading.place is None and reading.bookmark:
            text = split_text("link", reading.bookmark)
            operations.append(Upsert(BOOKMARK, {"job": reading.job, "since": reading.begun, **text}))
        try:
            await self._tables.commit(self._partition, operations)
        except Conflict:
            return False
        return True

    async def forget(self, job_id: str) -> None:
        """Remove a run's reading; its bookmark stays."""
        if await self.find(job_id) is not None:
            with contextlib.suppress(VersionConflict):  # another task has removed it
                await self._tables.commit(self._partition, [Delete(READING + job_id, ANY)])

    async def find_bookmark(self) -> Bookmark | None:
        """Return the directory's bookmark, or None if no reading has left one."""
        row = await self._tables.get(self._partition, BOOKMARK)
        if row is None:
            return None
        return Bookmark(str(row.columns["job"]), str(row.columns["since"]), join_text("link", row.columns))
