"""What the edge makes of a request: its parameters, its length, and a body that did not arrive."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from link_orchestrator.requests.sent_file import MAX_FILE_BYTES
from shared.scim.limits import MAX_URL_BYTES
from tests.scim_groups.test_service import assert_error
from tests.scim_users.conftest import ADMIN_TOKEN, TOKEN, Server
from tests.scim_users.test_search import request

AZURE_BODY_BYTES, AZURE_LINE_BYTES = 104_857_600, 8_192
"""What Azure's host takes at most (https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook)."""


async def chunks() -> AsyncIterator[bytes]:
    yield b'{"userName": "ada'
    yield b'@contoso.com"}'


async def send_in_chunks(server: Server, method: str, path: str, token: str) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/scim+json"}
    async with server.session.request(method, server.url + path, data=chunks(), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


@pytest.mark.parametrize(
    ("method", "path", "token"),
    [
        ("POST", "/scim/v2/Users", TOKEN),
        ("PUT", "/scim/v2/Users/0f9a", TOKEN),
        ("PATCH", "/scim/v2/Groups/0f9a", TOKEN),
        ("POST", "/scim/v2/.search", TOKEN),
        ("POST", "/accounts/import", ADMIN_TOKEN),
        ("POST", "/linking/runs/0f9a/approve", ADMIN_TOKEN),
    ],
)
async def test_a_body_in_chunks_is_refused_for_it_does_not_arrive(
    server: Server, method: str, path: str, token: str
) -> None:
    status, body = await send_in_chunks(server, method, path, token)
    assert (status, body["status"]) == (411, "411")
    assert "Content-Length" in body["detail"]
    assert (await send_in_chunks(server, method, path, "wrong"))[0] == 401


async def test_where_no_body_counts_one_in_chunks_does_no_harm(server: Server) -> None:
    user = (await server.send("POST", "/Users", {"userName": "ada@contoso.com"})).body
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for method, status in (("GET", 200), ("DELETE", 204)):
        path = f"{server.url}/scim/v2/Users/{user['id']}"
        async with server.session.request(method, path, data=chunks(), headers=headers) as answer:
            assert answer.status == status


async def test_names_of_parameters_may_be_written_in_any_case(server: Server) -> None:
    users = [(await server.send("POST", "/Users", {"userName": f"{name}@contoso.com"})).body for name in "ab"]
    for path in ('/Users?FILTER=userName eq "a@contoso.com"', "/users?Count=1&STARTINDEX=1", "/Users?CURSOR&cOunt=1"):
        answer = await server.send("GET", path)
        assert len(answer.body["Resources"]) == 1, path
    assert_error(await server.send("GET", "/Schemas?Filter=x"), 403)
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    for query in ("userName", "USERNAME", "username"):
        async with server.session.get(f"{server.url}/accounts?{query}=a@contoso.com", headers=headers) as answer:
            assert [one["id"] for one in (await answer.json())["accounts"]] == [users[0]["id"]]
    async with server.session.get(f"{server.url}/linking/refusals?Count=0", headers=headers) as answer:
        assert answer.status == 400


async def test_two_names_that_differ_in_case_are_one_parameter(server: Server) -> None:
    """As Azure's host makes them one: neither value is taken without the other."""
    for query in ("cursor&Cursor=x", "cursor=x&cursor="):
        assert_error(await server.send("GET", f"/Users?{query}"), 400, "invalidCursor")
    for query in ("count=1&COUNT=2", "Count=1&count=2"):
        assert_error(await server.send("GET", f"/Users?{query}"), 400, "invalidValue")
    assert_error(await server.send("GET", "/Users?filter=userName pr&Filter=active pr"), 400, "invalidFilter")


async def test_a_url_that_is_too_long_is_sent_to_search(server: Server) -> None:
    given = " or ".join(f'userName eq "{"é" * 40}{number}"' for number in range(40))
    refused = await server.send("GET", f"/Users?filter={given}")
    assert_error(refused, 414)
    assert "/.search" in refused.body["detail"]
    found = await server.send("POST", "/Users/.search", request(filter=given))
    assert (found.status, found.body["totalResults"]) == (200, 0)


def test_what_is_refused_here_with_a_reason_would_be_refused_by_azure_without() -> None:
    line = f"PATCH {'x' * MAX_URL_BYTES} HTTP/1.1\r\n"
    assert len(line) < AZURE_LINE_BYTES
    assert MAX_FILE_BYTES < AZURE_BODY_BYTES


@pytest.mark.parametrize("token", [ADMIN_TOKEN, "nobody"])
async def test_no_browser_keeps_what_an_administrator_is_answered(server: Server, token: str) -> None:
    """Who signed in opens reports with everybody's names, perhaps on a shared machine."""
    async with server.session.get(f"{server.url}/accounts", headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
