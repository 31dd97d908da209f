"""What taking an import back would do: counted by outcome, before anything is done; and the button that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import PROBLEMS, Beside, Document, find_beside, page_of, path_of
from link_orchestrator.words import Bar, Bars
from shared.scim.errors import InvalidValue

KINDS: Final = ("importundopreview", "groupimportundopreview")
OUTCOMES: Final[Bars] = {
    "removed": Bar("would be deleted", "stop"),
    "undone": Bar("would be what they were before", "go"),
    "undonePartly": Bar("would be given back in part", "ask"),
    "undoneInactive": Bar("would be given back, still inactive", "ask"),
    "refused": Bar("would stay as they are", "stop"),
    "unchanged": Bar("are taken back, or gone, already", ""),
}
"""What becomes of accounts or groups, in words."""
NOT_WHOLLY: Final = ("refused", "undonePartly", "undoneInactive")
"""Outcomes of those that do not wholly become what they were: of these the first is listed unless another is chosen."""


@dataclass(frozen=True, slots=True)
class UndoPreview:
    """What the page shows."""

    job: Document
    rows: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows of the outcome have which reason, beside the first page of them."""
    outcome: str = ""
    cursor: str = ""
    at_first: bool = True
    undo: Document | None = None
    """The undo of the import that began since, None for none."""
    beside: Beside = field(default_factory=Beside)
    words: Bars = field(default_factory=lambda: OUTCOMES)

    @property
    def of_groups(self) -> bool:
        """Whether groups were imported."""
        return bool(self.job["kind"] == "groupimportundopreview")

    @property
    def noun(self) -> str:
        """What the import made and changed."""
        return "group" if self.of_groups else "account"

    @property
    def outcomes(self) -> Sequence[tuple[str, Bar, int]]:
        """What would become of them: the outcome, its words, and how many."""
        counts = self.job["counts"]
        return [(name, bar, counts[name]) for name, bar in OUTCOMES.items() if counts.get(name)]

    @property
    def changing(self) -> int:
        """How many the undo would delete or give something back."""
        counts = self.job["counts"]
        return sum(counts.get(name, 0) for name in ("removed", "undone", "undonePartly", "undoneInactive"))


async def show(asked: Asked) -> Outcome:
    """Show what taking an import back would do, as things were when it was counted."""
    job_id, query = asked.path["id"], asked.query
    path = path_of(job_id, *KINDS)
    job = await asked.api.get(f"{path}/{{id}}", id=job_id)
    if "ended" not in job:
        return Shown("import-undo-preview.html", UndoPreview(job))
    outcome = query.get("outcome") or next((name for name in NOT_WHOLLY if job["counts"].get(name)), "")
    cursor = query.get("cursor", "")
    page = await asked.api.get(f"{path}/{{id}}/rows", id=job_id, count=PROBLEMS, cursor=cursor, outcome=outcome)
    imports, imported = _import_of(job)
    undo = await asked.api.find(f"{imports}/{{id}}/undo", id=imported)
    about = await asked.api.find(f"{imports}/{{id}}", id=imported)
    view = UndoPreview(
        job=job,
        rows=page["rows"],
        by_reason=page.get("byReason", ()),
        outcome=outcome,
        cursor=page.get("cursor", ""),
        at_first=not cursor,
        undo=undo if undo and undo["started"] > job["started"] else None,
        beside=await find_beside(asked, about) if about else Beside(),
    )
    return Shown("import-undo-preview.html", view)


def _import_of(job: Document) -> tuple[str, str]:
    """Return the API's path of imports, and the id of the one that a preview is about."""
    imported = str(job["options"]["import"])
    return path_of(imported, "import", "groupimport"), imported


async def undo(asked: Asked) -> Outcome:
    """Take the import back."""
    job_id = asked.path["id"]
    job = await asked.api.get(f"{path_of(job_id, *KINDS)}/{{id}}", id=job_id)
    imports, imported = _import_of(job)
    body = None if job["kind"] == "groupimportundopreview" else _numbers(asked, job["counts"].get("removed", 0))
    begun = await asked.api.post(f"{imports}/{{id}}/undo", body, id=imported)
    return SeeOther(page_of(begun["id"]))


def _numbers(asked: Asked, removed: int) -> dict[str, int]:
    """Return the numbers of accounts that an undo may delete, as counted before, and switch on, as they were typed."""
    if removed and digits(asked.form["remove"]) != removed:
        raise InvalidValue(f"remove: type {removed:,}, the number of accounts that would be deleted")
    typed = asked.form["activate"].strip()
    if not typed:
        return {"remove": removed}
    if (number := digits(typed)) is None:
        raise InvalidValue("activate: a number, or nothing")
    return {"remove": removed, "activate": number}


async def look_again(asked: Asked) -> Outcome:
    """Have it counted once more, as things are now."""
    job = await asked.api.get(f"{path_of(asked.path['id'], *KINDS)}/{{id}}", id=asked.path["id"])
    imports, imported = _import_of(job)
    again = await asked.api.post(f"{imports}/{{id}}/undo/preview", id=imported)
    return SeeOther(page_of(again["id"]))


async def cancel(asked: Asked) -> Outcome:
    """Stop counting."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, *KINDS)}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


PAGES: Final = (
    Page(
        "undo-previews/{id}",
        show,
        {"undo": undo, "again": look_again, "cancel": cancel},
        under="import",
        notices={"cancelled": "It stops after what it has in hand. It changed nothing."},
    ),
)
