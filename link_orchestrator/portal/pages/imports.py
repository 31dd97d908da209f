"""An import: how far it is, what it did, and how to take it back."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from link_orchestrator.portal.forms import digits
from link_orchestrator.portal.page import Asked, Outcome, Page, SeeOther, Shown
from link_orchestrator.portal.pages.of_import import STOPS, page_of, path_of, read_problems
from shared.scim.errors import InvalidValue


async def show_import(asked: Asked) -> Outcome:
    """Show how far an import is, what it did, and how to take it back."""
    read = await read_problems(asked, "import", "groupimport")
    path = path_of(asked.path["id"], "import", "groupimport")
    undo = await asked.api.find(f"{path}/{{id}}/undo", id=asked.path["id"])
    # Not by the directory's document, which looks at accounts: this page is read every few seconds while one goes on.
    runs = (await asked.api.get("linking/runs", count="1"))["runs"]
    undos = (await asked.api.get("linking/undos", count="1"))["undos"]
    # A run that was approved before the import linked nobody whom it made.
    links = runs[0]["counts"].get("linked", 0) if runs and runs[0].get("approved", "") > read.job["started"] else 0
    waits = runs and runs[0]["phase"] == "planned" and runs[0]["started"] > read.job["started"]
    read = replace(read, waiting=runs[0] if waits else None)
    if not links or any(undo["options"].get("run") == runs[0]["id"] for undo in undos):
        return Shown("import.html", replace(read, undo=undo))
    return Shown("import.html", replace(read, undo=undo, run=runs[0]["id"], links=links))


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


PAGES: Final = (
    Page("imports/{id}", show_import, {"cancel": cancel_import, "undo": undo_import}, under="import", notices=STOPS),
)
