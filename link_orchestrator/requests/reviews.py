"""Reviewing rows of a planned run over HTTP: link, exclude or leave, one by one or many by filter.

Which decisions allow which action, and what no administrator can overrule, stands here;
shared/directory/work/reviews.py keeps the reviews, passes/apply.py carries them out with the approved run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field, model_validator

from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations, ensure_started
from link_orchestrator.prediction.cycle import after_review
from link_orchestrator.requests.body import Body
from link_orchestrator.requests.jobs import find_job, shown
from link_orchestrator.run import mapping_of, planned_version, policy_of, refuse_unreviewable, reviews_of
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind, facts_of, objection
from shared.directory.matching.authority import LEFT_OPEN
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Rule
from shared.directory.records.model import Account, Status
from shared.directory.text import dump
from shared.directory.work.jobs import Job, Phase
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import EXCLUDE, LEAVE, LINK, Review, Reviews
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.access import together

ROWS_AT_ONCE = 1_000
"""Rows that one request names, or reviews by a filter."""
ROWS_READ = 5_000
"""Rows that one request by a filter looks at; the answer's cursor goes on from there."""

LINKABLE = (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS)
EXCLUDABLE = (
    *LEFT_OPEN,
    DecisionKind.LINK,
    DecisionKind.OUTSIDE_VERIFIED_DOMAINS,
)


class Selection(Body):
    """The rows of one decision that meet every condition given."""

    decision: DecisionKind
    rule: Rule | None = None
    """A match rule that is among the row's evidence."""
    domain: str | None = None
    """The domain of the identity's user principal name."""

    def selects(self, row: PlanRow) -> bool:
        """Tell whether a row of the decision is meant."""
        name = str(row.shown.get("identity", {}).get("userPrincipalName", ""))
        rules = {item["rule"] for item in row.shown.get("evidence", ())}
        return (self.rule is None or self.rule in rules) and (
            self.domain is None or fold(name).endswith("@" + fold(self.domain))
        )


class ReviewRequest(Body):
    """Rows by their ids, or by a filter, and what becomes of them."""

    rows: list[str] | None = Field(default=None, min_length=1, max_length=ROWS_AT_ONCE)
    """Ids of rows, as the run's decisions show them."""
    filter: Selection | None = None
    cursor: str = ""
    """Where the former answer to this filter ended, as it said."""
    action: Literal["link", "exclude", "leave"]
    account: str | None = None
    """Which of several candidates is the person's."""
    in_policy: bool = False
    """Whether to exclude them in the runs to come, too."""

    @model_validator(mode="after")
    def _one_of(self) -> ReviewRequest:
        if (self.rows is None) == (self.filter is None):
            raise ValueError("name rows by their ids, or a filter")
        if self.account and (self.action != LINK or self.rows is None or len(self.rows) != 1):
            raise ValueError("account: is for linking one row")
        if self.in_policy and self.action != EXCLUDE:
            raise ValueError("inPolicy: is for excluding")
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
    wanted, refused = await _judge(directory, job, rows, asked)
    at, mapping, policy = directory.jobs.now(), mapping_of(job), policy_of(job)

    def decided(row: PlanRow) -> Review:
        predicted = after_review(row.shown, mapping, policy, links=asked.action == LINK).to_json()
        return Review(asked.action, request.by, at, wanted[row.id], None if asked.action == LEAVE else predicted)

    done = [row for row in rows if row.id in wanted]
    if asked.action == EXCLUDE and asked.in_policy:
        await _exclude_from_now_on(directory, done)
    # Whatever comes between: while a row changes hands, provisioning neither links nor creates its person.
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
    """Return the job as one whose rows were reviewed: from now on an approval has to look at them."""
    refuse_unreviewable(job)
    return job if job.reviewed else replace(job, reviewed=now)


async def _select(
    directory: Directory, job: Job, reviews: Reviews, asked: ReviewRequest
) -> tuple[list[PlanRow], str | None]:
    """Return the rows that a request is about, and the cursor behind them where there are more."""
    if asked.rows is not None:
        ids = list(dict.fromkeys(asked.rows))
        found = await reviews.find_rows(ids)
        for row_id, row in zip(ids, found, strict=True):
            if row is None:
                place = asked.rows.index(row_id)
                raise InvalidValue(f"rows.{place}: no row of this plan has that id: take those that /decisions shows")
        return [row for row in found if row is not None], None
    selection, read = asked.filter, 0
    if selection is None:
        raise InvalidValue("filter: is missing")
    plan = directory.plan(job.id)
    rows: list[PlanRow] = []
    cursor: str | None = asked.cursor
    while cursor is not None and read < ROWS_READ and len(rows) < ROWS_AT_ONCE:
        page, cursor = await plan.page(selection.decision.value, cursor, ROWS_AT_ONCE - len(rows))
        read += len(page)
        rows += filter(selection.selects, page)
    return rows, cursor


async def _judge(
    directory: Directory, job: Job, rows: Sequence[PlanRow], asked: ReviewRequest
) -> tuple[dict[str, str | None], dict[str, str]]:
    """Return the rows that may be reviewed so, by id, each with the account to link; and why the others may not."""
    wanted: dict[str, str | None] = {}
    refused: dict[str, str] = {}
    for row in rows:
        if reason := _unsuitable(row, asked):
            refused[row.id] = reason
        elif asked.action == LINK:
            wanted[row.id] = asked.account or row.shown["account"]["id"]
        else:
            wanted[row.id] = None
    by_id = {row.id: row for row in rows}
    if asked.action == LEAVE:
        # A planned link that was excluded comes back: meanwhile another row may have been given its account.
        back = {i: by_id[i].shown["account"]["id"] for i in wanted if by_id[i].decision == DecisionKind.LINK}
        for row_id, other in (await _taken(directory, job, [by_id[i] for i in back], back)).items():
            refused[row_id] = f"this plan links the account by the row {other}: leave that one first"
            del wanted[row_id]
    if asked.action != LINK:
        return wanted, refused
    accounts = dict(zip(wanted, await directory.accounts.find_many([a or "" for a in wanted.values()]), strict=True))
    for row_id, account in accounts.items():
        if reason := _objection(job, by_id[row_id], wanted[row_id] or "", account):
            refused[row_id] = reason
            del wanted[row_id]
    for row_id, other in (await _taken(directory, job, [by_id[row_id] for row_id in wanted], wanted)).items():
        refused[row_id] = f"this plan links the account by the row {other}: settle that one first"
        del wanted[row_id]
    return wanted, refused


def _unsuitable(row: PlanRow, asked: ReviewRequest) -> str:
    """Return why a row's decision does not allow a review, or ""."""
    if asked.action == LEAVE:
        return "" if row.review or row.decision in EXCLUDABLE else f"a row that is {row.decision} is not reviewed"
    allowed = LINKABLE if asked.action == LINK else EXCLUDABLE
    if row.decision not in allowed:
        return f"a row that is {row.decision} can not be reviewed to {asked.action}; only {', '.join(allowed)}"
    if asked.action != LINK:
        return ""
    if row.decision == DecisionKind.AMBIGUOUS:
        if asked.account is None:
            return "several accounts match: name the one that is this person's as account"
        if asked.account not in row.versions:
            return "account: is none of this row's candidates"
    elif asked.account not in (None, row.shown["account"]["id"]):
        return "account: is none of this row's candidates"
    return ""


def _objection(job: Job, row: PlanRow, account_id: str, account: Account | None) -> str:
    """Return why an account must not be linked to a row's identity whatever anybody says, or ""."""
    if account is None:
        return "the account was deleted since the plan"
    if account.etag != planned_version(row, account_id):
        return "the account changed since the plan; a new run decides again"
    facts = facts_of(account)
    if facts.protected:
        return "the account is protected: a run never links a protected account"
    if facts.status is not Status.LOCAL or facts.linked_identity:
        return "the account is linked already: release that link first if it is wrong"
    return objection(_identity(row, account), facts, policy_of(job)) or ""


def _identity(row: PlanRow, account: Account) -> Identity:
    """Return the identity of a row as far as an objection asks; that its NameID agrees, the evidence has said."""
    shown = row.shown["identity"]
    chosen = [one["rules"] for one in row.shown.get("candidates", ()) if one["id"] == account.id]
    rules = chosen[0] if chosen else [item["rule"] for item in row.shown.get("evidence", ())]
    name_id = account.evidence.name_id if Rule.NAME_ID in rules else None
    return Identity(shown["objectId"], shown["userPrincipalName"], on_premises_immutable_id=name_id)


async def _taken(
    directory: Directory, job: Job, rows: Sequence[PlanRow], wanted: Mapping[str, str | None]
) -> dict[str, str]:
    """Return, by id, the rows whose account this run is to link already, each with the row by which it is.

    Two rows can want one account only where one of them is ambiguous: the others are in each other's way as rivals.
    """
    reviews = reviews_of(directory, job.id)
    chosen: dict[str, str] = {}
    for accounts in await together(
        *(reviews.accounts(n, DecisionKind.AMBIGUOUS) for n in range(directory.keys.buckets))
    ):
        chosen |= accounts
    taken: dict[str, str] = {}
    for row in rows:
        account_id = wanted[row.id] or ""
        other = chosen.get(account_id, row.id)
        if other == row.id and row.decision == DecisionKind.AMBIGUOUS:
            bucket = directory.keys.bucket(account_id)
            reviewed = await reviews.accounts(bucket, DecisionKind.REVIEW)
            other = reviewed.get(account_id) or await _planned_for(directory, job, bucket, account_id) or row.id
        if other != row.id:
            taken[row.id] = other
    return taken


async def _planned_for(directory: Directory, job: Job, bucket: int, account_id: str) -> str | None:
    """Return the id of the row by which the plan itself links an account, unless a review took it out."""
    async for rows in directory.plan(job.id).decided(bucket, LINK):
        for row in rows:
            if row.shown["account"]["id"] == account_id and (row.review or {}).get("action") != EXCLUDE:
                return row.id
    return None


def _open_as(row: PlanRow) -> str:
    """Return the decision by which provisioning leaves a row's person alone."""
    return row.decision if row.decision in LEFT_OPEN else DecisionKind.REVIEW.value


async def _tell_provisioning(plan: Plan, reviews: Reviews, rows: Sequence[PlanRow]) -> None:
    """Keep what SCIM is to know of reviewed identities, as the rows say now: others may review them at the same time.

    Who is excluded is not adopted, but may be created. Who is to be linked stays open until that is applied. Who is
    left as the plan has it is open again, or free.
    """
    told: dict[str, str] = {}
    while True:
        found = [row for row in await reviews.find_rows([row.id for row in rows]) if row is not None]
        actions = {row.id: str((row.review or {}).get("action", LEAVE)) for row in found}
        changed = [row for row in found if told.get(row.id) != actions[row.id]]
        if not changed:
            return
        excluded = [row for row in changed if actions[row.id] == EXCLUDE]
        free = [row for row in changed if actions[row.id] == LEAVE and row.decision not in LEFT_OPEN]
        marks = {row.subject: _open_as(row) for row in changed} | {
            row.subject: DecisionKind.EXCLUDED.value for row in excluded
        }
        await plan.leave_open({subject: mark for subject, mark in marks.items() if subject not in _subjects(free)})
        await plan.close(_subjects(free))
        told |= actions


def _subjects(rows: Sequence[PlanRow]) -> set[str]:
    return {row.subject for row in rows}


async def _exclude_from_now_on(directory: Directory, rows: Sequence[PlanRow]) -> None:
    """Add identities to the exclusions of the directory's policy, for the runs to come. Raises InvalidValue if full."""
    subjects = {row.subject for row in rows}
    try:
        await directory.policies.change(lambda policy: replace(policy, excluded=policy.excluded | subjects))
    except ValueError as error:
        raise InvalidValue(f"inPolicy: {error}") from None


async def _counted(directory: Directory, job: Job, reviewed: Counter[str]) -> Job:
    """Return the job with its counts as the reviews leave them."""
    jobs = directory.jobs
    await jobs.count(job.id, "review", reviewed)
    counts = await jobs.total(job.id)
    return await jobs.change(job.id, lambda job: job if job.phase is not Phase.PLANNED else replace(job, counts=counts))
