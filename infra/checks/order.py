"""What must be there before something else: Azure makes at once what no expression and no dependsOn puts in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding

_ROLES = {"adminData", "adminBackups", "adminTelemetry", "adminSecrets", "adminOrchestrations"}
AFTER: Mapping[str, set[str]] = {
    "scimApp": {"scimPackages", "scimHostAccess", "vnet", "privateNames"},
    "adminApp": {"adminPackages", "adminHostAccess", "vnet", "privateNames"},
    # With one app, it does its work with the identity of the admin app.
    "scimSettings": {"scimData", "scimTelemetry", *_ROLES},
    "adminSettings": _ROLES,
    "backupTerm": {"backups"},
    "adminSignIn": {"adminSettings"},
    "scimPackage": {"scimSettings"},
    "adminPackage": {"adminSettings", "adminSignIn"},
    "privateEndpoints": {"vnet"},
    "privateNames": {"privateZones", "privateZoneLinks"},
}
"""By symbol, what comes before it: roles before what needs them, the sign-in before the code that is behind it."""


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find what may be deployed too early."""
    for resource in deployment.resources:
        symbol = resource.symbol.partition("[")[0]
        given = {one.symbol for one in resource.body.get("dependsOn", ()) if isinstance(one, Reference)}
        for early in sorted(AFTER.get(symbol, set()) - given):
            yield Finding("order", symbol, f"may be deployed before {early}")
