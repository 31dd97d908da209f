"""Decisions as a file: a table of the report, filled in and sent back, is judged row by row and told by line."""

from __future__ import annotations

import csv
import io
import os
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from tempfile import gettempdir
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from python_calamine import load_workbook

from link_orchestrator.requests import decisions_file, workbook
from link_orchestrator.requests.workbook import XLSX, Workbook
from tests.link_orchestrator.requests.test_reviews import row_of
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id, serving

ACCOUNTS = csv_file(
    {"userName": "ada@contoso.com"},
    {"userName": "bob.local", "employeeNumber": "2"},
    {"userName": "anna.old", "displayName": "Anna Müller"},
    {"userName": "=root.old", "protected": "yes"},
    {"userName": "out@x.org"},
    {"userName": "far@x.org"},
    {"userName": "left.old"},
)
IDENTITIES = (
    graph(1, "ada@contoso.com"),
    graph(2, "bob@contoso.com", employeeId="2"),
    graph(3, "anna@contoso.com", displayName="Anna Müller"),
    graph(4, "out@x.org"),
    graph(5, "far@x.org"),
    graph(6, "new@contoso.com", displayName='=HYPERLINK("http://x","y")'),
)
Rows = list[dict[str, str]]
SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


@pytest.fixture
async def run(app: App) -> Any:
    await app.bring(ACCOUNTS)
    return await app.plan(*IDENTITIES)


async def table(app: App, run: Any, form: str = "csv", **asked: str) -> bytes:
    """Return the table of a run's report as it comes."""
    url = f"/linking/runs/{run['id']}/report"
    async with app.session.get(url, params={"format": form, **asked}) as answer:
        assert answer.status == 200, await answer.text()
        assert answer.content_type == (XLSX if form == "xlsx" else "text/csv")
        return await answer.read()


def rows_in(file: bytes) -> Rows:
    """Return the rows of a CSV table."""
    return list(csv.DictReader(io.StringIO(file.decode("utf-8-sig"), newline="")))


async def send(app: App, run: Any, rows: Rows, **asked: str) -> Any:
    return await send_file(app, run, csv_file(*rows), **asked)


async def send_file(app: App, run: Any, file: bytes, kind: str = "text/csv", **asked: str) -> Any:
    return await app.call("POST", f"linking/runs/{run['id']}/decisions", file, kind, **asked)


def decide(rows: Rows, decisions: Mapping[str, Mapping[str, str]]) -> Rows:
    """Return rows with what a person writes into some, by objectId or userName."""
    return [row | decisions.get(row["objectId"] or row["userName"], {}) for row in rows]


async def test_what_a_person_fills_in_is_reviewed_row_by_row_and_the_rest_is_told_by_line(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {
            object_id(1): {"action": "exclude"},
            object_id(2): {"action": " Link "},
            object_id(3): {"action": "link", "account": "anna.old"},
            object_id(4): {"action": "link"},
            object_id(5): {"action": "agree"},
            object_id(6): {"action": "link", "account": "'=root.old"},
            "left.old": {"account": "x"},
        },
    )
    answer = await send(app, run, rows)
    assert (answer["reviewed"], answer["unchanged"], answer["notTaken"]) == (4, 0, 3)
    lines = {n + 2: row["objectId"] or row["userName"] for n, row in enumerate(rows)}
    refused = {lines[one["line"]]: one["reason"] for one in answer["refused"]}
    assert "action: one of link, exclude" in refused[object_id(5)]
    assert "protected" in refused[object_id(6)]
    assert "no action: write link" in refused["left.old"]
    assert answer["run"]["review"] == {"link": 3, "exclude": 1}
    done = await app.apply(run, links=3)
    assert done["counts"]["linked"] == 3
    for name, number in (("bob.local", 2), ("anna.old", 3), ("out@x.org", 4)):
        assert (await app.account(name))["link"]["identity"] == object_id(number)
    for name in ("ada@contoso.com", "far@x.org", "=root.old"):
        assert (await app.account(name))["link"] is None


async def test_a_workbook_is_taken_back_as_a_spreadsheet_wrote_it(app: App, run: Any) -> None:
    header, *rows = load_workbook(io.BytesIO(await table(app, run, "xlsx"))).get_sheet_by_index(0).to_python()
    told = [dict(zip(header, map(str, row), strict=True)) for row in rows]
    filled = decide(told, {object_id(2): {"action": "link"}, object_id(3): {"action": "link", "account": "anna.old"}})
    with Workbook(["notes", *header]) as book:
        for row in sorted(filled, key=lambda row: row["decision"]):
            book.add(["my own column", *row.values()])
        file = await book.close()
    answer = await send_file(app, run, file, XLSX)
    assert (answer["reviewed"], answer["notTaken"]) == (2, 0)
    assert (await send_file(app, run, file, XLSX))["unchanged"] == 2
    done = await app.apply(run, links=3, acknowledged=[one["code"] for one in answer["run"].get("warnings", ())])
    assert done["counts"]["linked"] == 3


async def test_a_file_that_is_sent_twice_changes_nothing_the_second_time(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {
            object_id(1): {"action": "exclude"},
            object_id(2): {"action": "link"},
            object_id(5): {"action": "leave"},
            "anna.old": {"action": "link", "identity": object_id(3)},
        },
    )
    assert (await send(app, run, rows))["reviewed"] == 4
    before = await app.decisions(run)
    answer = await send(app, run, rows)
    assert (answer["reviewed"], answer["unchanged"], answer["notTaken"]) == (0, 4, 0)
    assert await app.decisions(run) == before


async def test_what_frees_an_account_counts_before_what_links_it(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {object_id(2): {"action": "exclude"}, object_id(3): {"action": "link", "account": "bob.local"}},
    )
    assert (await send(app, run, sorted(rows, key=lambda row: row["action"] != "link")))["reviewed"] == 2


async def test_two_lines_give_one_account_to_one_person_alone(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {number: {"action": "link", "account": "anna.old"} for number in (object_id(3), object_id(6))}
        | {"anna.old": {"action": "link", "identity": object_id(3)}},
    )
    answer = await send(app, run, [*rows, *rows])
    assert (answer["reviewed"], answer["notTaken"]) == (1, 5)
    assert (await app.apply(run, links=2))["counts"]["linked"] == 2


async def test_of_lines_that_say_the_same_of_one_row_the_first_counts(app: App, run: Any) -> None:
    (row,) = rows_in(await table(app, run, decision="review"))
    answer = await send(app, run, [row | {"action": action} for action in ("exclude", " Exclude", "exclude")])
    told = "row: line 2 says the same of the same row"
    assert answer["refused"] == [{"line": line, "reason": told} for line in (3, 4)]
    assert (await row_of(app, run, 2))["review"]["action"] == "exclude"


async def test_of_lines_that_contradict_each_other_about_one_row_none_counts(app: App, run: Any) -> None:
    (row,) = rows_in(await table(app, run, decision="review"))
    answer = await send(app, run, [row | {"action": action} for action in ("exclude", "link", "exclude", "leave")])
    otherwise = "row: line {} decides otherwise about the same row, so neither counts: keep the one that is right"
    told = {one["line"]: one["reason"] for one in answer["refused"]}
    assert told == {
        2: otherwise.format(3),
        3: otherwise.format(2),
        4: "row: line 2 says the same of the same row",
        5: otherwise.format(2),
    }
    assert "review" not in await row_of(app, run, 2)


async def test_of_two_lines_about_one_identity_each_is_judged_or_refused(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {
            object_id(3): {"action": "link", "account": "=root.old"},
            "anna.old": {"action": "link", "identity": object_id(3)},
        },
    )
    for some in (sorted(rows, key=lambda row: row["objectId"]), sorted(rows, key=lambda row: not row["objectId"])):
        answer = await send(app, run, some)
        review = (await row_of(app, run, 3)).get("review", {"userName": "anna.old"})
        assert review["userName"] == "anna.old", "nobody gets a protected account"
        assert answer["notTaken"] >= 1


@pytest.mark.parametrize("action", ["exclude", "leave", "link"])
async def test_an_accounts_line_does_not_overrule_the_line_of_the_identity_that_it_names(
    app: App, run: Any, action: str
) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {object_id(2): {"action": action}, "anna.old": {"action": "link", "identity": object_id(2)}},
    )
    lines = {row["objectId"] or row["userName"]: n + 2 for n, row in enumerate(rows)}
    answer = await send(app, run, rows)
    told = f"identity: line {lines[object_id(2)]} decides about this identity"
    assert [(one["line"], one["reason"]) for one in answer["refused"]] == [(lines["anna.old"], told)]
    assert (await row_of(app, run, 2))["review"]["action"] == action
    assert (await send(app, run, rows))["notTaken"] == 1


async def test_of_two_accounts_lines_that_name_one_identity_the_first_counts(app: App, run: Any) -> None:
    rows = decide(
        rows_in(await table(app, run)),
        {name: {"action": "link", "identity": object_id(6)} for name in ("anna.old", "left.old")},
    )
    first, second = (n + 2 for n, row in enumerate(rows) if row["action"])
    answer = await send(app, run, rows)
    assert (answer["reviewed"], [one["line"] for one in answer["refused"]]) == (1, [second])
    assert (await row_of(app, run, 6))["review"]["userName"] == rows[first - 2]["userName"]


async def test_a_file_of_another_run_is_refused_by_name_and_decides_nothing(app: App, run: Any) -> None:
    former = decide(rows_in(await table(app, run)), {object_id(2): {"action": "link"}})
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    later = await app.plan(*IDENTITIES)
    assert [row["row"] for row in rows_in(await table(app, later))] == [row["row"] for row in former]
    with pytest.raises(Refusal, match=f"is of {run['id']}, and this is {later['id']}: nothing was decided") as refusal:
        await send(app, later, former)
    assert refusal.value.status == 400
    mixed = decide(rows_in(await table(app, later)), {object_id(2): {"action": "link"}})
    with pytest.raises(Refusal, match="nothing was decided"):
        await send(app, later, [*mixed, former[-1]])
    assert "review" not in await row_of(app, later, 2)
    with pytest.raises(Refusal, match="only the rows of a planned run"):
        await send(app, run, former)


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[Rows]:
    """The rows of a plan of the same files on another machine, such as a laptop."""
    folder = tmp_path / "laptop"
    folder.mkdir()
    async with serving(folder) as other:
        await other.bring(ACCOUNTS)
        yield rows_in(await table(other, await other.plan(*IDENTITIES)))


async def test_what_was_decided_in_a_plan_of_another_machine_is_taken_by_names(
    app: App, run: Any, elsewhere: Rows
) -> None:
    rows = decide(
        elsewhere,
        {
            object_id(1): {"action": "exclude"},
            object_id(2): {"action": "link"},
            object_id(3): {"action": "link", "account": "anna.old"},
            "'=root.old": {"action": "link", "identity": object_id(3)},
            "left.old": {"action": "link", "identity": object_id(6)},
        },
    )
    with pytest.raises(Refusal, match=r"by=names"):
        await send(app, run, rows)
    answer = await send(app, run, rows, by="names")
    assert (answer["reviewed"], answer["notTaken"]) == (4, 1), answer["refused"]
    assert (await send(app, run, rows, by="names"))["unchanged"] == 4
    assert (await app.apply(run, links=3))["counts"]["linked"] == 3
    for name, number in (("bob.local", 2), ("anna.old", 3), ("left.old", 6)):
        assert (await app.account(name))["link"]["identity"] == object_id(number)


async def test_what_was_decided_in_a_plan_that_is_dropped_is_kept_as_a_file_and_taken_by_the_next(
    app: App, run: Any
) -> None:
    wanted = {
        object_id(1): {"action": "exclude"},
        object_id(2): {"action": "link"},
        object_id(3): {"action": "link", "account": "anna.old"},
        object_id(6): {"action": "link", "account": "left.old"},
    }
    assert (await send(app, run, decide(rows_in(await table(app, run)), wanted)))["reviewed"] == 4
    kept = await table(app, run, reviewed="true", decided="true")
    assert {one["objectId"]: one["action"] for one in rows_in(kept)} == {
        one: said["action"] for one, said in wanted.items()
    }
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")
    next_run = await app.plan(*IDENTITIES, full=True)
    answer = await send_file(app, next_run, kept, by="names")
    assert (answer["reviewed"], answer["notTaken"]) == (4, 0), answer["refused"]
    done = await app.apply(await app.call("GET", f"linking/runs/{next_run['id']}"))
    assert done["counts"]["linked"] == 3
    for name, number in (("bob.local", 2), ("anna.old", 3), ("left.old", 6)):
        assert (await app.account(name))["link"]["identity"] == object_id(number)


async def test_names_that_are_no_row_of_the_plan_are_told_by_line(app: App, run: Any) -> None:
    rows = {row["objectId"] or row["userName"]: row for row in rows_in(await table(app, run))}
    wrong = [
        rows[object_id(2)] | {"userName": "ada@contoso.com"},
        rows[object_id(2)] | {"objectId": object_id(99)},
        rows[object_id(2)] | {"decision": "link"},
        rows["left.old"] | {"userName": "", "identity": object_id(6)},
        rows[object_id(2)] | {"objectId": object_id(2).upper(), "userName": "Bob.Local"},
        rows[object_id(2)],
    ]
    answer = await send(app, run, [row | {"action": "link"} for row in wrong], by="names")
    assert (answer["reviewed"], answer["notTaken"]) == (1, 5)
    told = {one["line"]: one["reason"] for one in answer["refused"]}
    assert all(told[line].startswith("decision, objectId, userName: no row of this plan") for line in (2, 3, 5))
    assert "what this plan says of them is review, and not link, so this plan links them" in told[4], "line 6 says so"
    assert told[7] == "row: line 6 says the same of the same row"
    with pytest.raises(Refusal, match=r"^400 by: rows .* or names"):
        await send(app, run, wrong, by="name")


async def test_whom_a_file_of_another_plan_excludes_and_this_plan_links_is_named_first(app: App, run: Any) -> None:
    """The other plan had them for a review, and by another policy this one links them by itself."""
    rows = {row["objectId"] or row["userName"]: row for row in rows_in(await table(app, run))}
    ada, bob = rows[object_id(1)], rows[object_id(2)]
    assert (ada["decision"], bob["decision"]) == ("link", "review")
    lines = [ada | {"decision": "review", "action": "exclude"}, bob | {"decision": "conflict", "action": "exclude"}]
    answer = await send(app, run, lines, by="names")
    (linked,) = answer["linkedAllTheSame"]["lines"]
    assert (answer["reviewed"], answer["linkedAllTheSame"]["count"]) == (0, 1)
    assert (linked["line"], linked["objectId"], linked["userName"]) == (2, object_id(1), ada["userName"])
    assert (linked["decision"], linked["links"], linked["row"]) == ("link", True, ada["row"])
    told = {one["line"]: one for one in answer["refused"]}
    assert "this plan links them, though the file excludes them" in told[2]["reason"]
    assert (told[3]["decision"], told[3]["links"]) == ("review", False)
    assert "this plan does not link them" in told[3]["reason"]
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [bob["row"]], "action": "link"})
    answer = await send(app, run, lines, by="names")
    assert {one["line"] for one in answer["linkedAllTheSame"]["lines"]} == {2, 3}, "also whom a review links by now"
    lines.append(ada | {"action": "exclude"})
    answer = await send(app, run, lines, by="names")
    assert {one["line"] for one in answer["linkedAllTheSame"]["lines"]} == {3}, "another line of the file excludes her"
    assert answer["reviewed"] == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda row: row | {"row": "00review_" + "0" * 32}, "no row of that id"),
        (lambda row: row | {"row": "x"}, "no row of that id"),
        (lambda row: row | {"run": ""}, "these say which row it is"),
        (lambda row: row | {"action": "leave", "account": "ada"}, "are for the action link"),
    ],
)
async def test_a_row_that_lost_what_names_it_is_told(
    app: App, run: Any, change: Callable[[dict[str, str]], dict[str, str]], why: str
) -> None:
    (row,) = rows_in(await table(app, run, decision="review"))
    answer = await send(app, run, [change(row | {"action": "link"})])
    assert [one["line"] for one in answer["refused"]] == [2]
    assert why in answer["refused"][0]["reason"]


async def test_a_file_that_is_none_is_told_what_to_send(app: App, run: Any) -> None:
    for file in (ACCOUNTS, b"", b"[]", b'{"a": 1}\n', b"\xff\xfe\x00"):
        with pytest.raises(Refusal) as refusal:
            await send_file(app, run, file)
        assert refusal.value.status == 400
    with pytest.raises(Refusal, match=r"no column action, row, run.*report\?format=xlsx"):
        await send_file(app, run, ACCOUNTS)


async def test_a_file_has_a_bounded_number_of_decisions(app: App, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decisions_file, "MOST_DECIDED", 1)
    rows = [row | {"action": "link"} for row in rows_in(await table(app, run))]
    with pytest.raises(Refusal, match="split it"):
        await send(app, run, rows)


async def test_a_workbook_has_the_rows_of_the_csv_as_texts(app: App, run: Any) -> None:
    before = {*os.listdir(gettempdir())}
    book = load_workbook(io.BytesIO(await table(app, run, "xlsx")))
    header, *rows = book.get_sheet_by_index(0).to_python()
    expected = rows_in(await table(app, run))
    assert header == list(expected[0])
    told = [dict(zip(header, map(str, row), strict=True)) for row in rows]
    plain = [{name: cell.removeprefix("'") for name, cell in row.items()} for row in expected]
    assert told == plain
    assert "Anna Müller" in str(told)
    assert '=HYPERLINK("http://x","y")' in {row["displayName"] for row in told}
    assert not [name for name in {*os.listdir(gettempdir())} - before if "xlsx" in name.lower()], "nothing of it stays"


async def test_the_suggestions_are_in_the_table_with_what_is_to_be_copied(app: App, run: Any) -> None:
    rows = {row["objectId"] or row["userName"]: row for row in rows_in(await table(app, run))}
    account = await app.account("anna.old")
    assert rows[object_id(3)]["suggestions"] == f"anna.old {account['id']} (Anna Müller, 0.9, name)"
    assert rows["anna.old"]["suggestions"].startswith(f"anna@contoso.com {object_id(3)} (Anna Müller, 0.9")


async def test_a_suggestion_is_linked_by_nobody_who_does_not_name_it(app: App, run: Any) -> None:
    rows = [row | {"action": "link"} for row in rows_in(await table(app, run)) if row["suggestions"]]
    assert len(rows) == 2
    answer = await send(app, run, rows)
    assert (answer["reviewed"], answer["notTaken"], answer["run"]["links"]) == (0, 2, 1)
    reasons = {one["reason"].partition(":")[0] for one in answer["refused"]}
    assert reasons == {
        "identity",
        "a row that is noAccount is linked to no account",
    }


async def test_more_rows_than_a_workbook_holds_are_refused(app: App, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MOST_IN_WORKBOOK", 3)
    with pytest.raises(AssertionError, match="a workbook has at most"):
        await table(app, run, "xlsx")
    assert await table(app, run, "xlsx", decision="review")


async def test_what_is_typed_into_the_empty_columns_of_a_workbook_is_text(app: App, run: Any) -> None:
    with zipfile.ZipFile(io.BytesIO(await table(app, run, "xlsx"))) as book:
        sheet, styles = (book.read(name).decode() for name in ("xl/worksheets/sheet1.xml", "xl/styles.xml"))
    found = re.search(r'<col min="1" max="3" [^>]*style="(\d+)"', sheet)
    assert found
    formats = re.findall(r"<xf [^>]*>", styles.partition("<cellXfs")[2])
    assert 'numFmtId="49"' in formats[int(found[1])]


async def test_what_looks_like_markup_is_a_text_in_a_workbook_as_it_is() -> None:
    cells = [
        "<r>&</r>",
        "<r><t>a</t></r>\x00",
        "]]>",
        "&amp;",
        '"',
        " spaces ",
        "=1+1",
        "=\n2",
        "1e5",
        "01.02.2026",
        "_x0041_",
    ]
    names = [f"c{place}" for place in range(30)]
    with Workbook(names, ["c0"]) as book:
        assert book.add([*cells, *[""] * 18, "the last"])
        file = await book.close()
    header, row = load_workbook(io.BytesIO(file)).get_sheet_by_index(0).to_python()
    assert header == names
    with zipfile.ZipFile(io.BytesIO(file)) as parts:
        found = {name: ElementTree.fromstring(parts.read(name)) for name in parts.namelist()}  # noqa: S314  # our own
    texts = {cell.get("r"): "".join(cell.itertext()) for cell in found["xl/worksheets/sheet1.xml"].iter(f"{SHEET}c")}
    assert row[:10] == [cell.rstrip("\0") for cell in cells[:10]]
    assert (row[28:], texts["AD2"], texts["K2"]) == (["", "the last"], "the last", "_x005F_x0041_")


@given(st.lists(st.lists(st.text(max_size=40), min_size=2, max_size=2), max_size=5))
async def test_whatever_cells_hold_they_are_texts_in_a_workbook(rows: list[list[str]]) -> None:
    with Workbook(["a", "b"], ["a"]) as book:
        for row in rows:
            book.add(row)
        file = await book.close()
    sheet = load_workbook(io.BytesIO(file)).get_sheet_by_index(0)
    for cells in sheet.to_python()[1:]:
        assert all(isinstance(cell, str) for cell in cells)


async def test_of_very_many_lines_that_are_not_taken_the_first_are_told_and_all_counted(app: App, run: Any) -> None:
    more = decisions_file.MOST_TOLD + 1_500
    rows = [{"action": "agree", "row": "x", "run": run["id"]}] * more + [{"action": "link", "row": "x", "run": ""}]
    answer = await send(app, run, rows)
    assert answer["notTaken"] == more + 1
    assert [(one["count"], one["lines"]) for one in answer["byReason"]] == [(more, [2, 3, 4, 5, 6]), (1, [more + 2])]
    assert [one["line"] for one in answer["refused"]] == [*range(2, 2 + decisions_file.MOST_TOLD)]
