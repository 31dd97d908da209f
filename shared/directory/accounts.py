"""Accounts: create, find, replace, retire, delete, one commit point each.

The commit is one transaction on the account's partition (account, audit, and the count where it changes), conditional
on the version that was read. What must be found first and removed last is in claims.py, pages are in listing.py, and
many accounts at once in bulk.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.directory.audit import Change, audit_row, list_history
from shared.directory.claims import ATTEMPTS, Claims, Place, together
from shared.directory.counts import Counts
from shared.directory.errors import AlreadyExists, Busy, NotFound, Stale
from shared.directory.keys import LIVE, RETIRED, TOMBSTONE, Key, Keys, fold, folded
from shared.directory.model import Account, timestamp
from shared.tables import port
from shared.tables.port import Delete, Insert, Operation, Replace, Tables, Unavailable, VersionConflict


class Accounts:
    """The accounts of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self.tables = tables
        self.keys = keys
        self.now = now
        self.counts = Counts(tables, keys)
        self.claims = Claims(tables, keys, self.find)

    async def find(self, account_id: str) -> Account | None:
        """Return an account by id, live or retired."""
        partition = self.keys.accounts_of(account_id)
        if not account_id or port.FORBIDDEN_IN_KEYS.search(account_id) or len(account_id) > 64:
            return None
        row = await self.tables.get(partition, LIVE + account_id)
        row = row or await self.tables.get(partition, RETIRED + account_id)
        return Account.from_row(row) if row else None

    async def get(self, account_id: str) -> Account:
        """Return a live account. Raises NotFound, also for one that SCIM deleted."""
        account = await self.find(account_id)
        if account is None or account.retired:
            raise NotFound(f"no account {account_id}")
        return account

    async def list_by(self, key: Key) -> list[Account]:
        """Return the accounts, live or retired, that carry a key; `Key("userName", …)` leads to one at most."""
        if key.kind in ("userName", "identity"):
            holder = await self.claims.holder(key)
            return [holder] if holder else []
        pointed = self._list_pointed(key)
        if key.kind != "email":
            return await pointed
        named, accounts = await together(self.list_by(Key("userName", key.value)), pointed)
        return [a for a in named if fold(key.value) in map(fold, a.emails)] + accounts

    async def create(self, account: Account, *, by: str) -> Account:
        """Store a new account. Raises AlreadyExists naming the attribute that another account holds."""
        await self._announce(account, account.pointers())
        partition, name = self.keys.accounts_of(account.id), Key("userName", account.user_name)
        bucket = self.keys.bucket(account.id)
        claim: Operation = Insert(self.keys.claim(name)[1], {"id": account.id})
        for _ in range(ATTEMPTS):
            audit = audit_row(account.id, "create", by, account.created, None, account)
            count = await self.counts.change(bucket, +1)
            operations = [claim, Insert(account.key, account.columns()), audit, count]
            try:
                etags = await self._commit(partition, operations, audit.key)
            except (port.AlreadyExists, VersionConflict) as conflict:
                self.counts.forget(bucket)
                if conflict.index == 0:
                    claim = await self._claim_again(name, account.id)
                continue
            self._counted(bucket, +1, etags)
            return await self._written(account, etags, 1)
        raise Busy("too many accounts are being created at once", retry_after=1)

    async def replace(self, before: Account, after: Account, *, by: str, action: str = "replace") -> Account:
        """Put `after` in the place of `before`. Raises Stale if the account changed since `before` was read.

        Raises AlreadyExists if it would take a userName or an identity that another account holds.
        """
        if after == before:
            return before
        after = replace(after, modified=self.now())
        gone = await self._prepare(before, after)
        partition, bucket = self.keys.accounts_of(before.id), self.keys.bucket(before.id)
        audit = audit_row(before.id, action, by, after.modified, before, after)
        operations: list[Operation] = [audit, Replace(after.key, after.columns(), before.etag)]
        lives = int(before.retired) - int(after.retired)
        if lives:
            operations[1:] = [Insert(after.key, after.columns()), Delete(before.key, before.etag)]
            operations.append(await self.counts.change(bucket, lives))
        etags = await self._commit_conditional(partition, operations, audit.key, bucket)
        if lives:
            self._counted(bucket, lives, etags)
        await self.claims.remove(gone)
        return await self._written(after, etags, 1)

    async def delete(self, account: Account, *, by: str) -> None:
        """Delete an account and leave a tombstone. Raises Stale if it changed since it was read."""
        gone = await self.claims.places(account.id, account.claims(), account.pointers())
        partition, bucket, now = self.keys.accounts_of(account.id), self.keys.bucket(account.id), self.now()
        audit = audit_row(account.id, "delete", by, now, account, None)
        tombstone = Insert(TOMBSTONE + account.id, {"deleted": now, "by": by, "status": account.status.value})
        operations: list[Operation] = [audit, Delete(account.key, account.etag), tombstone]
        if not account.retired:
            operations.append(await self.counts.change(bucket, -1))
        etags = await self._commit_conditional(partition, operations, audit.key, bucket)
        if not account.retired:
            self._counted(bucket, -1, etags)
        await self.claims.remove(gone)

    async def history(self, account_id: str) -> list[Change]:
        """Return an account's changes, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, account_id)

    async def tombstone(self, account_id: str) -> Mapping[str, Any] | None:
        """Return when and by whom an account was deleted, or None."""
        row = await self.tables.get(self.keys.accounts_of(account_id), TOMBSTONE + account_id)
        return row.columns if row else None

    async def _list_pointed(self, key: Key) -> list[Account]:
        ids = await self.claims.pointed(key)
        found = await together(*map(self.find, ids))
        return [account for account in found if account and folded(key) in account.pointers()]

    async def _announce(self, account: Account, pointers: Iterable[Key]) -> None:
        """Write pointers, then look whether a linked account holds the externalId: nobody gets a second account.

        Linking does it the other way round (Claims.hold), so of the two at least one sees the other. That order costs
        a create with an externalId one more round trip.
        """
        await together(*(self.claims.point(key, account.id) for key in pointers))
        if account.external_id and account.link is None:
            holder = await self.claims.holder(Key("identity", account.external_id))
            if holder is not None and holder.id != account.id:
                raise AlreadyExists("externalId", holder.id)

    async def _claim_again(self, key: Key, account_id: str) -> Operation:
        try:
            return await self.claims.operation(key, account_id)
        except VersionConflict as conflict:
            raise Stale("the holder of a stale claim changed") from conflict

    async def _prepare(self, before: Account, after: Account) -> list[Place]:
        """Write what must be there before the commit; return what must go after it."""
        had, has = before.claims(), after.claims()
        led, leads = before.pointers(), after.pointers()
        if had == has and led == leads:
            return []
        gone = await self.claims.places(before.id, had - has, led - leads)
        await together(*(self.claims.hold(key, after.id) for key in has - had))
        if leads - led:
            await self._announce(after, leads - led)
        return gone

    async def _commit_conditional(
        self, partition: str, operations: Sequence[Operation], audit: str, bucket: int
    ) -> list[str]:
        try:
            return await self._commit(partition, operations, audit)
        except (port.AlreadyExists, VersionConflict) as conflict:
            self.counts.forget(bucket)
            raise Stale("the account changed since it was read") from conflict

    async def _commit(self, partition: str, operations: Sequence[Operation], audit: str) -> list[str]:
        """Commit; where the answer was lost, the audit row tells whether it took effect. Returns [] then."""
        try:
            return await self.tables.commit(partition, operations)
        except Unavailable:
            if await self.tables.get(partition, audit) is None:
                raise
            return []

    async def _written(self, account: Account, etags: Sequence[str], index: int) -> Account:
        return replace(account, etag=etags[index]) if etags else await self.get_any(account.id)

    def _counted(self, bucket: int, by: int, etags: Sequence[str]) -> None:
        if etags:
            self.counts.committed(bucket, by, etags[-1])
        else:
            self.counts.forget(bucket)

    async def get_any(self, account_id: str) -> Account:
        """Return an account, live or retired. Raises NotFound."""
        account = await self.find(account_id)
        if account is None:
            raise NotFound(f"no account {account_id}")
        return account
