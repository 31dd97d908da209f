"""The pass that links the groups of an approved plan, if the approval named their number.

A group gets the object id of its counterpart as externalId, so that Entra's first look-up finds it. Its members stay as
they are. A group that changed since the plan, or whose members did, is refused, and so is one that the policy excludes
by now. Its row says so.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import replace

from link_orchestrator.messages import Slice
from link_orchestrator.passes.refusals import CHANGED, DELETED, HELD, WHY_GROUP, counts_of_group, refused, word_of
from link_orchestrator.run import GROUPS_APPROVED, by_run
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound, Stale
from shared.directory.keys import Key
from shared.directory.matching.groups import GroupDecisionKind, is_linked_to
from shared.directory.matching.policy import Policy
from shared.directory.policies import EXCLUDED
from shared.directory.records.model import Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow

LINKED, REFUSED, LEFT = "groupsLinked", "groupsRefused", "groupsLeft"
ATTEMPTS = 5
"""Times that a group is looked at again because others changed it."""


async def apply_groups(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Link the groups that the plan's rows of a slice link; stop early if the run is cancelled."""
    plan = directory.plan(job.id)
    counts: Counter[str] = Counter()
    policy = (await directory.policies.read()).policy
    for bucket in slice_.buckets:
        async for rows in plan.decided(bucket, GroupDecisionKind.LINK.value):
            for row in rows:
                if (await directory.jobs.get(job.id)).cancelled_by:
                    return counts
                outcome = row.outcome or await _outcome(directory, job, policy, row)
                await plan.record_outcomes(bucket, {row.subject: outcome}, [row])
                counts.update((_COUNTED[word_of(outcome)], *counts_of_group(outcome)))
    return counts


_COUNTED = {"linked": LINKED, "refused": REFUSED, "left": LEFT}


async def _outcome(directory: Directory, job: Job, policy: Policy, row: PlanRow) -> str:
    if not job.options.get(GROUPS_APPROVED):
        return "left: the approval named no groups"
    for _ in range(ATTEMPTS):
        # Durable Functions may run an activity twice at once, so the other writer may have been its twin: look again.
        with contextlib.suppress(AlreadyExists, NotFound, Stale):
            return await _link(directory, job, policy, row)
    return refused(WHY_GROUP[CHANGED])


async def _link(directory: Directory, job: Job, policy: Policy, row: PlanRow) -> str:
    groups = directory.groups
    group = await groups.find(row.shown["group"]["id"])
    if group is None:
        return refused(WHY_GROUP[DELETED])
    if is_linked_to(group, row.subject):
        return "linked"
    begun = group.version_before_link == row.version
    if group.version != row.version and not begun:
        return refused(WHY_GROUP[CHANGED])
    if not begun and policy.excludes(row.subject, ""):
        return refused(WHY_GROUP[EXCLUDED])
    carrying = await groups.list_by(Key("externalId", row.subject))
    if any(other.id != group.id and is_linked_to(other, row.subject) for other in carrying):
        return refused(WHY_GROUP[HELD])
    document = group.document() | {"externalId": row.subject}
    after = replace(group.with_document(document), status=Status.CLAIMED, retired=False, left=None)
    await groups.link(group, after, by=by_run(job.id), begun=begun)
    return "linked"
