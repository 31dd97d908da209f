"""Importing the application's accounts and groups: a file is staged within the request, and an import is started.

So is its preview, which decides as the import does and changes nothing: a job of its own, since a request to Azure
Functions ends after 230 seconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, StrictInt

from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.files.reading import READING, Notes
from link_orchestrator.kinds import (
    GROUP_IMPORT,
    GROUP_IMPORT_UNDO,
    GROUP_IMPORT_UNDO_PREVIEW,
    GROUP_PREVIEW,
    IMPORT,
    IMPORT_UNDO,
    IMPORT_UNDO_PREVIEW,
    PREVIEW,
    Kind,
)
from link_orchestrator.lifecycle import Orchestrations, begin, ensure_started
from link_orchestrator.messages import slices_for
from link_orchestrator.passes.freed_names import KEYED
from link_orchestrator.passes.import_accounts import CHANGE, LINKED, PROTECTED
from link_orchestrator.passes.preview_accounts import FIRST_LINE, FIRST_ROWS
from link_orchestrator.problem_report import BY_REASON, ProblemReport
from link_orchestrator.problems import Problem
from link_orchestrator.requests.jobs import answer, find_job, kept_until, page_of_jobs
from link_orchestrator.requests.sent_file import FILE, PARAMETERS, read_columns, read_file, read_name, stage_rows
from link_orchestrator.staged import FREED, IMPORTED, STAGED, UNREAD, name_bucket
from link_orchestrator.unread import find_unread
from shared.admin.body import Body
from shared.admin.parameters import refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import Busy, NotFound
from shared.directory.keys import Key
from shared.directory.matching.policy import MOST_UNDO_DAYS
from shared.directory.text import counted
from shared.directory.work.jobs import State
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

R = TypeVar("R", AccountRow, GroupRow)

MOST_FILES: Final = 20
"""Imports with rows that nobody took which an answer names, the latest ones."""
IMPORTED_BY: Final = "importedBy"
"""Option of a preview: the import that took its rows."""
AS_PREVIEWED: Final = ("rows", "slices", PROTECTED, KEYED, FILE, READING)
"""Options of a preview that the import of what was previewed has, too."""


async def list_imports(directory: Directory, request: Request) -> Response:
    """List the imports of accounts and of groups, the latest first, a page at a time."""
    return await page_of_jobs(directory, request, "imports", IMPORT, GROUP_IMPORT)


async def list_unread(directory: Directory, request: Request) -> Response:
    """Return the imports of accounts that have rows which no import took so far, with the number of these rows."""
    refuse_others(request)
    found = await find_unread(directory)
    told = {"rows": sum(one.count for one in found), "files": [one.to_json() for one in found[:MOST_FILES]]}
    return Response(200, dump(told))


async def import_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the accounts of a file and start their import, or its preview: 202 with the address of that."""
    keys = directory.keys

    def bucket_of(row: AccountRow) -> int:
        return keys.bucket(keys.digest(Key("userName", row.user_name)))

    refuse_others(request, "preview", PROTECTED, *PARAMETERS)
    options: dict[str, Any] = {PROTECTED: CHANGE} if _changes_protected(request) else {}
    if await directory.listing.may_be_linked():
        options[LINKED] = True
    kind = PREVIEW if _is_preview(request) else IMPORT

    def is_keyed(row: AccountRow) -> bool:
        return row.application_id is not None

    read = read_accounts
    return await _import(directory, request, client, kind, read, bucket_of, is_keyed=is_keyed, options=options)


async def import_groups(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Stage the groups of a file and start their import, or its preview: 202 with the address of that."""

    def bucket_of(row: GroupRow) -> int:
        return name_bucket(directory.groups.keys, row.display_name)

    refuse_others(request, "preview", *PARAMETERS)
    kind = GROUP_PREVIEW if _is_preview(request) else GROUP_IMPORT
    return await _import(directory, request, client, kind, read_groups, bucket_of, lambda row: len(row.members))


async def _import(
    directory: Directory,
    request: Request,
    client: Orchestrations,
    kind: Kind,
    read: Callable[..., Iterable[R | Problem]],
    bucket_of: Callable[[R], int],
    count_members: Callable[[R], int] = lambda row: 0,
    is_keyed: Callable[[R], bool] = lambda row: False,
    options: Mapping[str, Any] | None = None,
) -> Response:
    job_id = directory.jobs.new_id(kind.name)
    previews = kind is PREVIEW or kind is GROUP_PREVIEW
    if previews:
        await directory.stages.announce(job_id, [job_id, job_id + UNREAD], days=kind.days)
    else:
        await directory.stages.announce(job_id, [job_id])
        await _announce_undo(directory, job_id)
    writer, counts, lines = directory.stage(job_id).writer(), Counter[str](), list[int]()
    unread = directory.stage(job_id + UNREAD).writer()

    async def add(row: R) -> None:
        if len(lines) < FIRST_ROWS:
            lines.append(row.line)
        await writer.add(bucket_of(row), row.to_json())
        counts["members"] += count_members(row)
        counts[KEYED] += is_keyed(row)

    async def keep(problems: Sequence[Problem]) -> None:
        for problem in problems:
            await unread.add(0, problem.staged())

    notes = Notes()
    rows = read(read_file(request), content_type=request.content_type, columns=read_columns(request), notes=notes)
    report = await stage_rows(directory, job_id, rows, add, counts, keep if previews else None)
    await report.close()
    if previews and counts["problems"]:
        await unread.add(0, {BY_REASON: report.counts()})
    await writer.close()
    await unread.close()
    await directory.jobs.count(job_id, "file", {"refused": counts["problems"]})
    size = {"rows": counts["read"], "slices": slices_for(counts["read"] + counts["members"])}
    shows = {FIRST_LINE: max(lines)} if kind is PREVIEW else {}
    keyed = {KEYED: True} if counts[KEYED] else {}
    asked = {**size, **shows, **keyed, **(options or {}), **read_name(request), READING: notes.reading().to_json()}
    return answer(await begin(directory, request, client, kind, job_id, asked), request, 202)


async def import_previewed_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Import the accounts of a file as they were previewed: 202 with the import's address. The import decides again."""
    options: dict[str, Any] = {LINKED: True} if await directory.listing.may_be_linked() else {}
    return await _import_previewed(directory, request, client, PREVIEW, IMPORT, options)


async def import_previewed_groups(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Import the groups of a file as they were previewed: 202 with the import's address. The import decides again."""
    return await _import_previewed(directory, request, client, GROUP_PREVIEW, GROUP_IMPORT, {})


async def _import_previewed(
    directory: Directory,
    request: Request,
    client: Orchestrations,
    kind: Kind,
    of: Kind,
    options: Mapping[str, Any],
) -> Response:
    preview = await ensure_started(directory, await find_job(directory, request, kind), client)
    if preview.state is not State.DONE:
        raise Busy(f"phase: {preview.id} is {preview.state}: a preview that is done can be imported")
    if (until := kept_until(preview)) and until < directory.jobs.now():
        raise Busy(f"ended: the rows of a preview are kept for {counted(kind.days, 'day')}: send the file again")
    if before := preview.options.get(IMPORTED_BY):
        raise Busy(f"id: this was imported already, by {before}: send the file again to import it once more")
    job_id = directory.jobs.new_id(of.name)
    await directory.stages.announce(job_id, [job_id])
    await _announce_undo(directory, job_id)
    await directory.jobs.count(job_id, "file", {"refused": await _report_unread(directory, preview.id, job_id)})
    same = {name: preview.options[name] for name in AS_PREVIEWED if name in preview.options}
    begun = await begin(directory, request, client, of, job_id, {**same, **options, STAGED: preview.id})
    # Once: what was previewed this morning would write over what was edited here, or taken back, since.
    await directory.jobs.change(preview.id, lambda job: replace(job, options={**job.options, IMPORTED_BY: job_id}))
    return answer(begun, request, 202)


async def _report_unread(directory: Directory, preview_id: str, job_id: str) -> int:
    """Report in an import what its preview could not read, and return how many rows those are."""
    report = ProblemReport(directory, job_id)
    counts: list[dict[str, Any]] = []
    async for items in directory.stage(preview_id + UNREAD).read(0):
        counts += (one for item in items for one in item.get(BY_REASON, ()))
        await report.add([Problem.from_json(item) for item in items if BY_REASON not in item])
    counts = counts or report.counts()  # a preview of an earlier version of the app kept every row
    await report.close(counts)
    return sum(one["count"] for one in counts)


async def _announce_undo(directory: Directory, job_id: str) -> None:
    """Announce the stages that an import fills beside its rows, for its undo."""
    await directory.stages.announce(job_id, [job_id + IMPORTED], days=MOST_UNDO_DAYS)
    await directory.stages.announce(job_id, [job_id + FREED])


class ImportUndoRequest(Body):
    """How an import of accounts is taken back."""

    activate: Annotated[StrictInt, Field(ge=0)] | None = None
    """The number of accounts that the undo switches on again; without it they stay inactive, and are listed."""
    remove: Annotated[StrictInt, Field(ge=0)] | None = None
    """The number of accounts that the undo deletes, as its preview counts them: if it is another, nothing changes."""


async def undo_accounts(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back what an import of accounts made and changed: 202 with the undo's address."""
    asked = ImportUndoRequest.read(request, required=False)
    return await _undo(directory, request, client, IMPORT_UNDO, asked.model_dump(exclude_none=True))


async def undo_groups(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to take back what an import of groups made and changed: 202 with the undo's address."""
    return await _undo(directory, request, client, GROUP_IMPORT_UNDO, {})


async def preview_accounts_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to count what an undo of an import of accounts would come to, and change nothing: 202 with its address."""
    return await _undo(directory, request, client, IMPORT_UNDO_PREVIEW, {})


async def preview_groups_undo(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Start to count what an undo of an import of groups would come to, and change nothing: 202 with its address."""
    return await _undo(directory, request, client, GROUP_IMPORT_UNDO_PREVIEW, {})


async def _undo(
    directory: Directory, request: Request, client: Orchestrations, kind: Kind, asked: Mapping[str, Any]
) -> Response:
    """Start an undo of an import that has ended, or its preview."""
    if kind.about_import is None:
        raise NotFound(f"no import of {kind.name}", "import")
    job = await ensure_started(directory, await find_job(directory, request, kind.about_import), client)
    if not job.state.ended:
        raise Busy(f"phase: {job.id} is under way: let it end, or cancel it first, and take it back then")
    options = {"import": job.id, "slices": job.options["slices"], **asked}
    undo = await begin(directory, request, client, kind, directory.jobs.new_id(kind.name), options)
    return answer(undo, request, 202)


def _is_preview(request: Request) -> bool:
    """Tell whether a request only asks what its import would do. Raises InvalidValue for a word that says neither."""
    asked = request.params.get("preview", "false")
    if asked not in ("true", "false"):
        raise InvalidValue("preview: true shows what the import would do and changes nothing; leave it out to import")
    return asked == "true"


def _changes_protected(request: Request) -> bool:
    """Tell whether rows may change protected accounts. Raises InvalidValue for a word that says neither."""
    asked = request.params.get(PROTECTED)
    if asked not in (None, CHANGE):
        raise InvalidValue(f"protected: {CHANGE} lets rows change protected accounts; leave it out to have them kept")
    return asked == CHANGE
