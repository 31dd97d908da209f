"""The administrator's API as an OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1).

Paths and methods come from the routes, summaries from the docstrings of their services, the schemas of bodies from the
models that read them, and what every kind of job has from the table of kinds. The rest is written here and in
openapi_schemas.json. Tests hold every answer of the API against this document (tests/openapi.py). SCIM describes itself
at /scim/v2/Schemas.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from link_orchestrator.kinds import KINDS, RUN, Kind
from link_orchestrator.problem_report import BY_REASON
from link_orchestrator.requests.approval import Approval
from link_orchestrator.requests.imports import ImportUndoRequest
from link_orchestrator.requests.jobs import LISTED
from link_orchestrator.requests.reviews import ReviewRequest
from link_orchestrator.requests.runs import RunRequest
from link_orchestrator.requests.selection import CONDITIONS, Predicted
from link_orchestrator.requests.undos import UndoRequest
from link_orchestrator.requests.workbook import XLSX
from link_orchestrator.source import MappingSource
from link_orchestrator.warnings import ROW_WARNINGS
from shared.admin import accounts, groups
from shared.admin.account_changes import AccountEdit, LinkRequest, ReleaseRequest
from shared.admin.group_changes import GroupRelease
from shared.admin.parameters import PAGED
from shared.directory.directory import Directory
from shared.host.http import JSON, Route
from shared.json_text import dump
from shared.scim.endpoint import Request, Response

VERSION = "1.0.0"


@dataclass(frozen=True, slots=True)
class Operation:
    """What an operation takes and answers. Schemas are named as in schemas()."""

    answer: str
    """Schema of the answer, "" for none."""
    status: int = 200
    body: Mapping[str, str] = field(default_factory=dict)
    """Schema of the body by media type. A file is taken as bytes."""
    query: tuple[str, ...] = ()
    """Names of query parameters, as in PARAMETERS."""
    body_required: bool = True
    """Whether there must be a body."""
    media_types: tuple[str, ...] = (JSON,)
    """Media types of the answer."""


def _json(schema: str) -> dict[str, str]:
    return {JSON: schema}


WORKBOOKS = {
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "File",
    "application/vnd.oasis.opendocument.spreadsheet": "File",
}
ACCOUNTS_FILE = {"text/csv": "File", "application/x-ndjson": "File", JSON: "AnyJson", **WORKBOOKS}
IDENTITIES_FILE = {"text/csv": "File", JSON: "AnyJson", **WORKBOOKS}

OPERATIONS: Mapping[str, Operation] = {
    "accounts_find": Operation("Accounts", query=(*accounts.KEYS, accounts.BEGINS, "account.state", *PAGED)),
    "accounts_get": Operation("AccountWithHistory", query=PAGED),
    "accounts_edit": Operation("Account", body=_json("AccountEdit")),
    "accounts_delete": Operation("", 204),
    "accounts_link": Operation("Account", body=_json("LinkRequest")),
    "accounts_release": Operation("Account", body=_json("ReleaseRequest"), body_required=False),
    "groups_find": Operation("Groups", query=(*groups.KEYS, "group.state", "group.member", *PAGED)),
    "members_list": Operation("Members", query=("group", *PAGED)),
    "groups_get": Operation("GroupWithHistory", query=PAGED),
    "groups_release": Operation("Group", body=_json("GroupRelease"), body_required=False),
    "activity_list": Operation("Activity", query=PAGED),
    "jobs_under_way": Operation("Jobs"),
    "directory_get": Operation("Directory", query=("states",)),
    "directory_settings_get": Operation("Settings"),
    "policy_get": Operation("Policy"),
    "policy_put": Operation("StoredPolicy", body=_json("Policy")),
    "policy_warnings": Operation("PolicyWarnings"),
    "policy_history": Operation("PolicyHistory", query=PAGED),
    "linking_schedule_get": Operation("ScheduleState"),
    "linking_schedule_resume": Operation("ScheduleState"),
    "directory_schemas_get": Operation("Schemas"),
    "directory_schemas_put": Operation("Schemas", body=_json("Schemas")),
    "accounts_import_undo_start": Operation("Job", 202, _json("ImportUndoRequest"), body_required=False),
    "groups_import_undo_start": Operation("Job", 202),
    "accounts_undo_preview_start": Operation("Job", 202),
    "groups_undo_preview_start": Operation("Job", 202),
    "accounts_preview_import": Operation("Job", 202),
    "groups_preview_import": Operation("Job", 202),
    "accounts_import": Operation("Job", 202, ACCOUNTS_FILE, ("columns", "preview", "protected", "file")),
    "groups_import": Operation("Job", 202, ACCOUNTS_FILE, ("columns", "preview", "file")),
    "linking_groups_upload": Operation("Job", 201, _json("AnyJson"), ("file",)),
    "linking_run_group_difference": Operation("Difference", query=PAGED),
    "linking_identities_upload": Operation("Job", 201, IDENTITIES_FILE, ("after", "columns", "file")),
    "linking_run_start": Operation("Job", 202, _json("RunRequest")),
    "linking_run_problems": Operation("Problems", query=PAGED),
    "linking_run_basis": Operation("RunBasis", query=("reviewers",)),
    "linking_run_left_out": Operation("LeftOut"),
    "linking_run_pilot": Operation("PilotForeseen", query=("number", *CONDITIONS, *PAGED)),
    "linking_run_decided": Operation("Decided", query=("since",)),
    "linking_run_row": Operation("RowInFull", query=("row.identities",)),
    "linking_run_report": Operation(
        "File",
        query=("format", "decision", *CONDITIONS, "reportCount", "cursor", "trial", "decided"),
        media_types=("text/html", "text/csv", XLSX, "application/jsonl"),
    ),
    "linking_undo_preview": Operation("UndoPreview", query=("keep",)),
    "linking_undo_report": Operation(
        "File",
        query=("format", "outcome", "reportCount", "cursor"),
        media_types=("text/html", "text/csv", XLSX, "application/jsonl"),
    ),
    "linking_verification_report": Operation(
        "File",
        query=("format", "verification.found", "reportCount", "cursor"),
        media_types=("text/html", "text/csv", XLSX, "application/jsonl"),
    ),
    "linking_run_decide": Operation("DecisionsTaken", body={"text/csv": "File", XLSX: "File"}, query=("by",)),
    "linking_run_review": Operation("Reviewed", body=_json("ReviewRequest")),
    "linking_refusals": Operation("Refusals", query=("identities", *PAGED)),
    "linking_adoptions": Operation("Adoptions", query=PAGED),
    "linking_foreign_links": Operation("ForeignLinks", query=PAGED),
    "linking_known_identity": Operation("KnownIdentity"),
    "linking_imports": Operation("Imports", query=PAGED),
    "linking_unread": Operation("Unread"),
    "linking_uploads": Operation("Uploads", query=PAGED),
    "linking_connection": Operation("Connection"),
    "linking_sources": Operation("Sources"),
    "linking_mapping_get": Operation("MappingCheck"),
    "linking_mapping_post": Operation("MappingCheck", body=_json("MappingRequest")),
    "linking_run_approve": Operation("Job", 202, _json("Approval"), body_required=False),
    "linking_undo_start": Operation("Job", 202, _json("UndoRequest"), body_required=False),
    "linking_adoptions_undo": Operation("Job", 202, _json("UndoRequest"), body_required=False),
    "linking_verification_start": Operation("Job", 202),
}
"""Operations beside those that every kind of job has, by the name of the function."""

BODIES: tuple[type[BaseModel], ...] = (
    AccountEdit,
    LinkRequest,
    ReleaseRequest,
    GroupRelease,
    RunRequest,
    ReviewRequest,
    Approval,
    UndoRequest,
    ImportUndoRequest,
    MappingSource,
)
"""Models of bodies, and of a part of one, from which their schemas are taken."""

PARAMETERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "by": (
        "By what the file names the plan's rows: by their ids, or by decision, objectId and userName.",
        {"enum": ["rows", "names"], "default": "rows"},
    ),
    "after": ("The upload of the former part of a file that was split.", {"type": "string"}),
    "count": ("How many rows at most; 100 unless given.", {"type": "integer", "minimum": 1, "maximum": 1000}),
    "cursor": (
        "Where the former page of this list, by the same parameters, ended, as it said.",
        {"type": "string"},
    ),
    "behind": ("Only rows behind the one with this id, in the order of the list.", {"type": "string"}),
    "decision": ("Only rows of this decision.", {"$ref": "#/components/schemas/DecisionKind"}),
    "reportCount": (
        "How many rows at most; 5,000 unless given.",
        {"type": "integer", "minimum": 1, "maximum": 20_000},
    ),
    "file": ("What the file is called, to be named in reports.", {"type": "string"}),
    "format": ("What the report is written as.", {"enum": ["html", "csv", "xlsx", "jsonl"], "default": "html"}),
    "keep": ("What is to stay as provisioning wrote it.", {"enum": ["attributes"]}),
    "outcome": ("Only rows with this outcome.", {"$ref": "#/components/schemas/UndoRowKind"}),
    "preview": ("Whether only to show what the import would do, and to change nothing.", {"type": "boolean"}),
    "protected": (
        "Lets rows change protected accounts, which are otherwise left as they are and reported.",
        {"enum": ["change"]},
    ),
    "trial": (
        "Whether the HTML report says that the plan is not kept, so that nobody can approve it.",
        {"type": "boolean", "default": False},
    ),
    "decided": (
        "Whether the columns of a decisions file have what was decided, to be sent to another plan.",
        {"type": "boolean", "default": False},
    ),
    "warning": (
        "Only rows with this warning; without a decision links, or all disabled.",
        {"enum": [*ROW_WARNINGS]},
    ),
    "rule": ("Only rows among whose evidence this rule is.", {"type": "string"}),
    "evidence": (
        "Only rows among whose evidence, of all addresses, this one of the identity is alone.",
        {"enum": ["mail", "alias", "otherMails", "userPrincipalName"]},
    ),
    "find": (
        "Only rows with a name that begins so, in order of names; or whose account has this e-mail address.",
        {"type": "string"},
    ),
    "domain": ("Only rows whose identity has its user principal name in this domain.", {"type": "string"}),
    "department": ("Only rows whose identity has this department.", {"type": "string"}),
    "reviewed": ("Only rows that a person has decided about, or only those that nobody has.", {"type": "boolean"}),
    "parted": (
        "Only rows whose pair an undo or a release took apart, or only those whose pair none did.",
        {"type": "boolean"},
    ),
    "linked": (
        "Only rows whose account the run has linked, or only those whose account it has not.",
        {"type": "boolean"},
    ),
    "since": (
        "How often rows had been reviewed when you looked: `reviews` of the run.",
        {"type": "integer", "minimum": 0},
    ),
    "number": ("How many people at most, the first ones.", {"type": "integer", "minimum": 1}),
    "score": (
        "Only rows with a suggestion of at least this score.",
        {"type": "number", "minimum": 0, "maximum": 1},
    ),
    "changes": (
        "Only rows of which the first cycle changes this attribute; any for all. Links, if no decision is given.",
        {"type": "string"},
    ),
    "predicted": (
        "Only rows with this prediction; second for people who would be created although an account matches them.",
        {"enum": [*get_args(Predicted)]},
    ),
    "reviewers": ("Whether to say who reviewed rows: it looks at the rows.", {"type": "boolean", "default": True}),
    "identities": (
        "Whether to say whose the first 50 external ids are, as far as what was read last is kept.",
        {"type": "boolean", "default": False},
    ),
    "row.identities": (
        "Whether to say who the people are whom the row names: it looks them up among all that were read.",
        {"type": "boolean", "default": True},
    ),
    "brief": (
        "Whether rows come by their ids alone, with their decisions and reviews: 5,000 unless a count is given.",
        {"type": "boolean", "default": False},
    ),
    "states": (
        "Whether to count the accounts in each state, where there are few.",
        {"type": "boolean", "default": False},
    ),
    "begins": (
        "Only accounts whose userName, or one of whose e-mail addresses, begins so: a page looks at a part of all.",
        {"type": "string"},
    ),
    "account.state": ("Without anything to find: only accounts in this state.", {"enum": [*accounts.STATES]}),
    "group.state": ("Without anything to find: only groups in this state.", {"enum": [*groups.STATES]}),
    "group": ("The id of the group whose members are listed.", {"type": "string"}),
    "group.member": ("Only groups of which the account of this id is a member itself.", {"type": "string"}),
    "columns": (
        'A JSON object from header to column, like {"Login": "userName"}; "" for what is not to be read.',
        {"type": "string"},
    ),
}
"""What a query parameter means, and its schema. One that is not listed is a string to look for."""

NAMES = {
    "reportCount": "count",
    "account.state": "state",
    "group.state": "state",
    "group.member": "member",
    "row.identities": "identities",
}
"""Name under which a parameter is sent, where another of that name means something else."""


def operations() -> dict[str, Operation]:
    """Return all operations, by the name of the function."""
    found = dict(OPERATIONS)
    for kind in KINDS.values():
        name, rows = kind.function_prefix, kind.rows
        asked = (f"{kind.name}.{rows.filter_by}", *PAGED) if rows.choices else PAGED
        asked = (*asked, *CONDITIONS, "find", "behind", "brief") if kind is RUN else asked
        found[f"{name}_{rows.name}"] = Operation(_page_of(kind), query=asked)
        found[f"{name}_get"] = Operation("Job")
        if kind.orchestrator:
            found[f"{name}_cancel"] = Operation("Job", 202)
        else:
            found[f"{name}_remove"] = Operation("", 204)
        if kind.listed:
            found[f"{name}_list"] = Operation(kind.plural.title(), query=PAGED)
        if kind.about_import is not None:
            found[kind.about_name] = Operation("Job")
        if kind.about_run:
            found[f"{RUN.function_prefix}_{kind.name}"] = Operation("Job")
    return found


async def serve(directory: Directory, request: Request, routes: Iterable[Route]) -> Response:
    """Return this document."""
    return Response(200, dump(document(routes)))


def document(routes: Iterable[Route]) -> dict[str, Any]:
    """Return the document of some routes. Raises KeyError for one that has no operation here."""
    known = operations()
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault("/" + route.path, {})[route.method.lower()] = _operation(route, known[route.name])
    return {
        "openapi": "3.1.1",
        "info": {
            "title": "Scimlink: accounts and linking",
            "version": VERSION,
            "description": "What an administrator does beside SCIM: import accounts, plan, review and apply a linking "
            "run, and look after it. Long work is a job: the answer is 202 with its address.",
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas(),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "responses": {
                "Error": {
                    "description": "Why not, and what to do instead.",
                    "content": {JSON: {"schema": _ref("Error")}},
                }
            },
        },
    }


def schemas() -> dict[str, Any]:
    """Return the schemas by name: those of bodies, those that are written, those that the table of kinds gives."""
    written = json.loads(Path(__file__).with_name("openapi_schemas.json").read_text("utf-8"))
    found: dict[str, Any] = _body_schemas() | written
    found["JobKind"] = {"enum": [*KINDS]}
    found["JobEntry"] = _entry(found["Job"])
    found["Imports"] = _list_of("imports", "JobEntry", cursor={"type": "string"})
    for kind in KINDS.values():
        page, rows = _page_of(kind), kind.rows
        row = page.removesuffix("s")
        counted = "CountedProblem" if rows.has_problems else "CountedReason" if rows.explained else ""
        beside = {BY_REASON: {"type": "array", "items": _ref(counted)}} if counted else {}
        found[page] = _list_of(rows.name, row, cursor={"type": "string"}, **beside)
        if rows.choices:
            found[f"{row}Kind"] = {"enum": [*rows.choices]}
        if kind.listed:
            found[kind.plural.title()] = _list_of(kind.plural, "JobEntry", cursor={"type": "string"})
    return found


def _entry(job: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of a job's entry in a list, by that of the job."""
    properties = {name: job["properties"][name] for name in LISTED}
    properties["options"] = properties["options"] | {"description": "Those that are a text, a number or a list of ids."}
    return {**job, "description": "A job as lists show it; all of it is at its own address.", "properties": properties}


@cache
def _body_schemas() -> dict[str, Any]:
    _, found = models_json_schema(
        [(model, "validation") for model in BODIES],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Untitled,
    )
    definitions: dict[str, Any] = found["$defs"]
    return definitions


class _Untitled(GenerateJsonSchema):
    """Leaves out the title of an attribute, which would only repeat its name."""

    def field_title_should_be_set(self, schema: object) -> bool:
        return False


def _page_of(kind: Kind) -> str:
    """Return the name of the schema of a page of a kind's rows. The schema of one row has the name in the singular."""
    return (kind.name.title() if kind.rows.name == "rows" else "") + kind.rows.name.title()


def _list_of(name: str, schema: str, **more: Mapping[str, Any]) -> dict[str, Any]:
    items = {"type": "array", "items": _ref(schema)}
    return {"type": "object", "required": [name], "additionalProperties": False, "properties": {name: items, **more}}


def _operation(route: Route, operation: Operation) -> dict[str, Any]:
    asked = [_parameter(name, "path") for name in re.findall(r"\{(\w+)\}", route.path)]
    asked += [_parameter(name, "query") for name in operation.query]
    answer: dict[str, Any] = {"description": "Done." if operation.status == 200 else "Accepted."}
    if operation.answer:
        answer["content"] = {media: {"schema": _ref(operation.answer)} for media in operation.media_types}
    described: dict[str, Any] = {
        "operationId": route.name,
        "summary": _summary(route),
        "parameters": asked,
        "responses": {str(operation.status): answer, "default": {"$ref": "#/components/responses/Error"}},
    }
    if operation.body:
        content = {media: {"schema": _ref(schema)} for media, schema in operation.body.items()}
        described["requestBody"] = {"required": operation.body_required, "content": content}
    return described


def _parameter(name: str, where: str) -> dict[str, Any]:
    description, schema = PARAMETERS.get(name, ("", {"type": "string"}))
    kind, dot, own = name.partition(".")
    if dot and kind in KINDS:  # a kind's own, by which its rows are filtered
        name, description = own, f"Only rows with this value as `{own}`."
        schema = _ref(f"{_page_of(KINDS[kind]).removesuffix('s')}Kind")
    shown = {"name": NAMES.get(name, name), "in": where, "required": where == "path", "schema": schema}
    return shown | ({"description": description} if description else {})


def _ref(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _summary(route: Route) -> str:
    first = (inspect.getdoc(route.service) or "").partition("\n\n")[0]
    return " ".join(first.split())
