"""A preview: what an import would do, before anything is imported; and the columns, which can be read as others."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from link_orchestrator.files import accounts, groups
from link_orchestrator.names import label_of
from link_orchestrator.portal.forms import Form
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.account import in_line
from link_orchestrator.portal.pages.bring import CHARSETS, read_columns, send_file
from link_orchestrator.portal.pages.of_import import PROBLEMS, Document, page_of, path_of, rows_became
from shared.scim.errors import InvalidValue

SHOWN: Final = 20
"""Rows that are shown of those that would be imported."""


MANY_MISSING: Final = 10
"""One in so many rows that cannot be read are too many to go on without a word."""
NAMED: Final = 5
"""Choices that a refusal names."""


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
    imported: str = ""
    """The id of the import that took its rows, "" for none."""
    import_job: Document | None = None
    """That import, None where there is none or its term is over."""
    chosen: Mapping[str, str] = field(default_factory=dict)
    """By header, the column that was chosen in a form that was refused."""
    charsets: Sequence[tuple[str, str]] = CHARSETS

    @property
    def of_groups(self) -> bool:
        """Whether the file has groups."""
        return bool(self.job["kind"] == "grouppreview")

    @property
    def choices(self) -> Sequence[str]:
        """What a header may be read as."""
        return groups.COLUMNS if self.of_groups else accounts.COLUMNS

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """The headers of the file, each with the column that it was read as, "" for none."""
        reading = self.job.get("reading", {})
        read = [(one["header"], one["readAs"]) for one in reading.get("columns", ())]
        return [*read, *((header, "") for header in reading.get("ignored", ()))]

    @property
    def unread(self) -> Sequence[str]:
        """The headers of the columns that are not read."""
        return [header for header, read_as in self.headers if not read_as]

    def told(self, row: Document) -> Sequence[tuple[str, str, str]]:
        """What the import would change of an account: each attribute in words, its value now and then, "" for none."""
        changes = row.get("changes", {}).items()
        return [(label_of(name), in_line(one["from"]), in_line(one["to"])) for name, one in changes]

    @property
    def became(self) -> Sequence[tuple[str, int]]:
        """What would become of the rows of a file of accounts, in words, each row counted once."""
        return rows_became(self.job)

    @property
    def many_missing(self) -> bool:
        """Whether so many rows cannot be read that importing the others is not the plain next step."""
        reading = self.job.get("reading", {})
        missing = int(reading.get("unusable", 0))
        return missing * MANY_MISSING >= missing + int(reading.get("rows", 0)) > 0

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
    imported = str(job["options"].get("importedBy", ""))
    path = path_of(imported, "import", "groupimport")
    return Shown(
        "preview.html",
        Preview(
            job=job,
            rows=sorted(rows, key=lambda row: int(row["line"]))[:SHOWN],
            problems=problems,
            by_reason=page.get("byReason", ()),
            cursor=page.get("cursor", ""),
            at_first=not cursor,
            importable=job["phase"] == "done" and _is_fresh(job) and not imported,
            imported=imported,
            import_job=await api.find(f"{path}/{{id}}", id=imported) if imported else None,
            chosen=dict(zip(asked.form.all("header"), asked.form.all("as"), strict=False)),
        ),
    )


def _is_fresh(job: Document) -> bool:
    return datetime.now(UTC) < datetime.fromisoformat(job["keptUntil"])


async def send_again(asked: Asked) -> Outcome:
    """Take the file of a preview again, with other columns."""
    columns = read_columns(_lines(asked.query.get("columns", "")))
    return await send_file(asked, columns | dict(_changed_columns(asked.form)))


def _changed_columns(form: Form) -> Iterator[tuple[str, str]]:
    """Yield the headers that are to be read as something else than they were."""
    for header, was, now in zip(form.all("header"), form.all("was"), form.all("as"), strict=False):
        if was != now:
            yield header, now


def _lines(text: str) -> str:
    """Return what an address says of columns, as lines of a form; "" for what is nothing of that."""
    try:
        found = json.loads(text or "{}")
        return "\n".join(f"{header} = {column}" for header, column in found.items())
    except (ValueError, AttributeError, RecursionError):
        return ""


async def import_previewed(asked: Asked) -> Outcome:
    """Import what was previewed; where other columns were chosen since, have the file read again with them instead."""
    if asked.form.files.get("file"):
        return await send_again(asked)
    _refuse_unread_choice(asked.form)
    job_id = asked.path["id"]
    job = await asked.api.post(f"{path_of(job_id, 'preview', 'grouppreview')}/{{id}}/import", id=job_id)
    return SeeOther(page_of(job["id"]))


def _refuse_unread_choice(form: Form) -> None:
    """Raise InvalidValue where a column or an encoding was chosen with which the file was not read."""
    chosen = [f"{header} to {label_of(now) if now else 'not read'}" for header, now in _changed_columns(form)]
    chosen += [f"the encoding to {form['charset']}"] if form["charset"] else []
    if chosen:
        more = f" and {len(chosen) - NAMED} more" if len(chosen) > NAMED else ""
        raise InvalidValue(
            f"file: nothing was imported, because you set {', '.join(chosen[:NAMED])}{more}, and the file has not been "
            "read so yet. Choose it again here, and press Look at it again. Or set back what you chose, and import"
        )


async def cancel_preview(asked: Asked) -> Outcome:
    """Stop a preview."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'preview', 'grouppreview')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


PAGES: Final = (
    Page(
        "previews/{id}",
        show_preview,
        {"import": import_previewed, "cancel": cancel_preview, "again": send_again},
        under="import",
        notices={"cancelled": "The preview stops. It changed nothing."},
    ),
)
