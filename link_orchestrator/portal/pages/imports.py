"""An import: how far it is, what it did, and how to take it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import STOPS, find_beside, page_of, path_of, read_problems


async def show_import(asked: Asked) -> Outcome:
    """Show how far an import is, what it did, and how to take it back."""
    read = await read_problems(asked, "import", "groupimport")
    path = path_of(asked.path["id"], "import", "groupimport")
    undo = await asked.api.find(f"{path}/{{id}}/undo", id=asked.path["id"])
    return Shown("import.html", replace(read, undo=undo, beside=await find_beside(asked, read.job)))


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
