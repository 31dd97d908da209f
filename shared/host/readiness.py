"""Whether the app can do its work: storage takes a new row, and gives it back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import uuid4

from shared.tables import access
from shared.tables.port import ANY, MAX_OPERATIONS, Delete, Insert, Tables, TablesError

log = logging.getLogger("scimlink")

PARTITION = "health"
"""The rows' partition. No directory has it: behind the name of each comes an underscore."""
ROW = {"text": "x" * 16_000}
"""What is written: more than fits beside other rows, so that a full file has no place for it."""
SECONDS = 1.0
"""Seconds for which an answer is given again: whoever asks needs no token, and each look writes."""
PATIENCE = 10.0
"""Seconds after which storage that does not answer counts as away."""
LEFT_BEHIND = 60
"""Seconds after which a row is no look's that goes on, of this instance or of another: that look ended midway."""


class Readiness:
    """Looks whether storage can be written and read, once a second at most."""

    def __init__(
        self, tables: Tables, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._tables = tables
        self._clock = clock
        self._now = now
        self._looking = asyncio.Lock()
        self._until = float("-inf")
        self._fault = ""

    async def find_fault(self) -> str:
        """Return why the app is not ready, or "" if it is."""
        async with self._looking:
            if self._clock() >= self._until:
                self._fault = await self._look()
                self._until = self._clock() + SECONDS
        return self._fault

    async def _look(self) -> str:
        try:
            async with asyncio.timeout(PATIENCE):
                now = int(self._now())
                key = f"{now:010}_{uuid4().hex}"
                await self._tables.commit(PARTITION, [Insert(key, ROW)])
                row = await self._tables.get(PARTITION, key)
                fault = "" if row is not None and row.columns == ROW else "what was written is not read"
                await self._remove(key, before=f"{now - LEFT_BEHIND:010}")
        except TablesError as error:
            fault = str(error)
        except TimeoutError:
            fault = f"no answer within {PATIENCE:.0f} s"
        if fault:
            log.error("storage is not ready: %s", fault)
        return fault

    async def _remove(self, key: str, before: str) -> None:
        """Delete the row of a look, and those that looks left behind which ended midway."""
        left = await self._tables.query(PARTITION, high=before, select=[], top=MAX_OPERATIONS - 1)
        await access.delete(
            self._tables, PARTITION, [Delete(one, ANY) for one in (key, *(row.key for row in left.rows))]
        )
