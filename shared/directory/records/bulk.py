"""Many accounts at once, for imports and linking runs: the steps of accounts.py, gathered into transactions.

Each function takes accounts of one bucket and returns an outcome for each, in order. An account that fails among the
others is written alone by accounts.py, which knows every case. A function may run again after a crash: a create that
was done meets its own claim, a change that was done meets its own version.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from shared import turns
from shared.directory.errors import DirectoryError, TooLarge
from shared.directory.keys import DIGEST, IDENTITY, LIVE, POINTER, Key, application_key, prefix_end
from shared.directory.records.accounts import Accounts
from shared.directory.records.audit import audit_row
from shared.directory.records.claims import GIVEN_UP
from shared.directory.records.counts import UNREAD
from shared.directory.records.model import Account
from shared.tables import port
from shared.tables.access import in_parts, in_waves, scan, write
from shared.tables.port import (
    MAX_OPERATIONS,
    MAX_PAGE,
    Conflict,
    Insert,
    LimitExceeded,
    Merge,
    Operation,
    Replace,
    Row,
    Upsert,
)

BulkOutcome = Account | DirectoryError
"""The account as stored, or why nothing was stored."""

AccountChange = tuple[Account, Account]
Item = TypeVar("Item", Account, AccountChange)

SCANNED = 4
"""Accounts of a bucket for each name that is asked for, up to which all its claims are read."""
OPERATIONS = MAX_OPERATIONS - 1
"""Operations on accounts in one transaction: the last one is left for the count, which creates change."""


async def find_neighbours(accounts: Accounts, ids: Sequence[str]) -> list[Account | None]:
    """Return accounts, live or retired, by ids of one bucket in ascending order.

    If most of the bucket is asked for, one page brings most of them. The others are read one by one.
    """
    if not ids:
        return []
    low, high = LIVE + ids[0], prefix_end(LIVE + ids[-1])
    page = await accounts.tables.query(accounts.keys.home(ids[0]), low, high, top=min(2 * len(ids), MAX_PAGE))
    rows = {row.key[len(LIVE) :]: row for row in page.rows}
    others = [account_id for account_id in ids if account_id not in rows]
    further = dict(zip(others, await accounts.find_many(others), strict=True))
    return await turns.take(accounts.read(rows[i]) if i in rows else further[i] for i in ids)


async def named_many(accounts: Accounts, names: Sequence[str]) -> list[str | None]:
    """Return, for userNames of one bucket, the id to which the claim on each leads, None for none.

    If the bucket has few accounts beside those that are asked for, its claims are read in order: a row that is not
    there takes longer to read alone than its neighbours.
    """
    places = [accounts.keys.claim(Key("userName", name)) for name in names]
    if not places:
        return []
    partition, rows = places[0][0], sorted(row for _, row in places)
    bucket = accounts.keys.bucket(accounts.keys.digest(Key("userName", names[0])))
    if (await accounts.counts.read(bucket)).accounts > SCANNED * len(names):
        return await accounts.claims.claimed_many([Key("userName", name) for name in names])
    found = scan(accounts.tables, partition, rows[0], prefix_end(rows[-1]), select=["id"])
    claimed = {row.key: str(row.columns["id"]) async for row in found}
    return [claimed.get(row) for _, row in places]


async def create_many(accounts: Accounts, new: Sequence[Account], *, by: str) -> list[BulkOutcome]:
    """Store new accounts. An outcome is AlreadyExists where another account holds the userName or applicationId."""
    if not new:
        return []
    bucket = accounts.keys.bucket(new[0].id)
    count = UNREAD

    async def announce(some: Sequence[Account]) -> set[str]:
        nonlocal count
        # Read before anything is announced, as in Resources.create; from then on this only counts up.
        count = await accounts.counts.read(bucket)
        await point_many(accounts, ((key, account.id) for account in some for key in account.pointers()))
        return await _claimed_by_others(accounts, some) | await _hold_application_ids(accounts, some)

    async def commit(chunk: Sequence[Account]) -> list[str]:
        nonlocal count
        operations = [operation for account in chunk for operation in _create(accounts, account, by)]
        ids = [account.id for account in chunk]
        operations.append(count.changed(+1, ids))
        etags = await accounts.tables.commit(accounts.keys.resources(bucket), operations)
        count = accounts.counts.committed(bucket, count, +1, ids, etags[-1])
        return etags[:-1:3]

    async def alone(account: Account) -> Account:
        return await accounts.create(account, by=by)

    return await in_transactions(new, announce, commit, alone, 3)  # account, claim of its name, audit row


async def reserve_many(accounts: Accounts, links: Sequence[tuple[str, str]], *, by: str) -> set[str]:
    """Claim identities, each for an account, before a replace_many that links them; all are of one bucket of keys.

    Returns the ids of the accounts whose claim is sure. An identity that another account holds or carries is left to
    replace_many. The accounts must then be linked in the version that they have now: so the claims need no second look,
    because a writer that takes one away changes that version first (claims.py).

    Written with their accounts, a few claims go to every partition each time, and touch every page of the store again
    and again. Written by key, they touch each page once.
    """
    wanted: dict[str, tuple[Insert, Upsert]] = {}
    partition = ""
    for account_id, identity in links:
        partition, claim = accounts.keys.claim(Key("identity", identity))
        pointer = accounts.keys.pointer(Key("externalId", identity), account_id)[1]
        wanted[claim] = (Insert(claim, {"id": account_id, "by": by}), Upsert(pointer, {"id": account_id}))
    held: set[str] = set()
    there: dict[str, Row] | None = None
    for some in in_parts(sorted(wanted), MAX_OPERATIONS // 2):
        try:
            await accounts.tables.commit(partition, [op for claim in some for op in wanted[claim]])
            held.update(some)
            continue
        except port.AlreadyExists:  # by another account, or by this pass before a crash: only now it is worth a look
            if there is None:
                rows = scan(accounts.tables, partition, IDENTITY, prefix_end(IDENTITY))
                there = {row.key: row async for row in rows}
        held |= {claim for claim in some if claim in there and there[claim].columns == wanted[claim][0].columns}
        if free := [claim for claim in some if claim not in there]:
            with contextlib.suppress(port.AlreadyExists):  # another writer was faster: these are left to replace_many
                await accounts.tables.commit(partition, [op for claim in free for op in wanted[claim]])
                held.update(free)
    held -= await _carried_by_others(accounts, partition, {claim: wanted[claim][1].key for claim in held})
    return {str(wanted[claim][0].columns["id"]) for claim in held}


async def _carried_by_others(accounts: Accounts, partition: str, held: Mapping[str, str]) -> set[str]:
    """Return the claims on identities that another account has as its externalId, or is just being made with.

    `held` has, by claim, the pointer that was written with it. This looks after the claims were written, and a create
    does it the other way round: of the two, at least one sees the other.
    """
    found: set[str] = set()
    if held:
        async for row in scan(accounts.tables, partition, POINTER, prefix_end(POINTER), select=[GIVEN_UP]):
            claim = IDENTITY + row.key[len(POINTER) : len(POINTER) + DIGEST]
            if held.get(claim, row.key) != row.key and GIVEN_UP not in row.columns:
                found.add(claim)
    return found


async def replace_many(
    accounts: Accounts,
    changes: Sequence[AccountChange],
    *,
    by: str,
    action: str,
    reserved: Collection[str] = (),
    keeping: Callable[[Account, Account], Operation] | None = None,
) -> list[BulkOutcome]:
    """Put `after` in the place of `before`, for each change. An outcome is Stale where `before` changed meanwhile.

    `reserved` are the ids of accounts for which reserve_many claimed the identity that they are linked to. `keeping`
    returns the operation that keeps, in the same transaction, what a change replaces.
    """
    now = accounts.now()
    changes = await turns.take(
        (before, numbered(before, after, now) if after != before else after) for before, after in changes
    )

    async def announce(some: Sequence[AccountChange]) -> set[str]:
        gains = [(before, after, _gained(before, after)) for before, after in some]
        plain = [(before, after, gained) for before, after, gained in gains if gained is not None]
        odd = {after.id for _, after, gained in gains if gained is None}
        linked = [after for before, after, _ in plain if before.link != after.link]
        odd |= await _hold_identities(accounts, [after for after in linked if after.id not in reserved])
        odd |= await claim_many(accounts, _application_keys(a for b, a, _ in plain if b.application_id is None))
        pointers = [(key, after.id) for _, after, gained in plain for key in gained]
        await point_many(accounts, [p for p in pointers if p[0].kind != "externalId" or p[1] not in reserved])
        stamped = [after for before, after, _ in plain if before.external_id != after.external_id]
        return odd | await _claimed_by_others(accounts, stamped)

    async def commit(chunk: Sequence[AccountChange]) -> list[str]:
        operations: list[Operation] = []
        turn = turns.Turns()
        for before, after in chunk:
            audit = audit_row(action, by, now, before, after)
            operations += [_written(before, after), audit, *([keeping(before, after)] if keeping else [])]
            await turn.step()
        etags = await accounts.tables.commit(accounts.keys.home(chunk[0][0].id), operations)
        return etags[:: 3 if keeping else 2]

    async def alone(change: AccountChange) -> Account:
        return await accounts.replace(*change, by=by, action=action, keeping=keeping)

    return await in_transactions(changes, announce, commit, alone, 3 if keeping else 2)


def numbered(before: Account, after: Account, now: str) -> Account:
    """Return what a change makes of an account, with the moment and the number of the change."""
    return replace(after, modified=now, changes=before.changes + 1)


def _written(before: Account, after: Account) -> Operation:
    """Return the operation that writes a change: a merge of the columns that differ, if none of them goes away.

    Azurite takes a row that is replaced out of its table and its index, which takes three times as long as a merge.
    """
    old, new = before.columns(), after.columns()
    if any(new.get(name) is None for name, value in old.items() if value is not None):
        return Replace(after.key, new, before.etag)
    return Merge(after.key, {name: value for name, value in new.items() if old.get(name) != value}, before.etag)


def _create(accounts: Accounts, account: Account, by: str) -> list[Operation]:
    claim = Insert(accounts.keys.claim(Key("userName", account.user_name))[1], {"id": account.id})
    audit = audit_row("create", by, account.created, None, account)
    return [Insert(account.key, account.columns()), claim, audit]


async def in_transactions(
    items: Sequence[Item],
    announce: Callable[[Sequence[Item]], Awaitable[set[str]]],
    commit: Callable[[Sequence[Item]], Awaitable[list[str]]],
    alone: Callable[[Item], Awaitable[Account]],
    rows: int,
) -> list[BulkOutcome]:
    """Commit items in transactions, `rows` operations each; one that makes one fail is written alone.

    `announce` writes what must be there first, and returns the ids of the accounts that do not fit and go alone, too.
    """
    outcomes: dict[int, BulkOutcome] = {}
    size = OPERATIONS // rows
    waiting, single = await _fitting(items, range(len(items)), announce)
    while waiting:
        chunk = waiting[:size]
        try:
            etags = await commit([items[place] for place in chunk])
        except Conflict as conflict:
            at = conflict.index // rows
            if at < len(chunk):  # otherwise the count changed: try again
                single.append(waiting.pop(at))
            else:
                waiting, odd = await _fitting(items, waiting, announce)
                single += odd
            continue
        except (LimitExceeded, TooLarge):
            single += chunk  # too much together, or one that is too large alone
        else:
            for place, etag in zip(chunk, etags, strict=True):
                outcomes[place] = replace(_after(items[place]), etag=etag)
        del waiting[:size]
    for place in single:
        outcomes[place] = await _alone(items[place], alone)
    return [outcomes[place] for place in range(len(items))]


async def _fitting(
    items: Sequence[Item], places: Sequence[int], announce: Callable[[Sequence[Item]], Awaitable[set[str]]]
) -> tuple[list[int], list[int]]:
    odd = await announce([items[place] for place in places])
    fits = {place: _after(items[place]).id not in odd for place in places}
    return [place for place in places if fits[place]], [place for place in places if not fits[place]]


async def _alone(item: Item, alone: Callable[[Item], Awaitable[Account]]) -> BulkOutcome:
    try:
        return await alone(item)
    except DirectoryError as error:
        return error
    except LimitExceeded as error:
        return TooLarge(str(error))


def _after(item: Account | AccountChange) -> Account:
    return item if isinstance(item, Account) else item[1]


def _gained(before: Account, after: Account) -> frozenset[Key] | None:
    """Return the pointers that a change adds; None for what is left to accounts.py.

    That is a change that takes a key away or moves the row, and one of an account to which pointers may be missing.
    """
    kept = before.pointers() <= after.pointers() and before.claims() <= after.claims() and not before.in_doubt()
    return after.pointers_since(before) if kept and before.key == after.key and before != after else None


async def _claimed_by_others(accounts: Accounts, some: Sequence[Account]) -> set[str]:
    """Return the ids of unlinked accounts whose externalId is claimed; accounts.py decides what that means."""
    carrying = [account for account in some if account.external_id and account.link is None]
    claimed = await accounts.claims.claimed_many([Key("identity", a.external_id or "") for a in carrying])
    return {account.id for account, holder in zip(carrying, claimed, strict=True) if holder}


def _application_keys(some: Iterable[Account]) -> dict[str, Key]:
    return {account.id: application_key(account.application_id) for account in some if account.application_id}


async def _hold_application_ids(accounts: Accounts, new: Sequence[Account]) -> set[str]:
    """Claim the applicationIds of new accounts; return the ids of those whose applicationId another one claims.

    A claim that is the account's own was written by the attempt before this one. Whoever took it over since has fenced
    off the creates of this bucket, whose count was read before (Claims.settled_by).
    """
    keys = _application_keys(new)
    taken = sorted(await claim_many(accounts, keys))
    holders = await accounts.claims.claimed_many([keys[account_id] for account_id in taken])
    return {account_id for account_id, holder in zip(taken, holders, strict=True) if holder != account_id}


async def _hold_identities(accounts: Accounts, linked: Sequence[Account]) -> set[str]:
    """Claim identities, a transaction for each partition; return the ids of the accounts for which that failed."""
    keys = {a.id: Key("identity", a.link.identity) for a in linked if a.link}
    odd = await claim_many(accounts, keys)

    async def has_second(account_id: str) -> bool:
        try:
            return await accounts.claims.find_second(keys[account_id], account_id) is not None
        except Conflict:
            return True

    sure = [account_id for account_id in keys if account_id not in odd]
    seconds = await in_waves(has_second(account_id) for account_id in sure)
    return odd | {account_id for account_id, second in zip(sure, seconds, strict=True) if second}


async def claim_many(accounts: Accounts, keys: Mapping[str, Key]) -> set[str]:
    """Write a claim for each account, by id; return the ids of the accounts whose claim is there already.

    A transaction for each partition. Those are for accounts.py, which knows whose claim is stale; what was given up is
    free.
    """
    by_row = {accounts.keys.claim(key): account_id for account_id, key in keys.items()}
    odd = set(keys) - set(by_row.values())
    places: dict[str, list[Insert | Replace]] = defaultdict(list)
    for (partition, row), account_id in by_row.items():
        places[partition].append(Insert(row, {"id": account_id}))

    async def write_all(partition: str, writes: list[Insert | Replace]) -> None:
        looked = False
        while writes:
            try:
                await accounts.tables.commit(partition, writes[:MAX_OPERATIONS])
            except Conflict as conflict:
                if looked:
                    odd.add(str(writes.pop(conflict.index).columns["id"]))
                    continue
                looked = True
                there = await accounts.tables.get_many([(partition, write.key) for write in writes])
                writes = [
                    Replace(row.key, write.columns, row.etag) if row and GIVEN_UP in row.columns else write
                    for row, write in zip(there, writes, strict=True)
                ]
            else:
                del writes[:MAX_OPERATIONS]

    await in_waves(write_all(partition, writes) for partition, writes in places.items())
    return odd


async def point_many(accounts: Accounts, pointers: Iterable[tuple[Key, str]]) -> None:
    """Write pointers, in transactions for each partition."""
    places: dict[str, dict[str, Upsert]] = defaultdict(dict)
    for key, account_id in pointers:
        partition, row = accounts.keys.pointer(key, account_id)
        places[partition][row] = Upsert(row, {"id": account_id})
    await write(accounts.tables, {partition: list(rows.values()) for partition, rows in places.items()})
