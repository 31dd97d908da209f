"""Rows from JSON: Lines, arrays, SCIM lists, pages of Microsoft Graph, one after the other or within a list."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import TextIO

from link_orchestrator.files.lines import Broken, Lines, cut_off, has_lone_surrogate, undecodable
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import HEAD_CHARS, Row
from link_orchestrator.files.suspicious import Suspicion
from link_orchestrator.problems import Problem
from shared.json_text import Twice, once

_READ_CHARS = 64 * 1024
"""Characters that are read at once."""
_MAX_LISTS = 3
"""Lists within one another: one of pages, one of rows in each, and one for a program that wrapped them."""

# What may come before the rows of a page: annotations of Graph, the numbers of a SCIM list response and of GitHub's
# licences, and what Google says of a list.
_PAGE_HEAD = re.compile(
    r"""\{\s*(?:"(?:@[^"\\]*|schemas|totalResults|itemsPerPage|startIndex|total_seats_\w+|kind|etag)"\s*:\s*"""
    r"""(?:"(?:[^"\\]|\\.)*+"|\[[^\[\]]*\]|[^\s"\[{,]+)\s*,\s*)*+"(?:value|Resources|[Uu]sers)"\s*:\s*\[""",
    re.DOTALL,
)
# A string may be cut off anywhere, even behind a backslash. It must match all the same: a quote that did not match
# would make the search go on from every quote behind it, which takes the square of the string's length.
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
_SPACE = re.compile(r"[\s,]*")
_WORD = re.compile(r"[^\s,\[\]{}\"]+|.", re.DOTALL)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant, object_pairs_hook=once)


def is_json_lines(head: str, content_type: str) -> bool:
    """Tell whether JSON that begins so comes as one object a line."""
    if head[0] == "[" or _PAGE_HEAD.match(head):
        return False
    # An object that is printed over several lines is not complete at the end of the first one.
    first_line = head.partition("\n")[0].rstrip()
    return first_line[-1] not in "{[," or re.search("ndjson|jsonl|json-?lines", content_type, re.IGNORECASE) is not None


def read_json_lines(lines: Lines, notes: Notes) -> Iterator[Row | Problem]:
    """Yield the rows of a file that has an object in each line."""
    while True:
        lines.begin_row()
        try:
            line = next(lines).strip()
        except StopIteration:
            return
        except Broken:
            yield _too_large(lines)
            continue
        if not line:
            continue
        if lines.undecodable():
            yield undecodable(lines.start)
            continue
        try:
            yield _row(_DECODER.decode(line), lines.start)
        except RecursionError:
            yield _too_deep(lines.start)
        except Twice as twice:
            yield _twice(lines.start, twice)
        except ValueError:
            if lines.lacks_end():
                notes.suspect(Suspicion.CUT, lines.start)
                yield cut_off(lines.start)
            else:
                yield _not_json(lines.start)


def _row(value: object, line: int) -> Row | Problem:
    if isinstance(value, dict):
        return Row(line, value)
    return Problem(line, "The row is not a JSON object.", "Write each row as one object of attributes.")


def _not_json(line: int) -> Problem:
    return Problem(line, "The row is not valid JSON.", "Export it again with a program that writes JSON.")


def _twice(line: int, twice: Twice) -> Problem:
    said, _, remedy = str(twice).partition(": ")
    return Problem(line, f"In the row {said}.", f"{remedy.capitalize()}: it is not known which counts.")


def _too_deep(line: int) -> Problem:
    return Problem(line, "The row nests too deep.", "Leave out what is no attribute of a user.")


def _too_large(lines: Lines) -> Problem:
    reason = f"The row has more than {lines.row_chars} characters."
    return Problem(lines.start, reason, "Leave out what is no attribute of a user or a group.")


_TOTAL = re.compile(r'"totalResults"\s*:\s*(\d{1,9})(?!\d)')
"""The number of all resources in a SCIM list response (RFC 7644 section 3.4.2)."""


class JsonReader:
    """Rows from JSON values that follow one another: objects, lists of them, and pages that hold such a list."""

    def __init__(self, text: TextIO, row_chars: int, notes: Notes) -> None:
        self._text = text
        self._notes = notes
        self._row_chars = row_chars
        self._buffer = ""
        self._at = 0  # what is before this place in the buffer has been read
        self._line = 1  # the line of the place up to which line breaks have been counted
        self._counted = 0
        self._ended = False
        self._gave_up = False
        self._found = 0
        self._total = 0
        self._more = False

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
                self._page(head[0] + self._buffer[self._at : self._end(1)])
                if not self._skip(1):
                    yield self._give_up(self._line_here())
            else:
                self._found += 1
                yield self._value()
        if lists and not self._gave_up:
            yield self._give_up(self._line_here())
        if not lists and self._more:
            self._notes.remark(
                "The last page of the file says that there are more: send those, too, or all as one file."
            )
        if not lists and self._total > self._found:
            self._notes.remark(
                f"The file says that there are {self._total:,}, and holds {self._found:,}: the rest is missing."
            )

    def _page(self, around: str) -> None:
        """Note whether a page says, around its rows, that others follow, and how many rows there are in all."""
        self._more = '"@odata.nextLink"' in around
        if total := _TOTAL.search(around):
            self._total = max(self._total, int(total[1]))

    def _next(self) -> str:
        """Return the next character but spaces and commas, "" at the end. The buffer then shows if it begins a page."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if len(self._buffer) - self._at >= HEAD_CHARS or not self._fill():
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
            except Twice as twice:
                problem = _twice(line, twice)
            except ValueError:
                problem = _not_json(line)
            else:
                text = self._buffer[self._at : end]
                self._at = end
                return undecodable(line) if has_lone_surrogate(text) else _row(value, line)
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
        if self._ended:
            self._notes.suspect(Suspicion.CUT, line)
        self._ended = self._gave_up = True
        self._buffer, self._at, self._counted = "", 0, 0
        reason = "The end of this row cannot be found, so nothing behind it was read."
        return Problem(line, reason, "Export the file again, and check that the download is complete.")
