"""A user's `groups`, read-only here: they come from the index of memberships, verified against the groups' own rows."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence

from shared.directory.directory import Directory
from shared.directory.keys import ID
from shared.directory.records.model import Group
from shared.scim.projection import Projection


async def groups_of(
    directory: Directory, account_ids: Sequence[str], projection: Projection
) -> Mapping[str, list[Group]]:
    """Return the groups that each account is in directly; nothing is read where the projection does not show them.

    The ids of a page are neighbours in the index: a page costs a query for each bucket, not for each user.
    """
    ids = [account_id for account_id in account_ids if ID.fullmatch(account_id)]
    if not ids or not projection.shows("groups"):
        return {}
    pairs = await directory.members.indexed(ids)
    if not pairs:
        return {}
    names = list(dict.fromkeys(group for _, group in pairs))
    held, found = await asyncio.gather(directory.members.held(pairs), directory.groups.find_many(names))
    groups = dict(zip(names, found, strict=True))
    of: defaultdict[str, list[Group]] = defaultdict(list)
    for (account_id, name), is_in in zip(pairs, held, strict=True):
        group = groups[name]
        if is_in and group is not None and not group.retired:
            of[account_id].append(group)
    return of


class Memberships:
    """The groups of the users in one answer, read together with the users where the ids are known first."""

    def __init__(self, directory: Directory, projection: Projection) -> None:
        self._directory = directory
        self._projection = projection
        self._known: dict[str, Sequence[Group]] = {}

    async def read(self, account_ids: Sequence[str]) -> Mapping[str, Sequence[Group]]:
        """Return the groups of each account, read once."""
        missing = [account_id for account_id in account_ids if account_id not in self._known]
        found = await groups_of(self._directory, missing, self._projection) if missing else {}
        self._known |= {account_id: found.get(account_id, ()) for account_id in missing}
        return self._known
