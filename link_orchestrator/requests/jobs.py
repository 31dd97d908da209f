"""Jobs over HTTP: the requests that every kind of job has, and what the other requests about jobs share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from link_orchestrator.files.reading import READING
from link_orchestrator.kinds import (
    GROUP_IMPORT,
    GROUP_IMPORT_UNDO,
    IMPORT,
    IMPORT_UNDO,
    KINDS,
    RUN,
    UNDO,
    VERIFICATION,
    Kind,
    Rows,
)
from link_orchestrator.lifecycle import Orchestrations, cancel, ensure_started
from link_orchestrator.problem_report import BY_REASON, PROBLEM, count_by_reason
from link_orchestrator.problems import count_reasons
from link_orchestrator.requests.explained import explained
from link_orchestrator.requests.selection import CONDITIONS, Filter, read_filter, refuse_unsent
from link_orchestrator.requests.verified import told
from link_orchestrator.run import pilots_of, reviews_of, rows_of_pilots, settled_links
from link_orchestrator.staged import parts_of
from link_orchestrator.warnings import (
    warnings_of,
    with_imported_since,
    with_open_examples,
    with_policy_changed,
    without_undone,
)
from link_orchestrator.words import TAKEN_BACK
from shared import turns
from shared.admin.parameters import PAGED, page_answer, read_count, read_cursor, refuse_others
from shared.admin.parameters import read_choice as read_named
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import Key
from shared.directory.matching.accounts import DecisionKind
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, State, made_at
from shared.directory.work.plan import CURSOR, PlanRow
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.access import AT_ONCE, in_parts, together

BEGIN = "none was begun: POST of this address begins one"
"""What there is to say where no job follows another yet."""
ROWS_READ = 5_000
"""Rows that one request by a condition looks at. The cursor in its answer goes on from there."""
ROWS_A_READ: Final = 1_000
"""Rows that such a request reads at a time, at most: as many as a query answers."""
MORE: Final = 4
"""Times as many rows that it reads each time as the time before."""
BRIEF: Final = "brief"
"""The parameter that asks for rows by their ids."""
Pages = Callable[[str, str, Iterator[int]], AsyncGenerator[tuple[list[PlanRow], str | None]]]
"""Reads rows of a decision from behind a cursor in pages of these counts, as Plan.pages does."""
ADDRESSED: Final = 10
"""Accounts, of those with an e-mail address that is looked for, whose rows are found by it."""

IMPORTS_LOOKED_AT: Final = 50
"""Imports, the latest ones, among which those are looked for that ended since a plan was started."""
LISTED: Final = (
    *("id", "kind", "phase", "started", "startedBy", "persons", "options", "counts", "links", "reviews"),
    *("planned", "reviewed", "expires", "approved", "approvedBy", "cancelledBy", "replacedBy", "takenBack"),
    *("ended", "keptUntil", "reduced", "reason"),
)
"""What lists show of a job; of its options those alone that are short."""


async def get_job(kind: Kind, directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Return a job, with the progress of its orchestration."""
    job = await ensure_started(directory, await find_job(directory, request, kind), client)
    status = await client.get_status(job.id)
    beside = await _undos_of(directory, [kind], job.id)
    job = await with_persons(directory, await with_open_examples(directory, await as_it_stands(directory, job)))
    return answer(job, request, 200, getattr(status, "custom_status", None), beside.get(job.id))


async def as_it_stands(directory: Directory, job: Job) -> Job:
    """Return a run as it is shown: a plan that waits warns of what came since, and anew after an undo."""
    if job.kind != RUN.name or job.state is not State.PLANNED:
        return job
    stored, imports = await asyncio.gather(
        directory.policies.read(), directory.jobs.entries(IMPORT.name, most=IMPORTS_LOOKED_AT)
    )
    return await without_undone(directory, with_imported_since(with_policy_changed(job, stored.policy), imports))


async def with_persons(directory: Directory, job: Job) -> Job:
    """Return a job with the names of those who did something to it, as far as the activity knows more of them."""
    (named,) = await all_with_persons(directory, [job])
    return named


async def all_with_persons(directory: Directory, jobs: Sequence[Job]) -> list[Job]:
    """Return jobs with such names.

    A job keeps the name of a person who asked for something, and not of one who had switched it on, such as a schedule.
    One that is reduced names nobody.
    """
    people = await directory.activity.people(by for job in jobs for by in _unnamed(job).values())
    return [
        replace(job, persons={**(job.persons or {}), **known})
        if (known := {deed: people[by] for deed, by in _unnamed(job).items() if by in people})
        else job
        for job in jobs
    ]


def _unnamed(job: Job) -> dict[str, str]:
    """Return who did something to a job whose name that does not have, by what they did."""
    did = {"started": job.by, "approved": job.approved_by, "cancelled": job.cancelled_by}
    return {deed: by for deed, by in did.items() if by and deed not in (job.persons or {}) and not job.reduced}


async def get_upload(kind: Kind, directory: Directory, request: Request) -> Response:
    """Return an upload, which was done when it was answered."""
    return answer(await with_persons(directory, await find_job(directory, request, kind)), request, 200)


async def cancel_job(kind: Kind, directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Cancel a job: 202."""
    job = await find_job(directory, request, kind)
    return answer(await cancel(directory, job, request, client), request, 202)


async def list_jobs(kind: Kind, directory: Directory, request: Request) -> Response:
    """List the jobs of a kind, the latest first, a page at a time."""
    return await page_of_jobs(directory, request, kind.plural, kind)


async def page_of_jobs(directory: Directory, request: Request, name: str, *kinds: Kind) -> Response:
    """Return a page of the jobs of some kinds, the latest first, each as a list shows it."""
    refuse_others(request, *PAGED)
    names = [kind.name for kind in kinds]
    jobs, cursor = await directory.jobs.page(names, read_cursor(request, name), read_count(request))
    beside = await _undos_of(directory, kinds, *(job.id for job in jobs))
    jobs = await all_with_persons(directory, jobs)
    return page_answer(request, name, [listed(job) | beside.get(job.id, {}) for job in jobs], cursor)


async def _undos_of(directory: Directory, kinds: Collection[Kind], *jobs: str) -> dict[str, dict[str, Any]]:
    """Return what the API says of those jobs of some kinds that were taken back, by id."""
    if RUN in kinds:
        return await taken_back(directory, *jobs)
    found = dict[str, dict[str, Any]]()
    for kind in (IMPORT_UNDO, GROUP_IMPORT_UNDO):
        for undo in reversed(await directory.jobs.entries(kind.name) if kind.about_import in kinds else ()):
            if undo.options["import"] in jobs:
                told = {"undo": undo.id, "phase": undo.state.value, "started": undo.started}
                found[undo.options["import"]] = {"takenBack": told}
    return found


async def taken_back(directory: Directory, *runs: str) -> dict[str, dict[str, Any]]:
    """Return what the API says of runs whose links were taken back, by id: how many, and by which undo last."""
    found = dict[str, dict[str, Any]]()
    for undo in reversed(await directory.jobs.entries(UNDO.name)):
        run = undo.options.get("run")
        if run in runs:
            links = sum(undo.counts.get(name, 0) for name in TAKEN_BACK)
            links += found[run]["takenBack"]["links"] if run in found else 0
            told = {"links": links, "undo": undo.id, "phase": undo.state.value, "started": undo.started}
            found[run] = {"takenBack": told}
    return found


async def list_rows(kind: Kind, directory: Directory, request: Request) -> Response:
    """List a page of a job's rows; of a run's, if asked for, those alone that meet conditions."""
    job = await find_job(directory, request, kind)
    conditions = CONDITIONS if kind is RUN else ()
    beside = ("find", "behind", BRIEF) if kind is RUN else ()
    refuse_others(
        request, *([kind.rows.filter_by] if kind.rows.choices else []), *conditions, *beside, "count", "cursor"
    )
    choice = read_choice(request, kind.rows)
    wanted = read_filter(request) if kind is RUN else None
    if wanted:
        refuse_unsent(wanted, job)
    if kind is RUN and read_named(request, BRIEF, ("true", "false")) == "true":
        return await _page_of_brief(directory, request, choice, wanted)
    if kind is RUN and request.params.get("find", "").strip():
        return await _page_of_named(directory, request, job, choice, wanted)
    if wanted:
        return await _page_of_selected(directory, request, job, choice, wanted)
    if kind is VERIFICATION:
        return await _page_of_verified(directory, request, job, choice)
    return await page_of_rows(directory, request, kind, request.id, choice)


def _begin(request: Request, kind: Kind) -> str:
    """Return where a page of a job's rows begins: where its cursor says, or behind a row of a run that is named."""
    behind = request.params.get("behind", "") if kind is RUN else ""
    if behind and ("find" in request.params or not CURSOR.fullmatch(behind)):
        raise InvalidValue("behind: name a row by its id, as the list shows it, and look for nothing by find")
    return read_cursor(request, kind.rows.name) or behind


async def _page_of_verified(directory: Directory, request: Request, job: Job, choice: str) -> Response:
    """Return a page of what a verification found, each row with what the plan says of it."""
    begin, count = read_cursor(request, VERIFICATION.rows.name), read_count(request)
    rows, cursor = await directory.plan(job.id).page(choice, begin, count)
    return page_answer(request, VERIFICATION.rows.name, await told(directory, job, rows), cursor)


async def _page_of_named(
    directory: Directory, request: Request, run: Job, choice: str, wanted: Filter | None
) -> Response:
    """Return a page of the rows whose names begin with what is looked for; fewer where they meet conditions, too.

    An account that has it as an e-mail address is looked for by its userName.
    """
    find = request.params["find"].strip()
    names, cursor = directory.plan_names(run.id), _begin(request, RUN)
    addressed, _ = await directory.accounts.page_by(Key("email", find), "", ADDRESSED) if "@" in find else ((), None)
    rows, more = await names.find(find, cursor, read_count(request), [account.user_name for account in addressed])
    if not rows and not cursor and _decided(run) and not await names.exist():
        raise InvalidValue(
            "find: the term of this run is over, and its names are removed: list its rows without find"
            if run.reduced
            else "find: an earlier version of the app made this plan: make another one to find people in it"
        )
    selects = wanted.selects_among(choice) if wanted else lambda row: True
    selected = [row for row in rows if choice in ("", row.decision) and selects(row)]
    return page_answer(request, RUN.rows.name, [named_row(row, RUN) for row in selected], more)


def _decided(run: Job) -> bool:
    """Tell whether a run decided about anybody: a later one, since which nothing changed, did not."""
    return any(run.counts.get(kind) for kind in DecisionKind)


async def _page_of_selected(directory: Directory, request: Request, run: Job, choice: str, wanted: Filter) -> Response:
    """Return a page of the rows that meet conditions. It may have few or none, and yet a cursor: more follow."""
    begin, count, selects = _begin(request, RUN), read_count(request), wanted.selects_among(choice)
    if wanted.linked and pilots_of(run):
        rows, cursor = await _select_piloted(directory, run, choice, begin, count, selects)
    else:
        rows, cursor = await select_rows(pages_of(directory, run.id, wanted), choice, begin, count, selects)
    return page_answer(request, RUN.rows.name, [named_row(row, RUN) for row in rows], cursor)


async def _select_piloted(
    directory: Directory, run: Job, decision: str, after: str, count: int, selects: Callable[[PlanRow], bool]
) -> tuple[list[PlanRow], str | None]:
    """Return what select_rows() would of a run of which pilots alone linked somebody, without looking at other rows."""
    found = list[PlanRow]()
    for buckets in in_parts(range(int(after[:2] or "0", 16), directory.keys.buckets), AT_ONCE):
        for rows in await together(*(rows_of_pilots(directory, run, bucket, after) for bucket in buckets)):
            found += [row for row in rows if decision in ("", row.decision) and selects(row)]
        if len(found) > count:
            return found[:count], found[count - 1].id
    return found, None


async def _page_of_brief(directory: Directory, request: Request, choice: str, wanted: Filter | None) -> Response:
    """Return a page of rows by their ids, with what was decided about each: all that it takes to decide about many."""
    if "find" in request.params:
        raise InvalidValue("brief: rows that are found by a name are listed whole")
    wanted = wanted or Filter()
    pages, count = pages_of(directory, request.id, wanted, brief=True), read_count(request, ROWS_READ, ROWS_READ)
    rows, cursor = await select_rows(pages, choice, _begin(request, RUN), count, wanted.selects_among(choice))
    found = [{"id": row.id, "decision": row.decision, **({"review": row.review} if row.review else {})} for row in rows]
    return page_answer(request, RUN.rows.name, found, cursor)


def pages_of(directory: Directory, run: str, wanted: Filter, *, brief: bool = False) -> Pages:
    """Return what reads the rows of a run in pages: of those alone that were reviewed, where a request asks for them.

    They are read as a `brief` list tells them, unless the conditions ask for more.
    """
    read = reviews_of(directory, run).pages if wanted.reviewed else directory.plan(run).pages
    return partial(read, brief=brief and wanted.asks_for_reviews_alone)


async def select_rows(
    pages: Pages, decision: str, after: str, count: int, selects: Callable[[PlanRow], bool]
) -> tuple[list[PlanRow], str | None]:
    """Return up to `count` rows of a decision that meet a condition, from behind a cursor, and the next cursor.

    The fewer rows meet it, the more are read at a time: mostly all, or nearly none do.
    """
    rows: list[PlanRow] = []
    cursor: str | None = after
    async with aclosing(pages(decision, after, _counts(count))) as read:
        async for page, cursor in read:
            found = await turns.take(place for place, row in enumerate(page) if selects(row))
            taken = found[: count - len(rows)]
            rows += [page[place] for place in taken]
            if len(rows) == count:
                return rows, cursor if taken[-1] == len(page) - 1 else page[taken[-1]].id
    return rows, cursor


def _counts(count: int) -> Iterator[int]:
    """Yield how many rows are read next, of ROWS_READ at most, or of as many as are asked for."""
    size, left = count, max(count, ROWS_READ)
    while left > 0:
        some = min(size, ROWS_A_READ, left)
        yield some
        size, left = MORE * size, left - some


async def find_last(kind: Kind, directory: Directory, request: Request) -> Response:
    """Return the last job of a kind that is about the run. Raises NotFound for none."""
    about = await find_job(directory, request, RUN)
    if found := await directory.jobs.find_about(kind.name, "run", about.id):
        return answer(await with_persons(directory, found[-1]), request, 200)
    raise NotFound(f"no {kind.name} of this run", f"{kind.name} of this run", BEGIN)


async def find_last_of_import(kind: Kind, directory: Directory, request: Request) -> Response:
    """Return the last job of a kind that is about the import. Raises NotFound for none."""
    if kind.about_import is None:
        raise NotFound(f"no {kind.name}", _what(kind))
    about = await find_job(directory, request, kind.about_import)
    if found := await directory.jobs.find_about(kind.name, "import", about.id):
        return answer(await with_persons(directory, found[-1]), request, 200)
    raise NotFound(f"no {kind.name} of this import", _what(kind).replace("an import", "this import"), BEGIN)


async def find_job(directory: Directory, request: Request, kind: Kind) -> Job:
    """Return the job that a request names. Raises NotFound for none, and for one of another kind."""
    try:
        job = await directory.jobs.get(request.id)
    except NotFound as none:
        raise _no_such(kind, request.id) from none
    if job.kind != kind.name:
        raise _no_such(kind, request.id)
    return job


def _no_such(kind: Kind, job_id: str) -> NotFound:
    """Return that there is no job of a kind with this id, and where those that there are can be seen."""
    listed = kind.path if kind.listed else "linking/imports" if kind in (IMPORT, GROUP_IMPORT) else ""
    remedy = f"GET /{listed} lists those there are" if listed else "take the id that its beginning was answered with"
    return NotFound(f"no {kind.name} {job_id}", _what(kind), remedy)


def _what(kind: Kind) -> str:
    """Return what a job of a kind is, without its article."""
    return kind.title.partition(" ")[2]


def read_choice(request: Request, rows: Rows) -> str:
    """Return the value by which a request filters rows, "" for all of them. Raises InvalidValue."""
    choice = request.params.get(rows.filter_by, "") if rows.choices else ""
    if choice and choice not in rows.choices:
        raise InvalidValue(f"{rows.filter_by}: one of {', '.join(rows.choices)}")
    return choice


async def page_of_rows(directory: Directory, request: Request, kind: Kind, name: str, choice: str = "") -> Response:
    """Return a page of the rows under a job's id or a reading's name, shown as those of the kind."""
    begin, count = _begin(request, kind), read_count(request)
    rows, cursor = await directory.plan(name).page(choice, begin, count)
    rows.sort(key=lambda row: row.shown.get("line", 0))  # of a file's rows those of a page are in order
    counts: dict[str, Any] = {}
    if kind.rows.has_problems and choice in ("", PROBLEM) and "cursor" not in request.params:
        counts = {BY_REASON: await count_by_reason(directory, name)}
    if choice in kind.rows.explained and "cursor" not in request.params:
        first = (await directory.plan(name).page(choice, "", ROWS_READ))[0] if cursor else rows
        counts = {BY_REASON: count_reasons(str(row.shown["reason"]) for row in first)}
    return page_answer(request, kind.rows.name, [named_row(row, kind) for row in rows], cursor, counts)


def shown_row(row: PlanRow, kind: Kind) -> dict[str, Any]:
    """Return a row as a kind shows it."""
    document = explained(row.to_json()) if kind is RUN else row.to_json()
    return {kind.rows.filter_by: document.pop("decision"), **document}


def named_row(row: PlanRow, kind: Kind) -> dict[str, Any]:
    """Return a row as a kind shows it; a run's with its id, by which a review names it."""
    return ({"id": row.id} if kind is RUN else {}) | shown_row(row, kind)


def shown(job: Job) -> dict[str, Any]:
    """Return a job as the API shows it.

    Some counts are in groups like `predicted`. What was read of a file stands beside the options, and so does the
    number of links to approve.
    """
    counts, groups = _grouped(job.counts)
    links = counts.get("link", 0) + groups.get("review", {}).pop("links", 0) - settled_links(job)
    times = groups.get("review", {}).pop("times", 0)
    for hidden in ("carried", "warnings", "objectIds"):
        groups.pop(hidden, None)
    planned = job.kind == RUN.name and job.planned
    approvable: dict[str, Any] = {"links": links, "reviews": times} if planned else {}
    if planned and (warnings := warnings_of(job)):
        approvable["warnings"] = [warned.to_json() for warned in warnings]
    options = dict(job.options)
    read = {READING: options.pop(READING)} if READING in options else {}
    document = job.to_json()
    document.pop("warned", None)
    if until := kept_until(job):
        document["keptUntil"] = until
    return document | {"options": options, "counts": counts} | groups | approvable | read


def kept_until(job: Job) -> str | None:
    """Return until when others can use what a job brought, None for no end; all parts of an upload go by the first."""
    days = KINDS[job.kind].days
    if not days or job.ended is None:
        return None
    first = parts_of(job)[0]
    since = job.ended if first == job.id else made_at(first)
    return timestamp(datetime.fromisoformat(since) + timedelta(days=days))


def listed(job: Job) -> dict[str, Any]:
    """Return the entry of a job as lists show it; the rest of it is at the job's own address."""
    return {name: value for name, value in shown(job).items() if name in LISTED}


def _grouped(counts: Mapping[str, int]) -> tuple[dict[str, int], dict[str, dict[str, int]]]:
    """Return the counts with plain names, and those like `predicted.matched` in groups by their first word."""
    plain, groups = dict[str, int](), dict[str, dict[str, int]]()
    for name, count in counts.items():
        group, dot, rest = name.partition(".")
        (groups.setdefault(group, {}) if dot else plain)[rest if dot else name] = count
    return plain, groups


def answer(
    job: Job, request: Request, status: int, progress: object = None, beside: Mapping[str, Any] | None = None
) -> Response:
    """Return a job as JSON, with its address, and what there is beside it. `progress` is shown until it has ended."""
    document = {**shown(job), **(beside or {})}
    if isinstance(progress, dict) and not job.state.ended:
        counts = {"counts": _grouped(progress["counts"])[0]} if "counts" in progress else {}
        document["progress"] = progress | counts
    return Response(status, dump(document), location=address(request, f"{KINDS[job.kind].path}/{job.id}"))


def address(request: Request, path: str) -> str:
    """Return the address of a path of this API as the caller sees it."""
    return f"{request.base.removesuffix('/scim/v2')}/{path}"
