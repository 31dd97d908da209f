"""The functions of no room: the SCIM root and discovery (RFC 7644 sections 3.4.3, 4), account API, health, sweep."""

from __future__ import annotations

import logging

import azure.functions as func

from shared.admin import account_changes, accounts, groups
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.sweep import sweep
from shared.host.auth import Forbidden
from shared.host.http import JSON, Edge, Route
from shared.scim import discovery
from shared.scim.endpoint import MethodNotAllowed, NotImplementedHere, Request, Response
from shared.scim.extension import extended
from shared.scim.messages import document_text
from shared.scim.schema import GROUP, USER, ResourceType
from shared.scim_root.bulk import run_bulk
from shared.scim_root.rooms import Rooms, search_rooms

log = logging.getLogger("scimlink")

ROOT = "scim/v2"
DISCOVERY = ("serviceproviderconfig", "resourcetypes", "schemas")


def blueprint(edge: Edge, rooms: Rooms) -> func.Blueprint:
    """Return these functions, for function_app.py to register."""
    bp = func.Blueprint()
    _add_root(bp, edge, rooms)
    _add_discovery(bp, edge)
    for route in ACCOUNT_ROUTES:
        add_route(bp, edge, route)

    @bp.function_name("health")
    @bp.route("health", methods=["GET"])
    async def health(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse('{"status":"up"}', mimetype=JSON)

    @bp.function_name("sweep")
    @bp.timer_trigger(schedule="0 30 2 * * *", arg_name="timer")
    async def sweep_directories(timer: func.TimerRequest) -> None:
        """Remove what crashes left behind and what is kept no longer, every night."""
        for name in sorted({credential.directory for credential in edge.settings.credentials}):
            directory = await edge.directories.open(name)
            removed, cleared = await tidy(directory)
            log.info("sweep %s removed %d rows, %d stages", name, removed, cleared)

    return bp


async def tidy(directory: Directory) -> tuple[int, int]:
    """Remove what crashes left behind, and staged files that are kept no longer; return how many rows and stages.

    A run holds accounts to the versions it planned, and claims ahead of them: a sweep would change both, and waits.
    """
    cleared = await directory.stages.sweep()
    return 0 if await directory.jobs.is_under_way("run") else await sweep(directory), cleared


def _add_root(bp: func.Blueprint, edge: Edge, rooms: Rooms) -> None:
    @bp.function_name("scim_search")
    @bp.route(ROOT + "/.search", methods=["POST"])
    async def search(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, search_rooms, rooms)

    @bp.function_name("scim_bulk")
    @bp.route(ROOT + "/Bulk", methods=["POST"])
    async def bulk(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, run_bulk, rooms, writes=True)

    @bp.function_name("scim_other")
    @bp.route(ROOT + "/{*path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
    async def other(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, refuse, req.route_params.get("path", ""))


def _add_discovery(bp: func.Blueprint, edge: Edge) -> None:
    @bp.function_name("service_provider_config")
    @bp.route(ROOT + "/ServiceProviderConfig", methods=["GET"])
    async def service_provider_config(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, get_service_provider_config)

    @bp.function_name("resource_types")
    @bp.route(ROOT + "/ResourceTypes", methods=["GET"])
    async def resource_types(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, list_resource_types)

    @bp.function_name("resource_type")
    @bp.route(ROOT + "/ResourceTypes/{id}", methods=["GET"])
    async def resource_type(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, get_resource_type)

    @bp.function_name("schemas")
    @bp.route(ROOT + "/Schemas", methods=["GET"])
    async def schemas(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, list_schemas)

    @bp.function_name("schema")
    @bp.route(ROOT + "/Schemas/{id}", methods=["GET"])
    async def schema(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, get_schema)


ACCOUNT_ROUTES = tuple(
    Route(*route)
    for route in (
        ("accounts_find", "GET", "accounts", accounts.find_accounts),
        ("accounts_get", "GET", "accounts/{id}", accounts.get_account),
        ("accounts_edit", "PATCH", "accounts/{id}", account_changes.edit_account),
        ("accounts_delete", "DELETE", "accounts/{id}", account_changes.delete_account),
        ("accounts_link", "POST", "accounts/{id}/link", account_changes.link_account),
        ("accounts_release", "POST", "accounts/{id}/release", account_changes.release_account),
        ("groups_find", "GET", "groups", groups.find_groups),
        ("groups_get", "GET", "groups/{id}", groups.get_group),
        ("policy_get", "GET", "directory/policy", accounts.get_policy),
        ("policy_put", "PUT", "directory/policy", accounts.put_policy),
        ("directory_schemas_get", "GET", "directory/schemas", accounts.get_schemas),
        ("directory_schemas_put", "PUT", "directory/schemas", accounts.put_schemas),
    )
)


def add_route(bp: func.Blueprint, edge: Edge, route: Route, *more: object) -> None:
    """Add a function of the administrator's API, whose service is handed `more`."""

    @bp.function_name(route.name)
    @bp.route(route.path, methods=[route.method])
    async def handle(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, route.service, *more, role="admin", mimetype=JSON)


async def _types(directory: Directory) -> tuple[ResourceType, ...]:
    return (extended(USER, await directory.schemas.get()), GROUP)


async def get_service_provider_config(directory: Directory, request: Request) -> Response:
    """Say what this service provider can do."""
    _refuse_filter(request)
    return _found(discovery.service_provider_config(request.base))


async def list_resource_types(directory: Directory, request: Request) -> Response:
    """List the resource types. A filter is refused, as RFC 7644 section 4 asks."""
    _refuse_filter(request)
    return _found(discovery.resource_types(request.base, await _types(directory)))


async def get_resource_type(directory: Directory, request: Request) -> Response:
    """Return one resource type."""
    _refuse_filter(request)
    return _found(discovery.find_resource_type(request.base, request.id, await _types(directory)))


async def list_schemas(directory: Directory, request: Request) -> Response:
    """List the schemas. A filter is refused, as RFC 7644 section 4 asks."""
    _refuse_filter(request)
    return _found(discovery.schemas(request.base, await _types(directory)))


async def get_schema(directory: Directory, request: Request) -> Response:
    """Return one schema."""
    _refuse_filter(request)
    return _found(discovery.find_schema(request.base, request.id, await _types(directory)))


async def refuse(directory: Directory, request: Request, path: str) -> Response:
    """Say why there is nothing at a SCIM address that no other function answers."""
    resource, *rest = path.lower().split("/")
    if resource == "me":
        raise NotImplementedHere("this service provider has no /Me: address /Users instead")
    if resource in (*DISCOVERY, "users", "groups", "bulk", ".search") and len(rest) < 2:
        raise MethodNotAllowed("this endpoint does not take the method: RFC 7644 section 3.2 lists which do")
    raise NotFound("no such endpoint")


def _refuse_filter(request: Request) -> None:
    if "filter" in request.params:
        raise Forbidden("discovery endpoints take no filter: read the list and choose from it")


def _found(body: object) -> Response:
    if body is None:
        raise NotFound("no such schema or resource type")
    return Response(200, document_text(body))
