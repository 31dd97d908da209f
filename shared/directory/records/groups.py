"""Groups: resources with a displayName of their own. Who is in them stands in rows apart, see members.py.

A group's version is made of two: its row's, and its members', which the head beside them has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from shared.directory.keys import HEAD, LIVE, Key, Keys
from shared.directory.records.audit import Change, list_history, page_history
from shared.directory.records.members import Head, Members
from shared.directory.records.model import Resource, Status
from shared.directory.records.resources import ID, Beside, Resources, nothing
from shared.directory.text import dump, join_text, split_text, timestamp, weak_tag
from shared.tables.port import Row, Tables, Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Resource):
    """One group, without its members. `head` is None where it was not read, for then the version is not asked for."""

    audited: ClassVar[tuple[str, ...]] = ("status",)

    display_name: str
    head: Head | None = field(default=None, compare=False)

    @property
    def version(self) -> str:
        """The weak entity tag of the group with its members. Raises ValueError where the head was not read."""
        if self.head is None:
            raise ValueError("the version of a group needs its head")
        return weak_tag(f"{self.etag}\n{self.head.etag}")

    def with_head(self, head: Head) -> Group:
        """Return the group with the version of its members; it was modified when either of the two was."""
        return replace(self, head=head, modified=max(self.modified, head.modified))

    @property
    def name(self) -> Key:
        return Key("displayName", self.display_name)

    def with_document(self, document: Mapping[str, Any]) -> Group:
        """Return the group carrying another document, with the values it is found by taken from there."""
        return replace(self, **_found_by(self.id, document))

    def link_state(self) -> dict[str, Any]:
        """Return what the history keeps of a change, so that a run can be undone."""
        return {"status": self.status.value, "externalId": self.external_id}

    def columns(self) -> dict[str, Value | None]:
        """Return the row's columns."""
        columns: dict[str, Value | None] = {
            "displayName": self.display_name,
            "status": self.status.value,
            "created": self.created,
            "modified": self.modified,
            "externalId": self.external_id,
        }
        return columns | split_text("document", self.text)

    @classmethod
    def from_row(cls, row: Row) -> Group:
        """Return the group of a row."""
        columns: Mapping[str, Any] = row.columns
        return cls(
            id=row.key.removeprefix(LIVE),
            text=join_text("document", columns),
            display_name=columns["displayName"],
            status=Status(columns["status"]),
            created=columns["created"],
            modified=columns["modified"],
            external_id=columns.get("externalId"),
            etag=row.etag,
        )


def new_group(group_id: str, document: Mapping[str, Any], status: Status, now: str) -> Group:
    """Return a group that is not stored yet."""
    return Group(id=group_id, status=status, created=now, modified=now, **_found_by(group_id, document))


class Groups(Resources[Group]):
    """The groups of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        super().__init__(tables, keys, Group.from_row, now=now)
        self._members = Members(tables, keys, now)

    async def find(self, resource_id: str) -> Group | None:
        """Return a group by id, with its head."""
        if not ID.fullmatch(resource_id):
            return None
        places = [(self.keys.home(resource_id), LIVE + resource_id), (self.keys.members(resource_id), HEAD)]
        row, head = await self.tables.get_many(places)
        return Group.from_row(row).with_head(Head.from_row(head)) if row else None

    async def find_without_head(self, group_id: str) -> Group | None:
        """Return a group by id, where no version is asked for or its head is read with the members."""
        return await super().find(group_id)

    async def with_heads(self, groups: Sequence[Group]) -> list[Group]:
        """Return the groups with the heads of those that have none yet."""
        bare = [group.id for group in groups if group.head is None]
        heads = dict(zip(bare, await self._members.heads(bare), strict=True)) if bare else {}
        return [group if group.head else group.with_head(heads[group.id]) for group in groups]

    async def create(self, resource: Group, *, by: str, beside: Beside = nothing) -> Group:
        """Store a new group. Its head comes first: where a group can be seen, its members can change."""
        head = resource.head or await self._members.open(resource.id)
        return (await super().create(resource, by=by, beside=beside)).with_head(head)

    async def page_history(self, group_id: str, cursor: str, count: int) -> tuple[list[Change], str | None]:
        """Return some of what history() returns, behind a cursor ("" for the start), and the cursor behind it."""
        members = self.keys.members(group_id)
        return await page_history(self.tables, self.keys, group_id, members, cursor=cursor, count=count)

    async def history(self, resource_id: str) -> list[Change]:
        """Return a group's changes and those of its members, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, resource_id, self.keys.members(resource_id))


def _found_by(group_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    served = {"schemas": [], "id": ""} | dict(document) | {"id": group_id}
    return {
        "text": dump(served),
        "display_name": document["displayName"],
        "external_id": document.get("externalId"),
    }
