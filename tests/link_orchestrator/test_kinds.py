"""What the table of job kinds gives a kind, and the functions that callers and deployments know by name."""

from __future__ import annotations

from typing import Any, cast

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

import function_app
from infra.local.functions import read_functions
from link_orchestrator.functions import described
from link_orchestrator.kinds import KINDS, Kind, Rows
from link_orchestrator.requests import openapi
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables

ROUTES = """
accounts_find                GET    accounts
accounts_import              POST   accounts/import
accounts_import_get          GET    accounts/imports/{id}
accounts_import_cancel       POST   accounts/imports/{id}/cancel
accounts_import_undo          GET    accounts/imports/{id}/undo
accounts_import_undo_start    POST   accounts/imports/{id}/undo
accounts_import_undo_preview  GET    accounts/imports/{id}/undo/preview
accounts_undo_preview_start   POST   accounts/imports/{id}/undo/preview
accounts_undo_preview_get     GET    accounts/undo-previews/{id}
accounts_undo_preview_cancel  POST   accounts/undo-previews/{id}/cancel
accounts_undo_preview_rows    GET    accounts/undo-previews/{id}/rows
accounts_undo_get             GET    accounts/undos/{id}
accounts_undo_cancel          POST   accounts/undos/{id}/cancel
accounts_undo_rows            GET    accounts/undos/{id}/rows
accounts_import_problems     GET    accounts/imports/{id}/problems
accounts_preview_get         GET    accounts/previews/{id}
accounts_preview_import      POST   accounts/previews/{id}/import
accounts_preview_cancel      POST   accounts/previews/{id}/cancel
accounts_preview_rows        GET    accounts/previews/{id}/rows
accounts_delete              DELETE accounts/{id}
accounts_get                 GET    accounts/{id}
accounts_edit                PATCH  accounts/{id}
accounts_link                POST   accounts/{id}/link
accounts_release             POST   accounts/{id}/release
activity_list                GET    directory/activity
jobs_under_way               GET    directory/under-way
policy_get                   GET    directory/policy
policy_put                   PUT    directory/policy
policy_warnings              GET    directory/policy/warnings
policy_history               GET    directory/policy/history
directory_get                GET    directory
directory_schemas_get        GET    directory/schemas
directory_settings_get       GET    directory/settings
directory_schemas_put        PUT    directory/schemas
groups_find                  GET    groups
groups_import                POST   groups/import
groups_import_get            GET    groups/imports/{id}
groups_import_cancel         POST   groups/imports/{id}/cancel
groups_import_undo          GET    groups/imports/{id}/undo
groups_import_undo_start    POST   groups/imports/{id}/undo
groups_import_undo_preview  GET    groups/imports/{id}/undo/preview
groups_undo_preview_start   POST   groups/imports/{id}/undo/preview
groups_undo_preview_get     GET    groups/undo-previews/{id}
groups_undo_preview_cancel  POST   groups/undo-previews/{id}/cancel
groups_undo_preview_rows    GET    groups/undo-previews/{id}/rows
groups_undo_get             GET    groups/undos/{id}
groups_undo_cancel          POST   groups/undos/{id}/cancel
groups_undo_rows            GET    groups/undos/{id}/rows
groups_import_problems       GET    groups/imports/{id}/problems
groups_preview_get           GET    groups/previews/{id}
groups_preview_import        POST   groups/previews/{id}/import
groups_preview_cancel        POST   groups/previews/{id}/cancel
groups_preview_problems      GET    groups/previews/{id}/problems
groups_get                   GET    groups/{id}
members_list                 GET    members
groups_release               POST   groups/{id}/release
linking_groups_upload        POST   linking/groups
linking_connection           GET    linking/connection
linking_groups_list          GET    linking/groups
linking_groups_get           GET    linking/groups/{id}
linking_groups_remove        DELETE linking/groups/{id}
linking_groups_problems      GET    linking/groups/{id}/problems
linking_identities_upload    POST   linking/identities
linking_imports              GET    linking/imports
linking_unread               GET    linking/unread
linking_uploads              GET    linking/uploads
linking_identities_list      GET    linking/identities
linking_identities_get       GET    linking/identities/{id}
linking_identities_remove    DELETE linking/identities/{id}
linking_identities_problems  GET    linking/identities/{id}/problems
linking_refusals             GET    linking/refusals
linking_adoptions            GET    linking/adoptions
linking_adoptions_undo       POST   linking/adoptions/undo
linking_foreign_links        GET    linking/foreign-links
linking_known_identity       GET    linking/known-identities/{id}
linking_mapping_get          GET    linking/mapping
linking_mapping_post         POST   linking/mapping
linking_run_list             GET    linking/runs
linking_run_start            POST   linking/runs
linking_run_get              GET    linking/runs/{id}
linking_run_approve          POST   linking/runs/{id}/approve
linking_run_cancel           POST   linking/runs/{id}/cancel
linking_run_decisions        GET    linking/runs/{id}/decisions
linking_run_decide POST linking/runs/{id}/decisions
linking_run_group_difference GET    linking/runs/{id}/groups/{group}/difference
linking_run_problems         GET    linking/runs/{id}/problems
linking_run_basis            GET    linking/runs/{id}/basis
linking_run_pilot            GET    linking/runs/{id}/pilot
linking_run_decided          GET    linking/runs/{id}/decided
linking_run_left_out         GET    linking/runs/{id}/left-out
linking_run_pilot            GET    linking/runs/{id}/pilot
linking_run_decided          GET    linking/runs/{id}/decided
linking_run_row              GET    linking/runs/{id}/decisions/{row}
linking_run_report           GET    linking/runs/{id}/report
linking_run_review           POST   linking/runs/{id}/review
linking_run_undo             GET    linking/runs/{id}/undo
linking_undo_start           POST   linking/runs/{id}/undo
linking_undo_preview         GET    linking/runs/{id}/undo/preview
linking_run_verification     GET    linking/runs/{id}/verification
linking_verification_start   POST   linking/runs/{id}/verification
linking_schedule_get         GET    linking/schedule
linking_schedule_resume      POST   linking/schedule/resume
linking_sources              GET    linking/sources
linking_undo_list            GET    linking/undos
linking_undo_get             GET    linking/undos/{id}
linking_undo_cancel          POST   linking/undos/{id}/cancel
linking_undo_report          GET    linking/undos/{id}/report
linking_undo_rows            GET    linking/undos/{id}/rows
linking_verification_get     GET    linking/verifications/{id}
linking_verification_cancel  POST   linking/verifications/{id}/cancel
linking_verification_report  GET    linking/verifications/{id}/report
linking_verification_rows    GET    linking/verifications/{id}/rows
"""
"""Name, method and path of every function of the administrator's API, by path."""


ORCHESTRATORS = {
    *("import_accounts", "import_groups", "preview_accounts", "preview_groups"),
    *("undo_import", "undo_group_import", "preview_import_undo", "preview_group_import_undo"),
    *("link_accounts", "undo_links", "verify_links"),
}
ACTIVITIES = {"read_identities", "run_slice", "choose_extent", "approve_itself", "reach_milestone"}
"""Names by which an orchestration under way finds its code after a deployment."""


def inspect_links(context: Any, retry: Any) -> Any:
    """The orchestration of the made-up kind: it does nothing."""
    yield from ()


MADE_UP = Kind(
    name="inspection",
    title="an inspection",
    path="linking/inspections",
    function_prefix="linking_inspection",
    rows=Rows("problems", "what an inspection found wrong."),
    orchestrator=inspect_links,
    after_cancel="It stops at once.",
    about_run=True,
    listed=True,
)
MADE_UP_ROUTES = {
    ("linking_inspection_list", "GET", "linking/inspections"),
    ("linking_inspection_get", "GET", "linking/inspections/{id}"),
    ("linking_inspection_cancel", "POST", "linking/inspections/{id}/cancel"),
    ("linking_inspection_problems", "GET", "linking/inspections/{id}/problems"),
    ("linking_run_inspection", "GET", "linking/runs/{id}/inspection"),
}


def test_functions_have_the_names_methods_and_paths_that_callers_know() -> None:
    assert {tuple(line.split()) for line in ROUTES.strip().splitlines()} == {route[:3] for route in described()}


def test_orchestrators_and_activities_have_the_names_that_orchestrations_under_way_know(
    sqlite_tables: SqliteTables,
) -> None:
    functions = read_functions(function_app.build(Settings.local("token"), sqlite_tables))
    assert (set(functions.orchestrators), set(functions.activities)) == (ORCHESTRATORS, ACTIVITIES)


def test_a_kind_that_is_added_to_the_table_gets_its_routes_its_orchestration_and_its_operations(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {route[:3] for route in described()}
    monkeypatch.setitem(cast(dict[str, Kind], KINDS), MADE_UP.name, MADE_UP)
    assert {route[:3] for route in described()} - before == MADE_UP_ROUTES
    functions = read_functions(function_app.build(Settings.local("token"), sqlite_tables))
    assert {(f.name, method, f.route) for f in functions.http for method in f.methods} >= MADE_UP_ROUTES
    assert inspect_links.__name__ in functions.orchestrators
    document = openapi.document(described())
    told = {o["operationId"]: o["summary"] for found in document["paths"].values() for o in found.values()}
    assert {name: told[name] for name, *_ in MADE_UP_ROUTES} == {
        "linking_inspection_list": "List the inspections, the latest first, a page at a time.",
        "linking_inspection_get": "Return an inspection: its phase, its counts, its progress.",
        "linking_inspection_cancel": "Cancel an inspection: 202. It stops at once.",
        "linking_inspection_problems": "List what an inspection found wrong.",
        "linking_run_inspection": "Return the last inspection of a run.",
    }
    OpenAPIV31SpecValidator(document).validate()
