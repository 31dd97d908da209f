"""The pass that carries out an approved plan: what it planned, on accounts that are as the plan saw them.

A row whose account changed since, or whose identity found another account meanwhile, is refused and says so; the
others are linked. A slice that runs again finds its own links and counts them as done.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from itertools import chain

from link_orchestrator.messages import Slice
from link_orchestrator.run import account_of, as_link, by_run, reviews_of
from link_orchestrator.staged import LINKS, RESERVED
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.matching.accounts import DecisionKind, MatchEvidence, proving_rule
from shared.directory.records.bulk import BulkOutcome, find_neighbours, replace_many, reserve_many
from shared.directory.records.model import Account, Link, Status
from shared.directory.work.jobs import Job
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import EXCLUDE
from shared.tables.access import in_parts

LINKED, REFUSED = "linked", "refused"
REVIEWED = "review"
"""What proves a link in the place of a match rule: somebody looked, whom the plan's row names."""
AT_ONCE = 500
"""Links between two looks at whether the run was cancelled."""
WORTH_RESERVING = 50
"""Links in a bucket of claims from which on reserving them reads less than looking each one up."""


async def reserve(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Claim the identities that apply() will link, in the order in which claims are stored."""
    writer = directory.stage(job.id + RESERVED).writer(part.name)
    links: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    async for bucket, items in directory.stage(job.id + LINKS).read_many(part.low, part.high):
        links[bucket] += [(account_id, identity) for account_id, identity in items]
    for some in links.values():
        if len(some) >= WORTH_RESERVING:
            for account_id in await reserve_many(directory.accounts, some, by=by_run(job.id)):
                await writer.add(directory.keys.bucket(account_id), account_id)
    await writer.close()
    return Counter()


async def apply(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Link what the plan's rows of a slice say; only the first of them if the run is cancelled on the way."""
    plan = directory.plan(job.id)
    counts: Counter[str] = Counter()
    staged = directory.stage(job.id + RESERVED).read_many(part.low, part.high)
    reserved = {account_id async for _, ids in staged for account_id in ids}
    for bucket in range(part.low, part.high):
        rows = [row async for some in plan.decided(bucket, DecisionKind.LINK.value) for row in some]
        counts.update(_word(row.outcome) for row in rows if row.outcome)
        # In order of id neighbouring accounts are read and written together: fewer pages of the store, and requests.
        left = sorted((row for row in rows if not row.outcome and not _is_excluded(row)), key=account_of)
        for chunk in in_parts(left, AT_ONCE):
            if (await directory.jobs.get(job.id)).cancelled_by:
                return counts
            outcomes = await _link(directory, job, chunk, reserved)
            await plan.settle(bucket, outcomes, chunk)
            counts.update(map(_word, outcomes.values()))
        if job.reviewed and await _apply_reviewed(directory, job, plan, bucket, counts):
            return counts
    return counts


async def _apply_reviewed(directory: Directory, job: Job, plan: Plan, bucket: int, counts: Counter[str]) -> bool:
    """Link the rows of a bucket that a review links. Returns True if the run was cancelled on the way."""
    async for rows in reviews_of(directory, job.id).chosen(bucket):
        if rows and (await directory.jobs.get(job.id)).cancelled_by:
            return True
        outcomes: dict[str, str] = {}
        homes: defaultdict[int, list[PlanRow]] = defaultdict(list)
        for row in (as_link(row) for row in rows if not row.outcome):
            homes[directory.keys.bucket(row.shown["account"]["id"])].append(row)
        # The next run decides on these again, linked or not: if the link is taken back, they are left open again.
        seen = directory.seen_writer(job.id, f"reviewed{bucket:02x}")
        for row in chain.from_iterable(homes.values()):
            await seen.doubt_account(account_of(row))
        await seen.close()
        for some in homes.values():
            outcomes |= await _link(directory, job, some)
        # Before the outcome is kept: what a crash cuts off here is done again.
        await plan.close(subject for subject, outcome in outcomes.items() if outcome == LINKED)
        await plan.settle(bucket, outcomes, [row for row in rows if row.subject in outcomes])
        settled = [outcomes.get(row.subject, row.outcome) for row in rows]
        counts.update(_word(outcome) for outcome in settled if outcome)
    return False


def _is_excluded(row: PlanRow) -> bool:
    return row.review is not None and row.review["action"] == EXCLUDE


async def _link(
    directory: Directory, job: Job, rows: Sequence[PlanRow], reserved: Collection[str] = (), *, again: bool = True
) -> dict[str, str]:
    """Link rows of one bucket; return what became of each, by its subject."""
    by = by_run(job.id)
    rows = sorted(rows, key=account_of)
    accounts = await find_neighbours(directory.accounts, list(map(account_of, rows)))
    outcomes: dict[str, str] = {}
    changes: list[tuple[Account, Account]] = []
    subjects: list[str] = []
    for row, account in zip(rows, accounts, strict=True):
        if account is None:
            outcomes[row.subject] = f"{REFUSED}: the account was deleted since the plan"
        elif account.link and (account.link.identity, account.link.by) == (row.subject, by):
            outcomes[row.subject] = LINKED
        elif account.etag != row.version:
            outcomes[row.subject] = f"{REFUSED}: the account changed since the plan; a new run decides again"
        else:
            changes.append((account, _linked(account, row, by, job.approved or job.started)))
            subjects.append(row.subject)
    linked = await replace_many(directory.accounts, changes, by=by, action="link", reserved=reserved)
    done = dict(zip(subjects, linked, strict=True))
    outcomes |= {subject: _outcome(outcome) for subject, outcome in done.items()}
    lost = [row for row in rows if isinstance(done.get(row.subject), DirectoryError)]
    # Durable Functions may run an activity twice at once: who was faster may have been this very one.
    return outcomes | (await _link(directory, job, lost, again=False) if lost and again else {})


def _word(outcome: str) -> str:
    """Return the first word of an outcome, by which it is counted."""
    return outcome.partition(":")[0]


def _linked(account: Account, row: PlanRow, by: str, at: str) -> Account:
    """Return the account with the identity's object id stamped as externalId; nothing else of it changes."""
    proven = row.decision == DecisionKind.LINK
    rule = proving_rule(map(MatchEvidence.from_json, row.shown["evidence"])).value if proven else REVIEWED
    link = Link(row.subject, rule, at, by)
    return account.with_external_id(row.subject, status=Status.CLAIMED, link=link, retired=False)


def _outcome(outcome: BulkOutcome) -> str:
    match outcome:
        case Account():
            return LINKED
        case AlreadyExists():
            return f"{REFUSED}: another account holds this identity's {outcome.attribute} by now"
        case _:
            return f"{REFUSED}: the account changed since the plan; a new run decides again"
