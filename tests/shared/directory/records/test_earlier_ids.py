"""An object id that an earlier version stored in another form, and led to by that form alone, leads to its account."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.records.bulk import replace_many
from shared.directory.records.model import Account, SignInEvidence, Status
from shared.directory.records.unlinking import release_many
from shared.directory.sweep import sweep
from shared.tables.port import ANY, Delete
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import BY, change, create, linked, person, reopened, small

GUID = "11111111-0000-4000-8000-000000000001"
BRACES = f"{{{GUID.upper()}}}"
KINDS = ("objectId", "nameId", "externalId")


def having(account: Account, kind: str, value: str) -> Account:
    if kind == "externalId":
        return account.with_external_id(value)
    return replace(account, evidence=SignInEvidence(**{{"objectId": "object_id", "nameId": "name_id"}[kind]: value}))


async def store_as_before(directory: Directory, kind: str) -> Account:
    """Store an account with an id in braces, and what leads to it as an earlier version did."""
    new = person(directory, "ann", status=Status.PROVISIONED if kind == "externalId" else Status.LOCAL)
    account = await directory.accounts.create(having(new, kind, BRACES), by=BY)
    places = [directory.keys.pointer(Key(kind, GUID), account.id)]
    if kind == "externalId":
        places.append(directory.keys.claim(Key("identity", GUID)))
    for partition, row in places:
        await directory.tables.commit(partition, [Delete(row, ANY)])
    assert await directory.accounts.list_by(Key(kind, GUID)) == []
    return account


async def _in_bulk(directory: Directory, before: Account, after: Account) -> object:
    return await replace_many(directory.accounts, [(before, after)], by=BY, action="import")


async def _in_an_undo(directory: Directory, before: Account, after: Account) -> object:
    return await release_many(directory.accounts, [(before, after)], by=BY, action="undo")


@pytest.mark.parametrize("write", [change, _in_bulk, _in_an_undo])
@pytest.mark.parametrize("normalised", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_any_change_of_the_account_leads_to_it(
    sqlite_tables: SqliteTables,
    kind: str,
    normalised: bool,
    write: Callable[[Directory, Account, Account], Awaitable[object]],
) -> None:
    directory = await small(sqlite_tables)
    before = await store_as_before(directory, kind)
    after = having(before, kind, GUID) if normalised else replace(before, protected=True)
    await write(directory, before, after)
    await check_led(sqlite_tables, before, kind)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_sweep_leads_to_it(sqlite_tables: SqliteTables, kind: str) -> None:
    directory = await small(sqlite_tables)
    account = await store_as_before(directory, kind)
    for _ in range(2):
        await sweep(await reopened(sqlite_tables))
        await check_led(sqlite_tables, account, kind)
    assert (await directory.accounts.get(account.id)).etag == account.etag


async def test_a_sweep_takes_no_identity_from_whoever_is_linked_to_it(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    ann = await store_as_before(directory, "externalId")
    bea = await create(directory, "bea")
    await change(directory, bea, linked(bea, GUID))
    await sweep(await reopened(sqlite_tables))
    found = await (await reopened(sqlite_tables)).accounts.list_by(Key("externalId", GUID))
    assert {account.id for account in found} == {ann.id, bea.id}
    assert await directory.accounts.claims.claimed(Key("identity", GUID)) == bea.id


async def test_a_sweep_leads_those_to_an_account_whom_an_earlier_version_took_apart_from_it(
    sqlite_tables: SqliteTables,
) -> None:
    """It wrote no pointer, and a create made them a second account."""
    directory = await small(sqlite_tables)
    account = await directory.accounts.create(replace(person(directory, "ann"), parted=(GUID,)), by=BY)
    partition, row = directory.keys.pointer(Key("objectId", GUID), account.id)
    await directory.tables.commit(partition, [Delete(row, ANY)])
    for _ in range(2):
        await sweep(await reopened(sqlite_tables))
        await check_led(sqlite_tables, account, "objectId")
    assert (await directory.accounts.get(account.id)).etag == account.etag


async def check_led(tables: SqliteTables, account: Account, kind: str) -> None:
    directory = await reopened(tables)
    assert [found.id for found in await directory.accounts.list_by(Key(kind, GUID))] == [account.id]
    if kind == "externalId":
        assert await directory.accounts.claims.claimed(Key("identity", GUID)) == account.id
    await check_invariants(tables)
    assert await stale_rows(tables) == 0
