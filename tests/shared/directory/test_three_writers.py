"""Three writers at once, in the same turns each time: however they hinder each other, one of them succeeds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from infra.local.faults import Call, Fault, FaultyTables
from shared.directory.directory import Directories, Directory
from shared.directory.records.model import Account, Status
from shared.directory.records.resources import retry_stale
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import change, commits_account, create, linked, outcome, small, with_changes

T = TypeVar("T")
Act = Callable[[Directory, Account], Awaitable[object]]


def changes(change_of: Callable[[Account], Account]) -> Act:
    """Change one's own account, as a request does: again where others changed it meanwhile."""
    return lambda d, own: retry_stale(
        "user", lambda: d.accounts.get(own.id), lambda found: change(d, found, change_of(found)), own
    )


ACTS: dict[str, Act] = {
    "create": lambda d, own: create(d, f"new-{own.user_name}", externalId="i", status=Status.PROVISIONED),
    "stamp": changes(lambda own: with_changes(own, externalId="i")),
    "rename": changes(lambda own: with_changes(own, userName="x")),
    "link": changes(lambda own: linked(own, "i")),
}


class Turns:
    """Lets one call through at a time, once nobody can go on without one: with a seed, whichever it draws.

    Without one the worst: nobody commits while somebody can still hinder them, and then whoever waited the longest.
    """

    def __init__(self, seed: int | None) -> None:
        self._source = random.Random(seed) if seed is not None else None
        self._waiting: dict[int, tuple[bool, asyncio.Event]] = {}
        self._number = self.under_way = 0

    async def take(self, call: Call) -> None:
        """Wait for the turn of a call."""
        self._number += 1
        turn = asyncio.Event()
        self._waiting[self._number] = commits_account(call), turn
        await turn.wait()

    async def give(self, work: asyncio.Future[list[object]]) -> None:
        """Give turns until the work is done."""
        while not work.done():
            for _ in range(20):  # turns of the event loop: enough for every writer to come to its next call
                await asyncio.sleep(0)
            if self._waiting and not self.under_way:
                number = self._source.choice(list(self._waiting)) if self._source else self._worst()
                self._waiting.pop(number)[1].set()

    def _worst(self) -> int:
        return min(self._waiting, key=lambda number: (self._waiting[number][0], number))


class InTurn(FaultyTables):
    """Tables whose calls wait for their turns."""

    def __init__(self, inner: Tables, turns: Turns) -> None:
        super().__init__(inner)
        self._turns = turns

    async def _run(self, call: Call, apply: Callable[[Fault | None], Awaitable[T]]) -> T:
        await self._turns.take(call)
        self._turns.under_way += 1
        try:
            return await super()._run(call, apply)
        finally:
            self._turns.under_way -= 1


async def outcomes(store: Tables, name: str, acts: list[Act], seed: int | None) -> list[object]:
    """Run the acts at once, each in a process of its own; return what each ends with, None for success."""
    first, turns = await small(store, name), Turns(seed)
    own = [await create(first, f"p{number}") for number in range(len(acts))]
    opened = [Directories(InTurn(store, turns)) for _ in acts]

    async def run(number: int) -> object:
        return await outcome(acts[number](await opened[number].open(name), own[number]))

    work = asyncio.gather(*map(run, range(len(acts))))
    await turns.give(work)
    return await work


@pytest.mark.parametrize("kind", ACTS)
async def test_of_three_who_want_the_same_one_gets_it(sqlite_tables: SqliteTables, kind: str) -> None:
    for number, seed in enumerate((None, *range(20))):
        found = await outcomes(sqlite_tables, f"at{number}", [ACTS[kind]] * 3, seed)
        assert None in found, (seed, found)
        await check_invariants(sqlite_tables, f"at{number}")
