"""Memberships: one row a member, so that adding or removing any number never reads or rewrites the others.

The row in the group's partition is the truth; the row in the member's is an index that says in which groups to look.
The index is written before the truth and removed after it, and a reader verifies it. The truth keeps the etag of its
index row: a removal deletes the index on that etag, so it misses one that was written again meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass

from shared.directory.bulk import in_parts
from shared.directory.claims import together
from shared.directory.keys import Keys, prefix_end
from shared.tables.port import MAX_OPERATIONS, MAX_PAGE, Delete, Row, Tables, Upsert, Value, VersionConflict

AT_ONCE = 64
ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group: the id of an account or of a group, and the name the client gave, if it gave one."""

    id: str
    display: str | None = None


class Members:
    """The memberships of one directory."""

    def __init__(self, tables: Tables, keys: Keys) -> None:
        self._tables = tables
        self._keys = keys

    async def add(self, group: str, members: Iterable[Member]) -> None:
        """Put members in; one that is there already stays once. Cut off in the middle, it may be sent again."""
        wanted = {member.id: member for member in members}
        by_partition: defaultdict[str, list[str]] = defaultdict(list)
        for member_id in wanted:
            by_partition[self._keys.groups_of(member_id)].append(member_id)
        etags: dict[str, str] = {}
        await together(*(self._index(part, ids, group, etags) for part, ids in by_partition.items()))
        rows: list[Upsert] = []
        for member in wanted.values():
            columns: dict[str, Value | None] = {"index": etags[member.id], "display": member.display}
            rows.append(Upsert(member.id, columns))
        parts = in_parts(rows, MAX_OPERATIONS)
        await together(*(self._tables.commit(self._keys.members(group), part) for part in parts))

    async def remove(self, group: str, members: Iterable[str]) -> None:
        """Take members out; one that is not there is no error."""
        partition = self._keys.members(group)
        for some in in_parts(list(dict.fromkeys(members)), AT_ONCE):
            rows = await together(*(self._tables.get(partition, member_id) for member_id in some))
            await self._remove(group, [row for row in rows if row is not None])

    async def replace(self, group: str, members: Iterable[Member]) -> None:
        """Leave exactly these members in: adds the new ones, and takes out the others, a page at a time."""
        wanted = {member.id: member for member in members}
        async for rows in self._pages(group):
            gone = [row for row in rows if row.key not in wanted]
            for row in rows:
                wanted.pop(row.key, None)
            await self._remove(group, gone)
        await self.add(group, wanted.values())

    async def clear(self, group: str) -> None:
        """Take all members out."""
        await self.replace(group, ())

    async def leave(self, member: str) -> None:
        """Take a deleted account or group out of every group."""
        for group in await self._indexed(member):
            await self.remove(group, [member])

    async def holds(self, group: str, member: str) -> bool:
        """Tell whether somebody is a member."""
        return await self._tables.get(self._keys.members(group), member, select=[]) is not None

    async def list_groups(self, member: str) -> list[str]:
        """Return the ids of the groups that somebody is in."""
        groups = await self._indexed(member)
        held = await together(*(self.holds(group, member) for group in groups))
        return [group for group, is_in in zip(groups, held, strict=True) if is_in]

    async def scan(self, group: str) -> AsyncIterator[Member]:
        """Yield all members in order of id, a page in memory at a time."""
        async for rows in self._pages(group):
            for row in rows:
                yield _member(row)

    async def page(self, group: str, after: str, count: int) -> list[Member]:
        """Return up to `count` members whose id is behind `after` ("" for the first)."""
        partition, found, continuation = self._keys.members(group), list[Member](), None
        while len(found) < count:
            low, top = after + "-" if after else "", min(count - len(found), MAX_PAGE)
            page = await self._tables.query(partition, low, top=top, continuation=continuation)
            found += map(_member, page.rows)
            continuation = page.continuation
            if continuation is None:
                break
        return found

    async def _index(self, partition: str, ids: Sequence[str], group: str, etags: dict[str, str]) -> None:
        for some in in_parts(ids, MAX_OPERATIONS):
            rows = [Upsert(f"{member_id}_{group}", {"group": group}) for member_id in some]
            etags.update(zip(some, await self._tables.commit(partition, rows), strict=True))

    async def _remove(self, group: str, rows: Sequence[Row]) -> None:
        for part in in_parts(rows, MAX_OPERATIONS):
            gone = await self._take_out(group, list(part))
            await together(*(self._unindex(group, row) for row in gone))

    async def _take_out(self, group: str, rows: list[Row]) -> list[Row]:
        """Delete rows of the truth in one transaction; where somebody wrote one again meanwhile, as it is now."""
        partition = self._keys.members(group)
        for _ in range(ATTEMPTS * MAX_OPERATIONS):
            if not rows:
                break
            try:
                await self._tables.commit(partition, [Delete(row.key, row.etag) for row in rows])
            except VersionConflict as conflict:
                again = await self._tables.get(partition, rows[conflict.index].key)
                rows[conflict.index : conflict.index + 1] = [again] if again else []
                continue
            break
        return rows

    async def _unindex(self, group: str, row: Row) -> None:
        index = Delete(f"{row.key}_{group}", str(row.columns["index"]))
        try:
            await self._tables.commit(self._keys.groups_of(row.key), [index])
        except VersionConflict:
            pass  # written again by an add that is under way, or gone already

    async def _indexed(self, member: str) -> list[str]:
        low, continuation = f"{member}_", None
        groups: list[str] = []
        while True:
            page = await self._tables.query(
                self._keys.groups_of(member), low, prefix_end(low), continuation=continuation
            )
            groups += [str(row.columns["group"]) for row in page.rows]
            continuation = page.continuation
            if continuation is None:
                return groups

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
