"""The ways in which main.bicep is deployed that the checks look at: together they take every branch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TOKEN = {"name": "entra", "sha256": "0" * 64, "roles": ["scim"]}
SCENARIOS: Mapping[str, Mapping[str, Any]] = {
    "first": {},
    "complete": {
        "name": "abcdefghij",
        "adminClientId": "11111111-1111-1111-1111-111111111111",
        "adminAllowedAddresses": ["203.0.113.0/24"],
        "adminScriptClientIds": ["22222222-2222-2222-2222-222222222222"],
        "scimAllowedAddresses": ["198.51.100.7/32"],
        "scimAlwaysReady": 1,
        "scimBaseUrl": "https://scim.example.com",
        "scimCredentials": [TOKEN],
        "adminCredentials": [{**TOKEN, "roles": ["admin"]}],
        "graphCertificate": "graph",
        "packageUri": "https://example.com/package.zip",
        "alertEmail": "alerts@example.com",
        "provisioningIsOn": True,
        # Others than the defaults: a property that has the default's value by chance is found.
        "pythonVersion": "3.12",
        "instanceMemoryMB": 4096,
        "maximumInstanceCount": 100,
        "httpConcurrency": 32,
        "zoneRedundant": True,
        "dataRedundancy": "Standard_GZRS",
        "hostRedundancy": "Standard_ZRS",
        "buckets": 256,
        "logRetentionDays": 365,
        "logDailyCapGB": 2,
        "backupDays": 14,
    },
    "private": {"network": "private", "durableBackend": "DurableTaskScheduler", "lockData": False},
    "one app": {"twoApps": False, "scimFromEntraOnly": False, "durableBackend": "DurableTaskScheduler"},
    "one private app": {"twoApps": False, "network": "private"},
}
"""Parameters by the name of a scenario. What is not named has its default."""
