"""Which format a file has, by its first bytes, and its rows. Files that are none are named, with what to do.

Beside the bytes of the file, about one row is in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from link_orchestrator.files.csv_rows import read_csv
from link_orchestrator.files.json_rows import JsonReader, is_json_lines, read_json_lines
from link_orchestrator.files.lines import Lines
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import HEAD_CHARS, MAX_ROW_CHARS, Header, Row, UnreadableFile
from link_orchestrator.files.spreadsheets import read_workbook
from link_orchestrator.files.text import encoding_of, open_text
from link_orchestrator.files.unpacking import PROTECTED
from link_orchestrator.problems import Problem

SEND: Final = "Send CSV, a workbook (xlsx, ods), or JSON."
_BINARY: Final = (
    (b"%PDF", "a PDF", "Export the rows as CSV."),
    (b"\x89PNG", "an image", "Export the rows as CSV: a picture of them cannot be read."),
    (b"\xff\xd8\xff", "an image", "Export the rows as CSV: a picture of them cannot be read."),
    (b"GIF8", "an image", "Export the rows as CSV: a picture of them cannot be read."),
    (b"\x1f\x8b", "packed by gzip", "Unpack it, and send what is in it."),
    (b"BZh", "packed by bzip2", "Unpack it, and send what is in it."),
    (b"\xfd7zXZ\x00", "packed by xz", "Unpack it, and send what is in it."),
    (b"\x28\xb5\x2f\xfd", "packed by Zstandard", "Unpack it, and send what is in it."),
    (b"PAR1", "a table in Parquet", "Export the rows as CSV."),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "Unpack it, and send the file that is in it."),
    (b"Rar!\x1a\x07", "a RAR archive", "Unpack it, and send the file that is in it."),
    (b"{\\rtf", "a text document (RTF)", "Export the rows as CSV."),
    (b"SQLite format 3", "a database", "Export the table as CSV."),
)
"""Beginnings of files that are no table, what each is, and what to do."""
_ZIP: Final = b"PK\x03\x04"
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The beginning of Microsoft's compound files: workbooks of before 2007, and those that a password protects."""
_ENCRYPTED: Final = "EncryptedPackage".encode("utf-16-le")


def read_rows(
    file: bytes, *, content_type: str = "", row_chars: int = MAX_ROW_CHARS, notes: Notes | None = None
) -> Iterator[Header | Row | Problem]:
    """Yield the rows of a file; of a table its Header first.

    The content tells the format. `content_type`, a media type or a file name, counts only where it is in doubt whether
    JSON comes as one object a line, and which code page the text is in. A row of more than `row_chars` is a Problem.
    `notes` is told what kind of file it is. Raises UnreadableFile if the file is empty, is no table and no JSON, or has
    no usable header row.
    """
    notes = notes or Notes()
    _refuse_binary(file)
    if file.startswith(_ZIP):
        return read_workbook(file, notes)
    text = open_text(file, content_type, notes)
    head = file[:HEAD_CHARS].decode(text.encoding, "replace").lstrip()
    if not head:
        raise UnreadableFile("The file is empty. Export it again; a table needs a header row.")
    _refuse_markup(head)
    if head[0] not in "[{":
        return read_csv(Lines(text, row_chars), notes)
    lines = is_json_lines(head, content_type)
    notes.file("jsonl" if lines else "json", encoding=encoding_of(text))
    if lines:
        return read_json_lines(Lines(text, row_chars), notes)
    return JsonReader(text, row_chars, notes).rows(0)


def _refuse_binary(file: bytes) -> None:
    """Raise UnreadableFile for a file that is no text."""
    for beginning, what, remedy in _BINARY:
        if file.startswith(beginning):
            raise UnreadableFile(f"The file is {what}. {remedy}")
    if file.startswith(_OLE):
        if _ENCRYPTED in file:
            raise UnreadableFile(PROTECTED)
        raise UnreadableFile("The file is a workbook of an old kind (.xls), or a document. Save it as .xlsx or CSV.")


def _refuse_markup(head: str) -> None:
    """Raise UnreadableFile for text that is neither a table nor JSON."""
    begins = head[:2_000].lower()
    if begins.startswith(("<!doctype html", "<html", "<head", "<body", "<table", "<script", "<meta", "<div")):
        raise UnreadableFile(
            "The file is a web page (HTML), perhaps that of a sign-in, saved in the place of the export. Download the "
            "export itself, as CSV; where a spreadsheet opens this file, save it as .xlsx."
        )
    if begins.startswith("<"):
        raise UnreadableFile(f"The file is XML. Where a spreadsheet opens it, save it as .xlsx. {SEND}")
    if begins.startswith("--") and "content-disposition: form-data" in begins:
        raise UnreadableFile("The file came within a form. Send it as the body: curl --data-binary @FILE.")
    if "\x00" in begins.partition("\n")[0]:
        raise UnreadableFile(f"The file is no text. {SEND}")
