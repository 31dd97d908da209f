"""Imports over HTTP: what becomes of each row, what the report says, and that a second time changes nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.keys import Key
from shared.directory.matching.match_keys import MOST_SHARED
from shared.tables.port import Insert
from tests.link_orchestrator.running import App, Refusal, all_accounts, csv_file, directory_rows, graph, object_id

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
JANE = {"userName": "jane@contoso.com", "email": "jane@contoso.com", "title": "Engineer"}


async def test_importing_a_file_again_changes_no_row(app: App) -> None:
    file = csv_file(
        JANE | {"objectId": object_id(1), "nameId": "n-1", "employeeNumber": "7", "protected": "yes"},
        JANE | {"userName": "STRASSE", "email": "straße@contoso.com", "otherEmails": "a@x.org; b@x.org"},
        *({"userName": f"person{number}", "emailVerified": ""} for number in range(150)),
    )
    first = await app.bring(file)
    assert first["counts"] == {"created": 152, "refused": 0}
    directory = await Directories(app.tables).open("main")
    before = await directory_rows(directory)
    second = await app.bring(file)
    assert second["counts"] == {"unchanged": 152, "refused": 0}
    assert await directory_rows(directory) == before, "etags included"


async def test_two_rows_of_one_user_name_are_reported_with_both_lines(app: App) -> None:
    file = csv_file(
        JANE, {"userName": "john", "title": "A"}, JANE | {"userName": "JANE@contoso.com", "title": "B"}, JANE
    )
    job = await app.bring(file)
    assert job["counts"] == {"created": 2, "refused": 1, "repeated": 1}
    problem, again = await app.problems(job)
    assert problem["line"] == 4
    assert problem["reason"] == "userName: line 2 has the same one, and the rows differ; line 2 was taken"
    assert problem["remedy"]
    assert (again["line"], again["reason"]) == (5, "The row says the same as line 2, and was read once.")
    assert (await app.account("jane@contoso.com"))["document"]["title"] == "Engineer"


async def test_of_two_rows_that_differ_the_first_is_taken(app: App) -> None:
    await app.bring(csv_file(JANE, JANE | {"title": "Director"}))
    assert (await app.account("jane@contoso.com"))["document"]["title"] == JANE["title"]


async def test_whoever_had_a_rows_name_is_left_as_they_are(app: App) -> None:
    """The claim on it is there, as a rename that died before it removed it leaves it."""
    await app.bring(csv_file({"userName": "jane.married@contoso.com", "title": "Director"}))
    before = await app.account("jane.married@contoso.com")
    directory = await Directories(app.tables).open("main")
    partition, row = directory.keys.claim(Key("userName", "jane@contoso.com"))
    await app.tables.commit(partition, [Insert(row, {"id": before["id"]})])
    assert (await app.bring(csv_file(JANE)))["counts"] == {"created": 1, "refused": 0}
    assert await app.account("jane.married@contoso.com") == before
    assert (await app.account("jane@contoso.com"))["id"] != before["id"]


async def test_a_bad_row_is_reported_with_line_and_remedy_and_stops_no_other(app: App) -> None:
    file = csv_file(
        JANE,
        {"userName": "", "email": "", "title": "None"},
        {"userName": "bad-mail", "email": "nowhere"},
        {"userName": "bad-flag", "active": "perhaps"},
        {"userName": "last"},
    )
    job = await app.bring(file)
    assert job["counts"] == {"created": 2, "refused": 3}
    problems = await app.problems(job)
    assert [problem["line"] for problem in problems] == [3, 4, 5]
    assert [problem["reason"].split()[2] for problem in problems] == ["userName", "email", "active"]
    assert all(problem["remedy"] for problem in problems)
    assert "nowhere" not in json.dumps(problems)
    assert (await app.account("last"))["status"] == "local"


async def test_a_file_that_is_one_line_is_told_apart_row_by_row(app: App) -> None:
    rows: list[Any] = [
        {"userName": "a"},
        {"userName": "b", "title": "1"},
        {"userName": "B", "title": "2"},
        {"userName": "B", "title": "3"},
        {"userName": "c", "active": "perhaps"},
        {"userName": "d", "active": "perhaps"},
        1,
        2,
    ]
    job = await app.bring(json.dumps(rows).encode(), "application/json")
    assert job["counts"] == {"created": 2, "refused": 6}
    assert len(await app.problems(job)) == 6
    changed = [{"userName": "a", "title": "new"}, {"userName": "b", "title": "1"}, {"userName": "e"}]
    job = await app.bring(json.dumps(changed).encode(), "application/json")
    assert job["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "refused": 0}


async def test_identities_on_one_line_are_reported_each(app: App) -> None:
    upload = await app.call("POST", "linking/identities", {"value": [{"id": "x"}, {"id": "y"}, graph(1, "j@x.org")]})
    assert upload["counts"] == {"read": 1, "problems": 2}
    page = await app.call("GET", f"linking/identities/{upload['id']}/problems")
    assert len(page["problems"]) == 2


@pytest.mark.parametrize("rows", [199, 401])
async def test_a_file_of_nothing_but_bad_rows_reports_them_all(app: App, rows: int) -> None:
    job = await app.bring(json.dumps([*range(rows), {"userName": "a"}]).encode(), "application/json")
    assert job["counts"] == {"created": 1, "refused": rows}
    assert len(await app.problems(job)) == rows


async def test_columns_says_which_headers_are_those_that_are_not_recognised(app: App) -> None:
    file = b"Kennung,Mail,Stelle\njane,jane@contoso.com,Engineer\n"
    job = await app.bring(file, columns='{"Kennung": "userName", "Stelle": "title", "Mail": ""}')
    assert job["counts"] == {"created": 1, "refused": 0}
    document = (await app.account("jane"))["document"]
    assert document["title"] == "Engineer"
    assert "emails" not in document


@pytest.mark.parametrize("columns", ["x", "[]", "3", '{"a": 1}', '{"Kennung": "luck"}', '{"Nowhere": "userName"}', "{"])
async def test_wrong_columns_are_refused(app: App, columns: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.bring(b"Kennung,Mail\njane,jane@contoso.com\n", columns=columns)
    assert refusal.value.status == 400
    assert "columns" in refusal.value.detail


@pytest.mark.parametrize("file", [b"", b"\n\n", b"first,second\n1,2\n", b"\x00\x01", b"\xff\xfe"])
async def test_a_file_that_names_no_account_is_refused(app: App, file: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.bring(file)
    assert refusal.value.status == 400
    assert refusal.value.detail


class TestAnotherImport:
    async def test_a_local_account_is_brought_up_to_date(self, app: App) -> None:
        await app.bring(csv_file(JANE | {"department": "Sales", "nameId": "n-1"}))
        job = await app.bring(csv_file({"userName": "Jane@Contoso.com", "title": "Director", "costCenter": "9"}))
        assert job["counts"] == {"updated": 1, "refused": 0}
        account = await app.account("jane@contoso.com")
        document = account["document"]
        assert document["title"] == "Director"
        assert document["userName"] == "jane@contoso.com", "its spelling is the account's"
        (extension,) = (value for name, value in document.items() if name.startswith("urn:"))
        assert extension == {"department": "Sales", "costCenter": "9"}
        assert document["emails"][0]["value"] == "jane@contoso.com", "what the row is silent about stays"
        assert account["evidence"] == {"nameId": "n-1"}
        assert [change["action"] for change in account["history"]] == ["create", "import"]

    async def test_what_a_file_is_silent_about_stays(self, app: App) -> None:
        whole = {"givenName": "Jane", "familyName": "Doe", "active": "no"}
        await app.bring(csv_file(JANE | whole))
        for silent in (JANE | {"familyName": "Roe"}, JANE | {"active": ""}, JANE | {"active": " "}):
            await app.bring(csv_file(silent))
            account = await app.account("jane@contoso.com")
            assert account["active"] is account["document"]["active"] is False, (
                "no import switches an account on by the way"
            )
            assert account["document"]["name"] == {"givenName": "Jane", "familyName": "Roe"}

    async def test_an_account_is_active_unless_the_file_says_otherwise(self, app: App) -> None:
        await app.bring(csv_file(JANE))
        assert (await app.account("jane@contoso.com"))["document"]["active"] is True
        await app.bring(csv_file(JANE | {"active": "disabled"}))
        assert (await app.account("jane@contoso.com"))["document"]["active"] is False
        await app.bring(csv_file(JANE | {"active": "yes"}))
        assert (await app.account("jane@contoso.com"))["document"]["active"] is True

    async def test_a_linked_account_is_the_identity_providers(self, app: App) -> None:
        await app.bring(csv_file(JANE))
        await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
        before = await app.account("jane@contoso.com")
        job = await app.bring(csv_file(JANE | {"title": "Director", "email": "new@contoso.com"}))
        assert job["counts"] == {"refused": 1}
        (problem,) = await app.problems(job)
        assert problem["line"] == 2
        assert problem["reason"] == "emails, title: this account is linked, and managed by the identity provider"
        assert problem["remedy"]
        assert await app.account("jane@contoso.com") == before

    async def test_the_same_row_of_a_linked_account_is_no_problem(self, app: App) -> None:
        await app.bring(csv_file(JANE))
        await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
        assert (await app.bring(csv_file(JANE)))["counts"] == {"unchanged": 1, "refused": 0}

    async def test_new_evidence_of_a_linked_account_is_kept(self, app: App) -> None:
        await app.bring(csv_file(JANE))
        await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
        assert (await app.bring(csv_file(JANE | {"objectId": object_id(1)})))["counts"] == {"updated": 1, "refused": 0}
        account = await app.account("jane@contoso.com")
        assert account["evidence"] == {"objectId": object_id(1)}
        assert account["link"]["identity"] == object_id(1)

    @pytest.mark.parametrize("protected", ["", "no"])
    async def test_protection_survives(self, app: App, protected: str) -> None:
        await app.bring(csv_file(JANE | {"protected": "yes"}))
        job = await app.bring(csv_file(JANE | {"title": "Director", "protected": protected}), protected="change")
        assert job["counts"] == {"updated": 1, "refused": 0}
        assert (await app.account("jane@contoso.com"))["protected"] is True
        run = await app.plan(graph(1, "jane@contoso.com"))
        assert (run["counts"]["protected"], run["counts"].get("link")) == (1, None)
        done = await app.apply(run, links=0)
        assert done["phase"] == "done"
        assert (await app.account("jane@contoso.com"))["link"] is None

    async def test_protection_can_be_added(self, app: App) -> None:
        await app.bring(csv_file(JANE))
        assert (await app.bring(csv_file(JANE | {"protected": "yes"})))["counts"] == {"updated": 1, "refused": 0}
        assert (await app.account("jane@contoso.com"))["protected"] is True


class TestLetters:
    """What folds alike is not always the same name: only case is no difference between two mailboxes."""

    @pytest.mark.parametrize("name", ["\u017fys@contoso.com", "\uff53\uff59\uff53@contoso.com", "sys@contoso.\uff43om"])
    @pytest.mark.parametrize("protected", ["yes", "no"])
    @pytest.mark.parametrize("asked", [{}, {"protected": "change"}])
    async def test_a_row_in_other_letters_changes_nobody_and_makes_nobody(
        self, app: App, name: str, protected: str, asked: dict[str, str]
    ) -> None:
        await app.bring(csv_file({"userName": "sys@contoso.com", "title": "System", "protected": protected}))
        before = await app.account("sys@contoso.com")
        job = await app.bring(csv_file({"userName": name, "title": "Mine", "active": "no", "nameId": "n"}), **asked)
        assert job["counts"] == {"refused": 1}
        assert await app.account("sys@contoso.com") == before
        (problem,) = await app.problems(job)
        assert problem["line"] == 2
        assert problem["reason"].startswith(f"userName: the account {before['id']} has it in other letters")
        assert "again" not in problem["remedy"], "the same row would be refused again"

    async def test_an_account_in_other_letters_is_changed_by_no_plain_name(self, app: App) -> None:
        """The sign for Kelvin is a k in lower case, and no letter of an address."""
        await app.bring(csv_file({"userName": "\u212aim@contoso.com", "title": "Kelvin"}))
        assert (await app.bring(csv_file({"userName": "kim@contoso.com", "title": "K"})))["counts"] == {"refused": 1}
        assert (await app.account("kim@contoso.com"))["document"]["title"] == "Kelvin"

    async def test_of_two_rows_in_different_letters_none_is_made(self, app: App) -> None:
        rows = (
            {"userName": "sys", "title": "A"},
            {"userName": "\u017fys", "title": "B"},
            {"userName": "SYS", "title": "A"},
        )
        for _ in range(2):
            job = await app.bring(csv_file(*rows, {"userName": "kim"}))
            first, second, third = await app.problems(job)
            assert [first["line"], second["line"], third["line"]] == [2, 3, 4]
            assert "line 3 has it in other letters" in first["reason"]
            assert "line 2 has it in other letters" in second["reason"]
            assert "line 2 has the same one" in third["reason"]
            assert job["counts"]["refused"] == 3
        directory = await Directories(app.tables).open("main")
        assert [account.user_name for account in await all_accounts(directory)] == ["kim"]

    async def test_a_row_in_an_accounts_letters_is_taken_beside_one_in_others(self, app: App) -> None:
        await app.bring(csv_file({"userName": "sys", "title": "Old"}))
        job = await app.bring(csv_file({"userName": "\u017fys", "title": "Mine"}, {"userName": "Sys", "title": "New"}))
        assert job["counts"] == {"updated": 1, "refused": 1}
        assert (await app.account("sys"))["document"]["title"] == "New"


class TestProtected:
    FILE = csv_file(JANE | {"protected": "yes", "nameId": "n-1"})

    @pytest.mark.parametrize(
        ("row", "named"),
        [
            ({"title": "Director"}, "title"),
            ({"email": "new@contoso.com"}, "emails"),
            ({"active": "no", "department": "Sales"}, "active, schemas, urn:"),
            ({"nameId": "n-2"}, "evidence"),
            ({"objectId": object_id(1)}, "evidence"),
            ({"emailVerified": "yes"}, "evidence"),
            ({"externalId": object_id(1)}, "externalId"),
        ],
    )
    async def test_a_row_changes_nothing_of_it_unless_the_import_says_so(
        self, app: App, row: dict[str, str], named: str
    ) -> None:
        await app.bring(self.FILE)
        before = await app.account("jane@contoso.com")
        job = await app.bring(csv_file(JANE | row))
        assert job["counts"] == {"refused": 1}
        (problem,) = await app.problems(job)
        assert problem["line"] == 2
        assert problem["reason"].startswith(named)
        assert problem["reason"].endswith(f"the account {before['id']} is protected, and was left as it is")
        assert "(protected=change)" in problem["remedy"]
        assert await app.account("jane@contoso.com") == before
        job = await app.bring(csv_file(JANE | row), protected="change")
        assert job["counts"] == {"updated": 1, "refused": 0}

    async def test_a_row_that_would_change_nothing_is_no_problem(self, app: App) -> None:
        await app.bring(self.FILE)
        for file in (self.FILE, csv_file(JANE | {"protected": "no"})):
            assert (await app.bring(file))["counts"] == {"unchanged": 1, "refused": 0}

    @pytest.mark.parametrize("word", ["yes", "true", "Change"])
    async def test_another_word_is_refused(self, app: App, word: str) -> None:
        with pytest.raises(Refusal, match="protected: change lets") as refusal:
            await app.bring(self.FILE, protected=word)
        assert refusal.value.status == 400


class TestAnOlderExport:
    """Provisioning has renamed Jane since the file was written."""

    JANE = JANE | {"employeeNumber": "7", "email": "team@contoso.com"}

    async def renamed(self, app: App, file: bytes) -> str:
        await app.bring(file)
        run = await app.plan(graph(1, "jane@contoso.com"))
        await app.apply(run, links=1, pauseProvisioning=False)
        (found,) = (await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"'))["Resources"]
        path, patch = (
            f"scim/v2/Users/{found['id']}",
            {"op": "replace", "path": "userName", "value": "jane.doe@contoso.com"},
        )
        await app.call("PATCH", path, {"schemas": [PATCH], "Operations": [patch]})
        return str(found["id"])

    async def test_a_former_name_makes_no_second_account(self, app: App) -> None:
        file = csv_file(self.JANE, {"userName": "john@contoso.com"})
        jane = await self.renamed(app, file)
        job = await app.bring(file)
        assert job["counts"] == {"unchanged": 1, "refused": 1}
        (problem,) = await app.problems(job)
        assert problem["line"] == 2
        assert problem["reason"].startswith(f"userName: the account {jane} had it before")
        assert "fresh export" in problem["remedy"]
        assert (await app.call("GET", "accounts", userName="jane@contoso.com"))["accounts"] == []

    @pytest.mark.parametrize(
        "row",
        [
            {"userName": "jane@contoso.com"},
            {"userName": "jane@contoso.com", "employeeNumber": "8", "email": "other@contoso.com"},
            {"userName": "john@contoso.com", "email": "team@contoso.com", "employeeNumber": "7"},
        ],
        ids=["a name alone", "a name that somebody else has now", "a shared mailbox"],
    )
    async def test_whoever_is_somebody_else_is_made(self, app: App, row: dict[str, str]) -> None:
        await self.renamed(app, csv_file(self.JANE))
        assert (await app.bring(csv_file(row)))["counts"] == {"created": 1, "refused": 0}

    async def test_what_many_have_tells_nobody_apart(self, app: App) -> None:
        others = [{"userName": f"person{number}", "email": "team@contoso.com"} for number in range(MOST_SHARED)]
        await self.renamed(app, csv_file(self.JANE, *others))
        file = csv_file({"userName": "jane@contoso.com", "email": "team@contoso.com"})
        assert (await app.bring(file))["counts"] == {"created": 1, "refused": 0}

    async def test_what_many_gave_up_today_tells_apart_whoever_has_it(self, app: App) -> None:
        """What led to them stays until the night."""
        others = [{"userName": f"person{number}", "email": "jane@home.example"} for number in range(2 * MOST_SHARED)]
        jane = await self.renamed(app, csv_file(self.JANE | {"email": "jane@home.example"}, *others))
        await app.bring(csv_file(*(other | {"email": f"{other['userName']}@home.example"} for other in others)))
        job = await app.bring(csv_file({"userName": "jane@contoso.com", "email": "jane@home.example"}))
        assert job["counts"] == {"refused": 1}
        (problem,) = await app.problems(job)
        assert problem["reason"].startswith(f"userName: the account {jane} had it before")


async def test_a_row_that_cannot_come_in_is_not_told_to_come_again(app: App) -> None:
    await app.bring(csv_file(JANE))
    await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
    jane = (await app.account("jane@contoso.com"))["id"]
    job = await app.bring(csv_file({"userName": "second", "externalId": object_id(1)}))
    (problem,) = await app.problems(job)
    assert problem["reason"] == "not imported: externalId: another account holds this value"
    assert problem["remedy"] == f"release or delete the account {jane} first, or take the value from the row"
