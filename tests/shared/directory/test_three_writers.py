"""Two or three writers at once, in the same turns each time: however they hinder each other, one of them succeeds."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import pytest

from infra.local.faults import Call, Fault, FaultyTables
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.records import claims
from shared.directory.records.bulk import BulkOutcome, create_many, replace_many
from shared.directory.records.model import Account, Status
from shared.directory.records.resources import retry_stale
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import (
    BY,
    change,
    commits_account,
    create,
    linked,
    outcome,
    person,
    small,
    with_changes,
)

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


def alone(many: Callable[[Directory, Account], Awaitable[Sequence[BulkOutcome]]]) -> Act:
    """Write one account as many are written together; raise what became of it."""

    async def act(d: Directory, own: Account) -> None:
        (found,) = await many(d, own)
        if isinstance(found, DirectoryError):
            raise found

    return act


WITH_IDENTITY: dict[str, Act] = {
    **{kind: ACTS[kind] for kind in ("create", "stamp", "link")},
    "import": alone(lambda d, own: create_many(d.accounts, [person(d, f"new-{own.user_name}", externalId="i")], by=BY)),
    "run": alone(lambda d, own: replace_many(d.accounts, [(own, linked(own, "i"))], by=BY, action="link")),
}
"""What looks who else has an identity, and fences them off without giving way (find_second, refuse_linked)."""


class Turns:
    """Lets one call through at a time, once nobody can go on without one: with a seed, whichever it draws.

    Without one the worst: nobody commits while somebody can still hinder them, and then whoever waited the longest.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._source = random.Random(seed) if seed is not None else None
        self._waiting: dict[int, tuple[float, asyncio.Event]] = {}
        self._number = self.under_way = 0

    async def take(self, call: Call) -> None:
        """Wait for the turn of a call."""
        await self._wait(commits_account(call))

    async def give(self, work: asyncio.Future[list[object]]) -> None:
        """Give turns until the work is done."""
        while not work.done():
            for _ in range(20):  # turns of the event loop: enough for every writer to come to its next call
                await asyncio.sleep(0)
            if self._waiting and not self.under_way:
                self._waiting.pop(self._drawn())[1].set()

    async def _wait(self, rank: float) -> None:
        self._number += 1
        turn = asyncio.Event()
        self._waiting[self._number] = rank, turn
        await turn.wait()

    def _drawn(self) -> int:
        if self._source:
            return self._source.choice(list(self._waiting))
        return min(self._waiting, key=lambda number: (self._waiting[number][0], number))


class Late(Turns):
    """Lets each call through after a time, a tenth of a second on average, by a clock that nobody waits for."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.now = 0.0

    async def take(self, call: Call) -> None:
        """Wait until a call comes through."""
        await self.sleep(self._chance.expovariate(10))

    async def sleep(self, seconds: float) -> None:
        """Wait by this clock."""
        await self._wait(self.now + seconds)

    def _drawn(self) -> int:
        number = super()._drawn()
        self.now = self._waiting[number][0]
        return number


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


async def outcomes(store: Tables, name: str, acts: list[Act], turns: Turns) -> list[object]:
    """Run the acts at once, each in a process of its own; return what each ends with, None for success."""
    first = await small(store, name)
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
        found = await outcomes(sqlite_tables, f"at{number}", [ACTS[kind]] * 3, Turns(seed))
        assert None in found, (seed, found)
        await check_invariants(sqlite_tables, f"at{number}")


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(WITH_IDENTITY, 2)))
async def test_of_two_who_want_one_identity_in_different_ways_one_gets_it(
    sqlite_tables: SqliteTables, one: str, other: str
) -> None:
    for number, seed in enumerate((None, *range(5))):
        acts = [WITH_IDENTITY[one], WITH_IDENTITY[other]]
        found = await outcomes(sqlite_tables, f"at{number}", acts, Turns(seed))
        assert None in found, (seed, found)
        await check_invariants(sqlite_tables, f"at{number}")


@pytest.mark.parametrize("kind", ACTS)
async def test_however_slow_the_storage_is_one_gets_it(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    for seed in range(20):
        chance = random.Random(seed)
        turns = Late(chance)
        monkeypatch.setattr(claims, "random", chance)
        monkeypatch.setattr(claims, "sleep", turns.sleep)
        monkeypatch.setattr(claims, "monotonic", lambda clock=turns: clock.now)
        found = await outcomes(sqlite_tables, f"at{seed}", [ACTS[kind]] * 3, turns)
        assert None in found, (seed, found)
        await check_invariants(sqlite_tables, f"at{seed}")
