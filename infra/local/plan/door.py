"""The app in this process. It is asked through the functions that serve HTTP, without a port to connect to.

Its client of durable orchestrations alone uses a socket, on the loopback address, under a random path (management.py).
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from infra.local.host import LocalHost
from infra.local.serve import ACCOUNTS, HISTORIES, open_tables, start_workers
from shared.host.settings import Settings

PAUSE_SECONDS: Final = 0.2
"""Seconds between two looks at a job."""


class Refused(Exception):
    """The app refused a request; the text is the detail of its answer."""


class Door:
    """Asks one app, as an administrator does."""

    def __init__(self, host: LocalHost, token: str) -> None:
        self._host = host
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: bytes | object = None, content_type: str = "") -> Any:
        """Send a request and return the JSON of its answer. Raises Refused."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer, _ = await self._answer(method, path, data, content_type or "application/json")
        return json.loads(answer)

    async def file(self, path: str) -> bytes:
        """Return an answer that is a file. Raises Refused."""
        answer, _ = await self._answer("GET", path)
        return answer

    async def pages(self, path: str) -> AsyncIterator[str]:
        """Yield the pages of an answer as text, by the links between them. Raises Refused."""
        while path:
            answer, link = await self._answer("GET", path)
            yield answer.decode()
            path = link.partition("<")[2].partition(">")[0]

    async def wait(self, path: str, state: str, note: Callable[[Any], None]) -> Any:
        """Return a job once it is in a state, or has ended; `note` is told of it at every look."""
        while True:
            job = await self.call("GET", path)
            note(job)
            if job["phase"] == state or "ended" in job:
                return job
            await asyncio.sleep(PAUSE_SECONDS)

    async def _answer(self, method: str, path: str, body: bytes = b"", content_type: str = "") -> tuple[bytes, str]:
        """Return the body of an answer, and its Link header or ""."""
        sent = self._headers | {"Content-Type": content_type, "Content-Length": str(len(body))}
        target = path if path.startswith(("/", "http")) else f"/{path}"
        answer = await self._host.handle(method, target, sent, body)
        told = answer.get_body()
        if answer.status_code >= 400:
            raise Refused(str(json.loads(told)["detail"]) if told else f"status {answer.status_code}")
        return told, answer.headers.get("Link", "")


@asynccontextmanager
async def opened(folder: Path, workers: int) -> AsyncIterator[Door]:
    """Open the app over a folder while the block runs, with this many processes that work for it."""
    import function_app

    token = secrets.token_urlsafe(32)
    settings = Settings.local(token)
    accounts, histories = (open_tables(folder, None, name) for name in (ACCOUNTS, HISTORIES))
    try:
        app = function_app.build(settings, accounts)
        works = start_workers(workers, settings, data=folder, log_level="ERROR")
        async with LocalHost(app, histories, port=None, workers=works) as host:
            yield Door(host, token)
    finally:
        await accounts.close()
        await histories.close()
