"""Decisions as spreadsheets send them back: taken as they were meant, or told by line or by name, and never guessed."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from link_orchestrator.files import unpacking
from link_orchestrator.requests.workbook import XLSX
from shared.directory.directory import Directories
from shared.directory.work.jobs import State
from tests.link_orchestrator.files.workbooks import (
    ODS,
    archive,
    compound,
    encrypted,
    ods,
    repacked,
    with_macros,
    xlsx,
    xlsx_of,
)
from tests.link_orchestrator.requests.test_decisions_file import ACCOUNTS, IDENTITIES, decide, rows_in, send_file, table
from tests.link_orchestrator.running import App, Refusal, object_id

Table = list[list[str]]
"""A header, and the rows below it."""
WANTED = {object_id(1): "exclude", object_id(2): "link"}


@pytest.fixture
async def run(app: App) -> Any:
    await app.bring(ACCOUNTS)
    return await app.plan(*IDENTITIES)


@pytest.fixture
async def filled(app: App, run: Any) -> Table:
    """The table of the run's rows with two decisions in it."""
    rows = decide(rows_in(await table(app, run)), {one: {"action": action} for one, action in WANTED.items()})
    return [[*rows[0]], *([*row.values()] for row in rows)]


def text(rows: Sequence[Sequence[str]], separator: str = ",", **more: Any) -> str:
    """Return rows as CSV."""
    file = io.StringIO()
    csv.writer(file, delimiter=separator, **more).writerows(rows)
    return file.getvalue()


def edited(rows: Table, **values: str) -> Table:
    """Return a table with these values in the columns of every row with an action."""
    places = {name: rows[0].index(name) for name in values}
    found = [[*row] for row in rows]
    for row in found[1:]:
        if row[0]:
            for name, value in values.items():
                row[places[name]] = value
    return found


def chosen(rows: Table, *columns: str) -> Table:
    places = [rows[0].index(name) for name in columns]
    return [[row[place] for place in places] for row in rows]


def mapped(rows: Table, column: str, change: Callable[[str], str]) -> Table:
    place = rows[0].index(column)
    return [rows[0], *([*row[:place], change(row[place]), *row[place + 1 :]] for row in rows[1:])]


def merged(rows: Table) -> bytes:
    """Return a workbook in which the action of the row to link goes down to the row below."""
    file = io.BytesIO()
    with xlsxwriter.Workbook(file, {"in_memory": True}) as book:
        sheet = book.add_worksheet()
        for line, row in enumerate(rows):
            for place, cell in enumerate(row):
                sheet.write_string(line, place, cell)
        line = next(line for line, row in enumerate(rows) if row[0] == "link")
        sheet.merge_range(line, 0, line + 1, 0, "link")
    return file.getvalue()


def computed(rows: Table, value: str) -> bytes:
    """Return a workbook whose actions are formulas that have a value, or none as a program writes them."""
    file = xlsx({"rows": rows})

    def change(parts: dict[str, bytes]) -> None:
        sheet = parts["xl/worksheets/sheet1.xml"].decode()
        for line, row in enumerate(rows, 1):
            if line > 1 and row[0]:
                begin = sheet.index(f'<c r="A{line}"')
                end = sheet.index("</c>", begin) + 4
                cell = f'<c r="A{line}"{value.format(row[0])}</c>'
                sheet = sheet[:begin] + cell + sheet[end:]
        parts["xl/worksheets/sheet1.xml"] = sheet.encode()

    return repacked(file, change)


TAKEN: Mapping[str, Callable[[Table], bytes]] = {
    "semicolons": lambda rows: text(rows, ";").encode(),
    "tabs": lambda rows: text(rows, "\t").encode(),
    "told which separator": lambda rows: b"sep=;\r\n" + text(rows, ";").encode(),
    "with a byte-order mark": lambda rows: text(rows, ";").encode("utf-8-sig"),
    "UTF-16": lambda rows: text(rows, "\t").encode("utf-16"),
    "UTF-16 without a mark": lambda rows: text(rows, "\t").encode("utf-16-le"),
    "windows-1252": lambda rows: text(rows, ";").encode("cp1252"),
    "everything in quotes": lambda rows: text(rows, quoting=csv.QUOTE_ALL).encode(),
    "line breaks of Unix": lambda rows: text(rows, lineterminator="\n").encode(),
    "line breaks of old Macs": lambda rows: text(rows, lineterminator="\r").encode(),
    "the columns in another order": lambda rows: text([row[::-1] for row in rows]).encode(),
    "the columns that are needed alone": lambda rows: text(chosen(rows, "row", "run", "action")).encode(),
    "columns of one's own": lambda rows: text([["Account", *row, "account "] for row in rows]).encode(),
    "headers in other letters": lambda rows: text([[f" {one.title()} " for one in rows[0]], *rows[1:]]).encode(),
    "sorted rows": lambda rows: text([rows[0], *sorted(rows[1:], reverse=True)]).encode(),
    "rows that a filter hid are lost": lambda rows: text([rows[0], *(row for row in rows[1:] if row[0])]).encode(),
    "blank rows": lambda rows: text([one for row in rows for one in (row, [""] * len(row))]).encode(),
    "spaces around the cells": lambda rows: text([[f" {cell}\u00a0" for cell in row] for row in rows]).encode(),
    "actions in capitals": lambda rows: text(mapped(rows, "action", lambda one: f" {one.upper()} ")).encode(),
    "object ids in braces": lambda rows: text(mapped(rows, "objectId", lambda one: f"{{{one.upper()}}}")).encode(),
    "apostrophes before the cells": lambda rows: text([rows[0], *([f"'{c}" for c in r] for r in rows[1:])]).encode(),
    "names that became numbers": lambda rows: text(mapped(rows, "displayName", lambda _: "4E+2")).encode(),
    "empty columns behind the last": lambda rows: text([[*row, "", ""] for row in rows]).encode(),
    "xlsx": lambda rows: xlsx({"rows": rows}),
    "xlsx with a sheet of notes behind": lambda rows: xlsx({"rows": rows, "notes": [["mine"]]}),
    "xlsx whose first sheet is empty": lambda rows: xlsx({"Sheet1": [], "rows": rows}),
    "xlsx whose first sheet is hidden": lambda rows: xlsx({"lists": [["link"]], "rows": rows}, hidden=["lists"]),
    "xlsx with formulas that were worked out": lambda rows: computed(rows, ' t="str"><f>B1&amp;""</f><v>{}</v>'),
    "xlsm": lambda rows: with_macros(xlsx({"rows": rows})),
    "ods": lambda rows: ods(rows),
}  # fmt: skip


@pytest.mark.parametrize("way", TAKEN)
async def test_what_a_spreadsheet_made_of_the_table_decides_as_it_was_meant(
    app: App, run: Any, filled: Table, way: str
) -> None:
    answer = await send_file(app, run, TAKEN[way](filled), "application/octet-stream")
    assert (answer["reviewed"], answer["notTaken"]) == (2, 0), answer["refused"]
    assert await reviews(app, run) == WANTED
    again = await send_file(app, run, TAKEN[way](filled), "application/octet-stream")
    assert (again["reviewed"], again["unchanged"], again["notTaken"]) == (0, 2, 0)


async def reviews(app: App, run: Any) -> dict[str, str]:
    """Return what persons decided, by object id."""
    rows = [row for row in await app.decisions(run) if row.get("review", {}).get("action", "leave") != "leave"]
    return {row["identity"]["objectId"]: row["review"]["action"] for row in rows}


REFUSED: Mapping[str, tuple[Callable[[Table], bytes], str]] = {
    "nothing": (lambda rows: b"", "The file is empty"),
    "a header alone": (lambda rows: text(rows[:1]).encode(), "no row of the file has one, so nothing was decided"),
    "no action": (lambda rows: text(edited(rows, action="")).encode(), "write link, exclude, leave, acknowledge"),
    "another run's": (lambda rows: text(edited(rows, run="run-of-before")).encode(), "nothing was decided"),
    "a renamed column": (
        lambda rows: text([["Aktion", *rows[0][1:]], *rows[1:]]).encode(),
        "it has no column action.*fill in action",
    ),
    "a column that is gone": (lambda rows: text([row[:-1] for row in rows]).encode(), "it has no column run"),
    "a title above the header": (lambda rows: text([["My decisions"], *rows]).encode(), "it has no column action"),
    "the rows on the second sheet": (
        lambda rows: xlsx({"notes": [["read me"], ["first"]], "rows": rows}),
        "The sheet notes was read, and not rows: move the sheet with the rows to the front",
    ),
    "formulas that nobody worked out": (
        lambda rows: computed(rows, "><f>B1</f><v></v>"),
        "Formulas of the workbook have no values.*open it in a spreadsheet, save it",
    ),
    "a password": (lambda rows: encrypted(), "encrypted, by a password or a sensitivity label. Save it without one"),
    "an ods with a password": (
        lambda rows: archive(
            {"mimetype": ODS, "META-INF/manifest.xml": "<m><encryption-data/></m>", "content.xml": "x"}
        ),
        "encrypted, by a password",
    ),
    "xls": (lambda rows: compound("Workbook"), r"old kind \(.xls\).*Save it as .xlsx or CSV"),
    "xlsb": (lambda rows: archive({"xl/workbook.bin": "x"}), r"binary workbook \(.xlsb\). Save it as .xlsx or CSV"),
    "half of an xlsx": (lambda rows: (file := xlsx({"rows": rows}))[: len(file) // 2], "damaged.*save it again"),
    "half of an ods": (lambda rows: (file := ods(rows))[: len(file) // 2], "damaged.*save it again"),
    "a bomb": (lambda rows: xlsx_of("<row/>" * 200_000), "unpacks into more than"),
    "PDF": (lambda rows: b"%PDF-1.7\n" + text(rows).encode(), "The file is a PDF"),
    "a web page": (lambda rows: b"<html><table><tr><td>link", "web page"),
    "JSON": (lambda rows: b'[{"action": "link", "row": "x", "run": "y"}]', "no table of a run's rows"),
}


@pytest.mark.parametrize("way", REFUSED)
async def test_what_is_no_table_of_this_run_is_refused_by_name_and_decides_nothing(
    app: App, run: Any, filled: Table, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_UNPACKED_BYTES", 1_000_000)
    make, why = REFUSED[way]
    with pytest.raises(Refusal, match=f"(?s){why}") as refusal:
        await send_file(app, run, make(filled), "application/octet-stream")
    assert refusal.value.status == 400
    assert await reviews(app, run) == {}


TOLD: Mapping[str, tuple[Callable[[Table], bytes], str]] = {
    "lines that contradict each other": (
        lambda rows: text([*rows, *(row for row in edited(rows, action="leave")[1:] if row[0])]).encode(),
        "decides otherwise about the same row, so neither counts",
    ),
    "yes in another language": (lambda rows: text(edited(rows, action="WAHR")).encode(), "action: one of link"),
    "a formula as text": (lambda rows: text(edited(rows, action="=A1")).encode(), "action: one of link"),
    "an error of a formula": (lambda rows: text(edited(rows, action="#N/A")).encode(), "action: one of link"),
    "object ids that were sorted apart": (
        lambda rows: text(edited(rows, objectId=object_id(3))).encode(),
        "objectId: that of the row is another one.*take the line from the report anew",
    ),
    "rows that were sorted apart": (
        lambda rows: text(edited(rows, row=next(row[-2] for row in rows if object_id(3) in row))).encode(),
        "objectId: that of the row is another one|decides otherwise",
    ),
    "rows that were cut off": (
        lambda rows: text(mapped(rows, "row", lambda one: one[:20])).encode(),
        "no row of that id",
    ),
    "lines in quotes as a whole": (
        lambda rows: text(
            [few[0], *([text([row]).strip()] for row in few[1:] if row[0])]
            if (few := chosen(rows, "action", "row", "run"))
            else []
        ).encode(),
        "in quotes as a whole",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", TOLD)
async def test_what_is_not_sure_is_told_by_line_and_decides_nothing(
    app: App, run: Any, filled: Table, way: str
) -> None:
    make, why = TOLD[way]
    answer = await send_file(app, run, make(filled))
    assert answer["reviewed"] == 0
    assert answer["notTaken"] >= 2
    for one in answer["refused"]:
        assert why.partition(".*")[0].split("|")[0] in one["reason"] or why.split("|")[-1] in one["reason"]
    assert await reviews(app, run) == {}


async def test_an_account_that_a_spreadsheet_took_for_a_number_is_told(app: App, run: Any, filled: Table) -> None:
    for mangled in ("1,23E+17", "1.23457E+17", "123456789012346000", "00001-02-03", "#REF!"):
        answer = await send_file(app, run, text(edited(filled, action="link", account=mangled)).encode())
        assert (answer["reviewed"], answer["notTaken"]) == (0, 2)


async def test_a_cell_that_is_merged_with_others_decides_about_none_of_them(app: App, run: Any, filled: Table) -> None:
    rows = [filled[0], *sorted(filled[1:], key=lambda row: ["link", "", "exclude"].index(row[0]))]
    answer = await send_file(app, run, merged(rows), XLSX)
    assert [one["line"] for one in answer["refused"]] == [2, 3]
    assert "Take the merged cells apart" in answer["refused"][0]["reason"]
    assert await reviews(app, run) == {object_id(1): "exclude"}


async def test_a_name_that_begins_with_an_apostrophe_is_nobody_elses(app: App) -> None:
    await app.bring(b"userName\n't.hooft\nt.hooft\n")
    run = await app.plan(IDENTITIES[5])
    rows = decide(rows_in(await table(app, run)), {object_id(6): {"action": "link", "account": "'t.hooft"}})
    assert (await send_file(app, run, text([[*rows[0]], *(r.values() for r in rows)]).encode()))["reviewed"] == 1  # type: ignore[list-item]
    (row,) = await app.decisions(run, "noAccount")
    assert row["review"]["userName"] == "'t.hooft"


async def test_a_hundred_thousand_rows_are_read_and_those_with_an_action_decided(
    app: App, run: Any, filled: Table
) -> None:
    few = chosen(filled, "action", "objectId", "row", "run")
    rest = [["", object_id(n), f"00review_{n:032x}", run["id"]] for n in range(10, 100_010)]
    answer = await send_file(app, run, text([*few, *rest]).encode())
    assert (answer["reviewed"], answer["notTaken"]) == (2, 0)


@pytest.mark.parametrize("state", ["approved", "cancelled", "expired"])
async def test_a_file_that_comes_when_the_run_is_past_deciding_is_refused_by_its_state(
    app: App, run: Any, filled: Table, state: str
) -> None:
    match state:
        case "approved":
            await app.apply(run)
        case "cancelled":
            await app.call("POST", f"linking/runs/{run['id']}/cancel")
            await app.wait(f"linking/runs/{run['id']}", "cancelled")
        case "expired":
            jobs = (await Directories(app.tables).open("main")).jobs
            await jobs.change(run["id"], lambda job: replace(job, state=State.EXPIRED, ended=jobs.now()))
    before = await reviews(app, run)
    with pytest.raises(Refusal, match="only the rows of a planned run can be reviewed") as refusal:
        await send_file(app, run, text(filled).encode())
    assert refusal.value.status == 409
    assert await reviews(app, run) == before


@settings(max_examples=60)
@given(
    form=st.integers(0, 3),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3), st.binary(max_size=3)), min_size=1, max_size=4),
)
async def test_whatever_becomes_of_the_bytes_nothing_is_decided_that_the_file_did_not_say(
    app: App, form: int, changes: list[tuple[float, int, bytes]]
) -> None:
    run, rows = await waiting(app)
    file = (text(rows).encode(), text(rows, ";").encode("utf-16"), xlsx({"s": rows}), ods(rows))[form]
    for place, gone, more in changes:
        at = int(place * len(file))
        file = file[:at] + more + file[at + gone :]
    with suppress(Refusal):
        await send_file(app, run, file, "application/octet-stream")
    assert (await reviews(app, run)).items() <= WANTED.items()


async def waiting(app: App) -> tuple[Any, Table]:
    """Return a planned run that nobody decided about, and its table with two decisions in it."""
    runs = (await app.call("GET", "linking/runs"))["runs"]
    if runs and runs[0]["phase"] == "planned":
        run = runs[0]
        rows = [row["id"] for row in await app.decisions(run) if "review" in row]
        if rows:
            await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": rows, "action": "leave"})
    else:
        await app.bring(ACCOUNTS)
        run = await app.plan(*IDENTITIES)
    told = decide(rows_in(await table(app, run)), {one: {"action": action} for one, action in WANTED.items()})
    return run, [[*told[0]], *([*row.values()] for row in told)]
