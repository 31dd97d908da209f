"""The pass that previews an import of accounts: it decides as the import does, counts, and changes no account.

What the directory alone would refuse is looked up here, too: a value that another account holds, a row that is too
large. The first rows of the file are shown as the accounts that they would become.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any, Final

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.messages import Slice
from link_orchestrator.passes.import_accounts import Alike, Work, decide, go_through, not_imported
from link_orchestrator.passes.import_counts import CREATED, UNCHANGED, UPDATED, Outcome, refused, shown_name
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, DirectoryError, TooLarge
from shared.directory.keys import APPLICATION_ID, Key, fold, folded
from shared.directory.records.claims import ATTRIBUTES
from shared.directory.records.kept import values_changed
from shared.directory.records.model import NO_EVIDENCE, Account
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.tables.port import Insert, LimitExceeded, check

FIRST_LINE: Final = "firstRowsTo"
"""The preview's option that holds the line of the last row that is shown."""
FIRST_ROWS: Final = 20
"""Rows of a file that are shown as accounts; of a file in one line, as many in each bucket."""
SURELY_FITS: Final = 8_000
"""Characters of a document and its evidence up to which no limit of storage needs to be looked up."""
OUTCOMES: Final = (CREATED, UPDATED, UNCHANGED)
"""Outcomes of the rows that are shown. The others are problems."""


async def preview_rows(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Count what an import would do about the rows of a slice; stop early if the preview is cancelled."""
    return await go_through(directory, job, slice_, _look)


async def _look(
    directory: Directory, job: Job, bucket: int, rows: Sequence[AccountRow], alike: Alike
) -> Sequence[Outcome]:
    """Return what would become of rows of one bucket, each of another userName, and write the first ones."""
    work = await decide(directory, job, rows, alike)
    outcomes = dict(work.outcomes)
    outcomes |= {row.user_name: Outcome((CREATED,)) for row, _ in work.new}
    outcomes |= {row.user_name: work.outcome_of(row, change) for row, change in work.changed}
    for row, why in await _refused(directory, work):
        outcomes[row.user_name] = refused(not_imported(why, row))
    first = [row for row in rows if row.line <= job.options.get(FIRST_LINE, 0)][:FIRST_ROWS]
    shown = _shown(work, first, {name: outcome.counts[0] for name, outcome in outcomes.items()})
    await directory.plan(job.id).write(bucket, shown)
    return [outcomes[row.user_name] for row in rows]


def _shown(work: Work, first: Collection[AccountRow], outcomes: dict[str, str]) -> list[PlanRow]:
    """Return the first rows as they are shown: the account, and what of it changes from what to what."""
    made: dict[str, tuple[Account | None, Account]] = {row.user_name: (None, account) for row, account in work.new}
    made |= {row.user_name: change for row, change in work.changed}
    found: list[PlanRow] = []
    for row in first:
        outcome = outcomes[row.user_name]
        if outcome not in OUTCOMES:
            continue
        before, after = made.get(row.user_name, (None, None))
        shown: dict[str, Any] = {"line": row.line, "account": _account(row, after)}
        if before and after:
            differing = values_changed(before, after).items()
            shown["changes"] = {shown_name(name): {"from": old, "to": new} for name, (old, new) in differing}
        found.append(PlanRow(outcome, f"{row.line}:{row.user_name}", shown))
    return found


def _account(row: AccountRow, account: Account | None) -> dict[str, Any]:
    """Return the account that a row becomes, as the account API names its parts; of an unchanged one, what it says."""
    document = dict(account.document() if account else row.document)
    document.pop("id", None)
    evidence, protected = (account.evidence, account.protected) if account else (row.evidence, row.protected)
    known = {"userName": row.user_name, "protected": protected, "evidence": evidence.to_json(), "document": document}
    own = account.application_id if account else row.application_id
    return known | ({APPLICATION_ID: own} if own else {})


async def _refused(directory: Directory, work: Work) -> list[tuple[AccountRow, DirectoryError]]:
    """Return the rows whose accounts the directory would refuse, each with what it would say."""
    wanted = [(row, None, account) for row, account in work.new] + [(row, *change) for row, change in work.changed]
    keys = [(row, after.id, key) for row, before, after in wanted for key in _claimed(before, after)]
    claimed = await directory.accounts.claims.claimed_many([key for _, _, key in keys])
    ids = list(dict.fromkeys(filter(None, claimed)))
    holders = {account.id: account for account in await directory.accounts.find_many(ids) if account}
    found: list[tuple[AccountRow, DirectoryError]] = []
    for (row, own, key), holder_id in zip(keys, claimed, strict=True):
        holder = holders.get(holder_id or "")
        if holder and holder.id != own and folded(key) in holder.claims():
            found.append((row, AlreadyExists(ATTRIBUTES[key.kind], holder.id)))
    return found + [(row, why) for row, _, after in wanted if (why := _too_large(directory, after))]


def _claimed(before: Account | None, after: Account) -> list[Key]:
    """Return the keys that only one account may hold and that a row gives an account.

    Not its applicationId, nor the name of a new one: who has these was looked up for the decision.
    """
    renamed = before is not None and fold(before.user_name) != fold(after.user_name)
    stamped = after.external_id and (before is None or before.external_id != after.external_id)
    # Whoever is linked to an identity holds it against an account that only has its id as externalId, too.
    return [*([after.name] if renamed else []), *([Key("identity", str(after.external_id))] if stamped else [])]


def _too_large(directory: Directory, account: Account) -> TooLarge | None:
    if len(account.text) + (0 if account.evidence == NO_EVIDENCE else len(str(account.evidence))) < SURELY_FITS:
        return None
    try:
        check(directory.keys.home(account.id), [Insert(account.key, account.columns())])
    except TooLarge as why:
        return why
    except LimitExceeded as why:
        return TooLarge(str(why))
    return None
