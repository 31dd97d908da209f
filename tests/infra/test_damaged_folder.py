"""A folder whose file is damaged: no server begins to serve it, and what is met later is never "not found"."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

import function_app
from infra.local import serve
from infra.local.host import LocalHost
from infra.local.serve import FILE
from shared.host.settings import Settings
from shared.tables.port import Unavailable
from shared.tables.sqlite import SqliteTables
from tests.waiting import process

TOKEN = "a-token"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
ADA = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com"}


@asynccontextmanager
async def _served(folder: Path) -> AsyncIterator[LocalHost]:
    accounts, histories = (SqliteTables.open(folder / FILE, name) for name in ("scimlink", "histories"))
    async with LocalHost(function_app.build(Settings.local(TOKEN), accounts), histories) as host:
        yield host
    await accounts.close()
    await histories.close()


async def _create(host: LocalHost, user: dict[str, object]) -> tuple[int, str]:
    answer = await host.handle("POST", "/scim/v2/Users", HEADERS, json.dumps(user).encode())
    return answer.status_code, answer.get_body().decode()


def _break(folder: Path, text: bytes, other: bytes) -> None:
    data = (folder / FILE).read_bytes()
    assert text in data
    (folder / FILE).write_bytes(data.replace(text, other))


async def test_a_user_whose_rows_lost_their_keys_is_neither_missing_nor_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with _served(tmp_path) as host:
        status, text = await _create(host, ADA)
        assert status == 201
        for number in range(20):
            await _create(host, ADA | {"userName": f"other{number}"})
    user_id = json.loads(text)["id"]
    # One digit of the id, in the row's key, in its claim and in its audit.
    _break(tmp_path, user_id.encode(), user_id[:-1].encode() + bytes([ord(user_id[-1]) ^ 1]))
    async with _served(tmp_path) as host:
        by_name = "/scim/v2/Users?filter=" + quote('userName eq "ada@example.com"')
        for path in (f"/scim/v2/Users/{user_id}", by_name):
            answer = await host.handle("GET", path, HEADERS)
            assert (answer.status_code, "damaged" in answer.get_body().decode()) == (503, True)
        status, text = await _create(host, ADA)
        assert (status, "damaged" in text) == (503, True)
    assert "infra/docs/local.md" in caplog.text


async def test_a_damaged_file_is_not_served(tmp_path: Path) -> None:
    async with _served(tmp_path) as host:
        for number in range(50):
            await _create(host, ADA | {"userName": f"user{number}"})
    _zero_a_page(tmp_path / FILE)
    command = (sys.executable, "-m", "infra.local.serve", "--port", "0", "--data", str(tmp_path), "--token", "t")
    async with process(*command, stderr=asyncio.subprocess.PIPE) as server:
        async with asyncio.timeout(30):  # one that serves does not end
            _, errors = await server.communicate()
    assert server.returncode == 1
    assert errors.decode().startswith(f"cannot serve: {tmp_path / FILE} is damaged: ")
    assert "backup" in errors.decode()


def test_a_file_that_cannot_be_opened_is_not_served_and_the_refusal_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise Unavailable(f"{tmp_path / FILE} cannot be opened: database or disk is full")

    monkeypatch.setattr(SqliteTables, "open", refuse)
    monkeypatch.setattr(serve, "start_log", lambda level: None)
    monkeypatch.setattr(sys, "argv", ["serve", "--port", "0", "--data", str(tmp_path), "--token", "t"])
    with pytest.raises(SystemExit, match=r"cannot serve: .+ cannot be opened: .+ full"):
        serve.main()


def _zero_a_page(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[4 * 8192 : 5 * 8192] = bytes(8192)
    path.write_bytes(data)
