"""Any two writers at once, the second run whole at any step of the first: the directory stays whole.

test_interleavings.py tells the single stories, and what each fence is for.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from infra.local.faults import Crash, Fault, FaultyTables
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError, Stale
from shared.directory.keys import Key
from shared.directory.records import claims
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.model import Account
from shared.directory.sweep import sweep
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import (
    BY,
    call_number,
    change,
    commits_account,
    create,
    ids_of,
    linked,
    outcome,
    pause,
    person,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
    writes,
)

ACTS: dict[str, Callable[[Directory, Account, Account], Awaitable[object]]] = {
    "create": lambda d, ann, bea: create(d, "x", "bea@example.com", externalId="i"),
    "import": lambda d, ann, bea: create_many(
        d.accounts, [person(d, name, f"{name}@example.com", externalId="i") for name in ("x", "dora")], by=BY
    ),
    "rename": lambda d, ann, bea: change(d, ann, with_changes(ann, userName="x")),
    "rename to the e-mail": lambda d, ann, bea: change(d, ann, with_changes(ann, userName="ann@example.com")),
    "rename the other": lambda d, ann, bea: change(d, bea, with_emails(with_changes(bea, userName="X"), "x")),
    "swap names": lambda d, ann, bea: change(d, bea, with_changes(bea, userName="ann")),
    "link": lambda d, ann, bea: change(d, ann, linked(ann, "i")),
    "link the other": lambda d, ann, bea: change(d, bea, linked(bea, "i")),
    "run": lambda d, ann, bea: replace_many(
        d.accounts, [(ann, linked(ann, "i")), (bea, linked(bea, "j"))], by=BY, action="link"
    ),
    "retire": lambda d, ann, bea: change(d, ann, retired(ann)),
    "delete": lambda d, ann, bea: d.accounts.delete(ann, by=BY),
    "sweep": lambda d, ann, bea: sweep(d),
}


@pytest.fixture(autouse=True)
def nobody_gives_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a writer that is held."""
    monkeypatch.setattr(claims, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(claims, "MOST_GIVE_WAY_SECONDS", 0.0)


@pytest.mark.parametrize("first", ACTS)
async def test_any_second_writer_at_any_step_leaves_the_directory_whole(
    sqlite_tables: SqliteTables, first: str
) -> None:
    """The second writer's directory is whole when the first goes on, and both leave it whole."""
    for second, act in ACTS.items():
        for number in itertools.count(1):
            name = f"at{number}in{list(ACTS).index(second)}"
            b = await small(sqlite_tables, name, buckets=2)
            ann, bea = await create(b, "ann", "ann@example.com"), await create(b, "bea", externalId="k")
            with suppress(Crash):  # a claim and a pointer that somebody left behind
                crash = FaultyTables(sqlite_tables)
                died = await reopened(crash, name)
                crash.reset()
                crash.faults = lambda number, call: Fault.CRASH_BEFORE if commits_account(call) else None
                await change(died, bea, with_emails(with_changes(bea, userName="x"), "ann@example.com"))
            slow = FaultyTables(sqlite_tables)
            a = await reopened(slow, name)
            slow.reset()

            async def meanwhile(b: Directory = b, name: str = name, ann: Account = ann, bea: Account = bea) -> None:
                with suppress(DirectoryError):
                    await act(b, ann, bea)  # noqa: B023 - runs within this turn of the loop

            reached = pause(slow, call_number(number), meanwhile)
            with suppress(DirectoryError):
                await ACTS[first](a, ann, bea)
            await check_invariants(sqlite_tables, name)
            if not reached:
                break


async def test_a_delete_that_was_overtaken_by_a_rename_deletes_nothing(sqlite_tables: SqliteTables) -> None:
    slow = FaultyTables(sqlite_tables)
    b = await small(sqlite_tables)
    a = await reopened(slow)
    ann = await create(b, "ann", "ann@example.com")
    reached = pause(slow, commits_account, lambda: change(b, ann, with_changes(ann, userName="x")))
    assert await outcome(a.accounts.delete(ann, by=BY)) is Stale
    assert reached
    assert await ids_of(b, "userName", "x") == [ann.id]
    await check_invariants(sqlite_tables)


async def test_a_rename_that_was_overtaken_by_a_delete_keeps_no_name(sqlite_tables: SqliteTables) -> None:
    slow = FaultyTables(sqlite_tables)
    b = await small(sqlite_tables)
    a = await reopened(slow)
    ann = await create(b, "ann", "ann@example.com")
    reached = pause(slow, commits_account, lambda: b.accounts.delete(ann, by=BY))
    assert await outcome(change(a, ann, with_changes(ann, userName="x"))) is Stale
    assert reached
    await create(b, "x")
    await create(b, "ann")
    assert len(await check_invariants(sqlite_tables)) == 2


async def test_a_create_is_tried_again_where_the_holder_of_a_stale_claim_changes(sqlite_tables: SqliteTables) -> None:
    b = await small(sqlite_tables)
    slow = FaultyTables(sqlite_tables)
    a = await reopened(slow)
    ann = await create(b, "ann")
    await b.accounts.claims.hold(Key("userName", "x"), ann.id)
    reached = pause(slow, writes("a_"), lambda: change(b, ann, with_changes(ann, title="Dr")))
    await create(a, "x")
    assert reached
    assert len(await check_invariants(sqlite_tables)) == 2


async def test_nobody_is_refused_for_what_a_deleted_account_left_behind(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    ann, bea = await create(directory, "ann", externalId="i"), await create(directory, "bea")
    crashing = FaultyTables(sqlite_tables)
    dying = await reopened(crashing)

    async def die() -> None:
        raise Crash

    pause(crashing, commits_account, die, after=True)
    with pytest.raises(Crash):
        await dying.accounts.delete(ann, by=BY)
    await create(directory, "ann")
    await change(directory, bea, linked(bea, "i"))
    assert len(await check_invariants(sqlite_tables)) == 2
