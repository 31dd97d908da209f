"""An import: how far it is, what it did, and how to take it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import STOPS, Read, find_beside, page_of, path_of, read_problems


async def show_import(asked: Asked) -> Outcome:
    """Show how far an import is, what it did, and how to take it back."""
    read = await read_problems(asked, "import", "groupimport")
    path = path_of(asked.path["id"], "import", "groupimport")
    undo = await asked.api.find(f"{path}/{{id}}/undo", id=asked.path["id"])
    beside = await find_beside(asked, read.job)
    return Shown("import.html", replace(read, undo=undo, beside=beside, open_rows=await _open_rows(asked, read)))


async def _open_rows(asked: Asked, read: Read) -> int | None:
    """Return how many rows of an import a plan warns of, None where that is not known or there is nothing to say."""
    if read.job["kind"] != "import" or "ended" not in read.job or not read.job["counts"].get("refused"):
        return None
    unread = await asked.api.get("linking/unread")
    rows = {one["import"]: int(one["rows"]) for one in unread["files"]}
    known = read.job["id"] in rows or sum(rows.values()) == unread["rows"]
    return rows.get(read.job["id"], 0) if known else None


async def cancel_import(asked: Asked) -> Outcome:
    """Stop an import."""
    job_id = asked.path["id"]
    await asked.api.post(f"{path_of(job_id, 'import', 'groupimport')}/{{id}}/cancel", id=job_id)
    return SeeOther(page_of(job_id), said="cancelled")


async def look(asked: Asked) -> Outcome:
    """Have it counted what taking an import back would do."""
    job_id = asked.path["id"]
    preview = await asked.api.post(f"{path_of(job_id, 'import', 'groupimport')}/{{id}}/undo/preview", id=job_id)
    return SeeOther(page_of(preview["id"]))


PAGES: Final = (
    Page("imports/{id}", show_import, {"cancel": cancel_import, "look": look}, under="import", notices=STOPS),
)
