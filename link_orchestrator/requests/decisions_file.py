"""Decisions as a file: the tables of a run's report, filled in by a person and sent back.

Each row in which somebody wrote an action is judged as a review of that row is. The whole file is read before anything
is decided, so a file of another run changes nothing. What is sent again changes nothing either.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations
from link_orchestrator.problems import Problem
from link_orchestrator.requests.jobs import shown
from link_orchestrator.requests.report import DECIDING
from link_orchestrator.requests.reviews import ROWS_AT_ONCE, Wish, begin_reviewing, count_reviews, record
from link_orchestrator.requests.sent_file import read_ahead, read_file
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.text import dump
from shared.directory.work.jobs import Job
from shared.directory.work.reviews import ACTIONS, LINK
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidSyntax, InvalidValue
from shared.tables.access import in_parts
from shared.turns import Turns

MOST_DECIDED: Final = 20_000
"""Rows with an action that a file may have: some tens of seconds of work."""
MOST_TOLD: Final = 1_000
"""Lines that are told at most; their number is told in any case."""
ACTION, ACCOUNT, IDENTITY = DECIDING
_NEEDED: Final = (ACTION, "row", "run")


class Line(NamedTuple):
    """A row of the file with an action: its line, the id of the plan's row, and what is wanted of it."""

    number: int
    row: str
    action: str
    account: str | None
    identity: str | None


async def decide_by_file(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Decide about rows of a planned run by a table of its report, filled in: 200 with what was not taken, by line."""
    file = read_file(request)
    job = await begin_reviewing(directory, request, client)
    lines, refused = await _read(file, request.content_type, job)
    reviewed = unchanged = 0
    # What frees an account comes before what links it.
    for some in ([one for one in lines if one.action != LINK], [one for one in lines if one.action == LINK]):
        for part in in_parts(some, ROWS_AT_ONCE):
            done, same, told = await _decide(directory, job, part, request)
            reviewed, unchanged, refused = reviewed + done, unchanged + same, refused | told
    job = await count_reviews(directory, job)
    shown_refused = [{"line": line, "reason": reason} for line, reason in sorted(refused.items())[:MOST_TOLD]]
    counts = {"reviewed": reviewed, "unchanged": unchanged, "notTaken": len(refused)}
    return Response(200, dump(counts | {"refused": shown_refused, "run": shown(job)}))


async def _decide(
    directory: Directory, job: Job, lines: Sequence[Line], request: Request
) -> tuple[int, int, dict[int, str]]:
    """Review the rows of some lines; return how many, how many were so before, and why not the others, by line."""
    rows = await reviews_of(directory, job.id).find_rows([line.row for line in lines])
    refused: dict[int, str] = {}
    wishes: list[Wish] = []
    for line, row in zip(lines, rows, strict=True):
        if row is None:
            refused[line.number] = "row: this plan has no row of that id: leave the column as it was"
        else:
            wishes.append(Wish(row, line.action, line.account, line.identity, alone=True))
    numbers = {line.row: line.number for line in lines}
    done, same, told = await record(directory, job, wishes, request, skip_same=True)
    return done, same, refused | {numbers[row_id]: reason for row_id, reason in told.items()}


async def _read(file: bytes, content_type: str, job: Job) -> tuple[list[Line], dict[int, str]]:
    """Return the lines with an action, and why others cannot be read.

    Of two lines about one row the first counts. Raises InvalidSyntax for a file that is no table of a run's report,
    InvalidValue for one of another run, and for one with too many decisions.
    """
    lines: dict[str, Line] = {}
    refused: dict[int, str] = {}
    turns = Turns()
    try:
        for row in await read_ahead(_rows(file, content_type)):
            await turns.step()
            if isinstance(row, Problem):
                refused[row.line] = f"{row.reason} {row.remedy}"
                continue
            cells = {name: _cell(row.cells, name) for name in (*DECIDING, "row", "run")}
            if cells["run"] and cells["run"] != job.id:
                raise InvalidValue(
                    f"run: line {row.line} is of {cells['run']}, and this is {job.id}: nothing was decided. Download "
                    "the rows of this run, and decide in those"
                )
            action = cells[ACTION].lower()
            if not action:
                if cells[ACCOUNT] or cells[IDENTITY]:
                    refused[row.line] = f"{ACTION}: an account or identity is named, and no action: write {LINK}"
            elif action not in ACTIONS:
                refused[row.line] = f"{ACTION}: one of {', '.join(ACTIONS)}"
            elif not cells["run"] or not cells["row"]:
                refused[row.line] = "row, run: these say which row it is: leave them as they were"
            elif action != LINK and (cells[ACCOUNT] or cells[IDENTITY]):
                refused[row.line] = f"{ACCOUNT}, {IDENTITY}: are for the action {LINK}"
            elif former := lines.get(cells["row"]):
                refused[row.line] = f"row: line {former.number} decides about the same row"
            elif len(lines) == MOST_DECIDED:
                raise InvalidValue(f"{ACTION}: a file has at most {MOST_DECIDED:,} rows: split it, nothing was decided")
            else:
                account, identity = cells[ACCOUNT] or None, cells[IDENTITY] or None
                lines[cells["row"]] = Line(row.line, cells["row"], action, account, identity)
    except UnreadableFile as error:
        raise InvalidSyntax(str(error)) from error
    return [*lines.values()], refused


def _rows(file: bytes, content_type: str) -> Iterator[Row | Problem]:
    """Yield the rows of a table of a run's report. Raises UnreadableFile for any other file."""
    rows = read_rows(file, content_type=content_type)
    header = next(rows, None)
    names = header.names if isinstance(header, Header) else ()
    if missing := [name for name in _NEEDED if name not in names]:
        raise UnreadableFile(
            f"The file is no table of a run's rows: it has no column {', '.join(missing)}. Download one from "
            f"/{RUN.path}/{{id}}/report?format=xlsx or csv, fill in {', '.join(DECIDING)}, and send it back."
        )
    for row in rows:
        if not isinstance(row, Header):
            yield row


def _cell(cells: Mapping[str, Any], name: str) -> str:
    """Return a cell without white space around it, and without the apostrophe that kept it from being a formula."""
    text = str(cells.get(name) or "").strip()
    return text[1:] if text.startswith("'") else text
