"""The pass that imports staged rows as accounts, one bucket of userNames at a time.

All rows of one userName are in one bucket, so it is seen if two rows want the same name. An account that exists is
brought up to date by a row that has its applicationId, also where its userName is another by now, or by a row that has
its userName in the same letters and no other applicationId (application_ids.py). A protected account and what the
identity provider manages are left as they are, and reported.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.messages import Slice
from link_orchestrator.passes.application_ids import contradiction, find_owners, joined
from link_orchestrator.passes.former_names import find_former
from link_orchestrator.passes.freed_names import note_freed, with_freed
from link_orchestrator.passes.import_counts import (
    CREATED,
    LINKED_ACCOUNT,
    PROTECTED_ACCOUNT,
    REPEATED,
    UNCHANGED,
    Outcome,
    count,
    refused,
    replacing,
    updated,
)
from link_orchestrator.problem_report import KEPT_IN_BUCKET, ProblemReport
from link_orchestrator.problems import IS_MANAGED, IS_PROTECTED, Problem, said_before
from link_orchestrator.run import by_import
from link_orchestrator.staged import IMPORTED, rows_of
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError, TooLarge
from shared.directory.keys import APPLICATION_ID, Key, fold, folded, in_small_letters, same_letters
from shared.directory.records.bulk import create_many, named_many, replace_many
from shared.directory.records.kept import import_row, list_replaced
from shared.directory.records.model import Account, Authority, SignInEvidence, Status
from shared.directory.work.jobs import Job
from shared.tables.access import in_parts, in_waves

AT_ONCE = 500
"""Rows that are imported between two looks at whether the import was cancelled."""
PROTECTED, CHANGE = "protected", "change"
"""The import's option for protected accounts, and its value with which rows may change them."""
LINKED: Final = "linked"
"""The import's option that says that there may be linked accounts, so that a row may have the former name of one."""

Alike = Mapping[str, Sequence[AccountRow]]
"""By folded userName, the first rows of all its spellings in different letters, where there are several."""
Act = Callable[[Directory, Job, int, Sequence[AccountRow], Alike], Awaitable[Sequence[Outcome]]]
"""Does something about rows of one bucket, each of another userName, and returns the outcome of each."""


async def import_rows(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Import the rows of a slice; stop early if the import is cancelled."""
    return await go_through(directory, job, slice_, _import)


async def go_through(directory: Directory, job: Job, slice_: Slice, act: Act) -> Counter[str]:
    """Do something about the rows of a slice, write its problems, and return its counts. It stops early if cancelled.

    An import and its preview see the same rows here: of each userName one.
    """
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets:
        rows = [AccountRow.from_json(item) async for items in rows_of(directory, job).read(bucket) for item in items]
        if not rows:
            continue
        wanted, again = _one_each(rows)
        counts += count(again)
        problems = [outcome.problem for outcome in again if outcome.problem]
        alike = _alike(wanted)
        cancelled = False
        for batch in in_parts(wanted, AT_ONCE):
            if cancelled := await is_over(directory, job):
                break
            outcomes = await act(directory, job, bucket, batch, alike)
            counts += count(outcomes)
            found = ((row, outcome.problem) for row, outcome in zip(batch, outcomes, strict=True))
            problems += [_identified(problem, row) for row, problem in found if problem]
        report = ProblemReport(directory, job.id, f"{bucket:02x}", KEPT_IN_BUCKET)
        await report.add(sorted(problems, key=lambda problem: problem.line))
        await report.close()
        if cancelled:
            break
    return counts


async def is_over(directory: Directory, job: Job) -> bool:
    """Tell whether an import was cancelled or has ended: an activity of one that failed may still be under way."""
    now = await directory.jobs.get(job.id)
    return bool(now.cancelled_by) or now.state.ended


def _one_each(rows: Sequence[AccountRow]) -> tuple[list[AccountRow], list[Outcome]]:
    """Return the first row of each userName, and the outcome of each later row, of which nothing is taken."""
    by_name: defaultdict[tuple[str, str], list[AccountRow]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: row.line):
        by_name[fold(row.user_name), in_small_letters(row.user_name)].append(row)
    later = [_again(first, other) for first, *others in by_name.values() for other in others]
    return [first for first, *_ in by_name.values()], later


def _again(first: AccountRow, other: AccountRow) -> Outcome:
    """Return the outcome of a row whose userName the row `first` had before it."""
    if replace(other, line=first.line) == first:
        return Outcome((REPEATED,), _identified(said_before(other.line, f"line {first.line}"), other))
    differs = Problem(
        other.line,
        f"userName: line {first.line} has the same one, and the rows differ; line {first.line} was taken",
        "keep the row that is right and import the file again",
    )
    return refused(_identified(differs, other))


def _identified(problem: Problem, row: AccountRow) -> Problem:
    return replace(problem, application_id=row.application_id or "")


def _alike(rows: Sequence[AccountRow]) -> Alike:
    by_name: defaultdict[str, list[AccountRow]] = defaultdict(list)
    for row in rows:
        by_name[fold(row.user_name)].append(row)
    return {name: some for name, some in by_name.items() if len(some) > 1}


async def _import(
    directory: Directory, job: Job, bucket: int, rows: Sequence[AccountRow], alike: Alike, *, again: bool = True
) -> list[Outcome]:
    """Import rows of one bucket, each of another userName; return the outcome of each."""
    todo = await decide(directory, job, rows, alike)
    todo.new.sort(key=lambda pair: pair[1].id)  # so that neighbouring accounts are written together, as in apply.py
    new, changed, outcomes, by = todo.new, todo.changed, todo.outcomes, by_import(job.id)
    await _note(directory, job, bucket, [*(account for _, account in new), *(after for _, (_, after) in changed)])
    await note_freed(directory, job, bucket, [change for _, change in changed])
    created = await create_many(directory.accounts, [account for _, account in new], by=by)
    replaced = await replace_many(
        directory.accounts,
        [change for _, change in changed],
        by=by,
        action="import",
        keeping=lambda before, after: import_row(before, after, job.id),
    )
    for (row, _), stored in zip(new, created, strict=True):
        outcomes[row.user_name] = _report(stored, row, Outcome((CREATED,)))
    for (row, change), stored in zip(changed, replaced, strict=True):
        outcomes[row.user_name] = _report(stored, row, todo.outcome_of(row, change))
    done = zip([*new, *changed], [*created, *replaced], strict=True)
    if again and (lost := [row for (row, _), stored in done if isinstance(stored, DirectoryError)]):
        # Durable Functions may run an activity twice at once, so the other writer may have been its twin: look again.
        retried = await _import(directory, job, bucket, lost, alike, again=False)
        outcomes |= {row.user_name: outcome for row, outcome in zip(lost, retried, strict=True)}
    return [outcomes[row.user_name] for row in rows]


async def _note(directory: Directory, job: Job, bucket: int, some: Sequence[Account]) -> None:
    """Note for an undo which accounts are about to be made or changed, each in its own bucket."""
    writer = directory.stage(job.id + IMPORTED).writer(f"{bucket:02x}")
    for account in some:
        await writer.add(directory.keys.bucket(account.id), account.id)
    await writer.close()


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be done about rows. `outcomes` are those of the others, by userName: a JSON file may be one line.

    `done` are those that an attempt which was cut off brought up to date. `partly` has the problems with rows of which
    only a part is taken.
    """

    new: list[tuple[AccountRow, Account]] = field(default_factory=list)
    changed: list[tuple[AccountRow, tuple[Account, Account]]] = field(default_factory=list)
    done: list[tuple[AccountRow, Account]] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    partly: dict[str, Problem] = field(default_factory=dict)

    def outcome_of(self, row: AccountRow, change: tuple[Account, Account]) -> Outcome:
        """Return the outcome of a row that is to change an account, once it has."""
        problem = self.partly.get(row.user_name)
        return replace(updated(*change), problem=problem) if problem else updated(*change)


async def decide(directory: Directory, job: Job, rows: Sequence[AccountRow], alike: Alike) -> Work:
    """Decide what an import does about rows of one bucket, each of another userName. It reads, and writes nothing."""
    holders = await with_freed(directory, job, rows, await _existing(directory, rows))
    existing = zip(rows, holders, await find_owners(directory, rows), strict=True)
    work = _sort(directory, job, existing, alike)
    if job.options.get(LINKED):
        await _leave_former(directory, work)
    tables, keys = directory.tables, directory.keys
    kept = await in_waves(list_replaced(tables, keys, account.id, job.id) for _, account in work.done)
    for (row, _), some in zip(work.done, kept, strict=True):
        # Of several changes the first replaced what was there before the import.
        work.outcomes[row.user_name] = replacing(dict(item for one in reversed(some) for item in one.values.items()))
    return work


def _sort(
    directory: Directory, job: Job, rows: Iterable[tuple[AccountRow, Account | None, Account | None]], alike: Alike
) -> Work:
    """Sort rows, each with the accounts of its userName and of its applicationId, by what is to be done about them."""
    work, now = Work(), directory.accounts.now()
    for row, named, owner in rows:
        account = owner or named
        if account is not None:
            after = _brought_up_to_date(account, row)
            against = contradiction(job, row, named, owner)
            others = alike.get(fold(row.user_name))
            if not against and others and not same_letters(account.user_name, row.user_name) and owner:
                against = _in_other_letters(row, others)
            outcome = refused(against) if against else _judge(job, row, account, after)
            if outcome is None:
                work.changed.append((row, (account, replace(after, imported=job.id))))
            elif outcome == Outcome((UNCHANGED,)) and account.imported == job.id:
                work.done.append((row, account))
            elif not against and outcome.problem and (only_joined := joined(account, row)):
                work.changed.append((row, (account, replace(only_joined, imported=job.id))))
                work.partly[row.user_name] = outcome.problem
            else:
                work.outcomes[row.user_name] = outcome
        elif others := alike.get(fold(row.user_name)):
            work.outcomes[row.user_name] = refused(_in_other_letters(row, others))
        else:
            work.new.append((row, _new(directory, job, row, now)))
    return work


async def _leave_former(directory: Directory, work: Work) -> None:
    """Make a problem of each new row that has the former userName of a linked account."""
    former = await find_former(directory, [account for _, account in work.new])
    had = [(row, former[account.id]) for row, account in work.new if account.id in former]
    work.outcomes.update((row.user_name, refused(_had_before(row, *found))) for row, found in had)
    work.new[:] = [(row, account) for row, account in work.new if account.id not in former]


async def _existing(directory: Directory, rows: Sequence[AccountRow]) -> list[Account | None]:
    """Return the account that has each row's userName, in whatever letters, None where there is none."""
    names = [Key("userName", row.user_name) for row in rows]
    claimed = await named_many(directory.accounts, [row.user_name for row in rows])
    accounts = await directory.accounts.find_many([account_id for account_id in claimed if account_id])
    by_id = {account.id: account for account in accounts if account}
    holders = [by_id.get(account_id or "") for account_id in claimed]
    # The holder of a claim may have another name by now.
    return [h if h and folded(name) in h.claims() else None for name, h in zip(names, holders, strict=True)]


def _judge(job: Job, row: AccountRow, account: Account, after: Account) -> Outcome | None:
    """Return the outcome of a row whose account exists and is left as it is; None if it is to be changed."""
    by_own = row.application_id and row.application_id == account.application_id
    if not by_own and not same_letters(account.user_name, row.user_name):
        return refused(_of_another(row, account))
    if account.origin == job.id:
        return Outcome((CREATED,))
    if after == account:
        return Outcome((UNCHANGED,))
    if account.protected and job.options.get(PROTECTED) != CHANGE:
        return refused(_protected(account, after, row), PROTECTED_ACCOUNT)
    if account.authority is Authority.IDP and after.text != account.text:
        return refused(_managed(account, after, row), LINKED_ACCOUNT)
    return None


def _new(directory: Directory, job: Job, row: AccountRow, now: str) -> Account:
    account_id = directory.keys.new_id(row.user_name)
    beside = {"protected": row.protected, "application_id": row.application_id}
    return Account.new(account_id, row.document, Status.LOCAL, now, origin=job.id, evidence=row.evidence, **beside)


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
    own, protected = row.application_id or account.application_id, account.protected or row.protected
    beside: dict[str, Any] = {"application_id": own, "evidence": evidence, "protected": protected}
    return account.with_document(merged, **beside) if merged != before else replace(account, **beside)


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
        f"userName: the row of line {lines} has it in other letters, and only one account can have it; none got it",
        "keep the row that is right, or give one of them another name, and import the file again",
    )


def _had_before(row: AccountRow, account_id: str, attribute: str) -> Problem:
    return Problem(
        row.line,
        f"userName: the account {account_id} had it before it was linked and renamed, and has this row's {attribute}; "
        "no second one was made",
        f"import a fresh export; if the name is somebody else's now, the row must not have that {attribute}",
    )


WITH_PROTECTED: Final = "import this row with protected accounts changed, too (protected=change)"


def _protected(account: Account, after: Account, row: AccountRow) -> Problem:
    return Problem(
        row.line,
        f"{_differing(account, after)}: the account {account.id} {IS_PROTECTED}",
        f"change it by hand, or {WITH_PROTECTED}",
    )


def _managed(account: Account, after: Account, row: AccountRow) -> Problem:
    managed = replace(after, application_id=account.application_id)
    reason = f"{_differing(account, managed)}: {IS_MANAGED}"
    return Problem(row.line, reason, "change it in Entra, or release the account's link first")


def _differing(account: Account, after: Account) -> str:
    """Return the attributes that a row would change, or "evidence" if it is nothing but that or the protection."""
    before, wanted = account.document(), after.document()
    names = sorted(name for name in wanted if before.get(name) != wanted[name])
    names += [APPLICATION_ID] if account.application_id != after.application_id else []
    return ", ".join(names) or "evidence"


def _report(stored: Account | DirectoryError, row: AccountRow, done: Outcome) -> Outcome:
    return done if isinstance(stored, Account) else refused(not_imported(stored, row))


def not_imported(why: DirectoryError, row: AccountRow) -> Problem:
    """Return the problem with a row whose account the directory refuses."""
    match why:
        case AlreadyExists():
            remedy = f"release or delete the account {why.holder} first, or take the value from the row"
        case TooLarge():
            remedy = "shorten the row's values, or give it fewer of them"
        case _:
            remedy = "import the file again; what is there is left as it is"
    return Problem(row.line, f"not imported: {why}", remedy, names=(row.user_name,))
