"""Many links taken back at once: the counterpart of bulk.py, for changes that take claims and pointers away.

The steps are those of Resources.replace(), gathered into transactions. Names and pointers that an account gets back are
written before the commit. The rows that go are read before it and removed after it by the etag that was read, so that a
late removal misses a row that was written anew (claims.py). A change that fails among others is made alone, as
accounts.py makes it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from shared.directory.keys import Key, folded
from shared.directory.records.accounts import Accounts
from shared.directory.records.audit import audit_row, changed_values
from shared.directory.records.bulk import AccountChange, BulkOutcome, claim_many, in_transactions, numbered, point_many
from shared.directory.records.claims import KeyRow
from shared.directory.records.kept import kept_row
from shared.directory.records.model import Account
from shared.tables.access import delete, in_waves
from shared.tables.port import (
    MAX_OPERATIONS,
    Delete,
    Merge,
    Operation,
    Replace,
    TablesError,
    VersionConflict,
)

log = logging.getLogger("scimlink.directory")


async def release_many(
    accounts: Accounts, changes: Sequence[AccountChange], *, by: str, action: str
) -> list[BulkOutcome]:
    """Put `after` in the place of `before`, for each change, none of which links an account.

    What goes of an account beside its link is kept, so that its history can tell it (kept.py). A change that adds an
    identity or an externalId, or that moves a row, is made alone. An outcome is Stale where `before` changed meanwhile,
    AlreadyExists where another account has the userName. The accounts may be of several buckets.
    """
    now = accounts.now()
    changes = [(before, numbered(before, after, now)) for before, after in changes]
    gone = await _places(accounts, changes)

    async def announce(some: Sequence[AccountChange]) -> set[str]:
        return await _announce(accounts, some)

    async def commit(chunk: Sequence[AccountChange]) -> list[str]:
        operations: list[Operation] = []
        for before, after in chunk:
            audit = audit_row(action, by, now, before, after)
            operations += [Replace(after.key, after.columns(), before.etag), audit, *kept[before.id]]
        etags = await accounts.tables.commit(accounts.keys.home(chunk[0][0].id), operations)
        return etags[:: len(operations) // len(chunk)]

    async def alone(change: AccountChange) -> Account:
        return await accounts.replace(*change, by=by, action=action, keep=bool(kept[change[0].id]))

    outcomes: dict[str, BulkOutcome] = {}
    kept = {before.id: _kept(before, after) for before, after in changes}
    for some in _by_home(accounts, changes).values():
        for rows in (0, 1):
            alike = [change for change in some if len(kept[change[0].id]) == rows]
            done = await in_transactions(alike, announce, commit, alone, 2 + rows)
            outcomes |= {before.id: outcome for (before, _), outcome in zip(alike, done, strict=True)}
    stored = [outcome for outcome in outcomes.values() if isinstance(outcome, Account)]
    await end_places(accounts, [(place, place.given_up(one, now)) for one in stored for place in gone[one.id]])
    return [outcomes[before.id] for before, _ in changes]


async def fence_many(accounts: Accounts, some: Sequence[Account]) -> set[str]:
    """Give accounts a new version and change nothing else: a writer that read them before this then fails.

    Returns the ids of those that changed meanwhile, which are not fenced off.
    """
    changed: set[str] = set()
    for waiting in _by_home(accounts, [(account, account) for account in some]).values():
        while waiting:
            chunk = waiting[:MAX_OPERATIONS]
            fences = [Merge(account.key, {"fenced": True}, account.etag) for account, _ in chunk]
            try:
                await accounts.tables.commit(accounts.keys.home(chunk[0][0].id), fences)
            except VersionConflict as conflict:
                changed.add(waiting.pop(conflict.index)[0].id)
            else:
                del waiting[:MAX_OPERATIONS]
    return changed


def _kept(before: Account, after: Account) -> list[Operation]:
    """Return the operation that keeps what a change takes from an account beside its link, if that is anything."""
    values = {name: both for name, both in changed_values(before, after).items() if name != "externalId"}
    row = kept_row(before, after, values)
    return [row] if row else []


async def _announce(accounts: Accounts, changes: Sequence[AccountChange]) -> set[str]:
    """Write the names and pointers that accounts get back; return the ids of those that are changed alone."""
    odd = {before.id for before, after in changes if _is_odd(before, after)}
    names = {after.id: after.name for before, after in changes if after.claims() - before.claims()}
    held = {account_id: name for account_id, name in names.items() if account_id not in odd}
    odd |= await claim_many(accounts, held) if held else set()
    gained = [(key, after.id) for before, after in changes if after.id not in odd for key in _gained(before, after)]
    await point_many(accounts, gained)
    return odd


def _is_odd(before: Account, after: Account) -> bool:
    """Tell whether a change takes what accounts.py alone can do: it moves the row, or may meet a linked account."""
    return before.key != after.key or any(key.kind in ("identity", "externalId") for key in _gained(before, after))


def _gained(before: Account, after: Account) -> frozenset[Key]:
    """Return the keys by which an account is found after a change, and may not have been before it, its name aside."""
    return (after.claims() - {folded(after.name)} - before.claims()) | after.pointers_since(before)


def _by_home(accounts: Accounts, changes: Sequence[AccountChange]) -> Mapping[str, list[AccountChange]]:
    homes: defaultdict[str, list[AccountChange]] = defaultdict(list)
    # In order of id, so that a transaction writes neighbouring rows.
    for change in sorted(changes, key=lambda change: change[0].id):
        homes[accounts.keys.home(change[0].id)].append(change)
    return homes


async def _places(accounts: Accounts, changes: Sequence[AccountChange]) -> Mapping[str, list[KeyRow]]:
    """Return the rows that each change takes away, as they are before its commit."""
    wanted: dict[tuple[str, str], str] = {}
    for before, after in changes:
        places = [accounts.keys.claim(key) for key in before.held() - after.held()]
        places += [accounts.keys.pointer(key, before.id) for key in before.pointers() - after.pointers()]
        wanted |= dict.fromkeys(places, before.id)
    found: defaultdict[str, list[KeyRow]] = defaultdict(list)
    for row in await accounts.tables.get_many(list(wanted)):
        # A claim may belong to another account by now, which fenced this one off first.
        if row and row.columns["id"] == wanted[row.partition, row.key]:
            found[str(row.columns["id"])].append(KeyRow(row.partition, row.key, row.etag))
    return found


async def end_places(accounts: Accounts, ends: Iterable[tuple[KeyRow, Delete | Merge]]) -> None:
    """Do with rows what follows a commit unless they were written since, a partition at a time.

    What fails stays, harmless.
    """
    partitions: defaultdict[str, list[Delete | Merge]] = defaultdict(list)
    for place, operation in ends:
        partitions[place.partition].append(operation)

    async def end(partition: str, some: list[Delete | Merge]) -> None:
        try:
            await delete(accounts.tables, partition, some)
        except TablesError as error:
            log.warning("stale keys stay until they are swept: %s", type(error).__name__)

    await in_waves(end(partition, some) for partition, some in partitions.items())
