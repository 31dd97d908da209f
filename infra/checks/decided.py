"""Properties that somebody decided to set: any other one is found, whatever Azure would take it for.

Rules of safety look at values that they know of. A property that none of them knows, such as a condition on a role
assignment or a second way to sign in, passes all of them. So whoever sets one writes it down here, and thinks of a
rule.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.checks.evaluation import Deployed, Deployment, Reference
from infra.checks.finding import Finding

_OF_EVERY_RESOURCE = {"name", "location", "tags", "parent", "scope", "dependsOn", "kind"}
DECIDED: Mapping[str, str] = {
    "Microsoft.Authorization/locks": ("level notes"),
    "Microsoft.Authorization/roleAssignments": ("principalId principalType roleDefinitionId"),
    "Microsoft.DurableTask/schedulers": ("ipAllowlist sku.name"),
    "Microsoft.Insights/actionGroups": (
        "emailReceivers.emailAddress emailReceivers.name emailReceivers.useCommonAlertSchema enabled groupShortName"
    ),
    "Microsoft.Insights/components": ("Application_Type DisableLocalAuth IngestionMode WorkspaceResourceId"),
    "Microsoft.Insights/diagnosticSettings": (
        "logs.category logs.categoryGroup logs.enabled metrics.category metrics.enabled workspaceId"
    ),
    "Microsoft.Insights/scheduledQueryRules": (
        "actions.actionGroups autoMitigate criteria.allOf.failingPeriods.minFailingPeriodsToAlert "
        "criteria.allOf.failingPeriods.numberOfEvaluationPeriods criteria.allOf.operator criteria.allOf.query "
        "criteria.allOf.threshold criteria.allOf.timeAggregation description displayName enabled "
        "evaluationFrequency scopes severity skipQueryValidation windowSize"
    ),
    "Microsoft.Insights/workbooks": ("category displayName serializedData sourceId version"),
    "Microsoft.KeyVault/vaults": (
        "enablePurgeProtection enableRbacAuthorization enableSoftDelete networkAcls.bypass "
        "networkAcls.defaultAction publicNetworkAccess sku.family sku.name softDeleteRetentionInDays tenantId"
    ),
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": ("registrationEnabled virtualNetwork.id"),
    "Microsoft.Network/privateEndpoints": (
        "privateLinkServiceConnections.name privateLinkServiceConnections.properties.groupIds "
        "privateLinkServiceConnections.properties.privateLinkServiceId subnet.id"
    ),
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": (
        "privateDnsZoneConfigs.name privateDnsZoneConfigs.properties.privateDnsZoneId"
    ),
    "Microsoft.Network/virtualNetworks": (
        "addressSpace.addressPrefixes subnets.name subnets.properties.addressPrefix "
        "subnets.properties.delegations.name subnets.properties.delegations.properties.serviceName"
    ),
    "Microsoft.OperationalInsights/workspaces": (
        "features.disableLocalAuth features.enableLogAccessUsingOnlyResourcePermissions retentionInDays sku.name "
        "workspaceCapping.dailyQuotaGb"
    ),
    "Microsoft.OperationalInsights/workspaces/savedSearches": ("category displayName query version"),
    "Microsoft.Storage/storageAccounts": (
        "/sku.name accessTier allowBlobPublicAccess allowCrossTenantReplication allowSharedKeyAccess "
        "defaultToOAuthAuthentication minimumTlsVersion networkAcls.bypass networkAcls.defaultAction "
        "publicNetworkAccess supportsHttpsTrafficOnly"
    ),
    "Microsoft.Storage/storageAccounts/blobServices": (
        "containerDeleteRetentionPolicy.days containerDeleteRetentionPolicy.enabled deleteRetentionPolicy.days "
        "deleteRetentionPolicy.enabled isVersioningEnabled"
    ),
    "Microsoft.Storage/storageAccounts/blobServices/containers": ("publicAccess"),
    "Microsoft.Storage/storageAccounts/managementPolicies": (
        "policy.rules.definition.actions.baseBlob.delete.daysAfterModificationGreaterThan "
        "policy.rules.definition.actions.version.delete.daysAfterCreationGreaterThan "
        "policy.rules.definition.filters.blobTypes policy.rules.definition.filters.prefixMatch "
        "policy.rules.enabled policy.rules.name policy.rules.type"
    ),
    "Microsoft.Web/serverfarms": ("/sku.name /sku.tier reserved zoneRedundant"),
    "Microsoft.Web/sites": (
        "/identity.type /identity.userAssignedIdentities clientAffinityEnabled "
        "functionAppConfig.deployment.storage.authentication.type "
        "functionAppConfig.deployment.storage.authentication.userAssignedIdentityResourceId "
        "functionAppConfig.deployment.storage.type functionAppConfig.deployment.storage.value "
        "functionAppConfig.runtime.name functionAppConfig.runtime.version "
        "functionAppConfig.scaleAndConcurrency.alwaysReady.instanceCount "
        "functionAppConfig.scaleAndConcurrency.alwaysReady.name "
        "functionAppConfig.scaleAndConcurrency.instanceMemoryMB "
        "functionAppConfig.scaleAndConcurrency.maximumInstanceCount "
        "functionAppConfig.scaleAndConcurrency.triggers.http.perInstanceConcurrency httpsOnly "
        "keyVaultReferenceIdentity serverFarmId siteConfig.http20Enabled siteConfig.ipSecurityRestrictions.action "
        "siteConfig.ipSecurityRestrictions.ipAddress siteConfig.ipSecurityRestrictions.name "
        "siteConfig.ipSecurityRestrictions.priority siteConfig.ipSecurityRestrictions.tag "
        "siteConfig.ipSecurityRestrictionsDefaultAction siteConfig.minTlsVersion "
        "siteConfig.scmIpSecurityRestrictionsUseMain siteConfig.scmMinTlsVersion virtualNetworkSubnetId"
    ),
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": ("allow"),
    "Microsoft.Web/sites/config": (
        "globalValidation.redirectToProvider globalValidation.requireAuthentication "
        "globalValidation.unauthenticatedClientAction httpSettings.requireHttps "
        "identityProviders.azureActiveDirectory.enabled "
        "identityProviders.azureActiveDirectory.registration.clientId "
        "identityProviders.azureActiveDirectory.registration.clientSecretSettingName "
        "identityProviders.azureActiveDirectory.registration.openIdIssuer "
        "identityProviders.azureActiveDirectory.validation.allowedAudiences "
        "identityProviders.azureActiveDirectory.validation.defaultAuthorizationPolicy.allowedApplications "
        "login.tokenStore.enabled platform.enabled platform.runtimeVersion"
    ),
    "Microsoft.Web/sites/extensions": ("packageUri remoteBuild"),
}
"""By type, the properties under `properties`, and others with a slash before them. Of a list, those of its items."""


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find properties that nobody decided about."""
    for resource in deployment.resources:
        if resource.type == "Microsoft.Web/sites/config" and resource.body.get("name") == "appsettings":
            continue  # settings.py knows each
        decided = set(DECIDED.get(resource.type, "").split())
        for path in sorted(_paths(resource) - decided):
            yield Finding("decided", resource.symbol, f"nobody decided to set {path}: see infra/checks/decided.py")


def _paths(resource: Deployed) -> set[str]:
    rest = {name: value for name, value in resource.body.items() if name not in _OF_EVERY_RESOURCE}
    properties = rest.pop("properties", {})
    return {*_leaves(properties, ""), *(f"/{path}" for path in _leaves(rest, ""))}


def _leaves(value: Any, path: str) -> Iterator[str]:
    """Yield the paths to what is set; a dictionary whose keys are ids counts as a whole."""
    if isinstance(value, Mapping) and not isinstance(value, Reference) and not any("«" in name for name in value):
        for name, inside in value.items():
            yield from _leaves(inside, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for inside in value:
            yield from _leaves(inside, path)
    elif value is not None:
        yield path
