"""The linking room's functions: HTTP for the administrator, orchestrators, activities. Bodies are one call."""

from __future__ import annotations

from typing import Any

import azure.durable_functions as df
import azure.functions as func

from link_orchestrator import activities, orchestrator, service
from shared.host.http import JSON, Edge

RETRY = df.RetryOptions(first_retry_interval_in_milliseconds=2_000, max_number_of_attempts=10)
"""Storage may throttle or be away for a while; what fails for longer fails the job, and a new one may be started."""


def blueprint(edge: Edge) -> df.Blueprint:
    """Return the room's functions, for function_app.py to register."""
    bp = df.Blueprint()
    _add_imports(bp, edge)
    _add_runs(bp, edge)
    _add_verdicts(bp, edge)
    _add_orchestrations(bp, edge)
    return bp


def _add_imports(bp: df.Blueprint, edge: Edge) -> None:
    @bp.function_name("accounts_import")
    @bp.route("accounts/import", methods=["POST"])
    @bp.durable_client_input(client_name="client")
    async def import_accounts(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.import_accounts, client, role="admin", mimetype=JSON)

    @bp.function_name("accounts_import_get")
    @bp.route("accounts/imports/{id}", methods=["GET"])
    @bp.durable_client_input(client_name="client")
    async def get_import(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.get_import, client, role="admin", mimetype=JSON)

    @bp.function_name("accounts_import_cancel")
    @bp.route("accounts/imports/{id}/cancel", methods=["POST"])
    @bp.durable_client_input(client_name="client")
    async def cancel_import(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.cancel_import, client, role="admin", mimetype=JSON)

    @bp.function_name("accounts_import_problems")
    @bp.route("accounts/imports/{id}/problems", methods=["GET"])
    async def list_problems(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.list_problems, role="admin", mimetype=JSON)


def _add_runs(bp: df.Blueprint, edge: Edge) -> None:
    @bp.function_name("linking_identities_upload")
    @bp.route("linking/identities", methods=["POST"])
    async def upload_identities(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.upload_identities, role="admin", mimetype=JSON)

    @bp.function_name("linking_identities_problems")
    @bp.route("linking/identities/{id}/problems", methods=["GET"])
    async def list_unread_identities(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.list_unread_identities, role="admin", mimetype=JSON)

    @bp.function_name("linking_run_start")
    @bp.route("linking/runs", methods=["POST"])
    @bp.durable_client_input(client_name="client")
    async def start_run(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.start_run, client, role="admin", mimetype=JSON)

    @bp.function_name("linking_run_list")
    @bp.route("linking/runs", methods=["GET"])
    async def list_runs(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.list_runs, role="admin", mimetype=JSON)

    @bp.function_name("linking_run_get")
    @bp.route("linking/runs/{id}", methods=["GET"])
    @bp.durable_client_input(client_name="client")
    async def get_run(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.get_run, client, role="admin", mimetype=JSON)


def _add_verdicts(bp: df.Blueprint, edge: Edge) -> None:
    @bp.function_name("linking_run_decisions")
    @bp.route("linking/runs/{id}/decisions", methods=["GET"])
    async def list_decisions(req: func.HttpRequest) -> func.HttpResponse:
        return await edge.answer(req, service.list_decisions, role="admin", mimetype=JSON)

    @bp.function_name("linking_run_approve")
    @bp.route("linking/runs/{id}/approve", methods=["POST"])
    @bp.durable_client_input(client_name="client")
    async def approve(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.approve, client, role="admin", mimetype=JSON)

    @bp.function_name("linking_run_cancel")
    @bp.route("linking/runs/{id}/cancel", methods=["POST"])
    @bp.durable_client_input(client_name="client")
    async def cancel(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        return await edge.answer(req, service.cancel, client, role="admin", mimetype=JSON)


def _add_orchestrations(bp: df.Blueprint, edge: Edge) -> None:
    @bp.function_name("link_accounts")
    @bp.orchestration_trigger(context_name="context")
    def link_accounts(context: df.DurableOrchestrationContext) -> Any:
        return (yield from orchestrator.link_accounts(context, RETRY))

    @bp.function_name("import_accounts")
    @bp.orchestration_trigger(context_name="context")
    def import_accounts(context: df.DurableOrchestrationContext) -> Any:
        return (yield from orchestrator.import_accounts(context, RETRY))

    @bp.function_name("run_slice")
    @bp.activity_trigger(input_name="message")
    async def run_slice(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.run_slice(edge.directories, message)

    @bp.function_name("reach_milestone")
    @bp.activity_trigger(input_name="message")
    async def reach_milestone(message: dict) -> dict:  # type: ignore[type-arg]  # the worker refuses a parametrised dict
        return await activities.reach_milestone(edge.directories, message)
