"""Runs scim2-tester against BASE_URL with TOKEN, in its own environment, and prints how many checks ended how.

Prints {"counts": {status: number}, "failed": [text]} as JSON.
"""

import collections
import json
import os

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_tester import check_server

FAILURES = ("DEVIATION", "ERROR", "CRITICAL")

headers = {"Authorization": f"Bearer {os.environ['TOKEN']}"}
client = SyncSCIMClient(httpx2.Client(base_url=os.environ["BASE_URL"], headers=headers, timeout=600))
client.discover()
results = check_server(client)
counts = collections.Counter(result.status.name for result in results)
failed = [f"{result.title}: {result.reason}" for result in results if result.status.name in FAILURES]
print(json.dumps({"counts": counts, "failed": failed}))  # noqa: T201 - the caller reads it
