"""The names in a plan, in order: by the beginning of one its rows are found, at little cost whatever the plan's size.

Each pass that writes rows writes their names once, sorted, in chunks, and beside them by which name each chunk begins.
Once all of them are written, they are merged into the chunks of one order. So a search reads one or two chunks, and
until then one or two of each writer. A plan's row costs no row more. The names stand beside a plan's rows as these do,
and go with them.
"""

from __future__ import annotations

import heapq
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Final

from shared import turns
from shared.directory.errors import InvalidCursor
from shared.directory.keys import Keys, fold, prefix_end
from shared.directory.text import join_text, split_text
from shared.directory.work.plan import CURSOR, Plan, PlanRow, read_row
from shared.json_text import dump, load
from shared.tables.access import clear, in_parts, read_range, write
from shared.tables.port import Tables, Upsert

CHUNK: Final = 300
"""Names of a chunk: as many as a page of results at most."""
MOST_CHARS: Final = 100
"""Characters of a name that count."""
MOST_WORDS: Final = 4
"""Words of a display name with which a search may begin."""
MERGED: Final = "m"
"""Writer of the chunks in which all names are merged."""
_ALL_FIRSTS: Final = "e_"
"""Row key prefix of the names with which those begin."""
_FIRSTS: Final = "f_"
"""Row key prefix of the names with which a writer's chunks begin."""
FIRSTS_A_ROW: Final = 500
"""Names in one row of the first, of some 60 bytes each."""
CHUNKS_AT_ONCE: Final = 256
"""Chunks that a merge reads at once: of some 20 kB each, and a few times as much in memory."""

_LAST: Final = "\U0010ffff"
"""A character behind those of which names are made."""
_AT_ONCE: Final = 500
"""Names that are sorted in one step, about."""

Named = list[str]
"""A folded name, and the id of the row that has it, as they are read."""
Range = tuple[str, str]
"""Names from one up to, but not including, another."""


def names_of(shown: Mapping[str, Any]) -> set[str]:
    """Return the folded names of a plan's row: of its person by each word, and those that either side signs in by."""
    person, found = shown.get("identity", {}), set[str]()
    rest = " ".join(fold(str(person.get("displayName") or "")).split())
    for _ in range(MOST_WORDS):
        found.add(rest[:MOST_CHARS])
        rest = rest.partition(" ")[2]
    accounts = (shown.get("account", {}), *shown.get("candidates", ()))
    # Mostly it is the same one on both sides.
    for one in {person.get("userPrincipalName"), *[account.get("userName") for account in accounts]}:
        found.add(fold(str(one or ""))[:MOST_CHARS])
    found.discard("")
    return found


class PlanNames:
    """The names in one plan."""

    def __init__(self, tables: Tables, keys: Keys, job: str) -> None:
        self._tables = tables
        self._plan = Plan(tables, keys, job)
        self._partition = f"{keys.directory}_p_{job}_names"

    async def write(self, writer: str, rows: Iterable[tuple[int, PlanRow]]) -> None:
        """Write the names of one writer's rows, each with its bucket. Writing them again changes nothing."""
        entries = await _in_order([*chain(*await turns.take(self._entries(bucket, row) for bucket, row in rows))])
        operations, firsts = await _chunks(writer, 0, entries)
        head = Upsert(_FIRSTS + writer, split_text("firsts", dump(firsts)))
        await write(self._tables, {self._partition: [*operations, head]}, ahead=True)

    async def merge(self) -> None:
        """Merge the names of all writers, which have all written. To do it again, or twice at a time, changes nothing.

        Until it is done, a search reads the chunks of each writer, which stay: a twin of the merge may read them.
        """
        written = await self._written()
        places = sorted(
            (first, f"{writer}_{place:06}") for writer, firsts in written.items() for place, first in enumerate(firsts)
        )
        waiting, firsts = list[Named](), list[Named]()
        for at in range(0, len(places), CHUNKS_AT_ONCE):
            read = await turns.take(await self._read([key for _, key in places[at : at + CHUNKS_AT_ONCE]]))
            waiting = await _in_order([*waiting, *chain(*read)])
            behind = places[at + CHUNKS_AT_ONCE : at + CHUNKS_AT_ONCE + 1]
            # No chunk that is read later has a name before its first one.
            end = bisect_left(waiting, behind[0][0]) // CHUNK * CHUNK if behind else len(waiting)
            operations, some = await _chunks(MERGED, len(firsts), waiting[:end])
            await write(self._tables, {self._partition: operations}, ahead=True)
            firsts, waiting = firsts + some, waiting[end:]
        rows = [*in_parts(firsts, FIRSTS_A_ROW)]
        heads = [
            Upsert(f"{_ALL_FIRSTS}{number:04}", {"rows": len(rows), **split_text("firsts", dump(some))})
            for number, some in enumerate(rows)
        ]
        await write(self._tables, {self._partition: heads}, ahead=True)

    def _entries(self, bucket: int, row: PlanRow) -> list[Named]:
        row_id = f"{bucket:02x}{self._plan.key(row.decision, row.subject)}"
        return [[name, row_id] for name in names_of(row.shown)]

    async def find(
        self, begins: str, after: str, count: int, also: Collection[str] = ()
    ) -> tuple[list[PlanRow], str | None]:
        """Return at most `count` rows with a name of this beginning, in the order of their names, and a cursor.

        So are rows with a name that is one of `also`. `after` is the cursor of the page before, "" for the first one.
        There may be fewer rows, and yet a cursor. Raises InvalidCursor.
        """
        ranges, start = _ranges(begins, also), _read_cursor(after) if after else ["", ""]
        size = min(count, CHUNK - 1)
        found = [*islice(heapq.merge(*await self._behind(start, ranges, size + 1)), size + 1)]
        rows = await self._rows([row_id for _, row_id in found[:size]])
        # A row that has several such names is where the first one is.
        own = [row for (name, _), row in zip(found, rows, strict=False) if row and _first(row, ranges) == name]
        return own, _cursor_of(found[size - 1]) if len(found) > size else None

    async def exist(self) -> bool:
        """Tell whether names were written: an earlier version of the app wrote none."""
        return bool(await read_range(self._tables, self._partition, top=1))

    async def clear(self) -> None:
        """Remove all names."""
        await clear(self._tables, self._partition)

    async def _behind(self, start: Named, ranges: Sequence[Range], most: int) -> list[list[Named]]:
        """Return the first names of these ranges behind a place: of each chunk, and range, `most` of them, in order."""
        firsts = await self._merged() or await self._written()
        keys = {key for low, high in ranges for key in _chunks_of(firsts, max(start, [low, ""]), [high])}
        found = await turns.take([*_within(one, start, ranges, most)] for one in await self._read(sorted(keys)))
        return [*chain(*found)]

    async def _merged(self) -> dict[str, list[Named]]:
        """Return with which names the chunks of MERGED begin, nothing before all are written."""
        heads = await read_range(self._tables, self._partition, _ALL_FIRSTS, prefix_end(_ALL_FIRSTS))
        if not heads or len(heads) != heads[0].columns["rows"]:
            return {}
        return {MERGED: [*chain(*await turns.take(load(join_text("firsts", head.columns)) for head in heads))]}

    async def _written(self) -> dict[str, list[Named]]:
        """Return with which names the chunks of each writer begin."""
        heads = await read_range(self._tables, self._partition, _FIRSTS, prefix_end(_FIRSTS))
        read = await turns.take((head.key, load(join_text("firsts", head.columns))) for head in heads)
        return {key.removeprefix(_FIRSTS): firsts for key, firsts in read}

    async def _read(self, keys: Sequence[str]) -> Iterator[list[Named]]:
        """Return the chunks of these keys, each made of its text when it is asked for."""
        chunks = await self._tables.get_many([(self._partition, key) for key in keys])
        return (load(join_text("names", chunk.columns)) for chunk in chunks if chunk)

    async def _rows(self, ids: Sequence[str]) -> list[PlanRow | None]:
        buckets = [int(one[:2], 16) for one in ids]
        places = [(self._plan.partition(bucket), one[2:]) for bucket, one in zip(buckets, ids, strict=True)]
        rows = await self._tables.get_many(places)
        return await turns.take(
            read_row(bucket, row) if row else None for bucket, row in zip(buckets, rows, strict=True)
        )


async def _chunks(writer: str, first: int, names: Sequence[Named]) -> tuple[list[Upsert], list[Named]]:
    """Return what writes names in order as a writer's chunks from the number `first` on, and by which each begins."""
    chunks = [*in_parts(names, CHUNK)]
    operations = await turns.take(
        Upsert(f"{writer}_{place:06}", split_text("names", dump(chunk))) for place, chunk in enumerate(chunks, first)
    )
    return operations, [chunk[0] for chunk in chunks]


async def _in_order(entries: Sequence[Named]) -> list[Named]:
    """Return names sorted. To sort all of a large plan's writer at once would stop everything else for too long."""
    borders = sorted(entries[::_AT_ONCE])
    parts: list[list[Named]] = [[] for _ in range(len(borders) + 1)]
    turn = turns.Turns()
    for some in in_parts(entries, _AT_ONCE):
        for entry in some:
            parts[bisect_right(borders, entry)].append(entry)
        await turn.step()
    return [*chain(*await turns.take(map(sorted, parts)))]


def _ranges(begins: str, also: Collection[str]) -> list[Range]:
    """Return the ranges of names that begin so, and of those that are one of others. None overlaps another."""
    low = fold(begins)[:MOST_CHARS]
    names = {fold(one)[:MOST_CHARS] for one in also}
    return [(low, low + _LAST), *((name, name + "\0") for name in names if not name.startswith(low))]


def _chunks_of(firsts: Mapping[str, list[Named]], start: Named, high: Named) -> Iterator[str]:
    """Yield the keys of the chunks with the first CHUNK names between two places, of all writers together.

    The last chunk that begins before the range may have some of them. Of those that begin in it, none counts that is
    behind a whole one of any writer.
    """
    if not start < high:
        return
    ahead = {writer: bisect_right(names, start) for writer, names in firsts.items()}
    end = min([high, *(firsts[writer][at + 1] for writer, at in ahead.items() if at + 1 < len(firsts[writer]))])
    for writer, at in ahead.items():
        if at:
            yield f"{writer}_{at - 1:06}"
        if at < len(firsts[writer]) and firsts[writer][at] < end:
            yield f"{writer}_{at:06}"


def _within(names: list[Named], start: Named, ranges: Sequence[Range], most: int) -> Iterator[list[Named]]:
    """Yield the first of a chunk's names that are in each range, behind a place."""
    for low, high in ranges:
        at = bisect_right(names, max(start, [low, ""]))
        if found := names[at : min(bisect_left(names, [high]), at + most)]:
            yield found


def _cursor_of(named: Named) -> str:
    """Return the cursor that goes on behind a name. It says all of it: the row may be gone by then, or have others."""
    return urlsafe_b64encode(dump(named).encode()).decode().rstrip("=")


def _read_cursor(cursor: str) -> Named:
    """Return the name, and the row, that a cursor stands for. Raises InvalidCursor."""
    try:
        named = load(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode())
        name, row_id = named
    except (ValueError, TypeError):
        raise InvalidCursor from None
    if not (isinstance(name, str) and isinstance(row_id, str) and CURSOR.fullmatch(row_id)):
        raise InvalidCursor
    return [name, row_id]


def _first(row: PlanRow, ranges: Sequence[Range]) -> str:
    """Return the first name of a row that is in one of some ranges, "" for none."""
    names = names_of(row.shown)
    return min((name for name in names if any(low <= name < high for low, high in ranges)), default="")
