"""Who reviewed rows of a plan, and whom the plan suggests as a counterpart: some of both, for a page to show."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from itertools import chain
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.passes.created_alike import SUGGESTED
from link_orchestrator.passes.suggest import LIKELIEST, MOST_LIKELIEST
from link_orchestrator.requests.jobs import shown_row
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.matching.accounts import DecisionKind
from shared.directory.work.jobs import Job
from shared.tables.access import in_waves

MOST_READ: Final = 20_000
"""Reviewed rows that are looked at for who reviewed them."""


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
    """Return the rows with the likeliest suggestions, as the API shows them: about identities, or else about accounts.

    They are those that the plan noted: to look at the suggestions of 20,000 rows took a quarter of a second.
    """
    if not any(run.counts.get(SUGGESTED + one) for one in (DecisionKind.NO_ACCOUNT, DecisionKind.NO_IDENTITY)):
        return []
    plan = directory.plan(run.id)
    noted = await in_waves(plan.marked(bucket, LIKELIEST) for bucket in range(directory.keys.buckets))
    rows = [row for row in await reviews_of(directory, run.id).find_rows([*chain(*noted)]) if row]
    shown = [row for row in rows if row.decision == DecisionKind.NO_ACCOUNT] or rows
    likeliest = sorted(shown, key=lambda row: (-row.suggestions[0]["score"], row.id))
    return [shown_row(row, RUN) for row in likeliest[:MOST_LIKELIEST]]
