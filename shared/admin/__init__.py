"""The administrator's API for one account, one group and the policy."""
