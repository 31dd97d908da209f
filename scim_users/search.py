"""Finding users by filter: through a key where one answers, otherwise by a bounded scan.

Whatever a key leads to is then judged by the whole filter, so an answer always carries the value that was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from scim_users.adoption import remember_look_up
from scim_users.authority import confirmed, unconfirmed
from scim_users.membership import groups_of
from scim_users.resource import location, user_type
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.groups import Group
from shared.directory.keys import Key, folded
from shared.directory.listing import Place
from shared.directory.model import Account
from shared.scim.errors import TooMany
from shared.scim.evaluate import Test, compile_filter
from shared.scim.filter import Compare, Filter, equalities
from shared.scim.query import Query
from shared.scim.schema import USER
from shared.tables.port import MAX_PAGE

SCAN_LIMIT = 10_000
"""Accounts that a filter without a key may read."""
SCAN_PAGE = 2_000
"""Accounts that one page of such a filter may read, where pages go by cursor."""

KINDS = {
    "id": "id",
    "username": "userName",
    "externalid": "externalId",
    "emails": "email",
    "emails.value": "email",
    "urn:ietf:params:scim:schemas:extension:enterprise:2.0:user:employeenumber": "employeeNumber",
    "employeenumber": "employeeNumber",
}
"""Which key answers an equality on a path in lower case; a value path on emails is cut to `emails.value` first."""


class Found(NamedTuple):
    """Accounts that a query selects. `groups` are theirs where they were read along, else None."""

    accounts: list[Account]
    groups: Mapping[str, Sequence[Group]] | None = None


async def find(directory: Directory, asked: Query, base: str) -> Found:
    """Return all live accounts that a query selects, sorted as it asks. Raises TooMany where that reads too many."""
    found = await find_by_key(directory, asked, base)
    if found is None:
        await _refuse_large(directory, asked)
        test = compile_filter(asked.filter, await user_type(directory)) if asked.filter else None
        found = Found(await _scan(directory, test, base))
    if asked.sort is None:
        return found
    ordered = asked.sort.order(found.accounts, lambda account: _judged(account, base, by_key=False))
    return found._replace(accounts=ordered)


async def find_by_key(directory: Directory, asked: Query, base: str) -> Found | None:
    """Return all live accounts that a filter selects, or None if no key answers any part of it.

    What a key leads to is known before it is read: groups are looked up in the same round trip.
    """
    tree = asked.filter
    key = None if tree is None else _key(tree)
    if tree is None or key is None:
        return None
    test = compile_filter(tree, await user_type(directory))
    if key.kind == "id":
        account, groups = await asyncio.gather(
            directory.accounts.find(key.value), groups_of(directory, [key.value], asked.projection)
        )
        candidates = [account] if account else []
    else:
        ids = await directory.accounts.led_to(key)
        candidates, groups = await asyncio.gather(
            directory.accounts.carrying(key, ids), groups_of(directory, ids, asked.projection)
        )
    # A protected account is found by the key alone, so that it is not made twice; nothing else of it can be asked for.
    alone = isinstance(tree, Compare)
    return Found([a for a in candidates if not a.retired and test(_judged(a, base, by_key=alone))], groups)


async def read_matching(
    directory: Directory, tree: Filter, base: str, start: Place, count: int
) -> tuple[list[Account], Place | None]:
    """Return accounts from a place on that a filter selects, and the place to read on at; None at the end.

    At most SCAN_PAGE accounts are read, so there may be fewer than `count`, or none, before the end.
    """
    test = compile_filter(tree, await user_type(directory))
    found, left = list[Account](), SCAN_PAGE
    place: Place | None = start
    while place is not None and left > 0:
        read, place = await directory.listing.read_on(place, min(left, MAX_PAGE))
        left -= len(read)
        for account in read:
            if test(_judged(account, base, by_key=False)):
                if len(found) == count:
                    return found, directory.listing.place_of(account)
                found.append(account)
    return found, place


async def remember(directory: Directory, tree: Filter, found: list[Account], by: str) -> None:
    """Keep that provisioning found one account: it confirms a link, or shows what the identity has as its key."""
    key = _key(tree)
    if len(found) != 1 or key is None:
        return
    if key.kind in ("userName", "email", "employeeNumber"):
        await remember_look_up(directory, found[0], folded(key))
    if key.kind != "externalId" or not unconfirmed(found[0]):
        return
    with contextlib.suppress(DirectoryError):
        # Where somebody was faster, the next read confirms it.
        after = confirmed(found[0], directory.accounts.now())
        found[0] = await directory.accounts.replace(found[0], after, by=by, action="confirm")


def _key(tree: Filter) -> Key | None:
    """Return the key by which one equality of the filter can be answered, or None."""
    for path, value in equalities(tree):
        kind = KINDS.get("emails.value" if path.startswith("emails[") else path)
        if kind is not None and value is not None:
            # An unquoted number is still the text that a string attribute holds.
            return Key(kind, str(value))
    return None


async def _refuse_large(directory: Directory, asked: Query) -> None:
    if await directory.listing.total() <= SCAN_LIMIT:
        return
    keyed = "filter by userName, externalId, emails.value, employeeNumber or id with eq"
    if asked.sort:
        raise TooMany(f"at most {SCAN_LIMIT} users can be sorted: leave sortBy out, or {keyed}")
    raise TooMany(
        f"this directory has more than {SCAN_LIMIT} users and no index answers the filter: {keyed}, "
        "or page with a cursor"
    )


async def _scan(directory: Directory, test: Test | None, base: str) -> list[Account]:
    found: list[Account] = []
    for bucket in range(directory.keys.buckets):
        async for account in directory.listing.scan(bucket):
            if test is None or test(_judged(account, base, by_key=False)):
                found.append(account)  # noqa: PERF401 - extend() takes no asynchronous comprehension
    return found


def _judged(account: Account, base: str, *, by_key: bool) -> dict[str, Any]:
    """Return the document that a filter judges: of a protected account what is shown, unless a key alone is asked."""
    document: dict[str, Any] = json.loads(account.text)
    if account.protected and not by_key:
        document = {name: document[name] for name in ("schemas", "id", "userName")}
    document["meta"] = {
        "resourceType": USER.name,
        "created": account.created,
        "lastModified": account.modified,
        "location": location(account, base),
        "version": account.version,
    }
    return document
