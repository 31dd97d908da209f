"""The first passes of a plan: who meets whom, by a hash join, one bucket in memory at a time.

collect  identities -> their match keys, in the key's bucket
join     match keys and the directory's pointers -> pairs of account and identity, in the account's bucket

An identity *meets* an account if one of its keys leads there, whether or not that proves anything. A key's *lead* is
the beginning of the row keys under which the directory finds the accounts that carry it (shared/directory/keys.py).

Every account, pointer and identity is read once and written at most once, in pages; nothing is looked up one by one.
What the pairs come to is decided in plan.py. A later run plans only some identities again (passes/compare.py): the same
passes run over those, and look up the accounts that they meet. What a run saw is kept for the next one
(shared/directory/work/seen.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.passes.excluded_groups import policy_with_members
from link_orchestrator.passes.shared_values import SharedValues, Wanted
from link_orchestrator.prediction.cycle import adds_nothing, probes
from link_orchestrator.run import (
    mapping_of,
    policy_of,
)
from link_orchestrator.staged import (
    KEYS,
    LEADS,
    MANY,
    MEETING,
    PAIRS,
    VALUES,
    parts_of,
)
from shared.directory.directory import Directory
from shared.directory.keys import NAME, POINTER, Key, fold
from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.identity import Identity, is_gone, is_void
from shared.directory.matching.match_keys import MOST_SHARED, identity_keys
from shared.directory.matching.policy import LOGIN_NAMES, Policy, Rule, Trust
from shared.directory.work.jobs import Job
from shared.directory.work.seen import short
from shared.directory.work.staging import Stage, parse
from shared.tables.access import AT_ONCE, in_parts, together


async def collect(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Stage the match keys of a slice's identities; in a later run of the gathered ones, as lead() did the changed."""
    finder, keys = KeyFinder(job, await policy_with_members(directory, job)), directory.keys
    writer = directory.stage(job.id + KEYS).writer(slice_.name)
    seen = directory.seen_writer(job.id, slice_.name)
    for bucket in slice_.buckets:
        if not again:
            # Before any pointer is read, so that an account which changes later is known to have changed.
            async for accounts in directory.listing.scan_digests(bucket):
                for account_id, facts in accounts:
                    await seen.add_account(account_id, facts)
        names = [job.id + MEETING] if again else parts_of(job)
        for line, identity in await identities_in(directory, names, bucket):
            found = {keys.lead(key): values for key, values in finder.find(identity).items()}
            for lead, values in found.items():
                await writer.add(keys.bucket_of(lead), [lead, identity.object_id, values])
            if not again:
                id_digest = keys.digest(Key("identity", identity.object_id))
                await seen.add_identity(bucket, keys.fingerprint(line), id_digest, found)
    await together(writer.close(), seen.close())
    return Counter()


class KeyFinder:
    """Finds the keys that lead to every account which an identity may meet, under a run's policy and mapping."""

    def __init__(self, job: Job, policy: Policy | None = None) -> None:
        self._policy, self._mapping = policy or policy_of(job), mapping_of(job)
        self._covered = adds_nothing(self._mapping, self._policy)

    def find(self, identity: Identity) -> Mapping[Key, list[list[Any]]]:
        """Return an identity's keys, each with `[rule, attribute, literal]` of every value that it came from.

        Those of an excluded identity have true at the end, and once more if an entry excludes it that leaves many out.
        """
        found: defaultdict[Key, list[list[Any]]] = defaultdict(list)
        for key in identity_keys(identity, self._policy):
            value = [key.rule.value, key.attribute, key.literal, *[True] * (key.excluded + key.among_many)]
            # An account has no pointer for an e-mail that equals its userName: the claim on the name leads there.
            for kind in (key.kind, "userName") if key.kind == "email" else (key.kind,):
                found[Key(kind, key.value)].append(value)
            if key.rule is Rule.EMAIL or (key.kind == "email" and (key.trust is Trust.WEAK or key.rule in LOGIN_NAMES)):
                # Of everybody: who has the address is counted wherever it leads.
                found[Key("nameId", key.value)].append(value)
        if not self._covered or "#" in identity.user_principal_name:
            for probe in probes(identity, self._mapping, self._policy):
                found.setdefault(probe, [])  # proves nothing, but provisioning may find the account that carries it
        return found


async def join(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Pair the identities that have a slice's keys with the accounts to which these keys lead."""
    keys = directory.stage(job.id + KEYS)
    writer = directory.stage(job.id + PAIRS).writer(slice_.name)
    shared = SharedValues(directory, job, writer)
    triggered = await _Triggered.read(directory, job) if again else None
    for bucket in slice_.buckets:
        wanted = await keys_of(keys, bucket)
        also = await triggered.keys(bucket) if triggered else {}
        led = find_led(directory, bucket, wanted) if again else _scan_led(directory, bucket, wanted)
        async for lead, ids in led:
            identities: Wanted = wanted[lead]
            if triggered is None or triggered.has(lead):
                # Otherwise not all who have the key are here, and nothing changed about how many they are.
                identities = await shared.without(lead, identities, ids, also.pop(lead, ()))
            for account_id in ids:
                for item in identities:
                    await writer.add(directory.keys.bucket(account_id), [account_id, *item])
        for lead, changed in also.items():
            await shared.without(lead, (), triggered.crowded(lead) if triggered else (), changed)
    await writer.close()
    return Counter({DecisionKind.SHARED_VALUE.value: shared.told} if shared.told else {})


@dataclass(frozen=True, slots=True)
class _Triggered:
    """The keys in a later run of which everybody who has them is planned again, as something changed about them."""

    directory: Directory
    job: Job
    gathered: Collection[str]
    led: set[str]
    many: set[str]

    @classmethod
    async def read(cls, directory: Directory, job: Job) -> _Triggered:
        """Read the short leads by which gather() found identities."""
        values = {lead async for items in directory.stage(job.id + VALUES).read(0) for lead in items}
        return cls(directory, job, values, set(), set())

    async def keys(self, bucket: int) -> dict[str, Wanted]:
        """Return the changed identities by their keys in a bucket. From now on the others know of the bucket."""
        many = self.directory.stage(self.job.id + MANY)
        self.many.update([lead async for items in many.read(bucket) for lead in items])
        found: defaultdict[str, list[tuple[str, list[list[Any]]]]] = defaultdict(list)
        for lead, items in (await keys_of(self.directory.stage(self.job.id + LEADS), bucket)).items():
            self.led.add(short(lead))
            if changed := [item for item in items if item[0]]:
                found[lead] += changed
        return dict(found)

    def has(self, lead: str) -> bool:
        """Tell whether everybody who has a key is planned again."""
        return short(lead) in self.led or short(lead) in self.gathered

    def crowded(self, lead: str) -> Sequence[str]:
        """Return as many words as there are accounts, if many: the caller looks at their number alone."""
        return [lead] * MOST_SHARED if lead in self.many else []


async def keys_of(keys: Stage, bucket: int) -> Mapping[str, list[tuple[str, list[list[Any]]]]]:
    """Return the identities that have the keys of a bucket, by lead, each with the values that the key came from."""
    wanted: defaultdict[str, list[tuple[str, list[list[Any]]]]] = defaultdict(list)
    async for items in keys.read(bucket):
        for lead, object_id, values in items:
            wanted[lead].append((object_id, values))
    return wanted


async def find_led(
    directory: Directory, bucket: int, leads: Collection[str]
) -> AsyncIterator[tuple[str, Collection[str]]]:
    """Look up the accounts of some leads of a bucket, and yield each lead that has any, with their ids."""
    for batch in in_parts(list(leads), AT_ONCE):
        for lead, ids in zip(batch, await directory.listing.find_led(bucket, batch), strict=True):
            if ids:
                yield lead, ids


async def _scan_led(
    directory: Directory, bucket: int, leads: Collection[str]
) -> AsyncIterator[tuple[str, Collection[str]]]:
    """Do the same by reading through the whole bucket, in which the rows of a lead are neighbours."""
    for prefix, scan in ((POINTER, directory.listing.scan_pointers), (NAME, directory.listing.scan_names)):
        wanted = {lead[len(prefix) :]: lead for lead in leads if lead.startswith(prefix)}
        last, ids = "", list[str]()
        if wanted:
            async for digest, account_id in scan(bucket):
                if digest not in wanted:
                    continue
                if digest != last and ids:
                    yield wanted[last], ids
                    ids = []
                last = digest
                ids.append(account_id)
            if ids:
                yield wanted[last], ids


async def identities_in(
    directory: Directory, names: Sequence[str], bucket: int, about: Collection[str] = ()
) -> Iterable[tuple[str, Identity]]:
    """Return a bucket's identities in some stages, each with the line that it was staged as.

    Where they are to be `about` some folded object ids, no other line is parsed than those that hold one.

    Where an object id comes several times, the first counts; none where two rows of an upload contradict each other.
    """
    found: dict[str, tuple[str, Identity] | None] = {}
    for name in names:
        async for all_lines in directory.stage(name).lines(bucket):
            lines = [line for line in all_lines if not about or any(one in line.lower() for one in about)]
            for line, item in zip(lines, parse(lines), strict=True):
                if is_void(line):
                    found[fold(item["id"])] = None
                    continue
                read = None if is_gone(line) else (line, Identity.from_json(item))
                found.setdefault(fold(item["id"]), read)
    return filter(None, found.values())
