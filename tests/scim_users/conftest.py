"""The app behind a real socket: two directories, a token for each door, and the tables below to put accounts into."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest
from yarl import URL

import function_app
from infra.local.host import LocalHost
from shared.directory.directory import Directories, Directory
from shared.host.settings import Credential, Settings
from shared.tables.port import Operation
from shared.tables.sqlite import SqliteTables
from tests.waiting import PATIENCE

TOKEN, OTHER_TOKEN, ADMIN_TOKEN = "scim-token-of-main", "scim-token-of-other", "admin-token-of-main"

CREDENTIALS = (
    Credential.of(TOKEN, "entra", "scim"),
    Credential.of(OTHER_TOKEN, "other", "scim", directory="other"),
    Credential.of(ADMIN_TOKEN, "administrator", "admin"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. `body` is the parsed JSON, or None where the answer had no body."""

    status: int
    headers: Mapping[str, str]
    body: Any


@dataclass(frozen=True, slots=True)
class Server:
    """A running app. `directories` opens the tables it serves, as another process would."""

    url: str
    session: aiohttp.ClientSession
    directories: Directories

    async def main(self) -> Directory:
        """Return the directory that TOKEN opens."""
        return await self.directories.open("main")

    async def send(
        self, method: str, path: str, body: object = None, *, token: str | None = TOKEN, **headers: str
    ) -> Answer:
        """Send a request under /scim/v2; `path` is readable, `body` is JSON or bytes, `if_match=` a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        named = {"Content-Type": "application/scim+json"} | named
        if token is not None:
            named["Authorization"] = f"Bearer {token}"
        url = URL(f"{self.url}/scim/v2{quote(path, safe='/?&=+%$[]:,@-._~')}", encoded=True)
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        # A large body given as bytes would hold up the event loop, says aiohttp.
        stream = data and io.BytesIO(data)
        async with self.session.request(method, url, data=stream, headers=named) as answer:
            text = await answer.text()
            return Answer(answer.status, answer.headers, json.loads(text) if text else None)


async def walk(server: Server, path: str, cursor: str = "") -> list[dict[str, Any]]:
    """Return the pages from a cursor to the end."""
    pages = []
    while True:
        answer = await server.send("GET", f"{path}&cursor={cursor}")
        assert answer.status == 200, answer.body
        pages.append(answer.body)
        if "nextCursor" not in answer.body:
            return pages
        cursor = answer.body["nextCursor"]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the rows that were written or deleted since the list was last cleared."""
    keys: list[str] = []
    commits = {name: getattr(SqliteTables, name) for name in ("commit", "commit_ahead")}

    def noting(name: str) -> Callable[[SqliteTables, str, Sequence[Operation]], Awaitable[list[str]]]:
        def note(tables: SqliteTables, partition: str, operations: Sequence[Operation]) -> Awaitable[list[str]]:
            keys.extend(operation.key for operation in operations)
            committed: Awaitable[list[str]] = commits[name](tables, partition, operations)
            return committed

        return note

    for name in commits:
        monkeypatch.setattr(SqliteTables, name, noting(name))
    return keys


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    """The app over an empty SQLite file."""
    tables = SqliteTables.open(tmp_path / "scimlink.db", "accounts")
    histories = SqliteTables.open(tmp_path / "scimlink.db", "histories")
    app = function_app.build(Settings(credentials=CREDENTIALS), tables)
    timeout = aiohttp.ClientTimeout(total=PATIENCE)
    async with LocalHost(app, histories) as host, aiohttp.ClientSession(timeout=timeout) as session:
        yield Server(host.url, session, Directories(tables))
    await tables.close()
    await histories.close()
