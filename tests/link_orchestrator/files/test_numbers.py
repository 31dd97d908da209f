"""Numbers that a spreadsheet shortened are told where the column shows it, and plain numbers are let be."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable

import pytest
import xlsxwriter

from link_orchestrator.files.accounts import read_accounts
from link_orchestrator.files.identities import number_identities
from link_orchestrator.files.reading import Notes, Reading
from tests.link_orchestrator.files.test_reading import read, suspicious
from tests.link_orchestrator.files.workbooks import xlsx
from tests.link_orchestrator.running import object_id


def numbered(numbers: Iterable[str], column: str = "employeeNumber") -> Reading:
    """Return what is noted of a file with these numbers in a column."""
    return read("\n".join([f"email,{column}", *(f"a{n}@contoso.com,{one}" for n, one in enumerate(numbers))]))


class TestShortened:
    def test_a_number_without_the_zeros_that_fill_the_others_is_told_with_its_line(self) -> None:
        reading = numbered(["00123", "00456", "789", "12345", "1", "04444"])
        assert suspicious(reading) == [("shortenedNumber", "employeeNumber", 2)]
        (told,) = reading.suspicious
        assert told.lines == (4, 6)
        assert "stripLeadingZeros" in told.to_json()["remedy"]

    @pytest.mark.parametrize("column", ["userName", "applicationId", "employeeNumber", "externalId", "nameId"])
    def test_that_is_so_of_every_column_by_which_people_are_told_apart(self, column: str) -> None:
        assert suspicious(numbered(["00123", "456"], column)) == [("shortenedNumber", column, 1)]

    def test_a_column_of_another_kind_is_not_judged(self) -> None:
        assert suspicious(numbered(["00123", "456"], "costCenter")) == []

    @pytest.mark.parametrize(
        "numbers",
        [
            [str(n) for n in range(1, 3000)],
            [f"{n:05}" for n in range(1, 3000)],
            [*(str(n) for n in range(1, 3000)), "0815"],
            ["01", "0123", "004567", "12"],
            ["00123", "12345", "123456789"],
            ["00123", "", "E-17", "a1"],
        ],
        ids=["plain", "padded", "plain, and one with a zero", "of no one width", "longer", "words"],
    )
    def test_plain_numbers_are_no_false_alarm(self, numbers: list[str]) -> None:
        assert suspicious(numbered(numbers)) == []

    def test_the_first_lines_are_those_of_the_file_whatever_their_digits(self) -> None:
        reading = numbered([*(f"{n:06}" for n in range(1, 9)), "1", "22", "3", "44", "5", "66", "7"])
        assert reading.suspicious[0].lines == (10, 11, 12, 13, 14)
        assert reading.suspicious[0].count == 7

    def test_an_upload_of_identities_and_a_workbook_tell_it_too(self) -> None:
        people = [
            {"id": object_id(n), "userPrincipalName": f"a{n}@contoso.com", "employeeId": one}
            for n, one in enumerate(["00123", "00456", "789"])
        ]
        assert suspicious(read(json.dumps(people), number_identities)) == [("shortenedNumber", "employeeId", 1)]
        book = xlsx({"S": [["userName", "employeeNumber"], ["a", "00123"], ["b", 456]]})
        assert suspicious(read(book)) == [("shortenedNumber", "employeeNumber", 1)]


@pytest.mark.parametrize(("form", "says"), [("00000", True), ("0000;@", True), ("0.00", False), ("#,##0", False)])
def test_zeros_that_the_format_of_a_cell_alone_shows_are_told(form: str, says: bool) -> None:
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        sheet, style = book.add_worksheet(), book.add_format({"num_format": form})
        sheet.write_row(0, 0, ["userName", "employeeNumber"])
        sheet.write_row(1, 0, ["a", "00456"], style)
        sheet.write_row(2, 0, ["b", 123], style)
    assert any("format alone" in one for one in read(file.getvalue()).remarks) is says


class TestRounded:
    def test_long_numbers_that_all_end_in_zeros_are_told(self) -> None:
        reading = numbered(["1234567890123450", "9876543210987650000"])
        assert suspicious(reading) == [("roundedNumber", "employeeNumber", 2)]

    def test_one_among_many_that_ends_in_a_zero_by_chance_is_not(self) -> None:
        assert suspicious(numbered(["1234567890123450", "1234567890123456", "1234567890123457"])) == []

    def test_a_long_number_in_a_cell_of_a_workbook_is_told_once(self) -> None:
        assert suspicious(read(xlsx({"S": [["userName", "applicationId"], ["a", 1234567890123450000]]}))) == [
            ("mangledNumber", "applicationId", 1)
        ]


def test_headers_without_end_are_not_all_kept() -> None:
    notes = Notes()
    rows = (json.dumps({"userName": f"a{n}", f"employee number{' ' * n}": "007"}) for n in range(3_000))
    assert len(list(read_accounts("\n".join(rows).encode(), notes=notes))) == 3_000
    assert len(notes.reading().suspicious) == 0
