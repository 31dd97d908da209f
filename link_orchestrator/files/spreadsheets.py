"""Rows from a workbook, xlsx or ods: those of its first sheet that has any. python-calamine opens it.

A cell becomes the text that a person sees in it, as far as the file tells: numbers without `.0`, dates as 2026-11-30,
TRUE and FALSE. The whole workbook has to be there, and its sheet is in memory while it is read.
"""

from __future__ import annotations

import datetime
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

from python_calamine import (
    CalamineError,
    CalamineSheet,
    CalamineWorkbook,
    PasswordError,
    SheetMetadata,
    SheetTypeEnum,
    SheetVisibleEnum,
)

from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row, UnreadableFile, find_too_long, header_names
from link_orchestrator.files.suspicious import Suspicion
from link_orchestrator.files.unpacking import DAMAGED, PROTECTED, check_workbook
from link_orchestrator.problems import Problem

_MAX_SHEETS: Final = 20
"""Sheets that are looked into until one has rows."""
UNCOMPUTED: Final = (
    "Formulas of the workbook have no values, and count as empty cells: open it in a spreadsheet, save it, and send it "
    "again."
)
_SHOWN_ZEROS: Final = (
    "Cells of the workbook show zeros before a number by their format alone, and count without them, as 123 and not "
    "00123: format such columns as text, and fill them in again."
)
_MERGED: Final = (
    "Cells of the row are merged with those of other rows: what they say stands in one row alone.",
    "Take the merged cells apart, fill each of them in, and save the workbook again.",
)
_EXACT: Final = 10**15
"""The number from which on a spreadsheet keeps no longer every digit."""


def read_workbook(file: bytes, notes: Notes) -> Iterator[Header | Row | Problem]:
    """Yield the header of a workbook's first sheet with rows, and the rows below it, by their numbers in the sheet.

    Raises UnreadableFile for what is no workbook, is damaged or protected, or would take too much memory.
    """
    form, notes.uncomputed, shows_zeros = check_workbook(file)
    if notes.uncomputed:
        notes.remark(UNCOMPUTED)
    if shows_zeros:
        notes.remark(_SHOWN_ZEROS)
    sheet = _open(file, form, notes)
    rows = _numbered(sheet)
    names: tuple[str, ...] = ()
    for _, cells in rows:
        if names := _header(cells, notes):
            break
    yield Header(names, notes.sheets())
    merged = _Merged(sheet, len(names))
    for line, cells in rows:
        if merged.has(line):
            yield Problem(line, *_MERGED)
        elif any(cells[len(names) :]):
            reason = f"The row has more cells than the header row, which has {len(names)}."
            yield Problem(line, reason, "Give each column a name, or clear the cells without one.")
        elif any(cells):
            texts = [_shown(value) for value in cells[: len(names)]]
            if long := find_too_long(names, texts):
                reason = f"The column {long} holds more than {MAX_FIELD_CHARS} characters."
                yield Problem(line, reason, "Shorten the value, or leave the column out.")
                continue
            for name, value in zip(names, cells, strict=False):
                if isinstance(value, float) and abs(value) >= _EXACT:
                    notes.suspect(Suspicion.MANGLED, line, name)
            yield Row(line, dict(zip(names, texts, strict=False)))


class _Merged:
    """The rows of a sheet in which cells are merged with those of other rows; asked for in order."""

    def __init__(self, sheet: CalamineSheet, columns: int) -> None:
        ranges = sheet.merged_cell_ranges or []
        self._rows = sorted(
            (top + 1, bottom + 1) for (top, left), (bottom, _) in ranges if bottom > top and left < columns
        )
        self._place = self._last = 0

    def has(self, line: int) -> bool:
        """Tell whether a row is one of them."""
        while self._place < len(self._rows) and self._rows[self._place][0] <= line:
            self._last = max(self._last, self._rows[self._place][1])
            self._place += 1
        return line <= self._last


def _open(file: bytes, form: str, notes: Notes) -> CalamineSheet:
    """Return the first sheet that has rows; of those that are shown, where one of them has."""
    try:
        workbook = CalamineWorkbook.from_filelike(io.BytesIO(file))
        sheets = [sheet for sheet in workbook.sheets_metadata if sheet.typ == SheetTypeEnum.WorkSheet]
        for metadata in sorted(sheets, key=_is_hidden)[:_MAX_SHEETS]:
            sheet = workbook.get_sheet_by_name(metadata.name)
            if sheet.start is not None and sheet.height:
                others = [name for name in workbook.sheet_names if name != metadata.name]
                notes.file(form, sheet=metadata.name, ignored_sheets=others)
                return sheet
    except PasswordError:
        raise UnreadableFile(PROTECTED) from None
    except BaseException as error:
        # A panic of the library, which is written in Rust, is no Exception. It has no other name to catch it by.
        if isinstance(error, CalamineError | ValueError | OSError) or type(error).__name__ == "PanicException":
            raise UnreadableFile(DAMAGED) from None
        raise
    raise UnreadableFile("No sheet of the workbook has rows. Export it again; a table needs a header row.")


def _is_hidden(sheet: SheetMetadata) -> bool:
    return sheet.visible != SheetVisibleEnum.Visible


def _numbered(sheet: CalamineSheet) -> Iterator[tuple[int, list[Any]]]:
    """Yield the rows of a sheet with their numbers, as the spreadsheet shows them."""
    yield from enumerate(sheet.iter_rows(), 1)


def _header(cells: Sequence[Any], notes: Notes) -> tuple[str, ...]:
    """Return the names of a header row, () for a row without a cell."""
    texts = [_shown(value) for value in cells]
    while texts and not texts[-1].strip():
        texts.pop()
    notes.header(texts)
    return header_names(texts)


def _shown(value: Any) -> str:
    """Return the text of a cell."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else f"{value:.15g}"
    if isinstance(value, datetime.datetime):
        return value.date().isoformat() if value.time() == datetime.time() else value.isoformat(" ", "seconds")
    return value.isoformat() if isinstance(value, datetime.date | datetime.time) else str(value)
