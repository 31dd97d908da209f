"""Microsoft Graph as a source of identities, groups and provisioning schemas."""
