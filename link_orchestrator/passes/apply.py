"""The passes that carry out an approved plan: they link the accounts that are still as the plan saw them.

A row is refused, and says so, if its account changed since, if its identity has another account by now, or if the
policy leaves one of the two out by now (left_out.py). A slice that runs again finds the links that it made, and counts
them as done.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain

from link_orchestrator.messages import Slice
from link_orchestrator.passes.counterparts import objections
from link_orchestrator.passes.left_out import LeftOut
from link_orchestrator.passes.refusals import CHANGED, DELETED, HELD, WHY, counts_of, refused
from link_orchestrator.run import LINKED, PILOT, account_of, as_link, by_run, is_named, reviews_of
from link_orchestrator.staged import LINKS, RESERVED
from shared import turns
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.evidence import MatchEvidence, proving_rule
from shared.directory.records.bulk import BulkOutcome, find_neighbours, replace_many, reserve_many
from shared.directory.records.model import Account, Link, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import EXCLUDE
from shared.tables.access import in_parts

REVIEWED = "review"
"""The rule of a link that a person confirmed in a review; the plan's row names that person."""
AT_ONCE = 500
"""Links that are made between two looks at whether the run was cancelled."""
WORTH_RESERVING = 50
"""Links in one bucket of claims from which on it reads less to reserve all of them than to look up each."""


async def reserve(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Claim the identities that apply() will link, one bucket of claims after the other."""
    writer = directory.stage(job.id + RESERVED).writer(slice_.name)
    links: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    async for bucket, items in directory.stage(job.id + LINKS).read_many(slice_.low, slice_.high):
        links[bucket] += [(account_id, identity) for account_id, identity in items]
    for batch in links.values():
        if len(batch) >= WORTH_RESERVING:
            for account_id in await reserve_many(directory.accounts, batch, by=by_run(job.id)):
                await writer.add(directory.keys.bucket(account_id), account_id)
    await writer.close()
    return Counter()


async def apply(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Link the accounts that the plan's rows of a slice link; stop early if the run is cancelled."""
    plan = directory.plan(job.id)
    counts: Counter[str] = Counter()
    left_out = await LeftOut.read(directory, job)
    staged = directory.stage(job.id + RESERVED).read_many(slice_.low, slice_.high)
    reserved = {account_id async for _, ids in staged for account_id in ids}
    for bucket in slice_.buckets:
        piloted = await pilot_rows(directory, job, bucket)
        rows = [row async for page in plan.decided(bucket, DecisionKind.LINK.value) for row in page]
        counts.update(_counts(row.outcome for row in rows if row.outcome))
        # In order of id, so that neighbouring accounts are read and written together: fewer requests, fewer pages.
        left = sorted((row for row in rows if _is_due(row, piloted) and not _is_excluded(row)), key=account_of)
        for batch in in_parts(left, AT_ONCE):
            if (await directory.jobs.get(job.id)).cancelled_by:
                return counts
            outcomes = await _link(directory, job, batch, left_out, reserved)
            await plan.record_outcomes(bucket, outcomes, batch)
            counts.update(_counts(outcomes.values()))
        if job.reviewed and await _apply_reviewed(directory, job, plan, bucket, counts, piloted, left_out):
            return counts
    return counts


async def pilot_rows(directory: Directory, job: Job, bucket: int) -> set[str] | None:
    """Return the ids of a bucket's rows that are approved, None for all of them."""
    pilot = job.options.get(PILOT)
    return await directory.plan(job.id).marked(bucket, pilot["id"]) if pilot else None


def _is_due(row: PlanRow, piloted: Collection[str] | None) -> bool:
    """Tell whether a row is approved, and was not applied before."""
    return not row.outcome and (piloted is None or row.id in piloted)


async def _apply_reviewed(
    directory: Directory,
    job: Job,
    plan: Plan,
    bucket: int,
    counts: Counter[str],
    piloted: Collection[str] | None,
    left_out: LeftOut,
) -> bool:
    """Link the accounts of a bucket that a review links. Returns True if the run was cancelled on the way."""
    async for rows in reviews_of(directory, job.id).chosen(bucket):
        if rows and (await directory.jobs.get(job.id)).cancelled_by:
            return True
        outcomes: dict[str, str] = {}
        homes: defaultdict[int, list[PlanRow]] = defaultdict(list)
        # What a person named is judged again: this is the last moment to see whose the account is.
        due = [row for row in rows if _is_due(row, piloted)]
        against = await objections(directory, job, [row for row in due if is_named(row)])
        outcomes |= {row.subject: refused(against[row.id]) for row in rows if row.id in against}
        for row in (as_link(row) for row in due if row.id not in against):
            homes[directory.keys.bucket(row.shown["account"]["id"])].append(row)
        # The next run must decide on these again, linked or not, because an undo leaves them open again.
        seen = directory.seen_writer(job.id, f"reviewed{bucket:02x}")
        for row in chain.from_iterable(homes.values()):
            await seen.doubt_account(account_of(row))
        await seen.close()
        for batch in homes.values():
            outcomes |= await _link(directory, job, batch, left_out)
        # Before the outcomes are kept, so that after a crash it is done again.
        await plan.close(subject for subject, outcome in outcomes.items() if outcome == LINKED)
        await plan.record_outcomes(bucket, outcomes, [row for row in rows if row.subject in outcomes])
        settled = [outcomes.get(row.subject, row.outcome) for row in rows]
        counts.update(_counts(filter(None, settled)))
    return False


def _is_excluded(row: PlanRow) -> bool:
    return row.review is not None and row.review["action"] == EXCLUDE


async def _link(
    directory: Directory,
    job: Job,
    rows: Sequence[PlanRow],
    left_out: LeftOut,
    reserved: Collection[str] = (),
    *,
    again: bool = True,
) -> dict[str, str]:
    """Link the accounts of rows, all of one bucket; return each row's outcome by its subject."""
    by = by_run(job.id)
    rows = sorted(rows, key=account_of)
    accounts = await find_neighbours(directory.accounts, list(map(account_of, rows)))
    outcomes: dict[str, str] = {}
    changes: list[tuple[Account, Account]] = []
    subjects: list[str] = []
    turn = turns.Turns()
    for row, account in zip(rows, accounts, strict=True):
        await turn.step()
        if account is None:
            outcomes[row.subject] = refused(WHY[DELETED])
        elif account.link and (account.link.identity, account.link.by) == (row.subject, by):
            outcomes[row.subject] = LINKED
        elif account.etag != row.version:
            outcomes[row.subject] = refused(WHY[CHANGED])
        elif attribute := left_out.find(row, account.id, account.user_name):
            outcomes[row.subject] = refused(WHY[attribute])
        else:
            changes.append((account, _linked(account, row, by, job.approved or job.started)))
            subjects.append(row.subject)
    linked = await replace_many(directory.accounts, changes, by=by, action="link", reserved=reserved)
    done = dict(zip(subjects, linked, strict=True))
    outcomes |= {subject: _outcome(outcome) for subject, outcome in done.items()}
    lost = [row for row in rows if isinstance(done.get(row.subject), DirectoryError)]
    # Durable Functions may run an activity twice at once, so the other writer may have been its twin: look again.
    return outcomes | (await _link(directory, job, lost, left_out, again=False) if lost and again else {})


def _counts(outcomes: Iterable[str]) -> Iterator[str]:
    """Yield the counts to which outcomes add one."""
    return chain.from_iterable(map(counts_of, outcomes))


def _linked(account: Account, row: PlanRow, by: str, at: str) -> Account:
    """Return the account linked to the row's identity, whose object id is its externalId; nothing else changes."""
    proven = row.decision == DecisionKind.LINK
    rule = proving_rule(map(MatchEvidence.from_json, row.shown["evidence"])).value if proven else REVIEWED
    link = Link(row.subject, rule, at, by)
    # A pair that was taken apart is joined by a person: the plan leaves it for a review.
    parted = account.parted if proven else account.joined_with(row.subject)
    return account.with_external_id(row.subject, status=Status.CLAIMED, link=link, retired=False, parted=parted)


def _outcome(outcome: BulkOutcome) -> str:
    match outcome:
        case Account():
            return LINKED
        case AlreadyExists():
            return refused(WHY[HELD], outcome.attribute)
        case _:
            return refused(WHY[CHANGED])
