"""The two large jobs, import and linking, each in a server of its own, with the time and the memory they take."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from infra.local.bench.figures import Figure
from infra.local.bench.process import Process, running
from infra.local.demo import Api

TOKEN = "bench"  # noqa: S105 - opens nothing but this run's own made-up people
LOOK_SECONDS = 0.25
AIM_SIZE = 100_000
"""The aims of a job are for so many accounts; smaller ones show how it grows."""


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """Serve the app over the folder's `data`, with a session that keeps at most four connections to it."""
    server = running("infra.local.serve", "--port", "0", "--data", str(folder / "data"), "--token", TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    timeout = aiohttp.ClientTimeout(total=600)
    async with server as process:
        connector = aiohttp.TCPConnector(limit=4)
        async with aiohttp.ClientSession(
            process.url + "/", headers=headers, connector=connector, timeout=timeout
        ) as session:
            yield process, session


async def import_accounts(folder: Path, accounts: int) -> list[Figure]:
    """Import the folder's accounts.csv into an empty directory."""
    async with serving(folder) as (process, session):
        api, clock = Api(session), Clock(process)
        await api.call("PUT", "directory/policy", json.loads((folder / "policy.json").read_text()))
        job = await api.call("POST", "accounts/import", (folder / "accounts.csv").read_bytes(), "text/csv")
        job = await ended(api, f"accounts/imports/{job['id']}", "done")
        if job["counts"].get("created") != accounts:
            raise RuntimeError(f"{job['counts']} of {accounts} accounts were imported")
        return clock.figures("import", accounts, 200)


async def link(folder: Path, accounts: int) -> list[Figure]:
    """Plan and apply a linking run of the folder's identities.json over the accounts imported before."""
    async with serving(folder) as (process, session):
        api, clock = Api(session), Clock(process)
        upload = await api.call("POST", "linking/identities", (folder / "identities.json").read_bytes())
        run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
        path = f"linking/runs/{run['id']}"
        run = await ended(api, path, "planned")
        planned = clock.wall()
        await api.call("POST", path + "/approve", {"links": run["counts"]["link"]})
        run = await ended(api, path, "done")
        if run["counts"].get("linked") != run["counts"]["link"]:
            raise RuntimeError(f"{run['counts']}: not every planned link was made")
        return clock.figures("plan + apply", accounts, 300, {"planned s": planned})


async def ended(api: Api, path: str, phase: str) -> Any:
    """Wait until a job is in this phase; return it. Raises RuntimeError if it ends in another one."""
    while True:
        job = await api.call("GET", path)
        if job["phase"] == phase:
            return job
        if "ended" in job:
            raise RuntimeError(f"{path} is {job['phase']}")
        await asyncio.sleep(LOOK_SECONDS)


class Clock:
    """Time, CPU time and memory of a process since this object was made."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._cpu = process.cpu()
        self._began = time.perf_counter()

    def wall(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._began

    def figures(
        self, name: str, accounts: int, memory: float, beside: Mapping[str, float] | None = None
    ) -> list[Figure]:
        """Return the job's figures. `memory` is the aim in MB, `beside` goes with the seconds."""
        wall, cpu, judged = self.wall(), self._process.cpu() - self._cpu, accounts == AIM_SIZE
        return [
            Figure(name, wall, "s", 60 if judged else None, accounts, {"CPU s": cpu, **(beside or {})}),
            Figure(f"{name}: memory", self._process.peak(), "MB", memory if judged else None, accounts),
        ]
