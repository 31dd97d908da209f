"""Decisions as a file: the tables of a run's report, filled in by a person and sent back.

Each row in which somebody wrote an action is judged as a review of that row is. The whole file is read before anything
is decided, so a file of another run changes nothing. What is sent again changes nothing either.

A table of another plan, such as one that was made on a laptop, is taken where the request says so: then a line is about
the row that says the same of the same identity and account.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from link_orchestrator import pilot
from link_orchestrator.approving import count_reviews
from link_orchestrator.files.cells import plain
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.files.spreadsheets import UNCOMPUTED
from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations
from link_orchestrator.problem_report import BY_REASON
from link_orchestrator.problems import Problem, Tally
from link_orchestrator.requests.jobs import as_it_stands, shown
from link_orchestrator.requests.report import DECIDING
from link_orchestrator.requests.reviews import ROWS_AT_ONCE, Wish, begin_reviewing, lean, record
from link_orchestrator.requests.sent_file import read_ahead, read_file
from link_orchestrator.run import reviews_of
from shared.admin.parameters import refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import refused_behind
from shared.directory.keys import ID, fold
from shared.directory.object_ids import compared_id
from shared.directory.text import Advice
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import ACTIONS, EXCLUDE, LINK
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidSyntax, InvalidValue
from shared.tables.access import in_parts
from shared.turns import Turns

MOST_DECIDED: Final = 20_000
"""Rows with an action that a file may have: some tens of seconds of work."""
MOST_TOLD: Final = 1_000
"""Lines that are told at most, the first of those that are not taken; all are counted, by reason."""
ACTION, ACCOUNT, IDENTITY = DECIDING
BY: Final = "by"
"""The parameter that says by what a file names the rows of the plan."""
_IDS: Final = ("row", "run")
_NAMES: Final = ("decision", "objectId", "userName")
"""Columns that say together which row of a plan one is."""
_CALLED: Final = "displayName"
"""Column that says how a person is called. Nobody is looked for by it."""
_NAMED_BY: Final = {"rows": _IDS, "names": _NAMES}
_NAMING: Final = (ACCOUNT, "userName", _CALLED)
"""Columns with names that people and applications give."""
_COLUMNS: Final = {plain(name): name for name in (*DECIDING, *_IDS, *_NAMES, _CALLED)}
"""The columns that are read, by their headers as plain() returns them."""

Name = tuple[str, ...]
"""What names a row in a file: its id, or in lower case what its columns _NAMES say."""


class Line(NamedTuple):
    """A row of the file with an action: its line, the name of the plan's row, and what is wanted of it.

    `object_id`, `user_name` and `display_name` are what the file has of the two beside that, "" for nothing.
    """

    number: int
    row: Name
    action: str
    account: str | None
    identity: str | None
    object_id: str = ""
    user_name: str = ""
    display_name: str = ""

    def named(self) -> dict[str, str]:
        """Return what the line wants, and of whom it says so, as the answer shows it."""
        known = {
            "action": self.action,
            "objectId": self.object_id,
            "userName": self.user_name,
            "displayName": self.display_name,
        }
        return {name: value for name, value in known.items() if value}

    def says_the_same(self, other: Line) -> bool:
        """Tell whether both want the same of one row."""
        return (self.row, *self[2:5]) == (other.row, *other[2:5])


class _NotTaken:
    """The lines that are not taken, and why: the first MOST_TOLD by line, and how many there are."""

    def __init__(self) -> None:
        self._told: dict[int, Mapping[str, Any]] = {}
        self._tally = Tally()
        self._most = 2 * MOST_TOLD
        self._linked: dict[int, Mapping[str, Any]] = {}

    def add(self, line: int, reason: str, about: Mapping[str, Any] | None = None) -> None:
        """Note a line that is not taken, and whom it is about as far as that is known."""
        self._tally.add(Problem(line, reason, ""))
        self._told[line] = {"line": line, "reason": reason, **(about or {})}
        if about and about.get("links") and about.get("action") == EXCLUDE:
            self._linked[line] = {"line": line, **about}
        if len(self._told) >= self._most:
            self._told = dict(self._first())

    def any(self) -> bool:
        """Tell whether there are any."""
        return bool(self._told)

    def to_json(self) -> dict[str, Any]:
        """Return them as the answer shows them."""
        groups = sorted(self._tally.groups(), key=lambda group: -group.count)
        return {
            "notTaken": sum(group.count for group in groups),
            BY_REASON: [{"reason": one.reason, "count": one.count, "lines": sorted(one.lines)} for one in groups],
            "refused": [told for _, told in self._first()],
            "linkedAllTheSame": {
                "count": len(self._linked),
                "lines": [told for _, told in sorted(self._linked.items())[:MOST_TOLD]],
            },
        }

    def _first(self) -> list[tuple[int, Mapping[str, Any]]]:
        return sorted(self._told.items())[:MOST_TOLD]


async def decide_by_file(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Decide about rows of a planned run by a table of its report, filled in: 200 with what was not taken, by line."""
    refuse_others(request, BY)
    file, named_by = read_file(request), _named_by(request)
    job = await begin_reviewing(directory, request, client)
    not_taken = _NotTaken()
    lines = await _read(file, request.content_type, job, named_by, not_taken)
    if not lines and not not_taken.any():
        raise InvalidValue(
            f"{ACTION}: no row of the file has one, so nothing was decided: write {', '.join(ACTIONS)} into that column"
        )
    ids, about = {one.row: one.row[0] for one in lines}, dict[int, PlanRow]()
    if named_by is _NAMES:
        ids, about = await _rows_of_names(directory, job, lines)
    reviewed, unchanged = Counter[str](), 0
    left = [one for one in lines if one.row not in ids]
    lines = [one for one in lines if one.row in ids]
    decided = {ids[one.row]: f"line {one.number}" for one in lines}
    wanted = {ids[one.row]: one.action for one in lines}
    for one in left:
        not_taken.add(one.number, *_otherwise(one, about.get(one.number), wanted))
    by_number = {one.number: one for one in lines}
    # What frees an account comes before what links it. Each of the two at once: what they are judged by, the rows and
    # identities of whole buckets, is then read once.
    for some in ([one for one in lines if one.action != LINK], [one for one in lines if one.action == LINK]):
        with refused_behind(bool(reviewed)):
            done, same, told = await _decide(directory, job, {ids[one.row]: one for one in some}, request, decided)
        reviewed, unchanged = reviewed + done, unchanged + same
        for number, reason in told.items():
            not_taken.add(number, reason, by_number[number].named())
    job = await count_reviews(directory, job)
    counts = {"reviewed": reviewed.total(), "unchanged": unchanged}
    text = dump(counts | not_taken.to_json() | {"run": shown(await as_it_stands(directory, job))})
    return Response(200, text, noted=reviewed)


async def _decide(
    directory: Directory, job: Job, lines: Mapping[str, Line], request: Request, decided: Mapping[str, str]
) -> tuple[Counter[str], int, dict[int, str]]:
    """Review rows by the lines about them.

    Returns how many, by action, how many were so before, and why not the others, by line.

    `decided` says which line of the file decides about a row, by the row's id.
    """
    reviews = reviews_of(directory, job.id)
    refused: dict[int, str] = {}
    wishes: list[Wish] = []
    for some in in_parts([*lines.items()], ROWS_AT_ONCE):
        rows = await reviews.find_rows([row_id for row_id, _ in some])
        for (_, line), row in zip(some, rows, strict=True):
            if row is None:
                refused[line.number] = "row: this plan has no row of that id: leave the column as it was"
            elif name := _contradicted(line, row):
                refused[line.number] = _APART.format(name)
            else:
                wishes.append(Wish(lean(row), line.action, line.account, line.identity, alone=True))
    done, same, told = await record(directory, job, wishes, request, skip_same=True, decided=decided)
    return done, same, refused | {lines[row_id].number: reason for row_id, reason in told.items()}


def _contradicted(line: Line, row: PlanRow) -> str:
    """Return the column by which a line is about somebody else than the row that it names; "" where it agrees."""
    object_id = row.shown.get("identity", {}).get("objectId")
    if object_id:
        wrong = line.object_id and compared_id(line.object_id) != compared_id(object_id)
        return "objectId" if wrong else ""
    user_name = row.shown.get("account", {}).get("userName")
    return "userName" if user_name and line.user_name and fold(line.user_name) != fold(user_name) else ""


def _named_by(request: Request) -> Sequence[str]:
    """Return the columns by which the lines of a file name the rows of the plan. Raises InvalidValue."""
    by = request.params.get(BY, "rows")
    if by not in _NAMED_BY:
        raise InvalidValue(
            f"{BY}: rows for a table of this run, or names for one of another plan over the same people: a line is "
            f"then about the row with the same {', '.join(_NAMES)}"
        )
    return _NAMED_BY[by]


_UNNAMED: Final = (
    f"{', '.join(_NAMES)}: no row of this plan, or not only one, says the same of the same two: look for them in this "
    "plan's own table"
)
_LINKED: Final = (
    "decision: this plan links them, though the file excludes them. They are not excluded: exclude them in the row "
    "that this plan has about them"
)
_DECIDED: Final = "decision: what this plan says of them is {}, and not {}, so {}: decide in that row, if at all"


def _otherwise(line: Line, row: PlanRow | None, wanted: Mapping[str, str]) -> tuple[str, Mapping[str, Any]]:
    """Return why a line is not taken that names no row, and whom it is about: what this plan does with them instead.

    `row` is the row about them, and `wanted` says what the file wants of rows that it does name.
    """
    if row is None:
        return _UNNAMED, line.named()
    # Others may have reviewed it, and so may another line of the file.
    action = wanted.get(row.id)
    links = pilot.links(row) if action is None else action == LINK or (row.decision == LINK and action != EXCLUDE)
    told = {"row": row.id, "decision": row.decision, "links": links, **_named_in(row), **line.named()}
    if links and line.action == EXCLUDE:
        return _LINKED, told
    before, what = line.row[0], "this plan links them" if links else "this plan does not link them"
    same = row.decision.lower() == before
    return _UNNAMED if same else _DECIDED.format(row.decision, before, what), told


def _named_in(row: PlanRow) -> dict[str, Any]:
    """Return what a row says of who it is about, as the answer shows it."""
    identity, account = row.shown.get("identity", {}), row.shown.get("account", {})
    return {
        name: value
        for name, value in (
            ("objectId", identity.get("objectId")),
            ("userName", account.get("userName")),
            ("displayName", identity.get("displayName")),
        )
        if value
    }


async def _rows_of_names(
    directory: Directory, job: Job, lines: Sequence[Line]
) -> tuple[dict[Name, str], dict[int, PlanRow]]:
    """Return the ids of the plan's rows that some lines name, each by its name; none for a name that several have.

    Beside them, by the numbers of the lines that so name none, the row about the same person, or else about the same
    account; of several one that links somebody.
    """
    wanted = {line.row for line in lines}
    asked = {key for line in lines for key in _keys_of(line)}
    found: defaultdict[Name, list[str]] = defaultdict(list)
    about: dict[tuple[str, str], PlanRow] = {}
    for bucket in range(directory.keys.buckets if wanted else 0):
        async for rows in directory.plan(job.id).decided(bucket):
            for row in rows:
                identity, account = row.shown.get("identity", {}), row.shown.get("account", {})
                object_id, user_name = identity.get("objectId", ""), account.get("userName", "")
                name = _name(row.decision, object_id, user_name)
                if name in wanted:
                    found[name].append(row.id)
                for key in {("person", compared_id(object_id or "")), ("account", fold(user_name))} & asked:
                    if key not in about or pilot.links(row):
                        about[key] = replace(row, shown=_part_of(row))
    ids = {name: some[0] for name, some in found.items() if len(some) == 1}
    others = {line.number: _about(line, about) for line in lines if line.row not in ids}
    return ids, {number: row for number, row in others.items() if row}


def _about(line: Line, about: Mapping[tuple[str, str], PlanRow]) -> PlanRow | None:
    """Return the row about the person of a line, or else about its account."""
    return next((about[key] for key in _keys_of(line) if key in about), None)


def _keys_of(line: Line) -> Iterator[tuple[str, str]]:
    """Yield by what a line says whom it is about."""
    if line.object_id:
        yield "person", compared_id(line.object_id)
    if line.user_name:
        yield "account", fold(line.user_name)


def _part_of(row: PlanRow) -> dict[str, Any]:
    """Return of what a row shows whom it is about: a file may be about thousands."""
    return {name: row.shown[name] for name in ("identity", "account") if name in row.shown}


def _name(decision: str, object_id: str, user_name: str) -> Name:
    return decision.lower(), compared_id(object_id) if object_id else "", user_name.lower()


async def _read(file: bytes, content_type: str, job: Job, named_by: Sequence[str], not_taken: _NotTaken) -> list[Line]:
    """Return the lines with an action, and note why others cannot be read.

    Of lines that say the same of one row the first counts; of those that contradict each other none does. Raises
    InvalidSyntax for a file that is no table of a run's report, InvalidValue for one of another run, and for one with
    too many decisions.
    """
    lines: dict[Name, Line] = {}
    contradicted: dict[Name, int] = {}
    turns = Turns()
    try:
        for row in await read_ahead(_rows(file, content_type, named_by)):
            await turns.step()
            if isinstance(row, Problem):
                not_taken.add(row.line, f"{row.reason} {row.remedy}")
                continue
            cells = {name: _cell(row.cells, name) for name in (*DECIDING, *_IDS, *_NAMES, _CALLED)}
            if named_by is _IDS and cells["run"] not in ("", job.id):
                advice = Advice(
                    f"run: line {row.line} is of {cells['run']}, and this is {job.id}: nothing was decided.",
                    f"Download the rows of this run, and decide in those; or send it with ?{BY}=names, to decide about "
                    f"the rows that say the same here by {', '.join(_NAMES)}",
                    "anotherPlan",
                )
                raise InvalidValue(str(advice)) from ValueError(advice)
            name = (cells["row"],) if named_by is _IDS else _name(*(cells[one] for one in _NAMES))
            action = cells[ACTION].lower()
            if not action:
                if cells[ACCOUNT] or cells[IDENTITY]:
                    not_taken.add(row.line, f"{ACTION}: an account or identity is named, and no action: write {LINK}")
            elif action not in ACTIONS:
                not_taken.add(row.line, f"{ACTION}: one of {', '.join(ACTIONS)}")
            elif named_by is _IDS and not (cells["run"] and cells["row"]):
                not_taken.add(row.line, "row, run: these say which row it is: leave them as they were")
            elif action != LINK and (cells[ACCOUNT] or cells[IDENTITY]):
                not_taken.add(row.line, f"{ACCOUNT}, {IDENTITY}: are for the action {LINK}")
            elif former := lines.get(name):
                said = Line(row.line, name, action, cells[ACCOUNT] or None, cells[IDENTITY] or None)
                if said.says_the_same(former):
                    not_taken.add(row.line, f"row: line {former.number} says the same of the same row")
                else:
                    not_taken.add(row.line, _OTHERWISE.format(former.number))
                    contradicted.setdefault(name, row.line)
            elif len(lines) == MOST_DECIDED:
                raise InvalidValue(f"{ACTION}: a file has at most {MOST_DECIDED:,} rows: split it, nothing was decided")
            else:
                account, identity = cells[ACCOUNT] or None, cells[IDENTITY] or None
                who = cells["objectId"], cells["userName"], cells[_CALLED]
                lines[name] = Line(row.line, name, action, account, identity, *who)
    except UnreadableFile as error:
        raise InvalidSyntax(str(error)) from error
    for name, number in contradicted.items():
        not_taken.add(lines.pop(name).number, _OTHERWISE.format(number))
    return [*lines.values()]


_APART: Final = (
    "{}: that of the row is another one, so columns were sorted without the others, or it was changed: take the line "
    "from the report anew"
)
_OTHERWISE: Final = "row: line {} decides otherwise about the same row, so neither counts: keep the one that is right"


def _rows(file: bytes, content_type: str, named_by: Sequence[str]) -> Iterator[Row | Problem]:
    """Yield the rows of a table of a run's report. Raises UnreadableFile for any other file."""
    notes = Notes()
    rows = read_rows(file, content_type=content_type, notes=notes)
    header = next(rows, None)
    if notes.uncomputed:
        raise UnreadableFile(UNCOMPUTED)
    names = header.names if isinstance(header, Header) else ()
    written = {name: one if (one := _COLUMNS.get(plain(name), name)) not in names else name for name in names}
    if missing := [name for name in (ACTION, *named_by) if name not in written.values()]:
        deciding = ", ".join(DECIDING)
        sheets = f" {header.sheets}" if isinstance(header, Header) and header.sheets else ""
        raise UnreadableFile(
            Advice(
                f"The file is no table of a run's rows: it has no column {', '.join(missing)}.{sheets}",
                f"Download one from /{RUN.path}/{{id}}/report?format=xlsx or csv, fill in {deciding}, and send it "
                "back.",
                "table",
                {"columns": deciding},
            )
        )
    for row in rows:
        if isinstance(row, Row):
            yield Row(row.line, {written[name]: cell for name, cell in reversed(row.cells.items())})
        elif isinstance(row, Problem):
            yield row


def _cell(cells: Mapping[str, Any], name: str) -> str:
    """Return a cell without white space around it, and without the apostrophe that kept it from being anything else.

    One before letters is a part of the name: 't Hooft.
    """
    text = str(cells.get(name) or "").strip()
    rest = text.removeprefix("'")
    is_part = name in _NAMING and rest[:1].isalpha() and not ID.fullmatch(rest)
    return text if is_part else rest
