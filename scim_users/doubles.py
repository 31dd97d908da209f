"""What keeps a create, or a change of what provisioning made, from making somebody a second account.

A linking run would hold such a pair for review (shared/directory/matching/accounts.py). A second account would settle
it wrongly and for good, since Entra keeps the id that it was given.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from itertools import chain
from typing import Final

from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, MayBeTheSame
from shared.directory.keys import Key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.authority import CREATABLE, NOT_CREATED
from shared.directory.matching.match_keys import MOST_SHARED, is_filler
from shared.directory.matching.policy import Policy
from shared.directory.object_ids import compared_id, read_object_id
from shared.directory.records.claims import Pointed
from shared.directory.records.model import Account, Status
from shared.tables.access import together

FIRST_READ: Final = 32
"""Accounts that are read at once of those to which one value leads: mostly one that is managed here is among them."""
READ_ON: Final = 64
"""Accounts that are read at a time beyond."""
MOST_READ: Final = 500
"""Accounts that are read in all: where more have a value, nobody can tell at a bearable cost whose it is."""

_ATTRIBUTES: Final = {
    "objectId": "externalId",
    "externalId": "externalId",
    "email": "emails",
    "nameId": "userName",
    "employeeNumber": "employeeNumber",
}
"""Kinds of keys that no second account may share, each with the attribute that a refusal names; the surest first."""
_MAY_BE_THE_SAME: Final = (
    "an account that is managed here has it too, and may be the same person's: settle the pair in a linking run, "
    "or set createBesideMatches in the directory's policy"
)

_TOO_MANY: Final = (
    f"more than {MOST_READ} accounts have it or gave it up today, too many to see whether one of them is managed here "
    "and the same person's: leave it out of the provisioning attribute mapping, or set createBesideMatches in the "
    "directory's policy"
)

Carriers = Sequence[tuple[Key, Account]]
"""Keys, each with an account that carries it."""


async def refuse_left_open(directory: Directory, new: Account, former: Account | None = None) -> None:
    """Raise AlreadyExists if a plan, which sees rivals and aliases, left the identity to the administrator.

    Of an account that is there, its `former` state had another identity. What the plan left open may be about that very
    account: provisioning made the person under another externalId, before its mapping was corrected.
    """
    if not new.external_id or _may_be_beside(new, await directory.policies.get()):
        return
    found = await directory.left_open.find(_identity_of(new))
    if found and found[1] in NOT_CREATED:
        run, decision = found
        if former and decision == DecisionKind.CONFLICT and await _is_about(directory, run, new):
            return
        reason = (
            f"the linking run {run}, or an undo since, left this person to an administrator ({decision}): settle it in "
            "a review, or link the account by hand, on its page in the portal (POST /accounts/{id}/link)"
        )
        raise AlreadyExists("externalId", "", reason)


async def refuse_gained(directory: Directory, before: Account, after: Account) -> None:
    """Raise AlreadyExists if a change gives an account of provisioning a key with which it could not be made.

    Otherwise a create without the key, and a change that adds it, would be a way around what refuses creates.
    """
    if before.found_by() | {before.name} == after.found_by() | {after.name}:
        return
    if _identity_of(before) != _identity_of(after):
        await refuse_left_open(directory, after, before)
    await refuse_second_account(directory, after, before)


async def refuse_second_account(directory: Directory, new: Account, former: Account | None = None) -> None:
    """Raise MayBeTheSame if an account that is managed here shares a key with a new one: it may be the same person's.

    The account that an identity had when SCIM deleted it stands in the way whatever the policy says: it gets that back.
    Of an account that is there, what it has beyond its `former` state counts alone.
    """
    policy, identity = await directory.policies.get(), _identity_of(new)
    beside = _may_be_beside(new, policy)
    known = _keys_of(former, policy) if former else ()
    keys = [
        key
        for key in _keys_of(new, policy)
        if key not in known and (not beside or key.kind in ("objectId", "externalId"))
    ]
    if not keys:
        return
    async with aclosing(_carriers(directory, new, keys)) as pages:
        async for page in pages:
            for key, account in page:
                if account.link and key.kind == "externalId" and compared_id(account.link.identity) == identity:
                    raise MayBeTheSame("externalId", account.id, found=account)
                if account.status is not Status.LOCAL or (beside and not account.retired):
                    continue
                if account.retired or not await _is_creatable(directory, new):
                    raise MayBeTheSame(_attribute(new, key), account.id, _MAY_BE_THE_SAME, found=account)


def _keys_of(new: Account, policy: Policy) -> list[Key]:
    """Return the shared keys of a new account, and the NameID with which it will sign in, where SCIM shows that."""
    name_ids = {"userPrincipalName": new.user_name, "objectId": _identity_of(new)}
    name_id = name_ids.get(policy.name_id_source)
    return [*shared_keys(new), *([Key("nameId", fold(name_id))] if name_id else [])]


def shared_keys(new: Account) -> list[Key]:
    """Return the keys that a new account and one that is managed here may not share, the surest first."""
    keys = [key for key in new.found_by() if key.kind in _ATTRIBUTES]
    name = fold(new.user_name)  # where a full-width @ is one
    if "@" in name and (address := Key("email", name)) not in keys:
        keys.append(address)
    if new.external_id:
        identity = _identity_of(new)
        keys += {Key("objectId", identity), Key("externalId", identity)} - set(keys)
    keys = [key for key in keys if key.kind != "employeeNumber" or not is_filler(key.value)]
    order = [*_ATTRIBUTES]
    return sorted(keys, key=lambda key: (order.index(key.kind), key.value))


def _attribute(new: Account, key: Key) -> str:
    """Return the attribute of a new account in which it has a key; its userName may be another account's e-mail."""
    if key.kind == "nameId" and key.value == _identity_of(new):
        return "externalId"
    return "userName" if key.kind == "email" and key not in new.found_by() else _ATTRIBUTES[key.kind]


async def find_others(directory: Directory, new: Account, account_id: str) -> list[str]:
    """Return the ids of the accounts beside one, live or retired, that carry a key or the userName of a new one."""
    names = [Key("userName", new.user_name)]
    if new.external_id:
        names.append(Key("identity", new.external_id))
    named = await together(*(directory.accounts.list_by(name) for name in names))
    found = [account for accounts in named for account in accounts]
    others = {account.id for account in found}
    async with aclosing(_carriers(directory, new, shared_keys(new))) as pages:
        async for page in pages:
            others = {*others, *(account.id for _, account in page)} - {account_id, new.id}
            if others:
                break
    return sorted(others)


def _identity_of(new: Account) -> str:
    """Return the identity of a new account as links and plans know it: braces around an object id make no other one."""
    return compared_id(new.external_id or "")


async def _is_about(directory: Directory, run: str, account: Account) -> bool:
    """Tell whether the conflict of an account's identity in a run's plan is about that account."""
    object_id, home = read_object_id(account.external_id or ""), directory.keys.bucket(account.id)
    if object_id is None:  # it only looks like one
        return False
    row = await directory.plan(run).find_about(object_id, [DecisionKind.CONFLICT], [home])
    return row is not None and row.shown.get("account", {}).get("id") == account.id


def _may_be_beside(new: Account, policy: Policy) -> bool:
    return policy.create_beside_matches or policy.lets_create(new.external_id or "", new.user_name)


async def _is_creatable(directory: Directory, new: Account) -> bool:
    """Tell whether an exclusion that a plan knew says that the identity is created beside what it matches."""
    object_id = read_object_id(new.external_id or "")
    found = await directory.left_open.find(object_id) if object_id else None
    return found is not None and found[1] == CREATABLE


async def _carriers(directory: Directory, new: Account, keys: Sequence[Key]) -> AsyncGenerator[Carriers]:
    """Yield the accounts that carry keys: the first of each, in order of the keys, and then, a page at a time, others.

    Of a number that many carry, none. Raises MayBeTheSame where a value leads to more than MOST_READ.
    """
    claims = directory.accounts.claims
    # An account whose userName is the e-mail has no pointer from it. With the new userName the create collides anyway.
    emails = [key for key in keys if key.kind == "email" and key.value != fold(new.user_name)]
    calls = [claims.pointed_many(keys, FIRST_READ + 1), *([_named(directory, emails)] if emails else [])]
    found = zip([*keys, *emails], chain(*await together(*calls)), strict=True)
    # Whoever gave a number up today has no part in its being shared, and may hide the one who has it.
    led = [
        (key, [one.id for one in some])
        for key, some in found
        if not _is_shared(key, [one for one in some if not one.given_up], FIRST_READ)
    ]
    wanted = [key for key, _ in led]
    carried = await _carrying(directory, new, wanted, chain(*(ids for _, ids in led)))
    shared = {key for key in keys if _is_shared(key, [1 for one, _ in carried if one == key], MOST_SHARED)}
    yield [(key, account) for key, account in carried if key not in shared]
    for key, ids in led:
        if key in shared:
            continue
        read, last = len(ids), ids[-1] if ids else ""
        while read > FIRST_READ and (more := await claims.pointed(key, READ_ON, last)):
            yield await _carrying(directory, new, [key], more)
            read, last = read + len(more), more[-1]
            if read > MOST_READ:
                raise MayBeTheSame(_attribute(new, key), "", _TOO_MANY)


async def _named(directory: Directory, emails: Sequence[Key]) -> list[list[Pointed]]:
    """Return, for each e-mail address, the id to which it leads as a userName, if any."""
    names = [Key("userName", email.value) for email in emails]
    return [[Pointed(i, False)] if i else [] for i in await directory.accounts.claims.claimed_many(names)]


async def _carrying(directory: Directory, new: Account, keys: Iterable[Key], ids: Iterable[str]) -> Carriers:
    """Return which keys the accounts of these ids carry, in order of the keys; the new one is none of them.

    An account may have changed since a key led to it, and carry another one of them instead: a link that ends leaves
    the object id in the evidence.
    """
    # Its own pointers may be there by now: it is being announced.
    others = dict.fromkeys(one for one in ids if one != new.id)
    found = [(account, account.found_by()) for account in await directory.accounts.find_many([*others]) if account]
    return [(key, account) for key in dict.fromkeys(keys) for account, known in found if key in known]


def _is_shared(key: Key, carriers: Sequence[object], most: int) -> bool:
    """Tell whether an employee number leads to more accounts than one person can have."""
    return key.kind == "employeeNumber" and len(carriers) > most
