"""The application's own key of an account: of one account only, whoever else wants it at the same moment."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from infra.local.faults import FaultyTables
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key, application_key
from shared.directory.records import claims
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.model import Account, digest_facts
from shared.directory.sweep import sweep
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import (
    BY,
    call_number,
    change,
    create,
    linked,
    outcome,
    pause,
    person,
    reopened,
    retired,
    small,
    with_changes,
)


def keyed(account: Account, application_id: str | None = "17") -> Account:
    return replace(account, application_id=application_id)


async def make(directory: Directory, name: str, application_id: str = "17") -> Account:
    return await directory.accounts.create(keyed(person(directory, name), application_id), by=BY)


async def found(directory: Directory, application_id: str = "17") -> list[str]:
    return [account.user_name for account in await directory.accounts.list_by(application_key(application_id))]


async def test_it_is_found_and_no_other_account_may_have_it(tables: Tables) -> None:
    directory = await small(tables)
    ann, bea = await make(directory, "ann"), await create(directory, "bea")
    assert await found(directory) == ["ann"]
    assert (await directory.accounts.get(ann.id)).application_id == "17"
    for refused in (make(directory, "carl"), change(directory, bea, keyed(bea))):
        with pytest.raises(AlreadyExists, match="applicationId: another account holds this value") as taken:
            await refused
        assert (taken.value.attribute, taken.value.holder) == ("applicationId", ann.id)
    assert await directory.accounts.claims.claimed(application_key("17")) == ann.id
    await check_invariants(tables)
    assert await stale_rows(tables) == 0, "what was refused leaves nothing behind"


async def test_it_is_compared_as_the_application_writes_it(tables: Tables) -> None:
    """The 15-character ids of Salesforce differ in nothing but case."""
    directory = await small(tables)
    for name, own in (("ann", "00530000009abcD"), ("bea", "00530000009ABCD"), ("carl", "\u017f"), ("dora", "s")):
        await make(directory, name, own)
        assert await found(directory, own) == [name]
    await check_invariants(tables)


async def test_it_is_free_once_the_account_has_another_or_is_deleted(tables: Tables) -> None:
    directory = await small(tables)
    ann = await make(directory, "ann")
    ann = await change(directory, ann, keyed(ann, "18"))
    bea = await make(directory, "bea")
    assert (await found(directory), await found(directory, "18")) == (["bea"], ["ann"])
    await directory.accounts.delete(bea, by=BY)
    assert await found(directory) == []
    await change(directory, ann, keyed(ann))
    assert await found(directory) == ["ann"]
    await check_invariants(tables)
    assert await stale_rows(tables) == 0


async def test_it_stays_with_an_account_that_scim_deletes_and_that_comes_back(tables: Tables) -> None:
    directory = await small(tables)
    ann = await make(directory, "ann")
    ann = await change(directory, ann, linked(ann, "i"))
    away = await change(directory, ann, retired(ann))
    assert await outcome(make(directory, "bea")) is AlreadyExists
    back = await change(directory, away, linked(away, "i"))
    assert (back.application_id, await found(directory)) == ("17", ["ann"])
    await check_invariants(tables)


async def test_the_history_says_that_it_changed_and_not_what_it_was(tables: Tables) -> None:
    directory = await small(tables)
    ann = await make(directory, "ann")
    ann = await change(directory, ann, keyed(ann, "18"))
    (_, changed) = await directory.accounts.history(ann.id)
    assert (changed.attributes, changed.before) == (("applicationId",), {})


async def test_it_is_no_fact_that_matching_asks_for(tables: Tables) -> None:
    directory = await small(tables)
    ann = await create(directory, "ann")
    after = await change(directory, ann, keyed(ann))
    assert after.facts() == ann.facts()
    assert (await directory.accounts.get(ann.id)).digest == digest_facts(ann.facts()), "no later run decides anew"


async def test_of_many_creates_at_once_one_gets_it(tables: Tables) -> None:
    directory = await small(tables)
    outcomes = await asyncio.gather(*(outcome(make(directory, f"p{n}")) for n in range(20)))
    assert sorted(map(str, outcomes), key=len) == ["None", *[str(AlreadyExists)] * 19]
    assert len(await check_invariants(tables)) == 1


async def test_of_many_accounts_that_are_written_together_each_gets_its_own_and_one_what_two_want(
    tables: Tables,
) -> None:
    directory = await small(tables, buckets=1)
    await make(directory, "ann")
    wanted = {"bea": "1", "carl": "2", "dora": "2", "eve": "17", "fay": "3"}
    made = await create_many(directory.accounts, [keyed(person(directory, n), i) for n, i in wanted.items()], by=BY)
    assert [type(one) for one in made].count(AlreadyExists) == 2
    assert isinstance(made[3], AlreadyExists)
    assert len(await found(directory, "2")) == 1
    assert (await found(directory, "1"), await found(directory, "3")) == (["bea"], ["fay"])
    await check_invariants(tables)
    bea, fay = (
        await directory.accounts.list_by(application_key("1")),
        await directory.accounts.list_by(application_key("3")),
    )
    gus, hal = await create(directory, "gus"), await create(directory, "hal")
    changes = [
        (bea[0], keyed(bea[0], "4")),
        (fay[0], keyed(fay[0], None)),
        (gus, keyed(gus, "5")),
        (hal, keyed(hal, "5")),
    ]
    done = await replace_many(directory.accounts, changes, by=BY, action="import")
    assert [isinstance(one, DirectoryError) for one in done].count(True) == 1
    assert (await found(directory, "4"), await found(directory, "1"), await found(directory, "3")) == (["bea"], [], [])
    assert len(await found(directory, "5")) == 1
    await check_invariants(tables)


async def test_a_count_that_moves_under_a_bulk_create_costs_no_account_its_key(sqlite_tables: SqliteTables) -> None:
    """The transaction is tried again with claims that are its own by now."""
    store = sqlite_tables
    slow = FaultyTables(store)
    b = await small(store, buckets=1)
    a = await reopened(slow)
    new = [keyed(person(a, f"p{n}"), str(n)) for n in range(5)]
    reached = pause(
        slow,
        lambda call: call.verb == "commit" and any(k.startswith("z_") for k in call.keys),
        lambda: create(b, "other"),
    )
    made = await create_many(a.accounts, new, by=BY)
    assert reached
    assert all(isinstance(one, Account) for one in made)
    await check_invariants(store)


Writer = Callable[[Directory, Account], Awaitable[object]]


async def by_create(directory: Directory, account: Account) -> None:
    await make(directory, f"new-{account.user_name}")


async def by_change(directory: Directory, account: Account) -> None:
    now = await directory.accounts.get_any(account.id)
    await change(directory, now, keyed(now))


async def by_import(directory: Directory, account: Account) -> None:
    new = keyed(person(directory, f"many-{account.user_name}"))
    await create_many(directory.accounts, [new], by=BY)


async def by_update(directory: Directory, account: Account) -> None:
    await replace_many(directory.accounts, [(account, keyed(account))], by=BY, action="import")


async def by_giving_it_up(directory: Directory, account: Account) -> None:
    now = await directory.accounts.get_any(account.id)
    held = await change(directory, now, keyed(now))
    await change(directory, held, keyed(held, None))


@pytest.mark.parametrize("first", [by_create, by_change, by_import, by_update, by_giving_it_up])
@pytest.mark.parametrize("second", [by_create, by_change, by_import, by_update, by_giving_it_up])
async def test_two_writers_never_both_get_it_wherever_one_waits(
    sqlite_tables: SqliteTables, first: Writer, second: Writer
) -> None:
    for number in itertools.count(1):
        name = f"at{number}"
        b = await small(sqlite_tables, name)
        ann, bea = await create(b, "ann"), await create(b, "bea")
        slow = FaultyTables(sqlite_tables)
        a = await reopened(slow, name)
        slow.reset()
        reached = pause(slow, call_number(number), lambda b=b, bea=bea: outcome(second(b, bea)))  # type: ignore[misc]
        await outcome(first(a, ann))
        accounts = await check_invariants(sqlite_tables, name)
        assert sum(account.application_id == "17" for account in accounts) <= 1
        if not reached:
            assert number > 2
            return


@pytest.mark.parametrize("key", [Key("userName", "bea"), application_key("17")], ids=["name", "applicationId"])
async def test_who_waits_for_a_claim_holds_up_no_other_create(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, key: Key
) -> None:
    """The claim of somebody who died with it: whoever wants it waits for up to four seconds, once."""
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    await directory.accounts.claims.hold(key, ann.id)
    beside: list[str] = []

    async def meanwhile(seconds: float) -> None:
        beside.append((await asyncio.wait_for(create(directory, "carl"), 10)).user_name)

    monkeypatch.setattr(claims, "sleep", meanwhile)
    await make(directory, "bea")
    assert beside == ["carl"]
    assert len(await check_invariants(sqlite_tables)) == 3


async def test_what_a_crash_leaves_of_it_is_swept_and_stands_in_nobodys_way(tables: Tables) -> None:
    directory = await small(tables)
    ann = await create(directory, "ann")
    for own in ("17", "18"):
        await directory.accounts.claims.hold(application_key(own), ann.id)
    assert await found(directory) == []
    assert (await make(directory, "bea")).application_id == "17"
    assert await stale_rows(tables) == 1
    assert await sweep(await reopened(tables)) == 1
    assert await stale_rows(tables) == 0
    assert await found(await reopened(tables)) == ["bea"]
    await check_invariants(tables)


async def test_other_changes_leave_it(tables: Tables) -> None:
    directory = await small(tables)
    ann = await make(directory, "ann")
    renamed = await change(directory, ann, with_changes(ann, userName="anna", title="Lead"))
    assert (renamed.application_id, await found(directory)) == ("17", ["anna"])
