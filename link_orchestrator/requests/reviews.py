"""Reviewing rows of a planned run over HTTP: link, exclude, acknowledge or leave, one by one or many by filter.

This module says which decisions allow which action, and what no administrator can overrule.
shared/directory/work/reviews.py stores the reviews; passes/apply.py carries them out with the approved run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from pydantic import Field, model_validator

from link_orchestrator.approving import count_reviews
from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Orchestrations, ensure_started
from link_orchestrator.passes.counterparts import find_row, foretell_changes, objections
from link_orchestrator.prediction.cycle import PredictedOutcome, after_review
from link_orchestrator.problem_report import BY_REASON
from link_orchestrator.problems import count_reasons
from link_orchestrator.requests.jobs import as_it_stands, find_job, pages_of, select_rows, shown
from link_orchestrator.requests.selection import Selection, refuse_unsent
from link_orchestrator.run import (
    INACTIVE,
    NOTED_ROW,
    account_of,
    mapping_of,
    planned_version,
    policy_of,
    refuse_unreviewable,
    reviews_of,
)
from shared import turns
from shared.admin.body import Body
from shared.admin.parameters import open_cursor, seal_cursor
from shared.directory.directory import Directory
from shared.directory.errors import refused_behind
from shared.directory.keys import ID, Key, application_key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.authority import CREATABLE, EXCLUSIONS, LEFT_OPEN
from shared.directory.matching.evidence import facts_of
from shared.directory.matching.policy import Policy
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, AS_PLANNED, EXCLUDE, LEAVE, LINK, Review, Reviews
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.tables.access import in_parts, in_waves, together

ROWS_AT_ONCE = 1_000
"""Rows that one request can name, or review by a filter."""

ONE_BY_ONE = DecisionKind.OUTSIDE_VERIFIED_DOMAINS
"""The decision on rows that a review links only where its request names one row, so that somebody looked at it."""
LINKABLE = (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS, ONE_BY_ONE, DecisionKind.NO_ACCOUNT)
EXCLUDABLE = (*LEFT_OPEN, DecisionKind.LINK, DecisionKind.OUTSIDE_VERIFIED_DOMAINS)
"""Decisions on rows that a review may exclude; LINKABLE those on rows that it may link."""


class ReviewRequest(Body):
    """Rows by their ids, or by a filter, and what becomes of them."""

    rows: list[str] | None = Field(default=None, min_length=1, max_length=ROWS_AT_ONCE)
    """Ids of rows, as the run's decisions show them."""
    filter: Selection | None = None
    cursor: str = ""
    """Where the former answer to this filter ended, as it said."""
    action: Literal["link", "exclude", "leave", "acknowledge"]
    account: str | None = None
    """The account that is the person's, by its id, userName or applicationId: one of the row's, or another one."""
    identity: str | None = None
    """The object id of the identity whose account a row is about that no identity matches."""
    in_policy: bool = False
    """Whether to exclude them in the runs to come, too."""
    create: bool = False
    """Whether provisioning may create those who are excluded, beside the accounts that they match."""

    @model_validator(mode="after")
    def _one_of(self) -> ReviewRequest:
        if (self.rows is None) == (self.filter is None):
            raise ValueError("name rows by their ids, or a filter")
        if (self.account or self.identity) and (self.action != LINK or self.rows is None or len(self.rows) != 1):
            raise ValueError("account, identity: are for linking one row")
        if self.in_policy and self.action != EXCLUDE:
            raise ValueError("inPolicy: is for excluding")
        if self.create and self.action != EXCLUDE:
            raise ValueError("create: is for excluding")
        return self


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person wants of one row. `alone` says that the person looked at this very row."""

    row: PlanRow
    action: str
    account: str | None = None
    identity: str | None = None
    create: bool = False
    alone: bool = False


_JUDGED: Final[Mapping[str, Sequence[str]]] = {
    "account": ("id",),
    "candidates": ("id", "objection"),
    "predicted": ("outcome", "why"),
    "evidence": ("rule", "attribute"),
}
"""What a review is judged by of the objects that a row shows."""


def lean(row: PlanRow) -> PlanRow:
    """Return a row with nothing but what a review is judged by: a file decides about thousands at once."""
    shown = {name: _part(row.shown[name], wanted) for name, wanted in _JUDGED.items() if name in row.shown}
    return replace(row, shown=shown | {"warnings": row.shown.get("warnings", ())}, suggestions=())


def _part(shown: Any, wanted: Sequence[str]) -> Any:
    """Return the wanted attributes of an object, or of each object of a list."""
    if isinstance(shown, Mapping):
        return {name: shown[name] for name in wanted if name in shown}
    return [_part(one, wanted) for one in shown]


async def review(directory: Directory, request: Request, client: Orchestrations) -> Response:
    """Decide about rows of a planned run: 200 with how many were reviewed, and which were refused and why.

    By a filter, a `cursor` in the answer says that there are more: send it with the same request again.
    """
    asked = ReviewRequest.read(request)
    job = await begin_reviewing(directory, request, client)
    rows, cursor = await _select(directory, job, reviews_of(directory, job.id), asked)
    alone = len(asked.rows or ()) == 1
    wishes = [Wish(row, asked.action, asked.account, asked.identity, asked.create, alone) for row in rows]
    done, _, refused = await record(directory, job, wishes, request, in_policy=asked.in_policy)
    job = await count_reviews(directory, job)
    shown_refused = [{"id": row_id, "reason": reason} for row_id, reason in refused.items()]
    reasons = {BY_REASON: count_reasons(refused.values())}
    document = {"reviewed": done.total(), "refused": shown_refused, **reasons, **({"cursor": cursor} if cursor else {})}
    text = dump(document | {"run": shown(await as_it_stands(directory, job))})
    # A row is noted by its id: whose it is, the plan says for as long as it is kept.
    return Response(200, text, noted={**done, **({NOTED_ROW: rows[0].id} if alone and done else {})})


async def begin_reviewing(directory: Directory, request: Request, client: Orchestrations) -> Job:
    """Return the planned run that a request names, marked as reviewed. Raises Busy if it is not planned."""
    job = await ensure_started(directory, await find_job(directory, request, RUN), client)
    return await directory.jobs.change(job.id, lambda job: _being_reviewed(job, directory.jobs.now()))


async def record(
    directory: Directory,
    job: Job,
    wishes: Sequence[Wish],
    request: Request,
    *,
    in_policy: bool = False,
    skip_same: bool = False,
    decided: Mapping[str, str] | None = None,
) -> tuple[Counter[str], int, dict[str, str]]:
    """Judge wishes, at most one a row, and store the reviews.

    `decided` says by ids of rows what else of the request decides about them, beside an account's wish that comes to
    the row of its identity.

    Returns how many were stored, by action, how many rows were reviewed so before and are left as they are, if such
    are to be skipped, and why the others were refused, by the id of the row that the wish names.
    """
    resolved = [(asked, _once(asked, wish, decided or {})) for asked, wish in await _resolve(directory, job, wishes)]
    before = len(resolved)
    if skip_same:
        resolved = [(asked, wish) for asked, wish in resolved if isinstance(wish, str) or not _is_reviewed_so(wish)]
    wishes, same = [asked for asked, _ in resolved], before - len(resolved)
    links, refused = await _judge(directory, job, resolved)
    at, mapping, policy = directory.jobs.now(), mapping_of(job), policy_of(job)
    done = [(links.get(wish.row.id), wish) for wish in wishes if wish.row.id not in refused]

    def reviewed(choice: _Choice | None, wish: Wish) -> tuple[PlanRow, Review]:
        if wish.action in AS_PLANNED:
            return wish.row, Review(wish.action, request.by, at, person=request.person or None)
        row, review = (choice.row, choice.review) if choice else (wish.row, Review(wish.action, "", ""))
        predicted = after_review(row.shown, mapping, policy, links=choice is not None, create=wish.create).to_json()
        by = replace(review, by=request.by, at=at, person=request.person or None)
        return row, replace(by, predicted=predicted, create=wish.create)

    decisions = await turns.take(reviewed(choice, wish) for choice, wish in done)
    rows = [row for row, _ in decisions]
    if in_policy and done:
        await _exclude_from_now_on(directory, rows, request.by, create=done[0][1].create)
    # Until the reviews are stored, whatever happens meanwhile, provisioning neither links nor creates these people.
    plan, reviews = directory.plan(job.id), reviews_of(directory, job.id)
    await plan.leave_open({row.subject: _open_as(row) for row in rows})
    try:
        await reviews.note_named({str(one.account): row.id for row, one in decisions if one.version is not None})
        with refused_behind(in_policy and bool(done)):
            await reviews.record(decisions)
    finally:
        await _tell_provisioning(plan, reviews, rows)
    return Counter(wish.action for _, wish in done), same, refused


def _is_reviewed_so(wish: Wish) -> bool:
    """Tell whether a row was reviewed as somebody wants it again."""
    review = wish.row.review or {}
    if review.get("action") != wish.action or bool(review.get("create")) != wish.create:
        return False
    return wish.action != LINK or review["account"] == (wish.account or wish.row.shown.get("account", {}).get("id"))


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
    refuse_unsent(asked.filter, job)
    decision, selects = asked.filter.decision.value, asked.filter.selects
    of = ("reviews", job.id, asked.filter.model_dump(mode="json"))
    pages, begin = pages_of(directory, job.id, asked.filter), open_cursor(asked.cursor, *of)
    rows, cursor = await select_rows(pages, decision, begin, ROWS_AT_ONCE, selects)
    return rows, seal_cursor(cursor, *of) if cursor else None


@dataclass(frozen=True, slots=True)
class _Choice:
    """The account that a wish would link, as a review of the row that says so: that of the identity."""

    row: PlanRow
    account: str
    review: Review


async def _judge(
    directory: Directory, job: Job, resolved: Sequence[tuple[Wish, Wish | str]]
) -> tuple[dict[str, _Choice], dict[str, str]]:
    """Return what is linked, and why some rows cannot be reviewed as asked: both by the id of the row that was named.

    Of two wishes that would link one account, or decide on one identity, the first counts.
    """
    refused = {asked.row.id: wish for asked, wish in resolved if isinstance(wish, str)}
    wishes = {asked.row.id: wish for asked, wish in resolved if isinstance(wish, Wish)}
    refused |= {name: reason for name, wish in wishes.items() if (reason := _unsuitable(wish))}
    wishes = {name: wish for name, wish in wishes.items() if name not in refused}
    links, against = await _choose(directory, job, {n: wish for n, wish in wishes.items() if wish.action == LINK})
    refused |= against
    # A row that the plan links may have been excluded, and another row been given its account since.
    wanted = [(name, wish.row, account_of(wish.row)) for name, wish in wishes.items()
              if wish.action in AS_PLANNED and wish.row.decision == DecisionKind.LINK]  # fmt: skip
    wanted += [(name, choice.row, choice.account) for name, choice in links.items() if name not in refused]
    taken = await _taken(directory, job, [(row, account_id) for _, row, account_id in wanted])
    accounts = dict[str, str]()
    for name, row, account_id in wanted:
        other = taken.get(row.id) or accounts.get(account_id, "")
        if other:
            remedy = "settle that one first" if wishes[name].action == LINK else "leave that one first"
            refused[name] = f"this plan links the account by the row {other}: {remedy}"
        else:
            accounts[account_id] = row.id
    return {name: choice for name, choice in links.items() if name not in refused}, refused


async def _choose(
    directory: Directory, job: Job, linking: Mapping[str, Wish]
) -> tuple[dict[str, _Choice], dict[str, str]]:
    """Return which account each wish links, and why others link none, whatever else is asked: both by the row's id."""
    links, refused, by_row = dict[str, _Choice](), dict[str, str](), dict[str, str]()
    for name, wish in linking.items():
        if by_row.setdefault(wish.row.id, name) != name:
            refused[name] = f"the row {wish.row.id} of this identity is decided on already here"
    linking = {name: wish for name, wish in linking.items() if name not in refused}
    for some in in_parts([*linking.items()], ROWS_AT_ONCE):
        ids = [wish.account or account_of(wish.row) for _, wish in some]
        accounts = await directory.accounts.find_many(ids)
        for (name, wish), account_id, account in zip(some, ids, accounts, strict=True):
            if _is_own(wish.row, account_id):
                links[name] = _Choice(wish.row, account_id, Review(LINK, "", "", account_id))
                if reason := _objection(wish.row, account_id, account):
                    refused[name] = reason
            elif account is None:
                refused[name] = "account: no account has that id"
            else:
                links[name] = _Choice(wish.row, account_id, _named(wish.row, account))
    named = [replace(one.row, review=one.review.to_json()) for one in links.values() if one.review.version is not None]
    against = await objections(directory, job, named)
    changes = await foretell_changes(directory, job, [row for row in named if row.id not in against])
    links = {
        name: replace(one, review=replace(one.review, changes=changes.get(one.row.id, {})))
        for name, one in links.items()
    }
    return links, refused | {by_row[row_id]: reason for row_id, reason in against.items()}


def _named(row: PlanRow, account: Account) -> Review:
    """Return the review that links an account which its row does not show."""
    skipped = row.shown.get("predicted", {}).get("outcome") == PredictedOutcome.SKIPPED
    return Review(
        LINK,
        "",
        "",
        account.id,
        version=account.etag,
        user_name=account.user_name,
        application_id=account.application_id,
        warnings=() if account.active or skipped else (INACTIVE,),
    )


async def _resolve(directory: Directory, job: Job, wishes: Sequence[Wish]) -> list[tuple[Wish, Wish | str]]:
    """Return each wish with what it comes to, or why it comes to nothing."""
    ids = [one for one in {asked.account for asked in wishes} if one and ID.fullmatch(one)]
    known = set[str]()
    for some in in_parts(ids, ROWS_AT_ONCE):
        known |= {account.id for account in await directory.accounts.find_many(some) if account}
    meant = await in_waves(_meant(directory, job, asked, known) for asked in wishes)
    return list(zip(wishes, meant, strict=True))


async def _meant(directory: Directory, job: Job, asked: Wish, known: Collection[str]) -> Wish | str:
    """Return what a wish comes to, or why it comes to nothing; `known` are ids of accounts that wishes name.

    A wish may name an account by its userName or applicationId. One about an account that names its identity is about
    the identity's row: of all rows, that alone links anybody.
    """
    if asked.action == LINK and asked.row.decision == DecisionKind.NO_IDENTITY:
        return await _of_identity(directory, job, asked)
    if asked.identity:
        return f"identity: is for linking a row that is {DecisionKind.NO_IDENTITY}"
    return await _of_account(directory, asked) if asked.account and asked.account not in known else asked


async def _of_account(directory: Directory, wish: Wish) -> Wish | str:
    """Return a wish with the id of the account that it names by userName or applicationId, or why there is none."""
    name = wish.account or ""
    carrying = [
        *await directory.accounts.list_by(Key("userName", name)),
        *await directory.accounts.list_by(application_key(name)),
    ]
    ids = {account.id for account in carrying}
    if len(ids) > 1:
        # Whoever chooses a userName in the application could choose the key of somebody else's account.
        return "account: that is the userName of one account and the applicationId of another: name the one by its id"
    return replace(wish, account=ids.pop()) if ids else "account: no account has that id, userName or applicationId"


async def _of_identity(directory: Directory, job: Job, wish: Wish) -> Wish | str:
    """Return a wish about an account as one about the row of the identity that it names, or why there is none."""
    if wish.account not in (None, wish.row.subject):
        return "account: the row is about another account; name the identity that it is of"
    object_id = read_object_id(wish.identity or "")
    if object_id is None:
        return f"identity: no identity matches the account: name the one whose it is by its object id; {NO_OBJECT_ID}"
    row = await find_row(directory, job, object_id)
    if row is None:
        return "identity: this plan has no row about it: check its object id, or start a run with full: true"
    return replace(wish, row=lean(row), account=wish.row.subject, identity=None)


def _once(asked: Wish, wish: Wish | str, decided: Mapping[str, str]) -> Wish | str:
    """Return what a wish comes to, or why not, if the request decides about its identity by the identity's own row."""
    if isinstance(wish, str) or wish.row.id == asked.row.id or wish.row.id not in decided:
        return wish
    return f"identity: {decided[wish.row.id]} decides about this identity"


def _is_own(row: PlanRow, account_id: str) -> bool:
    """Tell whether an account is the row's, or one of its candidates: the plan weighed it."""
    return account_id in row.versions or account_id == row.shown.get("account", {}).get("id")


ALONE: Final = "name it as the only one of rows"
NAME_ACCOUNT: Final = "name the one that is this person's as account"
"""What to do about rows that are not reviewed with others, or have no one account. Pages have other ways to say it."""


def _unsuitable(wish: Wish) -> str:
    """Return why a row's decision does not allow what is asked, or ""."""
    row = wish.row
    if row.outcome:
        return f"this row was applied already: {row.outcome}"
    if wish.action == ACKNOWLEDGE:
        warned = row.decision == DecisionKind.LINK and row.shown.get("warnings")
        return "" if warned else "only a link that the plan warns of is acknowledged"
    if wish.action == LEAVE:
        return "" if row.review or row.decision in EXCLUDABLE else f"a row that is {row.decision} is not reviewed"
    allowed = LINKABLE if wish.action == LINK else EXCLUDABLE
    if row.decision not in allowed:
        return f"a row that is {row.decision} can not be reviewed to {wish.action}; only {', '.join(allowed)}"
    if wish.action != LINK:
        return ""
    if row.decision == ONE_BY_ONE and not wish.alone:
        return f"a row that is {row.decision} is linked alone: {ALONE}"
    if wish.account is None and row.decision == DecisionKind.AMBIGUOUS:
        return f"several accounts match: {NAME_ACCOUNT}"
    if wish.account is None and row.decision == DecisionKind.NO_ACCOUNT:
        return f"a row that is {row.decision} is linked to no account: {NAME_ACCOUNT}"
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

    This can only happen where one of the two is ambiguous, or outside the verified domains, or where a person named
    the account. Other rows that want the same account were planned as rivals, which no review can link.
    """
    if not links:
        return {}
    reviews = reviews_of(directory, job.id)
    named = await reviews.named([account_id for _, account_id in links])
    ambiguous = [reviews.accounts(n, DecisionKind.AMBIGUOUS) for n in range(directory.keys.buckets)]
    chosen = {account_id: row_id for found in await together(*ambiguous) for account_id, row_id in found.items()}
    homes: defaultdict[int, list[tuple[PlanRow, str]]] = defaultdict(list)
    for row, account_id in links:
        homes[directory.keys.bucket(account_id)].append((row, account_id))
    taken: dict[str, str] = {}
    alone = await in_waves(reviews.accounts(bucket, ONE_BY_ONE) for bucket in homes)
    for (bucket, some), outside in zip(homes.items(), alone, strict=True):
        strangers = {one for row, one in some if row.decision in _OTHERS or not _is_own(row, one)}
        reviewed = await reviews.accounts(bucket, DecisionKind.REVIEW) if strangers else {}
        planned = await _planned_for(directory, job, bucket, strangers) if strangers else {}
        for row, account_id in some:
            others = [named.get(account_id), chosen.get(account_id), outside.get(account_id)]
            if account_id in strangers:
                others += [reviewed.get(account_id), planned.get(account_id)]
            if other := next((one for one in others if one not in (None, row.id)), None):
                taken[row.id] = other
    return taken


_OTHERS = (DecisionKind.AMBIGUOUS, ONE_BY_ONE)
"""Decisions on rows whose account another row may link."""


async def _planned_for(directory: Directory, job: Job, bucket: int, accounts: Collection[str]) -> dict[str, str]:
    """Return the rows by which the plan itself links some accounts of a bucket, unless a review excluded the row."""
    found: dict[str, str] = {}
    async for rows in directory.plan(job.id).decided(bucket, LINK):
        for row in rows:
            if account_of(row) in accounts and (row.review or {}).get("action") != EXCLUDE:
                found[account_of(row)] = row.id
    return found


def _open_as(row: PlanRow) -> str:
    """Return the decision under which a row's identity is left open, so that provisioning leaves it alone."""
    return row.decision if row.decision in LEFT_OPEN else DecisionKind.REVIEW.value


async def _tell_provisioning(plan: Plan, reviews: Reviews, rows: Sequence[PlanRow]) -> None:
    """Note for SCIM what becomes of reviewed identities, until it agrees with the rows: others may review them, too.

    An excluded identity is not linked, and created if the review says so. One that is to be linked is left open until
    the run is applied. One that is left as planned is open again, or free, as the plan has decided.
    """
    for some in in_parts(rows, ROWS_AT_ONCE):
        await _tell(plan, reviews, some)


async def _tell(plan: Plan, reviews: Reviews, rows: Sequence[PlanRow]) -> None:
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
