"""The Functions host of a laptop: serves what a function app registered over HTTP and runs its orchestrations.

It has no routes or error mappings of its own: functions.py reads those of the app, and durable/ runs what is durable.
What a function is handed and how its answer is read follow the Functions host and azure.functions.http.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self
from urllib.parse import parse_qsl, unquote

import azure.functions as func
from aiohttp import HttpVersion11, hdrs, web
from azure.durable_functions.models.utils import http_utils
from azure.functions.timer import TimerRequest
from multidict import CIMultiDict

from infra.local.closing import close
from infra.local.durable.executor import Executor
from infra.local.durable.management import Management
from infra.local.functions import HttpFunction, InvocationContext, TimerFunction, read_functions
from infra.local.sign_in import SignIn
from infra.local.timers import Timer, Timers
from infra.local.workers import Workers
from shared.host.body import BodyLost
from shared.host.routes import matcher
from shared.tables.port import Tables

log = logging.getLogger(__name__)

MAX_BODY = 104_857_600
"""Bytes of a request's body, beyond which the answer is a bare 413, as Azure's is.

The app refuses less than that with answers of its own: files above 100 MB (link_orchestrator/requests/sent_file.py),
other bodies above 1 MiB (shared/scim/limits.py).
"""
IDLE_SECONDS = 60.0
"""Seconds after which a connection is closed on which no request is complete: neither its lines nor the next one's."""
BODY_SECONDS = 30.0
"""Seconds within which a body must have come; each BODY_RATE bytes of it give it another second."""
BODY_RATE = 16 * 1024
MAX_LINE = 64 * 1024
"""Bytes of a request's first line. Azure's host answers a bare 414 beyond 8 KiB; here the app itself says what to do
(shared/scim/limits.py)."""

_PATIENCE = 5.0
"""Seconds that requests have to end when the host closes."""


class LocalHost:
    """Serves one function app on 127.0.0.1 and keeps its orchestrations in `tables`. Use it with `async with`.

    With the port None it listens on none, and handle() alone asks it.
    Activities and replays run in `workers`, or in this process without them. Timer functions run where `timers` says
    so: a test runs one by its name, with run_timer(). An app whose functions all read bodies by shared/host/body.py is
    handed them unread where `streams` says so, for it knows who may send one. With a `sign_in` nobody but that says who
    is signed in.
    """

    def __init__(
        self,
        app: func.FunctionRegister,
        tables: Tables,
        *,
        port: int | None = 0,
        workers: Workers | None = None,
        timers: bool = False,
        streams: bool = False,
        sign_in: SignIn | None = None,
    ) -> None:
        functions = read_functions(app)
        if workers is not None:
            activities = workers.activities(functions.activities)
            orchestrators = workers.orchestrators(functions.orchestrators)
            functions = replace(functions, activities=activities, orchestrators=orchestrators)
        self.url = ""
        """The address at which the app answers, as `http://127.0.0.1:7071`; set once it does, "" without a port."""
        self.executor = Executor(functions, tables)
        self._workers = workers
        self._management = Management(self.executor)
        self._routes = Routes(functions.http)
        self._timer_functions = {function.name: function for function in functions.timers}
        self._timers = Timers(map(self._timer, functions.timers if timers else ()))
        self._port = port
        self._streams = streams
        self._sign_in = sign_in
        self._runner: web.ServerRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def start(self) -> None:
        """Take up open orchestrations, then answer requests. Raises OSError if the port is taken."""
        server = web.Server(
            self._serve,
            access_log=None,
            max_line_size=MAX_LINE,
            keepalive_timeout=IDLE_SECONDS,
            # As in Azure, where a body comes to the app as it was sent.
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=_PATIENCE)
        try:
            await self._management.start()
            await self._runner.setup()
            # Before the first request: an event for an instance that is not taken up yet would be lost.
            await self.executor.start()
            if self._port is not None:
                await web.TCPSite(self._runner, "127.0.0.1", self._port).start()
            self._timers.start()
        except BaseException:
            await self.close()
            raise
        for host, port in self._runner.addresses:
            self.url = f"http://{host}:{port}"

    async def close(self) -> None:
        """Stop the timers and answering, then stop the orchestrations where they are."""
        await self._timers.close()
        if self._runner is not None:
            await close(self._runner)
        await self.executor.close()
        if self._workers is not None:
            await self._workers.close()
        # The durable client keeps one HTTP session a process and has no public way to close it.
        await http_utils._close_session()
        await self._management.close()

    async def handle(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        incoming: web.BaseRequest | None = None,
    ) -> func.HttpResponse:
        """Answer one request without a socket. `target` is the path with its query; durable clients need `start`.

        The body of an `incoming` request is left to its function to read.
        """
        target = _ORIGIN.sub("", target)
        path, _, query = target.partition("?")
        found = self._routes.find(method, _decoded(path) if "%" in path else path)
        if found is None:
            return func.HttpResponse(status_code=404)
        function, route_params = found
        sent = headers or {}
        address = f"http://{sent.get(hdrs.HOST, '127.0.0.1')}{target}"
        asked = {"headers": sent, "params": _params(query) if query else None, "route_params": route_params}
        if incoming is None:
            return await self._invoke(function, func.HttpRequest(method, address, **asked, body=body))
        return await self._invoke(function, _IncomingRequest(incoming, address, **asked))

    async def run_timer(self, name: str) -> None:
        """Run a timer function now."""
        function = self._timer_functions[name]
        arguments: dict[str, Any] = {function.timer_name: TimerRequest()}
        for client in function.client_names:
            arguments[client] = self._management.binding
        await function.call(**arguments)

    def _timer(self, function: TimerFunction) -> Timer:
        return Timer(function.name, function.schedule, lambda: self.run_timer(function.name))

    async def _invoke(self, function: HttpFunction, request: func.HttpRequest) -> func.HttpResponse:
        arguments: dict[str, Any] = {function.request_name: request}
        for name in function.client_names:
            arguments[name] = self._management.binding
        if function.wants_context:
            arguments["context"] = InvocationContext(function.name)
        try:
            answer = await function.call(**arguments)
        # Azure answers a bare 500 for whatever leaves a function.
        except Exception:
            log.exception("the function %s failed", function.name)
            return func.HttpResponse(status_code=500)
        if isinstance(answer, func.HttpResponse):
            return answer
        if isinstance(answer, str):
            return func.HttpResponse(answer)
        log.error("the function %s returned a %s and no HttpResponse", function.name, type(answer).__name__)
        return func.HttpResponse(status_code=500)

    async def _serve(self, request: web.BaseRequest) -> web.Response:
        if self._workers is not None:
            self._workers.note_request()
        if (request.content_length or 0) > MAX_BODY:
            return web.Response(status=413)
        if not _HOST.fullmatch(request.headers.get(hdrs.HOST, "")):
            return web.Response(status=400)
        # As in Azure, a body without a Content-Length does not arrive (azure-functions-host #7930).
        incoming, body = (request if request.content_length else None), b""
        if incoming is not None and not self._streams:
            try:
                body, incoming = await _read(incoming, MAX_BODY), None
            except BodyLost:
                return web.Response(status=408)
        answer = await self._answer(request, body, incoming)
        headers = CIMultiDict(answer.headers.items())
        if hdrs.CONTENT_TYPE not in headers:
            text = answer.mimetype.startswith("text/")
            headers[hdrs.CONTENT_TYPE] = f"{answer.mimetype}; charset={answer.charset}" if text else answer.mimetype
        return web.Response(status=answer.status_code, headers=headers, body=answer.get_body())

    async def _answer(
        self, request: web.BaseRequest, body: bytes, incoming: web.BaseRequest | None
    ) -> func.HttpResponse:
        """Answer a request from the network, behind whatever signs people in."""
        sent: Mapping[str, str] = request.headers
        if self._sign_in is not None:
            path, _, query = _ORIGIN.sub("", request.raw_path).partition("?")
            path = _decoded(path)
            signed = self._sign_in.answer(sent, path, _params(query), request.remote, self.url)
            if signed is not None:
                return signed
            sent = self._sign_in.hand_on(sent, path, request.remote, self.url)
        return await self.handle(request.method, request.raw_path, sent, body, incoming=incoming)


class _IncomingRequest(func.HttpRequest):
    """A request whose body is still on its way."""

    def __init__(self, incoming: web.BaseRequest, url: str, **asked: Any) -> None:
        super().__init__(incoming.method, url, **asked, body=b"")
        self._incoming = incoming

    async def read(self, most: int) -> bytes:
        """Return the body, or the first `most` bytes of a larger one. Raises BodyLost."""
        return await _read(self._incoming, most)


async def _read(request: web.BaseRequest, most: int) -> bytes:
    """Return the body of a request, or its first `most` bytes. Raises BodyLost if it does not come in time."""
    # HTTP/1.0 does not know such an answer (RFC 9110 section 10.1.1).
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    body, begun = bytearray(), time.monotonic()
    try:
        while len(body) < most and not request.content.at_eof():
            left = begun + BODY_SECONDS + len(body) / BODY_RATE - time.monotonic()
            async with asyncio.timeout(left):
                body += await request.content.readany()
    except (TimeoutError, ConnectionError, web.RequestPayloadError):
        raise BodyLost from None
    del body[most:]
    return bytes(body)


class Routes:
    """Finds functions by method and path as the Functions host does: the first by name that matches.

    Names are compared without regard to case, and literals have no precedence over parameters
    (https://github.com/Azure/azure-functions-host/issues/9876).
    """

    def __init__(self, functions: tuple[HttpFunction, ...]) -> None:
        # In .NET, "ordinal without case" compares upper case, so that an underscore sorts behind every letter.
        by_name = sorted(functions, key=lambda f: f.name.upper())
        named = {method for function in functions for method in function.methods}
        self._routes = {
            method: [(_first(f.route), matcher(f.route), f) for f in by_name if not f.methods or method in f.methods]
            for method in (*named, _ANY_OTHER)
        }

    def find(self, method: str, path: str) -> tuple[HttpFunction, dict[str, str]] | None:
        """Return the function and its route parameters, or None: a wrong method is not found either, as in Azure."""
        first = _first(path[1:])
        for literal, match_path, function in self._routes.get(method, self._routes[_ANY_OTHER]):
            # To compare the first segment spares most of seventy patterns.
            if literal in (first, "") and (match := match_path(path)):
                return function, {name: value for name, value in match.groupdict().items() if value is not None}
        return None


def _first(path: str) -> str:
    """Return the first segment of a path, or of a template; "" for a parameter."""
    segment = path.partition("/")[0]
    return "" if segment.startswith("{") else segment.lower()


_ANY_OTHER = ""
"""Stands for the methods that no function names: a function that names none takes them, too."""
_HOST = re.compile(r"([\w!$&'().~-]*+|\[[\da-f:.]*+\])(:\d*+)?", re.ASCII | re.IGNORECASE)
"""What Azure's server takes for a Host header; it answers any other a bare 400. The app's answers repeat it."""
_ORIGIN = re.compile(r"^[a-z]+://[^/?]*+", re.IGNORECASE)
"""What stands before the path where a client sends the whole URL, as to a proxy (RFC 9112 section 3.2.2)."""


def _decoded(path: str) -> str:
    """Return the path without percent-encoding, but for an encoded slash, which does not divide it."""
    return unquote(re.sub("%(2f)", r"%25\1", path, flags=re.IGNORECASE))


def _params(query: str) -> dict[str, str]:
    """Return the query as the host hands it on.

    Names that are the same but for their case are one, written as the first of them; its values are joined with commas.
    What is empty then is left out.
    """
    found: dict[str, tuple[str, list[str]]] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        found.setdefault(name.upper(), (name, []))[1].append(value)
    params = {name: ",".join(values) for name, values in found.values()}
    return {name: value for name, value in params.items() if value}
