"""Rows as a workbook (xlsx) that holds texts alone: no spreadsheet finds a formula, a number or a date in one.

It is written and packed as rows come, so that a hundred thousand of them take little time and memory. Its parts and
their elements are those of ECMA-376 part 1, in the order of its section 18.3.1.99.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Collection, Sequence
from html import escape
from typing import Final, Self

from shared.directory.work.reviews import ACTIONS

XLSX: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_IN_WORKBOOK: Final = 300_000
"""Rows of a workbook, of which it takes some thirty megabytes to answer."""
_MOST_CHARS: Final = 32_767
"""Characters of a cell, as Excel counts them: two for a letter beyond the first 65,536."""
_NO_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML cannot hold."""
_CODED: Final = re.compile("_(?=x[0-9A-Fa-f]{4}_)")
"""Where a spreadsheet would read a character by its number (section 22.9.2.19, ST_Xstring)."""
_WIDTH: Final = 22
"""Width of a column, in digits."""
_BOLD, _TYPED = ' s="1"', ' s="2"'
"""Styles of cells: of the header, and of what a person types, which is kept as it is typed: 00123 is no number."""

_XML: Final = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_SPACE: Final = "http://schemas.openxmlformats.org"
_MAIN, _RELATIONS = f"{_SPACE}/spreadsheetml/2006/main", f"{_SPACE}/officeDocument/2006/relationships"
_KIND: Final = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_LINKS: Final = f'<Relationships xmlns="{_SPACE}/package/2006/relationships">'
_PARTS: Final = {
    "[Content_Types].xml": f'<Types xmlns="{_SPACE}/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_KIND}.sheet.main+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_KIND}.styles+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_KIND}.worksheet+xml"/></Types>',
    "_rels/.rels": f'{_LINKS}<Relationship Id="rId1" Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>",
    "xl/_rels/workbook.xml.rels": f'{_LINKS}<Relationship Id="rId1" Type="{_RELATIONS}/worksheet" '
    f'Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="{_RELATIONS}/styles" Target="styles.xml"/>'
    "</Relationships>",
    "xl/styles.xml": f'<styleSheet xmlns="{_MAIN}">'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>'
    '<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>'
    '<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>'
    '<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>'
    '<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}
"""The parts beside the sheet and the list of sheets."""
_BOOK: Final = (
    f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}">'
    '<sheets><sheet name="rows" sheetId="1" r:id="rId1"/></sheets>'
    '<definedNames><definedName name="_xlnm._FilterDatabase" localSheetId="0" hidden="1">{}</definedName>'
    "</definedNames></workbook>"
)
"""The list of sheets; Excel looks there for what the filter of the sheet is about, too."""


class Workbook:
    """A workbook of one sheet with a header; `choices` are the columns that a person fills in, the first an action."""

    def __init__(self, header: Sequence[str], choices: Collection[str] = ()) -> None:
        self._file = io.BytesIO()
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED)
        for name, xml in _PARTS.items():
            self._zip.writestr(name, _XML + xml)
        self._sheet = self._zip.open("xl/worksheets/sheet1.xml", "w")
        self._letters = [_letters(place) for place in range(len(header))]
        self._styles = [_TYPED if place < len(choices) else "" for place in range(len(header))]
        self._typed, self._rows = len(choices), 0
        typed = f'<col min="1" max="{self._typed}" width="{_WIDTH}" style="2" customWidth="1"/>' if choices else ""
        self._sheet.write(
            (
                f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0" tabSelected="1">'
                '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/></sheetView></sheetViews>'
                f"<cols>{typed}"
                f'<col min="{self._typed + 1}" max="{len(header)}" width="{_WIDTH}" customWidth="1"/></cols><sheetData>'
            ).encode()
        )
        self._write(header, [_BOLD] * len(header))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._sheet.close()
        self._zip.close()

    def add(self, cells: Sequence[str]) -> bool:
        """Add a row; return False if there is no room for another one."""
        if self._rows == MOST_IN_WORKBOOK:
            return False
        self._rows += 1
        self._write(cells, self._styles)
        return True

    def _write(self, cells: Sequence[str], styles: Sequence[str]) -> None:
        line = self._rows + 1
        told = [
            f'<c r="{letters}{line}"{style} t="inlineStr"><is><t xml:space="preserve">{_text(cell)}</t></is></c>'
            for letters, style, cell in zip(self._letters, styles, cells, strict=True)
            if cell
        ]
        self._sheet.write(f'<row r="{line}">{"".join(told)}</row>'.encode())

    def close(self) -> bytes:
        """Return the workbook."""
        last, line = self._letters[-1], self._rows + 1
        chosen = (
            '<dataValidations count="1"><dataValidation type="list" allowBlank="1" showErrorMessage="1" '
            f'sqref="A2:A{MOST_IN_WORKBOOK + 1}"><formula1>"{",".join(ACTIONS)}"</formula1></dataValidation>'
            "</dataValidations>"
        )
        end = f'</sheetData><autoFilter ref="A1:{last}{line}"/>{chosen if self._typed else ""}</worksheet>'
        self._sheet.write(end.encode())
        self._sheet.close()
        self._zip.writestr("xl/workbook.xml", _BOOK.format(f"rows!$A$1:${last}${line}"))
        self._zip.close()
        return self._file.getvalue()


def _letters(place: int) -> str:
    """Return the name of a column, of 702 at most: A to Z, then AA."""
    first, last = divmod(place, 26)
    return (chr(64 + first) if first else "") + chr(65 + last)


def _text(cell: str) -> str:
    """Return a cell as Excel takes it: what XML cannot hold is left out, and so is what is too long."""
    plain = _NO_XML.sub("", cell)
    if len(plain) * 2 > _MOST_CHARS:
        plain = plain.encode("utf-16-le")[: 2 * _MOST_CHARS].decode("utf-16-le", "ignore")
    return escape(_CODED.sub("_x005F_", plain) if "_x" in plain else plain, quote=False)
