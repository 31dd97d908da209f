"""The Group endpoint over HTTP: members in every shape, versions, errors, filters and large groups."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from scim_groups import search, service
from shared.directory.keys import Key
from shared.directory.records.members import Member
from shared.directory.records.model import Group, Status
from shared.directory.records.resources import SURE
from tests.scim_users.conftest import Answer, Server

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


def operations(*items: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(items)}


def adding(*ids: str) -> dict[str, Any]:
    return operations({"op": "add", "path": "members", "value": [{"value": member} for member in ids]})


async def created(server: Server, name: str = "Sales", **more: Any) -> Any:
    answer = await server.send("POST", "/Groups", {"schemas": [GROUP], "displayName": name, **more})
    assert answer.status == 201, answer.body
    return answer.body


async def a_user(server: Server, name: str, **more: Any) -> str:
    return str((await server.send("POST", "/Users", {"userName": name, **more})).body["id"])


async def members(server: Server, group: str) -> list[str]:
    body = (await server.send("GET", f"/Groups/{group}")).body
    return [member["value"] for member in body.get("members", [])]


def assert_error(answer: Answer, status: int, scim_type: str | None = None) -> None:
    assert (answer.status, answer.body.get("scimType")) == (status, scim_type)
    assert answer.body["detail"]


async def test_a_group_is_created_with_members_and_read_back(server: Server) -> None:
    ada = await a_user(server, "ada", displayName="Ada L")
    group = await created(server, members=[{"value": ada}, {"value": ada}])
    assert [member["display"] for member in group["members"]] == ["Ada L"]
    read = await server.send("GET", f"/Groups/{group['id']}")
    assert read.body == group
    assert read.headers["ETag"] == group["meta"]["version"]


async def test_a_protected_member_is_in_the_group_without_a_name(server: Server) -> None:
    ada = await a_user(server, "ada", displayName="Ada L")
    group = await created(server, members=[{"value": ada}])
    directory = await server.main()
    account = await directory.accounts.get(ada)
    await directory.accounts.replace(account, replace(account, protected=True), by="an administrator")
    for path in (f"/Groups/{group['id']}", '/Groups?filter=displayName eq "Sales"'):
        body = (await server.send("GET", path)).body
        (member,) = (body if "id" in body else body["Resources"][0])["members"]
        assert (member["value"], "display" in member) == (ada, False)


async def test_a_change_of_members_is_a_new_version(server: Server) -> None:
    ada = await a_user(server, "ada")
    group = await created(server)
    path = f"/Groups/{group['id']}"
    changed = await server.send("PATCH", path, adding(ada), if_match=group["meta"]["version"])
    assert changed.headers["ETag"] == changed.body["meta"]["version"] != group["meta"]["version"]
    assert changed.body["meta"]["lastModified"] >= group["meta"]["lastModified"]
    assert_error(await server.send("PATCH", path, adding(ada), if_match=group["meta"]["version"]), 412)
    same = await server.send("GET", path, if_none_match=changed.headers["ETag"])
    assert same.status == 304


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "members", "value": [{"value": "361f2594-8a43-46bc-9c61-82862af64aca"}]},
        {"op": "remove", "path": 'members[value eq "nobody"]'},
        {"op": "remove", "path": 'members[type eq "Group"]'},
        {"op": "add", "path": "members", "value": []},
        {"op": "replace", "path": "displayName", "value": "Sales"},
        {"op": "replace", "path": "nonsense", "value": 1},
    ],
)
async def test_what_changes_nothing_leaves_the_version(server: Server, operation: dict[str, Any]) -> None:
    group = await created(server, members=[{"value": await a_user(server, "ada")}])
    answer = await server.send("PATCH", f"/Groups/{group['id']}", operations(operation))
    assert (answer.status, answer.body) == (200, group)


@pytest.mark.parametrize(
    ("op", "path", "names"),
    [
        ("add", "members", ["ada"]),
        ("add", "members", ["ada", "bob", "ada"]),
        ("replace", "members", ["bob", "ada"]),
        ("add", 'members[value eq "{ada}"]', ["ada"]),
        ("replace", 'members[value eq "{ada}"]', ["ada"]),
    ],
)
async def test_who_is_in_already_changes_nothing(server: Server, op: str, path: str, names: list[str]) -> None:
    ids = {name: await a_user(server, name) for name in ("ada", "bob")}
    value = [{"value": ids[name], "display": "Another name"} for name in names]
    group = await created(server, members=[{"value": ids[name], "display": name} for name in ids])
    answer = await server.send(
        "PATCH", f"/Groups/{group['id']}", operations({"op": op, "path": path.format(**ids), "value": value})
    )
    assert (answer.status, answer.body) == (200, group)
    put = {"displayName": "Sales", "members": [{"value": ids["bob"]}, {"value": ids["ada"]}]}
    assert (await server.send("PUT", f"/Groups/{group['id']}", put)).body == group
    assert (await server.send("GET", f"/Groups/{group['id']}")).body == group


async def test_of_who_comes_with_those_who_are_in_only_the_new_one_moves(server: Server) -> None:
    ids = [await a_user(server, f"user{n}") for n in range(250)]
    group = await created(server, members=[{"value": member} for member in ids[::2]])
    changed = await server.send("PATCH", f"/Groups/{group['id']}?attributes=members", adding(*ids))
    assert changed.headers["ETag"] != group["meta"]["version"]
    assert [member["value"] for member in changed.body["members"]] == sorted(ids)


@pytest.mark.parametrize("value", ["", [], {}, [""], [None], [{}]])
async def test_a_removal_that_names_nobody_is_refused(server: Server, value: object) -> None:
    group = await created(server, members=[{"value": await a_user(server, "ada")}])
    path = f"/Groups/{group['id']}"
    answer = await server.send("PATCH", path, operations({"op": "remove", "path": "members", "value": value}))
    assert_error(answer, 400, "invalidValue")
    assert (await server.send("GET", path)).body == group


@pytest.mark.parametrize("op", ["add", "Replace"])
@pytest.mark.parametrize("value", [{"value": "{bob}"}, [{"value": "{bob}"}], "", {"display": "x"}])
async def test_who_is_replaced_must_be_a_member(server: Server, op: str, value: Any) -> None:
    ada, bob, eve = [await a_user(server, name) for name in ("ada", "bob", "eve")]
    group = await created(server, members=[{"value": ada}])
    path, value = f"/Groups/{group['id']}", json.loads(json.dumps(value).replace("{bob}", bob))
    name = {"op": "replace", "path": "displayName", "value": "Research"}
    for nobody in (eve, "Z"):
        wrong = {"op": op, "path": f'members[value eq "{nobody}"]', "value": value}
        answer = await server.send("PATCH", path, operations(name, wrong))
        assert_error(answer, 400, "noTarget")
        assert answer.body["detail"].startswith("Operation 2: ")
        assert (await server.send("GET", path)).body == group
    right = {"op": op, "path": f'members[value eq "{ada}"]', "value": value}
    assert (await server.send("PATCH", path, operations(right))).status == 200
    names_bob, replaces = bob in json.dumps(value), op == "Replace" and value != {"display": "x"}
    assert await members(server, group["id"]) == sorted(([] if replaces else [ada]) + ([bob] if names_bob else []))


WRONG = {
    "another message": {"schemas": [GROUP], "Operations": [{"op": "replace", "path": "displayName", "value": "x"}]},
    "an unknown operation": operations({"op": "move", "path": "displayName"}),
    "no path": operations({"op": "replace", "path": "display name", "value": "x"}),
    "no value of its type": operations({"op": "replace", "path": "displayName", "value": {}}),
    "no member": operations({"op": "add", "path": "members", "value": 7}),
    "nobody to remove": operations({"op": "remove", "path": "members", "value": ""}),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("id", ["nobody", "361f2594-8a43-86bc-9c61-82862af64aca"])
async def test_a_wrong_body_is_wrong_for_a_group_that_is_not_there(server: Server, wrong: str, id: str) -> None:
    for path in (f"/Groups/{id}", f"/Groups/{(await created(server, wrong))['id']}"):
        assert (await server.send("PATCH", path, WRONG[wrong])).status == 400
    assert_error(await server.send("PUT", f"/Groups/{id}", {"displayName": {}}), 400, "invalidValue")


async def test_a_put_replaces_document_and_members(server: Server) -> None:
    ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
    group = await created(server, externalId="x", members=[{"value": ada}])
    path = f"/Groups/{group['id']}"
    put = await server.send("PUT", path, {"displayName": "Research", "members": [{"value": bob}]})
    assert (put.status, put.body["displayName"], "externalId" in put.body) == (200, "Research", False)
    assert await members(server, group["id"]) == [bob]
    assert (await server.send("PUT", path, {"displayName": "Research"})).status == 200
    assert await members(server, group["id"]) == []


@pytest.mark.parametrize("method", ["GET", "PATCH", "PUT", "DELETE"])
@pytest.mark.parametrize("id", ["0f9a6b6e", "x" * 65, "é", "361f2594-8a43-86bc-9c61-82862af64aca"])
async def test_an_unknown_group_is_not_found(server: Server, method: str, id: str) -> None:
    body = {"PATCH": adding("361f2594-8a43-46bc-9c61-82862af64aca"), "PUT": {"displayName": "x"}}.get(method)
    assert_error(await server.send(method, f"/Groups/{id}", body), 404)


async def test_a_patch_of_a_group_that_is_not_there_leaves_no_trace(server: Server) -> None:
    ada, gone = await a_user(server, "ada"), "361f2594-8a43-86bc-9c61-82862af64aca"
    assert_error(await server.send("PATCH", f"/Groups/{gone}", adding(ada)), 404)
    assert await (await server.main()).members.first(gone, 1) == []
    assert (await server.send("GET", f"/Users/{ada}")).body.get("groups") is None


async def test_a_user_is_no_group_and_a_group_no_user(server: Server) -> None:
    ada, group = await a_user(server, "ada"), (await created(server))["id"]
    assert_error(await server.send("GET", f"/Groups/{ada}"), 404)
    assert_error(await server.send("GET", f"/Users/{group}"), 404)


async def test_a_name_is_taken_without_regard_to_case(server: Server) -> None:
    await created(server, "Sales")
    other = f"/Groups/{(await created(server, 'Research'))['id']}"
    for method, path, body in (
        ("POST", "/Groups", {"displayName": "SALES"}),
        ("PUT", other, {"displayName": "sALES"}),
        ("PATCH", other, operations({"op": "replace", "path": "displayName", "value": "sales"})),
    ):
        answer = await server.send(method, path, body)
        assert_error(answer, 409, "uniqueness")
        assert answer.body["detail"].startswith("displayName: ")


async def test_of_many_creates_of_one_name_one_wins(server: Server) -> None:
    sent = [server.send("POST", "/Groups", {"displayName": name}) for name in ("sales", "Sales", "SALES") * 5]
    answers = await asyncio.gather(*sent)
    assert sorted(answer.status for answer in answers) == [201] + [409] * 14
    assert (await server.send("GET", "/Groups")).body["totalResults"] == 1


async def test_a_refused_patch_changes_no_members(server: Server) -> None:
    ada = await a_user(server, "ada")
    await created(server, "Taken")
    group = (await created(server))["id"]
    taken = operations(
        {"op": "add", "path": "members", "value": [{"value": ada}]},
        {"op": "replace", "path": "displayName", "value": "taken"},
    )
    assert_error(await server.send("PATCH", f"/Groups/{group}", taken), 409, "uniqueness")
    assert await members(server, group) == []
    assert (await server.send("GET", f"/Users/{ada}")).body.get("groups") is None


@pytest.mark.parametrize("value", [[{"display": "Ada"}], 7, [{"value": 7}], [[]]])
async def test_what_is_no_member_is_refused_and_named(server: Server, value: Any) -> None:
    group = (await created(server))["id"]
    body = operations({"op": "add", "path": "members", "value": value})
    answer = await server.send("PATCH", f"/Groups/{group}", body)
    assert_error(answer, 400, "invalidValue")
    assert "members" in answer.body["detail"]


async def test_members_who_are_nobody_are_not_shown(server: Server) -> None:
    ada = await a_user(server, "ada")
    group = (await created(server))["id"]
    body = adding(ada, "nobody", "../x", "0" * 300, "361f2594-8a43-46bc-9c61-82862af64aca")
    assert (await server.send("PATCH", f"/Groups/{group}", body)).status == 200
    assert await members(server, group) == [ada]


async def test_members_leave_by_any_filter(server: Server) -> None:
    ada, inner = await a_user(server, "ada"), (await created(server, "Inner"))["id"]
    group = (await created(server, members=[{"value": ada}, {"value": inner}]))["id"]
    leaving = operations({"op": "remove", "path": 'members[type eq "Group"]'})
    assert (await server.send("PATCH", f"/Groups/{group}", leaving)).status == 200
    assert await members(server, group) == [ada]


async def test_filters_find_groups_by_name_id_key_and_member(server: Server) -> None:
    ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
    sales = (await created(server, "Sales", externalId="s", members=[{"value": ada}]))["id"]
    await created(server, "Research", externalId="r", members=[{"value": ada}, {"value": bob}])
    names = {
        'displayName eq "sales"': ["Sales"],
        'externalId eq "r"': ["Research"],
        f'id eq "{sales}"': ["Sales"],
        f'members eq "{ada}"': ["Research", "Sales"],
        f'members.value eq "{bob}"': ["Research"],
        f'members[value eq "{bob}"]': ["Research"],
        f'id eq "{sales}" and members.value eq "{bob}"': [],
        f'displayName sw "s" and members eq "{ada}"': ["Sales"],
        f'members eq "{bob}" or displayName eq "Sales"': ["Research", "Sales"],
        f'members eq "{bob}" or members[value eq "{ada}" or value eq "x"]': ["Research", "Sales"],
        f'(members eq "{bob}" or members eq "nobody") and externalId sw "r"': ["Research"],
        f'not (members eq "{bob}")': ["Sales"],
        'members.display co "x"': [],
        "members pr": ["Research", "Sales"],
        'members eq "nobody"': [],
    }
    for text, expected in names.items():
        found = (await server.send("GET", f"/Groups?filter={text}")).body["Resources"]
        assert sorted(group["displayName"] for group in found) == expected, text


async def test_a_filter_that_no_index_answers_is_bounded(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 1)
    await created(server, "a")
    await created(server, "b")
    assert_error(await server.send("GET", '/Groups?filter=displayName sw "a"'), 400, "tooMany")


async def test_keys_answer_a_filter_whatever_the_number_of_groups(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 1)
    ada = await a_user(server, "ada")
    for name in ("Sales", "Research", "Legal"):
        await created(server, name, externalId=f"id-{name}", members=[{"value": ada}] if name == "Legal" else [])
    names = {
        'displayName eq "sales" or externalId eq "id-Research"': ["Research", "Sales"],
        f'displayName eq "Sales" or members.value eq "{ada}"': ["Legal", "Sales"],
        f'externalId sw "id" and (members eq "{ada}" or displayName eq "Sales") and displayName pr': ["Legal", "Sales"],
        'displayName eq "Sales" and displayName eq "Legal"': [],
    }
    for text, expected in names.items():
        for more in ("", "&excludedAttributes=members"):
            found = await server.send("GET", f"/Groups?filter={text}{more}")
            assert sorted(group["displayName"] for group in found.body["Resources"]) == expected, text
    assert_error(await server.send("GET", f'/Groups?filter=members eq "{ada}" or externalId sw "x"'), 400, "tooMany")


async def test_a_name_that_is_taken_is_refused_without_a_write(server: Server, writes: list[str]) -> None:
    ada = await a_user(server, "ada")
    await created(server)
    writes.clear()
    body = {"schemas": [GROUP], "displayName": "SALES", "externalId": "id", "members": [{"value": ada}]}
    assert_error(await server.send("POST", "/Groups", body), 409, "uniqueness")
    assert writes == []


async def test_what_was_announced_of_a_refused_group_is_taken_back(server: Server, writes: list[str]) -> None:
    ada = await a_user(server, "ada")
    for number in range(SURE):
        await created(server, f"Group {number}")
    writes.clear()
    body = {"schemas": [GROUP], "displayName": "group 1", "externalId": "id", "members": [{"value": ada}]}
    assert_error(await server.send("POST", "/Groups", body), 409, "uniqueness")
    assert writes, "it was expected to be made"
    directory = await server.main()
    assert await directory.groups.list_by(Key("externalId", "id")) == []
    assert await directory.members.held(await directory.members.indexed([ada])) == [False]
    assert "groups" not in (await server.send("GET", f"/Users/{ada}")).body


async def test_a_filter_that_asks_for_too_many_members_is_bounded(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
    for name in ("a", "b"):
        await created(server, name, members=[{"value": ada}, {"value": bob}])
    monkeypatch.setattr(search, "MEMBER_LIMIT", 3)
    for text in ('members.display co "x"', f'not (members eq "{ada}" or members eq "{bob}")'):
        answer = await server.send("GET", f"/Groups?filter={text}&excludedAttributes=members")
        assert_error(answer, 400, "tooMany")
    either = f'members eq "{ada}" or members eq "nobody"'
    monkeypatch.setattr(search, "MEMBER_LIMIT", 4)
    monkeypatch.setattr(search, "SCAN_LIMIT", 0)
    found = await server.send("GET", f"/Groups?filter={either}&excludedAttributes=members")
    assert found.body["totalResults"] == 2, "the index answers it"


async def test_a_page_with_too_many_members_names_the_remedy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "MEMBER_LIMIT", 1)
    ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
    await created(server, members=[{"value": ada}, {"value": bob}])
    answer = await server.send("GET", "/Groups")
    assert_error(answer, 400, "tooMany")
    assert "excludedAttributes=members" in answer.body["detail"]
    assert (await server.send("GET", "/Groups?excludedAttributes=members")).body["totalResults"] == 1


async def test_a_large_group_is_shown_whole_and_patched_without_a_body(server: Server) -> None:
    group = (await created(server))["id"]
    ids = [f"{n % 256:02x}000000-0000-4000-8000-{n:012x}" for n in range(2_500)]
    for at in range(0, len(ids), 500):
        answer = await server.send("PATCH", f"/Groups/{group}", adding(*ids[at : at + 500]))
    assert (answer.status, answer.body) == (204, None)
    assert answer.headers["ETag"] == (await server.send("GET", f"/Groups/{group}")).headers["ETag"]
    assert await members(server, group) == sorted(ids)
    some = await server.send("GET", f'/Groups/{group}?attributes=members[value eq "{ids[7]}"].type')
    assert some.body["members"] == [{"type": "User"}]
    named = await server.send("PATCH", f"/Groups/{group}?attributes=members.value", adding(ids[0]))
    assert (named.status, len(named.body["members"])) == (200, 2_500), "RFC 7644 section 3.5.2: attributes are answered"
    out = operations({"op": "remove", "path": "members", "value": [{"value": member} for member in ids[:1_000]]})
    await server.send("PATCH", f"/Groups/{group}", out)
    assert await members(server, group) == sorted(ids[1_000:])


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ("attributes=displayName", {"schemas", "id", "displayName"}),
        ("attributes=members.value", {"schemas", "id", "members"}),
        ("excludedAttributes=members,meta", {"schemas", "id", "displayName"}),
    ],
)
async def test_a_projection_holds_for_a_group_a_page_and_a_change(server: Server, asked: str, names: set[str]) -> None:
    ada = await a_user(server, "ada")
    group = (await created(server, members=[{"value": ada}]))["id"]
    answers = [
        (await server.send("GET", f"/Groups/{group}?{asked}")).body,
        (await server.send("GET", f"/Groups?{asked}")).body["Resources"][0],
        (await server.send("PATCH", f"/Groups/{group}?{asked}", adding(ada))).body,
    ]
    assert [set(answer) for answer in answers] == [names] * 3
    assert all(answer.get("members", [{"value": ada}]) == [{"value": ada}] for answer in answers)


async def test_adds_at_once_are_all_kept(server: Server) -> None:
    ids = [await a_user(server, f"user{n}") for n in range(8)]
    path = f"/Groups/{(await created(server))['id']}"
    answers = await asyncio.gather(*(server.send("PATCH", path, adding(member)) for member in ids))
    assert {answer.status for answer in answers} == {200}
    assert sorted(await members(server, path.rpartition("/")[2])) == sorted(ids)


async def test_users_in_a_page_show_their_groups(server: Server) -> None:
    ids = [await a_user(server, f"user{n}") for n in range(6)]
    sales = (await created(server, "Sales", members=[{"value": member} for member in ids[:3]]))["id"]
    await created(server, "Research", members=[{"value": ids[0]}])
    page = (await server.send("GET", "/Users")).body["Resources"]
    shown = {user["id"]: sorted(group["display"] for group in user.get("groups", [])) for user in page}
    assert [shown[member] for member in ids] == [["Research", "Sales"], ["Sales"], ["Sales"], [], [], []]
    one = await server.send("GET", f"/Users/{ids[1]}?attributes=groups")
    ref = f"{server.url}/scim/v2/Groups/{sales}"
    assert one.body["groups"] == [{"value": sales, "$ref": ref, "display": "Sales", "type": "direct"}]
    assert "groups" not in (await server.send("GET", f"/Users/{ids[1]}?excludedAttributes=groups")).body


async def test_a_user_whose_groups_changed_has_another_version_to_a_reader(server: Server) -> None:
    ada = f"/Users/{await a_user(server, 'ada')}"
    sales = (await created(server, "Sales"))["id"]
    plain = (await server.send("GET", ada)).headers["ETag"]
    seen = {plain}

    async def read_anew(before: str) -> str:
        """Read as one who has a version; returns the new one."""
        answer = await server.send("GET", ada, if_none_match=before)
        assert (answer.status, answer.body["meta"]["version"]) == (200, answer.headers["ETag"])
        assert (await server.send("GET", ada, if_none_match=f'"x", {answer.headers["ETag"]}')).status == 304
        listed = (await server.send("GET", "/Users")).body["Resources"][0]
        assert listed["meta"]["version"] == answer.headers["ETag"]
        return str(answer.headers["ETag"])

    await server.send("PATCH", f"/Groups/{sales}", adding(ada.rpartition("/")[2]))
    seen.add(inside := await read_anew(plain))
    rename = operations({"op": "replace", "path": "displayName", "value": "Legal"})
    await server.send("PATCH", f"/Groups/{sales}", rename)
    seen.add(renamed := await read_anew(inside))
    assert len(seen) == 3
    title = operations({"op": "replace", "path": "title", "value": "Dr"})
    assert (await server.send("PATCH", ada, title, if_match=inside)).status == 200, (
        "groups are not the user's to change"
    )
    assert_error(await server.send("PATCH", ada, title, if_match=inside), 412)
    await server.send("DELETE", f"/Groups/{sales}")
    last = await read_anew(renamed)
    without = await server.send("GET", f"{ada}?excludedAttributes=groups")
    assert without.headers["ETag"] == last


async def a_local_group(server: Server, member: str) -> str:
    directory = await server.main()
    new = Group.new(
        directory.groups.keys.new_id("Staff"), {"displayName": "Staff"}, Status.LOCAL, "2025-01-01T00:00:00.000Z"
    )
    await directory.members.add(new.id, [Member(member)])
    return (await directory.groups.create(new, by="test")).id


async def test_a_local_group_is_not_taken_over(server: Server) -> None:
    group = await a_local_group(server, await a_user(server, "ada"))
    answer = await server.send("POST", "/Groups", {"displayName": "STAFF", "externalId": "x"})
    assert_error(answer, 409, "uniqueness")
    assert "linkGroupsOnCreate" in answer.body["detail"]
    for method, body in (("PATCH", adding("x")), ("PUT", {"displayName": "x"}), ("DELETE", None)):
        assert_error(await server.send(method, f"/Groups/{group}", body), 403)


async def test_a_local_group_is_linked_where_the_policy_says_so(server: Server) -> None:
    ada = await a_user(server, "ada")
    group = await a_local_group(server, ada)
    policy = {**(await (await server.main()).policies.get()).to_json(), "linkGroupsOnCreate": True}
    token = "admin-token-of-main"
    url = f"{server.url}/directory/policy"
    async with server.session.put(url, json=policy, headers={"Authorization": f"Bearer {token}"}) as answer:
        assert answer.status in (200, 204)
    linked = await created(server, "STAFF", externalId="x")
    assert (linked["id"], linked["displayName"], linked["externalId"]) == (group, "STAFF", "x")
    assert await members(server, group) == [ada]
    assert (await server.send("DELETE", f"/Groups/{group}")).status == 204


async def test_a_deleted_group_leaves_nothing_behind(server: Server) -> None:
    ada = await a_user(server, "ada")
    group = (await created(server, members=[{"value": ada}]))["id"]
    assert (await server.send("DELETE", f"/Groups/{group}")).status == 204
    directory = await server.main()
    assert await directory.members.first(group, 10) == []


async def test_a_directory_does_not_see_anothers_groups(server: Server) -> None:
    group = (await created(server))["id"]
    for path in (f"/Groups/{group}", '/Groups?filter=displayName eq "Sales"'):
        other = await server.send("GET", path, token="scim-token-of-other")
        assert other.status == 404 or other.body["totalResults"] == 0
