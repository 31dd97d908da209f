"""Many links taken back at once: the counterpart of bulk.py, for changes that take claims and pointers away.

The steps are those of Resources.replace(), gathered into transactions. The rows that go are read before the commit and
removed after it by the etag that was read, so that a late removal misses a row that was written anew (claims.py). A
change that fails among others is made alone, as accounts.py makes it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from shared.directory.errors import DirectoryError, TooLarge
from shared.directory.records.accounts import Accounts
from shared.directory.records.audit import audit_row
from shared.directory.records.bulk import AccountChange, BulkOutcome
from shared.directory.records.claims import KeyRow
from shared.directory.records.model import Account
from shared.tables.access import delete, in_waves
from shared.tables.port import (
    MAX_OPERATIONS,
    Conflict,
    Delete,
    LimitExceeded,
    Merge,
    Operation,
    Replace,
    TablesError,
    VersionConflict,
)

ACCOUNTS = MAX_OPERATIONS // 2
"""Accounts in one transaction, each with its audit row."""

log = logging.getLogger("scimlink.directory")


async def release_many(
    accounts: Accounts, changes: Sequence[AccountChange], *, by: str, action: str
) -> list[BulkOutcome]:
    """Put `after` in the place of `before`, for each change; a change is to take keys away and to add none.

    One that adds a key, or that retires an account again, is made alone. An outcome is Stale where `before` changed
    meanwhile. The accounts may be of several buckets.
    """
    now = accounts.now()
    changes = [(before, replace(after, modified=now)) for before, after in changes]
    outcomes: dict[str, BulkOutcome] = {}
    gone = await _places(accounts, changes)
    alone = [change for change in changes if _gains(*change)]
    for waiting in _by_home(accounts, [change for change in changes if not _gains(*change)]).values():
        alone += await _commit(accounts, waiting, outcomes, by, action)
    await _remove(accounts, [place for account_id in outcomes for place in gone[account_id]])
    for change in alone:
        outcomes[change[0].id] = await _alone(accounts, change, by, action)
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


async def _commit(
    accounts: Accounts, waiting: list[AccountChange], outcomes: dict[str, BulkOutcome], by: str, action: str
) -> list[AccountChange]:
    """Commit changes of one bucket; return those that have to be made alone."""
    alone: list[AccountChange] = []
    while waiting:
        chunk = waiting[:ACCOUNTS]
        operations: list[Operation] = []
        for before, after in chunk:
            audit = audit_row(before.id, action, by, after.modified, before, after)
            operations += [Replace(after.key, after.columns(), before.etag), audit]
        try:
            etags = await accounts.tables.commit(accounts.keys.home(chunk[0][0].id), operations)
        except Conflict as conflict:
            alone.append(waiting.pop(conflict.index // 2))
            continue
        except LimitExceeded:
            alone += chunk  # too much together
        else:
            for (_, after), etag in zip(chunk, etags[::2], strict=True):
                outcomes[after.id] = replace(after, etag=etag)
        del waiting[:ACCOUNTS]
    return alone


async def _alone(accounts: Accounts, change: AccountChange, by: str, action: str) -> BulkOutcome:
    try:
        return await accounts.replace(*change, by=by, action=action)
    except DirectoryError as error:
        return error
    except LimitExceeded as error:
        return TooLarge(str(error))


def _gains(before: Account, after: Account) -> bool:
    """Tell whether a change adds a key or moves the row: then there is work to do before its commit."""
    return before.key != after.key or not (after.claims() <= before.claims() and after.pointers() <= before.pointers())


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


async def _remove(accounts: Accounts, places: Sequence[KeyRow]) -> None:
    """Delete rows unless they were written since they were seen, a partition at a time. What fails stays, harmless."""
    partitions: defaultdict[str, list[KeyRow]] = defaultdict(list)
    for place in places:
        partitions[place.partition].append(place)

    async def remove(partition: str, some: list[KeyRow]) -> None:
        try:
            await delete(accounts.tables, partition, [Delete(place.row, place.etag) for place in some])
        except TablesError as error:
            log.warning("stale keys stay until they are swept: %s", type(error).__name__)

    await in_waves(remove(partition, some) for partition, some in partitions.items())
