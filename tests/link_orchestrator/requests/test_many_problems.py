"""A file of which many rows have the same mistake: all are counted, the first are listed, and the rest is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from link_orchestrator.problem_report import KEPT, KEPT_IN_BUCKET
from tests.link_orchestrator.running import App, graph

MORE = KEPT + 500
"""Rows with the same mistake, more than are listed."""


async def listed(app: App, path: str, **asked: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return all listed problems of a job, and the counts beside the first page."""
    page = await app.call("GET", path, count="400", **asked)
    counts, rows = page["byReason"], page.get("problems", page.get("rows"))
    while "cursor" in page:
        page = await app.call("GET", path, count="400", cursor=page["cursor"], **asked)
        assert "byReason" not in page
        rows += page.get("problems", page.get("rows"))
    return rows, counts


def numbers(counts: list[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(one["count"], one["listed"]) for one in counts]


FILE = (
    "userName,email\nada,ada@contoso.com\nbob,bob@contoso.com\n" + "\n".join(f",nobody{n}" for n in range(MORE)) + "\n"
)


class TestRowsThatCannotBeRead:
    async def test_the_first_by_line_are_listed_and_all_are_counted(self, app: App) -> None:
        job = await app.bring((FILE + "x,a@b,c,d\n").encode())
        rows, counts = await listed(app, f"accounts/imports/{job['id']}/problems")
        assert numbers(counts) == [(MORE, KEPT), (1, 1)]
        assert [row["line"] for row in rows] == [*range(4, 4 + KEPT), MORE + 4]
        assert job["counts"]["refused"] == MORE + 1
        assert [one["count"] for one in job["reading"]["problems"]] == [MORE, 1]

    async def test_a_preview_and_the_import_of_what_it_showed_say_the_same(self, app: App) -> None:
        asked = await app.call("POST", "accounts/import", FILE.encode(), "text/csv", preview="true")
        preview = await app.wait(f"accounts/previews/{asked['id']}", "done")
        shown, counts = await listed(app, f"accounts/previews/{preview['id']}/rows", outcome="problem")
        assert (len(shown), numbers(counts)) == (KEPT, [(MORE, KEPT)])
        begun = await app.call("POST", f"accounts/previews/{preview['id']}/import")
        job = await app.wait(f"accounts/imports/{begun['id']}", "done")
        assert await listed(app, f"accounts/imports/{job['id']}/problems") == (
            [{"decision": "problem", **{n: row[n] for n in ("line", "reason", "remedy")}} for row in shown],
            counts,
        )
        assert job["counts"]["refused"] == preview["counts"]["refused"] == MORE

    async def test_an_upload_and_a_run_over_it_say_so_too(self, app: App) -> None:
        nobody = [{"id": str(n), "mail": "a@contoso.com"} for n in range(MORE)]
        upload = await app.call("POST", "linking/identities", {"value": [graph(1, "ada@contoso.com"), *nobody]})
        rows, counts = await listed(app, f"linking/identities/{upload['id']}/problems")
        assert (len(rows), numbers(counts)) == (KEPT, [(MORE, KEPT)])
        run = await app.call("POST", "linking/runs", {"identities": upload["id"]})
        assert await listed(app, f"linking/runs/{run['id']}/problems") == (rows, counts)

    async def test_object_ids_that_come_again_and_again(self, app: App) -> None:
        twice = [graph(1, f"ada{n}@contoso.com") for n in range(MORE)]
        upload = await app.call("POST", "linking/identities", {"value": [graph(2, "bob@contoso.com"), *twice]})
        rows, counts = await listed(app, f"linking/identities/{upload['id']}/problems")
        assert (len(rows), numbers(counts)) == (KEPT_IN_BUCKET, [(MORE, KEPT_IN_BUCKET)])
        assert upload["counts"] == {"read": 1, "problems": MORE}


class TestRowsThatAreRefusedByThePass:
    @pytest.mark.parametrize("preview", [False, True])
    async def test_those_of_one_bucket_are_bounded_and_counted(self, app: App, preview: bool) -> None:
        people = [{"userName": "ada@contoso.com", "title": str(n)} for n in range(KEPT_IN_BUCKET + 51)]
        file, what = json.dumps(people).encode(), "previews" if preview else "imports"
        asked = await app.call("POST", "accounts/import", file, **({"preview": "true"} if preview else {}))
        job = await app.wait(f"accounts/{what}/{asked['id']}", "done")
        path = f"accounts/{what}/{job['id']}/" + ("rows" if preview else "problems")
        rows, counts = await listed(app, path, **({"outcome": "problem"} if preview else {}))
        assert (len(rows), numbers(counts)) == (KEPT_IN_BUCKET, [(KEPT_IN_BUCKET + 50, KEPT_IN_BUCKET)])
        assert "line 1 has the same one" in rows[0]["reason"]
        assert job["counts"]["refused"] == KEPT_IN_BUCKET + 50

    async def test_what_differs_in_numbers_alone_is_counted_as_one(self, app: App) -> None:
        rows = [f"p{n % 30}@contoso.com,{n}" for n in range(90)]
        job = await app.bring("\n".join(["userName,title", *rows, ""]).encode())
        problems, counts = await listed(app, f"accounts/imports/{job['id']}/problems")
        assert (len(problems), numbers(counts)) == (60, [(60, 60)])
        assert counts[0]["reason"].startswith("userName: line … has the same one")

    async def test_members_without_an_account_are(self, app: App) -> None:
        rows = [f"Sales,nobody{n}" for n in range(KEPT_IN_BUCKET + 50)]
        asked = await app.call("POST", "groups/import", "\n".join(["group,userName", *rows, ""]).encode(), "text/csv")
        job = await app.wait(f"groups/imports/{asked['id']}", "done")
        found, counts = await listed(app, f"groups/imports/{job['id']}/problems")
        assert (len(found), numbers(counts)) == (KEPT_IN_BUCKET, [(KEPT_IN_BUCKET + 50, KEPT_IN_BUCKET)])
        assert [row["line"] for row in found] == [*range(2, KEPT_IN_BUCKET + 2)]
