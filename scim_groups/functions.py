"""The HTTP functions under /scim/v2/Groups: each hands its request to the service."""

from __future__ import annotations

import azure.functions as func

from scim_groups import service
from shared.host.http import Edge

ROUTE = "scim/v2/Groups"


def blueprint(edge: Edge) -> func.Blueprint:
    """Return the room's functions, for function_app.py to register."""
    bp = func.Blueprint()

    @bp.function_name("scim_groups_create")
    @bp.route(ROUTE, methods=["POST"])
    async def create(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.create, writes=True)

    @bp.function_name("scim_groups_query")
    @bp.route(ROUTE, methods=["GET"])
    async def query(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.query)

    @bp.function_name("scim_groups_search")
    @bp.route(ROUTE + "/.search", methods=["POST"])
    async def search(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.search)

    @bp.function_name("scim_groups_get")
    @bp.route(ROUTE + "/{id}", methods=["GET"])
    async def get(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.get)

    @bp.function_name("scim_groups_replace")
    @bp.route(ROUTE + "/{id}", methods=["PUT"])
    async def replace(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.replace, writes=True)

    @bp.function_name("scim_groups_patch")
    @bp.route(ROUTE + "/{id}", methods=["PATCH"])
    async def patch(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.patch, writes=True)

    @bp.function_name("scim_groups_delete")
    @bp.route(ROUTE + "/{id}", methods=["DELETE"])
    async def delete(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.delete, writes=True)

    return bp
