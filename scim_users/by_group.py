"""The users of one group, for filters on `groups`, by which a client pages through the members of a large group.

Users of the groups that it holds are among them, as they show it as theirs. Behind the users of one group come those of
the next that was found in it, each user once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.directory.directory import Directory
from shared.directory.keys import ID, behind, is_group
from shared.directory.records.members import FIRST, Member
from shared.directory.records.model import Account
from shared.scim.cursor import Position
from shared.scim.errors import TooMany
from shared.scim.filter import And, Comparison, Filter, ValuePath, mentions

MOST_GROUPS = 50
"""Groups within a group whose users one filter finds: a cursor, which is part of an address, names all of them."""


@dataclass(frozen=True, slots=True)
class _Place:
    """The next key to read in a group, the groups that wait, and those that are read."""

    low: str
    group: str
    waiting: tuple[str, ...] = ()
    done: tuple[str, ...] = ()

    @classmethod
    def of(cls, position: Position, group: str) -> _Place:
        low, *groups = map(str, position or (FIRST,))
        current, waiting, done = groups or (group, "", "")
        return cls(low, current, tuple(waiting.split()), tuple(done.split()))

    def position(self) -> Position:
        return self.low, self.group, " ".join(self.waiting), " ".join(self.done)

    def with_groups(self, found: Sequence[str]) -> _Place:
        """Return the place with groups that were found in this one. Raises TooMany."""
        known = (self.group, *self.waiting, *self.done)
        waiting = (*self.waiting, *(group for group in found if group not in known))
        if len(waiting) + len(self.done) > MOST_GROUPS:
            raise TooMany(f"the group holds more than {MOST_GROUPS} groups: ask for the users of each of them")
        return replace(self, waiting=waiting)

    def behind(self, members: Sequence[Member], count: int, *, there: bool) -> _Place | None:
        """Return the place behind `count` members that were asked for, None at the end."""
        if there and len(members) == count:
            return replace(self, low=behind(members[-1].id))
        done = (*self.done, self.group) if there else self.done
        return _Place(FIRST, self.waiting[0], self.waiting[1:], done) if self.waiting else None


class GroupReader:
    """The live accounts that are seen in a group, in order of id within each of the groups that it holds."""

    def __init__(self, directory: Directory, group: str) -> None:
        self._directory = directory
        self._group = group
        self._read = _Place(FIRST, group)
        self.members_read = 0
        """Members that were read so far, accounts or not."""
        self._ids: set[str] = set()
        """The users among them. Of the groups in `_begun` that is everybody; who was in others is looked up."""
        self._begun: set[str] = set()
        """Groups that were read from their beginning, and not from where a cursor stood."""

    async def read_on(self, position: Position, count: int) -> tuple[Sequence[Account], Position | None]:
        """Return the accounts among the next `count` members, and the position behind them; None at the end."""
        place = _Place.of(position, self._group)
        if place.low == FIRST:
            self._begun.add(place.group)
        if not ID.fullmatch(place.group):
            return (), None
        group, members = await asyncio.gather(
            self._directory.groups.find_without_head(place.group),
            self._directory.members.first(place.group, count, place.low),
        )
        there = group is not None and not group.retired  # what a crash left of its members does not count
        self.members_read += len(members)
        ids = [member.id for member in members] if there else []
        self._read = place.with_groups([i for i in ids if is_group(i)])
        then = self._read.behind(members, count, there=there)
        return await self._accounts([i for i in ids if not is_group(i)]), then.position() if then else None

    async def _accounts(self, ids: Sequence[str]) -> list[Account]:
        """Return the accounts that no group has shown which was read before.

        A protected account shows no groups, so that no filter finds it by them.
        """
        unread = [account_id for account_id in ids if account_id not in self._ids]
        self._ids.update(unread)
        pairs = [(account_id, group) for account_id in unread for group in self._read.done if group not in self._begun]
        held = await self._directory.members.held(pairs) if pairs else []
        shown = {account_id for (account_id, _), is_in in zip(pairs, held, strict=True) if is_in}
        new = [account_id for account_id in unread if account_id not in shown]
        found = await self._directory.accounts.find_many(new) if new else []
        return [account for account in found if account and not account.retired and not account.protected]

    def place_of(self, account: Account) -> Position:
        """Return the position at which reading on begins with this account, one of those that were read last."""
        return replace(self._read, low=account.id).position()


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
