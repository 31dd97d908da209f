"""The root of SCIM: discovery, search over all resource types, Bulk, and the functions of each resource type."""
