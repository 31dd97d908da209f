"""The linking room's functions: HTTP for the administrator, orchestrators, activities. Bodies are one call."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator import activities
from link_orchestrator.graph.identities import Graph
from link_orchestrator.kinds import KINDS, RUN, Kind
from link_orchestrator.orchestrator import Orchestrator
from link_orchestrator.passes.read import read_identities as read_from_source
from link_orchestrator.requests import (
    afterwards,
    approval,
    groups,
    imports,
    jobs,
    mapping,
    openapi,
    report,
    reviews,
    runs,
    uploads,
)
from link_orchestrator.source import Sources
from shared.admin.functions import ACCOUNT_ROUTES
from shared.host.http import Edge, Route, add_route

RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=2_000, max_number_of_attempts=10)
"""Storage may throttle or be away for a while; what fails for longer fails the job, and a new one may be started."""


def _of_kind(kind: Kind) -> Iterator[Route]:
    """Yield the routes of what is asked of every kind of job and needs the tables alone."""
    if kind.listed:
        yield Route(f"{kind.function}_list", "GET", kind.path, jobs.list_all(kind))
    yield Route(
        f"{kind.function}_{kind.rows.name}", "GET", f"{kind.path}/{{id}}/{kind.rows.name}", jobs.list_rows(kind)
    )
    if kind.of_a_run:
        yield Route(f"{RUN.function}_{kind.name}", "GET", f"{RUN.path}/{{id}}/{kind.name}", jobs.find_last(kind))


def _of_durable_kind(kind: Kind) -> Iterator[Route]:
    """Yield the routes of what asks the orchestration of a job, too."""
    if kind.orchestrator:
        yield Route(f"{kind.function}_get", "GET", f"{kind.path}/{{id}}", jobs.get(kind))
        yield Route(f"{kind.function}_cancel", "POST", f"{kind.path}/{{id}}/cancel", jobs.cancel_one(kind))


ROUTES = (
    Route("linking_identities_upload", "POST", "linking/identities", uploads.upload_identities),
    Route("linking_groups_upload", "POST", "linking/groups", uploads.upload_groups),
    Route("linking_run_report", "GET", "linking/runs/{id}/report", report.get_report),
    Route("linking_mapping_get", "GET", "linking/mapping", mapping.get_mapping),
    Route("linking_run_group_difference", "GET", "linking/runs/{id}/groups/{group}/difference", groups.list_difference),
    Route("linking_run_problems", "GET", "linking/runs/{id}/problems", runs.list_unusable),
    *(route for kind in KINDS.values() for route in _of_kind(kind)),
)
"""What needs the tables alone."""

DURABLE_ROUTES = (
    Route("accounts_import", "POST", "accounts/import", imports.import_accounts),
    Route("groups_import", "POST", "groups/import", imports.import_groups),
    Route("linking_run_review", "POST", "linking/runs/{id}/review", reviews.review),
    Route("linking_run_approve", "POST", "linking/runs/{id}/approve", approval.approve),
    Route("linking_undo_start", "POST", "linking/runs/{id}/undo", afterwards.start_undo),
    Route("linking_verification_start", "POST", "linking/runs/{id}/verification", afterwards.start_verification),
    *(route for kind in KINDS.values() for route in _of_durable_kind(kind)),
)
"""What starts orchestrations, asks them, or tells them something."""

START = Route("linking_run_start", "POST", "linking/runs", runs.start_run)
MAPPING = Route("linking_mapping_post", "POST", "linking/mapping", mapping.set_mapping)
"""These are handed the sources, too."""


def blueprint(edge: Edge) -> df.Blueprint:
    """Return the room's functions, for function_app.py to register."""
    bp = df.Blueprint()
    for route in ROUTES:
        add_route(bp, edge, route)
    for route in DURABLE_ROUTES:
        _add_durable_route(bp, edge, route)
    sources = Graph(edge.settings.graph)
    add_route(bp, edge, MAPPING, sources)
    _add_durable_route(bp, edge, START, sources)
    for kind in KINDS.values():
        if kind.orchestrator:
            _add_orchestration(bp, kind.orchestrator)
    _add_activities(bp, edge, sources)

    @bp.function_name("openapi")
    @bp.route("openapi.json", methods=["GET"])
    async def serve_openapi(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, openapi.serve, described(), role="admin")

    return bp


def described() -> list[Route]:
    """Return the administrator's API: the account API, and this room's routes."""
    return [*ACCOUNT_ROUTES, *ROUTES, *DURABLE_ROUTES, START, MAPPING]


def _add_durable_route(bp: df.Blueprint, edge: Edge, route: Route, *more: object) -> None:
    @bp.function_name(route.name)
    @bp.route(route.path, methods=[route.method])
    @bp.durable_client_input(client_name="client")
    async def handle(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, route.service, client, *more, role="admin")


def _add_orchestration(bp: df.Blueprint, body: Orchestrator) -> None:
    @bp.function_name(body.__name__)
    @bp.orchestration_trigger(context_name="context")
    def orchestrate(context: df.DurableOrchestrationContext) -> Any:
        return (yield from body(context, RETRY))


def _add_activities(bp: df.Blueprint, edge: Edge, sources: Sources) -> None:
    @bp.function_name("read_identities")
    @bp.activity_trigger(input_name="message")
    async def read_identities(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await read_from_source(edge.directories, sources, message)

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
