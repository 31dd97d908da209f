"""The services of the discovery endpoints (RFC 7644 section 4). Their bodies are shared/scim/discovery.py's.

A filter is refused, as that section asks.
"""

from __future__ import annotations

from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.host.auth import Forbidden
from shared.json_text import dump
from shared.scim import discovery
from shared.scim.endpoint import Request, Response
from shared.scim.extension import extended
from shared.scim.schema import GROUP, USER, ResourceType


async def get_service_provider_config(directory: Directory, request: Request) -> Response:
    """Say what this service provider can do."""
    return _answer(request, discovery.service_provider_config(request.base))


async def list_resource_types(directory: Directory, request: Request) -> Response:
    """List the resource types."""
    return _answer(request, discovery.resource_types(request.base, await _types(directory)))


async def get_resource_type(directory: Directory, request: Request) -> Response:
    """Return one resource type."""
    return _answer(request, discovery.find_resource_type(request.base, request.id, await _types(directory)))


async def list_schemas(directory: Directory, request: Request) -> Response:
    """List the schemas."""
    return _answer(request, discovery.schemas(request.base, await _types(directory)))


async def get_schema(directory: Directory, request: Request) -> Response:
    """Return one schema."""
    return _answer(request, discovery.find_schema(request.base, request.id, await _types(directory)))


async def _types(directory: Directory) -> tuple[ResourceType, ...]:
    return (extended(USER, await directory.schemas.get()), GROUP)


def _answer(request: Request, body: object) -> Response:
    if "filter" in request.params:
        raise Forbidden("discovery endpoints take no filter: read the list and choose from it")
    if body is None:
        raise NotFound(
            "no such schema or resource type",
            "schema or resource type",
            "/Schemas and /ResourceTypes list those there are",
        )
    return Response(200, dump(body))
