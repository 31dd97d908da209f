"""Accounts: resources that SCIM may delete while the application keeps them, and whose identity is claimed too.

resources.py holds what they share with groups; many accounts at once are in bulk.py.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from shared.directory.keys import LIVE, RETIRED, Key, Keys
from shared.directory.records.model import Account
from shared.directory.records.resources import Resources
from shared.directory.text import timestamp
from shared.tables.port import Tables


class Accounts(Resources[Account]):
    """The accounts of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        super().__init__(tables, keys, Account.from_row, (LIVE, RETIRED), now)

    async def _named(self, key: Key) -> list[str]:
        """Return the id that an e-mail leads to as a userName: its account may have the e-mail, too."""
        named = await self.claims.claimed(Key("userName", key.value)) if key.kind == "email" else None
        return [named] if named else []

    def _announcing(self, account: Account, pointers: Collection[Key]) -> list[Awaitable[None]]:
        """Return what writes pointers; one from an externalId looks for a linked account that holds the identity.

        Nobody gets a second account. Linking does it the other way round (Claims.hold), so of the two at least one
        sees the other, and fences it off.
        """
        told = [key for key in pointers if key.kind == "externalId" and account.link is None]
        others = [key for key in pointers if key not in told]
        return [*super()._announcing(account, others), *(self.claims.point_unclaimed(key, account.id) for key in told)]
