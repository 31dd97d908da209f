"""Alerts, queries and the workbook: what Azure takes of them, and that they say what to do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding

FREQUENCIES = ("PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT2H", "PT3H", "PT4H", "PT5H", "PT6H", "P1D")
WINDOWS = ("PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT2H", "PT3H", "PT4H", "PT5H", "PT6H", "P1D", "P2D")
"""How often a log alert looks, and over which time: those that Azure takes."""
NEEDED = {"errors", "refused", "slow", "silence", "job-failed", "job-stuck", "storage", "upkeep"}
SOURCES = {"AppRequests", "AppTraces", "AzureDiagnostics", "union"}
FIELDS = {"name", "title", "query"}


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find alerts that Azure refuses, that nobody hears of, or that are missing."""
    rules = {str(one.body["name"]): one for one in deployment.of("Microsoft.Insights/scheduledQueryRules")}
    prefix = f"{deployment.parameters['name']}-"
    for name in sorted(NEEDED - {one.removeprefix(prefix) for one in rules}):
        yield Finding("alert", "alertRules", f"there is no alert {name}")
    for one in rules.values():
        found = one.properties
        place = f"{one.symbol} {one.body['name']}"
        if found.get("evaluationFrequency") not in FREQUENCIES or found.get("windowSize") not in WINDOWS:
            yield Finding("alert", place, "Azure does not look so often, or over such a time")
        elif WINDOWS.index(found["windowSize"]) < WINDOWS.index(found["evaluationFrequency"]):
            yield Finding("alert", place, "what happens between two of its windows is not seen")
        if not 0 <= int(found.get("severity", -1)) <= 4:
            yield Finding("alert", place, "severity is 0 to 4")
        if found.get("scopes") != [Reference("logs", ("id",))]:
            yield Finding("alert", place, "its scope is the workspace of the logs")
        if Reference("people", ("id",)) not in found.get("actions", {}).get("actionGroups", []):
            yield Finding("alert", place, "nobody hears of it")
        if len(str(found.get("description", ""))) < 60:
            yield Finding("alert", place, "its description says neither what happened nor what to do")
        if deployment.parameters["provisioningIsOn"] and found.get("enabled") is not True:
            yield Finding("alert", place, "is off")
        for condition in found.get("criteria", {}).get("allOf", []):
            periods = condition.get("failingPeriods", {})
            if (periods.get("numberOfEvaluationPeriods"), periods.get("minFailingPeriodsToAlert")) != (1, 1):
                yield Finding("alert", place, "waits for a second failure, or cannot have as many as it wants")
            if not 0 <= condition.get("threshold", -1) <= 50:
                yield Finding("alert", place, "never fires")
        for condition in found.get("criteria", {}).get("allOf", []):
            if str(condition.get("query", "")).split()[:1] not in [[source] for source in SOURCES]:
                yield Finding("alert", place, "its query begins with no table of the logs")
    silence = rules.get(f"{prefix}silence")
    if silence is not None and silence.properties.get("enabled") is not bool(deployment.parameters["provisioningIsOn"]):
        yield Finding("alert", "silence", "is on before provisioning is, or off while it is")
    for one in deployment.of("Microsoft.Insights/workbooks"):
        shown = str(one.properties.get("serializedData"))
        if re.search(r"\{[a-z]+\}", shown) or "«logs.id»" not in shown:
            yield Finding("alert", one.symbol, "the workbook has a place that nothing fills")
    mails = [
        mail for one in deployment.of("Microsoft.Insights/actionGroups") for mail in one.properties["emailReceivers"]
    ]
    if [mail.get("emailAddress") for mail in mails] != list(filter(None, [deployment.parameters["alertEmail"]])):
        yield Finding("alert", "people", "alerts go to another address than alertEmail")


def check_files(folder: Path) -> Iterator[Finding]:
    """Find queries that are broken off, and a workbook that shows something else than the saved queries."""
    queries: list[dict[str, Any]] = json.loads((folder / "queries.json").read_text("utf-8"))
    known = {"\n".join(one["query"]) for one in queries}
    for one in queries:
        if set(one) != FIELDS or not re.fullmatch(r"[a-z-]+", one.get("name", "")):
            yield Finding(
                "query", one.get("name", "?"), f"a query has {', '.join(sorted(FIELDS))}, its name in small letters"
            )
        text = "\n".join(one.get("query", []))
        if any(text.count(left) != text.count(right) for left, right in ("()", "[]")) or text.count("'") % 2:
            yield Finding("query", one.get("name", "?"), "is broken off")
    for item in json.loads((folder / "workbook.json").read_text("utf-8"))["items"]:
        query = item.get("content", {}).get("query")
        if query is not None and query not in known:
            yield Finding("query", f"workbook {item.get('name')}", "shows another query than that of queries.json")
