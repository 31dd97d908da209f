"""Accounts: unlike groups, they stay for the application when SCIM deletes them, and they claim their identity.

resources.py has what they share with groups, bulk.py writes many at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from shared.directory.keys import APPLICATION_ID, LIVE, RETIRED, Key, Keys
from shared.directory.records.audit import forget_names
from shared.directory.records.kept import forget_kept
from shared.directory.records.model import Account, Status
from shared.directory.records.resources import Resources
from shared.directory.text import timestamp
from shared.tables.port import Tables


class Accounts(Resources[Account]):
    """The accounts of one directory."""

    noun = "account"

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        super().__init__(tables, keys, Account.from_row, (LIVE, RETIRED), now)

    async def delete(self, resource: Account, *, by: str) -> None:
        """Delete an account, and forget its names and what was kept of it. What a crash leaves of that is swept."""
        await super().delete(resource, by=by)
        if resource.changes > 1:
            await forget_names(self.tables, self.keys, resource.id)
        if resource.status is not Status.PROVISIONED:
            await forget_kept(self.tables, self.keys, resource.id)

    def _naming(self, key: Key) -> list[Awaitable[list[str]]]:
        """Return the call that looks where an e-mail address leads as a userName: its account may have it, too."""
        return [self._named(Key("userName", key.value))] if key.kind == "email" else []

    async def _named(self, name: Key) -> list[str]:
        named = await self.claims.claimed(name)
        return [named] if named else []

    def _holding(self, account: Account, *, waits: bool) -> list[Awaitable[object]]:
        """Return the call that claims the applicationId of a new account, if it has one."""
        claim = self.claims.hold if waits else self.claims.take
        return [claim(key, account.id) for key in account.claims() if key.kind == APPLICATION_ID]

    def _announcing(self, account: Account, pointers: Collection[Key]) -> list[Awaitable[object]]:
        """Return the calls that write pointers; one from an externalId looks for an account linked to that identity.

        So nobody gets a second account. Linking claims first and then looks for pointers (Claims.hold): of the two, at
        least one sees the other, and fences it off.
        """
        external_ids = [key for key in pointers if key.kind == "externalId" and account.link is None]
        others = [key for key in pointers if key not in external_ids]
        claiming = (self.claims.point_unclaimed(key, account.id) for key in external_ids)
        return [*super()._announcing(account, others), *claiming]
