"""Groups: resources with a displayName of their own. Their members are rows apart (members.py).

A group's version is made of two: that of its row, and that of its members, which their head has. As the two are in two
partitions, no transaction changes both. So who links a group first gives its members a new version, conditional on the
one that was read, and then changes its row, conditional on that. Who moves members of a group that is managed here
first gives its row a new version, and then moves them, conditional on the head. Of the two, one sees the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from shared.directory.errors import Stale
from shared.directory.keys import ACCOUNTS, HEAD, LIVE, RETIRED, Keys, is_group
from shared.directory.records.audit import Change, list_history, page_history
from shared.directory.records.linked_members import LinkedMembers
from shared.directory.records.members import Member, Members
from shared.directory.records.model import NO_HEAD, Group, Head, Status
from shared.directory.records.resources import SOME_ID, Calls, Resources, nothing, retry_stale
from shared.directory.text import timestamp
from shared.tables.access import in_waves, together
from shared.tables.port import Row, Tables, VersionConflict


class Groups(Resources[Group]):
    """The groups of one directory."""

    noun = "group"

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        super().__init__(tables, keys, Group.from_row, (LIVE, RETIRED), now)
        self._members = Members(tables, keys, now)
        self._linked = LinkedMembers(tables, keys, now)

    async def find(self, resource_id: str) -> Group | None:
        """Return a group by id, live or retired, with its head."""
        if not SOME_ID.fullmatch(resource_id):
            return None
        home = self.keys.home(resource_id)
        places = [(home, LIVE + resource_id), (self.keys.members(resource_id), HEAD)]
        row, head = await self.tables.get_many(places)
        row = row or await self.tables.get(home, RETIRED + resource_id)
        return Group.from_row(row).with_head(Head.from_row(head)) if row else None

    async def find_without_head(self, group_id: str) -> Group | None:
        """Return a group by id, for where no version is wanted, or where the head is read with the members."""
        return await super().find(group_id)

    async def list_with_heads(self, ids: Sequence[str]) -> list[Group]:
        """Return the live ones of the groups with these ids, with their heads."""
        rows = await self.tables.get_many(
            [(self.keys.home(i), LIVE + i) for i in ids] + [(self.keys.members(i), HEAD) for i in ids]
        )
        pairs = zip(rows[: len(ids)], rows[len(ids) :], strict=True)
        return [Group.from_row(row).with_head(Head.from_row(head)) for row, head in pairs if row]

    async def with_heads(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with their heads; those without one are read."""
        bare = [group.id for group in groups if group.head is None]
        heads = dict(zip(bare, await self._members.heads(bare), strict=True)) if bare else {}
        return [group if group.head else group.with_head(heads[group.id]) for group in groups]

    async def create(
        self, resource: Group, *, by: str, beside: Calls = nothing, members: Sequence[Member] = ()
    ) -> Group:
        """Store a new group. Its head and its members are written first: a group that can be seen has them."""
        heads: list[Head] = []

        async def open_members() -> None:
            heads.append(await self._members.open(resource.id, members))

        made = await super().create(resource, by=by, beside=lambda: [*beside(), open_members()])
        return made.with_head(heads[0])

    async def _withdraw(self, resource: Group) -> None:
        await together(super()._withdraw(resource), self._members.clear(resource.id))

    async def link(self, before: Group, after: Group, *, by: str, action: str = "link", begun: bool = False) -> Group:
        """Hand a group that is managed here over to provisioning; `begun` says that a link of it was cut off half-way.

        Raises Stale where the group changed since it was read, or a member came or went. Cut off between its two
        transactions, it leaves members that have a new version and are as they were.
        """
        head = before.head or NO_HEAD
        if not begun:
            head = await self._linked.begin(before.id, head)
        if before.retired and action == "link":
            # What provisioning did to it under a former link is the application's by now.
            await self._linked.forget(before.id)
            head = replace(head, etag=await self._linked.take_back(before.id, head.etag, by=by, keep=True))
        return (await self.replace(before, after, by=by, action=action)).with_head(head)

    async def admit(self, group: Group) -> None:
        """Let provisioning move the members of a linked group, which an earlier version of the app may have linked.

        The group's row is read once more, behind the head that the group was read with: an undo that came between
        changes the head after the row. Raises Stale.
        """
        again = await self.find_without_head(group.id)
        if again is not None and again.status is Status.CLAIMED:
            await self._linked.admit(group.id, group.head or NO_HEAD)

    async def hold(self, group: Group, *, by: str) -> None:
        """Give a group that is managed here a new version, so that no link of it that is under way is made.

        After that its members may move, on the condition that their head is the one that the group was read with. A
        group that SCIM deleted does not come back by itself any more. Raises Stale.
        """
        if group.left:
            await self.replace(group, replace(group, left=None), by=by, action="edit")
            return
        try:
            await self.claims.fence(group)
        except VersionConflict as conflict:
            raise Stale("the group changed since it was read") from conflict

    async def give_back(self, group: Group, *, by: str, keep: bool = False) -> None:
        """Make the members of a group what they were before it was linked, once it is managed here again.

        With `keep` everybody stays where provisioning put them. Who is deleted by now stays out. Whoever is cut off
        does it again. Raises Stale where others were faster.
        """
        await self._linked.end(group.id)
        now = await self.find(group.id)
        if now is None or now.status is not Status.LOCAL:
            return
        await self.hold(now, by=by)
        etag = (now.head or NO_HEAD).etag
        kept = [] if keep else await self._linked.was_here(group.id)
        standing = await self.standing([member.id for member in kept])
        etag = await self._linked.put_back(group.id, [m for m in kept if m.id in standing], etag, by=by)
        await self._linked.take_back(group.id, etag, by=by, keep=keep)
        await self._linked.forget(group.id)

    async def take_out(self, member: str, *, by: str) -> int:
        """Take a member whom SCIM deleted, and who stays here, out of the groups that provisioning manages.

        In a group that was linked that is as far as provisioning put them in; in one that is managed here they stay.
        Returns of how many groups that was.
        """
        named = await self._members.indexed([member])
        held = await self._members.held(named) if named else []
        inside = [group for (_, group), is_in in zip(named, held, strict=True) if is_in]
        return sum(await in_waves(self._take_out(group, member, by) for group in inside))

    async def _take_out(self, group_id: str, member: str, by: str) -> bool:
        async def read() -> Group:
            group = await self.get_any(group_id)
            await self.admit(group)
            return group

        async def act(group: Group) -> bool:
            match group.status:
                case Status.LOCAL:
                    return False
                case Status.CLAIMED:
                    return await self._linked.remove(group.id, [member], by=by)
                case Status.PROVISIONED:
                    return await self._members.remove(group.id, [member], by=by)

        found = await self.find(group_id)
        return found is not None and await retry_stale("group", read, act, found)

    async def standing(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return the rows, with `modified` alone, of those of these accounts and groups that are there, by id."""
        accounts, found = self.keys.of(ACCOUNTS), dict[str, Row]()
        for prefix in (LIVE, RETIRED):
            asked = [one for one in ids if one not in found]
            places = [((self.keys if is_group(one) else accounts).home(one), prefix + one) for one in asked]
            rows = await self.tables.get_many(places, select=["modified"])
            found |= {one: row for one, row in zip(asked, rows, strict=True) if row}
        return found

    async def page_history(self, group_id: str, cursor: str, count: int) -> tuple[list[Change], str | None]:
        """Return some of what history() returns, from behind a cursor ("" for the start), and the next cursor."""
        members = self.keys.members(group_id)
        return await page_history(self.tables, self.keys, group_id, members, cursor=cursor, count=count)

    async def history(self, resource_id: str) -> list[Change]:
        """Return a group's changes and those of its members, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, resource_id, self.keys.members(resource_id))
