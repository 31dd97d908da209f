"""`python -m infra.smoke` against two servers of one role each, over one Azurite; and that it sees what is wrong."""

from __future__ import annotations

import asyncio
import io
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest
from rich.console import Console

import function_app
from infra import smoke as smoke_test
from infra.local.host import LocalHost
from shared.host.settings import Credential, Role, Settings
from shared.tables.sqlite import SqliteTables
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
    for name in (
        "a user is made, found",
        "its portal lets in nobody",
        "scim: has no portal",
        "goes through Durable Functions",
        "POST /linking/runs/{id}/approve",
    ):
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


async def test_tokens_that_open_one_role_each_pass(tmp_path: Path, sqlite_tables: SqliteTables) -> None:
    """As they are in Azure: the local host's one token opens both."""
    addresses: dict[Role, str] = {}
    async with AsyncExitStack() as stack:
        for role in ("scim", "admin"):
            credentials = (Credential.of(role, role, role),)
            app = function_app.build(Settings(app_roles=frozenset({role}), credentials=credentials), sqlite_tables)
            histories = SqliteTables.open(tmp_path / f"{role}.db")
            stack.push_async_callback(histories.close)
            addresses[role] = (await stack.enter_async_context(LocalHost(app, histories))).url
        console = Console(width=200, record=True, quiet=True)
        code = await smoke_test.run(addresses, {"scim": "scim", "admin": "admin"}, console)
    assert code == 0


@asynccontextmanager
async def answering(text: str) -> AsyncIterator[str]:
    """The address of a server that answers everything with one text."""

    async def answer(request: aiohttp.web.Request) -> aiohttp.web.Response:
        return aiohttp.web.Response(text=text, content_type="application/json")

    app = aiohttp.web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("text", ["[]", "null", "7", '{"Resources": 7}', "<html>", ""])
async def test_a_server_that_answers_something_else_fails_every_check_and_ends_none(text: str) -> None:
    async with answering(text) as url:
        assert await smoke_test.run({"scim": url, "admin": url}, {"scim": "x", "admin": "x"}, Console(quiet=True)) == 1


@pytest.mark.parametrize("address", ["http://127.0.0.1:7071", "https://admin.example"])
async def test_a_portal_that_shows_itself_to_anybody_is_found(address: str) -> None:
    async with answering("a page") as url, smoke_test._app("admin", url, TOKEN) as app:
        who = "a principal" if "127" in address else "nobody"
        with pytest.raises(smoke_test.Failed, match=f"200 for {who}"):
            await smoke_test._hides_portal(replace(app, address=address))


async def test_a_server_that_is_away_is_given_up_at_once() -> None:
    console = Console(record=True, quiet=False, file=io.StringIO(), width=200)
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        code = await smoke_test.run({"scim": url, "admin": url}, {"scim": "x", "admin": "x"}, console)
    text = console.export_text()
    assert code == 1
    assert text.count("no answer: ") == 2
    assert text.count("not tried: the app is away") > 50


async def test_no_check_is_tried_once_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smoke_test, "TOTAL_SECONDS", 0.05)

    async def hang() -> None:
        await asyncio.sleep(60)

    first, second = await smoke_test._outcomes({"scim: hangs": hang, "scim: comes too late": hang})
    assert first.fault.startswith("no answer: TimeoutError")
    assert second.fault == "not tried: out of time"


async def test_what_a_check_made_is_deleted_also_where_the_check_fails(tmp_path: Path) -> None:
    """Every PATCH fails here, so that the user's and the group's check do."""
    tables, histories = SqliteTables.open(tmp_path / "t.db"), SqliteTables.open(tmp_path / "h.db")
    built = function_app.build(Settings.local(TOKEN), tables)
    async with LocalHost(built, histories) as host, smoke_test._app("scim", host.url, TOKEN) as app:
        failing: Any = replace(app, session=FailingPatches(app.session))  # type: ignore[arg-type]
        for check in (smoke_test._user_lives, smoke_test._group_lives):
            with pytest.raises(smoke_test.Failed, match="PATCH"):
                await check(failing)
        for path in ("Users", "Groups"):
            assert (await app.expect("GET", f"scim/v2/{path}"))["totalResults"] == 0
    await tables.close()
    await histories.close()


class FailingPatches:
    """A session whose PATCH requests go to a path that nothing answers."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    def request(self, method: str, path: str, **options: Any) -> Any:
        return self._session.request(method, "nothing" if method == "PATCH" else path, **options)
