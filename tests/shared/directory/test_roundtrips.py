"""How many calls of the port each operation makes, against the aims in the design of the storage.

Sequential calls wait for each other and make the latency; requests cost money and the partition's share.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import pytest

from infra.local.faults import FaultyTables
from shared.directory.directory import Directory
from shared.directory.keys import Key, application_key
from shared.directory.records.bulk import create_many, find_neighbours, replace_many, reserve_many
from shared.directory.records.model import Account, Status
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import BY, change, create, linked, person, reopened, small, with_changes, with_emails
from tests.waiting import PATIENCE

Act = Callable[[Directory, str], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Cost:
    """Sequential calls and requests of an act on an account, in a directory that has been used."""

    act: Act
    sequential: int
    requests: int


def find(kind: str, value: str) -> Act:
    return lambda d, _: d.accounts.list_by(Key(kind, value))


def changed(change_of: Callable[[Account], Account]) -> Act:
    async def act(d: Directory, account_id: str) -> None:
        before = await d.accounts.get(account_id)
        await change(d, before, change_of(before))

    return act


async def delete(d: Directory, account_id: str) -> None:
    await d.accounts.delete(await d.accounts.get(account_id), by=BY)


COSTS = {
    "get by id": Cost(lambda d, account_id: d.accounts.get(account_id), 1, 1),
    "userName eq": Cost(find("userName", "ann@example.com"), 2, 2),
    "userName eq, nobody": Cost(find("userName", "nobody"), 1, 1),
    "externalId eq": Cost(find("externalId", "k"), 2, 2),
    "externalId eq, nobody": Cost(find("externalId", "nobody"), 1, 1),
    "applicationId eq, nobody": Cost(lambda d, _: d.accounts.list_by(application_key("u-1")), 1, 1),
    "set an applicationId": Cost(changed(lambda a: replace(a, application_id="u-1")), 3, 3),
    # One request more than aimed at: an e-mail may be found by the name claim or by a pointer, asked at once.
    "email eq": Cost(find("email", "work@example.com"), 2, 3),
    "email eq, nobody": Cost(find("email", "nobody"), 1, 2),
    "create, e-mail equal to userName": Cost(lambda d, _: create(d, "bea@example.com", "bea@example.com"), 1, 1),
    "create with another e-mail": Cost(lambda d, _: create(d, "bea@example.com", "b@example.com"), 2, 2),
    "create with externalId and another e-mail": Cost(
        lambda d, _: create(d, "bea@example.com", "b@example.com", externalId="i", status=Status.PROVISIONED), 2, 3
    ),
    "PATCH, no key changed": Cost(changed(lambda a: with_changes(a, title="Dr")), 2, 2),
    "change e-mail": Cost(changed(lambda a: with_emails(a, "new@example.com")), 4, 5),
    # By its former name an account is found, too: a pointer, beside what is written anyway.
    "rename": Cost(changed(lambda a: with_changes(a, userName="x")), 4, 6),
    # A pointer more: the e-mail was the userName, and is not any more.
    "rename to another name than the e-mail": Cost(
        changed(lambda a: with_changes(with_emails(a, a.user_name), userName="x")), 4, 8
    ),
    "link": Cost(changed(lambda a: linked(a, "i")), 5, 9),
    # What was kept of the account for an undo of a run or of an import goes with it.
    "delete": Cost(delete, 5, 11),
}


@pytest.fixture(autouse=True)
def counts_stay_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no count be read again because a test took long."""
    monkeypatch.setattr("shared.directory.records.counts.FRESH_SECONDS", PATIENCE)


@pytest.mark.parametrize("cost", COSTS.values(), ids=COSTS)
async def test_an_operation_costs_no_more_calls_than_written_here(sqlite_tables: SqliteTables, cost: Cost) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=1)
    account = await create(directory, "ann@example.com", "work@example.com", externalId="k")
    counting.reset()
    await cost.act(directory, account.id)
    assert (counting.sequential, counting.requests) == (cost.sequential, cost.requests)


async def test_an_application_id_costs_a_claim_more_and_is_found_without_a_scan(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=1)
    await create(directory, "ann@example.com")
    counting.reset()
    new = replace(person(directory, "bea@example.com"), application_id="u-1")
    await directory.accounts.create(new, by=BY)
    assert (counting.sequential, counting.requests) == (2, 2)
    counting.reset()
    assert [found.id for found in await directory.accounts.list_by(application_key("u-1"))] == [new.id]
    assert (counting.sequential, counting.requests) == (2, 2)


async def test_the_first_create_in_a_bucket_reads_its_count(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=1)
    counting.reset()
    await create(directory, "ann@example.com")
    assert (counting.sequential, counting.requests) == (2, 2)


async def test_a_total_reads_all_counts_side_by_side_and_keeps_them(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=64)
    counting.reset()
    await directory.listing.total()
    assert (counting.sequential, counting.requests) == (1, 64)
    await directory.listing.total()
    assert counting.requests == 64


async def test_a_page_reads_its_rows_and_one_more_where_it_crosses_a_bucket(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    await small(sqlite_tables, buckets=2)
    directory = await reopened(counting)
    new = [person(directory, f"p{n}") for n in range(60)]
    for bucket in (0, 1):
        await create_many(directory.accounts, [a for a in new if directory.keys.bucket(a.id) == bucket], by=BY)
    await directory.listing.page(1, 20)
    counting.reset()
    await directory.listing.page(21, 20)
    assert counting.requests <= 2
    await directory.listing.page(41, 20)
    assert counting.requests <= 4


async def test_a_hundred_accounts_cost_a_few_transactions(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=1)
    new = [person(directory, f"p{n}@example.com", f"p{n}@example.com") for n in range(99)]
    counting.reset()
    stored = await create_many(directory.accounts, new, by=BY)
    assert (counting.requests, counting.operations) == (1 + 3, 3 * 99 + 3)
    changes = [(a, linked(a, a.user_name)) for a in stored if isinstance(a, Account)]
    counting.reset()
    await replace_many(directory.accounts, changes, by=BY, action="link")
    # A look each for a second account; a transaction of claims, one of pointers, three of the accounts.
    assert counting.requests == 99 + 1 + 1 + 3


async def test_a_hundred_reserved_links_are_read_and_written_in_pages(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting, buckets=1)
    new = [person(directory, f"p{n}@example.com", f"p{n}@example.com") for n in range(99)]
    stored = await create_many(directory.accounts, new, by=BY)
    changes = [(a, linked(a, a.user_name)) for a in stored if isinstance(a, Account)]
    counting.reset()
    reserved = await reserve_many(directory.accounts, [(a.id, a.user_name) for a, _ in changes], by=BY)
    # Two transactions of claims and pointers, a page of pointers; claims are looked at only where one is there.
    assert counting.requests == 2 + 1
    counting.reset()
    await replace_many(directory.accounts, changes, by=BY, action="link", reserved=reserved)
    assert counting.requests == 3
    found = await find_neighbours(directory.accounts, sorted(a.id for a, _ in changes))
    assert counting.requests == 3 + 1
    assert all(account and account.link for account in found)
