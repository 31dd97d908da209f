"""What a workbook is, and how large it would become, measured before a library opens it.

A workbook is a ZIP archive of XML. A few kilobytes may unpack into gigabytes, and a cell in the last row and column
makes a table of 17 billion cells. The reader holds a sheet as a table of its used area, and each cell's text by itself.
So the parts that it will read are unpacked here bit by bit, and the cells and their text are counted.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from array import array
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Final, NamedTuple
from xml.parsers import expat

from link_orchestrator.files.rows import UnreadableFile

MAX_UNPACKED_BYTES: Final = 256_000_000
"""Bytes that all parts of a workbook may unpack into."""
MAX_CELLS: Final = 5_000_000
"""Cells of a sheet's used area, from its first used row and column to its last."""
MAX_TEXT_CHARS: Final = 100_000_000
"""Characters of all cells together, a text that several cells share counted for each."""
MAX_MERGED: Final = 100_000
"""Merged cells of a sheet."""
_MAX_PARTS: Final = 5_000
_PIECE_BYTES: Final = 64 * 1024
_SMALL: Final = "Save the rows as CSV, and send that."
DAMAGED: Final = "The workbook is damaged. Open it in a spreadsheet and save it again, as .xlsx or CSV."
PROTECTED: Final = (
    "The workbook is encrypted, by a password or a sensitivity label. Save it without one, as .xlsx or CSV, and send "
    "that."
)
_PICTURES: Final = (".jpeg", ".jpg", ".png", ".emf", ".wmf")
_MACROS: Final = ".bin"
_SHARED: Final = "sharedstrings.xml"
_STYLES: Final = "styles.xml"
_PADDED: Final = re.compile(r"00+[^.,%Ee]*")
"""A number's format by which zeros fill it up to some digits."""


class Checked(NamedTuple):
    """A workbook's format, xlsx or ods, whether cells of it have formulas that nobody worked out, and whether some show
    zeros before a number that has none."""

    form: str
    uncomputed: bool
    shows_zeros: bool


def check_workbook(file: bytes) -> Checked:
    """Return what kind of workbook an archive is.

    Raises UnreadableFile for another archive, and for a workbook that is damaged, protected, or too large.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(file)) as archive:
            parts = {part.filename: part for part in archive.infolist()}
            if len(parts) > _MAX_PARTS:
                raise UnreadableFile(f"The workbook has more than {_MAX_PARTS} parts. {_SMALL}")
            form = _format(archive, parts)
            if form == "xlsx":
                return Checked(form, *_check_xlsx(file, parts))
            _check_ods(file, parts)
            return Checked(form, False, False)
    except (zipfile.BadZipFile, zlib.error, expat.ExpatError, NotImplementedError, ValueError, OSError, EOFError) as no:
        if isinstance(no, UnreadableFile):
            raise
        raise UnreadableFile(DAMAGED) from None


def _format(archive: zipfile.ZipFile, parts: Mapping[str, zipfile.ZipInfo]) -> str:
    names = {name.lower() for name in parts}
    if any(part.flag_bits & 1 for part in parts.values()):
        raise UnreadableFile("The archive is protected by a password. Send the file itself, without one.")
    if any(name.startswith("xl/workbook") and name.endswith(".xml") for name in names):
        return "xlsx"
    if "mimetype" in parts and parts["mimetype"].file_size < 200:
        kind = archive.read("mimetype")
        if kind.startswith(b"application/vnd.oasis.opendocument.spreadsheet"):
            return "ods"
        if kind.startswith(b"application/vnd.oasis.opendocument"):
            raise UnreadableFile("The file is a document, and no spreadsheet. Export the rows as CSV.")
    if "xl/workbook.bin" in names:
        raise UnreadableFile("The file is a binary workbook (.xlsb). Save it as .xlsx or CSV.")
    if {"word/document.xml", "ppt/presentation.xml"} & names:
        raise UnreadableFile("The file is a document of an office program, and no workbook. Export the rows as CSV.")
    if any(name.endswith(".iwa") or name == "index.zip" for name in names):
        raise UnreadableFile("The file is a document of Apple Numbers. Export it as .xlsx or CSV.")
    raise UnreadableFile("The file is a ZIP archive. Unpack it, and send the file that is in it.")


class _Budget:
    """What may still be unpacked."""

    def __init__(self, file: bytes) -> None:
        self._file = file
        self._left = MAX_UNPACKED_BYTES

    def pieces(self, part: zipfile.ZipInfo) -> Iterator[bytes]:
        """Yield what is in a part, however much its entry says it is. Raises UnreadableFile for too much."""
        start = part.header_offset
        head = self._file[start : start + 30]
        begin = start + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        packed = memoryview(self._file)[begin : begin + part.compress_size]
        if part.compress_type == zipfile.ZIP_STORED:
            for at in range(0, len(packed), _PIECE_BYTES):
                yield self._taken(bytes(packed[at : at + _PIECE_BYTES]))
            return
        if part.compress_type != zipfile.ZIP_DEFLATED:
            raise NotImplementedError
        stream = zlib.decompressobj(-15)
        for at in range(0, len(packed), _PIECE_BYTES):
            waiting = bytes(packed[at : at + _PIECE_BYTES])
            while waiting:
                yield self._taken(stream.decompress(waiting, _PIECE_BYTES))
                waiting = stream.unconsumed_tail
        while not stream.eof:  # a full piece may have left a rest, though all that is packed was taken in
            if not (rest := stream.decompress(b"", _PIECE_BYTES)):
                raise zlib.error("it ends too early")
            yield self._taken(rest)

    def _taken(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise UnreadableFile(f"The workbook unpacks into more than {MAX_UNPACKED_BYTES:,} bytes. {_SMALL}")
        return piece


def _parse(pieces: Iterator[bytes], parser: expat.XMLParserType) -> None:
    def refuse(*_: object) -> None:
        raise UnreadableFile(DAMAGED)  # no office program declares a document type, by which a few bytes may grow

    parser.StartDoctypeDeclHandler = refuse
    parser.buffer_text = True
    for piece in pieces:
        parser.Parse(piece, False)
    parser.Parse(b"", True)


def _parser() -> expat.XMLParserType:
    return expat.ParserCreate()


def _check_xlsx(file: bytes, parts: Mapping[str, zipfile.ZipInfo]) -> tuple[bool, bool]:
    """Check the parts that a reader of the workbook finds: by the archive's relations, and those of what they name.

    Parts go by the last step of their path, since readers differ in how they resolve one. Returns whether there are
    formulas without a value, and cells that show zeros which their number does not have.
    """
    budget = _Budget(file)
    by_name: defaultdict[str, list[zipfile.ZipInfo]] = defaultdict(list)
    for path, part in parts.items():
        by_name[_last_step(path)].append(part)

    def targets(name: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for part in by_name[name]:
            _parse(budget.pieces(part), _relations(found))
        return found

    roots = targets(".rels")
    if not roots:
        raise UnreadableFile(DAMAGED)
    named: dict[str, str] = {}
    for root in roots:
        named |= targets(root + ".rels")
    shared = {_SHARED} | {name for name, kind in named.items() if kind.endswith("/sharedStrings")}
    texts = _SharedTexts()
    for part in (part for name in shared for part in by_name[name]):
        texts.read(budget.pieces(part))
    styles = {_STYLES} | {name for name, kind in named.items() if kind.endswith("/styles")}
    padding = _Padding()
    for part in (part for name in styles - shared for part in by_name[name]):
        padding.read(budget.pieces(part))
    longest, uncomputed, shows_zeros = max(texts.lengths, default=0), False, False
    for name in {*roots, *named, "workbook.xml"} - shared - styles:
        for part in by_name[name]:
            if name.endswith((*_PICTURES, _MACROS)):
                for _ in budget.pieces(part):  # no reader takes it for a sheet; it may not be too large all the same
                    pass
                _refuse_unless(name in roots or name == "vbaproject.bin")
                continue
            measured = _measure(budget.pieces(part), padding.styles)
            uncomputed |= measured.uncomputed
            shows_zeros |= measured.shows_zeros
            if measured.shared * longest > MAX_TEXT_CHARS:
                _count_texts(_Budget(file).pieces(part), texts.lengths)
    return uncomputed, shows_zeros


def _refuse_unless(usual: bool) -> None:
    if not usual:
        raise UnreadableFile(DAMAGED)


def _last_step(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].lower()


def _relations(found: dict[str, str]) -> expat.XMLParserType:
    """Return a parser of relations. It adds the kind of each part that they name, by the last step of its path."""

    def start(name: str, attributes: dict[str, str]) -> None:
        if "Target" in attributes:
            found[_last_step(attributes["Target"])] = attributes.get("Type", "")

    parser = _parser()
    parser.StartElementHandler = start
    return parser


class _SharedTexts:
    """The lengths of the texts that the cells of a workbook share."""

    def __init__(self) -> None:
        self.lengths = array("I")
        self._total = 0

    def read(self, pieces: Iterator[bytes]) -> None:
        """Add the texts of a part. Raises UnreadableFile for too many."""
        parser = _parser()
        parser.StartElementHandler, parser.CharacterDataHandler = self._start, self._text
        _parse(pieces, parser)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(":")[2] == "si":
            self.lengths.append(0)

    def _text(self, text: str) -> None:
        if self.lengths:
            self.lengths[-1] += len(text)
            self._total += len(text)
            _refuse_text(self._total)


class _Padding:
    """Finds the styles of cells, by their numbers, that show zeros before a number."""

    def __init__(self) -> None:
        self.styles = set[str]()
        self._formats = set[str]()
        self._number = -1

    def read(self, pieces: Iterator[bytes]) -> None:
        """Add the styles of a part."""
        parser = _parser()
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        _parse(pieces, parser)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "numFmt" if _PADDED.fullmatch(attributes.get("formatCode", "")):
                self._formats.add(attributes.get("numFmtId", ""))
            case "cellXfs":
                self._number = 0
            case "xf" if self._number >= 0:
                if attributes.get("numFmtId") in self._formats:
                    self.styles.add(str(self._number))
                self._number += 1

    def _end(self, name: str) -> None:
        if name.rpartition(":")[2] == "cellXfs":
            self._number = -1


class _Measured(NamedTuple):
    """How many cells of a sheet have a shared text, whether one has a formula and no value, and whether one shows zeros
    before a number that has none."""

    shared: int
    uncomputed: bool
    shows_zeros: bool


def _measure(pieces: Iterator[bytes], padding: Collection[str]) -> _Measured:
    """Return what there is in a sheet; nothing of another part of a workbook. `padding` are styles that show zeros.

    Raises UnreadableFile for a used area that is too large, and for too many merged cells.
    """
    area, columns, formulas = _Area(), set[str](), _Formulas()
    cell: dict[str, str] = {}
    row, column, digits, is_new, shared, merged, shows_zeros = 0, 0, "", True, 0, 0, False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal cell, row, column, digits, is_new, shared, merged, shows_zeros
        if ":" in name:
            name = name.rpartition(":")[2]
        if name == "c":
            if formulas.open:
                formulas.close()
                parser.CharacterDataHandler = None
            cell = attributes
            column += 1
        elif name in ("v", "t"):
            shared += cell.get("t") == "s"
            if padding and cell.get("s") in padding:
                shows_zeros |= cell.get("t", "n") == "n"
            place = cell.get("r", "")
            letters = place[: -len(digits)] if place.endswith(digits) and digits else ""
            # Most cells are in a row and a column that have been counted.
            if is_new or letters not in columns:
                if place:
                    row, column = _place(place)
                area.add(row, column)
                is_new = False
                if letters.isalpha():
                    columns.add(letters)
        elif name == "row":
            row, column, is_new = int(attributes.get("r", row + 1)), 0, True
            digits = attributes.get("r", "")
        elif name == "f" and cell.get("t") != "str":  # whose value may be an empty text
            formulas.open = True
            parser.CharacterDataHandler = formulas.text
        elif name == "mergeCell" and (merged := merged + 1) > MAX_MERGED:
            raise UnreadableFile(f"A sheet has more than {MAX_MERGED:,} merged cells. {_SMALL}")
        if formulas.open:
            formulas.in_value = name == "v"

    parser = _parser()
    parser.StartElementHandler = start
    _parse(pieces, parser)
    formulas.close()
    return _Measured(shared, formulas.uncomputed, shows_zeros)


class _Formulas:
    """Finds formulas without a value, such as a program writes that works none out. `open` says that one has begun."""

    def __init__(self) -> None:
        self.open = self.in_value = self.uncomputed = False
        self._has_value = False

    def text(self, text: str) -> None:
        """Note the text of a formula's cell."""
        self._has_value |= self.in_value

    def close(self) -> None:
        """Note that the cell with the formula ends."""
        self.uncomputed |= self.open and not self._has_value
        self.open = self._has_value = False


def _count_texts(pieces: Iterator[bytes], lengths: array[int]) -> None:
    """Raise UnreadableFile if the cells of a sheet together show too much of the texts that they share."""
    total, is_shared = 0, False

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal is_shared
        name = name.rpartition(":")[2]
        is_shared = attributes.get("t") == "s" if name == "c" else is_shared and name == "v"

    def characters(text: str) -> None:
        nonlocal total
        if is_shared and text.isdecimal() and len(text) < 10 and int(text) < len(lengths):
            total += lengths[int(text)]
            _refuse_text(total)

    parser = _parser()
    parser.StartElementHandler, parser.CharacterDataHandler = start, characters
    _parse(pieces, parser)


def _place(reference: str) -> tuple[int, int]:
    """Return row and column of a reference such as XFD1048576."""
    letters = reference.rstrip("0123456789")
    if not letters.isalpha() or not letters.isascii() or len(reference) > 20:
        raise UnreadableFile(DAMAGED)
    column = 0
    for letter in letters.upper():
        column = column * 26 + ord(letter) - 64
    return int(reference[len(letters) :] or 0), column


class _Area:
    """A sheet's used area."""

    def __init__(self) -> None:
        self._top = self._left = self._bottom = self._right = 0

    def add(self, row: int, column: int) -> None:
        """Let a cell be used. Raises UnreadableFile for an area that is too large."""
        if self._top <= row <= self._bottom and self._left <= column <= self._right:
            return
        if not self._bottom:
            self._top, self._left, self._bottom, self._right = row, column, row, column
        self._top, self._bottom = min(self._top, row), max(self._bottom, row)
        self._left, self._right = min(self._left, column), max(self._right, column)
        _refuse_cells((self._bottom - self._top + 1) * (self._right - self._left + 1))


def _check_ods(file: bytes, parts: Mapping[str, zipfile.ZipInfo]) -> None:
    budget = _Budget(file)
    if "content.xml" not in parts:
        raise UnreadableFile(DAMAGED)
    manifest = parts.get("META-INF/manifest.xml")
    if manifest and b"encryption-data" in b"".join(budget.pieces(manifest)):
        raise UnreadableFile(PROTECTED)
    _parse(budget.pieces(parts["content.xml"]), _Tables().parser)


class _Tables:
    """Counts the cells and the text of each table of an OpenDocument, in which rows and cells may be repeated."""

    def __init__(self) -> None:
        self._rows = self._width = self._text = 0
        self._row_times = self._row_width = self._row_text = self._columns = 0
        self._cell_times = self._cell_text = 0
        self._used = False
        self._in_cell = False
        self._starts: dict[str, Callable[[dict[str, str]], None]] = {
            "table": self._start_table,
            "table-row": self._start_row,
            "table-cell": self._start_cell,
            "covered-table-cell": self._start_cell,
        }
        self.parser = _parser()
        self.parser.StartElementHandler = self._start
        self.parser.EndElementHandler = self._end
        self.parser.CharacterDataHandler = self._characters

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if start := self._starts.get(name.rpartition(":")[2]):
            start({key.rpartition(":")[2]: value for key, value in attributes.items()})

    def _start_table(self, attributes: dict[str, str]) -> None:
        self._rows = self._width = 0

    def _start_row(self, attributes: dict[str, str]) -> None:
        self._row_times = _times(attributes.get("number-rows-repeated", "1"))
        self._row_width = self._row_text = self._columns = 0

    def _start_cell(self, attributes: dict[str, str]) -> None:
        self._cell_times = _times(attributes.get("number-columns-repeated", "1"))
        self._used = "value-type" in attributes or "formula" in attributes
        self._cell_text = sum(map(len, attributes.values())) if self._used else 0
        self._in_cell = True

    def _characters(self, text: str) -> None:
        if self._in_cell:
            self._used = True
            self._cell_text += len(text)

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name in ("table-cell", "covered-table-cell"):
            self._in_cell = False
            self._columns += self._cell_times
            if self._used:
                self._row_width = self._columns
                self._row_text += self._cell_text * self._cell_times
                _refuse_cells(self._row_width)
        elif name == "table-row":
            self._rows += self._row_times
            if self._row_width:
                self._width = max(self._width, self._row_width)
                self._text += self._row_text * self._row_times
                _refuse_cells(self._rows * self._width)
                _refuse_text(self._text)


def _times(text: str) -> int:
    return max(1, int(text)) if text.isdecimal() and len(text) < 12 else MAX_CELLS


def _refuse_cells(count: int) -> None:
    if count > MAX_CELLS:
        raise UnreadableFile(f"The used area of a sheet has more than {MAX_CELLS:,} cells. {_SMALL}")


def _refuse_text(chars: int) -> None:
    if chars > MAX_TEXT_CHARS:
        raise UnreadableFile(f"The cells of the workbook hold more than {MAX_TEXT_CHARS:,} characters. {_SMALL}")
