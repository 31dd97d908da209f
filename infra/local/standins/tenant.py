"""A made-up Entra tenant: users, groups, an enterprise application, and a log of changes. No HTTP.

graph.py shows it as Microsoft Graph does.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

TENANT: Final = "11111111-2222-4333-8444-555555555555"
APPLICATION: Final = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
"""The object id of the enterprise application that provisions."""
JOB: Final = "scim.1.made.up"
PERMISSIONS: Final = frozenset(
    {"User.Read.All", "GroupMember.Read.All", "Application.Read.All", "Synchronization.Read.All"}
)

SCHEMA: Final[Mapping[str, Any]] = {
    "id": JOB,
    "synchronizationRules": [
        {
            "name": "USER_OUTBOUND_USER",
            "objectMappings": [
                {
                    "enabled": True,
                    "sourceObjectName": "User",
                    "targetObjectName": "urn:ietf:params:scim:schemas:core:2.0:User",
                    "attributeMappings": [
                        {
                            "matchingPriority": priority,
                            "source": {"expression": f"[{source}]", "name": source, "type": "Attribute"},
                            "targetAttributeName": target,
                        }
                        for source, target, priority in (
                            ("objectId", "externalId", 1),
                            ("userPrincipalName", "userName", 2),
                            ("mail", 'emails[type eq "work"].value', 0),
                        )
                    ],
                }
            ],
        }
    ],
}
"""The schema, as the portal exports it, of a job with the mapping that Scimlink asks for."""


@dataclass
class Tenant:
    """Users by id, in order of id; groups by id, with the ids of their members; assignments to the application.

    `log` has the id of a user for each change, in order. An index of it is a delta token; those before `oldest` have
    expired.
    """

    users: dict[str, dict[str, Any]]
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)
    assigned: list[dict[str, str]] = field(default_factory=list)
    schemas: dict[str, Any] = field(default_factory=lambda: {JOB: SCHEMA})
    granted: set[str] = field(default_factory=lambda: set(PERMISSIONS))
    log: list[str] = field(default_factory=list)
    oldest: int = 0

    @classmethod
    def of(cls, users: Iterable[Mapping[str, Any]], groups: Iterable[Mapping[str, Any]] | None = None) -> Tenant:
        """Return a tenant of these users, with a group for each department, or with the groups given instead.

        One more group holds all the others. It is assigned to the application, so that everybody is; the first of the
        others is assigned again, and so are some users directly.
        """
        tenant = cls({user["id"]: dict(user) for user in sorted(users, key=lambda user: str(user["id"]))})
        departments: dict[str, list[str]] = {}
        for user in tenant.users.values():
            departments.setdefault(f"Department {user.get('department') or 'None'}", []).append(user["id"])
        if groups is None:
            ids = [tenant.add_group(name, members) for name, members in sorted(departments.items())]
        else:
            ids = [tenant.add_group(group["displayName"], group["members"], group["id"]) for group in groups]
        everybody = tenant.add_group("Everybody", ids)
        for kind, principals in (("User", list(tenant.users)[:40]), ("Group", [everybody, *ids[:1]])):
            tenant.assigned += [{"principalType": kind, "principalId": principal} for principal in principals]
        return tenant

    def add_group(self, name: str, members: Sequence[str], object_id: str = "") -> str:
        """Add a group of users and groups; return its id."""
        group = object_id or str(uuid.uuid5(uuid.NAMESPACE_URL, f"group:{name}"))
        self.groups[group] = {"id": group, "displayName": name, "members": list(members)}
        return group

    def change(self, user_id: str, **attributes: Any) -> None:
        """Give a user, known or new, other attributes."""
        self.users[user_id] = {"id": user_id, **self.users.get(user_id, {}), **attributes}
        self.users = dict(sorted(self.users.items()))
        self.log.append(user_id)

    def remove(self, user_id: str) -> None:
        """Delete a user, also from all groups."""
        del self.users[user_id]
        for group in self.groups.values():
            group["members"] = [member for member in group["members"] if member != user_id]
        self.log.append(user_id)

    def changed_since(self, token: int) -> list[dict[str, Any]]:
        """Return the users who changed since a delta token, as they are now; the deleted ones with `@removed`."""
        gone = {"@removed": {"reason": "changed"}}
        return [self.users.get(user, {"id": user, **gone}) for user in dict.fromkeys(self.log[token:])]

    def members_of(self, group: str, *, transitive: bool) -> Iterator[str]:
        """Yield the ids of a group's members, or of all users within the group and its groups, each once."""
        seen: dict[str, None] = {}
        waiting = list(self.groups[group]["members"])
        while waiting:
            member = waiting.pop(0)
            if member not in seen:
                seen[member] = None
                if transitive and member in self.groups:
                    waiting += self.groups[member]["members"]
        return (member for member in seen if not transitive or member in self.users)


def read_users(path: Path) -> list[dict[str, Any]]:
    """Return the users of a file of Graph's pages, as demo_data.py writes it."""
    return [user for page in _objects(path) for user in page["value"]]


def read_groups(path: Path) -> list[dict[str, Any]]:
    """Return the groups of a file that has an object for each page of a group's members, as demo_data.py writes it."""
    groups: dict[str, dict[str, Any]] = {}
    for page in _objects(path):
        groups.setdefault(page["id"], {**page, "members": []})["members"] += page["members"]
    return list(groups.values())


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a file, one after the other."""
    text, at, decoder = path.read_text("utf-8"), 0, json.JSONDecoder()
    while at < len(text):
        found, at = decoder.raw_decode(text, at)
        yield found
        at += len(text[at:]) - len(text[at:].lstrip())
