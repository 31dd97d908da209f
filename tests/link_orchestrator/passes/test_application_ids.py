"""Rows of an import that have the application's own key of an account: whose they are, and what contradicts itself."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest

from shared.directory.directory import Directories
from tests.link_orchestrator.passes.test_preview import preview, shown_rows
from tests.link_orchestrator.passes.test_undo import undo
from tests.link_orchestrator.running import App, all_accounts, csv_file, directory_rows, graph, object_id
from tests.shared.directory.invariants import check_invariants, stale_rows

JANE = {"userName": "jane@contoso.com", "email": "jane@contoso.com", "title": "Engineer", "applicationId": "17"}
MAX = {"userName": "max@contoso.com", "email": "max@contoso.com", "title": "Sales", "applicationId": "18"}


async def owner(app: App, application_id: str) -> Any:
    (account,) = (await app.call("GET", "accounts", applicationId=application_id))["accounts"]
    return account


def totals(job: Any) -> dict[str, int]:
    """Return the counts of an import by what became of its rows, without what it changed."""
    return {name: count for name, count in job["counts"].items() if "." not in name}


async def problem(app: App, job: Any) -> tuple[int, str]:
    (one,) = await app.problems(job)
    assert one["remedy"]
    return one["line"], one["reason"]


async def test_an_account_gets_its_application_id_from_the_file_and_is_found_by_it(app: App) -> None:
    assert (await app.bring(csv_file(JANE, MAX)))["counts"] == {"created": 2, "refused": 0}
    jane = await owner(app, "17")
    assert (jane["userName"], jane["applicationId"]) == ("jane@contoso.com", "17")
    assert "applicationId" not in json.dumps(jane["document"]), "it is no part of what SCIM shows"
    assert (await app.bring(csv_file(JANE, MAX)))["counts"] == {"unchanged": 2, "refused": 0}
    await check_invariants(app.tables, "main")


async def test_a_row_updates_the_account_of_its_application_id_though_its_name_changed(app: App) -> None:
    await app.bring(csv_file(JANE))
    before = await owner(app, "17")
    married = JANE | {"userName": "jane.roe@contoso.com", "email": "jane.roe@contoso.com"}
    assert totals(await app.bring(csv_file(married))) == {"updated": 1, "refused": 0}
    after = await owner(app, "17")
    assert (after["id"], after["userName"]) == (before["id"], "jane.roe@contoso.com")
    directory = await Directories(app.tables).open("main")
    assert len(await all_accounts(directory)) == 1, "nobody got a second account"
    rows = await directory_rows(directory)
    assert (await app.bring(csv_file(married)))["counts"] == {"unchanged": 1, "refused": 0}
    assert await directory_rows(directory) == rows
    await check_invariants(app.tables, "main")
    assert await stale_rows(app.tables, "main") == 0


async def test_a_file_without_the_column_leaves_it(app: App) -> None:
    await app.bring(csv_file(JANE))
    silent = {name: value for name, value in JANE.items() if name != "applicationId"} | {"title": "Lead"}
    for row in (silent, silent | {"applicationId": "", "title": "Director"}):
        assert totals(await app.bring(csv_file(row))) == {"updated": 1, "refused": 0}
        assert (await owner(app, "17"))["document"]["title"] == row["title"]


async def test_a_row_with_one_accounts_key_and_anothers_name_changes_neither(app: App) -> None:
    await app.bring(csv_file(JANE, MAX))
    before = [await owner(app, "17"), await owner(app, "18")]
    job = await app.bring(csv_file(JANE | {"applicationId": "18", "title": "Wrong"}))
    line, reason = await problem(app, job)
    assert (line, job["counts"]) == (2, {"refused": 1})
    assert reason.startswith("applicationId: ")
    assert before[0]["id"] in reason
    assert before[1]["id"] in reason
    assert [await owner(app, "17"), await owner(app, "18")] == before


async def test_a_name_that_has_another_key_by_now_is_a_problem_and_no_new_person_gets_the_account(app: App) -> None:
    await app.bring(csv_file(JANE))
    before = await owner(app, "17")
    job = await app.bring(csv_file(JANE | {"applicationId": "99", "title": "Successor"}))
    _, reason = await problem(app, job)
    assert f"the account {before['id']} has the userName of the row and another applicationId" in reason
    assert await owner(app, "17") == before


async def test_of_two_rows_with_one_key_and_two_names_the_first_is_taken(app: App) -> None:
    for _ in range(2):
        job = await app.bring(csv_file(JANE, MAX | {"applicationId": "17"}))
        line, reason = await problem(app, job)
        assert (line, reason) == (3, "applicationId: line 2 has the same one, and another userName; line 2 was taken")
    directory = await Directories(app.tables).open("main")
    assert [account.user_name for account in await all_accounts(directory)] == ["jane@contoso.com"]


async def test_a_preview_counts_what_the_import_does(app: App) -> None:
    await app.bring(csv_file(JANE, MAX))
    rows = (
        JANE | {"userName": "jane.roe@contoso.com"},
        MAX | {"applicationId": "17"},
        {"userName": "e", "applicationId": "9"},
    )
    file = csv_file(*rows)
    shown = await preview(app, file)
    rows_shown = await shown_rows(app, shown)
    done = await app.bring(file)
    assert shown["counts"] == done["counts"]
    assert totals(done) == {"created": 1, "updated": 1, "refused": 1}
    assert sorted(row["account"]["applicationId"] for row in rows_shown if "account" in row) == ["17", "9"]


KEYED = [{"userName": f"n{number}", "applicationId": f"k{number}", "title": "Old"} for number in range(6)]


@pytest.mark.parametrize("column", ["applicationId", "title"])
async def test_a_name_that_the_same_file_frees_is_nobodys_before_the_next_import(app: App, column: str) -> None:
    """The rows are in buckets that come in any order: without a rule, some names meet the account and some do not."""
    await app.bring(csv_file(*KEYED))
    renamed = [{"userName": f"fresh{number}", "applicationId": f"k{number}"} for number in range(6)]
    others = [{"userName": f"n{number}", column: f"new{number}"} for number in range(6)]
    file = csv_file(*renamed, *others)
    shown = await preview(app, file)
    job = await app.bring(file)
    assert job["counts"] == shown["counts"]
    assert totals(job) == {"updated": 6, "refused": 6}
    problems = await app.problems(job)
    assert [one["line"] for one in problems] == [*range(8, 14)]
    assert all(one["reason"].startswith("applicationId: the account ") for one in problems)
    assert [(await owner(app, f"k{number}"))["userName"] for number in range(6)] == [f"fresh{n}" for n in range(6)]
    await check_invariants(app.tables, "main")
    if column == "applicationId":
        assert totals(await app.bring(file)) == {"unchanged": 6, "created": 6, "refused": 0}


async def test_two_accounts_get_no_names_that_differ_in_letters_alone(app: App) -> None:
    await app.bring(csv_file(*KEYED))
    file = csv_file({"userName": "fresh", "applicationId": "k0"}, {"userName": "\uff46resh", "applicationId": "k1"})
    shown = await preview(app, file)
    job = await app.bring(file)
    assert job["counts"] == shown["counts"] == {"refused": 2}
    assert (await owner(app, "k0"))["userName"] == "n0"


class TestLinked:
    """The identity provider manages the account, and has no say in the application's key."""

    async def linked(self, app: App, row: dict[str, str]) -> Any:
        await app.bring(csv_file(row))
        await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
        return await app.account("jane@contoso.com")

    async def test_a_key_is_taken_though_nothing_else_of_the_row_is(self, app: App) -> None:
        before = await self.linked(app, {k: v for k, v in JANE.items() if k != "applicationId"})
        job = await app.bring(csv_file(JANE | {"title": "Director"}))
        assert totals(job) == {"updated": 1, "refused": 0}
        _, reason = await problem(app, job)
        assert reason == "title: this account is linked, and managed by the identity provider"
        after = await owner(app, "17")
        assert (after["id"], after["document"], after["link"]) == (before["id"], before["document"], before["link"])
        assert (await app.bring(csv_file(JANE)))["counts"] == {"unchanged": 1, "refused": 0}

    async def test_a_former_name_is_no_reason_to_make_a_second_account(self, app: App) -> None:
        before = await self.linked(app, JANE)
        job = await app.bring(csv_file(JANE | {"userName": "jane.before@contoso.com"}))
        _, reason = await problem(app, job)
        assert reason == "userName: this account is linked, and managed by the identity provider"
        assert (await app.account("jane@contoso.com"))["history"] == before["history"]

    async def test_a_protected_account_gets_none_unless_the_import_says_so(self, app: App) -> None:
        protected = {"userName": "root", "protected": "yes"}
        await app.bring(csv_file(protected))
        _, reason = await problem(app, await app.bring(csv_file(protected | {"applicationId": "1"})))
        assert reason.startswith("applicationId: the account ")
        job = await app.bring(csv_file(protected | {"applicationId": "1"}), protected="change")
        assert totals(job) == {"updated": 1, "refused": 0}
        assert (await owner(app, "1"))["userName"] == "root"


class TestShown:
    """A vendor joins decisions and reports to its own table by it."""

    async def test_in_decisions_candidates_and_reports(self, app: App) -> None:
        shared = {"email": "shared@contoso.com"}
        await app.bring(
            csv_file(
                JANE, {"userName": "a", "applicationId": "1"} | shared, {"userName": "b", "applicationId": "2"} | shared
            )
        )
        run = await app.plan(graph(1, "jane@contoso.com"), graph(2, "shared@contoso.com"))
        (link,) = await app.decisions(run, "link")
        assert link["account"] == {"id": link["account"]["id"], "userName": "jane@contoso.com", "applicationId": "17"}
        (ambiguous,) = await app.decisions(run, "ambiguous")
        assert [one["applicationId"] for one in ambiguous["candidates"]] in (["1", "2"], ["2", "1"])
        asked = {"format": "csv", "decision": "link"}
        async with app.session.get(f"/linking/runs/{run['id']}/report", params=asked) as answer:
            (cells,) = csv.DictReader(io.StringIO(await answer.text()))
        assert cells["applicationId"] == "17"
        taken_back = await undo(app, await app.apply(run, links=1))
        (row,) = (await app.call("GET", f"linking/undos/{taken_back['id']}/rows"))["rows"]
        assert row["account"]["applicationId"] == "17"
        assert (await owner(app, "17"))["status"] == "local", "an undo leaves it"

    async def test_it_proves_nothing(self, app: App) -> None:
        """An application may have used the object id as its key, and the plan may not tell."""
        await app.bring(csv_file({"userName": "jane", "applicationId": object_id(1)}))
        run = await app.plan(graph(1, "jane@contoso.com", employeeId=object_id(1)))
        assert [row["decision"] for row in await app.decisions(run)].count("noAccount") == 1
