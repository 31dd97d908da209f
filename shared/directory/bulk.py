"""Many accounts at once, for imports and linking runs: the same steps as in accounts.py, gathered into transactions.

Each function takes accounts of one bucket and answers one outcome for each, in order. Whatever does not go through
with the others is done alone by accounts.py, which knows every case. Running a function again after a crash ends the
same: a create that was done meets its own claim, a change that was done meets its own version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

from shared.directory.accounts import Accounts
from shared.directory.audit import audit_row
from shared.directory.claims import together
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key
from shared.directory.model import Account
from shared.tables import port
from shared.tables.port import MAX_OPERATIONS, Insert, Operation, Replace, TablesError, Upsert, VersionConflict

Outcome = Account | DirectoryError
"""The account as stored, or why nothing was stored."""

Change = tuple[Account, Account]
Item = TypeVar("Item", Account, Change)
Result = TypeVar("Result")
Part = TypeVar("Part")

AT_ONCE = 64
"""How many requests of one step are under way together."""


async def create_many(accounts: Accounts, new: Sequence[Account], *, by: str) -> list[Outcome]:
    """Store new accounts. An outcome is AlreadyExists where another account holds the userName."""
    await _point(accounts, ((key, account.id) for account in new for key in account.pointers()))
    linked = [account for account in new if account.external_id]
    holders = await _some_at_once([accounts.claims.holder(Key("identity", a.external_id or "")) for a in linked])
    odd = {account.id for account, holder in zip(linked, holders, strict=True) if holder}

    async def commit(chunk: Sequence[Account]) -> list[str]:
        return await _create(accounts, chunk, by)

    async def alone(account: Account) -> Account:
        return await accounts.create(account, by=by)

    return await _in_transactions(new, [account.id not in odd for account in new], commit, alone)


async def replace_many(accounts: Accounts, changes: Sequence[Change], *, by: str, action: str) -> list[Outcome]:
    """Put `after` in the place of `before`, for each change. An outcome is Stale where `before` changed meanwhile."""
    plain = [_adds_only(before, after) for before, after in changes]
    chosen = [change for change, is_plain in zip(changes, plain, strict=True) if is_plain]
    odd = await _hold_identities(accounts, [after for before, after in chosen if before.link != after.link])
    await _point(accounts, ((key, a.id) for before, a in chosen for key in a.pointers() - before.pointers()))
    now = accounts.now()

    async def commit(chunk: Sequence[Change]) -> list[str]:
        operations: list[Operation] = []
        for before, after in chunk:
            row = Replace(after.key, replace(after, modified=now).columns(), before.etag)
            operations += [row, audit_row(before.id, action, by, now, before, after)]
        etags = await accounts.tables.commit(accounts.keys.accounts_of(chunk[0][0].id), operations)
        return etags[::2]

    async def alone(change: Change) -> Account:
        return await accounts.replace(*change, by=by, action=action)

    together_with = [ok and after.id not in odd for ok, (_, after) in zip(plain, changes, strict=True)]
    outcomes = await _in_transactions(changes, together_with, commit, alone)
    return [replace(o, modified=now) if isinstance(o, Account) else o for o in outcomes]


async def _create(accounts: Accounts, chunk: Sequence[Account], by: str) -> list[str]:
    bucket = accounts.keys.bucket(chunk[0].id)
    operations: list[Operation] = []
    for account in chunk:
        claim = Insert(accounts.keys.claim(Key("userName", account.user_name))[1], {"id": account.id})
        audit = audit_row(account.id, "create", by, account.created, None, account)
        operations += [Insert(account.key, account.columns()), claim, audit]
    operations.append(await accounts.counts.change(bucket, len(chunk)))
    try:
        etags = await accounts.tables.commit(accounts.keys.accounts(bucket), operations)
    except TablesError:
        accounts.counts.forget(bucket)
        raise
    accounts.counts.committed(bucket, len(chunk), etags[-1])
    return etags[:-1:3]


async def _in_transactions(
    items: Sequence[Item],
    fit: Sequence[bool],
    commit: Callable[[Sequence[Item]], Awaitable[list[str]]],
    alone: Callable[[Item], Awaitable[Account]],
) -> list[Outcome]:
    """Commit the items that fit in transactions, the others alone; what makes a transaction fail is done alone too."""
    outcomes: dict[int, Outcome] = {}
    waiting = [place for place, fits in enumerate(fit) if fits]
    single = [place for place, fits in enumerate(fit) if not fits]
    while waiting:
        chunk = waiting[:ITEMS]
        try:
            etags = await commit([items[place] for place in chunk])
        except (port.AlreadyExists, VersionConflict) as conflict:
            # Three operations an item for creates, two for changes; behind the last is the count, worth a new try.
            at = conflict.index // (3 if isinstance(items[chunk[0]], Account) else 2)
            if at < len(chunk):
                single.append(waiting.pop(at))
            continue
        for place, etag in zip(chunk, etags, strict=True):
            item = items[place]
            outcomes[place] = replace(item if isinstance(item, Account) else item[1], etag=etag)
        del waiting[:ITEMS]
    for place in single:
        try:
            outcomes[place] = await alone(items[place])
        except DirectoryError as error:
            outcomes[place] = error
    return [outcomes[place] for place in range(len(items))]


ITEMS = (MAX_OPERATIONS - 1) // 3
"""Accounts in one transaction: account, claim and audit row of each, and the count."""


def _adds_only(before: Account, after: Account) -> bool:
    """Whether a change takes no key away and stays in its row: such a change needs nothing done after its commit."""
    kept = before.claims() <= after.claims() and before.pointers() <= after.pointers()
    return kept and before.user_name == after.user_name and before.key == after.key and before != after


async def _hold_identities(accounts: Accounts, linked: Sequence[Account]) -> set[str]:
    """Claim identities, a transaction a partition; return the ids of accounts for which that did not go through."""
    keys = {a.id: Key("identity", a.link.identity) for a in linked if a.link}
    by_row = {accounts.keys.claim(key): account_id for account_id, key in keys.items()}
    odd = set(keys) - set(by_row.values())
    places: dict[str, list[Insert]] = defaultdict(list)
    for (partition, row), account_id in by_row.items():
        places[partition].append(Insert(row, {"id": account_id}))

    async def insert(partition: str, inserts: list[Insert]) -> None:
        while inserts:
            try:
                await accounts.tables.commit(partition, inserts[:MAX_OPERATIONS])
            except port.AlreadyExists as conflict:
                odd.add(str(inserts.pop(conflict.index).columns["id"]))
            else:
                del inserts[:MAX_OPERATIONS]

    await _some_at_once([insert(partition, inserts) for partition, inserts in places.items()])
    sure = [account_id for account_id in keys if account_id not in odd]
    seconds = await _some_at_once([accounts.claims.find_second(keys[i], i) for i in sure])
    return odd | {account_id for account_id, second in zip(sure, seconds, strict=True) if second}


async def _point(accounts: Accounts, pointers: Iterable[tuple[Key, str]]) -> None:
    """Write pointers, in transactions a partition."""
    places: dict[str, dict[str, Upsert]] = defaultdict(dict)
    for key, account_id in pointers:
        partition, row = accounts.keys.pointer(key, account_id)
        places[partition][row] = Upsert(row, {"id": account_id})
    await _some_at_once(
        [
            accounts.tables.commit(partition, operations)
            for partition, rows in places.items()
            for operations in in_parts(list(rows.values()), MAX_OPERATIONS)
        ]
    )


async def _some_at_once(calls: Sequence[Awaitable[Result]]) -> list[Result]:
    results: list[Result] = []
    for part in in_parts(calls, AT_ONCE):
        results += await together(*part)
    return results


def in_parts(items: Sequence[Part], size: int) -> Iterator[Sequence[Part]]:
    """Yield the items in order, `size` at a time."""
    return (items[at : at + size] for at in range(0, len(items), size))
