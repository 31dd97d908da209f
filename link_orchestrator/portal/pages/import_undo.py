"""The undo of an import: what became of every row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.messages import ACTIVATING, REMOVING
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import PROBLEMS, STOPS, Document, page_of, path_of


@dataclass(frozen=True, slots=True)
class Undo:
    """What the page of an import's undo shows."""

    job: Document
    rows: Sequence[Document] = ()
    by_reason: Sequence[Document] = ()
    """How many rows of the outcome have which reason, beside the first page of them."""
    outcome: str = ""
    cursor: str = ""
    at_first: bool = True

    @property
    def outcomes(self) -> Sequence[tuple[str, int]]:
        """What became of the accounts or groups, and of how many: without what was counted before the undo began."""
        return [(name, count) for name, count in self.job["counts"].items() if name not in (ACTIVATING, REMOVING)]

    @property
    def headline(self) -> str:
        """What became of the import by it: all of it is taken back, or how many accounts or groups are not, wholly."""
        if "ended" not in self.job:
            return "What the import made and changed is being taken back."
        left = sum(self.job["counts"].get(name, 0) for name in ("refused", "undonePartly", "undoneInactive"))
        if left:
            one, many = ("group", "groups") if self.of_groups else ("account", "accounts")
            which = f"1 {one} is not what it was" if left == 1 else f"{left:,} {many} are not what they were"
            return f"The import is taken back partly: {which} before it. Each row says why."
        if self.job["phase"] != "done":
            return "The undo ended before it had looked at all that the import made and changed."
        return "What the import made and changed is taken back."

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
    view = Undo(job, page["rows"], page.get("byReason", ()), outcome, page.get("cursor", ""), not cursor)
    return Shown("import-undo.html", view)


async def cancel_undo(asked: Asked) -> Outcome:
    """Stop the undo of an import."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'importundo', 'groupimportundo')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


PAGES: Final = (Page("import-undos/{id}", show_undo, {"cancel": cancel_undo}, under="import", notices=STOPS),)
