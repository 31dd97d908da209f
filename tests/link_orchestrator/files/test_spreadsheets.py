"""Workbooks: what a person sees in the cells is what is read, and no workbook takes more memory than it may."""

from __future__ import annotations

import zipfile
import zlib
from datetime import UTC, date, datetime
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from link_orchestrator.files import unpacking
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.reading import Notes, Reading
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row, UnreadableFile
from link_orchestrator.problems import Problem
from tests.link_orchestrator.files.workbooks import ODS, archive, ods, ods_of, xlsx, xlsx_of
from tests.link_orchestrator.running import App

HEADS = ["userName", "title"]


def day(hour: int = 0, minute: int = 0) -> datetime:
    """Return a moment as a spreadsheet keeps it: without a time zone."""
    return datetime(2026, 2, 1, hour, minute, tzinfo=UTC).replace(tzinfo=None)


def read(file: bytes) -> tuple[list[Row | Problem], Reading]:
    notes = Notes()
    rows = [row for row in read_rows(file, notes=notes) if not isinstance(row, Header)]
    return rows, notes.reading()


def shown(value: Any) -> str:
    """Return the text that is read of a cell with this value."""
    (row,) = read(xlsx({"S": [["a", "b"], [value, "x"]]}))[0]
    assert isinstance(row, Row)
    text: str = row.cells["a"]
    return text


class TestXlsx:
    @pytest.mark.parametrize("more", [-1, 0, 1, 2])
    def test_a_part_of_any_length_is_read(self, more: int) -> None:
        """What repeats itself may be packed so well that nothing is left to take in when the last piece is full."""
        sheet = '<row r="1"><c r="A1" t="inlineStr"><is><t>userName</t></is></c></row>'
        shared = "<sst/>".ljust(65_536 + more)
        assert read(xlsx_of(sheet, shared))[0] == []

    def test_rows_have_the_numbers_that_the_spreadsheet_shows(self) -> None:
        rows, reading = read(xlsx({"Users": [[], [], [None, "userName", "title"], [], [None, "a", "x"], [None, "b"]]}))
        assert rows == [Row(5, {"userName": "a", "title": "x"}), Row(6, {"userName": "b", "title": ""})]
        assert (reading.format, reading.sheet, reading.encoding) == ("xlsx", "Users", "")

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (42, "42"),
            (42.0, "42"),
            (0.5, "0.5"),
            (-1, "-1"),
            (120_000, "120000"),
            (0.1 + 0.2, "0.3"),
            (10**12, "1000000000000"),
            (True, "TRUE"),
            (False, "FALSE"),
            ("0042", "0042"),
            ("1.2E+05", "1.2E+05"),
            ("=1+1", "=1+1"),
            ("Zoë 😀", "Zoë 😀"),
            (day(), "2026-02-01"),
            (day(10, 30), "2026-02-01 10:30:00"),
            (None, ""),
        ],
    )
    def test_a_cell_is_the_text_that_a_person_sees(self, value: Any, text: str) -> None:
        assert shown(value) == text

    def test_the_first_sheet_with_rows_is_read_and_the_others_are_named(self) -> None:
        _, reading = read(xlsx({"Empty": [], "Users": [HEADS, ["a", "x"]], "Notes": [["n"], ["1"]]}))
        assert (reading.sheet, reading.ignored_sheets) == ("Users", ("Empty", "Notes"))

    def test_a_hidden_sheet_comes_behind_those_that_are_shown(self) -> None:
        book = {"Lists": [["n"], ["1"]], "Users": [HEADS, ["a", "x"]]}
        assert read(xlsx(book, hidden=["Lists"]))[1].sheet == "Users"

    def test_a_cell_without_a_header_is_a_problem_and_empty_ones_are_not(self) -> None:
        rows, _ = read(xlsx({"S": [[*HEADS, ""], ["a", "x", ""], ["b", "y", "z"], ["c", "x" * (MAX_FIELD_CHARS + 1)]]}))
        assert [type(row) for row in rows] == [Row, Problem, Problem]
        assert [row.line for row in rows] == [2, 3, 4]

    def test_a_number_that_lost_digits_is_suspicious(self) -> None:
        _, reading = read(xlsx({"S": [["id"], [12345678901234567], [7]]}))
        assert [(one.kind, one.column, one.lines) for one in reading.suspicious] == [("mangledNumber", "id", (2,))]

    def test_a_date_where_a_name_is_expected_is_suspicious(self) -> None:
        notes = Notes()
        list(read_accounts(xlsx({"S": [["userName", "employeeNumber"], ["a", day()]]}), notes=notes))
        assert [(one.kind, one.column) for one in notes.reading().suspicious] == [("date", "employeeNumber")]

    def test_accounts_come_out_of_it(self) -> None:
        file = xlsx(
            {"S": [["Login", "E-Mail", "active"], ["ada", "ada@contoso.com", True], ["bob", "b@contoso.com", False]]}
        )
        ada, bob = [row for row in read_accounts(file) if isinstance(row, AccountRow)]
        assert (ada.user_name, ada.document["active"], bob.document["active"]) == ("ada", True, False)

    def test_a_workbook_without_rows_is_refused(self) -> None:
        with pytest.raises(UnreadableFile, match="No sheet"):
            read(xlsx({"S": []}))

    async def test_it_is_imported_by_the_same_door(self, app: App) -> None:
        book = xlsx({"S": [["userName", "hired"], ["ada@contoso.com", date(2026, 1, 2).isoformat()]]})
        job = await app.bring(book, "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")
        assert job["counts"]["created"] == 1
        assert (job["reading"]["format"], job["reading"]["sheet"], job["reading"]["ignored"]) == (
            "xlsx",
            "S",
            ["hired"],
        )


class TestOds:
    def test_rows_of_the_first_table_are_read(self) -> None:
        rows, reading = read(ods([HEADS, ["a", "Zoë & Co"], ["", ""], ["b", ""]]))
        assert rows == [Row(2, {"userName": "a", "title": "Zoë & Co"}), Row(4, {"userName": "b", "title": ""})]
        assert (reading.format, reading.sheet) == ("ods", "S")

    def test_a_number_and_a_boolean_are_what_a_person_sees(self) -> None:
        row = (
            '<table:table-cell office:value-type="float" office:value="42"><text:p>42</text:p></table:table-cell>'
            '<table:table-cell office:value-type="boolean" office:boolean-value="true"><text:p>TRUE</text:p>'
            "</table:table-cell>"
        )
        head = "".join(
            f'<table:table-cell office:value-type="string"><text:p>{name}</text:p></table:table-cell>' for name in HEADS
        )
        file = ods_of(f"<table:table-row>{head}</table:table-row><table:table-row>{row}</table:table-row>")
        assert read(file)[0] == [Row(2, {"userName": "42", "title": "TRUE"})]


def cell(place: str, value: str = "1", kind: str = "n") -> str:
    return f'<c r="{place}" t="{kind}"><v>{value}</v></c>'


def ods_cell(times: int, text: str = "x") -> str:
    return (
        f'<table:table-cell table:number-columns-repeated="{times}" office:value-type="string"><text:p>{text}</text:p>'
        "</table:table-cell>"
    )


TEXTS = "<sst>" + f"<si><t>{'x' * 30_000}</t></si>" + "</sst>"
DTD = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'


class TestTooLarge:
    @pytest.mark.parametrize(
        "file",
        [
            pytest.param(
                xlsx_of(f'<row r="1">{cell("A1")}</row><row r="1048576">{cell("XFD1048576")}</row>'), id="far"
            ),
            pytest.param(xlsx_of(f'<row r="1">{cell("A1")}{cell("XFD1048576")}</row>'), id="far, in another row"),
            pytest.param(
                xlsx_of(
                    "".join(f'<row r="{n}">{cell(f"A{n}")}</row>' for n in (1, 1_048_576)) + f"<row>{cell('HZ9')}</row>"
                ),
                id="wide and high",
            ),
            pytest.param(xlsx_of(cell("A1", "0", "s") * 5_000, TEXTS), id="a long text in many cells"),
            pytest.param(ods_of(f"<table:table-row>{ods_cell(2_000_000_000)}</table:table-row>"), id="columns"),
            pytest.param(
                ods_of(f'<table:table-row table:number-rows-repeated="90000000">{ods_cell(1)}</table:table-row>'),
                id="rows",
            ),
            pytest.param(
                ods_of(
                    f'<table:table-row table:number-rows-repeated="9000">{ods_cell(500, "x" * 99)}</table:table-row>'
                ),
                id="text in rows and columns",
            ),
            pytest.param(ods_of(f"<table:table-row>{ods_cell(10**30)}</table:table-row>"), id="a number without end"),
        ],
    )
    def test_a_sheet_that_would_fill_the_memory_is_refused(self, file: bytes) -> None:
        assert len(file) < 100_000
        with pytest.raises(UnreadableFile, match=r"more than .* CSV"):
            read(file)

    def test_a_small_file_that_unpacks_into_gigabytes_is_refused(self) -> None:
        packer, packed = zlib.compressobj(9, zlib.DEFLATED, -15), b""
        for _ in range(300):
            packed += packer.compress(b" " * 1_000_000)
        packed += packer.flush()
        file = xlsx_of("<row/>" + " " * 2_000)
        # The entry keeps saying that it is small: what counts is what really comes out.
        assert b"worksheets" in file
        with zipfile.ZipFile(BytesIO(file)) as made:
            part = made.getinfo("xl/worksheets/sheet1.xml")
        begin = part.header_offset + 30 + len(part.filename)
        bomb = file[:begin] + packed + file[begin + part.compress_size :]
        bomb = _with_sizes(bomb, part, len(packed), len(packed) - part.compress_size)
        assert len(bomb) < 1_000_000
        with pytest.raises(UnreadableFile, match="unpacks into more than"):
            read(bomb)

    def test_a_workbook_of_five_million_cells_may_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        file = xlsx({"S": [["a", "b"], ["1", "2"]]})
        monkeypatch.setattr(unpacking, "MAX_CELLS", 4)
        assert len(read(file)[0]) == 1
        monkeypatch.setattr(unpacking, "MAX_CELLS", 3)
        with pytest.raises(UnreadableFile, match="3 cells"):
            read(file)

    def test_cells_that_are_only_formatted_do_not_count(self) -> None:
        far = '<c r="XFD1048576" s="1"/>'
        rows, _ = read(xlsx_of(f'<row r="1">{cell("A1")}{cell("B1")}</row><row r="2">{cell("A2", "7")}{far}</row>'))
        assert rows == [Row(2, {"1": "7", "": ""})]


def _with_sizes(file: bytes, part: zipfile.ZipInfo, size: int, moved: int) -> bytes:
    """Return an archive whose directory has another packed size of a part, and what comes behind it moved."""
    made = bytearray(file)
    end = made.rindex(b"PK\x05\x06")
    start = int.from_bytes(made[end + 16 : end + 20], "little") + moved
    made[end + 16 : end + 20] = start.to_bytes(4, "little")
    made[part.header_offset + 18 : part.header_offset + 22] = size.to_bytes(4, "little")
    at = start
    while made[at : at + 4] == b"PK\x01\x02":
        length = int.from_bytes(made[at + 28 : at + 30], "little")
        offset = int.from_bytes(made[at + 42 : at + 46], "little")
        if bytes(made[at + 46 : at + 46 + length]) == part.filename.encode():
            made[at + 20 : at + 24] = size.to_bytes(4, "little")
        elif offset > part.header_offset:
            made[at + 42 : at + 46] = (offset + moved).to_bytes(4, "little")
        at += 46 + length
    return bytes(made)


class TestDamaged:
    @pytest.mark.parametrize(
        "file",
        [
            pytest.param(xlsx({"S": [HEADS, ["a", "x"]]})[:-200], id="cut"),
            pytest.param(b"PK\x03\x04" + bytes(100), id="nothing but a beginning"),
            pytest.param(archive({"xl/workbook.xml": "<x/>" * 100, "[Content_Types].xml": "<t/>"}), id="no relations"),
            pytest.param(xlsx_of("<row><c>"), id="XML that does not end"),
            pytest.param(xlsx_of("", **{"xl/workbook.xml": DTD + "<x>&b;</x>"}), id="entities"),
            pytest.param(xlsx_of("", **{"xl/worksheets/sheet1.xml": DTD + "<x>&b;</x>"}), id="entities in the sheet"),
            pytest.param(xlsx_of(cell("??")), id="a cell without a place"),
            pytest.param(archive({"mimetype": ODS}), id="ods without content"),
            pytest.param(archive({"mimetype": ODS, "content.xml": "<a"}), id="ods that does not end"),
        ],
    )
    def test_it_is_refused_with_the_remedy(self, file: bytes) -> None:
        with pytest.raises(UnreadableFile, match=r"damaged.*save it again"):
            read(file)

    @pytest.mark.parametrize(
        ("file", "what"),
        [
            (ods_of("", **{"META-INF/manifest.xml": "<m><encryption-data/></m>"}), "password"),
            (archive({"xl/workbook.bin": b""}), "xlsb"),
            (archive({"word/document.xml": ""}), "document of an office program"),
            (archive({"mimetype": "application/vnd.oasis.opendocument.text"}), "document"),
            (archive({"Index/Document.iwa": ""}), "Apple Numbers"),
            (archive({"users.csv": "userName\na"}), "ZIP archive"),
        ],
    )
    def test_what_is_no_workbook_that_can_be_read_is_named(self, file: bytes, what: str) -> None:
        with pytest.raises(UnreadableFile, match=what):
            read(file)

    async def test_the_door_answers_400_and_starts_nothing(self, app: App) -> None:
        for file in (xlsx({"S": [HEADS, ["a", "x"]]})[:-200], b"PK\x03\x04", xlsx_of(cell("??"))):
            headers = {"Content-Type": "text/csv"}
            for path in ("accounts/import", "groups/import", "linking/identities", "linking/groups"):
                async with app.session.post(f"/{path}", data=BytesIO(file), headers=headers) as answer:
                    assert (answer.status, "damaged" in await answer.text()) == (400, True)


SMALL = xlsx({"S": [HEADS, ["a", "x"], ["b", 7]]}), ods([HEADS, ["a", "x"]]), xlsx_of(cell("A1"))


@given(st.sampled_from(SMALL), st.integers(0, 10**6), st.binary(min_size=1, max_size=8))
@settings(max_examples=60)
def test_a_workbook_with_any_bytes_in_it_ends_in_rows_problems_or_a_refusal(file: bytes, at: int, data: bytes) -> None:
    at %= len(file)
    for made in (file[:at] + data + file[at + len(data) :], file[:at] + data + file[at:], file[:at]):
        try:
            rows = list(read_rows(made))
        except UnreadableFile:
            continue
        assert all(isinstance(row, Row | Problem | Header) for row in rows)
