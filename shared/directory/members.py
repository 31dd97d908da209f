"""Memberships: one row a member, so that adding or removing any number never reads or rewrites the others.

The row in the group's partition is the truth; the row in the member's is an index that says in which groups to look.
The index is written before the truth, and a reader verifies it. No request removes it, as an add under way may rely on
it (one that was cut off, or overtaken): the sweep does, when it has led nowhere for longer than a request can take.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.directory.bulk import in_parts
from shared.directory.claims import together
from shared.directory.keys import Keys, prefix_end
from shared.directory.model import timestamp
from shared.tables.port import ANY, MAX_OPERATIONS, MAX_PAGE, Delete, Row, Tables, Upsert, VersionConflict


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group: the id of an account or of a group, and the name the client gave, if it gave one."""

    id: str
    display: str | None = None


class Members:
    """The memberships of one directory. Ids are ids made here (keys.ID); who they name is not looked up."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._now = now

    async def add(self, group: str, members: Iterable[Member]) -> None:
        """Put members in; one that is there already stays once. Cut off in the middle, it may be sent again."""
        members = list(members)
        await self.announce(group, members)
        await self.join(group, members)

    async def announce(self, group: str, members: Iterable[Member]) -> None:
        """Write the index rows of members to come; alone it does no harm."""
        by_partition: defaultdict[str, list[Upsert]] = defaultdict(list)
        at = self._now()
        for member_id in dict.fromkeys(member.id for member in members):
            by_partition[self._keys.groups_of(member_id)].append(Upsert(f"{member_id}_{group}", {"at": at}))
        await self._commit(by_partition)

    async def join(self, group: str, members: Iterable[Member]) -> None:
        """Write the truth of members that were announced."""
        by_id = {member.id: member for member in members}
        rows = [Upsert(member.id, {"display": member.display}) for member in by_id.values()]
        await self._commit({self._keys.members(group): rows})

    async def remove(self, group: str, members: Iterable[str]) -> None:
        """Take members out; one that is not there is no error."""
        await self.take_out(group, await self.look_up(group, members))

    async def look_up(self, group: str, members: Iterable[str]) -> list[str]:
        """Return which of these are members."""
        ids = list(dict.fromkeys(members))
        held = await self.held([(member_id, group) for member_id in ids])
        return [member_id for member_id, is_in in zip(ids, held, strict=True) if is_in]

    async def take_out(self, group: str, members: Sequence[str]) -> None:
        """Remove the truth of members who were there a moment ago."""
        for part in in_parts(members, MAX_OPERATIONS):
            await self._delete(self._keys.members(group), [Delete(member_id, ANY) for member_id in part])

    async def replace(self, group: str, members: Iterable[Member]) -> None:
        """Leave exactly these members in: adds the new ones, and takes out the others, a page at a time."""
        wanted = {member.id: member for member in members}
        async for rows in self._rows(self._keys.members(group)):
            gone = [row.key for row in rows if row.key not in wanted]
            for row in rows:
                wanted.pop(row.key, None)
            await self.take_out(group, gone)
        await self.add(group, wanted.values())

    async def leave(self, member: str) -> None:
        """Take a deleted account or group out of every group."""
        for _, group in await self.indexed([member]):
            await self.remove(group, [member])

    async def holds(self, group: str, member: str) -> bool:
        """Tell whether somebody is a member."""
        return await self._tables.get(self._keys.members(group), member, select=[]) is not None

    async def indexed(self, members: Sequence[str]) -> list[tuple[str, str]]:
        """Return (member, group) as the index has them; the group may not hold the member any more, see held().

        Ids of one bucket are read in one query, from the smallest to the largest of them.
        """
        by_bucket: defaultdict[int, list[str]] = defaultdict(list)
        for member in members:
            by_bucket[self._keys.bucket(member)].append(member)
        found = await together(*map(self._index_of, by_bucket.values()))
        return [pair for pairs in found for pair in pairs]

    async def held(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Tell of each (member, group) whether it is so."""
        places = [(self._keys.members(group), member) for member, group in pairs]
        return [row is not None for row in await self._tables.get_many(places, select=[])]

    async def scan(self, group: str) -> AsyncIterator[Sequence[Member]]:
        """Yield all members in order of id, a page in memory at a time."""
        async for rows in self._rows(self._keys.members(group)):
            yield [_member(row) for row in rows]

    async def first(self, group: str, count: int) -> list[Member]:
        """Return the first members in order of id, at most so many."""
        partition, rows, continuation = self._keys.members(group), list[Row](), None
        while len(rows) < count:
            page = await self._tables.query(partition, top=min(count - len(rows), MAX_PAGE), continuation=continuation)
            rows += page.rows
            continuation = page.continuation
            if continuation is None:
                break
        return [_member(row) for row in rows]

    async def scan_index(self, bucket: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Yield (member, group) as a partition of the index holds them, a page at a time."""
        async for rows in self._rows(self._keys.memberships(bucket)):
            yield [_pair(row) for row in rows]

    async def sweep_index(self, bucket: int, before: str) -> int:
        """Remove index rows written before that time that lead nowhere, and return how many."""
        removed, partition = 0, self._keys.memberships(bucket)
        async for rows in self._rows(partition):
            old = [row for row in rows if str(row.columns["at"]) < before]
            held = await self.held([_pair(row) for row in old])
            loose = [Delete(row.key, row.etag) for row, is_in in zip(old, held, strict=True) if not is_in]
            for part in in_parts(loose, MAX_OPERATIONS):
                removed += await self._delete(partition, list(part))
        return removed

    async def _commit(self, by_partition: Mapping[str, Sequence[Upsert]]) -> None:
        parts = [(key, part) for key, rows in by_partition.items() for part in in_parts(rows, MAX_OPERATIONS)]
        await together(*(self._tables.commit(partition, part) for partition, part in parts))

    async def _delete(self, partition: str, deletes: list[Delete]) -> int:
        """Delete rows in one transaction, but those that changed or are gone; return how many."""
        while deletes:
            try:
                await self._tables.commit(partition, deletes)
            except VersionConflict as conflict:
                del deletes[conflict.index]
                continue
            break
        return len(deletes)

    async def _index_of(self, members: Sequence[str]) -> list[tuple[str, str]]:
        asked, low, high = set(members), min(members) + "_", prefix_end(max(members) + "_")
        partition, continuation = self._keys.groups_of(members[0]), None
        found: list[tuple[str, str]] = []
        while True:
            page = await self._tables.query(partition, low, high, select=[], continuation=continuation)
            found += [pair for pair in map(_pair, page.rows) if pair[0] in asked]
            continuation = page.continuation
            if continuation is None:
                return found

    async def _rows(self, partition: str) -> AsyncIterator[Sequence[Row]]:
        continuation = None
        while True:
            page = await self._tables.query(partition, continuation=continuation)
            yield page.rows
            continuation = page.continuation
            if continuation is None:
                return


def _member(row: Row) -> Member:
    display = row.columns.get("display")
    return Member(row.key, str(display) if display else None)


def _pair(row: Row) -> tuple[str, str]:
    member, _, group = row.key.partition("_")
    return member, group
