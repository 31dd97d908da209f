#!/usr/bin/env bash
# What entra.bicep does, by the Azure CLI: for the Cloud Shell, where Bicep's extension for Graph cannot be used.
#
#   infra/entra.sh PRINCIPAL PORTAL [PERMISSION…] [CLIENT…]
#
# PRINCIPAL and PORTAL are the outputs adminPrincipalId and portalUrl of main.bicep. A PERMISSION is an application
# permission of Microsoft Graph: User.Read.All, GroupMember.Read.All, Application.Read.All, Synchronization.Read.All.
# Run it again to add one. A CLIENT is the client id of an application by which people get tokens for scripts, such as
# the Azure CLI, 04b07795-8ddb-461a-bbee-02f9e1bf7b46; those that were named before are replaced.
# It prints the client id, for the parameter adminClientId of main.bicep.
set -euo pipefail

if [ $# -lt 2 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
principal=$1
portal=${2%/}
shift 2
name=SCIMLINK

permission_id() {
    case $1 in
        User.Read.All) echo df021288-bdef-4463-88db-98f22de89214 ;;
        GroupMember.Read.All) echo 98830695-27a2-44f7-8c18-0c3ebc9698f6 ;;
        Application.Read.All) echo 9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30 ;;
        Synchronization.Read.All) echo 5ba43d2f-fa88-4db2-bd1c-a67c5f0fb1ce ;;
        *)
            echo "$1 is no permission that SCIMLINK needs" >&2
            return 1
            ;;
    esac
}

is_client() {
    [[ $1 =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]]
}

for one in "$@"; do
    is_client "$one" || permission_id "$one" >/dev/null
done

role() {
    printf '{"id": "%s", "value": "%s", "displayName": "%s", "description": "%s", "isEnabled": true, "allowedMemberTypes": ["User", "Application"]}' \
        "$1" "$2" "$2" "$3"
}
roles="[
$(role 5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a01 Reader 'Sees runs, plans, accounts and their history.'),
$(role 5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a02 Operator 'Also starts runs, reviews plans, approves and undoes them, and changes the policy.'),
$(role 5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a03 Owner 'May do what an Operator may.')
]"

# To the CLI, a display name is what a name begins with: another application must not get the roles and the credential.
clients=$(az ad app list --display-name "$name" --query "[?displayName=='$name'].appId" --output tsv)
if [ "$(wc -w <<<"$clients")" -gt 1 ]; then
    echo "several applications have the name $name: rename or delete those that are not SCIMLINK's" >&2
    exit 1
fi
client=$clients
if [ -z "$client" ]; then
    client=$(az ad app create --display-name "$name" --sign-in-audience AzureADMyOrg \
        --web-home-page-url "$portal" --web-redirect-uris "$portal/.auth/login/aad/callback" \
        --enable-id-token-issuance true --requested-access-token-version 2 \
        --app-roles "$roles" --query appId --output tsv)
fi

# The managed identity of the admin app takes the place of a client secret.
tenant=$(az account show --query tenantId --output tsv)
if [ -z "$(az ad app federated-credential list --id "$client" --query "[?name=='admin-identity'].id" --output tsv)" ]; then
    az ad app federated-credential create --id "$client" --output none --parameters "{
        \"name\": \"admin-identity\",
        \"description\": \"The managed identity of the admin app.\",
        \"issuer\": \"https://login.microsoftonline.com/$tenant/v2.0\",
        \"subject\": \"$principal\",
        \"audiences\": [\"api://AzureADTokenExchange\"]
    }"
fi

if [ -z "$(az ad sp list --filter "appId eq '$client'" --query '[0].id' --output tsv)" ]; then
    az ad sp create --id "$client" --output none
fi
az ad sp update --id "$client" --set appRoleAssignmentRequired=true

# Who must be assigned is shown no consent: without this one, nobody but an administrator of Entra gets in.
if [ -z "$(az ad app permission list-grants --id "$client" --query '[].id' --output tsv)" ]; then
    az ad app permission grant --id "$client" --api 00000003-0000-0000-c000-000000000000 \
        --scope 'openid profile email' --output none
fi

# What such an application asks for: to act for whoever is signed in there. Entra must know it before it is given to one.
application="https://graph.microsoft.com/v1.0/applications(appId='$client')"
scope=5b1f5f0e-3c1c-4c3e-9d38-6f1f3a1b7a04
az rest --method PATCH --url "$application" --output none --body "{\"api\": {\"oauth2PermissionScopes\": [{
    \"id\": \"$scope\", \"value\": \"user_impersonation\", \"type\": \"Admin\", \"isEnabled\": true,
    \"adminConsentDisplayName\": \"Act at SCIMLINK for whoever is signed in\",
    \"adminConsentDescription\": \"What the person may do, by the app roles that were assigned.\"
}]}}"
allowed=
for one in "$@"; do
    if is_client "$one"; then
        allowed+="${allowed:+, }{\"appId\": \"$one\", \"delegatedPermissionIds\": [\"$scope\"]}"
    fi
done
if [ -n "$allowed" ]; then
    az rest --method PATCH --url "$application" --output none \
        --body "{\"api\": {\"preAuthorizedApplications\": [$allowed]}}"
fi

graph=$(az ad sp show --id 00000003-0000-0000-c000-000000000000 --query id --output tsv)
granted="https://graph.microsoft.com/v1.0/servicePrincipals/$principal/appRoleAssignments"
for permission in "$@"; do
    if is_client "$permission"; then
        continue
    fi
    id=$(permission_id "$permission")
    if [ -z "$(az rest --url "$granted" --query "value[?appRoleId=='$id'].id" --output tsv)" ]; then
        az rest --method POST --url "$granted" --output none \
            --body "{\"principalId\": \"$principal\", \"resourceId\": \"$graph\", \"appRoleId\": \"$id\"}"
    fi
done

echo "$client"
