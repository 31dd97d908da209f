"""The pass by which a scheduled run keeps the reviews of the run whose place it took.

A review is kept where the row is the same: decision, identity, accounts and their versions, evidence, reason and
warnings. A row that is the same has the same id in both plans. The others are counted, and a run with any of them does
not approve itself: a person had excluded somebody, say, and the row of that person is another one now.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.passes.counterparts import foretell_changes, objections
from link_orchestrator.prediction.cycle import after_review
from link_orchestrator.run import (
    REVIEWS_DROPPED,
    REVIEWS_FROM,
    REVIEWS_KEPT,
    account_of,
    is_named,
    mapping_of,
    policy_of,
    reviews_of,
)
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.authority import CREATABLE, LEFT_OPEN
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, EXCLUDE, LEAVE, LINK, Review


async def keep_reviews(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Review the rows of a slice as they were reviewed in the earlier run, where they are the same."""
    counts: Counter[str] = Counter({REVIEWS_KEPT: 0, REVIEWS_DROPPED: 0})
    try:
        earlier = await directory.jobs.get(job.options[REVIEWS_FROM])
    except NotFound:  # its term is over
        return counts
    if slice_.low == 0:
        # Nobody has decided again about what that run itself could not keep.
        counts[REVIEWS_DROPPED] += earlier.counts.get(REVIEWS_DROPPED, 0)
    if not earlier.reviewed:
        return counts
    taken = await _taken(directory, job, earlier, slice_)
    for bucket in slice_.buckets:
        async for rows in reviews_of(directory, earlier.id).reviewed(bucket):
            reviewed = [row for row in rows if _counts(row)]
            same = await _same_rows(directory, job, reviewed, taken)
            if same:
                await _review(directory, job, [(row, before) for before, row in same])
            counts.update({REVIEWS_KEPT: len(same), REVIEWS_DROPPED: len(reviewed) - len(same)})
    return counts


def _counts(row: PlanRow) -> bool:
    """Tell whether a row has a review to keep: not one that was taken back, or that a pilot has carried out."""
    return (row.review or {}).get("action", LEAVE) != LEAVE and not row.outcome


async def _same_rows(
    directory: Directory, job: Job, before: Sequence[PlanRow], taken: Collection[str]
) -> list[tuple[PlanRow, PlanRow]]:
    """Pair each reviewed row of the earlier plan with its own in this plan, where it is the same.

    `taken` are the accounts that this plan links itself.
    """
    found = await reviews_of(directory, job.id).find_rows([row.id for row in before])
    pairs = [(old, new) for old, new in zip(before, found, strict=True) if new is not None and _is_same(old, new)]
    named = [(replace(new, review=old.review), old) for old, new in pairs if is_named(old)]
    against = await objections(directory, job, [row for row, _ in named])
    pairs = [(old, new) for old, new in pairs if new.id not in against]
    return [(old, new) for old, new in pairs if _chosen(old) not in taken]


def _is_same(before: PlanRow, after: PlanRow) -> bool:
    """Tell whether two rows of one id say the same of the same accounts, in versions that the plan was sure of."""
    known = [*after.versions.values(), *([after.version] if "account" in after.shown and not after.versions else [])]
    return all(known) and _told(before) == _told(after)


def _told(row: PlanRow) -> object:
    # What is predicted follows from the review and the mapping, and so do the changes.
    shown = {name: value for name, value in row.shown.items() if name not in ("predicted", "changes")}
    return shown, row.version, row.versions


async def _taken(directory: Directory, job: Job, earlier: Job, slice_: Slice) -> set[str]:
    """Return which accounts this plan links itself, of those that reviews of a slice chose among several or named.

    Each bucket is read once.
    """
    reviews, wanted = reviews_of(directory, earlier.id), defaultdict[int, set[str]](set)
    for bucket in slice_.buckets:
        several = await reviews.accounts(bucket, DecisionKind.AMBIGUOUS)
        named = await reviews.named([*await reviews.accounts(bucket)])
        for account_id in several | named:
            wanted[directory.keys.bucket(account_id)].add(account_id)
    taken: set[str] = set()
    for bucket, accounts in wanted.items():
        async for rows in directory.plan(job.id).decided(bucket, DecisionKind.LINK.value):
            taken |= accounts.intersection(map(account_of, rows))
    return taken


def _chosen(before: PlanRow) -> str:
    """Return the account that a review chose among several, or that a person named; "" for another review."""
    review = before.review or {}
    chooses = review["action"] == LINK and (before.decision == DecisionKind.AMBIGUOUS or is_named(before))
    return str(review["account"]) if chooses else ""


async def _review(directory: Directory, job: Job, rows: Sequence[tuple[PlanRow, PlanRow]]) -> None:
    """Store the reviews of earlier rows with their twins, by the same person at the same time; tell SCIM of them."""

    def being_reviewed(job: Job) -> Job:
        return job if job.reviewed else replace(job, reviewed=directory.jobs.now())

    # Before the first review: an approval counts the reviews of a job that is marked so.
    await directory.jobs.change(job.id, being_reviewed)
    new = [(row, old) for row, old in rows if not row.review]
    await directory.plan(job.id).leave_open({row.subject: mark for row, old in new if (mark := _mark(row, old))})
    named = {str((old.review or {})["account"]): row.id for row, old in new if is_named(old)}
    await reviews_of(directory, job.id).note_named(named)
    chosen = [replace(row, review=old.review) for row, old in new if is_named(old)]
    changes = await foretell_changes(directory, job, chosen)
    reviews = [
        (row, replace(_as_before(job, row, old.review or {}), changes=changes.get(row.id, {}))) for row, old in new
    ]
    # This pass may run again, or late, when a person has decided otherwise.
    await reviews_of(directory, job.id).record(reviews, overrule=False)


def _as_before(job: Job, row: PlanRow, review: Mapping[str, Any]) -> Review:
    action, create = str(review["action"]), bool(review.get("create"))
    if action == ACKNOWLEDGE:
        predicted = None
    else:
        mapping, policy = mapping_of(job), policy_of(job)
        predicted = after_review(row.shown, mapping, policy, links=action == LINK, create=create).to_json()
    return Review.from_json(review, predicted)


def _mark(row: PlanRow, before: PlanRow) -> str:
    """Return the decision under which SCIM finds a reviewed identity, "" where the plan has marked it already."""
    review = before.review or {}
    action = review["action"]
    if action == EXCLUDE:
        return CREATABLE if review.get("create") else DecisionKind.EXCLUDED.value
    return DecisionKind.REVIEW.value if action == LINK and row.decision not in LEFT_OPEN else ""
