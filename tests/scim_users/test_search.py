"""Queries by POST (RFC 7644 section 3.4.3): the same answers as by GET, at /Users and at the root."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scim_users.conftest import Server
from tests.scim_users.test_service import assert_error, created

SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"


def request(**asked: Any) -> dict[str, Any]:
    return {"schemas": [SEARCH], **asked}


@pytest.mark.parametrize("path", ["/Users/.search", "/.search"])
@pytest.mark.parametrize(
    ("asked", "params"),
    [
        ({}, ""),
        ({"startIndex": 2, "count": 1}, "?startIndex=2&count=1"),
        ({"filter": 'title eq "Analyst"', "attributes": ["userName", "title"]}, None),
        ({"filter": 'userName eq "b"', "excludedAttributes": ["meta"]}, None),
        ({"FILTER": "title pr", "startIndex": None, "count": "1"}, "?filter=title pr&count=1"),
    ],
)
async def test_a_search_answers_as_get_does(
    server: Server, path: str, asked: dict[str, Any], params: str | None
) -> None:
    for name in "abc":
        await created(server, name, title="Analyst" if name < "c" else "Clerk")
    if params is None:
        parts = (f"{name}={','.join(v) if isinstance(v, list) else v}" for name, v in asked.items())
        params = "?" + "&".join(parts)
    by_get = await server.send("GET", f"/Users{params}")
    by_post = await server.send("POST", path, request(**asked))
    assert (by_post.status, by_post.body) == (by_get.status, by_get.body)
    assert by_post.status == 200
    assert "Location" not in by_post.headers


@pytest.mark.parametrize(
    ("body", "scim_type"),
    [
        ([], "invalidSyntax"),
        ({"schemas": ["urn:x"]}, "invalidSyntax"),
        ({"schemas": SEARCH}, "invalidSyntax"),
        (request(filter="userName"), "invalidFilter"),
        (request(filter=["userName pr"]), "invalidValue"),
        (request(attributes=[1]), "invalidValue"),
        (request(count=True), "invalidValue"),
        (request(count="many"), "invalidValue"),
    ],
)
async def test_what_is_no_search_is_refused(server: Server, body: object, scim_type: str) -> None:
    assert_error(await server.send("POST", "/Users/.search", body), 400, scim_type)


async def test_a_search_takes_post_alone_and_me_is_not_implemented(server: Server) -> None:
    assert_error(await server.send("GET", "/.search"), 405)
    assert_error(await server.send("POST", "/Me/.search", request()), 501)
    assert_error(await server.send("GET", "/Me"), 501)
