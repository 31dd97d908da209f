"""What is answered where there is no resource: /Me, discovery, addresses and methods that are none (RFC 7644)."""

from __future__ import annotations

import pytest

from tests.scim_groups.test_service import assert_error, created
from tests.scim_users.conftest import Server

ONE = ("/ServiceProviderConfig", "/ResourceTypes/Group", "/Schemas/urn:ietf:params:scim:schemas:core:2.0:Group")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
async def test_there_is_no_me(server: Server, method: str) -> None:
    answer = await server.send(method, "/Me")
    assert_error(answer, 501)
    assert "/Users" in answer.body["detail"]


@pytest.mark.parametrize("path", [*ONE, "/ResourceTypes", "/Schemas"])
async def test_discovery_takes_no_filter_and_ignores_the_other_parameters(server: Server, path: str) -> None:
    assert_error(await server.send("GET", f'{path}?filter=id eq "x"'), 403)
    plain = await server.send("GET", path)
    other = await server.send("GET", f"{path}?sortBy=id&startIndex=9&count=1")
    assert (plain.status, other.body) == (200, plain.body)


@pytest.mark.parametrize("path", [*ONE, "/Groups", "/Users", "/Bulk", "/.search"])
async def test_a_method_that_an_endpoint_does_not_take_is_refused_as_such(server: Server, path: str) -> None:
    assert_error(await server.send("PUT", path, {}), 405)


async def test_what_is_no_address_is_not_found(server: Server) -> None:
    group = (await created(server))["id"]
    for path in ("/Nothing", "/Groups/x", f"/Groups/{group}/members", "/Schemas/x/y"):
        assert_error(await server.send("GET", path), 404)
