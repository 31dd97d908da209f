"""Lists of jobs: the latest first, a page at a time, and a page costs no more the more jobs there are."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import FaultyTables
from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import list_jobs
from link_orchestrator.requests.standing import get_directory
from shared.directory.directory import Directories
from shared.directory.matching.policy import Policy
from shared.host.settings import Settings
from shared.scim.endpoint import Request
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    App,
    Refusal,
    csv_file,
    graph,
    leave_out_entries,
    make_directory,
    serving,
)

ACCOUNTS = csv_file({"userName": "jane@contoso.com"})
JANE = graph(1, "jane@contoso.com")
LONG = ("policy", "mapping", "reading", "warnings", "predicted", "impact")
"""What a run may be long by."""


async def listed(app: App, path: str, count: int) -> list[Any]:
    """Return the jobs of a list, page by page."""
    name, found, cursor = path.rpartition("/")[2], list[Any](), ""
    while True:
        page = await app.call("GET", path, count=str(count), cursor=cursor)
        assert len(page[name]) <= count
        found += page[name]
        if "cursor" not in page:
            return found
        cursor = page["cursor"]


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_jobs_of_two_kinds_are_paged_as_one_list_the_latest_first(app: App, count: int) -> None:
    begun = []
    for number in range(3):
        begun.append((await app.bring(csv_file({"userName": f"p{number}"})))["id"])
        groups = await app.call("POST", "groups/import", csv_file({"group": f"g{number}"}), "text/csv")
        await app.wait(f"groups/imports/{groups['id']}", "done")
        begun.append(groups["id"])
    assert [job["id"] for job in await listed(app, "linking/imports", count)] == begun[::-1]


async def test_an_entry_has_what_a_list_shows_and_the_job_the_rest(app: App) -> None:
    await app.bring(ACCOUNTS)
    run = await app.plan(JANE)
    (entry,) = (await app.call("GET", "linking/runs"))["runs"]
    assert entry == {name: run[name] for name in entry} | {"options": entry["options"]}
    assert (entry["phase"], entry["links"]) == ("planned", run["links"])
    assert not [name for name in LONG if name in entry or name in entry["options"]]
    assert entry["options"]["identities"] == run["options"]["identities"]
    await app.apply(run)
    (entry,) = (await app.call("GET", "linking/runs"))["runs"]
    assert (entry["phase"], entry["counts"]["linked"], "links" in entry) == ("done", run["links"], True)


async def test_links_that_reviews_add_are_in_the_list(app: App) -> None:
    await app.bring(csv_file({"userName": "jane@contoso.com", "displayName": "Jane"}))
    run = await app.plan(graph(1, "jane.doe@contoso.com"))
    (row,) = await app.decisions(run, "noAccount")
    jane = (await app.account("jane@contoso.com"))["id"]
    await app.call(
        "POST",
        f"linking/runs/{run['id']}/review",
        {"rows": [row["id"]], "action": "link", "account": jane},
    )
    (entry,) = (await app.call("GET", "linking/runs"))["runs"]
    assert entry["links"] == (await app.call("GET", f"linking/runs/{run['id']}"))["links"]


async def test_what_a_job_brought_for_others_says_how_long_it_is_kept(app: App) -> None:
    upload = await app.upload(JANE)
    preview = await app.call("POST", "accounts/import", ACCOUNTS, "text/csv", preview="true")
    preview = await app.wait(f"accounts/previews/{preview['id']}", "done")
    (listed_upload,) = (await app.call("GET", "linking/uploads"))["uploads"]
    assert listed_upload["keptUntil"] == (await app.call("GET", f"linking/identities/{upload}"))["keptUntil"]
    for job, days in ((listed_upload, 30), (preview, 1)):
        assert datetime.fromisoformat(job["keptUntil"]) - datetime.fromisoformat(job["ended"]) == timedelta(days=days)


async def test_jobs_of_a_version_without_entries_are_listed_at_once(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        await app.bring(ACCOUNTS)
        run = await app.plan(JANE)
        await leave_out_entries(app.tables, (await Directories(app.tables).open("main")).keys)
    async with serving(tmp_path) as app:
        latest = (await app.call("GET", "directory"))["latest"]
        assert (latest["run"]["id"], "import" in latest) == (run["id"], True)
        assert [one["id"] for one in (await app.call("GET", "linking/runs"))["runs"]] == [run["id"]]


@pytest.mark.parametrize("asked", [{"cursor": "x"}, {"count": "0"}, {"form": "1"}])
async def test_a_wrong_parameter_is_named(app: App, asked: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        await app.call("GET", "linking/runs", **asked)
    assert refused.value.status == 400


async def test_a_page_and_the_overview_cost_the_same_at_any_number_of_jobs(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    await make_directory(sqlite_tables)
    directory = await Directories(counting).open("main")
    asked = Request("https://scimlink.example/scim/v2", "ada")
    await directory.jobs.entries(RUN.name)  # looks once whether there are jobs without
    costs, overview = set(), list[int]()
    for _ in range(2):
        for _ in range(1_100):
            await directory.jobs.record(RUN.name, "ada", directory.jobs.new_id(RUN.name), {"link": 1}, _options())
        counting.reset()
        first = json.loads((await list_jobs(RUN, directory, asked)).text)
        page = counting.requests
        counting.reset()
        after = Request(asked.base, asked.by, params={"cursor": first["cursor"]})
        second = json.loads((await list_jobs(RUN, directory, after)).text)
        further = counting.requests
        counting.reset()
        await get_directory(directory, asked, Settings.local("token"))
        overview.append(counting.requests)
        costs.add((page, further))
    assert (len(first["runs"]), len(second["runs"])) == (100, 100)
    assert costs == {(2, 2)}, "the entries of runs, and those of the undos that took some back"
    assert overview[1] <= overview[0]
    assert len(json.dumps(first)) < 100 * 300


def _options() -> dict[str, Any]:
    return {"policy": Policy().to_json(), "identities": "identities1"}
