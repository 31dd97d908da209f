"""Many accounts deleted at once: the steps of Accounts.delete(), gathered into transactions.

An account that fails among the others is deleted alone. What leads to the deleted ones goes after the commit, by the
etags that were read before it (claims.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.directory.errors import DirectoryError
from shared.directory.keys import TOMBSTONE
from shared.directory.records.accounts import Accounts
from shared.directory.records.audit import audit_row, forget_names
from shared.directory.records.bulk import BulkOutcome, in_transactions
from shared.directory.records.claims import KeyRow
from shared.directory.records.counts import UNREAD
from shared.directory.records.kept import forget_kept
from shared.directory.records.model import Account
from shared.directory.records.unlinking import end_places
from shared.tables.access import in_waves
from shared.tables.port import Delete, Insert, Operation


async def delete_many(accounts: Accounts, some: Sequence[Account], *, by: str) -> list[BulkOutcome]:
    """Delete live accounts of one bucket, and leave tombstones. An outcome is Stale where one changed meanwhile."""
    if not some:
        return []
    bucket, now, count = accounts.keys.bucket(some[0].id), accounts.now(), UNREAD
    gone: dict[str, list[KeyRow]] = {}

    async def announce(waiting: Sequence[Account]) -> set[str]:
        nonlocal count
        count = await accounts.counts.read(bucket)
        seen = await in_waves(accounts.claims.places(one.id, one.held(), one.pointers()) for one in waiting)
        gone.update(zip([one.id for one in waiting], seen, strict=True))
        return set()

    async def commit(chunk: Sequence[Account]) -> list[str]:
        nonlocal count
        operations: list[Operation] = []
        for one in chunk:
            left = {"deleted": now, "by": by, "status": one.status.value}
            tombstone = Insert(TOMBSTONE + one.id, left)
            operations += [Delete(one.key, one.etag), tombstone, audit_row("delete", by, now, one, None)]
        ids = [one.id for one in chunk]
        operations.append(count.changed(-1, ids))
        etags = await accounts.tables.commit(accounts.keys.resources(bucket), operations)
        count = accounts.counts.committed(bucket, count, -1, ids, etags[-1])
        return [one.etag for one in chunk]

    async def alone(one: Account) -> Account:
        await accounts.delete(one, by=by)
        return one

    outcomes = await in_transactions(some, announce, commit, alone, 3)  # account, tombstone, audit row
    deleted = [one for one, outcome in zip(some, outcomes, strict=True) if not isinstance(outcome, DirectoryError)]
    places = [place for one in deleted for place in gone[one.id]]
    await end_places(accounts, [(place, Delete(place.row, place.etag)) for place in places])
    await in_waves(_forget(accounts, one) for one in deleted if one.changes > 1)
    return outcomes


async def _forget(accounts: Accounts, account: Account) -> None:
    await forget_names(accounts.tables, accounts.keys, account.id)
    await forget_kept(accounts.tables, accounts.keys, account.id)
