"""A run's report: rows as CSV or JSON Lines, page by page, and a summary to print as HTML.

An answer is one text in memory, so rows come a page at a time. A Link header leads to the next page; all pages, one
after the other, are the whole report.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from link_orchestrator.kinds import RUN
from link_orchestrator.prediction.check import check
from link_orchestrator.requests.jobs import address, find_job, read_choice, shown
from link_orchestrator.requests.mapping import people_of
from link_orchestrator.requests.report_page import summary
from link_orchestrator.run import mapping_of, policy_of
from shared.admin.parameters import read_count
from shared.directory.directory import Directory
from shared.directory.text import dump
from shared.directory.work.jobs import Job
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MIMETYPES: Final = {"csv": "text/csv", "jsonl": "application/jsonl"}
"""Media types of the formats that hold a report's rows."""
ROWS_AT_ONCE = 5_000
"""Rows on a page, where the request names no other number."""
MOST_ROWS = 20_000
"""Rows that a request may ask for at once."""

COLUMNS: Final = (
    "decision", "reason", "objectId", "userPrincipalName", "displayName", "accountId", "userName", "rules",
    "otherMatches", "value", "warnings", "predicted", "predictedWhy", "review", "reviewedBy", "reviewedAt", "outcome",
)  # fmt: skip

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, with the full-width forms."""


async def get_report(directory: Directory, request: Request) -> Response:
    """Return a run's report in the format asked for: csv, jsonl or html."""
    job = await find_job(directory, request, RUN)
    form = request.params.get("format", "html")
    if form == "html":
        return _summary(job)
    if form not in MIMETYPES:
        raise InvalidValue("format: one of csv, jsonl, html")
    return await _page(directory, job, request, form)


def _summary(job: Job) -> Response:
    found = check(mapping_of(job), people_of(job), adopts=policy_of(job).adopt_on_create) if job.planned else []
    warnings = [warned.to_json() for warned in found]
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(200, summary(shown(job), warnings), mimetype="text/html", headers=headers)


async def _page(directory: Directory, job: Job, request: Request, form: str) -> Response:
    count, cursor = read_count(request, ROWS_AT_ONCE, MOST_ROWS), request.params.get("cursor", "")
    decision = read_choice(request, RUN.rows)
    rows, after = await directory.plan(job.id).page(decision, cursor, count)
    documents = [row.to_json() for row in rows]
    text = to_csv(documents, header=not cursor) if form == "csv" else "".join(dump(one) + "\n" for one in documents)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.{form}"'}
    if after:
        asked = {"format": form, "count": count, "cursor": after} | ({"decision": decision} if decision else {})
        following = address(request, f"{RUN.path}/{job.id}/report?{urlencode(asked)}")
        headers["Link"] = f'<{following}>; rel="next"'
    return Response(200, text, mimetype=MIMETYPES[form], headers=headers)


def to_csv(documents: Iterable[Mapping[str, Any]], *, header: bool) -> str:
    """Return rows as CSV (RFC 4180) in which no spreadsheet finds a formula, below a header if one is asked for."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    if header:
        writer.writerow(COLUMNS)
    writer.writerows([safe(cell) for cell in _cells(document)] for document in documents)
    return text.getvalue()


def safe(cell: str) -> str:
    """Return a cell that spreadsheets show as it is: one that looks like a formula gets an apostrophe before it."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _cells(document: Mapping[str, Any]) -> list[str]:
    identity = document.get("identity") or document.get("entraGroup", {})
    account = document.get("account") or document.get("group", {})
    predicted, review = document.get("predicted", {}), document.get("review", {})
    rules = dict.fromkeys(item["rule"] for item in document.get("evidence", ()))
    cells = (
        document["decision"],
        document.get("reason"),
        identity.get("objectId") or identity.get("id"),
        identity.get("userPrincipalName"),
        identity.get("displayName"),
        review.get("account") or account.get("id"),
        account.get("userName") or account.get("displayName"),
        " ".join(rules),
        " ".join(document.get("others", ())),
        document.get("value", {}).get("value"),
        " ".join(document.get("warnings", ())),
        predicted.get("outcome"),
        predicted.get("why"),
        review.get("action"),
        review.get("by"),
        review.get("at"),
        document.get("outcome"),
    )
    return ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
