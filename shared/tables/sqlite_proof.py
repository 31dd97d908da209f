"""Proof that a row of sqlite.py reads as it was written, and that a row which is not found is not there.

An etag ends in two checksums, of its row's place and of the columns. A damaged key may mislead a search, which then
ends beside that key, whatever it looks for. So the two neighbours of a place where nothing was found tell whether a row
is missing there, and those of a range whether it is whole. A page that is not where it was written misleads a search,
too; so each neighbour is searched for again from the other one. What an earlier version wrote has no checksums, and
passes. Not told: an old copy of a page in its own place, whose rows are as they once were.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from operator import ge
from typing import Any, Literal
from zlib import crc32

from shared.tables.port import Damaged

DAMAGED = "the file of the tables is damaged"
Form = Literal["", "_keys", "_one"]
"""What a query reads of rows: key, etag and columns; the columns not at all; or one of them, and their checksum."""
Keys = Sequence[bytes]
Gap = tuple[bytes, Keys | None]
"""A key, and the keys that were found from it on, one after the other; None where it may be there or not."""
Read = Callable[[str, Mapping[str, bytes]], Sequence[tuple[Any, ...]]]
"""Runs a SELECT with values by name: Python 3.12.1 warns of numbered ones."""

_UNPROVEN = re.compile(r'W/"[0-9a-f]{16}\.[0-9a-f]+"')
"""An etag without checksums."""
_NEIGHBOURS = {
    "before": "partition = :n1 AND key < :n2 ORDER BY key DESC",
    "behind": "partition = :n1 AND key > :n3 ORDER BY key",
    "first": "partition = :n1 ORDER BY key",
    "last": "partition = :n1 ORDER BY key DESC",
    "partition before": "partition < :n1 ORDER BY partition DESC, key DESC",
    "partition behind": "partition > :n1 ORDER BY partition, key",
    "first of all": "TRUE ORDER BY partition, key",
    "last of all": "TRUE ORDER BY partition DESC, key DESC",
}
"""Rows around the places from :n2 to :n3 of the partition :n1, by what they are.

Each is found by one search, and no condition is looked at again: a damaged row would not meet it, and be passed over.
"""
_ONE = "(SELECT CAST(WHAT AS BLOB) FROM TABLE_NAME WHERE WHICH LIMIT 1)"
_NAMED = "SELECT * FROM (SELECT 'NAME', key, etag, partition FROM TABLE_NAME WHERE WHICH LIMIT 1)"


def _one(name: str, what: str) -> str:
    return _ONE.replace("WHAT", what).replace("WHICH", _NEIGHBOURS[name])


_BEFORE, _BEHIND = _one("before", "key").replace(":n2", "low"), _one("behind", "key").replace(":n3", "high")
_AROUND = (
    _one("before", "key || etag").replace(":n2", "low"),
    _one("behind", "key || etag").replace(":n3", "high"),
    _one("behind", "key").replace(":n3", _BEFORE),
    _one("before", "key").replace(":n2", _BEHIND),
)
_EDGES = (
    _one("first", "key || etag"),
    _one("last", "key || etag"),
    _one("partition before", "partition || key || etag"),
    _one("partition behind", "partition || key || etag"),
    _one("partition before", "partition").replace(":n1", _one("partition behind", "partition")),
    _one("partition behind", "partition").replace(":n1", _one("partition before", "partition")),
)
STATEMENTS = {
    # In a page that is not where it was written, a search ends between rows which are not neighbours elsewhere.
    "around": " ".join(("SELECT", ", ".join(_AROUND), "FROM (PLACES)")),
    "edges": "SELECT " + ", ".join(_EDGES),
    "ends": " UNION ALL ".join(
        _NAMED.replace("NAME", name, 1).replace("WHICH", which) for name, which in _NEIGHBOURS.items()
    ),
}


def place_sum(partition: bytes, key: bytes) -> int:
    """Return the checksum of a row's place."""
    return crc32(key, crc32(partition))


def prove(partition: bytes, rows: Sequence[tuple[Any, ...]], form: Form = "") -> None:
    """Raise Damaged unless the rows of a partition read as they were written, and come in order."""
    start = crc32(partition)
    if not all(_is_whole(row, start, form) for row in rows):
        raise Damaged(DAMAGED)
    keys = [row[0] for row in rows]
    if any(map(ge, keys, keys[1:])):
        raise Damaged(DAMAGED)


def prove_around(read: Read, statements: Mapping[str, str], partition: bytes, *gaps: Gap) -> None:
    """Raise Damaged if rows may be missing in these gaps of a partition. One statement looks around all."""
    if not gaps:
        return
    start = crc32(partition)
    places = [place for low, found in gaps for place in (low, found[-1] if found else low)]
    edges: Sequence[bytes | None] = ()
    around = read(_for_places(statements["around"], len(gaps)), _named(partition, *places))
    for (low, found), (*rows, behind_before, before_behind) in zip(gaps, around, strict=True):
        before, behind = map(_key, rows)
        if found is None:
            found = (low,) if low in (behind_before, before_behind) else ()
        first, last = (found[0], found[-1]) if found else (behind, before)
        if (before is not None and behind_before != first) or (behind is not None and before_behind != last):
            raise Damaged(DAMAGED)
        if _is_in_place(rows[0], start) and _is_in_place(rows[1], start):
            continue
        edges = edges or read(statements["edges"], _named(partition))[0]
        if not _is_edge(edges, partition, rows, (first, last)):
            high = found[-1] if found else low
            _prove_ends(read(statements["ends"], _named(partition, low, high)), (partition, low), (partition, high))


def _named(*values: bytes) -> Mapping[str, bytes]:
    return {f"n{number}": value for number, value in enumerate(values, 1)}


@cache
def _for_places(statement: str, count: int) -> str:
    """Return the statement for so many places, each a low key and a high one."""
    more = "".join(f" UNION ALL SELECT :n{2 * n}, :n{2 * n + 1}" for n in range(2, count + 1))
    return statement.replace("PLACES", f"SELECT :n2 AS low, :n3 AS high{more}")


def _is_edge(
    edges: Sequence[bytes | None],
    partition: bytes,
    neighbours: Sequence[bytes | None],
    ends: tuple[bytes | None, bytes | None],
) -> bool:
    """Tell whether a partition, between two others, is empty, or begins or ends where a neighbour is missing.

    Raises Damaged if those two have another one between them.
    """
    *own, before, behind, last_before, first_behind = edges
    here = partition if any(row is not None for row in (*own, *ends)) else None
    for row, across, other in ((behind, last_before, before), (before, first_behind, behind)):
        if row is not None and not (across == here if here or other is None else _starts(other, across)):
            raise Damaged(DAMAGED)
    if not (_is_in_place(before, 0) and _is_in_place(behind, 0)):
        return False
    start = crc32(partition)
    return here is None or all(
        _is_in_place(row, start) and (_key(row) == end if neighbour is None else _is_in_place(neighbour, start))
        for row, neighbour, end in zip(own, neighbours, ends, strict=True)
    )


def _starts(row: bytes, partition: bytes | None) -> bool:
    return partition is not None and row.startswith(partition)


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


def _is_whole(row: tuple[Any, ...], start: int, form: Form) -> bool:
    key, etag, *read = row
    try:
        said = int(etag[-17:-1], 16)
        if form == "_keys":
            return said >> 32 == crc32(key, start)
        return said == crc32(key, start) << 32 | (read[1] if form == "_one" else crc32(read[0].encode()))
    except (TypeError, ValueError, AttributeError):
        return isinstance(key, bytes) and isinstance(etag, str) and _UNPROVEN.fullmatch(etag) is not None


def _key(row: bytes | None) -> bytes | None:
    """Return the key that a row's etag stands behind."""
    return None if row is None else row[: max(0, row.rfind(b'W/"'))]


def _is_in_place(row: bytes | None, start: int) -> bool:
    """Tell whether a key with its etag behind it is proved by it; not so where either is of an earlier version."""
    try:
        return row is not None and int(row[-17:-9], 16) == crc32(row[: row.rindex(b'W/"')], start)
    except ValueError:
        return False


def _prove_ends(found: Sequence[tuple[Any, ...]], begin: tuple[bytes, bytes], end: tuple[bytes, bytes]) -> None:
    """Raise Damaged unless there is a row on either side, or its partition ends and another begins, and all read well.

    A row that lost its key altogether is nobody's neighbour, but it is still the first one or the last, or hides it.
    """
    for _, *row, partition in found:
        prove(partition if isinstance(partition, bytes) else b"", [tuple(row)], "_keys")
    at = {name: (partition, key) for name, key, _, partition in found}
    whole = (
        (at.get("first", begin) < begin) == ("before" in at)
        and (at.get("last", end) > end) == ("behind" in at)
        and (at.get("first of all", begin)[0] < begin[0]) == ("partition before" in at)
        and (at.get("last of all", end)[0] > end[0]) == ("partition behind" in at)
    )
    if not whole:
        raise Damaged(DAMAGED)
