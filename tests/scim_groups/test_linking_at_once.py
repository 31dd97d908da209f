"""A group that is linked or taken back while somebody moves its members, step by step: of the two, one sees the other.

Each safety has a story, told twice: with it, and without it, where it must end badly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from infra.local.faults import Call, FaultyTables
from scim_groups import service
from shared.directory.directory import Directory
from shared.directory.errors import NotFound, Refused, Stale
from shared.directory.records.groups import Groups
from shared.directory.records.linked_members import LinkedMembers
from shared.directory.records.members import Member
from shared.directory.records.model import Group, Head, Status
from shared.scim.endpoint import Response
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.scim_groups.test_linked import a_group, link
from tests.scim_groups.test_two_writers import IDS, inside, moving, patch, request
from tests.shared.directory.people import pause, reopened, small

Story = Callable[[Tables], Awaitable[bool]]


def commits(partition: str) -> Callable[[Call], bool]:
    return lambda call: call.verb == "commit" and call.partition == partition


async def join(directory: Directory, group: Group, member: str, by: str = "import:1") -> bool:
    """Add a member as an import does; return whether the group was still managed here."""
    await directory.members.announce(group.id, [Member(member)])
    for _ in range(5):
        found = await directory.groups.find(group.id)
        if found is None or found.head is None or found.status is not Status.LOCAL:
            return False
        with suppress(Stale):
            await directory.groups.hold(found, by=by)
            await directory.members.change(group.id, [Member(member)], by=by, etag=found.head.etag)
            return True
    raise AssertionError("never came to an end")


async def try_to_link(directory: Directory, group: Group) -> bool:
    """Link a group that was looked at with its members; return whether it is linked."""
    with suppress(Stale):
        await link_seen(directory, group)
        return True
    return False


async def link_seen(directory: Directory, seen: Group) -> Group:
    after = seen.with_document(seen.document() | {"externalId": "8b3f1c9e-0901-4000-8000-000000000000"})
    return await directory.groups.link(seen, replace(after, status=Status.CLAIMED), by="run:1")


async def somebody_joins_between_the_look_and_the_link(store: Tables) -> bool:
    """B looks at the group; A joins; B links what it saw. Returns whether B linked a group whose members changed."""
    b = await small(store)
    a = await reopened(store)
    group = await a_group(b, "Sales", IDS[0])
    seen = await b.groups.find(group.id)
    assert seen
    assert await join(a, group, IDS[1])
    return await try_to_link(b, seen)


async def somebody_joins_between_the_steps_of_the_link(store: Tables) -> bool:
    """B is held before it changes the group's row; A joins. Returns whether both were done."""
    slow = FaultyTables(store)
    a = await small(store)
    b = await reopened(slow)
    group = await a_group(a, "Sales", IDS[0])
    seen = await b.groups.find(group.id)
    assert seen
    joined: list[bool] = []

    async def whole() -> None:
        joined.append(await join(a, group, IDS[1]))

    reached = pause(slow, commits(a.groups.keys.home(group.id)), whole)
    linked = await try_to_link(b, seen)
    assert reached
    assert joined == [True]
    return linked


async def a_group_is_linked_while_somebody_joins(store: Tables) -> bool:
    """A is held before its member's row; B links. Returns whether A came in all the same."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group = await a_group(b, "Sales", IDS[0])
    reached = pause(slow, commits(b.groups.keys.home(group.id)), lambda: link(b, group))
    joined = await join(a, group, IDS[1])
    assert reached
    return joined or IDS[1] in await inside(b, group.id)


async def provisioning_adds_while_a_link_is_taken_back(store: Tables) -> bool:
    """A is held before its member's row; B takes the link back. Returns whether somebody is left of provisioning."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group = await link(b, await a_group(b, "Sales", IDS[0]))

    async def whole() -> None:
        await take_back(b, group)

    reached = pause(slow, commits(b.keys.members(group.id)), whole)
    with suppress(Refused):
        await patch(a, group.id, moving("add", IDS[1]))
    assert reached
    return await inside(b, group.id) != IDS[:1]


async def take_back(directory: Directory, group: Group) -> None:
    now = await directory.groups.get(group.id)
    document = now.document()
    document.pop("externalId")
    await directory.groups.replace(now, replace(now.with_document(document), status=Status.LOCAL), by="undo:1")
    await directory.groups.give_back(now, by="undo:1")


async def provisioning_adds_while_it_deletes_the_group(store: Tables) -> bool:
    """A is held before its member's row; B deletes the group. Returns whether A came in all the same."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group = await link(b, await a_group(b, "Sales", IDS[0]))

    async def whole() -> Response:
        return await service.delete(b, request(id=group.id))

    reached = pause(slow, commits(b.keys.members(group.id)), whole)
    with suppress(NotFound):
        await patch(a, group.id, moving("add", IDS[1]))
    assert reached
    return await inside(b, group.id) != IDS[:1]


STORIES: tuple[Story, ...] = (
    somebody_joins_between_the_look_and_the_link,
    somebody_joins_between_the_steps_of_the_link,
    a_group_is_linked_while_somebody_joins,
    provisioning_adds_while_a_link_is_taken_back,
    provisioning_adds_while_it_deletes_the_group,
)


@pytest.mark.parametrize("story", STORIES)
async def test_of_the_two_one_sees_the_other(sqlite_tables: SqliteTables, story: Story) -> None:
    assert not await story(sqlite_tables)


async def test_without_the_new_version_of_the_group_a_member_would_come_in_between(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: Groups, group: Group, *, by: str) -> None:
        """Hold nothing."""

    monkeypatch.setattr(Groups, "hold", nothing)
    assert await somebody_joins_between_the_steps_of_the_link(sqlite_tables)


async def test_without_the_condition_on_the_members_a_group_would_be_linked_unseen(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(self: LinkedMembers, group: str, head: Head) -> Head:
        return head

    async def hold_nothing(self: Groups, group: Group, *, by: str) -> None:
        """Hold nothing: who joins changes the head alone, as who leaves does."""

    monkeypatch.setattr(LinkedMembers, "begin", nothing)
    monkeypatch.setattr(Groups, "hold", hold_nothing)
    assert await somebody_joins_between_the_look_and_the_link(sqlite_tables)


@pytest.mark.parametrize("story", STORIES[3:])
async def test_without_the_row_of_the_link_somebody_would_be_left(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, story: Story
) -> None:
    async def nothing(self: LinkedMembers, group: str) -> None:
        """End nothing."""

    monkeypatch.setattr(LinkedMembers, "end", nothing)
    assert await story(sqlite_tables)


async def test_a_late_admission_of_a_group_that_is_taken_back_is_refused(sqlite_tables: SqliteTables) -> None:
    """A read the group as linked, without the row of the link; B takes the link back; A admits provisioning late."""
    directory = await small(sqlite_tables)
    group = await link(directory, await a_group(directory, "Sales", IDS[0]))
    seen = await directory.groups.get(group.id)
    assert seen.head
    await take_back(directory, group)
    await directory.groups.admit(seen)
    with pytest.raises(Stale):
        await directory.linked_members.admit(group.id, seen.head)
    with pytest.raises(Stale):
        await directory.linked_members.change(group.id, [Member(IDS[1])], by="entra")


async def test_who_leaves_between_the_look_and_the_link_is_seen(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    group = await a_group(directory, "Sales", *IDS[:2])
    seen = await directory.groups.get(group.id)
    await directory.members.leave(IDS[1], by="test")
    assert not await try_to_link(directory, seen)


async def test_a_link_that_was_cut_off_does_not_go_on_over_a_member_who_moved(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    group = await a_group(directory, "Sales", *IDS[:2])
    seen = await directory.groups.get(group.id)
    assert seen.head
    await directory.linked_members.begin(group.id, seen.head)
    assert (await directory.groups.get(group.id)).version_before_link == seen.version
    await directory.members.leave(IDS[1], by="test")
    assert (await directory.groups.get(group.id)).version_before_link == ""


async def test_somebody_new_in_a_linked_group_costs_what_it_costs_in_any_other(sqlite_tables: SqliteTables) -> None:
    counted = FaultyTables(sqlite_tables)
    directory = await small(counted)
    for size in (1, 250):
        group = await link(directory, await a_group(directory, f"g{size}", *IDS[1 : size + 1]))
        for op in ("add", "remove"):
            counted.reset()
            await patch(directory, group.id, moving(op, IDS[0]), params={"excludedAttributes": "members"})
            assert (counted.sequential, counted.requests) == (2, 3), op
        counted.reset()
        await patch(directory, group.id, moving("add", IDS[1]), params={"excludedAttributes": "members"})
        assert (counted.sequential, counted.requests) == (5, 6), "who is in is looked at, and marked"
