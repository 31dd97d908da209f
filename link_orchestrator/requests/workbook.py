"""Rows as a workbook (xlsx) that holds texts alone: no spreadsheet finds a formula, a number or a date in one.

Rows go to a temporary file as they come, so that a hundred thousand of them take little memory.
https://xlsxwriter.readthedocs.io/working_with_memory.html
"""

from __future__ import annotations

import asyncio
import io
import re
from collections.abc import Collection, Sequence
from tempfile import TemporaryDirectory
from typing import Final, Self

from xlsxwriter import Workbook as Writer

from shared.directory.work.reviews import ACTIONS

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_IN_WORKBOOK: Final = 300_000
"""Rows of a workbook, of which it takes some thirty megabytes to answer."""
_MOST_CHARS: Final = 32_767
"""Characters of a cell, as Excel counts them: two for a letter beyond the first 65,536."""
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML cannot hold."""
_WIDTH: Final = 22
"""Width of a column, in digits."""


class Workbook:
    """A workbook of one sheet with a header; `choices` are the columns that a person fills in, the first an action."""

    def __init__(self, header: Sequence[str], choices: Collection[str] = ()) -> None:
        self._folder = TemporaryDirectory()
        self._file = io.BytesIO()
        options = {"constant_memory": True, "tmpdir": self._folder.name, "strings_to_urls": False}
        self._book = Writer(self._file, options)
        self._sheet = self._book.add_worksheet("rows")
        self._rows = 0
        bold, self._plain = self._book.add_format({"bold": True}), self._book.add_format()
        self._sheet.set_column(0, len(header) - 1, _WIDTH)
        self._sheet.freeze_panes(1, 0)
        if choices:
            # What is typed there is kept as it is typed: 00123 is no number.
            self._sheet.set_column(0, len(choices) - 1, _WIDTH, self._book.add_format({"num_format": 49}))
            self._sheet.data_validation(1, 0, MOST_IN_WORKBOOK, 0, {"validate": "list", "source": [*ACTIONS]})
        for place, name in enumerate(header):
            self._sheet.write_string(0, place, name, bold)
        self._columns = len(header)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._book.fileclosed:
            self._sheet.row_data_fh.close()  # the temporary file of the rows, which nobody is going to pack
        self._folder.cleanup()

    def add(self, cells: Sequence[str]) -> bool:
        """Add a row; return False if there is no room for another one."""
        if self._rows == MOST_IN_WORKBOOK:
            return False
        self._rows += 1
        for place, cell in enumerate(cells):
            text = _text(cell)
            if text.startswith("<r>") and text.endswith("</r>"):
                # XlsxWriter takes such a string for rich text of its own making, and writes it unescaped. In two parts
                # it is rich text that it makes itself.
                self._sheet.write_rich_string(self._rows, place, "<r>", self._plain, text[3:])
            elif text:
                self._sheet.write_string(self._rows, place, text)
        return True

    async def close(self) -> bytes:
        """Return the workbook. To pack it takes seconds, in a thread, so that other requests go on."""
        self._sheet.autofilter(0, 0, self._rows, self._columns - 1)
        await asyncio.to_thread(self._book.close)
        return self._file.getvalue()


def _text(cell: str) -> str:
    """Return a cell as Excel takes it: what XML cannot hold is left out, and so is what is too long."""
    plain = _NO_XML.sub("", cell)
    if len(plain) * 2 <= _MOST_CHARS:
        return plain
    return plain.encode("utf-16-le")[: 2 * _MOST_CHARS].decode("utf-16-le", "ignore")
