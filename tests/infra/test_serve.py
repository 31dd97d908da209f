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

from tests.waiting import PATIENCE, process

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
    command = (sys.executable, "-m", "infra.local.serve", "--port", "0", *arguments)
    async with process(*command, stdout=asyncio.subprocess.PIPE) as server:
        yield Served(server, await lines_until_ready(server))


async def lines_until_ready(server: asyncio.subprocess.Process) -> list[str]:
    """Return what a server prints, up to the line that says where it answers."""
    assert server.stdout is not None
    lines: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while not lines or not lines[-1].startswith("ready: "):
            line = await server.stdout.readline()
            assert line, "the server ended before it was ready"
            lines.append(line.decode().strip())
    return lines


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
        assert await asyncio.wait_for(server.process.wait(), PATIENCE) == 0
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
        assert await asyncio.wait_for(server.process.wait(), PATIENCE) == 0


async def test_what_keeps_it_from_serving_is_said(tmp_path: Path) -> None:
    async with served("--data", str(tmp_path), "--token", "t") as server:
        port = server.url.rpartition(":")[2]
        for arguments, reason in (
            (("--data", str(tmp_path)), f"another server uses {tmp_path}"),
            (("--data", str(tmp_path / "other"), "--port", port), "address already in use"),
        ):
            command = (sys.executable, "-m", "infra.local.serve", *arguments, "--token", "t")
            async with process(*command, stderr=asyncio.subprocess.PIPE) as second:
                _, errors = await second.communicate()
            assert second.returncode == 1
            assert errors.decode().startswith("cannot serve: ")
            assert reason in errors.decode()


async def test_without_a_token_it_makes_one_and_keeps_it(tmp_path: Path) -> None:
    tokens = set()
    for _ in range(2):
        async with served("--data", str(tmp_path)) as server:
            tenant, secret, portal, _ = server.lines
            assert portal == f"Portal:       {server.url}/portal"
            assert tenant.split() == ["Tenant", "URL:", f"{server.url}/scim/v2"]
            tokens.add(secret.split()[-1])
            assert await _status(server.url, secret.split()[-1]) == 200
    assert {(tmp_path / "token").read_text().strip()} == tokens
    assert stat.S_IMODE(os.stat(tmp_path / "token").st_mode) == 0o600


async def test_it_serves_the_doors_of_its_roles(tmp_path: Path) -> None:
    headers = {"Authorization": "Bearer t"}
    for roles, scim, admin in (("scim", 200, 404), ("admin", 404, 200)):
        async with (
            served("--data", str(tmp_path), "--token", "t", "--roles", roles) as server,
            aiohttp.ClientSession(server.url, headers=headers) as session,
        ):
            for path, status in (("/scim/v2/Users", scim), ("/linking/runs", admin)):
                async with session.get(path) as answer:
                    assert answer.status == status


async def test_a_setting_that_is_wrong_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCIMLINK_GRAPH_ENDPOINT", "http://graph.microsoft.com")
    command = (sys.executable, "-m", "infra.local.serve", "--data", str(tmp_path))
    async with process(*command, stderr=asyncio.subprocess.PIPE) as server:
        _, errors = await server.communicate()
    assert server.returncode == 1
    assert errors.decode().startswith("cannot serve: SCIMLINK_GRAPH_ENDPOINT: ")


async def test_windows_is_told_of_wsl() -> None:
    program = "import sys; sys.modules['fcntl'] = None; import infra.local.serve"
    async with process(sys.executable, "-c", program, stderr=asyncio.subprocess.PIPE) as server:
        _, errors = await server.communicate()
    assert server.returncode == 1
    assert errors.decode().endswith("On Windows, run it in WSL.\n")
