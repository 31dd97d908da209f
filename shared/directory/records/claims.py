"""Claims and pointers: how an account is found, and how only one account holds a name or an identity.

Both may name more than is true: they are written before an account's commit, removed after it, and every reader checks
them against the account. They need not last before that commit does (port.commit_ahead). Two fences make this safe,
each with a deterministic test that fails without it (tests/shared/directory/test_interleavings.py):

* A writer that is hindered by the claim or pointer of an account that does not carry its key first gives that account a
  new version or, where there is no such account, the count of its bucket. A slower writer that was about to commit
  that account with the key then fails; a create that fails so announces itself again (settled()).
* What a change takes away is deleted on the etag that was read before its commit. A writer that takes the key again has
  read the account after that commit, and writes the claim or pointer anew: the late deletion then misses it.

A create asks for all by which its person's account may be found, and each of these requests is answered when it is. To
an account that changes between two of them neither would lead: one was answered before the new pointer was written, the
other after the old one was deleted. So what leads to an account that is managed here is marked as given up instead, and
the nightly sweep deletes it once an hour is over. To whoever wants the key it is free, without a fence: by the second
rule, nobody who is about to commit relies on it.
"""

from __future__ import annotations

import contextlib
import logging
import random
import sys
from asyncio import sleep
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Generic, NamedTuple, TypeVar

from shared.directory.errors import AlreadyExists, Busy
from shared.directory.keys import APPLICATION_ID, NAME, OWN, POINTER, Key, Keys, behind, folded, prefix_end
from shared.directory.records.counts import Count, Counts
from shared.directory.records.model import Resource, Status
from shared.tables import port
from shared.tables.access import in_parts, in_waves, read_range, read_ranges, scan_pages, together
from shared.tables.port import (
    MAX_OPERATIONS,
    Conflict,
    Delete,
    Insert,
    Merge,
    Operation,
    Replace,
    Row,
    Tables,
    TablesError,
    Upsert,
    Value,
    VersionConflict,
)

ATTEMPTS = 8
"""Times that a write is tried while others are faster, before the client is asked to send it again."""
GIVE_WAY_SECONDS, MOST_GIVE_WAY_SECONDS = 0.05, 2.0
"""Seconds, at least and at most, for which a writer waits whose key another has claimed and does not carry yet.

By chance it is up to twice as long.
"""
GIVE_WAY_CALLS = 8
"""Calls of the storage for which it waits in between: twice as many as a change takes from its claim to its commit."""
ATTRIBUTES = {
    "userName": "userName",
    "displayName": "displayName",
    "identity": "externalId",
    APPLICATION_ID: APPLICATION_ID,
}
"""Kinds of claims, each with the attribute that a refusal names."""

UNLINKED = "unlinked"
"""Column of the claim on an identity whose account has it as an externalId, and is not linked to it."""

GIVEN_UP = "givenUp"
"""Column of a claim or pointer whose account does not carry the key any more: since when."""

R = TypeVar("R", bound=Resource)

log = logging.getLogger("scimlink.directory")


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A claim's or pointer's row as it was seen before a commit."""

    partition: str
    row: str
    etag: str

    def given_up(self, after: Resource, now: str) -> Merge | Delete:
        """Return the operation behind the commit of a change that took the key away.

        Nobody looks for accounts by the claim on an identity; by it links are made, for which it is to be free at once.
        """
        if after.status is Status.LOCAL and self.row.startswith((NAME, POINTER)):
            return Merge(self.row, {GIVEN_UP: now}, self.etag)
        return Delete(self.row, self.etag)


class Pointed(NamedTuple):
    """An id to which a pointer leads, and whether its account gave the key up."""

    id: str
    given_up: bool


class Claims(Generic[R]):
    """Claims and pointers of one resource type. `find_holder` returns a resource by id, live or retired."""

    def __init__(
        self,
        tables: Tables,
        keys: Keys,
        counts: Counts,
        find_holder: Callable[[str], Awaitable[R | None]],
        now: Callable[[], str],
    ) -> None:
        self._tables = tables
        self._keys = keys
        self._counts = counts
        self._find_holder = find_holder
        self._now = now

    async def claimed(self, key: Key) -> str | None:
        """Return the id to which a claim leads; that account may not carry the key, or be gone."""
        row = await self._tables.get(*self._keys.claim(key))
        return str(row.columns["id"]) if row else None

    async def claimed_many(self, keys: Sequence[Key]) -> list[str | None]:
        """Return, for each key, the id to which its claim leads."""
        rows = await self._tables.get_many([self._keys.claim(key) for key in keys])
        return [str(row.columns["id"]) if row else None for row in rows]

    async def owners_many(self, keys: Sequence[Key]) -> list[str | None]:
        """Do the same for applicationIds: before anybody has one, a look at each of their partitions tells that."""
        places = [self._keys.claim(key) for key in keys]
        partitions = list(dict.fromkeys(partition for partition, _ in places))
        spans = [(partition, OWN, prefix_end(OWN)) for partition in partitions]
        filled = {row.partition for rows in await read_ranges(self._tables, spans, top=1) for row in rows}
        wanted = [place for place in places if place[0] in filled]
        rows = dict(zip(wanted, await self._tables.get_many(wanted), strict=True))
        return [str(row.columns["id"]) if (row := rows.get(place)) else None for place in places]

    async def take(self, key: Key, account_id: str) -> None:
        """Write a claim where there is none but the account's own. Raises the port's Conflict."""
        partition, row = self._keys.claim(key)
        try:
            await self._tables.commit_ahead(partition, [Insert(row, {"id": account_id})])
        except port.AlreadyExists:
            claim = await self._tables.get(partition, row)
            if claim is None or claim.columns["id"] != account_id:
                raise
            await self._tables.commit_ahead(partition, [Replace(row, {"id": account_id}, claim.etag)])

    async def hold(self, key: Key, account_id: str) -> bool:
        """Write a claim, in the place of a stale one too, and tell whether one was there.

        Raises AlreadyExists naming the attribute.
        """
        partition, row = self._keys.claim(key)
        operation: Operation = Insert(row, {"id": account_id})
        for attempt in range(ATTEMPTS):
            try:
                await self._tables.commit_ahead(partition, [operation])
                second = await self.find_second(key, account_id)
            except Conflict:
                with contextlib.suppress(Conflict):
                    operation = await self.operation(key, account_id)
                continue
            if second is not None:
                raise AlreadyExists(ATTRIBUTES[key.kind], second)
            return attempt > 0
        raise Busy(f"{ATTRIBUTES[key.kind]} is being changed by others", retry_after=1)

    async def point_unclaimed(self, key: Key, account_id: str) -> None:
        """Write the pointer from an externalId, and the claim on its identity if there is none, in one transaction.

        If there is one, that takes further round trips. Raises AlreadyExists as refuse_linked() does.
        """
        identity = Key("identity", key.value)
        partition, claim = self._keys.claim(identity)
        pointer = Upsert(self._keys.pointer(key, account_id)[1], {"id": account_id})
        try:
            await self._tables.commit_ahead(partition, [Insert(claim, _unlinked(account_id)), pointer])
        except port.AlreadyExists:
            await self.point(key, account_id)
            await self.refuse_linked(identity, account_id)

    async def refuse_linked(self, key: Key, account_id: str) -> None:
        """Raise AlreadyExists if another account is linked to an identity, whose pointer leads to this one by now.

        A writer about to link it is fenced off, and the claim taken. That of an account which is not linked stays:
        whoever links either of the two writes it anew, looks for pointers then, and finds this one. Were it taken, too,
        three who come at once could fence each other off until none is left.
        """
        partition, row = self._keys.claim(key)
        for _ in range(ATTEMPTS):
            claim = await self._tables.get(partition, row)
            if claim is None or claim.columns.get(UNLINKED):
                return
            holder_id = str(claim.columns["id"])
            try:
                if holder_id != account_id:
                    if await self.settled_by(holder_id, lambda account: folded(key) in account.claims()):
                        raise AlreadyExists(ATTRIBUTES[key.kind], holder_id)
                    await self._tables.commit_ahead(partition, [Replace(row, _unlinked(account_id), claim.etag)])
            except Conflict:
                continue
            return
        raise Busy(f"{ATTRIBUTES[key.kind]} is being changed by others", retry_after=1)

    async def pointed(self, key: Key, most: int = sys.maxsize, after: str = "") -> list[str]:
        """Return the ids behind one to which a key's pointers lead, in order, `most` of them.

        An account may lack the key, be gone, or be still to come.
        """
        partition, prefix = self._keys.pointer(key)
        low = behind(prefix + after) if after else prefix
        rows = await read_range(self._tables, partition, low, prefix_end(prefix), top=most)
        return [str(row.columns["id"]) for row in rows]

    async def pointed_many(self, keys: Sequence[Key], most: int) -> list[list[Pointed]]:
        """Return, for each key, the first `most` of the ids to which its pointers lead, at most a page."""
        starts = [self._keys.pointer(key) for key in keys]
        spans = [(partition, prefix, prefix_end(prefix)) for partition, prefix in starts]
        return [[*map(_pointed, rows)] for rows in await read_ranges(self._tables, spans, top=most)]

    async def carriers_many(self, keys: Sequence[Key], most: int) -> list[list[str]]:
        """Return the same, but for what was given up: behind a page with such, it reads on."""
        found: list[list[str]] = []
        for key, led in zip(keys, await self.pointed_many(keys, most), strict=True):
            carriers = [one.id for one in led if not one.given_up]
            if len(carriers) < len(led) == most:
                partition, prefix = self._keys.pointer(key)
                low = behind(prefix + led[-1].id)
                async for page in scan_pages(self._tables, partition, low, prefix_end(prefix)):
                    carriers += [one.id for one in map(_pointed, page.rows) if not one.given_up]
                    if len(carriers) >= most:
                        break
            found.append(carriers[:most])
        return found

    async def find_second(self, claim: Key, account_id: str) -> str | None:
        """Return another account that has a claimed identity as its externalId; fence off writers about to make one."""
        if claim.kind != "identity":
            return None
        by = Key("externalId", claim.value)
        partition, prefix = self._keys.pointer(by)
        for row in await read_range(self._tables, partition, prefix, prefix_end(prefix)):
            other = str(row.columns["id"])
            if other != account_id and GIVEN_UP not in row.columns and await self.settled(other, by):
                return other
        return None

    async def operation(self, key: Key, account_id: str) -> Operation:
        """Return the operation that writes a claim over what is there now; a stale holder is fenced off first.

        The account's own claim is written again too, so that a deletion from before, still on its way, misses it.
        """
        partition, row = self._keys.claim(key)
        claim = await self._tables.get(partition, row)
        if claim is None:
            return Insert(row, {"id": account_id})
        holder_id = str(claim.columns["id"])
        if holder_id != account_id and GIVEN_UP not in claim.columns and await self._is_taken(claim, key):
            raise AlreadyExists(ATTRIBUTES[key.kind], holder_id)
        return Replace(row, {"id": account_id}, claim.etag)

    async def _is_taken(self, claim: Row, key: Key) -> bool:
        """Tell whether the holder of a claim carries the key; if not, fence it off, a moment later.

        Raises the port's Conflict where another writer was faster: then look again.
        """
        holder_id, began = str(claim.columns["id"]), monotonic()
        holder = await self._find_holder(holder_id)
        if holder is not None and _carries(holder, key):
            return True
        await self._give_way(claim, monotonic() - began)
        return await self.settled(holder_id, key)

    async def _give_way(self, claim: Row, call: float) -> None:
        """Wait for the holder of a claim, who may be about to commit, where a call takes so many seconds.

        Of several who fence each other off at once, none may be left. Raises VersionConflict if the claim changed.
        """
        seconds = min(max(GIVE_WAY_SECONDS, GIVE_WAY_CALLS * call), MOST_GIVE_WAY_SECONDS)
        await sleep(random.uniform(1, 2) * seconds)  # noqa: S311 - no secret
        again = await self._tables.get(claim.partition, claim.key)
        if again is None or again.etag != claim.etag:
            raise VersionConflict

    async def settled(self, account_id: str, key: Key) -> bool:
        """Tell whether an account carries a key; if not, no write under way can give it the key any more.

        Raises the port's Conflict where another writer was faster: then look again.
        """
        return await self.settled_by(account_id, lambda account: _carries(account, key))

    async def settled_by(self, account_id: str, carries: Callable[[R], bool]) -> bool:
        """Do the same for anything that `carries` tells of an account."""
        account = await self._find_holder(account_id)
        if account is None:
            # It may just be made, or move between live and retired; both change the count.
            bucket = self._keys.bucket(account_id)
            count = await self._counts.read(bucket)
            account = await self._find_holder(account_id)
            if account is None:
                await self.fence_creates(bucket, count)
                return False
        if carries(account):
            return True
        await self.fence(account)
        return False

    async def fence(self, holder: R) -> None:
        """Give the holder a new version and change nothing else. Raises VersionConflict if it changed meanwhile."""
        await self._tables.commit(self._keys.home(holder.id), [Merge(holder.key, {"fenced": True}, holder.etag)])

    async def fence_creates(self, bucket: int, count: Count) -> None:
        """Give a bucket's count a new version and change nothing else. Raises Conflict if it changed meanwhile."""
        self._counts.forget(bucket)
        await self._tables.commit(self._keys.resources(bucket), [count.changed(0, ())])

    async def point(self, key: Key, account_id: str) -> None:
        """Write the pointer from a key to an account."""
        await together(*self.pointing([key], account_id))

    def pointing(self, keys: Iterable[Key], account_id: str) -> list[Awaitable[object]]:
        """Return the calls that write the pointers from keys to an account, one for each of their partitions."""
        rows: defaultdict[str, list[Operation]] = defaultdict(list)
        for key in keys:
            partition, row = self._keys.pointer(key, account_id)
            rows[partition].append(Upsert(row, {"id": account_id}))
        return [
            self._tables.commit_ahead(partition, some)
            for partition, upserts in rows.items()
            for some in in_parts(upserts, MAX_OPERATIONS)
        ]

    async def places(self, account_id: str, claims: Iterable[Key], pointers: Iterable[Key]) -> list[KeyRow]:
        """Return the rows that a change is to take away, as they are before its commit."""
        at = [self._keys.claim(key) for key in claims] + [self._keys.pointer(key, account_id) for key in pointers]
        found = await self._tables.get_many(at)
        return [KeyRow(row.partition, row.key, row.etag) for row in found if row and row.columns["id"] == account_id]

    async def give_up(self, places: Iterable[KeyRow], after: Resource) -> None:
        """Remove what a change took away; what led to a resource that is managed here is marked, and removed later."""
        await in_waves(self._end(place.partition, place.given_up(after, self._now())) for place in places)

    async def remove(self, places: Iterable[KeyRow]) -> None:
        """Delete rows unless they were written since they were seen. What fails stays, stale and harmless."""
        await in_waves(self._end(place.partition, Delete(place.row, place.etag)) for place in places)

    async def _end(self, partition: str, operation: Operation) -> None:
        try:
            await self._tables.commit_ahead(partition, [operation])
        except VersionConflict:
            pass
        except TablesError as error:
            log.warning("a stale key stays until it is swept: %s", type(error).__name__)


def _pointed(row: Row) -> Pointed:
    return Pointed(str(row.columns["id"]), GIVEN_UP in row.columns)


def _unlinked(account_id: str) -> dict[str, Value | None]:
    """Return the columns of the claim on an identity for an account that is not linked to it."""
    return {"id": account_id, UNLINKED: True}


def _carries(resource: Resource, key: Key) -> bool:
    return folded(key) in resource.held() | resource.found_by()
