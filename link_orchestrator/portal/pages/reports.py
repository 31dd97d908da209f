"""Reports of a run, an undo and a verification. The browser keeps them as files, which can be sent on and printed."""

from __future__ import annotations

from typing import Final

from link_orchestrator.portal.page import Asked, Download, Outcome, Page

ENDS: Final = {"csv": ".csv", "xlsx": ".xlsx"}
"""How a file's name ends, by the format that was asked for; otherwise it is a page."""


async def download_run(asked: Asked) -> Outcome:
    """Return a run's report; the query chooses its format and rows as it does for the API."""
    return await _download(asked, "linking/runs/{id}/report")


async def download_undo(asked: Asked) -> Outcome:
    """Return an undo's report."""
    return await _download(asked, "linking/undos/{id}/report")


async def download_verification(asked: Asked) -> Outcome:
    """Return a verification's report."""
    return await _download(asked, "linking/verifications/{id}/report")


async def _download(asked: Asked, path: str) -> Outcome:
    answer = await asked.api.call("GET", path, {**asked.query, "id": asked.path["id"]})
    name = asked.path["id"] + ENDS.get(asked.query.get("format", ""), ".html")
    return Download(answer.file or answer.text.encode(), answer.mimetype or "text/html", name)


PAGES: Final = (
    Page("runs/{id}/report", download_run, under="runs"),
    Page("undos/{id}/report", download_undo, under="runs"),
    Page("verifications/{id}/report", download_verification, under="runs"),
)
