"""The sweep: removes what crashes and lost deletions leave, and what is kept no longer.

It also writes what earlier versions of the app did not, by which an account is found.

Stale claims, pointers and memberships do no harm (claims.py) and only cost reads. The sweep deletes rows by the same
fences as everybody, so it may run beside any writer. But it gives a new version to accounts that left a stale row, and
takes a run's reserved claims for stale: do not run it while a run is under way. What provisioning replaced goes after
the policy's undo term at any time.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from shared.directory.directory import Directory
from shared.directory.keys import (
    COUNT,
    IDENTITY,
    LIVE,
    MEMBER_BUCKETS,
    NAME,
    OWN,
    POINTER,
    RETIRED,
    TOMBSTONE,
    Keys,
    prefix_end,
)
from shared.directory.records.audit import forget_names
from shared.directory.records.claims import GIVEN_UP
from shared.directory.records.kept import sweep_kept
from shared.directory.records.model import Resource, Status
from shared.directory.records.resources import Resources
from shared.directory.text import timestamp
from shared.tables.access import delete, in_waves, scan_pages, together
from shared.tables.port import Conflict, Delete, Row

R = TypeVar("R", bound=Resource)


async def sweep(directory: Directory, before: str | None = None) -> int:
    """Remove the stale rows of a directory, and return how many. What is being written now is left alone.

    Index rows of memberships, heads of groups that are not there, and claims and pointers that were given up count as
    stale if they are from before that time, an hour ago by default.
    """
    before = before or timestamp(datetime.now(UTC) - timedelta(hours=1))
    removed = 0
    for bucket in range(directory.keys.buckets):
        removed += await _sweep_bucket(directory.accounts, bucket, before)
        removed += await _sweep_bucket(directory.groups, bucket, before)
        removed += await _forget_members(directory, bucket)
        removed += await _remove_unmade(directory, bucket, before)
        await _lead_again(directory, bucket)
    for bucket in range(MEMBER_BUCKETS):
        async for pairs in directory.members.scan_index(bucket):
            removed += await _remove_lost(directory, pairs, before)
            await directory.members.note_nested(pairs)
        removed += await directory.members.sweep_index(bucket, before)
    removed += await directory.members.sweep_nested(before)
    return removed


async def sweep_terms(directory: Directory) -> int:
    """Remove what is kept no longer, and return how many rows. It is in nobody's way, whatever is under way."""
    removed = await _sweep_replaced(directory) + await _sweep_deleted(directory) + await directory.refusals.sweep()
    days = (await directory.policies.get()).job_days
    removed += await directory.activity.sweep(days)
    now = datetime.fromisoformat(directory.accounts.now())
    removed += await directory.findings.forget_persons(timestamp(now - timedelta(days=days)))
    return removed + sum([await _remove_look_ups(directory, bucket) for bucket in range(directory.keys.buckets)])


async def _sweep_replaced(directory: Directory) -> int:
    """Remove the values that provisioning replaced before the policy's undo term, and return how many changes' it was.

    An undo does not give them back any more (term_begin).
    """
    before = await directory.term_begin()
    keys, tables = directory.keys, directory.tables
    return sum([await sweep_kept(tables, keys, bucket, before) for bucket in range(keys.buckets)])


async def _sweep_deleted(directory: Directory) -> int:
    """Remove the names that a crash left in histories of accounts deleted of late; return how many changes had one."""
    keys, tables, removed = directory.keys, directory.tables, 0
    late = timestamp(datetime.fromisoformat(directory.accounts.now()) - LATE)
    for bucket in range(keys.buckets):
        partition = keys.resources(bucket)
        async for page in scan_pages(tables, partition, TOMBSTONE, prefix_end(TOMBSTONE), select=["deleted"]):
            gone = [row.key[len(TOMBSTONE) :] for row in page.rows if str(row.columns["deleted"]) > late]
            removed += sum(await in_waves(forget_names(tables, keys, one) for one in gone))
    return removed


LATE = timedelta(days=7)
"""How long ago an account may have been deleted of whose names a crash may have left some: some nights are missed."""


LOOKED_UP = "l_"
"""Row key prefix of the look-ups that earlier versions of the app remembered beside an account."""


async def _remove_look_ups(directory: Directory, bucket: int) -> int:
    """Remove the look-ups that earlier versions remembered: they have addresses, also of accounts that were deleted."""
    tables, partition, removed = directory.tables, directory.keys.resources(bucket), 0
    async for page in scan_pages(tables, partition, LOOKED_UP, prefix_end(LOOKED_UP), select=[]):
        removed += await delete(tables, partition, [Delete(row.key, row.etag) for row in page.rows])
    return removed


async def _lead_again(directory: Directory, bucket: int) -> None:
    """Write the pointers that earlier versions of the app did not.

    They found an id only as it had been written, and nobody by the identities that they were taken apart from.
    """
    accounts = directory.listing.scan_facts(bucket)
    in_doubt = [account async for account in accounts if account.in_doubt() or account.parted]
    await in_waves(directory.accounts.lead_again(account) for account in in_doubt)


async def _remove_unmade(directory: Directory, bucket: int, before: str) -> int:
    """Remove what leads to adoptions that were not made, or are no links any more, of a time before."""
    removed = 0
    async for adoptions in directory.adoptions.scan(bucket):
        accounts = await directory.accounts.find_many([one.account for one in adoptions])
        gone = [
            one for one, account in zip(adoptions, accounts, strict=True) if one.at < before and not one.made(account)
        ]
        removed += await directory.adoptions.remove(bucket, gone)
    return removed


async def _remove_lost(directory: Directory, pairs: Sequence[tuple[str, str]], before: str) -> int:
    """Remove deleted members from their groups, and all members from groups that are gone.

    Whom SCIM deleted and who is kept here leaves only the groups that provisioning manages.
    """
    there = await directory.groups.standing(sorted({resource_id for pair in pairs for resource_id in pair}))
    removed = 0
    for member, group in pairs:
        if group in there and member not in there:
            removed += await directory.members.holds(group, member)
            await directory.members.remove(group, [member], by="sweep")
    for member in sorted({member for member, _ in pairs} & there.keys()):
        row = there[member]
        if row.key.startswith(RETIRED) and str(row.columns["modified"]) < before:
            removed += await directory.groups.take_out(member, by="sweep")
    for group in {group for _, group in pairs} - there.keys():
        if await _is_gone(directory, group, before):
            removed += await directory.members.clear(group)
    return removed


async def _forget_members(directory: Directory, bucket: int) -> int:
    """Remove what is kept of members of linked groups for an undo, once its term is over."""
    days = (await directory.policies.get()).undo_days
    before = timestamp(datetime.now(UTC) - timedelta(days=days))
    removed, keys = 0, directory.groups.keys
    async for page in scan_pages(directory.tables, keys.resources(bucket), LIVE, COUNT, select=["status"]):
        managed = [row.key[len(LIVE) :] for row in page.rows if row.columns["status"] != Status.PROVISIONED]
        removed += sum(await in_waves(directory.linked_members.forget(group, before) for group in managed))
    return removed


async def _is_gone(directory: Directory, group: str, before: str) -> bool:
    """Tell whether a group that is not there was deleted, or given up while it was created.

    Members and their head are written before the group: one with a young head, or none yet, is still to come.
    """
    (head,) = await directory.members.heads([group])
    return "" < head.modified < before or await directory.groups.tombstone(group) is not None


async def _sweep_bucket(resources: Resources[R], bucket: int, before: str) -> int:
    return sum(
        [
            await _sweep(resources, resources.keys.resources(bucket), NAME, before),
            await _sweep(resources, resources.keys.pointers(bucket), IDENTITY, before),
            await _sweep(resources, resources.keys.pointers(bucket), OWN, before),
            await _sweep(resources, resources.keys.pointers(bucket), POINTER, before),
        ]
    )


async def _sweep(resources: Resources[R], partition: str, prefix: str, before: str) -> int:
    removed = 0
    async for page in scan_pages(resources.tables, partition, prefix, prefix_end(prefix)):
        given_up = [row for row in page.rows if GIVEN_UP in row.columns]
        old = [Delete(row.key, row.etag) for row in given_up if str(row.columns[GIVEN_UP]) < before]
        removed += await delete(resources.tables, partition, old)
        # One after the other within a bucket, where their fences would make each other fail.
        rows: defaultdict[int, list[Row]] = defaultdict(list)
        for row in page.rows:
            if GIVEN_UP not in row.columns:
                rows[resources.keys.bucket(str(row.columns["id"]))].append(row)
        removed += sum(await together(*(_remove_stale(resources, some) for some in rows.values())))
    return removed


async def _remove_stale(resources: Resources[R], rows: Sequence[Row]) -> int:
    removed = 0
    for row in rows:
        with contextlib.suppress(Conflict):
            if not await resources.claims.settled_by(str(row.columns["id"]), _carries(resources.keys, row)):
                await resources.tables.commit(row.partition, [Delete(row.key, row.etag)])
                removed += 1
    return removed


def _carries(keys: Keys, row: Row) -> Callable[[Resource], bool]:
    def carries(resource: Resource) -> bool:
        places = [keys.claim(key) for key in resource.held()]
        places += [keys.pointer(key, resource.id) for key in resource.pointers()]
        return (row.partition, row.key) in places

    return carries
