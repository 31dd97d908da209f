"""Whom the policy leaves out by now of those whom a plan would link: counted before the plan is approved."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

from link_orchestrator.kinds import RUN
from link_orchestrator.passes.left_out import LeftOut
from link_orchestrator.passes.refusals import WHY
from link_orchestrator.pilot import rows_to_link
from link_orchestrator.requests.jobs import find_job, named_row
from link_orchestrator.run import as_link, state_in_words
from shared import turns
from shared.admin.parameters import refuse_others
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.tables.access import AT_ONCE, in_parts, together

MOST_LOOKED_AT: Final = 100_000
"""Links from which on no further ones of a plan are looked at: some seconds of processor time."""
MOST_NAMED: Final = 20
"""Rows that are named of those that would be refused."""


async def get_left_out(directory: Directory, request: Request) -> Response:
    """Count the links of a plan that the policy, as it is stored now, would refuse, by its first 100,000 links."""
    refuse_others(request)
    job = await find_job(directory, request, RUN)
    if job.state not in (State.PLANNED, State.APPROVED):
        raise Busy(f"phase: {job.id} is {state_in_words(job)}: this counts what a plan would link that waits")
    left_out = await LeftOut.read(directory, job)
    found = _Found()
    if any(left_out.entries.values()):
        for buckets in in_parts(range(directory.keys.buckets), AT_ONCE):
            if found.links >= MOST_LOOKED_AT:
                found.more = True
                break
            await together(*(_look(directory, job, bucket, left_out, found) for bucket in buckets))
    document = {
        "entries": left_out.entries,
        "lookedAt": found.links,
        "more": found.more,
        "refused": dict(found.refused),
        "groups": await _count_groups(directory, job, left_out),
        "rows": found.named,
    }
    return Response(200, dump(document))


class _Found:
    """What was found of the links of a plan: how many were looked at, and which would be refused."""

    def __init__(self) -> None:
        self.links, self.more = 0, False
        self.refused: Counter[str] = Counter()
        self.named: list[dict[str, Any]] = []


async def _look(directory: Directory, job: Job, bucket: int, left_out: LeftOut, found: _Found) -> None:
    turn = turns.Turns()
    async for rows in rows_to_link(directory, job, bucket):
        found.links += len(rows)
        for row in rows:
            await turn.step()
            if attribute := left_out.find(row, *_account_of(row)):
                found.refused[attribute] += 1
                if len(found.named) < MOST_NAMED:
                    found.named.append({"row": named_row(row, RUN), "reason": WHY[attribute]})


async def _count_groups(directory: Directory, job: Job, left_out: LeftOut) -> int:
    """Return how many groups the plan would link that the policy excludes by now."""
    found = 0
    for bucket in range(directory.keys.buckets if job.counts.get(GroupDecisionKind.LINK.value) else 0):
        async for rows in directory.plan(job.id).decided(bucket, GroupDecisionKind.LINK.value):
            found += sum(not row.outcome and left_out.policy.excludes(row.subject, "") for row in rows)
    return found


def _account_of(row: PlanRow) -> tuple[str, str]:
    """Return the id and the userName of the account that a row links."""
    account = (row if row.decision == DecisionKind.LINK else as_link(row)).shown["account"]
    return account["id"], account["userName"]
