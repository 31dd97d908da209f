"""Whether somebody may come in: only a Boolean, or its text, changes that, whatever the request; it is always shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from shared.directory.records.model import Account, Status
from tests.scim_users.conftest import Answer, Server
from tests.scim_users.test_service import CORE, assert_error, created, replacing, user

PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
NO_BOOLEAN: tuple[Any, ...] = ("", " ", {}, [], 0, 1, "yes", [False], {"value": False})


def patch(*operations: Mapping[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH_OP], "Operations": list(operations)}


def ways(value: object) -> dict[str, tuple[str, dict[str, Any]]]:
    """Return every way in which a request can set `active` to a value, as method and body."""
    without = {name: item for name, item in user().items() if name != "active"}
    return {
        "PATCH": ("PATCH", replacing("active", value)),
        "PATCH in another case": ("PATCH", patch({"op": "Add", "path": "ACTIVE", "value": value})),
        "PATCH with the URN": ("PATCH", replacing(f"{CORE}:active", value)),
        "PATCH without a path": ("PATCH", patch({"op": "Replace", "value": {"active": value}})),
        "PUT": ("PUT", without | {"active": value}),
        "PUT in another case": ("PUT", without | {"Active": value}),
    }


LEAVING: dict[str, tuple[str, dict[str, Any]]] = {
    **{f"{way}: null": sent for way, sent in ways(None).items()},
    "PATCH: remove": ("PATCH", patch({"op": "remove", "path": "active"})),
    "PATCH: remove with a value": ("PATCH", patch({"op": "Remove", "path": f"{CORE}:active", "value": "True"})),
    "PUT without it": ("PUT", {"schemas": [CORE], "userName": "ada@contoso.com"}),
}
"""Requests that say nothing about it."""


async def sent_in_bulk(server: Server, method: str, path: str, body: object) -> int:
    """Send a request as the one operation of a bulk request, and return the status of that."""
    urn = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
    operations = [{"method": method, "path": path, "data": body, "bulkId": "1"}]
    answer = await server.send("POST", "/Bulk", {"schemas": [urn], "Operations": operations})
    (result,) = answer.body["Operations"]
    return int(result["status"])


async def assert_shown(server: Server, account_id: str, active: bool) -> None:
    """Assert that the only user is shown and found as active, or as not."""
    assert (await server.send("GET", f"/Users/{account_id}")).body["active"] is active
    for value in (True, False):
        found = (await server.send("GET", f"/Users?filter=active eq {str(value).lower()}")).body["Resources"]
        assert [one["id"] for one in found] == ([account_id] if value is active else [])


@pytest.mark.parametrize("way", ways(None))
async def test_what_is_no_boolean_switches_nobody_on_or_off(server: Server, way: str) -> None:
    for active in (False, True):
        account_id = (await created(server, f"ada{active}@contoso.com", active=active)).body["id"]
        path = f"/Users/{account_id}"
        before = (await server.send("GET", path)).body
        for value in NO_BOOLEAN:
            method, body = ways(value)[way]
            answer = await server.send(method, path, body)
            assert_error(answer, 400, "invalidValue")
            assert "active takes true or false" in answer.body["detail"]
            assert await sent_in_bulk(server, method, path, body) == 400
        assert (await server.send("GET", path)).body == before


@pytest.mark.parametrize("value", NO_BOOLEAN)
async def test_nobody_is_made_with_what_is_no_boolean(server: Server, value: object) -> None:
    assert_error(await server.send("POST", "/Users", user() | {"active": value}), 400, "invalidValue")
    assert await sent_in_bulk(server, "POST", "/Users", user() | {"active": value}) == 400
    assert (await server.send("GET", "/Users")).body["totalResults"] == 0


@pytest.mark.parametrize("way", ways(None))
@pytest.mark.parametrize("value", [False, "False", "false", True, "True", "TRUE"])
async def test_a_boolean_or_its_text_does(server: Server, way: str, value: object) -> None:
    active = str(value).lower() == "true"
    account_id = (await created(server, active=not active)).body["id"]
    method, body = ways(value)[way]
    assert (await server.send(method, f"/Users/{account_id}", body)).status == 200
    await assert_shown(server, account_id, active)


@pytest.mark.parametrize("way", LEAVING)
@pytest.mark.parametrize("active", [False, True])
async def test_what_says_nothing_about_it_leaves_it(server: Server, way: str, active: bool) -> None:
    account_id = (await created(server, active=active)).body["id"]
    method, body = LEAVING[way]
    answer: Answer = await server.send(method, f"/Users/{account_id}", body)
    assert (answer.status, answer.body["active"]) == (200, active)
    assert await sent_in_bulk(server, method, f"/Users/{account_id}", body) == 200
    await assert_shown(server, account_id, active)


@pytest.mark.parametrize("left_out", [{}, {"active": None}])
async def test_who_is_made_without_it_is_active(server: Server, left_out: dict[str, Any]) -> None:
    body = {"schemas": [CORE], "userName": "ada@contoso.com", **left_out}
    answer = await server.send("POST", "/Users", body)
    assert (answer.status, answer.body["active"]) == (201, True)
    await assert_shown(server, answer.body["id"], True)


@pytest.mark.parametrize("active", [True, False])
async def test_an_account_that_an_earlier_version_stored_without_it_is_shown_and_found(
    server: Server, active: bool
) -> None:
    directory = await server.main()
    document = {"schemas": [CORE], "userName": "ada@contoso.com", "title": "active"}
    new = Account.new(directory.keys.new_id("ada@contoso.com"), document, Status.PROVISIONED, directory.accounts.now())
    text = new.text.replace(',"active":true', "")
    assert text != new.text
    stored = await directory.accounts.create(replace(new, text=text, active=active), by="an earlier version")
    await assert_shown(server, stored.id, active)
    first = await server.send("GET", f"/Users/{stored.id}")
    same = await server.send("PATCH", f"/Users/{stored.id}", replacing("title", "active"))
    assert (same.status, same.body) == (200, first.body)
    put = await server.send("PUT", f"/Users/{stored.id}", {"userName": "ada@contoso.com"})
    assert put.body["active"] is active


async def test_the_largest_user_that_is_taken_can_be_switched_off(server: Server) -> None:
    """`false` is a character longer than `true`, and there must be room for it."""

    def sized(size: int) -> dict[str, Any]:
        roles = [{"value": f"{at}".ljust(min(20_000, size - at), "x")} for at in range(0, size, 20_000)]
        return user(f"ada{size}@contoso.com", roles=roles)

    fits, too_large, largest = 390_000, 394_000, ""
    while too_large - fits > 1:
        size = (fits + too_large) // 2
        answer = await server.send("POST", "/Users", sized(size))
        assert answer.status in (201, 413)
        if answer.status == 413:
            too_large = size
        else:
            fits, largest = size, answer.body["id"]
    answer = await server.send("PATCH", f"/Users/{largest}", replacing("active", False))
    assert (answer.status, answer.body["active"]) == (200, False)
