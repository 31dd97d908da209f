"""The pass that imports staged rows as accounts, one bucket of userNames at a time.

All rows of one userName are in one bucket, so it is seen if two rows want the same name. An account that exists is
brought up to date. What the identity provider manages is left as it is, and reported.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.messages import Slice
from link_orchestrator.problem_report import write_problems
from link_orchestrator.problems import Problem
from link_orchestrator.run import by_import
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key, fold, folded
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.model import Account, Authority, SignInEvidence, Status
from shared.directory.work.jobs import Job
from shared.tables.access import in_parts

AT_ONCE = 500
"""Rows that are imported between two looks at whether the import was cancelled."""
CREATED, UPDATED, UNCHANGED, REFUSED = "created", "updated", "unchanged", "refused"


async def import_rows(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Import the rows of a slice; stop early if the import is cancelled."""
    jobs = directory.jobs
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets:
        rows = [AccountRow.from_json(item) async for items in directory.stage(job.id).read(bucket) for item in items]
        if not rows:
            continue
        wanted, problems = _one_each(rows)
        for batch in in_parts(wanted, AT_ONCE):
            if (await jobs.get(job.id)).cancelled_by:
                return counts
            for outcome in await _import(directory, job, batch):
                if isinstance(outcome, Problem):
                    problems.append(outcome)
                else:
                    counts[outcome] += 1
        await write_problems(directory, job.id, bucket, problems)
        counts[REFUSED] += len(problems)
    return counts


def _one_each(rows: Sequence[AccountRow]) -> tuple[list[AccountRow], list[Problem]]:
    """Return the first row of each userName, and a problem for each later row that says something else."""
    by_name: defaultdict[str, list[AccountRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.line):
        by_name[fold(row.user_name)].append(row)
    return [first for first, *_ in by_name.values()], list(_conflicts(by_name.values()))


def _conflicts(groups: Iterable[Sequence[AccountRow]]) -> Iterator[Problem]:
    for first, *others in groups:
        for other in others:
            if replace(other, line=first.line) != first:
                yield Problem(
                    other.line,
                    f"userName: line {first.line} has the same one, and the rows differ; line {first.line} was taken",
                    "keep the row that is right and import the file again",
                )


async def _import(
    directory: Directory, job: Job, rows: Sequence[AccountRow], *, again: bool = True
) -> list[str | Problem]:
    """Import rows of one bucket, each of another userName; return the outcome of each, or the problem with it."""
    existing = await _existing(directory, rows)
    now = directory.accounts.now()
    # By userName and not by line, since a JSON file may be one line.
    outcomes: dict[str, str | Problem] = {}
    new: list[tuple[AccountRow, Account]] = []
    changed: list[tuple[AccountRow, tuple[Account, Account]]] = []
    for row, account in zip(rows, existing, strict=True):
        if account is None:
            new.append((row, _new(directory, job, row, now)))
        elif account.origin == job.id:
            outcomes[row.user_name] = CREATED
        else:
            after = _brought_up_to_date(account, row)
            if after == account:
                outcomes[row.user_name] = UNCHANGED
            elif account.authority is Authority.IDP and after.text != account.text:
                outcomes[row.user_name] = _managed(account, after, row)
            else:
                changed.append((row, (account, after)))
    new.sort(key=lambda pair: pair[1].id)  # so that neighbouring accounts are written together, as in passes/apply.py
    by = by_import(job.id)
    created = await create_many(directory.accounts, [account for _, account in new], by=by)
    updated = await replace_many(directory.accounts, [change for _, change in changed], by=by, action="import")
    for (row, _), outcome in zip(new, created, strict=True):
        outcomes[row.user_name] = _report(outcome, row, CREATED)
    for (row, _), outcome in zip(changed, updated, strict=True):
        outcomes[row.user_name] = _report(outcome, row, UPDATED)
    done = zip([*new, *changed], [*created, *updated], strict=True)
    if again and (lost := [row for (row, _), outcome in done if isinstance(outcome, DirectoryError)]):
        # Durable Functions may run an activity twice at once, so the other writer may have been its twin: look again.
        retried = await _import(directory, job, lost, again=False)
        outcomes |= {row.user_name: outcome for row, outcome in zip(lost, retried, strict=True)}
    return [outcomes[row.user_name] for row in rows]


async def _existing(directory: Directory, rows: Sequence[AccountRow]) -> list[Account | None]:
    """Return the account that has each row's userName, None where there is none."""
    names = [Key("userName", row.user_name) for row in rows]
    claimed = await directory.accounts.claims.claimed_many(names)
    accounts = await directory.accounts.find_many([account_id for account_id in claimed if account_id])
    by_id = {account.id: account for account in accounts if account}
    holders = [by_id.get(account_id or "") for account_id in claimed]
    # The holder of a claim may have another name by now.
    return [h if h and folded(name) in h.claims() else None for name, h in zip(names, holders, strict=True)]


def _new(directory: Directory, job: Job, row: AccountRow, now: str) -> Account:
    account_id = directory.keys.new_id(row.user_name)
    account = Account.new(account_id, {"active": True, **row.document}, Status.LOCAL, now)
    return replace(account, evidence=row.evidence, protected=row.protected, origin=job.id)


def _brought_up_to_date(account: Account, row: AccountRow) -> Account:
    """Return the account with the row's values. Attributes that the row does not have stay as they are."""
    before = account.document()
    merged = before | dict(row.document) | {"schemas": before["schemas"], "userName": account.user_name}
    for name, value in row.document.items():
        if isinstance(value, dict):
            merged[name] = before.get(name, {}) | value
        if name.startswith("urn:"):
            merged["schemas"] = list(dict.fromkeys([*merged["schemas"], name]))
    known, said = account.evidence, row.evidence
    verified = tuple(dict.fromkeys((*known.verified_emails, *said.verified_emails)))
    evidence = SignInEvidence(said.name_id or known.name_id, said.object_id or known.object_id, verified)
    updated = account.with_document(merged) if merged != before else account
    return replace(updated, evidence=evidence, protected=account.protected or row.protected)


def _managed(account: Account, after: Account, row: AccountRow) -> Problem:
    before, wanted = account.document(), after.document()
    names = ", ".join(sorted(name for name in wanted if before.get(name) != wanted[name]))
    reason = f"{names}: this account is linked, and managed by the identity provider"
    return Problem(row.line, reason, "change it in Entra, or release the account's link first")


def _report(outcome: Account | DirectoryError, row: AccountRow, done: str) -> str | Problem:
    if isinstance(outcome, Account):
        return done
    return Problem(row.line, f"not imported: {outcome}", "import the file again; what is there is left as it is")
