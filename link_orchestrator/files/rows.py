"""What a file comes apart into: a header and rows. formats.py tells the formats, and has a reader for each.

What a row means is up to accounts.py, groups.py, identities.py and entra_groups.py. A row that cannot be read is a
Problem in its place, and the rows around it are still read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_FIELD_CHARS: Final = 30_000
MAX_COLUMNS: Final = 200
MAX_ROW_CHARS: Final = 1_000_000
HEAD_CHARS: Final = 16 * 1024
"""Bytes, and characters, that suffice to tell a format or a page by its beginning."""


class UnreadableFile(ValueError):
    """No row of the file can be used. The text says why and what to do. It may name headers, never a row's values."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header row of a table; "" for a column without a name, or with the name of one before it.

    `sheets` says of a workbook with several sheets which one was read.
    """

    names: tuple[str, ...]
    sheets: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins in, from 1, and its cells by header, of a table as strings, or the JSON object."""

    line: int
    cells: dict[str, Any]


def header_names(cells: Iterable[str]) -> tuple[str, ...]:
    """Return the names of a header row. Of several columns with one name, the first counts. Raises UnreadableFile."""
    header = [cell.strip() for cell in cells]
    if len(header) > MAX_COLUMNS:
        raise UnreadableFile(
            f"The header row has more than {MAX_COLUMNS} columns. Leave out those that are not needed. If curl sent "
            "the file, send it with --data-binary: -d takes the line breaks out of it."
        )
    return tuple(name if name not in header[:place] else "" for place, name in enumerate(header))


def find_too_long(header: Sequence[str], cells: Sequence[str]) -> str | None:
    """Return the header of a cell that is too long, None if there is none."""
    return next((name for name, cell in zip(header, cells, strict=False) if len(cell) > MAX_FIELD_CHARS), None)
