"""The large jobs (import, linking, undo), each in a server of its own: the time and the memory that they take."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from infra.local.bench.figures import Figure
from infra.local.bench.pages import AIM as PAGE_AIM
from infra.local.bench.pages import slowest
from infra.local.bench.people import patch
from infra.local.demo import Api
from infra.local.process import Process, running
from infra.local.standins.provisioning import WORK_EMAIL
from shared.tables.access import in_parts

TOKEN = "bench"  # noqa: S105 - opens nothing but this run's own made-up people
LOOK_SECONDS = 0.25
"""Seconds between two looks at a job."""
PART_ROWS = 200_000
"""Accounts in one part of an upload, which must stay below 100 MB."""
PAGES = 200
"""Pages of Microsoft Graph, of 999 identities each, in one part of an upload."""
RENAMED = 4
"""Of so many accounts one gets another sign-in name from provisioning."""
AT_ONCE = 8
"""Writes of provisioning at the same time."""
AIM_SIZE, LARGE_SIZE = 100_000, 1_000_000
"""Accounts for which a job has aims; other sizes show how it grows."""


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Process, aiohttp.ClientSession]]:
    """Serve the app over the folder's `data`, with a session for it."""
    server = running("infra.local.serve", "--port", "0", "--data", str(folder / "data"), "--token", TOKEN)
    async with server as process, connected(process.url) as session:
        yield process, session


def connected(url: str) -> aiohttp.ClientSession:
    """Return a session with a server, of four connections at most."""
    headers, timeout = {"Authorization": f"Bearer {TOKEN}"}, aiohttp.ClientTimeout(total=600)
    return aiohttp.ClientSession(f"{url}/", headers=headers, connector=aiohttp.TCPConnector(limit=4), timeout=timeout)


async def import_accounts(folder: Path, accounts: int) -> list[Figure]:
    """Import the folder's accounts.csv into an empty directory."""
    async with serving(folder) as (process, session):
        api, clock = Api(session), Clock(process)
        await api.call("PUT", "directory/policy", json.loads((folder / "policy.json").read_text()))
        created = 0
        for part in account_files(folder):
            job = await api.call("POST", "accounts/import", part, "text/csv")
            created += (await ended(api, f"accounts/imports/{job['id']}", "done"))["counts"].get("created", 0)
        if created != accounts:
            raise RuntimeError(f"{created} of {accounts} accounts were imported")
        return clock.figures("import", accounts, 200)


async def link(folder: Path, accounts: int) -> list[Figure]:
    """Plan and apply a linking run of the folder's identities.json over the accounts imported before."""
    async with serving(folder) as (process, session):
        api, clock = Api(session), Clock(process)
        upload = {"id": ""}
        for part in identity_files(folder):
            upload = await api.call("POST", f"linking/identities?after={upload['id']}", part)
        uploaded = clock.wall()
        run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
        path = f"linking/runs/{run['id']}"
        run = await ended(api, path, "planned")
        planned = clock.wall()
        with clock.stopped():
            page = await slowest(process, session, run["id"], accounts, PAGE_AIM if accounts == AIM_SIZE else None)
        await api.call("POST", path + "/approve", approval_of(run))
        run = await ended(api, path, "done")
        if run["counts"].get("linked") != run["counts"]["link"]:
            raise RuntimeError(f"{run['counts']}: not every planned link was made")
        times = {"uploaded s": uploaded, "planned s": planned}
        return [*clock.figures("plan + apply", accounts, 300, times, (360, 512)), page]


async def link_again(folder: Path, accounts: int, whole: float) -> list[Figure]:
    """Run again after a hundredth of the identities and accounts changed, and once more after nothing did.

    `whole` is the seconds that the first run took, from its start to its end.
    """
    async with serving(folder) as (process, session):
        api = Api(session)
        second = list[bytes]()
        upload = {"id": ""}
        for part in identity_files(folder):
            upload = await api.call("POST", f"linking/identities?after={upload['id']}", _changed(part, second))
        file = b"userName,employeeNumber\n" + b"".join(second)
        job = await api.call("POST", "accounts/import", file, "text/csv")
        await ended(api, f"accounts/imports/{job['id']}", "done")
        clock = Clock(process)
        run = await _run(api, upload["id"])
        if not accounts // 100 < sum(run["counts"].values()) < accounts // 10:
            raise RuntimeError(f"{run['counts']} decided again, of {accounts} accounts")
        aim = whole / 20 if accounts == LARGE_SIZE else None
        beside = {"CPU s": clock.cpu(), "% of the whole": 100 * clock.wall() / whole}
        figures = [Figure("a later run, 1 % changed", clock.wall(), "s", aim, accounts, beside, relative=True)]
        clock = Clock(process)
        run = await _run(api, upload["id"])
        if "planned" in run:
            raise RuntimeError(f"{run['counts']}: nothing had changed")
        return [*figures, Figure("a later run, nothing changed", clock.wall(), "s", None, accounts)]


async def _run(api: Api, upload: str) -> Any:
    """Start a run, approve it once it is planned, and return it once it is done."""
    run = await api.call("POST", "linking/runs", {"identities": upload})
    path = f"linking/runs/{run['id']}"
    run = await ended(api, path, "planned", "done")
    if run["phase"] == "planned":
        await api.call("POST", path + "/approve", approval_of(run))
        run = await ended(api, path, "done")
    return run


def approval_of(run: Any) -> dict[str, Any]:
    """Return the approval of a planned run by somebody who has seen what it warns of."""
    seen = [warned["code"] for warned in run.get("warnings", ())]
    return {"links": run["counts"].get("link", 0), "acknowledged": seen}


def _changed(part: bytes, second: list[bytes]) -> bytes:
    """Return a part of the identities with every hundredth changed: half of these in the address.

    `second` is given rows of new accounts: for every hundredth identity, one with the same employee number.
    """
    pages = [json.loads(line) for line in part.splitlines()]
    for number, person in enumerate(person for page in pages for person in page["value"]):
        if number % 200 == 0:
            person["department"] = "Elsewhere"
        elif number % 200 == 100:
            person["mail"] = f"changed.{person['id']}@contoso.com"
        elif number % 100 == 50:
            second.append(f"second.{person['id']},{person.get('employeeId') or ''}\n".encode())
    return b"\n".join(json.dumps(page, ensure_ascii=False).encode() for page in pages)


async def undo(folder: Path, accounts: int) -> list[Figure]:
    """Take back the links of the run that link() applied, and what provisioning wrote to each account since."""
    async with serving(folder) as (process, session):
        api = Api(session)
        run = (await api.call("GET", "linking/runs"))["runs"][-1]
        if accounts <= AIM_SIZE:
            await _provision(api, session, run)
        links, clock = run["counts"]["linked"], Clock(process)
        job = await api.call("POST", f"linking/runs/{run['id']}/undo")
        job = await ended(api, f"linking/undos/{job['id']}", "done")
        if job["counts"] != {"undone": links}:
            raise RuntimeError(f"{job['counts']} of {links} links were taken back")
        return clock.figures("undo", accounts, 200, {"links": links})


async def _provision(api: Api, session: aiohttp.ClientSession, run: Any) -> None:
    """Write to every account that a run linked, as a first cycle does: to each fourth another sign-in name, too."""
    numbers, cursor = itertools.count(), ""

    async def write(row: Any, number: int) -> None:
        values = {"externalId": row["identity"]["objectId"], "title": "Director", "displayName": f"Person {number}"}
        if number % RENAMED == 0:
            name = f"renamed{number}@contoso.com"
            values |= {"userName": name, WORK_EMAIL: name}
        async with session.patch(f"scim/v2/Users/{row['account']['id']}", json=patch(**values)) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"SCIM answered {answer.status} to a write to a linked account")

    while True:
        asked = f"decision=link&count=1000&cursor={cursor}"
        page = await api.call("GET", f"linking/runs/{run['id']}/decisions?{asked}")
        for rows in in_parts([row for row in page["decisions"] if row.get("outcome") == "linked"], AT_ONCE):
            await asyncio.gather(*(write(row, next(numbers)) for row in rows))
        if not (cursor := page.get("cursor", "")):
            return


def account_files(folder: Path) -> Iterator[bytes]:
    """Yield the folder's accounts.csv in parts that are small enough for an upload."""
    with (folder / "accounts.csv").open("rb") as file:
        header = file.readline()
        while lines := list(itertools.islice(file, PART_ROWS)):
            yield b"".join([header, *lines])


def identity_files(folder: Path) -> Iterator[bytes]:
    """Yield the folder's identities.json in parts that are small enough for an upload."""
    with (folder / "identities.json").open("rb") as file:
        while pages := list(itertools.islice(file, PAGES)):
            yield b"".join(pages)


async def ended(api: Api, path: str, *states: str) -> Any:
    """Wait until a job is in one of these states; return it. Raises RuntimeError if it ends in another one."""
    while True:
        job = await api.call("GET", path)
        if job["phase"] in states:
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

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Leave out what the process takes while the block runs."""
        wall, cpu = self.wall(), self.cpu()
        yield
        self._began, self._cpu = time.perf_counter() - wall, self._process.cpu() - cpu

    def wall(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._began

    def cpu(self) -> float:
        """Return the CPU seconds so far."""
        return self._process.cpu() - self._cpu

    def figures(
        self,
        name: str,
        accounts: int,
        memory: float,
        beside: Mapping[str, float] | None = None,
        large: tuple[float, float] | None = None,
    ) -> list[Figure]:
        """Return the job's figures, time and memory. `beside` goes with the time.

        `memory` is the aim in MB for AIM_SIZE, `large` are the aims for LARGE_SIZE in seconds and MB.
        """
        wall, cpu = self.wall(), self.cpu()
        aims = {AIM_SIZE: (60, memory), LARGE_SIZE: large}.get(accounts) or (None, None)
        return [
            Figure(name, wall, "s", aims[0], accounts, {"CPU s": cpu, **(beside or {})}),
            Figure(f"{name}: memory", self._process.peak(), "MB", aims[1], accounts),
        ]
