"""How long jobs are kept: what goes once the policy's term after their end is over, and what an undo still needs.

A job goes with its rows, which name everybody whom it was about, and with its orchestration. Of a run whose links stand
the rows stay by which it linked, so that an undo finds them. Of a run on which the next one builds, what later runs
look up stays: digests of the identities that it left open.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import replace

from link_orchestrator.kinds import RUN, UNDO, VERIFICATION
from link_orchestrator.lifecycle import ENDED, Orchestrations
from link_orchestrator.passes.undo_names import OWED, Owed, debts_about, debts_of
from link_orchestrator.passes.undo_verdicts import INACTIVE
from link_orchestrator.run import APPROVALS, account_of, as_link
from link_orchestrator.staged import IMPORTED, SWITCHED_ON, reading_names
from link_orchestrator.warnings import without_people
from shared.directory.directory import Directory
from shared.directory.keys import fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.groups import GroupDecisionKind, is_linked_to
from shared.directory.records.model import Account
from shared.directory.work.jobs import CHANGING, UNDOS, Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import LINK
from shared.directory.work.stages import is_older
from shared.host.problems import loggable
from shared.tables.access import in_parts, in_waves

log = logging.getLogger("scimlink")

AT_ONCE = 500
"""Rows whose accounts are read at once."""
AGAIN_DAYS = 30
"""Days after which the rows are looked through again that were kept of a run: each look reads all their accounts."""
MOST_FAILURES = 10
"""Jobs in a row that may fail to be removed. Of so many it is not the jobs that are at fault."""
GROUPS: Collection[str] = frozenset(GroupDecisionKind)


async def remove_over(directory: Directory, client: Orchestrations) -> None:
    """Remove the jobs whose term is over, or what no undo needs of them.

    Nothing is removed while a run, an undo or a verification reads such rows. One job that cannot be removed, because a
    row of it is damaged, keeps no other.
    """
    days, now = (await directory.policies.get()).job_days, directory.jobs.now()
    used = await _built_on(directory)
    removed, reduced, failed = 0, 0, 0
    found_by = await directory.findings.runs()  # before the jobs: a run that begins later has found nothing yet
    await directory.jobs.mend_entries()
    jobs = await directory.jobs.list_all()
    # A slice that was under way when its run failed writes what it found behind the end.
    for run in found_by - {job.id for job in jobs if not job.state.ended}:
        await directory.findings.clear(run)
    for job in jobs:
        if not _is_over(job, days, now):
            continue
        if failed == MOST_FAILURES or await directory.jobs.is_under_way(CHANGING, VERIFICATION.name):
            break
        try:
            stays = await _leave(directory, client, job, used)
        except Exception as error:
            log.error("job %s: its removal failed with %s", job.id, loggable(error))
            failed += 1
        else:
            removed, reduced, failed = removed + (not stays), reduced + stays, 0
    if removed or reduced:
        log.info("jobs %s: %d removed, %d reduced to what an undo needs", directory.name, removed, reduced)


def _is_over(job: Job, days: int, now: str) -> bool:
    """Tell whether a job's term is over; of one that was reduced, whether it may be less by now that an undo needs."""
    if not job.state.ended or not is_older(job.ended or job.started, days, now):
        return False
    return job.reduced is None or is_older(job.reduced, AGAIN_DAYS, now)


async def _leave(directory: Directory, client: Orchestrations, job: Job, used: Collection[str]) -> bool:
    """Remove a job, or what no undo and no run needs of it; return whether it stays."""
    await _purge(client, job.id)
    kept = await _reduce(directory, job) if job.kind == RUN.name else 0
    if not kept and job.id not in used:
        await _remove(directory, job)
        return False

    def reduced(one: Job) -> Job:
        return replace(_nameless(one), reduced=directory.jobs.now(), warned=without_people(one.warned))

    await directory.jobs.change(job.id, reduced)
    return True


def _nameless(job: Job) -> Job:
    """Return a job without the names of the persons who started, approved or cancelled it."""
    approvals = [{n: v for n, v in one.items() if n != "person"} for one in job.options.get(APPROVALS, ())]
    options = {**job.options, APPROVALS: approvals} if approvals else job.options
    return replace(job, persons=None, options=options)


async def _built_on(directory: Directory) -> set[str]:
    """Return the runs that the next run, or SCIM, looks up."""
    bookmark = await directory.readings.find_bookmark()
    runs = {*await directory.jobs.find_chain(), *await directory.jobs.find_seen()}
    return runs | ({bookmark.job} if bookmark else set())


async def _purge(client: Orchestrations, job_id: str) -> None:
    """Remove a job's orchestration. Azure would remove one that is under way, too."""
    status = await client.get_status(job_id)
    if status is not None and status.runtime_status is not None and status.runtime_status.value in ENDED:
        await client.purge_instance_history(job_id)


async def _remove(directory: Directory, job: Job) -> None:
    """Remove a job and all its rows; the job itself last, so that what breaks off here is found again."""
    also = {RUN.name: reading_names(job.id), **{kind: [job.id + SWITCHED_ON] for kind in UNDOS}}
    for name in (job.id, *also.get(job.kind, ())):
        await directory.plan(name).clear()
    if job.kind == UNDO.name:
        await _remove_owed(directory, job)
    await directory.stages.clear(job.id, [job.id + IMPORTED])
    if job.kind == RUN.name:
        await directory.plan_names(job.id).clear()
        await directory.findings.clear(job.id)
    await directory.jobs.remove(job)


async def _remove_owed(directory: Directory, undo: Job) -> None:
    """Remove what an undo still owes."""
    debts = debts_of(directory, undo)
    for bucket in range(directory.keys.buckets):
        async for rows in debts.decided(bucket, OWED):
            await debts.remove(bucket, [row.id[2:] for row in rows if row.shown["undo"] == undo.id])


async def _reduce(directory: Directory, run: Job) -> int:
    """Remove the rows of a run's plan that no undo needs, and what is kept beside them; return how many stay."""
    kept = 0
    for name in reading_names(run.id):
        await directory.plan(name).clear()
    await directory.plan_names(run.id).clear()
    owed = await _owed(directory, run)
    for bucket in range(directory.keys.buckets):
        async for rows in _pages(directory, run, bucket):
            compared = {row.subject for row in rows if row.decision in GROUPS}
            await in_waves(directory.differences(run.id, subject).clear() for subject in compared)
            stand = await _standing(directory, rows)
            stand |= {row.id for row in rows if (row.decision, row.subject) in owed}
            kept += len(stand)
            await directory.plan(run.id).remove(bucket, [row.id[2:] for row in rows if row.id not in stand])
            await directory.plan(run.id).forget_persons(bucket, [row for row in rows if row.id in stand])
    return kept


async def _owed(directory: Directory, run: Job) -> set[tuple[str, str]]:
    """Return the rows of a run's plan, by decision and subject, in which an undo will tell that a name is back."""
    debts = debts_about(directory, run.id)
    pages = [rows for bucket in range(directory.keys.buckets) async for rows in debts.decided(bucket, OWED)]
    return {planned for rows in pages for row in rows if (planned := Owed.from_row(row).planned)}


async def _pages(directory: Directory, run: Job, bucket: int) -> AsyncIterator[Sequence[PlanRow]]:
    async for rows in directory.plan(run.id).decided(bucket):
        for some in in_parts(rows, AT_ONCE):
            yield some


async def _standing(directory: Directory, rows: Sequence[PlanRow]) -> set[str]:
    """Return the ids of the rows whose links stand, or may stand: of those an undo decides by the account's history."""
    links = [row if row.decision == DecisionKind.LINK else as_link(row) for row in rows if _links(row)]
    accounts = await directory.accounts.find_many([account_of(row) for row in links])
    since = await directory.term_begin()
    stand = {row.id for row, account in zip(links, accounts, strict=True) if account and _stands(row, account, since)}
    for row in rows:
        if row.decision == GroupDecisionKind.LINK and not row.undone:
            group = await directory.groups.find(row.shown["group"]["id"])
            if group and (group.retired or is_linked_to(group, row.subject)):
                stand.add(row.id)
    return stand


def _stands(row: PlanRow, account: Account, since: str) -> bool:
    """Tell whether a link stands, or an undo left its account inactive, which another may switch on (since a time)."""
    if row.undone:
        return account.link is None and not account.retired and not account.active and account.modified > since
    return account.retired or (account.link is not None and fold(account.link.identity) == fold(row.subject))


def _links(row: PlanRow) -> bool:
    """Tell whether a run linked an account by this row, and no undo took all of that back."""
    reviewed = row.review is not None and row.review["action"] == LINK
    taken_back = row.undone and not row.undone.startswith(INACTIVE)
    return not taken_back and (row.decision == DecisionKind.LINK or reviewed)
