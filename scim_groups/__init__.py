"""The Group endpoint (RFC 7644 section 3), as scim_users is the User endpoint. It has no functions yet."""
