"""What must hold of entra.bicep: no secret, one tenant, roles of its own, and no right that nobody uses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.evaluation import Deployment, Reference, at
from infra.checks.finding import Finding

SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "least": {"readGraph": False, "adminPrincipalId": "p", "portalUrl": "https://admin.example"},
    "all": {
        "readGroups": True,
        "readAssignments": True,
        "readMapping": True,
        "firstOwner": "owner",
        "scriptClientIds": ["22222222-2222-2222-2222-222222222222"],
        "adminPrincipalId": "p",
        "portalUrl": "https://admin.example",
    },
    "users": {"adminPrincipalId": "p", "portalUrl": "https://admin.example"},
}
"""Parameters by the name of a scenario."""

USERS, GROUPS = "df021288-bdef-4463-88db-98f22de89214", "98830695-27a2-44f7-8c18-0c3ebc9698f6"
APPLICATIONS, MAPPING = "9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30", "5ba43d2f-fa88-4db2-bd1c-a67c5f0fb1ce"
RIGHTS: Mapping[str, set[str]] = {"least": set(), "all": {USERS, GROUPS, APPLICATIONS, MAPPING}, "users": {USERS}}
"""Application permissions of Microsoft Graph by scenario: User.Read.All, GroupMember.Read.All, Application.Read.All,
Synchronization.Read.All (https://learn.microsoft.com/graph/permissions-reference)."""
GRAPH = "00000003-0000-0000-c000-000000000000"
SAID = (
    "--sign-in-audience AzureADMyOrg ",
    '"$portal/.auth/login/aad/callback"',
    "--enable-id-token-issuance true ",
    "--requested-access-token-version 2 ",
    r"\"issuer\": \"https://login.microsoftonline.com/$tenant/v2.0\"",
    r"\"subject\": \"$principal\"",
    "appRoleAssignmentRequired=true",
    "--scope 'openid profile email'",
    r"\"value\": \"user_impersonation\", \"type\": \"Admin\"",
)
"""What entra.sh asks for, as the template sets it."""
OWN_ROLES = {"Reader", "Operator", "Owner"}


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find what opens the application to whom it must not be open, and rights too many or too few."""
    for application in deployment.of("Microsoft.Graph/applications"):
        body, symbol = application.body, application.symbol
        for secret in ("passwordCredentials", "keyCredentials"):
            if secret in body:
                yield Finding(
                    "entra", symbol, f"{secret}: the managed identity is the credential, and there is no other"
                )
        if body.get("signInAudience") != "AzureADMyOrg":
            yield Finding("entra", symbol, "signInAudience lets in people of other tenants")
        if at(body, "web.redirectUris") != ["https://admin.example/.auth/login/aad/callback"]:
            yield Finding(
                "entra", symbol, "the redirect goes to App Service Authentication of the admin app, and nowhere else"
            )
        if at(body, "web.implicitGrantSettings.enableAccessTokenIssuance") is not False:
            yield Finding("entra", symbol, "access tokens would be in addresses")
        if at(body, "web.implicitGrantSettings.enableIdTokenIssuance") is not True:
            yield Finding("entra", symbol, "App Service Authentication gets no id token, and signs in nobody")
        if at(body, "api.requestedAccessTokenVersion") != 2:
            yield Finding("entra", symbol, "tokens of scripts would have another issuer than the sign-in checks")
        yield from _check_roles(symbol, body.get("appRoles", []))
        yield from _check_scripts(symbol, body.get("api", {}), deployment.parameters["scriptClientIds"])
    for credential in deployment.of("Microsoft.Graph/applications/federatedIdentityCredentials"):
        wanted = {
            "issuer": "https://login.microsoftonline.com/«tenant.tenantId»/v2.0",
            "audiences": ["api://AzureADTokenExchange"],
            "subject": "p",
        }
        for name, value in wanted.items():
            if credential.body.get(name) != value:
                yield Finding(
                    "entra", credential.symbol, f"{name} must be {value}: nobody else may be this application"
                )
    if len(deployment.of("Microsoft.Graph/applications/federatedIdentityCredentials")) != 1:
        yield Finding("entra", "application", "has no credential")
    for service in deployment.of("Microsoft.Graph/servicePrincipals"):
        if service.body.get("appRoleAssignmentRequired") is not True:
            yield Finding("entra", service.symbol, "appRoleAssignmentRequired: everybody in the tenant could sign in")
    yield from _check_consent(deployment)
    yield from _check_rights(deployment)


def _check_roles(symbol: str, roles: list[Mapping[str, Any]]) -> Iterator[Finding]:
    if {one.get("value") for one in roles} != OWN_ROLES:
        yield Finding("entra", symbol, f"its roles are {', '.join(sorted(OWN_ROLES))}")
    ids = [str(one.get("id")) for one in roles]
    if len(set(ids)) != len(ids) or not all(
        re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in ids
    ):
        yield Finding("entra", symbol, "each role has an id of its own, a GUID")
    for one in roles:
        if one.get("isEnabled") is not True:
            yield Finding("entra", symbol, f"the role {one.get('value')} is not enabled")
        if one.get("allowedMemberTypes") != ["User", "Application"]:
            yield Finding("entra", symbol, f"the role {one.get('value')} is for people and for scripts")


def _check_scripts(symbol: str, api: Mapping[str, Any], clients: list[str]) -> Iterator[Finding]:
    """By which applications people get tokens for scripts: those that are named, and no other consents for itself."""
    scopes = api.get("oauth2PermissionScopes", [])
    if [(one.get("value"), one.get("type"), one.get("isEnabled")) for one in scopes] != [
        ("user_impersonation", "Admin", True)
    ]:
        yield Finding("entra", symbol, "its one scope is user_impersonation, to which administrators alone consent")
    ids = [one.get("id") for one in scopes]
    if api.get("preAuthorizedApplications") != [{"appId": one, "delegatedPermissionIds": ids} for one in clients]:
        yield Finding("entra", symbol, "people get tokens by other applications than scriptClientIds")


def check_script(script: str, template: str) -> Iterator[Finding]:
    """Find what entra.sh and entra.bicep do not share: whoever uses one gets what the other gives."""
    roles = re.findall(r"(\w+): '(5b1f5f0e-[0-9a-f-]+)'", template)
    for said in (*SAID, *(f"{id} {name.capitalize()} " for name, id in roles)):
        if said not in script:
            yield Finding("entra", "infra/entra.sh", f"does not say {said}")
    for there, missing in (("entra.sh", _ids(template) - _ids(script)), ("entra.bicep", _ids(script) - _ids(template))):
        for one in sorted(missing):
            yield Finding("entra", f"infra/{there}", f"{one} is not there, and in the other file it is")


def _ids(text: str) -> set[str]:
    return set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", text))


def _check_consent(deployment: Deployment) -> Iterator[Finding]:
    """Where people must be assigned, they can consent to nothing, not even to be signed in."""
    wanted = {
        "clientId": Reference("service", ("id",)),
        "consentType": "AllPrincipals",
        "resourceId": Reference("graph", ("id",)),
        "scope": "openid profile email",
    }
    if [dict(one.body) for one in deployment.of("Microsoft.Graph/oauth2PermissionGrants")] != [wanted]:
        yield Finding("entra", "consent", "must be for all, to be signed in, and to nothing else")


def _check_rights(deployment: Deployment) -> Iterator[Finding]:
    granted: set[str] = set()
    for one in deployment.of("Microsoft.Graph/appRoleAssignedTo"):
        of, role = one.body.get("resourceId"), str(one.body.get("appRoleId"))
        if of == Reference("graph", ("id",)):
            granted.add(role)
            if one.body.get("principalId") != "p":
                yield Finding("entra", one.symbol, "nobody but the admin app's identity reads from Graph")
        elif of == Reference("service", ("id",)):
            roles = deployment.of("Microsoft.Graph/applications")[0].body["appRoles"]
            if [known["value"] for known in roles if known["id"] == role] != ["Owner"]:
                yield Finding("entra", one.symbol, "firstOwner gets another role than Owner")
        else:
            yield Finding("entra", one.symbol, "is a right on something else")
    wanted = RIGHTS[deployment.scenario]
    for role in sorted(wanted - granted):
        yield Finding("entra", "graphRights", f"lacks the permission {role} ({deployment.scenario})")
    for role in sorted(granted - wanted):
        yield Finding("entra", "graphRights", f"has the permission {role}, which nothing needs ({deployment.scenario})")
