"""Memberships of a group that existed before provisioning: provisioning takes out only whom it put in.

A member's row is marked by the add of provisioning, also where the member was in already; then it keeps that, too. Who
is not marked was only here, and stays in whatever provisioning says. Members whom an earlier version of the app added
to a linked group have no mark, and so stay in as well: nobody can tell them from those who were here.

Who was here and is taken out by provisioning leaves a row behind, so that an undo can put them back.

Beside the head of a linked group is a row that says so. Provisioning's transactions need it, and an undo removes it:
what was on its way then fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TypeGuard

from shared.directory.errors import Stale
from shared.directory.keys import HEAD, LINKED, MEMBERS_END, WAS_HERE, prefix_end
from shared.directory.records.members import (
    CHANGED,
    FIRST,
    HERE,
    IMPORTED,
    MARKED,
    Member,
    Members,
    StoredMember,
    Teller,
    head_and_history,
    read_stored,
)
from shared.directory.records.model import Head
from shared.tables.access import delete, read_range, scan_pages
from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    AlreadyExists,
    Conflict,
    Delete,
    Insert,
    Merge,
    Operation,
    Replace,
    Upsert,
    Value,
    VersionConflict,
)


class LinkedMembers(Members):
    """The memberships of linked groups. Who comes in or goes out of them does so by provisioning."""

    room = MAX_OPERATIONS - 3
    """Operations of one transaction beside the head, the history, and the row that says that the group is linked."""

    async def begin(self, group: str, head: Head) -> Head:
        """Begin to link a group: give its members a new version, if they still have this one. Raises Stale.

        The head keeps the version before, until a member moves: a link that was cut off here goes on from it.
        """
        columns = {"modified": self._now(), "linking": head.etag}
        first: Operation = Replace(HEAD, columns, head.etag) if head.etag else Insert(HEAD, columns)
        operations: list[Operation] = [first, Upsert(LINKED, {MARKED: True})]
        try:
            etags = await self._tables.commit(self._keys.members(group), operations)
        except Conflict as conflict:
            raise Stale(CHANGED) from conflict
        return Head(etags[0], columns["modified"], head.etag)

    async def admit(self, group: str, head: Head) -> None:
        """Let provisioning move the members of a group that an earlier version of the app linked. Raises Stale.

        `head` is the one that the group had when it was read as linked.
        """
        operations: list[Operation] = [
            Insert(LINKED, {MARKED: True}),
            Replace(HEAD, {"modified": head.modified}, head.etag),
        ]
        with contextlib.suppress(AlreadyExists):
            try:
                await self._tables.commit(self._keys.members(group), operations)
            except VersionConflict as conflict:
                raise Stale(CHANGED) from conflict

    async def end(self, group: str) -> None:
        """Let provisioning move no member any more, also where its request is under way."""
        operations: list[Operation] = [Delete(LINKED, ANY), Replace(HEAD, {"modified": self._now()}, ANY)]
        with contextlib.suppress(VersionConflict):  # then it was done before, or the group is gone
            await self._tables.commit(self._keys.members(group), operations)

    async def scan(self, group: str, low: str = FIRST) -> AsyncIterator[Sequence[StoredMember]]:
        """Yield all members, or those from a key on, as they are stored, in order of id, a page at a time."""
        async for page in self._pages(self._keys.members(group), low):
            yield [read_stored(row) for row in page.rows]

    def is_movable(self, member: Member) -> bool:
        """Tell whether provisioning may take a member out: who was only here stays in."""
        return _is_marked(member)

    async def remove(self, group: str, members: Iterable[str], *, by: str | None = None) -> bool:
        """Remove members, as far as provisioning added them, and tell whether any were. Raises Stale as change()."""
        return await self.change(group, out=await self.find(group, members), by=by) is not None

    def _parts(self, into: Iterable[Member], out: Iterable[Member]) -> list[Sequence[Operation]]:
        """Return the operations that put members in, marked, and take marked ones out, a transaction each.

        `out` are members as they are stored.
        """
        going = {member.id: member for member in out if _is_marked(member)}
        coming = {member.id: member for member in into}
        steps = [self._leaving(member) for member in going.values()]
        steps += [[Insert(member.id, {"display": member.display, MARKED: True})] for member in coming.values()]
        return list(_packed(steps, self.room))

    def _leaving(self, member: StoredMember) -> list[Operation]:
        """Return the operations that take a member out, and keep that it was here."""
        kept = Upsert(WAS_HERE + member.id, {**_columns(member), "at": self._now()})
        return [Delete(member.id, ANY), *([kept] if member.here else [])]

    def _firm(self, group: str, now: str, by: Teller | None, etag: str) -> list[Operation]:
        return [*head_and_history(group, now, by, etag), Merge(LINKED, {MARKED: True}, ANY)]

    async def _without_present(self, group: str, moving: Sequence[Operation]) -> list[Operation]:
        """Mark who is in already among those who are to come, and return the operations without them.

        This gives the group no new version: nobody moves. Whose row changes meanwhile is looked at again by the caller.
        """
        there = await self.find(group, [row.key for row in moving if isinstance(row, Insert)])
        marks = [Merge(member.id, {MARKED: True, HERE: True}, member.etag) for member in there if not member.marked]
        if marks:
            try:
                await self._tables.commit(self._keys.members(group), [Merge(LINKED, {MARKED: True}, ANY), *marks])
            except VersionConflict as conflict:
                if conflict.index == 0:
                    raise Stale(CHANGED) from conflict
                return list(moving)
        ids = {member.id for member in there}
        return [row for row in moving if row.key not in ids]

    async def was_here(self, group: str) -> list[StoredMember]:
        """Return those whom provisioning took out of a group though they were in before it added them."""
        rows = await read_range(self._tables, self._keys.members(group), WAS_HERE, prefix_end(WAS_HERE))
        return [replace(read_stored(row), id=row.key.removeprefix(WAS_HERE)) for row in rows]

    async def put_back(self, group: str, kept: Sequence[StoredMember], etag: str, *, by: str) -> str:
        """Put in again who was_here(), and forget that; return the head's etag.

        Each transaction is conditional on the head's etag before it. Raises Stale where anybody else was faster.
        """
        there = {member.id: member for member in await self.find(group, [one.id for one in kept])}
        await self.announce(group, [one for one in kept if one.id not in there])
        steps: list[list[Operation]] = []
        for one in kept:
            member = there.get(one.id)
            if member is None:
                back: Operation = Insert(one.id, _columns(one))
            else:  # provisioning has put it in anew, which says nothing of the import that had
                back = _unmarked(replace(member, imported=member.imported or one.imported))
            steps.append([Delete(WAS_HERE + one.id, one.etag), back])
        return await self._commit(group, steps, etag, by)

    async def take_back(self, group: str, etag: str, *, by: str, keep: bool = False) -> str:
        """Take out whom provisioning added, and the marks off everybody else; with `keep`, take nobody out.

        Who was here and was taken out must be put back before. Conditions, result and Stale are put_back()'s.
        """
        async for page in self.scan(group):
            marked = [member for member in page if member.marked]
            steps = [[_unmarked(m) if keep or m.here else Delete(m.id, m.etag)] for m in marked]
            etag = await self._commit(group, steps, etag, by)
        return etag

    async def forget(self, group: str, before: str = "~") -> int:
        """Remove what is kept of members whom provisioning took out before that time, and return of how many."""
        removed, partition = 0, self._keys.members(group)
        async for page in scan_pages(self._tables, partition, WAS_HERE, prefix_end(WAS_HERE)):
            old = [Delete(row.key, row.etag) for row in page.rows if str(row.columns["at"]) < before]
            removed += await delete(self._tables, partition, old)
        return removed

    async def _commit(self, group: str, steps: Sequence[Sequence[Operation]], etag: str, by: str) -> str:
        for rows in _packed(steps, self.room):
            moves = any(isinstance(row, Insert | Delete) and row.key < MEMBERS_END for row in rows)
            firm = head_and_history(group, self._now(), await self.teller(group, by if moves else None), etag)
            try:
                etag = (await self._tables.commit(self._keys.members(group), [*firm, *rows]))[0]
            except Conflict as conflict:
                raise Stale(CHANGED) from conflict
        return etag


def _is_marked(member: Member) -> TypeGuard[StoredMember]:
    return isinstance(member, StoredMember) and member.marked


def _unmarked(member: StoredMember) -> Replace:
    return Replace(member.id, _columns(member), member.etag)


def _columns(member: StoredMember) -> dict[str, Value | None]:
    """Return what a member's row says beside the marks; the undo of an import goes by which one put the member in."""
    return {"display": member.display, IMPORTED: member.imported}


def _packed(steps: Iterable[Sequence[Operation]], room: int) -> Iterator[list[Operation]]:
    """Yield the operations of steps, at most `room` at a time; those of one step stay together."""
    some: list[Operation] = []
    for step in steps:
        if len(some) + len(step) > room:
            yield some
            some = []
        some += step
    if some:
        yield some
