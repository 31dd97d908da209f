"""The linking room's functions: HTTP for the administrator, orchestrators, activities, a timer."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator import activities
from link_orchestrator.activities import answered
from link_orchestrator.graph.identities import Graph
from link_orchestrator.kinds import KINDS, RUN, Kind
from link_orchestrator.lifecycle import Client, look_after
from link_orchestrator.orchestrator import Orchestrator
from link_orchestrator.passes.read import read_identities as read_from_source
from link_orchestrator.portal.api import Door
from link_orchestrator.portal.functions import add_portal
from link_orchestrator.portal.page import Samples
from link_orchestrator.requests import (
    activity,
    approval,
    basis,
    connection,
    decided,
    decisions_file,
    groups,
    imports,
    jobs,
    known,
    left_out,
    mapping,
    one_row,
    openapi,
    pilots,
    policy,
    provisioning,
    report,
    reviews,
    runs,
    schedule,
    standing,
    undos,
    uploads,
    verifications,
)
from link_orchestrator.requests.sent_file import MAX_FILE_BYTES
from link_orchestrator.retention import remove_over
from link_orchestrator.source import Sources
from shared.admin.functions import ACCOUNT_ROUTES
from shared.directory.directory import Directory
from shared.host.http import Edge, Route, Service, add_route, noted
from shared.host.problems import loggable
from shared.host.settings import Settings
from shared.scim.endpoint import Request, Response

log = logging.getLogger("scimlink")


class GrowingRetry(df.RetryOptions):  # type: ignore[misc]  # the SDK has no types
    """Retry options whose interval doubles, up to five minutes.

    The SDK has only the first interval and the number of attempts, but sends what `to_json` returns, and the extension
    reads the rest, too (RetryOptionsConverter in Azure/azure-functions-durable-extension).
    """

    def to_json(self) -> dict[str, Any]:
        """Return the options as the extension reads them."""
        return {**super().to_json(), "backoffCoefficient": 2, "maxRetryIntervalInMilliseconds": 300_000}


RETRY = GrowingRetry(first_retry_interval_in_milliseconds=2_000, max_number_of_attempts=10)
"""Retries of an activity that failed: its process may have ended. They go on for 13 minutes; then the job has failed.

An outage of storage is no failure (activities.answered).
"""

NIGHT = "0 10,30,50 3-5 * * *"
"""When jobs are removed. While a run is under way none is, and runs by schedule may begin at the same time each night.
What is left the next time goes then: where nothing is, a look costs a few reads of all jobs."""

ROUTES = (
    Route("linking_identities_upload", "POST", "linking/identities", uploads.upload_identities, MAX_FILE_BYTES),
    Route("linking_groups_upload", "POST", "linking/groups", uploads.upload_groups, MAX_FILE_BYTES),
    Route("linking_run_report", "GET", "linking/runs/{id}/report", report.get_report),
    Route("linking_run_basis", "GET", "linking/runs/{id}/basis", basis.get_basis),
    Route("linking_run_left_out", "GET", "linking/runs/{id}/left-out", left_out.get_left_out),
    Route("linking_run_pilot", "GET", "linking/runs/{id}/pilot", pilots.foresee_pilot),
    Route("linking_run_decided", "GET", "linking/runs/{id}/decided", decided.list_decided),
    Route("linking_run_row", "GET", "linking/runs/{id}/decisions/{row}", one_row.get_row),
    Route("linking_undo_preview", "GET", "linking/runs/{id}/undo/preview", undos.preview_undo),
    Route("linking_undo_report", "GET", "linking/undos/{id}/report", report.get_undo_report),
    Route(
        "linking_verification_report",
        "GET",
        "linking/verifications/{id}/report",
        report.get_verification_report,
    ),
    Route("linking_mapping_get", "GET", "linking/mapping", mapping.get_mapping),
    Route("linking_run_group_difference", "GET", "linking/runs/{id}/groups/{group}/difference", groups.list_difference),
    Route("linking_run_problems", "GET", "linking/runs/{id}/problems", runs.list_unusable),
    Route("linking_refusals", "GET", "linking/refusals", provisioning.list_refusals),
    Route("linking_adoptions", "GET", "linking/adoptions", provisioning.list_adoptions),
    Route("linking_foreign_links", "GET", "linking/foreign-links", provisioning.list_foreign_links),
    Route("linking_known_identity", "GET", "linking/known-identities/{id}", known.get_known_identity),
    Route("linking_imports", "GET", "linking/imports", imports.list_imports),
    Route("linking_unread", "GET", "linking/unread", imports.list_unread),
    Route("linking_uploads", "GET", "linking/uploads", uploads.list_uploads),
    Route("linking_schedule_get", "GET", "linking/schedule", schedule.get_schedule),
    Route("linking_schedule_resume", "POST", "linking/schedule/resume", schedule.resume_schedule),
    Route("activity_list", "GET", "directory/activity", activity.list_activity),
    Route("jobs_under_way", "GET", "directory/under-way", activity.list_under_way),
    Route("policy_warnings", "GET", "directory/policy/warnings", policy.list_warnings),
    Route("policy_history", "GET", "directory/policy/history", policy.list_history),
)
"""Routes beside those that every kind has. Their services need the tables alone."""

DURABLE_ROUTES = (
    Route("accounts_import", "POST", "accounts/import", imports.import_accounts, MAX_FILE_BYTES),
    Route("groups_import", "POST", "groups/import", imports.import_groups, MAX_FILE_BYTES),
    Route("accounts_preview_import", "POST", "accounts/previews/{id}/import", imports.import_previewed_accounts),
    Route("groups_preview_import", "POST", "groups/previews/{id}/import", imports.import_previewed_groups),
    Route("accounts_import_undo_start", "POST", "accounts/imports/{id}/undo", imports.undo_accounts),
    Route("groups_import_undo_start", "POST", "groups/imports/{id}/undo", imports.undo_groups),
    Route("accounts_undo_preview_start", "POST", "accounts/imports/{id}/undo/preview", imports.preview_accounts_undo),
    Route("groups_undo_preview_start", "POST", "groups/imports/{id}/undo/preview", imports.preview_groups_undo),
    Route("linking_run_review", "POST", "linking/runs/{id}/review", reviews.review),
    Route("linking_run_decide", "POST", "linking/runs/{id}/decisions", decisions_file.decide_by_file, MAX_FILE_BYTES),
    Route("linking_run_approve", "POST", "linking/runs/{id}/approve", approval.approve),
    Route("linking_undo_start", "POST", "linking/runs/{id}/undo", undos.start_undo),
    Route("linking_adoptions_undo", "POST", "linking/adoptions/undo", undos.start_undo_of_adoptions),
    Route("linking_verification_start", "POST", "linking/runs/{id}/verification", verifications.start_verification),
)
"""Routes beside those that every kind has. Their services also start an orchestration, or tell it something."""

START = Route("linking_run_start", "POST", "linking/runs", runs.start_run)
MAPPING = Route("linking_mapping_post", "POST", "linking/mapping", mapping.set_mapping)
POLICY = Route("policy_put", "PUT", "directory/policy", policy.put_policy)
SOURCES = Route("linking_sources", "GET", "linking/sources", runs.get_sources)
"""Routes whose services are handed the sources, too; that of START also the client of the orchestrations."""
DIRECTORY = Route("directory_get", "GET", "directory", standing.get_directory)
SETTINGS = Route("directory_settings_get", "GET", "directory/settings", standing.get_settings)
CONNECTION = Route("linking_connection", "GET", "linking/connection", connection.get_connection)
"""Routes whose services are handed the app's settings, too."""


def blueprint(edge: Edge, samples: Samples | None = None) -> df.Blueprint:
    """Return the room's functions, for function_app.py to register; `samples` are made-up people for the portal."""
    bp = df.Blueprint()
    sources = Graph(edge.settings.graph)
    doors = list(_doors(edge.settings, sources))
    for door in doors:
        (_add_durable_route if door.durable else add_route)(bp, edge, door.route, *door.more)
    add_portal(bp, edge, [*map(Door, ACCOUNT_ROUTES), *doors], samples)
    for kind in KINDS.values():
        if kind.orchestrator:
            _add_orchestration(bp, kind.orchestrator)
    _add_activities(bp, edge, sources)
    _add_timers(bp, edge, sources)

    @edge.function(bp, "openapi", "GET", "openapi.json")
    async def serve_openapi(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, openapi.serve, described(), role="admin")

    return bp


def described() -> list[Route]:
    """Return the routes of the administrator's API: those of accounts, and this room's."""
    return [*ACCOUNT_ROUTES, *(door.route for door in _doors())]


def _doors(settings: Settings | None = None, sources: Sources | None = None) -> Iterator[Door]:
    """Yield the room's routes, each with what its service is handed; by default to look at the routes alone."""
    yield from map(Door, _plain_routes())
    yield from (Door(route, durable=True) for route in _durable_routes())
    yield from (Door(route, more=(settings,)) for route in (DIRECTORY, SETTINGS, CONNECTION))
    yield from (Door(route, durable=route is START, more=(sources,)) for route in (START, MAPPING, POLICY, SOURCES))


def _plain_routes() -> Iterator[Route]:
    """Yield the routes whose services need the tables alone."""
    yield from ROUTES
    for kind in KINDS.values():
        name, rows = kind.function_prefix, kind.rows
        if kind.listed:
            service = _bind(kind, jobs.list_jobs, f"List the {kind.plural}, the latest first, a page at a time.")
            yield Route(f"{name}_list", "GET", kind.path, service)
        if not kind.orchestrator:
            service = _bind(kind, jobs.get_upload, f"Return {kind.title}: its counts, and what was read of its file.")
            yield Route(f"{name}_get", "GET", f"{kind.path}/{{id}}", service)
            service = _bind(kind, uploads.remove_upload, f"Remove {kind.title}, which no plan can name any more: 204.")
            yield Route(f"{name}_remove", "DELETE", f"{kind.path}/{{id}}", service)
        service = _bind(kind, jobs.list_rows, f"List {rows.description}")
        yield Route(f"{name}_{rows.name}", "GET", f"{kind.path}/{{id}}/{rows.name}", service)
        if (about := kind.about_import) is not None:
            service = _bind(kind, jobs.find_last_of_import, f"Return the last {kind.title.partition(' ')[2]}.")
            yield Route(kind.about_name, "GET", f"{about.path}/{{id}}/{kind.about_path}", service)
        if kind.about_run:
            service = _bind(kind, jobs.find_last, f"Return the last {kind.name} of a run.")
            yield Route(f"{RUN.function_prefix}_{kind.name}", "GET", f"{RUN.path}/{{id}}/{kind.name}", service)


def _durable_routes() -> Iterator[Route]:
    """Yield the routes whose services also need the client of the orchestrations."""
    yield from DURABLE_ROUTES
    for kind in KINDS.values():
        if kind.orchestrator:
            name, path = kind.function_prefix, f"{kind.path}/{{id}}"
            service = _bind(kind, jobs.get_job, f"Return {kind.title}: its phase, its counts, its progress.")
            yield Route(f"{name}_get", "GET", path, service)
            service = _bind(kind, jobs.cancel_job, f"Cancel {kind.title}: 202. {kind.after_cancel}")
            yield Route(f"{name}_cancel", "POST", f"{path}/cancel", service)


def _bind(kind: Kind, service: Service, summary: str) -> Service:
    """Return a service that knows its kind, under a name for the log and a summary for the API's document."""

    async def serve(directory: Directory, request: Request, *more: object) -> Response:
        return await service(kind, directory, request, *more)

    serve.__qualname__, serve.__doc__ = f"{kind.name}.{service.__name__}", summary
    return serve


def _add_durable_route(bp: df.Blueprint, edge: Edge, route: Route, *more: object) -> None:
    service = noted(route)

    @edge.function(bp, route.name, route.method, route.path)
    @bp.durable_client_input(client_name="client")
    async def handle(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service, Client(client), *more, role="admin", body_bytes=route.body_bytes)


def _add_orchestration(bp: df.Blueprint, body: Orchestrator) -> None:
    @bp.function_name(body.__name__)
    @bp.orchestration_trigger(context_name="context")
    def orchestrate(context: df.DurableOrchestrationContext) -> Any:
        return (yield from body(context, RETRY))


def _add_activities(bp: df.Blueprint, edge: Edge, sources: Sources) -> None:
    @bp.function_name("read_identities")
    @bp.activity_trigger(input_name="message")
    async def read_identities(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await answered(read_from_source(edge.directories, sources, message))

    @bp.function_name("run_slice")
    @bp.activity_trigger(input_name="message")
    async def run_slice(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await answered(activities.run_slice(edge.directories, message))

    @bp.function_name("choose_extent")
    @bp.activity_trigger(input_name="message")
    async def choose_extent(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await answered(activities.choose_extent(edge.directories, message))

    @bp.function_name("approve_itself")
    @bp.activity_trigger(input_name="message")
    async def approve_itself(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await answered(activities.approve_itself(edge.directories, message))

    @bp.function_name("reach_milestone")
    @bp.activity_trigger(input_name="message")
    async def reach_milestone(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await answered(activities.reach_milestone(edge.directories, message))


def _add_timers(bp: df.Blueprint, edge: Edge, sources: Sources) -> None:
    @bp.function_name("scheduled_runs")
    @bp.timer_trigger(schedule="0 */15 * * * *", arg_name="timer")
    @bp.durable_client_input(client_name="client")
    async def start_scheduled(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
        """Start the runs that are due by the directories' schedules."""
        for name in edge.settings.directories:
            try:
                await schedule.start_due(await edge.directories.open(name), Client(client), sources)
            # One directory's trouble keeps no other's runs from starting; the next timer tries again.
            except Exception as error:
                log.error("schedule %s failed with %s", name, loggable(error))

    @bp.function_name("jobs_remove")
    @bp.timer_trigger(schedule=NIGHT, arg_name="timer")
    @bp.durable_client_input(client_name="client")
    async def remove_jobs(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
        """End the jobs whose orchestration died unseen, and remove those whose term is over, every night."""
        for name in edge.settings.directories:
            for upkeep in (look_after, remove_over):
                try:
                    await upkeep(await edge.directories.open(name), Client(client))
                # As above: the next time tries it again.
                except Exception as error:
                    log.error("jobs %s: %s failed with %s", name, upkeep.__name__, loggable(error))
