"""Pages by cursor (RFC 9865): every user once, there and back, whatever comes and goes; wrong cursors are refused."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from scim_groups import search as group_search
from scim_users import search
from shared.directory.records import listing
from shared.scim import cursor, paging
from shared.scim.errors import InvalidCursor
from shared.scim.query import Query
from shared.scim.schema import USER
from tests.scim_users.conftest import OTHER_TOKEN, Server, walk
from tests.scim_users.test_service import assert_error, created

NAMES = [f"user{n:02}" for n in range(25)]


async def fill(server: Server) -> None:
    for number, name in enumerate(NAMES):
        await created(server, name, title="even" if number % 2 == 0 else "odd", externalId=f"x{number}")


def names(pages: list[dict[str, Any]]) -> list[str]:
    return [resource["userName"] for page in pages for resource in page["Resources"]]


async def test_pages_hold_every_user_once(server: Server) -> None:
    await fill(server)
    pages = await walk(server, "/Users?count=10")
    assert sorted(names(pages)) == NAMES
    assert [(page["totalResults"], page["itemsPerPage"]) for page in pages] == [(25, 10), (25, 10), (25, 5)]
    assert not any("startIndex" in page for page in pages)
    assert "previousCursor" not in pages[0]
    by_index = (await server.send("GET", "/Users?count=200")).body
    assert names(pages) == names([by_index])


async def test_the_first_page_may_be_the_last(server: Server) -> None:
    await fill(server)
    for count in (25, 26):
        (page,) = await walk(server, f"/Users?count={count}")
        assert len(page["Resources"]) == 25


@pytest.mark.parametrize("asked", ["", 'filter=title eq "even"&', "sortBy=userName&", "filter=userName pr&"])
async def test_a_page_of_large_users_has_fewer_and_the_next_begins_behind_them(
    server: Server, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    await fill(server)
    whole = sorted(names([(await server.send("GET", f"/Users?{asked}count=25")).body]))
    monkeypatch.setattr(paging, "MAX_PAGE_CHARS", 2_500)
    pages = await walk(server, f"/Users?{asked}count=10")
    assert sorted(names(pages)) == whole
    assert {page["itemsPerPage"] for page in pages[:-1]} < set(range(1, 10))
    page, back = pages[-1], list[dict[str, Any]]()
    while "previousCursor" in page:
        page = (await server.send("GET", f"/Users?{asked}count=10&cursor={page['previousCursor']}")).body
        back.append(page)
    assert not back or sorted(names([*back, pages[-1]])) == whole


async def test_pages_by_index_of_large_users_hold_each_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(server)
    monkeypatch.setattr(paging, "MAX_PAGE_CHARS", 2_500)
    found, start = list[str](), 1
    while start <= len(NAMES):
        page = (await server.send("GET", f"/Users?startIndex={start}&count=10")).body
        assert (page["totalResults"], page["startIndex"]) == (len(NAMES), start)
        found += names([page])
        start += page["itemsPerPage"]
    assert sorted(found) == NAMES


async def test_one_user_is_shown_however_large(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(server)
    monkeypatch.setattr(paging, "MAX_PAGE_CHARS", 10)
    pages = await walk(server, "/Users?count=10")
    assert ([page["itemsPerPage"] for page in pages], sorted(names(pages))) == ([1] * 25, NAMES)


async def test_the_way_back_shows_the_same_pages(server: Server) -> None:
    await fill(server)
    forth = await walk(server, "/Users?count=10")
    back, page = [forth[-1]], forth[-1]
    while "previousCursor" in page:
        page = (await server.send("GET", f"/Users?count=10&cursor={page['previousCursor']}")).body
        back.append(page)
    assert [names([page]) for page in reversed(back)] == [names([page]) for page in forth]
    again = (await server.send("GET", f"/Users?count=10&cursor={back[-1]['nextCursor']}")).body
    assert names([again]) == names([forth[1]])


async def test_a_user_deleted_between_pages_shifts_nobody(server: Server) -> None:
    await fill(server)
    first = (await server.send("GET", "/Users?count=10&cursor=")).body
    for gone in first["Resources"][:5]:
        await server.send("DELETE", f"/Users/{gone['id']}")
    rest = await walk(server, "/Users?count=10", first["nextCursor"])
    assert sorted(names([first, *rest])) == NAMES


@pytest.mark.parametrize("rows", [1, 4, 1000])
async def test_a_filter_without_a_key_is_read_page_by_page(
    server: Server, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 3)
    monkeypatch.setattr(search, "SCAN_PAGE", rows)
    await fill(server)
    assert_error(await server.send("GET", '/Users?filter=title eq "odd"'), 400, "tooMany")
    pages = await walk(server, '/Users?filter=title eq "odd"&count=5')
    assert sorted(names(pages)) == NAMES[1::2]
    assert max(page["itemsPerPage"] for page in pages) <= min(rows, 5)
    assert not any("totalResults" in page for page in pages)


async def test_a_filter_with_a_key_has_its_total(server: Server) -> None:
    await fill(server)
    for number in range(5):
        enterprise = {"employeeNumber": "7"}
        await created(server, f"seven{number}", **{search.USER.extensions[0].urn: enterprise})
    pages = await walk(server, '/Users?filter=employeeNumber eq "7"&count=2')
    assert sorted(names(pages)) == [f"seven{number}" for number in range(5)]
    assert [page["totalResults"] for page in pages] == [5, 5, 5]
    back = pages[2]["previousCursor"]
    assert names([(await server.send("GET", f'/Users?filter=employeeNumber eq "7"&count=2&cursor={back}')).body]) == (
        names([pages[1]])
    )


async def test_a_count_of_zero_asks_for_the_total(server: Server) -> None:
    await fill(server)
    for asked, total in (("", 25), ('filter=title eq "odd"&', 12)):
        page = (await server.send("GET", f"/Users?{asked}count=0&cursor=")).body
        assert (page["totalResults"], page["Resources"]) == (total, [])
        assert "nextCursor" not in page


async def test_a_search_takes_a_cursor(server: Server) -> None:
    await fill(server)
    first = await server.send("POST", "/Users/.search", {"cursor": "", "count": 20})
    second = await server.send("POST", "/Users/.search", {"cursor": first.body["nextCursor"], "count": 20})
    assert sorted(names([first.body, second.body])) == NAMES


@pytest.mark.parametrize("query", ["cursor&count=20", "count=20&cursor", "Cursor=&count=20", "count=20&cursor="])
async def test_an_empty_cursor_asks_for_the_first_page(server: Server, query: str) -> None:
    await fill(server)
    page = (await server.send("GET", f"/Users?{query}")).body
    assert re.fullmatch(r"[A-Za-z0-9._~-]+", page["nextCursor"])
    assert "startIndex" not in page


async def test_a_cursor_is_refused_where_it_is_not_from_here_for_this(server: Server) -> None:
    await fill(server)
    given = (await server.send("GET", "/Users?count=10&cursor=")).body["nextCursor"]
    middle = len(given) // 2
    forged = given[:middle] + ("A" if given[middle] != "A" else "B") + given[middle + 1 :]
    for wrong in ("x", "é", "====", "AAAA", forged, given[:-4]):
        assert_error(await server.send("GET", f"/Users?count=10&cursor={wrong}"), 400, "invalidCursor")
    for asked in ('filter=title eq "odd"&', "filter=title pr&"):
        assert_error(await server.send("GET", f"/Users?{asked}count=10&cursor={given}"), 400, "invalidCursor")
    other = await server.send("GET", f"/Users?count=10&cursor={given}", token=OTHER_TOKEN)
    assert_error(other, 400, "invalidCursor")


def made_up(signature: bytes) -> str:
    """Return a well-formed cursor for ten users that holds almost for ever."""
    held = json.dumps([[1, "a_"], False, 10, 2**40], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(signature + held).rstrip(b"=").decode()


async def test_a_cursor_that_somebody_made_up_is_refused(server: Server) -> None:
    await fill(server)
    given = (await server.send("GET", "/Users?count=10&cursor=")).body["nextCursor"]
    sealed = base64.urlsafe_b64decode(given + "=" * (-len(given) % 4))
    for signature in (sealed[: cursor.MAC], bytes(cursor.MAC)):
        answer = await server.send("GET", f"/Users?count=10&cursor={made_up(signature)}")
        assert_error(answer, 400, "invalidCursor")


@pytest.mark.parametrize("place", [0, cursor.MAC - 1])
async def test_no_part_of_a_signature_is_enough(server: Server, place: int) -> None:
    """One of the bytes that are tried here is right."""
    sign = (await server.main()).keys.sign
    for byte in range(256):
        signature = bytes(byte if at == place else 0 for at in range(cursor.MAC))
        asked = Query.parse({"count": "10", "cursor": made_up(signature)}, USER)
        with pytest.raises(InvalidCursor):
            cursor.open_cursor(asked, sign)


async def test_count_stays_what_it_was(server: Server) -> None:
    await fill(server)
    given = (await server.send("GET", "/Users?count=10&cursor=")).body["nextCursor"]
    for count in ("count=11&", "", "count=ten&"):
        assert_error(await server.send("GET", f"/Users?{count}cursor={given}"), 400, "invalidCount")
    assert_error(await server.send("GET", "/Users?cursor=&count=ten"), 400, "invalidCount")


async def test_a_cursor_expires(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    await fill(server)
    monkeypatch.setattr(cursor, "CURSOR_SECONDS", 0)
    given = (await server.send("GET", "/Users?count=10&cursor=")).body["nextCursor"]
    assert_error(await server.send("GET", f"/Users?count=10&cursor={given}"), 400, "expiredCursor")


async def test_reading_on_and_back_is_the_listing(server: Server) -> None:
    await fill(server)
    directory = await server.main()
    everyone, end = await directory.listing.read_on(listing.START, 100)
    assert (len(everyone), end) == (25, None)
    for at in range(25):
        place = directory.listing.place_of(everyone[at])
        assert (await directory.listing.read_on(place, 3))[0] == everyone[at : at + 3]
        assert await directory.listing.read_back(place, 3) == everyone[max(0, at - 3) : at]


@pytest.mark.parametrize(("order", "expected"), [("ascending", NAMES), ("descending", NAMES[::-1])])
async def test_a_sorted_answer_has_one_order_by_index_and_by_cursor(
    server: Server, order: str, expected: list[str]
) -> None:
    await fill(server)
    asked = f"sortBy=userName&sortOrder={order}&count=10"
    assert names(await walk(server, f"/Users?{asked}")) == expected
    by_index = [(await server.send("GET", f"/Users?{asked}&startIndex={start}")).body for start in (1, 11, 21)]
    assert names(by_index) == expected
    assert {page["totalResults"] for page in by_index} == {25}
    message = {"filter": 'title eq "odd"', "sortBy": "userName", "sortOrder": order}
    odd = await server.send("POST", "/Users/.search", message)
    assert names([odd.body]) == [name for name in expected if int(name[-2:]) % 2]


async def test_too_many_users_are_not_sorted(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 24)
    await fill(server)
    for way in ("", "&cursor="):
        answer = await server.send("GET", f"/Users?sortBy=userName{way}")
        assert_error(answer, 400, "tooMany")
        assert "sortBy" in answer.body["detail"]
    assert (await server.send("GET", '/Users?sortBy=title&filter=userName eq "user01"')).body["totalResults"] == 1


async def test_a_filter_that_reads_too_many_names_a_way_that_finds_them(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 3)
    monkeypatch.setattr(search, "SCAN_PAGE", 3)
    for name in ("ada", "bea", "cyd", "eve"):
        await created(server, name, displayName=name)
    for text, expected in {
        'displayName eq "cyd"': ["cyd"],
        'meta.lastModified gt "2026-01-01T00:00:00Z"': ["ada", "bea", "cyd", "eve"],
    }.items():
        refused = await server.send("GET", f"/Users?filter={text}")
        assert_error(refused, 400, "tooMany")
        assert 'add &cursor= (in a body "cursor": "")' in refused.body["detail"]
        assert sorted(names(await walk(server, f"/Users?filter={text}"))) == expected
        assert (await server.send("POST", "/Users/.search", {"filter": text, "cursor": ""})).status == 200


async def test_what_cannot_be_sorted_is_read_by_cursor_without_it(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room, module in (("Users", search), ("Groups", group_search)):
        monkeypatch.setattr(module, "SCAN_LIMIT", 1)
        for name in ("ada", "bea"):
            body = {"userName": name} if room == "Users" else {"displayName": name}
            assert (await server.send("POST", f"/{room}", body)).status == 201
        refused = await server.send("GET", f"/{room}?sortBy=id")
        assert_error(refused, 400, "tooMany")
        assert "leave sortBy out and read it page by page: add &cursor=" in refused.body["detail"]
        assert sum(len(page["Resources"]) for page in await walk(server, f"/{room}?count=1")) == 2
