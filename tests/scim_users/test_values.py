"""What a value, a path and a message must be, over HTTP: by every way that sets it; who is refused changes nothing."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scim_users.conftest import Answer, Server
from tests.scim_users.test_active import patch, sent_in_bulk
from tests.scim_users.test_schemas import schemas
from tests.scim_users.test_service import CORE, ENTERPRISE, assert_error, created, replacing, user

NOBODY = "/Users/361f2594-8a43-46bc-9c61-82862af64aca"
URN = "urn:contoso:scim:2.0:Employee"
TYPES = ("integer", "decimal", "dateTime", "binary", "boolean")
SCHEMA: dict[str, Any] = {
    "id": URN,
    "attributes": [
        *({"name": kind, "type": kind} for kind in TYPES),
        {"name": "list", "type": "complex", "multiValued": True, "subAttributes": [{"name": "n", "type": "integer"}]},
    ],
}
FULL = {
    "title": "Dr",
    "name": {"givenName": "Ada", "familyName": "L"},
    "emails": [{"type": "work", "value": "ada@contoso.com", "primary": True}],
    "phoneNumbers": [{"type": "work", "value": "1"}],
    ENTERPRISE: {"department": "IT"},
}


async def refused(server: Server, scim_type: str, *operations: dict[str, Any]) -> str:
    """Assert that operations are refused together with one that is right, and alone in a bulk; return the detail."""
    account_id = (await created(server, **FULL)).body["id"]
    path = f"/Users/{account_id}"
    before = (await server.send("GET", path)).body
    right = {"op": "replace", "path": "displayName", "value": "Ada"}
    answer = await server.send("PATCH", path, patch(right, *operations))
    assert_error(answer, 400, scim_type)
    assert answer.body["detail"].startswith("Operation 2: ")
    assert await sent_in_bulk(server, "PATCH", path, patch(*operations)) == 400
    assert (await server.send("GET", path)).body == before
    return str(answer.body["detail"])


@pytest.mark.parametrize(
    "path",
    ["title", "name.givenName", 'emails[type eq "work"].value', "emails.value", f"{ENTERPRISE}:department", "emails"],
)
async def test_an_object_that_says_nothing_clears_nothing(server: Server, path: str) -> None:
    await refused(server, "invalidValue", {"op": "replace", "path": path, "value": {}})


@pytest.mark.parametrize("path", ["emails", 'emails[type eq "work"]'])
@pytest.mark.parametrize("value", [{"type": "work"}, {"primary": True}, {"unknown": "x"}, [{"type": "work"}, {}]])
async def test_nor_do_labels_that_are_put_in_the_place_of_a_value(server: Server, path: str, value: Any) -> None:
    await refused(server, "invalidValue", {"op": "replace", "path": path, "value": value})


@pytest.mark.parametrize("value", [{"title": {}}, {"name": {"givenName": []}}, {"emails": [{"value": {}}]}])
async def test_nor_does_it_in_a_whole_resource(server: Server, value: dict[str, Any]) -> None:
    ada = (await created(server, **FULL)).body
    for method, path in (("POST", "/Users"), ("PUT", f"/Users/{ada['id']}")):
        assert_error(await server.send(method, path, user("bob") | value), 400, "invalidValue")
    assert (await server.send("GET", f"/Users/{ada['id']}")).body == ada


@pytest.mark.parametrize("op", ["add", "replace"])
@pytest.mark.parametrize(
    "path",
    ['emails[value eq "x@contoso.com"].type', 'emails[value eq "x@contoso.com"]', 'addresses[country eq "NO"].region'],
)
async def test_a_value_that_is_not_there_is_no_target(server: Server, op: str, path: str) -> None:
    value = {"display": "x"} if path.endswith("]") else "x"
    await refused(server, "noTarget", {"op": op, "path": path, "value": value})


@pytest.mark.parametrize("op", ["add", "Replace"])
@pytest.mark.parametrize(
    ("path", "made"),
    [
        ('emails[type eq "home"].value', {"type": "home", "value": "x"}),
        ('phoneNumbers[type eq "mobile"].value', {"type": "mobile", "value": "x"}),
        ('addresses[type eq "work"].formatted', {"type": "work", "formatted": "x"}),
        ('roles[primary eq "True"].value', {"primary": True, "value": "x"}),
    ],
)
async def test_a_value_that_entra_sets_by_its_type_is_made(
    server: Server, op: str, path: str, made: dict[str, Any]
) -> None:
    place = f"/Users/{(await created(server, **FULL)).body['id']}"
    answer = await server.send("PATCH", place, patch({"op": op, "path": path, "value": "x"}))
    assert answer.status == 200
    assert answer.body[path.partition("[")[0]][-1] == made


@pytest.mark.parametrize("path", ["active[x pr]", "title[not (x pr)]", 'displayName[value eq "x"]', "userName[a pr].b"])
@pytest.mark.parametrize("op", ["add", "replace", "remove"])
async def test_a_filter_at_what_has_no_parts_is_no_path(server: Server, op: str, path: str) -> None:
    detail = await refused(server, "invalidPath", {"op": op, "path": path, "value": "x"})
    assert path.partition("[")[0] in detail


@pytest.mark.parametrize("value", ["", [], {}, [None], [{"type": "work"}]])
async def test_a_removal_that_names_no_value_is_refused(server: Server, value: object) -> None:
    await refused(server, "invalidValue", {"op": "remove", "path": "phoneNumbers", "value": value})


async def test_each_type_and_value_is_kept_once(server: Server) -> None:
    emails = [
        {"type": "work", "value": "a@contoso.com"},
        {"type": "WORK", "value": "A@contoso.com", "primary": True},
        {"type": "home", "value": "a@contoso.com"},
    ]
    once = [{"type": "WORK", "value": "A@contoso.com", "primary": True}, {"type": "home", "value": "a@contoso.com"}]
    posted = await created(server, "bob", emails=emails)
    assert posted.body["emails"] == once
    path = f"/Users/{posted.body['id']}"
    assert (await server.send("PUT", path, user("bob", emails=emails))).body["emails"] == once
    assert (await server.send("PATCH", path, replacing("emails", emails))).body["emails"] == once
    adding = patch({"op": "add", "path": "emails", "value": emails})
    assert (await server.send("PATCH", path, adding)).body["emails"] == once


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("integer", 12.99),
        ("integer", "12.99"),
        ("integer", {}),
        ("decimal", "1,5"),
        ("dateTime", "2016-03-01"),
        ("dateTime", "12:00:00Z"),
        ("binary", "no base64!"),
        ("binary", "AAAAA"),
        ("boolean", "perhaps"),
        ("boolean", 1),
        ("list", [{"n": 0.5}]),
    ],
)
async def test_a_value_of_a_customers_type_is_kept_as_it_is_or_refused(server: Server, name: str, value: Any) -> None:
    await schemas(server, "PUT", [SCHEMA])
    place = f"/Users/{(await created(server)).body['id']}"
    for method, path, body in (
        ("POST", "/Users", user("bob", **{URN: {name: value}})),
        ("PUT", place, user(**{URN: {name: value}})),
        ("PATCH", place, replacing(f"{URN}:{name}", value)),
        ("PATCH", place, patch({"op": "add", "value": {URN: {name: value}}})),
    ):
        answer = await server.send(method, path, body)
        assert_error(answer, 400, "invalidValue")
        assert name in answer.body["detail"]
        assert await sent_in_bulk(server, method, path, body) == 400
    assert URN not in (await server.send("GET", place)).body


WRONG: dict[str, Any] = {
    "another message": {"schemas": [CORE], "Operations": [{"op": "replace", "path": "title", "value": "x"}]},
    "no message": {"schemas": [], "Operations": [{"op": "replace", "path": "title", "value": "x"}]},
    "no operations": {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]},
    "no operation": patch({"op": "move", "path": "title", "value": "x"}),
    "no path": replacing("emails[", "x"),
    "no parts": replacing("title[x pr]", "x"),
    "no value": replacing("active", "perhaps"),
    "what is read-only": replacing("groups", []),
}


async def assert_wrong(server: Server, method: str, body: object) -> Answer:
    """Assert that a body is as wrong for a user who is not there as for one who is."""
    for path in (NOBODY, "/Users/nobody", f"/Users/{(await created(server)).body['id']}"):
        answer = await server.send(method, path, body)
        assert answer.status == 400, path
        assert await sent_in_bulk(server, method, path, body) == 400
    return answer


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_wrong_patch_is_wrong_for_a_user_who_is_not_there(server: Server, wrong: str) -> None:
    answer = await assert_wrong(server, "PATCH", WRONG[wrong])
    if "message" in wrong:
        assert_error(answer, 400, "invalidSyntax")
        assert "PatchOp" in answer.body["detail"]


@pytest.mark.parametrize("body", [[], {}, {"userName": ""}, user(active="perhaps"), user(title={})])
async def test_a_wrong_resource_is_wrong_for_a_user_who_is_not_there(server: Server, body: object) -> None:
    await assert_wrong(server, "PUT", body)


async def test_a_right_body_does_not_bring_anybody_about(server: Server) -> None:
    path = 'emails[value eq "x"].type'
    for method, body in (("PATCH", replacing("title", "x")), ("PATCH", replacing(path, "x")), ("PUT", user())):
        assert_error(await server.send(method, NOBODY, body), 404)
    without = {"Operations": replacing("title", "x")["Operations"]}
    assert_error(await server.send("PATCH", NOBODY, without), 404)
    assert (await server.send("PATCH", f"/Users/{(await created(server)).body['id']}", without)).status == 200


async def test_a_manager_who_is_deleted_is_shown_as_before(server: Server) -> None:
    eve = (await created(server, "eve", displayName="Eve")).body["id"]
    ada = (await created(server, **{ENTERPRISE: {"manager": eve}})).body
    assert ada[ENTERPRISE]["manager"] == {"value": eve, "$ref": f"../Users/{eve}", "displayName": "Eve"}
    assert (await server.send("DELETE", f"/Users/{eve}")).status == 204
    assert (await server.send("GET", f"/Users/{ada['id']}")).body == ada
    found = await server.send("GET", f'/Users?filter=manager eq "{eve}"')
    assert [one["id"] for one in found.body["Resources"]] == [ada["id"]]
    cleared = await server.send("PATCH", f"/Users/{ada['id']}", replacing("manager", ""))
    assert ENTERPRISE not in cleared.body
