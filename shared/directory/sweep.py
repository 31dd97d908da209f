"""The sweep: removes claims and pointers that no account carries, as crashes and lost deletions leave them.

They do no harm (claims.py), they only cost reads. A row is deleted by the same fences as everywhere, so a sweep may run
beside any writer; it changes the version of an account that left a stale row, so run it before a plan, not after.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence

from shared.directory.claims import CONFLICTS, together
from shared.directory.directory import Directory
from shared.directory.keys import IDENTITY, NAME, POINTER, Keys, prefix_end
from shared.directory.model import Account
from shared.tables.port import Delete, Row


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
        # The accounts of one bucket one by one: their fences would make each other fail.
        rows: defaultdict[int, list[Row]] = defaultdict(list)
        for row in page.rows:
            rows[directory.keys.bucket(str(row.columns["id"]))].append(row)
        removed += sum(await together(*(_remove_stale(directory, some) for some in rows.values())))
        continuation = page.continuation
        if continuation is None:
            return removed


async def _remove_stale(directory: Directory, rows: Sequence[Row]) -> int:
    removed = 0
    for row in rows:
        with contextlib.suppress(*CONFLICTS):
            if not await directory.accounts.claims.settled_by(str(row.columns["id"]), _carries(directory.keys, row)):
                await directory.tables.commit(row.partition, [Delete(row.key, row.etag)])
                removed += 1
    return removed


def _carries(keys: Keys, row: Row) -> Callable[[Account], bool]:
    def carries(account: Account) -> bool:
        places = [keys.claim(key) for key in account.claims()]
        places += [keys.pointer(key, account.id) for key in account.pointers()]
        return (row.partition, row.key) in places

    return carries
