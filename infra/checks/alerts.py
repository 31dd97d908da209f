"""Alerts, queries and the workbook: what Azure takes of them, that they say what to do, and that they read what the app
logs.

A figure is a line of the log with named values, `links counted: directory=%s linked=%d`: Python's worker hands Azure
the text of a record alone, without the dimensions that a record may have.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from infra.checks.evaluation import Deployment, Reference
from infra.checks.finding import Finding

FREQUENCIES = ("PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT2H", "PT3H", "PT4H", "PT5H", "PT6H", "P1D")
WINDOWS = ("PT5M", "PT10M", "PT15M", "PT30M", "PT1H", "PT2H", "PT3H", "PT4H", "PT5H", "PT6H", "P1D", "P2D")
"""How often a log alert looks, and over which time: those that Azure takes."""
NEEDED = {
    *("errors", "refused", "slow", "silence", "job-failed", "job-stuck", "storage", "upkeep"),
    *("links-unconfirmed", "credential-ends", "copy-missing"),
}
SHOWN = {"provisioning-rate", "errors-by-kind", "latency", "orchestrations", "links", "credentials"}
"""Saved queries that the workbook must show: how provisioning goes, runs, links that wait, tokens that end."""
SOURCES = {"AppRequests", "AppTraces", "AzureDiagnostics", "union"}
FIELDS = {"name", "title", "query"}
ROOT = Path(__file__).parents[2]
ROOMS = ("shared", "link_orchestrator", "scim_users", "scim_groups")
"""Folders of the code that runs in Azure."""
_FIGURE = re.compile(r"[a-z ]+: (?:\w+=%[sd] ?)+")
_KINDS = {"s": "", "d": "long"}
"""Kinds of Kusto's by the letters of Python's formats."""


class Figure(NamedTuple):
    """What a line of the log begins with, and its values: each by its name, with its kind in Kusto's language."""

    title: str
    values: tuple[tuple[str, str], ...]


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
    read = [*queries]
    with suppress(ValueError):  # the template, which loads it, tells what is wrong
        read += json.loads((folder / "alerts.json").read_text("utf-8"))
    yield from _check_figures({one.get("name", "?"): one.get("query", []) for one in read}, figures(logged()))
    items = json.loads((folder / "workbook.json").read_text("utf-8"))["items"]
    for name in sorted(SHOWN - {item.get("name") for item in items}):
        yield Finding("query", "workbook", f"shows nothing of {name}")
    for item in items:
        query = item.get("content", {}).get("query")
        if query is not None and query not in known:
            yield Finding("query", f"workbook {item.get('name')}", "shows another query than that of queries.json")


def _check_figures(queries: Mapping[str, list[str]], known: Iterable[Figure]) -> Iterator[Finding]:
    """Find figures that nobody logs under these names, and those that nobody reads."""
    named = {one.title: one for one in known}
    left = set(named)
    for name, query in queries.items():
        text = " ".join(query)
        for title in re.findall(r"startswith '([a-z ]+): ", text):
            if title not in named:
                yield Finding("figure", name, f"nothing logs a figure {title}")
        for line in query:
            if not line.startswith("| parse Message with "):
                continue
            found = _parsed(line)
            if named.get(found.title) != found:
                yield Finding("figure", name, f"the app logs no {found.title} with these values, in this order")
            left.discard(found.title)
    for title in sorted(left):
        yield Finding("figure", title, "is logged, and read by no alert and no query")


def _parsed(line: str) -> Figure:
    """Return the figure that a line of a query takes apart."""
    pieces = re.findall(r"'([^']*)' (\w+)(?::(\w+))?", line)
    title, _, first = pieces[0][0].partition(": ") if pieces else ("", "", "")
    names = [first, *(piece.removeprefix(" ") for piece, _, _ in pieces[1:])]
    values = [
        (name.removesuffix("="), kind)
        for name, (_, column, kind) in zip(names, pieces, strict=False)
        if name == f"{column.lower()}="
    ]
    return Figure(title, tuple(values))


def figures(lines: Iterable[str]) -> Iterator[Figure]:
    """Yield the figures among the lines that the app logs."""
    for line in lines:
        if _FIGURE.fullmatch(line):
            title, _, rest = line.partition(": ")
            yield Figure(title, tuple((name, _KINDS[kind]) for name, kind in re.findall(r"(\w+)=%([sd])", rest)))


@cache
def logged() -> frozenset[str]:
    """Return the formats of what the app logs."""
    files = (file for room in ROOMS for file in (ROOT / room).rglob("*.py"))
    return frozenset(line for file in files for line in _logged(ast.parse(file.read_text("utf-8"))))


def _logged(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="log")), args=[ast.Constant(value=str(text)), *_]):
                yield text
