"""The users of one group, for filters on `groups`, by which a client pages through the members of a large group.

Members that are groups themselves are no users; the group shows them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shared.directory.directory import Directory
from shared.directory.keys import ID, behind, is_group
from shared.directory.records.members import FIRST
from shared.directory.records.model import Account
from shared.scim.cursor import Position
from shared.scim.filter import And, Comparison, Filter, ValuePath, mentions


@dataclass(frozen=True, slots=True)
class GroupReader:
    """The live accounts that are seen in a group, in order of id. A position is the first key to read."""

    directory: Directory
    group: str

    async def read_on(self, position: Position, count: int) -> tuple[Sequence[Account], Position | None]:
        """Return the accounts among the next `count` members, and the position behind them; None at the end."""
        if not ID.fullmatch(self.group):
            return (), None
        low = str(position[0]) if position else FIRST
        there, members = await asyncio.gather(
            self.directory.groups.find_without_head(self.group),
            self.directory.members.first(self.group, count, low),
        )
        if there is None or there.retired:  # what a crash left of its members does not count
            return (), None
        users = [member.id for member in members if not is_group(member.id)]
        found = await self.directory.accounts.find_many(users) if users else []
        # A protected account shows no groups, so that no filter finds it by them.
        accounts = [account for account in found if account and not account.retired and not account.protected]
        return accounts, (behind(members[-1].id),) if len(members) == count else None

    def place_of(self, account: Account) -> Position:
        """Return the position at which reading on begins with this account."""
        return (account.id,)


def narrowed(tree: Filter) -> tuple[str, Filter | None] | None:
    """Return the group whose users alone can pass a filter, and the rest of the filter; None where others may pass."""
    terms = tree.terms if isinstance(tree, And) else (tree,)
    for place, term in enumerate(terms):
        group = _group(term)
        if group is not None:
            rest = terms[:place] + terms[place + 1 :]
            return group, And(rest) if len(rest) > 1 else rest[0] if rest else None
    return None


def _group(term: Filter) -> str | None:
    """Return the group of a term that asks for a group and nothing more: `groups.value eq` in any of its forms."""
    inner, names = term, {"groups", "groups.value"}
    if isinstance(term, ValuePath) and term.path.value_filter and mentions(term, "groups"):
        inner, names = term.path.value_filter, {"value"}
    if isinstance(inner, Comparison) and inner.operator == "eq" and inner.path.key in names and inner.value is not None:
        return str(inner.value)
    return None
