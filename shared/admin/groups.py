"""Groups as the administrator sees them: who manages each, under which externalId, and its history.

scim_groups shows the members. accounts.py shows accounts.
"""

from __future__ import annotations

from typing import Any

from shared.admin.parameters import page_answer, read_count, read_key
from shared.directory.directory import Directory
from shared.directory.errors import InvalidCursor, NotFound
from shared.directory.keys import ID
from shared.directory.records.audit import HISTORY_CURSOR
from shared.directory.records.model import Authority, Group, Status
from shared.directory.text import dump
from shared.scim.endpoint import Request, Response


async def find_groups(directory: Directory, request: Request) -> Response:
    """List the groups that carry a displayName or externalId."""
    groups = await directory.groups.list_by(read_key(request, "displayName", "externalId"))
    return Response(200, dump({"groups": [_shown(group) for group in groups]}))


async def get_group(directory: Directory, request: Request) -> Response:
    """Return a group with a page of its history; of a deleted one, the history."""
    if not ID.fullmatch(request.id):
        raise NotFound("no such group")
    cursor, count = request.params.get("cursor", ""), read_count(request)
    if cursor and not HISTORY_CURSOR.fullmatch(cursor):
        raise InvalidCursor
    group = await directory.groups.find(request.id)
    history, more = await directory.groups.page_history(request.id, cursor, count)
    if group is None and not history:
        raise NotFound("no such group")
    shown = _shown(group) if group else {"id": request.id, "deleted": True}
    changes = [{"action": c.action, "by": c.by, "at": c.at, "attributes": c.attributes} for c in history]
    return page_answer("history", changes, more, shown)


def answer(group: Group) -> Response:
    """Return a group as one answer shows it."""
    return Response(200, dump(_shown(group)))


def _shown(group: Group) -> dict[str, Any]:
    authority = Authority.LOCAL if group.status is Status.LOCAL else Authority.IDP
    return {
        "id": group.id,
        "displayName": group.display_name,
        "externalId": group.external_id,
        "status": group.status.value,
        "sourceOfAuthority": authority.value,
        "created": group.created,
        "modified": group.modified,
        "deletedOverScim": group.retired,
    }
