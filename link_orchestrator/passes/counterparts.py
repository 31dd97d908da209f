"""Whether an account that a person named may be linked to a row's identity: asked when it is named, and when applied.

The plan did not weigh such a pair, so all that would make a plan of it a conflict is looked up here: what the account
itself says, who else matches it, and which row links it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.prediction.cycle import PredictedOutcome, after_review
from link_orchestrator.prediction.impact import Impact
from link_orchestrator.run import (
    PILOTS,
    account_of,
    by_run,
    chain_of,
    mapping_of,
    planned_version,
    policy_of,
    reviews_of,
)
from link_orchestrator.staged import identity_bucket, parts_of
from shared.directory.directory import Directory
from shared.directory.keys import ID, fold
from shared.directory.matching.accounts import DecisionKind, objection
from shared.directory.matching.evidence import Claim, facts_of
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import EXCLUDE, LINK

HERE = (DecisionKind.NO_ACCOUNT, DecisionKind.AMBIGUOUS, DecisionKind.EXCLUDED, DecisionKind.CONFLICT)
"""Decisions whose rows may be in the bucket of their identity."""
THERE = (
    DecisionKind.REVIEW, DecisionKind.OUTSIDE_VERIFIED_DOMAINS, DecisionKind.LINK, DecisionKind.ALREADY_LINKED,
    DecisionKind.CONFLICT, DecisionKind.PROTECTED, DecisionKind.EXCLUDED,
)  # fmt: skip
"""Decisions whose rows are in the bucket of the account that the identity matches."""
MADE_EARLIER = (
    "an earlier version of the app made this plan, by which nobody can be named: link the account that the row shows, "
    "or start a new run"
)
_OWN = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)


async def find_row(directory: Directory, job: Job, object_id: str, near: Collection[int] = ()) -> PlanRow | None:
    """Return the plan's row about an identity, None for none; it is looked for in the buckets of some accounts first.

    A later run has rows of those alone on whom it decided again.
    """
    plan, keys = directory.plan(job.id), directory.keys
    found = await plan.find_about(object_id, HERE, [identity_bucket(keys, object_id)])
    found = found or (await plan.find_about(object_id, THERE, [*near]) if near else None)
    return found or await plan.find_about(object_id, THERE, range(keys.buckets))


async def objections(directory: Directory, job: Job, rows: Sequence[PlanRow]) -> dict[str, str]:
    """Return why accounts that reviews name must not be linked as they say, by the id of the row; none for the others.

    Who is linked by this run already is past objecting.
    """
    if not rows:
        return {}
    named = {row.id: str((row.review or {})["account"]) for row in rows}
    known = [one for one in dict.fromkeys(named.values()) if ID.fullmatch(one)]
    claims = await _claims(directory, job, known)
    taken = await reviews_of(directory, job.id).named(known)
    policies = policy_of(job), (await directory.policies.read()).policy
    found: dict[str, str] = {}
    # What such a plan kept of who else matches an account is not read any more: nobody could say whose it is.
    earlier = "" if PILOTS in job.options else MADE_EARLIER
    async for row, account, identity in _looked_up(directory, job, rows, named):
        if account and account.link and (account.link.identity, account.link.by) == (row.subject, by_run(job.id)):
            continue
        against = earlier or _objection(row, account, identity, policies)
        if not against and account and (other := taken.get(account.id, row.id)) != row.id:
            against = f"this plan links the account by the row {other}: settle that one first"
        if not against and account:
            against = await _contested(directory, job, row, account, claims.get(account.id, {}))
        if against:
            found[row.id] = against
    return found


async def foretell_changes(directory: Directory, job: Job, rows: Sequence[PlanRow]) -> dict[str, dict[str, Any]]:
    """Return by the row's id what the first cycle changes of the accounts that reviews name, as said.py of others."""
    mapping, found = mapping_of(job), dict[str, dict[str, Any]]()
    impact, policy = Impact(mapping), policy_of(job)
    named = {row.id: str((row.review or {})["account"]) for row in rows}
    async for row, account, identity in _looked_up(directory, job, rows, named):
        predicted = after_review(row.shown, mapping, policy, links=True)
        if account and identity and predicted.outcome is PredictedOutcome.MATCHED:
            found[row.id] = impact.changes(identity, facts_of(account), impact.held_by(account.document()))
    return found


def _objection(row: PlanRow, account: Account | None, identity: Identity | None, policies: Sequence[Policy]) -> str:
    """Return why the two are not to be linked whoever else there is, or ""."""
    if account is None:
        return "the account was deleted since the review, or there is none of that id"
    if account.etag != planned_version(row, account.id):
        return "the account changed since the review: look at it, and name it again"
    if account.protected:
        return "the account is protected: a run never links a protected account"
    if any(policy.sets_aside(account.id, account.user_name) for policy in policies):
        return "the policy sets the account aside: take it out of setAside, if it is to be linked, and plan again"
    if account.status is not Status.LOCAL or account.link or account.retired:
        return "the account is linked already: release that link first if it is wrong"
    if identity is None:
        return "the identity is not in the source of this plan any more: start a new run"
    if any(policy.exclusion_of(identity) for policy in policies):
        return "the policy excludes the identity from linking"
    return objection(identity, facts_of(account), policies[0]) or ""


async def _contested(
    directory: Directory, job: Job, row: PlanRow, account: Account, claims: Mapping[str, Claim]
) -> str:
    """Return why the account may be another identity's, or ""."""
    for object_id, claim in sorted(claims.items()):
        if fold(object_id) == fold(row.subject):
            continue
        if claim.excluded and claim.sure:
            return (
                "the NameID, the past sign-in or the externalId of the account is an excluded identity's: it goes to "
                "nobody else"
            )
        if claim.excluded or claim.trust is None:
            continue
        other = await find_row(directory, job, object_id, [directory.keys.bucket(account.id)])
        if not _is_settled(other, account):
            name = other.shown.get("identity", {}).get("userPrincipalName", "") if other else ""
            return (
                f"the identity {f'{name} ({object_id})' if name else object_id} matches the account, too: exclude that "
                "one in a review, or link it to another account, first"
            )
    return ""


def _is_settled(row: PlanRow | None, account: Account) -> bool:
    """Tell whether the identity of a row gets another account by this plan, or none, so that it claims no other."""
    if row is None:
        return False
    review = row.review or {}
    if review.get("action") == EXCLUDE:
        return True
    if review.get("action") == LINK:
        return bool(review["account"] != account.id)
    return row.decision in _OWN and account_of(row) != account.id


async def _looked_up(
    directory: Directory, job: Job, rows: Sequence[PlanRow], named: Mapping[str, str]
) -> AsyncIterator[tuple[PlanRow, Account | None, Identity | None]]:
    """Yield each row with the account that is named for it, and its identity as it was planned.

    They come in no order, a bucket of identities after the other, so that thousands of rows hold few of them at once.
    """
    buckets: defaultdict[int, list[PlanRow]] = defaultdict(list)
    for row in rows:
        buckets[identity_bucket(directory.keys, row.subject)].append(row)
    for bucket, some in buckets.items():
        ids = [one for one in dict.fromkeys(named[row.id] for row in some) if ID.fullmatch(one)]
        accounts = dict(zip(ids, await directory.accounts.find_many(ids), strict=True))
        wanted = {fold(row.subject) for row in some}
        staged = await identities_in(directory, parts_of(job), bucket)
        found = {id_: one for _, one in staged if (id_ := fold(one.object_id)) in wanted}
        for row in some:
            yield row, accounts.get(named[row.id]), found.get(fold(row.subject))


async def _claims(directory: Directory, job: Job, accounts: Sequence[str]) -> dict[str, dict[str, Claim]]:
    """Return what identities claim of accounts, as the runs of the chain saw it."""
    wanted: defaultdict[int, set[str]] = defaultdict(set)
    for account_id in accounts:
        wanted[directory.keys.bucket(account_id)].add(account_id)
    seen = directory.seen(chain_of(job))
    found: dict[str, dict[str, Claim]] = {}
    for bucket, ids in wanted.items():
        for account_id, met in (await seen.near(bucket, ids)).items():
            found[account_id] = {oid: Claim.from_text(text) for oid, text in met.items() if text}
    return found
