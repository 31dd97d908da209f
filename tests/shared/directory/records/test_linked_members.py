"""Memberships of linked groups: cut off anywhere and sent again they end right, and so does giving them back."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, random_faults, script
from shared.directory.directory import Directory
from shared.directory.errors import Stale
from shared.directory.keys import AUDIT, WAS_HERE
from shared.directory.records.members import Member, StoredMember
from shared.directory.records.model import Group, Status
from shared.directory.sweep import sweep
from shared.directory.text import timestamp
from shared.tables.port import ANY, Merge, Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import BY, create, reopened, small
from tests.shared.directory.records.test_members import IDS, inside, some

Act = Callable[[Directory, str], Awaitable[object]]


async def linked(directory: Directory, *here: int, name: str = "g") -> Group:
    """Store a group with these members that is managed here, and link it."""
    new = Group.new(directory.groups.keys.new_id(name), {"displayName": name}, Status.LOCAL, directory.groups.now())
    await directory.members.add(new.id, some(*here))
    made = await directory.groups.create(new, by=BY)
    return await directory.groups.link(made, replace(made, status=Status.CLAIMED), by=BY)


async def add(directory: Directory, group: str, *numbers: int) -> None:
    await directory.members.announce(group, some(*numbers))
    await directory.linked_members.change(group, some(*numbers), by=BY)


async def remove(directory: Directory, group: str, *numbers: int) -> None:
    await directory.linked_members.remove(group, [IDS[number] for number in numbers], by=BY)


async def rows(directory: Directory, group: str) -> dict[int, tuple[bool, bool]]:
    """Return for each member whether provisioning added it, and whether it was here before that."""
    await inside(directory, group)
    return {IDS.index(m.id): (m.marked, m.here) for m in await stored(directory, group)}


async def stored(directory: Directory, group: str) -> list[StoredMember]:
    return [member async for page in directory.linked_members.scan(group) for member in page]


async def kept(directory: Directory, group: str) -> list[int]:
    return [IDS.index(member.id) for member in await directory.linked_members.was_here(group)]


ACTS: dict[str, tuple[Act, dict[int, tuple[bool, bool]], list[int]]] = {
    "add": (
        lambda d, g: add(d, g, 1, 2, 3),
        {0: (False, False), 1: (True, True), 2: (True, False), 3: (True, False)},
        [],
    ),
    "remove": (lambda d, g: remove(d, g, 0, 1, 2), {0: (False, False)}, [1]),
    "replace": (
        lambda d, g: d.linked_members.replace(g, some(0, 3), by=BY),
        {0: (True, True), 3: (True, False)},
        [1],
    ),
    "leave": (lambda d, g: d.groups.take_out(IDS[1], by=BY), {0: (False, False), 2: (True, False)}, [1]),
}


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
@pytest.mark.parametrize("name", ACTS)
async def test_cut_off_anywhere_and_sent_again_it_ends_right(
    sqlite_tables: SqliteTables, name: str, fault: Fault
) -> None:
    act, expected, left = ACTS[name]
    for number in itertools.count(1):
        faulty = FaultyTables(sqlite_tables)
        whole = await small(sqlite_tables, f"d{number}")
        group = (await linked(whole, 0, 1)).id
        if name != "add":
            await add(whole, group, 1, 2)
        cut = await reopened(faulty, f"d{number}")
        faulty.reset()
        faulty.faults = script({number: fault})
        with suppress(Crash, TablesError):
            await act(cut, group)
        over = faulty.requests < number
        before = await rows(whole, group)
        assert 0 in before, "who was only here stays in"
        await act(whole, group)
        assert (await rows(whole, group), await kept(whole, group)) == (expected, left), number
        if over:
            break
    assert number > 2


async def test_it_is_the_same_on_either_store(tables: Tables) -> None:
    directory = await small(tables)
    group = (await linked(directory, 0, 1)).id
    version = (await directory.groups.get(group)).version
    await add(directory, group, 1)
    assert (await directory.groups.get(group)).version == version
    await add(directory, group, 1, 2)
    await remove(directory, group, 0, 1)
    assert await rows(directory, group) == {0: (False, False), 2: (True, False)}
    assert await kept(directory, group) == [1]
    await add(directory, group, 1)
    await directory.linked_members.replace(group, some(2), by=BY)
    assert await rows(directory, group) == {0: (False, False), 2: (True, False)}
    assert await kept(directory, group) == [1]
    now = await directory.groups.get(group)
    await directory.groups.replace(now, replace(now, status=Status.LOCAL), by=BY)
    for _ in range(2):
        await directory.groups.give_back(now, by=BY)
        assert await rows(directory, group) == {0: (False, False)}, "nobody has the id of 1"
        assert await kept(directory, group) == []
    with pytest.raises(Stale):
        await add(directory, group, 3)


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_fails_who_was_only_here_stays_in(sqlite_tables: SqliteTables, seed: int) -> None:
    faulty = FaultyTables(sqlite_tables)
    whole = await small(sqlite_tables)
    shaky = await reopened(faulty)
    group = (await linked(whole, 0, 4, 5)).id
    faulty.faults = random_faults(seed, 0.2)
    for act, _, _ in list(ACTS.values())[:2] * 6:
        with suppress(TablesError):
            await act(shaky, group)
        assert {0: (False, False), 4: (False, False), 5: (False, False)}.items() <= (await rows(whole, group)).items()


async def test_many_at_once_are_all_kept_and_each_marked_once(tables: Tables) -> None:
    directory = await small(tables)
    many = [f"{n % 256:02x}000000-0000-4000-8000-{n:012x}" for n in range(250)]
    new = Group.new(directory.groups.keys.new_id("g"), {"displayName": "g"}, Status.LOCAL, directory.groups.now())
    await directory.members.add(new.id, map(Member, many[:120]))
    made = await directory.groups.create(new, by=BY)
    group = (await directory.groups.link(made, replace(made, status=Status.CLAIMED), by=BY)).id
    await directory.members.announce(group, map(Member, many))
    await directory.linked_members.change(group, map(Member, many), by=BY)
    held = await stored(directory, group)
    assert sorted(member.id for member in held) == sorted(many)
    assert all(member.marked for member in held)
    assert sum(member.here for member in held) == 120
    await directory.linked_members.remove(group, many, by=BY)
    assert await directory.members.first(group, 1_000) == []
    assert len(await directory.linked_members.was_here(group)) == 120


async def test_who_was_here_is_kept_for_the_undo_term_and_no_longer(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    ada = (await create(directory, "ada")).id
    for name, retired in (("g", False), ("h", True)):
        group = await linked(directory, name=name)
        await directory.members.add(group.id, [Member(ada)])
        await directory.linked_members.change(group.id, [Member(ada)], by=BY)
        await directory.linked_members.remove(group.id, [ada], by=BY)
        if retired:
            gone = replace(await directory.groups.get(group.id), status=Status.LOCAL, retired=True)
            await directory.groups.replace(await directory.groups.get(group.id), gone, by=BY)
        await sweep(directory)
        assert len(await directory.linked_members.was_here(group.id)) == 1
        old = Merge(WAS_HERE + ada, {"at": timestamp(datetime.now(UTC) - timedelta(days=91))}, ANY)
        await directory.tables.commit(directory.keys.members(group.id), [old])
        await sweep(directory)
        assert await directory.linked_members.was_here(group.id) == []


async def test_a_deleted_group_leaves_nothing_of_its_link(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    group = (await linked(directory, 0, 1)).id
    await add(directory, group, 1, 2)
    await remove(directory, group, 1)
    assert await directory.members.clear(group) == 2
    found = await directory.tables.query(directory.keys.members(group))
    assert [row.key for row in found.rows if not row.key.startswith(AUDIT)] == []
