"""What else is read from Microsoft Graph: changes, the provisioning schema; over HTTP from the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.graph import CHANGES_A_PAGE, Fault, GraphStandIn
from infra.local.standins.tenant import APPLICATION, JOB, SCHEMA, Tenant
from link_orchestrator.graph.client import GraphClient, Refused, retry_after_seconds
from link_orchestrator.graph.identities import Graph, read_changes, read_provisioning_schema
from link_orchestrator.source import GraphScope, PlaceExpired, RunSource, SourceBusy, SourceFailed
from tests.link_orchestrator.running import graph, object_id

USERS = [graph(number, f"u{number}@contoso.com", department="All") for number in range(1, 4)]


@pytest.fixture
async def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[GraphStandIn]:
    async with GraphStandIn(Tenant.of(USERS), tmp_path) as running:
        for name, value in running.environment().items():
            monkeypatch.setenv(name, value)
        yield running


@pytest.fixture
async def client(stand_in: GraphStandIn) -> AsyncIterator[GraphClient]:
    async with Graph(stand_in.settings()).connect("main") as connected:
        yield connected


async def bookmark(stand_in: GraphStandIn) -> str:
    """Read all users, and return the link to the changes since that began."""
    source = RunSource(graph=GraphScope())
    async with Graph(stand_in.settings()).open("main", source) as users:
        first = await users.page({})
    assert first.bookmark
    return first.bookmark


async def test_changes_are_told_from_before_the_first_page_on(stand_in: GraphStandIn, client: GraphClient) -> None:
    link = await bookmark(stand_in)
    stand_in.tenant.change(object_id(1), mail="one@contoso.com", proxyAddresses=["SMTP:one@contoso.com"])
    stand_in.tenant.change(object_id(9), userPrincipalName="nine@contoso.com")
    stand_in.tenant.remove(object_id(2))
    changes = await read_changes(client, link)
    assert set(changes.changed) == {object_id(1), object_id(9)}
    assert (list(changes.removed), changes.then) == ([object_id(2)], None)
    assert changes.bookmark
    assert (await read_changes(client, changes.bookmark)).changed == []


async def test_many_changes_come_in_pages_and_only_the_last_has_a_bookmark(
    stand_in: GraphStandIn, client: GraphClient
) -> None:
    link: str | None = await bookmark(stand_in)
    for number in range(100, 100 + 2 * CHANGES_A_PAGE + 1):
        stand_in.tenant.change(object_id(number), userPrincipalName=f"n{number}@contoso.com")
    found: list[str] = []
    marks = []
    while link:
        changes = await read_changes(client, link)
        found += changes.changed
        marks.append(changes.bookmark)
        link = changes.then
    assert found == [object_id(number) for number in range(100, 100 + 2 * CHANGES_A_PAGE + 1)]
    assert [mark is not None for mark in marks] == [False, False, True]


async def test_a_bookmark_that_has_expired_is_told_apart(stand_in: GraphStandIn, client: GraphClient) -> None:
    link = await bookmark(stand_in)
    stand_in.tenant.oldest = 1
    with pytest.raises(PlaceExpired):
        await read_changes(client, link)


async def test_a_bookmark_of_another_host_is_not_followed(client: GraphClient) -> None:
    with pytest.raises(Refused, match="another host"):
        await read_changes(client, "https://graph.microsoft.com/v1.0/users/delta?$deltatoken=1")


async def test_the_schema_of_the_provisioning_job_is_read(stand_in: GraphStandIn, client: GraphClient) -> None:
    assert await read_provisioning_schema(client, APPLICATION) == SCHEMA
    stand_in.tenant.schemas["another"] = {"id": "another"}
    with pytest.raises(SourceFailed, match=f"several: name one of {JOB}, another"):
        await read_provisioning_schema(client, APPLICATION)
    assert await read_provisioning_schema(client, APPLICATION, "another") == {"id": "another"}
    stand_in.tenant.schemas.clear()
    with pytest.raises(SourceFailed, match="set provisioning up first"):
        await read_provisioning_schema(client, APPLICATION)
    stand_in.tenant.granted.discard("Synchronization.Read.All")
    with pytest.raises(SourceFailed, match=r"Synchronization\.Read\.All"):
        await read_provisioning_schema(client, APPLICATION)


async def test_a_token_that_is_refused_while_fresh_is_not_asked_for_again(
    stand_in: GraphStandIn, client: GraphClient
) -> None:
    stand_in.faults = lambda number, path: Fault(expire=True)
    with pytest.raises(SourceFailed, match="refuses the token"):
        await read_provisioning_schema(client, APPLICATION)
    assert len(stand_in.requests) == 2


@pytest.mark.parametrize(
    ("fault", "wait"), [(Fault(503, retry_after="7"), 7.0), (Fault(500), None), (Fault(cut=True), None)]
)
async def test_what_passes_by_itself_is_told_apart_with_how_long_it_lasts(
    stand_in: GraphStandIn, client: GraphClient, fault: Fault, wait: float | None
) -> None:
    stand_in.faults = lambda number, path: fault
    with pytest.raises(SourceBusy) as busy:
        await read_provisioning_schema(client, APPLICATION)
    assert busy.value.retry_after == wait


@given(st.integers(0, 100_000))
def test_retry_after_is_a_number_of_seconds_or_a_date(seconds: int) -> None:
    assert retry_after_seconds(str(seconds)) == seconds
    moment = (datetime.now(UTC) + timedelta(seconds=seconds)).replace(microsecond=0)
    most = (moment - datetime.now(UTC)).total_seconds()
    found = retry_after_seconds(format_datetime(moment, usegmt=True))
    least = (moment - datetime.now(UTC)).total_seconds()
    assert found is not None
    assert max(0.0, least) <= found <= max(0.0, most)


@pytest.mark.parametrize("text", ["", "soon", "-1", "1e9", "nan", "99999999999999999999", "Mon, 32 Jan"])
def test_a_retry_after_that_is_neither_says_nothing(text: str) -> None:
    assert retry_after_seconds(text) is None


def test_a_date_that_has_passed_is_now() -> None:
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
