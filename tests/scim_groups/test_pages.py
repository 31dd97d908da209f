"""Pages of groups by cursor (RFC 9865), and of the members of a group: as users filtered by their group."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scim_groups import search
from scim_users import search as users
from shared.directory.keys import Key
from tests.scim_groups.test_service import a_user, adding, assert_error, created, operations
from tests.scim_users.conftest import Server, walk

NAMES = [f"group{n:02}" for n in range(12)]


def names(pages: list[dict[str, Any]], attribute: str = "displayName") -> list[str]:
    return [resource[attribute] for page in pages for resource in page["Resources"]]


async def test_pages_hold_every_group_once_there_and_back(server: Server) -> None:
    for name in NAMES:
        await created(server, name)
    forth = await walk(server, "/Groups?count=5")
    assert sorted(names(forth)) == NAMES
    assert [(page["totalResults"], page["itemsPerPage"]) for page in forth] == [(12, 5), (12, 5), (12, 2)]
    back = (await server.send("GET", f"/Groups?count=5&cursor={forth[2]['previousCursor']}")).body
    assert names([back]) == names([forth[1]])
    for gone in forth[0]["Resources"]:
        await server.send("DELETE", f"/Groups/{gone['id']}")
    rest = await walk(server, "/Groups?count=5", forth[0]["nextCursor"])
    assert names(rest) == names(forth[1:])


@pytest.mark.parametrize("rows", [1, 4, 500])
async def test_a_filter_without_a_key_is_read_page_by_page(
    server: Server, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(search, "SCAN_LIMIT", 3)
    monkeypatch.setattr(search, "SCAN_PAGE", rows)
    for number, name in enumerate(NAMES):
        await created(server, name, externalId="odd" if number % 2 else "even")
    answer = await server.send("GET", '/Groups?filter=externalId sw "o"')
    assert_error(answer, 400, "tooMany")
    assert "cursor" in answer.body["detail"]
    assert sorted(names(await walk(server, '/Groups?filter=externalId sw "o"&count=2'))) == NAMES[1::2]


async def test_sorted_groups_have_one_order_by_index_and_by_cursor(server: Server) -> None:
    for name in NAMES:
        await created(server, name)
    asked = "/Groups?sortBy=displayName&sortOrder=descending&count=5"
    assert names(await walk(server, asked)) == NAMES[::-1]
    assert names([(await server.send("GET", f"{asked}&startIndex={at}")).body for at in (1, 6, 11)]) == NAMES[::-1]


async def test_groups_are_found_by_their_version_and_time(server: Server) -> None:
    ada = await a_user(server, "ada")
    group = await created(server, "Sales")
    changed = (await server.send("PATCH", f"/Groups/{group['id']}", adding(ada))).body
    for attribute in ("version", "lastModified"):
        value = changed["meta"][attribute].replace('"', '\\"')
        found = await server.send("GET", f'/Groups?filter=meta.{attribute} eq "{value}"')
        assert found.body["Resources"] == [changed], attribute
    old = group["meta"]["version"].replace('"', '\\"')
    assert (await server.send("GET", f'/Groups?filter=meta.version eq "{old}"')).body["totalResults"] == 0


async def filled(server: Server) -> tuple[str, list[str]]:
    """Return a group with ten users, a group and a nobody, and the users' names."""
    people = [f"user{n}" for n in range(10)]
    inside = [await a_user(server, name, title="Dr" if name > "user6" else "Mr") for name in people]
    await a_user(server, "outside")
    inner = (await created(server, "Inner"))["id"]
    group = (await created(server, "Sales"))["id"]
    nobody = "361f2594-8a43-46bc-9c61-82862af64aca"
    assert (await server.send("PATCH", f"/Groups/{group}", adding(*inside, inner, nobody))).status == 200
    return group, people


FORMS = ('groups.value eq "{}"', 'groups eq "{}"', 'groups[value eq "{}"]')


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [3, 2_000])
async def test_a_client_pages_through_the_members_of_a_group(
    server: Server, monkeypatch: pytest.MonkeyPatch, form: str, rows: int
) -> None:
    monkeypatch.setattr(users, "SCAN_LIMIT", 5)
    monkeypatch.setattr(users, "SCAN_PAGE", rows)
    group, people = await filled(server)
    asked = f"/Users?filter={form.format(group)}&count=4"
    pages = await walk(server, asked)
    assert sorted(names(pages, "userName")) == people
    assert all(page["itemsPerPage"] <= 4 for page in pages)
    answer = await server.send("GET", asked)
    assert_error(answer, 400, "tooMany")
    assert "cursor" in answer.body["detail"]


@pytest.mark.parametrize("form", FORMS)
async def test_a_filter_on_groups_means_what_it_says(server: Server, form: str) -> None:
    group, people = await filled(server)
    is_in = form.format(group)
    expected = {
        is_in: people,
        f'{is_in} and title eq "Dr"': people[7:],
        f'userName eq "user1" and {is_in}': ["user1"],
        f'userName eq "outside" and {is_in}': [],
        f"not ({is_in})": ["outside"],
        f'{is_in} or userName eq "outside"': ["outside", *people],
        'groups.display eq "sales" and groups[display sw "S"]': people,
        "groups pr": people,
        form.format("nothing"): [],
        form.format("361f2594-8a43-86bc-9c61-82862af64aca"): [],
    }
    for text, found in expected.items():
        body = (await server.send("GET", f"/Users?filter={text}")).body
        assert sorted(names([body], "userName")) == found, text
        assert body["totalResults"] == len(found)


@pytest.mark.parametrize("form", FORMS)
async def test_no_filter_tells_in_which_group_a_protected_account_is(server: Server, form: str) -> None:
    group, people = await filled(server)
    directory = await server.main()
    (hidden,) = await directory.accounts.list_by(Key("userName", "user1"))
    await directory.accounts.replace(hidden, replace(hidden, protected=True), by="an administrator")
    is_in = form.format(group)
    others = [name for name in people if name != "user1"]
    for text, found in (
        (is_in, others),
        ("groups pr", others),
        (f'userName eq "user1" and {is_in}', []),
        (f'{is_in} and userName sw "user1"', []),
    ):
        assert sorted(names(await walk(server, f"/Users?filter={text}&count=4"), "userName")) == found, text


async def test_who_leaves_between_two_pages_shifts_nobody(server: Server) -> None:
    group, people = await filled(server)
    asked = f'/Users?filter=groups.value eq "{group}"&count=4'
    first = (await server.send("GET", f"{asked}&cursor=")).body
    gone = [{"value": user["id"]} for user in first["Resources"]]
    await server.send("PATCH", f"/Groups/{group}", operations({"op": "remove", "path": "members", "value": gone}))
    rest = await walk(server, asked, first["nextCursor"])
    assert sorted(names([first, *rest], "userName")) == people


async def test_the_members_of_a_deleted_group_are_nobody(server: Server) -> None:
    group, _ = await filled(server)
    directory = await server.main()
    await directory.groups.delete(await directory.groups.get(group), by="a process that died here")
    assert (await server.send("GET", f'/Users?filter=groups.value eq "{group}"')).body["totalResults"] == 0


async def test_a_wrong_filter_on_groups_is_refused_whoever_is_there(server: Server) -> None:
    for filter_ in ("groups gt 5", 'groups[value eq "x"] and title gt 5', "meta.created eq 7"):
        for cursor in ("", "&cursor="):
            for endpoint in ("Users", "Groups"):
                answer = await server.send("GET", f"/{endpoint}?filter={filter_}{cursor}")
                if endpoint == "Users" or "meta" in filter_:
                    assert_error(answer, 400, "invalidFilter")
