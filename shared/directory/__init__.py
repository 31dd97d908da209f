"""The account directory: accounts, links, audit and runs, and the invariants that hold whoever writes.

Stands on shared/tables/port.py and is the only code that calls it. Policy (who may change what) is the rooms'.
"""
