"""The User resource: how an account is shown over SCIM.

The stored document is served as it is, with `meta` appended; it is only parsed where the client asked for a part.
"""

from __future__ import annotations

from shared.directory.model import Account, dump
from shared.scim.messages import resource_text
from shared.scim.projection import Projection
from shared.scim.schema import USER


def location(account: Account, base: str) -> str:
    """Return the resource's address."""
    return f"{base}/Users/{account.id}"


def render(account: Account, base: str, projection: Projection) -> str:
    """Return the resource as JSON text. A protected account shows its id and userName only."""
    text = account.text
    if account.protected:
        text = dump({"schemas": [USER.schema.urn], "id": account.id, "userName": account.user_name})
    shown = resource_text(
        text,
        resource_type=USER.name,
        created=account.created,
        last_modified=account.modified,
        location=location(account, base),
        version=account.version,
    )
    return shown if projection.is_default else projection.apply_to_text(shown)
