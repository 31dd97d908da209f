"""The document of the administrator's API says what there is; running.Api holds every answer against it."""

from __future__ import annotations

from pathlib import Path

import pytest
from jsonschema import ValidationError
from openapi_spec_validator import OpenAPIV31SpecValidator

import function_app
from infra.local.functions import read_functions
from link_orchestrator.requests.openapi import operations
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import serving
from tests.openapi import check_answer, document

ELSEWHERE = ("scim/", "health", "openapi.json", "portal/", "{*")
"""What is not described here: SCIM describes itself, and the portal's pages are for people."""


def test_the_document_is_openapi() -> None:
    OpenAPIV31SpecValidator(document()).validate()


def test_every_function_of_the_administrator_is_described_and_no_other(sqlite_tables: SqliteTables) -> None:
    functions = read_functions(function_app.build(Settings.local("token"), sqlite_tables)).http
    there = {
        ("/" + function.route, method.lower(), function.name)
        for function in functions
        for method in function.methods - {"HEAD"}
        if not function.route.startswith(ELSEWHERE)
    }
    told = {
        (path, method, o["operationId"]) for path, found in document()["paths"].items() for method, o in found.items()
    }
    assert told == there
    assert set(operations()) == {name for _, _, name in there}


def test_every_operation_says_in_a_sentence_what_it_does() -> None:
    for found in document()["paths"].values():
        for operation in found.values():
            assert operation["summary"].endswith("."), operation["operationId"]


@pytest.mark.parametrize(
    ("body", "names", "required"),
    [
        ("AccountEdit", "applicationId document evidence protected", ""),
        ("LinkRequest", "identity reason", "identity"),
        ("ReleaseRequest", "keepEvidence", ""),
        ("GroupRelease", "keep", ""),
        (
            "RunRequest",
            "assigned expiresHours full groups identities mapping pauseProvisioning policy reportSetAside source",
            "",
        ),
        ("ReviewRequest", "account action create cursor filter identity inPolicy rows", "action"),
        (
            "Selection",
            "changes decision department domain evidence linked parted predicted reviewed rule score warning",
            "decision",
        ),
        ("Approval", "acknowledged filter groups links number pauseProvisioning reviews rows", ""),
        ("UndoRequest", "activate keep", ""),
        ("MappingSource", "graph", "graph"),
        ("ProvisioningJob", "job servicePrincipal", "servicePrincipal"),
    ],
)
def test_a_body_is_described_by_the_names_it_is_read_by(body: str, names: str, required: str) -> None:
    shape = document()["components"]["schemas"][body]
    assert sorted(shape["properties"]) == names.split()
    assert (shape.get("required", []), shape["additionalProperties"]) == (required.split(), False)


async def test_it_is_served_to_the_administrator(tmp_path: Path) -> None:
    async with serving(tmp_path) as app, app.session.get("/openapi.json") as answer:
        assert await answer.json() == document()


def test_an_answer_that_is_not_described_is_noticed() -> None:
    with pytest.raises(ValidationError):
        check_answer("GET", "/linking/runs", 200, {"runs": [{"id": "run1"}]})
    with pytest.raises(AssertionError, match="not described"):
        check_answer("GET", "/linking/nothing", 200, {})
