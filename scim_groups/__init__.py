"""The Group endpoint: what Entra's provisioning service calls for groups (RFC 7644 section 3)."""
