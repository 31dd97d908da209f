"""What was read of a file is said: its format, its columns, what was ignored, and what looks wrong in it."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.files.accounts import read_accounts
from link_orchestrator.files.entra_groups import read_entra_groups
from link_orchestrator.files.groups import read_groups
from link_orchestrator.files.identities import number_identities
from link_orchestrator.files.reading import MAX_SHOWN_COLUMNS, Notes, ReadColumn, Reading
from link_orchestrator.files.suspicious import MEANINGS, Suspicion, suspect
from link_orchestrator.problems import LINES, Problem
from tests.link_orchestrator.running import App, graph, object_id

Reader = Callable[..., Iterator[Any]]


def read(text: str | bytes, reader: Reader = read_accounts, **how: Any) -> Reading:
    """Return what a reader notes of a file that it reads to its end."""
    notes = Notes()
    list(reader(text.encode() if isinstance(text, str) else text, notes=notes, **how))
    return notes.reading()


def suspicious(reading: Reading) -> list[tuple[str, str, int]]:
    return [(one.kind.value, one.column, one.count) for one in reading.suspicious]


class TestAFile:
    def test_its_format_its_columns_and_the_ignored_ones_are_said(self) -> None:
        reading = read("Login;E-Mail;Shoe size;Password\na;a@contoso.com;44;x\nb;b@contoso.com;45;y\n")
        assert (reading.format, reading.encoding, reading.separator) == ("csv", "UTF-8", ";")
        assert reading.columns == (ReadColumn("Login", "userName"), ReadColumn("E-Mail", "email"))
        assert reading.ignored == ("Shoe size", "Password")
        assert (reading.rows, reading.unusable, reading.suspicious, reading.problems) == (2, 0, (), ())

    def test_a_column_that_the_mapping_names_is_read_as_what_it_says(self) -> None:
        reading = read("Key,userName\na,b\n", columns={"Key": "userName", "userName": ""})
        assert (reading.columns, reading.ignored) == ((ReadColumn("Key", "userName"),), ("userName",))

    @pytest.mark.parametrize(
        ("text", "form"),
        [('{"userName": "a"}\n{"userName": "b", "Hat": 1}', "jsonl"), ('[{"userName": "a"}, {"Hat": 1}]', "json")],
    )
    def test_columns_of_all_objects_of_json_add_up(self, text: str, form: str) -> None:
        reading = read(text)
        assert (reading.format, reading.separator) == (form, "")
        assert (reading.columns, reading.ignored) == ((ReadColumn("userName", "userName"),), ("Hat",))

    def test_every_reader_says_what_it_read(self) -> None:
        users = read(json.dumps([{"id": object_id(1), "userPrincipalName": "a", "hat": 1}]), number_identities)
        assert [one.read_as for one in users.columns] == ["id", "userPrincipalName"]
        here = read("group,userName,hat\nSales,a,1\n", read_groups)
        assert [one.read_as for one in here.columns] == ["group", "userName"]
        theirs = read(json.dumps([{"id": "1", "displayName": "Sales", "members": [], "hat": 1}]), read_entra_groups)
        assert [one.read_as for one in theirs.columns] == ["id", "displayName", "members"]
        assert users.ignored == here.ignored == theirs.ignored == ("hat",)

    def test_problems_are_counted_by_reason_in_the_order_of_their_first_lines(self) -> None:
        reading = read("userName,email\na,x\n,\n" + "b,y\n" * 9 + ',""\n,"\n')
        (bad, quote) = reading.problems
        assert (bad.count, bad.lines, "no e-mail address" in bad.reason) == (10, (2, 4, 5, 6, 7), True)
        assert (quote.count, len(quote.lines)) == (1, 1)
        assert reading.unusable == 11

    def test_headers_without_end_are_cut_off(self) -> None:
        reading = read("\n".join(json.dumps({"userName": "a", f"hat{n}" + "x" * 100: n}) for n in range(3_000)))
        assert len(reading.columns) + len(reading.ignored) == MAX_SHOWN_COLUMNS
        assert max(map(len, reading.ignored)) == 80


class TestSuspiciousValues:
    @pytest.mark.parametrize(
        ("value", "kind"),
        [
            *(
                (word, "filler")
                for word in ("n/a", "N/A", "none", "NULL", "(null)", "unknown", "-", "--", "?", "0", "0000")
            ),
            *(
                (word, "filler")
                for word in ("test@test", "none@none.com", "noreply@contoso.com", "no-email@x.yz", "xxx")
            ),
            *((number, "mangledNumber") for number in ("1.2E+05", "1,23457E+11", "4E+10", "1.00E-05", "42.0")),
            *((date, "date") for date in ("01.02.2026", "1/2/26", "2026-02-01", "01-Feb", "Mär-26", "1. Dez. 2026")),
            *(
                (date, "date")
                for date in ("2026-02-01T10:00", "01.02.2026 10:00", "01.02.", "01. Feb", "1:30", "01:30:00")
            ),
            *((date, "date") for date in ("01-févr", "1-ene", "01-set", "02-okt", "mai-26", "1-mrt")),
            *((truth, "truthValue") for truth in ("TRUE", "Falsch", "VRAI", "falso")),
            *((error, "spreadsheetError") for error in ("#N/A", "#REF!", "#NAME?", "#NV", "#WERT!", "####")),
            ("System.String[]", "powershellObject"),
            ("JÃ¼rgen", "mojibake"),
            ("J\ufffdrgen", "mojibake"),
            ("Oâ€™Brien", "mojibake"),
        ],
    )
    def test_each_kind_is_known(self, value: str, kind: str) -> None:
        assert suspect(value, "employeeNumber") == kind

    @pytest.mark.parametrize("name", ["Y?lmaz", "?zlem Ak", "Gülşah Y?lmaz", "Kova?"])
    def test_a_question_mark_in_the_place_of_a_letter_is_known_in_names_alone(self, name: str) -> None:
        assert suspect(name, "displayName") == "lostLetter"
        assert suspect(name, "streetAddress") is None

    @pytest.mark.parametrize(
        "value",
        [
            *(
                "Na",
                "Noor",
                "None Ghana",
                "June",
                "May",
                "Zoë",
                "São",
                "Ångström",
                "Âgé",
                "Dec",
                "Unknown Soldier",
                "X",
            ),
            *(
                "0042",
                "12345",
                "1E5",
                "3E-12",
                "1.2",
                "1-2",
                "Truesdale",
                "10.1.2",
                "4.5",
                "+1 425 555 0100",
                "a@test.contoso.com",
                "jane@contoso.com",
            ),
        ],
    )
    def test_a_value_that_may_be_somebodys_is_not_suspicious(self, value: str) -> None:
        assert suspect(value, "displayName") is None

    def test_no_and_a_phone_number_are_what_they_are(self) -> None:
        assert suspect("0", "active") is None
        assert suspect("0", "inactive") is suspect("none", "blocked") is suspect("FALSE", "blocked") is None
        assert suspect("none", "emailVerified") is None
        assert suspect("01.02.2026", "phone") is None

    def test_they_are_counted_by_kind_and_column_with_the_first_lines_and_are_read_all_the_same(self) -> None:
        rows = [f"a{n},n/a,{'1.2E+05' if n == 3 else n + 10}" for n in range(9)]
        reading = read("\n".join(["userName,title,Personal no", *rows]), columns={"Personal no": "employeeNumber"})
        assert suspicious(reading) == [("filler", "title", 9), ("mangledNumber", "Personal no", 1)]
        assert reading.suspicious[0].lines == (2, 3, 4, 5, 6)
        assert reading.suspicious[1].lines == (5,)
        assert reading.rows == 9

    def test_a_column_that_is_not_read_is_not_judged(self) -> None:
        assert suspicious(read("userName,Shoe size\na,n/a\n")) == []

    def test_each_has_words_and_a_remedy(self) -> None:
        assert {*MEANINGS} == {*Suspicion}


@given(st.binary(max_size=80))
def test_what_is_noted_of_any_bytes_survives_json(data: bytes) -> None:
    for reader in (read_accounts, read_groups, number_identities, read_entra_groups):
        notes = Notes()
        try:
            for _ in reader(b"userName,id,group,userPrincipalName\n" + data, notes=notes):
                pass
        except ValueError:
            continue
        reading = notes.reading()
        assert Reading.from_json(json.loads(json.dumps(reading.to_json()))) == reading
        lines = [one.lines for one in reading.problems] + [one.lines for one in reading.suspicious]
        assert all(len(one) <= LINES for one in lines)


def test_reasons_of_their_own_for_every_row_do_not_fill_the_memory() -> None:
    """A reason names a header of JSON: there may be as many as rows."""

    def kept(rows: int) -> tuple[Reading, int]:
        notes = Notes()
        tracemalloc.start()
        for number in range(1, rows + 1):
            notes.problem(Problem(number, f"The column h{number} holds no text.", "Keep one."))
            notes.suspect(Suspicion.FILLER, number, f"header {number}")
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return notes.reading(), held

    (few, held_of_few), (many, held_of_many) = kept(2_000), kept(20_000)
    assert held_of_many < 1.2 * held_of_few
    assert (few.unusable, many.unusable) == (2_000, 20_000)
    assert [one.lines for one in many.problems] == [(line,) for line in range(1, 51)]


class TestTheDoors:
    async def test_an_import_and_its_job_say_what_was_read(self, app: App) -> None:
        job = await app.call("POST", "accounts/import", b"userName,title,Hat\na,n/a,1\nb\n,,x\n", "text/csv")
        done = await app.wait(f"accounts/imports/{job['id']}", "done")
        assert job["reading"] == done["reading"]
        assert job["reading"]["ignored"] == ["Hat"]
        assert [one["kind"] for one in job["reading"]["suspicious"]][:1] == ["filler"]
        assert "reading" not in job["options"]

    async def test_uploads_and_an_import_of_groups_do(self, app: App) -> None:
        upload = await app.call("POST", "linking/identities", {"value": [graph(1, "a@contoso.com", hat=1), {}]})
        assert upload["reading"]["format"] == "json"
        assert upload["reading"]["ignored"] == ["hat"]
        assert [one["lines"] for one in upload["reading"]["problems"]] == [[1]]
        group = {"id": object_id(2), "displayName": "Sales", "members": []}
        upload = await app.call("POST", "linking/groups", {"value": [group]})
        assert [one["readAs"] for one in upload["reading"]["columns"]] == ["id", "displayName", "members"]
        job = await app.call("POST", "groups/import", b"group,userName\nSales,a\n", "text/csv")
        assert job["reading"]["rows"] == 1

    async def test_an_object_id_that_comes_twice_is_counted_among_the_unusable(self, app: App) -> None:
        twice = [graph(1, "a@contoso.com"), graph(1, "b@contoso.com"), graph(2, "c@contoso.com")]
        upload = await app.call("POST", "linking/identities", {"value": twice})
        assert (upload["reading"]["rows"], upload["reading"]["unusable"]) == (1, 2)
        assert upload["counts"] == {"read": 1, "problems": 2}

    async def test_the_problems_of_an_import_are_listed_in_the_order_of_their_lines(self, app: App) -> None:
        rows = [f"person{n}@contoso.com,{'x' if n % 3 else ''}" for n in range(60)]
        again = [f"person{n}@contoso.com,,other" for n in range(0, 60, 9)]  # found by the pass, and not by the reader
        file = "\n".join(["userName,otherEmails,title", *(f"{row}," for row in rows), *again, ""])
        job = await app.bring(file.encode())
        listed: list[int] = []
        page: Any = {"cursor": ""}
        while "cursor" in page:
            page = await app.call("GET", f"accounts/imports/{job['id']}/problems", count="7", cursor=page["cursor"])
            listed += [problem["line"] for problem in page["problems"]]
        assert listed == [n + 2 for n in range(60) if n % 3] + [62 + n for n in range(len(again))]

    async def test_problems_of_one_line_are_all_listed(self, app: App) -> None:
        objects = [{"userName": f"p{n // 2}@contoso.com", "title": str(n)} for n in range(40)]
        job = await app.bring(json.dumps(objects).encode(), "application/json")
        assert len(await app.problems(job)) == job["counts"]["refused"] == 20

    async def test_hundreds_of_problems_of_one_line_are_all_listed(self, app: App) -> None:
        job = await app.bring(b'[{"userName": "ada"}' + b", 1" * 900 + b"]", "application/json")
        assert len(await app.problems(job)) == job["counts"]["refused"] == 900

    async def test_a_file_of_which_much_is_to_be_said_is_imported_all_the_same(self, app: App) -> None:
        """The job has to hold what was read; JSON may have another header in every row."""
        headers = ["\U0001f600" * 70 + "".join(smile) + "title" for smile in product("\U0001f601\U0001f602", repeat=10)]
        rows = [json.dumps({"userName": f"p{n}", header: "n/a"}) for n, header in enumerate(headers)]
        job = await app.bring("\n".join([*rows, ""]).encode(), "application/x-ndjson")
        assert job["counts"] == {"created": 1024, "refused": 0}
        assert [one["lines"] for one in job["reading"]["suspicious"]] == [[line] for line in range(1, 201)]
