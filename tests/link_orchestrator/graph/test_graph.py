"""Runs over Microsoft Graph from start to end: the app over HTTP on this side, the stand-in for Graph on the other."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from infra.local.demo_data import generate
from infra.local.graph import Fault, Faults, GraphStandIn, every
from infra.local.standins.login import CLIENT_ID
from infra.local.standins.tenant import APPLICATION, TENANT, Tenant
from link_orchestrator.graph.identities import ATTRIBUTES
from link_orchestrator.passes import read
from shared.directory.directory import Directories
from shared.directory.work.readings import READING, Readings
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id, rows_of, serving
from tests.stored import stored_rows
from tests.waiting import until

ACCOUNTS = csv_file(
    {"userName": "jane@contoso.com", "email": "jane@contoso.com"},
    {"userName": "john", "email": "john@contoso.com", "emailVerified": "true"},
    {"userName": "rita", "email": "rita.alias@contoso.com"},
    {"userName": "nobody.contractor"},
)
USERS = (
    graph(1, "Jane@contoso.com", department="Sales"),
    graph(2, "john@contoso.com", department="Sales"),
    graph(3, "rita@contoso.com", department="Law", proxyAddresses=["smtp:rita.alias@contoso.com"]),
    graph(4, "new@contoso.com", department="Law"),
)
PLANNED = {"link": 2, "review": 1, "noAccount": 1, "noIdentity": 1}
ALL = {"graph": {"scope": "all"}}


@asynccontextmanager
async def standing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, users: Any = USERS, **settings: Any
) -> AsyncIterator[tuple[GraphStandIn, App]]:
    """Serve a tenant of these users, and the app that may read it."""
    async with AsyncExitStack() as stack:
        stand_in = await stack.enter_async_context(GraphStandIn(Tenant.of(users), folder))
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        app = await stack.enter_async_context(serving(folder, graph=stand_in.settings(**settings)))
        yield stand_in, app


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    async with standing(tmp_path, monkeypatch) as running:
        yield running


async def start(app: App, source: Any = ALL, **asked: Any) -> str:
    run = await app.call("POST", "linking/runs", {"source": source, **asked})
    return f"linking/runs/{run['id']}"


async def plan(app: App, source: Any = ALL) -> Any:
    return await app.wait(await start(app, source), "planned")


async def test_the_report_of_a_run_names_the_tenant_that_it_read(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    run = await plan(app)
    async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
        text = await answer.text()
    assert run["options"]["tenant"] == stand_in.settings().tenants["main"]
    assert f"<dt>Tenant</dt><dd>{run['options']['tenant']}</dd>" in text


async def test_a_run_reads_its_identities_from_graph_and_links_them(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    await app.bring(ACCOUNTS)
    run = await plan(app)
    assert (run["phase"], run["counts"]) == ("planned", PLANNED)
    assert run["options"]["source"] == ALL
    done = await app.apply(run, links=2)
    assert (done["phase"], done["counts"]["linked"]) == ("done", 2)
    assert (await app.account("jane@contoso.com"))["link"]["identity"] == object_id(1)
    asked = [request for request in stand_in.requests if request.startswith("/v1.0/users?")]
    assert all(f"$select={','.join(ATTRIBUTES)}" in request and "$top=999" in request for request in asked)
    assert stand_in.login.asked == ["identity"]


async def test_the_plan_is_the_same_as_over_an_uploaded_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo = generate(300, 330)
    users = list(demo.identities)
    async with standing(tmp_path, monkeypatch, users) as (stand_in, app):
        stand_in.top = 50
        await app.bring(csv_file(*demo.accounts))
        uploaded = await app.plan(*users)
        await app.call("POST", f"linking/runs/{uploaded['id']}/cancel")
        await app.wait(f"linking/runs/{uploaded['id']}", "cancelled")
        read = await plan(app)
        assert read["counts"] == uploaded["counts"]

        def told(rows: list[dict[str, Any]]) -> list[str]:
            return sorted(json.dumps(row, sort_keys=True) for row in rows)

        assert told(await app.decisions(read)) == told(await app.decisions(uploaded))


def _assigned(kind: str, principal: str) -> dict[str, str]:
    return {"principalType": kind, "principalId": principal}


@pytest.mark.parametrize("top", [1, 999])
async def test_a_run_over_everybody_tells_who_is_not_assigned_to_the_application(
    both: tuple[GraphStandIn, App], top: int
) -> None:
    stand_in, app = both
    stand_in.top = top
    law = stand_in.tenant.add_group("Law", [object_id(3)])
    stand_in.tenant.assigned = [_assigned("User", object_id(1)), _assigned("Group", law)]
    await app.bring(ACCOUNTS)
    named = {"graph": {"scope": "all", "servicePrincipal": APPLICATION}}
    run = await plan(app, named)
    assert run["counts"] == PLANNED
    rows = {row["identity"]["objectId"]: row for row in await app.decisions(run) if "identity" in row}
    skipped = {one for one, row in rows.items() if row["predicted"]["outcome"] == "skipped"}
    assert skipped == {object_id(2), object_id(4)}
    assert rows[object_id(2)]["warnings"] == ["unassigned"]
    (told,) = [one for one in run["warnings"] if one["code"] == "unassigned"]
    assert (told["count"], told["examples"][0]["account"]) == (1, "john")
    await app.apply(run)
    stand_in.tenant.assigned += [_assigned("User", object_id(2))]
    run = await plan(app, named)
    assert "unassigned" not in {one["code"] for one in run["warnings"]}
    assert run["counts"]["alreadyLinked"] == 2, "it decides on everybody, whoever is assigned by now"


@pytest.mark.parametrize("top", [1, 2, 999])
async def test_users_who_are_assigned_directly_and_through_groups_count_once(
    both: tuple[GraphStandIn, App], top: int
) -> None:
    stand_in, app = both
    stand_in.top = top
    law, sales = (stand_in.tenant.add_group(f"Inner {n}", [object_id(n)]) for n in (3, 1))
    nested = stand_in.tenant.add_group("Outer", [law, object_id(3)])
    stand_in.tenant.assigned = [
        {"principalType": kind, "principalId": principal}
        for kind, principal in (
            ("User", object_id(1)),
            ("Group", sales),
            ("ServicePrincipal", APPLICATION),
            ("User", object_id(1)),
            ("Group", nested),
            ("Group", sales),
        )
    ]
    await app.bring(ACCOUNTS)
    run = await plan(app, {"graph": {"scope": "assigned", "servicePrincipal": APPLICATION}})
    assert run["counts"] == {"link": 1, "review": 1, "noIdentity": 2}
    read = [request for request in stand_in.requests if f"/groups/{sales}/" in request]
    assert len(read) == 1, "a group that is assigned twice is read once"


async def test_many_direct_users_are_asked_for_as_many_at_once_as_a_filter_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [graph(number, f"u{number}@contoso.com") for number in range(1, 48)]
    async with standing(tmp_path, monkeypatch, users) as (stand_in, app):
        stand_in.tenant.assigned = [{"principalType": "User", "principalId": user["id"]} for user in users]
        run = await plan(app, {"graph": {"scope": "assigned", "servicePrincipal": APPLICATION}})
        assert run["counts"]["noAccount"] == 47
        assert len([request for request in stand_in.requests if "$filter=" in request]) == 4


async def test_the_members_of_chosen_groups_are_read_through_groups_within(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    inner = stand_in.tenant.add_group("Inner", [object_id(2)])
    outer = stand_in.tenant.add_group("Outer", [inner, object_id(4)])
    run = await plan(app, {"graph": {"scope": "groups", "groups": [outer, outer.upper(), inner]}})
    rows = await app.decisions(run)
    assert sorted(row["identity"]["objectId"] for row in rows) == [object_id(2), object_id(4)]


FAULTS: dict[str, Callable[[], Faults]] = {
    "throttled": lambda: every(3, 0, 0, 0),
    "broken off": lambda: every(0, 2, 0, 0),
    "tokens end": lambda: every(0, 0, 2, 0),
    "all of it": lambda: every(5, 3, 2, 0.001),
}


@pytest.mark.parametrize("kind", FAULTS)
async def test_whatever_goes_wrong_on_the_way_everybody_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    # What waits for a second is tested below; here only that it goes on.
    monkeypatch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: 0.01)
    users = [graph(number, f"u{number}@contoso.com") for number in range(1, 42)]
    async with standing(tmp_path, monkeypatch, users) as (stand_in, app):
        stand_in.top = 5
        stand_in.faults = FAULTS[kind]()
        run = await plan(app)
        assert (run["phase"], run["counts"]) == ("planned", {"noAccount": 41, "noIdentity": 0})


@pytest.mark.parametrize("status", [429, 503])
async def test_graph_is_left_alone_for_as_long_as_it_asks(both: tuple[GraphStandIn, App], status: int) -> None:
    stand_in, app = both
    refused: list[float] = []
    came_back: list[float] = []

    def fault(number: int, path: str) -> Fault | None:
        if path == "/v1.0/users":
            if not refused:
                refused.append(time.monotonic())
                return Fault(status, retry_after="1")
            came_back.append(time.monotonic())
        return None

    stand_in.faults = fault
    path = await start(app)
    readings = (await Directories(app.tables).open("main")).readings
    shown, waited = [], set[float]()
    while (run := await app.call("GET", path))["phase"] == "started":
        shown.append(run.get("progress", {}))
        if (reading := await readings.find(run["id"])) and reading.waited:
            waited.add(reading.waited)
        await asyncio.sleep(0.02)
    assert run["phase"] == "planned"
    assert came_back[0] - refused[0] >= 1.0
    assert waited
    assert all(1.0 <= seconds <= 1.2 for seconds in waited)
    reasons = {progress.get("waiting") for progress in shown if progress.get("pass") == "read"}
    assert any(reason and reason.startswith("Microsoft Graph") for reason in reasons)


async def test_a_run_that_is_kept_waiting_for_too_long_fails_and_says_why(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, app = both
    monkeypatch.setattr(read, "PATIENCE", 0.2)
    stand_in.faults = lambda number, path: Fault(429, retry_after="0.1")
    run = await plan(app)
    assert run["phase"] == "failed"
    assert run["reason"] == "Microsoft Graph asks to wait, for more than an hour: start the run again later"
    assert (await start(app)).startswith("linking/runs/"), "the directory is free again"


async def test_a_run_that_waits_for_graph_can_be_cancelled(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, app = both
    monkeypatch.setattr(read, "TICK", 0.1)
    stand_in.faults = lambda number, path: Fault(429, retry_after="600")
    path = await start(app)

    async def waiting() -> bool:
        return bool((await app.call("GET", path)).get("progress", {}).get("waiting"))

    await until(waiting)
    asked = len(stand_in.requests)
    await app.call("POST", path + "/cancel")
    run = await app.wait(path, "cancelled")
    assert run["phase"] == "cancelled"
    assert len(stand_in.requests) == asked


async def test_cancel_stops_within_a_page(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.top = 1
    stand_in.faults = lambda number, path: Fault(delay=0.15)
    path = await start(app)

    async def asked() -> bool:
        return bool(stand_in.requests)

    await until(asked)
    await app.call("POST", path + "/cancel")
    at = len(stand_in.requests)
    assert (await app.wait(path, "cancelled"))["phase"] == "cancelled"
    assert len(stand_in.requests) <= at + 1


async def test_of_a_user_who_changes_while_all_are_read_the_newest_state_counts(
    both: tuple[GraphStandIn, App],
) -> None:
    stand_in, app = both
    stand_in.top = 1

    def change(number: int) -> None:
        # The first user was shown on the first page and is shown again on the second, under another name.
        if number == 2:
            stand_in.tenant.change(object_id(1), userPrincipalName="jane.new@contoso.com", mail="jane.new@contoso.com")
            stand_in.show_again(object_id(1))

    stand_in.after = change
    await app.bring(csv_file({"userName": "jane.new@contoso.com"}, {"userName": "jane@contoso.com"}))
    run = await plan(app)
    linked = await app.decisions(run, "link")
    assert [row["account"]["userName"] for row in linked] == ["jane.new@contoso.com"]
    assert sum(run["counts"].values()) == 5, "four identities, and the account that nobody matches"


async def test_a_page_that_has_expired_begins_the_reading_again(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.top = 1
    gone = object_id(4)

    def fault(number: int, path: str) -> Fault | None:
        if number == 4:
            stand_in.tenant.remove(object_id(1))
            stand_in.tenant.change(gone, userPrincipalName="still@contoso.com")
            return Fault(400, code="Directory_ExpiredPageToken")
        return None

    stand_in.faults = fault
    run = await plan(app)
    rows = await app.decisions(run)
    found = [row["identity"]["objectId"] for row in rows]
    assert sorted(found) == [object_id(2), object_id(3), gone], "who left since is not in the plan"


async def test_a_link_to_another_host_is_not_followed(both: tuple[GraphStandIn, App], tmp_path: Path) -> None:
    stand_in, app = both
    stand_in.top = 2
    (tmp_path / "other").mkdir()
    async with GraphStandIn(Tenant.of(USERS), tmp_path / "other") as other:
        for host in (other.url, stand_in.url.replace("http", "https"), "http://graph.microsoft.com@127.0.0.1:1"):
            stand_in.next_host = host
            run = await plan(app)
            assert run["phase"] == "failed"
            assert run["reason"] == "an answer of Microsoft Graph leads to another host: nothing was asked there"
        assert other.requests == []


@pytest.mark.parametrize("scope", ["all", "assigned", "groups"])
async def test_links_that_lead_in_a_circle_are_not_followed_for_ever(
    both: tuple[GraphStandIn, App], scope: str
) -> None:
    stand_in, app = both
    stand_in.tenant.groups[GROUP] = {"id": GROUP, "displayName": "Some", "members": [*map(object_id, range(1, 5))]}
    stand_in.tenant.assigned = [{"principalType": "Group", "principalId": GROUP}] * 4
    stand_in.top = 2
    stand_in.circle = "assignment000000" if scope == "assigned" else object_id(1)
    run = await plan(app, {"graph": SCOPES[scope]})
    assert (run["phase"], run["reason"].partition(":")[0]) == (
        "failed",
        "a link of Microsoft Graph leads back to a page that was read before",
    )
    assert "start the run again" in run["reason"]
    assert len(stand_in.requests) < 20


async def test_a_redirect_is_not_followed(both: tuple[GraphStandIn, App], tmp_path: Path) -> None:
    stand_in, app = both
    (tmp_path / "other").mkdir()
    async with GraphStandIn(Tenant.of(USERS), tmp_path / "other") as other:
        moved = Fault(302, code="Moved", location=f"{other.url}/v1.0/users")
        stand_in.faults = lambda number, path: moved if path == "/v1.0/users" else None
        run = await plan(app)
        assert other.requests == []
    assert (run["phase"], run["reason"]) == ("failed", "Microsoft Graph refuses the request (302 Moved)")


GROUP = "0" * 8 + "-0000-4000-8000-" + "0" * 12
SCOPES: dict[str, dict[str, Any]] = {
    "all": {"scope": "all"},
    "assigned": {"scope": "assigned", "servicePrincipal": APPLICATION},
    "groups": {"scope": "groups", "groups": [GROUP]},
}


@pytest.mark.parametrize(
    ("scope", "missing", "named"),
    [
        ("all", "User.Read.All", "User.Read.All"),
        ("assigned", "Application.Read.All", "Application.Read.All"),
        ("assigned", "GroupMember.Read.All", "GroupMember.Read.All"),
        ("groups", "GroupMember.Read.All", "GroupMember.Read.All"),
        ("groups", "User.Read.All", "User.Read.All"),
    ],
)
async def test_a_missing_permission_is_named(
    both: tuple[GraphStandIn, App], scope: str, missing: str, named: str
) -> None:
    stand_in, app = both
    stand_in.tenant.groups[GROUP] = {"id": GROUP, "displayName": "Some", "members": [object_id(1)]}
    stand_in.tenant.assigned = [{"principalType": "Group", "principalId": GROUP}]
    stand_in.tenant.granted.discard(missing)
    run = await plan(app, {"graph": SCOPES[scope]})
    assert run["phase"] == "failed"
    assert named in run["reason"]


@pytest.mark.parametrize("scope", ["assigned", "groups"])
async def test_an_object_that_is_not_there_is_said(both: tuple[GraphStandIn, App], scope: str) -> None:
    unknown = {"assigned": {"servicePrincipal": GROUP}, "groups": {}}[scope]
    run = await plan(both[1], {"graph": {**SCOPES[scope], **unknown}})
    assert (run["phase"], "check the ids" in run["reason"]) == ("failed", True)


async def test_a_scope_without_anybody_is_said(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    empty = stand_in.tenant.add_group("Empty", [])
    run = await plan(app, {"graph": {"scope": "groups", "groups": [empty]}})
    assert (run["phase"], "no user" in run["reason"]) == ("failed", True)


async def test_tenants_without_change_tracking_are_read_all_the_same(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.faults = lambda number, path: Fault(400, code="Request_Unsupported") if "delta" in path else None
    assert (await plan(app))["phase"] == "planned"
    directory = await Directories(app.tables).open("main")
    assert await Readings(app.tables, directory.keys).find_bookmark() is None


async def test_a_user_who_cannot_be_used_is_reported_and_the_others_are_planned(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.change(object_id(2), mail="two\u0000lines@contoso.com")
    run = await plan(app)
    assert run["counts"] == {"noAccount": 3, "noIdentity": 0, "unusable": 1}
    (problem,) = (await app.call("GET", f"linking/runs/{run['id']}/problems"))["problems"]
    assert problem["reason"] == "The column mail holds control characters."
    assert len(await app.decisions(run)) == 3


@pytest.mark.parametrize("scope", ["all", "groups"])
async def test_a_user_without_a_name_is_a_problem_of_that_user(both: tuple[GraphStandIn, App], scope: str) -> None:
    stand_in, app = both
    stand_in.tenant.groups[GROUP] = {"id": GROUP, "displayName": "Some", "members": [*map(object_id, range(1, 5))]}
    stand_in.tenant.change(object_id(2), userPrincipalName=None)
    run = await plan(app, {"graph": SCOPES[scope]})
    assert (run["phase"], run["counts"]["unusable"], run["counts"]["noAccount"]) == ("planned", 1, 3)
    (problem,) = (await app.call("GET", f"linking/runs/{run['id']}/problems"))["problems"]
    assert problem["reason"] == "Microsoft Graph shows a user without userPrincipalName."
    assert "in Entra" in problem["remedy"]


@pytest.mark.parametrize(
    ("asked", "detail"),
    [
        ({}, "give one of them"),
        ({"identities": "identities1", "source": ALL}, "give one of them"),
        ({"source": {"graph": {"scope": "nobody"}}}, "source.graph.scope"),
        ({"source": {"graph": {"scope": "assigned"}}}, "servicePrincipal"),
        ({"source": {"graph": {"scope": "groups"}}}, "groups"),
        ({"source": {"graph": {"scope": "all", "groups": [GROUP]}}}, "groups"),
        ({"source": {"graph": {"scope": "groups", "groups": ["../users"]}}}, "groups"),
        ({"source": {"graph": {"scope": "assigned", "servicePrincipal": "a/b"}}}, "servicePrincipal"),
        ({"source": {"file": "x"}}, "source"),
    ],
)
async def test_a_run_that_is_asked_for_wrongly_is_refused(
    both: tuple[GraphStandIn, App], asked: dict[str, Any], detail: str
) -> None:
    with pytest.raises(Refusal) as refusal:
        await both[1].call("POST", "linking/runs", asked)
    assert refusal.value.status == 400
    assert detail in refusal.value.detail
    assert both[0].requests == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tenants": {}}, "SCIMLINK_GRAPH_TENANTS"),
        ({"tenants": {"other": TENANT}}, "SCIMLINK_GRAPH_TENANTS"),
        ({"managed_identity": False}, "SCIMLINK_GRAPH_CLIENT_ID"),
        ({"tenants": {"main": TENANT, "other": TENANT}}, "SCIMLINK_GRAPH_CLIENT_ID"),
        ({"managed_identity": False, "client_id": CLIENT_ID}, "SCIMLINK_GRAPH_CERTIFICATE"),
    ],
)
async def test_a_setting_that_is_missing_is_named_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], named: str
) -> None:
    async with standing(tmp_path, monkeypatch, **settings) as (_, app):
        with pytest.raises(Refusal) as refusal:
            await start(app)
        assert refusal.value.status == 409
        assert named in refusal.value.detail
        assert (await app.call("GET", "linking/runs"))["runs"] == []


async def test_tokens_and_links_stand_in_no_history_status_or_log(
    both: tuple[GraphStandIn, App], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand_in, app = both
    stand_in.top = 1
    stand_in.tenant.change(object_id(4), mail="very-private@contoso.com")
    seen: list[str] = []
    stand_in.after = lambda number: seen.extend(stand_in.login.valid)
    stand_in.faults = every(0, 3, 2, 0)
    with caplog.at_level(logging.DEBUG):
        path = await start(app, groups=True)
        shown = json.dumps(await app.wait(path, "planned"))
    assert '"planned"' in shown
    assert seen
    directory = await Directories(app.tables).open("main")
    kept = [row for row in await rows_of(app.tables, directory.keys.jobs()) if row.key.startswith(READING)]
    assert len(kept) == 1, "the place is kept in the tables"
    assert "skiptoken" not in str(kept[0].columns), "not any longer than it is needed"
    histories = str(stored_rows(tmp_path / "scimlink.db", "histories"))
    # msal and aiohttp say what they do on DEBUG; what is said by us and by them holds no token and no link.
    logged = "\n".join(record.getMessage() for record in caplog.records)
    for text in (shown, histories, logged):
        for secret in (*seen, "skiptoken", "very-private", stand_in.login.header):
            assert secret not in text
    await app.call("POST", path + "/cancel")

    async def forgotten() -> bool:
        return not [r for r in await rows_of(app.tables, directory.keys.jobs()) if r.key.startswith(READING)]

    await until(forgotten)
