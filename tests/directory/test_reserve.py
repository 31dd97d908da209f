"""Claims that a run reserves ahead of its links, and whoever comes between the two."""

from __future__ import annotations

import pytest

from shared.directory import bulk
from shared.directory.bulk import create_many, replace_many, reserve_many
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key
from shared.directory.model import Account, Status
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.directory.invariants import check_invariants
from tests.directory.people import BY, create, linked, person, reopened, small

RUN = "run:1"


async def planned(tables: Tables, *names: str) -> tuple[Directory, list[Account]]:
    """Return a directory with local accounts, as a plan saw them."""
    directory = await small(tables, buckets=1)
    return directory, [await create(directory, name) for name in names]


async def link(directory: Directory, accounts: list[Account], by: str = RUN) -> list[Account | DirectoryError]:
    """Link each account with the identity of its name."""
    changes = [(account, linked(account, f"oid-{account.user_name}")) for account in accounts]
    return await replace_many(directory.accounts, changes, by=by, action="link")


async def reserve(directory: Directory, accounts: list[Account], by: str = RUN) -> None:
    await reserve_many(directory.accounts, [(a.id, f"oid-{a.user_name}") for a in accounts], by=by)


async def provisioned(directory: Directory, identity: str) -> Account:
    """Create over SCIM an account that carries an identity as its externalId."""
    new = person(directory, "scim", status=Status.PROVISIONED, externalId=identity)
    return await directory.accounts.create(new, by="scim")


async def test_reserved_links_are_found_by_their_identity(tables: Tables) -> None:
    directory, accounts = await planned(tables, "a", "b", "c")
    await reserve(directory, accounts)
    assert all(isinstance(outcome, Account) for outcome in await link(directory, accounts))
    for account in accounts:
        (found,) = await directory.accounts.list_by(Key("identity", f"oid-{account.user_name}"))
        assert found.id == account.id
    await check_invariants(tables)


async def test_reserving_twice_is_reserving_once(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a", "b")
    await reserve(directory, accounts[:1])
    await reserve(directory, accounts)
    assert all(isinstance(outcome, Account) for outcome in await link(directory, accounts))
    await check_invariants(sqlite_tables)


async def test_a_reservation_of_another_run_is_taken_over(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a")
    await reserve(directory, accounts, by="run:0")
    assert isinstance((await link(directory, accounts))[0], Account)
    await check_invariants(sqlite_tables)


async def test_an_identity_that_somebody_was_provisioned_with_is_given_back(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a")
    await provisioned(directory, "oid-a")
    await reserve(directory, accounts)
    assert isinstance((await link(directory, accounts))[0], AlreadyExists)
    await check_invariants(sqlite_tables)


async def test_without_giving_back_two_accounts_would_have_one_identity(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> None:
        pass

    monkeypatch.setattr(bulk, "_give_back", nothing)
    directory, accounts = await planned(sqlite_tables, "a")
    await create_many(directory.accounts, [person(directory, "b", externalId="oid-a")], by=BY)
    await reserve(directory, accounts)
    assert isinstance((await link(directory, accounts))[0], Account)
    assert len(await directory.accounts.list_by(Key("externalId", "oid-a"))) == 2


async def test_a_create_between_reserving_and_linking_wins_and_the_link_is_refused(sqlite_tables: SqliteTables) -> None:
    directory, accounts = await planned(sqlite_tables, "a")
    await reserve(directory, accounts)
    await provisioned(await reopened(sqlite_tables), "oid-a")
    # The create changed the version of the account that held the claim without carrying it.
    assert isinstance((await link(directory, accounts))[0], DirectoryError)
    assert len(await directory.accounts.list_by(Key("externalId", "oid-a"))) == 1
    await check_invariants(sqlite_tables)


async def test_a_reserved_identity_can_be_linked_to_another_account_meanwhile(sqlite_tables: SqliteTables) -> None:
    directory, (a, b) = await planned(sqlite_tables, "a", "b")
    await reserve(directory, [a])
    await directory.accounts.replace(b, linked(b, "oid-a"), by=BY, action="link")
    assert isinstance((await link(directory, [a]))[0], DirectoryError)
    (found,) = await directory.accounts.list_by(Key("identity", "oid-a"))
    assert found.id == b.id
    await check_invariants(sqlite_tables)
