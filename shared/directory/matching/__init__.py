"""Which identity is which account, and which group is which group. Pure."""
