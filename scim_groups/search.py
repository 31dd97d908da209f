"""Finding groups by filter: through a key where one answers, otherwise by a bounded scan.

Whatever a key leads to is then judged by the whole filter. Whether somebody is a member is one point read each; only a
filter that asks more of members reads them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from scim_groups.resource import location, member_value
from shared.directory.claims import together
from shared.directory.directory import Directory
from shared.directory.groups import Group
from shared.directory.keys import ID, Key
from shared.directory.members import Member
from shared.scim.errors import TooMany
from shared.scim.evaluate import compile_filter
from shared.scim.filter import And, Compare, Filter, ValuePath, equalities, mentions
from shared.scim.membership import asked_members
from shared.scim.query import Query
from shared.scim.schema import GROUP

SCAN_LIMIT = 10_000
"""Groups that a filter without a key may read."""
MEMBER_LIMIT = 20_000
"""Members that one answer or one filter may read, all groups together; a single group is shown whole."""

KINDS = {"displayname": "displayName", "externalid": "externalId"}


async def find(directory: Directory, asked: Query, base: str) -> list[Group]:
    """Return all groups that a query selects, sorted as it asks. Raises TooMany where that would read too many."""
    tree = asked.filter
    test = compile_filter(tree, GROUP) if tree else None
    candidates = await _candidates(directory, tree) if tree else None
    if candidates is None:
        candidates = await _all(directory)
    if (tree and mentions(tree, "meta")) or (asked.sort and asked.sort.target.attribute.name == "meta"):
        candidates = await directory.groups.with_heads(candidates)
    members = asked_members(tree) if tree else ()
    documents = await together(*(_judged(directory, group, members, base) for group in candidates))
    found = [pair for pair in zip(candidates, documents, strict=True) if test is None or test(pair[1])]
    if asked.sort:
        found = asked.sort.order(found, lambda pair: pair[1])
    return [group for group, _ in found]


async def _candidates(directory: Directory, tree: Filter) -> list[Group] | None:
    """Return the groups that one term of the filter leads to, or None if no key answers any."""
    must = dict(equalities(tree))
    if "id" in must:
        group = await directory.groups.find(str(must["id"]))
        return [group] if group else []
    for path, kind in KINDS.items():
        if must.get(path) is not None:
            return await directory.groups.list_by(Key(kind, str(must[path])))
    for term in tree.terms if isinstance(tree, And) else (tree,):
        asked = asked_members(term)
        if asked and len(asked) == 1 and isinstance(term, Compare | ValuePath):
            return await _groups_of(directory, next(iter(asked)))
    return None


async def _groups_of(directory: Directory, member: str) -> list[Group]:
    if not ID.fullmatch(member):
        return []
    pairs = await directory.members.indexed([member])
    found = await directory.groups.find_many([group for _, group in pairs])
    return [group for group in found if group]


async def _all(directory: Directory) -> list[Group]:
    if await directory.group_listing.total() > SCAN_LIMIT:
        raise TooMany(
            f"this directory has more than {SCAN_LIMIT} groups and no index answers the filter: "
            "filter by displayName, externalId, id or members with eq"
        )
    found: list[Group] = []
    for bucket in range(directory.groups.keys.buckets):
        found += [group async for group in directory.group_listing.scan(bucket)]
    return found


async def _judged(directory: Directory, group: Group, asked: Iterable[str] | None, base: str) -> dict[str, Any]:
    document = group.document()
    document["meta"] = {
        "resourceType": GROUP.name,
        "created": group.created,
        "lastModified": group.modified,
        "location": location(group, base),
    }
    if group.head is not None:
        document["meta"]["version"] = group.version
    if asked is None:
        members = await directory.members.first(group.id, MEMBER_LIMIT + 1)
        if len(members) > MEMBER_LIMIT:
            raise TooMany(f"a group has more than {MEMBER_LIMIT} members: ask of members only whether one is, with eq")
    else:
        ids = [member for member in asked if ID.fullmatch(member)]
        held = await together(*(directory.members.holds(group.id, member) for member in ids)) if ids else []
        members = [Member(member) for member, is_in in zip(ids, held, strict=True) if is_in]
    if members:
        document["members"] = [member_value(member, base) for member in members]
    return document
