"""The rows of a run's source that could not be used, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages.of_run import Document, Run

ROWS: Final = 100
"""Rows on a page."""


@dataclass(frozen=True, slots=True)
class Problems:
    """Rows of a run's source that could not be used."""

    run: Run
    problems: Sequence[Document]
    by_reason: Sequence[Document]
    cursor: str
    at_first: bool


async def show(asked: Asked) -> Outcome:
    """Show which rows of the source were not used, and why."""
    run, cursor = await Run.read(asked), asked.query.get("cursor", "")
    page = await asked.api.get("linking/runs/{id}/problems", id=run.id, cursor=cursor, count=str(ROWS))
    return Shown(
        "run_problems.html",
        Problems(run, page["problems"], page.get("byReason", ()), page.get("cursor", ""), not cursor),
    )


PAGES: Final = (Page("runs/{id}/problems", show, under="runs"),)
