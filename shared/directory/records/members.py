"""Memberships: a row for each member, so that adding or removing some never reads or rewrites the others.

The row in the group's partition is the truth. A row in the member's partition is an index: it says in which groups to
look. The index is written before the truth, and readers check it. No request removes an index row, because an add under
way may rely on it; the sweep does, once the row has led nowhere for longer than a request can take.

Beside a group's members is their head. It changes in every transaction that changes members, and so is their version.
It is written before the group and removed with it, so that no member is added to a group that was deleted meanwhile.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass

from shared.directory.errors import Stale
from shared.directory.keys import GROUPS, HEAD, LIVE, MEMBERS_END, Keys, prefix_end
from shared.directory.records.audit import members_row
from shared.directory.records.model import Head
from shared.directory.text import timestamp
from shared.tables.access import delete, in_parts, in_waves, read_range, scan, scan_pages, together, write
from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    Delete,
    Merge,
    Operation,
    Page,
    Row,
    Tables,
    Upsert,
    VersionConflict,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group: the id of an account or of a group, and the name that the client gave, if any."""

    id: str
    display: str | None = None


FIRST = "0"
"""The lowest key of a member, in a group's partition and in the index: every id begins with a hex digit."""


class Members:
    """The memberships of one directory. Ids are those made here (keys.ID); what they name is not looked up."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._now = now

    async def open(self, group: str) -> Head:
        """Write the head of a group that is about to be created."""
        now = self._now()
        etags = await self._tables.commit(self._keys.members(group), [Upsert(HEAD, {"modified": now})])
        return Head(etags[0], now)

    async def add(self, group: str, members: Iterable[Member], *, by: str | None = None) -> None:
        """Add members, also to a group that is still to come; one that is there already stays once.

        If it is cut off, it may be done again.
        """
        members = list(members)
        await self.announce(group, members)
        try:
            await self.change(group, members, by=by)
        except Stale:
            await self.join(group, members)

    async def announce(self, group: str, members: Iterable[Member]) -> None:
        """Write the index rows of members to come; alone they do no harm."""
        by_partition: defaultdict[str, list[Upsert]] = defaultdict(list)
        at = self._now()
        for member_id in dict.fromkeys(member.id for member in members):
            by_partition[self._keys.groups_of(member_id)].append(Upsert(f"{member_id}_{group}", {"at": at}))
        await write(self._tables, by_partition)

    async def join(self, group: str, members: Iterable[Member]) -> None:
        """Write the truth of announced members of a group that is still to come and has no head."""
        await write(self._tables, {self._keys.members(group): _joining(members)})

    async def change(
        self,
        group: str,
        into: Iterable[Member] = (),
        out: Iterable[str] = (),
        *,
        by: str | None,
        etag: str = ANY,
        number: int | None = None,
    ) -> Head:
        """Add announced members, remove others, and return the new head; where nobody moves, that is all.

        `number` is that of the group's own last change, behind which the history has this one; None to look it up.
        Raises Stale if the group has no head any more, or not the one of `etag`. Each transaction leaves a new version:
        wherever this is cut off, a client that saw the old one reads again. The last transaction runs alone, since its
        version is the one that stays; so does a first one that is conditional on the version that the client saw.
        """
        rows: list[Upsert | Delete] = [*(Delete(member, ANY) for member in dict.fromkeys(out)), *_joining(into)]
        parts = list(in_parts(rows, MAX_OPERATIONS - 2)) or [()]
        now = self._now()
        if number is None:
            number = await self._number(group) if by is not None else 0

        async def commit(part: Sequence[Upsert | Delete], etag: str) -> str:
            told = [members_row(group, number, by, now)] if by is not None else []
            return await self._change(group, [Merge(HEAD, {"modified": now}, etag), *told], part)

        if etag != ANY and len(parts) > 1:
            await commit(parts.pop(0), etag)
            etag = ANY
        await together(*(commit(part, etag) for part in parts[:-1]))
        return Head(await commit(parts[-1], etag), now)

    async def _number(self, group: str) -> int:
        """Return the number of a group's own last change, 0 where it is gone."""
        place = self._keys.of(GROUPS).home(group), LIVE + group
        row = await self._tables.get(*place, select=["changes"])
        return int(str(row.columns.get("changes", 0))) if row else 0

    async def _change(self, group: str, firm: Sequence[Operation], rows: Sequence[Upsert | Delete]) -> str:
        """Commit rows with the head and the history, which are `firm`. Members that left meanwhile are passed over."""
        moving = list(rows)
        while True:
            try:
                return (await self._tables.commit(self._keys.members(group), [*firm, *moving]))[0]
            except VersionConflict as conflict:
                if conflict.index < len(firm):
                    raise Stale("the group's members changed since they were read, or the group is gone") from conflict
                del moving[conflict.index - len(firm)]

    async def remove(self, group: str, members: Iterable[str], *, by: str | None = None) -> None:
        """Remove members, also of a group that is gone; one that is not there is no error."""
        held = await self.look_up(group, members)
        if not held:
            return
        try:
            await self.change(group, out=held, by=by)
        except Stale:
            await self._drop(group, held)

    async def look_up(self, group: str, members: Iterable[str]) -> list[str]:
        """Return which of these are members."""
        ids = list(dict.fromkeys(members))
        held = await self.held([(member_id, group) for member_id in ids])
        return [member_id for member_id, is_in in zip(ids, held, strict=True) if is_in]

    async def replace(
        self,
        group: str,
        members: Iterable[Member],
        *,
        by: str | None = None,
        etag: str = ANY,
        number: int | None = None,
    ) -> Head | None:
        """Make these the only members; return the new head, or None where nobody moved. Raises Stale as change()."""
        wanted, gone, head = {member.id: member for member in members}, list[str](), None
        async for page in self._pages(self._keys.members(group)):
            if gone:
                head, etag = await self.change(group, out=gone, by=by, etag=etag, number=number), ANY
            gone = [row.key for row in page.rows if row.key not in wanted]
            for row in page.rows:
                wanted.pop(row.key, None)
        if gone or wanted:
            await self.announce(group, wanted.values())
            head = await self.change(group, wanted.values(), gone, by=by, etag=etag, number=number)
        return head

    async def leave(self, member: str, *, by: str | None = None) -> None:
        """Remove a deleted account or group from every group."""
        await in_waves(self.remove(group, [member], by=by) for _, group in await self.indexed([member]))

    async def clear(self, group: str) -> int:
        """Remove what a deleted group leaves, and return how many members it had.

        The head goes first, so that no member is added any more.
        """
        removed, partition = 0, self._keys.members(group)
        await delete(self._tables, partition, [Delete(HEAD, ANY)])
        async for page in self._pages(partition):
            removed += await self._drop(group, [row.key for row in page.rows])
        return removed

    async def holds(self, group: str, member: str) -> bool:
        """Tell whether an account or a group is a member."""
        return await self._tables.get(self._keys.members(group), member, select=[]) is not None

    async def heads(self, groups: Sequence[str]) -> list[Head]:
        """Return the head of each group."""
        places = [(self._keys.members(group), HEAD) for group in groups]
        return [Head.from_row(row) for row in await self._tables.get_many(places)]

    async def indexed(self, members: Sequence[str]) -> list[tuple[str, str]]:
        """Return (member, group) as the index has them; the group may not hold the member any more: see held().

        Members whose index is in one partition are read in one query, from the lowest id to the highest.
        """
        by_bucket: defaultdict[int, list[str]] = defaultdict(list)
        for member in members:
            by_bucket[self._keys.bucket(member)].append(member)
        found = await together(*map(self._index_of, by_bucket.values()))
        return [pair for pairs in found for pair in pairs]

    async def held(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        """Tell for each (member, group) whether the group holds the member."""
        places = [(self._keys.members(group), member) for member, group in pairs]
        return [row is not None for row in await self._tables.get_many(places, select=[])]

    async def scan(self, group: str, low: str = FIRST) -> AsyncIterator[Sequence[Member]]:
        """Yield all members, or those from a key on, in order of id, a page at a time."""
        async for page in self._pages(self._keys.members(group), low):
            yield [_member(row) for row in page.rows]

    async def first(self, group: str, count: int, low: str = FIRST) -> list[Member]:
        """Return the first `count` members, or the first from a key on, in order of id."""
        return [_member(row) for row in await self._first(group, low, count)]

    async def read(self, group: str, count: int) -> tuple[Head, list[Member]]:
        """Return the head and the first `count` members. The head is read first, so it is never newer than they are."""
        rows = await self._first(group, HEAD, count + 1)
        head = rows.pop(0) if rows and rows[0].key == HEAD else None
        return Head.from_row(head), [_member(row) for row in rows[:count]]

    async def _first(self, group: str, low: str, count: int) -> list[Row]:
        return await read_range(self._tables, self._keys.members(group), low, MEMBERS_END, top=count)

    async def scan_index(self, bucket: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Yield (member, group) as a partition of the index has them, a page at a time."""
        async for page in self._pages(self._keys.memberships(bucket)):
            yield [_pair(row) for row in page.rows]

    async def sweep_index(self, bucket: int, before: str) -> int:
        """Remove index rows from before that time that lead nowhere, and return how many."""
        removed, partition = 0, self._keys.memberships(bucket)
        async for page in self._pages(partition):
            old = [row for row in page.rows if str(row.columns["at"]) < before]
            held = await self.held([_pair(row) for row in old])
            loose = [Delete(row.key, row.etag) for row, is_in in zip(old, held, strict=True) if not is_in]
            removed += await delete(self._tables, partition, loose)
        return removed

    async def _drop(self, group: str, members: Sequence[str]) -> int:
        """Remove the truth of members of a group that has no head, and return how many were there."""
        return await delete(self._tables, self._keys.members(group), [Delete(member, ANY) for member in members])

    async def _index_of(self, members: Sequence[str]) -> list[tuple[str, str]]:
        asked, low, high = set(members), min(members) + "_", prefix_end(max(members) + "_")
        rows = scan(self._tables, self._keys.groups_of(members[0]), low, high, select=[])
        return [pair async for row in rows if (pair := _pair(row))[0] in asked]

    def _pages(self, partition: str, low: str = FIRST) -> AsyncIterator[Page]:
        return scan_pages(self._tables, partition, low, MEMBERS_END)


def _joining(members: Iterable[Member]) -> list[Upsert]:
    return [Upsert(m.id, {"display": m.display}) for m in {member.id: member for member in members}.values()]


def _member(row: Row) -> Member:
    display = row.columns.get("display")
    return Member(row.key, str(display) if display else None)


def _pair(row: Row) -> tuple[str, str]:
    member, _, group = row.key.partition("_")
    return member, group
