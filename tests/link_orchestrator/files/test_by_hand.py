"""Files that went through hands and programs on their way: titles, quotes of their own, sheets beside, cut lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.identities import number_identities
from link_orchestrator.files.reading import Notes, Reading
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from tests.link_orchestrator.files.workbooks import xlsx
from tests.link_orchestrator.running import graph

TITLE = "further down, delete the rows above them"


def accounts(file: bytes | str, content_type: str = "") -> tuple[list[AccountRow | Problem], Reading]:
    notes = Notes()
    found = read_accounts(file.encode() if isinstance(file, str) else file, content_type=content_type, notes=notes)
    return list(found), notes.reading()


def names(file: bytes | str) -> list[str]:
    return [row.user_name for row in accounts(file)[0] if isinstance(row, AccountRow)]


@pytest.mark.parametrize(
    "file",
    [
        ",,\n;;\n\nuserName,email,title\nada,ada@contoso.com,x\n",
        '"","",""\nuserName,email,title\nada,ada@contoso.com,x\n',
        "\ufeff\ufeffuserName,email\nada,ada@contoso.com\n",
        "userName|email\nada|ada@contoso.com\n",
        "sep=|\nuserName,email\nada,ada@contoso.com\n",
    ],
)
def test_rows_without_a_value_above_the_header_and_other_separators_are_no_matter(file: str) -> None:
    assert names(file) == ["ada"]


@pytest.mark.parametrize(
    "file",
    [
        b"User export 2026-11-30,,,\nuserName,email,displayName,active\nada,ada@contoso.com,Ada,yes\n",
        xlsx({"S": [["User export"], [], ["userName", "email"], ["ada", "ada@contoso.com"]]}),
        xlsx({"S": [["Person", None, "Contact"], ["userName", "title", "email"], ["ada", "x", "ada@contoso.com"]]}),
    ],
)
def test_of_a_title_or_a_merged_row_above_the_header_it_is_said_what_to_do(file: bytes) -> None:
    with pytest.raises(UnreadableFile, match=TITLE):
        accounts(file)


def test_a_sheet_in_front_of_the_one_with_the_rows_is_named_with_the_others() -> None:
    book = xlsx({"Read me": [["Exported by", "Ada"]], "Users": [["userName"], ["ada"]]})
    with pytest.raises(UnreadableFile, match="The sheet Read me was read, and not Users: move the sheet"):
        accounts(book)


class TestQuotes:
    def test_a_line_in_quotes_as_a_whole_is_no_name(self) -> None:
        found, _ = accounts('userName,email\n"ada,ada@contoso.com"\nbob,bob@contoso.com\n')
        assert [row.user_name if isinstance(row, AccountRow) else row.reason for row in found] == [
            "The row is in quotes as a whole, so that it is one value.",
            "bob",
        ]

    def test_all_lines_in_quotes_as_a_whole_are_refused_as_such(self) -> None:
        with pytest.raises(UnreadableFile, match="in quotes as a whole"):
            accounts('"userName,email"\n"ada,ada@contoso.com"\n')

    @pytest.mark.parametrize("pair", ["''", "\u201c\u201d", "\u201e\u201c", "\u00ab\u00bb"])
    def test_quotes_that_csv_does_not_have_become_part_of_nobodys_name(self, pair: str) -> None:
        first, last = pair
        lines = [f"{first}{one}{last},{first}{two}{last}" for one, two in (("userName", "email"), ("ada", "a@b.c"))]
        with pytest.raises(UnreadableFile, match="quotes that CSV does not have"):
            accounts("\n".join([*lines, ""]))


@pytest.mark.parametrize(
    ("word", "active"),
    [("Aktiv", True), ("inaktiv", False), ("Actif", True), ("inactif", False), ("gesperrt", False)],
)
def test_states_in_other_languages_say_who_is_active(word: str, active: bool) -> None:
    (row,), _ = accounts(f"Benutzername,Aktiv,Vorname,Personalnummer\nada,{word},Ada,7\n")
    assert isinstance(row, AccountRow)
    assert row.document["active"] is active


def test_a_link_that_a_spreadsheet_made_of_an_address_is_the_address() -> None:
    (row,), _ = accounts("userName,email\nada,MAILTO:ada@contoso.com\n")
    assert isinstance(row, AccountRow)
    assert row.document["emails"][0]["value"] == "ada@contoso.com"


@pytest.mark.parametrize("number", ["42.0", "1,00", "12.345,00", "1,234.50"])
def test_a_personnel_number_with_decimals_is_suspicious(number: str) -> None:
    _, reading = accounts(f'userName;employeeNumber\nada;"{number}"\n')
    assert [(one.kind, one.column) for one in reading.suspicious] == [("mangledNumber", "employeeNumber")]


@pytest.mark.parametrize(
    ("begin", "what"),
    [(b"BZh9", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\x28\xb5\x2f\xfd", "Zstandard"), (b"PAR1", "Parquet")],
)
def test_what_is_packed_is_called_so(begin: bytes, what: str) -> None:
    with pytest.raises(UnreadableFile, match=what):
        read_rows(begin + bytes(40))


class TestAListThatIsNotWhole:
    """The first page of a list, saved by itself, left everybody behind it without a match, and nothing said so."""

    def remarks(self, text: str) -> tuple[str, ...]:
        notes = Notes()
        list(number_identities(text.encode(), notes=notes))
        return notes.reading().remarks

    def page(self, *more: tuple[str, Any], number: int = 1) -> str:
        rows = ("value", [graph(number, f"p{number}@contoso.com")])
        return json.dumps(dict([more[0], rows, *more[1:]]) if more else dict([rows]))

    def test_a_last_page_of_graph_with_a_next_one_says_so(self) -> None:
        link = ("@odata.nextLink", "https://graph.microsoft.com/v1.0/users?$skiptoken=x")
        context = ("@odata.context", "x")
        for first in (self.page(link), self.page(context, link)):
            assert [one[:40] for one in self.remarks(first)] == ["The last page of the file says that ther"]
            assert self.remarks(first + "\n" + self.page(context, number=2)) == ()

    def test_a_scim_list_with_fewer_rows_than_there_are_says_so(self) -> None:
        one = {"userName": "ada", "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"]}
        for total, told in ((1, ()), (250, ("The file says that there are 250, and holds 1: the rest is missing.",))):
            for page in ({"totalResults": total, "Resources": [one]}, {"Resources": [one], "totalResults": total}):
                assert accounts(json.dumps(page))[1].remarks == told


@pytest.mark.parametrize(
    ("header", "cell", "active"),
    [
        ("disabled", "Disabled", False),
        ("suspended", "suspended", False),
        ("Gesperrt", "gesperrt", False),
        ("blocked", "active", True),
        ("disabled", "yes", False),
        ("disabled", "no", True),
    ],
)
def test_a_column_of_who_is_off_may_say_it_by_its_own_word(header: str, cell: str, active: bool) -> None:
    """It was read as the answer to its header, so that `disabled: disabled` switched the account on."""
    (row,), _ = accounts(f"userName,{header}\nada,{cell}\n")
    assert isinstance(row, AccountRow)
    assert row.document["active"] is active
