"""Groups within groups: a user's groups name those that hold them indirectly, and filters find by them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from scim_users import by_group
from scim_users import search as users
from shared.directory.records import members
from shared.directory.sweep import sweep
from shared.directory.text import timestamp
from shared.tables.port import Delete
from tests.link_orchestrator.running import rows_of
from tests.scim_groups.test_pages import FORMS, names
from tests.scim_groups.test_service import a_user, adding, assert_error, created, operations
from tests.scim_users.conftest import Server, walk


async def groups(server: Server, user_id: str) -> dict[str, str]:
    """Return the types of a user's groups by their names, as a read and as a filter by id shows them."""
    read = (await server.send("GET", f"/Users/{user_id}")).body
    (found,) = (await server.send("GET", f'/Users?filter=id eq "{user_id}"')).body["Resources"]
    assert found == read
    return {group["display"]: group["type"] for group in read.get("groups", ())}


async def nested(server: Server, *inner: str, name: str, **more: Any) -> str:
    """Create a group that holds others, or users."""
    return str((await created(server, name, members=[{"value": one} for one in inner], **more))["id"])


async def test_a_group_around_a_users_group_is_the_users_indirectly(server: Server) -> None:
    ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
    sales = await nested(server, ada, name="Sales")
    europe = await nested(server, sales, bob, name="Europe")
    world = await nested(server, europe, sales, name="World")
    assert await groups(server, ada) == {"Sales": "direct", "Europe": "indirect", "World": "indirect"}
    assert await groups(server, bob) == {"Europe": "direct", "World": "indirect"}
    (shown,) = [g for g in (await server.send("GET", f"/Users/{bob}")).body["groups"] if g["type"] == "indirect"]
    assert (shown["value"], shown["$ref"].endswith(f"/Groups/{world}")) == (world, True)
    # Whoever is in directly, too, is in directly.
    assert (await server.send("PATCH", f"/Groups/{world}", adding(ada))).status == 200
    assert await groups(server, ada) == {"Sales": "direct", "World": "direct", "Europe": "indirect"}


async def test_groups_that_hold_each_other_are_shown_once(server: Server) -> None:
    ada = await a_user(server, "ada")
    first = await nested(server, ada, name="First")
    second = await nested(server, first, name="Second")
    assert (await server.send("PATCH", f"/Groups/{first}", adding(second, first))).status == 200
    assert await groups(server, ada) == {"First": "direct", "Second": "indirect"}
    for form in FORMS:
        found = await walk(server, f"/Users?filter={form.format(first)}&count=1")
        assert names(found, "userName") == ["ada"]


async def test_a_group_that_leaves_or_is_deleted_takes_those_around_it_along(server: Server) -> None:
    ada = await a_user(server, "ada")
    sales = await nested(server, ada, name="Sales")
    europe = await nested(server, sales, name="Europe")
    await nested(server, europe, name="World")
    path = f"/Users/{ada}"
    before = await server.send("GET", path)
    leaving = operations({"op": "remove", "path": f'members[value eq "{sales}"]'})
    assert (await server.send("PATCH", f"/Groups/{europe}", leaving)).status == 200
    assert await groups(server, ada) == {"Sales": "direct"}
    assert (await server.send("GET", path, if_none_match=before.headers["ETag"])).status == 200
    assert (await server.send("PATCH", f"/Groups/{europe}", adding(sales))).status == 200
    assert (await server.send("DELETE", f"/Groups/{europe}")).status == 204
    assert await groups(server, ada) == {"Sales": "direct"}


async def test_that_a_group_comes_in_between_is_a_new_version_for_who_reads(server: Server) -> None:
    ada = await a_user(server, "ada")
    sales = await nested(server, ada, name="Sales")
    before = (await server.send("GET", f"/Users/{ada}")).headers["ETag"]
    world = await nested(server, sales, name="World")
    indirect = (await server.send("GET", f"/Users/{ada}")).headers["ETag"]
    await server.send("PATCH", f"/Groups/{world}", adding(ada))
    direct = (await server.send("GET", f"/Users/{ada}")).headers["ETag"]
    assert len({before, indirect, direct}) == 3
    renamed = {"op": "replace", "path": "title", "value": "Dr"}
    assert (await server.send("PATCH", f"/Users/{ada}", operations(renamed), if_match=before)).status == 200


async def filled(server: Server) -> tuple[str, list[str]]:
    """Return a group with users in three groups within it, some in several, and the names of all."""
    ids = {f"user{n:02}": await a_user(server, f"user{n:02}") for n in range(12)}
    people = list(ids.values())
    inner = await nested(server, *people[8:], people[0], name="Inner")
    left = await nested(server, *people[4:8], inner, name="Left")
    right = await nested(server, *people[3:6], inner, name="Right")
    outer = await nested(server, *people[:4], left, right, name="Outer")
    await a_user(server, "outside")
    return outer, list(ids)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", [3, 2_000])
async def test_a_client_pages_through_all_who_are_in_a_group(
    server: Server, monkeypatch: pytest.MonkeyPatch, form: str, rows: int
) -> None:
    outer, people = await filled(server)
    asked = f"/Users?filter={form.format(outer)}&count=5"
    by_index = [(await server.send("GET", f"{asked}&startIndex={at}")).body for at in (1, 6, 11)]
    monkeypatch.setattr(users, "SCAN_PAGE", rows)
    assert sorted(names(await walk(server, asked), "userName")) == people
    assert sorted(names(by_index, "userName")) == people
    assert {page["totalResults"] for page in by_index} == {12}
    title = f'{form.format(outer)} and userName ew "7"'
    assert names(await walk(server, f"/Users?filter={title}&count=5"), "userName") == ["user07"]
    alone = f'{form.format(outer)} and userName eq "user09"'
    assert (await server.send("GET", f"/Users?filter={alone}")).body["totalResults"] == 1


async def test_users_are_found_by_how_they_are_in(server: Server) -> None:
    outer, people = await filled(server)
    for kind, found in (("direct", people[:4]), ("indirect", people[4:])):
        body = (await server.send("GET", f'/Users?filter=groups[value eq "{outer}" and type eq "{kind}"]')).body
        assert sorted(names([body], "userName")) == found


async def test_who_is_in_many_small_groups_of_a_group_is_found_by_index(server: Server) -> None:
    ada = await a_user(server, "ada")
    small = [await nested(server, ada, name=f"Team {number}") for number in range(12)]
    outer = await nested(server, *small, name="Outer")
    body = (await server.send("GET", f'/Users?filter=groups.value eq "{outer}"')).body
    assert names([body], "userName") == ["ada"]


async def test_who_was_shown_by_another_group_is_known_without_a_look_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, people = await filled(server)
    looked_up: list[tuple[str, str]] = []
    held = members.Members.held

    async def note(self: members.Members, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        looked_up.extend(pairs)
        return await held(self, pairs)

    monkeypatch.setattr(members.Members, "held", note)
    path = f'/Users?filter=groups.value eq "{outer}"&attributes=userName'
    assert sorted(names([(await server.send("GET", path)).body], "userName")) == people
    assert looked_up == []


async def test_what_a_filter_reads_of_a_group_is_counted_by_members(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    outer, _ = await filled(server)
    monkeypatch.setattr(users, "SCAN_LIMIT", 17)
    answer = await server.send("GET", f'/Users?filter=groups.value eq "{outer}"')
    assert_error(answer, 400, "tooMany")
    monkeypatch.setattr(users, "SCAN_LIMIT", 100)
    assert (await server.send("GET", f'/Users?filter=groups.value eq "{outer}"')).status == 200


async def test_a_group_that_holds_too_many_groups_is_asked_for_piece_by_piece(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_group, "MOST_GROUPS", 2)
    outer, _ = await filled(server)
    for cursor in ("", "&cursor="):
        answer = await server.send("GET", f'/Users?filter=groups.value eq "{outer}"{cursor}')
        assert_error(answer, 400, "tooMany")
        assert "each of them" in answer.body["detail"]


async def test_where_many_groups_hold_groups_each_is_read_by_itself(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await a_user(server, "ada")
    sales = await nested(server, ada, name="Sales")
    await nested(server, await nested(server, sales, name="Europe"), name="World")
    shown = await groups(server, ada)
    monkeypatch.setattr(members, "NESTED_AT_ONCE", 1)
    assert await groups(server, ada) == shown == {"Sales": "direct", "Europe": "indirect", "World": "indirect"}


async def test_the_sweep_finds_what_an_earlier_version_wrote_and_forgets_what_is_gone(server: Server) -> None:
    directory = await server.main()
    ada = await a_user(server, "ada")
    sales = await nested(server, ada, name="Sales")
    europe = await nested(server, sales, name="Europe")
    index = directory.keys.nested()
    (row,) = await rows_of(directory.tables, index)
    await directory.tables.commit(index, [Delete(row.key, row.etag)])
    assert await groups(server, ada) == {"Sales": "direct"}
    for _ in range(2):
        assert await sweep(directory) == 0
        assert await groups(server, ada) == {"Sales": "direct", "Europe": "indirect"}
    leaving = operations({"op": "remove", "path": "members"})
    assert (await server.send("PATCH", f"/Groups/{europe}", leaving)).status == 200
    later = timestamp(datetime.now(UTC) + timedelta(hours=1))
    assert await sweep(directory, later) == 2
    assert await rows_of(directory.tables, index) == []
