"""Visits: when provisioning last came, by which credential and under which address, for the administrator to see.

So a test connection is seen, and the app that serves administrators knows what only the app that serves provisioning is
told in its settings. A credential has a row, and another one for what changes something; either is written at most once
a minute. A request is answered whether or not its visit could be noted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import timestamp
from shared.tables.access import read_range
from shared.tables.port import Tables, TablesError, Upsert

VISIT: Final = "visit_"
WROTE: Final = "_w"
"""What the key of a row ends in that has the last write."""
BETWEEN: Final = 60.0
"""Seconds between two writes of one row by one process."""
SECONDS: Final = 2.0
"""Seconds that a request waits at most until its visit is noted."""

log = logging.getLogger("scimlink.directory")


@dataclass(frozen=True, slots=True)
class Visit:
    """The last request that came with a credential, and the last one that changed something; "" for none.

    `address` is the Tenant URL as the caller used it, `expires` the credential's end, "" for none.
    """

    credential: str
    address: str
    expires: str
    last: str
    last_write: str = ""


class Visits:
    """The visits to one directory."""

    def __init__(
        self,
        tables: Tables,
        keys: Keys,
        now: Callable[[], str] = timestamp,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables, self._partition, self._now, self._clock = tables, keys.settings(), now, clock
        self._again: dict[tuple[str, bool], float] = {}

    async def note(self, credential: str, address: str, expires: str, *, wrote: bool) -> None:
        """Note that a request came. Trouble with the storage is logged, and the visit is forgotten."""
        if self._clock() < self._again.get((credential, wrote), 0.0):
            return
        self._again[credential, wrote] = self._clock() + BETWEEN
        told = {"name": credential, "address": address, "expires": expires, "last": self._now()}
        key = VISIT + credential.encode().hex()
        rows = [Upsert(key, told), *([Upsert(key + WROTE, told)] if wrote else [])]
        try:
            async with asyncio.timeout(SECONDS):
                await self._tables.commit(self._partition, rows)
        except (TablesError, TimeoutError) as error:
            log.warning("a visit was not noted: %s", type(error).__name__)

    async def list_all(self) -> list[Visit]:
        """Return the visits, by credential."""
        rows = await read_range(self._tables, self._partition, VISIT, prefix_end(VISIT))
        found: dict[str, Visit] = {}
        for row in rows:  # that of a credential's last write comes behind its own
            name, address, expires, last = (
                str(row.columns[column]) for column in ("name", "address", "expires", "last")
            )
            if row.key.endswith(WROTE):
                found[name] = replace(found[name], last_write=last)
            else:
                found[name] = Visit(name, address, expires, last)
        return [*found.values()]
