"""How provisioning is connected, and what it is read from: what an administrator sees of both."""

from __future__ import annotations

import pytest

from shared.directory.directory import Directories
from shared.directory.work.visits import Visits
from tests.link_orchestrator.running import App, Refusal, graph


async def test_a_test_connection_is_seen_and_a_write_is_told_from_it(app: App) -> None:
    before = await app.call("GET", "linking/connection")
    assert before["tenantUrl"].endswith("/scim/v2")
    assert (before["lastRequest"], before["lastWrite"]) == (None, None)
    assert before["credentials"] == [{"name": "local", "expires": None, "lastRequest": None, "lastWrite": None}]
    await app.call("GET", "scim/v2/Users", filter='userName eq "nobody"')
    tested = await app.call("GET", "linking/connection")
    assert tested["lastRequest"] == tested["credentials"][0]["lastRequest"] != None  # noqa: E711
    assert tested["lastWrite"] is None
    schemas = ["urn:ietf:params:scim:schemas:core:2.0:User"]
    await app.call("POST", "scim/v2/Users", {"schemas": schemas, "userName": "new"})
    assert (await app.call("GET", "linking/connection"))["lastWrite"] is not None


async def test_a_refused_write_is_no_visit_that_changed_something(app: App) -> None:
    with pytest.raises(Refusal):
        await app.call("POST", "scim/v2/Users", {"userName": ""})
    assert (await app.call("GET", "linking/connection"))["lastWrite"] is None


async def test_visits_are_noted_once_a_minute(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    at = iter(["2026-01-01T00:00:00.000Z", "2026-01-01T00:02:00.000Z"])
    seconds = [0.0]
    visits = Visits(directory.tables, directory.keys, lambda: next(at), lambda: seconds[0])
    for now in (0.0, 59.0, 61.0):
        seconds[0] = now
        await visits.note("a/b?", "https://x.example/scim/v2", "", wrote=False)
    assert [(one.credential, one.last) for one in await visits.list_all()] == [("a/b?", "2026-01-01T00:02:00.000Z")]


async def test_a_source_that_is_not_set_up_names_the_setting(app: App) -> None:
    found = (await app.call("GET", "linking/sources"))["graph"]
    assert found["ready"] is False
    assert "SCIMLINK_GRAPH_TENANTS" in found["missing"]


async def test_uploads_are_listed_by_kind_and_together(app: App) -> None:
    upload = await app.upload(graph(1, "a@contoso.com"))
    (shown,) = (await app.call("GET", "linking/identities"))["uploads"]
    assert (shown["id"], shown["counts"]["read"]) == (upload, 1)
    assert (await app.call("GET", "linking/uploads"))["uploads"] == [shown]
    assert (await app.call("GET", "linking/groups"))["uploads"] == []
