"""Whose account a row of an import is by its applicationId, the key that the application itself has for the account.

It goes before the userName, which the application or the identity provider may have changed since. It joins rows of the
application's own table with accounts here, and is no evidence of whose account that is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from link_orchestrator.files.accounts import AccountRow
from link_orchestrator.passes.freed_names import KEYED
from link_orchestrator.problems import Problem
from shared.directory.directory import Directory
from shared.directory.keys import application_key, same_letters
from shared.directory.records.model import Account, Authority
from shared.directory.work.jobs import Job


async def find_owners(directory: Directory, rows: Sequence[AccountRow]) -> list[Account | None]:
    """Return the account that has each row's applicationId, None where there is none."""
    keys = {row.application_id: application_key(row.application_id) for row in rows if row.application_id}
    if not keys:
        return [None] * len(rows)
    claimed = dict(zip(keys, await directory.accounts.claims.owners_many(list(keys.values())), strict=True))
    accounts = await directory.accounts.find_many([account_id for account_id in claimed.values() if account_id])
    by_own = {account.application_id: account for account in accounts if account}
    return [by_own.get(row.application_id) if row.application_id else None for row in rows]


def contradiction(job: Job, row: AccountRow, named: Account | None, owner: Account | None) -> Problem | None:
    """Return what is wrong with a row whose userName and applicationId are not one account's, or None."""
    if owner and named and owner.id != named.id:
        return Problem(
            row.line,
            f"applicationId: the account {owner.id} has it, and the account {named.id} has the userName of the row; "
            "neither was changed",
            "if another row of the file gives the second account a new name, import the file a second time; otherwise "
            "find out whose row it is, and correct the applicationId or the userName in the file or here",
        )
    if owner and owner.origin == job.id and not _names(row, owner):
        return Problem(
            row.line,
            f"applicationId: another row of this file has the same one, and made the account {owner.id}",
            "keep the row that is right and import the file again",
        )
    if named and not owner and row.application_id and named.application_id:
        return Problem(
            row.line,
            f"applicationId: the account {named.id} has the userName of the row and another applicationId; it was not "
            "changed",
            "if another row of the file gives that account a new name, import the file a second time; if it is the "
            "same account, change the applicationId of the account; otherwise the row needs another "
            "userName",
        )
    if named and not owner and named.application_id and job.options.get(KEYED) and not row.application_id:
        return Problem(
            row.line,
            f"applicationId: the account {named.id} has one, and this row has none, though others of the file have; it "
            "was not changed",
            "give the row its applicationId, or import such rows in a file of their own",
        )
    return None


def joined(account: Account, row: AccountRow) -> Account | None:
    """Return a linked account that gets nothing of a row but its applicationId; None if it has one, or is protected.

    Who manages the other attributes has no say in this one.
    """
    if account.authority is not Authority.IDP or account.protected or account.application_id or not row.application_id:
        return None
    return replace(account, application_id=row.application_id) if _names(row, account) else None


def _names(row: AccountRow, account: Account) -> bool:
    return same_letters(account.user_name, row.user_name)
