"""Builds workbooks for tests: xlsx as Excel writes it, ods, and archives of hand-written parts."""

from __future__ import annotations

import io
import struct
import zipfile
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

import xlsxwriter

ODS = "application/vnd.oasis.opendocument.spreadsheet"
_NAMES = (
    'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
)


def xlsx(sheets: Mapping[str, Sequence[Sequence[Any]]], hidden: Sequence[str] = ()) -> bytes:
    """Return a workbook of sheets by name, each a list of rows; None leaves a cell out."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        dates = book.add_format({"num_format": "dd.mm.yyyy hh:mm"})
        for name, rows in sheets.items():
            sheet = book.add_worksheet(name)
            if name in hidden:
                sheet.hide()
            else:
                sheet.activate()
            for row, cells in enumerate(rows):
                for column, value in enumerate(cells):
                    if isinstance(value, datetime):
                        sheet.write_datetime(row, column, value, dates)
                    elif isinstance(value, str):
                        sheet.write_string(row, column, value)
                    elif value is not None:
                        sheet.write(row, column, value)
    return file.getvalue()


def archive(parts: Mapping[str, str | bytes]) -> bytes:
    """Return a ZIP archive of parts by name."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)
    return file.getvalue()


def xlsx_of(sheet: str, shared: str = "<sst/>", **more: str) -> bytes:
    """Return a workbook whose only sheet is this XML within `sheetData`, and other parts by name."""
    space = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    parts = {
        "[Content_Types].xml": "<Types/>",
        "_rels/.rels": f'<Relationships><Relationship Id="r0" Type="{kind}/officeDocument" Target="xl/workbook.xml"/>'
        "</Relationships>",
        "xl/workbook.xml": f'<workbook {space} xmlns:r="{kind}"><sheets><sheet name="S" sheetId="1" r:id="r1"/>'
        "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships><Relationship Id="r1" Type="{kind}/worksheet" '
        'Target="worksheets/sheet1.xml"/></Relationships>',
        "xl/worksheets/sheet1.xml": f"<worksheet {space}><sheetData>{sheet}</sheetData></worksheet>",
        "xl/sharedStrings.xml": shared,
    }
    return archive(parts | more)


def ods_of(rows: str, **more: str) -> bytes:
    """Return an OpenDocument spreadsheet whose only table has this XML, and other parts by name."""
    content = (
        f'<office:document-content {_NAMES}><office:body><office:spreadsheet><table:table table:name="S">{rows}'
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    return archive({"mimetype": ODS, "META-INF/manifest.xml": "<manifest/>", "content.xml": content} | more)


def ods(rows: Sequence[Sequence[str]]) -> bytes:
    """Return an OpenDocument spreadsheet of rows of text, with the empty cells behind them that LibreOffice writes."""

    def cell(text: str) -> str:
        if not text:
            return "<table:table-cell/>"
        return f'<table:table-cell office:value-type="string"><text:p>{escape(text)}</text:p></table:table-cell>'

    rest = '<table:table-cell table:number-columns-repeated="16380"/>'
    lines = "".join(f"<table:table-row>{''.join(map(cell, row))}{rest}</table:table-row>" for row in rows)
    return ods_of(f'{lines}<table:table-row table:number-rows-repeated="1048570">{rest}</table:table-row>')


def repacked(file: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """Return an archive whose parts were changed, by name."""
    with zipfile.ZipFile(io.BytesIO(file)) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    change(parts)
    return archive(parts)


def with_macros(file: bytes) -> bytes:
    """Return an xlsx as an xlsm: its main part is of another type, and a project of macros is beside it."""

    def change(parts: dict[str, bytes]) -> None:
        plain, macros = b"spreadsheetml.sheet.main+xml", b"ms-excel.sheet.macroEnabled.main+xml"
        kinds = parts["[Content_Types].xml"].replace(b"openxmlformats-officedocument." + plain, macros)
        project = b'<Default Extension="bin" ContentType="application/vnd.ms-office.vbaProject"/></Types>'
        parts["[Content_Types].xml"] = kinds.replace(b"</Types>", project)
        related = b'<Relationship Id="rMacros" Type="http://schemas.microsoft.com/office/2006/relationships/vbaProject"'
        rels = parts["xl/_rels/workbook.xml.rels"]
        parts["xl/_rels/workbook.xml.rels"] = rels.replace(
            b"</Relationships>", related + b' Target="vbaProject.bin"/></Relationships>'
        )
        parts["xl/vbaProject.bin"] = compound("VBA", "PROJECT")

    return repacked(file, change)


def compound(*streams: str) -> bytes:
    """Return a compound file of Microsoft's, with empty streams of these names. [MS-CFB] sections 2.2 to 2.6."""
    free, end, none = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF
    difat = struct.pack("<109I", 0, *[free] * 108)
    header = struct.pack("<8s16x5H6x", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6)
    header += struct.pack("<9I", 0, 1, 1, 0, 4096, end, 0, end, 0) + difat
    fat = struct.pack("<128I", 0xFFFFFFFD, end, *[free] * 126)
    entries = b""
    for place, name in enumerate(("Root Entry", *streams)):
        coded = name.encode("utf-16-le")
        right = place + 1 if 0 < place < len(streams) else none
        child = 1 if place == 0 and streams else none
        entries += struct.pack(
            "<64sHBB3I36xIQ", coded, len(coded) + 2, 2 if place else 5, 1, none, right, child, end, 0
        )
    blank = struct.pack("<64sHBB3I36xIQ", b"", 0, 0, 0, none, none, none, 0, 0)
    return header + fat + (entries + blank * 3)[:512].ljust(512, b"\0")


def encrypted() -> bytes:
    """Return a workbook as Excel encrypts it: a compound file with the package in it. [MS-OFFCRYPTO] section 2.3.4."""
    return compound("EncryptionInfo", "EncryptedPackage")
