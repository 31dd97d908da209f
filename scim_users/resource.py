"""The User resource: how an account is shown over SCIM.

The stored document is served as it is, with `meta` appended; it is only parsed where the client asked for a part.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from scim_users.membership import Membership
from shared.directory.directory import Directory
from shared.directory.records.model import ENTERPRISE, Account
from shared.json_text import dump
from shared.scim.extension import extended
from shared.scim.messages import resource_text
from shared.scim.projection import Projection
from shared.scim.schema import USER, ResourceType


async def user_type(directory: Directory) -> ResourceType:
    """Return User with the directory's own extensions."""
    return extended(USER, await directory.schemas.get())


def location(account: Account, base: str) -> str:
    """Return the resource's address."""
    return f"{base}/Users/{account.id}"


def version(account: Account, groups: Sequence[Membership] = ()) -> str:
    """Return the entity tag of an account that is shown with these groups.

    Groups change without the account. Their part of the tag is therefore behind a full stop, where If-Match does not
    look (shared/scim/endpoint.py).
    """
    if not groups or account.protected:
        return account.version
    shown = dump(sorted([one.group.id, one.group.display_name, one.direct] for one in groups))
    return f'{account.version[:-1]}.{hashlib.blake2b(shown.encode(), digest_size=6).hexdigest()}"'


def render(account: Account, base: str, projection: Projection, groups: Sequence[Membership] = ()) -> str:
    """Return the resource as JSON text, with the groups the user is in. A protected account shows its name only."""
    text = account.text
    if groups:
        text = f'{text[:-1]},"groups":{dump([group_value(group, base) for group in groups])}}}'
    if account.protected:
        text = dump({"schemas": [USER.schema.urn], "id": account.id, "userName": account.user_name})
    shown = resource_text(
        text,
        resource_type=USER.name,
        created=account.created,
        last_modified=account.modified,
        location=location(account, base),
        version=version(account, groups),
    )
    return shown if projection.is_default else projection.apply_to_text(shown)


def group_value(one: Membership, base: str) -> dict[str, str]:
    """Return a group that a user is in as a value of `groups`."""
    group, kind = one.group, "direct" if one.direct else "indirect"
    return {"value": group.id, "$ref": f"{base}/Groups/{group.id}", "display": group.display_name, "type": kind}


def manager_of(account: Account | None) -> dict[str, Any] | None:
    """Return the enterprise manager as the account's document has it, or None."""
    if account is None or '"manager"' not in account.text:
        return None
    manager: dict[str, Any] | None = account.document().get(ENTERPRISE, {}).get("manager")
    return manager


async def showing_manager(directory: Directory, before: Account | None, after: Account) -> Account:
    """Return the account with a manager that a write changed shown in full, where there is such a user.

    Not when the account is read, since a page of a hundred would cost a hundred reads. The name is therefore the one
    that the manager had at the time of the write.
    """
    asked = manager_of(after)
    if not asked or asked == manager_of(before) or not asked.get("value"):
        return after
    manager = await directory.accounts.find(asked["value"])
    return after if manager is None or manager.retired else with_manager(after, before, manager)


def with_manager(account: Account, before: Account | None, manager: Account) -> Account:
    """Return the account showing its manager in full (RFC 7643 section 4.3); of a protected one, without the name.

    A `$ref` that the client sent stays; one that is still the former manager's does not.
    """
    document = account.document()
    shown, had = document[ENTERPRISE]["manager"], manager_of(before) or {}
    if "$ref" not in shown or (shown["$ref"] == had.get("$ref") and shown["value"] != had["value"]):
        shown["$ref"] = f"../Users/{manager.id}"
    shown.pop("displayName", None)
    name = manager.document().get("displayName")
    if name and not manager.protected:
        shown["displayName"] = name
    return account.with_document(document)
