"""What a run's job and its rows say: policy, mapping, chain, reviews, accounts, and the name it acts under.

A job's options are JSON, written when it is started (requests/runs.py) or by a pass. This module says what they mean.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Final

from link_orchestrator.prediction.mapping import DEFAULT, AttributeMapping
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.keys import APPLICATION_ID
from shared.directory.matching.accounts import PARTED, DecisionKind
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.policy import IDENTITY, Policy
from shared.directory.policies import MATCHING_ENDED, Stored
from shared.directory.work.jobs import RUN, Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import Reviews
from shared.tables.port import VersionConflict

GROUPS_APPROVED: Final = "groupsApproved"
"""Option that holds the number of groups that were approved to be linked."""
ONLY_EXCLUDES: Final = "groupsOnlyExclude"
"""Option that says that a run reads groups to exclude their members, and plans none."""
OWN_POLICY: Final = "ownPolicy"
"""Option that says that a run brought a policy of its own."""
SCHEDULED: Final = "scheduled"
"""Option that says that the schedule started a run, and no person."""
INSTEAD_OF: Final = "insteadOf"
"""Option that holds the run whose place a scheduled run took, while that waited for approval."""
REVIEWS_FROM: Final = "reviewsFrom"
"""Option that holds the run whose reviews a scheduled run keeps, where their rows are the same."""
SELF_APPROVED: Final = "selfApproved"
"""Option that says that a run approved itself."""
REVIEWS_KEPT, REVIEWS_DROPPED = "reviewsKept", "reviewsDropped"
"""Counts of the earlier run's reviews: those that a run keeps, and those whose rows are not the same any more."""
LINKED: Final = "linked"
"""Outcome of a row by which the run linked an account, and the count of such rows."""
PILOTS: Final = "pilots"
"""Option that holds how many pilots of a plan were applied; a run without it has an orchestration that knows none."""
PILOT: Final = "pilot"
"""Option that holds the pilot that was approved last, until the rest is: `id`, number of `links`, if it is `done`."""
NOTED_ROW: Final = "row"
"""What the activity notes of a review, beside the numbers of rows by action: the id of a row that it named alone."""
APPROVALS: Final = "approvals"
"""Option that holds who approved what of a plan, and when, in order; of a pilot also the id of its rows."""
ASSIGNED: Final = "assigned"
"""Option that holds the names of the stages with the people who are assigned to the application."""
READ_IN_FULL: Final = "readInFull"
"""Option that holds when all identities were last read. Until that is too old, runs read only the changes since."""
PREDICTED: Final = "predicted."
"""Prefix of counts of what the first provisioning cycle will do."""
WARNINGS: Final = "warnings."
"""Prefix of counts of links that are planned with a warning, by its code."""
INACTIVE: Final = "inactive"
"""Code of the warning that a link's account is deactivated, and that provisioning will switch it on."""
IDS_CARRIED, IDS_KNOWN = "objectIds.carried", "objectIds.known"
"""Counts of local accounts that carry an object id, and of those that carry one of the source."""
EXCLUDED_BY: Final = "excludedBy."
"""Prefix of counts of excluded identities, by the label of the policy's entry that excludes them."""
NAMED: Final = "ids or names"
"""What entries of `excluded` are called together that name one identity or group each."""
SET_ASIDE: Final = "accountsSetAside"
"""Count of accounts that the policy sets aside and nobody matches: the plan does not report them unless asked."""
REPORTS_ASIDE: Final = "reportSetAside"
"""Option that says that a run reports those accounts, too."""
CARRIED: Final = "carried."
"""Prefix of counts of identities that have an account, by the values through which provisioning could find it."""


def policy_of(job: Job) -> Policy:
    """Return the policy as it was when the run started."""
    return Policy.from_json(job.options["policy"])


def exclusions_unmatched(job: Job, counts: Mapping[str, int]) -> dict[str, int]:
    """Return the entries of `excluded` that match nobody in a run of these counts, each with how many there are.

    Entries that name one identity or group each are counted together. A run that decides on changes alone cannot tell.
    """
    if "since" in job.options:
        return {}
    policy = policy_of(job)
    labels = [one.label for one in policy.criteria]
    found = {label: 1 for label in labels if not counts.get(EXCLUDED_BY + label)}
    met = counts.get(EXCLUDED_BY + IDENTITY, 0) + counts.get(GroupDecisionKind.EXCLUDED.value, 0)
    named = len(policy.excluded) - met
    return found | ({NAMED: named} if named > 0 else {})


def ended_in_words(stored: Stored) -> str:
    """Return why nothing is matched any more, and how to go on; "" while matching is on."""
    if not stored.policy.matching_ended:
        return ""
    switch = stored.switches.get(MATCHING_ENDED)
    who = f", by {switch.by} at {switch.at}" if switch else ""
    return (
        f"matchingEnded: matching has ended in this directory{who}: no run is started or approved, and no create over "
        'SCIM links an account. To go on, send the policy with "matchingEnded": false (PUT /directory/policy)'
    )


def mapping_of(job: Job) -> AttributeMapping:
    """Return the provisioning job's attribute mapping as it was when the run started."""
    mapping = job.options.get("mapping")
    return AttributeMapping.from_json(mapping) if mapping else DEFAULT


def chain_of(job: Job) -> list[str]:
    """Return the ids of the runs that a run goes on from, oldest first, and its own."""
    return [*job.options.get("since", ()), job.id]


def reads_groups(job: Job) -> bool:
    """Tell whether a run reads its groups from its source, and not from an upload."""
    return str(job.options.get("groups", "")).startswith(job.id)


def plans_groups(job: Job) -> bool:
    """Tell whether a run has groups, and plans them."""
    return "groups" in job.options and ONLY_EXCLUDES not in job.options


def by_run(run_id: str) -> str:
    """Return the name under which the history shows what a run did."""
    return f"run:{run_id}"


def by_undo(undo_id: str) -> str:
    """Return the name under which the history shows what an undo did."""
    return f"undo:{undo_id}"


def by_import(import_id: str) -> str:
    """Return the name under which the history shows what an import of accounts or groups did."""
    return f"import:{import_id}"


def reviews_of(directory: Directory, run_id: str) -> Reviews:
    """Return the reviews of a run, which can be added to until the run is approved."""

    async def still_planned() -> None:
        while True:
            job = await directory.jobs.get(run_id)
            refuse_unreviewable(job)
            try:
                await directory.jobs.replace(job, job)
            except VersionConflict:
                continue
            return

    return directory.reviews(run_id, still_planned)


async def renew_waiting(directory: Directory) -> None:
    """Give the run that waits for approval another version, so that what is about to approve it looks again."""
    while (job := await directory.jobs.find_under_way(RUN)) and job.state is State.PLANNED:
        with suppress(VersionConflict):
            await directory.jobs.replace(job, job)
            return


def told_of_reviews(job: Job, counts: Mapping[str, int]) -> str | None:
    """Return what a run tells of the reviews that it keeps of another; None for one that keeps none."""
    kept, dropped = counts.get(REVIEWS_KEPT, 0), counts.get(REVIEWS_DROPPED, 0)
    if not kept + dropped:
        return None
    told = f"{kept} of {kept + dropped} reviews were kept of {job.options[REVIEWS_FROM]}, in whose place this run is"
    return f"{told}; the rows of the others are not the same any more: review them again." if dropped else f"{told}."


def settled_links(job: Job) -> int:
    """Return how many rows of a plan that still waits, or is applied, pilots have linked or refused."""
    if job.state.ended or not job.options.get(PILOTS):
        return 0
    return job.counts.get("linked", 0) + job.counts.get("refused", 0)


def pilots_of(job: Job) -> list[str]:
    """Return the ids of the pilots that alone linked whom a run has linked; none where more of it was approved."""
    approvals = job.options.get(APPROVALS, ())
    # An earlier version of the app noted no ids.
    return [one["id"] for one in approvals] if all("id" in one for one in approvals) else []


async def rows_of_pilots(directory: Directory, job: Job, bucket: int, after: str = "") -> list[PlanRow]:
    """Return a bucket's rows by which pilots linked an account, from behind one of that id, in order of id.

    They are few, and of a plan of a million rows nobody has to look through the others.
    """
    plan = directory.plan(job.id)
    ids = sorted({row for one in pilots_of(job) for row in await plan.marked(bucket, one) if row > after})
    rows = await reviews_of(directory, job.id).find_rows(ids)
    return [row for row in rows if row and row.outcome == LINKED]


def refuse_unreviewable(job: Job) -> None:
    """Raise Busy if the rows of a run cannot be reviewed yet, or no longer."""
    if job.state is not State.PLANNED or job.cancelled_by:
        raise Busy(f"phase: the run is {state_in_words(job)}, only the rows of a planned run can be reviewed")


def state_in_words(job: Job) -> str:
    """Return the state of a job as refusals name it: one that was cancelled is planned until its orchestration ends."""
    return "being cancelled" if job.cancelled_by and not job.state.ended else job.state.value


def account_of(row: PlanRow) -> str:
    """Return the id of the account that a row is about."""
    return str(row.shown["account"]["id"])


def is_parted_row(row: PlanRow) -> bool:
    """Tell whether an undo or a release took the pair of a row apart, so that only a person joins the two again."""
    return PARTED in str(row.shown.get("reason", ""))


def is_named(row: PlanRow) -> bool:
    """Tell whether a review links an account that the row does not show: a person named it."""
    return "version" in (row.review or {})


def planned_version(row: PlanRow, account_id: str) -> str:
    """Return the version that the plan saw of an account, one of the row's candidates, or a person who named it."""
    review = row.review or {}
    if is_named(row) and review["account"] == account_id:
        return str(review["version"])
    return row.versions.get(account_id, "") if row.versions else row.version


def as_link(row: PlanRow) -> PlanRow:
    """Return a row that a review links, in the form of a row that the plan itself links."""
    review = row.review or {}
    account_id = str(review["account"])
    known = (row.shown.get("account"), *row.shown.get("candidates", ()))
    names = ("id", "userName", APPLICATION_ID)
    # What a person named the row does not show, so its review says how it is called.
    named = {**review, "id": account_id}
    account = named if is_named(row) else next(one for one in known if one and one["id"] == account_id)
    shown = {**row.shown, "account": {name: account[name] for name in names if name in account}}
    return replace(row, shown=shown, version=planned_version(row, account_id))


async def planned_links(directory: Directory, run: Job, bucket: int) -> AsyncIterator[list[PlanRow]]:
    """Yield the rows of a bucket by which a run links an account, some at a time. No two name the same account."""
    async for rows in directory.plan(run.id).decided(bucket, DecisionKind.LINK.value):
        yield rows
    if run.reviewed:
        async for rows in reviews_of(directory, run.id).chosen(bucket):
            yield [as_link(row) for row in rows if not row.outcome.startswith("refused")]
