"""Rows from the bytes of a file, one at a time: CSV (RFC 4180), JSON Lines, JSON arrays, pages of Microsoft Graph.

What a row means is up to the other modules here. A row that cannot be read is a Problem, and the rows around it are
still read. Beside the bytes of the file, about one row is in memory.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

from link_orchestrator.files.reading import Notes
from link_orchestrator.problems import Problem

MAX_FIELD_CHARS = 30_000
MAX_COLUMNS = 200
MAX_ROW_CHARS = 1_000_000
MAX_LINES_IN_ROW = 50
"""Lines of a row that has line breaks within quotes. Where there are more, a quote was never closed."""

_HEAD_BYTES = 16 * 1024
"""Bytes, and characters, that suffice to tell a format or a page by its beginning."""
_READ_CHARS = 64 * 1024
_MAX_LISTS = 3
"""Lists within one another: one of pages, one of rows in each, and one for a program that wrapped them."""


class UnreadableFile(ValueError):
    """No row of the file can be used. The text says why and what to do. It may name headers, never a row's values."""


@dataclass(frozen=True, slots=True)
class Header:
    """The header row of a CSV file; "" for a column without a name, or with the name of one before it."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One row: the line it begins in, from 1, and its cells by header (CSV: strings) or the JSON object itself."""

    line: int
    cells: dict[str, Any]


def read_rows(
    file: bytes, *, content_type: str = "", row_chars: int = MAX_ROW_CHARS, notes: Notes | None = None
) -> Iterator[Header | Row | Problem]:
    """Yield the rows of a file; of a CSV file its Header first.

    The content tells CSV from JSON. `content_type`, a media type or a file name, counts only where it is in doubt
    whether JSON comes as one object a line. Text is UTF-8, or UTF-16 with a byte-order mark, or for CSV what the media
    type's charset says. A row of more than `row_chars` is a Problem. `notes` is told what kind of file it is. Raises
    UnreadableFile if the file is empty or has no usable header row.
    """
    notes = notes or Notes()
    encoding, errors = _encoding(file, content_type)
    head = file[:_HEAD_BYTES].decode(encoding, "replace").lstrip()
    if not head:
        raise UnreadableFile("The file is empty. Export it again; a CSV file needs a header row.")
    text = io.TextIOWrapper(io.BytesIO(file), encoding, errors, newline="")
    if head[0] not in "[{":
        return _read_csv(_Lines(text, row_chars), notes)
    lines = _is_json_lines(head, content_type)
    notes.file("jsonl" if lines else "json", encoding=_named(encoding))
    if lines:
        return _read_json_lines(_Lines(text, row_chars))
    return _JsonReader(text, row_chars).rows(0)


def _encoding(file: bytes, content_type: str) -> tuple[str, str]:
    """Return the encoding, and an error handler that makes lone surrogates of invalid bytes, to be found row by row.

    Excel writes plain CSV in the code page of Windows, which only the charset tells (RFC 4180 section 3). JSON is UTF-8
    (RFC 8259 section 8.1), and so is what begins with the mark of UTF-8. Raises UnreadableFile for another charset.
    """
    if file.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "surrogatepass"
    charset = _CHARSET.search(content_type)
    if charset is None or file.startswith(codecs.BOM_UTF8) or file[:_HEAD_BYTES].lstrip()[:1] in (b"[", b"{"):
        return "utf-8-sig", "surrogateescape"
    name = charset[1].lower().replace("_", "-")
    if name in ("utf-8", "us-ascii"):
        return "utf-8-sig", "surrogateescape"
    if not _CODE_PAGES.fullmatch(name):
        raise UnreadableFile(f"The charset of the Content-Type is not read here. {_REMEDY}")
    # ISO 8859-1 is read as Windows reads it: where the two differ it has nothing but control characters.
    return "windows-1252" if name == "iso-8859-1" else name, "surrogateescape"


_CHARSET = re.compile(r"""charset\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE | re.ASCII)
_CODE_PAGES = re.compile(r"windows-125[0-8]|iso-8859-(?:[1-9]|10|11|13|14|15|16)")
_REMEDY = (
    "Save the file as UTF-8 and send it again, or name its code page: Content-Type: text/csv; charset=windows-1252."
)


def _named(encoding: str) -> str:
    return encoding.upper().removesuffix("-SIG")


class _Broken(Exception):
    """A row that has too many lines, or too long a line."""


class _Lines:
    """The lines of a file: numbered, bounded, and given again after a row that could not be read."""

    def __init__(self, text: TextIO, row_chars: int) -> None:
        self.row_chars = row_chars
        self.encoding = _named(text.encoding)
        self._text = text
        self._again: deque[str] = deque()
        self._next = 1
        self.start = 1
        self.row: list[str] = []

    def begin_row(self) -> None:
        self.start = self._next
        self.row = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if len(self.row) >= MAX_LINES_IN_ROW:
            raise _Broken
        line = self._again.popleft() if self._again else self._readline()
        if not line:
            raise StopIteration
        self._next += 1
        self.row.append(line)
        if len(line) > self.row_chars:
            while line and line[-1] not in "\r\n":
                line = self._readline()
            raise _Broken
        return line

    def give_back(self, keep: int = 1) -> None:
        """Let the next row begin behind the first `keep` lines of this one."""
        self._again.extendleft(reversed(self.row[keep:]))
        self._next = self.start + keep
        self.row = []

    def undecodable(self) -> bool:
        return any(not line.isascii() and _LONE_SURROGATE.search(line) for line in self.row)

    def _readline(self) -> str:
        try:
            return self._text.readline(self.row_chars + 1)
        except UnicodeDecodeError:  # UTF-16 that ends in half a character: the only error that no handler mends
            return ""


_LONE_SURROGATE = re.compile(r"[\ud800-\udfff]")


def _undecodable(line: int, encoding: str = "UTF-8") -> Problem:
    return Problem(line, f"The row holds bytes that are not text in {encoding}.", _REMEDY)


def _read_csv(lines: _Lines, notes: Notes) -> Iterator[Header | Row | Problem]:
    header, reader = _header(lines, notes)
    yield Header(tuple(header))
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, _Broken):
            lines.give_back()
            reason = "A quote in the row is not closed or not doubled, or the row is too long."
            yield Problem(lines.start, reason, "Quote the value, and write each quote within it twice.")
            continue
        if not any(cells):
            continue
        if lines.undecodable():
            yield _undecodable(lines.start, lines.encoding)
        elif len(cells) < len(header) or any(cells[len(header) :]):
            reason = f"The row has {len(cells)} columns, the header row has {len(header)}."
            yield Problem(lines.start, reason, "Quote the values that hold the separator, and do not cut rows short.")
        elif sum(map(len, lines.row)) > MAX_FIELD_CHARS and (long := _too_long(header, cells)):
            reason = f"The column {long} holds more than {MAX_FIELD_CHARS} characters."
            yield Problem(lines.start, reason, "Shorten the value, or leave the column out.")
        else:
            yield Row(lines.start, dict(zip(header, cells, strict=False)))


def _header(lines: _Lines, notes: Notes) -> tuple[list[str], Iterator[list[str]]]:
    """Return the header row and a reader of the other rows. The separator is the one that the header has most of."""
    try:
        while not (line := next(lines)).strip():
            lines.begin_row()
        lines.give_back(0)
        separator = max(",;\t", key=line.count)
        notes.file("csv", encoding=lines.encoding, separator=separator)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        header = [cell.strip() for cell in next(reader)]
    except (csv.Error, _Broken, StopIteration):
        raise UnreadableFile("The header row cannot be read. Send CSV, JSON Lines or JSON.") from None
    if lines.undecodable():
        raise UnreadableFile(f"The header row is not text in {lines.encoding}. {_REMEDY}")
    if len(header) > MAX_COLUMNS:
        raise UnreadableFile(
            f"The header row has more than {MAX_COLUMNS} columns. Leave out those that are not needed."
        )
    # Of several columns with one name, the first counts.
    return [name if name not in header[:place] else "" for place, name in enumerate(header)], reader


def _too_long(header: Iterable[str], cells: Iterable[str]) -> str | None:
    return next((name for name, cell in zip(header, cells, strict=False) if len(cell) > MAX_FIELD_CHARS), None)


# What may come before the rows of a page: annotations of Graph, and the numbers of a SCIM list response.
_PAGE_HEAD = re.compile(
    r"""\{\s*(?:"(?:@[^"\\]*|schemas|totalResults|itemsPerPage|startIndex)"\s*:\s*"""
    r"""(?:"(?:[^"\\]|\\.)*+"|\[[^\[\]]*\]|[^\s"\[{,]+)\s*,\s*)*+"(?:value|Resources)"\s*:\s*\[""",
    re.DOTALL,
)
# A string may be cut off anywhere, even behind a backslash. It must match all the same: a quote that did not match
# would make the search go on from every quote behind it, which takes the square of the string's length.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(r"[\s,]*")
_WORD = re.compile(r"[^\s,\[\]{}\"]+|.", re.DOTALL)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)


def _is_json_lines(head: str, content_type: str) -> bool:
    if head[0] == "[" or _PAGE_HEAD.match(head):
        return False
    # An object that is printed over several lines is not complete at the end of the first one.
    first_line = head.partition("\n")[0].rstrip()
    return first_line[-1] not in "{[," or re.search("ndjson|jsonl|json-?lines", content_type, re.IGNORECASE) is not None


def _read_json_lines(lines: _Lines) -> Iterator[Row | Problem]:
    while True:
        lines.begin_row()
        try:
            line = next(lines).strip()
        except StopIteration:
            return
        except _Broken:
            yield _too_large(lines)
            continue
        if not line:
            continue
        if lines.undecodable():
            yield _undecodable(lines.start)
            continue
        try:
            yield _row(_DECODER.decode(line), lines.start)
        except RecursionError:
            yield _too_deep(lines.start)
        except ValueError:
            yield _not_json(lines.start)


def _row(value: object, line: int) -> Row | Problem:
    if isinstance(value, dict):
        return Row(line, value)
    return Problem(line, "The row is not a JSON object.", "Write each row as one object of attributes.")


def _not_json(line: int) -> Problem:
    return Problem(line, "The row is not valid JSON.", "Export it again with a program that writes JSON.")


def _too_deep(line: int) -> Problem:
    return Problem(line, "The row nests too deep.", "Leave out what is no attribute of a user.")


def _too_large(lines: _Lines) -> Problem:
    reason = f"The row has more than {lines.row_chars} characters."
    return Problem(lines.start, reason, "Leave out what is no attribute of a user or a group.")


class _JsonReader:
    """Rows from JSON values that follow one another: objects, lists of them, and pages that hold such a list."""

    def __init__(self, text: TextIO, row_chars: int) -> None:
        self._text = text
        self._row_chars = row_chars
        self._buffer = ""
        self._at = 0  # what is before this place in the buffer has been read
        self._line = 1  # the line of the place up to which line breaks have been counted
        self._counted = 0
        self._ended = False
        self._gave_up = False

    def rows(self, lists: int) -> Iterator[Row | Problem]:
        """Yield the rows up to the end of the innermost of `lists` open lists, or of the file if none is open."""
        while char := self._next():
            if char == "]" and lists:
                self._at += 1
                return
            if char == "[" and lists < _MAX_LISTS:
                self._at += 1
                yield from self.rows(lists + 1)
            elif char == "{" and lists < _MAX_LISTS and (head := _PAGE_HEAD.match(self._buffer, self._at)):
                self._at = head.end()
                yield from self.rows(lists + 1)
                if not self._skip(1):
                    yield self._give_up(self._line_here())
            else:
                yield self._value()
        if lists and not self._gave_up:
            yield self._give_up(self._line_here())

    def _next(self) -> str:
        """Return the next character but spaces and commas, "" at the end. The buffer then shows if it begins a page."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if len(self._buffer) - self._at >= _HEAD_BYTES or not self._fill():
                return self._buffer[self._at : self._at + 1]

    def _fill(self) -> bool:
        """Drop what has been read from the buffer and read more into it. Returns False at the end of the file."""
        try:
            # As much again each time that a value is not complete, for it is then parsed anew from its beginning.
            more = "" if self._ended else self._text.read(max(_READ_CHARS, len(self._buffer) - self._at))
        except UnicodeDecodeError:
            more = ""
        self._ended = not more
        if more:
            self._line_here()
            self._buffer = self._buffer[self._at :] + more
            self._at = self._counted = 0
        return not self._ended

    def _line_here(self) -> int:
        self._line += self._buffer.count("\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def _value(self) -> Row | Problem:
        line = self._line_here()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except RecursionError:
                problem = _too_deep(line)
            except ValueError:
                problem = _not_json(line)
            else:
                text = self._buffer[self._at : end]
                self._at = end
                return _undecodable(line) if not text.isascii() and _LONE_SURROGATE.search(text) else _row(value, line)
            # Either the value is not complete yet, or it is broken, and ends where its brackets do.
            if self._end(0) is None and self._may_read_on() and self._fill():
                continue
            return problem if self._skip(0) else self._give_up(line)

    def _skip(self, depth: int) -> bool:
        """Skip the value that begins here, or the rest of `depth` open brackets. Returns False if they do not end."""
        while (end := self._end(depth)) is None:
            if not self._may_read_on() or not self._fill():
                return False
        self._at = end
        return True

    def _end(self, depth: int) -> int | None:
        """Return where _skip() ends, or None if the buffer does not reach so far."""
        if not depth and self._buffer[self._at] not in '"[{':
            word = _WORD.match(self._buffer, self._at)
            return word.end() if word else None
        for token in _TOKEN.finditer(self._buffer, self._at):
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
            if depth <= 0 and (token[0] in "]}" or token.end() < len(self._buffer)):
                return token.end()
        return None

    def _may_read_on(self) -> bool:
        return len(self._buffer) - self._at <= self._row_chars

    def _give_up(self, line: int) -> Problem:
        """Read no further, because there is no telling where the next row begins."""
        self._ended = self._gave_up = True
        self._buffer, self._at, self._counted = "", 0, 0
        reason = "The end of this row cannot be found, so nothing behind it was read."
        return Problem(line, reason, "Export the file again, and check that the download is complete.")
