"""The report of a run, an undo or a verification: rows as CSV, JSON Lines or a workbook; a summary as HTML.

An answer is in memory, so rows come a page at a time. A Link header leads to the next page; all pages, one after the
other, are the whole report. The tables of a run have empty columns in which a person decides about rows, and which
decisions_file.py takes back.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from link_orchestrator.kinds import RUN, UNDO, VERIFICATION, Kind
from link_orchestrator.prediction.check import check
from link_orchestrator.requests.basis import undos_and_files
from link_orchestrator.requests.jobs import (
    address,
    as_it_stands,
    find_job,
    pages_of,
    read_choice,
    select_rows,
    shown,
    shown_row,
    with_persons,
)
from link_orchestrator.requests.mapping import people_of
from link_orchestrator.requests.pages.run import summary
from link_orchestrator.requests.pages.undo import undo_summary
from link_orchestrator.requests.pages.verification import verification_summary
from link_orchestrator.requests.reviewers import list_reviewers, list_suggested
from link_orchestrator.requests.selection import CONDITIONS, Filter, read_filter, refuse_unsent
from link_orchestrator.requests.verified import told
from link_orchestrator.requests.workbook import MOST_IN_WORKBOOK, XLSX, Workbook
from link_orchestrator.run import mapping_of, policy_of
from link_orchestrator.warnings import warnings_of, with_open_examples
from shared import turns
from shared.admin.parameters import open_cursor, read_count, seal_cursor
from shared.directory.directory import Directory
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import LEAVE
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

MIMETYPES: Final = {"csv": "text/csv", "jsonl": "application/jsonl", "xlsx": XLSX}
"""Media types of the formats that hold a report's rows."""
ROWS_AT_ONCE = 5_000
"""Rows on a page, where the request names no other number."""
MOST_ROWS = 20_000
"""Rows that a request may ask for at once."""

COLUMNS: Final = (
    "decision", "reason", "objectId", "userPrincipalName", "displayName", "accountId", "userName", "applicationId",
    "rules", "otherMatches", "value", "warnings", "predicted", "predictedWhy", "review", "reviewedBy", "reviewedAt",
    "outcome", "undone", "changes", "remedy",
)  # fmt: skip
DECIDING: Final = ("action", "account", "identity")
"""Columns that are empty: for a person to fill in, and to send back (decisions_file.py)."""
RUN_COLUMNS: Final = (*DECIDING, *COLUMNS, "suggestions", "row", "run")
"""Columns of a table of a run's rows. The last two say which row of which run one is."""
UNDO_COLUMNS: Final = ("outcome", *COLUMNS[1:8])
"""Columns of an undo's rows, which are the first ones of a run's with another name."""
VERIFICATION_COLUMNS: Final = (
    "found", *COLUMNS[1:9], "predicted", "predictedWhy", "review", "reviewedBy", "reviewedAt", "undone", "remedy",
    "linked", "confirmed", "created", "insteadOf", "alike", "row",
)  # fmt: skip
"""Columns of a verification's rows: those of the plan's row that made the link, what to do, and when what happened."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What spreadsheets take for the beginning of a formula, with the full-width forms."""


async def get_report(directory: Directory, request: Request) -> Response:
    """Return a run's report in the format asked for: csv, jsonl or html."""
    job = await with_persons(directory, await find_job(directory, request, RUN))
    if _form(request) != "html":
        return await _page(directory, job, request, RUN)
    job = await with_open_examples(directory, await as_it_stands(directory, job))
    found = (
        check(
            mapping_of(job),
            people_of(job),
            adopts=policy_of(job).adopt_on_create,
            name_id=policy_of(job).name_id_source,
        )
        if job.planned
        else []
    )
    told = {warned.code for warned in warnings_of(job)} if job.planned else set()
    wrong = [warned.to_json() for warned in found if warned.code not in told]
    undos, read = await undos_and_files(directory, job)
    files = [one.document | ({"takenBack": one.taken_back} if one.taken_back else {}) for one in read]
    reviewers, suggested = await list_reviewers(directory, job), await list_suggested(directory, job)
    page = summary(
        *(shown(job), wrong, undos, files), reviewers=reviewers, suggested=suggested, trial=_is(request, "trial", TRIAL)
    )
    return _html(page)


async def get_undo_report(directory: Directory, request: Request) -> Response:
    """Return an undo's report in the format asked for: csv, jsonl or html."""
    job = await with_persons(directory, await find_job(directory, request, UNDO))
    return _html(undo_summary(shown(job))) if _form(request) == "html" else await _page(directory, job, request, UNDO)


async def get_verification_report(directory: Directory, request: Request) -> Response:
    """Return a verification's report in the format asked for: csv, jsonl or html."""
    job = await with_persons(directory, await find_job(directory, request, VERIFICATION))
    if _form(request) == "html":
        return _html(verification_summary(shown(job)))
    return await _page(directory, job, request, VERIFICATION)


def _is(request: Request, name: str, told: str) -> bool:
    """Tell whether a request asks for what a parameter switches on. Raises InvalidValue with what it is."""
    asked = request.params.get(name, "false")
    if asked not in ("true", "false"):
        raise InvalidValue(f"{name}: {told}")
    return asked == "true"


TRIAL: Final = "true, where the plan is not kept, so that nobody can approve it; or false"
DECIDED: Final = "true, to have what was decided in the columns of a decisions file; or false"


def _form(request: Request) -> str:
    form = request.params.get("format", "html")
    if form not in (*MIMETYPES, "html"):
        raise InvalidValue("format: one of csv, xlsx, jsonl, html")
    return form


def _html(page: str) -> Response:
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return Response(200, page, mimetype="text/html", headers=headers)


async def _page(directory: Directory, job: Job, request: Request, kind: Kind) -> Response:
    count, form, choice = read_count(request, ROWS_AT_ONCE, MOST_ROWS), _form(request), read_choice(request, kind.rows)
    decided = _is(request, "decided", DECIDED)
    wanted = read_filter(request) if kind is RUN else None
    if wanted:
        refuse_unsent(wanted, job)
    if form == "xlsx":
        return await _workbook(directory, job, kind, choice, wanted, decided=decided)
    filters = {kind.rows.filter_by: choice} if choice else {}
    filters |= {name: request.params[name] for name in CONDITIONS if wanted and request.params.get(name)}
    of = ("report", job.id, filters)
    cursor = open_cursor(request.params.get("cursor", ""), *of)
    rows, after = await _rows(directory, job, choice, wanted, cursor, count)
    if form == "csv":
        documents = await _documents(directory, rows, kind, job, decided=decided)
        text = await to_csv(documents, _columns(kind), header=not cursor)
    else:
        shown = await _shown(directory, rows, kind, job)
        text = "".join(await turns.take(dump(one) + "\n" for one in shown))
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.{form}"'}
    if after:
        asked = {"format": form, "count": count, "cursor": seal_cursor(after, *of)} | filters
        asked |= {"decided": "true"} if decided else {}
        following = address(request, f"{kind.path}/{job.id}/report?{urlencode(asked)}")
        headers["Link"] = f'<{following}>; rel="next"'
    return Response(200, text, mimetype=MIMETYPES[form], headers=headers)


async def _rows(
    directory: Directory, job: Job, choice: str, wanted: Filter | None, cursor: str, count: int
) -> tuple[list[PlanRow], str | None]:
    """Return up to `count` of the rows that are asked for, from behind a cursor, and the next cursor."""
    if wanted is None:
        return await directory.plan(job.id).page(choice, cursor, count)
    pages = pages_of(directory, job.id, wanted)
    return await select_rows(pages, choice, cursor, count, wanted.selects_among(choice))


def _change(name: str, change: Mapping[str, Any]) -> str:
    """Return in one line what becomes of an attribute."""
    before, after = (json.dumps(change.get(side), ensure_ascii=False) for side in ("from", "to"))
    return f"{name}: {before} -> {after}" if "from" in change else f"{name}: -> {after}"


async def _workbook(
    directory: Directory, job: Job, kind: Kind, choice: str, wanted: Filter | None, *, decided: bool
) -> Response:
    """Return all rows that are asked for as one workbook: it cannot come in pages."""
    names, turn = _columns(kind), turns.Turns()
    with Workbook(names, DECIDING if kind is RUN else ()) as book:
        cursor: str | None = ""
        while cursor is not None:
            rows, cursor = await _rows(directory, job, choice, wanted, cursor, ROWS_AT_ONCE)
            for document in await _documents(directory, rows, kind, job, decided=decided):
                cells = _cells(document)
                if not book.add([cells[name] for name in names]):
                    raise InvalidValue(
                        f"format: a workbook has at most {MOST_IN_WORKBOOK:,} rows: ask for those of one decision, "
                        "or for csv"
                    )
                await turn.step()
        file = await book.close()
    headers = {"Content-Disposition": f'attachment; filename="{job.id}.xlsx"'}
    return Response(200, file=file, mimetype=XLSX, headers=headers)


def _columns(kind: Kind) -> Sequence[str]:
    return {RUN.name: RUN_COLUMNS, VERIFICATION.name: VERIFICATION_COLUMNS}.get(kind.name, UNDO_COLUMNS)


async def _shown(directory: Directory, rows: Sequence[PlanRow], kind: Kind, job: Job) -> list[dict[str, Any]]:
    """Return rows as lists show them."""
    if kind is VERIFICATION:
        return await told(directory, job, rows)
    return await turns.take(shown_row(row, kind) for row in rows)


async def _documents(
    directory: Directory, rows: Sequence[PlanRow], kind: Kind, job: Job, *, decided: bool = False
) -> list[dict[str, Any]]:
    """Return rows as tables tell them, each with the id of the plan's row, and a run's with that of the run.

    Where they are to say what was `decided`, a review's action is that of the file, so that it can be sent to a plan.
    """
    known = await _shown(directory, rows, kind, job)
    return await turns.take(
        {"row": row.id, "run": job.id} | document | (_sent(row) if decided else {})
        for row, document in zip(rows, known, strict=True)
    )


def _sent(row: PlanRow) -> dict[str, Any]:
    """Return what a file has to say for the review of a row to be made again, of the row as its plan made it."""
    review = row.review or {}
    if review.get("action", LEAVE) == LEAVE:
        return {}
    if "version" in review:  # ids of accounts are each directory's own
        return {"sent": {"action": review["action"], "account": review.get("userName", review["account"])}}
    chosen = [one["userName"] for one in row.shown.get("candidates", ()) if one["id"] == review.get("account")]
    return {"sent": {"action": review["action"]} | ({"account": chosen[0]} if chosen else {})}


async def to_csv(documents: Iterable[Mapping[str, Any]], columns: Sequence[str] = COLUMNS, *, header: bool) -> str:
    """Return rows as CSV (RFC 4180) in which no spreadsheet finds a formula, below a header if one is asked for.

    The mark of UTF-8 comes before the header: without it Excel takes the text for one in a code page of Windows.
    """
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    if header:
        text.write("\ufeff")
        writer.writerow(columns)
    await turns.take(writer.writerow([safe(cells[name]) for name in columns]) for cells in map(_cells, documents))
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
    sent: dict[str, str] = document.get("sent", {})
    if "version" in review and not sent:  # a person named another account than the row's
        account = review
    rules = dict.fromkeys(item["rule"] for item in document.get("evidence", ()))
    cells = (
        document.get("decision"),
        document.get("reason"),
        identity.get("objectId") or identity.get("id"),
        identity.get("userPrincipalName"),
        identity.get("displayName"),
        (not sent and review.get("account")) or account.get("id"),
        account.get("userName") or account.get("displayName"),
        account.get("applicationId") or _of_candidate(document, review.get("account")),
        " ".join(rules),
        " ".join(document.get("others", ())),
        document.get("value", {}).get("value"),
        " ".join(document.get("warnings", ())),
        predicted.get("outcome"),
        predicted.get("why"),
        review.get("action"),
        review.get("person") or review.get("by"),
        review.get("at"),
        document.get("outcome"),
        document.get("undone"),
        "; ".join(
            _change(name, change) for name, change in (account.get("changes") or document.get("changes", {})).items()
        ),
        document.get("remedy"),
    )
    texts = ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in cells]
    named = dict(zip(COLUMNS, texts, strict=True)) | dict.fromkeys(DECIDING, "") | sent
    suggestions = "; ".join(map(_suggestion, document.get("suggestions", ())))
    verified = {name: document.get(name, "") for name in ("found", "linked", "confirmed", "created")}
    verified |= {"insteadOf": " ".join(document.get("insteadOf", ()))}
    verified |= {"alike": "; ".join(f"{one['userName']} {one['id']}" for one in document.get("alike", ()))}
    beside = {name: document.get(name, "") for name in ("row", "run")}
    return named | verified | {"suggestions": suggestions} | beside


def _suggestion(one: Mapping[str, Any]) -> str:
    """Return a suggestion in a cell: the name and the id to copy, the score, and what is alike."""
    account, identity = one.get("account", {}), one.get("identity", {})
    known = account.get("userName") or identity.get("userPrincipalName"), account.get("id") or identity.get("objectId")
    name = account.get("displayName") or identity.get("displayName")
    many = [f"{one['namesakes']} namesakes"] if "namesakes" in one else []
    said = ", ".join([*([name] if name else []), f"{one['score']:g}", *one["alike"], *many])
    return f"{' '.join(map(str, known))} ({said})"
