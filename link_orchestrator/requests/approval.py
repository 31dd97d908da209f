"""Approving a planned run: for how many links, and with provisioning paused or not.

A run is approved together with the reviews of its rows (requests/reviews.py). How the two are kept from happening at
the same time is in shared/directory/work/reviews.py. What an approval writes, and how a run approves itself, is in
approving.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from pydantic import Field, model_validator

from link_orchestrator import pilot
from link_orchestrator.approving import ATTEMPTS, approved, count_plan, count_reviews, pause
from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations, ensure_started, refuse_under_way, tell
from link_orchestrator.orchestrator import APPROVE
from link_orchestrator.requests.decided import decided_since
from link_orchestrator.requests.jobs import answer, as_it_stands, find_job
from link_orchestrator.requests.selection import Filter, refuse_unsent
from link_orchestrator.run import (
    APPROVALS,
    GROUPS_APPROVED,
    PILOT,
    PILOTS,
    ended_in_words,
    policy_of,
    reviews_of,
    state_in_words,
)
from link_orchestrator.warnings import acknowledgements, open_warnings, with_acknowledged
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.policies import Stored
from shared.directory.text import Advice, counted
from shared.directory.work.jobs import Job, State
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.port import VersionConflict

MOST_PILOT_ROWS: Final = 1_000
"""Rows that a pilot can name by their ids."""


class Acknowledged(Body, strict=True):
    """A warning as it was seen."""

    code: str
    digest: str
    """The digest that the run shows: refused if the warning says something else by now."""


class Approval(Body, strict=True):
    """What is approved, by its numbers."""

    links: int | None = None
    """Where given, the number of links that the plan counts."""
    reviews: int | None = None
    """How often rows were reviewed, as the run shows it: refused if somebody has decided about a row since."""
    groups: int | None = None
    """The number of groups that the plan counts; without it no group is linked."""
    pause_provisioning: bool | None = None
    """Whether SCIM writes wait while the run is applied; overrules what the run was started with."""
    acknowledged: list[str | Acknowledged] = Field(default=[], max_length=100)
    """Codes of the run's warnings that were seen, alone or with the digest."""
    rows: list[str] | None = Field(default=None, min_length=1, max_length=MOST_PILOT_ROWS)
    """A pilot: the ids of the rows that are linked; the rest stays planned."""
    filter: Filter | None = None
    """A pilot: what the rows have in common that are linked."""
    number: int | None = Field(default=None, ge=1)
    """A pilot: how many rows are linked at most, the first ones of the plan or of the filter."""

    @property
    def is_pilot(self) -> bool:
        """Whether a part of the plan is approved."""
        return not (self.rows is None and self.filter is None and self.number is None)

    @model_validator(mode="after")
    def _one_of(self) -> Approval:
        if self.rows is not None and not (self.filter is None and self.number is None):
            raise ValueError("rows: name rows, or a filter or a number of them")
        if self.is_pilot and self.groups is not None:
            raise ValueError("groups: a pilot links no groups, they are linked with the rest")
        return self


async def approve(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Approve a run's plan, once it is there: 202. Saying it again is no error."""
    approval = Approval.read(request, required=False)
    job = await ensure_started(directory, await find_job(directory, request, RUN), client)
    for _ in range(ATTEMPTS):
        job = await as_it_stands(directory, job)
        links = await _refuse_unapprovable(directory, job, approval)
        if job.state is State.PLANNED:
            options = await _options(directory, job, approval, request, links)
            # What a pilot acknowledges is about its people: whoever approves the rest is asked again.
            codes = [] if approval.is_pilot else _codes(approval)
            seen = acknowledgements(job, codes, request.by, directory.jobs.now(), request.person)
            try:
                after = approved(
                    directory,
                    job,
                    request.by,
                    pause_provisioning=approval.pause_provisioning,
                    groups=approval.groups,
                    options=options,
                )
                after = replace(after, warned=with_acknowledged(job, seen)).told_by("approved", request.person)
                job = await directory.jobs.replace(job, after)
            except VersionConflict:
                # Somebody has reviewed, cancelled or approved the run meanwhile.
                job = await directory.jobs.get(job.id)
                continue
            except Busy as busy:  # an undo is under way, unless its orchestration is dead
                await refuse_under_way(directory, busy, client)
                continue
            await directory.findings.acknowledge(seen)
        # Also if the run was approved before: a crash may have come between that approval and the closing of the gate.
        await pause(directory, job)
        break
    else:
        raise Busy("the run is being reviewed by others", retry_after=1)
    await tell(directory, job, client, APPROVE)
    return answer(job, request, 202)


async def _refuse_unapprovable(directory: Directory, job: Job, approval: Approval) -> int:
    """Return the number of links that the run would make.

    Raises Busy if the run is not planned, a number is wrong, or the safeguard asks for a number that is missing.
    """
    if job.state not in (State.PLANNED, State.APPROVED) or job.cancelled_by:
        raise Busy(f"phase: the run is {state_in_words(job)}, only a planned run can be approved")
    if job.state is State.PLANNED:
        _refuse_by_policy(job, await directory.policies.read())
    if job.state is State.APPROVED and (PILOT in job.options) != approval.is_pilot:
        if approval.is_pilot:
            raise Busy("phase: the run is approved, all of it: no pilot goes beside that")
        raise Busy("phase: a pilot of the run is being applied: approve the rest once the run is planned again")
    # A review after this makes the approval begin again: what is counted and chosen from here on is what is approved.
    links, reviews = await count_plan(directory, job)
    if job.state is State.PLANNED and approval.reviews not in (None, reviews):
        # A review may have died before it was counted: who looks again sees the number that counts.
        await count_reviews(directory, job)
        decided = await decided_since(directory, job, approval.reviews or 0)
        advice = Advice(
            f"reviews: somebody has decided about rows of this plan since you looked ({decided.in_words()}).",
            f'Look at it again, then approve with {{"reviews": {reviews}}}. Which rows these are: '
            f"GET /linking/runs/{job.id}/decided?since={approval.reviews}",
            "decidedSince",
        )
        raise Busy(str(advice)) from ValueError(advice)
    if approval.is_pilot:
        _refuse_pilot(job, approval, links)
        if job.state is State.PLANNED:
            _refuse_unseen(job, approval)
        return links
    groups = job.counts.get(GroupDecisionKind.LINK.value, 0)
    if approval.groups not in (None, groups):
        raise Busy(f"groups: the plan would link {counted(groups, 'group')}; look at it again and approve that number")
    if job.state is State.APPROVED and approval.groups not in (None, job.options.get(GROUPS_APPROVED)):
        raise Busy("groups: the run was approved without them; start another one to link groups")
    await _refuse_number(directory, job, approval.links, links)
    if job.state is State.PLANNED:
        _refuse_unseen(job, approval)
    return links


def _refuse_by_policy(job: Job, stored: Stored) -> None:
    """Raise Busy if matching has ended, or if the policy excludes members of groups whom this plan cannot know."""
    if ended := ended_in_words(stored):
        raise Busy(ended)
    if "groups" not in job.options and stored.policy.excluded_groups - policy_of(job).excluded_groups:
        raise Busy(
            "excluded: the directory's policy excludes the members of a group, and this plan read no groups: cancel "
            "it, and start a run with groups"
        )


async def _refuse_number(directory: Directory, job: Job, approved_links: int | None, links: int) -> None:
    """Raise Busy if the number of links is another, or the safeguard asks for one that is missing."""
    if approved_links is not None:
        if approved_links != links:
            raise Busy(
                f"links: the plan would link {counted(links, 'account')}; look at it again and approve that number"
            )
        return
    if job.state is State.PLANNED:
        await _refuse_unnumbered(directory, job, links)


def _refuse_pilot(job: Job, approval: Approval, links: int) -> None:
    """Raise Busy if the run knows no pilots, or if this one does not say of which plan it is."""
    if PILOTS not in job.options:
        raise Busy("phase: an earlier version of the app made this plan: approve all of it, or start a new run")
    if job.state is State.APPROVED:
        return
    if approval.links is None and approval.rows is None:
        # Without it a request that is sent again, as its answer was lost, would link as many people once more.
        raise Busy(
            f'links: the plan would link {counted(links, "account")}; name that number, too: {{"links": {links}}}'
        )
    if approval.links not in (None, links):
        raise Busy(f"links: the plan would link {counted(links, 'account')}; look at it again and approve that number")


async def _refuse_unnumbered(directory: Directory, job: Job, links: int, name: str = "links") -> None:
    """Raise Busy if so many links are approved by their number only."""
    share, total = policy_of(job).safeguard_share, await directory.listing.total()
    if links > share * total:
        raise Busy(
            f"links: that would link {links:,} of {counted(total, 'account')}, more than the share of {share:g} "
            f'that needs no number (safeguardShare): approve with {{"{name}": {links}}}'
        )


async def _options(directory: Directory, job: Job, approval: Approval, request: Request, links: int) -> dict[str, Any]:
    """Return the options that say what was approved, with the rows of a pilot written down."""
    chosen: list[str] = []
    if approval.is_pilot:
        chosen = await _chosen(directory, job, approval)
        links = len(chosen)
        if approval.rows is None and approval.number is None:
            await _refuse_unnumbered(directory, job, links, "number")
    told = {"by": request.by, "at": directory.jobs.now(), "links": links, "pilot": approval.is_pilot}
    told |= {"person": request.person} if request.person else {}
    told |= {"acknowledged": sorted(_codes(approval))} if approval.is_pilot and approval.acknowledged else {}
    noted = await pilot.note(directory, job, chosen) if chosen else {}
    told |= {"id": noted[PILOT]["id"]} if noted else {}
    return {APPROVALS: [*job.options.get(APPROVALS, ()), told], **noted}


async def _chosen(directory: Directory, job: Job, approval: Approval) -> list[str]:
    """Return the ids of the rows that a pilot links.

    Raises InvalidValue for a row that would not be linked, Busy if there is none.
    """
    if approval.rows is None:
        wanted = approval.filter
        if wanted:
            refuse_unsent(wanted, job)
        chosen = await pilot.choose(directory, job, wanted.selects if wanted else lambda row: True, approval.number)
        if not chosen:
            raise Busy("links: the plan would link nobody whom this pilot selects")
        return chosen
    ids = list(dict.fromkeys(approval.rows))
    for row_id, row in zip(ids, await reviews_of(directory, job.id).find_rows(ids), strict=True):
        if row is None or not pilot.links(row):
            place = approval.rows.index(row_id)
            raise InvalidValue(f"rows.{place}: the plan would link nobody by this row, or has linked them already")
    return ids


def _codes(approval: Approval) -> set[str]:
    return {one if isinstance(one, str) else one.code for one in approval.acknowledged}


def _refuse_unseen(job: Job, approval: Approval) -> None:
    """Raise Busy if a warning is not acknowledged that nobody has acknowledged before, or says something else."""
    warnings, told = open_warnings(job), _codes(approval)
    digests = {one.code: one.digest for one in approval.acknowledged if not isinstance(one, str)}
    if changed := [one.code for one in warnings if digests.get(one.code, one.digest) != one.digest]:
        raise Busy(f"acknowledged: {', '.join(changed)}: not the same any more as what you saw; look at it again")
    if unseen := [one for one in warnings if one.code not in told]:
        listed = "; ".join(f"{one.code}: {one.text}" for one in unseen)
        codes = dump(sorted(one.code for one in warnings if one.code in told or one in unseen))
        raise Busy(
            f"acknowledged: the plan warns of what nobody has acknowledged; look at it, and approve with "
            f'{{"acknowledged": {codes}}}. {listed}'
        )
