"""What the Azure adapter does when the service is slow, broken or silent, against a server that is so on purpose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from shared.tables import azure
from shared.tables.azure import AzureTables, ManagedIdentity
from shared.tables.port import (
    ANY,
    AlreadyExists,
    Delete,
    Denied,
    Insert,
    Merge,
    Operation,
    Replace,
    TablesError,
    Throttled,
    TransactionTooLarge,
    Unavailable,
    Upsert,
    VersionConflict,
)

ROW = {"PartitionKey": "p", "RowKey": "k", "Timestamp": "2026-01-01T00:00:00.0000000Z", "odata.etag": 'W/"1"'}
WRITES: list[list[Operation]] = [
    [Insert("k", {})],
    [Upsert("k", {})],
    [Replace("k", {}, ANY)],
    [Merge("k", {}, ANY)],
    [Delete("k", ANY)],
    [Upsert("k", {}), Upsert("l", {})],
]
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Service:
    """Answers each request by the next of `answers`, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.requests: list[web.Request] = []
        self.connections: set[object] = set()
        self.tables: AzureTables

    async def answer(self, request: web.Request) -> web.StreamResponse:
        await request.read()
        self.requests.append(request)
        self.connections.add(request.transport)
        return await self.answers.pop(0)(request)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.answer)
    async with TestServer(app, host="127.0.0.1") as server:
        service.tables = AzureTables.from_connection_string(
            f"AccountName=test;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:{server.port}/test;"
        )
        yield service
        await service.tables.close()


def says(status: int, code: str = "", **headers: str) -> Answer:
    async def answer(_: web.Request) -> web.Response:
        text = json.dumps({"odata.error": {"code": code, "message": {"lang": "en-US", "value": "…"}}})
        return web.Response(status=status, text=text, content_type="application/json", headers=headers)

    return answer


async def found(_: web.Request) -> web.Response:
    return web.json_response(ROW)


async def hangs_up(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.close()
    return web.Response()


@pytest.mark.parametrize("operations", WRITES)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (says(503, "ServerBusy", **{"Retry-After": "7"}), Throttled),
        (says(429), Throttled),
        (says(500, "InternalError"), Unavailable),
        (says(504), Unavailable),
        (says(403, "AuthorizationPermissionMismatch"), Denied),
        (says(401, "InvalidAuthenticationInfo"), Denied),
        (says(413, "RequestBodyTooLarge"), TransactionTooLarge),
        (says(409, "TableBeingDeleted"), Unavailable),
        (hangs_up, Unavailable),
    ],
)
async def test_a_commit_is_sent_once_whatever_the_answer(
    service: Service, operations: list[Operation], answer: Answer, error: type[TablesError]
) -> None:
    # A first call, so that the connection is a kept one: on those, aiohttp would send a PUT or DELETE again by itself.
    service.answers = [found, answer]
    await service.tables.get("p", "k")
    with pytest.raises(error):
        await service.tables.commit("p", operations)
    assert len(service.requests) == 2
    assert len(service.connections) == 1


async def test_each_kind_of_partition_has_a_table_and_all_share_a_connection(service: Service) -> None:
    service.answers = [found] * 5
    for partition in ("main_u_00", "main_x_3f", "main_j", "p", "main_upload"):
        await service.tables.get(partition, "k")
    tables = [request.path.partition("(")[0] for request in service.requests]
    assert tables == [f"/test/scimlink{kind}" for kind in ("u", "x", "j", "", "")]
    assert len(service.connections) == 1


async def test_throttling_says_how_long_to_wait(service: Service) -> None:
    service.answers = [says(503, **{"Retry-After": "7"}), says(503)]
    for wait in (7.0, 1.0):
        with pytest.raises(Throttled) as caught:
            await service.tables.commit("p", [Insert("k", {})])
        assert caught.value.retry_after == wait


async def test_a_transaction_throttled_in_its_answer_is_throttled(service: Service) -> None:
    async def busy(_: web.Request) -> web.Response:
        return web.Response(status=202, body=b"--x\r\n\r\nHTTP/1.1 503 Service Unavailable\r\n\r\n\r\n--x--")

    service.answers = [busy]
    with pytest.raises(Throttled):
        await service.tables.commit("p", [Upsert("j", {}), Upsert("k", {})])


@pytest.mark.parametrize("fails", [says(503), says(500), hangs_up])
async def test_a_read_is_tried_again(service: Service, fails: Answer) -> None:
    service.answers = [fails, found]
    row = await service.tables.get("p", "k")
    assert row is not None
    assert row.etag == 'W/"1"'


async def test_a_service_that_is_away_is_unavailable() -> None:
    tables = AzureTables.from_connection_string("AccountName=a;AccountKey=a2V5;TableEndpoint=http://127.0.0.1:1/a;")
    with pytest.raises(Unavailable):
        await tables.commit("p", [Insert("k", {})])
    await tables.close()


async def test_a_commit_to_a_missing_table_makes_the_table(service: Service) -> None:
    async def created(_: web.Request) -> web.Response:
        return web.json_response({"TableName": "scimlink"}, status=201)

    async def written(_: web.Request) -> web.Response:
        return web.Response(status=204, headers={"ETag": 'W/"2"'})

    service.answers = [says(404, "TableNotFound"), created, written]
    assert await service.tables.commit("p", [Upsert("k", {})]) == ['W/"2"']
    assert [request.method for request in service.requests] == ["PUT", "POST", "PUT"]


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [(409, "EntityAlreadyExists", AlreadyExists), (412, "ConditionNotMet", VersionConflict)],
)
async def test_a_conflict_is_known_by_its_code(
    service: Service, status: int, code: str, error: type[TablesError]
) -> None:
    service.answers = [says(status, code)]
    with pytest.raises(error):
        await service.tables.commit("p", [Insert("k", {})])


async def test_an_etag_cannot_break_out_of_its_header(service: Service) -> None:
    forged = Delete("k", "x\r\nIf-Match: *")
    for before in range(2):
        with pytest.raises(VersionConflict) as caught:
            await service.tables.commit("p", [*[Upsert("j", {})] * before, forged])
        assert caught.value.index == before
    assert service.requests == []


async def test_a_transaction_answered_in_part_is_unavailable(service: Service) -> None:
    async def half(_: web.Request) -> web.Response:
        return web.Response(status=202, body=b"--x\r\n\r\nHTTP/1.1 204 No Content\r\nETag: 1\r\n\r\n--x--")

    service.answers = [half]
    with pytest.raises(Unavailable):
        await service.tables.commit("p", [Upsert("j", {}), Upsert("k", {})])


@pytest.mark.parametrize("operations", [WRITES[0], WRITES[1], WRITES[5]])
async def test_where_the_account_itself_is_not_found_no_row_is_missed(
    service: Service, operations: list[Operation]
) -> None:
    """So Azurite says of an account that it does not have."""
    service.answers = [says(404, "ResourceNotFound")]
    with pytest.raises(Unavailable, match="no such account"):
        await service.tables.commit("p", operations)


CLOSED = (
    ("application/json", '{"odata.error": {"code": "%s", "message": {"lang": "en-US", "value": "…"}}}'),
    ("application/xml", "<?xml version='1.0'?><Error><Code>%s</Code><Message>…</Message></Error>"),
    ("application/xml", "<?xml version='1.0'?><m:error xmlns:m='urn:m'><m:code>%s</m:code></m:error>"),
)
"""Bodies with which Azure's service and Azurite keep an app out."""


@pytest.mark.parametrize(("mimetype", "body"), CLOSED)
@pytest.mark.parametrize("operations", WRITES)
async def test_what_keeps_an_app_out_is_named_whatever_it_writes(
    service: Service, operations: list[Operation], mimetype: str, body: str
) -> None:
    async def closed(_: web.Request) -> web.Response:
        return web.Response(status=403, text=body % "AuthenticationFailed", content_type=mimetype)

    service.answers = [closed]
    with pytest.raises(Denied, match="403 AuthenticationFailed: check the key"):
        await service.tables.commit("p", operations)


async def test_a_managed_identity_gets_its_token_from_the_app_service(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[web.Request] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request)
        if request.query["client_id"] != "known":
            return web.json_response({"statusCode": 400, "message": "no such identity"}, status=400)
        return web.json_response(
            {"access_token": "token", "expires_on": "4000000000", "resource": "r", "token_type": "Bearer"}
        )

    app = web.Application()
    app.router.add_get("/token", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        async with ManagedIdentity("known") as identity:
            token = await identity.get_token("https://storage.azure.com/.default", enable_cae=True)
        assert token.token == "token"
        assert abs(token.expires_on - 4_000_000_000) < 5
        assert asked[0].query["resource"] == "https://storage.azure.com"
        assert asked[0].headers["X-IDENTITY-HEADER"] == "secret"
        with pytest.raises(Denied):
            await ManagedIdentity("unknown").get_token("https://storage.azure.com/.default")


async def test_a_managed_identity_that_is_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each that waits holds a thread of the app's, until there is none left."""
    monkeypatch.setattr(azure, "IDENTITY_SECONDS", 0.1)
    released = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/token", silent)
    async with TestServer(app, host="127.0.0.1") as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        async with asyncio.timeout(20):
            with pytest.raises(Unavailable):
                await ManagedIdentity().get_token("https://storage.azure.com/.default")
        released.set()


def test_settings_that_cannot_work_are_refused_when_they_are_read() -> None:
    with pytest.raises(ValueError, match="HTTPS"):
        AzureTables.with_managed_identity("http://account.table.core.windows.net")
    with pytest.raises(ValueError, match="Connection string"):
        AzureTables.from_connection_string("AccountName=a")


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (400, '{"statusCode": 400, "message": "no such identity"}', Denied),
        (500, '{"statusCode": 500, "message": "…"}', Unavailable),
        (429, '{"statusCode": 429, "message": "…"}', Unavailable),
        (502, "<html>", Unavailable),
        (0, "", Unavailable),
    ],
)
async def test_a_managed_identity_without_a_token_is_a_fault_of_the_setup_unless_it_passes(
    monkeypatch: pytest.MonkeyPatch, status: int, text: str, error: type[TablesError]
) -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, text=text) if status else await hangs_up(request)

    app = web.Application()
    app.router.add_get("/token", answer)
    async with TestServer(app, host="127.0.0.1") as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"http://127.0.0.1:{server.port}/token")
        monkeypatch.setenv("IDENTITY_HEADER", "secret")
        tables = AzureTables.with_managed_identity("https://account.table.core.windows.net", "id")
        for call in (tables.get("p", "k"), tables.query("p"), *(tables.commit("p", one) for one in WRITES)):
            with pytest.raises(error) as caught:
                await call
            assert error is Unavailable or "SCIMLINK_CLIENT_ID" in str(caught.value)
        await tables.close()


async def test_who_is_kept_out_is_told_by_which_code_and_what_to_do(service: Service) -> None:
    service.answers = [
        says(403, "AuthorizationPermissionMismatch"),
        says(403, "AuthorizationFailure"),
        says(403, "New"),
    ]
    for told in (
        "403 AuthorizationPermissionMismatch: give the app",
        "403 AuthorizationFailure: let",
        "403 New: check",
    ):
        with pytest.raises(Denied, match=told):
            await service.tables.get("p", "k")
