"""Memberships: one row a member, so that adding or removing any number never reads or rewrites the others.

The row in the group's partition is the truth; the row in the member's is an index that says in which groups to look.
The index is written before the truth and removed after it, and a reader verifies it. The truth keeps the etag of its
index row: a removal deletes the index on that etag, so it misses one that was written again meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.directory.bulk import in_parts
from shared.directory.claims import together
from shared.directory.errors import Busy
from shared.directory.keys import Keys, prefix_end
from shared.tables.port import MAX_OPERATIONS, MAX_PAGE, Delete, Row, Tables, Upsert, Value, VersionConflict

ATTEMPTS = 1_000
"""How often a transaction of removals is tried: each try that fails drops, or reads again, one of its rows."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group: the id of an account or of a group, and the name the client gave, if it gave one."""

    id: str
    display: str | None = None


class Members:
    """The memberships of one directory. Ids are ids made here (keys.ID); who they name is not looked up."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._keys = keys

    async def add(self, group: str, members: Iterable[Member]) -> None:
        """Put members in; one that is there already stays once. Cut off in the middle, it may be sent again."""
        await self.join(group, members, await self.announce(group, members))

    async def announce(self, group: str, members: Iterable[Member]) -> dict[str, str]:
        """Write the index rows of members to come; return their etags, for join(). Alone it does no harm."""
        by_partition: defaultdict[str, list[str]] = defaultdict(list)
        for member_id in dict.fromkeys(member.id for member in members):
            by_partition[self._keys.groups_of(member_id)].append(member_id)
        etags: dict[str, str] = {}
        await together(*(self._index(part, ids, group, etags) for part, ids in by_partition.items()))
        return etags

    async def join(self, group: str, members: Iterable[Member], etags: Mapping[str, str]) -> None:
        """Write the truth of members that were announced."""
        rows: list[Upsert] = []
        for member in {member.id: member for member in members}.values():
            columns: dict[str, Value | None] = {"index": etags[member.id], "display": member.display}
            rows.append(Upsert(member.id, columns))
        partition = self._keys.members(group)
        await together(*(self._tables.commit(partition, part) for part in in_parts(rows, MAX_OPERATIONS)))

    async def withdraw(self, group: str, etags: Mapping[str, str]) -> None:
        """Remove index rows that were announced and shall not be followed by a member."""
        await together(*(self._unindex(part, deletes) for part, deletes in self._deletes(group, etags.items())))

    async def remove(self, group: str, members: Iterable[str]) -> None:
        """Take members out; one that is not there is no error."""
        await self.withdraw(group, await self.take_out(group, await self.look_up(group, members)))

    async def look_up(self, group: str, members: Iterable[str]) -> list[Row]:
        """Return the rows of those who are members, for take_out()."""
        partition, rows = self._keys.members(group), list[Row]()
        for some in in_parts(list(dict.fromkeys(members)), MAX_OPERATIONS):
            found = await self._tables.get_many([(partition, member_id) for member_id in some])
            rows += [row for row in found if row is not None]
        return rows

    async def take_out(self, group: str, rows: Sequence[Row]) -> dict[str, str]:
        """Remove the truth of members; return the etags of their index rows, for withdraw()."""
        gone: list[Row] = []
        for part in in_parts(rows, MAX_OPERATIONS):
            gone += await self._take_out(self._keys.members(group), [Delete(row.key, row.etag) for row in part], part)
        return {row.key: str(row.columns["index"]) for row in gone}

    async def replace(self, group: str, members: Iterable[Member]) -> None:
        """Leave exactly these members in: adds the new ones, and takes out the others, a page at a time."""
        wanted = {member.id: member for member in members}
        async for rows in self._pages(group):
            gone = [row for row in rows if row.key not in wanted]
            for row in rows:
                wanted.pop(row.key, None)
            await self.withdraw(group, await self.take_out(group, gone))
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
        async for rows in self._pages(group):
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
        continuation = None
        while True:
            page = await self._tables.query(self._keys.memberships(bucket), continuation=continuation)
            yield [_pair(row) for row in page.rows]
            continuation = page.continuation
            if continuation is None:
                return

    async def _index(self, partition: str, ids: Sequence[str], group: str, etags: dict[str, str]) -> None:
        for some in in_parts(ids, MAX_OPERATIONS):
            rows = [Upsert(f"{member_id}_{group}", {}) for member_id in some]
            etags.update(zip(some, await self._tables.commit(partition, rows), strict=True))

    def _deletes(self, group: str, etags: Iterable[tuple[str, str]]) -> Iterable[tuple[str, list[Delete]]]:
        by_partition: defaultdict[str, list[Delete]] = defaultdict(list)
        for member_id, etag in etags:
            by_partition[self._keys.groups_of(member_id)].append(Delete(f"{member_id}_{group}", etag))
        return [(p, list(part)) for p, deletes in by_partition.items() for part in in_parts(deletes, MAX_OPERATIONS)]

    async def _take_out(self, partition: str, deletes: list[Delete], rows: Sequence[Row]) -> Sequence[Row]:
        """Delete rows of the truth in one transaction, one that somebody wrote again meanwhile as it is now."""
        known = {row.key: row for row in rows}
        for _ in range(ATTEMPTS):
            if not deletes:
                return ()
            try:
                await self._tables.commit(partition, deletes)
            except VersionConflict as conflict:
                key = deletes.pop(conflict.index).key
                again = await self._tables.get(partition, key)
                if again is not None:
                    known[key] = again
                    deletes.append(Delete(key, again.etag))
                continue
            return [known[delete.key] for delete in deletes]
        raise Busy("the group's members are being changed by others", retry_after=1)

    async def _unindex(self, partition: str, deletes: list[Delete]) -> None:
        """Delete index rows in one transaction, but those written again by an add, or gone already."""
        while deletes:
            try:
                await self._tables.commit(partition, deletes)
            except VersionConflict as conflict:
                del deletes[conflict.index]
                continue
            return

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

    async def _pages(self, group: str) -> AsyncIterator[Sequence[Row]]:
        continuation = None
        while True:
            page = await self._tables.query(self._keys.members(group), continuation=continuation)
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
