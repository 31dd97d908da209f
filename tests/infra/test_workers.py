"""Activities in processes of their own: how they answer, and what dies with whom."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import function_app
from infra.local.demo_data import generate, write
from infra.local.durable import wire
from infra.local.durable.instance import first_events
from infra.local.functions import read_functions
from infra.local.workers import BUSY_LOAD, BUSY_REQUESTS, LIVES, ActivityFailed, WorkerDied, Workers, _Worker
from link_orchestrator.messages import Start
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables
from tests.infra.test_serve import Served, served
from tests.link_orchestrator.running import TOKEN, Api, connected, count_rows
from tests.waiting import PATIENCE, process, until

PROC = Path("/proc")
SLICE = {"job": "run0", "directory": "main", "stage": "join", "low": 0, "high": 1}


def first(folder: Path) -> dict[str, Any]:
    """Return what tells a worker to work on a folder."""
    settings = Settings.local(TOKEN).model_dump(mode="json")
    return {"settings": settings, "data": str(folder), "tables": None, "logLevel": "CRITICAL"}


@asynccontextmanager
async def workers(number: int, folder: Path) -> AsyncIterator[Workers]:
    some = Workers(number, first(folder))
    try:
        yield some
    finally:
        await some.close()


def children(pid: int) -> set[int]:
    """Return the processes that a process started and that still run."""
    if not PROC.exists():
        return {child for child, (parent, alive) in listed().items() if parent == pid and alive}
    found: set[int] = set()
    for path in (PROC / str(pid) / "task").glob("*/children"):
        found.update(map(int, path.read_text().split()))
    return {child for child in found if runs(child)}


def runs(pid: int) -> bool:
    """Tell whether a process is there, and no zombie."""
    if not PROC.exists():
        return listed().get(pid, (0, False))[1]
    try:
        return ") Z " not in (PROC / str(pid) / "stat").read_text()
    except OSError:
        return False


def listed() -> dict[int, tuple[int, bool]]:
    """Return the parent of each process, and whether it is no zombie, as ps tells it where there is no /proc."""
    command = [str(shutil.which("ps")), "-axo", "pid=,ppid=,stat="]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as ps:
        lines = [line.split() for line in ps.stdout or ()]
    return {int(pid): (int(parent), "Z" not in state) for pid, parent, state in lines if int(pid) != ps.pid}


@pytest.mark.parametrize("folder", ["/proc", "/nowhere"])
async def test_processes_are_seen_with_and_without_proc(monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.setattr("tests.infra.test_workers.PROC", Path(folder))
    before = children(os.getpid())
    async with process(sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE) as started:
        assert children(os.getpid()) - before == {started.pid}
        assert runs(started.pid)
    assert children(os.getpid()) == before
    assert not runs(started.pid)


async def test_an_activity_that_fails_says_in_the_server_what_it_said_in_the_worker(tmp_path: Path) -> None:
    async with workers(1, tmp_path) as some:
        call = some.activities(["run_slice"])["run_slice"]
        with pytest.raises(ActivityFailed, match="NotFound: no job run0"):
            await call(SLICE)


async def test_as_many_workers_as_allowed_start_and_each_takes_several_activities(tmp_path: Path) -> None:
    before = children(os.getpid())
    async with workers(2, tmp_path) as some:
        call = some.activities(["run_slice"])["run_slice"]
        answers = await asyncio.gather(*(call(SLICE) for _ in range(5)), return_exceptions=True)
        assert [type(answer) for answer in answers] == [ActivityFailed] * 5
        assert len(children(os.getpid()) - before) == 2
    assert children(os.getpid()) == before


async def test_what_kills_every_worker_fails_in_the_end(tmp_path: Path) -> None:
    started = 0

    class Counted(Workers):
        async def _least_busy(self, pool: Any) -> Any:
            nonlocal started
            started += 1
            return await super()._least_busy(pool)

    some = Counted(1, first(tmp_path / "not there"))
    with pytest.raises(WorkerDied):
        await some.activities(["run_slice"])["run_slice"](SLICE)
    assert started == LIVES
    await some.close()


CUT = 'import sys; sys.stdin.readline(); sys.stdout.write(\'{"number": 1, "resu\'); sys.stdout.flush()'
LONG = "import sys; sys.stdin.readline(); sys.stdout.write('x' * 200); sys.stdout.flush(); sys.stdin.read()"


@pytest.mark.parametrize(("program", "limit"), [(CUT, 2**16), (LONG, 64)])
async def test_a_worker_whose_answer_breaks_off_or_never_ends_has_died(program: str, limit: int) -> None:
    pipe = asyncio.subprocess.PIPE
    async with process(sys.executable, "-c", program, stdin=pipe, stdout=pipe, limit=limit) as started:
        worker = _Worker(started)
        worker.load += 1
        with pytest.raises(WorkerDied):
            await asyncio.wait_for(worker.call("x", {}), PATIENCE)
        assert not worker.alive
        await asyncio.wait_for(worker.close(), PATIENCE)
        assert not runs(started.pid)


@pytest.mark.parametrize("requests", [BUSY_REQUESTS - 1, BUSY_REQUESTS])
async def test_while_requests_come_one_worker_works_and_the_others_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, requests: int
) -> None:
    monkeypatch.setattr("infra.local.workers.BUSY_SECONDS", 2 * PATIENCE)
    before = children(os.getpid())
    async with workers(2, tmp_path) as some:
        for _ in range(requests):
            some.note_request()
        call = some.activities(["run_slice"])["run_slice"]
        under_way = [asyncio.create_task(call(SLICE)) for _ in range(2 * BUSY_LOAD)]
        one = await until(lambda: some._workers[0])
        assert one.load <= BUSY_LOAD
        await asyncio.gather(*under_way, return_exceptions=True)
        assert len(children(os.getpid()) - before) == (1 if requests == BUSY_REQUESTS else 2)


async def test_workers_work_again_when_no_more_requests_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.workers.BUSY_SECONDS", 0.0)
    before = children(os.getpid())
    async with workers(2, tmp_path) as some:
        for _ in range(BUSY_REQUESTS):
            some.note_request()
        call = some.activities(["run_slice"])["run_slice"]
        await asyncio.gather(*(call(SLICE) for _ in range(3)), return_exceptions=True)
        assert len(children(os.getpid()) - before) == 2


@pytest.mark.parametrize("sent", ["as it should be", None])
async def test_a_replay_tells_in_a_process_of_its_own_what_it_tells_here(tmp_path: Path, sent: str | None) -> None:
    tables = SqliteTables.open(tmp_path / "scimlink.db")
    here = read_functions(function_app.build(Settings.local(TOKEN), tables)).orchestrators
    start = Start(job="run0", directory="main", slices=2, buckets=4, expires_hours=1).to_json()
    text = json.dumps(start) if sent else "null"
    events = first_events("link_accounts", text, datetime(2026, 11, 25, tzinfo=UTC))
    request = wire.request([json.dumps(one) for one in events], "i", text)
    before = children(os.getpid())
    async with workers(2, tmp_path) as some:
        there = some.orchestrators(here)["link_accounts"]
        outcome = await there(request)
        assert outcome == await here["link_accounts"](request)
        assert (outcome.error is None) == (sent is not None)
        assert len(children(os.getpid()) - before) == 1
    await tables.close()


@asynccontextmanager
async def running(folder: Path, people: int) -> AsyncIterator[tuple[Served, Api, str]]:
    """Serve a directory with accounts, and start a run over as many identities."""
    write(generate(people, people), folder)
    arguments = ("--data", str(folder / "data"), "--token", TOKEN, "--workers", "2")
    async with served(*arguments) as server, connected(server.url) as session:
        api = Api(session)
        await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com", "fabrikam.com"]})
        await api.bring((folder / "accounts.csv").read_bytes())
        upload = await api.call("POST", "linking/identities", (folder / "identities.json").read_bytes())
        run = await api.call("POST", "linking/runs", {"identities": upload["id"]})
        yield server, api, f"linking/runs/{run['id']}"


async def test_a_run_whose_workers_are_killed_again_and_again_ends_right(tmp_path: Path) -> None:
    async with running(tmp_path, 1_000) as (server, api, path):
        killed = set[int]()

        async def got_on(before: int) -> bool:
            assert (await api.call("GET", path))["phase"] == "started", "the workers are killed while they have work"
            return count_rows(tmp_path / "data" / "scimlink.db") != before

        for _ in range(4):
            before = count_rows(tmp_path / "data" / "scimlink.db")
            one = min(await until(lambda: children(server.process.pid) - killed))
            await until(lambda before=before: got_on(before))
            os.kill(one, signal.SIGKILL)
            killed.add(one)
        run = await api.wait(path, "planned")
        links = run["counts"]["link"]
        rows = await api.decisions(run)
        assert sum(run["counts"].values()) == len(rows)
        done = await api.apply(run, links=links)
        assert (done["counts"]["linked"], done["counts"].get("refused", 0)) == (links, 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_workers_end_with_their_server(tmp_path: Path, number: signal.Signals) -> None:
    async with running(tmp_path, 300) as (server, _, _):
        left = await until(lambda: children(server.process.pid))
        server.process.send_signal(number)
        await asyncio.wait_for(server.process.wait(), PATIENCE)
        await until(lambda: not any(map(runs, left)))
