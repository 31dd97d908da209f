"""`python -m infra.local.serve` as a process: what it prints, keeps and leaves."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com", "active": True}


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    process: asyncio.subprocess.Process
    lines: list[str]

    @property
    def url(self) -> str:
        return self.lines[-1].removeprefix("ready: ")


@asynccontextmanager
async def served(*arguments: str) -> AsyncIterator[Served]:
    """Start the server and wait until it is ready; kill it in the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local.serve", "--port", "0", *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        async with asyncio.timeout(20):
            while not lines or not lines[-1].startswith("ready: "):
                line = await process.stdout.readline()
                assert line, "the server ended before it was ready"
                lines.append(line.decode().strip())
        yield Served(process, lines)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _status(url: str, token: str, method: str = "GET", path: str = "/scim/v2/Users", **options: object) -> int:
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url + path, **options) as answer,
    ):  # type: ignore[arg-type]
        return answer.status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly(tmp_path: Path, number: signal.Signals) -> None:
    async with served("--data", str(tmp_path / "new"), "--token", "t") as server:
        assert server.lines == [f"ready: {server.url}"]
        assert await _status(server.url, "t") == 200
        assert await _status(server.url, "wrong") == 401
        server.process.send_signal(number)
        assert await asyncio.wait_for(server.process.wait(), 10) == 0
    assert not (tmp_path / "new" / "token").exists()


async def test_its_data_outlives_a_kill(tmp_path: Path) -> None:
    async with served("--data", str(tmp_path), "--token", "t") as server:
        assert await _status(server.url, "t", "POST", json=USER) == 201
        server.process.kill()
        await server.process.wait()
    async with served("--data", str(tmp_path), "--token", "t") as server:
        assert await _status(server.url, "t", "POST", json=USER) == 409


async def test_it_keeps_its_data_in_table_storage_as_well(azurite: str) -> None:
    async with served("--tables", azurite, "--token", "t") as server:
        assert await _status(server.url, "t") == 200
        server.process.terminate()
        assert await asyncio.wait_for(server.process.wait(), 10) == 0


async def test_what_keeps_it_from_serving_is_said(tmp_path: Path) -> None:
    async with served("--data", str(tmp_path), "--token", "t") as server:
        port = server.url.rpartition(":")[2]
        for arguments, reason in (
            (("--data", str(tmp_path)), f"another server uses {tmp_path}"),
            (("--data", str(tmp_path / "other"), "--port", port), "address already in use"),
        ):
            second = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "infra.local.serve", *arguments, "--token", "t", stderr=asyncio.subprocess.PIPE
            )
            _, errors = await second.communicate()
            assert second.returncode == 1
            assert errors.decode().startswith("cannot serve: ")
            assert reason in errors.decode()


async def test_without_a_token_it_makes_one_and_keeps_it(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(2):
        async with served("--data", str(tmp_path)) as server:
            tenant, secret, _ = server.lines
            assert tenant.split() == ["Tenant", "URL:", f"{server.url}/scim/v2"]
            tokens.add(secret.split()[-1])
            assert await _status(server.url, secret.split()[-1]) == 200
    assert {(tmp_path / "token").read_text().strip()} == tokens
    assert stat.S_IMODE(os.stat(tmp_path / "token").st_mode) == 0o600


async def test_a_setting_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIMLINK_GRAPH_ENDPOINT", "http://graph.microsoft.com")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.local.serve", "--data", str(tmp_path), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().startswith("cannot serve: SCIMLINK_GRAPH_ENDPOINT: ")
