"""What must hold whoever changes the template: no keys, nothing public, all of the admin app behind a sign-in."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from infra.checks.evaluation import Deployed, Deployment, Reference, at
from infra.checks.finding import Finding
from infra.checks.template import Template

ROOT = Path(__file__).parents[2]
SITES = "Microsoft.Web/sites"
STORAGE = "Microsoft.Storage/storageAccounts"
VAULTS = "Microsoft.KeyVault/vaults"


class Rule(NamedTuple):
    """A property of every resource of a type, the values that it may have, and what would happen otherwise."""

    type: str
    path: str
    values: tuple[Any, ...]
    harm: str


RULES = (
    Rule(STORAGE, "properties.allowSharedKeyAccess", (False,), "a key opens everything, for ever and for anybody"),
    Rule(STORAGE, "properties.allowBlobPublicAccess", (False,), "a container could be made public"),
    Rule(STORAGE, "properties.allowCrossTenantReplication", (False,), "data could be copied to another tenant"),
    Rule(STORAGE, "properties.defaultToOAuthAuthentication", (True,), "the portal asks for keys"),
    Rule(STORAGE, "properties.minimumTlsVersion", ("TLS1_2", "TLS1_3"), "old TLS is accepted"),
    Rule(STORAGE, "properties.supportsHttpsTrafficOnly", (True,), "tokens travel in the clear"),
    Rule(STORAGE, "properties.networkAcls.bypass", ("AzureServices",), "logs and alerts do not come through"),
    Rule(VAULTS, "properties.networkAcls.bypass", ("AzureServices",), "the platform reads no certificate"),
    Rule(STORAGE, "kind", ("StorageV2",), "the account has no tables"),
    Rule(f"{STORAGE}/blobServices/containers", "properties.publicAccess", ("None",), "anybody reads it"),
    Rule(f"{STORAGE}/blobServices", "properties.deleteRetentionPolicy.enabled", (True,), "a deleted blob is gone"),
    Rule(
        f"{STORAGE}/blobServices", "properties.containerDeleteRetentionPolicy.enabled", (True,), "a container is gone"
    ),
    Rule(VAULTS, "properties.enableRbacAuthorization", (True,), "access policies open it past the roles"),
    Rule(VAULTS, "properties.enablePurgeProtection", (True,), "what was deleted can be purged at once"),
    Rule(VAULTS, "properties.enableSoftDelete", (True,), "what was deleted is gone"),
    Rule(
        "Microsoft.OperationalInsights/workspaces", "properties.features.disableLocalAuth", (True,), "a key writes logs"
    ),
    Rule(
        "Microsoft.Insights/components", "properties.DisableLocalAuth", (True,), "anybody with the key writes telemetry"
    ),
    Rule(SITES, "kind", ("functionapp,linux",), "it is no function app"),
    Rule(SITES, "properties.httpsOnly", (True,), "tokens travel in the clear"),
    Rule(SITES, "properties.siteConfig.minTlsVersion", ("1.2", "1.3"), "old TLS is accepted"),
    Rule(SITES, "properties.siteConfig.scmMinTlsVersion", ("1.2", "1.3"), "old TLS is accepted"),
    Rule(SITES, "properties.siteConfig.scmIpSecurityRestrictionsUseMain", (False,), "no package can be deployed"),
    Rule(SITES, "properties.clientAffinityEnabled", (False,), "one client stays with one instance"),
    Rule(SITES, "properties.publicNetworkAccess", (None, "Enabled"), "nobody reaches it"),
    Rule(SITES, "properties.siteConfig.remoteDebuggingEnabled", (None, False), "a debugger reads people and tokens"),
    Rule(SITES, "properties.siteConfig.cors", (None,), "scripts of other sites read answers"),
    Rule(f"{SITES}/extensions", "properties.remoteBuild", (True,), "requirements.txt is not installed"),
    Rule(VAULTS, "properties.enabledForTemplateDeployment", (None, False), "a template reads secrets"),
    Rule(
        "Microsoft.Insights/components", "properties.publicNetworkAccessForIngestion", (None, "Enabled"), "it is blind"
    ),
    Rule(SITES, "identity.type", ("UserAssigned",), "its rights are nobody's"),
    Rule(SITES, "properties.functionAppConfig.runtime.name", ("python",), "the app does not start"),
    Rule(
        SITES,
        "properties.functionAppConfig.deployment.storage.authentication.type",
        ("UserAssignedIdentity",),
        "the package is read with a key",
    ),
    Rule("Microsoft.Web/serverfarms", "sku.name", ("FC1",), "it is another plan"),
    Rule("Microsoft.Web/serverfarms", "sku.tier", ("FlexConsumption",), "it is another plan"),
    Rule("Microsoft.Web/serverfarms", "properties.reserved", (True,), "it is a plan for Windows"),
    Rule(f"{SITES}/basicPublishingCredentialsPolicies", "properties.allow", (False,), "a password publishes code"),
    Rule("Microsoft.Authorization/locks", "properties.level", ("CanNotDelete",), "the lock keeps nothing, or too much"),
    Rule("Microsoft.Insights/actionGroups", "properties.enabled", (True,), "nobody hears of an alert"),
    Rule("Microsoft.Insights/diagnosticSettings", "properties.workspaceId", ("«logs.id»",), "its logs go nowhere"),
)
"""Each holds for every resource of its type, in every scenario."""

_SCALE = "properties.functionAppConfig.scaleAndConcurrency"
GIVEN = (
    ("logs", "properties.retentionInDays", "logRetentionDays"),
    ("logs", "properties.workspaceCapping.dailyQuotaGb", "logDailyCapGB"),
    ("data", "sku.name", "dataRedundancy"),
    *((host, "sku.name", "hostRedundancy") for host in ("scimHost", "adminHost")),
    *((plan, "properties.zoneRedundant", "zoneRedundant") for plan in ("scimPlan", "adminPlan")),
    *((app, f"{_SCALE}.instanceMemoryMB", "instanceMemoryMB") for app in ("scimApp", "adminApp")),
    *((app, f"{_SCALE}.maximumInstanceCount", "maximumInstanceCount") for app in ("scimApp", "adminApp")),
    ("scimApp", f"{_SCALE}.triggers.http.perInstanceConcurrency", "httpConcurrency"),
    *((package, "properties.packageUri", "packageUri") for package in ("scimPackage", "adminPackage")),
)
"""By symbol and path, the parameter whose value a property has."""
KEPT_DAYS: Mapping[str, int] = {"scimHostBlobs": 7, "adminHostBlobs": 7, "dataBlobs": 35}
"""Days for which a deleted blob or container can be had again. The copies have people's data: no longer than said."""

WATCHED: Mapping[str, Mapping[str, Any]] = {
    "scimApp": {"logs": [{"category": "FunctionAppLogs", "enabled": True}]},
    "adminApp": {"logs": [{"categoryGroup": "allLogs", "enabled": True}]},
    "vault": {"logs": [{"categoryGroup": "audit", "enabled": True}]},
    "dataTables": {
        "logs": [{"category": "StorageDelete", "enabled": True}],
        "metrics": [{"category": "Transaction", "enabled": True}],
    },
}
"""What is logged of each, by its categories: Azure refuses a misspelt one only when it is deployed
(https://learn.microsoft.com/azure/azure-monitor/reference/logs-index)."""

SIGN_IN: Mapping[str, Any] = {
    "platform.enabled": True,
    "globalValidation.requireAuthentication": True,
    "globalValidation.redirectToProvider": "azureactivedirectory",
    "httpSettings.requireHttps": True,
    "identityProviders.azureActiveDirectory.registration.openIdIssuer": (
        "https://login.microsoftonline.com/«tenant.tenantId»/v2.0"
    ),
    "identityProviders.azureActiveDirectory.registration.clientSecretSettingName": (
        "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID"
    ),
    "login.tokenStore.enabled": False,
    "login.allowedExternalRedirectUrls": None,
    "platform.runtimeVersion": "~1",
}
"""App Service Authentication of the admin app: a managed identity in the place of a secret, and no exceptions."""


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find what opens the deployment to whom it must not be open."""
    for rule in RULES:
        for resource in deployment.of(rule.type):
            value = at(resource.body, rule.path)
            if (str(value) if isinstance(value, Reference) else value) not in rule.values:
                told = f"{rule.path} must be {rule.values[0]}, not {value}: {rule.harm}"
                yield Finding("safety", resource.symbol, told)
    for site in deployment.of(SITES):
        yield from _check_site(deployment, site)
    if deployment.parameters["twoApps"]:
        yield from _check_sign_in(deployment)
    elif deployment.get("adminApp") is not None:
        yield Finding("safety", "adminApp", "is deployed although there is to be one app")
    yield from _check_doors(deployment)
    yield from _check_network(deployment)
    yield from _check_kept(deployment)
    yield from _check_given(deployment)
    yield from _check_terms(deployment)


def _check_site(deployment: Deployment, site: Deployed) -> Iterator[Finding]:
    closed = {
        str(one.body.get("name"))
        for one in deployment.of(f"{SITES}/basicPublishingCredentialsPolicies")
        if one.body.get("parent") == Reference(site.symbol)
    }
    for name in sorted({"ftp", "scm"} - closed):
        yield Finding("safety", site.symbol, f"{name} takes user names and passwords")
    own = "adminIdentity" if site.symbol == "adminApp" else "scimIdentity"
    identities = {f"«{own}.id»"} | (set() if deployment.parameters["twoApps"] else {"«adminIdentity.id»"})
    if set(at(site.body, "identity.userAssignedIdentities") or {}) != identities:
        yield Finding("safety", site.symbol, f"its identities must be {', '.join(sorted(identities))}")
    reader = "scimIdentity" if deployment.parameters["twoApps"] else "adminIdentity"
    reader = own if site.symbol == "adminApp" else reader
    if str(site.properties.get("keyVaultReferenceIdentity")) != f"«{reader}.id»":
        yield Finding("safety", site.symbol, f"secrets of the vault are read by {reader}, which has the role")
    config = "properties.functionAppConfig"
    host = "adminHost" if site.symbol == "adminApp" else "scimHost"
    package = at(site.body, f"{config}.deployment.storage.value")
    if package != f"«{host}.properties.primaryEndpoints.blob»package":
        yield Finding("safety", site.symbol, f"its package comes from {package}, not from {host}")
    if (
        str(at(site.body, f"{config}.deployment.storage.authentication.userAssignedIdentityResourceId"))
        != f"«{own}.id»"
    ):
        yield Finding("safety", site.symbol, f"its package is read by another identity than {own}")
    if at(site.body, f"{config}.runtime.version") != deployment.parameters["pythonVersion"]:
        yield Finding("safety", site.symbol, "its Python is not that of the parameter")
    if str(site.properties.get("serverFarmId")) != f"«{site.symbol.replace('App', 'Plan')}.id»":
        yield Finding("safety", site.symbol, "a Flex Consumption plan has one app alone")


def _check_sign_in(deployment: Deployment) -> Iterator[Finding]:
    found = [one for one in deployment.of(f"{SITES}/config") if one.body.get("name") == "authsettingsV2"]
    for one in found:
        if one.body.get("parent") != Reference("adminApp"):
            yield Finding(
                "sign-in", one.symbol, "Entra's provisioning cannot sign in with a browser: only adminApp has it"
            )
    settings = next((one for one in found if one.body.get("parent") == Reference("adminApp")), None)
    if settings is None:
        yield Finding("sign-in", "adminApp", "has no sign-in")
        return
    client = deployment.parameters["adminClientId"]
    for path, value in SIGN_IN.items():
        if at(settings.properties, path) != value:
            yield Finding("sign-in", settings.symbol, f"{path} must be {value}, not {at(settings.properties, path)}")
    if at(settings.properties, "globalValidation.excludedPaths"):
        yield Finding("sign-in", settings.symbol, "excludedPaths must not be set: every path is behind the sign-in")
    action = "RedirectToLoginPage" if deployment.parameters["adminClientId"] else "Return403"
    if at(settings.properties, "globalValidation.unauthenticatedClientAction") != action:
        yield Finding("sign-in", settings.symbol, f"unauthenticatedClientAction must be {action}")
    directory = at(settings.properties, "identityProviders.azureActiveDirectory")
    if at(directory, "enabled") != bool(client) or at(directory, "registration.clientId") != client:
        yield Finding("sign-in", settings.symbol, "takes another application's sign-ins than adminClientId's")
    if client and set(at(directory, "validation.allowedAudiences") or ()) != {client, f"api://{client}"}:
        yield Finding("sign-in", settings.symbol, "allowedAudiences must be the client id and its api:// address")
    callers = {client, *deployment.parameters["adminScriptClientIds"]}
    if set(at(directory, "validation.defaultAuthorizationPolicy.allowedApplications") or ()) != callers:
        yield Finding("sign-in", settings.symbol, "allowedApplications must be the client id and adminScriptClientIds")
    others = {one.symbol for one in deployment.of(f"{SITES}/config")} - {
        "scimSettings",
        "adminSettings",
        settings.symbol,
    }
    for name in sorted(others):
        yield Finding("sign-in", name, "is a configuration that nobody looks at")


def _check_doors(deployment: Deployment) -> Iterator[Finding]:
    """Who gets to the apps at all: rules of the network, in front of tokens and sign-ins."""
    given = deployment.parameters
    for site in deployment.of(SITES):
        config = site.properties.get("siteConfig", {})
        rules = config.get("ipSecurityRestrictions") or []
        if site.symbol == "scimApp":
            wanted = given["scimAllowedAddresses"] if given["scimFromEntraOnly"] else []
            denies = bool(given["scimFromEntraOnly"])
            tags = [one for one in rules if one.get("tag") == "ServiceTag"]
            if [one.get("ipAddress") for one in tags] != (["AzureActiveDirectory"] if denies else []):
                yield Finding("network", site.symbol, "the service tag of Entra's provisioning is AzureActiveDirectory")
        else:
            wanted = given["adminAllowedAddresses"] if given["adminClientId"] else []
            denies = not given["adminClientId"] or bool(given["adminAllowedAddresses"])
        if config.get("ipSecurityRestrictionsDefaultAction") != ("Deny" if denies else "Allow"):
            yield Finding(
                "network", site.symbol, f"lets in {'everybody' if denies else 'nobody'} ({deployment.scenario})"
            )
        if [one.get("ipAddress") for one in rules if "tag" not in one] != list(wanted):
            yield Finding("network", site.symbol, f"lets in other addresses than its parameter ({deployment.scenario})")
        if any(one.get("action") != "Allow" for one in rules):
            yield Finding("network", site.symbol, "its rules allow; what no rule allows is denied")
        if len({one.get("priority") for one in rules}) != len(rules):
            yield Finding("network", site.symbol, "two of its rules have one priority")


def _check_network(deployment: Deployment) -> Iterator[Finding]:
    private = deployment.parameters["network"] == "private"
    behind = [*deployment.of(STORAGE), *deployment.of(VAULTS)]
    for resource in behind:
        access, action = (
            resource.properties.get("publicNetworkAccess"),
            at(resource.properties, "networkAcls.defaultAction"),
        )
        if (access, action) != (("Disabled", "Deny") if private else ("Enabled", "Allow")):
            yield Finding(
                "network", resource.symbol, f"is {access} and {action} where the network is {deployment.scenario}"
            )
    if not private:
        return
    wanted = {("vault", "vault"), ("data", "table"), ("data", "blob")}
    wanted |= {
        (one.symbol, group) for one in behind if one.symbol.endswith("Host") for group in ("blob", "queue", "table")
    }
    found: set[tuple[str, str]] = set()
    for endpoint in deployment.of("Microsoft.Network/privateEndpoints"):
        for one in endpoint.properties.get("privateLinkServiceConnections", []):
            target = at(one, "properties.privateLinkServiceId")
            found |= {(getattr(target, "symbol", str(target)), group) for group in at(one, "properties.groupIds") or []}
    for symbol, group in sorted(wanted - found):
        yield Finding("network", symbol, f"has no private endpoint for {group} ({deployment.scenario})")
    for symbol, group in sorted(found - wanted):
        yield Finding("network", symbol, f"has a private endpoint for {group} that nobody uses")
    for one in deployment.of("Microsoft.Network/privateDnsZones/virtualNetworkLinks"):
        if one.properties.get("registrationEnabled") is not False:
            yield Finding("network", one.symbol, "other machines would write their names into the zone")
    for one in deployment.of("Microsoft.Network/privateEndpoints/privateDnsZoneGroups"):
        for config in one.properties.get("privateDnsZoneConfigs", []):
            kind = str(config.get("name")).replace("vault", "vaultcore")
            if f"privatelink.{kind}." not in str(at(config, "properties.privateDnsZoneId")):
                yield Finding("network", one.symbol, "its name is in a zone of something else")
    zones = {str(one.body.get("name")) for one in deployment.of("Microsoft.Network/privateDnsZones")}
    names = [
        *(f"privatelink.{kind}.core.windows.net" for kind in ("blob", "queue", "table")),
        "privatelink.vaultcore.azure.net",
    ]
    for name in sorted(set(names) - zones):
        yield Finding("network", "privateZones", f"{name} is missing: the endpoint would have no name")
    for site in deployment.of(SITES):
        if not re.search(r"subnets, .*-network, apps\)", str(site.properties.get("virtualNetworkSubnetId"))):
            yield Finding("network", site.symbol, "is in no subnet, and finds no private endpoint")
    subnets = {
        one["name"]: one["properties"]
        for vnet in deployment.of("Microsoft.Network/virtualNetworks")
        for one in vnet.properties["subnets"]
    }
    served = [at(one, "properties.serviceName") for one in subnets.get("apps", {}).get("delegations", [])]
    if served != ["Microsoft.App/environments"]:
        yield Finding(
            "network", "vnet", "the subnet of Flex Consumption apps is delegated to Microsoft.App/environments"
        )


def _check_kept(deployment: Deployment) -> Iterator[Finding]:
    """What must not be lost: locks, versions of the copies, the vault's audit."""
    if deployment.parameters["lockData"]:
        locked = {str(one.body.get("scope")) for one in deployment.of("Microsoft.Authorization/locks")}
        for symbol in ("data", "vault"):
            if f"«{symbol}»" not in locked:
                yield Finding("safety", symbol, "is not locked against deletion")
    for resource in deployment.resources:
        where = resource.body.get("location", "global")
        if where != "global" and str(where) != "«resourceGroup.location»":
            yield Finding("safety", resource.symbol, f"is in {where}, whatever the region")
    copies = deployment.get("dataBlobs")
    if copies is None or copies.properties.get("isVersioningEnabled") is not True:
        yield Finding("safety", "dataBlobs", "keeps no versions: a copy that is written over is gone")
    found = deployment.of("Microsoft.Insights/diagnosticSettings")
    watched = {str(one.body.get("scope")).strip("«»"): {**one.properties, "workspaceId": None} for one in found}
    for symbol, wanted in WATCHED.items():
        if deployment.get(symbol) is not None and watched.get(symbol) != {**wanted, "workspaceId": None}:
            yield Finding("safety", symbol, f"its diagnostic logs must be {json.dumps(wanted)}")


def _check_given(deployment: Deployment) -> Iterator[Finding]:
    ready = deployment.parameters["scimAlwaysReady"]
    for site in deployment.of(SITES):
        # What scales together has the name http, durable, blob or function:NAME; any other is refused.
        wanted = [{"name": "http", "instanceCount": ready}] if ready and site.symbol == "scimApp" else []
        if (at(site.body, f"{_SCALE}.alwaysReady") or []) != wanted:
            yield Finding("safety", site.symbol, f"alwaysReady must be {json.dumps(wanted)}")
    for symbol, path, parameter in GIVEN:
        resource, wanted = deployment.get(symbol), deployment.parameters[parameter]
        if resource is not None and at(resource.body, path) != wanted:
            yield Finding("safety", symbol, f"{path} must be {parameter}, not {at(resource.body, path)}")


def _check_terms(deployment: Deployment) -> Iterator[Finding]:
    """What has people's data is kept for its term: no less, so that a loss is noticed before, and no more."""
    for symbol, days in KEPT_DAYS.items():
        resource = deployment.get(symbol)
        for policy in ("deleteRetentionPolicy", "containerDeleteRetentionPolicy"):
            if resource is not None and at(resource.properties, f"{policy}.days") != days:
                yield Finding("safety", symbol, f"{policy}.days must be {days}: the term that the pages name")
    term = deployment.parameters["backupDays"]
    ends = {
        "baseBlob": {"delete": {"daysAfterModificationGreaterThan": term}},
        "version": {"delete": {"daysAfterCreationGreaterThan": term}},
    }
    filters = {"blobTypes": ["blockBlob"], "prefixMatch": ["backups/"]}
    definition = {"filters": filters, "actions": ends}
    rule = {"name": "copies-end", "enabled": True, "type": "Lifecycle", "definition": definition}
    policies = deployment.of(f"{STORAGE}/managementPolicies")
    if [one.properties for one in policies if one.body.get("parent") == Reference("data")] != [
        {"policy": {"rules": [rule]}}
    ]:
        yield Finding("safety", "backupTerm", "copies, and their versions, must end after backupDays, and nothing else")


def check_template(template: Template, deployment: Deployment) -> Iterator[Finding]:
    """Find what does not fit the code: a kind of rows without its table, a hub that host.json does not name."""
    made = {str(one.body.get("name")) for one in deployment.of(f"{STORAGE}/tableServices/tables")}
    for name in sorted(tables() - made):
        yield Finding("table", "tables", f"{name} is not made, and the app keeps rows in it")
    for name in sorted(made - tables()):
        yield Finding("table", "tables", f"{name} is made, and the app keeps nothing in it")
    host = json.loads((ROOT / "host.json").read_text("utf-8"))["extensions"]
    hub = host["durableTask"]["hubName"]
    for one in deployment.of("Microsoft.DurableTask/schedulers/taskHubs"):
        if hub != one.body.get("name"):
            yield Finding("hub", one.symbol, f"host.json names the hub {hub}, not {one.body.get('name')}")
    for name, parameter in template.params.items():
        hidden = parameter.kind not in ("string", "object") or "secure" in parameter.decorators
        if not hidden and re.search("secret|password|key", name, re.IGNORECASE):
            yield Finding(
                "secret", f"{template.file}:{parameter.line}", f"{name} would be in the history of deployments"
            )
    for name, output in template.outputs.items():
        if re.search(r"listKeys|listSecrets|connectionString", str(output.value), re.IGNORECASE):
            yield Finding(
                "secret", f"{template.file}:{output.line}", f"{name} shows a secret to whoever reads deployments"
            )


@cache
def tables() -> frozenset[str]:
    """Return the tables that the app keeps rows in: one for each kind of partition, and one for rows without a kind."""
    kinds: set[str] = set()
    for file in (ROOT / "shared" / "directory").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            kinds |= _kinds(node)
    return frozenset({"scimlink"} | {f"scimlink{kind}" for kind in kinds})


def _kinds(node: ast.AST) -> set[str]:
    """Return the letters of the partitions that a node names: f"{….directory}_j", or Space("u", "x", …)."""
    if isinstance(node, ast.JoinedStr) and len(node.values) > 1:
        first, second = node.values[:2]
        if isinstance(first, ast.FormattedValue) and isinstance(second, ast.Constant):
            owner = first.value
            letter = re.match(r"_([a-z])(?:_|$)", str(second.value))
            if isinstance(owner, ast.Attribute) and owner.attr == "directory" and letter:
                return {letter[1]}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Space":
        return {str(one.value) for one in node.args[:2] if isinstance(one, ast.Constant)}
    return set()
