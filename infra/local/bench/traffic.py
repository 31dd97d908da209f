"""SCIM requests over HTTP against a directory of some size: what each costs the server in CPU time.

Four requests are under way at once, over connections that stay open. The kinds of requests and the yardstick take
turns, round by round, so that a busy moment of the machine touches all of them; a figure is the median of its rounds.
"""

from __future__ import annotations

import asyncio
import csv
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from infra.local.bench import people
from infra.local.bench.figures import Figure
from infra.local.bench.jobs import serving
from infra.local.bench.yardstick import ROWS
from infra.local.process import Process, running

CONCURRENCY = 4
PAGE = 100
BULK = 100
YARDSTICK = "yardstick: aiohttp and one SELECT"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured."""

    rounds: int = 7
    requests: int = 400
    """Requests of a kind in one round; dearer kinds send a fraction of it."""
    users: int = 200
    """Users created before, to be found by externalId and changed."""
    ids: int = 2_000
    """Imported accounts whose ids are looked up before, to be read by id."""
    group: int = 100_000
    """Members of the largest group."""


QUICK = Effort(rounds=3, requests=40, users=20, ids=40, group=2_000)


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One request. A right answer has `has` in its body, or the status of `refused`; a wrong one is not measured."""

    method: str
    path: str
    has: bytes = b""
    body: Any = None
    refused: int = 0


@dataclass(frozen=True, slots=True)
class RequestKind:
    """An endless stream of requests of one kind. `aim` is for each, in milliseconds of CPU."""

    name: str
    aim: float | None
    calls: Iterator[HttpCall]
    fraction: float = 1.0
    """Part of Effort.requests that is sent in a round."""
    concurrency: int = CONCURRENCY


@dataclass(frozen=True, slots=True)
class Server:
    """A process that serves, and a session with it."""

    process: Process
    session: aiohttp.ClientSession

    async def send(self, call: HttpCall) -> bytes:
        """Send a request and return the body of its answer. Raises RuntimeError for a wrong one."""
        url = URL(f"{self.process.url}{call.path}", encoded=True)
        data = None if call.body is None else json.dumps(call.body).encode()
        headers = {"Content-Type": "application/scim+json"} if data else None
        async with self.session.request(call.method, url, data=data, headers=headers) as answer:
            body = await answer.read()
            right = answer.status == call.refused if call.refused else answer.status < 300
            if not right or call.has not in body:
                raise RuntimeError(f"{call.method} was answered with {answer.status} and not as expected")
            return body

    async def send_all(self, calls: Iterator[HttpCall], concurrency: int = CONCURRENCY) -> list[bytes]:
        """Send requests, `concurrency` at once; return the bodies of their answers as they come."""
        bodies: list[bytes] = []

        async def work() -> None:
            for call in calls:
                bodies.append(await self.send(call))  # noqa: PERF401 - they share the list

        await asyncio.gather(*(work() for _ in range(concurrency)))
        return bodies


async def measure(folder: Path, accounts: int, effort: Effort) -> list[Figure]:
    """Return what each kind of request costs with the folder's accounts imported and linked."""
    async with serving(folder) as (process, session):
        app = Server(process, session)
        return await take_turns(app, await _kinds(app, folder, accounts, effort), folder, accounts, effort)


async def take_turns(
    app: Server, kinds: list[RequestKind], folder: Path, accounts: int | None, effort: Effort
) -> list[Figure]:
    """Return what each kind of request costs, measured in turns with the yardstick."""
    async with (
        running("infra.local.bench.yardstick", str(folder / "yardstick.db")) as yardstick,
        aiohttp.ClientSession() as plain,
    ):
        turns = [(Server(yardstick, plain), RequestKind(YARDSTICK, None, _yardstick_calls()))]
        turns += [(app, kind) for kind in kinds]
        taken: dict[str, list[tuple[float, float]]] = {kind.name: [] for _, kind in turns}
        for number in range(effort.rounds + 1):
            for server, kind in turns:
                took = await _round(server, kind, effort)
                if number:  # the first round warms up
                    taken[kind.name].append(took)
    return _figures(accounts, [kind for _, kind in turns], taken)


async def _round(server: Server, kind: RequestKind, effort: Effort) -> tuple[float, float]:
    """Return the milliseconds of CPU and of time on the clock that a request took."""
    number = max(2, round(effort.requests * kind.fraction))
    cpu, began = server.process.cpu(), time.perf_counter()
    await server.send_all(itertools.islice(kind.calls, number), kind.concurrency)
    wall = time.perf_counter() - began
    return (server.process.cpu() - cpu) * 1e3 / number, wall * 1e3 / number


def _figures(
    accounts: int | None, kinds: list[RequestKind], taken: dict[str, list[tuple[float, float]]]
) -> list[Figure]:
    costs = {name: tuple(map(statistics.median, zip(*took, strict=True))) for name, took in taken.items()}
    floor = costs[YARDSTICK][0]
    return [
        Figure(o.name, cpu, "ms CPU", o.aim, accounts, {"wall ms": wall}, yardstick=floor)
        for o in kinds
        for cpu, wall in [costs[o.name]]
    ]


async def _kinds(app: Server, folder: Path, accounts: int, effort: Effort) -> list[RequestKind]:
    """Return the kinds of requests, after making and finding the users that they are about."""
    draw = random.Random(accounts)
    with (folder / "accounts.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["userName"], row["email"]) for row in csv.DictReader(file)]
    linked = await _linked(app)
    names = [name for name, _ in rows if name in linked]
    emails = [email for name, email in rows if email and name in linked]
    local = [name for name, _ in rows if name not in linked]
    ids = await _ids(app, (_found("userName", name) for name in draw.choices(names, k=effort.ids)))
    confirmed = await _ids(app, (_found("externalId", linked[name]) for name in names[: effort.users]))
    created = itertools.count()
    posts = (HttpCall("POST", "/scim/v2/Users", b'"meta":', people.user(number)) for number in created)
    users = [json.loads(body)["id"] for body in await app.send_all(itertools.islice(posts, effort.users))]
    external_ids = [people.external_id(number) for number in range(effort.users)]

    def find(path: str, values: list[str]) -> Iterator[HttpCall]:
        return (_found(path, draw.choice(values)) for _ in itertools.count())

    missing = (_found("userName", f"nobody{number}@contoso.com", 0) for number in itertools.count())
    gets = (HttpCall("GET", f"/scim/v2/Users/{draw.choice(ids)}", b'"meta":') for _ in itertools.count())
    starts = itertools.cycle(range(1, accounts - PAGE + 2, PAGE))
    anywhere = (draw.randint(1, max(1, accounts - PAGE + 1)) for _ in itertools.count())
    return [
        RequestKind("userName eq, hit", 0.4, find("userName", names)),
        RequestKind("userName eq, miss", 0.4, missing),
        RequestKind("externalId eq", 0.4, find("externalId", external_ids)),
        RequestKind("work e-mail eq", 0.4, find('emails[type eq "work"].value', emails)),
        RequestKind("userName eq, an account that is not linked", 0.4, find("userName", local)),
        RequestKind("GET user", 0.4, gets),
        RequestKind("POST user", 1.0, posts, 0.25),
        # Entra sends it again in every cycle: as cheap as a look-up, but for its body.
        RequestKind("POST user, the userName is taken", 0.5, _taken(effort.users)),
        # 0.7 ms each, because they have round trips and syncs in common.
        RequestKind(f"Bulk of {BULK} creates", 0.7 * BULK, _bulks(created), 0.01, concurrency=1),
        RequestKind("PATCH of 3 attributes", 1.0, _patches(users), 0.5),
        # What it replaces is kept for an undo, which may cost 5 % more.
        RequestKind("PATCH of 3 attributes, a linked account", 1.05, _patches(confirmed), 0.5),
        RequestKind("PATCH active", 1.0, _switches(users), 0.5),
        # One reader, because a client goes through a directory page by page.
        RequestKind("page of 100, the next one", 6.0, map(_page, starts), 0.1, concurrency=1),
        RequestKind("page of 100, anywhere", 6.0, map(_page, anywhere), 0.1, concurrency=1),
    ]


async def _linked(app: Server) -> dict[str, str]:
    """Return the object ids that the folder's run has linked, by userName of their accounts."""
    run = json.loads(await app.send(HttpCall("GET", "/linking/runs")))["runs"][-1]
    linked: dict[str, str] = {}
    cursor = ""
    while True:
        path = f"/linking/runs/{run['id']}/decisions?decision=link&count=1000{cursor}"
        page = json.loads(await app.send(HttpCall("GET", path)))
        linked |= {row["account"]["userName"]: row["identity"]["objectId"] for row in page["decisions"]}
        if "cursor" not in page:
            return linked
        cursor = f"&cursor={page['cursor']}"


async def _ids(app: Server, calls: Iterator[HttpCall]) -> list[str]:
    return [json.loads(body)["Resources"][0]["id"] for body in await app.send_all(calls)]


def _found(path: str, value: str, times: int = 1) -> HttpCall:
    text = quote(f'{path} eq "{value}"', safe="")
    return HttpCall("GET", f"/scim/v2/Users?filter={text}", b'"totalResults":%d,' % times)


def _page(start: int) -> HttpCall:
    return HttpCall("GET", f"/scim/v2/Users?startIndex={start}&count={PAGE}", b'"itemsPerPage":%d,' % PAGE)


def _bulks(numbers: Iterator[int]) -> Iterator[HttpCall]:
    """Create BULK users a request, with numbers that no other request takes."""
    while True:
        operations = [
            {"method": "POST", "path": "/Users", "bulkId": str(number), "data": people.user(number)}
            for number in itertools.islice(numbers, BULK)
        ]
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:BulkRequest"], "Operations": operations}
        yield HttpCall("POST", "/scim/v2/Bulk", b'"status":"201"', body)


def _taken(users: int) -> Iterator[HttpCall]:
    """Create users under names that others have, each time with another object id."""
    for number in itertools.count():
        body = people.user(number % users) | {"externalId": people.external_id(10**9 + number)}
        yield HttpCall("POST", "/scim/v2/Users", b'"uniqueness"', body, refused=409)


def _patches(users: list[str]) -> Iterator[HttpCall]:
    for number, one in enumerate(itertools.cycle(users)):
        body = people.patch(displayName=f"Person {number}", title=f"Title {number}", nickName=f"P{number}")
        yield HttpCall("PATCH", f"/scim/v2/Users/{one}", b'"meta":', body)


def _switches(users: list[str]) -> Iterator[HttpCall]:
    """Switch all users off, then all on again, and so on, in Entra's words."""
    for value in itertools.cycle(("False", "True")):
        for one in users:
            yield HttpCall("PATCH", f"/scim/v2/Users/{one}", b'"meta":', people.patch(active=value))


def _yardstick_calls() -> Iterator[HttpCall]:
    return (HttpCall("GET", f"/{number % ROWS}", b"x") for number in itertools.count(step=7))
