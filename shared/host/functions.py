"""The functions that belong to no room: health, the end of tokens, and what no other function answers."""

from __future__ import annotations

import json
from collections.abc import Callable

import azure.functions as func

from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.host.expiry import tell_expiring
from shared.host.http import JSON, SCIM, Edge
from shared.host.readiness import Readiness
from shared.scim.endpoint import MethodNotAllowed, NotImplementedHere, Request, Response
from shared.tables.port import Tables

UNANSWERED = "unanswered"
"""Name of the function that answers what no other does.

It must come last by name: the Functions host tries routes in the order of the functions' names, without regard to case,
and the first that matches wins; literals have no precedence (azure-functions-host #3153, #6062, #9876).
"""


def blueprint(edge: Edge, tables: Tables) -> func.Blueprint:
    """Return these functions, for function_app.py to register."""
    bp = func.Blueprint()
    _add_health(bp, edge, Readiness(tables))

    # In every app, for each knows its own tokens alone.
    @bp.function_name("credentials_expire")
    @bp.timer_trigger(schedule="0 0 6 * * *", arg_name="timer")
    async def tell(timer: func.TimerRequest) -> None:
        """Tell of tokens that end soon, every morning."""
        tell_expiring(edge.settings.credentials)

    @bp.function_name(UNANSWERED)
    @bp.route("{*path}")  # no methods: all of them
    async def unanswered(req: func.HttpRequest) -> func.HttpResponse:
        path = "/" + req.route_params.get("path", "")
        scim = f"{path.lower()}/".startswith(f"{SCIM}/")
        return await edge.answer(req, refuse, req.method, path, edge.methods, role="scim" if scim else "admin")

    return bp


def blueprint_of_fault(fault: str) -> func.Blueprint:
    """Return the functions of an app that a wrong setting keeps from its work; `fault` names the setting."""
    bp = func.Blueprint()

    @bp.function_name("health_live")
    @bp.route("health/live", methods=["GET", "HEAD"])
    async def live(req: func.HttpRequest) -> func.HttpResponse:
        return _told(200, status="up")

    @bp.function_name(UNANSWERED)
    @bp.route("{*path}")
    async def unanswered(req: func.HttpRequest) -> func.HttpResponse:
        return _told(503, status="not ready", settings=fault)

    return bp


def _told(code: int, **told: str) -> func.HttpResponse:
    return func.HttpResponse(json.dumps(told), status_code=code, mimetype=JSON)


def _add_health(bp: func.Blueprint, edge: Edge, readiness: Readiness) -> None:
    """Add the functions that need no token."""

    async def health(req: func.HttpRequest) -> func.HttpResponse:
        return _told(200, status="up", storage=await readiness.find_fault() or "ready")

    async def live(req: func.HttpRequest) -> func.HttpResponse:
        return _told(200, status="up")

    async def ready(req: func.HttpRequest) -> func.HttpResponse:
        fault = await readiness.find_fault()
        return _told(503, status="not ready", storage=fault) if fault else _told(200, status="ready")

    edge.function(bp, "health", "GET", "health")(health)
    edge.function(bp, "health_live", "GET", "health/live")(live)
    edge.function(bp, "health_ready", "GET", "health/ready")(ready)


async def refuse(
    directory: Directory, request: Request, method: str, path: str, methods: Callable[[str], frozenset[str]]
) -> Response:
    """Answer OPTIONS (RFC 9110 section 9.3.7); refuse any other request, and say why.

    `methods` tells which ones an address takes. It goes through all routes, so it is asked for no stranger.
    """
    if f"{path.lower()}/".startswith(f"{SCIM}/me/"):
        raise NotImplementedHere("this service provider has no /Me: address /Users instead")
    allowed = methods(path)
    if not allowed:
        remedy = "GET /openapi.json describes those there are, and SCIM's are below /scim/v2"
        raise NotFound("no such address", "address", remedy, where="here")
    allowed |= {"OPTIONS"}
    if method != "OPTIONS":
        raise MethodNotAllowed(allowed)
    return Response(204, headers={"Allow": ", ".join(sorted(allowed))})
