"""What a chain of runs saw: of two who tell of one account it is sure only where they agree."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from shared.directory.directory import Directory
from shared.directory.work.seen import IN_DOUBT, SeenWriter
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import small

ANN, BEA = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
"""Of bucket 0; a line has an id at one place."""
Tell = Callable[[SeenWriter], Awaitable[None]]


async def told(directory: Directory, run: str, *tellers: Tell) -> None:
    """Let each tell on behalf of a slice that runs once more."""
    for tell in tellers:
        writer = directory.seen_writer(run, "00")
        await tell(writer)
        await writer.close()


def facts(digest: str) -> Tell:
    return lambda writer: writer.add_account(ANN, digest)


def link(before: str, after: str) -> Tell:
    return lambda writer: writer.add_link(ANN, before, after)


def near(account: str, **trusts: str) -> Tell:
    return lambda writer: writer.add_near(account, trusts)


@pytest.mark.parametrize(
    ("tellers", "seen"),
    [
        ([facts("a")], "a"),
        ([facts("a"), facts("a")], "a"),
        ([facts("a"), facts("b")], IN_DOUBT),
        ([facts("a"), link("a", "b")], "b"),
        ([facts("a"), link("a", "b"), link("a", "b")], "b"),
        ([facts("a"), link("a", "b"), link("a", "c")], IN_DOUBT),
        ([facts("a"), link("x", "b")], IN_DOUBT),
        ([facts("a"), facts("x"), link("a", "b")], IN_DOUBT),
    ],
)
async def test_an_account_of_which_two_things_are_told_is_in_doubt(
    sqlite_tables: SqliteTables, tellers: list[Tell], seen: str
) -> None:
    directory = await small(sqlite_tables, buckets=1)
    await told(directory, "run1", *tellers)
    assert await directory.seen(["run1"]).accounts(0) == {ANN: seen}


async def test_all_who_meet_an_account_are_kept_and_a_later_run_tells_anew(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    await told(directory, "run1", near(ANN, one="strong"), near(ANN, two=""), near(BEA, three="weak"))
    await told(directory, "run2", near(BEA, four="weak"))
    seen = directory.seen(["run1", "run2"])
    assert await seen.near(0, [ANN, BEA]) == {ANN: {"one": "strong", "two": ""}, BEA: {"four": "weak"}}
    assert await seen.near(0, [BEA]) == {BEA: {"four": "weak"}}


async def test_whoever_is_gone_is_seen_no_more(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    await told(directory, "run1", facts("a"), lambda writer: writer.add_identity(0, "print", "who", ["p_lead"]))
    assert await directory.seen(["run1"]).identities(0) == {"print": "who p_lead"}
    await told(directory, "run2", lambda w: w.drop_account(ANN), lambda w: w.drop_identity(0, "print"))
    seen = directory.seen(["run1", "run2"])
    assert (await seen.accounts(0), await seen.identities(0)) == ({}, {})
