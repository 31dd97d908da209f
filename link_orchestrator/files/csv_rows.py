"""Rows from CSV (RFC 4180), as Excel, PowerShell and others write it: with commas, semicolons or tabs."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import Final

from link_orchestrator.files.lines import Broken, Lines, cut_off, undecodable, unlike
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row, UnreadableFile, find_too_long, header_names
from link_orchestrator.files.suspicious import Suspicion
from link_orchestrator.files.text import REMEDY
from link_orchestrator.problems import Problem

_SEPARATORS: Final = ",;\t|"
_NOTHING: Final = _SEPARATORS + '" \ufeff\r\n'
"""Letters of a line in which there is nothing."""
_OTHER_QUOTES: Final = ("''", "``", "\u2018\u2019", "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb")
"""Pairs of quotes that are none in CSV."""
_SEPARATOR_LINE: Final = re.compile(r'"?sep=([,;\t|])"?[,;\t]{0,200}', re.IGNORECASE)
"""A line by which Excel is told the separator."""
_TYPE_LINE: Final = "#type "
"""The beginning of a line in which PowerShell's Export-Csv names the type of the rows."""
_BROKEN: Final = "A quote in the row is not closed or not doubled, or the row is too long."


def read_csv(lines: Lines, notes: Notes) -> Iterator[Header | Row | Problem]:
    """Yield the header of a CSV file, and its rows. Raises UnreadableFile if it has no usable header row."""
    header, reader = _header(lines, notes)
    yield Header(header)
    lengths = {len(header)}
    while True:
        lines.begin_row()
        try:
            cells = next(reader)
        except StopIteration:
            break
        except (csv.Error, Broken):
            yield _broken(lines, notes)
            continue
        if not any(cells):
            continue
        if lines.undecodable():
            yield undecodable(lines.start, lines.encoding)
        elif len(cells) == 1 and _is_line(cells[0], len(header)):
            reason = "The row is in quotes as a whole, so that it is one value."
            yield Problem(lines.start, reason, "Take the quotes around the line away, and write those within it once.")
        elif len(cells) not in lengths and (problem := _odd_length(lines, notes, len(cells), header, cells)):
            yield problem
        elif sum(map(len, lines.row)) > MAX_FIELD_CHARS and (long := find_too_long(header, cells)):
            reason = f"The column {long} holds more than {MAX_FIELD_CHARS} characters."
            yield Problem(lines.start, reason, "Shorten the value, or leave the column out.")
        else:
            if len(cells) < len(header):
                notes.suspect(Suspicion.SHORT, lines.start)
                lengths.add(len(cells))
                cells += [""] * (len(header) - len(cells))
            yield Row(lines.start, dict(zip(header, cells, strict=False)))
    if lines.ends_within_character:
        notes.suspect(Suspicion.CUT, lines.start)
        yield cut_off(lines.start)


def _is_line(cell: str, width: int) -> bool:
    """Tell whether a cell holds a whole line of a table of that many columns."""
    return width > 1 and any(cell.count(separator) == width - 1 for separator in _SEPARATORS)


def _odd_length(lines: Lines, notes: Notes, found: int, header: tuple[str, ...], cells: list[str]) -> Problem | None:
    """Return what is wrong with a row of another length than the rows before it, None if nothing is.

    Cells that are missing at its end are empty. What may be a line of text between the rows is not read, nor is a last
    row without a line break, which may have been cut off.
    """
    width = len(header)
    if found > width:
        if not any(cells[width:]):
            return None
        reason = f"The row has {found} columns, the header row has {width}."
        return Problem(lines.start, reason, "Quote the values that hold the separator.")
    if lines.lacks_end():
        notes.suspect(Suspicion.CUT, lines.start)
        return cut_off(lines.start)
    if found == 1 and width > 2 and "@" not in cells[0]:
        reason = f"The row has 1 column, the header row has {width}: it may be a line of text between the rows."
        return Problem(lines.start, reason, "Quote the values that hold a line break, and give a row its other cells.")
    return None


def _broken(lines: Lines, notes: Notes) -> Problem:
    if len(lines.row) == 1 and lines.lacks_end():
        notes.suspect(Suspicion.CUT, lines.start)
        return cut_off(lines.start)
    lines.give_back()
    return Problem(lines.start, _BROKEN, "Quote the value, and write each quote within it twice.")


def _header(lines: Lines, notes: Notes) -> tuple[tuple[str, ...], Iterator[list[str]]]:
    """Return the header row and a reader of the other rows.

    The separator is the one that the file names, or else the one that the header has most of.
    """
    separator = ""
    try:
        while (
            not (line := next(lines)).strip(_NOTHING)
            or (named := _SEPARATOR_LINE.fullmatch(line.rstrip("\r\n")))
            or (line.lower().startswith(_TYPE_LINE))
        ):
            separator = named[1] if line.strip(_NOTHING) and named else separator
            lines.begin_row()
        lines.give_back(0)
        if separator not in line:  # also where Excel is told another one than the rows have
            separator = ""
        separator = separator or ("|" if not any(one in line for one in ",;\t") else max(",;\t", key=line.count))
        notes.file("csv", encoding=lines.encoding, separator=separator)
        reader = csv.reader(lines, delimiter=separator, strict=True)
        header = next(reader)
    except (csv.Error, Broken, StopIteration):
        raise UnreadableFile("The header row cannot be read. Send CSV, a workbook (xlsx, ods), or JSON.") from None
    if lines.undecodable():
        raise UnreadableFile(f"The header row is not text in {unlike(lines.encoding)}. {REMEDY}")
    _refuse_quotes(header)
    notes.header(header)
    return header_names(header), reader


def _refuse_quotes(header: list[str]) -> None:
    """Raise UnreadableFile for a header of which the quotes would become a part of every value."""
    names = [name.strip() for name in header if name.strip()]
    if len(names) == 1 and any(one in names[0] for one in ",;\t"):
        raise UnreadableFile(
            "The header row is in quotes as a whole, or mixes separators, so that it is one name. Take the quotes "
            "around the lines away, or export the file again."
        )
    for first, last in _OTHER_QUOTES:
        if names and all(len(name) > 1 and name[0] == first and name[-1] == last for name in names):
            raise UnreadableFile(f'The values are in quotes that CSV does not have: {first}{last}. Write ", or none.')
