"""The portal's two functions: pages and forms."""

from __future__ import annotations

from collections.abc import Iterable

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator.lifecycle import Client
from link_orchestrator.portal.api import Door
from link_orchestrator.portal.forms import MAX_FORM_BYTES
from link_orchestrator.portal.frame import Arrived, Portal
from link_orchestrator.portal.page import Samples
from shared.host.body import read_body
from shared.host.http import Edge

PATH = "portal/{*path}"


def add_portal(bp: df.Blueprint, edge: Edge, doors: Iterable[Door], samples: Samples | None) -> None:
    """Add the portal's functions to a blueprint."""
    portal = Portal(edge.settings, edge.directories, doors, samples)

    async def answer(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        arrived = Arrived(
            method=req.method,
            path=req.route_params.get("path", "").rstrip("/"),
            query={name.lower(): value for name, value in req.params.items()},
            content_type=req.headers.get("content-type", ""),
            base=edge.base(req),
            sign_in=lambda: edge.sign_in(req),
            read=lambda: read_body(req, MAX_FORM_BYTES),
        )
        reply = await portal.answer(arrived, Client(client))
        return func.HttpResponse(
            reply.content, status_code=reply.status, headers=reply.headers, mimetype=reply.mimetype, charset="utf-8"
        )

    @edge.function(bp, "portal_page", "GET", PATH)
    @bp.durable_client_input(client_name="client")
    async def page(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await answer(req, client)

    @edge.function(bp, "portal_form", "POST", PATH)
    @bp.durable_client_input(client_name="client")
    async def form(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await answer(req, client)
