"""Finding users by filter: through keys where they answer, otherwise by a bounded scan.

Whatever a key leads to is then judged by the whole filter, so an answer always carries the value that was asked for.
Of terms joined by `and`, the key of one will do; of terms joined by `or`, each needs one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from scim_users.authority import confirmed, unconfirmed
from scim_users.by_group import GroupReader, narrowed
from scim_users.membership import Membership, Memberships, groups_of
from scim_users.resource import group_value, location, user_type
from shared import turns
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import ID, Key
from shared.directory.records.model import Account
from shared.json_text import load
from shared.scim.cursor import Position
from shared.scim.errors import TooMany
from shared.scim.evaluate import Test, compile_filter
from shared.scim.filter import Comparison, Filter, Path, Term, equalities, look_ups, mentions
from shared.scim.limits import MAX_COUNT, SCAN_LIMIT
from shared.scim.messages import meta
from shared.scim.paging import Reader, Source, read_matching, remedy_by_cursor
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.scim.schema import ENTERPRISE_USER_URN, USER
from shared.tables.access import in_waves
from shared.tables.port import MAX_PAGE

SCAN_PAGE = 2_000
"""Accounts that one page of a filter without a key may read, where pages go by cursor."""

EVERYTHING = Projection.parse(None, None, USER)

KINDS: Final = {
    "id": "id",
    "username": "userName",
    "externalid": "externalId",
    "emails": "email",
    "emails.value": "email",
    f"{ENTERPRISE_USER_URN}:employeeNumber".lower(): "employeeNumber",
    "employeenumber": "employeeNumber",
}
"""Kinds of keys by the path, in lower case, whose equality they answer."""
COSTS: Final = {"id": 1, "userName": 2, "externalId": 2, "email": 3, "employeeNumber": 100}
"""What it costs to look a kind of key up: its calls of the storage, and many accounts may have one employee number."""


def source(directory: Directory, base: str, shown: Memberships) -> Source[Account]:
    """Return what a query of users reads, and the memberships with it; the pages are shared/scim/paging.py's."""
    return Source(
        directory.listing,
        lambda asked: find(directory, asked, base, shown),
        lambda tree: find_by_key(directory, tree, base, shown),
        lambda tree, start, count: find_from(directory, tree, base, start, count),
    )


async def find(directory: Directory, asked: Query, base: str, shown: Memberships) -> list[Account]:
    """Return all live accounts that a query selects, sorted as it asks. Raises TooMany where that reads too many."""
    found = None if asked.filter is None else await find_by_key(directory, asked.filter, base, shown)
    if found is None:
        reader, rest = _reader(directory, asked.filter)
        if reader is directory.listing:
            await _refuse_large(directory, asked)
        found = await _scan(directory, reader, rest, base, asked)
    if asked.sort is None:
        return found
    keys = await turns.take(asked.sort.key(_judged(account, base)) for account in found)
    return asked.sort.order(list(zip(keys, found, strict=True)))


async def find_by_key(directory: Directory, tree: Filter, base: str, shown: Memberships) -> list[Account] | None:
    """Return all live accounts that a filter selects, or None if keys do not lead to all of them.

    What a key leads to is known before it is read, so the memberships are read in the same round trip.
    """
    test = compile_filter(tree, await user_type(directory))
    keys = _keys(tree)
    if keys is None:
        return None
    ids = await _led_to(directory, keys)
    found, _ = await asyncio.gather(directory.accounts.list_live(ids), shown.read(ids if len(ids) <= MAX_COUNT else ()))
    return await _passing(directory, tree, test, base, found, by_key=_asks_for_a_key_alone(tree))


async def find_from(
    directory: Directory, tree: Filter, base: str, start: Position, count: int
) -> tuple[list[Account], Position | None]:
    """Return live accounts from a position on that a filter selects, and the position to read on at; None at the end.

    At most SCAN_PAGE accounts are read, so there may be fewer than `count`, or none, before the end.
    """
    user = await user_type(directory)
    compile_filter(tree, user)  # refuses what is wrong with it, whatever is read
    reader, rest = _reader(directory, tree)
    test = compile_filter(rest, user) if rest else None

    async def passing(accounts: Sequence[Account]) -> Sequence[Account]:
        return await _passing(directory, rest, test, base, accounts) if rest and test else accounts

    return await read_matching(reader, passing, start, count, SCAN_PAGE)


def _reader(directory: Directory, tree: Filter | None) -> tuple[Reader[Account], Filter | None]:
    """Return what a filter is read through, and the rest of the filter, which judges what was read."""
    narrow = narrowed(tree) if tree else None
    return (directory.listing, tree) if narrow is None else (GroupReader(directory, narrow[0]), narrow[1])


async def confirm_link(directory: Directory, tree: Filter, found: list[Account], by: str) -> None:
    """Confirm an account's link when provisioning finds it by its stamped externalId; no other look-up writes."""
    named = "externalid" in dict(equalities(tree))
    if len(found) != 1 or not named or not unconfirmed(found[0]):
        return
    with contextlib.suppress(DirectoryError):
        # Where somebody was faster, the next read confirms it.
        after = confirmed(found[0], directory.accounts.now())
        found[0] = await directory.accounts.replace(found[0], after, by=by, action="confirm")


def _keys(tree: Filter, within: str = "") -> Sequence[Key] | None:
    """Return the keys of which every account that passes a filter has one, or None; `within` is its value path's."""
    return look_ups(tree, lambda term: _keys_of(term, within), lambda key: COSTS[key.kind])


def _keys_of(term: Term, within: str) -> Sequence[Key] | None:
    path = term.path
    if isinstance(term, Comparison):
        if term.operator == "ne" or term.value is None:
            return None  # an account without the attribute passes
        kind = _kind(path, within)
        if term.operator == "eq" and kind is not None:
            # An unquoted number is still the text that a string attribute holds.
            return [Key(kind, str(term.value))]
    return _keys(path.value_filter, f"{Path(path.urn, path.attribute).key}.") if path.value_filter else None


def _asks_for_a_key_alone(tree: Filter) -> bool:
    """Tell whether a filter is by one key, or by an e-mail address with its type, and asks for nothing more.

    Then it finds a protected account, too, so that it is not made twice. Nothing more of one can be asked for.
    """
    if not isinstance(tree, Comparison):
        return False
    beside = tree.path.value_filter
    is_type = isinstance(beside, Comparison) and (beside.path.key, beside.operator) == ("type", "eq")
    return tree.operator == "eq" and _kind(tree.path) is not None and (beside is None or is_type)


def _kind(path: Path, within: str = "") -> str | None:
    """Return the kind of keys that answer the equality of a path, whatever its value filter."""
    return KINDS.get(within + (replace(path, value_filter=None) if path.value_filter else path).key)


async def _led_to(directory: Directory, keys: Sequence[Key]) -> list[str]:
    """Return the ids to which keys lead. Raises TooMany where an employee number leads to too many."""
    named = [key.value for key in keys if key.kind == "id" and ID.fullmatch(key.value)]
    others = [key for key in keys if key.kind != "id"]
    found = await in_waves(directory.accounts.led_to(key, SCAN_LIMIT + 1) for key in others)
    ids = list(dict.fromkeys(itertools.chain(named, *found)))
    if len(ids) > SCAN_LIMIT:
        raise TooMany(f"this would read more than {SCAN_LIMIT} users: ask for another attribute, too, such as userName")
    return ids


async def _refuse_large(directory: Directory, asked: Query) -> None:
    if await directory.listing.total() <= SCAN_LIMIT:
        return
    raise TooMany(
        f"this directory has more than {SCAN_LIMIT} users and no index leads to those asked for: filter by userName, "
        f"externalId, emails.value, employeeNumber or id with eq, or {remedy_by_cursor(asked)}"
    )


async def _scan(
    directory: Directory, reader: Reader[Account], tree: Filter | None, base: str, asked: Query
) -> list[Account]:
    test = compile_filter(tree, await user_type(directory)) if tree else None
    found: list[Account] = []
    read = 0
    position: Position | None = ()
    turn = turns.Turns()
    while position is not None:
        await turn.step()
        accounts, position = await reader.read_on(position, MAX_PAGE)
        # Members that are no accounts were read all the same.
        read = reader.members_read if isinstance(reader, GroupReader) else read + len(accounts)
        if read > SCAN_LIMIT:
            raise TooMany(f"this would read more than {SCAN_LIMIT} users: {remedy_by_cursor(asked)}")
        found += await _passing(directory, tree, test, base, accounts) if tree and test else accounts
    return found


async def _passing(
    directory: Directory, tree: Filter, test: Test, base: str, accounts: Sequence[Account], *, by_key: bool = False
) -> list[Account]:
    """Return those of some accounts that are live and pass a filter."""
    live = [account for account in accounts if not account.retired]
    of = await groups_of(directory, [a.id for a in live], EVERYTHING) if mentions(tree, "groups") else {}
    passing = await turns.take(test(_judged(a, base, of.get(a.id, ()), by_key=by_key)) for a in live)
    return [account for account, passes in zip(live, passing, strict=True) if passes]


def _judged(account: Account, base: str, groups: Sequence[Membership] = (), *, by_key: bool = False) -> dict[str, Any]:
    """Return the document that a filter judges. Of a protected account that is what is shown, unless `by_key` alone."""
    document: dict[str, Any] = load(account.text)
    if account.protected and not by_key:
        document = {name: document[name] for name in ("schemas", "id", "userName")}
    elif groups:
        document["groups"] = [group_value(group, base) for group in groups]
    document["meta"] = meta(USER.name, account.created, account.modified, location(account, base), account.version)
    return document
