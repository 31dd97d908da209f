"""Files as products write them, in every encoding, and files that are something else: each is read, or named."""

from __future__ import annotations

import gzip
import io
import zipfile
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.files.code_pages import weigh_windows_1252
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.reading import Notes, Reading
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.problems import Problem
from tests.link_orchestrator.files.workbooks import xlsx

PEOPLE = "userName;displayName\r\nj@contoso.com;Jürgen Öß\r\nz@contoso.com;Zoë\r\n"
ROWS = [
    {"userName": "j@contoso.com", "displayName": "Jürgen Öß"},
    {"userName": "z@contoso.com", "displayName": "Zoë"},
]


def read(file: bytes | str, content_type: str = "") -> tuple[list[Row | Problem], Reading]:
    """Return what a file comes apart into, without its header, and what is noted of it."""
    notes = Notes()
    data = file.encode() if isinstance(file, str) else file
    found = list(read_rows(data, content_type=content_type, notes=notes))
    return [row for row in found if not isinstance(row, Header)], notes.reading()


def cells(file: bytes | str, content_type: str = "") -> list[dict[str, Any]]:
    found, _ = read(file, content_type)
    assert all(isinstance(row, Row) for row in found), found
    return [row.cells for row in found if isinstance(row, Row)]


def outline(file: bytes | str) -> list[tuple[int, str]]:
    """Each row as its line and its cells, or the reason that it was not read."""
    return [
        (row.line, "|".join(row.cells.values()) if isinstance(row, Row) else row.reason[:35]) for row in read(file)[0]
    ]


def test_columns_of_one_name_are_said_and_the_first_is_read() -> None:
    file = b"email,name, email ,x,x,,\na@b.cd,A,other,1,2,,\n"
    book = xlsx({"S": [["email", "name", "email ", "x", "x"], ["a@b.cd", "A", "other", "1", "2"]]})
    for one in (file, book):
        (row,), reading = read(one)
        assert isinstance(row, Row)
        assert row.cells["email"] == "a@b.cd"
        assert reading.remarks == ("Several columns are called email, x: the first of each is read, and no other.",)


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "content_type", "called"),
        [
            ("utf-8", "", "UTF-8"),
            ("utf-8-sig", "", "UTF-8"),
            ("utf-8", "text/csv; charset=utf-8", "UTF-8"),
            ("utf-16", "", "UTF-16"),
            ("utf-16-le", "", "UTF-16"),
            ("utf-16-be", "", "UTF-16"),
            ("utf-16-le", "text/csv; charset=utf-16", "UTF-16"),
            ("cp1252", "text/csv; charset=windows-1252", "windows-1252"),
            ("cp1252", "", "windows-1252"),
        ],
    )
    def test_each_is_read_and_named(self, encoding: str, content_type: str, called: str) -> None:
        file = PEOPLE.encode(encoding)
        assert cells(file, content_type) == ROWS
        reading = read(file, content_type)[1]
        assert (reading.encoding, reading.format, reading.separator) == (called, "csv", ";")

    def test_a_code_page_that_was_inferred_is_said(self) -> None:
        (remark,) = read(PEOPLE.encode("cp1252"))[1].remarks
        assert "taken as windows-1252" in remark
        assert read(PEOPLE.encode("cp1252"), "text/csv; charset=windows-1252")[1].remarks == ()

    def test_utf_16_of_another_script_is_known_by_its_separators(self) -> None:
        text = "氏名,メール,状態\r\n山田太郎,yamada@contoso.com,有効\r\n"
        assert cells(text.encode("utf-16-le"))[0]["氏名"] == "山田太郎"

    @pytest.mark.parametrize(
        "names",
        [
            "Jürgen Groß",
            "André, François, Hélène, Zoë",
            "Muñoz, García, Núñez",
            "João Conceição, André Araújo",
            "Ærø, Håkon, Bjørn",
            "Åsa Öberg, Mäki",
            "O\u2019Brien, Müller",
            "Søren, Peña, François, Weiß",
        ],
    )
    def test_names_of_western_europe_are_surely_windows_1252(self, names: str) -> None:
        assert weigh_windows_1252(f"a;{names};b".encode("cp1252")).surely

    @pytest.mark.parametrize(
        "more", ["Lefèvre", "Hélène, García", "José, Muñoz, Lefèvre", "Søren, João", "Nicolò, Noè"]
    )
    def test_a_few_names_of_neighbours_change_nothing_of_a_german_file(self, more: str) -> None:
        german = "Müller, Groß, Jäger, Özlem\n" * 10
        file = f"userName;displayName\n{german.replace(', ', ';x;')}a;{more}\n".encode("cp1252")
        assert weigh_windows_1252(file).surely
        assert weigh_windows_1252(f"name\n{more}\n{german}".encode("cp1252")).surely

    @pytest.mark.parametrize(
        "names", ["Lefèvre", "Hélène", "Geneviève, Thérèse", "André, Irène, García", "André", "Özlem"]
    )
    def test_a_french_name_is_known_by_the_letters_beside_its_accent(self, names: str) -> None:
        assert weigh_windows_1252(f"a;{names};b".encode("cp1252")).surely

    @pytest.mark.parametrize("name", ["Kučera", "Horáčková", "Zieliński", "Jiří", "Dvořák", "Němec", "Marić", "Bărbu"])
    def test_one_name_from_across_the_border_keeps_a_german_file_from_being_guessed_at(self, name: str) -> None:
        german = "y,Müller\nz,Jäger\n" * 100
        file = f"userName,displayName\nx,{name}\n{german}".encode("cp1250")
        found, reading = read(file)
        assert not weigh_windows_1252(file).surely
        assert all(isinstance(row, Problem) for row in found)
        assert reading.encoding == "a code page that is not known"
        assert "do not tell which" in reading.remarks[0]

    def test_a_letter_that_may_be_anothers_is_told_by_its_line(self) -> None:
        (remark,) = read(("a,b\nx,Noè\n" + "y,Müller\n" * 30).encode("cp1252"))[1].remarks
        assert "are right, in line 2. Where" in remark

    @pytest.mark.parametrize("name", ["Noè", "Cantù", "Kučma", "Ondřej"])
    def test_a_letter_that_may_be_anothers_decides_nothing_alone(self, name: str) -> None:
        encoding = "cp1252" if name[-1] in "èù" else "cp1250"
        assert not weigh_windows_1252(f"a;{name};Müller".encode(encoding)).surely

    @pytest.mark.parametrize(
        ("file", "lines"),
        [
            ("a,b\n1,Zoë\n2,Jürgen\n3,".encode() + b"\xfc\n", [4]),
            ("a,b\n1,Zoë\n2,André".encode()[:-1], [3]),
            (b"a,b\n1,Zo\xc3", [2]),
            ("a,b\n1,Zoë\n2,€".encode()[:-1], [3]),
        ],
    )
    def test_utf_8_with_a_broken_byte_or_a_cut_character_stays_utf_8(self, file: bytes, lines: list[int]) -> None:
        found, reading = read(file)
        assert reading.encoding == "UTF-8"
        assert [row.line for row in found if isinstance(row, Problem)] == lines

    def test_a_last_letter_without_a_line_break_is_one_of_the_code_page(self) -> None:
        assert cells("a,b\n1,André".encode("cp1252")) == [{"a": "1", "b": "André"}]

    @pytest.mark.parametrize(
        ("names", "encoding"),
        [
            ("Łukasz Wójcik, Zażółć", "cp1250"),
            ("Dvořáček, Jiří", "cp1250"),
            ("Novák, Horáčková", "cp1250"),
            ("Novák \u2013 Horáčková", "cp1250"),
            ("Szűcs, Erdős", "cp1250"),
            ("Ion Bărbulescu", "cp1250"),
            ("I\u015f\u0131k, Çağlar", "cp1254"),
            ("Kęstutis Šarūnas", "cp1257"),
            ("Иван Петров", "cp1251"),
            ("И Я", "cp1251"),
            ("Γιώργος", "cp1253"),
            ("山田太郎", "cp932"),
            ("王伟, 李娜", "gbk"),
            ("김철수", "cp949"),
            ("Jürgen, García", "mac-roman"),
            ("José García", "mac-roman"),
            ("Jürgen Groß", "cp850"),
            ("RAÚL", "cp850"),
            ("Łukasz", "iso8859-2"),
            ("Zoë", "utf-8"),
        ],
    )
    def test_names_that_something_else_may_have_written_are_not(self, names: str, encoding: str) -> None:
        assert not weigh_windows_1252(f"a;{names};b".encode(encoding)).surely

    def test_where_it_is_not_sure_the_rows_are_reported_and_the_others_are_read(self) -> None:
        found = outline("userName,displayName\na,Łukasz\nb,Bea\n".encode("cp1250"))
        assert found == [(2, "The row holds bytes that are not te"), (3, "b|Bea")]

    def test_one_stray_byte_does_not_turn_utf_8_into_a_code_page(self) -> None:
        found = outline("a,b\n1,Zoë\n2,".encode() + b"\xfc\n")
        assert found == [(2, "1|Zoë"), (3, "The row holds bytes that are not te")]


class TestLinesThatAreNoRows:
    @pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;", "sep=;;"])
    def test_a_line_that_tells_excel_the_separator_is_no_header(self, line: str) -> None:
        file = f"{line}\r\nuserName;full,name\r\na;b\r\n"
        assert read(file) == ([Row(3, {"userName": "a", "full,name": "b"})], read(file)[1])

    def test_the_separator_may_be_a_tab_or_a_bar(self) -> None:
        assert cells("sep=\t\na\tb\n1\t2\n") == cells("sep=|\na|b\n1|2\n") == [{"a": "1", "b": "2"}]

    def test_a_line_that_names_powershells_type_is_no_header(self) -> None:
        file = '#TYPE Selected.Microsoft.Graph.PowerShell.Models.MicrosoftGraphUser\r\n"Id","Mail"\r\n"1","a@b"\r\n'
        assert read(file)[0] == [Row(3, {"Id": "1", "Mail": "a@b"})]

    def test_a_file_of_such_lines_alone_is_refused(self) -> None:
        with pytest.raises(UnreadableFile, match="header row"):
            read("sep=;\r\n")


class TestShortRows:
    def test_cells_that_are_missing_at_the_end_are_empty_and_are_said(self) -> None:
        found, reading = read("a,b,c\n1,2\n3,4,5\n6,7\n")
        assert [row.cells["c"] for row in found if isinstance(row, Row)] == ["", "5", ""]
        (short,) = reading.suspicious
        assert (short.kind, short.count, short.lines) == ("shortRow", 2, (2, 4))

    def test_a_line_of_text_between_the_rows_is_no_row(self) -> None:
        found = outline("userName,email,displayName\nTotal: 2 users\na@contoso.com\nb@contoso.com,,\n")
        assert found == [(2, "The row has 1 column, the header ro"), (3, "a@contoso.com||"), (4, "b@contoso.com||")]

    def test_a_row_with_more_cells_than_the_header_is_a_problem(self) -> None:
        assert outline("a,b\n1,2,3\n4,5,\n") == [(2, "The row has 3 columns, the header r"), (3, "4|5")]


CUT = "The file ends in the middle of this"


class TestACutFile:
    @pytest.mark.parametrize(
        "file",
        [
            "a,b,c\n1,2,3\n4,5",
            "a,b,c\n1,2,3\n4",
            'a,b,c\n1,2,3\n4,5,"Tea Tw',
            'a,b,c\n1,2,3\n"4',
            'a,b,c\r\n1,2,3\r\n4,"5',
        ],
    )
    def test_the_last_line_is_reported_and_not_read(self, file: str) -> None:
        found, reading = read(file)
        assert outline(file) == [(2, "1|2|3"), (3, CUT)]
        assert [(one.kind, one.lines) for one in reading.suspicious] == [("cutLastLine", (3,))]
        assert isinstance(found[1], Problem)
        assert "complete" in found[1].remedy

    def test_a_file_that_was_cut_within_a_character_is_reported(self) -> None:
        found, reading = read("a,b\n1,2\n3,4\n".encode("utf-16")[:-1])
        assert reading.suspicious[-1].kind == "cutLastLine"
        assert isinstance(found[-1], Problem)

    @pytest.mark.parametrize("file", ["a,b\n1,2\n3,4", "a,b,c\n1,2\n3,4"])
    def test_a_last_line_that_is_like_the_others_is_read_without_a_line_break(self, file: str) -> None:
        assert all(isinstance(row, Row) for row in read(file)[0])

    @pytest.mark.parametrize("file", ['{"a": 1}\n{"a": 2', '[{"a": 1},\n{"a": 2', '[{"a": 1},\n{"a":'])
    def test_cut_json_is_reported(self, file: str) -> None:
        found, reading = read(file)
        assert [type(row) for row in found] == [Row, Problem]
        assert [(one.kind, one.lines) for one in reading.suspicious] == [("cutLastLine", (2,))]


def zipped(name: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, "userName\na\n")
    return file.getvalue()


OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)


class TestFilesThatAreSomethingElse:
    @pytest.mark.parametrize(
        ("file", "what", "remedy"),
        [
            (zipped("users.csv"), "ZIP archive", "Unpack"),
            (b"%PDF-1.7\n%\xe2\xe3", "PDF", "CSV"),
            (b"\x89PNG\r\n\x1a\n", "image", "CSV"),
            (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image", "CSV"),
            (b"GIF89a", "image", "CSV"),
            (gzip.compress(b"a,b\n", mtime=0), "gzip", "Unpack"),
            (b"7z\xbc\xaf\x27\x1c", "7z", "Unpack"),
            (b"Rar!\x1a\x07\x01", "RAR", "Unpack"),
            (b"{\\rtf1 a}", "RTF", "CSV"),
            (OLE + "Workbook".encode("utf-16-le"), r"\.xls", r"\.xlsx"),
            (OLE + "EncryptedPackage".encode("utf-16-le"), "password", "without"),
            (b"<!DOCTYPE html>\n<title>Sign in</title>", "web page", "Download the export"),
            ("\ufeff \n<html>".encode(), "web page", "Download the export"),
            (b"<table><tr><td>a@contoso.com</td></tr></table>", "web page", r"\.xlsx"),
            (b'<?xml version="1.0"?><Workbook/>', "XML", r"\.xlsx"),
            (b'--x\r\nContent-Disposition: form-data; name="f"\r\n\r\na,b\r\n', "form", "body"),
            (bytes(range(32)) * 9, "no text", "CSV"),
        ],
    )
    def test_it_is_named_with_what_to_do(self, file: bytes, what: str, remedy: str) -> None:
        with pytest.raises(UnreadableFile, match=what) as refused:
            read(file)
        assert refused.match(remedy)


BEGINNINGS = (
    b"",
    b"[",
    b'{"value":[',
    b"a,b\n",
    b"sep=;\n",
    b"#TYPE x\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"PK\x03\x04",
    OLE,
)


@given(st.sampled_from(BEGINNINGS), st.binary(max_size=60), st.sampled_from(["", "text/csv; charset=windows-1252"]))
def test_any_bytes_end_in_rows_problems_or_an_unreadable_file(begin: bytes, data: bytes, content_type: str) -> None:
    with suppress(UnreadableFile):
        found, _ = read(begin + data, content_type)
        assert all(isinstance(row, Row | Problem) for row in found)
