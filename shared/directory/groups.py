"""Groups: resources with a displayName of their own. Who is in them stands in rows apart, see members.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from shared.directory.audit import audit_row
from shared.directory.errors import NotFound
from shared.directory.keys import LIVE, Key, Keys
from shared.directory.model import Resource, Status, dump, join_text, split_text, timestamp
from shared.directory.resources import Resources
from shared.tables.port import ANY, Merge, Row, Tables, Value, VersionConflict


@dataclass(frozen=True, slots=True, kw_only=True)
class Group(Resource):
    """One group, without its members."""

    audited: ClassVar[tuple[str, ...]] = ("status",)

    display_name: str

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

    async def touch(self, group: Group, *, by: str, action: str) -> Group:
        """Give a group whose members changed a new version and time. Raises NotFound if it was deleted meanwhile.

        Done after the members changed: who reads between the two sees the new members under the old version, and
        reads them again; the other way round he would keep the old members under the new version.
        """
        now = self.now()
        audit = audit_row(group.id, action, by, now, None, None)
        touched = Merge(group.key, {"modified": now}, ANY)
        try:
            etags = await self._commit(self.keys.home(group.id), [audit, touched], audit.key)
        except VersionConflict:
            raise NotFound(f"no group {group.id}") from None
        return await self._written(replace(group, modified=now), etags, 1)


def _found_by(group_id: str, document: Mapping[str, Any]) -> dict[str, Any]:
    served = {"schemas": [], "id": ""} | dict(document) | {"id": group_id}
    return {
        "text": dump(served),
        "display_name": document["displayName"],
        "external_id": document.get("externalId"),
    }
