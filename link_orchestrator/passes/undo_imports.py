"""The passes that take an import of accounts back: whom it made goes, and whom it changed is what they were.

foresee_import   says what an undo would come to at each account, as things are; it changes none
count_import     counts the accounts that would be switched on, or deleted, where the request names their number
undo_import      the list of accounts, their histories, what was kept of them -> accounts as they were, a report

Before an import writes, it lists which accounts that is about; which of them it really made or changed their histories
tell. So an undo can be cut off anywhere and goes on, and a slice that runs again counts what it did before. What
becomes of an account is decided in undo_import_verdicts.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from typing import Final

from link_orchestrator.messages import ACTIVATING, REMOVING, Slice
from link_orchestrator.passes.undo_import_verdicts import REMOVED, Asked, Verdict, judge
from link_orchestrator.passes.undo_verdicts import REFUSED
from link_orchestrator.run import account_of, by_import, by_undo, planned_links
from link_orchestrator.staged import IMPORTED, SWITCHED_ON
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError
from shared.directory.keys import Key, folded
from shared.directory.records.audit import UNDO_IMPORT, Change
from shared.directory.records.claims import ATTRIBUTES
from shared.directory.records.kept import Kept, list_replaced
from shared.directory.records.model import Account
from shared.directory.records.removing import delete_many
from shared.directory.records.resources import TRIES
from shared.directory.records.unlinking import fence_many, release_many
from shared.directory.work.jobs import RUN, Job, State, made_at
from shared.directory.work.plan import PlanRow
from shared.tables.access import in_parts, in_waves

AT_ONCE = 200
"""Accounts that are taken back between two looks at whether the undo was cancelled."""
SWITCHES_OFF: Final = "switchesOff"
"""Count of the active accounts that an undo would make inactive again, as they were before the import."""


async def foresee_import(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Say what an undo of the import would come to at the accounts of a slice, as things are. It changes none."""
    counts: Counter[str] = Counter()
    async for bucket, some in _pages(directory, job, slice_):
        asked = await _asked(directory, job, bucket)
        found = await _read(directory, asked, some)
        verdicts = [(account, judge(account, history, kept, asked)) for account, history, kept in found]
        taken = await _taken(directory, [(a, v.after) for a, v in verdicts if a and v and v.after])
        rows: list[PlanRow] = []
        for one, (account, judged) in zip(some, verdicts, strict=True):
            if judged is None:
                continue
            verdict = Verdict(REFUSED, f"not undone: {taken[one]}") if one in taken else judged
            rows.append(_row(one, account.user_name if account else "", verdict))
            counts[verdict.outcome] += 1
            if account and account.active and verdict.after and not verdict.after.active:
                counts[SWITCHES_OFF] += 1
        await directory.plan(job.id).write(bucket, rows)
    return counts


async def _taken(directory: Directory, changes: Sequence[tuple[Account, Account]]) -> dict[str, AlreadyExists]:
    """Return why accounts would not get their former values back, by id: another account has one by now.

    Where that one gives it back in the same undo, it depends on which of the two comes first.
    """
    wanted = [(before.id, key) for before, account in changes for key in _gets_back(before, account)]
    claimed = await directory.accounts.claims.claimed_many([key for _, key in wanted])
    others = dict.fromkeys(filter(None, claimed))
    holders = {account.id: account for account in await directory.accounts.find_many([*others]) if account}
    found: dict[str, AlreadyExists] = {}
    for (own, key), holder_id in zip(wanted, claimed, strict=True):
        holder = holders.get(holder_id or "")
        if holder and holder.id != own and key in holder.claims():
            found[own] = AlreadyExists(ATTRIBUTES[key.kind], holder.id)
    return found


def _gets_back(before: Account, after: Account) -> Iterator[Key]:
    """Yield the keys of an account's former values that one account alone may have."""
    yield from after.claims() - before.claims()
    if after.external_id and after.external_id != before.external_id:
        yield folded(Key("identity", after.external_id))


async def count_import(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Count the accounts of a slice of which the request names a number, and list them with their versions."""
    counts = Counter({name: 0 for name, option in _NUMBERS.items() if option in job.options})
    async for bucket, some in _pages(directory, job, slice_):
        asked, found = await _as_things_are(directory, job, bucket), list[PlanRow]()
        for account, history, kept in await _read(directory, asked, some):
            verdict = judge(account, history, kept, asked)
            if verdict and account:
                does = {ACTIVATING: verdict.activates, REMOVING: verdict.removes}
                found += [PlanRow(name, account.id, {}, account.etag) for name in counts if does[name]]
        await directory.plan(job.id + SWITCHED_ON).write(bucket, found)
        counts.update(row.decision for row in found)
    return counts


_NUMBERS: Final = {ACTIVATING: "activate", REMOVING: "remove"}
"""What an undo counts before it begins, by the option that names the number of it."""


async def undo_import(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Take back what the import did to the accounts of a slice; stop early if the undo is cancelled."""
    counts: Counter[str] = Counter()
    imported = await directory.jobs.get(job.options["import"])
    async for bucket, some in _pages(directory, job, slice_):
        asked = await _asked(directory, job, bucket)
        names = {account.id: account.user_name for account in await directory.accounts.find_many(some) if account}
        verdicts = await _take_back(directory, asked, some, late=imported.state is not State.DONE)
        counts.update(verdict.outcome for verdict in verdicts.values())
        rows = [_row(one, names.get(one, ""), verdict) for one, verdict in verdicts.items()]
        # Of one that an attempt which was cut off removed, that has told the name.
        plan = directory.plan(job.id)
        told = await plan.keys(bucket, [REMOVED]) if any(row.subject not in names for row in rows) else set()
        fresh = [row for row in rows if row.subject in names or plan.key(row.decision, row.subject) not in told]
        await plan.write(bucket, fresh)
    return counts


async def _take_back(
    directory: Directory, asked: Asked, some: Sequence[str], *, late: bool, tries: int = TRIES
) -> dict[str, Verdict]:
    """Take back what an import did to accounts of one bucket; return what became of each that it touched, by its id.

    `late` says that an activity of the import may still be under way.
    """
    accounts, verdicts, lost = directory.accounts, dict[str, Verdict](), set[str]()
    untouched: list[Account] = []
    found = await _read(directory, asked, some)
    by_id = {account.id: account for account, _, _ in found if account}
    for one, (account, history, kept) in zip(some, found, strict=True):
        verdict = judge(account, history, kept, asked)
        if verdict is not None:
            verdicts[one] = verdict
        elif account is not None and late:
            untouched.append(account)
    by = by_undo(asked.undo)
    changes = [(by_id[one], verdict.after) for one, verdict in verdicts.items() if verdict.after]
    removed = [by_id[one] for one, verdict in sorted(verdicts.items()) if verdict.removes]
    outcomes = await release_many(accounts, changes, by=by, action=UNDO_IMPORT)
    deleted = await delete_many(accounts, removed, by=by)
    lost |= await fence_many(accounts, untouched)
    before = [account for account, _ in changes] + removed
    for account, outcome in zip(before, [*outcomes, *deleted], strict=True):
        if isinstance(outcome, DirectoryError):
            verdicts[account.id] = Verdict(REFUSED, f"not undone: {outcome}")
            lost.add(account.id)
    gone = [one for one, verdict in verdicts.items() if verdict.outcome == REMOVED]
    # A crash before this leaves memberships of nobody, which the sweep removes.
    await in_waves(directory.members.leave(one, by=by) for one in gone)
    if lost and tries > 1:
        # Others were faster: an edit, provisioning, or a twin of this activity. Look again.
        again = [one for one in some if one in lost]
        verdicts |= await _take_back(directory, asked, again, late=late, tries=tries - 1)
    return verdicts


def _row(account_id: str, user_name: str, verdict: Verdict) -> PlanRow:
    """Return what is told of an account."""
    shown = {"reason": verdict.reason, "account": {"id": account_id, "userName": user_name}}
    return PlanRow(verdict.outcome, account_id, shown)


async def _pages(directory: Directory, job: Job, slice_: Slice) -> AsyncIterator[tuple[int, list[str]]]:
    """Yield the accounts of a slice that the import may have touched, with their bucket, some at a time.

    Nothing more comes once the undo is cancelled.
    """
    stage = directory.stage(job.options["import"] + IMPORTED)
    for bucket in slice_.buckets:
        ids = sorted({one async for items in stage.read(bucket) for one in items})
        for some in in_parts(ids, AT_ONCE):
            if (await directory.jobs.get(job.id)).cancelled_by:
                return
            yield bucket, list(some)


async def _asked(directory: Directory, job: Job, bucket: int) -> Asked:
    """Return what the undo was asked for, with what it has to know of a bucket's accounts."""
    asked, listed = await _as_things_are(directory, job, bucket), directory.plan(job.id + SWITCHED_ON)
    if "activate" in job.options:
        async for rows in listed.decided(bucket, ACTIVATING):
            asked = replace(asked, switched_on={**asked.switched_on, **{row.subject: row.version for row in rows}})
    if "remove" in job.options:
        removable: dict[str, str] = {}
        async for rows in listed.decided(bucket, REMOVING):
            removable |= {row.subject: row.version for row in rows}
        asked = replace(asked, removable=removable)
    return asked


async def _as_things_are(directory: Directory, job: Job, bucket: int) -> Asked:
    """Return what an undo was asked for, but for the accounts whose number was named."""
    run, planned = await directory.jobs.find_under_way(RUN), set[str]()
    if run and run.state is State.PLANNED:
        async for links in planned_links(directory, run, bucket):
            planned |= {account_of(row) for row in links}
    last = await directory.jobs.find_planned()
    since = last is not None and made_at(last) > made_at(job.options["import"])
    return Asked(job.id, job.options["import"], run=run.id if run else "", planned=planned, planned_since=since)


async def _read(
    directory: Directory, asked: Asked, some: Sequence[str]
) -> list[tuple[Account | None, Sequence[Change], Sequence[Kept]]]:
    """Return accounts with their histories, and what the import replaced of them."""
    accounts = await directory.accounts.find_many(some)
    histories = await in_waves(map(directory.accounts.history, some))
    since, by = await directory.term_begin(), by_import(asked.imported)

    async def replaced(one: str, history: Sequence[Change]) -> Sequence[Kept]:
        changed = any(change.by == by and change.action != "create" for change in history)
        return await list_replaced(directory.tables, directory.keys, one, asked.imported, since) if changed else ()

    kept = await in_waves(replaced(one, history) for one, history in zip(some, histories, strict=True))
    return list(zip(accounts, histories, kept, strict=True))
