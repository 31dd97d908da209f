"""A later run over Microsoft Graph asks for what changed since the last reading, and plans as if it had read all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.graph import GraphStandIn, every
from link_orchestrator.graph.identities import Graph, GraphIdentities
from link_orchestrator.passes import read
from link_orchestrator.source import GraphScope, RunSource
from shared.directory.matching.identity import Gone, Identity
from tests.link_orchestrator.graph.test_graph import ALL, plan, standing, start
from tests.link_orchestrator.running import App, csv_file, graph, object_id

PEOPLE = [graph(n, f"person{n}@contoso.com") for n in range(1, 41)]
ACCOUNTS = csv_file(*({"userName": f"person{n}@contoso.com"} for n in range(1, 31)))


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    """A tenant and an app whose first run is done."""
    async with standing(tmp_path, monkeypatch, PEOPLE) as (stand_in, app):
        await app.bring(ACCOUNTS)
        run = await plan(app)
        assert run["counts"] == {"link": 30, "noAccount": 10, "noIdentity": 0}
        await app.apply(run, links=30)
        stand_in.requests.clear()
        yield stand_in, app


def read_in_full(stand_in: GraphStandIn) -> bool:
    """Tell whether all users were asked for since that was asked last."""
    asked = [path for path in stand_in.requests if path.startswith("/v1.0/users?") and "$filter" not in path]
    stand_in.requests.clear()
    return bool(asked)


async def test_it_says_that_nothing_changed_after_one_request(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    run = await plan(app)
    assert (run["phase"], run["changed"]) == ("done", {"identities": 0, "accounts": 0})
    assert run["compared"] == {"identities": 40, "accounts": 30}
    assert [path.partition("?")[0] for path in stand_in.requests] == ["/v1.0/users/delta"]
    stand_in.tenant.change(object_id(1), department="Elsewhere")
    run = await plan(app)
    assert not read_in_full(stand_in)
    assert run["changed"] == {"identities": 1, "accounts": 0}
    assert len(run["options"]["parts"]) == 2, "a reading that found nothing is no part"


async def test_only_those_who_changed_are_read(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.change(object_id(1), department="Elsewhere")
    stand_in.tenant.change(object_id(31), mail="person31@fabrikam.com")
    stand_in.tenant.change(object_id(50), userPrincipalName="person50@contoso.com", mail="person50@contoso.com")
    stand_in.tenant.remove(object_id(32))
    await app.bring(csv_file({"userName": "person50@contoso.com"}))
    run = await plan(app)
    assert not read_in_full(stand_in)
    assert (run["changed"], run["compared"]["identities"]) == ({"identities": 4, "accounts": 1}, 40)
    assert run["counts"] == {"alreadyLinked": 1, "noAccount": 1, "link": 1}
    assert (await app.apply(run, links=1))["counts"]["linked"] == 1
    assert (await app.account("person50@contoso.com"))["link"]["identity"] == object_id(50)


async def test_readings_go_on_from_one_another_and_the_newest_state_counts(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    for number, name in enumerate(("first", "second", "person33")):
        stand_in.tenant.change(object_id(33), userPrincipalName=f"{name}@contoso.com", mail=f"{name}@contoso.com")
        if number:
            stand_in.tenant.remove(object_id(33 + number))
        run = await plan(app)
        assert not read_in_full(stand_in)
        assert len(run["options"]["parts"]) == 2 + number
        assert run["changed"]["identities"] == 1 + bool(number)
        await app.apply(run, links=0)
    whole = await app.wait(await start(app, full=True), "planned")
    assert read_in_full(stand_in)
    assert whole["counts"] == {"alreadyLinked": 30, "noAccount": 8, "noIdentity": 0}


async def test_whoever_is_gone_stays_so_where_everything_is_planned_over_readings_of_changes(
    both: tuple[GraphStandIn, App],
) -> None:
    stand_in, app = both
    stand_in.tenant.remove(object_id(32))
    policy = {"verifiedDomains": ["contoso.com"], "safeguardShare": 0.5}
    whole = await app.wait(await start(app, policy=policy), "planned")
    assert not read_in_full(stand_in)
    assert whole["counts"] == {"alreadyLinked": 30, "noAccount": 9, "noIdentity": 0}


async def test_throttling_broken_answers_and_expired_tokens_lose_no_change(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, app = both
    monkeypatch.setattr("infra.local.graph.CHANGES_A_PAGE", 2)
    for number in (1, 2, 3, 31, 32):
        stand_in.tenant.change(object_id(number), department="Elsewhere")
    stand_in.tenant.remove(object_id(33))
    stand_in.faults = every(5, 3, 2, 0.0)
    run = await plan(app)
    assert not read_in_full(stand_in)
    assert run["changed"] == {"identities": 6, "accounts": 0}
    assert run["counts"] == {"alreadyLinked": 3, "noAccount": 2}


async def test_with_groups_it_is_done_as_well_unless_one_is_to_be_linked(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.add_group("Sales", [object_id(1), object_id(2)])
    run = await app.wait(await start(app, groups=True), "planned")
    assert (run["phase"], run["changed"]) == ("done", {"identities": 0, "accounts": 0})
    assert run["counts"]["noGroup"] > 0
    await app.call("POST", "scim/v2/Groups", {"displayName": "Elsewhere"})
    file = b'{"displayName": "Sales", "members": ["person1@contoso.com"]}'
    job = await app.call("POST", "groups/import", file, "application/json")
    await app.wait(f"groups/imports/{job['id']}", "done")
    run = await app.wait(await start(app, groups=True), "planned")
    assert (run["phase"], run["counts"]["groupLink"]) == ("planned", 1)


@pytest.mark.parametrize("why", ["the link has expired", "a week ago", "too many readings", "another scope"])
async def test_everybody_is_read_again_where(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    stand_in, app = both
    stand_in.tenant.change(object_id(1), department="Elsewhere")
    source: Any = ALL
    match why:
        case "the link has expired":
            stand_in.tenant.oldest = len(stand_in.tenant.log)
        case "a week ago":
            monkeypatch.setattr(read, "KEPT_DAYS", -1)
        case "too many readings":
            monkeypatch.setattr(read, "MOST_PARTS", 1)
        case "another scope":
            stand_in.tenant.groups.clear()
            group = stand_in.tenant.add_group("All", [person["id"] for person in PEOPLE])
            source = {"graph": {"scope": "groups", "groups": [group]}}
    run = await plan(app, source)
    assert why == "another scope" or read_in_full(stand_in)
    assert run["changed"] == {"identities": 1, "accounts": 0}
    assert run["counts"] == {"alreadyLinked": 1}
    assert "parts" not in run["options"]


async def test_a_reading_that_stood_still_until_the_former_is_no_longer_kept_reads_everybody(
    both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, app = both
    stand_in.tenant.change(object_id(1), department="Elsewhere")
    read_page = GraphIdentities.page

    async def stand_still(self: GraphIdentities, place: Any) -> Any:
        monkeypatch.setattr(read, "KEPT_DAYS", -1)
        return await read_page(self, place)

    monkeypatch.setattr(GraphIdentities, "page", stand_still)
    run = await plan(app)
    assert read_in_full(stand_in)
    assert "parts" not in run["options"]
    assert run["changed"] == {"identities": 1, "accounts": 0}


async def test_whoever_changed_and_cannot_be_read_any_more_is_gone(both: tuple[GraphStandIn, App]) -> None:
    stand_in, _ = both
    stand_in.tenant.change(object_id(2), accountEnabled="perhaps")
    source = RunSource(graph=GraphScope())
    async with Graph(stand_in.settings()).open("main", source) as users:
        page = await users.page({"steps": [["changed", [object_id(1), object_id(2), object_id(99)]]]})
    found = {row.object_id: type(row) for row in page.rows if isinstance(row, Identity | Gone)}
    assert found == {object_id(1): Identity, object_id(2): Gone, object_id(99): Gone}
    assert page.then is None
