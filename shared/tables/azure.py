"""The storage port on Azure Table Storage and Azurite, through azure-data-tables. sqlite.py is the other adapter.

Reads are retried here. A commit is sent once: had the first try been applied and only its answer been lost, a second
would conflict with the first. So after Unavailable or Throttled a commit may have taken effect, as the port says; the
directory finds out.

Each kind of partition (port.kind) has a table of its own. For Azure that makes no difference: it balances partitions
whatever table they are in. Azurite has an index for point reads only: a range reads through the whole table, and a
write updates the table's index.
Wire: https://learn.microsoft.com/rest/api/storageservices/table-service-rest-api
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from uuid import uuid4

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError
from azure.core.pipeline import PipelineResponse
from azure.core.pipeline.transport import AioHttpTransport
from azure.core.rest import AsyncHttpResponse, HttpRequest
from azure.data.tables import EdmType, EntityProperty, TableEntity, UpdateMode
from azure.data.tables.aio import TableClient, TableServiceClient

from shared.tables import azure_batch
from shared.tables.access import in_waves
from shared.tables.port import (
    ANY,
    MAX_PAGE,
    AlreadyExists,
    Delete,
    Denied,
    Insert,
    LimitExceeded,
    Merge,
    Operation,
    Page,
    Replace,
    Row,
    Span,
    Throttled,
    TransactionTooLarge,
    Unavailable,
    Upsert,
    Value,
    VersionConflict,
    check,
    check_key,
    check_page,
    kind,
)

T = TypeVar("T")

_KEYS = ("PartitionKey", "RowKey", "Timestamp")
"""Columns that are always asked for: without its Timestamp the service may leave out a row's ETag."""
_OPTIONS: dict[str, Any] = {
    "retry_total": 3,
    "retry_backoff_factor": 0.2,
    "retry_backoff_max": 5,
    "connection_timeout": 5,
    "read_timeout": 35,  # the service gives up after 30 seconds itself
}
IDENTITY_SECONDS = 10.0
"""Seconds that the endpoint of the managed identity, which is on the same machine, may be silent. MSAL itself waits for
ever, in a thread of the app's."""
_ONCE: dict[str, Any] = {"retry_total": 0}
_MISSING = {"ResourceNotFound", "EntityNotFound"}
_CONFLICTS = {"UpdateConditionNotSatisfied", "ConditionNotMet", *_MISSING}
_TOO_LARGE = {"EntityTooLarge", "PropertyValueTooLarge", "TooManyProperties", "InvalidInput"}
_REMEDIES = {
    "AuthorizationPermissionMismatch": "give the app's identity the role Storage Table Data Contributor on the account",
    "AuthorizationFailure": "let the app through the network rules of the account; of Azurite, check the key",
    "KeyBasedAuthenticationNotPermitted": "the account takes no keys: use a managed identity",
    "AuthenticationFailed": "check the key, or the tenant of the app's identity",
    "InvalidAuthenticationInfo": "check the tenant of the app's identity",
    "AccountIsDisabled": "enable the account",
}
"""What to do about the codes with which the service keeps an app out
(https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes)."""


class AzureTables:
    """The tables of a storage account whose names begin with `name`, each made when it is first found missing."""

    def __init__(self, connect: Callable[[AioHttpTransport], TableServiceClient], name: str) -> None:
        connect(AioHttpTransport())  # a mistake in the settings shows here, before a session is opened
        self._connect = connect
        self._name = name
        self._connected: tuple[asyncio.AbstractEventLoop, TableServiceClient] | None = None
        self._clients: dict[str, TableClient] = {}

    @classmethod
    def from_connection_string(cls, connection_string: str, name: str = "scimlink") -> AzureTables:
        """Return the tables `name` of the account in the connection string, of Azurite or of Azure."""
        return cls(
            lambda transport: TableServiceClient.from_connection_string(
                connection_string, transport=transport, **_OPTIONS
            ),
            name,
        )

    @classmethod
    def open(cls, connection_string: str, endpoint: str, client_id: str) -> AzureTables:
        """Return the tables that the settings name, by a connection string if there is one. Raises Denied."""
        if not connection_string:
            return cls.with_managed_identity(endpoint, client_id or None)
        try:
            return cls.from_connection_string(connection_string)
        except ValueError:
            # Its text may have the key.
            raise Denied("SCIMLINK_TABLES is no connection string of a storage account") from None

    @classmethod
    def with_managed_identity(cls, endpoint: str, client_id: str | None = None, name: str = "scimlink") -> AzureTables:
        """Return the tables `name` at https://ACCOUNT.table.core.windows.net, opened with the app's managed identity.

        `client_id` names a user-assigned identity; without it the system-assigned one is used.
        """
        return cls.with_credential(endpoint, ManagedIdentity(client_id), name)

    @classmethod
    def with_credential(cls, endpoint: str, credential: AsyncTokenCredential, name: str = "scimlink") -> AzureTables:
        """Return the tables `name` at an address, opened with the tokens of a credential."""
        return cls(
            lambda transport: TableServiceClient(endpoint, credential=credential, transport=transport, **_OPTIONS), name
        )

    async def get(self, partition: str, key: str, *, select: Sequence[str] | None = None) -> Row | None:
        """Return the row, or None (see port.Tables)."""
        check_key(partition)
        check_key(key)
        columns = None if select is None else [*_KEYS, *select]
        try:
            found = await self._run(partition, lambda client: client.get_entity(partition, key, select=columns))
        except VersionConflict:  # not found
            return None
        return _row(partition, found)

    async def get_many(
        self, places: Sequence[tuple[str, str]], *, select: Sequence[str] | None = None
    ) -> list[Row | None]:
        """Return the row, or None, at each place (see port.Tables)."""
        return await in_waves(self.get(partition, key, select=select) for partition, key in places)

    async def query(
        self,
        partition: str,
        low: str = "",
        high: str | None = None,
        *,
        select: Sequence[str] | None = None,
        top: int = MAX_PAGE,
        continuation: str | None = None,
    ) -> Page:
        """Return rows in order of key (see port.Tables). A continuation holds NextPartitionKey and NextRowKey."""
        check_key(partition)
        check_page(top)
        conditions = [f"PartitionKey eq {_quoted(partition)}"]
        conditions += [f"RowKey ge {_quoted(low)}"] if low else []
        conditions += [] if high is None else [f"RowKey lt {_quoted(high)}"]
        # The client's token is a dict, although azure-core declares a string.
        token: Any = dict(zip(_KEYS, json.loads(continuation), strict=False)) if continuation else None

        async def one_page(client: TableClient) -> Page:
            pages = client.query_entities(
                " and ".join(conditions),
                results_per_page=top,
                select=None if select is None else [*_KEYS, *select],
            ).by_page(token)
            rows = [_row(partition, found) async for found in await anext(pages)]
            after: Any = pages.continuation_token  # type: ignore[attr-defined]  # of AsyncPageIterator
            return Page(rows, json.dumps([after["PartitionKey"], after["RowKey"]]) if after else None)

        return await self._run(partition, one_page)

    async def query_many(self, spans: Sequence[Span], *, top: int = MAX_PAGE) -> list[Page]:
        """Return the first page of each range (see port.Tables)."""
        return await in_waves(self.query(*span, top=top) for span in spans)

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply the operations, all or none (see port.Tables). One operation is sent as a plain request."""
        check(partition, operations)
        for index, operation in enumerate(operations):
            if not isinstance(operation, Insert | Upsert) and not re.fullmatch(r"[\x21-\x7e]+", operation.etag):
                raise VersionConflict(index)  # no row has such an etag, and it could break out of its header
        try:
            if len(operations) == 1:
                return [await self._run(partition, lambda client: _send_one(client, partition, operations[0]))]
            return await self._run(partition, lambda client: _send_transaction(client, partition, operations))
        except VersionConflict as conflict:
            if all(isinstance(operation, Insert | Upsert) for operation in operations) and _says_missing(conflict):
                # None of them asks for a row. Azurite answers so for an account that it does not have.
                raise Unavailable("404 ResourceNotFound: there is no such account") from conflict
            raise

    async def commit_ahead(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Do the same: the service answers nothing that may be lost."""
        return await self.commit(partition, operations)

    async def names(self) -> list[str]:
        """Return the names of the tables that there are, each of a kind of partition (see copying.Source)."""
        ours = re.compile(re.escape(self._name) + "[a-z]?")
        try:
            found = [table.name async for table in self._service().list_tables()]
        except AzureError as error:
            raise _translated(error) from error
        return sorted(name for name in found if ours.fullmatch(name))

    async def page(self, table: str, continuation: str | None, since: str | None, top: int = MAX_PAGE) -> Page:
        """Return rows of a table, of whatever partition, in order (see copying.Source)."""
        token: Any = dict(zip(_KEYS, json.loads(continuation), strict=False)) if continuation else None
        query = f"Timestamp ge datetime'{since.replace('+00:00', 'Z')}'" if since else ""
        try:
            pages = self._client_of(table).query_entities(query, results_per_page=top).by_page(token)
            rows = [_row(str(found["PartitionKey"]), found) async for found in await anext(pages)]
        except AzureError as error:
            raise _translated(error) from error
        after: Any = pages.continuation_token  # type: ignore[attr-defined]  # of AsyncPageIterator
        return Page(rows, json.dumps([after["PartitionKey"], after["RowKey"]]) if after else None)

    async def close(self) -> None:
        """Close the connections. The next call opens them again."""
        if self._connected:
            _, service = self._connected
            self._connected = None
            await service.close()

    def _service(self) -> TableServiceClient:
        """Return the client of the account on the running event loop: one aiohttp session for all calls."""
        loop = asyncio.get_running_loop()
        if self._connected is None or self._connected[0] is not loop:
            self._connected = (loop, self._connect(_transport()))
            self._clients = {}
        return self._connected[1]

    def _client_of(self, name: str) -> TableClient:
        """Return the client of a table."""
        service = self._service()
        if name not in self._clients:
            self._clients[name] = service.get_table_client(name)
        return self._clients[name]

    async def _run(self, partition: str, call: Callable[[TableClient], Awaitable[T]]) -> T:
        client = self._client_of(self._name + kind(partition))
        try:
            return await call(client)
        except AzureError as error:
            if _code(error) != "TableNotFound":
                raise _translated(error) from error
        try:
            with suppress(ResourceExistsError):  # another process was faster
                await client.create_table()
            return await call(client)
        except AzureError as error:
            raise _translated(error) from error


class ManagedIdentity:
    """Tokens of the managed identity this app runs as, in the form that azure-core asks for and keeps."""

    def __init__(self, client_id: str | None = None) -> None:
        self._client_id = client_id
        self._client: Any = None

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        """Return a token for the scope (`https://storage.azure.com/.default`).

        Raises Denied, or Unavailable where it may be got a little later: errors of azure-core's would be taken for
        answers of the service, and be tried again.
        """
        try:
            answer = await asyncio.to_thread(self._acquire, scopes[0].removesuffix("/.default"))
        except (OSError, ValueError) as error:  # of requests, and of an answer that is no JSON
            raise Unavailable("the endpoint of the managed identity does not answer") from error
        if "access_token" not in answer:
            # App Service: "400, no such identity", and any status of a passing fault.
            if re.match(r"429|5", str(answer.get("error_description"))):
                raise Unavailable("the endpoint of the managed identity is busy")
            raise Denied(
                f"no token for the managed identity ({answer.get('error')}): the app must have it, and "
                "SCIMLINK_CLIENT_ID must name it"
            )
        return AccessToken(answer["access_token"], int(time.time()) + int(answer["expires_in"]))

    async def close(self) -> None:
        """There is nothing to close."""

    async def __aenter__(self) -> ManagedIdentity:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def _acquire(self, resource: str) -> dict[str, Any]:
        if self._client is None:
            import msal  # takes a quarter of a second, and is needed only in Azure
            import requests

            identity = (
                msal.UserAssignedManagedIdentity(client_id=self._client_id)
                if self._client_id
                else msal.SystemAssignedManagedIdentity()
            )
            session = requests.Session()
            session.request = partial(session.request, timeout=IDENTITY_SECONDS)  # type: ignore[method-assign]
            self._client = msal.ManagedIdentityClient(identity, http_client=session)
        answer: dict[str, Any] = self._client.acquire_token_for_client(resource=resource)
        return answer


def _transport() -> AioHttpTransport:
    session = aiohttp.ClientSession(
        # Azurite closes an idle connection after 5 seconds.
        connector=aiohttp.TCPConnector(keepalive_timeout=4),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trace_configs=[_send_once()],
    )
    # Reading the environment for every request takes a third of a call's CPU time.
    return AioHttpTransport(session=session, use_env_settings=False)


def _send_once() -> aiohttp.TraceConfig:
    """Keep aiohttp from sending a PUT or DELETE again when a kept connection breaks: it may have been applied."""

    async def connect(_: aiohttp.ClientSession, request: SimpleNamespace, __: object) -> None:
        if getattr(request, "sent", False):
            raise aiohttp.ClientConnectionError("the connection was closed before the answer")
        request.sent = True

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_start.append(connect)
    trace.on_connection_reuseconn.append(connect)
    return trace


async def _send_one(client: TableClient, partition: str, operation: Operation) -> str:
    match operation:
        case Insert():
            answer = await client.create_entity(_entity(partition, operation), **_ONCE)
        case Upsert():
            answer = await client.upsert_entity(_entity(partition, operation), UpdateMode.REPLACE, **_ONCE)
        case Replace(etag=etag):
            answer = await client.update_entity(
                _entity(partition, operation), UpdateMode.REPLACE, **_condition(etag), **_ONCE
            )
        case Merge(etag=etag):
            answer = await client.update_entity(
                _entity(partition, operation), UpdateMode.MERGE, **_condition(etag), **_ONCE
            )
        case Delete(etag=etag):
            await client.delete_entity(partition, operation.key, raw_response_hook=_no_row, **_condition(etag), **_ONCE)
            return ""
    return str(answer["etag"])


def _no_row(response: PipelineResponse[Any, Any]) -> None:
    """Raise VersionConflict for a delete that found no row; the client itself does not report it."""
    if response.http_response.status_code == 404:
        raise VersionConflict


class _Refused(HttpResponseError):
    """A transaction that was refused, as an exception of the client's kind."""

    def __init__(self, response: AsyncHttpResponse, refusal: azure_batch.Refusal) -> None:
        super().__init__(message=refusal.code, response=response)
        self.status_code = refusal.status
        self.error_code = refusal.code
        self.index = refusal.index


async def _send_transaction(client: TableClient, partition: str, operations: Sequence[Operation]) -> list[str]:
    endpoint, _, signature = client.url.partition("?")  # of a connection string with a shared access signature
    boundary = uuid4().hex
    request = HttpRequest(
        "POST",
        f"{endpoint}/$batch?{signature}".rstrip("?"),
        headers={
            "Content-Type": f"multipart/mixed; boundary=batch_{boundary}",
            "Accept": "application/json",
            "DataServiceVersion": "3.0",
            "MaxDataServiceVersion": "3.0;NetFx",
            "x-ms-version": client.api_version,
        },
        content=azure_batch.encode(f"{endpoint}/{client.table_name}", partition, operations, boundary),
    )
    # Public in Azure's other packages, but not in this one: it signs and sends a request that was made elsewhere.
    response = await client._client.send_request(request, stream=True, **_ONCE)  # it can't decode multipart
    body = await response.read()
    if response.status_code != 202:
        raise HttpResponseError(response=response)
    answer = azure_batch.decode(body)
    if isinstance(answer, azure_batch.Refusal):
        raise _Refused(response, answer)
    if len(answer) != len(operations):
        raise Unavailable(f"{len(answer)} answers to {len(operations)} operations")
    return answer


def _condition(etag: str) -> dict[str, Any]:
    if etag == ANY:
        return {"match_condition": MatchConditions.Unconditionally}  # sent as If-Match: *, for which the row must exist
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def _entity(partition: str, operation: Insert | Upsert | Replace | Merge) -> dict[str, Any]:
    entity: dict[str, Any] = {"PartitionKey": partition, "RowKey": operation.key}
    for name, value in operation.columns.items():
        # A plain int would be sent with 32 bits; a bool is an int, too.
        entity[name] = EntityProperty(value, EdmType.INT64) if type(value) is int else value
    return entity


def _row(partition: str, found: TableEntity) -> Row:
    columns: dict[str, Value] = {}
    for name, value in found.items():
        if name not in _KEYS and value is not None:
            columns[name] = value.value if isinstance(value, EntityProperty) else value
    return Row(partition, found["RowKey"], str(found.metadata["etag"]), columns)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _code(error: AzureError) -> str:
    """Return the service's code for the error, or "" if it named none."""
    code = getattr(error, "error_code", None)
    if code is None:  # of an insert and of a transaction, the client reads none: it is in the body, JSON or XML
        said = re.search(r'(?:"code":\s*"|<(?:\w+:)?code>)(\w+)', str(error), re.IGNORECASE)
        code = said[1] if said else ""
    return str(getattr(code, "value", code))


def _says_missing(conflict: VersionConflict) -> bool:
    """Tell whether the service said that something is not there, and not that it has another version."""
    return isinstance(conflict.__cause__, AzureError) and _code(conflict.__cause__) in _MISSING


def _translated(error: AzureError) -> Exception:
    """Return the port's error for the client's."""
    code = _code(error)
    index: int = getattr(error, "index", 0)
    status = error.status_code if isinstance(error, HttpResponseError) else None
    if code == "EntityAlreadyExists":
        return AlreadyExists(index)
    if code in _CONFLICTS:
        return VersionConflict(index)
    if status in (429, 503) or code == "ServerBusy":
        return Throttled(_retry_after(error))
    if code == "RequestBodyTooLarge":
        return TransactionTooLarge(code)
    if status == 413 or code in _TOO_LARGE:
        return LimitExceeded(code)
    if status in (401, 403):
        return Denied(f"{status} {code}: {_REMEDIES.get(code, 'check what the app may do on the storage account')}")
    return Unavailable(f"{type(error).__name__} {status or ''} {code}".strip())


def _retry_after(error: AzureError) -> float:
    try:
        headers: Mapping[str, str] = getattr(error, "response").headers  # noqa: B009 - of an HttpResponseError only
        return float(headers["Retry-After"])
    except (KeyError, ValueError):
        return 1.0
