"""Who may do what: each identity has the roles that its app needs, on the resource that needs them, and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding

ROLES: Mapping[str, str] = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "ba92f5b4-2d11-453d-a403-e96b0029c9fe": "Storage Blob Data Contributor",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "0ad04412-c4d5-4796-b79c-f76d14c8d402": "Durable Task Data Contributor",
}
"""Azure's built-in roles by their ids (https://learn.microsoft.com/azure/role-based-access-control/built-in-roles)."""

HOST = ("Storage Blob Data Owner", "Storage Queue Data Contributor", "Storage Table Data Contributor")
"""What the Functions host does in its own account."""

Grant = tuple[str, str, str]
"""An identity, a resource by its symbol, and a role."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def wanted(deployment: Deployment) -> set[Grant]:
    """Return what must be granted, and no more. The SCIM app meets the internet: its identity reaches its own alone."""
    grants = {("scimIdentity", "scimHost", role) for role in HOST}
    grants |= {(identity, "data", "Storage Table Data Contributor") for identity in ("scimIdentity", "adminIdentity")}
    grants |= {(identity, "insights", "Monitoring Metrics Publisher") for identity in ("scimIdentity", "adminIdentity")}
    grants.add(("adminIdentity", "vault", "Key Vault Secrets User"))
    grants.add(("adminIdentity", "backups", "Storage Blob Data Contributor"))
    if deployment.parameters["twoApps"]:
        grants |= {("adminIdentity", "adminHost", role) for role in HOST}
    if deployment.parameters["durableBackend"] == "DurableTaskScheduler":
        grants.add(("adminIdentity", "scheduler", "Durable Task Data Contributor"))
    return grants


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find roles that are missing or wrong, and those that nobody asked for."""
    granted: set[Grant] = set()
    names = [str(one.body.get("name")) for one in deployment.of("Microsoft.Authorization/roleAssignments")]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding("role", name, "is the name of two assignments, and Azure refuses the second")
    for resource in deployment.of("Microsoft.Authorization/roleAssignments"):
        role, principal = str(resource.properties.get("roleDefinitionId")), resource.properties.get("principalId")
        scope = resource.body.get("scope")
        if not (isinstance(principal, Reference) and principal.path == ("properties", "principalId")):
            yield Finding("role", resource.symbol, f"{principal} is no identity's principalId")
            continue
        if not isinstance(scope, Reference):
            yield Finding("role", resource.symbol, "has no scope: it would be of the whole resource group")
            continue
        found = _ID.search(role)
        if found is None or found[0] not in ROLES:
            yield Finding("role", resource.symbol, f"{role} is none of the roles that the apps need")
            continue
        if "Microsoft.Authorization/roleDefinitions" not in role:
            yield Finding(
                "role", resource.symbol, "roleDefinitionId is the id of a roleDefinitions of the subscription"
            )
        if resource.properties.get("principalType") != "ServicePrincipal":
            yield Finding(
                "role", resource.symbol, "principalType must be ServicePrincipal: a new identity is not found yet"
            )
        granted.add((principal.symbol, scope.symbol, ROLES[found[0]]))
    for identity, of, role in sorted(wanted(deployment) - granted):
        yield Finding("role", of, f"{identity} lacks {role} ({deployment.scenario})")
    for identity, of, role in sorted(granted - wanted(deployment)):
        yield Finding("role", of, f"{identity} has {role}, which it must not have ({deployment.scenario})")
