"""Which identity is which account, and which group in Entra is which group here. Pure: no I/O, no clock."""
