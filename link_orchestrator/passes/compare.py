"""The first passes of a later run: what changed since the runs before it, and which identities to plan again for that.

changes  identities and accounts -> those that are not as the earlier runs saw them, each in its own bucket
spread   changed accounts -> keys by which they may count among many that carry a value, or did
lead     those and the changed identities' keys, former and present -> the accounts they lead to, paired as in join()
touch    touched accounts, that is those and the changed ones -> identities that met them before; keys of changed ones
gather   identities -> the unchanged ones that met a touched account before, or that may meet a changed one now

passes/pairs.py, which says what *meet* and *lead* mean, and passes/plan.py then plan the changed and the gathered
identities, and no others. An account that is not touched is met by the same identities as before. These are on record
(shared/directory/work/seen.py), so none of them is read again only to be known as a rival. A test compares the result,
row by row, with a plan of everything (tests/link_orchestrator/passes/test_compare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from link_orchestrator.messages import Extent, Slice, slices_for
from link_orchestrator.passes.pairs import KeyFinder, find_led, keys_of
from link_orchestrator.passes.plan import ACCOUNTS_AT_ONCE
from link_orchestrator.passes.shared_values import SEVERAL, SharedValues, Wanted, places_of
from link_orchestrator.run import ASSIGNED, chain_of, policy_of
from link_orchestrator.staged import (
    CHANGED,
    LEADS,
    MANY,
    MEETING,
    MET,
    PAIRS,
    TOUCHED,
    VALUES,
    identity_bucket,
    parts_of,
)
from shared.directory.directory import Directory
from shared.directory.keys import Key, fold
from shared.directory.matching.identity import Identity, is_gone, is_void
from shared.directory.matching.match_keys import MOST_SHARED, kind_of
from shared.directory.records.model import Account
from shared.directory.work.jobs import Job
from shared.directory.work.seen import DAYS, Seen, short, stages_of
from shared.directory.work.stages import is_older
from shared.directory.work.staging import parse
from shared.tables.access import in_parts, together

COUNTED = IDENTITIES, ACCOUNTS = "identities", "accounts"
COMPARED, DIFFERENT = "compared.", "changed."
"""Prefixes of two counts of identities and accounts: those that were compared, and those that have changed."""
MOST_SHARE: Final = 0.2
"""Share of all identities and accounts that may have changed; if more did, a run plans everything."""
MOST_ACCOUNTS: Final = 200_000
"""Accounts that may have changed, for the same: gather() has all their keys in memory, 100 bytes each."""
MOST_RUNS: Final = 8
"""Runs that may build on one another before one plans everything: what each of them saw has to be read."""
_PLAIN: Final = '{"id":"'
"""The beginning of an identity's line, as Identity.to_json() and dump() write it. The object id follows."""


async def changes(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Stage the identities and accounts of a slice that changed, appeared or went away."""
    comparison = _Comparison(directory, job, slice_)
    for bucket in slice_.buckets:
        await comparison.identities(bucket)
        await comparison.accounts(bucket)
    await comparison.close()
    return comparison.counts


class _Comparison:
    """One slice of changes(): what the earlier runs saw of it, and the sets that it fills."""

    def __init__(self, directory: Directory, job: Job, slice_: Slice) -> None:
        self._directory = directory
        self._job = job
        self._before = _seen(directory, job)
        self._finder = KeyFinder(job)
        self._plan = directory.plan(job.id)
        self._now = directory.seen_writer(job.id, slice_.name)
        self._changed = directory.stage(job.id + CHANGED).writer(slice_.name)
        self._leads = directory.stage(job.id + LEADS).writer(slice_.name)
        self._touched = directory.stage(job.id + TOUCHED).writer(slice_.name)
        self.counts = Counter({prefix + kind: 0 for prefix in (COMPARED, DIFFERENT) for kind in COUNTED})

    async def identities(self, bucket: int) -> None:
        keys = self._directory.keys
        before = await self._before.identities(bucket)
        lines = await _lines(self._directory, self._job, bucket)
        present: dict[str, set[str]] = {}
        former: set[str] = set()
        for line in lines.values():
            fingerprint = keys.fingerprint(line)
            if before.pop(fingerprint, None) is not None:
                continue
            (item,) = parse([line])
            identity = Identity.from_json(item)
            leads = {keys.lead(key): values for key, values in self._finder.find(identity).items()}
            for lead, values in leads.items():
                await self._lead(lead, identity.object_id, values)
            id_digest = keys.digest(Key("identity", identity.object_id))
            await self._now.add_identity(bucket, fingerprint, id_digest, leads)
            await self._changed.add_line(bucket, line)
            present[id_digest] = set(map(short, leads))
        for fingerprint, known in before.items():
            id_digest, *short_leads = known.split()
            # Keys that the identity still has lead where its present ones do. Another identity's may only begin alike.
            for lead in set(short_leads).difference(present.get(id_digest, ())):
                await self._lead(lead, "", [])
            await self._now.drop_identity(bucket, fingerprint)
            former.add(id_digest)
        # An identity that is gone from the source is left open no longer. One that changed is decided again.
        await self._plan.close_digests(former.difference(present))
        self.counts[DIFFERENT + IDENTITIES] += len(former.union(present))
        self.counts[COMPARED + IDENTITIES] += len(lines)

    async def _lead(self, lead: str, object_id: str, values: list[list[str]]) -> None:
        await self._leads.add(self._directory.keys.bucket_of(lead), [lead, object_id, values])

    async def accounts(self, bucket: int) -> None:
        before = await self._before.accounts(bucket)
        async for accounts in self._directory.listing.scan_digests(bucket):
            self.counts[COMPARED + ACCOUNTS] += len(accounts)
            for account_id, digest in accounts:
                if before.pop(account_id, None) != digest or not digest:
                    await self._now.add_account(account_id, digest)
                    await self._touch(bucket, account_id)
        for account_id in before:
            await self._now.drop_account(account_id)
            await self._touch(bucket, account_id)

    async def _touch(self, bucket: int, account_id: str) -> None:
        await self._touched.add(bucket, [account_id, True])
        self.counts[DIFFERENT + ACCOUNTS] += 1

    async def close(self) -> None:
        await together(*(writer.close() for writer in (self._now, self._changed, self._leads, self._touched)))


async def spread(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Stage the keys of changed accounts that weak rules look at: whoever shares one may be one of many now, or not."""
    seen, keys = _seen(directory, job), directory.keys
    kinds = {kind_of(rule) for rule, one in policy_of(job).compared.items() if one.yields_to_many}
    writer = directory.stage(job.id + LEADS).writer(slice_.name)
    for bucket in slice_.buckets:
        changed = sorted([one async for items in directory.stage(job.id + TOUCHED).read(bucket) for one, _ in items])
        leads = {one for former in (await seen.crowds(bucket, changed)).values() for value in former for one in value}
        for batch in in_parts(changed, ACCOUNTS_AT_ONCE):
            for account in await directory.accounts.find_many(batch):
                leads.update(keys.lead(key) for key in (_carried(account, kinds) if account else ()))
        for one in leads:
            await writer.add(keys.bucket_of(one), [one, "", []])
    await writer.close()
    return Counter()


def _carried(account: Account, kinds: Collection[str]) -> Iterator[Key]:
    """Yield the keys of some kinds by which an account is one of those that carry a value."""
    addresses = {Key("email", fold(name)) for name in (account.user_name, account.evidence.name_id) if name}
    for key in {Key("userName", fold(account.user_name)), *addresses, *account.found_by()}:
        if key.kind in kinds:
            yield from places_of(key)


async def lead(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Touch the accounts to which a slice's keys lead, as other identities meet them now than before; pair those."""
    leads = directory.stage(job.id + LEADS)
    touched = directory.stage(job.id + TOUCHED).writer(slice_.name)
    pairs = directory.stage(job.id + PAIRS).writer(slice_.name)
    many = directory.stage(job.id + MANY).writer(slice_.name)
    shared = SharedValues(directory, job, pairs)
    for bucket in slice_.buckets:
        wanted = await keys_of(leads, bucket)
        # Of a former key only a short lead is known, and there is nobody to pair.
        async for lead, ids in find_led(directory, bucket, wanted):
            changed: Wanted = [item for item in wanted[lead] if item[0]]
            if len(ids) >= SEVERAL:
                await many.add(bucket, lead)
            if len(changed) > MOST_SHARED:
                # join() tells of them. Here it is enough that they make no pairs by the thousand that prove nothing.
                changed = shared.stripped(changed, shared.crowded(changed))
            for account_id in ids:
                home = directory.keys.bucket(account_id)
                await touched.add(home, [account_id, False])
                for object_id, values in changed:
                    await pairs.add(home, [account_id, object_id, values])
    await together(touched.close(), pairs.close(), many.close())
    return Counter()


async def touch(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Stage the identities that met a slice's touched accounts, and the keys by which others may meet a changed one."""
    seen = _seen(directory, job)
    met = directory.stage(job.id + MET).writer(slice_.name)
    leads = directory.stage(job.id + VALUES).writer(slice_.name)
    for bucket in slice_.buckets:
        touched = [item async for items in directory.stage(job.id + TOUCHED).read(bucket) for item in items]
        ids = {account_id for account_id, _ in touched}
        for claims in (await seen.near(bucket, ids)).values():
            for object_id in claims:
                await met.add(identity_bucket(directory.keys, object_id), fold(object_id))
        # Not all who share a value met its accounts, and how many they are is to be counted again.
        for one in {one for shared in (await seen.crowds(bucket, ids)).values() for value in shared for one in value}:
            await leads.add(0, one)
        changed = sorted({account_id for account_id, is_changed in touched if is_changed})
        for batch in in_parts(changed, ACCOUNTS_AT_ONCE):
            for account in await directory.accounts.find_many(batch):
                for key in (Key("userName", account.user_name), *account.pointers()) if account else ():
                    # All in one bucket, as gather() needs all of them in each slice.
                    await leads.add(0, short(directory.keys.lead(key)))
    await together(met.close(), leads.close())
    return Counter()


async def gather(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Stage the unchanged identities of a slice that met a touched account before, or may meet a changed one now."""
    seen, keys = _seen(directory, job), directory.keys
    writer = directory.stage(job.id + MEETING).writer(slice_.name)
    wanted = {lead async for items in directory.stage(job.id + VALUES).read(0) for lead in items}
    for bucket in slice_.buckets:
        met = {object_id async for items in directory.stage(job.id + MET).read(bucket) for object_id in items}
        known = await seen.identities(bucket) if wanted else {}
        meeting = {fingerprint for fingerprint, leads in known.items() if not wanted.isdisjoint(leads.split())}
        if not met and not meeting:
            continue
        changed = {line async for lines in directory.stage(job.id + CHANGED).lines(bucket) for line in lines}
        for object_id, line in (await _lines(directory, job, bucket)).items():
            if (object_id in met and line not in changed) or (meeting and keys.fingerprint(line) in meeting):
                await writer.add_line(bucket, line)
    await writer.close()
    return Counter()


async def choose_extent(directory: Directory, job_id: str) -> Extent:
    """Return what a run plans: what changed, or everything if so much changed that this is no more work."""
    job = await directory.jobs.get(job_id)
    counts = await directory.jobs.total(job_id)
    changed, compared = (sum(counts.get(prefix + kind, 0) for kind in COUNTED) for prefix in (DIFFERENT, COMPARED))
    if (
        "since" in job.options
        and changed <= MOST_SHARE * compared
        and counts.get(DIFFERENT + ACCOUNTS, 0) <= MOST_ACCOUNTS
    ):
        return Extent(slices=slices_for(2 * changed) if changed else 0)

    def build_on_none(job: Job) -> Job:
        return replace(job, options={name: value for name, value in job.options.items() if name != "since"})

    await directory.jobs.change(job_id, build_on_none)
    return Extent(everything=True)


async def find_former(directory: Directory, options: Mapping[str, Any]) -> list[str]:
    """Return the earlier runs that a run with these options can build on, oldest first; none if it plans everything."""
    runs = await directory.jobs.find_seen()
    if not runs or len(runs) >= MOST_RUNS:
        return []
    first, last = await directory.jobs.get(runs[0]), await directory.jobs.get(runs[-1])
    if is_older(first.ended or first.started, DAYS, directory.jobs.now()):
        return []
    alike = all(last.options.get(name) == options.get(name) for name in ("policy", "mapping", ASSIGNED))
    return runs if alike else []


async def note_done(directory: Directory, job: Job) -> None:
    """Remember that a run is done, for later ones to build on. Its job has not ended yet, so no other has begun."""
    if job.state.ended:
        return
    if not job.planned:
        # Nothing changed: what the earlier runs left open holds, whatever was planned since and not carried out.
        await directory.jobs.note_planned(job.options["since"])
    else:
        before, runs = await directory.jobs.find_seen(), chain_of(job)
        await directory.jobs.note_seen(runs)
        for run in set(before).difference(runs):
            await directory.stages.clear(run, stages_of(run))


def nothing_changed(job: Job) -> str | None:
    """Return why a run that made no plan is done; None for one that made a plan."""
    if job.planned:
        return None
    former = job.options["since"][-1]
    return (
        f"Nothing changed since {former}: what that run decided stands. To review again what it left open, start a "
        'run with {"full": true}.'
    )


def _seen(directory: Directory, job: Job) -> Seen:
    return directory.seen(job.options["since"])


async def _lines(directory: Directory, job: Job, bucket: int) -> dict[str, str]:
    """Return a bucket's identities as lines, by folded object id, of which pairs.collect() reads the same."""
    found: dict[str, str] = {}
    voided: set[str] = set()
    begin = len(_PLAIN)
    for name in parts_of(job):
        async for lines in directory.stage(name).lines(bucket):
            for line in lines:
                # Parsing the line, or folding every id as text of any kind, would add seconds to a million of them.
                object_id = line[begin : line.index('"', begin)]
                plain = object_id.isascii() and "\\" not in object_id
                known = object_id.strip().lower() if plain else fold(parse([line])[0]["id"])
                if is_void(line):
                    voided.add(known)
                found.setdefault(known, line)
    return {one: line for one, line in found.items() if one not in voided and not is_gone(line)}
