"""Two requests to one group at once, step by step, and requests that are cut off: no version lies, nobody is left.

Each safety of members.py and the service has a story, told twice: with it, and without it, where it must end badly.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from infra.local.faults import Call, Crash, Fault, FaultyTables, script
from scim_groups import service
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import Key
from shared.directory.records import members as memberships
from shared.directory.records.members import Members
from shared.directory.records.model import Head
from shared.directory.sweep import sweep
from shared.scim.endpoint import PreconditionFailed, Request, Response
from shared.scim.errors import ScimError
from shared.tables.port import ANY, Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import create, pause, reopened, small

IDS = sorted(f"{n % 256:02x}000000-0000-4000-8000-{n:012x}" for n in range(300))


def request(body: object = None, **more: Any) -> Request:
    return Request("http://localhost/scim/v2", "test", body=b"" if body is None else json.dumps(body).encode(), **more)


def patch(directory: Directory, group: str, *operations: dict[str, Any], **more: Any) -> Awaitable[Response]:
    return service.patch(directory, request({"Operations": operations}, id=group, **more))


def moving(op: str, *ids: str) -> dict[str, Any]:
    return {"op": op, "path": "members", "value": [{"value": member} for member in ids]}


def naming(name: str) -> dict[str, Any]:
    return {"op": "replace", "path": "displayName", "value": name}


async def new(directory: Directory, *ids: str, name: str = "Sales") -> tuple[str, str]:
    """Create a group, and return its id and version."""
    body = {"displayName": name, "members": [{"value": member} for member in ids]}
    answer = await service.create(directory, request(body))
    return answer.location.rpartition("/")[2] if answer.location else "", answer.version or ""


async def inside(directory: Directory, group: str) -> list[str]:
    return [member.id for member in await directory.members.first(group, 1_000)]


async def left(directory: Directory, group: str) -> int:
    """Return how many rows stand in a group's partition beside its history."""
    page = await directory.tables.query(directory.keys.members(group), high="g")
    return len(page.rows)


def commits(directory: Directory, group: str) -> Callable[[Call], bool]:
    return lambda call: call.verb == "commit" and call.partition == directory.keys.members(group)


def reads_members(directory: Directory, group: str) -> Callable[[Call], bool]:
    return lambda call: call.verb == "query" and call.partition == directory.keys.members(group)


async def outcome(work: Awaitable[object]) -> type[Exception] | None:
    try:
        await work
    except (NotFound, ScimError) as error:
        return type(error)
    return None


async def a_member_comes_into_a_group_that_is_deleted_meanwhile(store: Tables) -> int:
    """A has read the group and is held before its member's row; B deletes the group whole. Returns what is left."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group, _ = await new(b, IDS[0])
    reached = pause(slow, commits(b, group), lambda: service.delete(b, request(id=group)))
    assert await outcome(patch(a, group, moving("add", IDS[1]))) in (NotFound, None)
    assert reached
    return await left(b, group)


async def two_changes_name_one_version(store: Tables, first: dict[str, Any], second: dict[str, Any]) -> int:
    """A has read the group and is held before its first write; B comes whole. Returns how many are done."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group, version = await new(b, IDS[0])
    done: list[type[Exception] | None] = []

    async def whole() -> None:
        done.append(await outcome(patch(b, group, second, if_match=version)))

    def writes(call: Call) -> bool:
        homes = (b.keys.members(group), b.groups.keys.home(group))
        return call.verb == "commit" and call.partition in homes

    reached = pause(slow, writes, whole)
    done.append(await outcome(patch(a, group, first, if_match=version)))
    assert reached
    assert set(done) <= {None, PreconditionFailed}
    return done.count(None)


async def a_reader_is_told_nothing_changed(store: Tables) -> bool:
    """A reads a group and is held after its first page of members; B puts one before its end. A shows the old members.

    Returns whether A shows them under the version that the group has now, and so would never read the new one.
    """
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    group, _ = await new(b, IDS[0], IDS[2])
    reached = pause(slow, reads_members(b, group), lambda: patch(b, group, moving("add", IDS[1])), after=True)
    version = (await service.get(a, request(id=group))).version
    assert reached
    return (await service.get(b, request(id=group, if_none_match=version))).status == 304


CHANGES = {
    "members, members": (moving("add", IDS[1]), moving("remove", IDS[0])),
    "members, name": (moving("add", IDS[1]), naming("Legal")),
    "name, members": (naming("Legal"), moving("add", IDS[1])),
    "name, name": (naming("Legal"), naming("Research")),
    "all members, a member": (moving("replace", IDS[1]), moving("add", IDS[2])),
    "by filter, a member": ({"op": "remove", "path": 'members[type eq "User"]'}, moving("add", IDS[2])),
}


async def test_nobody_comes_into_a_group_that_is_deleted_meanwhile(sqlite_tables: SqliteTables) -> None:
    assert await a_member_comes_into_a_group_that_is_deleted_meanwhile(sqlite_tables) == 0


async def test_without_the_head_a_row_would_be_left(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def change_without(self: Members, group: str, into: Any = (), out: Any = (), **_: Any) -> Head:
        await self.join(group, into)
        return Head()

    monkeypatch.setattr(Members, "change", change_without)
    assert await a_member_comes_into_a_group_that_is_deleted_meanwhile(sqlite_tables) == 1


@pytest.mark.parametrize("name", CHANGES)
async def test_of_two_changes_that_name_one_version_one_is_done(sqlite_tables: SqliteTables, name: str) -> None:
    assert await two_changes_name_one_version(sqlite_tables, *CHANGES[name]) == 1


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "name, name"])
async def test_without_the_condition_on_the_head_both_would_be(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, touch = Members.change, Members.touch

    async def changed(self: Members, group: str, *rows: Any, etag: str = ANY, **more: Any) -> Head | None:
        return await change(self, group, *rows, **more)

    async def touched(self: Members, group: str, *, etag: str, **more: Any) -> Head:
        return await touch(self, group, etag=ANY, **more)

    monkeypatch.setattr(Members, "change", changed)
    monkeypatch.setattr(Members, "touch", touched)
    assert await two_changes_name_one_version(sqlite_tables, *CHANGES[name]) == 2


async def test_a_rename_and_a_new_member_at_once_are_both_kept(sqlite_tables: SqliteTables) -> None:
    for number, (first, second) in enumerate(itertools.permutations([moving("add", IDS[1]), naming("Legal")])):
        slow = FaultyTables(sqlite_tables)
        b = await small(sqlite_tables, f"d{number}")
        a = await reopened(slow, f"d{number}")
        group, version = await new(b, IDS[0])
        homes = (b.keys.members(group), b.groups.keys.home(group))
        between: list[str | None] = []

        async def meanwhile(
            b: Directory = b, group: str = group, second: Any = second, between: list[str | None] = between
        ) -> None:
            between.append((await patch(b, group, second)).version)

        pause(slow, lambda call, homes=homes: call.verb == "commit" and call.partition in homes, meanwhile)  # type: ignore[misc]
        last = (await patch(a, group, first)).version
        shown = await b.groups.get(group)
        assert (shown.display_name, await inside(b, group)) == ("Legal", IDS[:2])
        assert len({version, *between, last, shown.version}) in (3, 4)
        assert shown.version not in {version, *between}


async def test_who_reads_while_a_member_comes_reads_again(sqlite_tables: SqliteTables) -> None:
    assert not await a_reader_is_told_nothing_changed(sqlite_tables)


async def test_a_large_group_read_while_a_member_comes_is_read_again(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "NAMED", 1)
    assert not await a_reader_is_told_nothing_changed(sqlite_tables)


async def test_with_a_head_that_is_read_after_the_members_he_would_not(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Members.read

    async def head_last(self: Members, group: str, count: int) -> tuple[Head, list[memberships.Member]]:
        _, found = await read(self, group, count)
        return (await self.heads([group]))[0], found

    monkeypatch.setattr(Members, "read", head_last)
    assert await a_reader_is_told_nothing_changed(sqlite_tables)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
@pytest.mark.parametrize("op", ["add", "remove", "replace"])
async def test_wherever_a_change_is_cut_off_its_version_says_whether_members_changed(
    sqlite_tables: SqliteTables, op: str, fault: Fault
) -> None:
    had = [] if op == "add" else IDS
    wanted = {"add": IDS, "remove": [], "replace": IDS[:1]}[op]
    sent = moving(op, *(IDS if op != "replace" else wanted))
    for number in itertools.count(310 if op == "remove" else 1):
        faulty = FaultyTables(sqlite_tables)
        whole = await small(sqlite_tables, f"d{number}")
        cut = await reopened(faulty, f"d{number}")
        group, version = await new(whole, *had)
        faulty.reset()
        faulty.faults = script({number: fault})
        with suppress(Crash, Exception):
            await patch(cut, group, sent)
        over = faulty.requests < number
        now = (await whole.groups.get(group)).version
        assert (await inside(whole, group) == had) or now != version, number
        await patch(whole, group, sent)
        assert await inside(whole, group) == wanted
        if over:
            break


async def test_a_group_without_a_head_gets_one(sqlite_tables: SqliteTables) -> None:
    """As groups have none that were stored before there were heads."""
    directory = await small(sqlite_tables)
    group, _ = await new(directory)
    await directory.members.clear(group)
    assert (await service.get(directory, request(id=group))).status == 200
    version = (await patch(directory, group, moving("add", IDS[0]))).version
    assert await patch(directory, group, moving("add", IDS[1]), if_match=version)
    assert await inside(directory, group) == IDS[:2]


async def test_history_names_changes_of_members(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    group, _ = await new(directory)
    await patch(directory, group, moving("add", IDS[0]))
    await patch(directory, group, naming("Legal"))
    await patch(directory, group, moving("remove", IDS[0]))
    actions = [change.action for change in await directory.groups.history(group)]
    assert actions == ["create", "members", "replace", "members"]


async def test_a_deleted_user_who_leaves_is_a_new_version(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    group, version = await new(directory, IDS[0])
    await directory.members.leave(IDS[0], by="test")
    assert (await directory.groups.get(group)).version != version
    assert await inside(directory, group) == []


async def test_a_change_of_one_member_reads_no_other(sqlite_tables: SqliteTables) -> None:
    counted = FaultyTables(sqlite_tables)
    directory = await small(counted)
    for size in (1, 250):
        body = {"displayName": f"g{size}", "members": [{"value": member} for member in IDS[1 : size + 1]]}
        answer = await service.create(directory, request(body))
        group = answer.location.rpartition("/")[2] if answer.location else ""
        for op, requests in (("add", 3), ("remove", 3)):
            counted.reset()
            await patch(directory, group, moving(op, IDS[0]), params={"excludedAttributes": "members"})
            assert (counted.sequential, counted.requests) == (2, requests), op


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("act", ["create", "delete"])
async def test_wherever_a_group_is_cut_off_coming_or_going_the_sweep_leaves_all_or_nothing(
    sqlite_tables: SqliteTables, act: str, fault: Fault
) -> None:
    for number in itertools.count(1):
        faulty = FaultyTables(sqlite_tables)
        whole = await small(sqlite_tables, f"d{number}")
        cut = await reopened(faulty, f"d{number}")
        outer, _ = await new(whole)
        people = sorted([(await create(whole, name)).id for name in ("ann", "bea")])
        group = (await new(whole, *people, name="Legal"))[0] if act == "delete" else ""
        faulty.reset()
        faulty.faults = script({number: fault})
        with suppress(Crash):
            if act == "create":
                await new(cut, *people, name="Legal")
            else:
                await service.delete(cut, request(id=group))
        over = faulty.requests < number
        await sweep(whole, "9")
        await sweep(whole, "9")
        pairs = [pair for bucket in range(16) async for page in whole.members.scan_index(bucket) for pair in page]
        found = await whole.groups.list_by(Key("displayName", "Legal"))
        assert sorted(pairs) == [(member, one.id) for one in found for member in people], number
        assert (act == "create") == bool(found) or not over
        assert await left(whole, outer) == 1
        if not found and group:
            assert await left(whole, group) == 0
        if over:
            break
    assert number > 4


async def test_many_changes_at_once_are_all_kept_on_either_store(tables: Tables) -> None:
    directory = await small(tables)
    group, version = await new(directory)
    thirds = [IDS[at : at + 100] for at in (0, 100, 200)]
    answers = await asyncio.gather(*(patch(directory, group, moving("add", *some)) for some in thirds))
    assert {answer.status for answer in answers} <= {200, 204}
    assert await inside(directory, group) == IDS
    assert await outcome(patch(directory, group, moving("remove", IDS[0]), if_match=version)) is PreconditionFailed
    now = (await directory.groups.get(group)).version
    assert (await patch(directory, group, moving("replace", *IDS[:150]), if_match=now)).status == 204
    assert await inside(directory, group) == IDS[:150]
    assert (await service.delete(directory, request(id=group))).status == 204
    assert await left(directory, group) == 0
