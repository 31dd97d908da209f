"""The attribute mapping of a provisioning job, as JSON: link_orchestrator/prediction/mapping.py gives it a meaning."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from shared.directory.keys import Keys
from shared.directory.text import dump, join_text, split_text
from shared.tables.port import Tables, Upsert

ROW = "mapping"


class Mappings:
    """The mapping of one directory."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._partition = keys.settings()

    async def find(self) -> dict[str, Any] | None:
        """Return the mapping that was stored last, or None."""
        row = await self._tables.get(self._partition, ROW)
        found: dict[str, Any] | None = json.loads(join_text(ROW, row.columns)) if row else None
        return found

    async def set(self, mapping: Mapping[str, Any]) -> None:
        """Store a mapping; runs that start from now on predict by it."""
        await self._tables.commit(self._partition, [Upsert(ROW, split_text(ROW, dump(mapping)))])
