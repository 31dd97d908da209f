"""The account directory: accounts, groups, links, history and jobs, with the invariants that hold whoever writes.

It is the only code that calls the storage port (shared/tables). Who may change what is for the rooms above to decide.
"""
