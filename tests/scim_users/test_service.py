"""The User endpoint over HTTP: versions, errors, pages and projections, and creates that race."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from scim_users import search
from shared.directory.records.resources import SURE
from shared.scim.limits import MAX_BODY_BYTES, MAX_COUNT
from tests.scim_users.conftest import Answer, Server

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


def user(user_name: str = "ada@contoso.com", /, **more: Any) -> dict[str, Any]:
    return {"schemas": [CORE], "userName": user_name, "active": True, **more}


def replacing(path: str, value: object) -> dict[str, Any]:
    operation = {"op": "replace", "path": path, "value": value}
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}


async def created(server: Server, user_name: str = "ada@contoso.com", /, **more: Any) -> Answer:
    answer = await server.send("POST", "/Users", user(user_name, **more))
    assert answer.status == 201
    return answer


def assert_error(answer: Answer, status: int, scim_type: str | None = None) -> None:
    assert answer.status == status
    assert answer.headers["Content-Type"].startswith("application/scim+json")
    assert (answer.body["schemas"], answer.body["status"]) == ([ERROR], str(status))
    assert answer.body.get("scimType") == scim_type
    assert answer.body["detail"]


async def test_a_create_names_the_resource_and_its_version(server: Server) -> None:
    answer = await created(server)
    assert answer.headers["Location"] == answer.body["meta"]["location"]
    assert answer.headers["ETag"] == answer.body["meta"]["version"]
    read = await server.send("GET", f"/Users/{answer.body['id']}")
    assert (read.body, read.headers["ETag"]) == (answer.body, answer.headers["ETag"])


@pytest.mark.parametrize(
    "shown", [str, lambda tag: tag.removeprefix("W/"), lambda tag: f'"none", {tag}', lambda _: "*"]
)
async def test_a_version_that_the_client_has_is_not_sent_again(server: Server, shown: Any) -> None:
    answer = await created(server)
    path = f"/Users/{answer.body['id']}"
    same = await server.send("GET", path, if_none_match=shown(answer.headers["ETag"]))
    assert (same.status, same.body, same.headers["ETag"]) == (304, None, answer.headers["ETag"])


async def test_a_changed_version_is_sent_again(server: Server) -> None:
    answer = await created(server)
    path, old = f"/Users/{answer.body['id']}", answer.headers["ETag"]
    changed = await server.send("PATCH", path, replacing("title", "Analyst"))
    assert changed.headers["ETag"] != old
    assert (await server.send("GET", path, if_none_match=old)).body["title"] == "Analyst"


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
async def test_if_match_refuses_a_change_to_another_version(server: Server, method: str) -> None:
    answer = await created(server)
    path, old = f"/Users/{answer.body['id']}", answer.headers["ETag"]
    body = {"PATCH": replacing("title", "Dr"), "PUT": user(title="Dr"), "DELETE": None}[method]
    await server.send("PATCH", path, replacing("title", "Analyst"))
    assert_error(await server.send(method, path, body, if_match=old), 412)
    assert (await server.send("GET", path)).body["title"] == "Analyst"
    now = (await server.send("GET", path)).headers["ETag"]
    assert (await server.send(method, path, body, if_match=now)).status in (200, 204)


@pytest.mark.parametrize("method", ["PATCH", "PUT", "DELETE"])
async def test_if_none_match_refuses_a_change_to_the_version_named(server: Server, method: str) -> None:
    answer = await created(server)
    path, tag = f"/Users/{answer.body['id']}", answer.headers["ETag"]
    body = {"PATCH": replacing("title", "Dr"), "PUT": user(title="Dr"), "DELETE": None}[method]
    for named in (tag, "*", f'"a", {tag}'):
        assert_error(await server.send(method, path, body, if_none_match=named), 412)
    assert (await server.send(method, path, body, if_none_match='W/"a"')).status in (200, 204)


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_if_match_takes_a_list_and_any(server: Server, method: str) -> None:
    answer = await created(server)
    path, tag = f"/Users/{answer.body['id']}", answer.headers["ETag"]
    body = {"PATCH": replacing("active", True), "PUT": user(), "GET": None, "DELETE": None}[method]
    opaque = tag.removeprefix("W/")
    for other in ('W/"a"', '"a", "b"', f'"x,{opaque[1:]}', f'"{opaque[1:-1]},x"'):
        assert_error(await server.send(method, path, body, if_match=other), 412)
    for named in ("*", f'"a" ,{tag}', opaque.strip('"')) if method == "GET" else (f'"a,b", {tag}',):
        assert (await server.send(method, path, body, if_match=named)).status in (200, 204)
    assert_error(await server.send(method, "/Users/nobody", body, if_match="*"), 404)


@pytest.mark.parametrize("id", ["0f9a6b6e", "a_b", "%2F..%2F", "x" * 65, "%00", "é"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
async def test_an_unknown_id_is_not_found(server: Server, method: str, id: str) -> None:
    body = {"PATCH": replacing("title", "Dr"), "PUT": user()}.get(method)
    assert_error(await server.send(method, f"/Users/{id}", body), 404)


async def test_a_taken_name_is_a_conflict_that_names_the_attribute(server: Server) -> None:
    await created(server, "ada@contoso.com")
    eve = (await created(server, "eve@contoso.com")).body["id"]
    for method, path, body in (
        ("POST", "/Users", user("ADA@contoso.com")),
        ("PUT", f"/Users/{eve}", user("ada@contoso.com")),
        ("PATCH", f"/Users/{eve}", replacing("userName", "Ada@contoso.com")),
    ):
        answer = await server.send(method, path, body)
        assert_error(answer, 409, "uniqueness")
        assert answer.body["detail"].startswith("userName: ")
    assert (await server.send("GET", f"/Users/{eve}")).body["userName"] == "eve@contoso.com"


async def test_a_body_over_the_limit_is_refused(server: Server) -> None:
    body = b" " * MAX_BODY_BYTES + b"{}"
    assert_error(await server.send("POST", "/Users", body), 413)


async def test_a_user_over_the_limit_of_a_row_is_refused(server: Server) -> None:
    emails = [{"type": "work", "value": "ä" * 500 + str(n)} for n in range(1000)]
    assert_error(await server.send("POST", "/Users", user(emails=emails)), 413)
    assert (await server.send("GET", "/Users")).body["totalResults"] == 0


async def test_a_large_user_is_kept_whole(server: Server) -> None:
    addresses = [{"type": "work", "formatted": "ä" * 100 + str(n)} for n in range(1000)]
    answer = await created(server, addresses=addresses)
    assert (await server.send("GET", f"/Users/{answer.body['id']}")).body["addresses"] == addresses


async def test_a_filter_that_no_index_answers_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 2)
    for name in ("a", "b"):
        await created(server, name, title="Analyst")
    found = await server.send("GET", '/Users?filter=title eq "analyst"')
    assert found.body["totalResults"] == 2
    await created(server, "c")
    assert_error(await server.send("GET", '/Users?filter=title eq "analyst"'), 400, "tooMany")
    assert (await server.send("GET", '/Users?filter=userName eq "c"')).body["totalResults"] == 1


async def test_keys_answer_a_filter_whatever_the_number_of_users(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 2)
    for name in ("ada", "bob", "cyd"):
        emails = [{"type": "work", "value": f"{name}@contoso.com"}, {"type": "home", "value": f"{name}@home.example"}]
        await created(server, name, externalId=f"id-{name}", emails=emails, title="Dr" if name < "c" else "Ms")
    at_work, at_home = "ada@contoso.com", "ada@home.example"
    names = {
        f'emails[value eq "{at_work}"]': ["ada"],
        f'emails[type eq "work" and value eq "{at_work}"]': ["ada"],
        f'emails[type eq "work" and value eq "{at_home}"]': [],
        f'emails[type eq "home" and (value eq "{at_home}" or value eq "bob@home.example")]': ["ada", "bob"],
        f'emails[value eq "{at_home}"].type eq "home"': ["ada"],
        f'emails[value eq "{at_home}"].type pr': ["ada"],
        f'emails[type sw "h"].value eq "{at_home}"': ["ada"],
        f'emails eq "{at_work}" or userName eq "bob"': ["ada", "bob"],
        'userName eq "ada" or externalId eq "id-bob" or userName eq "nobody"': ["ada", "bob"],
        '(userName eq "ada" or userName eq "cyd") and title eq "Dr"': ["ada"],
        'title eq "Dr" and (title pr and (userName eq "bob" or userName eq "cyd"))': ["bob"],
        'userName eq "ada" or userName eq "ada"': ["ada"],
        'id eq "nobody" or userName eq "cyd"': ["cyd"],
    }
    for text, expected in names.items():
        found = await server.send("GET", f"/Users?filter={text}")
        assert found.status == 200, text
        assert sorted(resource["userName"] for resource in found.body["Resources"]) == expected, text
    for text in (
        'userName eq "ada" or title eq "Dr"',
        'not (userName eq "ada")',
        'userName ne "ada"',
        "externalId eq null",
        f'emails[value eq "{at_work}"].type ne "home"',
        f'emails[not (value eq "{at_work}")]',
        'emails[type eq "work"]',
    ):
        assert_error(await server.send("GET", f"/Users?filter={text}"), 400, "tooMany")


async def test_a_name_that_is_taken_is_refused_without_a_write(server: Server, writes: list[str]) -> None:
    """Entra sends it again in every cycle."""
    first = await created(server)
    writes.clear()
    for number in range(3):
        again = user(first.body["userName"].upper(), externalId=f"id-{number}", emails=[{"value": "other@contoso.com"}])
        assert_error(await server.send("POST", "/Users", again), 409, "uniqueness")
    assert writes == []


async def test_after_many_creates_one_refusal_is_announced_and_taken_back(server: Server, writes: list[str]) -> None:
    for number in range(SURE):
        await created(server, f"user{number}")
    for last in (False, True):
        writes.clear()
        assert_error(await server.send("POST", "/Users", user("user0", externalId="id")), 409, "uniqueness")
        assert (writes == []) == last
    assert (await server.send("GET", '/Users?filter=externalId eq "id"')).body["totalResults"] == 0


async def test_every_operator_finds_what_it_should(server: Server) -> None:
    await created(server, "ada@contoso.com", title="Analyst", emails=[{"value": "ada@home.example"}])
    await created(server, "bob@contoso.com", active=False)
    names = {
        'userName sw "ada"': ["ada@contoso.com"],
        'userName co "@contoso"': ["ada@contoso.com", "bob@contoso.com"],
        "title pr": ["ada@contoso.com"],
        "not (title pr)": ["bob@contoso.com"],
        "active eq false": ["bob@contoso.com"],
        'emails.value ew "home.example" or active eq false': ["ada@contoso.com", "bob@contoso.com"],
        'meta.created gt "2020-01-01T00:00:00Z" and userName ne "ada@contoso.com"': ["bob@contoso.com"],
        'userName eq "ada@contoso.com" and active eq false': [],
    }
    for text, expected in names.items():
        found = await server.send("GET", f"/Users?filter={text}")
        assert sorted(resource["userName"] for resource in found.body["Resources"]) == expected, text


async def test_pages_hold_every_user_once_and_echo_what_was_asked(server: Server) -> None:
    names = {f"user{n:02}@contoso.com" for n in range(12)}
    for name in names:
        await created(server, name)
    seen: list[str] = []
    for start in (1, 6, 11):
        page = (await server.send("GET", f"/Users?startIndex={start}&count=5")).body
        assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (12, start, len(page["Resources"]))
        seen += [resource["userName"] for resource in page["Resources"]]
    assert len(seen) == 12
    assert set(seen) == names


@pytest.mark.parametrize(
    ("asked", "start", "items"),
    [
        ("startIndex=0", 1, 3),
        ("startIndex=-4&count=-1", 1, 0),
        (f"count={MAX_COUNT * 9}", 1, 3),
        ("startIndex=99", 99, 0),
    ],
)
async def test_paging_outside_the_bounds_is_brought_inside(server: Server, asked: str, start: int, items: int) -> None:
    for name in "abc":
        await created(server, name)
    page = (await server.send("GET", f"/Users?{asked}")).body
    assert (page["totalResults"], page["startIndex"], page["itemsPerPage"]) == (3, start, items)


async def test_paging_by_what_is_no_integer_is_refused(server: Server) -> None:
    assert_error(await server.send("GET", "/Users?count=five"), 400, "invalidValue")


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("attributes=userName", {"schemas", "id", "userName"}),
        ("attributes=name.givenName,meta.version", {"schemas", "id", "name", "meta"}),
        ("attributes=favouriteColour", {"schemas", "id"}),
        ("excludedAttributes=name,meta,id,emails", {"schemas", "id", "userName", "active"}),
    ],
)
async def test_a_projection_holds_for_a_resource_a_page_and_a_change(
    server: Server, asked: str, names: set[str]
) -> None:
    full = await created(server, name={"givenName": "Ada", "familyName": "L"}, emails=[{"value": "a@contoso.com"}])
    path = f"/Users/{full.body['id']}?{asked}"
    answers = [
        (await server.send("GET", path)).body,
        (await server.send("GET", f"/Users?{asked}")).body["Resources"][0],
        (await server.send("GET", f'/Users?filter=userName eq "ada@contoso.com"&{asked}')).body["Resources"][0],
        (await server.send("PATCH", path, replacing("active", True))).body,
    ]
    assert [set(answer) for answer in answers] == [names] * 4


async def test_of_many_creates_of_one_name_in_mixed_case_one_wins(server: Server) -> None:
    name = "ada@contoso.com"
    names = ["".join(c.upper() if number >> i & 1 else c for i, c in enumerate(name)) for number in range(20)]
    answers = await asyncio.gather(*(server.send("POST", "/Users", user(name)) for name in names))
    assert sorted(answer.status for answer in answers) == [201] + [409] * 19
    assert {answer.body.get("scimType") for answer in answers} == {None, "uniqueness"}
    assert (await server.send("GET", "/Users")).body["totalResults"] == 1


async def test_changes_at_once_are_all_kept(server: Server) -> None:
    path = f"/Users/{(await created(server)).body['id']}"
    attributes = ("title", "displayName", "nickName", "locale")
    answers = await asyncio.gather(*(server.send("PATCH", path, replacing(name, "x")) for name in attributes))
    assert {answer.status for answer in answers} == {200}
    assert (await server.send("GET", path)).body.keys() >= set(attributes)


async def test_a_change_that_changes_nothing_keeps_the_version(server: Server) -> None:
    answer = await created(server, title="Analyst")
    again = await server.send("PATCH", f"/Users/{answer.body['id']}", replacing("title", "Analyst"))
    assert (again.status, again.headers["ETag"]) == (200, answer.headers["ETag"])


async def test_a_manager_is_shown_in_full_as_he_was_when_he_was_set(server: Server) -> None:
    eve = (await created(server, "eve@contoso.com", displayName="Eve")).body["id"]
    ada = await created(server, **{ENTERPRISE: {"manager": eve}})
    shown = {"value": eve, "$ref": f"../Users/{eve}", "displayName": "Eve"}
    assert ada.body[ENTERPRISE] == {"manager": shown}
    await server.send("PATCH", f"/Users/{eve}", replacing("displayName", "Eve King"))
    path = f"/Users/{ada.body['id']}"
    assert (await server.send("GET", path)).body[ENTERPRISE]["manager"] == shown
    await server.send("PATCH", path, replacing(f"{ENTERPRISE}:manager", ""))
    set_again = await server.send("PATCH", path, replacing(f"{ENTERPRISE}:manager", eve))
    assert set_again.body[ENTERPRISE]["manager"] == shown | {"displayName": "Eve King"}


async def test_a_reference_does_not_outlive_its_manager(server: Server) -> None:
    eve = (await created(server, "eve@contoso.com", displayName="Eve")).body["id"]
    bob = (await created(server, "bob@contoso.com")).body["id"]
    sent = {"value": eve, "$ref": f"https://contoso.com/Users/{eve}"}
    ada = await created(server, **{ENTERPRISE: {"manager": sent}})
    assert ada.body[ENTERPRISE]["manager"] == sent | {"displayName": "Eve"}
    path = f"/Users/{ada.body['id']}"
    changed = await server.send("PATCH", path, replacing(f"{ENTERPRISE}:manager.value", bob))
    assert changed.body[ENTERPRISE]["manager"] == {"value": bob, "$ref": f"../Users/{bob}"}


async def test_what_was_read_can_be_put_back_without_a_change(server: Server) -> None:
    eve = (await created(server, "eve@contoso.com", displayName="Eve")).body["id"]
    ada = await created(server, **{ENTERPRISE: {"manager": {"value": eve}}})
    again = await server.send("PUT", f"/Users/{ada.body['id']}", ada.body)
    assert (again.status, again.body, again.headers["ETag"]) == (200, ada.body, ada.headers["ETag"])


@pytest.mark.parametrize("manager", ["nobody", "../x", "x" * 300])
async def test_a_manager_who_is_no_user_here_is_kept_as_he_came(server: Server, manager: str) -> None:
    ada = await created(server, **{ENTERPRISE: {"manager": {"value": manager}}})
    assert ada.body[ENTERPRISE]["manager"] == {"value": manager}


@pytest.mark.parametrize("parameter", ["attributes=foo..bar", "excludedAttributes=foo..bar"])
async def test_a_request_that_asks_for_no_attribute_changes_nothing(server: Server, parameter: str) -> None:
    body = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@contoso.com"}
    assert (await server.send("POST", f"/Users?{parameter}", body)).status == 400
    assert (await server.send("GET", "/Users")).body["totalResults"] == 0
    created = (await server.send("POST", "/Users", body)).body
    assert (await server.send("PUT", f"/Users/{created['id']}?{parameter}", body | {"title": "Dr"})).status == 400
    assert (await server.send("GET", f"/Users/{created['id']}")).body == created
