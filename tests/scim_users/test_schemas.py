"""A customer's own extension of User: registered, then accepted, stored, filtered, patched and shown."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scim_users.conftest import ADMIN_TOKEN, OTHER_TOKEN, Answer, Server
from tests.scim_users.test_service import CORE, created, replacing

URN = "urn:contoso:scim:2.0:Employee"
SCHEMA: dict[str, Any] = {
    "id": URN,
    "name": "Employee",
    "attributes": [
        {"name": "level", "type": "integer"},
        {"name": "badge", "mutability": "immutable", "caseExact": True},
        {"name": "salary", "type": "decimal", "returned": "request"},
        {"name": "desks", "type": "complex", "multiValued": True, "subAttributes": [{"name": "value"}]},
    ],
}


async def schemas(server: Server, method: str, body: object = None, token: str = ADMIN_TOKEN) -> Answer:
    headers, url = {"Authorization": f"Bearer {token}"}, f"{server.url}/directory/schemas"
    async with server.session.request(method, url, json=body, headers=headers) as answer:
        return Answer(answer.status, answer.headers, await answer.json())


async def registered(server: Server) -> None:
    answer = await schemas(server, "PUT", [SCHEMA])
    assert answer.status == 200, answer.body
    assert (await schemas(server, "GET")).body == answer.body


async def test_it_is_accepted_stored_filtered_sorted_patched_and_shown(server: Server) -> None:
    await registered(server)
    values = {"Level": "7", "badge": "B1", "salary": 9.5, "desks": [{"value": "3.14"}], "unknown": 1}
    ada = await created(server, "ada", **{URN: values})
    await created(server, "bob", **{URN: {"level": 3}})
    assert ada.body[URN] == {"level": 7, "badge": "B1", "desks": [{"value": "3.14"}]}
    assert ada.body["schemas"] == [CORE, URN]
    path = f"/Users/{ada.body['id']}"
    assert (await server.send("GET", path)).body == ada.body
    assert (await server.send("GET", f"{path}?attributes={URN}:salary")).body[URN] == {"salary": 9.5}
    for text in (f"{URN}:level gt 5", 'badge eq "B1"', f'{URN}:desks[value sw "3"]'):
        found = await server.send("GET", f"/Users?filter={text}")
        assert [user["userName"] for user in found.body["Resources"]] == ["ada"], text
    by_level = await server.send("GET", f"/Users?sortBy={URN}:level")
    assert [user["userName"] for user in by_level.body["Resources"]] == ["bob", "ada"]
    assert (await server.send("PATCH", path, replacing(f"{URN}:level", 8))).body[URN]["level"] == 8
    assert (await server.send("PATCH", path, replacing(f"{URN}:badge", "B2"))).body["scimType"] == "mutability"
    put_back = await server.send("PUT", path, {"userName": "ada", URN: {"badge": "B2"}})
    assert (put_back.status, put_back.body["scimType"]) == (400, "mutability")


@pytest.mark.parametrize("urn", [URN, "urn:ietf:params:scim:schemas:core:2.0:Employee"])
async def test_an_attribute_that_is_called_as_one_of_users_is_another_one(server: Server, urn: str) -> None:
    named = {"id": urn, "name": "Employee", "attributes": [{"name": "userName"}]}
    assert (await schemas(server, "PUT", [named])).status == 200
    ada = (await created(server, "ada", **{urn: {"userName": "lovelace"}})).body
    for value, found in (("lovelace", [ada]), ("ada", [])):
        answer = await server.send("GET", f'/Users?filter={urn}:userName eq "{value}"')
        assert answer.body["Resources"] == found


async def test_it_is_discovered_in_its_own_directory_alone(server: Server) -> None:
    await registered(server)
    shown = (await server.send("GET", f"/Schemas/{URN}")).body
    assert [attribute["name"] for attribute in shown["attributes"]] == ["level", "badge", "salary", "desks"]
    assert shown["meta"]["location"].endswith(f"/Schemas/{URN}")
    user = (await server.send("GET", "/ResourceTypes/User")).body
    assert {"schema": URN, "required": False} in user["schemaExtensions"]
    assert (await server.send("GET", f"/Schemas/{URN}", token=OTHER_TOKEN)).status == 404
    other = await server.send("POST", "/Users", {"userName": "eve", URN: {"level": 1}}, token=OTHER_TOKEN)
    assert URN not in other.body


async def test_another_process_sees_it(server: Server) -> None:
    await registered(server)
    assert '"level"' in await (await server.main()).schemas.get()


def changed(**changes: Any) -> list[dict[str, Any]]:
    return [{**SCHEMA, **changes}]


@pytest.mark.parametrize(
    "body",
    [
        {},
        ["x"],
        [SCHEMA, SCHEMA],
        changed(id="Employee"),
        changed(id=CORE),
        changed(id="urn:ietf:params:scim:schemas:extension:enterprise:2.0:USER"),
        changed(name=1),
        changed(attributes=[]),
        changed(attributes=["x"]),
        changed(attributes=[{"name": "a b"}]),
        changed(attributes=[{"name": "a"}, {"name": "A"}]),
        changed(attributes=[{"name": "a", "type": "text"}]),
        changed(attributes=[{"name": "a", "type": ["string"]}]),
        changed(attributes=[{"name": "a", "required": True}]),
        changed(attributes=[{"name": "a", "uniqueness": "server"}]),
        changed(attributes=[{"name": "a", "mutability": "readOnly"}]),
        changed(attributes=[{"name": "a", "type": "complex"}]),
        changed(attributes=[{"name": "a", "type": "complex", "subAttributes": [{"name": "b", "type": "complex"}]}]),
        changed(attributes=[{"name": f"a{n}"} for n in range(201)]),
        [{**SCHEMA, "id": f"{URN}{n}"} for n in range(11)],
    ],
)
async def test_what_cannot_be_kept_is_refused(server: Server, body: object) -> None:
    answer = await schemas(server, "PUT", body)
    assert answer.status == 400, answer.body
    assert answer.body["scimType"] in ("invalidSyntax", "invalidValue")
    assert (await schemas(server, "GET")).body == []


async def test_only_the_administrator_registers(server: Server) -> None:
    assert (await schemas(server, "PUT", [SCHEMA], OTHER_TOKEN)).status == 403
