"""Groups: resources with a displayName of their own. Their members are rows apart (members.py).

A group's version is made of two: that of its row, and that of its members, which their head has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from shared.directory.keys import HEAD, LIVE, Keys
from shared.directory.records.audit import Change, list_history, page_history
from shared.directory.records.members import Members
from shared.directory.records.model import Group, Head
from shared.directory.records.resources import SOME_ID, Beside, Resources, nothing
from shared.directory.text import timestamp
from shared.tables.port import Tables


class Groups(Resources[Group]):
    """The groups of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        super().__init__(tables, keys, Group.from_row, now=now)
        self._members = Members(tables, keys, now)

    async def find(self, resource_id: str) -> Group | None:
        """Return a group by id, with its head."""
        if not SOME_ID.fullmatch(resource_id):
            return None
        places = [(self.keys.home(resource_id), LIVE + resource_id), (self.keys.members(resource_id), HEAD)]
        row, head = await self.tables.get_many(places)
        return Group.from_row(row).with_head(Head.from_row(head)) if row else None

    async def find_without_head(self, group_id: str) -> Group | None:
        """Return a group by id, for where no version is wanted, or where the head is read with the members."""
        return await super().find(group_id)

    async def with_heads(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with their heads; those without one are read."""
        bare = [group.id for group in groups if group.head is None]
        heads = dict(zip(bare, await self._members.heads(bare), strict=True)) if bare else {}
        return [group if group.head else group.with_head(heads[group.id]) for group in groups]

    async def create(self, resource: Group, *, by: str, beside: Beside = nothing) -> Group:
        """Store a new group. Its head is written first, so that members can change as soon as the group can be seen."""
        head = resource.head or await self._members.open(resource.id)
        return (await super().create(resource, by=by, beside=beside)).with_head(head)

    async def page_history(self, group_id: str, cursor: str, count: int) -> tuple[list[Change], str | None]:
        """Return some of what history() returns, from behind a cursor ("" for the start), and the next cursor."""
        members = self.keys.members(group_id)
        return await page_history(self.tables, self.keys, group_id, members, cursor=cursor, count=count)

    async def history(self, resource_id: str) -> list[Change]:
        """Return a group's changes and those of its members, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, resource_id, self.keys.members(resource_id))
