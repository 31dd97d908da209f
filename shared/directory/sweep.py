"""The sweep: removes claims and pointers that no account carries, as crashes and lost deletions leave them.

They do no harm (claims.py), they only cost reads. A row is deleted by the same fences as everywhere, so a sweep may run
beside any writer; it changes the version of an account that left a stale row, so run it before a plan, not after.
"""

from __future__ import annotations

from shared.directory.bulk import in_parts
from shared.directory.claims import ATTEMPTS, CONFLICTS, together
from shared.directory.directory import Directory
from shared.directory.keys import IDENTITY, NAME, POINTER, prefix_end
from shared.directory.model import Account
from shared.tables.port import Delete, Row, VersionConflict

AT_ONCE = 64
"""How many rows are looked at together."""


async def sweep(directory: Directory) -> int:
    """Remove a directory's stale claims and pointers, and return how many. What is being written now is left alone."""
    removed = 0
    for bucket in range(directory.keys.buckets):
        removed += await _sweep(directory, directory.keys.accounts(bucket), NAME)
        removed += await _sweep(directory, directory.keys.pointers(bucket), IDENTITY)
        removed += await _sweep(directory, directory.keys.pointers(bucket), POINTER)
    return removed


async def _sweep(directory: Directory, partition: str, prefix: str) -> int:
    removed, continuation = 0, None
    while True:
        page = await directory.tables.query(partition, prefix, prefix_end(prefix), continuation=continuation)
        for rows in in_parts(page.rows, AT_ONCE):
            removed += sum(await together(*(_remove_stale(directory, row) for row in rows)))
        continuation = page.continuation
        if continuation is None:
            return removed


async def _remove_stale(directory: Directory, row: Row) -> bool:
    keys = directory.keys

    def carries(account: Account) -> bool:
        rows = [keys.claim(key) for key in account.claims()]
        rows += [keys.pointer(key, account.id) for key in account.pointers()]
        return (row.partition, row.key) in rows

    for _ in range(ATTEMPTS):
        try:
            if await directory.accounts.claims.settled_by(str(row.columns["id"]), carries):
                return False
        except CONFLICTS:
            continue  # often the sweep itself, at another row of the account
        try:
            await directory.tables.commit(row.partition, [Delete(row.key, row.etag)])
        except VersionConflict:
            return False
        return True
    return False
