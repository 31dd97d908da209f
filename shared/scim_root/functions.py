"""SCIM's HTTP functions: each resource type's, and those of the root (RFC 7644 sections 3.2 and 4)."""

from __future__ import annotations

import azure.functions as func

from shared.host.http import SCIM, Edge, Route, add_route
from shared.scim.limits import MAX_BULK_BYTES
from shared.scim_root.bulk import run_bulk
from shared.scim_root.discovery import (
    get_resource_type,
    get_schema,
    get_service_provider_config,
    list_resource_types,
    list_schemas,
)
from shared.scim_root.rooms import Room, Rooms, query_rooms, search_rooms

DISCOVERY = (
    Route("service_provider_config", "GET", "ServiceProviderConfig", get_service_provider_config),
    Route("resource_types", "GET", "ResourceTypes", list_resource_types),
    Route("resource_type", "GET", "ResourceTypes/{id}", get_resource_type),
    Route("schemas", "GET", "Schemas", list_schemas),
    Route("schema", "GET", "Schemas/{id}", get_schema),
)


def blueprint(edge: Edge, rooms: Rooms) -> func.Blueprint:
    """Return the functions of the root, for function_app.py to register."""
    bp = func.Blueprint()
    _add(bp, edge, Route("scim_query", "GET", "", query_rooms), rooms)
    _add(bp, edge, Route("scim_search", "POST", ".search", search_rooms), rooms)
    _add(bp, edge, Route("scim_bulk", "POST", "Bulk", run_bulk, MAX_BULK_BYTES), rooms, writes=True)
    for route in DISCOVERY:
        _add(bp, edge, route)
    return bp


def room_blueprint(edge: Edge, endpoint: str, room: Room) -> func.Blueprint:
    """Return the functions of one resource type, such as `Users`, for function_app.py to register."""
    bp = func.Blueprint()
    for verb, method, suffix, service, writes in (
        ("create", "POST", "", room.create, True),
        ("query", "GET", "", room.query, False),
        ("search", "POST", "/.search", room.search, False),
        ("get", "GET", "/{id}", room.get, False),
        ("replace", "PUT", "/{id}", room.replace, True),
        ("patch", "PATCH", "/{id}", room.patch, True),
        ("delete", "DELETE", "/{id}", room.delete, True),
    ):
        route = Route(f"scim_{endpoint.lower()}_{verb}", method, endpoint + suffix, service)
        _add(bp, edge, route, writes=writes)
    return bp


def _add(bp: func.Blueprint, edge: Edge, route: Route, *more: object, writes: bool = False) -> None:
    path = f"{SCIM}/{route.path}".strip("/")
    add_route(bp, edge, route._replace(path=path), *more, role="scim", writes=writes)
