"""`python -m infra.smoke` against two servers of one role each, over one Azurite; and that it sees what is wrong."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.infra.test_serve import served
from tests.waiting import PATIENCE, process

TOKEN = "smoke-token"


@pytest.fixture
async def pair(azurite: str) -> AsyncIterator[tuple[str, str]]:
    """The addresses of the apps with the roles scim and admin."""
    async with AsyncExitStack() as stack:
        urls = []
        for role in ("scim", "admin"):
            arguments = ("--tables", azurite, "--token", TOKEN, "--roles", role, "--workers", "0")
            urls.append((await stack.enter_async_context(served(*arguments))).url)
        yield urls[0], urls[1]


async def smoke(scim: str, admin: str, token: str = TOKEN) -> tuple[int | None, str]:
    command = (sys.executable, "-m", "infra.smoke", "--scim", scim, "--admin", admin)
    tokens = {"SMOKE_SCIM_TOKEN": token, "SMOKE_ADMIN_TOKEN": token}
    pipe = asyncio.subprocess.PIPE
    async with process(*command, stdout=pipe, stderr=pipe, env={**os.environ, **tokens}) as running:
        out, errors = await asyncio.wait_for(running.communicate(), PATIENCE)
    return running.returncode, (out + errors).decode()


async def test_a_pair_of_apps_passes_every_check(pair: tuple[str, str]) -> None:
    code, said = await smoke(*pair)
    assert code == 0, said
    assert "checks passed" in said
    for name in ("a user is made, found", "goes through Durable Functions", "POST /linking/runs/{id}/approve"):
        assert name in said


async def test_what_is_wrong_is_named(pair: tuple[str, str]) -> None:
    scim, admin = pair
    code, said = await smoke(admin, scim)
    assert code == 1
    failed = [line for line in said.splitlines() if "\u2502" in line and " ok " not in line]
    assert len(failed) > 30
    assert any("says what it can do" in line for line in failed)
    code, said = await smoke(scim, admin, "another-token")
    assert code == 1
    assert "401" in said
    code, said = await smoke(scim, admin, "")
    assert code == 1
    assert "set SMOKE_SCIM_TOKEN and SMOKE_ADMIN_TOKEN" in said


async def test_one_app_of_both_roles_passes(tmp_path: Path) -> None:
    async with served("--data", str(tmp_path), "--token", TOKEN, "--workers", "0") as server:
        code, said = await smoke(server.url, server.url)
    assert code == 0, said
