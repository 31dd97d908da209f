"""How the members of a group here differ from those of its counterpart in Entra: a row for each member of one alone.

A run writes them beside its plan (plan.py), which shows the counts and the first members. All of them are listed from
here, page by page. Members of both groups are only counted.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from shared.directory.errors import InvalidCursor
from shared.directory.keys import DIGEST, ID, Key, Keys, behind
from shared.tables.access import clear, scan_pages, write
from shared.tables.port import Row, Tables, Upsert

TOTALS = "a"
HERE, THERE = "h_", "t_"
CURSOR = re.compile(rf"{HERE}{ID.pattern}|{THERE}[0-9a-f]{{{DIGEST}}}")
"""The key of the last row of a page."""


@dataclass(frozen=True, slots=True)
class Totals:
    """How many members are in both groups, and in one of them alone.

    `name` is what the group is called in Entra, "" where an earlier version of the app wrote the totals.
    """

    both: int
    only_here: int
    only_there: int
    name: str = ""

    def to_json(self) -> dict[str, int]:
        """Return the totals as the API shows them."""
        return {"both": self.both, "onlyHere": self.only_here, "onlyThere": self.only_there}


@dataclass(frozen=True, slots=True)
class Differing:
    """A member of one group alone. `identity` is the object id of a member of the group in Entra, "" for one here.

    `member` is the id of the account here, "" for a person in Entra who has none.
    """

    member: str
    identity: str = ""

    @property
    def only(self) -> str:
        """The group that has the member: here or there."""
        return "there" if self.identity else "here"


class Differences:
    """The differing members of one group of a run, which is named by the object id of its counterpart."""

    def __init__(self, tables: Tables, keys: Keys, job: str, object_id: str) -> None:
        self._tables = tables
        self._keys = keys
        self._partition = f"{keys.directory}_q_{job}_{keys.digest(Key('subject', object_id))}"

    async def clear(self) -> None:
        """Remove what an earlier attempt wrote."""
        await clear(self._tables, self._partition)

    async def write(self, members: Sequence[Differing]) -> None:
        """Write members. Writing them again changes nothing."""
        rows = [Upsert(self._row(m), {"member": m.member, "identity": m.identity}) for m in members]
        await write(self._tables, {self._partition: rows})

    async def close(self, totals: Totals) -> None:
        """Write the totals, once all members are written."""
        await self._tables.commit(self._partition, [Upsert(TOTALS, {**totals.to_json(), "name": totals.name})])

    async def find_totals(self) -> Totals | None:
        """Return the totals, or None where nothing was compared."""
        row = await self._tables.get(self._partition, TOTALS)
        if row is None:
            return None
        both, only_here, only_there = (int(row.columns[name]) for name in ("both", "onlyHere", "onlyThere"))
        return Totals(both, only_here, only_there, str(row.columns.get("name") or ""))

    async def page(self, cursor: str, count: int) -> tuple[list[Differing], str | None]:
        """Return members from behind a cursor ("" for the start), those here first, and the next cursor.

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
        # The digest, since an object id may be any text of a file.
        identity = member.identity
        return THERE + self._keys.digest(Key("subject", identity)) if identity else HERE + member.member
