"""Who reviewed rows of a plan, and whom the plan suggests as a counterpart: some of both, for a page to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import select_rows, shown_row
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow

MOST_READ: Final = 20_000
"""Reviewed rows that are looked at for who reviewed them: about a second."""
MOST_SUGGESTED: Final = 20
"""Rows with suggestions that a page shows, of all that were looked at those with the highest scores."""


async def list_reviewers(directory: Directory, run: Job) -> list[dict[str, Any]]:
    """Return who reviewed rows of a run, how many to which action, and when last; whoever reviewed most comes first.

    It is the person where one is known, else the credential. Of a run with very many reviews it counts MOST_READ.
    """
    actions: dict[str, Counter[str]] = {}
    last: dict[str, str] = {}
    read = 0
    for bucket in range(directory.keys.buckets if run.reviewed else 0):
        async for rows in reviews_of(directory, run.id).reviewed(bucket):
            for review in (row.review for row in rows if row.review):
                who = str(review.get("person") or review.get("by", ""))
                actions.setdefault(who, Counter())[str(review["action"])] += 1
                last[who] = max(last.get(who, ""), str(review.get("at", "")))
            read += len(rows)
            if read >= MOST_READ:
                return _told(actions, last)
    return _told(actions, last)


def _told(actions: Mapping[str, Counter[str]], last: Mapping[str, str]) -> list[dict[str, Any]]:
    by_number = sorted(actions.items(), key=lambda one: (-one[1].total(), one[0]))
    return [{"who": who, "actions": dict(counts), "last": last[who]} for who, counts in by_number]


async def list_suggested(directory: Directory, run: Job) -> list[dict[str, Any]]:
    """Return rows with the likeliest suggestions, as the API shows them: about identities, or else about accounts."""
    for decision in (DecisionKind.NO_ACCOUNT, DecisionKind.NO_IDENTITY):
        if run.counts.get(f"suggestions.{decision}"):
            rows, _ = await select_rows(directory.plan(run.id), decision.value, "", MOST_READ, _has_suggestions)
            return [shown_row(row, RUN) for row in _likeliest(rows)]
    return []


def _has_suggestions(row: PlanRow) -> bool:
    return bool(row.suggestions)


def _likeliest(rows: Iterable[PlanRow]) -> list[PlanRow]:
    return sorted(rows, key=lambda row: -row.suggestions[0]["score"])[:MOST_SUGGESTED]
