"""The names in a plan, in order: by the beginning of one its rows are found, whatever the plan's size.

Each pass that writes rows writes their names once, sorted, in chunks, and beside them by which name each chunk begins.
So a search reads two chunks of each writer: their number has a bound, and a plan's row costs no row more. The names
stand beside a plan's rows as these do, and go with them.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.directory.errors import InvalidCursor
from shared.directory.keys import Keys, fold, prefix_end
from shared.directory.text import join_text, split_text
from shared.directory.work.plan import CURSOR, Plan, PlanRow, read_row
from shared.json_text import dump
from shared.tables.access import clear, in_parts, read_range, write
from shared.tables.port import Tables, Upsert

CHUNK: Final = 300
"""Names of a chunk: as many as a page of results at most."""
MOST_CHARS: Final = 100
"""Characters of a name that count."""
MOST_WORDS: Final = 4
"""Words of a display name with which a search may begin."""
_FIRSTS: Final = "f_"
"""Row key prefix of the names with which a writer's chunks begin."""

Named = tuple[str, str]
"""A folded name, and the id of the row that has it."""


def names_of(shown: Mapping[str, Any]) -> set[str]:
    """Return the folded names of a plan's row: of its person by each word, and those that either side signs in by."""
    person = shown.get("identity", {})
    words = fold(str(person.get("displayName") or "")).split()
    accounts = (shown.get("account", {}), *shown.get("candidates", ()))
    signs_in = (person.get("userPrincipalName"), *(one.get("userName") for one in accounts))
    found = {" ".join(words[at:]) for at in range(min(len(words), MOST_WORDS))}
    return {name[:MOST_CHARS] for name in found | {fold(str(one)) for one in signs_in if one}}


class PlanNames:
    """The names in one plan."""

    def __init__(self, tables: Tables, keys: Keys, job: str) -> None:
        self._tables = tables
        self._plan = Plan(tables, keys, job)
        self._partition = f"{keys.directory}_p_{job}_names"

    async def write(self, writer: str, rows: Iterable[tuple[int, PlanRow]]) -> None:
        """Write the names of one writer's rows, each with its bucket. Writing them again changes nothing."""
        named = ((f"{bucket:02x}{self._plan.key(row.decision, row.subject)}", row.shown) for bucket, row in rows)
        entries = sorted({(name, row) for row, shown in named for name in names_of(shown)})
        chunks = [*in_parts(entries, CHUNK)]
        operations = [
            Upsert(f"{writer}_{place:06}", split_text("names", dump(chunk))) for place, chunk in enumerate(chunks)
        ]
        firsts = Upsert(_FIRSTS + writer, split_text("firsts", dump([chunk[0] for chunk in chunks])))
        await write(self._tables, {self._partition: [*operations, firsts]})

    async def find(self, begins: str, after: str, count: int) -> tuple[list[PlanRow], str | None]:
        """Return at most `count` rows with a name of this beginning, in the order of their names, and a cursor.

        `after` is the cursor of the page before, "" for the first one. Raises InvalidCursor.
        """
        begins = fold(begins)[:MOST_CHARS]
        start = await self._place(after) if after else (begins, "")
        size = min(count, CHUNK - 1)
        found = sorted(await self._behind(start, begins))[: size + 1]
        rows = await self._rows([row_id for _, row_id in found[:size]])
        # A row that has several such names is where the first one is.
        own = [row for (name, _), row in zip(found, rows, strict=False) if row and _first(row, begins) == name]
        if len(found) <= size:
            return own, None
        name, row_id = found[size - 1]
        last = rows[-1]
        return own, f"{row_id}.{sorted(names_of(last.shown)).index(name)}" if last else None

    async def exist(self) -> bool:
        """Tell whether names were written: an earlier version of the app wrote none."""
        return bool(await read_range(self._tables, self._partition, top=1))

    async def clear(self) -> None:
        """Remove all names."""
        await clear(self._tables, self._partition)

    async def _behind(self, start: Named, begins: str) -> list[Named]:
        """Return the first names of each writer behind a place that begin so: more than a page has of them."""
        heads = await read_range(self._tables, self._partition, _FIRSTS, prefix_end(_FIRSTS))
        places = list[tuple[str, str]]()
        for head in heads:
            firsts = [tuple(first) for first in json.loads(join_text("firsts", head.columns))]
            at = max(bisect_left(firsts, start) - 1, 0)
            writer = head.key.removeprefix(_FIRSTS)
            places += [(self._partition, f"{writer}_{place:06}") for place in range(at, min(at + 3, len(firsts)))]
        chunks = await self._tables.get_many(places)
        names = (tuple(one) for chunk in chunks if chunk for one in json.loads(join_text("names", chunk.columns)))
        return [(name, row) for name, row in names if (name, row) > start and name.startswith(begins)]

    async def _place(self, cursor: str) -> Named:
        """Return the name, and the row, that a cursor stands for. Raises InvalidCursor."""
        row_id, _, at = cursor.partition(".")
        if not CURSOR.fullmatch(row_id) or not re.fullmatch("[0-9]{1,3}", at):
            raise InvalidCursor
        (row,) = await self._rows([row_id])
        names = sorted(names_of(row.shown)) if row else []
        if int(at) >= len(names):
            raise InvalidCursor
        return names[int(at)], row_id

    async def _rows(self, ids: Sequence[str]) -> list[PlanRow | None]:
        buckets = [int(one[:2], 16) for one in ids]
        places = [(self._plan.partition(bucket), one[2:]) for bucket, one in zip(buckets, ids, strict=True)]
        rows = await self._tables.get_many(places)
        return [read_row(bucket, row) if row else None for bucket, row in zip(buckets, rows, strict=True)]


def _first(row: PlanRow, begins: str) -> str:
    """Return the first name of a row that begins so, "" for none."""
    return min((name for name in names_of(row.shown) if name.startswith(begins)), default="")
