"""What Entra's provisioning service makes of an identity: mapped attributes, differences, bodies. Pure.

entra.py plays a cycle with it. The shapes are those of "Develop a SCIM endpoint" (learn.microsoft.com), with the flag
aadOptscim062020 and without. The mapping is the default one of an application outside the gallery.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

from shared.directory.matching.identity import Identity

Dialect = Literal["default", "scim2"]
ExternalId = Literal["objectId", "mailNickname"]
Attributes = dict[str, Any]
"""Mapped values by SCIM attribute path, without those that have no value in Entra: these are not provisioned."""

WORK_EMAIL: Final = 'emails[type eq "work"].value'
CORE: Final = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE: Final = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
PATCH_OP: Final = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

_GUEST = re.compile(r"(.+)_([^_]+)#EXT#@.+", re.IGNORECASE)


def map_identity(identity: Identity, external_id: ExternalId) -> Attributes:
    """Return what an identity's attributes become under the default mapping, with externalId as chosen."""
    full_name = " ".join(filter(None, (identity.given_name, identity.surname)))
    mapped = {
        "userName": provisioned_name(identity.user_principal_name),
        "active": identity.account_enabled,
        "displayName": identity.display_name,
        "title": identity.job_title,
        WORK_EMAIL: identity.mail,
        "name.givenName": identity.given_name,
        "name.familyName": identity.surname,
        "name.formatted": full_name,
        "externalId": identity.object_id if external_id == "objectId" else identity.mail_nickname,
        f"{ENTERPRISE}:employeeNumber": identity.employee_id,
        f"{ENTERPRISE}:department": identity.department,
    }
    return {path: value for path, value in mapped.items() if value not in (None, "")}


def provisioned_name(user_principal_name: str) -> str:
    """Return the name as provisioned: a guest's `jane_home.example#EXT#@tenant` is `jane@home.example` again."""
    return _GUEST.sub(r"\1@\2", user_principal_name)


def matching(attributes: Attributes, external_id: ExternalId, *, by_key_alone: bool = False) -> list[str]:
    """Return the matching attributes that have a value, in order of precedence."""
    order = ("externalId", "userName") if external_id == "objectId" else ("userName",)
    if by_key_alone:
        order = ("externalId",)
    return [path for path in order if path in attributes]


def differences(attributes: Attributes, resource: Mapping[str, Any]) -> Attributes:
    """Return the mapped values that the resource does not hold."""
    return {path: value for path, value in attributes.items() if read(resource, path) != value}


def read(resource: Mapping[str, Any], path: str) -> Any:
    """Return the resource's value at a mapped path, or None."""
    if path == WORK_EMAIL:
        emails = resource.get("emails") or ()
        return next((email.get("value") for email in emails if email.get("type") == "work"), None)
    holder, name = _parts(path)
    members = resource.get(holder) or {} if holder else resource
    return members.get(name)


def create_body(attributes: Attributes, dialect: Dialect) -> dict[str, Any]:
    """Return the body of the POST that creates a user. The default dialect adds `meta` and empty `roles`."""
    body: dict[str, Any] = {"schemas": [CORE, ENTERPRISE]}
    for path, value in attributes.items():
        holder, name = _parts(path)
        if path == WORK_EMAIL:
            body["emails"] = [{"primary": True, "type": "work", "value": value}]
        else:
            (body.setdefault(holder, {}) if holder else body)[name] = value
    if dialect == "default":
        body |= {"meta": {"resourceType": "User"}, "roles": []}
    return body


def patch_body(changes: Attributes, resource: Mapping[str, Any], dialect: Dialect) -> dict[str, Any]:
    """Return the body of the PATCH that makes the changes to a resource."""
    make = _operations if dialect == "default" else _scim2_operations
    return {"schemas": [PATCH_OP], "Operations": make(changes, resource)}


def _operations(changes: Attributes, resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One operation an attribute, its name capitalised, Booleans as text."""
    return [
        {
            "op": "Add" if read(resource, path) is None else "Replace",
            "path": path,
            "value": str(value) if isinstance(value, bool) else value,
        }
        for path, value in changes.items()
    ]


def _scim2_operations(changes: Attributes, resource: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Single-valued attributes together in one operation without a path, by dotted and full names."""
    operations: list[dict[str, Any]] = []
    for op, present in (("replace", True), ("add", False)):
        chosen = {path: value for path, value in changes.items() if (read(resource, path) is not None) is present}
        if WORK_EMAIL in chosen:
            operations.append({"op": op, "path": WORK_EMAIL, "value": chosen.pop(WORK_EMAIL)})
        if chosen:
            operations.append({"op": op, "value": chosen})
    return operations


def _parts(path: str) -> tuple[str, str]:
    """Return what an attribute is within ("" is the resource itself), and its name there."""
    holder, _, name = path.rpartition(":" if path.startswith("urn:") else ".")
    return holder, name
