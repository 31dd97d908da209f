"""How sqlite.py encodes rows: keys as bytes in the order of Table Storage, columns as JSON, and the etags."""

from __future__ import annotations

import itertools
import secrets
import struct
from collections.abc import Mapping

from shared.json_text import dump
from shared.tables.port import LimitExceeded, Value


def stored_key(key: str) -> bytes:
    """Return bytes that sort as the key's UTF-16 code units do: each unit in UTF-8 (CESU-8)."""
    if key.isascii():
        return key.encode()
    try:
        units = key.encode("utf-16-be")
    except UnicodeEncodeError as error:
        raise LimitExceeded("a key holds half a surrogate pair") from error
    return "".join(map(chr, struct.unpack(f">{len(units) // 2}H", units))).encode("utf-8", "surrogatepass")


def key_text(stored: bytes) -> str:
    """Return the key that is stored as these bytes."""
    if stored.isascii():
        return stored.decode()
    return stored.decode("utf-8", "surrogatepass").encode("utf-16-be", "surrogatepass").decode("utf-16-be")


def stored_columns(columns: Mapping[str, Value | None]) -> str:
    """Return the columns that have a value, as JSON."""
    return dump(present(columns))


def present(columns: Mapping[str, Value | None]) -> dict[str, Value]:
    """Return the columns that have a value."""
    return {name: value for name, value in columns.items() if value is not None}


def encoded(text: str) -> bytes:
    """Return text as it is stored. Raises LimitExceeded for half a surrogate pair."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise LimitExceeded("a string holds half a surrogate pair") from error


class Etags:
    """Makes etags: a prefix that is random for each opening of the file, a counter, and the checksums of the row."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def __call__(self, place: int, columns: int) -> str:
        return f'W/"{self._prefix}.{next(self._numbers):x}.{place:08x}{columns:08x}"'
