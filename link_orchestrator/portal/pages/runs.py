"""The runs of a directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages.of_run import Run

RUNS: Final = 50
"""Runs on a page."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The list of runs, the latest first."""

    runs: Sequence[Run]
    cursor: str
    at_first: bool


async def show(asked: Asked) -> Outcome:
    """Show the runs."""
    cursor = asked.query.get("cursor", "")
    page = await asked.api.get("linking/runs", cursor=cursor, count=str(RUNS))
    return Shown("runs.html", Runs([*map(Run, page["runs"])], page.get("cursor", ""), not cursor))


PAGES: Final = (Page("runs", show, label="Runs"),)
