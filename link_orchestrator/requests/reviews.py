"""Reviewing rows of a planned run over HTTP: link, exclude, acknowledge or leave, one by one or many by filter.

This module says which decisions allow which action, and what no administrator can overrule.
shared/directory/work/reviews.py stores the reviews; passes/apply.py carries them out with the approved run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations, ensure_started
from link_orchestrator.prediction.cycle import after_review
from link_orchestrator.requests.jobs import find_job, select_rows, shown
from link_orchestrator.run import mapping_of, planned_version, policy_of, refuse_unreviewable, reviews_of
from shared.admin.body import Body
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.authority import CREATABLE, EXCLUSIONS, LEFT_OPEN
from shared.directory.matching.evidence import facts_of
from shared.directory.matching.policy import Policy, Rule
from shared.directory.records.model import Account, Status
from shared.directory.text import dump
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, AS_PLANNED, EXCLUDE, LEAVE, LINK, Review, Reviews
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.access import together

ROWS_AT_ONCE = 1_000
"""Rows that one request can name, or review by a filter."""

ONE_BY_ONE = DecisionKind.OUTSIDE_VERIFIED_DOMAINS
"""The decision on rows that a review links only where its request names one row, so that somebody looked at it."""
LINKABLE = (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS, ONE_BY_ONE)
EXCLUDABLE = (*LEFT_OPEN, DecisionKind.LINK, DecisionKind.OUTSIDE_VERIFIED_DOMAINS)
"""Decisions on rows that a review may exclude; LINKABLE those on rows that it may link."""


class Selection(Body):
    """The rows of one decision that meet every condition given."""

    decision: DecisionKind
    rule: Rule | None = None
    """A match rule that is among the row's evidence."""
    domain: str | None = None
    """The domain of the identity's user principal name."""
    warning: Literal["inactive", "disabled", "unassigned"] | None = None
    """A warning that the row has."""

    def selects(self, row: PlanRow) -> bool:
        """Tell whether a row of the decision meets the other conditions."""
        name = str(row.shown.get("identity", {}).get("userPrincipalName", ""))
        rules = {item["rule"] for item in row.shown.get("evidence", ())}
        return (
            (self.rule is None or self.rule in rules)
            and (self.domain is None or fold(name).endswith("@" + fold(self.domain)))
            and (self.warning is None or self.warning in row.shown.get("warnings", ()))
        )


class ReviewRequest(Body):
    """Rows by their ids, or by a filter, and what becomes of them."""

    rows: list[str] | None = Field(default=None, min_length=1, max_length=ROWS_AT_ONCE)
    """Ids of rows, as the run's decisions show them."""
    filter: Selection | None = None
    cursor: str = ""
    """Where the former answer to this filter ended, as it said."""
    action: Literal["link", "exclude", "leave", "acknowledge"]
    account: str | None = None
    """Which of several candidates is the person's."""
    in_policy: bool = False
    """Whether to exclude them in the runs to come, too."""
    create: bool = False
    """Whether provisioning may create those who are excluded, beside the accounts that they match."""

    @model_validator(mode="after")
    def _one_of(self) -> ReviewRequest:
        if (self.rows is None) == (self.filter is None):
            raise ValueError("name rows by their ids, or a filter")
        if self.account and (self.action != LINK or self.rows is None or len(self.rows) != 1):
            raise ValueError("account: is for linking one row")
        if self.in_policy and self.action != EXCLUDE:
            raise ValueError("inPolicy: is for excluding")
        if self.create and self.action != EXCLUDE:
            raise ValueError("create: is for excluding")
        return self


async def review(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Decide about rows of a planned run: 200 with how many were reviewed, and which were refused and why.

    By a filter, a `cursor` in the answer says that there are more: send it with the same request again.
    """
    asked = ReviewRequest.read(request)
    job = await ensure_started(directory, await find_job(directory, request, RUN), client)
    job = await directory.jobs.change(job.id, lambda job: _being_reviewed(job, directory.jobs.now()))
    reviews = reviews_of(directory, job.id)
    rows, cursor = await _select(directory, job, reviews, asked)
    links, refused = await _judge(directory, job, rows, asked)
    at, mapping, policy = directory.jobs.now(), mapping_of(job), policy_of(job)

    def decided(row: PlanRow) -> Review:
        if asked.action in AS_PLANNED:
            return Review(asked.action, request.by, at)
        links_it = asked.action == LINK
        predicted = after_review(row.shown, mapping, policy, links=links_it, create=asked.create).to_json()
        return Review(asked.action, request.by, at, links.get(row.id), predicted, create=asked.create)

    done = [row for row in rows if row.id not in refused]
    if asked.action == EXCLUDE and asked.in_policy:
        await _exclude_from_now_on(directory, done, request.by, create=asked.create)
    # Until the reviews are stored, whatever happens meanwhile, provisioning neither links nor creates these people.
    plan = directory.plan(job.id)
    await plan.leave_open({row.subject: _open_as(row) for row in done})
    try:
        await reviews.record([(row, decided(row)) for row in done])
    finally:
        await _tell_provisioning(plan, reviews, done)
    job = await _counted(directory, job, await reviews.total())
    shown_refused = [{"id": row_id, "reason": reason} for row_id, reason in refused.items()]
    document = {"reviewed": len(done), "refused": shown_refused, **({"cursor": cursor} if cursor else {})}
    return Response(200, dump(document | {"run": shown(job)}))


def _being_reviewed(job: Job, now: str) -> Job:
    """Return the job, marked as reviewed: from now on an approval has to count its reviews."""
    refuse_unreviewable(job)
    return job if job.reviewed else replace(job, reviewed=now)


async def _select(
    directory: Directory, job: Job, reviews: Reviews, asked: ReviewRequest
) -> tuple[list[PlanRow], str | None]:
    """Return the rows that a request is about, and the cursor behind them if there are more."""
    if asked.filter is None:
        rows: list[PlanRow] = []
        named = asked.rows or []
        ids = list(dict.fromkeys(named))
        for row_id, row in zip(ids, await reviews.find_rows(ids), strict=True):
            if row is None:
                place = named.index(row_id)
                raise InvalidValue(f"rows.{place}: no row of this plan has that id: take those that /decisions shows")
            rows.append(row)
        return rows, None
    decision, selects = asked.filter.decision.value, asked.filter.selects
    return await select_rows(directory.plan(job.id), decision, asked.cursor, ROWS_AT_ONCE, selects)


async def _judge(
    directory: Directory, job: Job, rows: Sequence[PlanRow], asked: ReviewRequest
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the accounts to link, and why some rows cannot be reviewed as asked: both by the row's id."""
    refused = {row.id: reason for row in rows if (reason := _unsuitable(row, asked))}
    suitable = [row for row in rows if row.id not in refused]
    if asked.action == EXCLUDE:
        return {}, refused
    if asked.action == LINK:
        links = {row.id: asked.account or str(row.shown["account"]["id"]) for row in suitable}
        accounts = await directory.accounts.find_many([*links.values()])
        for row, account in zip(suitable, accounts, strict=True):
            if reason := _objection(row, links[row.id], account):
                refused[row.id] = reason
    else:
        # A row that the plan links may have been excluded, and another row been given its account since.
        links = {row.id: str(row.shown["account"]["id"]) for row in suitable if row.decision == DecisionKind.LINK}
    wanted = [(row, links[row.id]) for row in suitable if row.id in links and row.id not in refused]
    remedy = "settle that one first" if asked.action == LINK else "leave that one first"
    for row_id, other in (await _taken(directory, job, wanted)).items():
        refused[row_id] = f"this plan links the account by the row {other}: {remedy}"
    return links, refused


def _unsuitable(row: PlanRow, asked: ReviewRequest) -> str:
    """Return why a row's decision does not allow what is asked, or ""."""
    if asked.action == ACKNOWLEDGE:
        warned = row.decision == DecisionKind.LINK and row.shown.get("warnings")
        return "" if warned else "only a link that the plan warns of is acknowledged"
    if asked.action == LEAVE:
        return "" if row.review or row.decision in EXCLUDABLE else f"a row that is {row.decision} is not reviewed"
    allowed = LINKABLE if asked.action == LINK else EXCLUDABLE
    if row.decision not in allowed:
        return f"a row that is {row.decision} can not be reviewed to {asked.action}; only {', '.join(allowed)}"
    if asked.action != LINK:
        return ""
    if row.decision == ONE_BY_ONE and len(asked.rows or ()) != 1:
        return f"a row that is {row.decision} is linked alone: name it as the only one of rows"
    if row.decision == DecisionKind.AMBIGUOUS:
        if asked.account is None:
            return "several accounts match: name the one that is this person's as account"
        if asked.account not in row.versions:
            return "account: is none of this row's candidates"
    elif asked.account not in (None, row.shown["account"]["id"]):
        return "account: is none of this row's candidates"
    return ""


def _objection(row: PlanRow, account_id: str, account: Account | None) -> str:
    """Return why an account must not be linked to a row's identity, whoever asks for it, or ""."""
    if account is None:
        return "the account was deleted since the plan"
    if account.etag != planned_version(row, account_id):
        return "the account changed since the plan; a new run decides again"
    facts = facts_of(account)
    if facts.protected:
        return "the account is protected: a run never links a protected account"
    if facts.status is not Status.LOCAL or facts.linked_identity:
        return "the account is linked already: release that link first if it is wrong"
    # The account is as the plan saw it, which said so of each of several candidates, and left no other row to a review.
    said = (one.get("objection") for one in row.shown.get("candidates", ()) if one["id"] == account_id)
    return next(filter(None, said), "")


async def _taken(directory: Directory, job: Job, links: Sequence[tuple[PlanRow, str]]) -> dict[str, str]:
    """Return the rows whose account this run is to link by another row already: the ids of both, by that of the first.

    This can only happen where one of the two is ambiguous, or outside the verified domains. Other rows that want the
    same account were planned as rivals, which no review can link.
    """
    reviews = reviews_of(directory, job.id)
    ambiguous = [reviews.accounts(n, DecisionKind.AMBIGUOUS) for n in range(directory.keys.buckets)]
    chosen = {account_id: row_id for found in await together(*ambiguous) for account_id, row_id in found.items()}
    taken: dict[str, str] = {}
    for row, account_id in links:
        bucket = directory.keys.bucket(account_id)
        others = [chosen.get(account_id), (await reviews.accounts(bucket, ONE_BY_ONE)).get(account_id)]
        if row.decision in (DecisionKind.AMBIGUOUS, ONE_BY_ONE):
            others.append((await reviews.accounts(bucket, DecisionKind.REVIEW)).get(account_id))
            others.append(await _planned_for(directory, job, bucket, account_id))
        if other := next((one for one in others if one not in (None, row.id)), None):
            taken[row.id] = other
    return taken


async def _planned_for(directory: Directory, job: Job, bucket: int, account_id: str) -> str | None:
    """Return the id of the row by which the plan itself links an account, unless a review excluded that row."""
    async for rows in directory.plan(job.id).decided(bucket, LINK):
        for row in rows:
            if row.shown["account"]["id"] == account_id and (row.review or {}).get("action") != EXCLUDE:
                return row.id
    return None


def _open_as(row: PlanRow) -> str:
    """Return the decision under which a row's identity is left open, so that provisioning leaves it alone."""
    return row.decision if row.decision in LEFT_OPEN else DecisionKind.REVIEW.value


async def _tell_provisioning(plan: Plan, reviews: Reviews, rows: Sequence[PlanRow]) -> None:
    """Note for SCIM what becomes of reviewed identities, until it agrees with the rows: others may review them, too.

    An excluded identity is not linked, and created if the review says so. One that is to be linked is left open until
    the run is applied. One that is left as planned is open again, or free, as the plan has decided.
    """
    told: dict[str, str] = {}
    while True:
        found = [row for row in await reviews.find_rows([row.id for row in rows]) if row is not None]
        actions = {row.id: _action(row) for row in found}
        changed = [row for row in found if told.get(row.id) != actions[row.id]]
        if not changed:
            return
        excluded = [row for row in changed if actions[row.id] in EXCLUSIONS]
        free = [row for row in changed if actions[row.id] in AS_PLANNED and row.decision not in LEFT_OPEN]
        marks = {row.subject: _open_as(row) for row in changed} | {row.subject: actions[row.id] for row in excluded}
        await plan.leave_open({subject: mark for subject, mark in marks.items() if subject not in _subjects(free)})
        await plan.close(_subjects(free))
        told |= actions


def _action(row: PlanRow) -> str:
    """Return what a row's review does; of one that excludes, the mark by which provisioning knows that."""
    review = row.review or {}
    excluded = CREATABLE if review.get("create") else DecisionKind.EXCLUDED.value
    return excluded if review.get("action") == EXCLUDE else str(review.get("action", LEAVE))


def _subjects(rows: Sequence[PlanRow]) -> set[str]:
    return {row.subject for row in rows}


async def _exclude_from_now_on(directory: Directory, rows: Sequence[PlanRow], by: str, *, create: bool) -> None:
    """Exclude identities by the directory's policy, for the runs to come. Raises InvalidValue if it holds no more."""
    subjects = set(map(fold, _subjects(rows)))

    def exclude(policy: Policy) -> Policy:
        creatable = policy.creatable | subjects if create else policy.creatable - subjects
        return replace(policy, excluded=policy.excluded | subjects, creatable=creatable)

    try:
        await directory.policies.change(exclude, by)
    except ValueError as error:
        raise InvalidValue(f"inPolicy: {error}") from None


async def _counted(directory: Directory, job: Job, reviewed: Counter[str]) -> Job:
    """Store and return the job's counts with what the reviews add to them."""
    jobs = directory.jobs
    await jobs.count(job.id, "review", reviewed)
    counts = await jobs.total(job.id)
    return await jobs.change(job.id, lambda job: job if job.state is not State.PLANNED else replace(job, counts=counts))
