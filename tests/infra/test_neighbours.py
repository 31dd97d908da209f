"""Whoever asks for a lot holds up nobody: what a look-up takes beside the worst neighbour that the limits allow.

Counted is the CPU time of the process, which serves and asks on one event loop, from a look-up's first byte to its
last: it is what the look-up would wait on a machine with nothing else to do. Beside other work the same steps take more
CPU time, too, as caches and cores are shared. So a tenth of a second is one on a machine on which a small request with
nobody beside it takes SMALL, and what that takes at the moment is measured around each try.
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

import function_app
from infra.local.host import LocalHost
from shared.directory.directory import Directories
from shared.directory.records.bulk import create_many
from shared.directory.records.model import Account, Status
from shared.host.settings import Settings
from shared.scim.limits import MAX_BODY_BYTES, MAX_BULK_BYTES, MAX_ELEMENTS, MAX_FILTER_TERMS, MAX_OPERATIONS
from shared.tables.sqlite import SqliteTables

TOKEN = "a-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
SEARCH = "urn:ietf:params:scim:api:messages:2.0:SearchRequest"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
ACCOUNTS = 2_000
MOST_SECONDS = 0.1
SMALL = 0.00015
"""Seconds of CPU that a request which reads no storage takes, with asking for it, on the reference machine."""
TRIES = 3
LOOK_UP = "/scim/v2/Users?filter=" + quote('userName eq "user7@example.com"')


def _users() -> list[dict[str, Any]]:
    return [
        {"schemas": [USER], "userName": f"user{n}@example.com", "name": {"familyName": f"F{n}"}, "active": True}
        for n in range(ACCOUNTS)
    ]


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[tuple[LocalHost, list[str]]]:
    """The app over some thousand accounts, and the ids of some."""
    tables, histories = SqliteTables.open(tmp_path / "data.db"), SqliteTables.open(tmp_path / "data.db", "histories")
    directory = await Directories(tables).open("main")
    by_bucket: dict[int, list[Account]] = {}
    for user in _users():
        account = Account.new(
            directory.keys.new_id(user["userName"]), user, Status.PROVISIONED, directory.accounts.now()
        )
        by_bucket.setdefault(directory.keys.bucket(account.id), []).append(account)
    for accounts in by_bucket.values():
        await create_many(directory.accounts, accounts, by="test")
    async with LocalHost(function_app.build(Settings.local(TOKEN), tables), histories, streams=True) as started:
        gc.collect()
        gc.freeze()  # as the server does, which keeps what lives as long as it does out of each collection
        yield started, [accounts[0].id for accounts in by_bucket.values()]
        gc.unfreeze()
    await tables.close()
    await histories.close()


def _patch(*operations: Mapping[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


def _emails(name: str) -> list[dict[str, str]]:
    return [{"value": f"{name}{n}@example.com", "type": f"t{n}"} for n in range(MAX_ELEMENTS)]


def _scans(ids: list[str]) -> list[tuple[str, str, Any]]:
    terms = " or ".join(f'title eq "{n}"' for n in range(MAX_FILTER_TERMS))
    return [("POST", "/Users/.search", {"schemas": [SEARCH], "filter": terms})] * 8


def _sorted(ids: list[str]) -> list[tuple[str, str, Any]]:
    return [("GET", "/Users?sortBy=name.familyName", None)] * 4


def _values(ids: list[str]) -> list[tuple[str, str, Any]]:
    whole = [{"op": "replace", "path": "emails", "value": _emails("a")}]
    return [("PATCH", f"/Users/{one}", _patch(*whole)) for one in ids[:3]]


def _operations(ids: list[str]) -> list[tuple[str, str, Any]]:
    each = [
        {"op": "add", "path": f'roles[value eq "{n % 100}"].display', "value": "d"} for n in range(MAX_OPERATIONS - 1)
    ]
    roles = {"op": "add", "path": "roles", "value": [{"value": str(n)} for n in range(100)]}
    return [("PATCH", f"/Users/{one}", _patch(roles, *each)) for one in ids[:3]]


def _bulk(ids: list[str]) -> list[tuple[str, str, Any]]:
    operations = [
        {
            "method": "PATCH",
            "path": f"/Users/{one}",
            "data": _patch({"op": "replace", "path": "emails", "value": _emails(one[:8])}),
        }
        for one in ids[:10]
    ]
    return [("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})]


def _creates(ids: list[str]) -> list[tuple[str, str, Any]]:
    operations = [
        {"method": "POST", "path": "/Users", "data": {"schemas": [USER], "userName": f"new{n}"}} for n in range(300)
    ]
    return [("POST", "/Bulk", {"schemas": [BULK], "Operations": operations})]


def _dense(ids: list[str]) -> list[tuple[str, str, Any]]:
    names = {f"x{n}": 0 for n in range(MAX_BODY_BYTES // 21)}
    references = ["bulkId:z"] * (MAX_BULK_BYTES // 50)
    bulk = {"schemas": [BULK], "Operations": [{"method": "POST", "path": "/Users", "data": {"x": references}}]}
    return [
        ("POST", "/Users", {"schemas": [USER], "userName": "many", **names}),
        ("POST", "/Bulk", bulk),
    ]


NEIGHBOURS: dict[str, Callable[[list[str]], list[tuple[str, str, Any]]]] = {
    "eight scans of two hundred terms": _scans,
    "sorting everybody": _sorted,
    "a thousand values": _values,
    "a thousand operations": _operations,
    "bulk of thousands of values": _bulk,
    "bulk of creates": _creates,
    "bodies full of values": _dense,
}


@pytest.mark.parametrize("neighbour", NEIGHBOURS)
async def test_a_look_up_beside_the_worst_neighbour_takes_a_tenth_of_a_second(
    host: tuple[LocalHost, list[str]], neighbour: str
) -> None:
    server, ids = host
    asked = [
        (method, path, None if body is None else json.dumps(body).encode())
        for method, path, body in NEIGHBOURS[neighbour](ids)
    ]
    # The best of some tries: what another process does at the same time only adds to one.
    tries = [await _try(server, asked) for _ in range(TRIES)]
    assert min(tries) < MOST_SECONDS


async def _try(server: LocalHost, asked: list[tuple[str, str, bytes | None]]) -> float:
    """Return the CPU seconds of the longest look-up beside these requests, as the reference machine would take them."""
    before = await _small(server)
    longest = await _longest_look_up(server, asked)
    small = (before + await _small(server)) / 2
    return longest * min(1.0, SMALL / small)


async def _small(server: LocalHost) -> float:
    """Return the CPU seconds of a small request with nobody beside it: the median of some."""
    took: list[float] = []
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        for _ in range(51):
            begun = time.thread_time()
            async with session.get(f"{server.url}/scim/v2/ServiceProviderConfig") as answer:
                await answer.read()
            took.append(time.thread_time() - begun)
    return statistics.median(took)


async def _longest_look_up(server: LocalHost, asked: list[tuple[str, str, bytes | None]]) -> float:
    """Return the CPU seconds of the longest of the look-ups that are made one after another beside these requests."""
    took: list[float] = []
    async with aiohttp.ClientSession(headers=HEADERS) as session, aiohttp.ClientSession(headers=HEADERS) as other:

        async def ask(method: str, path: str, body: bytes | None) -> int:
            async with session.request(method, f"{server.url}/scim/v2{path}", data=body) as answer:
                await answer.read()
                return answer.status

        async def look() -> None:
            begun = time.thread_time()
            async with other.get(server.url + LOOK_UP) as answer:
                assert (await answer.json(content_type=None))["totalResults"] == 1
            took.append(time.thread_time() - begun)

        await look()
        working = [asyncio.create_task(ask(*one)) for one in asked]
        while not all(task.done() for task in working):
            await look()
        assert {task.result() for task in working} <= {200, 201, 409}  # what the first try made is there
    assert len(took) > 2
    return max(took[1:])
