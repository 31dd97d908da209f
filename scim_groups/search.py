"""Finding groups by filter: through keys where they answer, otherwise by a bounded scan.

Whatever a key leads to is then judged by the whole filter. It costs one point read to see whether somebody is a member;
only a filter that asks more of members reads them all.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from scim_groups.resource import location, member_value
from shared import turns
from shared.directory.directory import Directory
from shared.directory.keys import ID, Key
from shared.directory.records.members import Member
from shared.directory.records.model import Group
from shared.scim.cursor import Position
from shared.scim.errors import TooMany
from shared.scim.evaluate import Test, compile_filter
from shared.scim.filter import Comparison, Filter, Term, look_ups, mentions
from shared.scim.limits import SCAN_LIMIT
from shared.scim.members import asked_members
from shared.scim.messages import meta
from shared.scim.paging import Source, read_matching
from shared.scim.query import Query
from shared.scim.schema import GROUP
from shared.tables.access import in_parts, in_waves, together

Read = TypeVar("Read")
_Judged = tuple[Group, dict[str, Any]]
"""A group with the document that a filter judges."""

SCAN_PAGE = 500
"""Groups that one page of a filter without a key may read, where pages go by cursor."""
GROUPS_AT_ONCE = 16
"""Groups whose members are read at a time."""
MEMBER_LIMIT = 20_000
"""Members that one answer or one filter may read of all groups together; a single group is shown whole."""

MEMBER: Final = "member"
"""Kind of the key that leads from a member to the groups which may have it."""
KINDS: Final = {"id": "id", "displayname": "displayName", "externalid": "externalId"}
"""Kinds of keys by the path, in lower case, whose equality they answer; members are asked for in more ways."""
COSTS: Final = {"id": 1, "displayName": 2, "externalId": 2, MEMBER: 10}
"""What it costs to look a kind of key up: its calls of the storage, and a member may be in many groups."""


def source(directory: Directory, base: str, *, heads: bool) -> Source[Group]:
    """Return what a query of groups reads; its pages are shared/scim/paging.py's.

    With `heads`, groups that a key leads to are read with theirs, which costs no round trip there.
    """
    return Source(
        directory.group_listing,
        lambda asked: find(directory, asked, base, heads=heads),
        lambda tree: find_by_key(directory, tree, base, heads=heads),
        lambda tree, start, count: find_from(directory, tree, base, start, count),
    )


async def find(directory: Directory, asked: Query, base: str, *, heads: bool) -> list[Group]:
    """Return all groups that a query selects, sorted as it asks. Raises TooMany where that reads too many."""
    tree = asked.filter
    test = compile_filter(tree, GROUP) if tree else None
    found = await _candidates(directory, tree, heads=heads) if tree else None
    if found is None:
        found = await _all(directory)
    pairs = await _judged(directory, found, tree, base, with_meta=asked.sort is not None)
    pairs = await _passing(pairs, test) if test else pairs
    if asked.sort is None:
        return [group for group, _ in pairs]
    keys = await turns.take(asked.sort.key(document) for _, document in pairs)
    return asked.sort.order([(key, group) for key, (group, _) in zip(keys, pairs, strict=True)])


async def find_by_key(directory: Directory, tree: Filter, base: str, *, heads: bool) -> list[Group] | None:
    """Return all groups that a filter selects, or None if keys do not lead to all of them."""
    test = compile_filter(tree, GROUP)
    found = await _candidates(directory, tree, heads=heads)
    if found is None:
        return None
    return [group for group, _ in await _passing(await _judged(directory, found, tree, base), test)]


async def find_from(
    directory: Directory, tree: Filter, base: str, start: Position, count: int
) -> tuple[list[Group], Position | None]:
    """Return groups from a position on that a filter selects, and the position to read on at; None at the end.

    At most SCAN_PAGE groups are read, so there may be fewer than `count`, or none, before the end.
    """
    test = compile_filter(tree, GROUP)

    async def passing(groups: Sequence[Group]) -> list[Group]:
        return [group for group, _ in await _passing(await _judged(directory, groups, tree, base), test)]

    return await read_matching(directory.group_listing, passing, start, count, SCAN_PAGE)


async def _passing(pairs: Sequence[_Judged], test: Test) -> list[_Judged]:
    """Return those of some groups whose documents pass a filter."""
    passing = await turns.take(test(document) for _, document in pairs)
    return [pair for pair, passes in zip(pairs, passing, strict=True) if passes]


async def _candidates(directory: Directory, tree: Filter, *, heads: bool) -> list[Group] | None:
    """Return live groups, all that pass the filter among them, or None if keys do not lead to those."""
    keys = look_ups(tree, _keys_of, lambda key: COSTS[key.kind])
    if keys is None:
        return None
    ids = await _led_to(directory, keys)
    return await (directory.groups.list_with_heads(ids) if heads else directory.groups.list_live(ids))


def _keys_of(term: Term) -> Sequence[Key] | None:
    """Return the keys of which every group that passes a term has one, or None."""
    if isinstance(term, Comparison) and term.operator == "eq" and term.value is not None and term.path.key in KINDS:
        return [Key(KINDS[term.path.key], str(term.value))]
    members = asked_members(term)
    return [Key(MEMBER, member) for member in sorted(members)] if members else None


async def _led_to(directory: Directory, keys: Sequence[Key]) -> Sequence[str]:
    """Return the ids to which keys lead."""
    ids = {kind: [key.value for key in keys if key.kind == kind and ID.fullmatch(key.value)] for kind in ("id", MEMBER)}
    groups, pairs = await asyncio.gather(
        in_waves(directory.groups.led_to(key) for key in keys if key.kind not in ids),
        directory.members.indexed(ids[MEMBER]),
    )
    return list(dict.fromkeys(itertools.chain(ids["id"], *groups, (group for _, group in pairs))))


async def _all(directory: Directory) -> list[Group]:
    if await directory.group_listing.total() > SCAN_LIMIT:
        raise TooMany(
            f"this directory has more than {SCAN_LIMIT} groups and no index answers the filter: "
            "filter by displayName, externalId, id or members with eq, or page with a cursor"
        )
    found: list[Group] = []
    for bucket in range(directory.groups.keys.buckets):
        found += [group async for group in directory.group_listing.scan(bucket)]
    return found


async def read_bounded(
    groups: Sequence[Group], most: int, read: Callable[[Group, int], Awaitable[Read]], size: Callable[[Read], int]
) -> list[Read] | None:
    """Return what is read of each group, or None where all groups together have more than `most` members.

    At first each group is read up to an equal share. A group that has more is read again, as far as the others leave
    room.
    """
    share = most // max(len(groups), 1) + 1
    found = await together(*(read(group, share) for group in groups))
    left = most - sum(map(size, found))
    for place, group in enumerate(groups):
        if left < 0:
            return None
        if size(found[place]) == share:
            left += share
            found[place] = await read(group, left + 1)
            left -= size(found[place])
    return found if left >= 0 else None


async def _judged(
    directory: Directory, groups: Sequence[Group], tree: Filter | None, base: str, *, with_meta: bool = False
) -> list[_Judged]:
    """Return groups with the documents that a filter judges, which hold only the members that it asks for.

    Raises TooMany where these are too many in all groups together.
    """
    if with_meta or (tree and mentions(tree, "meta")):
        groups = await directory.groups.with_heads(groups)
    asked = asked_members(tree) if tree else frozenset()
    if asked is not None and not asked:
        return await turns.take((group, _document(group, (), base)) for group in groups)
    judged: list[_Judged] = []
    left = MEMBER_LIMIT
    for some in in_parts(groups, GROUPS_AT_ONCE):
        held = await read_bounded(some, left, lambda group, most: _members(directory, group, asked, most), len)
        left -= sum(map(len, held or ())) if asked is None else len(asked) * len(some)
        if held is None or left < 0:
            raise TooMany(f"this would read more than {MEMBER_LIMIT} members: ask for one with eq, or page by cursor")
        judged += await turns.take(
            (group, _document(group, members, base)) for group, members in zip(some, held, strict=True)
        )
    return judged


async def _members(directory: Directory, group: Group, asked: Iterable[str] | None, most: int) -> list[Member]:
    """Return the members among those asked for; the first ones where the filter names nobody."""
    if asked is None:
        return await directory.members.first(group.id, most)
    ids = await directory.members.look_up(group.id, filter(ID.fullmatch, asked))
    return [Member(member) for member in ids]


def _document(group: Group, members: Sequence[Member], base: str) -> dict[str, Any]:
    document = group.document()
    version = None if group.head is None else group.version
    document["meta"] = meta(GROUP.name, group.created, group.modified, location(group, base), version)
    if members:
        document["members"] = [member_value(member, base) for member in members]
    return document
