"""SCIM's endpoints that belong to no resource type: discovery, search at the root, and Bulk."""
