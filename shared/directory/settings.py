"""Settings of a directory: its policy, its own schemas and its provisioning mapping, each as text in a row of its own.

What they mean is said elsewhere: in matching/policy.py, in shared/scim/extension.py, and in
link_orchestrator/prediction/mapping.py. policies.py keeps who changed the policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from shared.directory.keys import Keys
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables import port
from shared.tables.port import Conflict, Insert, Replace, Row, Tables, Upsert

SECONDS = 10.0
"""Seconds until every process uses a changed setting."""

POLICY, SCHEMAS, MAPPING = "policy", "schemas", "mapping"

V = TypeVar("V")


class Setting(Generic[V]):
    """One setting: `value` until one is stored, then what `read` makes of the text that `write` made.

    A value that was read is used for some seconds before its row is read again.
    """

    def __init__(
        self,
        tables: Tables,
        keys: Keys,
        name: str,
        value: V,
        read: Callable[[str], V],
        write: Callable[[V], str],
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._partition = keys.settings()
        self._name = name
        self._default = self._value = value
        self._read = read
        self._write = write
        self._seconds = seconds
        self._clock = clock
        self._until = -1.0
        self._lock = asyncio.Lock()

    async def get(self) -> V:
        """Return the value, or the default where none was stored."""
        if self._clock() >= self._until:
            async with self._lock:
                if self._clock() >= self._until:  # nobody has read it while this one waited
                    self.keep(await self._tables.get(self._partition, self._name))
        return self._value

    def keep(self, row: Row | None) -> None:
        """Use the value of a row that was just read."""
        self._use(self._value_of(row))

    async def set(self, value: V) -> None:
        """Store a value; this process uses it at once."""
        await self._tables.commit(self._partition, [Upsert(self._name, self._columns(value))])
        self._use(value)

    async def change(self, change: Callable[[V], V]) -> None:
        """Store what `change` makes of the value as it is now, whatever others store at the same time."""
        while True:
            row = await self._tables.get(self._partition, self._name)
            value = change(self._value_of(row))
            columns = self._columns(value)
            operation = Replace(self._name, columns, row.etag) if row else Insert(self._name, columns)
            with contextlib.suppress(Conflict):
                await self._tables.commit(self._partition, [operation])
                self._use(value)
                return

    def _use(self, value: V) -> None:
        self._value, self._until = value, self._clock() + self._seconds

    def _value_of(self, row: Row | None) -> V:
        return self._read(join_text(self._name, row.columns)) if row else self._default

    def _columns(self, value: V) -> dict[str, port.Value | None]:
        return split_text(self._name, self._write(value))


def schemas_setting(tables: Tables, keys: Keys) -> Setting[str]:
    """Return the directory's own schemas: a JSON list of SCIM schema documents."""
    return Setting(tables, keys, SCHEMAS, "[]", str, str)


def mapping_setting(tables: Tables, keys: Keys) -> Setting[dict[str, Any] | None]:
    """Return the attribute mapping of the provisioning job, None where none was stored; its row is read every time."""
    return Setting(tables, keys, MAPPING, None, load, dump, seconds=0)
