"""Values that so many accounts or identities carry that they are no evidence for a weak rule.

The join (pairs.py) sees who has a key, and which accounts it leads to. Where either are many it asks here: the value is
taken from the pairs, its accounts are told, so that weigh() takes it from whatever else leads there, and the plan gets
a row that says so. An e-mail address is carried by the account that is named so, too, to which another key leads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from link_orchestrator.run import policy_of
from shared.directory.directory import Directory
from shared.directory.keys import Key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.match_keys import MOST_SHARED, is_name_as_address, is_shared, kind_of
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.staging import StageWriter

Wanted = Sequence[tuple[str, list[list[Any]]]]
"""The identities that have a key: their object ids, each with the values that the key came from."""
SEVERAL: Final = 2
"""Accounts to which one lead has to lead if all that carry a value are to be many: only one can have it as its name."""
READ: Final = 4 * MOST_SHARED
"""Accounts that are read to see whether they carry a value; where more pointers lead, some being stale is nothing."""


class SharedValues:
    """Finds the shared values of a run and tells of them. `pairs` is the stage that weigh() reads."""

    def __init__(self, directory: Directory, job: Job, pairs: StageWriter) -> None:
        self._directory = directory
        self._plan = directory.plan(job.id)
        self._pairs = pairs
        self.weak: dict[str, str] = {
            rule.value: kind_of(rule) for rule, one in policy_of(job).compared.items() if one.yields_to_many
        }
        self.told = 0

    async def without(self, lead: str, wanted: Wanted, ids: Collection[str], more: Wanted = ()) -> Wanted:
        """Return who has a key without the values that are shared. `more` have it too, and are paired elsewhere."""
        if len(wanted) + len(more) <= MOST_SHARED and len(ids) < SEVERAL:
            return wanted
        kinds = await self._find(lead, [*wanted, *more])
        return self.stripped(wanted, kinds) if kinds else wanted

    def stripped(self, wanted: Wanted, kinds: Collection[str]) -> Wanted:
        """Return who has a key without the values of weak rules of some kinds: they still meet its accounts."""
        return [(oid, [one for one in values if self.weak.get(one[0]) not in kinds]) for oid, values in wanted]

    def crowded(self, wanted: Wanted) -> set[str]:
        """Return the kinds of the key's values that are shared, whatever accounts carry them."""
        return {kind for kind, (_, identities) in self._carried(wanted).items() if is_shared(len(identities), 0)}

    def _carried(self, wanted: Wanted) -> dict[str, tuple[str, set[str]]]:
        """Return the value of weak rules by its kind, with the identities that have it. A name is one person's."""
        carried: dict[str, tuple[str, set[str]]] = {}
        for object_id, values in wanted:
            for rule, attribute, literal, *_ in values:
                if kind := self.weak.get(rule):
                    _, identities = carried.setdefault(kind, (fold(literal), set()))
                    if not is_name_as_address(rule, attribute):
                        identities.add(fold(object_id))
        return carried

    async def _find(self, lead: str, wanted: Wanted) -> set[str]:
        """Return the kinds of the key's values that are shared, and tell of them."""
        found: set[str] = set()
        for kind, (value, identities) in self._carried(wanted).items():
            led = await self._accounts(Key(kind, value))
            accounts = set[str]().union(*led.values())
            if is_shared(len(identities), len(accounts)):
                found.add(kind)
                # Several leads lead to the accounts: the one to most of them tells, at which join() asks for sure.
                if lead == max(led, key=lambda one: len(led[one])) or not accounts:
                    await self._tell(lead, kind, value, len(identities), accounts)
        return found

    async def _accounts(self, key: Key) -> dict[str, set[str]]:
        """Return the ids of the accounts that carry a value, by each lead to them."""
        places = places_of(key)
        led = {self._directory.keys.lead(place): await self._led(place) for place in places}
        ids = set[str]().union(*led.values())
        if len(ids) > READ:
            return led
        accounts = [one for one in await self._directory.accounts.find_many(sorted(ids)) if one]
        carrying = {one.id for one in accounts if not (one.found_by() | one.claims()).isdisjoint(places)}
        return {lead: found & carrying for lead, found in led.items()}

    async def _led(self, key: Key) -> set[str]:
        lead = self._directory.keys.lead(key)
        (ids,) = await self._directory.listing.find_led(self._directory.keys.bucket_of(lead), [lead])
        return ids

    async def _tell(self, lead: str, kind: str, value: str, identities: int, accounts: Iterable[str]) -> None:
        ids = sorted(accounts)
        for account_id in ids:
            await self._pairs.add(self._directory.keys.bucket(account_id), [account_id, "", [[kind, value]]])
        if not ids:
            return
        shown = {
            "reason": (
                f"This value is carried by many (accounts: {len(ids)}, identities: {identities}). What more than "
                f"{MOST_SHARED} carry is no evidence for a weak rule: correct it where it says nothing of the person."
            ),
            "value": {"kind": kind, "value": value, "accounts": len(ids), "identities": identities},
        }
        row = PlanRow(DecisionKind.SHARED_VALUE.value, f"{kind}:{value}", shown)
        await self._plan.write(self._directory.keys.bucket_of(lead), [row])
        self.told += 1


def places_of(key: Key) -> tuple[Key, ...]:
    """Return the keys by which the accounts that carry a value are found: an address may be their name or NameID."""
    return (key, Key("userName", key.value), Key("nameId", key.value)) if key.kind == "email" else (key,)
