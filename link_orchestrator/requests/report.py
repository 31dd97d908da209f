"""The report of a run or of an undo: rows as CSV or JSON Lines, page by page, and a summary to print as HTML.

An answer is one text in memory, so rows come a page at a time. A Link header leads to the next page; all pages, one
after the other, are the whole report.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from link_orchestrator.kinds import ENTRA_GROUPS, GROUP_IMPORT, IDENTITIES, IMPORT, RUN, UNDO, Kind
from link_orchestrator.prediction.check import check
from link_orchestrator.requests.jobs import address, find_job, read_choice, shown, shown_row
from link_orchestrator.requests.mapping import people_of
from link_orchestrator.requests.pages.run import summary
from link_orchestrator.requests.pages.undo import undo_summary
from link_orchestrator.run import mapping_of, policy_of
from link_orchestrator.warnings import warnings_of
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
    "decision", "reason", "objectId", "userPrincipalName", "displayName", "accountId", "userName", "applicationId",
    "rules", "otherMatches", "value", "warnings", "predicted", "predictedWhy", "review", "reviewedBy", "reviewedAt",
    "outcome", "undone",
)  # fmt: skip
UNDO_COLUMNS: Final = ("outcome", *COLUMNS[1:8])
"""Columns of an undo's rows, which are the first ones of a run's with another name."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, with the full-width forms."""


async def get_report(directory: Directory, request: Request) -> Response:
    """Return a run's report in the format asked for: csv, jsonl or html."""
    job = await find_job(directory, request, RUN)
    if _form(request) != "html":
        return await _page(directory, job, request, RUN)
    found = check(mapping_of(job), people_of(job), adopts=policy_of(job).adopt_on_create) if job.planned else []
    told = {warned.code for warned in warnings_of(job)} if job.planned else set()
    wrong = [warned.to_json() for warned in found if warned.code not in told]
    jobs = await directory.jobs.list_all()
    undos = [shown(undo) for undo in jobs if (undo.kind, undo.options.get("run")) == (UNDO.name, job.id)]
    read = [shown(other) for other in jobs if _is_read(other, job)]
    return _html(summary(shown(job), wrong, undos, read, trial=_is_trial(request)))


async def get_undo_report(directory: Directory, request: Request) -> Response:
    """Return an undo's report in the format asked for: csv, jsonl or html."""
    job = await find_job(directory, request, UNDO)
    return _html(undo_summary(shown(job))) if _form(request) == "html" else await _page(directory, job, request, UNDO)


def _is_read(other: Job, run: Job) -> bool:
    """Tell whether a run goes by what another job brought: an import before its plan, or an upload that it names."""
    if other.kind in (IDENTITIES.name, ENTRA_GROUPS.name):
        return other.id in (*run.options.get("parts", ()), run.options.get("identities"), run.options.get("groups"))
    kinds = (IMPORT.name, GROUP_IMPORT.name) if "groups" in run.options else (IMPORT.name,)
    return other.kind in kinds and other.started < (run.planned or run.started)


def _is_trial(request: Request) -> bool:
    """Tell whether the plan will not be kept. Raises InvalidValue."""
    asked = request.params.get("trial", "false")
    if asked not in ("true", "false"):
        raise InvalidValue("trial: true, where the plan is not kept, so that nobody can approve it; or false")
    return asked == "true"


def _form(request: Request) -> str:
    form = request.params.get("format", "html")
    if form not in (*MIMETYPES, "html"):
        raise InvalidValue("format: one of csv, jsonl, html")
    return form


def _html(page: str) -> Response:
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(200, page, mimetype="text/html", headers=headers)


async def _page(directory: Directory, job: Job, request: Request, kind: Kind) -> Response:
    count, cursor = read_count(request, ROWS_AT_ONCE, MOST_ROWS), request.params.get("cursor", "")
    form, choice = _form(request), read_choice(request, kind.rows)
    rows, after = await directory.plan(job.id).page(choice, cursor, count)
    documents = [shown_row(row, kind) for row in rows]
    columns = COLUMNS if kind is RUN else UNDO_COLUMNS
    csv_ = form == "csv"
    text = to_csv(documents, columns, header=not cursor) if csv_ else "".join(dump(one) + "\n" for one in documents)
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.{form}"'}
    if after:
        asked = {"format": form, "count": count, "cursor": after} | ({kind.rows.filter_by: choice} if choice else {})
        following = address(request, f"{kind.path}/{job.id}/report?{urlencode(asked)}")
        headers["Link"] = f'<{following}>; rel="next"'
    return Response(200, text, mimetype=MIMETYPES[form], headers=headers)


def to_csv(documents: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS, *, header: bool) -> str:
    """Return rows as CSV (RFC 4180) in which no spreadsheet finds a formula, below a header if one is asked for."""
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    if header:
        writer.writerow(columns)
    writer.writerows([safe(cells[name]) for name in columns] for cells in map(_cells, documents))
    return text.getvalue()


def safe(cell: str) -> str:
    """Return a cell that spreadsheets show as it is: one that looks like a formula gets an apostrophe before it."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _of_candidate(document: Mapping[str, Any], account_id: str | None) -> str | None:
    """Return the applicationId of the candidate that a review chose."""
    chosen = (one for one in document.get("candidates", ()) if one["id"] == account_id)
    return next((one.get("applicationId") for one in chosen), None)


def _cells(document: Mapping[str, Any]) -> dict[str, str]:
    identity = document.get("identity") or document.get("entraGroup", {})
    account = document.get("account") or document.get("group", {})
    predicted, review = document.get("predicted", {}), document.get("review", {})
    rules = dict.fromkeys(item["rule"] for item in document.get("evidence", ()))
    cells = (
        document.get("decision"),
        document.get("reason"),
        identity.get("objectId") or identity.get("id"),
        identity.get("userPrincipalName"),
        identity.get("displayName"),
        review.get("account") or account.get("id"),
        account.get("userName") or account.get("displayName"),
        account.get("applicationId") or _of_candidate(document, review.get("account")),
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
        document.get("undone"),
    )
    texts = ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
    return dict(zip(COLUMNS, texts, strict=True))
