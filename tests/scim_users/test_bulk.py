"""POST /Bulk over HTTP (RFC 7644 section 3.7)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shared.scim.limits import MAX_BULK_BYTES, MAX_BULK_OPERATIONS
from tests.scim_users.conftest import Answer, Server
from tests.scim_users.test_service import ENTERPRISE, assert_error, created, replacing, user

REQUEST = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
RFC = Path(__file__).parents[1] / "shared" / "scim" / "rfc"
RESPONSE = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"


def post(name: str, bulk_id: str | None = None, /, manager: str | None = None, **more: Any) -> dict[str, Any]:
    if manager:
        more[ENTERPRISE] = {"manager": {"value": manager}}
    return {"method": "POST", "path": "/Users", "bulkId": bulk_id or name, "data": user(name, **more)}


async def bulk(server: Server, *operations: dict[str, Any], **more: Any) -> Answer:
    answer = await server.send("POST", "/Bulk", {"schemas": [REQUEST], "Operations": operations, **more})
    if answer.status == 200:
        assert answer.body["schemas"] == [RESPONSE]
    return answer


async def results(server: Server, *operations: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await bulk(server, *operations, **more)).body["Operations"]
    return found


async def test_every_method_is_answered_as_a_request_of_its_own(server: Server) -> None:
    old, gone = (await created(server, "old")), (await created(server, "gone"))
    answers = await results(
        server,
        post("ada", "a"),
        {"method": "patch", "path": f"/Users/{old.body['id']}", "data": replacing("title", "Dr")},
        {"method": "PUT", "path": f"/Users/{old.body['id']}", "data": user("new")},
        {"method": "DELETE", "path": f"/Users/{gone.body['id']}"},
    )
    assert [answer["status"] for answer in answers] == ["201", "200", "200", "204"]
    assert [answer["method"] for answer in answers] == ["POST", "PATCH", "PUT", "DELETE"]
    assert (answers[0]["bulkId"], "bulkId" in answers[1]) == ("a", False)
    ada = await server.send("GET", answers[0]["location"].removeprefix(f"{server.url}/scim/v2"))
    assert (ada.body["userName"], ada.headers["ETag"]) == ("ada", answers[0]["version"])
    assert answers[1]["location"] == answers[2]["location"] == old.headers["Location"]
    assert answers[3]["location"] == gone.headers["Location"]
    assert not any("response" in answer for answer in answers)


async def test_what_fails_fails_alone_and_says_why(server: Server) -> None:
    ada = await created(server, "ada")
    path = f"/Users/{ada.body['id']}"
    answers = await results(
        server,
        post("ADA"),
        {"method": "PATCH", "path": path, "version": 'W/"other"', "data": replacing("title", "Dr")},
        {"method": "PATCH", "path": path, "version": ada.headers["ETag"], "data": replacing("title", "Mx")},
        {"method": "DELETE", "path": "/Users/nobody"},
        {"method": "POST", "path": "/Things", "bulkId": "t", "data": {}},
        {"method": "POST", "path": "/Users/7", "bulkId": "u", "data": user("u")},
        {"method": "PUT", "path": "/Users", "data": user("u")},
        {"method": "POST", "path": "/Users", "bulkId": "v"},
        post("bob"),
    )
    assert [a["status"] for a in answers] == ["409", "412", "200", "404", "404", "400", "400", "400", "201"]
    assert answers[0]["response"]["scimType"] == "uniqueness"
    assert [answer["response"]["status"] for answer in answers if "response" in answer] == (
        [answer["status"] for answer in answers if answer["status"] >= "300"]
    )
    assert ["location" in answer for answer in answers] == [False, True, True, True, False, False, True, False, True]
    assert answers[3]["location"] == f"{server.url}/scim/v2/Users/nobody"
    assert (await server.send("GET", path)).body["title"] == "Mx"


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
async def test_references_are_resolved_in_any_order(server: Server, order: tuple[int, ...]) -> None:
    operations = [
        post("boss", "b"),
        post("ada", "a", manager="bulkId:b"),
        post("eve", "e", manager="bulkId:a"),
        {"method": "PATCH", "path": "/Users/bulkId:e", "data": replacing("title", "Dr")},
    ]
    answers = await results(server, *(operations[place] for place in order))
    assert [answer["method"] for answer in answers] == [operations[place]["method"] for place in order]
    by_id = {answer["bulkId"]: answer["location"] for answer in answers if answer["status"] == "201"}
    assert set(by_id) == {"a", "b", "e"}
    found = {n: (await server.send("GET", by_id[n].partition("/v2")[2])).body for n in by_id}
    assert found["a"][ENTERPRISE]["manager"]["value"] == found["b"]["id"]
    assert found["e"][ENTERPRISE]["manager"]["value"] == found["a"]["id"]
    assert found["e"]["title"] == "Dr"
    assert next(a for a in answers if a["method"] == "PATCH")["location"] == by_id["e"]


async def test_the_example_of_the_rfc_gives_bob_his_manager(server: Server) -> None:
    request = json.loads((RFC / "rfc7644-3.7.2-bulk-request-enterprise-user.json").read_text("utf-8"))
    alice, bob = (await server.send("POST", "/Bulk", request)).body["Operations"]
    found = (await server.send("GET", '/Users?filter=userName eq "Bob"')).body["Resources"][0]
    assert (alice["status"], bob["location"]) == ("201", found["meta"]["location"])
    assert alice["location"].endswith(found[ENTERPRISE]["manager"]["value"])


async def test_circles_and_references_to_nothing_are_refused_alone(server: Server) -> None:
    answers = await results(
        server,
        post("a", manager="bulkId:b"),
        post("b", manager="bulkId:a"),
        post("c", manager="bulkId:c"),
        post("d", manager="bulkId:a"),
        post("e", manager="bulkId:nobody"),
        post("f"),
        post("F", "g"),
        post("h", manager="bulkId:g"),
    )
    assert [answer["status"] for answer in answers] == ["409", "409", "409", "409", "400", "201", "409", "409"]
    assert (await server.send("GET", "/Users")).body["totalResults"] == 1


async def test_of_two_creates_of_one_name_the_first_wins(server: Server) -> None:
    names = [f"{'Ada' if n % 3 else 'ada'}{n // 2}" for n in range(60)]
    answers = await results(server, *(post(name, f"{n}") for n, name in enumerate(names)))
    assert [answer["status"] for answer in answers] == ["201", "409"] * 30


async def test_what_was_deleted_can_be_created_again(server: Server) -> None:
    path = f"/Users/{(await created(server, 'ada')).body['id']}"
    answers = await results(server, post("eve"), {"method": "DELETE", "path": path}, post("ada"))
    assert [answer["status"] for answer in answers] == ["201", "204", "201"]


async def test_a_long_chain_of_references_is_resolved(server: Server) -> None:
    chain = [post(f"u{n}", manager=f"bulkId:u{n + 1}") for n in range(60)]
    assert {a["status"] for a in await results(server, *chain, post("u60"))} == {"201"}


@pytest.mark.parametrize(("allowed", "answered"), [(None, 5), (1, 2), (2, 4), (9, 5)])
async def test_it_ends_where_too_much_failed(server: Server, allowed: int | None, answered: int) -> None:
    names = ("a", "A", "b", "B", "c")
    answers = await results(server, *(post(name) for name in names), failOnErrors=allowed)
    assert [answer["bulkId"] for answer in answers] == list(names[:answered])
    assert (await server.send("GET", "/Users")).body["totalResults"] == len({n.lower() for n in names[:answered]})


@pytest.mark.parametrize(
    ("body", "status", "scim_type"),
    [
        ([], 400, "invalidSyntax"),
        ({"Operations": []}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST]}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST], "Operations": ["POST"]}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST], "Operations": [{"method": "GET", "path": "/Users"}]}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST], "Operations": [{"method": "POST"}]}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST], "Operations": [post("a") | {"bulkId": 1}]}, 400, "invalidSyntax"),
        ({"schemas": [REQUEST], "Operations": [post("a", "x"), post("b", "x")]}, 400, "invalidValue"),
        ({"schemas": [REQUEST], "Operations": [post("a")], "failOnErrors": 0}, 400, "invalidValue"),
        ({"schemas": [REQUEST], "Operations": [post("a")], "failOnErrors": True}, 400, "invalidValue"),
        ({"schemas": [REQUEST], "Operations": [post("a")] * (MAX_BULK_OPERATIONS + 1)}, 413, None),
        (b" " * MAX_BULK_BYTES + b"{}", 413, None),
    ],
)
async def test_what_is_no_bulk_request_is_refused_whole(
    server: Server, body: object, status: int, scim_type: str | None
) -> None:
    assert_error(await server.send("POST", "/Bulk", body), status, scim_type)
    assert (await server.send("GET", "/Users")).body["totalResults"] == 0


async def test_as_much_as_advertised_is_taken(server: Server) -> None:
    config = (await server.send("GET", "/ServiceProviderConfig")).body["bulk"]
    operations = [post(f"user{n}") for n in range(config["maxOperations"])]
    answers = await results(server, *operations)
    assert {answer["status"] for answer in answers} == {"201"}
    assert len(answers) == config["maxOperations"]
    assert (await server.send("GET", "/Users")).body["totalResults"] == len(answers)
    assert_error(await server.send("GET", "/Bulk"), 405)
