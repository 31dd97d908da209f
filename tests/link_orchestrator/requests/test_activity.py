"""Who changed what: every change by a person is in the activity, under their name for as long as jobs are kept."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Call, Fault, FaultyTables, no_faults
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directories
from shared.directory.work.activity import Activity, Deed
from shared.directory.work.reviews import TALLY
from shared.tables.access import scan
from shared.tables.port import Tables
from tests.link_orchestrator.portal.door import EVA, OPERATOR, READER, SAME_SITE, Door, opened
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph, object_id, serving
from tests.link_orchestrator.test_pilot import pilot


async def test_every_change_is_in_the_activity_the_latest_first(app: App) -> None:
    await app.bring(csv_file({"userName": "kim@contoso.com"}, {"userName": "lea@contoso.com"}))
    lea = await app.account("lea@contoso.com")
    run = await app.plan(graph(1, "kim@contoso.com"))
    await app.apply(run)
    await app.call("POST", f"accounts/{lea['id']}/link", {"identity": object_id(2)})
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await app.wait(f"linking/undos/{undo['id']}", "done")
    rows = await app.pages("directory/activity", "activity", 2)
    assert [row["operation"] for row in rows] == [
        "linking_undo_start",
        "accounts_link",
        "linking_run_approve",
        "linking_run_start",
        "linking_identities_upload",
        "accounts_import",
    ]
    assert rows[0]["began"] == {"id": undo["id"], "kind": "undo", "phase": "done"}
    assert rows[0]["job"] == {"id": run["id"], "kind": "run", "phase": "done"}
    assert rows[1]["account"] == {"id": lea["id"], "userName": "lea@contoso.com"}
    assert {row["by"] for row in rows} == {"local"}
    assert (await app.call("GET", "directory/under-way"))["jobs"] == []


async def test_an_approval_of_a_pilot_is_told_from_that_of_the_rest(app: App) -> None:
    await app.bring(csv_file({"userName": "kim@contoso.com"}, {"userName": "lea@contoso.com"}))
    run = await app.plan(graph(1, "kim@contoso.com"), graph(2, "lea@contoso.com"))
    job = await pilot(app, run, number=1)
    await app.apply(run, links=job["links"])
    rows = [row for row in await app.pages("directory/activity", "activity", 9) if "links" in row]
    assert [(row["links"], row.get("pilot", False)) for row in rows] == [(1, False), (1, True)]


async def test_a_review_is_in_it_with_its_decision_and_a_single_row_by_its_id(app: App) -> None:
    await app.bring(csv_file({"userName": "kim@contoso.com"}, {"userName": "lea@contoso.com"}))
    run = await app.plan(graph(1, "kim@contoso.com"), graph(2, "lea@contoso.com"))
    ids = {row["identity"]["userPrincipalName"]: row["id"] for row in await app.decisions(run)}
    path, kim = f"linking/runs/{run['id']}/review", ids["kim@contoso.com"]
    await app.call("POST", path, {"rows": [*ids.values()], "action": "exclude"})
    await app.call("POST", path, {"rows": [kim], "action": "leave"})
    one, both = (await app.pages("directory/activity", "activity", 9))[:2]
    assert (one["decided"], one["row"]) == ({"leave": 1}, {"id": kim, "name": "kim@contoso.com"})
    assert (both["decided"], "row" in both) == ({"exclude": 2}, False)
    stored = [row async for row in scan(app.tables, (await Directories(app.tables).open("main")).keys.activity())]
    assert any(kim in row.columns.values() for row in stored)
    assert "kim@contoso" not in str(stored), "whose row it is stands in the plan, which has its term"


async def test_a_decision_is_gone_with_its_deed_and_its_name_with_its_plan(app: App) -> None:
    await app.bring(csv_file({"userName": "kim@contoso.com"}))
    run = await app.plan(graph(1, "kim@contoso.com"))
    (row,) = await app.decisions(run)
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "exclude"})
    directory = await Directories(app.tables).open("main")
    await directory.plan(run["id"]).remove(int(row["id"][:2], 16), [row["id"][2:]])
    (told, *_) = await app.pages("directory/activity", "activity", 9)
    assert (told["decided"], told["row"]) == ({"exclude": 1}, {"id": row["id"]})
    await Activity(app.tables, directory.keys, lambda: "2099-01-01T00:00:00.000Z").sweep(90)
    assert [one async for one in scan(app.tables, directory.keys.activity())] == []


async def test_decisions_by_a_file_are_in_it_by_action(app: App) -> None:
    names = [f"p{number}@contoso.com" for number in (1, 2, 3)]
    await app.bring(csv_file(*({"userName": name} for name in names)))
    run = await app.plan(*(graph(number, name) for number, name in enumerate(names, 1)))
    actions = ("exclude", "exclude", "leave")
    lines = [f"{run['id']},{row['id']},{action}" for row, action in zip(await app.decisions(run), actions, strict=True)]
    sent = "\n".join(["run,row,action", *lines]).encode()
    await app.call("POST", f"linking/runs/{run['id']}/decisions", sent, "text/csv")
    told = (await app.pages("directory/activity", "activity", 9))[0]
    assert (told["operation"], told["decided"]) == ("linking_run_decide", {"exclude": 2, "leave": 1})


async def test_what_is_read_or_refused_is_not_in_it(app: App) -> None:
    await app.bring(csv_file({"userName": "kim"}))
    kim = (await app.account("kim"))["id"]
    with pytest.raises(Exception, match="identity"):
        await app.call("POST", f"accounts/{kim}/link", {"identity": "x"})
    assert [row["operation"] for row in await app.pages("directory/activity", "activity", 9)] == ["accounts_import"]


async def test_a_plan_that_waits_is_under_way(app: App) -> None:
    run = await app.plan(graph(1, "kim@contoso.com"))
    (only,) = (await app.call("GET", "directory/under-way"))["jobs"]
    assert (only["id"], only["phase"]) == (run["id"], "planned")


async def ask(door: Door, method: str, path: str, headers: dict[str, str] = OPERATOR, body: object = None) -> Any:
    async with door.session.request(method, f"/{path}", headers=SAME_SITE | headers, json=body) as answer:
        return json.loads(await answer.text())


async def test_a_person_is_named_in_the_activity_and_in_histories(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        await ask(door, "PUT", "directory/policy", body={"verifiedDomains": ["contoso.com"]})
        (row,) = (await ask(door, "GET", "directory/activity", READER))["activity"]
        assert (row["operation"], row["by"], row["person"]) == ("policy_put", f"entra:{EVA}", "eva@contoso.com")
        (entry,) = (await ask(door, "GET", "directory/policy/history"))["history"]
        assert (entry["by"], entry["person"]) == (f"entra:{EVA}", "eva@contoso.com")
        directory = await Directories(door.tables).open("main")
        assert await directory.activity.people([f"schedule:entra:{EVA}", "local"]) == {
            f"schedule:entra:{EVA}": "eva@contoso.com"
        }
        later = Activity(door.tables, directory.keys, lambda: "2099-01-01T00:00:00.000Z")
        assert await later.sweep(90) == 2
        assert (await ask(door, "GET", "directory/activity"))["activity"] == []
        assert "person" not in (await ask(door, "GET", "directory/policy/history"))["history"][0]


LINK = {"identity": object_id(1)}


class Trouble:
    """Lets the commit of a number to the partitions that begin so fail, counted from 0."""

    def __init__(self, partitions: str, fault: Fault, number: int = 0) -> None:
        self._partitions, self._fault, self._number = partitions, fault, number
        self.seen = 0

    def strike(self, number: int, call: Call) -> Fault | None:
        """Return what goes wrong with a call, or None."""
        if call.verb != "commit" or not call.partition.startswith(self._partitions):
            return None
        self.seen += 1
        return self._fault if self.seen - 1 == self._number else None


@asynccontextmanager
async def in_trouble(folder: Path) -> AsyncIterator[tuple[App, FaultyTables, str]]:
    """Serve the app with an account, over tables whose faults a test sets; the account's id is the third."""
    faulty: list[FaultyTables] = []

    def wrap(tables: Tables) -> FaultyTables:
        faulty.append(FaultyTables(tables))
        return faulty[0]

    async with serving(folder, wrap) as app:
        await app.bring(csv_file({"userName": "kim@contoso.com"}))
        yield app, faulty[0], (await app.account("kim@contoso.com"))["id"]


async def links(app: App) -> list[bool]:
    """Return the links by hand in the activity: whether each is open."""
    rows = (await app.call("GET", "directory/activity"))["activity"]
    return ["open" in row for row in rows if row["operation"] == "accounts_link"]


ACCOUNT, ACTIVITY = "main_u", "main_e"


async def approvals(app: App) -> list[tuple[int | None, bool]]:
    """Return the approvals in the activity: how many links each is of, and whether it is open."""
    rows = await app.pages("directory/activity", "activity", 9)
    return [(row.get("links"), "open" in row) for row in rows if row["operation"] == "linking_run_approve"]


async def test_an_approval_whose_end_was_not_noted_is_told_as_its_run_has_it(tmp_path: Path) -> None:
    """A server is killed while it answers: the run is approved, and goes on to be done."""
    async with in_trouble(tmp_path) as (app, tables, _):
        run = await app.plan(graph(1, "kim@contoso.com"))
        tables.faults = Trouble(ACTIVITY, Fault.UNAVAILABLE, 1).strike
        await app.apply(run)
        tables.faults = no_faults
        assert await approvals(app) == [(1, False)]


async def test_an_approval_that_was_pressed_again_after_a_kill_is_the_second_ones_alone(tmp_path: Path) -> None:
    """A server is killed before the run is approved: nobody knows of that one."""
    async with serving(tmp_path) as app:
        await app.bring(csv_file({"userName": "kim@contoso.com"}))
        run = await app.plan(graph(1, "kim@contoso.com"))
        activity = (await Directories(app.tables).open("main")).activity
        await activity.begin(Deed("linking_run_approve", "local", about=run["id"]))
        await app.apply(run)
        assert await approvals(app) == [(1, False), (None, True)]


async def test_an_approval_that_is_known_to_be_done_comes_before_one_of_its_millisecond_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deeds of one millisecond are in no order: the open one is listed first here."""
    async with serving(tmp_path) as app:
        await app.bring(csv_file({"userName": "kim@contoso.com"}))
        run = await app.plan(graph(1, "kim@contoso.com"))
        await app.apply(run)
        directory = await Directories(app.tables).open("main")
        deeds, _ = await directory.activity.page("", 9)
        (done,) = (deed for deed in deeds if deed.did == "linking_run_approve")
        monkeypatch.setattr("secrets.token_hex", lambda size: "00" * size)
        await Activity(app.tables, directory.keys, lambda: done.at).begin(Deed(done.did, done.by, about=run["id"]))
        assert await approvals(app) == [(None, True), (1, False)]


@pytest.mark.parametrize(
    ("trouble", "status", "linked", "noted"),
    [
        pytest.param(Trouble(ACCOUNT, Fault.LOST), 200, True, [False], id="the deed's answer is looked up"),
        pytest.param(Trouble(ACCOUNT, Fault.UNAVAILABLE), 503, False, [True], id="the deed does not arrive"),
        pytest.param(Trouble(ACTIVITY, Fault.UNAVAILABLE), 503, False, [], id="the note does not arrive"),
        pytest.param(Trouble(ACTIVITY, Fault.LOST), 503, False, [True], id="the note's answer is lost"),
        pytest.param(Trouble(ACTIVITY, Fault.UNAVAILABLE, 1), 200, True, [True], id="its end does not arrive"),
        pytest.param(Trouble(ACTIVITY, Fault.LOST, 1), 200, True, [False], id="its end's answer is lost"),
    ],
)
async def test_whatever_storage_loses_no_change_is_without_a_row(
    tmp_path: Path, trouble: Trouble, status: int, linked: bool, noted: list[bool]
) -> None:
    async with in_trouble(tmp_path) as (app, tables, kim):
        tables.faults = trouble.strike
        async with app.session.post(f"/accounts/{kim}/link", json=LINK) as answer:
            assert answer.status == status
        tables.faults = no_faults
        assert trouble.seen
        assert ((await app.account("kim@contoso.com"))["link"] is not None) == linked
        assert await links(app) == noted


async def test_what_was_done_though_the_answer_was_lost_is_in_the_list(tmp_path: Path) -> None:
    async with in_trouble(tmp_path) as (app, tables, _):
        policy = await app.call("GET", "directory/policy")
        tables.faults = Trouble("main_d", Fault.LOST).strike
        assert (await status_of(app.call("PUT", "directory/policy", policy | {"undoDays": 7})))[0] == 503
        tables.faults = no_faults
        assert (await app.call("GET", "directory/policy"))["undoDays"] == 7
        row = (await app.call("GET", "directory/activity"))["activity"][0]
        assert (row["operation"], row["open"]) == ("policy_put", True)


async def test_a_refusal_whose_withdrawal_is_lost_is_not_known(tmp_path: Path) -> None:
    async with in_trouble(tmp_path) as (app, tables, kim):
        tables.faults = Trouble(ACTIVITY, Fault.UNAVAILABLE, 1).strike
        assert (await status_of(app.call("POST", f"accounts/{kim}/link", {"identity": "x"})))[0] == 400
        tables.faults = no_faults
        assert await links(app) == [True]


NUMBERS = range(1, 9)
PEOPLE = [f"p{number}@contoso.com" for number in NUMBERS]


@asynccontextmanager
async def decided_on_meanwhile(folder: Path, stored: int) -> AsyncIterator[tuple[App, dict[str, Any], list[Any]]]:
    """Serve a plan of links that is cancelled once so many transactions stored reviews, with its run and rows."""
    faulty: list[FaultyTables] = []

    def wrap(tables: Tables) -> FaultyTables:
        faulty.append(FaultyTables(tables))
        return faulty[0]

    async with serving(folder, wrap) as app:
        await app.bring(csv_file(*({"userName": name} for name in PEOPLE)))
        run = await app.plan(*(graph(number, name) for number, name in zip(NUMBERS, PEOPLE, strict=True)))
        directory = await Directories(app.tables).open("main")
        left = stored

        async def cancel(call: Call) -> None:
            nonlocal left
            if TALLY not in call.keys:
                return
            if call.verb == "commit":
                left -= 1
            elif left == 0:
                left = -1
                await directory.jobs.change(run["id"], lambda job: replace(job, cancelled_by="ada"))
                await reviews_of(directory, run["id"]).close()

        faulty[0].before = cancel
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("shared.directory.work.reviews.BUCKETS_AT_ONCE", 1)
            yield app, run, await app.decisions(run)


@pytest.mark.parametrize(("stored", "noted"), [(0, []), (1, [True])])
async def test_what_was_refused_half_way_stays_in_it(tmp_path: Path, stored: int, noted: list[bool]) -> None:
    """Others cancel the plan while its rows are reviewed, of which some are stored by then."""
    async with decided_on_meanwhile(tmp_path, stored) as (app, run, rows):
        asked = {"rows": [row["id"] for row in rows], "action": "exclude"}
        status, said = await status_of(app.call("POST", f"linking/runs/{run['id']}/review", asked))
        assert (status, "part of what was asked was done before" in said) == (409, bool(noted))
        assert any("review" in row for row in await app.decisions(run)) == bool(noted)
        assert await reviews_noted(app) == noted


async def test_a_policy_that_a_refused_review_changed_is_in_it(tmp_path: Path) -> None:
    async with decided_on_meanwhile(tmp_path, 0) as (app, run, rows):
        asked = {"rows": [rows[0]["id"]], "action": "exclude", "inPolicy": True}
        assert (await status_of(app.call("POST", f"linking/runs/{run['id']}/review", asked)))[0] == 409
        assert len((await app.call("GET", "directory/policy"))["excluded"]) == 1
        assert await reviews_noted(app) == [True]


async def reviews_noted(app: App) -> list[bool]:
    """Return the reviews in the activity: whether each is open."""
    rows = (await app.call("GET", "directory/activity"))["activity"]
    return ["open" in row for row in rows if row["operation"] == "linking_run_review"]


async def test_a_deed_is_open_until_it_is_closed(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    began = await directory.activity.begin(Deed("accounts_import", "ada"))
    (row,) = (await app.call("GET", "directory/activity"))["activity"]
    assert row["open"] is True
    await directory.activity.close(began, "import1")
    (row,) = (await app.call("GET", "directory/activity"))["activity"]
    assert ("open" in row, row["began"]["id"]) == (False, "import1")


async def test_the_page_says_of_what_nobody_knows(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        directory = await Directories(door.tables).open("main")
        await directory.activity.begin(Deed("policy_put", "ada"))
        assert "not known whether it was done" in (await door.get("activity")).text


async def test_the_page_says_what_was_decided_and_on_whom(tmp_path: Path) -> None:
    async with opened(tmp_path) as door:
        directory = await Directories(door.tables).open("main")
        begun = await directory.activity.begin(Deed("linking_run_review", "ada", about="run1"))
        await directory.activity.close(begun, "", {"exclude": 1, "row": "00_1"})
        begun = await directory.activity.begin(Deed("linking_run_decide", "ada", about="run1"))
        await directory.activity.close(begun, "", {"link": 62, "exclude": 3})
        await directory.activity.begin(Deed("linking_groups_upload", "ada"))
        page = (await door.get("activity")).text
        assert "Brought groups of Entra" in page
        assert "Decided on a row of a plan: to stay out" in page
        assert "Decided on rows of a plan by a file: 62 to be linked, 3 to stay out" in page
