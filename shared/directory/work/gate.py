"""The pause gate: while a run applies, SCIM changes no account or group, so that the two need not race.

It is a courtesy, not a lock: a run refuses rows that changed, whoever wrote. So a process may learn of it a little
late, and asks an open gate only once in GATE_SECONDS, which adds no round trip to most writes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timedelta

from shared.directory.errors import Busy
from shared.directory.keys import Keys
from shared.directory.text import timestamp
from shared.tables.port import Delete, Tables, Upsert, VersionConflict

GATE_SECONDS = 2.0
LONGEST = timedelta(minutes=15)
"""A gate that nobody opens is open again after this."""
RETRY_SECONDS = 30.0
ROW = "gate"


class Gate:
    """The gate of one directory."""

    def __init__(
        self,
        tables: Tables,
        keys: Keys,
        now: Callable[[], str] = timestamp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._partition = keys.settings()
        self._now = now
        self._clock = clock
        self._closed_until = ""
        self._read_again = -1.0
        self._lock = asyncio.Lock()

    async def refuse_closed(self) -> None:
        """Raise Busy while a run holds the gate closed."""
        if self._clock() >= self._read_again:
            async with self._lock:
                if self._clock() >= self._read_again:
                    row = await self._tables.get(self._partition, ROW)
                    self._know(str(row.columns["until"]) if row else "")
        if self._now() < self._closed_until:
            raise Busy("a linking run is being applied, and provisioning waits for it", RETRY_SECONDS)

    async def close(self, job_id: str) -> None:
        """Close the gate for a run, for LONGEST at most."""
        until = timestamp(datetime.fromisoformat(self._now()) + LONGEST)
        await self._tables.commit(self._partition, [Upsert(ROW, {"job": job_id, "until": until})])
        self._know(until)

    async def open(self, job_id: str) -> None:
        """Open the gate if this run closed it."""
        row = await self._tables.get(self._partition, ROW)
        if row is None or row.columns["job"] != job_id:
            return
        try:
            await self._tables.commit(self._partition, [Delete(ROW, row.etag)])
        except VersionConflict:
            self._read_again = -1.0
        else:
            self._know("")

    def _know(self, until: str) -> None:
        closed = until > self._now()
        # A closed gate is looked at by every write: once the run has ended, none is refused any more.
        self._closed_until, self._read_again = until, -1.0 if closed else self._clock() + GATE_SECONDS
