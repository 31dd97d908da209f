"""A local host with an empty directory for each suite, and a way to run a suite against it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

import function_app
from infra.local.host import LocalHost
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables
from tests.environments import environment
from tests.waiting import PATIENCE

TOKEN = "conformance-token"

Run = Callable[..., Awaitable[str]]
"""Takes a command line, and further variables of its environment; returns what it printed, however it ended."""


@pytest.fixture(scope="session")
def suites_python() -> Path:
    """Return the interpreter of the environment that has the suites from PyPI."""
    return environment(".conformance-venv", (Path(__file__).parent / "requirements.txt", []))


@pytest.fixture
async def run(tmp_path: Path) -> AsyncIterator[Run]:
    """Return a function that runs a suite against the app, over a directory that is empty at first."""
    tables = SqliteTables.open(tmp_path / "scimlink.db", "accounts")
    histories = SqliteTables.open(tmp_path / "scimlink.db", "histories")
    async with LocalHost(function_app.build(Settings.local(TOKEN), tables), histories) as host:

        async def command(*arguments: str | Path, **more: str) -> str:
            kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | more
            process = await asyncio.create_subprocess_exec(
                *arguments,
                cwd=tmp_path,
                env={**kept, "BASE_URL": f"{host.url}/scim/v2", "TOKEN": TOKEN},
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            try:
                printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            return printed.decode()

        yield command
    await tables.close()
    await histories.close()
