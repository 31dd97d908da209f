"""Who changed what: every change by a person is in the activity, under their name for as long as jobs are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.work.activity import Activity, Deed
from shared.tables.port import Unavailable
from tests.link_orchestrator.portal.door import EVA, OPERATOR, READER, SAME_SITE, Door, opened
from tests.link_orchestrator.running import App, csv_file, graph, object_id, serving


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


async def test_a_change_that_could_not_be_noted_is_answered_as_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serving(tmp_path) as app:
        await app.bring(csv_file({"userName": "kim"}))
        kim = (await app.account("kim"))["id"]
        directory = await Directories(app.tables).open("main")

        class Away:
            async def commit(self, *args: object) -> None:
                raise Unavailable("away")

        away = Activity(Away(), directory.keys)  # type: ignore[arg-type]  # nothing else is called
        await away.note(Deed("accounts_link", "local", about=kim))
