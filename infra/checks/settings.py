"""App settings: what the template sets is what the app reads, the other way round, and nothing that Flex refuses."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding
from shared.host.settings import Settings

ROOT = Path(__file__).parents[2]
MODEL = ("shared/host/settings.py", "shared/host/graph_settings.py")
_OURS = re.compile(r"SCIMLINK_[A-Z_]+|APP_ROLES")

NOT_DEPLOYED: Mapping[str, str] = {
    "SCIMLINK_TABLES": "a connection string, for Azurite",
    "SCIMLINK_GRAPH_CLIENT_SECRET": "a secret: the managed identity or a certificate in the vault takes its place",
    "SCIMLINK_GRAPH_FEDERATED_TOKEN_FILE": "a file, where something other than Azure runs the app",
}
"""Settings of the model that the template must not set, and why."""

HOST_STORAGE = ("blobServiceUri", "queueServiceUri", "tableServiceUri", "credential", "clientId")
PLATFORM = {
    *(f"AzureWebJobsStorage__{name}" for name in HOST_STORAGE),
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
}
"""Settings of the platform that every app has."""
SIGN_IN = {"OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID", "WEBSITE_AUTH_AAD_ALLOWED_TENANTS"}
_STORE = "AzureFunctionsJobHost__extensions__durableTask__storageProvider"
SCHEDULER = {
    "DURABLE_TASK_SCHEDULER_CONNECTION_STRING",
    f"{_STORE}__type",
    f"{_STORE}__connectionStringName",
}

FORBIDDEN = {
    "AzureWebJobsDashboard",
    "AzureWebJobsStorage",
    "ENABLE_ORYX_BUILD",
    "FUNCTIONS_EXTENSION_VERSION",
    "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_PROCESS_COUNT",
    "FUNCTIONS_WORKER_RUNTIME",
    "FUNCTIONS_WORKER_RUNTIME_VERSION",
    "SCM_DO_BUILD_DURING_DEPLOYMENT",
    "TZ",
    "WEBSITE_CONTENTAZUREFILECONNECTIONSTRING",
    "WEBSITE_CONTENTOVERVNET",
    "WEBSITE_CONTENTSHARE",
    "WEBSITE_DNS_SERVER",
    "WEBSITE_MAX_DYNAMIC_APPLICATION_SCALE_OUT",
    "WEBSITE_RUN_FROM_PACKAGE",
    "WEBSITE_SKIP_CONTENTSHARE_VALIDATION",
    "WEBSITE_TIME_ZONE",
    "WEBSITE_VNET_ROUTE_ALL",
}
"""Settings that Flex Consumption refuses or overrides, and the two that would hold a key of the host's storage
(https://learn.microsoft.com/azure/azure-functions/functions-app-settings, Flex Consumption plan deprecations)."""
FORBIDDEN_SITE = {
    "appSettings",
    "connectionStrings",
    "containerSize",
    "ftpsState",
    "functionAppScaleLimit",
    "javaVersion",
    "linuxFxVersion",
    "minimumElasticInstanceCount",
    "netFrameworkVersion",
    "nodeVersion",
    "phpVersion",
    "powerShellVersion",
    "preWarmedInstanceCount",
    "pythonVersion",
    "use32BitWorkerProcess",
    "vnetRouteAllEnabled",
    "windowsFxVersion",
}
"""Properties of siteConfig that Flex Consumption does not take, and two that would be a second place of settings."""


@cache
def model() -> frozenset[str]:
    """Return the names of the settings that the app reads."""
    found: set[str] = set()
    for file in MODEL:
        for node in ast.walk(ast.parse((ROOT / file).read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _OURS.fullmatch(node.value):
                found.add(node.value)
    return frozenset(found)


def apps(deployment: Deployment) -> dict[str, Mapping[str, Any]]:
    """Return the settings of each app, by its symbol."""
    return {
        one.body["parent"].symbol: one.properties
        for one in deployment.of("Microsoft.Web/sites/config")
        if one.body.get("name") == "appsettings" and isinstance(one.body.get("parent"), Reference)
    }


def wanted(deployment: Deployment, app: str) -> set[str]:
    """Return the settings that an app must have, and no others."""
    two = bool(deployment.parameters["twoApps"])
    linking = {name for name in model() if name.startswith("SCIMLINK_GRAPH_")}
    linking |= {"SCIMLINK_BACKUPS_ENDPOINT", "SCIMLINK_BACKUP_DAYS"}
    portal = {name for name in model() if name.startswith("SCIMLINK_PORTAL_")}
    links = app == "adminApp" or not two
    ours = set(model()) - NOT_DEPLOYED.keys() - (set() if links else linking) - (set() if app == "adminApp" else portal)
    scheduler = SCHEDULER if links and deployment.parameters["durableBackend"] == "DurableTaskScheduler" else set()
    return ours | PLATFORM | scheduler | (SIGN_IN if app == "adminApp" else set())


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find settings that nothing reads, that are missing, refused by Flex or by the app, or secret."""
    found = apps(deployment)
    for site in deployment.of("Microsoft.Web/sites"):
        if site.symbol not in found:
            yield Finding("setting", site.symbol, "has no app settings")
        for name in FORBIDDEN_SITE & site.properties.get("siteConfig", {}).keys():
            yield Finding("flex", site.symbol, f"siteConfig.{name} must not be set on Flex Consumption")
    for app, values in found.items():
        for name in sorted(values.keys() & FORBIDDEN):
            yield Finding("flex", app, f"{name} must not be set on Flex Consumption")
        for name in sorted(values.keys() & NOT_DEPLOYED.keys()):
            yield Finding("setting", app, f"{name} must not be set: {NOT_DEPLOYED[name]}")
        for name in sorted(values.keys() - wanted(deployment, app) - FORBIDDEN - NOT_DEPLOYED.keys()):
            yield Finding("setting", app, f"{name}: {_why_not(name)}")
        for name in sorted(wanted(deployment, app) - values.keys()):
            yield Finding("setting", app, f"{name} is missing ({deployment.scenario})")
        yield from _values(deployment, app, values)


def _why_not(name: str) -> str:
    return "this app has no use for it" if name in model() | SIGN_IN | SCHEDULER else "nothing reads it"


def _values(deployment: Deployment, app: str, values: Mapping[str, Any]) -> Iterator[Finding]:
    two = bool(deployment.parameters["twoApps"])
    identity = "adminIdentity" if app == "adminApp" else "scimIdentity"
    host = "adminHost" if app == "adminApp" else "scimHost"
    own = "scimIdentity" if app == "scimApp" and two else "adminIdentity"
    exact: dict[str, Any] = {
        "SCIMLINK_PORTAL_AUTH": "easyauth" if deployment.parameters["adminClientId"] else "",
        "SCIMLINK_PORTAL_AUDIENCE": deployment.parameters["adminClientId"],
        "APP_ROLES": "admin" if app == "adminApp" else "scim" if two else "scim,admin",
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": f"«{identity}.properties.clientId»",
        "SCIMLINK_CLIENT_ID": f"«{own}.properties.clientId»",
        "SCIMLINK_TABLES_ENDPOINT": "«data.properties.primaryEndpoints.table»",
        "SCIMLINK_BACKUPS_ENDPOINT": "«data.properties.primaryEndpoints.blob»",
        "SCIMLINK_BACKUP_DAYS": str(deployment.parameters["backupDays"]),
        "APPLICATIONINSIGHTS_CONNECTION_STRING": "«insights.properties.ConnectionString»",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId=«{identity}.properties.clientId»;Authorization=AAD",
        "OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID": "«adminIdentity.properties.clientId»",
        "WEBSITE_AUTH_AAD_ALLOWED_TENANTS": "«tenant.tenantId»",
        **{
            f"AzureWebJobsStorage__{one}ServiceUri": f"«{host}.properties.primaryEndpoints.{one}»"
            for one in ("blob", "queue", "table")
        },
    }
    url = f"https://«{app}.properties.defaultHostName»"
    certificate = deployment.parameters["graphCertificate"]
    exact |= {
        "SCIMLINK_BASE_URL": (deployment.parameters["scimBaseUrl"] or url) if app == "scimApp" else url,
        "SCIMLINK_PORTAL_TENANTS": f'{{"«tenant.tenantId»":"{deployment.parameters["adminDirectory"]}"}}',
        "SCIMLINK_GRAPH_CERTIFICATE": certificate
        and f"@Microsoft.KeyVault(VaultName=«vault.name»;SecretName={certificate})",
        "DURABLE_TASK_SCHEDULER_CONNECTION_STRING": "Endpoint=«scheduler.properties.endpoint»;"
        "Authentication=ManagedIdentity;ClientID=«adminIdentity.properties.clientId»",
        f"{_STORE}__type": "azureManaged",
        f"{_STORE}__connectionStringName": "DURABLE_TASK_SCHEDULER_CONNECTION_STRING",
    }
    for name, wants in exact.items():
        if name in values and str(values[name]) != wants:
            yield Finding("setting", app, f"{name} must be {wants}, not {values[name]} ({deployment.scenario})")
    try:
        settings = Settings.from_environment({name: _like(value) for name, value in values.items()})
        if deployment.scenario == "complete":
            getattr(settings, "check_complete", lambda: None)()
    except ValueError as error:
        yield Finding("setting", app, f"the app refuses to start: {error} ({deployment.scenario})")
    roles = {role for one in json.loads(str(values.get("SCIMLINK_CREDENTIALS", "[]"))) for role in one.get("roles", [])}
    if two and not roles <= {"admin" if app == "adminApp" else "scim"}:
        yield Finding("setting", app, "SCIMLINK_CREDENTIALS has tokens that open the other app")


def _like(value: Any) -> str:
    """Return a value as the app may get it: for what only Azure knows, something of its form."""
    return (
        re.sub("«.*?»", "known-by-azure", str(value)) if not isinstance(value, Reference) else "https://known.by.azure/"
    )
