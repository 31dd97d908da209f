"""Bodies over real sockets: who may send one, how much of it is read, how it is packed, and how long it may take."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import resource
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import azure.functions as func
import pytest

import function_app
from infra.local import host as local_host
from infra.local.host import LocalHost
from shared.host.body import unpack
from shared.host.settings import Credential, Settings
from shared.scim.errors import InvalidSyntax
from shared.scim.limits import MAX_BODY_BYTES
from shared.tables.sqlite import SqliteTables

SCIM, ADMIN = "token-of-entra", "token-of-an-administrator"
USER = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": "ada@example.com"}
ACCOUNTS = b"userName,email\nada,ada@example.com\n"


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    accounts, histories = SqliteTables.open(tmp_path / "data.db"), SqliteTables.open(tmp_path / "data.db", "histories")
    credentials = (Credential.of(SCIM, "entra", "scim"), Credential.of(ADMIN, "admin", "admin"))
    app = function_app.build(Settings(credentials=credentials), accounts)
    async with LocalHost(app, histories, streams=True) as started:
        yield started
    await accounts.close()
    await histories.close()


@pytest.fixture
async def client(host: LocalHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


async def _send(
    client: aiohttp.ClientSession, path: str, body: bytes, token: str = SCIM, **headers: str
) -> tuple[int, str]:
    sent = {"Authorization": f"Bearer {token}", **{name.replace("_", "-"): value for name, value in headers.items()}}
    async with client.post(path, data=body, headers=sent) as answer:
        return answer.status, await answer.text()


async def _begun(
    host: LocalHost, path: str, token: str, sent: bytes = b"", more: str = "", version: str = "1.1"
) -> bytes:
    """Send the lines of a request and the beginning of its body; return the first line of the answer, or b""."""
    _, _, place = host.url.rpartition("//")
    address, _, port = place.partition(":")
    reader, writer = await asyncio.open_connection(address, int(port))
    lines = f"POST {path} HTTP/{version}\r\nHost: {place}\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{lines}Content-Length: 50000000\r\n{more}\r\n".encode() + sent)
    try:
        async with asyncio.timeout(30):
            return await reader.readline()
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("token", "path", "status"),
    [
        ("nobody", "/scim/v2/Users", b"401"),
        (SCIM, "/accounts/import", b"403"),
        (ADMIN, "/scim/v2/Bulk", b"403"),
        ("nobody", "/scim/v2/nothing", b"401"),
    ],
)
async def test_who_may_not_send_a_body_is_answered_before_it_comes(
    host: LocalHost, token: str, path: str, status: bytes
) -> None:
    """None of the fifty megabytes that are announced is ever sent."""
    assert status in await _begun(host, path, token)


async def test_a_client_that_asks_first_is_told_to_go_on_only_where_its_body_is_wanted(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect = "Expect: 100-continue\r\n"
    assert b"401" in await _begun(host, "/scim/v2/Users", "nobody", more=expect)
    assert await _begun(host, "/accounts/import", ADMIN, more=expect) == b"HTTP/1.1 100 Continue\r\n"
    monkeypatch.setattr(local_host, "BODY_SECONDS", 0.1)
    old = await _begun(host, "/accounts/import", ADMIN, more=expect, version="1.0")
    assert b"408" in old, "to HTTP/1.0 nothing is said before the answer"


@pytest.mark.parametrize("packing", ["gzip", "x-gzip", "deflate", "identity", "GZIP"])
async def test_a_packed_body_is_read(client: aiohttp.ClientSession, packing: str) -> None:
    text = json.dumps(USER).encode()
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}.get(packing.lower().removeprefix("x-"), bytes)
    assert (await _send(client, "/scim/v2/Users", pack(text), Content_Encoding=packing))[0] == 201


async def test_a_body_of_several_gzip_members_is_read_whole(client: aiohttp.ClientSession) -> None:
    text = json.dumps(USER).encode()
    packed = gzip.compress(text[:20]) + gzip.compress(text[20:])
    assert (await _send(client, "/scim/v2/Users", packed, Content_Encoding="gzip"))[0] == 201


@pytest.mark.parametrize(
    "body",
    [
        b"no gzip at all",
        gzip.compress(b"{}" * 500)[:-1],
        gzip.compress(b"{}" * 500)[:15],
        gzip.compress(b"{}") + b"more",
    ],
    ids=["no gzip", "without its end", "half of it", "with more behind it"],
)
async def test_bytes_that_are_no_gzip_are_refused_with_a_sentence(client: aiohttp.ClientSession, body: bytes) -> None:
    for path, token in (("/scim/v2/Users", SCIM), ("/accounts/import", ADMIN)):
        status, text = await _send(client, path, body, token, Content_Encoding="gzip")
        told = json.loads(text)
        assert (status, told["scimType"]) == (400, "invalidSyntax")
        assert "Content-Encoding" in told["detail"]


async def test_a_coding_that_is_not_known_is_refused_with_those_that_are(client: aiohttp.ClientSession) -> None:
    headers = {"Authorization": f"Bearer {SCIM}", "Content-Encoding": "br"}
    async with client.post("/scim/v2/Users", data=b"{}", headers=headers) as answer:
        assert (answer.status, answer.headers["Accept-Encoding"]) == (415, "gzip, deflate")
        assert "gzip" in (await answer.json(content_type=None))["detail"]


async def test_a_gzip_bomb_is_refused_before_it_unfolds(client: aiohttp.ClientSession) -> None:
    # What does not pack comes first, so that the bomb stands in pieces of full length.
    bomb = gzip.compress(random.Random(1).randbytes(200_000) + bytes(200 * 1024 * 1024))
    tracemalloc.start()
    try:
        status, text = await _send(client, "/scim/v2/Users", bomb, Content_Encoding="gzip")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (status, str(MAX_BODY_BYTES) in text) == (413, True)
    assert peak < 10 * len(bomb) + 8 * MAX_BODY_BYTES
    assert (await _send(client, "/scim/v2/Users", bomb, "nobody", Content_Encoding="gzip"))[0] == 401


async def test_no_more_of_a_body_is_read_than_may_come(host: LocalHost) -> None:
    """The refusal comes while most of the body is still to be sent."""
    assert b"413" in await _begun(host, "/scim/v2/Users", SCIM, bytes(MAX_BODY_BYTES + 1))


@pytest.mark.parametrize(("sent", "held"), [(10, b"abc"), (3, b"abc"), (2, b"abc")])
def test_what_unpacks_to_too_much_is_cut_one_byte_behind_it(sent: int, held: bytes) -> None:
    assert unpack(gzip.compress(held), "gzip", sent) == held[: sent + 1]


def test_what_is_cut_off_does_not_unpack() -> None:
    with pytest.raises(InvalidSyntax, match="not all of it"):
        unpack(gzip.compress(b"abc")[:-1], "gzip", 10)


async def test_a_body_that_does_not_come_is_given_up(host: LocalHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_host, "BODY_SECONDS", 0.1)
    assert b"408" in await _begun(host, "/scim/v2/Users", SCIM, b"{")


async def test_an_app_that_reads_no_bodies_itself_is_handed_them(tmp_path: Path) -> None:
    app, seen = func.FunctionApp(), list[Any]()

    @app.route(route="thing", methods=["POST"])
    async def thing(req: func.HttpRequest) -> func.HttpResponse:
        seen.append(req.get_body())
        return func.HttpResponse()

    tables = SqliteTables.open(tmp_path / "hub.db", "hub")
    async with (
        LocalHost(app, tables) as host,
        aiohttp.ClientSession(host.url) as client,
        client.post("/thing", data=b"whole") as answer,
    ):
        assert answer.status == 200
    await tables.close()
    assert seen == [b"whole"]


async def test_connections_on_which_nothing_is_asked_are_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those that send nothing, nor those that stop within a request's lines, nor the idle ones."""
    monkeypatch.setattr(local_host, "IDLE_SECONDS", 0.2)
    tables = SqliteTables.open(tmp_path / "hub.db", "hub")
    many = min(300, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 4)
    async with LocalHost(func.FunctionApp(), tables) as host:
        address, _, port = host.url.rpartition("//")[2].partition(":")
        beginnings = (b"", b"GET / HTT", b"GET / HTTP/1.1\r\nHost: a", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        streams = [await asyncio.open_connection(address, int(port)) for _ in range(many)]
        for at, (_, writer) in enumerate(streams):
            writer.write(beginnings[at % len(beginnings)])
        async with asyncio.timeout(60):
            await asyncio.gather(*(reader.read() for reader, _ in streams))
        for _, writer in streams:
            writer.close()
    await tables.close()
