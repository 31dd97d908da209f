"""Accounts: create, find, replace, retire, delete, one commit point each.

The commit is one transaction on the account's partition (account, audit, and the count where it changes), conditional
on the version that was read. What must be found first and removed last is in claims.py, pages are in listing.py, and
many accounts at once in bulk.py.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from shared.directory.audit import Change, audit_row, list_history
from shared.directory.claims import ATTEMPTS, CONFLICTS, Claims, Place, together
from shared.directory.counts import Count, Counts
from shared.directory.errors import AlreadyExists, Busy, NotFound, Stale
from shared.directory.keys import LIVE, RETIRED, TOMBSTONE, Key, Keys, folded
from shared.directory.model import Account, timestamp
from shared.tables.port import Delete, Insert, Operation, Replace, Tables, Throttled, Unavailable

ID = re.compile(r"[0-9A-Za-z-]{1,64}")


class Accounts:
    """The accounts of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self.tables = tables
        self.keys = keys
        self.now = now
        self.counts = Counts(tables, keys)
        self.claims = Claims(tables, keys, self.counts, self.find)

    async def find(self, account_id: str) -> Account | None:
        """Return an account by id, live or retired."""
        partition = self.keys.accounts_of(account_id)
        if not ID.fullmatch(account_id):
            return None
        row = await self.tables.get(partition, LIVE + account_id)
        row = row or await self.tables.get(partition, RETIRED + account_id)
        return Account.from_row(row) if row else None

    async def find_many(self, ids: Sequence[str]) -> list[Account | None]:
        """Return accounts by id, live or retired, in order of the ids, which must be ids."""
        rows = await self.tables.get_many([(self.keys.accounts_of(i), LIVE + i) for i in ids])
        found = [Account.from_row(row) if row else None for row in rows]
        missing = [place for place, row in enumerate(rows) if row is None]
        for place, account in zip(missing, await together(*(self.find(ids[p]) for p in missing)), strict=True):
            found[place] = account
        return found

    async def get(self, account_id: str) -> Account:
        """Return a live account. Raises NotFound, also for one that SCIM deleted."""
        account = await self.find(account_id)
        if account is None or account.retired:
            raise NotFound(f"no account {account_id}")
        return account

    async def get_any(self, account_id: str) -> Account:
        """Return an account, live or retired. Raises NotFound."""
        account = await self.find(account_id)
        if account is None:
            raise NotFound(f"no account {account_id}")
        return account

    async def list_by(self, key: Key) -> list[Account]:
        """Return the accounts, live or retired, that carry a key; `Key("userName", …)` leads to one at most."""
        if key.kind in ("userName", "identity"):
            holder = await self.claims.holder(key)
            return [holder] if holder else []
        pointed, named = self.claims.pointed(key), self._named(key)
        ids = dict.fromkeys(itertools.chain(*await together(named, pointed)))
        found = await self.find_many(list(ids))
        return [account for account in found if account and folded(key) in account.found_by()]

    async def create(self, account: Account, *, by: str) -> Account:
        """Store a new account. Raises AlreadyExists naming the attribute that another account holds."""
        row = Insert(account.key, account.columns())
        partition, name = self.keys.accounts_of(account.id), Key("userName", account.user_name)
        bucket = self.keys.bucket(account.id)
        claim: Operation = Insert(self.keys.claim(name)[1], {"id": account.id})
        audit = audit_row(account.id, "create", by, account.created, None, account)
        async with self.counts.turn(bucket):
            for _ in range(ATTEMPTS):
                # In this order: whoever fences creates off by the count makes us look again at what we announce.
                count = await self.counts.get(bucket)
                await self._announce(account, account.pointers())
                try:
                    etags = await self._commit(partition, [claim, row, audit, count.changed(+1)], audit.key)
                except CONFLICTS as conflict:
                    self.counts.forget(bucket)
                    if conflict.index == 0:
                        with contextlib.suppress(*CONFLICTS):
                            claim = await self.claims.operation(name, account.id)
                    elif conflict.index == 1:
                        raise AlreadyExists("id", account.id) from conflict
                    continue
                self._counted(bucket, count, +1, etags)
                return await self._written(account, etags, 1)
        raise Busy("too many accounts are being created at once", retry_after=1)

    async def replace(self, before: Account, after: Account, *, by: str, action: str = "replace") -> Account:
        """Put `after` in the place of `before`. Raises Stale if the account changed since `before` was read.

        Raises AlreadyExists if it would take a userName or an identity that another account holds.
        """
        if after == before:
            return before
        after = replace(after, modified=self.now())
        columns = after.columns()
        gone = await self._prepare(before, after)
        audit = audit_row(before.id, action, by, after.modified, before, after)
        operations: list[Operation] = [audit, Replace(after.key, columns, before.etag)]
        if after.key != before.key:
            operations[1:] = [Insert(after.key, columns), Delete(before.key, before.etag)]
        etags = await self._change(before, operations, audit.key, int(before.retired) - int(after.retired))
        await self.claims.remove(gone)
        return await self._written(after, etags, 1)

    async def delete(self, account: Account, *, by: str) -> None:
        """Delete an account and leave a tombstone. Raises Stale if it changed since it was read."""
        gone = await self.claims.places(account.id, account.claims(), account.pointers())
        now = self.now()
        audit = audit_row(account.id, "delete", by, now, account, None)
        tombstone = Insert(TOMBSTONE + account.id, {"deleted": now, "by": by, "status": account.status.value})
        operations: list[Operation] = [audit, Delete(account.key, account.etag), tombstone]
        await self._change(account, operations, audit.key, 0 if account.retired else -1)
        await self.claims.remove(gone)

    async def history(self, account_id: str) -> list[Change]:
        """Return an account's changes, oldest first; also those of a deleted one."""
        return await list_history(self.tables, self.keys, account_id)

    async def tombstone(self, account_id: str) -> Mapping[str, Any] | None:
        """Return when and by whom an account was deleted, or None."""
        row = await self.tables.get(self.keys.accounts_of(account_id), TOMBSTONE + account_id)
        return row.columns if row else None

    async def _named(self, key: Key) -> list[str]:
        """Return the id that an e-mail leads to as a userName: its account may have the e-mail, too."""
        named = await self.claims.claimed(Key("userName", key.value)) if key.kind == "email" else None
        return [named] if named else []

    async def _announce(self, account: Account, pointers: Collection[Key]) -> None:
        """Write pointers, then look whether a linked account holds the externalId: nobody gets a second account.

        Linking does it the other way round (Claims.hold), so of the two at least one sees the other, and fences it
        off. That order costs a create with an externalId one more round trip.
        """
        await together(*(self.claims.point(key, account.id) for key in pointers))
        for key in pointers:
            if key.kind == "externalId" and account.link is None:
                await self.claims.refuse_held(Key("identity", key.value), account.id)

    async def _prepare(self, before: Account, after: Account) -> list[Place]:
        """Write what must be there before the commit; return what must go after it."""
        had, has = before.claims(), after.claims()
        led, leads = before.pointers(), after.pointers()
        if had == has and led == leads:
            return []
        gone = await self.claims.swap(before.id, has - had, had - has, led - leads)
        if leads - led:
            await self._announce(after, leads - led)
        return gone

    async def _change(self, before: Account, operations: Sequence[Operation], audit: str, lives: int) -> list[str]:
        """Commit what is conditional on `before`, with the count where it changes."""
        partition, bucket = self.keys.accounts_of(before.id), self.keys.bucket(before.id)
        for _ in range(ATTEMPTS):
            count = await self.counts.get(bucket) if lives else None
            try:
                etags = await self._commit(partition, [*operations, *([count.changed(lives)] if count else [])], audit)
            except CONFLICTS as conflict:
                self.counts.forget(bucket)
                if conflict.index == len(operations):  # only the count, by a change to another account
                    continue
                raise Stale("the account changed since it was read") from conflict
            if count:
                self._counted(bucket, count, lives, etags)
            return etags
        raise Busy("too many accounts are being changed at once", retry_after=1)

    async def _commit(self, partition: str, operations: Sequence[Operation], audit: str) -> list[str]:
        """Commit; where the answer was lost, the audit row tells whether it took effect. Returns [] then."""
        try:
            return await self.tables.commit(partition, operations)
        except (Unavailable, Throttled):
            if await self.tables.get(partition, audit) is None:
                raise
            return []

    async def _written(self, account: Account, etags: Sequence[str], index: int) -> Account:
        return replace(account, etag=etags[index]) if etags else await self.get_any(account.id)

    def _counted(self, bucket: int, count: Count, by: int, etags: Sequence[str]) -> None:
        if etags:
            self.counts.committed(bucket, count, by, etags[-1])
        else:
            self.counts.forget(bucket)
