"""A directory of which a copy has one row of a change and not the other is whole again once it is mended."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from shared.directory.directory import Directory
from shared.directory.keys import AUDIT, COUNT, LIVE, POINTER
from shared.directory.mending import Contradiction, mend
from shared.directory.records.members import Member
from shared.directory.records.model import Group, Status
from shared.directory.sweep import sweep
from shared.tables.access import read_range
from shared.tables.port import ANY, Delete, Insert, Row, Upsert
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import BY, change, create, linked, reopened, small, with_changes


async def lose(directory: Directory, partition: str, which: Callable[[Row], bool]) -> None:
    rows = [row for row in await read_range(directory.tables, partition) if which(row)]
    assert rows
    await directory.tables.commit(partition, [Delete(row.key, ANY) for row in rows])


async def mended(tables: SqliteTables) -> list[Contradiction]:
    directory = await reopened(tables)
    found = await mend(directory)
    await sweep(directory)
    assert await mend(await reopened(tables)) == found, "a second time changes nothing"
    return found


@pytest.mark.parametrize("lost", ["claims", "pointers", "count"])
async def test_what_leads_to_an_account_is_made_of_it(sqlite_tables: SqliteTables, lost: str) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann", "ann@contoso.com", externalId="oid-a")
    await create(directory, "bea", "bea@contoso.com")
    await change(directory, ann, linked(ann, "oid-a"))
    keys = directory.keys
    partition = keys.pointers(0) if lost == "pointers" else keys.resources(0)
    begins = {"claims": "n_", "pointers": POINTER, "count": COUNT}[lost]
    await lose(directory, partition, lambda row: row.key.startswith(begins))
    assert await mended(sqlite_tables) == []
    assert len(await check_invariants(sqlite_tables)) == 2
    assert await stale_rows(sqlite_tables) == 0


async def test_whoever_was_deleted_meanwhile_stays_deleted(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    row = await sqlite_tables.get(directory.keys.home(ann.id), ann.key)
    assert row is not None
    await directory.accounts.delete(ann, by=BY)
    await sqlite_tables.commit(row.partition, [Insert(row.key, row.columns)])
    assert await mended(sqlite_tables) == []
    assert await check_invariants(sqlite_tables) == []


async def test_a_history_tells_of_nothing_that_the_account_does_not_have(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    row = await sqlite_tables.get(directory.keys.home(ann.id), ann.key)
    assert row is not None
    await change(directory, ann, with_changes(ann, title="Dr."))
    await sqlite_tables.commit(row.partition, [Upsert(row.key, row.columns)])
    assert await mended(sqlite_tables) == []
    await check_invariants(sqlite_tables)
    rows = await read_range(sqlite_tables, row.partition, AUDIT)
    assert len(rows) == 1


async def test_two_accounts_of_one_name_are_for_a_person_to_decide(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann, bea = await create(directory, "ann"), await create(directory, "bea")
    row = await sqlite_tables.get(directory.keys.home(ann.id), ann.key)
    assert row is not None
    copied = {**row.columns, "changes": 1}
    await sqlite_tables.commit(row.partition, [Upsert(LIVE + bea.id, copied)])
    (found,) = await mended(sqlite_tables)
    assert (found.attribute, {found.id, found.holder}) == ("userName", {ann.id, bea.id})


async def test_members_are_led_to_their_groups(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    group = Group.new(directory.groups.keys.new_id("Staff"), {"displayName": "Staff"}, Status.LOCAL, "2026")
    await directory.groups.create(group, by=BY, members=[Member(ann.id)])
    await lose(directory, directory.keys.groups_of(ann.id), lambda row: True)
    assert await directory.members.indexed([ann.id]) == []
    assert await mended(sqlite_tables) == []
    assert await directory.members.indexed([ann.id]) == [(ann.id, group.id)]
