"""An upload of Entra's users or groups: what was read of it."""

from __future__ import annotations

from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages.of_import import read_problems


async def show_upload(asked: Asked) -> Outcome:
    """Show what was read of a file of Entra's users or groups."""
    return Shown("upload.html", await read_problems(asked, "identities", "entragroups"))


PAGES: Final = (Page("uploads/{id}", show_upload, under="import"),)
