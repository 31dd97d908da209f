"""The linking room's functions: HTTP for the administrator, orchestrators, activities. Bodies are one call."""

from __future__ import annotations

from typing import Any

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator import activities, orchestrator, reading, service
from link_orchestrator.graph import Graph
from link_orchestrator.sources import Sources
from shared.host.http import JSON, Edge, Service

RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=2_000, max_number_of_attempts=10)
"""Storage may throttle or be away for a while; what fails for longer fails the job, and a new one may be started."""

ROUTES: tuple[tuple[str, str, str, Service], ...] = (
    ("linking_identities_upload", "POST", "linking/identities", service.upload_identities),
    ("linking_identities_problems", "GET", "linking/identities/{id}/problems", service.list_unread_identities),
    ("accounts_import_problems", "GET", "accounts/imports/{id}/problems", service.list_problems),
    ("linking_run_list", "GET", "linking/runs", service.list_runs),
    ("linking_run_decisions", "GET", "linking/runs/{id}/decisions", service.list_decisions),
    ("linking_run_problems", "GET", "linking/runs/{id}/problems", service.list_unusable),
)
"""Function name, method, route and service of what needs the tables alone."""

DURABLE_ROUTES: tuple[tuple[str, str, str, Service], ...] = (
    ("accounts_import", "POST", "accounts/import", service.import_accounts),
    ("accounts_import_get", "GET", "accounts/imports/{id}", service.get_import),
    ("accounts_import_cancel", "POST", "accounts/imports/{id}/cancel", service.cancel_import),
    ("linking_run_get", "GET", "linking/runs/{id}", service.get_run),
    ("linking_run_approve", "POST", "linking/runs/{id}/approve", service.approve),
    ("linking_run_cancel", "POST", "linking/runs/{id}/cancel", service.cancel),
)
"""The same of what starts orchestrations, asks them, or tells them something."""


def blueprint(edge: Edge) -> df.Blueprint:
    """Return the room's functions, for function_app.py to register."""
    bp = df.Blueprint()
    for route in ROUTES:
        _add_route(bp, edge, *route)
    for route in DURABLE_ROUTES:
        _add_durable_route(bp, edge, *route)
    sources = Graph(edge.settings.graph)
    _add_durable_route(bp, edge, "linking_run_start", "POST", "linking/runs", service.start_run, sources)
    _add_orchestrations(bp, edge, sources)
    return bp


def _add_route(bp: df.Blueprint, edge: Edge, name: str, method: str, route: str, serve: Service) -> None:
    @bp.function_name(name)
    @bp.route(route, methods=[method])
    async def handle(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, serve, role="admin", mimetype=JSON)


def _add_durable_route(
    bp: df.Blueprint, edge: Edge, name: str, method: str, route: str, serve: Service, *more: object
) -> None:
    @bp.function_name(name)
    @bp.route(route, methods=[method])
    @bp.durable_client_input(client_name="client")
    async def handle(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, serve, client, *more, role="admin", mimetype=JSON)


def _add_orchestrations(bp: df.Blueprint, edge: Edge, sources: Sources) -> None:
    @bp.function_name("link_accounts")
    @bp.orchestration_trigger(context_name="context")
    def link_accounts(context: df.DurableOrchestrationContext) -> Any:
        return (yield from orchestrator.link_accounts(context, RETRY))

    @bp.function_name("import_accounts")
    @bp.orchestration_trigger(context_name="context")
    def import_accounts(context: df.DurableOrchestrationContext) -> Any:
        return (yield from orchestrator.import_accounts(context, RETRY))

    @bp.function_name("read_identities")
    @bp.activity_trigger(input_name="message")
    async def read_identities(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await reading.read_identities(edge.directories, sources, message)

    @bp.function_name("run_slice")
    @bp.activity_trigger(input_name="message")
    async def run_slice(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.run_slice(edge.directories, message)

    @bp.function_name("reach_milestone")
    @bp.activity_trigger(input_name="message")
    async def reach_milestone(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.reach_milestone(edge.directories, message)
