"""Import: files come in here. What an import would do is looked at first; what it did is shown, and taken back."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from link_orchestrator.files.accounts import COLUMNS
from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from shared.scim.errors import BodyTooLarge, InvalidValue, ScimError

Document = Mapping[str, Any]

SHOWN: Final = 20
"""Rows of a preview, and jobs of a list, that are shown at once."""
PROBLEMS: Final = "50"
"""Problems that are shown at once."""
LONGEST_COLUMNS: Final = 3_000
"""Characters of what was said about columns that an address carries."""
PREVIEW_TERM: Final = timedelta(days=1)
"""For how long the rows of a preview can be imported without the file, as the API has it."""


class What(NamedTuple):
    """What may be in a file: how a person calls it, which door of the API takes it, and what the jobs are called."""

    label: str
    hint: str
    door: str
    path: str
    noun: str


WHATS: Final[Mapping[str, What]] = {
    "accounts": What(
        "Accounts of the application",
        "An export of its users, one row an account. You see first what the import would do.",
        "accounts/import",
        "accounts/imports",
        "account",
    ),
    "groups": What(
        "Groups of the application",
        "A row for every group and member. Import the accounts first.",
        "groups/import",
        "groups/imports",
        "group",
    ),
    "identities": What(
        "Entra's users",
        "Entra admin center, Users, Download users; or Graph's users as JSON. For a plan: nothing is changed.",
        "linking/identities",
        "linking/identities",
        "identity",
    ),
    "entragroups": What(
        "Entra's groups",
        "Groups of Microsoft Graph with their members, as JSON. For a plan: nothing is changed.",
        "linking/groups",
        "linking/groups",
        "group",
    ),
}
CHARSETS: Final = (
    ("", "Recognise it"),
    *((name, name) for name in ("utf-8", "windows-1250", "windows-1251", "windows-1252", "windows-1253")),
    *((name, name) for name in ("windows-1254", "windows-1257", "iso-8859-2", "iso-8859-15", "shift_jis")),
)
_KIND: Final = re.compile(r"[a-z]+")
_PATHS: Final = {
    "import": "accounts/imports",
    "groupimport": "groups/imports",
    "preview": "accounts/previews",
    "grouppreview": "groups/previews",
    "importundo": "accounts/undos",
    "groupimportundo": "groups/undos",
    "identities": "linking/identities",
    "entragroups": "linking/groups",
}
"""The API's path of a job's kind, with which its id begins."""
_DOORS: Final = {f"POST /{what.door}": key for key, what in WHATS.items()}


def path_of(job_id: str, *kinds: str) -> str:
    """Return the API's path of a job by its id; that of the first kind where the id is of none of these kinds."""
    found = _KIND.match(job_id)
    kind = found[0] if found else ""
    return _PATHS[kind if kind in kinds else kinds[0]]


def page_of(job_id: str) -> str:
    """Return the path of a job's page."""
    kind = (_KIND.match(job_id) or [""])[0]
    place = "previews" if kind.endswith("preview") else "import-undos" if kind.endswith("undo") else "imports"
    return f"{'uploads' if kind in ('identities', 'entragroups') else place}/{job_id}"


@dataclass(frozen=True, slots=True)
class Bring:
    """What the page of files shows: what can be brought, and what was."""

    what: str = "accounts"
    imports: Sequence[Document] = ()
    uploads: Sequence[Document] = ()
    older: int = 0
    """Imports and uploads that are not shown."""
    elsewhere: str = ""
    """What a file is that was sent as something else."""
    whats: Mapping[str, What] = field(default_factory=lambda: WHATS)
    charsets: Sequence[tuple[str, str]] = CHARSETS


async def show(asked: Asked) -> Outcome:
    """Show what can be brought, and what was."""
    brought, people, groups = await asyncio.gather(
        asked.api.get("linking/imports"), asked.api.get("linking/identities"), asked.api.get("linking/groups")
    )
    imports = brought["imports"][::-1]
    uploads = sorted([*people["uploads"], *groups["uploads"]], key=lambda job: str(job["started"]), reverse=True)
    most = None if asked.query.get("all") else SHOWN
    elsewhere = _elsewhere(asked.refusal.sentence) if asked.refusal else ""
    what = elsewhere or asked.form["what"] or asked.query.get("what", "")
    return Shown(
        "bring.html",
        Bring(
            what=what if what in WHATS else "accounts",
            imports=imports[:most],
            uploads=uploads[:most],
            older=len(imports[SHOWN:]) + len(uploads[SHOWN:]) if most else 0,
            elsewhere=WHATS[elsewhere].label if elsewhere else "",
        ),
    )


async def send(asked: Asked) -> Outcome:
    """Take a file: of accounts and groups a preview is made, Entra's users and groups are kept for plans."""
    return await _send(asked, read_columns(asked.form["columns"]))


async def send_again(asked: Asked) -> Outcome:
    """Take the file of a preview again, with other columns."""
    columns = read_columns(_lines(asked.query.get("columns", "")))
    return await _send(asked, columns | dict(_changed_columns(asked.form)))


async def _send(asked: Asked, columns: Mapping[str, str]) -> Outcome:
    form = asked.form
    what = WHATS.get(form["what"])
    if what is None:
        raise InvalidValue("what: say what is in the file")
    file = form.files.get("file")
    if file is None:
        raise InvalidValue("file: choose a file")
    if not file.content:
        raise InvalidValue("file: it is empty. Export it again")
    previews = what.door != what.path
    params = {
        "file": file.name or None,
        "columns": json.dumps(columns) if columns and form["what"] != "entragroups" else None,
        "preview": "true" if previews else None,
        "protected": "change" if form["what"] == "accounts" and form["protected"] else None,
        "after": form["after"].strip() or None if form["what"] == "identities" else None,
    }
    media = f"text/csv; charset={form['charset']}" if form["charset"] else file.content_type
    try:
        job = await asked.api.post(what.door, file.content, media, **params)
    except BodyTooLarge as error:
        raise BodyTooLarge(f"file: {error.detail}") from None
    except ScimError as error:
        raise type(error)(_told(error.detail)) from None
    carried = json.dumps(columns) if columns else ""
    return SeeOther(page_of(job["id"]), query={"columns": carried} if len(carried) < LONGEST_COLUMNS else {})


def read_columns(text: str) -> dict[str, str]:
    """Return what a person says of columns: `Header = column` in lines, nothing behind = for what is not to be read.

    Raises InvalidValue naming the line.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        header, equals, column = line.rpartition("=")
        if not line.strip():
            continue
        if not equals or not header.strip():
            raise InvalidValue(f"columns: line {number} is not like: Login = userName")
        found[header.strip()] = column.strip()
    return found


def _changed_columns(form: Any) -> Iterator[tuple[str, str]]:
    """Yield the headers that are to be read as something else than they were."""
    for header, was, now in zip(form.all("header"), form.all("was"), form.all("as"), strict=False):
        if was != now:
            yield header, now


def _told(sentence: str) -> str:
    """Return a refusal of a file in a page's words, about the form's field."""
    if re.match(r"(columns|after|preview|protected): ", sentence):
        return sentence
    for door, key in _DOORS.items():
        sentence = sentence.replace(f"this is {door}", f"it was sent as: {WHATS[key].label}")
        sentence = sentence.replace(f"Send it to {door}", f"Send it as: {WHATS[key].label}")
    sentence = sentence.replace("by ?columns=…", "below, under More choices")
    return "file: " + sentence.replace("; ", ", ")


def _elsewhere(sentence: str) -> str:
    """Return what a file is that was refused because it is something else, "" where it was not."""
    return next((key for key, what in WHATS.items() if f"Send it as: {what.label}" in sentence), "")


@dataclass(frozen=True, slots=True)
class Preview:
    """What the page of a preview shows."""

    job: Document
    rows: Sequence[Document] = ()
    problems: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows have each problem, beside the first page of them."""
    cursor: str = ""
    at_first: bool = True
    importable: bool = False
    chosen: Mapping[str, str] = field(default_factory=dict)
    """By header, the column that was chosen in a form that was refused."""
    choices: Sequence[str] = COLUMNS
    charsets: Sequence[tuple[str, str]] = CHARSETS

    @property
    def of_groups(self) -> bool:
        """Whether the file has groups."""
        return bool(self.job["kind"] == "grouppreview")

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers of the file, each with the column that it was read as, "" for none."""
        reading = self.job.get("reading", {})
        read = [(one["header"], one["readAs"]) for one in reading.get("columns", ())]
        return [*read, *((header, "") for header in reading.get("ignored", ()))]

    @property
    def noun(self) -> str:
        """What a row becomes."""
        return "group" if self.of_groups else "account"

    @property
    def changing(self) -> int:
        """How many accounts or groups the import would make or change."""
        counts = self.job["counts"]
        return int(counts.get("created", 0) + counts.get("updated", 0))


async def show_preview(asked: Asked) -> Outcome:
    """Show what an import would do."""
    job_id, api = asked.path["id"], asked.api
    path = path_of(job_id, "preview", "grouppreview")
    job = await api.get(f"{path}/{{id}}", id=job_id)
    cursor = asked.query.get("problems", "")
    if "ended" not in job:
        return Shown("preview.html", Preview(job))
    rows: list[Document] = []
    if job["kind"] == "preview":
        for outcome in ("created", "updated", "unchanged"):
            page = await api.get("accounts/previews/{id}/rows", id=job_id, outcome=outcome, count=str(SHOWN))
            rows += page["rows"]
        page = await api.get("accounts/previews/{id}/rows", id=job_id, outcome="problem", count=PROBLEMS, cursor=cursor)
        problems = page["rows"]
    else:
        page = await api.get("groups/previews/{id}/problems", id=job_id, count=PROBLEMS, cursor=cursor)
        problems = page["problems"]
    return Shown(
        "preview.html",
        Preview(
            job=job,
            rows=sorted(rows, key=lambda row: int(row["line"]))[:SHOWN],
            problems=problems,
            by_reason=page.get("byReason", ()),
            cursor=page.get("cursor", ""),
            at_first=not cursor,
            importable=job["phase"] == "done" and _is_fresh(job) and "importedBy" not in job["options"],
            chosen=dict(zip(asked.form.all("header"), asked.form.all("as"), strict=False)),
        ),
    )


def _is_fresh(job: Document) -> bool:
    return datetime.now(UTC) - datetime.fromisoformat(job["ended"]) < PREVIEW_TERM


def _lines(text: str) -> str:
    """Return what an address says of columns, as lines of a form; "" for what is nothing of that."""
    try:
        found = json.loads(text or "{}")
        return "\n".join(f"{header} = {column}" for header, column in found.items())
    except (ValueError, AttributeError, RecursionError):
        return ""


async def import_previewed(asked: Asked) -> Outcome:
    """Import what was previewed."""
    job_id = asked.path["id"]
    job = await asked.api.post(f"{path_of(job_id, 'preview', 'grouppreview')}/{{id}}/import", id=job_id)
    return SeeOther(page_of(job["id"]))


async def cancel_preview(asked: Asked) -> Outcome:
    """Stop a preview."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'preview', 'grouppreview')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


@dataclass(frozen=True, slots=True)
class Import:
    """What the page of an import, or of an upload, shows."""

    job: Document
    problems: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows have each problem, beside the first page of them."""
    cursor: str = ""
    at_first: bool = True
    undo: Document | None = None

    @property
    def of_groups(self) -> bool:
        """Whether the file has groups."""
        return bool(self.job["kind"] in ("groupimport", "entragroups"))

    @property
    def noun(self) -> str:
        """What a row became."""
        return "identity" if self.job["kind"] == "identities" else "group" if self.of_groups else "account"


async def show_import(asked: Asked) -> Outcome:
    """Show how far an import is, what it did, and how to take it back."""
    view = await _with_problems(asked, "import", "groupimport")
    path = path_of(asked.path["id"], "import", "groupimport")
    undo = await asked.api.find(f"{path}/{{id}}/undo", id=asked.path["id"])
    return Shown("import.html", replace(view, undo=undo))


async def show_upload(asked: Asked) -> Outcome:
    """Show what was read of a file of Entra's users or groups."""
    return Shown("upload.html", await _with_problems(asked, "identities", "entragroups"))


async def _with_problems(asked: Asked, *kinds: str) -> Import:
    job_id, cursor = asked.path["id"], asked.query.get("problems", "")
    path = path_of(job_id, *kinds)
    job = await asked.api.get(f"{path}/{{id}}", id=job_id)
    if "ended" not in job:
        return Import(job)
    page = await asked.api.get(f"{path}/{{id}}/problems", id=job_id, count=PROBLEMS, cursor=cursor)
    return Import(job, page["problems"], page.get("byReason", ()), page.get("cursor", ""), not cursor)


async def cancel_import(asked: Asked) -> Outcome:
    """Stop an import."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'import', 'groupimport')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


async def undo_import(asked: Asked) -> Outcome:
    """Take an import back."""
    job_id, asked_for = asked.path["id"], asked.form["activate"].strip()
    path = path_of(job_id, "import", "groupimport")
    body: object = None
    if asked_for and path == "accounts/imports":
        if (number := digits(asked_for)) is None:
            raise InvalidValue("activate: a number, or nothing")
        body = {"activate": number}
    undo = await asked.api.post(f"{path}/{{id}}/undo", body, id=job_id)
    return SeeOther(page_of(undo["id"]))


@dataclass(frozen=True, slots=True)
class Undo:
    """What the page of an import's undo shows."""

    job: Document
    rows: Sequence[Document] = ()
    outcome: str = ""
    cursor: str = ""
    at_first: bool = True

    @property
    def of_groups(self) -> bool:
        """Whether groups were imported."""
        return bool(self.job["kind"] == "groupimportundo")


async def show_undo(asked: Asked) -> Outcome:
    """Show what the undo of an import did, row by row."""
    job_id, query = asked.path["id"], asked.query
    path = path_of(job_id, "importundo", "groupimportundo")
    job = await asked.api.get(f"{path}/{{id}}", id=job_id)
    if "ended" not in job:
        return Shown("import-undo.html", Undo(job))
    cursor, outcome = query.get("cursor", ""), query.get("outcome", "")
    page = await asked.api.get(f"{path}/{{id}}/rows", id=job_id, count=PROBLEMS, cursor=cursor, outcome=outcome)
    return Shown("import-undo.html", Undo(job, page["rows"], outcome, page.get("cursor", ""), not cursor))


async def cancel_undo(asked: Asked) -> Outcome:
    """Stop the undo of an import."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'importundo', 'groupimportundo')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


_STOPS: Final = {"cancelled": "It stops within some hundred rows. What it did until then stays, and is shown here."}
PAGES: Final = (
    Page("import", show, {"send": send}, label="Import"),
    Page(
        "previews/{id}",
        show_preview,
        {"import": import_previewed, "cancel": cancel_preview, "again": send_again},
        under="import",
        notices={"cancelled": "The preview stops. It changed nothing."},
    ),
    Page("imports/{id}", show_import, {"cancel": cancel_import, "undo": undo_import}, under="import", notices=_STOPS),
    Page("import-undos/{id}", show_undo, {"cancel": cancel_undo}, under="import", notices=_STOPS),
    Page("uploads/{id}", show_upload, under="import"),
)
