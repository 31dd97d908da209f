"""What a copy of the tables leaves half done, done: for a directory that was restored, before anybody writes to it.

A copy takes rows one after the other while others change them. So of a change it may have one row and not the other:
an account without the claim on its name, under which another could then be made; one that is live and deleted; a count
that is off by one; a history that tells of a change which the account does not have. Accounts, groups and members are
the truth, and everything that leads to them is made of them again. What leads nowhere the sweep removes.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists
from shared.directory.keys import AUDIT, COUNT, LIVE, RETIRED, TOMBSTONE, Key, prefix_end
from shared.directory.records.audit import numbered
from shared.directory.records.counts import SHARES, share_of
from shared.directory.records.model import Resource
from shared.directory.records.resources import Resources
from shared.tables.access import delete, in_waves, read_range, scan_pages, together
from shared.tables.port import ANY, Delete, Row, Upsert


@dataclass(frozen=True, slots=True)
class Contradiction:
    """That two accounts or groups have what one alone may have: an attribute, and their ids."""

    attribute: str
    id: str
    holder: str


async def mend(directory: Directory) -> list[Contradiction]:
    """Make everything that leads to accounts, groups and members; return what only a person can decide."""
    found: list[Contradiction] = []
    spaces: tuple[Resources[Any], ...] = (directory.accounts, directory.groups)
    for resources in spaces:
        for bucket in range(directory.keys.buckets):
            kept = await _settle(resources, bucket)
            await _count(resources, bucket, kept)
            await _forget_unmade(resources, bucket, kept)
            found += [one for some in await in_waves(_lead(resources, row) for row in kept) for one in some]
            if resources is directory.groups:
                for row in kept:
                    await _index(directory, _id(row))
    await directory.jobs.mend_entries()
    return found


def _id(row: Row) -> str:
    return row.key[len(LIVE) :]


async def _settle(resources: Resources[Any], bucket: int) -> list[Row]:
    """Return the live and the retired rows of a bucket, one of each resource; remove the older ones and the deleted."""
    tables, partition = resources.tables, resources.keys.resources(bucket)
    rows = await read_range(tables, partition, LIVE, prefix_end(RETIRED))
    deleted = {_id(row) for row in await read_range(tables, partition, TOMBSTONE, prefix_end(TOMBSTONE))}
    by_id: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_id[_id(row)].append(row)
    kept = [max(some, key=_age) for resource, some in by_id.items() if resource not in deleted]
    keys = {row.key for row in kept}
    await delete(tables, partition, [Delete(row.key, ANY) for row in rows if row.key not in keys])
    return kept


def _age(row: Row) -> tuple[int, str]:
    return int(row.columns.get("changes", 0)), str(row.columns["modified"])


async def _count(resources: Resources[Any], bucket: int, kept: Sequence[Row]) -> None:
    shares = Counter(share_of(_id(row)) for row in kept if row.key.startswith(LIVE))
    right = tuple(shares[share] for share in range(SHARES))
    if (await resources.counts.read(bucket)).shares != right:
        row = Upsert(COUNT, {"parts": " ".join(map(str, right))})
        await resources.tables.commit(resources.keys.resources(bucket), [row])
        resources.counts.forget(bucket)


async def _forget_unmade(resources: Resources[Any], bucket: int, kept: Sequence[Row]) -> None:
    """Remove changes from histories that the resources themselves do not have: their rows were copied before."""
    tables, partition = resources.tables, resources.keys.resources(bucket)
    made = {_id(row): int(row.columns.get("changes", 0)) for row in kept}
    async for page in scan_pages(tables, partition, AUDIT, prefix_end(AUDIT), select=[]):
        changes = [(row.key, *row.key.removeprefix(AUDIT).split("_")) for row in page.rows]
        unmade = [key for key, one, number in changes if made.get(one) and number[:11] > numbered(made[one])]
        await delete(tables, partition, [Delete(key, ANY) for key in unmade])


async def _index(directory: Directory, group: str) -> None:
    """Write the rows that lead from members of a group to it, where they are missing."""
    async for members in directory.members.scan(group):
        places = [(directory.keys.groups_of(member.id), f"{member.id}_{group}") for member in members]
        rows = await directory.tables.get_many(places, select=[])
        await directory.members.announce(group, [one for one, row in zip(members, rows, strict=True) if row is None])
        await directory.members.note_nested([(member.id, group) for member in members])


async def _lead(resources: Resources[Any], row: Row) -> list[Contradiction]:
    """Write the claims and the pointers of a resource. Return the claims that another one has by right."""
    resource: Resource | None = await resources.find(_id(row))
    if resource is None:
        return []
    keys, found = resource.claims(), list[Contradiction]()
    external = {key for key in resource.pointers() if key.kind == "externalId"}
    claims = resources.claims
    await together(*claims.pointing(resource.pointers() - external, resource.id))
    writes: list[Awaitable[object]] = [claims.hold(key, resource.id) for key in keys]
    # Who is linked claims the identity; whoever only has it as externalId does where nobody is linked to it.
    writes += [
        claims.point(key, resource.id)
        if Key("identity", key.value) in keys
        else claims.point_unclaimed(key, resource.id)
        for key in external
    ]
    for one in writes:
        try:
            await one
        except AlreadyExists as taken:
            found.append(Contradiction(taken.attribute, resource.id, taken.holder))
    return found
