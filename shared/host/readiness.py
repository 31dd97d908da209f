"""Whether the app can do its work: storage takes a new row, and gives it back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from uuid import uuid4

from shared.tables.port import Delete, Insert, Tables, TablesError

log = logging.getLogger("scimlink")

PARTITION = "health"
"""The rows' partition. No directory has it: behind the name of each comes an underscore."""
ROW = {"text": "x" * 16_000}
"""What is written: more than fits beside other rows, so that a full file has no place for it."""
SECONDS = 1.0
"""Seconds for which an answer is given again: whoever asks needs no token, and each look writes."""
PATIENCE = 10.0
"""Seconds after which storage that does not answer counts as away."""


class Readiness:
    """Looks whether storage can be written and read, once a second at most."""

    def __init__(self, tables: Tables, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._clock = clock
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
                key = uuid4().hex
                await self._tables.commit(PARTITION, [Insert(key, ROW)])
                row = await self._tables.get(PARTITION, key)
                if row is not None:
                    await self._tables.commit(PARTITION, [Delete(key, row.etag)])
                fault = "" if row is not None and row.columns == ROW else "what was written is not read"
        except TablesError as error:
            fault = str(error)
        except TimeoutError:
            fault = f"no answer within {PATIENCE:.0f} s"
        if fault:
            log.error("storage is not ready: %s", fault)
        return fault
