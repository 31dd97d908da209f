"""The users that the bench creates and changes over SCIM, in the shapes that Entra sends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from infra.local.standins.provisioning import CORE, ENTERPRISE, PATCH_OP, WORK_EMAIL

PATCH_OPERATIONS = (
    {"op": "Replace", "path": "displayName", "value": "Somebody Else"},
    {"op": "Replace", "path": WORK_EMAIL, "value": "somebody.else@contoso.com"},
    {"op": "Replace", "path": f"{ENTERPRISE}:department", "value": "Another one"},
)


def user(number: int, *, email: str | None = None) -> dict[str, Any]:
    """Return the body that creates the user of that number; the e-mail is the userName unless another is given."""
    name = f"bench{number}@contoso.com"
    return {
        "schemas": [CORE, ENTERPRISE],
        "externalId": external_id(number),
        "userName": name,
        "active": True,
        "displayName": f"Person {number}",
        "title": "Engineer",
        "emails": [{"primary": True, "type": "work", "value": email or name}],
        "name": {"givenName": "Person", "familyName": str(number), "formatted": f"Person {number}"},
        ENTERPRISE: {"employeeNumber": str(number), "department": "Research"},
    }


def external_id(number: int) -> str:
    """Return the object id of the user of that number."""
    return f"00000000-0000-4000-8000-{number:012}"


def patch(**values: object) -> dict[str, Any]:
    """Return the body of the PATCH that replaces attributes, one operation each."""
    operations = [{"op": "Replace", "path": name, "value": value} for name, value in values.items()]
    return {"schemas": [PATCH_OP], "Operations": operations}


def members_patch(op: str, ids: Sequence[str]) -> dict[str, Any]:
    """Return the body of the PATCH that adds or removes members."""
    value = [{"$ref": None, "value": member} for member in ids]
    return {"schemas": [PATCH_OP], "Operations": [{"op": op, "path": "members", "value": value}]}
