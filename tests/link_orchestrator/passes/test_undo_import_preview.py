"""What the undo of an import would come to, over HTTP before it is done: it foretells the undo, and changes nothing."""

from __future__ import annotations

from typing import Any

from shared.directory.directory import Directories
from tests.link_orchestrator.passes.test_preview import groups_in, put, put_linked
from tests.link_orchestrator.passes.test_undo_imports import JANE, members_of, told, undo
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, directory_rows, graph, object_id


async def look(app: App, job: Any, what: str = "accounts") -> Any:
    """Return the preview of an undo of an import, once it has ended."""
    begun = await app.call("POST", f"{what}/imports/{job['id']}/undo/preview")
    return await app.wait(f"{what}/undo-previews/{begun['id']}", "done")


async def foretold(app: App, preview: Any, what: str = "accounts", **asked: str) -> dict[str, tuple[str, str]]:
    """Return what a preview says of each account or group, by name: outcome and reason."""
    page = await app.call("GET", f"{what}/undo-previews/{preview['id']}/rows", count="1000", **asked)
    named = "userName" if what == "accounts" else "displayName"
    return {row[what.removesuffix("s")][named]: (row["outcome"], row["reason"]) for row in page["rows"]}


async def stored(app: App) -> Any:
    """Return all rows of accounts and keys."""
    return await directory_rows(await Directories(app.tables).open("main"))


async def changed(app: App) -> Any:
    """Return an import of which somebody edited, linked or switched off some accounts since."""
    names = ("ada", "bob", "cleo", "dora", "finn")
    await app.bring(csv_file(*({"userName": f"{name}@contoso.com", "title": "Old", "active": "yes"} for name in names)))
    job = await app.bring(
        csv_file(
            {"userName": "ada@contoso.com", "title": "New", "department": "Law"},
            {"userName": "bob@contoso.com", "title": "New"},
            {"userName": "cleo@contoso.com", "title": "New"},
            {"userName": "dora@contoso.com", "active": "no"},
            {"userName": "finn@contoso.com", "title": "New"},
            {"userName": "eve@contoso.com"},
            {"userName": "gus@contoso.com"},
            {"userName": "hal@contoso.com"},
        )
    )
    for name in ("ada", "bob", "gus"):
        account = await app.account(f"{name}@contoso.com")
        await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Own"}})
    await app.apply(await app.plan(graph(1, "cleo@contoso.com")))
    await app.plan(graph(2, "hal@contoso.com"))
    return job


async def test_it_foretells_what_the_undo_does_and_changes_nothing(app: App) -> None:
    job = await changed(app)
    before = await stored(app)
    seen = await look(app, job)
    assert await stored(app) == before
    assert seen["counts"] == {"removed": 1, "undone": 1, "undonePartly": 1, "undoneInactive": 1, "refused": 4}
    done = await undo(app, job)
    assert seen["counts"] == done["counts"]
    assert await foretold(app, seen) == await told(app, done)


async def test_why_it_would_refuse_is_counted_by_reason_and_named(app: App) -> None:
    job = await changed(app)
    seen = await look(app, job)
    page = await app.call("GET", f"accounts/undo-previews/{seen['id']}/rows", outcome="refused")
    assert sum(one["count"] for one in page["byReason"]) == 4
    reasons = await foretold(app, seen, outcome="refused")
    assert {*reasons} == {f"{name}@contoso.com" for name in ("bob", "cleo", "gus", "hal")}
    assert "The plan of run" in reasons["hal@contoso.com"][1]
    assert "linked since, by run:" in reasons["cleo@contoso.com"][1]


async def test_a_name_and_an_externalid_that_are_anothers_by_now_would_not_come_back(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put(directory, "local", document={"externalId": object_id(1)})
    await app.bring(csv_file(JANE | {"applicationId": "7"}, {"userName": "kim", "applicationId": "8"}))
    job = await app.bring(
        csv_file(
            JANE | {"applicationId": "7", "userName": "jane.married@contoso.com"},
            {"userName": "kim", "applicationId": "8", "title": "New"},
            {"userName": "local", "externalId": "x-1"},
        )
    )
    await put_linked(directory, "managed", 1)
    await app.bring(csv_file(JANE | {"applicationId": "9"}))
    seen = await look(app, job)
    assert seen["counts"] == {"refused": 2, "undone": 1}
    done = await undo(app, job)
    assert seen["counts"] == done["counts"]
    assert await foretold(app, seen) == await told(app, done)


async def test_whom_it_would_switch_off_is_counted(app: App) -> None:
    await app.bring(csv_file(JANE | {"active": "no"}))
    job = await app.bring(csv_file(JANE | {"active": "yes"}, {"userName": "bob"}))
    assert (await look(app, job))["counts"] == {"removed": 1, "undone": 1, "switchesOff": 1}


async def test_the_last_one_is_found_by_the_import_and_is_no_undo_of_it(app: App) -> None:
    job = await app.bring(csv_file(JANE))
    path = f"accounts/imports/{job['id']}/undo"
    status, detail = await status_of(app.call("GET", f"{path}/preview"))
    assert (status, "no such preview of the undo of this import" in detail, "POST" in detail) == (404, True, True)
    seen = await look(app, job)
    assert (await app.call("GET", f"{path}/preview"))["id"] == seen["id"]
    assert (await status_of(app.call("GET", path)))[0] == 404
    assert "takenBack" not in await app.call("GET", f"accounts/imports/{job['id']}")
    assert await app.account(JANE["userName"])


async def test_after_an_undo_there_is_nothing_left_to_take_back(app: App) -> None:
    job = await app.bring(csv_file(JANE, {"userName": "eve"}))
    await undo(app, job)
    assert (await look(app, job))["counts"] == {"unchanged": 2}


async def test_it_is_refused_where_the_undo_is(app: App) -> None:
    preview = await app.call("POST", "accounts/import", csv_file(JANE), preview="true")
    await app.wait(f"accounts/previews/{preview['id']}", "done")
    assert (await status_of(look(app, preview)))[0] == 404
    assert (await status_of(look(app, {"id": "import1"})))[0] == 404


async def test_of_groups_it_foretells_what_the_undo_does_too(app: App) -> None:
    await app.bring(csv_file(*({"userName": name} for name in "abc")))
    await groups_in(app, [{"displayName": "Sales", "members": ["a"]}])
    names = ("Sales", "Law", "Tax")
    job = await groups_in(app, [{"displayName": name, "members": ["a", "b"]} for name in names])
    await groups_in(app, [{"displayName": "Tax", "members": ["c"]}])
    before = await members_of(app)
    seen = await look(app, job, "groups")
    assert await members_of(app) == before
    done = await undo(app, job, "groups")
    assert seen["counts"] == done["counts"] == {"removed": 1, "undone": 1, "undonePartly": 1}
    assert await foretold(app, seen, "groups") == await told(app, done, "groups")
