"""How provisioning is connected: the Tenant URL, the credentials with their ends, and when each was last used.

The app that serves administrators may be another one than the app that serves provisioning, with credentials of its
own. So what provisioning uses is known from its visits, too.
"""

from __future__ import annotations

from typing import Any

from shared.directory.directory import Directory
from shared.directory.work.visits import Visit
from shared.host.settings import Settings
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

SCIM = "scim"


async def get_connection(directory: Directory, request: Request, settings: Settings) -> Response:
    """Return the Tenant URL, and the credentials for provisioning: their ends, and when each was last used."""
    visits = {visit.credential: visit for visit in await directory.visits.list_all()}
    known: dict[str, dict[str, Any]] = {name: _shown(name, visit.expires, visit) for name, visit in visits.items()}
    for one in settings.credentials:
        if one.directory == directory.name and SCIM in one.roles:
            known[one.name] = _shown(one.name, one.ends, visits.get(one.name))
    last = max(visits.values(), key=lambda visit: visit.last, default=None)
    address = request.base if SCIM in settings.app_roles else last.address if last else None
    document = {
        "tenantUrl": address,
        "lastRequest": last.last if last else None,
        "lastWrite": max((visit.last_write for visit in visits.values()), default="") or None,
        "credentials": [known[name] for name in sorted(known)],
    }
    return Response(200, dump(document))


def _shown(name: str, expires: str, visit: Visit | None) -> dict[str, Any]:
    last, wrote = (visit.last, visit.last_write) if visit else ("", "")
    return {"name": name, "expires": expires or None, "lastRequest": last or None, "lastWrite": wrote or None}
