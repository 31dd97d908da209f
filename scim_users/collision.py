"""What a create gets that collides with an account which is managed here: its own kept one, one that it adopts, or 409.

The rules are in shared/directory/matching/adoption.py; this reads what they ask for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from scim_users import authority
from scim_users.doubles import find_others
from scim_users.resource import showing_manager, user_type
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound
from shared.directory.keys import fold
from shared.directory.matching.adoption import Sent, Surroundings, obstacle_to_adoption, obstacle_to_return
from shared.directory.matching.evidence import facts_of
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status, digest_facts
from shared.directory.records.resources import retry_stale
from shared.directory.work.jobs import Job, State
from shared.directory.work.seen import DAYS
from shared.directory.work.stages import is_older
from shared.scim.patch import PatchOperation, apply
from shared.tables.access import in_waves

FORGOTTEN: Final = (State.CANCELLED, State.EXPIRED, State.FAILED)
"""States of a run of which nothing is kept that it saw."""


async def settle(directory: Directory, new: Account, taken: AlreadyExists, by: str) -> Account:
    """Return the account that a create gets instead of the new one. Raises `taken`, or the same with the reason."""

    async def holder() -> Account:
        account = await directory.accounts.find(taken.holder)
        if account is None or account.status is not Status.LOCAL:
            raise taken
        return account

    first = taken.found if isinstance(taken.found, Account) else await holder()
    if first.status is not Status.LOCAL:
        raise taken
    collision = _Collision(directory, new, Sent.of(new.document()), taken, by)
    return await retry_stale("user", holder, collision.settle_with, first)


def _remedy(account: Account) -> str:
    """Return what an administrator can do about a create that has the userName of an account which is managed here."""
    if account.protected:
        return (
            f"the account {account.id} is protected: take the person out of the provisioning scope, or lift the "
            "protection here"
        )
    return (
        f"the account {account.id} is managed here and has this name: link it with a linking run, or by hand, on "
        "its page in the portal (POST /accounts/{id}/link)"
    )


@dataclass(frozen=True, slots=True)
class _Collision:
    directory: Directory
    new: Account
    sent: Sent
    taken: AlreadyExists
    by: str

    async def settle_with(self, account: Account) -> Account:
        policy = await self.directory.policies.get()
        if account.retired:
            return await self._give_back(account, policy)
        if not policy.adopts:
            raise self._refused(_remedy(account)) if self.taken.attribute == "userName" else self.taken
        return await self._adopt(account, policy)

    async def _give_back(self, kept: Account, policy: Policy) -> Account:
        left_open = await self._left_open([self.sent.external_id]) if self.sent.external_id else {}
        if obstacle := obstacle_to_return(self.sent, kept, left_open.get(self.sent.external_id, ""), policy):
            raise self._refused(
                f"the account {kept.id} was deleted over SCIM and is kept for the application; {obstacle}. Link it by "
                "hand, on its page in the portal (POST /accounts/{id}/link), or with a linking run, which shows the "
                "pair; or delete it there (DELETE /accounts/{id})"
            )
        document = await self._merged(kept.document() | {"active": True})
        after = authority.returned(kept, document, self.by, self.directory.accounts.now())
        return await self._store(kept, after, "return")

    async def _adopt(self, account: Account, policy: Policy) -> Account:
        around = await self._surroundings(account)
        if obstacle := obstacle_to_adoption(self.sent, facts_of(account), around, policy):
            raise self._refused(
                f"the account {account.id} is managed here and this create does not link it: {obstacle}. Link it with "
                "a linking run, or by hand, on its page in the portal (POST /accounts/{id}/link)"
            )
        document, at = await self._merged(account.document()), self.directory.accounts.now()
        after = authority.adopted(account, document, self.sent.object_id or "", self.by, at)
        if after.link is not None:
            await self.directory.adoptions.note(account.id, after.link)
        return await self._store(account, after, "adopt")

    def _refused(self, reason: str) -> AlreadyExists:
        return AlreadyExists(self.taken.attribute, self.taken.holder, reason)

    async def _merged(self, held: Mapping[str, Any]) -> dict[str, Any]:
        """Return a document with what the create sends; what the application knows beyond that stays."""
        sent = {name: value for name, value in self.new.document().items() if name not in ("id", "schemas")}
        return apply([PatchOperation("replace", None, sent)], held, await user_type(self.directory))

    async def _store(self, before: Account, after: Account, action: str) -> Account:
        after = await showing_manager(self.directory, before, after)
        return await self.directory.accounts.replace(before, after, by=self.by, action=action, keep=True)

    async def _surroundings(self, account: Account) -> Surroundings:
        directory, object_id = self.directory, self.sent.object_id or ""
        runs = await directory.jobs.find_chain()
        bucket = directory.keys.bucket(account.id)
        seen, ids = directory.seen(runs), {account.id}
        planned, near, facts = await self._is_planned(runs), await seen.near(bucket, ids), await seen.facts(bucket, ids)
        met, as_planned = near.get(account.id, {}), facts.get(account.id) == digest_facts(account.facts())
        left_open, others = await asyncio.gather(
            self._left_open([object_id, *(one for one in met if fold(one) != object_id)]),
            find_others(directory, self.new, account.id),
        )
        return Surroundings(planned, met, left_open, others, as_planned)

    async def _is_planned(self, runs: Sequence[str]) -> bool:
        """Tell whether the last plan builds on one of everybody, of the last DAYS, and all that they saw is kept."""
        try:
            jobs: list[Job] = await in_waves(map(self.directory.jobs.get, runs))
        except NotFound:
            return False
        if not jobs or any(job.state in FORGOTTEN for job in jobs):
            return False
        first = jobs[0]
        planned = first.planned if "since" not in first.options else None
        return planned is not None and not is_older(planned, DAYS, self.directory.accounts.now())

    async def _left_open(self, object_ids: Sequence[str]) -> dict[str, str]:
        """Return what the last plan decided on those of some identities that it left to the administrator."""
        found = await in_waves(map(self.directory.left_open.find, object_ids))
        return {one: mark[1] for one, mark in zip(object_ids, found, strict=True) if mark}
