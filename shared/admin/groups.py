"""Groups as the administrator sees them: who manages each, under which externalId, and its history.

The members are shown over SCIM, by scim_groups. The same for accounts is in accounts.py.
"""

from __future__ import annotations

from typing import Any

from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import ID, Key
from shared.directory.records.audit import HISTORY_CURSOR
from shared.directory.records.model import Authority, Group, Status
from shared.directory.text import dump
from shared.directory.work.plan import PAGE
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

KINDS = ("displayName", "externalId")


async def find_groups(directory: Directory, request: Request) -> Response:
    """List the groups that carry a displayName or externalId."""
    asked = [Key(kind, value) for kind in KINDS if (value := request.params.get(kind))]
    if len(asked) != 1:
        raise InvalidValue(f"query: name one of {', '.join(KINDS)}")
    groups = await directory.groups.list_by(asked[0])
    return Response(200, dump({"groups": [_shown(group) for group in groups]}))


async def get_group(directory: Directory, request: Request) -> Response:
    """Return a group with its history, a page at a time; a deleted one with what is left of it."""
    if not ID.fullmatch(request.id):
        raise NotFound("no such group")
    cursor, count = _asked(request)
    group = await directory.groups.find(request.id)
    history, more = await directory.groups.page_history(request.id, cursor, count)
    if group is None and not history:
        raise NotFound("no such group")
    shown = _shown(group) if group else {"id": request.id, "deleted": True}
    changes = [{"action": c.action, "by": c.by, "at": c.at, "attributes": c.attributes} for c in history]
    return Response(200, dump(shown | {"history": changes} | ({"cursor": more} if more else {})))


def _asked(request: Request) -> tuple[str, int]:
    """Return cursor and count of a request. Raises InvalidValue."""
    cursor, count = request.params.get("cursor", ""), request.params.get("count", str(PAGE))
    if cursor and not HISTORY_CURSOR.fullmatch(cursor):
        raise InvalidValue("cursor: take the one of the former page, or start without")
    if not count.isdecimal() or len(count) > 4 or not 1 <= int(count) <= 1000:
        raise InvalidValue("count: a number from 1 to 1000")
    return cursor, int(count)


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
    }
