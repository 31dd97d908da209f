"""The preview of an import over HTTP: it says what the import then does, and writes nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from shared.directory.directory import Directories, Directory
from shared.directory.records.model import Account, Link, Status
from shared.directory.work.jobs import State
from shared.tables.port import Row
from tests.link_orchestrator.running import App, Refusal, csv_file, object_id, rows_of

JANE = {"userName": "jane@contoso.com", "email": "jane@contoso.com", "title": "Engineer"}


async def preview(app: App, file: bytes, what: str = "accounts", content_type: str = "text/csv", **params: str) -> Any:
    """Preview an import, and return the job once it has ended."""
    job = await app.call("POST", f"{what}/import", file, content_type, preview="true", **params)
    return await app.wait(f"{what}/previews/{job['id']}", "done")


async def shown_rows(app: App, job: Any, outcome: str = "") -> list[dict[str, Any]]:
    """Return the rows that a preview shows."""
    asked = {"outcome": outcome} if outcome else {}
    rows: list[dict[str, Any]] = (await app.call("GET", f"accounts/previews/{job['id']}/rows", **asked))["rows"]
    return rows


async def everything(directory: Directory) -> list[Row]:
    """Return all rows of a directory but those of its jobs, their reports and their stages."""
    tables, keys, groups = directory.tables, directory.keys, directory.groups.keys
    places = [place(bucket) for bucket in range(keys.buckets) for place in (keys.resources, keys.pointers)]
    places += [place(bucket) for bucket in range(keys.buckets) for place in (groups.resources, groups.pointers)]
    places += [keys.memberships(bucket) for bucket in range(16)] + [keys.settings(), keys.nested()]
    places += [place(bucket) for bucket in range(keys.buckets) for place in (keys.refusals, keys.adoptions)]
    for bucket in range(keys.buckets):
        async for found in directory.group_listing.scan(bucket):
            places.append(keys.members(found.id))
    return [row for place in places for row in await rows_of(tables, place)]


async def put(directory: Directory, name: str, **changes: Any) -> Account:
    """Store an account beside the imports."""
    document = {"userName": name, "title": "Old"} | changes.pop("document", {})
    account = Account.new(directory.keys.new_id(name), document, Status.LOCAL, directory.accounts.now())
    account = await directory.accounts.create(account, by="test")
    return await directory.accounts.replace(account, replace(account, **changes), by="test", action="edit")


async def put_linked(directory: Directory, name: str, number: int, identity: str = "") -> Account:
    """Store an account that a run linked."""
    account, identity = await put(directory, name), identity or object_id(number)
    link = Link(identity, "userName", "2026-01-01T00:00:00.000Z", "run:test")
    after = account.with_external_id(identity, status=Status.CLAIMED, link=link)
    return await directory.accounts.replace(account, after, by="run:test", action="link")


async def test_it_counts_what_the_import_then_does(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put(directory, "jane@contoso.com")
    await put(directory, "guarded", protected=True)
    await put_linked(directory, "managed", 1)
    await put(directory, "leaver")
    await put(directory, "returner", document={"active": False})
    await put(directory, "same")
    file = csv_file(
        JANE | {"department": "Sales", "objectId": object_id(5)},
        {"userName": "guarded", "title": "New"},
        {"userName": "managed", "title": "New"},
        {"userName": "leaver", "title": "Old", "active": "no"},
        {"userName": "returner", "title": "Old", "active": "yes"},
        {"userName": "same", "title": "Old"},
        {"userName": "new", "title": "New"},
        {"userName": "NEW", "title": "Newer"},
        {"userName": "", "title": "Nobody"},
    )
    before = await everything(directory)
    shown = await preview(app, file)
    assert await everything(directory) == before, "etags included"
    assert shown["counts"] == {"created": 1, "updated": 3, "unchanged": 1, "refused": 4}
    assert shown["changes"] == {
        "title": 1,
        "emails": 1,
        "department": 1,
        "evidence": 1,
        "deactivated": 1,
        "activated": 1,
    }
    assert shown["leftAlone"] == {"protected": 1, "linked": 1}
    imported = await app.bring(file)
    for part in ("counts", "changes", "leftAlone"):
        assert imported[part] == shown[part]


async def test_it_shows_the_first_rows_as_accounts_and_all_problems(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put(directory, "jane@contoso.com", document={"active": False})
    rows = [{"userName": f"person{number:02}"} for number in range(40)]
    file = csv_file(JANE | {"active": "yes"}, *rows, {"userName": "last", "active": "perhaps"})
    job = await preview(app, file)
    shown = await shown_rows(app, job)
    assert [row["line"] for row in shown] == [*range(2, 22), 43]
    assert shown[0]["outcome"] == "updated"
    assert shown[0]["changes"]["title"] == {"from": "Old", "to": "Engineer"}
    assert shown[0]["changes"]["active"] == {"from": False, "to": True}
    assert shown[0]["account"]["document"]["emails"][0]["value"] == JANE["email"]
    assert shown[1]["account"] == {
        "userName": "person00",
        "protected": False,
        "evidence": {},
        "document": {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "person00", "active": True,
        },
    }  # fmt: skip
    assert [row["line"] for row in await shown_rows(app, job, "problem")] == [43]
    assert [row["line"] for row in await shown_rows(app, job, "created")] == [*range(3, 22)]


@pytest.mark.parametrize("asked", ["yes", "True", "1", ""])
async def test_a_word_that_says_neither_imports_nothing(app: App, asked: str) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", "accounts/import", csv_file(JANE), "text/csv", preview=asked)
    assert refusal.value.status == 400
    assert refusal.value.detail.startswith("preview:")


@pytest.mark.parametrize("door", ["accounts/import", "groups/import", "linking/identities"])
async def test_a_parameter_that_is_mistyped_imports_nothing(app: App, door: str) -> None:
    with pytest.raises(Refusal, match=r"^400 previw: no parameter of this request, which takes .*columns"):
        await app.call("POST", door, csv_file(JANE), "text/csv", previw="true")
    assert not (await app.call("GET", "accounts", userName=JANE["userName"]))["accounts"]


async def test_what_another_account_holds_is_foreseen(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put_linked(directory, "managed", 1)
    await put(directory, "local")
    file = csv_file(
        {"userName": "second", "externalId": object_id(1)}, {"userName": "local", "externalId": object_id(1)}
    )
    shown = await preview(app, file)
    assert shown["counts"] == {"refused": 2}
    imported = await app.bring(file)
    assert imported["counts"] == shown["counts"]
    problems = await app.problems(imported)
    told = [{name: row[name] for name in ("line", "reason", "remedy")} for row in await shown_rows(app, shown)]
    assert told == [{name: row[name] for name in ("line", "reason", "remedy")} for row in problems]


async def test_groups_are_previewed_the_same_way(app: App) -> None:
    await app.bring(csv_file({"userName": "a"}, {"userName": "b"}))
    rows = [{"displayName": "Old", "members": ["a"]}, {"displayName": "Same", "members": ["b"]}]
    await groups_in(app, rows)
    directory = await Directories(app.tables).open("main")
    before = await everything(directory)
    rows = [
        {"displayName": "Old", "members": ["a", "b", "nobody"], "externalId": "g-1"},
        {"displayName": "Same", "members": ["b"]},
        {"displayName": "New", "members": ["b"]},
    ]
    shown = await preview(app, json.dumps(rows).encode(), "groups", "application/json")
    assert await everything(directory) == before, "etags included"
    assert shown["counts"] == {"created": 1, "updated": 1, "unchanged": 1, "members": 4, "refused": 1}
    assert shown["changes"] == {"externalId": 1, "members": 1}
    imported = await groups_in(app, rows)
    for part in ("counts", "changes"):
        assert imported[part] == shown[part]


async def test_what_was_previewed_is_imported_without_the_file(app: App) -> None:
    file = csv_file(JANE, {"userName": "new"}, {"userName": "", "title": "Nobody"})
    job = await app.call("POST", "accounts/import", file, "text/csv", preview="true", file="hr.csv")
    shown = await app.wait(f"accounts/previews/{job['id']}", "done")
    started = await app.call("POST", f"accounts/previews/{shown['id']}/import")
    imported = await app.wait(f"accounts/imports/{started['id']}", "done")
    assert imported["counts"] == shown["counts"] == {"created": 2, "refused": 1}
    assert imported["reading"] == shown["reading"]
    assert imported["options"]["file"] == "hr.csv"
    assert [row["line"] for row in await app.problems(imported)] == [4]
    assert (await app.call("GET", "accounts", userName="new"))["accounts"]
    undo = await app.call("POST", f"accounts/imports/{imported['id']}/undo")
    assert (await app.wait(f"accounts/undos/{undo['id']}", "done"))["counts"] == {"removed": 2}


async def test_what_was_previewed_is_imported_once(app: App) -> None:
    """Pressed again in the afternoon it would write over what was edited since, or bring back what was undone."""
    shown = await preview(app, csv_file(JANE))
    started = await app.call("POST", f"accounts/previews/{shown['id']}/import")
    await app.wait(f"accounts/imports/{started['id']}", "done")
    with pytest.raises(Refusal, match=rf"^409 id: this was imported already, by {started['id']}: send the file again"):
        await app.call("POST", f"accounts/previews/{shown['id']}/import")


async def test_what_changed_since_the_preview_counts_as_it_is_then(app: App) -> None:
    shown = await preview(app, csv_file(JANE))
    await app.bring(csv_file(JANE))
    started = await app.call("POST", f"accounts/previews/{shown['id']}/import")
    imported = await app.wait(f"accounts/imports/{started['id']}", "done")
    assert imported["counts"] == {"unchanged": 1, "refused": 0}


async def test_previewed_groups_are_imported_without_the_file(app: App) -> None:
    await app.bring(csv_file({"userName": "a"}))
    rows = [{"displayName": "New", "members": ["a", "nobody"]}, {"members": ["a"]}]
    shown = await preview(app, json.dumps(rows).encode(), "groups", "application/json")
    started = await app.call("POST", f"groups/previews/{shown['id']}/import")
    imported = await app.wait(f"groups/imports/{started['id']}", "done")
    assert imported["counts"] == shown["counts"]
    assert imported["counts"]["refused"] == 2


async def test_a_preview_that_was_cancelled_or_is_too_old_is_not_imported(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    shown = await preview(app, csv_file(JANE))
    await directory.jobs.change(shown["id"], lambda job: replace(job, ended="2020-01-01T00:00:00.000Z"))
    with pytest.raises(Refusal, match=r"^409 ended: the rows of a preview are kept for 1 day: send the file again"):
        await app.call("POST", f"accounts/previews/{shown['id']}/import")
    await directory.jobs.change(shown["id"], lambda job: replace(job, state=State.CANCELLED))
    with pytest.raises(Refusal, match=r"^409 phase: .* is cancelled: a preview that is done can be imported"):
        await app.call("POST", f"accounts/previews/{shown['id']}/import")
    with pytest.raises(Refusal, match=r"^404"):
        await app.call("POST", f"groups/previews/{shown['id']}/import")


async def groups_in(app: App, rows: list[dict[str, Any]]) -> Any:
    """Import groups and return the job once it has ended."""
    job = await app.call("POST", "groups/import", rows)
    return await app.wait(f"groups/imports/{job['id']}", "done")
