"""Blobs of one container: put, and read again. https://learn.microsoft.com/rest/api/storageservices/put-blob, get-blob.

Two requests are all that copies of the tables need, and aiohttp is here anyway.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from types import TracebackType
from typing import Any, Final, Self

import aiohttp

from shared.tables.port import Denied, Unavailable

VERSION: Final = "2021-12-02"
"""Version of the service's protocol."""
SCOPE: Final = "https://storage.azure.com/.default"
"""What a token for Azure Storage is asked for."""
SECONDS: Final = 120
"""Seconds that one request may take: a part of a copy has some megabytes."""
TRIES: Final = 4

Token = Callable[[], Awaitable[str]]
"""Returns a token for SCOPE."""


class Blobs:
    """The blobs of the container at an address, such as https://ACCOUNT.blob.core.windows.net/backups.

    `token` lets the app in; without one, the query of the address does, which is a shared access signature then.
    """

    def __init__(self, container: str, token: Token | None = None) -> None:
        self._address, _, query = container.partition("?")
        self._query = f"?{query}" if query else ""
        self._token = token

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def put(self, name: str, content: bytes) -> None:
        """Write a blob, in the place of one that has the name. Raises Denied and Unavailable."""
        status, code, _ = await self._send("PUT", name, content)
        if status != 201:
            raise _refusal(status, code)

    async def get(self, name: str) -> bytes | None:
        """Return what a blob holds, None if there is none of the name. Raises Denied and Unavailable."""
        status, code, content = await self._send("GET", name)
        if status == 404 and code == "BlobNotFound":
            return None
        if status != 200:
            raise _refusal(status, code)
        return content

    async def _send(self, method: str, name: str, content: bytes | None = None) -> tuple[int, str, bytes]:
        """Return status, error code and body of an answer. A request that failed in passing is sent again."""
        for number in range(1, TRIES + 1):
            headers: dict[str, Any] = {"x-ms-version": VERSION, "x-ms-date": format_datetime(datetime.now(UTC), True)}
            headers |= {"x-ms-blob-type": "BlockBlob"} if content is not None else {}
            headers |= {"Authorization": f"Bearer {await self._token()}"} if self._token else {}
            address = f"{self._address}/{name}{self._query}"
            try:
                async with self._session.request(method, address, data=content, headers=headers) as answer:
                    if answer.status not in (408, 429) and answer.status < 500:
                        return answer.status, answer.headers.get("x-ms-error-code", ""), await answer.read()
            except (aiohttp.ClientError, TimeoutError, OSError):
                pass
            if number < TRIES:
                await asyncio.sleep(2.0**number)
        raise Unavailable("the storage of the copies does not answer")


def _refusal(status: int, code: str) -> Denied | Unavailable:
    if status in (401, 403):
        return Denied(
            f"{status} {code}: give the identity the role Storage Blob Data Contributor on the container, and let it "
            "through the network rules of the account"
        )
    return Unavailable(f"the storage of the copies answers {status} {code}")
