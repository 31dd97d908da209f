"""Runs that read their groups from Microsoft Graph: over HTTP to the app, and from the stand-in on the other side."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo_data import generate, write
from infra.local.graph import Fault, Faults, GraphStandIn
from infra.local.standins.tenant import APPLICATION, Tenant, read_groups
from link_orchestrator import staged
from link_orchestrator.passes import read
from tests.link_orchestrator.graph.test_graph import ALL, FAULTS, standing, start
from tests.link_orchestrator.graph.test_kill import Killed
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id, staged_in
from tests.link_orchestrator.test_groups import bring
from tests.waiting import until

NAMES = ("ada", "bob", "cleo", "dan", "eve")
ACCOUNTS = csv_file(*({"userName": f"{name}@contoso.com"} for name in NAMES))
USERS = [graph(number, f"{name}@contoso.com") for number, name in enumerate(NAMES, 1)]
GROUPS = b"group,userName\nSales,ada@contoso.com\nSales,bob@contoso.com\nLocal,ada@contoso.com\n"


def ids(*numbers: int) -> list[str]:
    return [object_id(number) for number in numbers]


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    """Serve a tenant of five people without groups, and the app that may read it."""
    async with standing(tmp_path, monkeypatch, USERS) as (stand_in, app):
        stand_in.tenant.groups.clear()
        stand_in.tenant.assigned.clear()
        yield stand_in, app


async def plan(app: App, source: Any = ALL, *, groups: Any = True) -> Any:
    return await app.wait(await start(app, source, groups=groups), "planned")


async def planned(app: App, run: Any) -> dict[str, Any]:
    """Return the decisions on Entra's groups by name, with how many members are in both, only here, only there."""
    rows = [row for row in await app.decisions(run) if "entraGroup" in row]
    told = {}
    for row in rows:
        shown = row.get("members", {})
        told[row["entraGroup"]["displayName"]] = (
            row["decision"],
            *(shown.get(n) for n in ("both", "onlyHere", "onlyThere")),
        )
    assert len(told) == len(rows)
    return told


def asked(stand_in: GraphStandIn, text: str) -> list[str]:
    return [request for request in stand_in.requests if text in request]


async def test_groups_are_read_with_their_direct_members_and_linked_once_approved(
    both: tuple[GraphStandIn, App],
) -> None:
    stand_in, app = both
    sales = stand_in.tenant.add_group("SALES", ids(1, 3))
    stand_in.tenant.add_group("Empty", [])
    stand_in.tenant.add_group("Outer", [sales, *ids(2), "f" * 8])
    await app.bring(ACCOUNTS)
    await bring(app, GROUPS)
    run = await plan(app)
    assert await planned(app, run) == {
        "SALES": ("groupLink", 1, 1, 1),
        "Empty": ("noGroup", None, None, None),
        "Outer": ("noGroup", None, None, None),
    }
    assert run["groups"] == {"read": 3, "members": 3, "notPeople": 2}, "a group within and a device are no people"
    done = await app.apply(run, groups=1)
    assert (done["counts"]["groupsLinked"], done["groups"]) == (1, run["groups"])
    (group,) = (await app.call("GET", "groups", externalId=sales))["groups"]
    assert group["displayName"] == "Sales"
    assert all("$select=id,displayName&$top=100" in request for request in asked(stand_in, "/groups?"))
    assert all("/members?$select=id&$top=999" in request for request in asked(stand_in, "/members"))


async def test_the_plan_is_the_same_as_over_an_uploaded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(generate(300, 330), tmp_path)
    demo = generate(300, 330)  # its rows come once
    groups = read_groups(tmp_path / "entra_groups.json")
    async with standing(tmp_path, monkeypatch, (users := list(demo.identities))) as (stand_in, app):
        stand_in.top = 20
        stand_in.tenant.groups = {group["id"]: group for group in groups}
        await app.bring(csv_file(*demo.accounts))
        await bring(app, (tmp_path / "groups.csv").read_bytes(), "text/csv")
        upload = await app.call("POST", "linking/groups", (tmp_path / "entra_groups.json").read_bytes())
        uploaded = await app.plan(*users, groups=upload["id"])
        await app.call("POST", f"linking/runs/{uploaded['id']}/cancel")
        await app.wait(f"linking/runs/{uploaded['id']}", "cancelled")
        read = await plan(app)
        assert read["counts"] == uploaded["counts"]
        assert read["counts"]["groupLink"] > 0

        def told(rows: list[dict[str, Any]]) -> list[str]:
            for row in rows:
                if "differing" in row.get("members", {}):
                    row["members"]["differing"].sort(key=lambda member: json.dumps(member, sort_keys=True))
            return sorted(json.dumps(row, sort_keys=True) for row in rows)

        assert told(await app.decisions(read)) == told(await app.decisions(uploaded))


@pytest.mark.parametrize("top", [1, 2, 999])
@pytest.mark.parametrize("scope", ["assigned", "groups"])
async def test_only_the_groups_of_the_scope_are_read_each_once(
    both: tuple[GraphStandIn, App], scope: str, top: int
) -> None:
    stand_in, app = both
    stand_in.top = top
    inner = stand_in.tenant.add_group("Inner", ids(1, 2))
    outer = stand_in.tenant.add_group("Outer", [inner, *ids(3, 4)])
    stand_in.tenant.add_group("Elsewhere", ids(5))
    stand_in.tenant.assigned = [
        {"principalType": kind, "principalId": principal}
        for kind, principal in (("Group", outer), ("User", object_id(5)), ("Group", inner), ("Group", outer))
    ]
    scopes = {"assigned": {"servicePrincipal": APPLICATION}, "groups": {"groups": [outer, inner, outer.upper()]}}
    run = await plan(app, {"graph": {"scope": scope, **scopes[scope]}})
    assert set(await planned(app, run)) == {"Inner", "Outer"}
    assert run["groups"] == {"read": 2, "members": 4, "notPeople": 1}
    assert run["counts"]["noAccount"] == {"assigned": 5, "groups": 4}[scope]
    assert len(set(asked(stand_in, "/members?"))) == len(asked(stand_in, "/members?"))


async def test_chosen_groups_are_asked_for_as_many_at_once_as_a_filter_takes(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    chosen = [stand_in.tenant.add_group(f"Group {number}", ids(1)) for number in range(32)]
    run = await plan(app, {"graph": {"scope": "groups", "groups": chosen}})
    assert run["groups"]["read"] == 32
    assert len(asked(stand_in, "$filter=id")) == 3


async def test_as_many_groups_wait_for_their_members_as_a_row_holds_whatever_their_names(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "ROWS", 1)  # the place is kept after each page
    stand_in, app = both
    for number in range(101):
        stand_in.tenant.add_group(f"{number:03d}{'ü' * 997}", ids(1))
    run = await plan(app)
    assert (run["phase"], run["groups"]["read"], run["counts"]["noGroup"]) == ("planned", 101, 101)
    assert len(asked(stand_in, "/groups?")) == 2


async def test_an_application_without_groups_has_none(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.assigned = [{"principalType": "User", "principalId": object_id(1)}]
    await bring(app, b"group,userName\nLocal,\n")
    run = await plan(app, {"graph": {"scope": "assigned", "servicePrincipal": APPLICATION}})
    assert (run["groups"], run["counts"]["localGroup"]) == ({"read": 0}, 1)


@pytest.mark.parametrize("kind", FAULTS)
async def test_whatever_goes_wrong_on_the_way_every_group_is_read_whole(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: 0.01)
    stand_in, app = both
    stand_in.top = 2
    for number in range(4):
        stand_in.tenant.add_group(f"Group {number}", ids(*range(1, number + 2)))
    stand_in.tenant.add_group("Sales", ids(1, 2, 3, 4, 5))
    await app.bring(ACCOUNTS)
    await bring(app, GROUPS)
    stand_in.faults = FAULTS[kind]()
    run = await plan(app)
    assert run["groups"] == {"read": 5, "members": 15}
    assert (await planned(app, run))["Sales"] == ("groupLink", 2, 0, 3)


def on_page(of: str, number: int, what: Callable[[], Any]) -> Faults:
    """Return faults that do something before the request for a page is answered; what it returns is the fault."""
    pages = iter(range(1, 1000))

    def fault(_: int, path: str) -> Fault | None:
        return what() if path.endswith(of) and next(pages) == number else None

    return fault


@pytest.mark.parametrize("page", [1, 2, 3])
async def test_a_group_that_is_deleted_while_it_is_read_is_left_out_and_counted(
    both: tuple[GraphStandIn, App], page: int
) -> None:
    stand_in, app = both
    stand_in.top = 2
    sales = stand_in.tenant.add_group("Sales", ids(1, 2, 3, 4, 5))
    stand_in.tenant.add_group("Staff", ids(1))
    await app.bring(ACCOUNTS)
    await bring(app, GROUPS)
    stand_in.faults = on_page(f"{sales}/members", page, lambda: stand_in.tenant.groups.pop(sales) and None)
    run = await plan(app)
    assert await planned(app, run) == {"Staff": ("noGroup", None, None, None)}
    assert (run["groups"]["read"], run["groups"]["gone"]) == (1, 1)
    assert run["counts"]["localGroup"] == 2


async def test_a_chosen_group_that_is_deleted_before_it_is_asked_for_is_counted(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    chosen = [stand_in.tenant.add_group(name, ids(1)) for name in ("Stays", "Goes")]
    stand_in.faults = on_page("/v1.0/groups", 1, lambda: stand_in.tenant.groups.pop(chosen[1]) and None)
    run = await plan(app, {"graph": {"scope": "groups", "groups": chosen}})
    assert set(await planned(app, run)) == {"Stays"}
    assert run["groups"] == {"read": 1, "members": 1, "gone": 1}


@pytest.mark.parametrize("page", [1, 2])
@pytest.mark.parametrize("scope", ["assigned", "groups"])
async def test_an_assigned_group_that_is_deleted_while_its_people_are_read_is_gone_and_a_chosen_one_is_missed(
    both: tuple[GraphStandIn, App], scope: str, page: int
) -> None:
    stand_in, app = both
    stand_in.top = 1
    goes, stays = (stand_in.tenant.add_group(name, ids(1, 2)) for name in ("Goes", "Stays"))
    stand_in.tenant.assigned = [{"principalType": "Group", "principalId": one} for one in (goes, stays)]
    stand_in.faults = on_page("/microsoft.graph.user", page, lambda: stand_in.tenant.groups.pop(goes) and None)
    scopes = {"assigned": {"servicePrincipal": APPLICATION}, "groups": {"groups": [goes, stays]}}
    run = await plan(app, {"graph": {"scope": scope, **scopes[scope]}})
    if scope == "groups":
        assert (run["phase"], "no object of that id" in run["reason"]) == ("failed", True)
        return
    assert (run["phase"], run["groups"]["gone"]) == ("planned", 1)
    assert set(await planned(app, run)) == {"Stays"}
    assert run["counts"]["noAccount"] == 2


@pytest.mark.parametrize("of", ["/v1.0/groups", "/members"])
async def test_a_page_that_has_expired_begins_again_and_forgets_what_was_read(
    both: tuple[GraphStandIn, App], of: str
) -> None:
    stand_in, app = both
    stand_in.top = 1
    gone, stays = (stand_in.tenant.add_group(name, ids(*numbers)) for name, *numbers in (("Goes", 1), ("Stays", 1, 2)))
    first, second = sorted((gone, stays))

    def expire() -> Fault:
        stand_in.tenant.groups.pop(first, None)
        return Fault(400, code="Directory_ExpiredPageToken")

    stand_in.faults = on_page(of, 2, expire)
    run = await plan(app)
    assert len(await planned(app, run)) == 1
    assert run["groups"]["read"] == 1
    assert second in (await app.decisions(run, "noGroup"))[0]["entraGroup"]["id"]
    assert run["options"]["groups"] == f"{run['id']}read1groups"


async def test_cancel_stops_within_a_page(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.top = 1
    for number in range(20):
        stand_in.tenant.add_group(f"Group {number}", ids(1, 2, 3))
    stand_in.faults = lambda number, path: Fault(delay=0.15 if path.endswith("/members") else 0)
    path = await start(app, groups=True)

    async def reads_members() -> bool:
        return len(asked(stand_in, "/members")) > 1

    await until(reads_members)
    await app.call("POST", path + "/cancel")
    at = len(stand_in.requests)
    assert (await app.wait(path, "cancelled"))["phase"] == "cancelled"
    assert len(stand_in.requests) <= at + 1


async def test_what_was_staged_of_groups_goes_with_the_run(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    for number in range(4):
        stand_in.tenant.add_group(f"Group {number}", ids(1, 2, 3))
    run = await plan(app)
    kept = staged.GROUPED
    names = {run["options"]["groups"], run["options"]["groups"] + "members", *(run["id"] + name for name in kept)}
    assert await staged_in(app.tables) >= names
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    await app.wait(f"linking/runs/{run['id']}", "cancelled")

    async def nothing_is_left() -> bool:
        return names.isdisjoint(await staged_in(app.tables))

    await until(nothing_is_left)


async def test_progress_tells_how_many_groups_are_read(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "SECONDS", 0.0)
    monkeypatch.setattr(read, "ROWS", 1)
    stand_in, app = both
    for number in range(6):
        stand_in.tenant.add_group(f"Group {number}", ids(1))
    stand_in.faults = lambda number, path: Fault(delay=0.05)
    path = await start(app, groups=True)
    shown = []
    while (run := await app.call("GET", path))["phase"] == "started":
        shown.append(run.get("progress", {}))
        await asyncio.sleep(0.01)
    told = [progress["groups"] for progress in shown if progress.get("groups")]
    assert told == sorted(told)
    assert len(set(told)) > 2
    assert all(progress["read"] == 5 for progress in shown if progress.get("groups"))


async def test_a_group_that_cannot_be_used_is_reported_and_the_others_are_planned(
    both: tuple[GraphStandIn, App],
) -> None:
    stand_in, app = both
    nameless = stand_in.tenant.add_group("Odd", ids(1))
    stand_in.tenant.groups[nameless]["displayName"] = None
    stand_in.tenant.add_group("Fine", ids(1))
    run = await plan(app)
    assert set(await planned(app, run)) == {"Fine"}
    assert run["counts"]["unusable"] == 1
    (problem,) = (await app.call("GET", f"linking/runs/{run['id']}/problems"))["problems"]
    assert problem["reason"] == f"Group {nameless}: The column displayName is empty."
    assert "in Entra" in problem["remedy"]
    assert not asked(stand_in, f"{nameless}/members")


async def test_a_missing_permission_is_named(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.granted.discard("GroupMember.Read.All")
    assert (await plan(app, groups=False))["phase"] == "planned", "without groups it is not needed"
    (first,) = (await app.call("GET", "linking/runs"))["runs"]
    await app.call("POST", f"linking/runs/{first['id']}/cancel")
    await app.wait(f"linking/runs/{first['id']}", "cancelled")
    run = await plan(app)
    assert (run["phase"], "GroupMember.Read.All" in run["reason"]) == ("failed", True)


async def test_a_run_without_groups_reads_and_plans_none(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.add_group("Sales", ids(1))
    run = await plan(app, groups=False)
    assert ("groups" in run["options"], "groups" in run, asked(stand_in, "/groups")) == (False, False, [])


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        ({"identities": "x", "groups": True}, "give source"),
        ({"source": ALL, "groups": 1}, "groups"),
        ({"source": ALL, "groups": {"graph": {}}}, "groups"),
        ({"source": ALL, "groups": ["x"]}, "groups"),
    ],
)
async def test_groups_that_are_asked_for_wrongly_are_refused(
    both: tuple[GraphStandIn, App], body: dict[str, Any], detail: str
) -> None:
    stand_in, app = both
    if "identities" in body:
        body = body | {"identities": await app.upload(*USERS)}
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", "linking/runs", body)
    assert (refusal.value.status, detail in refusal.value.detail) == (400, True), refusal.value.detail
    assert stand_in.requests == []
    assert (await app.call("GET", "linking/runs"))["runs"] == []


PAGES_KILLED = ((3, 1), (34, 0), (4, 1))
"""After so many pages of groups a server with so many workers is killed: within the first batch, behind it, and within
the second."""


async def test_a_process_that_is_killed_while_it_reads_groups_goes_on_at_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [graph(number, f"u{number}@contoso.com") for number in range(60)]
    (tmp_path / "graph").mkdir()
    tenant = Tenant.of(users, [])
    for number in range(40):
        tenant.add_group(f"Group {number:02d}", [user["id"] for user in users[: number + 1]])
    async with GraphStandIn(tenant, tmp_path / "graph") as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        stand_in.top = 25
        stand_in.faults = lambda number, path: Fault(delay=0.1)
        killed = Killed(tmp_path / "data")
        async with killed.api() as api:
            await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
            await api.bring(csv_file({"userName": "u1@contoso.com"}))
            run = await api.call("POST", "linking/runs", {"source": ALL, "groups": True})
        path = f"linking/runs/{run['id']}"
        for pages, workers in PAGES_KILLED:
            async with killed.api(workers):
                at = len(asked(stand_in, "/groups"))

                async def got_on(at: int = at, pages: int = pages) -> bool:
                    return len(asked(stand_in, "/groups")) >= at + pages

                await until(got_on)
        async with killed.api() as api:
            run = await api.wait(path, "planned")
            assert run["phase"] == "planned"
            assert run["groups"] == {"read": 41, "members": sum(range(1, 41))}
            assert run["counts"]["noGroup"] == 41
        assert len([one for one in asked(stand_in, "/groups?") if "skiptoken" not in one]) <= 2, "what was kept stays"
