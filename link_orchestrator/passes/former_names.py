"""Which rows of an import have the former userName of a linked account: their file is older than that change.

Such a row would become a second account of its person, whom no plan shows, since the identity is linked already. A
former name leads nowhere. So a linked account is found by another value that the row has, and its history says whether
the name was its own. An account that only shares a value, a mailbox of a team, say, is no reason to refuse anything.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from shared.directory.directory import Directory
from shared.directory.keys import Key, fold
from shared.directory.matching.match_keys import MOST_SHARED
from shared.directory.records.model import Account, Authority
from shared.tables.access import in_waves


async def find_former(directory: Directory, new: Sequence[Account]) -> dict[str, tuple[str, str]]:
    """Return the linked account that formerly had the name of a new one, and the kind of value by which it was found.

    Both are by the id of the new account. One that SCIM deleted counts as linked.
    """
    free = {fold(account.user_name) for account in new}
    led = await _lead(directory, list(dict.fromkeys(key for account in new for key in account.found_by())), free)
    ids = list(dict.fromkeys(account_id for some in led.values() for account_id in some))
    known = [account for account in await directory.accounts.find_many(ids) if account]
    linked = {account.id: account for account in known if account.authority is Authority.IDP or account.retired}
    names = await _former_names(directory, list(linked))
    found: dict[str, tuple[str, str]] = {}
    for account in new:
        for key in sorted(account.found_by()):
            for account_id in led[key]:
                # A pointer may lead to an account that has the value no more.
                carries = account_id in linked and key in linked[account_id].found_by()
                if carries and fold(account.user_name) in names[account_id]:
                    found.setdefault(account.id, (account_id, key.kind))
    return found


async def _lead(directory: Directory, keys: Sequence[Key], free: Collection[str]) -> Mapping[Key, Sequence[str]]:
    """Return the ids of the accounts to which each key leads, none where they are more than MOST_SHARED.

    `free` are userNames that nobody has.
    """
    claims = directory.accounts.claims
    led = dict(zip(keys, await claims.carriers_many(keys, MOST_SHARED + 1), strict=True))
    # An address that is the account's userName has no pointer.
    emails = [key for key in keys if key.kind == "email" and key.value not in free]
    for key, named in zip(emails, await claims.claimed_many([Key("userName", e.value) for e in emails]), strict=True):
        led[key] += [named] if named else []
    return {key: ids if len(ids) <= MOST_SHARED else [] for key, ids in led.items()}


async def _former_names(directory: Directory, ids: Sequence[str]) -> Mapping[str, set[str]]:
    """Return the folded userNames that accounts had in the past, by their ids."""
    histories = await in_waves(map(directory.accounts.history, ids))
    return {
        account_id: {fold(change.before["userName"]) for change in history if "userName" in change.before}
        for account_id, history in zip(ids, histories, strict=True)
    }
