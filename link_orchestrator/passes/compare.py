"""The passes of a later run before its plan: what changed since the runs before it, and on whom that bears.

changes  identities and accounts now -> those that are not as the former runs saw them, by their own buckets
lead     keys of changed identities, as they were and as they are -> the accounts they lead to, paired as by join()
touch    changed accounts and those -> the identities that met them, and the keys that others may meet them by now
gather   identities -> those that did not change, but meet an account that did or is met by others now

Then passes/plan.py decides on these and on those that changed, and on nobody else. An account that nothing happened to
is met by whom it was met before (shared/directory/work/seen.py), so no identity is needed for being a rival only. A
test holds the outcome, row by row, against a plan of everything (tests/link_orchestrator/passes/test_compare.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from link_orchestrator.messages import Extent, Slice, slices_for
from link_orchestrator.passes.plan import ACCOUNTS_AT_ONCE, KeyFinder, find_led, keys_of
from link_orchestrator.run import chain_of
from link_orchestrator.staged import (
    CHANGED,
    LEADS,
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
from shared.directory.matching.identity import Identity, is_gone
from shared.directory.work.jobs import Job
from shared.directory.work.seen import DAYS, Seen, short, stages_of
from shared.directory.work.stages import is_older
from shared.directory.work.staging import parse
from shared.tables.access import in_parts, together

KINDS = IDENTITIES, ACCOUNTS = "identities", "accounts"
COMPARED, DIFFERENT = "compared.", "changed."
"""Prefixes of the counts of identities and accounts that were looked at, and of those that are not as they were."""
MOST_SHARE: Final = 0.2
"""If more than this of a directory changed, a run plans everything."""
MOST_ACCOUNTS: Final = 200_000
"""So many changed accounts at most: a slice has all their keys in memory, about 100 bytes each."""
MOST_RUNS: Final = 8
"""So many runs go on from one another: what each saw and left open is read where that of one would be."""
_PLAIN: Final = '{"id":"'
"""How the line of an identity begins, as Identity.to_json() and dump() make it."""


async def changes(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Find the identities and accounts of a slice that changed, came or went."""
    comparison = _Comparison(directory, job, part)
    for bucket in range(part.low, part.high):
        await comparison.identities(bucket)
        await comparison.accounts(bucket)
    await comparison.close()
    return comparison.counts


class _Comparison:
    """What a slice of changes() holds and writes."""

    def __init__(self, directory: Directory, job: Job, part: Slice) -> None:
        self._directory = directory
        self._job = job
        self._before = _seen(directory, job)
        self._finder = KeyFinder(job)
        self._plan = directory.plan(job.id)
        self._now = directory.seen_writer(job.id, part.name)
        self._changed = directory.stage(job.id + CHANGED).writer(part.name)
        self._leads = directory.stage(job.id + LEADS).writer(part.name)
        self._touched = directory.stage(job.id + TOUCHED).writer(part.name)
        self.counts = Counter({kind + one: 0 for kind in (COMPARED, DIFFERENT) for one in KINDS})

    async def identities(self, bucket: int) -> None:
        keys = self._directory.keys
        gone = await self._before.identities(bucket)
        lines = await _lines(self._directory, self._job, bucket)
        others: set[str] = set()
        left: set[str] = set()
        for line in lines.values():
            fingerprint = keys.fingerprint(line)
            if gone.pop(fingerprint, None) is not None:
                continue
            (item,) = parse([line])
            identity = Identity.from_json(item)
            leads = {keys.lead(key): values for key, values in self._finder.find(identity).items()}
            for lead, values in leads.items():
                await self._lead(lead, identity.object_id, values)
            who = keys.digest(Key("identity", identity.object_id))
            await self._now.add_identity(bucket, fingerprint, who, leads)
            await self._changed.add_line(bucket, line)
            others.add(who)
        for fingerprint, known in gone.items():
            who, *shorts = known.split()
            for lead in shorts:
                await self._lead(lead, "", [])
            await self._now.drop_identity(bucket, fingerprint)
            left.add(who)
        # Who is in the source no more is left open no more; who changed is decided again.
        await self._plan.close_digests(left - others)
        self.counts[DIFFERENT + IDENTITIES] += len(others | left)
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


async def lead(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Touch the accounts to which a slice's keys lead, for who meets them is not who met them, and pair them."""
    leads = directory.stage(job.id + LEADS)
    touched = directory.stage(job.id + TOUCHED).writer(part.name)
    pairs = directory.stage(job.id + PAIRS).writer(part.name)
    for bucket in range(part.low, part.high):
        wanted = await keys_of(leads, bucket)
        # Of former keys only the beginnings are kept, and nobody to pair: most are among the keys of now.
        whole = {short(lead) for lead, who in wanted.items() if any(object_id for object_id, _ in who)}
        async for lead, account_id in find_led(directory, bucket, [one for one in wanted if one not in whole]):
            home = directory.keys.bucket(account_id)
            await touched.add(home, [account_id, False])
            for object_id, values in wanted[lead]:
                if object_id:
                    await pairs.add(home, [account_id, object_id, values])
    await together(touched.close(), pairs.close())
    return Counter()


async def touch(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Name the identities that met a slice's touched accounts, and the keys by which others may meet a changed one."""
    seen = _seen(directory, job)
    met = directory.stage(job.id + MET).writer(part.name)
    values = directory.stage(job.id + VALUES).writer(part.name)
    for bucket in range(part.low, part.high):
        touched = [one async for some in directory.stage(job.id + TOUCHED).read(bucket) for one in some]
        for trusts in (await seen.near(bucket, {account_id for account_id, _ in touched})).values():
            for object_id in trusts:
                await met.add(identity_bucket(directory.keys, object_id), fold(object_id))
        changed = sorted({account_id for account_id, is_changed in touched if is_changed})
        for some in in_parts(changed, ACCOUNTS_AT_ONCE):
            for account in await directory.accounts.find_many(some):
                for key in (Key("userName", account.user_name), *account.pointers()) if account else ():
                    # Every bucket of identities asks for every value: all of them stand in one.
                    await values.add(0, short(directory.keys.lead(key)))
    await together(met.close(), values.close())
    return Counter()


async def gather(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Find the identities of a slice that did not change, but meet touched accounts, now or before."""
    seen, fingerprint = _seen(directory, job), directory.keys.fingerprint
    writer = directory.stage(job.id + MEETING).writer(part.name)
    values = {value async for some in directory.stage(job.id + VALUES).read(0) for value in some}
    for bucket in range(part.low, part.high):
        met = {one async for some in directory.stage(job.id + MET).read(bucket) for one in some}
        known = await seen.identities(bucket) if values else {}
        meeting = {one for one, shorts in known.items() if not values.isdisjoint(shorts.split())}
        if not met and not meeting:
            continue
        changed = {line async for some in directory.stage(job.id + CHANGED).lines(bucket) for line in some}
        for object_id, line in (await _lines(directory, job, bucket)).items():
            if (object_id in met and line not in changed) or (meeting and fingerprint(line) in meeting):
                await writer.add_line(bucket, line)
    await writer.close()
    return Counter()


async def choose_extent(directory: Directory, job_id: str) -> Extent:
    """Return on what a run decides: on everything, if so much changed that this is no more work."""
    job = await directory.jobs.get(job_id)
    counts = await directory.jobs.total(job_id)
    changed, compared = (sum(counts.get(kind + one, 0) for one in KINDS) for kind in (DIFFERENT, COMPARED))
    if (
        "since" in job.options
        and changed <= MOST_SHARE * compared
        and counts.get(DIFFERENT + ACCOUNTS, 0) <= MOST_ACCOUNTS
    ):
        return Extent(slices=slices_for(2 * changed) if changed else 0)

    def whole(job: Job) -> Job:
        return replace(job, options={name: value for name, value in job.options.items() if name != "since"})

    await directory.jobs.change(job_id, whole)
    return Extent(everything=True)


async def find_former(directory: Directory, options: Mapping[str, Any]) -> list[str]:
    """Return the runs since which a run with these options need look only at what changed; none if it must at all."""
    runs = await directory.jobs.find_seen()
    if not runs or len(runs) >= MOST_RUNS:
        return []
    first, last = await directory.jobs.get(runs[0]), await directory.jobs.get(runs[-1])
    if is_older(first.ended or first.started, DAYS, directory.jobs.now()):
        return []
    alike = all(last.options.get(name) == options.get(name) for name in ("policy", "mapping"))
    return runs if alike else []


async def note_done(directory: Directory, job: Job) -> None:
    """Keep that a run is done, for the runs to come. It must not have ended, so that no other has begun."""
    if job.phase.ended:
        return
    if not job.planned:
        # What stands is what these left open, whoever planned anything else since and did not carry it out.
        await directory.jobs.note_planned(job.options["since"])
    else:
        before, runs = await directory.jobs.find_seen(), chain_of(job)
        await directory.jobs.note_seen(runs)
        for run in set(before).difference(runs):
            await directory.stages.clear(run, stages_of(run))


def nothing_changed(job: Job) -> str | None:
    """Return why a run that planned nothing is done."""
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
    """Return the lines of a bucket's identities by folded object id: of each the first in the files."""
    found: dict[str, str] = {}
    begin = len(_PLAIN)
    for name in parts_of(job):
        async for lines in directory.stage(name).lines(bucket):
            for line in lines:
                # Parsed whole, or folded as any text, a million ids would take seconds more.
                object_id = line[begin : line.index('"', begin)]
                plain = object_id.isascii() and "\\" not in object_id
                found.setdefault(object_id.strip().lower() if plain else fold(parse([line])[0]["id"]), line)
    return {object_id: line for object_id, line in found.items() if not is_gone(line)}
