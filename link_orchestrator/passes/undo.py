"""The passes that take back the links of a run, or those that creates over SCIM made: every account is what it was.

prepare   closes the gate before SCIM, and suspends the directory's schedule
count     counts the accounts that would be switched on, where the request names their number
undo      plan's rows, accounts, their histories and what was kept of them -> accounts as they were, and a report

Each account's history says whether the link was made, what its link was before, and what happened since. What
provisioning replaced is kept beside it (shared/directory/records/kept.py). So a run can be taken back wherever it was
cut off, and a slice that runs again counts what it did before. What becomes of an account is decided in
undo_verdicts.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from link_orchestrator.messages import ACTIVATING, Slice
from link_orchestrator.passes.undo_names import Owed, debts_of, told_in
from link_orchestrator.passes.undo_verdicts import (
    GIVEN_BACK,
    NOT_KEPT,
    REFUSED,
    USER_NAME,
    Asked,
    Taken,
    Verdict,
    judge,
    keeps_attributes,
    made_at,
)
from link_orchestrator.run import (
    LINKED,
    PILOT,
    account_of,
    as_link,
    by_run,
    by_undo,
    pilots_of,
    planned_links,
    rows_of_pilots,
)
from link_orchestrator.schedule import suspend_for
from link_orchestrator.staged import SWITCHED_ON
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.records.audit import Change, changed_values
from shared.directory.records.kept import SCHEMAS, Kept, list_kept
from shared.directory.records.model import Account
from shared.directory.records.resources import TRIES
from shared.directory.records.unlinking import fence_many, release_many
from shared.directory.work.adoptions import Adoption
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.tables.access import AT_ONCE, in_parts, together

ADOPTIONS_AT_ONCE = 500
"""Adoptions that are taken back between two looks at whether the undo was cancelled."""
HISTORIES_AT_ONCE = 64
"""Histories that are read at the same time."""
NOT_TOLD: Final = {"externalId", SCHEMAS}
"""Attributes that an undo gives back with the link itself, or that follow from the others."""


async def prepare(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Close the gate before SCIM, for a bounded time, and suspend the schedule: no run may join what is taken apart."""
    await suspend_for(directory, job)
    if not await directory.gate.was_closed_by(job.id):
        await directory.gate.close(job.id)
    if (await directory.jobs.get(job.id)).state.ended:  # a twin of this activity has come late
        await directory.gate.open(job.id)
    return Counter()


async def count(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Count the accounts of a slice that the undo would switch on, and list them with their versions."""
    counts = Counter({ACTIVATING: 0})
    asked = _asked(job)
    async for bucket, some in _pages(directory, job, slice_):
        found: list[PlanRow] = []
        for item, account, history, kept in await _read(directory, some):
            verdict = judge(item, account, history, kept, asked)
            if verdict and verdict.activates and account:
                found.append(PlanRow(ACTIVATING, account.id, {}, account.etag))
        await directory.plan(job.id + SWITCHED_ON).write(bucket, found)
        counts[ACTIVATING] += len(found)
    return counts


async def undo(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back the links of a slice of a run's plan, or its adoptions; stop early if the undo is cancelled."""
    counts: Counter[str] = Counter()
    run = job.options.get("run")
    marked = list(dict.fromkeys((*await directory.jobs.find_chain(), *([run] if run else ()))))
    async for bucket, some in _pages(directory, job, slice_):
        switched_on = {row.subject: row.version async for row in _switched_on(directory, job, bucket)}
        verdicts = await take_back(directory, job, _asked(job, switched_on), bucket, some, marked)
        reported = [_report(item, verdicts[item.account]) for item in some if item.account in verdicts]
        counts.update(row.decision for row in reported)
        # A twin of this activity that is late counts the same again; what is told since it leaves as it is.
        told = await told_in(directory, job, bucket)
        reported = [row for row in reported if row.subject not in told]
        await directory.plan(job.id).write(bucket, reported)
        if run:
            await _tell(directory, job, bucket, some, reported)
    return counts


async def _tell(
    directory: Directory, job: Job, bucket: int, some: Sequence[Taken], reported: Sequence[PlanRow]
) -> None:
    """Write into the rows of the run's plan that this undo took their links back."""
    outcomes = {row.subject: row.decision for row in reported if row.decision in GIVEN_BACK}
    rows = [item.row for item in some if item.row and item.account in outcomes]
    told = {row.subject: f"{outcomes[account_of(row)]} by {job.id}" for row in rows}
    await directory.plan(job.options["run"]).record_undone(bucket, told, rows)


async def take_back(
    directory: Directory,
    job: Job,
    asked: Asked,
    bucket: int,
    some: Sequence[Taken],
    plans: Sequence[str],
    *,
    tries: int = TRIES,
    taken: Collection[str] = (),
) -> dict[str, Verdict]:
    """Take links back; return what became of each account that had its link, by its id.

    `bucket` is that of the links' rows. `plans` are the runs in whose plans the identities are noted as left open.
    `taken` are the ids of accounts whose userName another account has by now.
    """
    verdicts: dict[str, Verdict] = {}
    untouched: list[Account] = []
    found = await _read(directory, some)
    by_id = {account.id: account for _, account, _, _ in found if account}
    for item, account, history, kept in found:
        verdict = judge(item, account, history, kept, asked, name_taken=item.account in taken)
        if verdict is not None:
            verdicts[item.account] = replace(verdict, account=verdict.after or account)
        elif account is not None and item.late and account.etag == item.late:
            # An activity of a run that died may still be under way, and would link the account after this look.
            untouched.append(account)
    # Before the links go, so that SCIM neither links nor creates anybody meanwhile: only a person joins them again.
    open_ = {item.identity: DecisionKind.REVIEW.value for item in some if _gives_back(verdicts.get(item.account))}
    for run in plans if open_ else ():
        await directory.plan(run).leave_open(open_)
    # Before them, too: cut off behind it, the undo would owe names of which nobody knows.
    owed = [_owed(job, item, verdicts[item.account]) for item in some if item.account in verdicts]
    if noted := [one.to_row() for one in owed if one]:
        await debts_of(directory, job).write(bucket, noted)
    changes = [(by_id[i], verdict.after) for i, verdict in verdicts.items() if verdict.after]
    outcomes = await release_many(directory.accounts, changes, by=by_undo(asked.undo), action="undo")
    lost = await fence_many(directory.accounts, untouched)
    names = {before.id for (before, _), outcome in zip(changes, outcomes, strict=True) if _is_name_taken(outcome)}
    for (before, _), outcome in zip(changes, outcomes, strict=True):
        if isinstance(outcome, DirectoryError):
            verdicts[before.id] = Verdict(REFUSED, f"not undone: {outcome}")
            lost.add(before.id)
    if lost and tries > 1:
        # Others were faster: the run's own late activity, provisioning, or a twin of this activity. Look again.
        retried = [item for item in some if item.account in lost]
        taken = {*taken, *names}
        verdicts |= await take_back(directory, job, asked, bucket, retried, plans, tries=tries - 1, taken=taken)
    return verdicts


def _owed(job: Job, item: Taken, verdict: Verdict) -> Owed | None:
    """Return the name that an account is owed, None for none."""
    if verdict.owed is None or verdict.after is None:  # one that it left so before has it noted
        return None
    told, planned = (verdict.outcome, verdict.reason), (item.row.decision, item.row.subject) if item.row else None
    return Owed(item.account, USER_NAME, *verdict.owed, job.id, told, verdict.then, item.shown, planned)


def _gives_back(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.after is not None and verdict.after.link is None


def _is_name_taken(outcome: object) -> bool:
    return isinstance(outcome, AlreadyExists) and outcome.attribute == "userName"


def _asked(job: Job, switched_on: Mapping[str, str] | None = None) -> Asked:
    return Asked(job.id, keeps_attributes(job), switched_on or {})


async def _pages(directory: Directory, job: Job, slice_: Slice) -> AsyncIterator[tuple[int, list[Taken]]]:
    """Yield the links that a slice of the run's plan made or may have made, with their bucket, some at a time.

    Nothing more comes once the undo is cancelled.
    """
    run = await directory.jobs.get(job.options["run"]) if "run" in job.options else None
    for bucket in slice_.buckets if run is None or run.approved else ():
        async for some in _planned(directory, run, bucket) if run else _adopted(directory, bucket):
            if some and (await directory.jobs.get(job.id)).cancelled_by:
                return
            yield bucket, some


async def _planned(directory: Directory, run: Job, bucket: int) -> AsyncIterator[list[Taken]]:
    async for rows in planned_links(directory, run, bucket):
        yield [_taken(run, row) for row in rows]


async def _adopted(directory: Directory, bucket: int) -> AsyncIterator[list[Taken]]:
    """Yield the links that creates over SCIM made of a bucket's accounts, one an account: its last one."""
    last: dict[str, Adoption] = {}
    async for adoptions in directory.adoptions.scan(bucket):
        accounts = await directory.accounts.find_many([one.account for one in adoptions])
        for one, account in zip(adoptions, accounts, strict=True):
            known = last.get(one.account)
            if known is None or one.made(account) or (one.at > known.at and not known.made(account)):
                last[one.account] = one
    for some in in_parts(list(last.values()), ADOPTIONS_AT_ONCE):
        accounts = await directory.accounts.find_many([one.account for one in some])
        yield [_taken_of(one, account) for one, account in zip(some, accounts, strict=True)]


def _taken(run: Job, row: PlanRow) -> Taken:
    def made(change: Change) -> bool:
        return (change.action, change.by) == ("link", by_run(run.id))

    shown = {name: row.shown[name] for name in ("identity", "account") if name in row.shown}
    over = run.state is State.DONE or run.options.get(PILOT, {}).get("done")
    late = row.version if not row.outcome and not over else ""
    return Taken(account_of(row), row.subject, made, shown, late, row)


def _taken_of(adoption: Adoption, account: Account | None) -> Taken:
    def made(change: Change) -> bool:
        return (change.action, change.by) == ("adopt", adoption.by)

    shown = {"account": account.shown() if account else {"id": adoption.account, "userName": ""}}
    return Taken(adoption.account, adoption.identity, made, {"identity": {"objectId": adoption.identity}, **shown})


async def _switched_on(directory: Directory, job: Job, bucket: int) -> AsyncIterator[PlanRow]:
    """Yield the accounts of a bucket that the undo may switch on: those that were counted, if a number was named."""
    if "activate" in job.options:
        async for rows in directory.plan(job.id + SWITCHED_ON).decided(bucket, ACTIVATING):
            for row in rows:
                yield row


async def _read(
    directory: Directory, some: Sequence[Taken]
) -> list[tuple[Taken, Account | None, Sequence[Change], Sequence[Kept]]]:
    """Return for each link its account, the account's history, and what was kept of it since the link."""
    accounts = await directory.accounts.find_many([item.account for item in some])
    since = await directory.term_begin()
    found: list[tuple[Taken, Account | None, Sequence[Change], Sequence[Kept]]] = []
    for batch in in_parts(list(zip(some, accounts, strict=True)), HISTORIES_AT_ONCE):
        histories = await together(*(directory.accounts.history(item.account) for item, _ in batch))
        kept = await together(
            *(_kept(directory, item, history, since) for (item, _), history in zip(batch, histories, strict=True))
        )
        found += [(*one, history, some_) for one, history, some_ in zip(batch, histories, kept, strict=True)]
    return found


async def _kept(directory: Directory, item: Taken, history: Sequence[Change], since: str) -> Sequence[Kept]:
    """Return what was kept of an account from its link on; nothing is read where nothing but the link changed."""
    linked = made_at(item, history)
    if linked is None or not {name for change in history[linked:] for name in change.attributes} - NOT_KEPT:
        return ()
    return await list_kept(directory.tables, directory.keys, item.account, history[linked].number, since)


def _report(item: Taken, verdict: Verdict) -> PlanRow:
    # Provisioning may have renamed it since the plan: the report names it as it is called from now on.
    named = {"account": verdict.account.shown()} if verdict.account else {}
    return PlanRow(verdict.outcome, item.account, {"reason": verdict.reason, **item.shown, **named})


class Foreseen(NamedTuple):
    """What an undo would come to, as things are, at the links that were looked at. `more` says that there are others.

    `attributes` counts of how many accounts it would give each attribute back, and `activates` is how many are inactive
    that were active before provisioning switched them off. `switched_off` are the rows of those that are active and
    were not before.
    """

    rows: Sequence[PlanRow]
    attributes: Counter[str]
    activates: int
    switched_off: Sequence[PlanRow]
    looked: int
    more: bool

    @property
    def outcomes(self) -> Counter[str]:
        """How many links come to which outcome."""
        return Counter(row.decision for row in self.rows)


async def foresee(directory: Directory, run: Job, *, keeps_attributes: bool, most: int) -> Foreseen:
    """Return what an undo of a run would come to at the first links that it made, and change nothing."""
    some = await _first(directory, run, most + 1) if run.approved else []
    asked, activates, attributes = Asked("", keeps_attributes), 0, Counter[str]()
    rows, switched_off = list[PlanRow](), list[PlanRow]()
    found = [(one, judge(*one, asked)) for one in await _read(directory, some[:most])]
    taken = await _taken_names(directory, [(account, verdict) for (_, account, *_), verdict in found])
    for (item, account, history, kept), known in found:
        named = item.account in taken
        verdict = judge(item, account, history, kept, asked, name_taken=True) if named else known
        if verdict is None:  # the run did not link it
            continue
        rows.append(_report(item, replace(verdict, account=account)))
        activates += verdict.activates
        if account and verdict.after:
            attributes.update(_given_back(account, verdict.after))
            switched_off += rows[-1:] if account.active and not verdict.after.active else []
    return Foreseen(rows, attributes, activates, switched_off, len(found), len(some) > most)


def _given_back(account: Account, after: Account) -> Iterator[str]:
    """Yield the attributes that an undo gives back, those of an extension schema by its name and their own."""
    for name, (now, old) in changed_values(account, after).items():
        if name.startswith("urn:"):
            now, old = now or {}, old or {}
            yield from (f"{name}:{one}" for one in {*now, *old} if now.get(one) != old.get(one))
        elif name not in NOT_TOLD:
            yield name


async def _first(directory: Directory, run: Job, most: int) -> list[Taken]:
    """Return the first links that a run made: of one that was stopped, not those that it only planned."""
    found: list[Taken] = []
    if pilots_of(run):
        for buckets in in_parts(range(directory.keys.buckets), AT_ONCE):
            for rows in await together(*(rows_of_pilots(directory, run, bucket) for bucket in buckets)):
                found += [_taken(run, row if row.decision == DecisionKind.LINK else as_link(row)) for row in rows]
            if len(found) >= most:
                break
        return found[:most]
    for bucket in range(directory.keys.buckets):
        async for some in _planned(directory, run, bucket):
            made = [item for item in some if item.row and item.row.outcome == LINKED]
            found += made[: most - len(found)]
            if len(found) == most:
                return found
    return found


async def _taken_names(directory: Directory, found: Sequence[tuple[Account | None, Verdict | None]]) -> set[str]:
    """Return the ids of accounts whose former userName another account has, which does not give it back itself."""
    renamed = {
        account.id: verdict.after.user_name
        for account, verdict in found
        if account and verdict and verdict.after and fold(verdict.after.user_name) != fold(account.user_name)
    }
    holders = await together(
        *(directory.accounts.list_by(Key(USER_NAME, name), but=one) for one, name in renamed.items())
    )
    return {
        one for one, others in zip(renamed, holders, strict=True) if any(other.id not in renamed for other in others)
    }
