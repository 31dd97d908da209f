"""The pass that imports staged rows as accounts, one bucket of userNames at a time.

All rows of one userName are in one bucket, so it is seen if two rows want the same name. An account that exists is
brought up to date by a row that has its applicationId, also where its userName is another by now, or by a row that has
its userName in the same letters and no other applicationId (application_ids.py). A protected account and what the
identity provider manages are left as they are, and reported.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.messages import Slice
from link_orchestrator.passes.application_ids import contradiction, find_owners, joined
from link_orchestrator.passes.former_names import find_former
from link_orchestrator.problem_report import write_problems
from link_orchestrator.problems import Problem
from link_orchestrator.run import by_import
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError, TooLarge
from shared.directory.keys import APPLICATION_ID, Key, fold, folded, in_small_letters, same_letters
from shared.directory.records.bulk import create_many, replace_many
from shared.directory.records.model import Account, Authority, SignInEvidence, Status
from shared.directory.work.jobs import Job
from shared.tables.access import in_parts

AT_ONCE = 500
"""Rows that are imported between two looks at whether the import was cancelled."""
CREATED, UPDATED, UNCHANGED, REFUSED = "created", "updated", "unchanged", "refused"
PROTECTED, CHANGE = "protected", "change"
"""The import's option for protected accounts, and its value with which rows may change them."""
LINKED: Final = "linked"
"""The import's option that says that there may be linked accounts, so that a row may have the former name of one."""

Alike = Mapping[str, Sequence[AccountRow]]
"""By folded userName, the first rows of all its spellings in different letters, where there are several."""


async def import_rows(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Import the rows of a slice; stop early if the import is cancelled."""
    jobs = directory.jobs
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets:
        rows = [AccountRow.from_json(item) async for items in directory.stage(job.id).read(bucket) for item in items]
        if not rows:
            continue
        wanted, problems = _one_each(rows)
        alike = _alike(wanted)
        for batch in in_parts(wanted, AT_ONCE):
            if (await jobs.get(job.id)).cancelled_by:
                return counts
            for outcome in await _import(directory, job, batch, alike):
                if isinstance(outcome, Problem):
                    problems.append(outcome)
                else:
                    counts[outcome] += 1
        await write_problems(directory, job.id, bucket, problems)
        counts[REFUSED] += len(problems)
    return counts


def _one_each(rows: Sequence[AccountRow]) -> tuple[list[AccountRow], list[Problem]]:
    """Return the first row of each userName, and a problem for each later row that says something else."""
    by_name: defaultdict[tuple[str, str], list[AccountRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.line):
        by_name[fold(row.user_name), in_small_letters(row.user_name)].append(row)
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


def _alike(rows: Sequence[AccountRow]) -> Alike:
    by_name: defaultdict[str, list[AccountRow]] = defaultdict(list)
    for row in rows:
        by_name[fold(row.user_name)].append(row)
    return {name: some for name, some in by_name.items() if len(some) > 1}


async def _import(
    directory: Directory, job: Job, rows: Sequence[AccountRow], alike: Alike, *, again: bool = True
) -> list[str | Problem]:
    """Import rows of one bucket, each of another userName; return the outcome of each, or the problem with it."""
    existing = zip(rows, await _existing(directory, rows), await find_owners(directory, rows), strict=True)
    todo = _sort(directory, job, existing, alike)
    if job.options.get(LINKED):
        await _leave_former(directory, todo)
    todo.new.sort(key=lambda pair: pair[1].id)  # so that neighbouring accounts are written together, as in apply.py
    new, changed, outcomes, by = todo.new, todo.changed, todo.outcomes, by_import(job.id)
    created = await create_many(directory.accounts, [account for _, account in new], by=by)
    updated = await replace_many(directory.accounts, [change for _, change in changed], by=by, action="import")
    for (row, _), outcome in zip(new, created, strict=True):
        outcomes[row.user_name] = _report(outcome, row, CREATED)
    for (row, _), outcome in zip(changed, updated, strict=True):
        outcomes[row.user_name] = _report(outcome, row, todo.partly.get(row.user_name, UPDATED))
    tried = zip([*new, *changed], [*created, *updated], strict=True)
    if again and (lost := [row for (row, _), outcome in tried if isinstance(outcome, DirectoryError)]):
        # Durable Functions may run an activity twice at once, so the other writer may have been its twin: look again.
        retried = await _import(directory, job, lost, alike, again=False)
        outcomes |= {row.user_name: outcome for row, outcome in zip(lost, retried, strict=True)}
    return [outcomes[row.user_name] for row in rows]


@dataclass(frozen=True, slots=True)
class _Work:
    """What is to be done about rows. `outcomes` are those of the others, by userName: a JSON file may be one line.

    `partly` has the problems with rows of which only a part is taken.
    """

    new: list[tuple[AccountRow, Account]] = field(default_factory=list)
    changed: list[tuple[AccountRow, tuple[Account, Account]]] = field(default_factory=list)
    outcomes: dict[str, str | Problem] = field(default_factory=dict)
    partly: dict[str, Problem] = field(default_factory=dict)


def _sort(
    directory: Directory, job: Job, rows: Iterable[tuple[AccountRow, Account | None, Account | None]], alike: Alike
) -> _Work:
    """Sort rows, each with the accounts of its userName and of its applicationId, by what is to be done about them."""
    work, now = _Work(), directory.accounts.now()
    for row, named, owner in rows:
        account = owner or named
        if account is not None:
            after = _brought_up_to_date(account, row)
            outcome = contradiction(job, row, named, owner) or _judge(job, row, account, after)
            if outcome is None:
                work.changed.append((row, (account, after)))
            elif isinstance(outcome, Problem) and (only_joined := joined(account, row)):
                work.changed.append((row, (account, only_joined)))
                work.partly[row.user_name] = outcome
            else:
                work.outcomes[row.user_name] = outcome
        elif others := alike.get(fold(row.user_name)):
            work.outcomes[row.user_name] = _in_other_letters(row, others)
        else:
            work.new.append((row, _new(directory, job, row, now)))
    return work


async def _leave_former(directory: Directory, work: _Work) -> None:
    """Make a problem of each new row that has the former userName of a linked account."""
    former = await find_former(directory, [account for _, account in work.new])
    work.outcomes.update((row.user_name, _had_before(row, *former[a.id])) for row, a in work.new if a.id in former)
    work.new[:] = [(row, account) for row, account in work.new if account.id not in former]


async def _existing(directory: Directory, rows: Sequence[AccountRow]) -> list[Account | None]:
    """Return the account that has each row's userName, in whatever letters, None where there is none."""
    names = [Key("userName", row.user_name) for row in rows]
    claimed = await directory.accounts.claims.claimed_many(names)
    accounts = await directory.accounts.find_many([account_id for account_id in claimed if account_id])
    by_id = {account.id: account for account in accounts if account}
    holders = [by_id.get(account_id or "") for account_id in claimed]
    # The holder of a claim may have another name by now.
    return [h if h and folded(name) in h.claims() else None for name, h in zip(names, holders, strict=True)]


def _judge(job: Job, row: AccountRow, account: Account, after: Account) -> str | Problem | None:
    """Return the outcome of a row whose account exists, or why it changes nothing; None if it is to be changed."""
    by_own = row.application_id and row.application_id == account.application_id
    if not by_own and not same_letters(account.user_name, row.user_name):
        return _of_another(row, account)
    if account.origin == job.id:
        return CREATED
    if after == account:
        return UNCHANGED
    if account.protected and job.options.get(PROTECTED) != CHANGE:
        return _protected(account, after, row)
    if account.authority is Authority.IDP and after.text != account.text:
        return _managed(account, after, row)
    return None


def _new(directory: Directory, job: Job, row: AccountRow, now: str) -> Account:
    account_id = directory.keys.new_id(row.user_name)
    account = Account.new(account_id, row.document, Status.LOCAL, now)
    own = row.application_id
    return replace(account, evidence=row.evidence, protected=row.protected, application_id=own, origin=job.id)


def _brought_up_to_date(account: Account, row: AccountRow) -> Account:
    """Return the account with the row's values. Attributes that the row does not have stay as they are."""
    before = account.document()
    name = account.user_name if same_letters(account.user_name, row.user_name) else row.user_name
    merged = before | dict(row.document) | {"schemas": before["schemas"], "userName": name}
    for name, value in row.document.items():
        if isinstance(value, dict):
            merged[name] = before.get(name, {}) | value
        if name.startswith("urn:"):
            merged["schemas"] = list(dict.fromkeys([*merged["schemas"], name]))
    known, said = account.evidence, row.evidence
    verified = tuple(dict.fromkeys((*known.verified_emails, *said.verified_emails)))
    evidence = SignInEvidence(said.name_id or known.name_id, said.object_id or known.object_id, verified)
    updated = account.with_document(merged) if merged != before else account
    updated = replace(updated, application_id=row.application_id or account.application_id)
    return replace(updated, evidence=evidence, protected=account.protected or row.protected)


def _of_another(row: AccountRow, account: Account) -> Problem:
    return Problem(
        row.line,
        f"userName: the account {account.id} has it in other letters, and was left as it is",
        "write it as that account has it if the row is about that account; otherwise it needs another name here",
    )


def _in_other_letters(row: AccountRow, alike: Sequence[AccountRow]) -> Problem:
    lines = ", ".join(str(other.line) for other in alike if other is not row)
    return Problem(
        row.line,
        f"userName: the row of line {lines} has it in other letters, and only one account can have it; none was made",
        "keep the row that is right, or give one of them another name, and import the file again",
    )


def _had_before(row: AccountRow, account_id: str, attribute: str) -> Problem:
    return Problem(
        row.line,
        f"userName: the account {account_id} had it before it was linked and renamed, and has this row's {attribute}; "
        "no second one was made",
        f"import a fresh export; if the name is somebody else's now, the row must not have that {attribute}",
    )


def _protected(account: Account, after: Account, row: AccountRow) -> Problem:
    return Problem(
        row.line,
        f"{_differing(account, after)}: the account {account.id} is protected, and was left as it is",
        "change it by a PATCH of /accounts/{id}, or import this row with ?protected=change",
    )


def _managed(account: Account, after: Account, row: AccountRow) -> Problem:
    managed = replace(after, application_id=account.application_id)
    reason = f"{_differing(account, managed)}: this account is linked, and managed by the identity provider"
    return Problem(row.line, reason, "change it in Entra, or release the account's link first")


def _differing(account: Account, after: Account) -> str:
    """Return the attributes that a row would change, or "evidence" if it is nothing but that or the protection."""
    before, wanted = account.document(), after.document()
    names = sorted(name for name in wanted if before.get(name) != wanted[name])
    names += [APPLICATION_ID] if account.application_id != after.application_id else []
    return ", ".join(names) or "evidence"


def _report(outcome: Account | DirectoryError, row: AccountRow, done: str | Problem) -> str | Problem:
    match outcome:
        case Account():
            return done
        case AlreadyExists():
            remedy = f"release or delete the account {outcome.holder} first, or take the value from the row"
        case TooLarge():
            remedy = "shorten the row's values, or give it fewer of them"
        case _:
            remedy = "import the file again; what is there is left as it is"
    return Problem(row.line, f"not imported: {outcome}", remedy)
