"""Two writers at once, step by step: one is held between two named steps while the other runs whole.

Each fence of claims.py has a story here, told twice: with the fence, and without it, where the story must end badly.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import replace

import pytest

from infra.local.faults import Call, FaultyTables
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Stale
from shared.directory.keys import COUNT, Key, fold
from shared.directory.records.accounts import Accounts
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.claims import Claims
from shared.directory.records.counts import Count
from shared.directory.records.model import Account, Status
from shared.directory.sweep import sweep
from shared.tables.port import ANY, Delete, Merge, Operation, Tables, Upsert, VersionConflict
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import (
    BY,
    call_number,
    change,
    commits_account,
    create,
    ids_of,
    linked,
    nth,
    outcome,
    pause,
    person,
    reads,
    reopened,
    retired,
    small,
    with_changes,
    with_emails,
)

NIGHT = "9"
"""A time at which all that was given up is old."""

Story = Callable[[Tables], Awaitable[int]]
"""Plays in an empty store, and answers how many accounts carry, or are found by, what only one may or must."""


async def everybody(store: Tables, name: str = "small") -> list[Account]:
    """Return all accounts by their own rows, whatever claims and pointers say."""
    directory = await reopened(store, name)
    scans = [directory.listing.scan_facts(bucket) for bucket in range(directory.keys.buckets)]
    return [account for scan in scans async for account in scan]


async def carriers(store: Tables, name: str) -> int:
    """Return how many accounts carry a userName."""
    return sum(fold(account.user_name) == name for account in await everybody(store))


async def people_behind(store: Tables, identity: str, name: str = "small") -> int:
    """Return how many accounts are linked to an identity or carry it as their externalId."""
    return sum(account.external_id == identity for account in await everybody(store, name))


async def people_beside_a_link(store: Tables, identity: str, name: str) -> int:
    """Return the same where one of them is linked; several who are not may have one externalId."""
    found = [account for account in await everybody(store, name) if account.external_id == identity]
    return len(found) if any(account.link for account in found) else 1


async def a_rename_is_overtaken_by_a_create(store: Tables) -> int:
    """A has claimed the name and is held before its commit; B takes the stale claim over."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "ann")
    reached = pause(slow, commits_account, lambda: create(b, "x"))
    assert await outcome(change(a, ann, with_changes(ann, userName="X"))) in (Stale, None)
    assert reached
    return await carriers(store, "x")


async def a_takeover_is_overtaken_by_the_first_who_tries_again(store: Tables) -> int:
    """A claimed the name and died. B has fenced it off and is held before taking over; A comes again."""
    a = await small(store)
    slow = FaultyTables(store)
    b = await reopened(slow)
    ann = await create(a, "ann")
    await a.accounts.claims.hold(Key("userName", "x"), ann.id)

    async def again() -> None:
        found = await a.accounts.get(ann.id)
        await change(a, found, with_changes(found, userName="x"))

    reached = pause(slow, nth(commits_account, 2), again)
    await outcome(create(b, "x"))
    assert reached
    return await carriers(store, "x")


async def a_name_is_given_up_while_another_takes_it(store: Tables) -> int:
    """A renamed away and is held before it deletes its old claim; B takes the name, then C wants it."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "x")
    reached = pause(slow, commits_account, lambda: create(b, "X"), after=True)
    await change(a, ann, with_changes(ann, userName="ann"))
    assert reached
    await outcome(create(await reopened(store), "x"))
    return await carriers(store, "x")


async def a_name_is_given_up_and_taken_back(store: Tables) -> int:
    """A renamed away and is held before it deletes its old claim; the account gets its name back, then C wants it."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "x")

    async def back() -> None:
        found = await b.accounts.get(ann.id)
        await change(b, found, with_changes(found, userName="x"))

    reached = pause(slow, commits_account, back, after=True)
    await change(a, ann, with_changes(ann, userName="ann"))
    assert reached
    await outcome(create(await reopened(store), "x"))
    return await carriers(store, "x")


async def an_email_is_taken_away_and_added_again(store: Tables) -> int:
    """A removed an e-mail and is held before it deletes the pointer; B adds the e-mail again."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "ann", "e@example.com")

    async def back() -> None:
        found = await b.accounts.get(ann.id)
        await change(b, found, with_emails(found, "e@example.com"))

    reached = pause(slow, commits_account, back, after=True)
    await change(a, ann, with_emails(ann))
    assert reached
    await sweep(b, NIGHT)
    return len(await ids_of(await reopened(store), "email", "e@example.com"))


async def a_name_is_wanted_while_its_holder_comes_back_to_life(store: Tables) -> int:
    """B finds neither the live row of the claim's holder nor, a moment later, its retired row, each time it looks."""
    a = await small(store)
    slow = FaultyTables(store)
    b = await reopened(slow)
    ann = await create(a, "x")
    moved = [await change(a, ann, retired(ann))]

    async def move(call: Call) -> None:
        last = moved[-1]
        if last.retired and reads("b_")(call):
            moved.append(await change(a, last, linked(last, "i")))
        elif not last.retired and reads("n_")(call):
            moved.append(await change(a, last, retired(last)))

    slow.before = move
    await outcome(create(b, "x"))
    assert len(moved) > 2
    return await carriers(store, "x")


async def an_identity_is_linked_to_two_accounts(store: Tables) -> int:
    """A has claimed the identity for one account and is held before its commit; B links it to another."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann, bea = await create(b, "ann"), await create(b, "bea")
    reached = pause(slow, commits_account, lambda: change(b, bea, linked(bea, "i")))
    assert await outcome(change(a, ann, linked(ann, "i"))) in (Stale, None)
    assert reached
    return await people_behind(store, "i")


async def a_run_and_a_person_link_an_identity(store: Tables) -> int:
    """The same, where A is a linking run that links many accounts together."""
    slow = FaultyTables(store)
    b = await small(store, buckets=1)
    a = await reopened(slow)
    ann, bea = await create(b, "ann"), await create(b, "bea")
    reached = pause(slow, commits_account, lambda: change(b, bea, linked(bea, "i")))
    await replace_many(a.accounts, [(ann, linked(ann, "i"))], by=BY, action="link")
    assert reached
    return await people_behind(store, "i")


async def each_step_of(
    store: Tables,
    first: Callable[[Directory, Account, Account], Awaitable[object]],
    second: Callable[[Directory, Account, Account], Awaitable[object]],
    count: Callable[[Tables, str, str], Awaitable[int]] = people_behind,
    **bea_has: str,
) -> int:
    """Hold the first writer at each of its steps while the second runs; return the most people behind identity i."""
    most = 0
    for number in itertools.count(1):
        name = f"at{number}"
        b = await small(store, name)
        ann, bea = await create(b, "ann"), await create(b, "bea", **bea_has)
        slow = FaultyTables(store)
        a = await reopened(slow, name)
        slow.reset()
        reached = pause(slow, call_number(number), lambda b=b, ann=ann, bea=bea: outcome(second(b, ann, bea)))  # type: ignore[misc]
        await outcome(first(a, ann, bea))
        if not reached:
            assert number > 2
            return most
        most = max(most, await count(store, "i", name))
    raise AssertionError


def creates(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return create(d, "cleo", "cleo@example.com", externalId="i", status=Status.PROVISIONED)


def creates_many(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return create_many(d.accounts, [person(d, "cleo", "cleo@example.com", externalId="i")], by=BY)


def stamps(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return change(d, bea, with_changes(bea, externalId="i"))


def stamps_many(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return replace_many(d.accounts, [(bea, with_changes(bea, externalId="i"))], by=BY, action="import")


def links(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return change(d, ann, linked(ann, "i"))


def links_many(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return replace_many(d.accounts, [(ann, linked(ann, "i"))], by=BY, action="link")


def creates_without_email(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    # One call after the other: side by side they come in another order each time, and a step may be missed.
    return create(d, "cleo", externalId="i", status=Status.PROVISIONED)


def links_bea(d: Directory, ann: Account, bea: Account) -> Awaitable[object]:
    return change(d, bea, linked(bea, "i"))


async def deletes_and_links(d: Directory, ann: Account, bea: Account) -> None:
    await d.accounts.delete(await d.accounts.get(bea.id), by=BY)
    await links(d, ann, bea)


async def a_create_shares_an_external_id_whose_first_account_goes(store: Tables) -> int:
    """Bea has the identity's claim by her externalId; while another is made with it, she goes and Ann is linked."""
    return await each_step_of(store, creates_without_email, deletes_and_links, externalId="i")


async def a_create_is_held_and_its_identity_linked(store: Tables) -> int:
    return await each_step_of(store, creates, links)


async def a_create_is_held_and_its_account_linked(store: Tables) -> int:
    """Bea has the identity's claim by her externalId; while another is made with it, she is linked."""
    return await each_step_of(store, creates_without_email, links_bea, people_beside_a_link, externalId="i")


async def a_link_is_held_and_its_identity_created(store: Tables) -> int:
    return await each_step_of(store, links, creates)


async def an_import_is_held_and_its_identity_linked(store: Tables) -> int:
    return await each_step_of(store, creates_many, links)


async def a_run_is_held_and_its_identity_created(store: Tables) -> int:
    return await each_step_of(store, links_many, creates)


async def a_stamp_is_held_and_its_identity_linked(store: Tables) -> int:
    return await each_step_of(store, stamps, links)


async def a_link_is_held_and_its_identity_stamped(store: Tables) -> int:
    return await each_step_of(store, links, stamps)


async def an_imported_stamp_is_held_and_its_identity_linked(store: Tables) -> int:
    return await each_step_of(store, stamps_many, links_many)


async def a_run_is_held_and_its_identity_stamped_by_an_import(store: Tables) -> int:
    return await each_step_of(store, links_many, stamps_many)


async def two_accounts_are_counted_at_once(store: Tables) -> int:
    """A is held before its commit; B makes another account in the bucket. Answers how far the count is off, plus 1."""
    slow = FaultyTables(store)
    b = await small(store, buckets=1)
    a = await reopened(slow)
    reached = pause(slow, commits_account, lambda: create(b, "bea"))
    await create(a, "ann")
    assert reached
    row = await store.get(a.keys.resources(0), COUNT)
    assert row is not None
    return 1 + 2 - sum(map(int, str(row.columns["parts"]).split()))


async def a_sweep_meets_a_rename(store: Tables) -> int:
    """A has claimed a name and is held before its commit; the sweep finds the claim stale. Then C wants the name."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "ann")
    reached = pause(slow, commits_account, lambda: sweep(b))
    await outcome(change(a, ann, with_changes(ann, userName="x")))
    assert reached
    await outcome(create(b, "x"))
    return await carriers(store, "x")


async def a_sweep_meets_an_email(store: Tables) -> int:
    """A has written a pointer and is held before its commit; the sweep finds the pointer stale."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "ann")
    reached = pause(slow, commits_account, lambda: sweep(b))
    if await outcome(change(a, ann, with_emails(ann, "e@example.com"))) is Stale:
        found = await a.accounts.get(ann.id)
        await change(a, found, with_emails(found, "e@example.com"))
    assert reached
    return len(await ids_of(b, "email", "e@example.com"))


async def a_sweep_meets_a_create(store: Tables) -> int:
    """A has written a new account's pointer and is held before its commit; the sweep finds the pointer stale."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    reached = pause(slow, commits_account, lambda: sweep(b))
    await create(a, "ann", "e@example.com")
    assert reached
    return len(await ids_of(b, "email", "e@example.com"))


async def a_sweep_meets_an_import(store: Tables) -> int:
    """The same with many accounts made together."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    reached = pause(slow, commits_account, lambda: sweep(b))
    await create_many(a.accounts, [person(a, "ann", "e@example.com")], by=BY)
    assert reached
    return len(await ids_of(b, "email", "e@example.com"))


def no_fence(patch: pytest.MonkeyPatch) -> None:
    async def fence(self: Claims, holder: Account) -> None: ...

    patch.setattr(Claims, "fence", fence)


def no_fence_on_creates(patch: pytest.MonkeyPatch) -> None:
    async def fence_creates(self: Claims, bucket: int, count: Count) -> None: ...

    patch.setattr(Claims, "fence_creates", fence_creates)


def removal_whatever_is_there(patch: pytest.MonkeyPatch) -> None:
    async def end(self: Claims, partition: str, operation: Delete | Merge) -> None:
        with suppress(VersionConflict):
            await self._tables.commit(partition, [replace(operation, etag=ANY)])

    patch.setattr(Claims, "_end", end)


def own_claim_left_as_it_is(patch: pytest.MonkeyPatch) -> None:
    hold = Claims.hold

    async def hold_new(self: Claims, key: Key, account_id: str) -> None:
        if await self.claimed(key) != account_id:
            await hold(self, key, account_id)

    patch.setattr(Claims, "hold", hold_new)


def a_link_keeps_the_claim_as_it_was(patch: pytest.MonkeyPatch) -> None:
    async def hold(self: Claims, key: Key, account_id: str) -> None:
        if await self.claimed(key) is None:
            await hold_anew(self, key, account_id)
        elif await self.find_second(key, account_id):
            raise AlreadyExists("externalId", "")

    hold_anew = Claims.hold
    patch.setattr(Claims, "hold", hold)


def one_look_for_the_holder(patch: pytest.MonkeyPatch) -> None:
    async def settled_by(self: Claims, account_id: str, carries: Callable[[Account], bool]) -> bool:
        account = await self._find_holder(account_id)
        if account is None or carries(account):
            return account is not None
        await self.fence(account)
        return False

    patch.setattr(Claims, "settled_by", settled_by)


def no_look_for_a_linked_account(patch: pytest.MonkeyPatch) -> None:
    async def refuse_linked(self: Claims, key: Key, account_id: str) -> None: ...

    patch.setattr(Claims, "refuse_linked", refuse_linked)


def identity_left_unclaimed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Claims, "point_unclaimed", Claims.point)


def no_look_for_a_second_account(patch: pytest.MonkeyPatch) -> None:
    async def find_second(self: Claims, claim: Key, account_id: str) -> None: ...

    patch.setattr(Claims, "find_second", find_second)


def announced_once(patch: pytest.MonkeyPatch) -> None:
    announcing, done = Accounts._announcing, set()

    def first_only(self: Accounts, account: Account, pointers: Collection[Key]) -> list[Awaitable[None]]:
        if account.id in done:
            return []
        done.add(account.id)
        return announcing(self, account, pointers)

    patch.setattr(Accounts, "_announcing", first_only)


def count_whatever_is_there(patch: pytest.MonkeyPatch) -> None:
    def changed(self: Count, by: int, ids: Iterable[str]) -> Operation:
        return Upsert(COUNT, {"parts": " ".join(map(str, self.plus(by, ids)))})

    patch.setattr(Count, "changed", changed)


Removal = Callable[[pytest.MonkeyPatch], None]

FENCES: list[tuple[Story, Removal]] = [
    (a_rename_is_overtaken_by_a_create, no_fence),
    (a_takeover_is_overtaken_by_the_first_who_tries_again, own_claim_left_as_it_is),
    (a_name_is_given_up_while_another_takes_it, removal_whatever_is_there),
    (a_name_is_given_up_and_taken_back, removal_whatever_is_there),
    (a_name_is_given_up_and_taken_back, own_claim_left_as_it_is),
    (an_email_is_taken_away_and_added_again, removal_whatever_is_there),
    (a_name_is_wanted_while_its_holder_comes_back_to_life, one_look_for_the_holder),
    (an_identity_is_linked_to_two_accounts, no_fence),
    (a_run_and_a_person_link_an_identity, no_fence),
    (a_create_is_held_and_its_identity_linked, no_look_for_a_linked_account),
    (a_create_is_held_and_its_identity_linked, identity_left_unclaimed),
    (a_create_is_held_and_its_identity_linked, no_fence_on_creates),
    (a_create_is_held_and_its_identity_linked, announced_once),
    (a_create_is_held_and_its_account_linked, a_link_keeps_the_claim_as_it_was),
    (a_create_is_held_and_its_account_linked, no_look_for_a_linked_account),
    (a_link_is_held_and_its_identity_created, no_look_for_a_linked_account),
    (a_link_is_held_and_its_identity_created, identity_left_unclaimed),
    (a_create_shares_an_external_id_whose_first_account_goes, no_look_for_a_linked_account),
    (a_create_shares_an_external_id_whose_first_account_goes, no_fence_on_creates),
    (a_link_is_held_and_its_identity_created, no_fence),
    (an_import_is_held_and_its_identity_linked, no_fence_on_creates),
    (an_import_is_held_and_its_identity_linked, no_look_for_a_second_account),
    (a_run_is_held_and_its_identity_created, identity_left_unclaimed),
    (a_run_is_held_and_its_identity_created, no_fence),
    (a_stamp_is_held_and_its_identity_linked, identity_left_unclaimed),
    (a_stamp_is_held_and_its_identity_linked, no_fence),
    (a_link_is_held_and_its_identity_stamped, no_fence),
    (a_link_is_held_and_its_identity_stamped, no_look_for_a_linked_account),
    (an_imported_stamp_is_held_and_its_identity_linked, no_fence),
    (a_run_is_held_and_its_identity_stamped_by_an_import, no_fence),
    (two_accounts_are_counted_at_once, count_whatever_is_there),
    (a_sweep_meets_a_rename, no_fence),
    (a_sweep_meets_an_email, no_fence),
    (a_sweep_meets_a_create, no_fence_on_creates),
    (a_sweep_meets_a_create, announced_once),
    (a_sweep_meets_an_import, no_fence_on_creates),
]
STORIES = list(dict.fromkeys(story for story, _ in FENCES))


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
async def test_of_two_writers_one_carries_it(sqlite_tables: SqliteTables, story: Story) -> None:
    assert await story(sqlite_tables) == 1


@pytest.mark.parametrize(("story", "removal"), FENCES, ids=lambda part: part.__name__)
async def test_without_the_fence_it_ends_badly(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, story: Story, removal: Removal
) -> None:
    removal(monkeypatch)
    assert await story(sqlite_tables) != 1
