"""Who reviewed rows of a plan, and whom the plan suggests as a counterpart: some of both, for a page to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from heapq import nlargest
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.requests.jobs import shown_row
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.work.jobs import Job
from shared.tables.access import AT_ONCE, in_parts, together

MOST_READ: Final = 20_000
"""Reviewed rows that are looked at for who reviewed them, and rows with suggestions for the likeliest."""
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
    """Return rows with the likeliest suggestions, as the API shows them: about identities, or else about accounts.

    Of very many it looks at MOST_READ: at their suggestions alone, since to read whole rows took most of a second.
    """
    plan = directory.plan(run.id)
    for decision in (DecisionKind.NO_ACCOUNT, DecisionKind.NO_IDENTITY):
        if run.counts.get(f"suggestions.{decision}"):
            scores: list[tuple[str, float]] = []
            for some in in_parts(range(directory.keys.buckets), AT_ONCE):
                scores += chain(*await together(*(plan.scores(bucket, decision.value) for bucket in some)))
                if len(scores) >= MOST_READ:
                    break
            likeliest = nlargest(MOST_SUGGESTED, scores, key=itemgetter(1))
            rows = await reviews_of(directory, run.id).find_rows([row_id for row_id, _ in likeliest])
            return [shown_row(row, RUN) for row in rows if row]
    return []
