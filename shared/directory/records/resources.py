"""What accounts and groups have in common: create, find, replace and delete, each with one commit.

The commit is one transaction on the resource's partition, conditional on the version that was read: the resource, its
audit row, and the count if it changes. Claims and pointers are written before it and removed after it (claims.py).
Pages are in listing.py; accounts.py and groups.py add what only one type has.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import chain, repeat
from typing import Any, Generic, TypeVar

from shared.directory.errors import AlreadyExists, Busy, MayBeTheSame, NotFound, Stale
from shared.directory.keys import LIVE, TOMBSTONE, Key, Keys, folded
from shared.directory.records.audit import Change, audit_row, changed_values, latest_history, list_history
from shared.directory.records.claims import ATTEMPTS, ATTRIBUTES, GIVEN_UP, Claims, KeyRow
from shared.directory.records.counts import Count, Counts
from shared.directory.records.kept import kept_row
from shared.directory.records.model import Resource
from shared.directory.text import timestamp
from shared.tables.access import together
from shared.tables.port import Conflict, Delete, Insert, Operation, Replace, Row, Tables, Throttled, Unavailable

SOME_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
"""What may be looked up as an id; another text may be no row key, and is nobody's id."""

R = TypeVar("R", bound=Resource)
Calls = Callable[[], Sequence[Awaitable[object]]]
"""Returns calls to be made beside others."""

SURE = 32
"""Creates in a row that a check let pass, from which on it is expected to let the next one pass, too."""


def nothing() -> Sequence[Awaitable[object]]:
    """Return nothing to do."""
    return ()


class Resources(Generic[R]):
    """The resources of one type in one directory. `read` makes one of a row whose key has one of the `prefixes`."""

    noun = "resource"
    """What refusals call one."""

    def __init__(
        self,
        tables: Tables,
        keys: Keys,
        read: Callable[[Row], R],
        prefixes: Sequence[str] = (LIVE,),
        now: Callable[[], str] = timestamp,
    ) -> None:
        self.tables = tables
        self.keys = keys
        self.now = now
        self.counts = Counts(tables, keys)
        self.claims: Claims[R] = Claims(tables, keys, self.counts, self.find, now)
        self.read = read
        self._prefixes = prefixes
        self._made_in_a_row = 0
        self._unshared_in_a_row = 0

    async def find(self, resource_id: str) -> R | None:
        """Return a resource by id, live or retired."""
        partition = self.keys.home(resource_id)
        if not SOME_ID.fullmatch(resource_id):
            return None
        for prefix in self._prefixes:
            row = await self.tables.get(partition, prefix + resource_id)
            if row is not None:
                return self.read(row)
        return None

    async def find_many(self, ids: Sequence[str]) -> list[R | None]:
        """Return resources by id, live or retired, in order of the ids, which must have been made here."""
        rows = await self.tables.get_many([(self.keys.home(i), LIVE + i) for i in ids])
        found = [self.read(row) if row else None for row in rows]
        if len(self._prefixes) == 1:
            return found
        missing = [place for place, row in enumerate(rows) if row is None]
        for place, resource in zip(missing, await together(*(self.find(ids[p]) for p in missing)), strict=True):
            found[place] = resource
        return found

    async def list_live(self, ids: Sequence[str]) -> list[R]:
        """Return the live ones of the resources with these ids, which must have been made here."""
        rows = await self.tables.get_many([(self.keys.home(i), LIVE + i) for i in ids])
        return [self.read(row) for row in rows if row]

    async def get(self, resource_id: str) -> R:
        """Return a live resource. Raises NotFound, also for one that SCIM deleted."""
        resource = await self.find(resource_id)
        if resource is None or not resource.key.startswith(LIVE):
            raise NotFound(f"no resource {resource_id}", self.noun)
        return resource

    async def list_by(self, key: Key, *, but: str = "") -> list[R]:
        """Return the resources, live or retired, that carry a key, `but` one; at most one if such keys are claimed.

        To one that is being announced its own pointers lead by now, and to look for it takes the most.
        """
        wanted = folded(key)
        found = await self.find_many([one for one in await self.led_to(key) if one != but])
        return [resource for resource in found if resource and wanted in _leading_to(resource)]

    async def page_by(self, key: Key, cursor: str, count: int) -> tuple[list[R], str | None]:
        """Return some of what list_by() returns, in order of id, and the next cursor, an id; "" begins.

        There may be fewer than `count` and yet a cursor: what a key leads to may not carry it any more.
        """
        led = sorted(one for one in await self.led_to(key, count + 1, cursor) if one > cursor)
        wanted = folded(key)
        found = [one for one in await self.find_many(led[:count]) if one and wanted in _leading_to(one)]
        return found, led[count - 1] if len(led) > count else None

    async def led_to(self, key: Key, most: int = sys.maxsize, after: str = "") -> list[str]:
        """Return ids to which a key leads, about `most`; a resource may lack the key, be gone, or be still to come.

        Where many may have a key, they are those behind an id, in order of id.
        """
        if key.kind in ATTRIBUTES:
            claimed = await self.claims.claimed(key)
            return [claimed] if claimed else []
        found = await together(*self._naming(key), self.claims.pointed(key, most, after))
        return list(dict.fromkeys(chain(*found)))

    async def check_create(self, name: Key, checks: Calls, shared: Calls = nothing) -> Calls:
        """Refuse a create whose name is taken, or which one of the checks refuses, before anything is written.

        Provisioning sends a refused create again in every cycle. While all creates are made, the checks are returned
        instead, to be made beside create(): that saves each a round trip. The checks of `shared` values raise
        MayBeTheSame. They cost the most, so a name that is taken is reason enough for the others alone.

        What is returned has all checks from the second time on.
        """
        first: list[Awaitable[object]] = []
        later: list[Calls] = []
        if self._made_in_a_row < SURE:
            first += [*checks(), self._refuse_taken(name)]
        else:
            later.append(checks)
        if self._unshared_in_a_row < SURE:
            first += shared()
        else:
            later.append(shared)
        try:
            await together(*first)
        except AlreadyExists as taken:
            self._note_refusal(taken)
            raise
        asked = chain([later], repeat([checks, shared]))
        return lambda: [call for calls in next(asked) for call in calls()]

    def _note_refusal(self, taken: AlreadyExists) -> None:
        self._made_in_a_row = 0
        self._unshared_in_a_row = 0 if isinstance(taken, MayBeTheSame) else self._unshared_in_a_row + 1

    async def _refuse_taken(self, name: Key) -> None:
        claimed = await self.claims.claimed(name)
        for holder in await self.find_many([claimed] if claimed else []):
            if holder and folded(name) in holder.claims():
                raise AlreadyExists(ATTRIBUTES[name.kind], holder.id, found=holder)

    async def create(self, resource: R, *, by: str, beside: Calls = nothing) -> R:
        """Store a new resource. Raises AlreadyExists naming the attribute that another resource holds.

        The calls of `beside` are made while the resource is announced; what they raise refuses the resource. They are
        made again where the name's claim was another's: it may have given the name up for what they look for.
        """
        try:
            made = await self._create(resource, by, beside)
        except AlreadyExists as taken:
            self._note_refusal(taken)
            if taken.holder != resource.id:
                await self._withdraw(resource)
            raise
        self._made_in_a_row += 1
        self._unshared_in_a_row += 1
        return made

    async def _create(self, resource: R, by: str, beside: Calls) -> R:
        row = Insert(resource.key, resource.columns())
        partition, name = self.keys.home(resource.id), resource.name
        bucket = self.keys.bucket(resource.id)
        claim: Operation = Insert(self.keys.claim(name)[1], {"id": resource.id})
        audit = audit_row("create", by, resource.created, None, resource)
        looks = beside
        for _ in range(ATTEMPTS):
            try:
                async with self.counts.turn(bucket):
                    # The count is read first: a writer that fences off creates changes it, and then all is announced
                    # again.
                    count = await self.counts.get(bucket)
                    announcing = self._announcing(resource, resource.pointers())
                    await together(*announcing, *self._holding(resource, waits=False), *looks())
                    looks = nothing
                    operations = [claim, row, audit, count.changed(+1, [resource.id])]
                    etags = await self._commit(partition, operations, audit.key)
                    self._counted(resource, count, +1, etags)
                return await self._written(resource, etags, 1)
            except Conflict as conflict:
                self.counts.forget(bucket)
                if conflict.index == 1:
                    raise AlreadyExists("id", resource.id) from conflict
                if conflict.index == 0:  # a claim: its writer is given way, and not in the turn of the others
                    with contextlib.suppress(Conflict):
                        await together(*self._holding(resource, waits=True))
                        claim = await self.claims.operation(name, resource.id)
                    looks = beside
        raise Busy("too many resources are being created at once", retry_after=1)

    async def replace(
        self,
        before: R,
        after: R,
        *,
        by: str,
        action: str = "replace",
        keep: bool = False,
        keeping: Callable[[R, R], Operation] | None = None,
        looks: Calls = nothing,
    ) -> R:
        """Put `after` in the place of `before`. Raises Stale if the resource changed since `before` was read.

        `keep` says that provisioning makes the change: what it replaces is kept for an undo (kept.py). `keeping`
        returns the operation that keeps it where others make the change. What `looks` returns is called where a name's
        claim was another's, before the commit: that one may have given the name up for what they look for.
        Raises AlreadyExists if it would take a userName or an identity that another resource holds.
        """
        if after == before:
            return before
        after = replace(after, modified=self.now(), changes=before.changes + 1)
        columns = after.columns()
        gone = await self._prepare(before, after, looks)
        values = changed_values(before, after)
        audit = audit_row(action, by, after.modified, before, after, values)
        operations: list[Operation] = [audit, Replace(after.key, columns, before.etag)]
        if after.key != before.key:
            operations[1:] = [Insert(after.key, columns), Delete(before.key, before.etag)]
        if keep and (kept := kept_row(before, after, values)):
            operations.append(kept)
        if keeping:
            operations.append(keeping(before, after))
        etags = await self._change(before, operations, audit.key, _lives(after) - _lives(before))
        await self.claims.give_up(gone, after)
        return await self._written(after, etags, 1)

    async def delete(self, resource: R, *, by: str) -> None:
        """Delete a resource and leave a tombstone. Raises Stale if it changed since it was read."""
        gone = await self.claims.places(resource.id, resource.held(), resource.pointers())
        now = self.now()
        audit = audit_row("delete", by, now, resource, None)
        tombstone = Insert(TOMBSTONE + resource.id, {"deleted": now, "by": by, "status": resource.status.value})
        operations: list[Operation] = [audit, Delete(resource.key, resource.etag), tombstone]
        await self._change(resource, operations, audit.key, -_lives(resource))
        await self.claims.remove(gone)

    async def history(self, resource_id: str) -> list[Change]:
        """Return a resource's changes, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, resource_id)

    async def latest_history(
        self, resource_id: str, *, changes: int, cursor: str, count: int
    ) -> tuple[list[Change], int, str | None]:
        """Return a page of what history() returns, the latest one first (see audit.py)."""
        return await latest_history(self.tables, self.keys, resource_id, changes=changes, cursor=cursor, count=count)

    async def tombstone(self, resource_id: str) -> Mapping[str, Any] | None:
        """Return when and by whom a resource was deleted, or None."""
        row = await self.tables.get(self.keys.home(resource_id), TOMBSTONE + resource_id)
        return row.columns if row else None

    async def lead_again(self, resource: R) -> None:
        """Write the pointers that are missing, as an earlier version of the app did not write them."""
        keys = list(resource.pointers())
        rows = await self.tables.get_many([self.keys.pointer(key, resource.id) for key in keys])
        missing = [key for key, row in zip(keys, rows, strict=True) if row is None or GIVEN_UP in row.columns]
        with contextlib.suppress(AlreadyExists):  # somebody is linked to the identity: a plan shows the two
            await together(*self._announcing(resource, missing))

    def _naming(self, key: Key) -> list[Awaitable[list[str]]]:
        """Return the calls that find ids to which a key may lead beside its pointers."""
        return []

    def _announcing(self, resource: R, pointers: Collection[Key]) -> list[Awaitable[object]]:
        """Return the calls that write pointers, to be made together."""
        return self.claims.pointing(pointers, resource.id)

    def _holding(self, resource: R, *, waits: bool) -> list[Awaitable[object]]:
        """Return the calls that claim what a new resource holds beside its name, to be made together.

        They wait for others who have a claim and do not carry its key, or raise the port's Conflict.
        """
        return []

    async def _withdraw(self, resource: R) -> None:
        """Remove what announced a refused resource: a client that tries it for ever must not fill the tables."""
        if await self.find(resource.id) is None:
            await self.claims.remove(await self.claims.places(resource.id, resource.held(), resource.pointers()))

    async def _prepare(self, before: R, after: R, looks: Calls) -> list[KeyRow]:
        """Write what must be there before the commit, and return the rows to remove after it."""
        lost, gained = before.pointers() - after.pointers(), after.pointers_since(before)
        if before.held() == after.held() and before.claims() == after.claims() and not (lost or gained):
            return []
        gone: list[KeyRow] = []

        async def see() -> None:
            gone.extend(await self.claims.places(before.id, before.held() - after.held(), lost))

        async def hold(key: Key) -> None:
            if await self.claims.hold(key, after.id):
                await together(*looks())

        await together(see(), *map(hold, after.claims() - before.claims()), *self._announcing(after, gained))
        return gone

    async def _change(self, before: R, operations: Sequence[Operation], audit: str, lives: int) -> list[str]:
        """Commit operations that are conditional on `before`, with the count if it changes."""
        partition, bucket = self.keys.home(before.id), self.keys.bucket(before.id)
        for _ in range(ATTEMPTS):
            count = await self.counts.get(bucket) if lives else None
            try:
                etags = await self._commit(
                    partition, [*operations, *([count.changed(lives, [before.id])] if count else [])], audit
                )
            except Conflict as conflict:
                self.counts.forget(bucket)
                if conflict.index == len(operations):  # the count, by a change to another resource
                    continue
                raise Stale("the resource changed since it was read") from conflict
            if count:
                self._counted(before, count, lives, etags)
            return etags
        raise Busy("too many resources are being changed at once", retry_after=1)

    async def _commit(self, partition: str, operations: Sequence[Operation], audit: str) -> list[str]:
        """Commit, and return the etags; if the answer is lost but the audit row is there, return []."""
        try:
            return await self.tables.commit(partition, operations)
        except (Unavailable, Throttled):
            if await self.tables.get(partition, audit) is None:
                raise
            return []

    async def _written(self, resource: R, etags: Sequence[str], index: int) -> R:
        return replace(resource, etag=etags[index]) if etags else await self.get_any(resource.id)

    def _counted(self, resource: R, count: Count, by: int, etags: Sequence[str]) -> None:
        bucket = self.keys.bucket(resource.id)
        if etags:
            self.counts.committed(bucket, count, by, [resource.id], etags[-1])
        else:
            self.counts.forget(bucket)

    async def get_any(self, resource_id: str) -> R:
        """Return a resource, live or retired. Raises NotFound."""
        resource = await self.find(resource_id)
        if resource is None:
            raise NotFound(f"no resource {resource_id}", self.noun, f"GET /{self.noun}s lists those there are")
        return resource


def _leading_to(resource: Resource) -> frozenset[Key]:
    """Return the keys by which a resource is found. A pointer may lead to one that has its key no more."""
    return resource.claims() | resource.found_by() | resource.pointers()


def _lives(resource: Resource) -> int:
    return int(resource.key.startswith(LIVE))


TRIES = 5
"""Times that an act is tried on what others left of a resource, before the client is asked to send it again."""

Result = TypeVar("Result")


async def retry_stale(
    what: str, read: Callable[[], Awaitable[R]], act: Callable[[R], Awaitable[Result]], first: R | None = None
) -> Result:
    """Read a resource, or take the `first`, and act on it; where others changed it meanwhile, again. Raises Busy."""
    for _ in range(TRIES):
        resource, first = first or await read(), None
        with contextlib.suppress(Stale):
            return await act(resource)
    raise Busy(f"the {what} is being changed by others", retry_after=1)
