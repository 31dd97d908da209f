"""What a file says and nobody takes is told: rows that come again, names that are missing, columns that are two."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.link_orchestrator.running import App, csv_file, graph

ADA = {"userName": "ada", "email": "ada@contoso.com", "applicationId": "k-1"}
AGAIN = "The row says the same as line 2, and was read once."


async def imported(app: App, file: bytes, preview: bool, kind: str = "text/csv") -> tuple[Any, list[dict[str, Any]]]:
    """Return an import or its preview, and the rows that it tells of, by line."""
    asked = await app.call("POST", "accounts/import", file, kind, **({"preview": "true"} if preview else {}))
    what = "previews" if preview else "imports"
    job = await app.wait(f"accounts/{what}/{asked['id']}", "done")
    path, choice = ("rows", {"outcome": "problem"}) if preview else ("problems", {})
    page = await app.call("GET", f"accounts/{what}/{job['id']}/{path}", **choice)
    return job, sorted(page.get("problems", page.get("rows")), key=lambda one: int(one["line"]))


@pytest.mark.parametrize("preview", [True, False])
class TestAnImport:
    async def test_a_row_that_says_the_same_again_is_named_by_its_line_and_counted_apart(
        self, app: App, preview: bool
    ) -> None:
        job, told = await imported(app, csv_file(ADA, {"userName": "bob"}, ADA, ADA | {"title": "Boss"}), preview)
        assert job["counts"] == {"created": 2, "repeated": 1, "refused": 1}
        assert [(one["line"], one["applicationId"]) for one in told] == [(4, "k-1"), (5, "k-1")]
        assert told[0]["reason"] == AGAIN
        assert "line 2 has the same one, and the rows differ" in told[1]["reason"]

    async def test_a_row_that_cannot_be_used_is_told_by_its_line_and_the_applications_key(
        self, app: App, preview: bool
    ) -> None:
        rows = [ADA, {"userName": "", "email": "", "applicationId": "k-2"}, {"email": "none", "applicationId": 3}]
        for file, kind in ((csv_file(*rows), "text/csv"), (json.dumps(rows).encode(), "application/json")):
            _, told = await imported(app, file, preview, kind)
            assert {one["applicationId"] for one in told} == {"k-2", "3"}

    async def test_whose_name_to_sign_in_with_is_missing_is_told(self, app: App, preview: bool) -> None:
        job, _ = await imported(app, csv_file(ADA, ADA | {"userName": " ", "applicationId": ""}), preview)
        (told,) = job["reading"]["suspicious"]
        assert (told["kind"], told["column"], told["lines"]) == ("noUserName", "userName", [3])
        assert "the e-mail address is taken for it" in told["what"]

    async def test_a_file_without_such_names_at_all_has_nothing_suspicious(self, app: App, preview: bool) -> None:
        job, _ = await imported(app, csv_file({"email": "ada@contoso.com"}), preview)
        assert job["reading"]["suspicious"] == []

    async def test_of_two_columns_that_are_one_it_is_told_which_counts(self, app: App, preview: bool) -> None:
        job, _ = await imported(app, csv_file({"Login": "ada", "User": "eve", "Mail": "a@contoso.com"}), preview)
        assert job["reading"]["remarks"] == [
            "Login and User are all read as userName: of each row the first that is filled in."
        ]

    async def test_an_export_with_a_row_for_each_group_says_how_many_it_took_for_one(
        self, app: App, preview: bool
    ) -> None:
        row = {"username": "ada", "full_name": "Ada", "email": "ada@contoso.com", "active": "Yes"}
        groups = [{"group_name": name, **row, "last_login": ""} for name in ("a", "b", "c")]
        job, told = await imported(app, csv_file(*groups), preview)
        assert (job["counts"], told) == ({"created": 1, "refused": 0}, [])
        (remark,) = job["reading"]["remarks"]
        assert remark.endswith("2 rows said the same as one before.")


class TestAnUpload:
    async def test_an_identity_that_comes_again_is_named_by_its_line_and_counted_apart(self, app: App) -> None:
        people = [graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com"), graph(1, "ada@contoso.com")]
        file = "\n".join(map(json.dumps, people)).encode()
        upload = await app.call("POST", "linking/identities", file, "application/jsonl")
        assert upload["counts"] == {"read": 3, "problems": 0, "repeated": 1}
        (told,) = (await app.call("GET", f"linking/identities/{upload['id']}/problems"))["problems"]
        assert (told["line"], told["reason"]) == (3, "The row says the same as line 1, and was read once.")
        part = await app.call("POST", "linking/identities", file, "application/jsonl", after=upload["id"])
        assert part["counts"] == {"read": 6, "problems": 0, "repeated": 4}
        told = (await app.call("GET", f"linking/identities/{part['id']}/problems"))["problems"]
        reason = f"The row says the same as line 1 of the part {upload['id']}, and was read once."
        assert {one["line"]: one["reason"] for one in told}[3] == reason

    async def test_one_that_is_contradicted_is_no_repetition(self, app: App) -> None:
        people = [graph(1, "ada@contoso.com"), graph(1, "ada@contoso.com"), graph(1, "eve@contoso.com")]
        upload = await app.call("POST", "linking/identities", {"value": [graph(2, "bob@contoso.com"), *people]})
        assert upload["counts"] == {"read": 1, "problems": 3}
