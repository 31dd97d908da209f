"""The edge: from Azure's HTTP request to a plain one and back, with authentication and every error caught.

An exception that left a function would make the Functions host answer a bare 500, so none does.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import azure.functions as func

from shared.directory.directory import Directories, Directory
from shared.directory.work.activity import Deed
from shared.host.auth import Caller, Unauthorized, authenticate
from shared.host.body import read_body
from shared.host.principal import NOBODY, PRINCIPAL, READS, admit, person_beside, read_principal, refuse_other_origin
from shared.host.problems import error_text, is_refusal, problem
from shared.host.routes import matcher, methods_with_head
from shared.host.settings import Role, Settings
from shared.scim.endpoint import LengthRequired, Request, Response, UriTooLong
from shared.scim.limits import MAX_BODY_BYTES, MAX_URL_BYTES

log = logging.getLogger("scimlink")

OURS = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[a-z]+[0-9]{17}[0-9a-f]{6}")
"""An id that was made here. Anything else in a path may be a person's name, and is not logged."""

SCIM = "/scim/v2"
WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
"""Methods of requests whose body counts."""
JSON = "application/json"
MIMETYPES: Mapping[Role, str] = {"scim": "application/scim+json", "admin": JSON}
"""Media types of answers that name none, by the role that a route asks for."""

NOT_KEPT: Mapping[str, str] = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
"""Headers of the administrator's answers: they have people's names, and may come to a browser."""

Service = Callable[..., Awaitable[Response]]
"""Takes the directory, the request, and what its function hands on."""


class Route(NamedTuple):
    """An HTTP function: its name, method, path, the service that answers, and the bytes that a body has at most."""

    name: str
    method: str
    path: str
    service: Service
    body_bytes: int = MAX_BODY_BYTES


def noted(route: Route) -> Service:
    """Return the service of a route of the administrator's API, which notes in the activity what somebody does.

    It is noted before it is done, and closed once it is answered as done. What was refused is not noted, unless a part
    was done before. That stays open, and so does what nobody can tell of, as it failed or its answer was lost.
    """
    if route.method in READS:
        return route.service

    @functools.wraps(route.service)
    async def serve(directory: Directory, request: Request, *more: object) -> Response:
        begun = await directory.activity.begin(Deed(route.name, request.by, request.person, request.id))
        try:
            response = await route.service(directory, request, *more)
        except Exception as error:
            if is_refusal(error):
                await directory.activity.withdraw(begun)
            raise
        await directory.activity.close(begun, (response.location or "").rpartition("/")[2], response.noted)
        return response

    return serve


class Edge:
    """What every HTTP function calls: authenticate, run a service, answer."""

    def __init__(self, settings: Settings, directories: Directories) -> None:
        self.settings = settings
        self.directories = directories
        self._routes: list[tuple[str, str]] = []

    def function(self, bp: func.Blueprint, name: str, method: str, path: str) -> Callable[[Any], Any]:
        """Return a decorator that adds a function to a blueprint; it answers the requests of this method and path."""
        methods = methods_with_head(method)
        self._routes += [(one, path) for one in methods]

        def add(handle: Any) -> Any:
            return bp.function_name(name)(bp.route(path, methods=methods)(handle))

        return add

    def methods(self, path: str) -> frozenset[str]:
        """Return the methods that the app's functions take at a path, which begins with a slash; none if none does."""
        return frozenset(method for method, template in self._routes if matcher(template)(path))

    async def answer(
        self,
        req: func.HttpRequest,
        service: Service,
        *more: object,
        role: Role = "scim",
        writes: bool = False,
        body_bytes: int = MAX_BODY_BYTES,
    ) -> func.HttpResponse:
        """Answer a request with what the service returns, or with the error that it raises; `more` is handed on to it.

        A SCIM request that `writes` is sent away (503) while a linking run is applied. The body is read for nobody but
        who may send it, and no more than `body_bytes` of it and one.
        """
        headers = dict(NOT_KEPT) if role == "admin" else {}
        kind = "-"
        path = _path_params(req)
        request_id = path.pop("id", "")
        try:
            caller = self._caller(req, role)
            directory = await self.directories.open(caller.directory)
            if writes:
                await directory.gate.refuse_closed()
            _check_url(req.url)
            body = await read_body(req, body_bytes)
            _check_arrived(req.method, req.headers, body)
            request = self._request(req, request_id, path, caller, body)
            response = await service(directory, request, *more)
            if role == "scim":
                await self._note_visit(directory, request, wrote=writes)
        except Exception as error:
            status, scim_type, detail, further = problem(error)
            headers |= further
            kind = scim_type or type(error).__name__
            response = Response(status, error_text(status, scim_type, detail))
        if response.version is not None:
            headers["ETag"] = response.version
        if response.location is not None:
            headers["Location"] = response.location
        headers |= response.headers
        about = request_id if OURS.fullmatch(request_id) else "-"
        name = f"{service.__module__.partition('.')[0]}.{service.__qualname__}"
        told = (role, name, about, response.status, kind)
        log.info("answered: role=%s service=%s id=%s status=%d kind=%s", *told)
        return func.HttpResponse(
            response.file or response.text or None,
            status_code=response.status,
            headers=headers,
            mimetype=response.mimetype or MIMETYPES[role],
            charset="utf-8",
        )

    def _caller(self, req: func.HttpRequest, role: Role) -> Caller:
        """Return who calls: by a token, or, on the administrator's routes, by a sign-in that the app is told of."""
        settings, headers = self.settings, req.headers
        signs_in = role == "admin" and settings.portal_auth
        principal = read_principal(headers.get(PRINCIPAL)) if signs_in else NOBODY
        try:
            credential = authenticate(headers.get("authorization"), settings.credentials, role)
        except Unauthorized:
            if not (settings.portal_audience and principal.object_id):
                raise
            return self.sign_in(req)
        person = person_beside(principal, credential.directory, settings.portal_audience, settings.portal_tenants)
        return Caller(credential.name, credential.directory, person)

    async def _note_visit(self, directory: Directory, request: Request, *, wrote: bool) -> None:
        """Note that provisioning came, so that an administrator sees that the connection works."""
        known = (one for one in self.settings.credentials if one.directory == directory.name)
        used = next((one for one in known if one.name == request.by), None)
        await directory.visits.note(request.by, request.base, used.ends if used else "", wrote=wrote)

    def sign_in(self, req: func.HttpRequest) -> Caller:
        """Return the person whom App Service Authentication signed in, where Settings.signs_in.

        Raises Unauthorized for nobody, and Forbidden for another site's request, and for what a person may not do.
        """
        settings = self.settings
        refuse_other_origin(req.headers, req.method, self.base(req).removesuffix(SCIM))
        principal = read_principal(req.headers.get(PRINCIPAL))
        return admit(principal, req.method, settings.portal_audience, settings.portal_tenants)

    def _request(
        self, req: func.HttpRequest, resource_id: str, path: Mapping[str, str], caller: Caller, body: bytes
    ) -> Request:
        headers: Mapping[str, str] = req.headers
        return Request(
            base=self.base(req),
            by=caller.name,
            person=caller.person,
            id=resource_id,
            params={**_params(req), **path},
            body=body,
            if_match=headers.get("if-match"),
            if_none_match=headers.get("if-none-match"),
            content_type=headers.get("content-type", ""),
        )

    def base(self, req: func.HttpRequest) -> str:
        """Return the address of the SCIM root as the caller sees it."""
        if self.settings.base_url:
            return self.settings.base_url + SCIM
        scheme, _, rest = req.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}{SCIM}"


def add_route(
    bp: func.Blueprint, edge: Edge, route: Route, *more: object, role: Role = "admin", writes: bool = False
) -> None:
    """Add a function to a blueprint. `more` and `writes` are those of Edge.answer."""

    service = noted(route) if role == "admin" else route.service

    @edge.function(bp, route.name, route.method, route.path)
    async def handle(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service, *more, role=role, writes=writes, body_bytes=route.body_bytes)


def _check_url(url: str) -> None:
    """Raise UriTooLong. Azure's host takes a request line of 8 KiB, and answers a bare 414 beyond."""
    if len(url.partition("://")[2]) > MAX_URL_BYTES:
        raise UriTooLong


def _check_arrived(method: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise LengthRequired for a body that did not arrive.

    The Functions host hands on a body with a Content-Length alone (azure-functions-host #7930): one that was sent in
    chunks is empty here, and would be taken for none.
    """
    if not body and method in WITH_BODY and headers.get("transfer-encoding"):
        raise LengthRequired


def _path_params(req: func.HttpRequest) -> dict[str, str]:
    """Return the parameters of the path.

    Who tests a function in the Azure portal is asked for them like those of the query. Where the path came as the route
    is written, with {id} in it, the query has what was meant (https://github.com/Azure/azure-functions-ux/issues/1525).
    """
    return {
        name: req.params.get(name, value) if value == f"{{{name}}}" else value
        for name, value in req.route_params.items()
    }


_EMPTY = re.compile(r"[?&](cursor|preview)=?(?=&|$)", re.IGNORECASE)


def _params(req: func.HttpRequest) -> dict[str, str]:
    """Return the parameters by their names in lower case; a client may write them in any (RFC 7644 section 3.4.2).

    The host drops empty ones, yet an empty cursor asks for the first page (RFC 9865), and who asks for a preview by a
    bare word must not have the file imported. What _path_params() takes from the query is none of them.
    """
    of_path = {name.lower() for name, value in req.route_params.items() if value == f"{{{name}}}"}
    given = {name.lower(): value for name, value in req.params.items() if name.lower() not in of_path}
    return {name.lower(): "" for name in _EMPTY.findall(req.url)} | given
