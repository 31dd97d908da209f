"""A user's `groups`, read-only here: they come from the index of memberships, verified against the groups' own rows.

A group that holds a group of the user is one of the user's, too, and its type is `indirect` (RFC 7643 section 4.1.2).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.directory.directory import Directory
from shared.directory.keys import ID
from shared.directory.records.model import Group
from shared.scim.projection import Projection


@dataclass(frozen=True, slots=True)
class Membership:
    """A group that a user is in, directly or through another group."""

    group: Group
    direct: bool = True


async def groups_of(
    directory: Directory, account_ids: Sequence[str], projection: Projection
) -> Mapping[str, list[Membership]]:
    """Return the groups that each account is in; nothing is read where the projection does not show them.

    The ids of a page are neighbours in the index: a page costs a query for each bucket, not for each user.
    """
    ids = [account_id for account_id in account_ids if ID.fullmatch(account_id)]
    if not ids or not projection.shows("groups"):
        return {}
    holders = await _holders(directory, ids)
    return {account_id: _all_of(holders, account_id) for account_id in ids if account_id in holders}


async def _holders(directory: Directory, ids: Sequence[str]) -> Mapping[str, list[Group]]:
    """Return the groups that hold each account, and those that hold each of these groups, up to the outermost."""
    groups: dict[str, Group | None] = {}
    holders: defaultdict[str, list[Group]] = defaultdict(list)
    pairs = await directory.members.indexed(ids)
    while pairs:
        new = list(dict.fromkeys(name for _, name in pairs if name not in groups))
        held, found, outer = await asyncio.gather(
            directory.members.held(pairs),
            directory.groups.find_many(new),
            directory.members.indexed_groups(new),
        )
        groups |= zip(new, found, strict=True)
        for (member, name), is_in in zip(pairs, held, strict=True):
            group = groups[name]
            if is_in and group is not None and not group.retired:
                holders[member].append(group)
        pairs = outer
    return holders


def _all_of(holders: Mapping[str, list[Group]], account_id: str) -> list[Membership]:
    """Return the groups of an account, each once, those that hold it directly first."""
    found = {group.id: Membership(group) for group in holders[account_id]}
    waiting = list(found)
    for inner in waiting:
        for group in holders.get(inner, ()):
            if group.id not in found:
                found[group.id] = Membership(group, direct=False)
                waiting.append(group.id)
    return list(found.values())


class Memberships:
    """The groups of the users in one answer, read together with the users where the ids are known first."""

    def __init__(self, directory: Directory, projection: Projection) -> None:
        self._directory = directory
        self._projection = projection
        self._known: dict[str, Sequence[Membership]] = {}

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Sequence[Membership]]:
        """Return the groups of each account, read once."""
        missing = [account_id for account_id in account_ids if account_id not in self._known]
        found = await groups_of(self._directory, missing, self._projection) if missing else {}
        self._known |= {account_id: found.get(account_id, ()) for account_id in missing}
        return self._known
