"""The groups of a plan, and who is in one of a group's two sides alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from link_orchestrator import words
from link_orchestrator.portal.page import Asked, Outcome, Page, Shown
from link_orchestrator.portal.pages.of_plan import Row
from link_orchestrator.portal.pages.of_run import Document, Run
from link_orchestrator.words import Bar

ROWS: Final = 50
"""Groups, or members, on a page."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a plan, of one decision."""

    run: Run
    chosen: str
    rows: Sequence[Row]
    cursor: str
    at_first: bool

    @property
    def decisions(self) -> Sequence[tuple[str, Bar, int]]:
        counts = self.run.counts
        return [(name, bar, counts[name]) for name, bar in words.GROUPS.items() if counts.get(name)]


async def show_groups(asked: Asked) -> Outcome:
    """Show the groups of a plan."""
    run, cursor = await Run.read(asked), asked.query.get("cursor", "")
    present = [name for name in words.GROUPS if run.counts.get(name)]
    chosen = asked.query.get("decision", "")
    if chosen not in words.GROUPS:
        chosen = present[0] if present else "groupLink"
    page = await asked.api.get(
        "linking/runs/{id}/decisions", id=run.id, decision=chosen, cursor=cursor, count=str(ROWS)
    )
    rows = [Row(one, run.waits) for one in page["decisions"]]
    return Shown("run_groups.html", Groups(run, chosen, rows, page.get("cursor", ""), not cursor))


@dataclass(frozen=True, slots=True)
class Difference:
    """Who is in a group on one side alone."""

    run: Run
    group: str
    document: Document
    at_first: bool


async def show_difference(asked: Asked) -> Outcome:
    """Show how the members of a group differ."""
    run, cursor = await Run.read(asked), asked.query.get("cursor", "")
    path = "linking/runs/{id}/groups/{group}/difference"
    found = await asked.api.get(path, id=run.id, group=asked.path["group"], cursor=cursor, count=str(ROWS))
    return Shown("difference.html", Difference(run, asked.path["group"], found, not cursor))


PAGES: Final = (
    Page("runs/{id}/groups", show_groups, under="runs"),
    Page("runs/{id}/groups/{group}", show_difference, under="runs"),
)
