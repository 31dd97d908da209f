"""The undo of an import over HTTP: what goes, what is given back, and what stays because somebody did more."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from link_orchestrator.kinds import KINDS
from shared.directory.directory import Directories
from shared.directory.records.kept import sweep_kept
from shared.directory.records.model import Status
from tests.link_orchestrator.passes.test_preview import groups_in, put, put_linked
from tests.link_orchestrator.running import App, Refusal, all_accounts, csv_file, graph, object_id
from tests.shared.directory.invariants import check_invariants

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
JANE = {"userName": "jane@contoso.com", "title": "Engineer"}


async def undo(app: App, job: Any, what: str = "accounts", **asked: Any) -> Any:
    """Take an import back, and return the undo once it has ended."""
    begun = await app.call("POST", f"{what}/imports/{job['id']}/undo", asked or None)
    return await app.wait(f"{what}/undos/{begun['id']}", "done")


async def told(app: App, job: Any, what: str = "accounts") -> dict[str, tuple[str, str]]:
    """Return what an undo says of each account or group, by name: outcome and reason."""
    rows = (await app.call("GET", f"{what}/undos/{job['id']}/rows", count="1000"))["rows"]
    named = "userName" if what == "accounts" else "displayName"
    return {row[what.removesuffix("s")][named]: (row["outcome"], row["reason"]) for row in rows}


async def documents(app: App) -> dict[str, Any]:
    """Return what people see of all accounts, by userName."""
    directory = await Directories(app.tables).open("main")
    found = await all_accounts(directory)
    return {a.user_name: (a.document(), a.evidence, a.protected, a.status, a.link, a.application_id) for a in found}


async def test_everything_is_what_it_was_before(app: App) -> None:
    await app.bring(
        csv_file(JANE | {"department": "Sales", "nameId": "n-1"}, {"userName": "bob", "email": "b@contoso.com"})
    )
    before = await documents(app)
    job = await app.bring(
        csv_file(
            JANE | {"title": "Director", "department": "Law", "costCenter": "9", "nameId": "n-2", "protected": "yes"},
            {"userName": "bob", "email": "c@contoso.com", "externalId": "x-1", "phone": "1"},
            {"userName": "eve", "email": "e@contoso.com", "externalId": "x-2"},
        )
    )
    done = await undo(app, job)
    assert done["counts"] == {"removed": 1, "undone": 2}
    assert await documents(app) == before
    assert (await told(app, done))["eve"][0] == "removed"
    assert (await app.call("GET", f"accounts/imports/{job['id']}/undo"))["id"] == done["id"]
    await check_invariants(app.tables, "main")
    again = await undo(app, job)
    assert again["counts"] == {"unchanged": 3}
    assert all("before" in reason for _, reason in (await told(app, again)).values())
    assert await documents(app) == before
    assert (await app.bring(csv_file({"userName": "eve", "externalId": "x-2"})))["counts"] == {
        "created": 1,
        "refused": 0,
    }


async def test_what_somebody_edited_since_stays_and_is_named(app: App) -> None:
    await app.bring(csv_file(JANE | {"department": "Sales"}))
    job = await app.bring(
        csv_file(JANE | {"title": "Director", "department": "Law"}, {"userName": "eve"}, {"userName": "new"})
    )
    jane, eve = await app.account("jane@contoso.com"), await app.account("eve")
    for title in ("Countess", "Director"):  # edited to what the import wrote, too: that is what a person wants
        await app.call("PATCH", f"accounts/{jane['id']}", {"document": {"title": title}})
    await app.call("PATCH", f"accounts/{eve['id']}", {"document": {"title": "Boss"}})
    done = await undo(app, job)
    assert done["counts"] == {"removed": 1, "undonePartly": 1, "refused": 1}
    rows = await told(app, done)
    assert rows["jane@contoso.com"][1].startswith("The account is given back; title: changed since (edit by ")
    assert rows["eve"][1].startswith("title: changed since (edit by ")
    document = (await app.account("jane@contoso.com"))["document"]
    assert document["title"] == "Director"
    assert next(value for name, value in document.items() if name.startswith("urn:"))["department"] == "Sales"


async def test_who_was_linked_since_stays_as_they_are(app: App) -> None:
    await app.bring(csv_file({"userName": "bob@contoso.com", "title": "Old"}))
    job = await app.bring(csv_file(JANE, {"userName": "bob@contoso.com", "title": "New"}, {"userName": "eve"}))
    run = await app.plan(graph(1, "jane@contoso.com"), graph(2, "bob@contoso.com"))
    await app.apply(run)
    before = await documents(app)
    done = await undo(app, job)
    assert done["counts"] == {"refused": 2, "removed": 1}
    assert all(
        "linked since, by run:" in reason
        for outcome, reason in (await told(app, done)).values()
        if outcome != "removed"
    )
    assert await documents(app) == {name: shown for name, shown in before.items() if name != "eve"}


async def test_what_an_undo_of_the_run_gave_back_is_taken_back_then(app: App) -> None:
    await app.bring(csv_file({"userName": "bob@contoso.com", "title": "Old"}))
    before = await documents(app)
    job = await app.bring(csv_file(JANE, {"userName": "bob@contoso.com", "title": "New"}))
    run = await app.plan(graph(1, "jane@contoso.com"), graph(2, "bob@contoso.com"))
    await app.apply(run)
    begun = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await app.wait(f"linking/undos/{begun['id']}", "done")
    done = await undo(app, job)
    assert done["counts"] == {"undone": 1, "removed": 1}, "from whom it was taken apart is nothing of the account"
    assert await documents(app) == before


async def test_whom_the_import_made_goes_also_if_scim_had_deleted_them_before_the_undo_of_the_run(app: App) -> None:
    job = await app.bring(csv_file(JANE))
    jane = (await app.account(JANE["userName"]))["id"]
    run = await app.apply(await app.plan(graph(1, JANE["userName"])))
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"')
    await app.call("DELETE", f"scim/v2/Users/{jane}")
    begun = await app.call("POST", f"linking/runs/{run['id']}/undo", {"activate": 1})
    await app.wait(f"linking/undos/{begun['id']}", "done")
    done = await undo(app, job)
    assert done["counts"] == {"removed": 1}, await told(app, done)
    assert await documents(app) == {}


async def test_nobody_is_switched_on_unseen(app: App) -> None:
    await app.bring(csv_file(JANE, {"userName": "bob"}))
    file = csv_file(JANE | {"active": "no", "title": "Director"}, {"userName": "bob", "active": "no"})
    job = await app.bring(file)
    assert job["changes"] == {"deactivated": 2, "title": 1}
    done = await undo(app, job)
    assert done["counts"] == {"undoneInactive": 2}
    jane = await app.account("jane@contoso.com")
    assert (jane["active"], jane["document"]["title"]) == (False, "Engineer")
    wrong = await undo(app, job, activate=1)
    assert (wrong["phase"], "2 accounts, not 1" in wrong["reason"]) == ("failed", True)
    assert not (await app.account("bob"))["active"]
    right = await undo(app, job, activate=2)
    assert right["counts"] == {"activating": 2, "undone": 2}
    assert (await app.account("bob"))["active"]


async def test_another_number_to_delete_changes_nothing_and_the_reason_names_the_right_one(app: App) -> None:
    job = await app.bring(csv_file(JANE, {"userName": "bob"}, {"userName": "eve"}))
    await app.plan(graph(1, "jane@contoso.com"))
    wrong = await undo(app, job, remove=3)
    assert (wrong["phase"], "would delete 2 accounts, not 3" in wrong["reason"]) == ("failed", True)
    assert len(await documents(app)) == 3
    assert (await undo(app, job, remove=2))["counts"] == {"removing": 2, "removed": 2, "refused": 1}
    assert {*await documents(app)} == {"jane@contoso.com"}


async def test_whoever_was_not_counted_is_not_deleted(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await app.bring(csv_file(JANE, {"userName": "bob"}))
    run = await app.plan(graph(1, "jane@contoso.com"))
    passes = KINDS["importundo"].passes
    undo_import = passes["undo_import"]

    async def plan_is_dropped_after_the_count(*slice_: Any) -> Any:
        await app.call("POST", f"linking/runs/{run['id']}/cancel")
        await app.wait(f"linking/runs/{run['id']}", "cancelled")
        return await undo_import(*slice_)

    monkeypatch.setitem(passes, "undo_import", plan_is_dropped_after_the_count)  # type: ignore[arg-type]
    done = await undo(app, job, remove=1)
    assert done["counts"] == {"removing": 1, "removed": 1, "refused": 1}
    assert "not among those whose number was confirmed" in (await told(app, done))["jane@contoso.com"][1]


async def test_what_becomes_of_the_person_is_said_where_a_plan_was_made_since_alone(app: App) -> None:
    job = await app.bring(csv_file(JANE))
    assert "provisioning" not in (await told(app, await undo(app, job)))["jane@contoso.com"][1]
    job = await app.bring(csv_file(JANE))
    await app.plan(graph(2, "bob@contoso.com"))
    assert "no other account before the next plan" in (await told(app, await undo(app, job)))["jane@contoso.com"][1]


async def test_a_row_that_was_linked_says_to_undo_the_run_first(app: App) -> None:
    job = await app.bring(csv_file(JANE))
    await app.apply(await app.plan(graph(1, "jane@contoso.com")))
    reason = (await told(app, await undo(app, job)))["jane@contoso.com"][1]
    assert reason.endswith("Undo that run first, and take the import back once more.")


async def test_whom_the_import_switched_on_is_off_again(app: App) -> None:
    await app.bring(csv_file(JANE | {"active": "no"}))
    job = await app.bring(csv_file(JANE | {"active": "yes"}))
    assert (await undo(app, job))["counts"] == {"undone": 1}
    assert not (await app.account("jane@contoso.com"))["active"]


@pytest.mark.parametrize("first", ["earlier", "later"])
async def test_two_imports_go_in_either_order(app: App, first: str) -> None:
    await app.bring(csv_file(JANE | {"department": "Sales"}))
    before = await documents(app)
    earlier = await app.bring(csv_file(JANE | {"title": "Director", "department": "Law"}, {"userName": "eve"}))
    later = await app.bring(csv_file(JANE | {"title": "Boss"}, {"userName": "eve", "title": "New"}))
    if first == "earlier":
        done = await undo(app, earlier)
        assert done["counts"] == {"undonePartly": 1, "refused": 1}
        reason = (await told(app, done))["jane@contoso.com"][1]
        assert f"title: changed since (import by import:{later['id']})" in reason
        assert (await app.account("jane@contoso.com"))["document"]["title"] == "Boss"
    assert (await undo(app, later))["counts"] == {"undone": 2}
    done = await undo(app, earlier)
    assert done["counts"] == {"undone": 1, "removed": 1}
    assert await documents(app) == before


async def test_whom_a_waiting_plan_would_link_stays(app: App) -> None:
    job = await app.bring(csv_file(JANE, {"userName": "eve"}))
    run = await app.plan(graph(1, "jane@contoso.com"))
    done = await undo(app, job)
    assert done["counts"] == {"refused": 1, "removed": 1}
    assert f"The plan of {run['id']}" in (await told(app, done))["jane@contoso.com"][1]
    assert (await app.apply(run))["counts"]["linked"] == 1


async def test_what_is_kept_no_longer_is_named(app: App) -> None:
    await app.bring(csv_file(JANE))
    job = await app.bring(csv_file(JANE | {"title": "Director"}))
    directory = await Directories(app.tables).open("main")
    removed = [await sweep_kept(app.tables, directory.keys, n, "9999") for n in range(directory.keys.buckets)]
    assert sum(removed) == 1
    done = await undo(app, job)
    assert done["counts"] == {"refused": 1}
    assert "title: left as the import wrote it" in (await told(app, done))["jane@contoso.com"][1]


async def test_an_import_beside_the_evidence_of_a_linked_account_is_taken_back(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put_linked(directory, "managed", 1)
    before = await documents(app)
    job = await app.bring(csv_file({"userName": "managed", "nameId": "n-1"}))
    assert job["changes"] == {"evidence": 1}
    assert (await undo(app, job))["counts"] == {"undone": 1}
    assert await documents(app) == before


async def test_an_externalid_that_is_anothers_by_now_is_not_given_back(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    await put(directory, "local", document={"externalId": object_id(1)})
    job = await app.bring(csv_file({"userName": "local", "externalId": "x-1"}))
    await put_linked(directory, "managed", 1)
    done = await undo(app, job)
    assert done["counts"] == {"refused": 1}
    assert (await app.account("local"))["document"]["externalId"] == "x-1"


async def test_the_applications_key_and_the_name_that_came_by_it_are_given_back(app: App) -> None:
    await app.bring(csv_file(JANE | {"applicationId": "7"}, {"userName": "bob", "title": "Old"}))
    before = await documents(app)
    file = csv_file(
        {"userName": "jane.married@contoso.com", "title": "Engineer", "applicationId": "7"},
        {"userName": "bob", "title": "Old", "applicationId": "8"},
    )
    job = await app.bring(file)
    assert job["changes"] == {"userName": 1, "applicationId": 1}
    assert (await undo(app, job))["counts"] == {"undone": 2}
    assert await documents(app) == before
    assert not (await app.call("GET", "accounts", applicationId="8"))["accounts"]
    await check_invariants(app.tables, "main")


async def test_a_name_that_is_anothers_by_now_is_not_given_back(app: App) -> None:
    await app.bring(csv_file(JANE | {"applicationId": "7"}))
    job = await app.bring(csv_file(JANE | {"applicationId": "7", "userName": "jane.married@contoso.com"}))
    await app.bring(csv_file(JANE | {"applicationId": "9"}))
    done = await undo(app, job)
    assert done["counts"] == {"refused": 1}
    reason = (await told(app, done))["jane.married@contoso.com"][1]
    assert reason == "not undone: userName: another account holds this value"


async def test_an_import_under_way_or_of_another_kind_is_not_taken_back(app: App) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", "accounts/imports/import1/undo")
    assert refusal.value.status == 404
    job = await app.bring(csv_file(JANE))
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", f"groups/imports/{job['id']}/undo")
    assert refusal.value.status == 404


class TestGroups:
    async def test_everything_is_what_it_was_before(self, app: App) -> None:
        await app.bring(csv_file({"userName": "a"}, {"userName": "b"}, {"userName": "c"}))
        await groups_in(app, [{"displayName": "Old", "members": ["a"]}])
        directory = await Directories(app.tables).open("main")
        before = await members_of(app)
        rows = [
            {"displayName": "Old", "members": ["a", "b"], "externalId": "g-1"},
            {"displayName": "New", "members": ["b", "c"]},
        ]
        job = await groups_in(app, rows)
        done = await undo(app, job, "groups")
        assert done["counts"] == {"removed": 1, "undone": 1}
        assert await members_of(app) == before
        assert await directory.group_listing.total() == 1
        assert (await undo(app, job, "groups"))["counts"] == {"unchanged": 2}
        assert await members_of(app) == before

    async def test_who_came_otherwise_stays(self, app: App) -> None:
        await app.bring(csv_file({"userName": "a"}, {"userName": "b"}))
        first = await groups_in(app, [{"displayName": "New", "members": ["a"]}])
        second = await groups_in(app, [{"displayName": "New", "members": ["a", "b"]}])
        done = await undo(app, first, "groups")
        assert done["counts"] == {"undonePartly": 1}
        assert await members_of(app) == {"New": (None, {"b"})}
        assert (await undo(app, second, "groups"))["counts"] == {"undone": 1}
        assert (await undo(app, first, "groups"))["counts"] == {"removed": 1}
        assert await members_of(app) == {}

    async def test_a_link_that_was_taken_back_in_between_leaves_it_what_to_take_out(self, app: App) -> None:
        await app.bring(csv_file(*({"userName": name} for name in "abcd")))
        await groups_in(app, [{"displayName": "Old", "members": ["a"]}])
        before = await members_of(app)
        job = await groups_in(app, [{"displayName": "Old", "members": ["b", "c", "d"]}])
        directory = await Directories(app.tables).open("main")
        (group,) = [one for bucket in range(4) async for one in directory.group_listing.scan(bucket)]
        group = await directory.groups.get(group.id)
        linked = group.with_document(group.document() | {"externalId": object_id(901)})
        await directory.groups.link(group, replace(linked, status=Status.CLAIMED), by="run:test")
        # Provisioning marks them, though they are in, takes two of them out, and puts one in again.
        three = [{"value": (await app.account(name))["id"]} for name in "bcd"]
        for op, value in ("add", three), ("remove", three[1:]), ("add", three[2:]):
            body = {"schemas": [PATCH], "Operations": [{"op": op, "path": "members", "value": value}]}
            await app.call("PATCH", f"scim/v2/Groups/{group.id}", body)
        await app.call("POST", f"groups/{group.id}/release")
        assert await members_of(app) == {"Old": (None, {*"abcd"})}
        assert (await undo(app, job, "groups"))["counts"] == {"undone": 1}
        assert await members_of(app) == before


async def members_of(app: App) -> dict[str, Any]:
    """Return externalId and members of all groups, by name."""
    directory = await Directories(app.tables).open("main")
    names = {account.id: account.user_name for account in await all_accounts(directory)}
    found: dict[str, Any] = {}
    for bucket in range(directory.keys.buckets):
        async for group in directory.group_listing.scan(bucket):
            members = [member.id async for page in directory.members.scan(group.id) for member in page]
            found[group.display_name] = group.external_id, {names[one] for one in members}
    return found
