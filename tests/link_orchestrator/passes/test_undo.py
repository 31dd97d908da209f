"""A run taken back over HTTP: who returns to what they were, who does not and why, and who may ask for it when."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import FaultyTables
from shared.directory.directory import Directories
from tests.link_orchestrator.requests.test_runs import Gate, status_of
from tests.link_orchestrator.running import SEEN, App, all_accounts, csv_file, graph, left_open, object_id, serving
from tests.shared.directory.invariants import check_invariants, stale_rows

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def person(name: str, **columns: str) -> dict[str, str]:
    address = f"{name}@contoso.com"
    return {"userName": address, "email": address, "title": "Engineer"} | columns


def identities(*names: str) -> list[dict[str, Any]]:
    """Return an identity for each name, the first with number 0."""
    return [graph(number, f"{name}@contoso.com") for number, name in enumerate(names)]


async def shown(app: App, name: str) -> dict[str, Any]:
    """Return an account as everybody sees it, without its history and times."""
    account = await app.account(f"{name}@contoso.com")
    user = await app.call("GET", f"scim/v2/Users/{account['id']}") if not account["deletedOverScim"] else {}
    user.pop("meta", None)
    return {name: value for name, value in account.items() if name not in ("history", "modified")} | {"user": user}


async def linked(app: App, *names: str, **columns: str) -> Any:
    """Import people, link them all, and return the run."""
    await app.bring(csv_file(*(person(name, **columns) for name in names)))
    return await app.apply(await app.plan(*identities(*names)), links=len(names))


async def undo(app: App, run: Any, **asked: Any) -> Any:
    """Take a run back and return the undo once it has ended."""
    job = await app.call("POST", f"linking/runs/{run['id']}/undo", asked or None)
    return await app.wait(f"linking/undos/{job['id']}")


async def rows(app: App, job: Any) -> dict[str, tuple[str, str]]:
    """Return what became of whom, by the first word of the userName that they had in the plan: outcome and reason."""
    page = await app.call("GET", f"linking/undos/{job['id']}/rows", count="1000")
    run = job["options"].get("run")
    plan = (await app.call("GET", f"linking/runs/{run}/decisions", count="1000"))["decisions"] if run else []
    planned = {row["account"]["id"]: row["account"] for row in plan if "account" in row}
    return {
        planned.get(r["account"]["id"], r["account"])["userName"].partition("@")[0]: (r["outcome"], r["reason"])
        for r in page["rows"]
    }


async def scim_patch(app: App, name: str, **values: Any) -> Any:
    account = await app.account(f"{name}@contoso.com")
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return await app.call("PATCH", f"scim/v2/Users/{account['id']}", {"schemas": [PATCH], "Operations": operations})


async def test_everybody_returns_to_what_they_were(app: App) -> None:
    await app.bring(csv_file(person("ada"), person("bob", externalId="b-17"), person("eve", active="no")))
    before = [await shown(app, name) for name in ("ada", "bob", "eve")]
    run = await app.apply(await app.plan(*identities("ada", "bob", "eve")), links=3)
    assert (await app.account("bob@contoso.com"))["document"]["externalId"] == object_id(1)
    job = await undo(app, run)
    assert (job["phase"], job["counts"], job["startedBy"]) == ("done", {"undone": 3}, "local")
    assert [await shown(app, name) for name in ("ada", "bob", "eve")] == before
    ada = await app.account("ada@contoso.com")
    assert [(change["action"], change["by"].partition(":")[0]) for change in ada["history"]] == [
        ("create", "import"),
        ("link", "run"),
        ("undo", "undo"),
    ]
    assert ada["history"][-1]["before"]["link"]["identity"] == object_id(0)
    assert {name: decision for name, (decision, _) in (await rows(app, job)).items()} == dict.fromkeys(
        ("ada", "bob", "eve"), "undone"
    )
    await check_invariants(app.tables, "main")
    assert await stale_rows(app.tables, "main") == 0
    assert (await app.call("GET", "accounts", externalId="b-17"))["accounts"][0]["userName"] == "bob@contoso.com"
    assert (await app.call("GET", "accounts", externalId=object_id(0)))["accounts"] == []


async def test_a_second_undo_changes_nothing(app: App) -> None:
    run = await linked(app, "ada", "bob")
    await undo(app, run)
    before = [await app.account(f"{name}@contoso.com") for name in ("ada", "bob")]
    again = await undo(app, run)
    assert (again["phase"], again["counts"]) == ("done", {"unchanged": 2})
    assert [await app.account(f"{name}@contoso.com") for name in ("ada", "bob")] == before
    assert (await app.call("GET", f"linking/runs/{run['id']}/undo"))["id"] == again["id"]
    assert (await app.call("GET", "linking/undos"))["undos"][0]["id"] == again["id"]


async def test_a_later_run_links_again_and_an_undo_of_the_first_leaves_that_alone(app: App) -> None:
    run = await linked(app, "ada", "bob")
    await undo(app, run)
    planned = await app.plan(*identities("ada", "bob"))
    rows_ = [row["id"] for row in await app.decisions(planned, "review")]
    await app.call("POST", f"linking/runs/{planned['id']}/review", {"rows": rows_, "action": "link"})
    second = await app.apply(planned, links=2)
    assert second["counts"]["linked"] == 2
    again = await undo(app, run)
    assert again["counts"] == {"unchanged": 2}
    assert (await rows(app, again))["ada"][1].startswith("The link was taken back before, by undo2")
    assert (await undo(app, second))["counts"] == {"undone": 2}
    await check_invariants(app.tables, "main")


async def test_who_cannot_be_undone_is_refused_with_the_reason_and_the_others_are_undone(app: App) -> None:
    names = ("ada", "confirmed", "changed", "moved", "deleted", "protected")
    run = await linked(app, *names)
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"')
    await scim_patch(app, "changed", externalId=object_id(2), title="Director")
    moved = (await app.account("moved@contoso.com"))["id"]
    await app.call("POST", f"accounts/{moved}/link", {"identity": object_id(77)})
    directory = await Directories(app.tables).open("main")
    deleted = await directory.accounts.get((await app.account("deleted@contoso.com"))["id"])
    await directory.accounts.delete(deleted, by="the application")
    await app.bring(csv_file(person("protected", protected="yes")))
    before = await app.account("moved@contoso.com")
    assert (await app.account("confirmed@contoso.com"))["link"]["confirmed"]
    job = await undo(app, run)
    assert job["counts"] == {"undone": 4, "refused": 2}
    told = await rows(app, job)
    assert {name: decision for name, (decision, _) in told.items()} == {
        "ada": "undone",
        "confirmed": "undone",
        "protected": "undone",
        "changed": "undone",
        "moved": "refused",
        "deleted": "refused",
    }
    assert told["moved"][1] == "The account was linked anew since, by local: release it, if need be."
    assert told["deleted"][1] == "The account was deleted since."
    assert await app.account("moved@contoso.com") == before
    assert (await app.account("changed@contoso.com"))["document"]["title"] == "Engineer"
    assert (await app.account("protected@contoso.com"))["protected"] is True
    page = await app.call("GET", f"linking/undos/{job['id']}/rows", outcome="refused")
    assert len(page["rows"]) == 2
    await check_invariants(app.tables, "main")


async def test_attributes_stay_as_provisioning_wrote_them_where_that_is_asked_for(app: App) -> None:
    run = await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0), title="Director")
    job = await undo(app, run, keep="attributes")
    assert job["counts"] == {"released": 1}
    assert (await rows(app, job))["ada"][1].startswith("title: provisioning changed it since; that stays")
    ada = await app.account("ada@contoso.com")
    assert (ada["status"], ada["link"], ada["document"]["title"]) == ("local", None, "Director")
    assert "externalId" not in ada["document"]


async def test_an_account_that_another_identity_matched_too_counts_once(app: App) -> None:
    await app.bring(csv_file(person("ada", employeeNumber="7")))
    rival = graph(1, "other@contoso.com", employeeId="7")
    run = await app.apply(await app.plan(graph(0, "ada@contoso.com", employeeId="7"), rival), links=1)
    assert run["counts"]["conflict"] == 1
    job = await undo(app, run)
    assert job["counts"] == {"undone": 1}
    page = await app.call("GET", f"linking/undos/{job['id']}/rows")
    assert [row["identity"]["objectId"] for row in page["rows"]] == [object_id(0)]


async def test_provisioning_writes_to_an_undone_account_as_little_as_to_any_local_one(app: App) -> None:
    run = await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0))
    await undo(app, run)
    status, detail = await status_of(scim_patch(app, "ada", title="Director"))
    assert (status, "this account is managed here" in detail) == (403, True)
    ada = (await app.account("ada@contoso.com"))["id"]
    assert (await status_of(app.call("DELETE", f"scim/v2/Users/{ada}")))[0] == 403
    await app.call("GET", "scim/v2/Users", filter='userName eq "ada@contoso.com"')
    assert (await status_of(scim_patch(app, "ada", externalId=object_id(0))))[0] == 403, (
        "only a person joins them again"
    )
    assert (await app.account("ada@contoso.com"))["link"] is None


async def test_an_account_that_scim_had_deleted_before_the_run_is_so_again(app: App) -> None:
    first = await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0))
    await app.call("DELETE", f"scim/v2/Users/{(await app.account('ada@contoso.com'))['id']}")
    before = await shown(app, "ada")
    assert before["deletedOverScim"]
    run = await app.apply(await app.plan(*identities("ada")), links=1)
    assert (await shown(app, "ada"))["deletedOverScim"] is False
    assert (await undo(app, run))["counts"] == {"undone": 1}
    assert await shown(app, "ada") == before
    assert (await undo(app, first))["counts"] == {"refused": 1}
    await check_invariants(app.tables, "main")


async def test_an_external_id_from_before_that_is_somebodys_identity_by_now_is_not_given_back(app: App) -> None:
    await app.bring(csv_file(person("ada", externalId=object_id(7)), person("bob")))
    await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], "foreignObjectIds": True})
    run = await app.apply(await app.plan(*identities("ada")), links=1)
    other = await app.apply(await app.plan(graph(7, "bob@contoso.com")), links=1)
    assert other["counts"]["linked"] == 1
    job = await undo(app, run)
    assert job["counts"] == {"refused": 1}
    assert (await rows(app, job))["ada"][1].startswith("not undone: externalId: another account holds this value")
    await check_invariants(app.tables, "main")


class TestWhoMayAskWhen:
    async def test_a_run_that_was_never_approved_has_nothing_to_undo(self, app: App) -> None:
        await app.bring(csv_file(person("ada")))
        run = await app.plan(*identities("ada"))
        status, detail = await status_of(app.call("POST", f"linking/runs/{run['id']}/undo"))
        assert (status, detail.startswith(f"phase: {run['id']} waits for its approval")) == (409, True)
        await app.call("POST", f"linking/runs/{run['id']}/cancel")
        await app.wait(f"linking/runs/{run['id']}")
        directory = await Directories(app.tables).open("main")
        (before,) = await all_accounts(directory)
        assert (await undo(app, run))["counts"] == {}
        assert len((await app.account("ada@contoso.com"))["history"]) == 1
        assert (await directory.accounts.get(before.id)).etag == before.etag, "nor is there anything to fence off"

    async def test_only_a_run_can_be_undone_and_only_an_undo_is_found_there(self, app: App) -> None:
        imported = await app.bring(csv_file(person("ada")))
        for method, path in (
            ("POST", f"linking/runs/{imported['id']}/undo"),
            ("POST", "linking/runs/none/undo"),
            ("GET", f"linking/undos/{imported['id']}"),
            ("GET", f"linking/undos/{imported['id']}/rows"),
            ("POST", f"linking/undos/{imported['id']}/cancel"),
        ):
            assert (await status_of(app.call(method, path)))[0] == 404
        run = await linked(app, "bob")
        assert (await status_of(app.call("GET", f"linking/runs/{run['id']}/undo")))[0] == 404, "nobody asked for one"

    @pytest.mark.parametrize(
        "body",
        [{"keep": "luck"}, {"changed": "release"}, {"links": 1}, {"activate": -1}, {"activate": True},
         {"activate": "1"}, {"keep": "attributes", "activate": 0}, [], "x"],
    )  # fmt: skip
    async def test_a_wrong_body_is_refused(self, app: App, body: object) -> None:
        run = await linked(app, "ada")
        assert (await status_of(app.call("POST", f"linking/runs/{run['id']}/undo", body)))[0] == 400
        assert (await app.account("ada@contoso.com"))["link"]

    async def test_a_wrong_page_of_rows_is_refused(self, app: App) -> None:
        job = await undo(app, await linked(app, "ada"))
        for asked in ({"outcome": "luck"}, {"count": "0"}, {"cursor": "x"}):
            status, detail = await status_of(app.call("GET", f"linking/undos/{job['id']}/rows", **asked))
            assert (status, detail.startswith(next(iter(asked)))) == (400, True)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held(tmp_path: Path, gate: Gate) -> AsyncIterator[App]:
    """The app with a gate before its storage."""

    def wrap(tables: Any) -> FaultyTables:
        gated = FaultyTables(tables)
        gated.before = gate
        return gated

    async with serving(tmp_path, wrap) as running:
        yield running
        gate.opened.set()


PEOPLE = [f"person{number}" for number in range(20)]


class TestAtOnce:
    async def test_runs_and_undos_refuse_each_other_naming_the_first(self, held: App, gate: Gate) -> None:
        run = await linked(held, "ada", "bob")
        upload = await held.upload(*identities("ada"))
        gate.close("_u_")
        answers = await asyncio.gather(
            *(held.call("POST", f"linking/runs/{run['id']}/undo") for _ in range(4)), return_exceptions=True
        )
        (first,) = (answer for answer in answers if not isinstance(answer, BaseException))
        await gate.reached.wait()
        for path, body in ((f"linking/runs/{run['id']}/undo", None), ("linking/runs", {"identities": upload})):
            status, detail = await status_of(held.call("POST", path, body))
            assert (status, f"GET /linking/undos/{first['id']}" in detail) == (409, True), detail
        gate.opened.set()
        assert (await held.wait(f"linking/undos/{first['id']}"))["counts"] == {"undone": 2}

    async def test_a_run_that_was_cancelled_half_way_is_undone(self, held: App, gate: Gate) -> None:
        await held.bring(csv_file(*map(person, PEOPLE)))
        before = [await shown(held, name) for name in PEOPLE]
        run = await held.plan(*identities(*PEOPLE))
        gate.close("_u_02")
        await held.call("POST", f"linking/runs/{run['id']}/approve", {"links": len(PEOPLE), "acknowledged": SEEN})
        await gate.reached.wait()
        await held.call("POST", f"linking/runs/{run['id']}/cancel")
        gate.opened.set()
        ended = await held.wait(f"linking/runs/{run['id']}", "cancelled")
        made = ended["counts"]["linked"]
        assert 0 < made < 20
        foretold = await held.call("GET", f"linking/runs/{run['id']}/undo/preview")
        assert (foretold["lookedAt"], foretold["outcomes"]) == (made, {"undone": made}), (
            "what was only planned is no link"
        )
        job = await undo(held, run)
        assert job["counts"] == {"undone": ended["counts"]["linked"]}
        assert [await shown(held, name) for name in PEOPLE] == before

    async def test_a_cancelled_undo_stops_and_another_takes_the_rest(self, held: App, gate: Gate) -> None:
        await held.bring(csv_file(*map(person, PEOPLE)))
        before = [await shown(held, name) for name in PEOPLE]
        run = await held.apply(await held.plan(*identities(*PEOPLE)))
        gate.close("_u_02")
        job = await held.call("POST", f"linking/runs/{run['id']}/undo")
        path = f"linking/undos/{job['id']}"
        await gate.reached.wait()
        assert (await held.call("POST", path + "/cancel"))["cancelledBy"] == "local"
        gate.opened.set()
        ended = await held.wait(path)
        assert ended["phase"] == "cancelled"
        done = ended["counts"]["undone"]
        assert 0 < done < 20
        rest = await undo(held, run)
        assert Counter(rest["counts"]) == Counter({"undone": 20 - done, "unchanged": done})
        assert [await shown(held, name) for name in PEOPLE] == before
        assert await status_of(held.call("POST", path + "/cancel")) == (409, "phase: the undo is cancelled already")


async def test_a_link_that_a_review_made_is_taken_back_and_verified_like_any_other(app: App) -> None:
    await app.bring(csv_file({"userName": "ada.old", "employeeNumber": "7"}, person("bob")))
    before = await app.account("ada.old")
    run = await app.plan({**graph(0, "ada@contoso.com"), "employeeId": "7"}, graph(1, "bob@contoso.com"))
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    await app.apply(run, links=2)
    assert (await app.account("ada.old"))["link"]["identity"] == object_id(0)
    verification = await app.call("POST", f"linking/runs/{run['id']}/verification")
    verified = await app.wait(f"linking/verifications/{verification['id']}", "done")
    assert verified["counts"]["unconfirmed"] == 2
    directory = await Directories(app.tables).open("main")
    assert await left_open(app.tables, directory.plan(run["id"]), object_id(0)) is None
    job = await undo(app, run)
    assert (await rows(app, job))["ada.old"][0] == "undone"
    assert await left_open(app.tables, directory.plan(run["id"]), object_id(0)) == "review"
    after = await app.account("ada.old")
    assert (after["status"], after["link"], after["document"]) == ("local", None, before["document"])
    await check_invariants(app.tables, "main")


async def test_a_group_that_the_run_linked_is_managed_here_again(app: App) -> None:
    await app.bring(csv_file(person("ada")))
    job = await app.call("POST", "groups/import", b"group,userName\nStaff,ada@contoso.com\n", "text/csv")
    await app.wait(f"groups/imports/{job['id']}", "done")
    entra = {"value": [{"id": object_id(900), "displayName": "staff", "members": [{"id": object_id(0)}]}]}
    groups = await app.call("POST", "linking/groups", entra)
    run = await app.plan(*identities("ada"), groups=groups["id"])
    await app.call("POST", f"linking/runs/{run['id']}/approve", {"links": 1, "groups": 1, "acknowledged": SEEN})
    await app.wait(f"linking/runs/{run['id']}", "done")
    (staff,) = (await app.call("GET", "groups", displayName="Staff"))["groups"]
    assert (staff["status"], staff["externalId"]) == ("claimed", object_id(900))
    assert (await undo(app, run))["counts"] == {"undone": 1, "groupsUndone": 1}
    (staff,) = (await app.call("GET", "groups", displayName="Staff"))["groups"]
    assert (staff["status"], staff["externalId"]) == ("local", None)
