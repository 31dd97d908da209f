"""How the members of a group here differ from those of its counterpart in Entra: one row a member who is in one alone.

A run writes them beside its plan (plan.py), which shows the counts and the first of them; the rest is listed from here,
page by page. Whoever is in both is counted only.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.directory.errors import InvalidCursor
from shared.directory.keys import DIGEST, ID, Key, Keys, behind
from shared.tables.access import clear, in_parts, scan_pages
from shared.tables.port import MAX_OPERATIONS, Row, Tables, Upsert

TOTALS = "a"
HERE, THERE = "h_", "t_"
CURSOR = re.compile(rf"{HERE}{ID.pattern}|{THERE}[0-9a-f]{{{DIGEST}}}")
"""The key of the row that was shown last."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How many members are in both groups, and in one of them alone."""

    both: int
    only_here: int
    only_there: int

    def to_json(self) -> dict[str, int]:
        """Return the totals as the API shows them."""
        return {"both": self.both, "onlyHere": self.only_here, "onlyThere": self.only_there}


@dataclass(frozen=True, slots=True)
class Differing:
    """A member of one group alone: of the group here under its id, of the one in Entra with its object id.

    `member` is "" for somebody in Entra who has no account here.
    """

    member: str
    identity: str = ""

    @property
    def only(self) -> str:
        """Where the member is."""
        return "there" if self.identity else "here"


class Differences:
    """The member difference of one group of a run, named by the object id of its counterpart."""

    def __init__(self, tables: Tables, keys: Keys, job: str, object_id: str) -> None:
        self._tables = tables
        self._keys = keys
        self._partition = f"{keys.directory}_q_{job}_{keys.digest(Key('subject', object_id))}"

    async def clear(self) -> None:
        """Remove what an attempt that was cut off left here."""
        await clear(self._tables, self._partition)

    async def write(self, members: Sequence[Differing]) -> None:
        """Write members; the same again change nothing."""
        for part in in_parts(members, MAX_OPERATIONS):
            rows = [Upsert(self._row(m), {"member": m.member, "identity": m.identity}) for m in part]
            await self._tables.commit(self._partition, rows)

    async def close(self, totals: Totals) -> None:
        """Write the totals, when all members are written."""
        await self._tables.commit(self._partition, [Upsert(TOTALS, {**totals.to_json()})])

    async def find_totals(self) -> Totals | None:
        """Return the totals, or None where nothing was compared."""
        row = await self._tables.get(self._partition, TOTALS)
        return Totals(*(int(row.columns[name]) for name in ("both", "onlyHere", "onlyThere"))) if row else None

    async def page(self, cursor: str, count: int) -> tuple[list[Differing], str | None]:
        """Return members behind a cursor ("" for the start), those only here first, and the cursor behind them.

        Raises InvalidCursor.
        """
        if cursor and not CURSOR.fullmatch(cursor):
            raise InvalidCursor
        rows: list[Row] = []
        low, more = behind(cursor) if cursor else HERE, False
        async for page in scan_pages(self._tables, self._partition, low, top=count):
            rows += page.rows
            more = page.continuation is not None
        found = [Differing(str(row.columns["member"]), str(row.columns["identity"])) for row in rows]
        return found, rows[-1].key if more and rows else None

    def _row(self, member: Differing) -> str:
        # An object id may be any text of a file; its digest is a key.
        identity = member.identity
        return THERE + self._keys.digest(Key("subject", identity)) if identity else HERE + member.member
