"""The storage port and its two adapters, sqlite.py and azure.py; faults.py makes either fail as storage does."""
