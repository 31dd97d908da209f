"""The gate: while a run is applied or taken back, SCIM changes no account or group, so that the two need not race.

It is a courtesy, not a lock: a run passes over rows that changed, whoever changed them. So a process may learn a little
late that the gate is closed, and reads an open one only once in GATE_SECONDS. Most writes need no round trip for it.
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
"""Seconds for which a process takes a gate to be open without reading it."""
LONGEST = timedelta(minutes=15)
"""Time after which a closed gate is open again, even if nobody opens it."""
RETRY_SECONDS = 30.0
"""Seconds after which a refused client may try again."""
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
        """Raise Busy while a job holds the gate closed."""
        if self._clock() >= self._read_again:
            async with self._lock:
                if self._clock() >= self._read_again:
                    row = await self._tables.get(self._partition, ROW)
                    self._know(str(row.columns["until"]) if row else "")
        if self._closed_until and self._now() < self._closed_until:
            raise Busy("a linking run is being applied or taken back, and provisioning waits for it", RETRY_SECONDS)

    async def close(self, job_id: str) -> None:
        """Close the gate for a job, for LONGEST at most."""
        until = timestamp(datetime.fromisoformat(self._now()) + LONGEST)
        await self._tables.commit(self._partition, [Upsert(ROW, {"job": job_id, "until": until})])
        self._know(until)

    async def was_closed_by(self, job_id: str) -> bool:
        """Tell whether this job was the last to close the gate, though it may be open again since LONGEST is over."""
        row = await self._tables.get(self._partition, ROW)
        return row is not None and row.columns["job"] == job_id

    async def open(self, job_id: str) -> None:
        """Open the gate if this job closed it."""
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
        # Every write reads a closed gate, so that none is refused once the run has ended.
        self._closed_until, self._read_again = until, -1.0 if closed else self._clock() + GATE_SECONDS
