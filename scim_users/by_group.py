"""The users of one group, for filters on `groups`: so a client pages through the members of a large group.

Members who are groups themselves are no users; the group shows them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from shared.directory.directory import Directory
from shared.directory.keys import ID, is_group
from shared.directory.members import FIRST, behind
from shared.directory.model import Account
from shared.scim.cursor import Position
from shared.scim.filter import And, Filter, ValuePath, equalities, mentions
from shared.scim.paging import Reader


@dataclass(frozen=True, slots=True)
class GroupReader:
    """The live accounts that are members of a group, in order of id. A position is the first key to read."""

    directory: Directory
    group: str

    async def read_on(self, position: Position, count: int) -> tuple[Sequence[Account], Position | None]:
        """Return the accounts among the next `count` members, and the position behind them; None at the end."""
        if not ID.fullmatch(self.group):
            return (), None
        low = str(position[0]) if position else FIRST
        members = await self.directory.members.first(self.group, count, low)
        users = [member.id for member in members if not is_group(member.id)]
        found = await self.directory.accounts.find_many(users) if users else []
        accounts = [account for account in found if account and not account.retired]
        return accounts, (behind(members[-1].id),) if len(members) == count else None

    def place_of(self, account: Account) -> Position:
        """Return the position at which reading on begins with this account."""
        return (account.id,)


def reader_of(directory: Directory, tree: Filter | None) -> Reader[Account]:
    """Return what a filter is to be read through: one group's members where it asks for these, or else everybody."""
    group = _group_asked(tree) if tree else None
    return directory.listing if group is None else GroupReader(directory, group)


def _group_asked(tree: Filter) -> str | None:
    """Return the group in which a user must be to pass the filter, or None if the filter leaves that open."""
    for term in tree.terms if isinstance(tree, And) else (tree,):
        inner = term.path.value_filter if isinstance(term, ValuePath) else None
        if inner is not None:
            groups = [value for path, value in equalities(inner) if path == "value" and mentions(term, "groups")]
        else:
            groups = [value for path, value in equalities(term) if path in ("groups", "groups.value")]
        if groups and groups[0] is not None:
            return str(groups[0])
    return None
