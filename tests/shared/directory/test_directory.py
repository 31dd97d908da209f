"""A directory is made once, whoever opens it first, and its policy reaches every process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from infra.local.faults import FaultyTables
from shared.directory.directory import Directories
from shared.directory.keys import Key
from shared.directory.matching.policy import Policy
from shared.directory.settings import SECONDS
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import create, reopened, small


async def test_a_directory_opened_by_several_processes_at_once_is_one(tables: Tables) -> None:
    opened = await asyncio.gather(*(Directories(FaultyTables(tables)).open("d") for _ in range(5)))
    assert len({directory.keys.digest(Key("userName", "ann")) for directory in opened}) == 1
    assert {directory.keys.buckets for directory in opened} == {64}


async def test_a_policy_is_the_default_until_one_is_set(tables: Tables) -> None:
    directory = await small(tables)
    assert await directory.policies.get() == Policy()
    policy = Policy(verified_domains=frozenset(["Example.com"]), excluded=frozenset(f"p{n}@x" for n in range(8_000)))
    await directory.policies.set(policy)
    assert await directory.policies.get() == policy
    assert await (await reopened(tables)).policies.get() == policy


async def test_a_changed_policy_reaches_other_processes_after_a_while(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    other = await reopened(sqlite_tables)
    seconds = 0.0
    other.policies._clock = lambda: seconds
    other.policies._until = 0.0
    assert await other.policies.get() == Policy()
    policy = Policy(adopt_on_create=True)
    await directory.policies.set(policy)
    assert await other.policies.get() == Policy()
    seconds = SECONDS
    assert await other.policies.get() == policy


async def test_a_policy_that_is_due_is_read_once_for_all_who_ask_for_it(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await small(counting)
    directory.policies._until = 0.0
    counting.reset()
    await asyncio.gather(*(directory.policies.get() for _ in range(5)))
    assert counting.requests == 1


async def test_a_mapping_is_read_every_time(sqlite_tables: SqliteTables) -> None:
    here, there = await small(sqlite_tables), await reopened(sqlite_tables)
    assert await there.mappings.get() is None
    for mapping in ({"attributes": [1]}, {"attributes": []}):
        await here.mappings.set(mapping)
        assert await there.mappings.get() == mapping


async def test_opening_a_directory_reads_what_it_goes_by_in_one_round_trip(sqlite_tables: SqliteTables) -> None:
    policy = Policy(adopt_on_create=True)
    await (await small(sqlite_tables)).policies.set(policy)
    counting = FaultyTables(sqlite_tables)
    directory = await reopened(counting)
    assert (await directory.policies.get(), await directory.schemas.get()) == (policy, "[]")
    assert counting.sequential == 1


async def test_a_change_of_the_policy_loses_nobody_elses(sqlite_tables: SqliteTables) -> None:
    here, there = [await Directories(sqlite_tables).open("main") for _ in range(2)]
    assert (await here.policies.get()).excluded == frozenset()

    def excluding(name: str) -> Callable[[Policy], Policy]:
        return lambda policy: replace(policy, excluded=policy.excluded | {name})

    await asyncio.gather(*(where.policies.change(excluding(f"{n}")) for n in range(5) for where in (here, there)))
    anew = await Directories(sqlite_tables).open("main")
    assert (await anew.policies.get()).excluded == {"0", "1", "2", "3", "4"}


async def test_a_directory_keeps_the_buckets_that_it_was_made_with(sqlite_tables: SqliteTables) -> None:
    assert (await Directories(sqlite_tables, buckets=256).open("large")).keys.buckets == 256
    reopened_later = await Directories(sqlite_tables).open("large")
    assert reopened_later.keys.buckets == 256
    account = await create(reopened_later, "ann@example.com", "a@example.com", externalId="k")
    assert await reopened_later.accounts.list_by(Key("externalId", "k")) == [account]
    assert (await reopened_later.listing.page(1, 10))[1] == [account]
