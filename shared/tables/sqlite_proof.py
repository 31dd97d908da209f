"""Proof that a row of sqlite.py reads as it was written, and that a row which is not found is not there.

An etag ends in two checksums, of its row's place and of the columns. A damaged key may mislead a search, which then
ends beside that key, whatever it looks for. So the two neighbours of a place where nothing was found tell whether a row
is missing there, and those of a range whether it is whole. What an earlier version wrote has no checksums, and passes.
Not told while the file is open: a page in the place of another one, which the start finds (are_in_place). Never told:
an old copy of a page in its own place, whose rows are as they once were.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from itertools import chain, islice
from operator import lt
from typing import Any, Literal
from zlib import crc32

from shared.tables.port import Damaged

DAMAGED = "the file of the tables is damaged"
Form = Literal["", "_keys", "_one"]
"""What a query reads of rows: key, etag and columns; the columns not at all; or one of them, and their checksum."""
Gap = tuple[bytes, bytes]
"""A key of a partition, and the first one behind it that was not found: the same where none was.

A damaged row may mislead the search for a key, and not the one for the next: so they begin where the gap does.
"""
Read = Callable[[str, Mapping[str, bytes]], Sequence[tuple[Any, ...]]]
"""Runs a SELECT with values by name: Python 3.12.1 warns of numbered ones."""

MANY_ROWS = 8
"""Rows from which on it is cheaper to compare all checksums at once."""

_UNPROVEN = re.compile(r'W/"[0-9a-f]{16}\.[0-9a-f]+"')
"""An etag without checksums."""


# NULL is a damaged value, too, and a row that has one is to be seen.
_ROW = "CAST(ifnull(partition, '') || ifnull(key, '') || ifnull(etag, '') AS BLOB)"


def _first(which: str) -> str:
    return f"(SELECT {_ROW} FROM TABLE_NAME WHERE {which} LIMIT 1)"  # noqa: S608 - no value comes from outside


def _next(inside: str, outside: str, beyond: str) -> str:
    """Return the row next to a place: of its partition, or else of another one, or else NULL at an end of the table.

    A damaged row that hides another is next to its place in the file, but may seem to be in any partition, or in none.
    By the key within a partition it is met, for no condition is looked at again after the search. Between partitions it
    is by one search or by the other, and then they differ.
    """
    one, other = _first(outside), _first(beyond)
    return f"coalesce({_first(inside)}, CASE WHEN {one} IS {other} THEN {one} ELSE x'' END)"


_UP, _DOWN = "ORDER BY partition, key", "ORDER BY partition DESC, key DESC"


def _neighbours(home: str) -> str:
    """Return the rows before and behind a gap in the partition `home`."""
    before = _next(
        f"partition = {home} AND key < low ORDER BY key DESC",
        f"partition < {home} {_DOWN}",
        f"(partition, key) < ({home}, low) {_DOWN}",
    )
    behind = _next(
        f"partition = {home} AND key >= high ORDER BY key",
        f"partition > {home} {_UP}",
        f"(partition, key) >= ({home}, high) {_UP}",
    )
    return f"{before}, {behind}"


AROUND = f"SELECT {_neighbours(':home')} FROM (GAPS)"  # noqa: S608 - the same
"""The rows before and behind each gap in the partition :home, as their place with the etag behind it; NULL where there
is none."""
AROUND_EACH = f"SELECT number, {_neighbours('home')} FROM (GAPS)"  # noqa: S608 - the same
"""The same of gaps in partitions of their own, behind the number of each."""


def place_sum(partition: bytes, key: bytes) -> int:
    """Return the checksum of a row's place."""
    return crc32(key, crc32(partition))


def prove(partition: bytes, rows: Sequence[tuple[Any, ...]], form: Form = "") -> None:
    """Raise Damaged unless the rows of a partition read as they were written, and come in order."""
    start = crc32(partition)
    if len(rows) >= MANY_ROWS and _are_proved(rows, start, form):
        return
    before = None
    for row in rows:
        if not _is_whole(row, start, form) or (before is not None and row[0] <= before):
            raise Damaged(DAMAGED)
        before = row[0]


def prove_around(read: Read, around: str, partition: bytes, *gaps: Gap) -> None:
    """Raise Damaged if a row may be missing in one of these gaps; one statement, AROUND, looks around all."""
    if gaps:
        values = {"home": partition}
        for number, (low, high) in enumerate(gaps):
            values[f"low{number}"], values[f"high{number}"] = low, high
        for neighbours in read(_for_gaps(around, len(gaps)), values):
            for row in neighbours:
                _place_of(row)


def are_empty(read: Read, around_each: str, ranges: Sequence[tuple[bytes, bytes, bytes]]) -> list[bool]:
    """Tell which ranges have no row for sure, each a partition, its lowest key and the first key behind it.

    One statement, AROUND_EACH, looks. It proves as much as a search and prove_around() do; what is in the others, a
    search tells. Raises Damaged.
    """
    empty, values = [False] * len(ranges), dict[str, bytes]()
    for number, (home, low, _) in enumerate(ranges):
        values[f"home{number}"], values[f"low{number}"] = home, low
    for number, before, behind in read(_for_ranges(around_each, len(ranges)), values) if ranges else ():
        _place_of(before)
        place, (home, _, high) = _place_of(behind), ranges[number]
        # The place of a row in another partition may begin as this partition does.
        empty[number] = place is None or not place.startswith(home) or place[len(home) :] >= high
    return empty


@cache
def _for_gaps(statement: str, count: int) -> str:
    """Return the statement for so many gaps."""
    rest = "".join(f" UNION ALL SELECT :low{number}, :high{number}" for number in range(1, count))
    return statement.replace("GAPS", f"SELECT :low0 AS low, :high0 AS high{rest}")


@cache
def _for_ranges(statement: str, count: int) -> str:
    """Return the statement for the gaps before so many ranges."""
    each = (f"SELECT {n} AS number, :home{n} AS home, :low{n} AS low, :low{n} AS high" for n in range(count))
    return statement.replace("GAPS", " UNION ALL ".join(each))


def are_in_place(rows: Iterable[tuple[bytes, bytes, str]]) -> bool:
    """Tell whether all rows of a table come in order, as they stand in the file, and each as it was written.

    The pages of a file may have changed places: SQLite's own check finds each of them whole.
    """
    before, start = (b"", b""), 0
    for partition, key, etag in rows:
        if partition != before[0]:
            start = crc32(partition)
        if (partition, key) <= before or not _is_whole((key, etag), start, "_keys"):
            return False
        before = partition, key
    return True


def _are_proved(rows: Sequence[tuple[Any, ...]], start: int, form: Form) -> bool:
    """Tell whether rows come in order, and all of them have the right checksums: a third of the work of _is_whole()."""
    keys = [row[0] for row in rows]
    try:
        places = [crc32(key, start) for key in keys]
        if form == "_keys":
            sums, said = places, "".join([row[1][-17:-9] for row in rows])
        else:
            read = [row[3] if form else crc32(row[2].encode()) for row in rows]
            sums, said = [*chain(*zip(places, read, strict=True))], "".join([row[1][-17:-1] for row in rows])
        if struct.pack(f">{len(sums)}I", *sums) != bytes.fromhex(said):
            return False
    except (TypeError, ValueError, AttributeError, struct.error):
        return False
    return all(map(lt, keys, islice(keys, 1, None)))


def _is_whole(row: tuple[Any, ...], start: int, form: Form) -> bool:
    key, etag, *read = row
    try:
        said = int(etag[-17:-1], 16)
        if form == "_keys":
            return said >> 32 == crc32(key, start)
        return said == crc32(key, start) << 32 | (read[1] if form == "_one" else crc32(read[0].encode()))
    except (TypeError, ValueError, AttributeError):
        return isinstance(key, bytes) and isinstance(etag, str) and _UNPROVEN.fullmatch(etag) is not None


def _place_of(row: bytes | None) -> bytes | None:
    """Return a place, which the etag behind it proves, unless that is of an earlier version. Raises Damaged."""
    if row is None:
        return None
    place, mark, rest = row.rpartition(b'W/"')
    try:
        proved = int(rest[-17:-1], 16) >> 32 == crc32(place)
    except ValueError:
        proved = _UNPROVEN.fullmatch((mark + rest).decode("latin-1")) is not None
    if not proved:
        raise Damaged(DAMAGED)
    return place
