"""The User endpoint: what Entra's provisioning service calls for people (RFC 7644 section 3)."""
