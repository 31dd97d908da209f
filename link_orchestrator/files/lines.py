"""The lines of a file's text: numbered, bounded, and given again after a row that could not be read."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final, TextIO

from link_orchestrator.files.text import REMEDY, UNKNOWN, encoding_of
from link_orchestrator.problems import NOT_TEXT, Problem

MAX_LINES_IN_ROW: Final = 50
"""Lines of a row that has line breaks within quotes. Where there are more, a quote was never closed."""


class Broken(Exception):
    """A row that has too many lines, or too long a line."""


class Lines:
    """Lines of at most `row_chars` characters. `row` has those of the row that begins in line `start`, from 1."""

    def __init__(self, text: TextIO, row_chars: int) -> None:
        self.row_chars = row_chars
        self.encoding = encoding_of(text)
        self.start = 1
        self.row: list[str] = []
        self.ends_within_character = False
        self._text = text
        self._again: deque[str] = deque()
        self._next = 1

    def begin_row(self) -> None:
        """Let the next row begin behind the lines that were read."""
        self.start = self._next
        self.row = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.row) >= MAX_LINES_IN_ROW:
            raise Broken
        line = self._again.popleft() if self._again else self._readline()
        if not line:
            raise StopIteration
        self._next += 1
        self.row.append(line)
        if len(line) > self.row_chars:
            while line and line[-1] not in "\r\n":
                line = self._readline()
            raise Broken
        return line

    def give_back(self, keep: int = 1) -> None:
        """Let the next row begin behind the first `keep` lines of this one."""
        self._again.extendleft(reversed(self.row[keep:]))
        self._next = self.start + keep
        self.row = []

    def undecodable(self) -> bool:
        """Tell whether the row holds bytes that are no text."""
        return any(map(has_lone_surrogate, self.row))

    def lacks_end(self) -> bool:
        """Tell whether the row ends with the file, and without a line break."""
        return bool(self.row) and self.row[-1][-1] not in "\r\n"

    def _readline(self) -> str:
        try:
            return self._text.readline(self.row_chars + 1)
        except UnicodeDecodeError:  # UTF-16 that ends in half a character: the only error that no handler mends
            self.ends_within_character = True
            return ""


def has_lone_surrogate(text: str) -> bool:
    """Tell whether a text holds what open_text() makes of bytes that are no text."""
    return not text.isascii() and _LONE_SURROGATE.search(text) is not None


_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def undecodable(line: int, encoding: str = "UTF-8") -> Problem:
    """Return the problem of a row that holds bytes that are no text."""
    return Problem(line, f"{NOT_TEXT}{unlike(encoding)}.", REMEDY)


def unlike(encoding: str) -> str:
    """Return the encoding that bytes are not in: of those in no code page that is known, UTF-8."""
    return "UTF-8" if encoding == UNKNOWN else encoding


def cut_off(line: int) -> Problem:
    """Return the problem of a last row that is not complete."""
    reason = "The file ends in the middle of this row, so the row was not read."
    return Problem(line, reason, "Export the file again, and check that the download is complete.")
