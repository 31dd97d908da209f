// SCIMLINK on Azure: the same package as two function apps, one for Entra's provisioning and one for administrators.
// Flat and native on purpose, and plain enough for the two parsers of check.py: no modules, no loop with a condition.
// README.md beside this file says why each value is what it is.
targetScope = 'resourceGroup'

metadata name = 'SCIMLINK'
metadata description = 'Links existing accounts with their Entra identities before SCIM provisioning starts.'

// ---------------------------------------------------------------------------------------------------- Parameters

@description('What the names of all resources begin with: small letters and digits.')
@minLength(3)
@maxLength(10)
param name string = 'scimlink'

@description('Region of all resources. It must offer Flex Consumption.')
param location string = resourceGroup().location

@description('Two apps: SCIM for the internet, and everything else behind a sign-in. False is for trials: one app for both, without a sign-in page.')
param twoApps bool = true

@description('Python of both apps.')
@allowed([
  '3.11'
  '3.12'
  '3.13'
])
param pythonVersion string = '3.13'

@description('Memory of an instance, in MB.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Most instances of an app.')
@minValue(40)
@maxValue(1000)
param maximumInstanceCount int = 40

@description('HTTP requests that an instance of the SCIM app takes at a time.')
@minValue(1)
@maxValue(1000)
param httpConcurrency int = 16

@description('Instances of the SCIM app that are always ready for HTTP. They are billed, and spare the first request of a cycle a cold start.')
@minValue(0)
@maxValue(20)
param scimAlwaysReady int = 0

@description('Whether the plans are spread over availability zones.')
param zoneRedundant bool = false

@description('Redundancy of the account with the tables. Without zones in the region: Standard_LRS or Standard_GRS.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GRS'
  'Standard_GZRS'
])
param dataRedundancy string = 'Standard_ZRS'

@description('Redundancy of the accounts of the Functions host. What they hold is made anew by a deployment.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
])
param hostRedundancy string = 'Standard_LRS'

@description('private: storage and vault answer through private endpoints alone.')
@allowed([
  'public'
  'private'
])
param network string = 'public'

@description('Address space of the virtual network, where network is private.')
param addressSpace string = '10.20.0.0/23'

@description('Part of addressSpace for the apps: a /27 or larger.')
param appsAddresses string = '10.20.0.0/24'

@description('Part of addressSpace for the private endpoints.')
param endpointsAddresses string = '10.20.1.0/24'

@description('Whether the SCIM app lets in nobody but Entra (its service tag) and scimAllowedAddresses. A second fence: tokens are the first.')
param scimFromEntraOnly bool = true

@description('Further address ranges, such as 203.0.113.0/24, from which the SCIM app is reached.')
param scimAllowedAddresses array = []

@description('Address ranges from which the admin app is reached. Empty: any, for whoever signs in.')
param adminAllowedAddresses array = []

@description('Client id of the app registration of entra.bicep. Until it is given, the admin app lets nobody in.')
param adminClientId string = ''

@description('Client ids of applications whose tokens the admin app takes: scripts.')
param adminScriptClientIds array = []

@description('Directory that administrators of this tenant manage.')
param adminDirectory string = 'main'

@description('Tokens of Entra by their hashes, as shared/README.md has them: {"name", "sha256", "directory", "roles": ["scim"], "expires"}.')
param scimCredentials array = []

@description('Tokens of administrators by their hashes, with "roles": ["admin"]: for one app, which has no sign-in.')
param adminCredentials array = []

@description('Public address of the SCIM app where it has a domain of its own, such as https://scim.example.com.')
param scimBaseUrl string = ''

@description('Buckets of a directory that is opened for the first time. It stays as it is then.')
@minValue(1)
@maxValue(256)
param buckets int = 64

@description('Whose identities a directory may read from Microsoft Graph: by directory, the tenant id.')
param graphTenants object = {
  main: tenant().tenantId
}

@description('Application that reads from Microsoft Graph. Empty: the managed identity itself, from its own tenant.')
param graphClientId string = ''

@description('Name of a certificate in the vault by which that application proves who it is. Empty: the managed identity is its federated credential.')
param graphCertificate string = ''

@description('Microsoft Graph of a sovereign cloud, such as https://graph.microsoft.us.')
param graphEndpoint string = 'https://graph.microsoft.com'

@description('What orchestrations are kept in.')
@allowed([
  'AzureStorage'
  'DurableTaskScheduler'
])
param durableBackend string = 'AzureStorage'

@description('Address of the package that both apps run, such as that of a release. Empty: the package is deployed afterwards.')
param packageUri string = ''

@description('Mail address that alerts go to. Empty: alerts are to be seen in the portal alone.')
param alertEmail string = ''

@description('Whether provisioning is on, so that two hours without a request from Entra are an alert.')
param provisioningIsOn bool = false

@description('Days for which logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 90

@description('GB of logs a day; what comes beyond is dropped, and costs nothing.')
@minValue(1)
@maxValue(1000)
param logDailyCapGB int = 5

@description('Days for which the nightly copies of the tables are kept. What is deleted there can be had again for 35 days more.')
@minValue(7)
@maxValue(90)
param backupDays int = 30

@description('Whether the data and the vault are locked against deletion.')
param lockData bool = true

@description('Tags of all resources.')
param tags object = {}

// ------------------------------------------------------------------------------------------------ Names and lists

var token = take(uniqueString(resourceGroup().id, name), 8)
var scimName = '${name}-scim-${token}'
var adminName = '${name}-admin-${token}'
var isPrivate = network == 'private'
var publicAccess = isPrivate ? 'Disabled' : 'Enabled'
var firewall = isPrivate ? 'Deny' : 'Allow'
var usesScheduler = durableBackend == 'DurableTaskScheduler'
var loginEndpoint = environment().authentication.loginEndpoint
var packageContainer = 'package'

// The hub that host.json names. Each app has a host account of its own, so that the two share no hub.
var taskHub = 'scimlink'

// Azure's built-in roles.
var roleIds = {
  storageBlobDataOwner: 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
  storageBlobDataContributor: 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  storageQueueDataContributor: '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
  storageTableDataContributor: '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
  monitoringMetricsPublisher: '3913510d-42f4-4e42-8a64-420c390055eb'
  keyVaultSecretsUser: '4633458b-17de-408a-b874-0445c86b69e6'
  durableTaskDataContributor: '0ad04412-c4d5-4796-b79c-f76d14c8d402'
}

// What the Functions host does with its account: packages and leases, queues and tables of Durable Functions.
var hostRoles = [
  roleIds.storageBlobDataOwner
  roleIds.storageQueueDataContributor
  roleIds.storageTableDataContributor
]
var adminHostRoles = twoApps ? hostRoles : []

// A table for each kind of partition (kind() in shared/tables/port.py), and the one without a letter.
var tableNames = [
  'scimlink'
  'scimlinka'
  'scimlinkd'
  'scimlinke'
  'scimlinkf'
  'scimlinkg'
  'scimlinkj'
  'scimlinkm'
  'scimlinkn'
  'scimlinkp'
  'scimlinkq'
  'scimlinkr'
  'scimlinks'
  'scimlinku'
  'scimlinkx'
  'scimlinky'
]

// ----------------------------------------------------------------------------------------------------- Identities

resource scimIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${scimName}-identity'
  location: location
  tags: tags
}

resource adminIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: '${adminName}-identity'
  location: location
  tags: tags
}

// ---------------------------------------------------------------------------------------------- Logs and insights

resource logs 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: '${name}-logs-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: logRetentionDays
    workspaceCapping: {
      dailyQuotaGb: logDailyCapGB
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights-${token}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
}

// -------------------------------------------------------------------------------------------------------- Storage

resource scimHost 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: '${name}${token}s'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: hostRedundancy
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: firewall
    }
  }
}

resource scimHostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: scimHost
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource scimPackages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: scimHostBlobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

// The admin app can read the tenant's people: whoever got hold of the SCIM app must not be able to change its package.
resource adminHost 'Microsoft.Storage/storageAccounts@2025-01-01' = if (twoApps) {
  name: '${name}${token}a'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: hostRedundancy
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: firewall
    }
  }
}

resource adminHostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = if (twoApps) {
  parent: adminHost
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
  }
}

resource adminPackages 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = if (twoApps) {
  parent: adminHostBlobs
  name: packageContainer
  properties: {
    publicAccess: 'None'
  }
}

resource data 'Microsoft.Storage/storageAccounts@2025-01-01' = {
  name: '${name}${token}d'
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: dataRedundancy
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: firewall
    }
  }
}

resource dataTables 'Microsoft.Storage/storageAccounts/tableServices@2025-01-01' = {
  parent: data
  name: 'default'
}

resource tables 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-01-01' = [for table in tableNames: {
  parent: dataTables
  name: table
}]

// Tables have no soft delete: copies of them go here.
resource dataBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-01-01' = {
  parent: data
  name: 'default'
  properties: {
    isVersioningEnabled: true
    deleteRetentionPolicy: {
      enabled: true
      days: 35
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 35
    }
  }
}

resource backups 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-01-01' = {
  parent: dataBlobs
  name: 'backups'
  properties: {
    publicAccess: 'None'
  }
}

// Copies have what the tables have, people among it: they go when their term is over.
resource backupTerm 'Microsoft.Storage/storageAccounts/managementPolicies@2025-01-01' = {
  parent: data
  name: 'default'
  properties: {
    policy: {
      rules: [
        {
          name: 'copies-end'
          enabled: true
          type: 'Lifecycle'
          definition: {
            filters: {
              blobTypes: [
                'blockBlob'
              ]
              prefixMatch: [
                'backups/'
              ]
            }
            actions: {
              baseBlob: {
                delete: {
                  daysAfterModificationGreaterThan: backupDays
                }
              }
              version: {
                delete: {
                  daysAfterCreationGreaterThan: backupDays
                }
              }
            }
          }
        }
      ]
    }
  }
  dependsOn: [
    backups
  ]
}

// ---------------------------------------------------------------------------------------------------------- Vault

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: '${name}-v-${token}'
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: publicAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: firewall
    }
  }
}

// -------------------------------------------------------------------------------------------------- Orchestrations

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = if (usesScheduler) {
  name: '${name}-durable-${token}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'Consumption'
    }
    ipAllowlist: [
      '0.0.0.0/0'
    ]
  }
}

resource schedulerHub 'Microsoft.DurableTask/schedulers/taskHubs@2025-11-01' = if (usesScheduler) {
  parent: scheduler
  name: taskHub
}

// ---------------------------------------------------------------------------------------------------------- Roles

resource scimHostAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in hostRoles: {
  scope: scimHost
  name: guid(scimHost.id, scimIdentity.id, role)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: scimIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource adminHostAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for role in adminHostRoles: {
  scope: adminHost
  name: guid(adminHost.id, adminIdentity.id, role)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}]

resource scimData 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data
  name: guid(data.id, scimIdentity.id, roleIds.storageTableDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.storageTableDataContributor)
    principalId: scimIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource adminData 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: data
  name: guid(data.id, adminIdentity.id, roleIds.storageTableDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.storageTableDataContributor)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource adminBackups 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: backups
  name: guid(backups.id, adminIdentity.id, roleIds.storageBlobDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.storageBlobDataContributor)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource scimTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, scimIdentity.id, roleIds.monitoringMetricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.monitoringMetricsPublisher)
    principalId: scimIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource adminTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: insights
  name: guid(insights.id, adminIdentity.id, roleIds.monitoringMetricsPublisher)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.monitoringMetricsPublisher)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource adminSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: vault
  name: guid(vault.id, adminIdentity.id, roleIds.keyVaultSecretsUser)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.keyVaultSecretsUser)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

resource adminOrchestrations 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (usesScheduler) {
  scope: scheduler
  name: guid(scheduler.id, adminIdentity.id, roleIds.durableTaskDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleIds.durableTaskDataContributor)
    principalId: adminIdentity.properties.principalId
    principalType: 'ServicePrincipal'
  }
}

// -------------------------------------------------------------------------------------------------------- Network

resource vnet 'Microsoft.Network/virtualNetworks@2024-07-01' = if (isPrivate) {
  name: '${name}-network'
  location: location
  tags: tags
  properties: {
    addressSpace: {
      addressPrefixes: [
        addressSpace
      ]
    }
    subnets: [
      {
        name: 'apps'
        properties: {
          addressPrefix: appsAddresses
          delegations: [
            {
              name: 'functions'
              properties: {
                serviceName: 'Microsoft.App/environments'
              }
            }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointsAddresses
        }
      }
    ]
  }
}

var appsSubnet = resourceId('Microsoft.Network/virtualNetworks/subnets', '${name}-network', 'apps')
var endpointsSubnet = resourceId('Microsoft.Network/virtualNetworks/subnets', '${name}-network', 'endpoints')
var zoneNames = {
  blob: 'privatelink.blob.${environment().suffixes.storage}'
  queue: 'privatelink.queue.${environment().suffixes.storage}'
  table: 'privatelink.table.${environment().suffixes.storage}'
  vault: replace(environment().suffixes.keyvaultDns, '.vault.', 'privatelink.vaultcore.')
}
var zones = isPrivate ? [
  zoneNames.blob
  zoneNames.queue
  zoneNames.table
  zoneNames.vault
] : []
var adminHostEndpoints = twoApps ? [
  {
    name: 'admin-blob'
    target: adminHost.id
    group: 'blob'
  }
  {
    name: 'admin-queue'
    target: adminHost.id
    group: 'queue'
  }
  {
    name: 'admin-table'
    target: adminHost.id
    group: 'table'
  }
] : []
var endpoints = isPrivate ? concat([
  {
    name: 'scim-blob'
    target: scimHost.id
    group: 'blob'
  }
  {
    name: 'scim-queue'
    target: scimHost.id
    group: 'queue'
  }
  {
    name: 'scim-table'
    target: scimHost.id
    group: 'table'
  }
  {
    name: 'data-table'
    target: data.id
    group: 'table'
  }
  {
    name: 'data-blob'
    target: data.id
    group: 'blob'
  }
  {
    name: 'vault'
    target: vault.id
    group: 'vault'
  }
], adminHostEndpoints) : []

resource privateZones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zone in zones: {
  name: zone
  location: 'global'
  tags: tags
}]

resource privateZoneLinks 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zone, i) in zones: {
  parent: privateZones[i]
  name: '${name}-network'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: vnet.id
    }
  }
}]

resource privateEndpoints 'Microsoft.Network/privateEndpoints@2024-07-01' = [for endpoint in endpoints: {
  name: '${name}-${endpoint.name}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: endpointsSubnet
    }
    privateLinkServiceConnections: [
      {
        name: endpoint.name
        properties: {
          privateLinkServiceId: endpoint.target
          groupIds: [
            endpoint.group
          ]
        }
      }
    ]
  }
  dependsOn: [
    vnet
  ]
}]

resource privateNames 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-07-01' = [for (endpoint, i) in endpoints: {
  parent: privateEndpoints[i]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: endpoint.group
        properties: {
          privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', zoneNames[endpoint.group])
        }
      }
    ]
  }
  dependsOn: [
    privateZones
    privateZoneLinks
  ]
}]

// ----------------------------------------------------------------------------------------------------------- Apps

var scimAddressRules = [for (address, i) in scimAllowedAddresses: {
  name: 'allowed-${i}'
  action: 'Allow'
  ipAddress: address
  priority: 200 + i
}]
var entraRules = scimFromEntraOnly ? [
  {
    name: 'entra-provisioning'
    action: 'Allow'
    tag: 'ServiceTag'
    ipAddress: 'AzureActiveDirectory'
    priority: 100
  }
] : []
var scimRules = scimFromEntraOnly ? concat(entraRules, scimAddressRules) : []
var adminRules = [for (address, i) in adminAllowedAddresses: {
  name: 'allowed-${i}'
  action: 'Allow'
  ipAddress: address
  priority: 200 + i
}]
var alwaysReady = scimAlwaysReady > 0 ? [
  {
    name: 'http'
    instanceCount: scimAlwaysReady
  }
] : []

resource scimPlan 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: '${scimName}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource scimApp 'Microsoft.Web/sites@2024-11-01' = {
  name: scimName
  location: location
  tags: union(tags, {
    'azd-service-name': 'scim'
  })
  kind: 'functionapp,linux'
  // One app for both does the admin app's work, with that one's rights.
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: twoApps ? {
      '${scimIdentity.id}': {}
    } : {
      '${scimIdentity.id}': {}
      '${adminIdentity.id}': {}
    }
  }
  properties: {
    serverFarmId: scimPlan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: twoApps ? scimIdentity.id : adminIdentity.id
    virtualNetworkSubnetId: isPrivate ? appsSubnet : null
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${scimHost.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: scimIdentity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
        alwaysReady: alwaysReady
        triggers: {
          http: {
            perInstanceConcurrency: httpConcurrency
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      ipSecurityRestrictionsDefaultAction: scimFromEntraOnly ? 'Deny' : 'Allow'
      ipSecurityRestrictions: scimRules
      scmIpSecurityRestrictionsUseMain: false
    }
  }
  dependsOn: [
    scimPackages
    scimHostAccess
    vnet
    privateNames
  ]
}

resource adminPlan 'Microsoft.Web/serverfarms@2024-11-01' = if (twoApps) {
  name: '${adminName}-plan'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource adminApp 'Microsoft.Web/sites@2024-11-01' = if (twoApps) {
  name: adminName
  location: location
  tags: union(tags, {
    'azd-service-name': 'admin'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${adminIdentity.id}': {}
    }
  }
  properties: {
    serverFarmId: adminPlan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: adminIdentity.id
    virtualNetworkSubnetId: isPrivate ? appsSubnet : null
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${adminHost!.properties.primaryEndpoints.blob}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: adminIdentity.id
          }
        }
      }
      runtime: {
        name: 'python'
        version: pythonVersion
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      http20Enabled: true
      // Before there is an app registration to sign in with, nobody comes in at all.
      ipSecurityRestrictionsDefaultAction: empty(adminClientId) || !empty(adminAllowedAddresses) ? 'Deny' : 'Allow'
      ipSecurityRestrictions: empty(adminClientId) ? [] : adminRules
      scmIpSecurityRestrictionsUseMain: false
    }
  }
  dependsOn: [
    adminPackages
    adminHostAccess
    vnet
    privateNames
  ]
}

// Nobody publishes with a user name and a password.
resource scimNoFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: scimApp
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource scimNoScm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: scimApp
  name: 'scm'
  properties: {
    allow: false
  }
}

resource adminNoFtp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = if (twoApps) {
  parent: adminApp
  name: 'ftp'
  properties: {
    allow: false
  }
}

resource adminNoScm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = if (twoApps) {
  parent: adminApp
  name: 'scm'
  properties: {
    allow: false
  }
}

// ------------------------------------------------------------------------------------------------------- Settings

// All are in the settings model (shared/host/settings.py), or the platform's own.
var sharedSettings = {
  APPLICATIONINSIGHTS_CONNECTION_STRING: insights.properties.ConnectionString
  SCIMLINK_TABLES_ENDPOINT: data.properties.primaryEndpoints.table
  SCIMLINK_BUCKETS: string(buckets)
}
var linkingSettings = {
  SCIMLINK_BACKUPS_ENDPOINT: data.properties.primaryEndpoints.blob
  SCIMLINK_BACKUP_DAYS: string(backupDays)
  SCIMLINK_GRAPH_TENANTS: string(graphTenants)
  SCIMLINK_GRAPH_CLIENT_ID: graphClientId
  SCIMLINK_GRAPH_ENDPOINT: graphEndpoint
  SCIMLINK_GRAPH_AUTHORITY: loginEndpoint
  SCIMLINK_GRAPH_CERTIFICATE: empty(graphCertificate) ? '' : '@Microsoft.KeyVault(VaultName=${vault.name};SecretName=${graphCertificate})'
}
var portalTenants = {
  '${tenant().tenantId}': adminDirectory
}
var schedulerSettings = usesScheduler ? {
  DURABLE_TASK_SCHEDULER_CONNECTION_STRING: 'Endpoint=${scheduler!.properties.endpoint};Authentication=ManagedIdentity;ClientID=${adminIdentity.properties.clientId}'
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__type: 'azureManaged'
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName: 'DURABLE_TASK_SCHEDULER_CONNECTION_STRING'
} : {}

resource scimSettings 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: scimApp
  name: 'appsettings'
  properties: union(sharedSettings, {
    APP_ROLES: twoApps ? 'scim' : 'scim,admin'
    AzureWebJobsStorage__blobServiceUri: scimHost.properties.primaryEndpoints.blob
    AzureWebJobsStorage__queueServiceUri: scimHost.properties.primaryEndpoints.queue
    AzureWebJobsStorage__tableServiceUri: scimHost.properties.primaryEndpoints.table
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: scimIdentity.properties.clientId
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${scimIdentity.properties.clientId};Authorization=AAD'
    SCIMLINK_CLIENT_ID: twoApps ? scimIdentity.properties.clientId : adminIdentity.properties.clientId
    SCIMLINK_BASE_URL: empty(scimBaseUrl) ? 'https://${scimApp.properties.defaultHostName}' : scimBaseUrl
    SCIMLINK_CREDENTIALS: string(twoApps ? scimCredentials : concat(scimCredentials, adminCredentials))
  }, twoApps ? {} : union(linkingSettings, schedulerSettings))
  dependsOn: [
    scimData
    scimTelemetry
    adminData
    adminBackups
    adminTelemetry
    adminSecrets
    adminOrchestrations
  ]
}

resource adminSettings 'Microsoft.Web/sites/config@2024-11-01' = if (twoApps) {
  parent: adminApp
  name: 'appsettings'
  properties: union(sharedSettings, linkingSettings, schedulerSettings, {
    APP_ROLES: 'admin'
    AzureWebJobsStorage__blobServiceUri: adminHost!.properties.primaryEndpoints.blob
    AzureWebJobsStorage__queueServiceUri: adminHost!.properties.primaryEndpoints.queue
    AzureWebJobsStorage__tableServiceUri: adminHost!.properties.primaryEndpoints.table
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: adminIdentity.properties.clientId
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${adminIdentity.properties.clientId};Authorization=AAD'
    OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID: adminIdentity.properties.clientId
    WEBSITE_AUTH_AAD_ALLOWED_TENANTS: tenant().tenantId
    SCIMLINK_CLIENT_ID: adminIdentity.properties.clientId
    SCIMLINK_BASE_URL: 'https://${adminApp!.properties.defaultHostName}'
    SCIMLINK_CREDENTIALS: string(adminCredentials)
    SCIMLINK_PORTAL_AUTH: empty(adminClientId) ? '' : 'easyauth'
    SCIMLINK_PORTAL_AUDIENCE: adminClientId
    SCIMLINK_PORTAL_TENANTS: string(portalTenants)
  })
  dependsOn: [
    adminData
    adminBackups
    adminTelemetry
    adminSecrets
    adminOrchestrations
  ]
}

// Every path of the admin app is behind the sign-in. The managed identity takes the place of a client secret.
resource adminSignIn 'Microsoft.Web/sites/config@2024-11-01' = if (twoApps) {
  parent: adminApp
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
      runtimeVersion: '~1'
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: empty(adminClientId) ? 'Return403' : 'RedirectToLoginPage'
      redirectToProvider: 'azureactivedirectory'
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: !empty(adminClientId)
        registration: {
          openIdIssuer: '${loginEndpoint}${tenant().tenantId}/v2.0'
          clientId: adminClientId
          clientSecretSettingName: 'OVERRIDE_USE_MI_FIC_ASSERTION_CLIENTID'
        }
        validation: {
          allowedAudiences: [
            adminClientId
            'api://${adminClientId}'
          ]
          defaultAuthorizationPolicy: {
            allowedApplications: concat([
              adminClientId
            ], adminScriptClientIds)
          }
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false
      }
    }
  }
  dependsOn: [
    adminSettings
  ]
}

// -------------------------------------------------------------------------------------------------------- Package

resource scimPackage 'Microsoft.Web/sites/extensions@2022-09-01' = if (!empty(packageUri)) {
  parent: scimApp
  name: 'onedeploy'
  // Microsoft's types leave this property out; its own samples set it.
  #disable-next-line BCP187
  properties: {
    packageUri: packageUri
    remoteBuild: true
  }
  dependsOn: [
    scimSettings
  ]
}

resource adminPackage 'Microsoft.Web/sites/extensions@2022-09-01' = if (twoApps && !empty(packageUri)) {
  parent: adminApp
  name: 'onedeploy'
  #disable-next-line BCP187
  properties: {
    packageUri: packageUri
    remoteBuild: true
  }
  dependsOn: [
    adminSettings
    adminSignIn
  ]
}

// ---------------------------------------------------------------------------------------------------- Observability

var queries = loadJsonContent('observability/queries.json')
var alerts = loadJsonContent('observability/alerts.json')

resource scimDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: scimApp
  name: 'to-logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        category: 'FunctionAppLogs'
        enabled: true
      }
    ]
  }
}

resource adminDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (twoApps) {
  scope: adminApp
  name: 'to-logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

resource vaultDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        categoryGroup: 'audit'
        enabled: true
      }
    ]
  }
}

resource tableDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: dataTables
  name: 'to-logs'
  properties: {
    workspaceId: logs.id
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'Transaction'
        enabled: true
      }
    ]
  }
}

resource savedQueries 'Microsoft.OperationalInsights/workspaces/savedSearches@2025-02-01' = [for query in queries: {
  parent: logs
  name: 'scimlink-${query.name}'
  properties: {
    category: 'SCIMLINK'
    displayName: query.title
    query: join(query.query, '\n')
    version: 2
  }
}]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-people'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: take(name, 12)
    enabled: true
    emailReceivers: empty(alertEmail) ? [] : [
      {
        name: 'mail'
        emailAddress: alertEmail
        useCommonAlertSchema: true
      }
    ]
  }
}

resource alertRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in alerts: {
  name: '${name}-${alert.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: alert.title
    description: alert.description
    severity: alert.severity
    enabled: alert.onlyWhileProvisioning ? provisioningIsOn : true
    scopes: [
      logs.id
    ]
    evaluationFrequency: alert.every
    windowSize: alert.window
    criteria: {
      allOf: [
        {
          query: join(alert.query, '\n')
          timeAggregation: 'Count'
          operator: alert.operator
          threshold: alert.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    autoMitigate: true
    // The tables of the logs come with the first telemetry: before it, no query of them is valid.
    skipQueryValidation: true
    actions: {
      actionGroups: [
        people.id
      ]
    }
  }
}]

resource workbook 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, name, 'workbook')
  location: location
  tags: tags
  kind: 'shared'
  properties: {
    displayName: 'SCIMLINK: provisioning and linking'
    category: 'workbook'
    sourceId: logs.id
    version: 'Notebook/1.0'
    serializedData: replace(replace(loadTextContent('observability/workbook.json'), '{portal}', adminHostName), '{workspace}', logs.id)
  }
}

// ---------------------------------------------------------------------------------------------------------- Locks

resource dataLock 'Microsoft.Authorization/locks@2020-05-01' = if (lockData) {
  scope: data
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'The accounts, their links and their history.'
  }
}

resource vaultLock 'Microsoft.Authorization/locks@2020-05-01' = if (lockData) {
  scope: vault
  name: 'keep'
  properties: {
    level: 'CanNotDelete'
    notes: 'What the apps prove themselves by.'
  }
}

// -------------------------------------------------------------------------------------------------------- Outputs

var adminHostName = twoApps ? adminApp!.properties.defaultHostName : scimApp.properties.defaultHostName

@description('What goes into the field Tenant URL of the provisioning of the Entra application.')
output tenantUrl string = '${empty(scimBaseUrl) ? 'https://${scimApp.properties.defaultHostName}' : scimBaseUrl}/scim/v2'

@description('Where administrators go.')
output portalUrl string = 'https://${adminHostName}'

@description('Name of the SCIM app, for a deployment of the package.')
output scimAppName string = scimApp.name

@description('Name of the admin app, for a deployment of the package; with one app, the same one.')
output adminAppName string = twoApps ? adminName : scimApp.name

@description('Object id of the identity that reads from Microsoft Graph and signs in administrators: for entra.bicep.')
output adminPrincipalId string = adminIdentity.properties.principalId

@description('Vault for what the apps prove themselves by.')
output vaultName string = vault.name

var packageStep = empty(packageUri) ? 'Deploy the package: make package, then az functionapp deployment source config-zip for each app.' : 'The package is deployed.'
var tokenStep = empty(scimCredentials) ? 'Make a token for Entra (shared/README.md) and deploy again with its hash in scimCredentials.' : 'Entra signs in with one of the tokens in scimCredentials.'
var signInStep = twoApps && empty(adminClientId) ? 'Deploy entra.bicep with adminPrincipalId and portalUrl, then this template again with its clientId as adminClientId.' : 'Administrators open /portal at portalUrl, and sign in.'

@description('What is left to do, in order.')
output nextSteps array = [
  packageStep
  tokenStep
  signInStep
  'Connect Entra: README.md, "Connect Entra", with tenantUrl.'
]
