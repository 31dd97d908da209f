"""Links taken back many at once: beside any other writer, at any step, and by a process that dies at any step.

The fences have stories of their own, told with them and without, as in test_interleavings.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from infra.local.faults import Call, Crash, Fault, FaultyTables, no_faults, script
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError, Stale
from shared.directory.keys import Key
from shared.directory.records import bulk
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.claims import Claims, KeyRow
from shared.directory.records.model import Account, Status
from shared.directory.records.unlinking import fence_many, release_many
from shared.directory.sweep import sweep
from shared.tables.port import ANY, Delete, Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import (
    BY,
    Clock,
    call_number,
    change,
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
)


def unlinked(account: Account, external_id: str | None = None, *, away: bool = False) -> Account:
    """Return the account as it was before its link."""
    document = {name: value for name, value in account.document().items() if name != "externalId"}
    document |= {"externalId": external_id} if external_id else {}
    return account.with_document(document, status=Status.LOCAL, link=None, retired=away)


async def linked_people(directory: Directory, *names: str) -> list[Account]:
    """Return new accounts, each linked to the identity `i-` and its name."""
    accounts = [await create(directory, name, f"{name}@example.com") for name in names]
    return [await change(directory, account, linked(account, f"i-{account.user_name}")) for account in accounts]


async def undo(directory: Directory, *accounts: Account) -> list[object]:
    changes = [(account, unlinked(account)) for account in accounts]
    return list(await release_many(directory.accounts, changes, by=BY, action="undo"))


async def test_many_links_are_taken_back_and_answered_as_they_are(tables: Tables) -> None:
    directory = await small(tables, now=Clock())
    people = await linked_people(directory, *(f"p{n}" for n in range(130)))
    moved = await change(directory, people[5], with_changes(people[5], title="Dr"))
    claimed = (await linked_people(directory, "other"))[0]
    changes = [(account, unlinked(account)) for account in people]
    changes[1] = (people[1], unlinked(people[1], "k-1"))
    changes[2] = (people[2], unlinked(people[2], away=True))
    changes[3] = (people[3], unlinked(people[3], "i-other"))
    outcomes = await release_many(directory.accounts, changes, by=BY, action="undo")
    refused = {n: type(found).__name__ for n, found in enumerate(outcomes) if not isinstance(found, Account)}
    assert refused == {3: "AlreadyExists", 5: "Stale"}
    stored = {account.id: account for account in await check_invariants(tables)}
    for answered in outcomes:
        if isinstance(answered, Account):
            assert (stored[answered.id], stored[answered.id].etag) == (answered, answered.etag)
    assert stored[moved.id] == moved
    assert await ids_of(directory, "externalId", "k-1") == [people[1].id]
    assert stored[people[2].id].retired
    assert stored[claimed.id] == claimed
    assert await stale_rows(tables) == 1, "the pointer that the refused one announced"
    assert (await directory.accounts.history(people[0].id))[-1].before["link"]["identity"] == "i-p0"


async def test_names_and_addresses_that_accounts_get_back_lead_to_them(tables: Tables) -> None:
    """All in few transactions, but the one whose name another account has by now."""
    directory = await small(tables, now=Clock())
    people = await linked_people(directory, *(f"p{n}" for n in range(30)))
    renamed = [
        await change(directory, one, with_emails(with_changes(one, userName=f"new{n}"), f"new{n}@example.com"))
        for n, one in enumerate(people)
    ]
    other = await create(directory, "P7")
    changes = [
        (now, replace(unlinked(was), etag=now.etag, changes=now.changes))
        for was, now in zip(people, renamed, strict=True)
    ]
    outcomes = await release_many(directory.accounts, changes, by=BY, action="undo")
    refused = {n: type(found).__name__ for n, found in enumerate(outcomes) if not isinstance(found, Account)}
    assert refused == {7: "AlreadyExists"}
    assert await ids_of(directory, "userName", "p7") == [other.id]
    for number, one in enumerate(people):
        if number != 7:
            assert await ids_of(directory, "userName", f"p{number}") == [one.id]
            assert await ids_of(directory, "email", f"p{number}@example.com") == [one.id]
            assert await ids_of(directory, "email", f"new{number}@example.com") == []
    await check_invariants(tables)


async def test_what_another_account_has_claimed_stays_its_own(sqlite_tables: SqliteTables) -> None:
    """Of two accounts that share an externalId, the one that was made first has the claim on it."""
    directory = await small(sqlite_tables)
    ann, bea = [await create(directory, name, externalId="shared") for name in ("ann", "bea")]
    assert await directory.accounts.claims.claimed(Key("identity", "shared")) == ann.id
    assert [type(found) for found in await undo(directory, bea)] == [Account]
    assert await directory.accounts.claims.claimed(Key("identity", "shared")) == ann.id
    assert await ids_of(directory, "externalId", "shared") == [ann.id]


async def test_accounts_too_large_for_one_transaction_are_taken_back_alone(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    people = [await create(directory, f"p{n}", note="x" * 300_000) for n in range(10)]
    people = [await change(directory, account, linked(account, f"i{n}")) for n, account in enumerate(people)]
    assert all(isinstance(found, Account) for found in await undo(directory, *people))
    assert [account.link for account in await check_invariants(sqlite_tables)] == [None] * 10


async def test_names_that_were_given_up_are_taken_back_together(sqlite_tables: SqliteTables) -> None:
    """As an undo of an import does it."""
    directory = await small(sqlite_tables, buckets=2)
    people = [await create(directory, f"p{n}") for n in range(100)]
    renamed = [await change(directory, one, with_changes(one, userName=f"new-{one.user_name}")) for one in people]
    back = [(one, with_changes(one, userName=was.user_name)) for was, one in zip(people, renamed, strict=True)]
    counting = FaultyTables(sqlite_tables)
    again = await reopened(counting)
    counting.reset()
    assert all(isinstance(found, Account) for found in await release_many(again.accounts, back, by=BY, action="undo"))
    # A few transactions, and not three requests for each of 100 accounts.
    assert counting.counts["commit"] <= 20
    assert len(await check_invariants(sqlite_tables)) == 100


async def test_it_costs_few_requests(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=2)
    people = await linked_people(directory, *(f"p{n}" for n in range(200)))
    counting = FaultyTables(sqlite_tables)
    again = await reopened(counting)
    counting.reset()
    await undo(again, *people)
    # Two claims or pointers an account are read; four transactions of 50, two of up to 400 deletions by a hundred.
    assert counting.counts["commit"] <= 4 + 1 + 6
    assert counting.counts["get"] == 2 * 200


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST, Fault.THROTTLED])
async def test_after_a_failure_at_any_call_the_rest_is_taken_back(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(bulk, "OPERATIONS", 4)
    for number in itertools.count(1):
        name = f"at{number}"
        people = await linked_people(await small(sqlite_tables, name, buckets=2, now=Clock()), "ann", "bea", "cleo")
        faulty = FaultyTables(sqlite_tables)
        directory = await reopened(faulty, name)
        faulty.reset()
        faulty.faults = script({number: fault})
        with suppress(Crash, TablesError):
            await undo(directory, *people)
        struck = faulty.requests >= number
        faulty.faults = no_faults
        left = [account for account in await check_invariants(sqlite_tables, name) if account.link]
        again = await reopened(sqlite_tables, name)
        await undo(again, *left)
        found = await check_invariants(sqlite_tables, name)
        assert [account.link for account in found] == [None] * 3
        await sweep(again)
        assert await stale_rows(sqlite_tables, name) == 0
        for account in await check_invariants(sqlite_tables, name):
            await change(again, account, linked(account, f"i-{account.user_name}"))
        if not struck:
            assert number > 6
            break


WRITERS: dict[str, Callable[[Directory, Account, Account], Awaitable[object]]] = {
    "undo": lambda d, ann, bea: undo(d, ann, bea),
    "link to the same": lambda d, ann, bea: change(d, bea, linked(bea, "i-ann")),
    "point elsewhere": lambda d, ann, bea: change(d, ann, linked(ann, "j")),
    "run": lambda d, ann, bea: replace_many(
        d.accounts, [(ann, linked(ann, "j")), (bea, linked(bea, "i-ann"))], by=BY, action="link"
    ),
    "create": lambda d, ann, bea: create(d, "cleo", "cleo@example.com", externalId="i-ann", status=Status.PROVISIONED),
    "import": lambda d, ann, bea: create_many(d.accounts, [person(d, "cleo", externalId="i-ann")], by=BY),
    "retire": lambda d, ann, bea: change(d, ann, retired(ann)),
    "delete": lambda d, ann, bea: d.accounts.delete(ann, by=BY),
    "patch": lambda d, ann, bea: change(d, ann, with_changes(ann, title="Dr")),
    "sweep": lambda d, ann, bea: sweep(d),
}


PAIRS = [("undo", name) for name in WRITERS] + [(name, "undo") for name in WRITERS if name != "undo"]


@pytest.mark.parametrize(("first", "second"), PAIRS)
async def test_any_writer_at_any_step_of_another_leaves_the_directory_whole(
    sqlite_tables: SqliteTables, first: str, second: str
) -> None:
    for number in itertools.count(1):
        name = f"at{number}"
        b = await small(sqlite_tables, name, buckets=2)
        (ann,), bea = await linked_people(b, "ann"), await create(b, "bea")
        slow = FaultyTables(sqlite_tables)
        a = await reopened(slow, name)
        slow.reset()
        done: list[str] = []

        async def meanwhile(b: Directory = b, ann: Account = ann, bea: Account = bea, done: list[str] = done) -> None:
            with suppress(DirectoryError):
                await WRITERS[second](b, ann, bea)
                done.append(second)

        reached = pause(slow, call_number(number), meanwhile)
        with suppress(DirectoryError):
            await WRITERS[first](a, ann, bea)
        found = {account.id: account.document() for account in await check_invariants(sqlite_tables, name)}
        if done == ["patch"]:
            assert found[ann.id]["title"] == "Dr", "what was written meanwhile is gone"
        if not reached:
            break


Story = Callable[[Tables], Awaitable[int]]


def deletes_keys(call: Call) -> bool:
    """The commit that removes what an undo took away."""
    return call.verb == "commit" and call.keys[0].startswith(("i_", "p_"))


async def an_account_is_linked_again_before_its_old_claim_is_removed(store: Tables) -> int:
    """A is held between its commit and the removal; B links the account to the same identity again."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    (ann,) = await linked_people(b, "ann")

    async def again() -> None:
        found = await b.accounts.get(ann.id)
        await change(b, found, linked(found, "i-ann"))

    reached = pause(slow, deletes_keys, again)
    await undo(a, ann)
    assert reached
    claimed = await ids_of(await reopened(store), "identity", "i-ann")
    return len(claimed) + len(await ids_of(await reopened(store), "externalId", "i-ann")) - 1


async def another_account_takes_the_identity_before_the_old_claim_is_removed(store: Tables) -> int:
    """The same, where B links another account to the identity."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    (ann,), bea = await linked_people(b, "ann"), await create(b, "bea")
    reached = pause(slow, deletes_keys, lambda: change(b, bea, linked(bea, "i-ann")))
    await undo(a, ann)
    assert reached
    return len(await ids_of(await reopened(store), "identity", "i-ann"))


async def a_run_that_died_links_late(store: Tables) -> int:
    """A run's activity is held before its commit; the undo finds the account not linked yet, and fences it off."""
    slow = FaultyTables(store)
    b = await small(store)
    a = await reopened(slow)
    ann = await create(b, "ann")
    reached = pause(slow, lambda call: any(key.startswith("z_") for key in call.keys), lambda: fence(b, ann))
    await replace_many(a.accounts, [(ann, linked(ann, "i"))], by=BY, action="link")
    assert reached
    return 1 + len(await ids_of(await reopened(store), "identity", "i"))


async def fence(directory: Directory, account: Account) -> None:
    assert await fence_many(directory.accounts, [account]) == set()


def removal_whatever_is_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(KeyRow, "given_up", lambda place, after, now: Delete(place.row, ANY))


def own_claim_left_as_it_is(patch: pytest.MonkeyPatch) -> None:
    hold = Claims.hold

    async def hold_new(self: Claims, key: object, account_id: str) -> None:  # type: ignore[type-arg]
        if await self.claimed(key) != account_id:  # type: ignore[arg-type]
            await hold(self, key, account_id)  # type: ignore[arg-type]

    patch.setattr(Claims, "hold", hold_new)


def no_fence(patch: pytest.MonkeyPatch) -> None:
    async def fence_nobody(accounts: object, some: object) -> set[str]:
        return set()

    patch.setattr("tests.shared.directory.records.test_unlinking.fence_many", fence_nobody)


FENCES: list[tuple[Story, Callable[[pytest.MonkeyPatch], None]]] = [
    (an_account_is_linked_again_before_its_old_claim_is_removed, removal_whatever_is_there),
    (an_account_is_linked_again_before_its_old_claim_is_removed, own_claim_left_as_it_is),
    (another_account_takes_the_identity_before_the_old_claim_is_removed, removal_whatever_is_there),
    (a_run_that_died_links_late, no_fence),
]


@pytest.mark.parametrize("story", dict.fromkeys(story for story, _ in FENCES), ids=lambda story: story.__name__)
async def test_it_ends_well(sqlite_tables: SqliteTables, story: Story) -> None:
    assert await story(sqlite_tables) == 1
    await check_invariants(sqlite_tables)


@pytest.mark.parametrize(("story", "removal"), FENCES, ids=lambda part: part.__name__)
async def test_without_the_fence_it_ends_badly(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, story: Story, removal: Callable[[object], None]
) -> None:
    removal(monkeypatch)
    assert await story(sqlite_tables) != 1


async def test_a_fence_tells_who_changed_meanwhile(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    people = [await create(directory, f"p{n}") for n in range(6)]
    changed = await change(directory, people[2], with_changes(people[2], title="Dr"))
    assert await fence_many(directory.accounts, people) == {changed.id}
    for account in people:
        assert await outcome(change(directory, account, with_changes(account, title="Late"))) is Stale
    await check_invariants(sqlite_tables)
