"""Claims that a run reserves ahead of its links, and whoever comes between the two."""

from __future__ import annotations

import itertools
from contextlib import suppress

import pytest

from infra.local.faults import Call, FaultyTables
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key
from shared.directory.records import bulk
from shared.directory.records.bulk import create_many, find_neighbours, replace_many, reserve_many
from shared.directory.records.model import Account, Status
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import BY, change, create, linked, person, reopened, retired, small, with_changes

RUN = "run:1"


async def planned(tables: Tables, *names: str) -> tuple[Directory, list[Account]]:
    """Return a directory with local accounts, as a plan saw them."""
    directory = await small(tables, buckets=1)
    return directory, [await create(directory, name) for name in names]


async def link(directory: Directory, accounts: list[Account], reserved: set[str]) -> list[Account | DirectoryError]:
    """Link each account with the identity of its name."""
    changes = [(account, linked(account, f"oid-{account.user_name}")) for account in accounts]
    return await replace_many(directory.accounts, changes, by=RUN, action="link", reserved=reserved)


async def reserve(directory: Directory, accounts: list[Account], by: str = RUN) -> set[str]:
    return await reserve_many(directory.accounts, [(a.id, f"oid-{a.user_name}") for a in accounts], by=by)


async def provisioned(directory: Directory, identity: str) -> Account:
    """Create over SCIM an account that carries an identity as its externalId."""
    new = person(directory, "scim", status=Status.PROVISIONED, externalId=identity)
    return await directory.accounts.create(new, by="scim")


async def test_reserved_links_are_found_by_their_identity(tables: Tables) -> None:
    directory, accounts = await planned(tables, "a", "b", "c")
    reserved = await reserve(directory, accounts)
    assert reserved == {account.id for account in accounts}
    assert all(isinstance(outcome, Account) for outcome in await link(directory, accounts, reserved))
    for account in accounts:
        (found,) = await directory.accounts.list_by(Key("identity", f"oid-{account.user_name}"))
        assert found.id == account.id
    await check_invariants(tables)


async def test_reserving_twice_is_reserving_once(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a", "b")
    await reserve(directory, accounts[:1])
    reserved = await reserve(directory, accounts)
    assert reserved == {account.id for account in accounts}
    assert all(isinstance(outcome, Account) for outcome in await link(directory, accounts, reserved))
    await check_invariants(sqlite_tables)


async def test_a_reservation_of_another_run_is_taken_over(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a")
    await reserve(directory, accounts, by="run:0")
    assert await reserve(directory, accounts) == set()
    assert isinstance((await link(directory, accounts, set()))[0], Account)
    await check_invariants(sqlite_tables)


async def test_an_id_that_another_account_gave_up_is_free(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a", "b")
    other = await create(directory, "other", externalId="oid-a")
    await change(directory, other, with_changes(other, externalId=None))
    assert await reserve(directory, accounts) == {account.id for account in accounts}


async def test_an_identity_that_somebody_was_provisioned_with_is_not_sure(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a", "b")
    await provisioned(directory, "oid-a")
    for _ in range(2):
        assert await reserve(directory, accounts) == {accounts[1].id}
    assert isinstance((await link(directory, accounts, {accounts[1].id}))[0], AlreadyExists)
    await check_invariants(sqlite_tables)


async def test_an_identity_that_an_imported_account_carries_is_not_sure(sqlite_tables: SqliteTables) -> None:
    """An import writes no claim, so that the reservation goes through: only the pointer tells."""
    directory, accounts = await planned(sqlite_tables, "a", "b")
    await create_many(directory.accounts, [person(directory, "imported", externalId="oid-a")], by=BY)
    for _ in range(2):
        assert await reserve(directory, accounts) == {accounts[1].id}
    assert isinstance((await link(directory, accounts, {accounts[1].id}))[0], AlreadyExists)
    assert len(await directory.accounts.list_by(Key("externalId", "oid-a"))) == 1
    await check_invariants(sqlite_tables)


async def test_without_looking_for_others_two_accounts_would_have_one_identity(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nobody(*_: object) -> set[str]:
        return set()

    monkeypatch.setattr(bulk, "_carried_by_others", nobody)
    directory, accounts = await planned(sqlite_tables, "a")
    await create_many(directory.accounts, [person(directory, "b", externalId="oid-a")], by=BY)
    reserved = await reserve(directory, accounts)
    assert isinstance((await link(directory, accounts, reserved))[0], Account)
    assert len(await directory.accounts.list_by(Key("externalId", "oid-a"))) == 2


async def test_a_create_between_reserving_and_linking_wins_and_the_link_is_refused(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a")
    reserved = await reserve(directory, accounts)
    await provisioned(await reopened(sqlite_tables), "oid-a")
    # The create changed the version of the account that held the claim without carrying it.
    assert isinstance((await link(directory, accounts, reserved))[0], DirectoryError)
    assert len(await directory.accounts.list_by(Key("externalId", "oid-a"))) == 1
    await check_invariants(sqlite_tables)


async def test_a_reserved_identity_can_be_linked_to_another_account_meanwhile(sqlite_tables: SqliteTables) -> None:
    directory, (a, b) = await planned(sqlite_tables, "a", "b")
    reserved = await reserve(directory, [a])
    await directory.accounts.replace(b, linked(b, "oid-a"), by=BY, action="link")
    assert isinstance((await link(directory, [a], reserved))[0], DirectoryError)
    (found,) = await directory.accounts.list_by(Key("identity", "oid-a"))
    assert found.id == b.id
    await check_invariants(sqlite_tables)


async def held_create(tables: SqliteTables, first: int, second: int) -> tuple[int, bool]:
    """Reserve while a create with the identity is held at its `first` step, and once more, as an activity that runs
    twice, while it is held at its `second`; then link. Return how many accounts have the identity, and whether both
    steps were reached.
    """
    name = f"at{first}x{second}"
    directory = await small(tables, name, buckets=1)
    account = await create(directory, "a")
    slow = FaultyTables(tables)
    other = await reopened(slow, name)
    slow.reset()
    reserved: list[set[str]] = []

    async def hook(call: Call) -> None:
        if slow.requests in (first, second) and len(reserved) < 2:
            reserved.append(await reserve(directory, [account]))

    slow.before = hook
    with suppress(DirectoryError):
        await provisioned(other, "oid-a")
    await link(directory, [account], reserved[0] if reserved else set())
    carrying = await directory.accounts.list_by(Key("externalId", "oid-a"))
    return len(carrying), len(reserved) == 2


async def test_reserving_at_any_two_steps_of_a_create_leaves_the_identity_to_one(sqlite_tables: SqliteTables) -> None:
    reached = 0
    for first, second in itertools.combinations(range(1, 12), 2):
        carrying, both = await held_create(sqlite_tables, first, second)
        assert carrying == 1, (first, second)
        reached += both
    assert reached > 5


async def test_neighbours_are_found_live_or_retired_dense_or_sparse(tables: Tables) -> None:
    directory, accounts = await planned(tables, *(f"p{number:02}" for number in range(30)))
    gone, away, *_ = accounts
    await directory.accounts.delete(gone, by=BY)
    await directory.accounts.replace(away, retired(away), by=BY)
    ids = sorted(account.id for account in accounts)
    for some in (ids, ids[::7], sorted((gone.id, away.id)), ids[:1]):
        found = await find_neighbours(directory.accounts, some)
        assert [account.id if account else None for account in found] == [i if i != gone.id else None for i in some]
