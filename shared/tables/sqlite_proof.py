"""Proof that a row of sqlite.py reads as it was written, and that a row which is not found is not there.

An etag ends in two checksums, of its row's place and of the columns. A damaged key may mislead a search, which then
ends beside that key, whatever it looks for. So the two neighbours of a place where nothing was found tell whether a row
is missing there, and those of a range whether it is whole. What an earlier version wrote has no checksums, and passes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import ge
from typing import Any, Literal
from zlib import crc32

from shared.tables.port import Damaged

DAMAGED = "the file of the tables is damaged"
Form = Literal["", "_keys", "_one"]
"""What a query reads of rows: key, etag and columns; the columns not at all; or one of them, and their checksum."""
Read = Callable[[str, tuple[bytes, ...]], Sequence[tuple[Any, ...]]]
"""Runs a SELECT."""

_UNPROVEN = re.compile(r'W/"[0-9a-f]{16}\.[0-9a-f]+"')
"""An etag without checksums."""
_NEIGHBOURS = {
    "before": "partition = ?1 AND key < ?2 ORDER BY key DESC",
    "behind": "partition = ?1 AND key > ?3 ORDER BY key",
    "first": "partition = ?1 ORDER BY key",
    "last": "partition = ?1 ORDER BY key DESC",
    "partition before": "partition < ?1 ORDER BY partition DESC, key DESC",
    "partition behind": "partition > ?1 ORDER BY partition, key",
    "first of all": "TRUE ORDER BY partition, key",
    "last of all": "TRUE ORDER BY partition DESC, key DESC",
}
"""Rows around the places from ?2 to ?3 of the partition ?1, by what they are.

Each is found by one search, and no condition is looked at again: a damaged row would not meet it, and be passed over.
"""
_ONE = "(SELECT CAST(key || etag AS BLOB) FROM TABLE_NAME WHERE WHICH LIMIT 1)"
_NAMED = "SELECT * FROM (SELECT 'NAME', key, etag, partition FROM TABLE_NAME WHERE WHICH LIMIT 1)"
STATEMENTS = {
    "around": "SELECT " + ", ".join(_ONE.replace("WHICH", _NEIGHBOURS[name]) for name in ("before", "behind")),
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


def prove_around(read: Read, statements: Mapping[str, str], partition: bytes, low: bytes, high: bytes) -> None:
    """Raise Damaged if rows may be missing before `low` or behind `high`, where a range or nothing was found."""
    (neighbours,) = read(statements["around"], (partition, low, high))
    start = crc32(partition)
    if not (_is_in_place(neighbours[0], start) and _is_in_place(neighbours[1], start)):
        _prove_ends(read(statements["ends"], (partition, low, high)), (partition, low), (partition, high))


def _is_whole(row: tuple[Any, ...], start: int, form: Form) -> bool:
    key, etag, *read = row
    try:
        said = int(etag[-17:-1], 16)
        if form == "_keys":
            return said >> 32 == crc32(key, start)
        return said == crc32(key, start) << 32 | (read[1] if form == "_one" else crc32(read[0].encode()))
    except (TypeError, ValueError, AttributeError):
        return isinstance(key, bytes) and isinstance(etag, str) and _UNPROVEN.fullmatch(etag) is not None


def _is_in_place(neighbour: bytes | None, start: int) -> bool:
    """Tell whether a key with its etag behind it is proved by it; not so where either is of an earlier version."""
    try:
        return neighbour is not None and int(neighbour[-17:-9], 16) == crc32(
            neighbour[: neighbour.rindex(b'W/"')], start
        )
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
