"""The linking room's functions: HTTP for the administrator, orchestrators, activities. Bodies are one call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator import activities, orchestrator
from link_orchestrator.graph.identities import Graph
from link_orchestrator.passes import read
from link_orchestrator.requests import afterwards, approval, groups, mapping, openapi, report, reviews, runs
from link_orchestrator.source import Sources
from shared.admin.functions import ACCOUNT_ROUTES
from shared.host.http import JSON, Edge, Route, Service, add_route

RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=2_000, max_number_of_attempts=10)
"""Storage may throttle or be away for a while; what fails for longer fails the job, and a new one may be started."""

ROUTES: tuple[tuple[str, str, str, Service], ...] = (
    ("linking_identities_upload", "POST", "linking/identities", runs.upload_identities),
    ("linking_identities_problems", "GET", "linking/identities/{id}/problems", runs.list_unread_identities),
    ("accounts_import_problems", "GET", "accounts/imports/{id}/problems", runs.list_problems),
    ("linking_run_list", "GET", "linking/runs", runs.list_runs),
    ("linking_run_decisions", "GET", "linking/runs/{id}/decisions", runs.list_decisions),
    ("linking_run_undo", "GET", "linking/runs/{id}/undo", afterwards.find_undo),
    ("linking_undo_list", "GET", "linking/undos", afterwards.list_undos),
    ("linking_undo_rows", "GET", "linking/undos/{id}/rows", afterwards.list_undo_rows),
    ("linking_run_verification", "GET", "linking/runs/{id}/verification", afterwards.find_verification),
    ("linking_verification_rows", "GET", "linking/verifications/{id}/rows", afterwards.list_verification_rows),
    ("linking_run_report", "GET", "linking/runs/{id}/report", report.get_report),
    ("linking_mapping_get", "GET", "linking/mapping", mapping.get_mapping),
    ("linking_groups_upload", "POST", "linking/groups", groups.upload_entra_groups),
    ("linking_groups_problems", "GET", "linking/groups/{id}/problems", groups.list_unread_groups),
    ("groups_import_problems", "GET", "groups/imports/{id}/problems", groups.list_problems),
    (
        "linking_run_group_difference",
        "GET",
        "linking/runs/{id}/groups/{group}/difference",
        groups.list_difference,
    ),
    ("linking_run_problems", "GET", "linking/runs/{id}/problems", runs.list_unusable),
)
"""Function name, method, route and service of what needs the tables alone."""

DURABLE_ROUTES: tuple[tuple[str, str, str, Service], ...] = (
    ("accounts_import", "POST", "accounts/import", runs.import_accounts),
    ("accounts_import_get", "GET", "accounts/imports/{id}", runs.get_import),
    ("accounts_import_cancel", "POST", "accounts/imports/{id}/cancel", runs.cancel_import),
    ("groups_import", "POST", "groups/import", groups.import_groups),
    ("groups_import_get", "GET", "groups/imports/{id}", groups.get_import),
    ("groups_import_cancel", "POST", "groups/imports/{id}/cancel", groups.cancel_import),
    ("linking_run_get", "GET", "linking/runs/{id}", runs.get_run),
    ("linking_run_review", "POST", "linking/runs/{id}/review", reviews.review),
    ("linking_run_approve", "POST", "linking/runs/{id}/approve", approval.approve),
    ("linking_run_cancel", "POST", "linking/runs/{id}/cancel", runs.cancel),
    ("linking_undo_start", "POST", "linking/runs/{id}/undo", afterwards.start_undo),
    ("linking_undo_get", "GET", "linking/undos/{id}", afterwards.get_undo),
    ("linking_undo_cancel", "POST", "linking/undos/{id}/cancel", afterwards.cancel_undo),
    ("linking_verification_start", "POST", "linking/runs/{id}/verification", afterwards.start_verification),
    ("linking_verification_get", "GET", "linking/verifications/{id}", afterwards.get_verification),
    ("linking_verification_cancel", "POST", "linking/verifications/{id}/cancel", afterwards.cancel_verification),
)
"""The same of what starts orchestrations, asks them, or tells them something."""

START = Route("linking_run_start", "POST", "linking/runs", runs.start_run)
MAPPING = Route("linking_mapping_post", "POST", "linking/mapping", mapping.set_mapping)
"""These are handed the sources, too."""


def blueprint(edge: Edge) -> df.Blueprint:
    """Return the room's functions, for function_app.py to register."""
    bp = df.Blueprint()
    for route in map(Route._make, ROUTES):
        add_route(bp, edge, route)
    for route in map(Route._make, DURABLE_ROUTES):
        _add_durable_route(bp, edge, route)
    sources = Graph(edge.settings.graph)
    add_route(bp, edge, MAPPING, sources)
    _add_durable_route(bp, edge, START, sources)
    for body in ORCHESTRATIONS:
        _add_orchestration(bp, body)
    _add_activities(bp, edge, sources)

    @bp.function_name("openapi")
    @bp.route("openapi.json", methods=["GET"])
    async def serve_openapi(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, openapi.serve, described(), role="admin", mimetype=JSON)

    return bp


def described() -> list[Route]:
    """Return the administrator's API: the account API, and this room's routes."""
    return [*ACCOUNT_ROUTES, *map(Route._make, ROUTES), *map(Route._make, DURABLE_ROUTES), START, MAPPING]


def _add_durable_route(bp: df.Blueprint, edge: Edge, route: Route, *more: object) -> None:
    @bp.function_name(route.name)
    @bp.route(route.path, methods=[route.method])
    @bp.durable_client_input(client_name="client")
    async def handle(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, route.service, client, *more, role="admin", mimetype=JSON)


ORCHESTRATIONS = (
    orchestrator.link_accounts,
    orchestrator.import_accounts,
    orchestrator.import_groups,
    orchestrator.undo_links,
    orchestrator.verify_links,
)
"""Each is a function of its own name."""


def _add_orchestration(bp: df.Blueprint, body: Callable[[Any, Any], orchestrator.Steps]) -> None:
    @bp.function_name(body.__name__)
    @bp.orchestration_trigger(context_name="context")
    def orchestrate(context: df.DurableOrchestrationContext) -> Any:
        return (yield from body(context, RETRY))


def _add_activities(bp: df.Blueprint, edge: Edge, sources: Sources) -> None:
    @bp.function_name("read_identities")
    @bp.activity_trigger(input_name="message")
    async def read_identities(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await read.read_identities(edge.directories, sources, message)

    @bp.function_name("run_slice")
    @bp.activity_trigger(input_name="message")
    async def run_slice(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.run_slice(edge.directories, message)

    @bp.function_name("choose_extent")
    @bp.activity_trigger(input_name="message")
    async def choose_extent(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.choose_extent(edge.directories, message)

    @bp.function_name("reach_milestone")
    @bp.activity_trigger(input_name="message")
    async def reach_milestone(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.reach_milestone(edge.directories, message)
