"""The SCIM protocol engine (RFC 7643, RFC 7644) on plain JSON documents: no accounts, no storage, no clock, no I/O."""
