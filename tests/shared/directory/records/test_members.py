"""Memberships: crashes at every call, random faults, two writers step by step; the index covers the truth."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Call, Crash, Fault, FaultyTables, random_faults, script
from shared.directory.directory import Directory
from shared.directory.records import members
from shared.directory.records.members import Member, Members
from shared.directory.records.model import Group, Status
from shared.directory.sweep import sweep
from shared.tables.port import Page, Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import BY, create, pause, reopened, small

IDS = [f"{n:02x}000000-0000-4000-8000-00000000000{n}" for n in range(6)]


async def group(directory: Directory, name: str = "g") -> Group:
    new = Group.new(
        directory.groups.keys.new_id(name), {"displayName": name}, Status.PROVISIONED, "2025-01-01T00:00:00.000Z"
    )
    return await directory.groups.create(new, by=BY)


def some(*numbers: int) -> list[Member]:
    return [Member(IDS[number]) for number in numbers]


async def inside(directory: Directory, group_id: str) -> list[str]:
    """Return who is in a group, after checking that the index covers them."""
    held = [member.id for member in await directory.members.first(group_id, 5_000)]
    indexed = await directory.members.indexed(held) if held else []
    assert {(member, group_id) for member in held} <= set(indexed), "the index misses a member"
    return held


async def loose(directory: Directory) -> int:
    """Return how many index rows lead to a group that does not hold the member."""
    pairs = [pair for bucket in range(16) async for page in directory.members.scan_index(bucket) for pair in page]
    return (await directory.members.held(pairs)).count(False)


@pytest.mark.parametrize(
    ("asked", "most"), [((0, 19), 4), ((0, 7, 19), 6), ((3, 4, 5, 6, 7, 8), 12), ((0, 6, 13, 19), 16)]
)
async def test_the_index_is_read_between_neighbours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[int, ...], most: int
) -> None:
    directory = await small(SqliteTables.open(tmp_path / "members.db", "accounts"))
    ids = [f"00{n:06x}-0000-4000-8000-000000000000" for n in range(20)]
    groups = [(await group(directory, name)).id for name in ("g", "h")]
    for one in groups:
        await directory.members.add(one, map(Member, ids))
    monkeypatch.setattr(members, "INDEX_ROWS", 5)
    read: list[str] = []
    query = SqliteTables.query

    async def count(tables: SqliteTables, *args: Any, **options: Any) -> Page:
        page = await query(tables, *args, **options)
        read.extend(row.key for row in page.rows)
        return page

    monkeypatch.setattr(SqliteTables, "query", count)
    found = await directory.members.indexed([ids[n] for n in asked])
    assert sorted(found) == sorted((ids[n], one) for n in asked for one in groups)
    assert len(read) <= most


async def test_members_come_and_go_and_nothing_is_left(tables: Tables) -> None:
    directory = await small(tables)
    g = (await group(directory)).id
    await directory.members.add(g, some(0, 1, 2, 2))
    await directory.members.add(g, some(2, 3))
    assert await inside(directory, g) == IDS[:4]
    await directory.members.remove(g, [IDS[1], IDS[5]])
    assert await inside(directory, g) == [IDS[0], IDS[2], IDS[3]]
    await directory.members.replace(g, some(3, 4))
    assert await inside(directory, g) == IDS[3:5]
    await directory.members.leave(IDS[3])
    await directory.members.replace(g, ())
    assert await inside(directory, g) == []
    assert await loose(directory) == await sweep(directory, "9") == 5
    assert await loose(directory) == 0


async def test_a_thousand_members_take_few_transactions(sqlite_tables: SqliteTables) -> None:
    counted = FaultyTables(sqlite_tables)
    directory = await small(counted, buckets=64)
    g = (await group(directory)).id
    many = [Member(f"{n % 256:02x}000000-0000-4000-8000-{n:012x}") for n in range(1_000)]
    counted.reset()
    await directory.members.add(g, many)
    assert (counted.sequential, counted.requests) == (3, 27)
    counted.reset()
    await directory.members.remove(g, [member.id for member in many])
    assert counted.requests == 1_000 + 11
    assert await inside(directory, g) == []


Act = Callable[[Directory, str], Awaitable[None]]

ACTS: dict[str, tuple[Act, list[str]]] = {
    "add": (lambda d, g: d.members.add(g, some(2, 3)), IDS[:4]),
    "remove": (lambda d, g: d.members.remove(g, IDS[1:4]), IDS[:1]),
    "replace": (lambda d, g: d.members.replace(g, some(1, 4)), [IDS[1], IDS[4]]),
    "leave": (lambda d, g: d.members.leave(IDS[0]), IDS[1:3]),
}


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
@pytest.mark.parametrize("name", ACTS)
async def test_cut_off_anywhere_and_sent_again_it_ends_right(
    sqlite_tables: SqliteTables, name: str, fault: Fault
) -> None:
    act, expected = ACTS[name]
    for number in itertools.count(1):
        faulty = FaultyTables(sqlite_tables)
        whole = await small(sqlite_tables, f"d{number}")
        g = (await group(whole)).id
        await whole.members.add(g, some(0, 1, 2))
        cut = await reopened(faulty, f"d{number}")
        faulty.reset()
        faulty.faults = script({number: fault})
        with suppress(Crash, TablesError):
            await act(cut, g)
        over = faulty.requests < number
        await inside(whole, g)
        await act(whole, g)
        assert await inside(whole, g) == expected
        if over:
            break
    assert number > 2


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_fails_the_index_covers_the_truth(sqlite_tables: SqliteTables, seed: int) -> None:
    faulty = FaultyTables(sqlite_tables)
    whole = await small(sqlite_tables)
    shaky = await reopened(faulty)
    g = (await group(whole)).id
    faulty.faults = random_faults(seed, 0.2)
    for act, _ in list(ACTS.values()) * 6:
        with suppress(TablesError):
            await act(shaky, g)
        await inside(whole, g)


def commits(directory: Directory, partition: str) -> Callable[[Call], bool]:
    return lambda call: call.verb == "commit" and call.partition == partition


async def test_an_add_that_was_overtaken_by_another_and_a_removal_is_found(sqlite_tables: SqliteTables) -> None:
    """A has announced and is held before the truth; B puts the same member in, and takes it out again."""
    slow = FaultyTables(sqlite_tables)
    b = await small(sqlite_tables)
    a = await reopened(slow)
    g = (await group(b)).id

    async def in_and_out() -> None:
        await b.members.add(g, some(0))
        await b.members.remove(g, [IDS[0]])
        await sweep(b)

    reached = pause(slow, commits(b, b.keys.members(g)), in_and_out)
    await a.members.add(g, some(0))
    assert reached
    assert await inside(b, g) == [IDS[0]]


async def test_a_sweep_that_does_not_wait_would_lose_it(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same story ends badly where young index rows are removed: so the wait is what holds it."""
    sweep_index = Members.sweep_index
    monkeypatch.setattr(Members, "sweep_index", lambda self, bucket, before: sweep_index(self, bucket, "9"))
    with pytest.raises(AssertionError, match="misses a member"):
        await test_an_add_that_was_overtaken_by_another_and_a_removal_is_found(sqlite_tables)


async def test_a_removal_meets_one_that_is_gone_already(sqlite_tables: SqliteTables) -> None:
    slow = FaultyTables(sqlite_tables)
    b = await small(sqlite_tables)
    a = await reopened(slow)
    g = (await group(b)).id
    await b.members.add(g, some(0, 1))
    reached = pause(slow, commits(b, b.keys.members(g)), lambda: b.members.remove(g, [IDS[0]]))
    await a.members.remove(g, IDS[:2])
    assert reached
    assert await inside(b, g) == []


async def test_groups_hold_names_as_accounts_do_and_beside_them(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    g = await group(directory, "ann")
    ann = await create(directory, "ann", externalId="k")
    renamed = await directory.groups.replace(g, g.with_document({"displayName": "bea", "externalId": "k"}), by=BY)
    assert await directory.groups.find(g.id) == renamed
    assert await directory.accounts.find(ann.id) == ann
    assert [change.action for change in await directory.groups.history(g.id)] == ["create", "replace"]
    await sweep(directory)
    assert (await directory.accounts.claims.claimed(ann.name), await directory.groups.claims.claimed(renamed.name)) == (
        ann.id,
        g.id,
    )


async def test_a_sweep_takes_the_deleted_out_and_leaves_the_rest(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    ann, bea = await create(directory, "ann"), await create(directory, "bea")
    g, gone = await group(directory, "g"), await group(directory, "gone")
    for one in (g, gone):
        await directory.members.add(one.id, [Member(ann.id), Member(bea.id), Member(gone.id)])
    coming = directory.groups.keys.new_id("coming")
    await directory.members.add(coming, [Member(bea.id)])
    await directory.accounts.delete(await directory.accounts.get(ann.id), by=BY)
    await directory.groups.delete(gone, by=BY)
    assert await sweep(directory) == 5
    assert await inside(directory, g.id) == [bea.id]
    assert await inside(directory, gone.id) == []
    assert await inside(directory, coming) == [bea.id], "a group that is being created keeps its members"
    assert await sweep(directory) == 0
