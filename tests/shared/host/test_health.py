"""Whether the app is up, and whether it can work: over storage that is full, busy, closed to it, or silent."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

import function_app
from infra.local.host import LocalHost
from shared.host import readiness
from shared.host.readiness import Readiness
from shared.host.settings import Settings
from shared.tables.azure import AzureTables
from shared.tables.port import Denied, Insert, Operation, Row, Tables, Throttled, Unavailable
from shared.tables.sqlite import SqliteTables
from tests.shared.tables.test_azure import says

MARK = "personal-value"


@asynccontextmanager
async def serving(tables: Tables, folder: Path) -> AsyncIterator[LocalHost]:
    histories = SqliteTables.open(folder / "histories.db")
    async with LocalHost(function_app.build(Settings.local("token"), tables), histories) as host:
        yield host
    await histories.close()


async def get(host: LocalHost, path: str) -> tuple[int, Any]:
    answer = await host.handle("GET", path)
    assert answer.mimetype == "application/json"
    return answer.status_code, json.loads(answer.get_body())


class Failing:
    """Storage whose commits fail."""

    def __init__(self, inner: Tables, error: Exception | None) -> None:
        self.inner = inner
        self.error: Exception | None = error

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        if self.error:
            raise self.error
        return await self.inner.commit(partition, operations)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


async def test_ready_is_who_can_write_and_read_storage(tables: Tables, tmp_path: Path) -> None:
    async with serving(tables, tmp_path) as host:
        assert await get(host, "/health/ready") == (200, {"status": "ready"})
        assert await get(host, "/health/live") == (200, {"status": "up"})
        assert await get(host, "/health") == (200, {"status": "up", "storage": "ready"})
    assert (await tables.query("health")).rows == [], "it leaves nothing behind"


@pytest.mark.parametrize(
    "error", [Unavailable("database or disk is full"), Throttled(1.0), Denied("403 AuthorizationPermissionMismatch: …")]
)
async def test_who_cannot_write_is_not_ready_and_says_why(
    sqlite_tables: SqliteTables, tmp_path: Path, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    async with serving(Failing(sqlite_tables, error), tmp_path) as host:
        assert await get(host, "/health/ready") == (503, {"status": "not ready", "storage": str(error)})
        assert await get(host, "/health/live") == (200, {"status": "up"})
        assert await get(host, "/health") == (200, {"status": "up", "storage": str(error)})
    assert str(error) in caplog.text


async def test_a_disk_that_is_full_is_told_from_one_that_is_not(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")
    pages = tables._file._writer.execute("PRAGMA page_count").fetchone()[0]
    async with serving(tables, tmp_path) as host:
        tables._file._writer.execute(f"PRAGMA max_page_count = {pages}")
        await _fill(tables)
        assert await get(host, "/health/ready") == (503, {"status": "not ready", "storage": "database or disk is full"})
    await tables.close()


async def _fill(tables: Tables) -> None:
    """Write until nothing fits any more."""
    for number in range(100):
        try:
            await tables.commit("p", [Insert(f"{number}", {"text": "x" * 8_000})])
        except Unavailable:
            return


async def test_storage_that_does_not_answer_is_not_waited_for(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "PATIENCE", 0.01)

    class Silent(Failing):
        async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
            return await asyncio.Event().wait()  # type: ignore[return-value]

    assert await Readiness(Silent(sqlite_tables, Exception())).find_fault() == "no answer within 0 s"


async def test_a_row_that_is_lost_is_noticed(sqlite_tables: SqliteTables) -> None:
    class Losing(Failing):
        async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
            return [""]

    assert await Readiness(Losing(sqlite_tables, Exception())).find_fault() == "what was written is not read"


async def test_what_a_look_that_ended_midway_left_is_removed_by_a_later_one(tables: Tables) -> None:
    class Forgetful(Failing):
        async def get(self, partition: str, key: str) -> Row | None:
            raise Unavailable("away")

    today, past = 1_800_000_000.0, [1_000_000_000.0 + number for number in range(3)]
    for moment in (*past, today):
        assert await Readiness(Forgetful(tables, None), now=lambda moment=moment: moment).find_fault() == "away"
    assert len((await tables.query("health")).rows) == 4
    assert await Readiness(tables, now=lambda: today).find_fault() == ""
    left = (await tables.query("health", select=[])).rows
    assert len(left) == 1, "the row of today may be that of another instance's look, which goes on"
    assert (
        await asyncio.gather(*(Readiness(tables, now=lambda: today + 600).find_fault() for _ in range(8))) == [""] * 8
    )
    assert (await tables.query("health", select=[])).rows == []


async def test_whoever_asks_all_the_time_has_storage_looked_at_once_a_second(sqlite_tables: SqliteTables) -> None:
    now = 0.0
    failing = Failing(sqlite_tables, Unavailable("away"))
    looking = Readiness(failing, clock=lambda: now)
    assert await asyncio.gather(*(looking.find_fault() for _ in range(50))) == ["away"] * 50
    failing.error = None
    now = 0.9
    assert await looking.find_fault() == "away"
    now = 1.0
    assert await looking.find_fault() == ""


Answer = Callable[[web.Request], Any]


@pytest.fixture
async def closed(tmp_path: Path) -> AsyncIterator[LocalHost]:
    """The app over a storage account on which its identity has no role."""
    account = web.Application()
    account.router.add_route("*", "/{path:.*}", says(403, "AuthorizationPermissionMismatch"))
    async with TestServer(account, host="127.0.0.1") as server:
        text = f"AccountName=test;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:{server.port}/test;"
        tables = AzureTables.from_connection_string(text)
        async with serving(tables, tmp_path) as host:
            yield host
        await tables.close()


async def test_a_missing_role_is_told_to_the_caller_and_to_the_log(
    closed: LocalHost, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (f"/scim/v2/Users?filter=userName%20eq%20%22{MARK}%22", "/accounts?userName=" + MARK):
        answer = await closed.handle("GET", path, {"Authorization": "Bearer token"})
        detail = json.loads(answer.get_body())["detail"]
        assert (answer.status_code, "Retry-After" in answer.headers) == (500, False)
        assert "403 AuthorizationPermissionMismatch" in detail
        assert "Storage Table Data Contributor" in detail
    ours = [record for record in caplog.records if record.name == "scimlink" and record.levelno == logging.ERROR]
    assert len(ours) == 2
    assert all("403 AuthorizationPermissionMismatch" in record.getMessage() for record in ours)
    assert MARK not in caplog.text
    status, told = await get(closed, "/health/ready")
    assert (status, told["storage"].split(":")[0]) == (503, "403 AuthorizationPermissionMismatch")


async def test_a_missing_role_is_named_by_timers_too(closed: LocalHost, caplog: pytest.LogCaptureFixture) -> None:
    await closed.run_timer("scheduled_runs")
    assert "schedule main failed with Denied: 403 AuthorizationPermissionMismatch" in caplog.text
