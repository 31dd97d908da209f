"""Groups beside users: POST /.search at each endpoint and the root (RFC 7644 section 3.4.3), Bulk, and sorting."""

from __future__ import annotations

from typing import Any

import pytest

from shared.scim import paging
from tests.scim_groups.test_service import GROUP, a_user, assert_error, created, members
from tests.scim_users.conftest import Server
from tests.scim_users.test_bulk import post, results
from tests.scim_users.test_search import request


async def test_a_search_of_groups_answers_as_get_does(server: Server) -> None:
    for name in ("Sales", "Legal"):
        await created(server, name)
    by_get = await server.send("GET", '/Groups?filter=displayName eq "sales"&attributes=displayName')
    asked = request(filter='displayName eq "sales"', attributes=["displayName"])
    by_post = await server.send("POST", "/Groups/.search", asked)
    assert (by_post.status, by_post.body) == (200, by_get.body)
    assert [group["displayName"] for group in by_post.body["Resources"]] == ["Sales"]


async def test_groups_are_sorted(server: Server) -> None:
    for name in ("b", "C", "a"):
        await created(server, name)
    answer = await server.send("GET", "/Groups?sortBy=displayName&sortOrder=descending&count=2")
    assert [group["displayName"] for group in answer.body["Resources"]] == ["C", "b"]
    assert answer.body["totalResults"] == 3


async def test_a_search_of_the_root_pages_through_users_then_groups(server: Server) -> None:
    ids = {await a_user(server, "ada"), await a_user(server, "bob")}
    ids |= {(await created(server, name))["id"] for name in ("Sales", "Legal")}
    found: list[Any] = []
    for start in (1, 2, 3, 4):
        page = (await server.send("POST", "/.search", request(startIndex=start, count=1))).body
        assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (4, start, 1)
        found += page["Resources"]
    assert {resource["id"] for resource in found} == ids
    assert [resource["meta"]["resourceType"] for resource in found] == ["User", "User", "Group", "Group"]
    across = (await server.send("POST", "/.search", request(startIndex=2, count=2))).body
    assert across["Resources"] == found[1:3]


async def test_a_page_of_the_root_that_large_users_fill_has_no_groups(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = {await a_user(server, f"user{n}") for n in range(3)} | {(await created(server))["id"]}
    monkeypatch.setattr(paging, "MAX_PAGE_CHARS", 10)
    found, start = list[Any](), 1
    while start <= len(ids):
        page = (await server.send("POST", "/.search", request(startIndex=start, count=4))).body
        assert (page["totalResults"], page["startIndex"]) == (4, start)
        found += page["Resources"]
        start += page["itemsPerPage"]
    assert [resource["meta"]["resourceType"] for resource in found] == ["User", "User", "User", "Group"]
    assert {resource["id"] for resource in found} == ids


async def test_a_search_of_the_root_finds_one_type_by_filter(server: Server) -> None:
    await a_user(server, "ada")
    group = await created(server)
    found = await server.send("POST", "/.search", request(filter='meta.resourceType eq "Group"'))
    assert found.body["Resources"] == [group]
    assert_error(await server.send("POST", "/.search", request(sortBy="userName")), 400, "invalidValue")


async def test_a_search_of_the_root_goes_by_cursor_through_users_then_groups(server: Server) -> None:
    ids = {await a_user(server, f"user{n}") for n in range(5)} | {
        (await created(server, f"g{n}"))["id"] for n in range(5)
    }
    pages, cursor = [], ""
    while True:
        page = (await server.send("POST", "/.search", request(cursor=cursor, count=2))).body
        assert (page["itemsPerPage"], "startIndex" in page, "totalResults" in page) == (
            len(page["Resources"]),
            False,
            False,
        )
        pages.append(page["Resources"])
        if "nextCursor" not in page:
            break
        cursor = page["nextCursor"]
    assert [len(page) for page in pages] == [2, 2, 1, 2, 2, 1]
    assert {resource["id"] for page in pages for resource in page} == ids
    assert_error(await server.send("POST", "/.search", request(cursor=cursor, count=3)), 400, "invalidCount")
    none = (await server.send("POST", "/.search", request(cursor="", count=0))).body
    assert (none["totalResults"], none["Resources"]) == (10, [])


async def test_the_root_finds_by_cursor_what_one_type_has(server: Server) -> None:
    await a_user(server, "ada")
    group = await created(server)
    asked = request(filter='meta.resourceType eq "Group"', cursor="")
    found = (await server.send("POST", "/.search", asked)).body
    assert found["Resources"] == [group]
    assert "nextCursor" not in found


async def test_a_cursor_is_good_for_what_it_was_made_for_alone(server: Server) -> None:
    for n in range(3):
        await a_user(server, f"user{n}")
        await created(server, f"group{n}")
    paths = ("/Users/.search", "/Groups/.search", "/.search")
    cursors = [(await server.send("POST", path, request(cursor="", count=1))).body["nextCursor"] for path in paths]
    for path in paths:
        for cursor, made_for in zip(cursors, paths, strict=True):
            answer = await server.send("POST", path, request(cursor=cursor, count=1))
            if path == made_for:
                assert answer.status == 200
            else:
                assert_error(answer, 400, "invalidCursor")


async def test_bulk_creates_a_group_with_the_user_it_refers_to(server: Server) -> None:
    data = {"schemas": [GROUP], "displayName": "Sales", "members": [{"value": "bulkId:ada"}]}
    group, user = await results(
        server, {"method": "POST", "path": "/Groups", "bulkId": "sales", "data": data}, post("ada")
    )
    assert (group["status"], user["status"]) == ("201", "201")
    group_id, user_id = (answer["location"].rpartition("/")[2] for answer in (group, user))
    assert await members(server, group_id) == [user_id]


async def test_of_two_groups_of_one_name_in_a_bulk_request_the_first_wins(server: Server) -> None:
    ada = await a_user(server, "ada")
    bodies = [{"displayName": f"{'G' if n % 3 else 'g'}{n // 2}", "members": [{"value": ada}]} for n in range(70)]
    creates = [{"method": "POST", "path": "/Groups", "bulkId": f"{n}", "data": body} for n, body in enumerate(bodies)]
    answers = await results(server, *creates)
    assert [answer["status"] for answer in answers] == ["201", "409"] * 35
    assert len((await server.send("GET", f"/Users/{ada}")).body["groups"]) == 35


async def test_a_user_and_a_group_of_one_name_are_two(server: Server) -> None:
    data = {"displayName": "ada", "members": [{"value": "bulkId:ada"}]}
    group = {"method": "POST", "path": "/Groups", "bulkId": "g", "data": data}
    answers = await results(server, group, post("ada"))
    assert [answer["status"] for answer in answers] == ["201", "201"]
