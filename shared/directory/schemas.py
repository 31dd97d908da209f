"""A directory's own schemas, as JSON text: what they mean is the protocol's (shared/scim/extension.py)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shared.directory.keys import Keys
from shared.directory.text import join_text, split_text
from shared.tables.port import Row, Tables, Upsert

SCHEMAS = "schemas"
SCHEMA_SECONDS = 10.0
"""How long changed schemas may take to reach every process."""
NONE = "[]"


class Schemas:
    """The schemas of one directory, read again every SCHEMA_SECONDS."""

    def __init__(self, tables: Tables, keys: Keys, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._keys = keys
        self._clock = clock
        self._text = NONE
        self._until = -1.0
        self._lock = asyncio.Lock()

    async def get(self) -> str:
        """Return the list of schema documents as JSON text."""
        if self._clock() >= self._until:
            async with self._lock:
                self.keep(await self._tables.get(self._keys.settings(), SCHEMAS))
        return self._text

    def keep(self, row: Row | None) -> None:
        """Use the schemas of a row that was just read."""
        self._text = join_text("schemas", row.columns) if row else NONE
        self._until = self._clock() + SCHEMA_SECONDS

    async def set(self, text: str) -> None:
        """Store the list; this process uses it at once, others within SCHEMA_SECONDS."""
        await self._tables.commit(self._keys.settings(), [Upsert(SCHEMAS, split_text("schemas", text))])
        self._text, self._until = text, self._clock() + SCHEMA_SECONDS
