// What SCIMLINK needs in Entra: the application that administrators sign in to, and the right to read from Graph.
// It takes somebody who may register applications, and for readGraph who may consent to application permissions.
// Where the Graph extension of Bicep cannot be used, entra.sh does the same.
extension microsoftGraphV1

targetScope = 'resourceGroup'

@description('Output adminPrincipalId of main.bicep: the identity that signs in administrators, and reads from Graph.')
param adminPrincipalId string

@description('Output portalUrl of main.bicep.')
param portalUrl string

@description('Name of the application, as people see it when they sign in.')
param displayName string = 'SCIMLINK'

@description('Object id of the user or group that is the first Owner. Empty: assign the roles in the Entra admin center.')
param firstOwner string = ''

@description('Whether identities are read from Microsoft Graph, and not from files.')
param readGraph bool = true

@description('Whether identities are those assigned to the enterprise application, or members of chosen groups.')
param readGroups bool = false

@description('Whether assignments to the enterprise application are read: scope "assigned".')
param readAssignments bool = false

@description('Whether the attribute mapping of the provisioning job is read.')
param readMapping bool = false

@description('Client ids of applications by which people get tokens for scripts, such as the Azure CLI, 04b07795-8ddb-461a-bbee-02f9e1bf7b46. Empty the first time: Entra must know the application already. Parameter adminScriptClientIds of main.bicep has them, too.')
param scriptClientIds array = []

var callback = '${portalUrl}/.auth/login/aad/callback'
var issuer = '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'

// Application permissions of Microsoft Graph.
var permissions = {
  userReadAll: 'df021288-bdef-4463-88db-98f22de89214'
  groupMemberReadAll: '98830695-27a2-44f7-8c18-0c3ebc9698f6'
  applicationReadAll: '9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30'
  synchronizationReadAll: '5ba43d2f-fa88-4db2-bd1c-a67c5f0fb1ce'
}
var groupPermissions = readGroups || readAssignments ? [
  permissions.groupMemberReadAll
] : []
var assignmentPermissions = readAssignments ? [
  permissions.applicationReadAll
] : []
var mappingPermissions = readMapping ? [
  permissions.synchronizationReadAll
] : []
var granted = readGraph ? concat([
  permissions.userReadAll
], groupPermissions, assignmentPermissions, mappingPermissions) : []

// Ids of this application's own roles: they stay as they are, for assignments name them.
var roles = {
  reader: '5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a01'
  operator: '5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a02'
  owner: '5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a03'
}

// What such an application asks for: to act for whoever is signed in there.
var scriptScope = '5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a04'
var scriptClients = [for client in scriptClientIds: {
  appId: client
  delegatedPermissionIds: [
    scriptScope
  ]
}]

var owners = empty(firstOwner) ? [] : [
  firstOwner
]

resource application 'Microsoft.Graph/applications@v1.0' = {
  uniqueName: 'scimlink-${uniqueString(resourceGroup().id)}'
  displayName: displayName
  description: 'Administrators of SCIMLINK sign in here.'
  signInAudience: 'AzureADMyOrg'
  api: {
    requestedAccessTokenVersion: 2
    oauth2PermissionScopes: [
      {
        id: scriptScope
        value: 'user_impersonation'
        type: 'Admin'
        isEnabled: true
        adminConsentDisplayName: 'Act at SCIMLINK for whoever is signed in'
        adminConsentDescription: 'What the person may do, by the app roles that were assigned.'
      }
    ]
    preAuthorizedApplications: scriptClients
  }
  web: {
    homePageUrl: portalUrl
    redirectUris: [
      callback
    ]
    implicitGrantSettings: {
      enableIdTokenIssuance: true
      enableAccessTokenIssuance: false
    }
  }
  appRoles: [
    {
      id: roles.reader
      value: 'Reader'
      displayName: 'Reader'
      description: 'Sees runs, plans, accounts and their history.'
      isEnabled: true
      allowedMemberTypes: [
        'User'
        'Application'
      ]
    }
    {
      id: roles.operator
      value: 'Operator'
      displayName: 'Operator'
      description: 'Also starts runs, reviews plans, approves and undoes them, and changes the policy.'
      isEnabled: true
      allowedMemberTypes: [
        'User'
        'Application'
      ]
    }
    {
      id: roles.owner
      value: 'Owner'
      displayName: 'Owner'
      description: 'May do what an Operator may.'
      isEnabled: true
      allowedMemberTypes: [
        'User'
        'Application'
      ]
    }
  ]
}

// The managed identity of the admin app takes the place of a client secret.
resource identityCredential 'Microsoft.Graph/applications/federatedIdentityCredentials@v1.0' = {
  name: '${application.uniqueName}/admin-identity'
  description: 'The managed identity of the admin app.'
  audiences: [
    'api://AzureADTokenExchange'
  ]
  issuer: issuer
  subject: adminPrincipalId
}

resource service 'Microsoft.Graph/servicePrincipals@v1.0' = {
  appId: application.appId
  appRoleAssignmentRequired: true
}

resource graph 'Microsoft.Graph/servicePrincipals@v1.0' existing = {
  appId: '00000003-0000-0000-c000-000000000000'
}

// Who must be assigned is shown no consent: without this one, nobody but an administrator of Entra gets in.
resource consent 'Microsoft.Graph/oauth2PermissionGrants@v1.0' = {
  clientId: service.id
  consentType: 'AllPrincipals'
  resourceId: graph.id
  scope: 'openid profile email'
}

resource graphRights 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [for permission in granted: {
  appRoleId: permission
  principalId: adminPrincipalId
  resourceId: graph.id
}]

resource ownership 'Microsoft.Graph/appRoleAssignedTo@v1.0' = [for owner in owners: {
  appRoleId: roles.owner
  principalId: owner
  resourceId: service.id
}]

@description('For the parameter adminClientId of main.bicep.')
output clientId string = application.appId
