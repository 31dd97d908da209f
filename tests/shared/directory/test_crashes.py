"""A process dies, or an answer is lost, at every storage call of every operation: doing it again ends right.

The work is written as its callers write it: look at what is there, then do what is left to do.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, no_faults, random_faults, script
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key, application_key
from shared.directory.records import bulk
from shared.directory.records.bulk import BulkOutcome, create_many, replace_many
from shared.directory.records.model import Account, Link, SignInEvidence
from shared.directory.sweep import sweep
from shared.directory.text import timestamp
from shared.tables.port import Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import (
    BY,
    Clock,
    change,
    commits_account,
    create,
    ids_of,
    linked,
    outcome,
    person,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
)


@dataclass(frozen=True, slots=True)
class Work:
    """`prepare` makes what must be there, `do` may be cut off and is done again, `done` looks at the end."""

    prepare: Callable[[Directory], Awaitable[object]]
    do: Callable[[Directory], Awaitable[object]]
    done: Callable[[Directory], Awaitable[bool]]


async def named(directory: Directory, *names: str) -> Account | None:
    """Return the account that holds one of the names."""
    for name in names:
        for account in await directory.accounts.list_by(Key("userName", name)):
            return account
    return None


async def nothing(directory: Directory) -> None: ...


async def ann(directory: Directory) -> None:
    await create(directory, "ann", "ann@example.com", "a@example.com", externalId="k")


async def ann_linked(directory: Directory) -> None:
    await ann(directory)
    account = await named(directory, "ann")
    assert account
    await change(directory, account, linked(account, "i"))


async def ann_retired(directory: Directory) -> None:
    await ann_linked(directory)
    account = await named(directory, "ann")
    assert account
    await change(directory, account, retired(account))


async def ann_and_bea(directory: Directory) -> None:
    await ann(directory)
    await create(directory, "bea")
    await create(directory, "cleo", "c@example.com")


async def create_ann(directory: Directory) -> None:
    new = person(directory, "ann", "a@example.com", externalId="k")
    with suppress(AlreadyExists):
        await directory.accounts.create(replace(new, evidence=SignInEvidence("n", "o", ("v@example.com",))), by=BY)


async def rename(directory: Directory) -> None:
    account = await named(directory, "ann", "x")
    assert account
    await change(directory, account, with_changes(account, userName="x"))


async def change_emails(directory: Directory) -> None:
    account = await named(directory, "ann")
    assert account
    await change(directory, account, with_emails(account, "ann", "a@example.com", "b@example.com"))


async def delete(directory: Directory) -> None:
    account = await named(directory, "ann")
    if account:
        await directory.accounts.delete(account, by=BY)


async def retire(directory: Directory) -> None:
    account = await named(directory, "ann")
    assert account
    if not account.retired:
        await change(directory, account, retired(account))


async def link(directory: Directory) -> None:
    account = await named(directory, "ann")
    assert account
    await change(directory, account, linked(account, "j"))


NAMES = [f"p{n}" for n in range(8)]


async def import_many(directory: Directory) -> None:
    missing = [name for name in NAMES if await named(directory, name) is None]
    new = [person(directory, name, f"{name}@example.com", externalId=f"k{name}") for name in missing]
    for bucket in range(directory.keys.buckets):
        await create_many(directory.accounts, [a for a in new if directory.keys.bucket(a.id) == bucket], by=BY)


async def import_keyed(directory: Directory) -> None:
    missing = [name for name in NAMES if await named(directory, name) is None]
    new = [replace(person(directory, name), application_id=f"own-{name}") for name in missing]
    for bucket in range(directory.keys.buckets):
        await create_many(directory.accounts, [a for a in new if directory.keys.bucket(a.id) == bucket], by=BY)


async def give_another_key(directory: Directory) -> None:
    account = await named(directory, "p7")
    assert account
    await change(directory, account, replace(account, application_id="own-new"))


async def owns(directory: Directory, name: str, application_id: str) -> bool:
    found = await directory.accounts.list_by(application_key(application_id))
    return [account.user_name for account in found] == [name]


async def link_many(directory: Directory) -> None:
    accounts = [await named(directory, name) for name in ("ann", "bea", "cleo")]
    changes = [(account, linked(account, f"i-{account.user_name}")) for account in accounts if account]
    for bucket in range(directory.keys.buckets):
        here = [(before, after) for before, after in changes if directory.keys.bucket(after.id) == bucket]
        await replace_many(directory.accounts, here, by=BY, action="link")


async def has(directory: Directory, name: str, **keys: str) -> bool:
    account = await named(directory, name)
    return account is not None and all([await ids_of(directory, *pair) == [account.id] for pair in keys.items()])


async def is_gone(directory: Directory) -> bool:
    return await named(directory, "ann") is None and await ids_of(directory, "email", "a@example.com") == []


async def is_retired(directory: Directory) -> bool:
    account = await named(directory, "ann")
    return account is not None and account.retired and await ids_of(directory, "identity", "i") == []


WORKS = {
    "create": Work(nothing, create_ann, lambda d: has(d, "ann", email="V@example.com", externalId="K", nameId="n")),
    "rename": Work(ann, rename, lambda d: has(d, "x", email="a@example.com")),
    "change e-mails": Work(ann, change_emails, lambda d: has(d, "ann", email="b@example.com")),
    "delete": Work(ann_linked, delete, is_gone),
    "delete a retired account": Work(ann_retired, delete, is_gone),
    "retire": Work(ann_linked, retire, is_retired),
    "link": Work(ann, link, lambda d: has(d, "ann", identity="j", externalId="j")),
    "link to another identity": Work(ann_linked, link, lambda d: has(d, "ann", identity="j")),
    "relink a retired account": Work(ann_retired, link, lambda d: has(d, "ann", identity="j")),
    "import": Work(nothing, import_many, lambda d: has(d, "p7", email="p7@example.com", externalId="kp7")),
    "import with the application's keys": Work(nothing, import_keyed, lambda d: owns(d, "p7", "own-p7")),
    "give another key": Work(import_keyed, give_another_key, lambda d: owns(d, "p7", "own-new")),
    "run": Work(ann_and_bea, link_many, lambda d: has(d, "bea", identity="i-bea")),
}


YOUNG = "2025"
"""A time at which nothing that was given up is old: before the clock of those who prepare."""


async def interrupted(store: Tables, work: Work, fault: Fault, number: int) -> tuple[str, FaultyTables, Directory]:
    """Prepare a directory of its own and do the work, with a fault at its call of this number."""
    name = f"{fault.name.lower().replace('_', '')}{number}"
    await work.prepare(await small(store, name, buckets=2, now=Clock()))
    faulty = FaultyTables(store)
    directory = await reopened(faulty, name)
    faulty.reset()
    faulty.faults = script({number: fault})
    with suppress(Crash, TablesError, DirectoryError):
        await work.do(directory)
    faulty.faults = no_faults
    return name, faulty, directory


@pytest.fixture
def three_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Transactions of three accounts, so that few make several."""
    monkeypatch.setattr(bulk, "OPERATIONS", 9)


@pytest.mark.usefixtures("three_at_once")
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
async def test_after_a_crash_at_any_call_it_is_done_again(
    sqlite_tables: SqliteTables, work: Work, fault: Fault
) -> None:
    for number in itertools.count(1):
        name, faulty, _ = await interrupted(sqlite_tables, work, fault, number)
        await check_invariants(sqlite_tables, name)
        again = await reopened(sqlite_tables, name)
        await work.do(again)
        assert await work.done(again)
        await check_invariants(sqlite_tables, name)
        if not faulty.crashed:
            assert number > 4
            break


@pytest.mark.usefixtures("three_at_once")
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
@pytest.mark.parametrize("fault", [Fault.LOST, Fault.THROTTLED])
async def test_after_a_failed_call_the_same_process_does_it_again(
    sqlite_tables: SqliteTables, work: Work, fault: Fault
) -> None:
    for number in itertools.count(1):
        name, faulty, directory = await interrupted(sqlite_tables, work, fault, number)
        await check_invariants(sqlite_tables, name)
        struck = faulty.requests >= number
        await work.do(directory)
        assert await work.done(directory)
        await check_invariants(sqlite_tables, name)
        if not struck:
            assert number > 4
            break


@pytest.mark.usefixtures("three_at_once")
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
async def test_what_crashes_leave_is_swept(sqlite_tables: SqliteTables, work: Work) -> None:
    for number in itertools.count(1):
        name, faulty, _ = await interrupted(sqlite_tables, work, Fault.CRASH_AFTER, number)
        left = await stale_rows(sqlite_tables, name)
        directory = await reopened(sqlite_tables, name)
        before = await check_invariants(sqlite_tables, name)
        assert await sweep(directory, YOUNG) == left
        assert await stale_rows(sqlite_tables, name) == 0
        assert await check_invariants(sqlite_tables, name) == before
        assert await sweep(directory, YOUNG) == 0
        if not faulty.crashed:
            break


async def test_a_sweep_removes_all_that_a_dead_import_left(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=2)
    faulty = FaultyTables(sqlite_tables)
    dying = await reopened(faulty)
    faulty.faults = lambda number, call: Fault.CRASH_BEFORE if commits_account(call) else None
    new = [person(directory, f"p{n}", *(f"{n}-{m}@example.com" for m in range(8))) for n in range(200)]
    with suppress(Crash):
        await create_many(dying.accounts, [a for a in new if directory.keys.bucket(a.id) == 0], by=BY)
    left = await stale_rows(sqlite_tables)
    assert left > 500
    paged = FaultyTables(sqlite_tables, random_faults(1, 0.2, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE]))
    assert await sweep(await reopened(paged)) == left
    assert await stale_rows(sqlite_tables) == 0


@pytest.mark.usefixtures("three_at_once")
@pytest.mark.parametrize("seed", range(8))
async def test_under_random_faults_everything_is_done_in_the_end(sqlite_tables: SqliteTables, seed: int) -> None:
    await small(sqlite_tables, buckets=2)
    faulty = FaultyTables(sqlite_tables, random_faults(seed, 0.15), latency=0.0)
    faults, faulty.faults = faulty.faults, no_faults
    directory = await reopened(faulty)
    faulty.faults = faults
    for work in (create_ann, import_many, link, rename):
        for _ in range(500):
            with suppress(TablesError, DirectoryError):
                await work(directory)
                break
    faulty.faults = no_faults
    assert await has(directory, "x", identity="j")
    assert await has(directory, "p7", email="p7@example.com")
    assert len(await check_invariants(sqlite_tables)) == 9


async def test_a_refusal_leaves_the_account_as_it_was_at_any_call(sqlite_tables: SqliteTables) -> None:
    for number in itertools.count(1):
        name = f"d{number}"
        directory = await small(sqlite_tables, name)
        account = await create(directory, "ann")
        await create(directory, "bea")
        faulty = FaultyTables(sqlite_tables)
        dying = await reopened(faulty, name)
        faulty.reset()
        faulty.faults = script({number: Fault.CRASH_AFTER})
        refused = None
        with suppress(Crash):
            refused = await outcome(
                change(dying, account, with_emails(with_changes(account, userName="bea"), "b@example.com"))
            )
        assert account in await check_invariants(sqlite_tables, name)
        if not faulty.crashed:
            assert refused is AlreadyExists
            break


async def test_many_new_accounts_are_stored_as_one_by_one(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    await create(directory, "P7", "mine@example.com")
    new = [person(directory, f"p{n}", f"{n}@example.com", externalId=f"k{n}") for n in range(70)]
    new.append(person(directory, "P3"))
    outcomes = await create_many(directory.accounts, new, by=BY)
    refused = {n: outcome for n, outcome in enumerate(outcomes) if not isinstance(outcome, Account)}
    assert {n: type(outcome) for n, outcome in refused.items()} == {7: AlreadyExists, 70: AlreadyExists}
    stored = [outcome for outcome in outcomes if isinstance(outcome, Account)]
    assert {a.id: a.etag for a in await check_invariants(sqlite_tables) if a.user_name != "P7"} == {
        a.id: a.etag for a in stored
    }
    assert await create_many(directory.accounts, [], by=BY) == []


async def test_accounts_too_large_for_one_transaction_are_stored_and_one_too_large_for_its_row_is_refused(
    sqlite_tables: SqliteTables,
) -> None:
    directory = await small(sqlite_tables, buckets=1)
    new = [person(directory, f"p{n}", note="x" * (300_000 if n != 2 else 400_000)) for n in range(10)]
    new.append(person(directory, "p10", *(f"{n}@{'x' * 100}.example.com" for n in range(600))))
    outcomes = await create_many(directory.accounts, new, by=BY)
    assert [type(o).__name__ for o in outcomes] == [*["Account"] * 2, "TooLarge", *["Account"] * 7, "TooLarge"]
    assert len(await check_invariants(sqlite_tables)) == 9
    stored = [o for o in outcomes if isinstance(o, Account)]
    changes = [(a, with_changes(a, note="y" * (300_000 if n else 400_000))) for n, a in enumerate(stored)]
    changed: list[BulkOutcome] = await replace_many(directory.accounts, changes, by=BY, action="import")
    assert [type(o).__name__ for o in changed] == ["TooLarge", *["Account"] * 8]
    await check_invariants(sqlite_tables)


async def test_many_changes_are_stored_and_answered_as_they_are(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1, now=Clock())
    accounts = [await create(directory, f"p{n}", f"{n}@example.com") for n in range(60)]
    moved = await change(directory, accounts[5], with_changes(accounts[5], title="Dr"))
    changes = [(a, linked(a, f"i{n}")) for n, a in enumerate(accounts)]
    changes[1] = (accounts[1], accounts[1])
    changes[2] = (accounts[2], with_changes(accounts[2], userName="renamed"))
    changes[3] = (accounts[3], with_emails(accounts[3], "new@example.com"))
    changes[4] = (accounts[4], linked(accounts[4], "i0"))
    outcomes = await replace_many(directory.accounts, changes, by=BY, action="link")
    assert [(n, type(o).__name__) for n, o in enumerate(outcomes) if not isinstance(o, Account)] == [
        (0, "AlreadyExists"),
        (5, "Stale"),
    ]
    assert outcomes[1] == accounts[1]
    stored = {a.id: a for a in await check_invariants(sqlite_tables)}
    for answered in outcomes:
        if isinstance(answered, Account):
            assert stored[answered.id] == answered
            assert stored[answered.id].etag == answered.etag
    assert stored[moved.id] == moved
    assert Link("i59", "userName", "2025-01-01T00:00:00.000Z", BY) == stored[accounts[59].id].link


async def test_what_was_given_up_is_swept_once_no_request_can_look_for_it_any_more(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    account = await create(directory, "ann", "ann@example.com")
    after = await change(directory, account, with_changes(account, userName="x", emails=[{"value": "x@example.com"}]))
    assert await stale_rows(sqlite_tables) == 0
    assert await sweep(directory) == 0
    places = [directory.keys.claim(account.name), directory.keys.pointer(Key("email", account.emails[0]), account.id)]
    assert None not in await sqlite_tables.get_many(places)
    assert await sweep(directory, timestamp(datetime.now(UTC) + timedelta(seconds=1))) == 2
    assert await sqlite_tables.get_many(places) == [None, None]
    assert (await directory.accounts.get(account.id)).etag == after.etag, "nobody had to be fenced off"
