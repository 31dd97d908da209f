"""What the approval of a run writes, whoever approves it; and the approval of a run by itself.

A run approves itself if the administrator switched on autoApprove in the directory's stored policy, and the plan is
within it. Whoever approves, the job's version decides: of an approval, a review, a cancel and a schedule that puts
another run in its place, the first one counts and the others look again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from link_orchestrator.run import (
    GROUPS_APPROVED,
    OWN_POLICY,
    PILOT,
    REVIEWS_DROPPED,
    SCHEDULED,
    SELF_APPROVED,
    ended_in_words,
    is_parted_row,
    policy_of,
    reviews_of,
    settled_links,
    told_of_reviews,
)
from link_orchestrator.warnings import ROW_WARNINGS, open_warnings, warnings_of
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.evidence import rests_on_trust
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.policy import Policy
from shared.directory.policies import AUTO_APPROVE
from shared.directory.text import counted
from shared.directory.work.activity import Deed
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, EXCLUDE, LINK, TIMES
from shared.tables.access import in_waves
from shared.tables.port import VersionConflict

ATTEMPTS: Final = 5
"""Times that an approval is tried while others change the job."""


async def approve_itself(directory: Directory, job_id: str) -> bool:
    """Approve a planned run if it may approve itself, or tell in it why it waits for a person.

    Returns whether it approved itself, now or in an attempt whose answer was lost. Raises Busy.
    """
    for _ in range(ATTEMPTS):
        job = await directory.jobs.get(job_id)
        undo = await directory.jobs.find_undo()
        if job.state is State.APPROVED and job.options.get(SELF_APPROVED):
            await pause(directory, job)
            return True
        if job.state is not State.PLANNED or job.cancelled_by:
            # Whoever approved or cancelled it tells the orchestration, which waits for that.
            return False
        # Read behind the job: a policy that is stored later gives the job another version (requests/policy.py).
        stored = await directory.policies.read()
        # What an undo takes apart a person joins again, so a person looks at a plan that is made meanwhile.
        ended = ended_in_words(stored)
        why = f"{undo.id} is under way" if undo else ended or await _why_a_person(directory, job, stored.policy)
        if why:
            told = filter(None, (told_of_reviews(job, job.counts), f"It waits for a person: {why}."))
            after = replace(job, reason=" ".join(told))
        else:
            switch = stored.switches[AUTO_APPROVE]
            after = approved(directory, job, f"{AUTO_APPROVE}:{switch.by}", options={SELF_APPROVED: True})
        try:
            job = await directory.jobs.replace(job, after)
        except VersionConflict:
            continue
        except Busy:  # an undo has just begun: the next look finds it
            continue
        if job.state is State.APPROVED:
            await directory.activity.note(Deed("linking_run_approve", job.approved_by or "", about=job.id))
            await pause(directory, job)
        return job.state is State.APPROVED
    raise Busy("the run is being changed by others", retry_after=1)


async def _why_a_person(directory: Directory, job: Job, policy: Policy) -> str:
    """Return why a planned run does not approve itself under the policy that is stored now, or ""."""
    limit = policy.approval_in_force
    if job.options.get(OWN_POLICY):
        return "the run brings a policy of its own"
    if limit is None or policy != policy_of(job):
        return "the directory's policy was changed since the run began"
    (links, _), total = await count_plan(directory, job), await directory.listing.total()
    if links > limit.number:
        return f"{counted(links, 'link')}, more than autoApprove's number of {limit.number}"
    if links > limit.share * total:
        return (
            f"{counted(links, 'link')} to {counted(total, 'account')}, more than autoApprove's share of {limit.share:g}"
        )
    if groups := job.counts.get(GroupDecisionKind.LINK.value, 0):
        return f"{counted(groups, 'group')} to link, which a person alone approves"
    if job.counts.get(REVIEWS_DROPPED):
        return "reviews of the run before were not kept"
    if _trusts(policy) and (trusted := await _count(directory, job, _is_trusted)):
        return f"{counted(trusted, 'link')} by what nobody verified or transforms made, which a person approves"
    if codes := [one.code for one in open_warnings(job) if one.code not in ROW_WARNINGS]:
        return f"warnings that nobody has acknowledged: {', '.join(codes)}"
    known = {one.code for one in warnings_of(job) if one.acknowledged}
    if warned := await _count(directory, job, lambda row: _is_warned(row, known)):
        return f"{counted(warned, 'link')} with a warning that nobody has acknowledged"
    return await _why_stay_open(directory, job, links)


async def _why_stay_open(directory: Directory, job: Job, links: int) -> str:
    """Return why the rows of a plan stay open to reviews, which an approval would end; "" if they need not.

    A plan of the schedule that would link nobody is approved: later runs go on from it.
    """
    if parted := await _count(directory, job, _is_left_parted, DecisionKind.REVIEW):
        return f"{counted(parted, 'pair')} that an undo or a release took apart, which only a person joins again"
    return "" if links or job.options.get(SCHEDULED) else "it would link nobody, and its rows can still be reviewed"


async def _count(
    directory: Directory, job: Job, condition: Callable[[PlanRow], bool], decision: DecisionKind = DecisionKind.LINK
) -> int:
    """Return how many rows of a decision of the plan meet a condition."""
    plan = directory.plan(job.id)

    async def count(bucket: int) -> int:
        return sum([sum(map(condition, rows)) async for rows in plan.decided(bucket, decision.value)])

    return sum(await in_waves(count(bucket) for bucket in range(directory.keys.buckets)))


def _is_warned(row: PlanRow, known: set[str]) -> bool:
    """Tell whether a row is linked under a warning about which no person has decided.

    `known` are the codes of warnings that were acknowledged, and are unchanged.
    """
    # A row that a review links was warned of before a person decided so.
    settled = (row.review or {}).get("action") in (ACKNOWLEDGE, EXCLUDE)
    return not settled and not known.issuperset(row.shown.get("warnings", ()))


def _is_left_parted(row: PlanRow) -> bool:
    """Tell whether nobody has decided about the pair of a row, which an undo or a release took apart."""
    return is_parted_row(row) and (row.review or {}).get("action") not in (LINK, EXCLUDE)


def _trusts(policy: Policy) -> bool:
    """Tell whether a policy may link by what nobody verified, or by what it makes of a value."""
    return policy.compares_names or any(rule.transforms for rule in policy.rules)


def _is_trusted(row: PlanRow) -> bool:
    """Tell whether a row is linked, and nothing but trust in such a value proves it."""
    return (row.review or {}).get("action") != EXCLUDE and rests_on_trust(row.shown.get("evidence", ()))


def approved(
    directory: Directory,
    job: Job,
    by: str,
    *,
    pause_provisioning: bool | None = None,
    groups: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> Job:
    """Return a planned run as it is once it is approved; `groups` is the number of groups that are, too."""
    pauses = job.options.get("pauseProvisioning", True) if pause_provisioning is None else pause_provisioning
    chosen = {name: value for name, value in job.options.items() if name != PILOT}
    chosen |= {**(options or {}), "pauseProvisioning": pauses}
    if groups is not None:
        chosen[GROUPS_APPROVED] = groups
    return replace(
        job, state=State.APPROVED, approved=directory.jobs.now(), approved_by=by, options=chosen, reason=None
    )


async def pause(directory: Directory, job: Job) -> None:
    """Close the gate before SCIM if the run pauses provisioning, unless the run has ended by now."""
    if job.options["pauseProvisioning"]:
        await directory.gate.close(job.id)
        if (now := (await directory.jobs.get(job.id)).state).ended or now is State.PLANNED:
            await directory.gate.open(job.id)  # it has ended, or its pilot has


class Counted(NamedTuple):
    """What the rows of a plan come to with their reviews: the links, and how often a row was reviewed."""

    links: int
    reviews: int


async def count_plan(directory: Directory, job: Job) -> Counted:
    """Return what the rows of a run come to. A review after this makes an approval begin again."""
    planned = job.counts.get(DecisionKind.LINK.value, 0) - settled_links(job)
    if not job.reviewed:
        return Counted(planned, 0)
    reviews = reviews_of(directory, job.id)
    counts = await (reviews.close() if job.state is State.PLANNED else reviews.total())
    return Counted(planned + counts["review.links"], counts[TIMES])


async def count_reviews(directory: Directory, job: Job) -> Job:
    """Store and return the job's counts with what the reviews add to them."""
    jobs = directory.jobs
    await jobs.count(job.id, "review", await reviews_of(directory, job.id).total())
    counts = await jobs.total(job.id)
    return await jobs.change(job.id, lambda job: job if job.state is not State.PLANNED else replace(job, counts=counts))
