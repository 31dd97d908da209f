"""The administrator's API for one account, one group, the policy and the schemas; health and the nightly upkeep."""
