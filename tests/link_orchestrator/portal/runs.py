"""Runs for the portal's tests: planned over the demo's people, or over a few hostile ones."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from infra.local.demo_data import generate, write
from tests.link_orchestrator.portal.door import Door
from tests.link_orchestrator.running import Api, connected, csv_file, graph

HOSTILE = {
    "script": "<script>alert(1)</script>",
    "long": "Long" * 2_500,
    "rtl": "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627",
    "emoji": "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f389",
    "quotes": "\"'><img src=x onerror=alert(1)>",
}
"""Names that a page has to show as they are."""


@asynccontextmanager
async def api_of(door: Door) -> AsyncIterator[Api]:
    """Open the JSON API behind a door, with its credential."""
    async with connected(door.url) as session:
        yield Api(session)


async def plan_demo(api: Api, accounts: int = 120, identities: int = 140) -> Any:
    """Return a planned run over the demo's people and groups."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(generate(accounts, identities), folder)
        names = ("policy.json", "accounts.csv", "groups.csv", "identities.json", "entra_groups.json")
        file = {one: (folder / one).read_bytes() for one in names}
    await api.call("PUT", "directory/policy", json.loads(file["policy.json"]))
    job = await api.call("POST", "accounts/import", file["accounts.csv"], "text/csv", file="accounts.csv")
    await api.wait(f"accounts/imports/{job['id']}", "done")
    groups = await api.call("POST", "groups/import", file["groups.csv"], "text/csv")
    await api.wait(f"groups/imports/{groups['id']}", "done")
    people = await api.call("POST", "linking/identities", file["identities.json"])
    there = await api.call("POST", "linking/groups", file["entra_groups.json"])
    run = await api.call("POST", "linking/runs", {"identities": people["id"], "groups": there["id"]})
    return await api.wait(f"linking/runs/{run['id']}", "planned")


async def plan_hostile(api: Api) -> Any:
    """Return a planned run over people whose names are markup, endless, from right to left, or pictures."""
    await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
    rows = [
        {
            "userName": f"{key}@contoso.com",
            "displayName": value[:1_000].replace("\u202e", "\u200f"),
            "employeeNumber": str(place),
            "title": value[:200],
        }
        for place, (key, value) in enumerate(HOSTILE.items())
    ]
    await api.bring(
        csv_file(*rows, {"userName": "weak.local", "displayName": HOSTILE["script"], "employeeNumber": "77"})
    )
    people = [
        graph(place, f"{key}@contoso.com", displayName=value, department=value, jobTitle=value)
        for place, (key, value) in enumerate(HOSTILE.items(), 1)
    ]
    return await api.plan(*people, graph(77, "weak@contoso.com", employeeId="77", displayName=HOSTILE["quotes"]))
