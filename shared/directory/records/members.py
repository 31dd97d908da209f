"""Memberships: a row for each member, so that adding or removing some never reads or rewrites the others.

The row in the group's partition is the truth. A row in the member's partition is an index: it says in which groups to
look. The index is written before the truth, and readers check it. No request removes an index row, because an add under
way may rely on it; the sweep does, once the row has led nowhere for longer than a request can take.

Beside a group's members is their head. It changes in every transaction that changes members, and so is their version.
It is written before the group and removed with it, so that no member is added to a group that was deleted meanwhile.

In a linked group memberships are marked, which linked_members.py does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Final

from shared.directory.errors import Stale
from shared.directory.keys import AUDIT, GROUPS, HEAD, LIVE, MEMBERS_END, Keys, behind, is_group, prefix_end
from shared.directory.records.audit import members_row
from shared.directory.records.model import Head
from shared.directory.text import timestamp
from shared.tables.access import delete, in_parts, in_waves, read_range, scan_pages, together, write
from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    MAX_PAGE,
    AlreadyExists,
    Delete,
    Insert,
    Operation,
    Page,
    Replace,
    Row,
    Tables,
    Upsert,
    VersionConflict,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a group: the id of an account or of a group, and the name that the client gave, if any.

    `imported` is the import that put a member in, of one that is to be put in, or as the row has it.
    """

    id: str
    display: str | None = None
    imported: str | None = field(default=None, kw_only=True, compare=False)


@dataclass(frozen=True, slots=True)
class StoredMember(Member):
    """A member as the row has it.

    In a linked group, `marked` says that provisioning added the member, and `here` that the member was in before that.
    """

    marked: bool = False
    here: bool = False
    etag: str = ""


@dataclass(frozen=True, slots=True)
class Teller:
    """Who changes a group's members, and the number of the group's own change behind which the history has that."""

    by: str
    number: int


FIRST = "0"
"""The lowest key of a member, in a group's partition and in the index: every id begins with a hex digit."""
CHANGED = "the group's members changed since they were read, or the group is gone"
NESTED_AT_ONCE = 200
"""Groups within groups up to which all are read at once."""
INDEX_ROWS = MAX_PAGE
"""Rows of the index of memberships that one query reads."""
GROUPS_EACH: Final = 8
"""Rows of it that are read at a time for each member who is asked for: those of people who are no neighbours are few
then."""
NEIGHBOURS: Final = 4
"""Members asked for in one partition of the index from which on they are taken for neighbours there."""
IMPORTED: Final = "import"
"""Column of a member's row: the import that put the member in."""
MARKED, HERE = "byScim", "here"
"""Columns of a member's row: see StoredMember."""


class Members:
    """The memberships of one directory. Ids are those made here (keys.ID); what they name is not looked up."""

    room = MAX_OPERATIONS - 2
    """Members that one transaction moves, beside the head and the history."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._now = now

    async def open(self, group: str, members: Iterable[Member] = ()) -> Head:
        """Write the head and the members of a group that is about to be created."""
        members, now = list(members), self._now()
        await self.announce(group, members)
        rows = [Upsert(HEAD, {"modified": now}), *_joining(members)]
        calls = (self._tables.commit_ahead(self._keys.members(group), part) for part in in_parts(rows, MAX_OPERATIONS))
        etags, *_ = await in_waves(calls)
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
            row = Upsert(f"{member_id}_{group}", {"at": at})
            by_partition[self._keys.groups_of(member_id)].append(row)
            if is_group(member_id):
                by_partition[self._keys.nested()].append(row)
        await in_waves(
            self._tables.commit_ahead(partition, part)
            for partition, rows in by_partition.items()
            for part in in_parts(rows, MAX_OPERATIONS)
        )

    async def join(self, group: str, members: Iterable[Member]) -> None:
        """Write the truth of announced members of a group that is still to come and has no head."""
        await write(self._tables, {self._keys.members(group): _joining(members)})

    async def change(
        self,
        group: str,
        into: Iterable[Member] = (),
        out: Iterable[Member] = (),
        *,
        by: str | None,
        etag: str = ANY,
        number: int | None = None,
    ) -> Head | None:
        """Add announced members, remove others, and return the new head; None where nobody moved.

        Who is in already stays as they are, with the name that they have (RFC 7644 section 3.5.2.1).
        `number` is that of the group's own last change, behind which the history has this one; None to look it up.
        Raises Stale if the group has no head any more, or not the one of `etag`. Each transaction leaves a new version:
        wherever this is cut off, a client that saw the old one reads again. The last transaction runs alone, since its
        version is the one that stays; so does a first one that is conditional on the version that the client saw.
        """
        parts, now = self._parts(into, out), self._now()
        if not parts:
            return None
        teller = await self.teller(group, by, number)
        moved: list[str | None] = []
        while etag != ANY and len(parts) > 1:
            moved.append(await self._change(group, parts.pop(0), now, teller, etag))
            etag = ANY if moved[-1] else etag
        moved += await together(*(self._change(group, part, now, teller, etag) for part in parts[:-1]))
        last = await self._change(group, parts[-1], now, teller, etag)
        if last is None:
            return (await self.heads([group]))[0] if any(moved) else None
        return Head(last, now)

    async def touch(self, group: str, *, by: str, etag: str, number: int) -> Head:
        """Give a group's members a new version, and change nothing else. Raises Stale as change()."""
        now = self._now()
        firm = head_and_history(group, now, Teller(by, number), etag)
        try:
            return Head((await self._tables.commit(self._keys.members(group), firm))[0], now)
        except VersionConflict as conflict:
            raise Stale(CHANGED) from conflict

    async def teller(self, group: str, by: str | None, number: int | None = None) -> Teller | None:
        """Return what the history has of a change of members, None where it has nothing."""
        if by is None or number is not None:
            return None if by is None else Teller(by, number or 0)
        row = await self._tables.get(self._keys.of(GROUPS).home(group), LIVE + group, select=["changes"])
        return Teller(by, int(str(row.columns.get("changes", 0))) if row else 0)

    def _parts(self, into: Iterable[Member], out: Iterable[Member]) -> list[Sequence[Operation]]:
        """Return the operations that put members in and take others out, a transaction each."""
        leaving = [Delete(member_id, ANY) for member_id in dict.fromkeys(member.id for member in out)]
        coming = [Insert(row.key, row.columns) for row in _joining(into)]
        return list(in_parts([*leaving, *coming], self.room))

    async def _change(
        self, group: str, rows: Sequence[Operation], now: str, by: Teller | None, etag: str
    ) -> str | None:
        """Commit rows with the head and, if `by` is given, the history. Return the head's etag; None if nobody moved.

        Members that left meanwhile are passed over, and so are those who came.
        """
        moving, firm = list(rows), self._firm(group, now, by, etag)
        while any(isinstance(row, Insert | Delete) for row in moving):
            try:
                return (await self._tables.commit(self._keys.members(group), [*firm, *moving]))[0]
            except AlreadyExists:
                moving = await self._without_present(group, moving)
            except VersionConflict as conflict:
                if conflict.index < len(firm):
                    raise Stale(CHANGED) from conflict
                del moving[conflict.index - len(firm)]
        return None

    def _firm(self, group: str, now: str, by: Teller | None, etag: str) -> list[Operation]:
        """Return the operations that stand in every transaction which moves members."""
        return head_and_history(group, now, by, etag)

    async def _without_present(self, group: str, moving: Sequence[Operation]) -> list[Operation]:
        """Return the operations but those that put somebody in who is in already."""
        there = {*await self.look_up(group, [row.key for row in moving if isinstance(row, Insert)])}
        return [row for row in moving if row.key not in there or not isinstance(row, Insert)]

    async def remove(self, group: str, members: Iterable[str], *, by: str | None = None) -> bool:
        """Remove members, also of a group that is gone, and tell whether there were any."""
        held = await self.look_up(group, members)
        if not held:
            return False
        try:
            await self.change(group, out=map(Member, held), by=by)
        except Stale:
            await self._drop(group, held)
        return True

    async def find(self, group: str, members: Iterable[str]) -> list[StoredMember]:
        """Return those of these ids that are members, as they are stored."""
        places = [(self._keys.members(group), member_id) for member_id in dict.fromkeys(members)]
        return [read_stored(row) for row in await self._tables.get_many(places) if row]

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
        wanted, gone = {member.id: member for member in members}, list[Member]()
        head: Head | None = None
        async for page in self.scan(group):
            if gone:
                head = await self.change(group, out=gone, by=by, etag=etag, number=number) or head
                etag = ANY if head else etag
            movable = [member for member in page if self.is_movable(member)]
            gone = [member for member in movable if member.id not in wanted]
            for member in movable:
                wanted.pop(member.id, None)
        if gone or wanted:
            await self.announce(group, wanted.values())
            head = await self.change(group, wanted.values(), gone, by=by, etag=etag, number=number) or head
        return head

    def is_movable(self, member: Member) -> bool:
        """Tell whether a member may be taken out by whoever changes the group, and need not be added again."""
        return True

    async def leave(self, member: str, *, by: str | None = None) -> None:
        """Remove a deleted account or group from every group."""
        await in_waves(self.remove(group, [member], by=by) for _, group in await self.indexed([member]))

    async def clear(self, group: str) -> int:
        """Remove what a deleted group leaves, and return how many members it had.

        The head goes first, so that no member is added any more.
        """
        removed, partition = 0, self._keys.members(group)
        await delete(self._tables, partition, [Delete(HEAD, ANY)])
        async for page in scan_pages(self._tables, partition, FIRST, AUDIT, select=[]):
            removed += await self._drop(group, [row.key for row in page.rows if row.key < MEMBERS_END])
            await self._drop(group, [row.key for row in page.rows if row.key >= MEMBERS_END])
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

        Members whose index is in one partition are read in one query, from the lowest id to the highest, if they are
        neighbours; see _index_of(). Few of a partition, as of a page of a group's users, are none, and each is read by
        itself: the rows between them are other people's, and the more the larger the directory is.
        """
        by_bucket: defaultdict[int, list[str]] = defaultdict(list)
        for member in members:
            by_bucket[self._keys.bucket(member)].append(member)
        asked = chain(*([some] if len(some) >= NEIGHBOURS else in_parts(some, 1) for some in by_bucket.values()))
        found = await together(*map(self._index_of, asked))
        return [pair for pairs in found for pair in pairs]

    async def page_indexed(self, member: str, cursor: str, count: int) -> tuple[list[str], str | None]:
        """Return `count` groups of a member as the index has them, from behind one on, and the next cursor."""
        low = behind(f"{member}_{cursor}") if cursor else f"{member}_"
        partition, high = self._keys.groups_of(member), prefix_end(f"{member}_")
        rows = await read_range(self._tables, partition, low, high, top=count + 1)
        groups = [_pair(row)[1] for row in rows[:count]]
        return groups, groups[-1] if len(rows) > count else None

    async def indexed_groups(self, groups: Sequence[str]) -> list[tuple[str, str]]:
        """Return (group, group that holds it) as indexed() does.

        They are read from an index of their own, which is nearly always empty or small. From a large one each is read
        by itself: groups are no neighbours in the index.
        """
        if not groups:
            return []
        page = await self._tables.query(self._keys.nested(), select=[], top=NESTED_AT_ONCE)
        if page.continuation is None:
            asked = {*groups}
            return [pair for row in page.rows if (pair := _pair(row))[0] in asked]
        found = await together(*(self._index_of([group]) for group in groups))
        return [pair for pairs in found for pair in pairs]

    async def note_nested(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Write what the index of groups within groups lacks of these: an earlier version of the app wrote none."""
        rows = [Upsert(f"{member}_{group}", {"at": self._now()}) for member, group in pairs if is_group(member)]
        found = await self._tables.get_many([(self._keys.nested(), row.key) for row in rows], select=[]) if rows else []
        missing = [row for row, had in zip(rows, found, strict=True) if had is None]
        await write(self._tables, {self._keys.nested(): missing} if missing else {})

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

    async def brought_by(self, group: str, import_id: str) -> list[str]:
        """Return the ids of the members whom an import put in, and who have been in since."""
        pages = scan_pages(self._tables, self._keys.members(group), FIRST, MEMBERS_END, select=[IMPORTED])
        return [row.key async for page in pages for row in page.rows if row.columns.get(IMPORTED) == import_id]

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
        """Remove index rows of a bucket from before that time that lead nowhere, and return how many."""
        return await self._sweep(self._keys.memberships(bucket), before)

    async def sweep_nested(self, before: str) -> int:
        """Do the same with the index of groups within groups."""
        return await self._sweep(self._keys.nested(), before)

    async def _sweep(self, partition: str, before: str) -> int:
        removed = 0
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
        """Return what one partition of the index has of members.

        Those of a page of users are neighbours. Where most rows between the members are others', as between users that
        were asked for by name, each of the rest is read by itself.
        """
        asked, low, high = set(members), min(members) + "_", prefix_end(max(members) + "_")
        pairs: list[tuple[str, str]] = []
        partition, rows = self._keys.groups_of(members[0]), min(INDEX_ROWS, GROUPS_EACH * len(members))
        pages = scan_pages(self._tables, partition, low, high, select=[], page_rows=rows)
        async for page in pages:
            read = [_pair(row) for row in page.rows]
            theirs = [pair for pair in read if pair[0] in asked]
            pairs += theirs
            if page.continuation is not None and 2 * len(theirs) < len(read):
                rest = [member for member in sorted(asked) if member >= read[-1][0]]
                found = await in_waves(self._index_of([member]) for member in rest)
                return list(dict.fromkeys(chain(pairs, *found)))
        return pairs

    def _pages(self, partition: str, low: str = FIRST) -> AsyncIterator[Page]:
        return scan_pages(self._tables, partition, low, MEMBERS_END)


def _joining(members: Iterable[Member]) -> list[Upsert]:
    once = {member.id: member for member in members}.values()
    return [Upsert(m.id, {"display": m.display, IMPORTED: m.imported}) for m in once]


def head_and_history(group: str, now: str, by: Teller | None, etag: str) -> list[Operation]:
    """Return the operations that give a group's members a new version and, if `by` is given, a row of the history.

    The head is replaced, so that it no longer says that a link has begun.
    """
    head = Replace(HEAD, {"modified": now}, etag)
    return [head] if by is None else [head, members_row(group, by.number, by.by, now)]


def _member(row: Row) -> Member:
    display = row.columns.get("display")
    return Member(row.key, str(display) if display else None)


def read_stored(row: Row) -> StoredMember:
    """Return the member of a row, with all that the row says."""
    display, imported, marked, here = map(row.columns.get, ("display", IMPORTED, MARKED, HERE))
    return StoredMember(
        row.key,
        str(display) if display else None,
        bool(marked),
        bool(here),
        row.etag,
        imported=str(imported) if imported else None,
    )


def _pair(row: Row) -> tuple[str, str]:
    member, _, group = row.key.partition("_")
    return member, group
