"""What alerts and queries ask for is emitted: functions by their names, messages by the code that logs them."""

from __future__ import annotations

import json
import re

import pytest

import function_app
from infra.check import INFRA
from infra.checks.alerts import logged
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables

COLUMNS = {
    "AppRequests": {"AppRoleName", "DurationMs", "Name", "OperationId", "ResultCode", "Success", "TimeGenerated"},
    "AppTraces": {"AppRoleName", "Message", "OperationId", "SeverityLevel", "TimeGenerated"},
}
"""Columns of the tables that the Functions host fills
(https://learn.microsoft.com/azure/azure-monitor/reference/tables/apprequests, apptraces)."""
QUERIES = {
    f"{file}: {one['name']}": "\n".join(one["query"])
    for file in ("alerts", "queries")
    for one in json.loads((INFRA / "observability" / f"{file}.json").read_text("utf-8"))
}
EVERY_QUERY = pytest.mark.parametrize("query", QUERIES.values(), ids=list(QUERIES))


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names of all functions of both apps."""
    tables = SqliteTables.open(tmp_path_factory.mktemp("tables") / "x.db")
    return {one.get_function_name() for one in function_app.build(Settings.local("t"), tables).get_functions()}


@EVERY_QUERY
def test_every_function_that_a_query_names_is_there(query: str, functions: set[str]) -> None:
    named = set(re.findall(r"Name == '(\w+)'", query))
    for listed in re.findall(r"Name in \(([^)]*)\)", query):
        named |= set(re.findall(r"'(\w+)'", listed))
    assert named <= functions
    for prefix in re.findall(r"Name startswith '(\w+)'", query):
        assert any(name.startswith(prefix) for name in functions), prefix


@EVERY_QUERY
def test_every_message_that_a_query_looks_for_is_logged(query: str) -> None:
    messages = logged()
    for prefix in re.findall(r"Message startswith '([^']+)'", query):
        assert any(message.startswith(prefix) for message in messages), prefix
    for part in re.findall(r"Message contains '([^']+)'", query):
        assert any(part in message for message in messages), part


@EVERY_QUERY
def test_every_column_that_a_query_reads_is_one_of_its_table(query: str) -> None:
    tables = [table for table in COLUMNS if re.search(rf"\b{table}\b", query)]
    made = set(re.findall(r"(\w+) = ", query)) | set(re.findall(r"=' (\w+)", query))
    read = set(re.findall(r"\b[A-Z][A-Za-z]+\b", re.sub(r"'[^']*'", "", query))) - made - set(COLUMNS)
    if tables:
        assert read <= set().union(*(COLUMNS[table] for table in tables))
    else:
        assert query.startswith("AzureDiagnostics")


def test_scim_functions_are_those_of_the_routes_that_entra_calls(functions: set[str]) -> None:
    """Alerts on SCIM look at names that begin with scim_: what Entra calls must, and nothing else."""
    assert {name for name in functions if name.startswith(("scim_users", "scim_groups"))} >= {
        f"scim_{room}_{action}"
        for room in ("users", "groups")
        for action in ("create", "get", "query", "replace", "patch", "delete")
    }
