"""Pages and scans over accounts: exact places, whatever pages the store gives, and nobody counted who is gone."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import pytest

from infra.local.faults import Fault, FaultyTables, random_faults
from shared.directory.directory import Directory
from shared.directory.keys import Key
from shared.directory.records import listing
from shared.directory.records.bulk import create_many
from shared.directory.records.counts import FRESH_SECONDS
from shared.directory.records.model import Account
from shared.tables.port import Page, Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import (
    BY,
    change,
    create,
    linked,
    person,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
)
from tests.waiting import PATIENCE

Row = TypeVar("Row")


async def filled(tables: Tables, accounts: int = 40, buckets: int = 4) -> tuple[Directory, list[str]]:
    """A directory and the ids of its live accounts in their order; some others were retired or deleted."""
    directory = await small(tables, buckets=buckets)
    new = [person(directory, f"p{n}", f"{n}@example.com") for n in range(accounts + 2)]
    stored: list[Account] = []
    for bucket in range(buckets):
        here = [account for account in new if directory.keys.bucket(account.id) == bucket]
        stored += [a for a in await create_many(directory.accounts, here, by=BY) if isinstance(a, Account)]
    first, last = stored.pop(0), stored.pop()
    await directory.accounts.delete(first, by=BY)
    claimed = await change(directory, last, linked(last, "i"))
    await change(directory, claimed, retired(claimed))
    return directory, sorted((a.id for a in stored), key=lambda i: (directory.keys.bucket(i), i))


async def every(rows: AsyncIterator[Row]) -> list[Row]:
    return [row async for row in rows]


def ids(accounts: Sequence[Account]) -> list[str]:
    return [account.id for account in accounts]


@pytest.mark.parametrize("count", [0, 1, 3, 10, 40, 100])
async def test_a_page_from_anywhere_is_exact(sqlite_tables: SqliteTables, count: int) -> None:
    _, order = await filled(sqlite_tables)
    directory = await reopened(sqlite_tables)
    for start in [*range(1, 43), 40, 1, 20, 1000]:
        total, page = await directory.listing.page(start, count)
        assert total == 40
        assert ids(page) == order[start - 1 :][:count], start


@pytest.mark.parametrize("seed", range(4))
async def test_short_and_empty_pages_shift_nothing(sqlite_tables: SqliteTables, seed: int) -> None:
    _, order = await filled(sqlite_tables, buckets=2)
    paged = FaultyTables(sqlite_tables, random_faults(seed, 0.6, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE]))
    directory = await reopened(paged)
    for start in range(1, 42, 3):
        assert ids((await directory.listing.page(start, 7))[1]) == order[start - 1 :][:7]
    scanned = [a.id for bucket in range(2) async for a in directory.listing.scan(bucket)]
    assert scanned == order


async def test_both_backends_order_pages_alike(tables: Tables) -> None:
    directory, order = await filled(tables, 10)
    assert (await directory.listing.page(1, 100))[0] == 10
    pages = [ids((await directory.listing.page(start, 4))[1]) for start in (1, 5, 9)]
    assert list(itertools.chain(*pages)) == order


async def test_reading_on_skips_nothing_twice(sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.directory.records.counts.FRESH_SECONDS", PATIENCE)
    await filled(sqlite_tables, 40, buckets=1)
    counting = FaultyTables(sqlite_tables)
    directory = await reopened(counting)
    await directory.listing.page(1, 10)
    counting.reset()
    for start in (11, 21, 31):
        await directory.listing.page(start, 10)
    assert counting.requests == 3


async def test_a_page_from_anywhere_skips_a_part_of_a_bucket_at_most(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, order = await filled(sqlite_tables, 300, buckets=1)
    directory, skipped = await reopened(sqlite_tables), list[int]()
    parts = (await directory.accounts.counts.read(0)).shares
    query = SqliteTables.query

    async def noted(self: SqliteTables, *place: str, top: int = 1000, **how: Any) -> Page:
        if how.get("select") == []:
            skipped.append(top)
        return await query(self, *place, top=top, **how)

    monkeypatch.setattr(SqliteTables, "query", noted)
    for start in range(1, 300, 7):
        assert ids((await directory.listing.page(start, 5))[1]) == order[start - 1 :][:5]
    assert 0 < max(skipped) <= max(parts) < 100
    again = len(skipped)
    for start in range(1, 300, 7):
        await directory.listing.page(start, 5)
    assert len(skipped) == again  # where a page began is remembered


async def test_a_place_is_forgotten_when_the_bucket_changes(sqlite_tables: SqliteTables) -> None:
    directory, order = await filled(sqlite_tables, 12, buckets=1)
    for start in (1, 5, 9):
        await directory.listing.page(start, 4)
    await directory.accounts.delete(await directory.accounts.get(order[0]), by=BY)
    assert ids((await directory.listing.page(5, 4))[1]) == order[5:9]
    new = await create(directory, "new")
    after = sorted([*order[1:], new.id])
    assert ids((await directory.listing.page(5, 4))[1]) == after[4:8]


async def test_places_kept_in_memory_are_bounded(sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "REMEMBERED", 5)
    directory, order = await filled(sqlite_tables)
    for start in range(1, 41):
        assert ids((await directory.listing.page(start, 1))[1]) == order[start - 1 : start]
    assert len(directory.listing._places) <= 5


async def test_the_total_is_of_live_accounts_and_shows_own_changes_at_once(tables: Tables) -> None:
    directory, _ = await filled(tables, 5)
    assert await directory.listing.total() == 5
    account = await create(directory, "new")
    assert await directory.listing.total() == 6
    await directory.accounts.delete(account, by=BY)
    assert await directory.listing.total() == 5


async def test_another_process_sees_a_new_account_in_the_total_after_a_while(sqlite_tables: SqliteTables) -> None:
    await filled(sqlite_tables, 5)
    one, other = await reopened(sqlite_tables), await reopened(sqlite_tables)
    seconds = 0.0
    other.accounts.counts._clock = lambda: seconds
    assert await other.listing.total() == 5
    await create(one, "new")
    assert await other.listing.total() == 5
    seconds = FRESH_SECONDS + 0.1
    assert await other.listing.total() == 6


async def test_what_was_given_up_leads_nobody_into_a_plan(sqlite_tables: SqliteTables) -> None:
    """A value that was corrected is no longer one that several share."""
    directory, order = await filled(sqlite_tables, 10, buckets=2)
    before = await directory.accounts.get(order[0])
    lead = directory.keys.lead(Key("email", before.emails[0]))
    bucket = directory.keys.bucket_of(lead)
    assert await directory.listing.find_led(bucket, [lead]) == [{before.id}]
    await change(directory, before, with_emails(before, "new@example.com"))
    assert await directory.tables.get(*directory.keys.pointer(Key("email", before.emails[0]), before.id))
    assert await directory.listing.find_led(bucket, [lead]) == [set()]
    assert lead not in {f"p_{digest}" for digest, _ in await every(directory.listing.scan_pointers(bucket))}


async def test_scans_yield_what_they_say(sqlite_tables: SqliteTables) -> None:
    directory, order = await filled(sqlite_tables, 10, buckets=2)
    renamed = await directory.accounts.get(order[0])
    await change(directory, renamed, with_changes(renamed, userName="other"))
    facts = [account for bucket in (0, 1) for account in await every(directory.listing.scan_facts(bucket))]
    assert sorted(a.id for a in facts if not a.retired) == sorted(order)
    assert [a.text for a in facts] == [""] * 11
    assert sum(a.retired for a in facts) == 1
    names = dict([pair for bucket in (0, 1) for pair in await every(directory.listing.scan_names(bucket))])
    assert names[directory.keys.digest(Key("userName", "OTHER"))] == order[0]
    assert len(names) == 11
    pointers = [pair for bucket in (0, 1) for pair in await every(directory.listing.scan_pointers(bucket))]
    assert {account_id for _, account_id in pointers} == {a.id for a in facts}
    assert (directory.keys.digest(Key("email", renamed.emails[0])), renamed.id) in pointers
