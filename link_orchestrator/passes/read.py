"""The pass before a plan: a run's identities out of their source, into the stage that passes/plan.py reads.

Groups, if the run asks for them, come the same way behind them, for passes/plan_groups.py. A later run reads only what
changed since the reading before, where the source can tell; the rest stands in the stages of that one, kept for a week.

An activity reads some pages, writes them, then how far it is, and goes on: a crash costs the pages since. How far it
is, and how long the source asked to be left alone, stands in the tables (shared/directory/work/readings.py).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, Final

from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.messages import MEMBERSHIPS_AN_ACCOUNT, Read, ReadDone, slices_for
from link_orchestrator.problems import Problem, write_problems
from link_orchestrator.run import READ_IN_FULL, reads_groups
from link_orchestrator.source import (
    GROUPS,
    IN_GROUPS,
    IdentitySource,
    PlaceExpired,
    RunSource,
    SourceBusy,
    SourceFailed,
    Sources,
)
from link_orchestrator.staged import (
    READ,
    RESTARTS,
    EntraGroupWriter,
    groups_of,
    identity_bucket,
    parts_of,
    reading_names,
)
from shared.directory.directory import Directories, Directory
from shared.directory.keys import fold
from shared.directory.matching.identity import Gone, Identity
from shared.directory.work.jobs import Job
from shared.directory.work.readings import Reading
from shared.directory.work.stages import is_older

SECONDS: Final = 20.0
"""So long an activity goes on from batch to batch, for a replay costs as much as there were activities."""
BATCH_SECONDS: Final = 3.0
"""So long a batch of pages is read, ..."""
ROWS: Final = 5_000
"""... or up to so many identities, which are in memory until they are written."""
TICK: Final = 15.0
"""An orchestration waits at most so long before it looks whether the run was cancelled."""
LONGEST_WAIT: Final = 900.0
"""What a source may ask for at once; whoever asks for more is asked again after that."""
PATIENCE: Final = 3600.0
"""Whoever has waited for so long without any progress has failed."""
KEPT_DAYS: Final = 7
"""So long a reading of all is good for others to go on from: as long as Graph remembers what changed."""
MOST_PARTS: Final = 8
"""So many readings go on from one another."""


@dataclass
class Batch:
    """Some pages: identities by their folded ids, where it goes on, and why it stopped, if it did."""

    place: Mapping[str, Any] | None
    identities: dict[str, Identity | Gone] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    groups: list[EntraGroup] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    bookmark: str | None = None
    pages: int = 0
    busy: SourceBusy | None = None

    @property
    def rows(self) -> int:
        """How much is in memory."""
        return len(self.identities) + self.counts[IN_GROUPS]


async def read_identities(directories: Directories, sources: Sources, message: Mapping[str, Any]) -> dict[str, Any]:
    """Read on for some seconds; answers how many there are so far, and what is to be done next."""
    asked = Read.from_json(message)
    directory = await directories.open(asked.directory)
    job = await directory.jobs.get(asked.job)
    until = time.monotonic() + SECONDS
    try:
        asked_for = RunSource.model_validate(job.options["source"])
        async with sources.open(directory.name, asked_for, groups=reads_groups(job)) as source:
            while True:
                done = await _advance(directory, job.id, source)
                if done != ReadDone(read=done.read, groups=done.groups) or time.monotonic() >= until:
                    return done.to_json()
    except SourceFailed as failed:
        return ReadDone(failed=str(failed)).to_json()


async def _advance(directory: Directory, job_id: str, source: IdentitySource) -> ReadDone:
    """Read one batch on from where the run is, unless it has ended, is done, or the source is to be left alone."""
    if _stopped(await directory.jobs.get(job_id)):
        return ReadDone(stopped=True)
    now = time.time()
    found = await directory.readings.find(job_id)
    reading = found or await _begin(directory, job_id, source)
    if reading.place is None:
        return await _finished(directory, reading)
    if reading.not_before > now:
        return _wait(reading, now)
    try:
        batch = await _read(directory, source, reading)
    except PlaceExpired as expired:
        if reading.restarts >= RESTARTS:
            raise SourceFailed(f"{expired}, again and again: start the run again") from None
        return await _begin_again(directory, reading)
    return await _keep(directory, reading, batch)


async def _begin(directory: Directory, job_id: str, source: IdentitySource) -> Reading:
    """Return the reading of a run that has read nothing yet: of what changed, if that is enough."""
    reading = Reading(job_id, begun=directory.jobs.now(), progressed=time.time())
    full = (await directory.jobs.get(job_id)).options.get("full")
    bookmark = None if full else await directory.readings.find_bookmark()
    place = source.changes(bookmark.link) if bookmark else None
    if bookmark is None or place is None:
        return reading
    former = await directory.jobs.get(bookmark.job)
    whole = former.options.get(READ_IN_FULL, "")
    if not whole or is_older(whole, KEPT_DAYS, directory.jobs.now()):
        return reading
    return reading if len(parts_of(former)) >= MOST_PARTS else replace(reading, place=place, former=former.id)


async def _read(directory: Directory, source: IdentitySource, reading: Reading) -> Batch:
    """Read pages until a batch is full, or it took long, the source is busy or at its end, or the run cancelled."""
    batch, until = Batch(reading.place), time.monotonic() + BATCH_SECONDS
    while batch.place is not None and batch.rows < ROWS and time.monotonic() < until:
        try:
            page = await source.page(batch.place)
        except SourceBusy as busy:
            batch.busy = busy
            break
        for row in page.rows:
            if isinstance(row, Problem):
                before = reading.read + reading.unusable + len(batch.identities) + len(batch.problems)
                batch.problems.append(replace(row, line=before + 1))
            elif isinstance(row, EntraGroup):
                batch.groups.append(row)
            else:
                batch.identities[fold(row.object_id)] = row
        batch.counts.update(page.counts)
        batch.place, batch.bookmark = page.then, page.bookmark or batch.bookmark
        batch.pages += 1
        if _stopped(await directory.jobs.get(reading.job)):
            break
    return batch


async def _keep(directory: Directory, reading: Reading, batch: Batch) -> ReadDone:
    """Stage what was read, and then say how far that is."""
    # Later than what is staged already, whatever the clock of whoever read that.
    now = max(time.time(), reading.progressed + 0.000_001)
    known = await directory.readings.find(reading.job)
    if (known.etag if known else "") != reading.etag or _stopped(await directory.jobs.get(reading.job)):
        # Durable Functions may run an activity twice at once. What the other one read stands, also if it read further.
        return _going_on(known) if known else ReadDone()
    name = reading_names(reading.job)[reading.restarts]
    # Rows are read in order of their names and the first of an id counts: so the newest ones come first.
    await _stage(directory, name, batch, f"{10**16 - int(now * 1e6):016d}{token_hex(3)}")
    await write_problems(directory, name, 0, batch.problems)
    after = replace(
        reading,
        place=batch.place,
        bookmark=batch.bookmark or reading.bookmark,
        read=reading.read + len(batch.identities),
        unusable=reading.unusable + len(batch.problems),
        counts=dict(batch.counts + Counter(reading.counts)),
    )
    if batch.pages:
        after = replace(after, progressed=now, busy=0, waited=0.0)
    if batch.busy is not None:
        after = _left_alone(after, batch.busy, now)
    if not await directory.readings.save(after):
        return _going_on(after)
    if after.place is None:
        return await _finished(directory, after)
    return _wait(after, now) if batch.busy else _going_on(after)


async def _stage(directory: Directory, name: str, batch: Batch, slice_name: str) -> None:
    if batch.identities:
        writer = directory.stage(name).writer(slice_name)
        for identity in batch.identities.values():
            await writer.add(identity_bucket(directory.keys, identity.object_id), identity.to_json())
        await writer.close()
    if batch.groups:
        groups = EntraGroupWriter(directory, groups_of(name), slice_name)
        for group in reversed(batch.groups):
            await groups.add(group)
        await groups.close()


def _left_alone(reading: Reading, busy: SourceBusy, now: float) -> Reading:
    """Return a reading that waits as long as its source asks for, or twice as long each time, and a little more.

    The little more is drawn, so that many who were refused at once do not come back at once. Raises SourceFailed after
    PATIENCE; time in which no process was there to wait does not count.
    """
    if reading.waited > PATIENCE:
        raise SourceFailed(f"{busy.reason}, for more than an hour: start the run again later")
    asked = busy.retry_after if busy.retry_after is not None else 2.0 ** min(reading.busy, 6)
    wait = min(asked, LONGEST_WAIT) * random.uniform(1.0, 1.2)  # noqa: S311 - not a secret
    waited, busy_for = reading.waited + wait, reading.busy + 1
    return replace(reading, busy=busy_for, waited=waited, not_before=now + wait, waiting=busy.reason)


async def _begin_again(directory: Directory, reading: Reading) -> ReadDone:
    """Go back to the start, for the place is too old to go on from; what was read before is left in its stage."""
    begun, now = directory.jobs.now(), time.time()
    again = Reading(reading.job, begun, now, restarts=reading.restarts + 1, etag=reading.etag)
    await directory.readings.save(again)
    return ReadDone()


async def _finished(directory: Directory, reading: Reading) -> ReadDone:
    if not reading.read and not reading.former:
        return ReadDone(failed="the source holds no user that can be read: check the scope of the run")
    name = reading_names(reading.job)[reading.restarts]

    read: dict[str, Any] = {"identities": name, READ_IN_FULL: reading.begun}
    if reading.former:
        former = await directory.jobs.get(reading.former)
        if is_older(former.options[READ_IN_FULL], KEPT_DAYS, directory.jobs.now()):
            # This reading stood still: the sweep may have taken what it goes on from, and nobody may be missed.
            return await _begin_again(directory, reading)
        parts = [*([name] if reading.read else []), *parts_of(former)]
        read = {"identities": parts[0], "parts": parts, READ_IN_FULL: former.options[READ_IN_FULL]}

    def change(job: Job) -> Job:
        groups = {"groups": groups_of(name)} if reads_groups(job) else {}
        return replace(job, options={**job.options, **read, **groups})

    job = await directory.jobs.change(reading.job, change)
    counts = ({GROUPS: 0} if reads_groups(job) else {}) | dict(reading.counts)
    if reading.unusable:
        counts["unusable"] = reading.unusable
    await directory.jobs.count(reading.job, READ, counts)
    members = counts.get(IN_GROUPS, 0)
    # Of a reading of changes it is not known how many identities there are: about as many as accounts.
    accounts = await directory.listing.total()
    items = (accounts if reading.former else reading.read) + accounts + members // MEMBERSHIPS_AN_ACCOUNT
    return _going_on(reading).model_copy(update={"slices": slices_for(items)})


def _going_on(reading: Reading) -> ReadDone:
    return ReadDone(read=reading.read, groups=reading.counts.get(GROUPS, 0))


def _wait(reading: Reading, now: float) -> ReadDone:
    wait = max(0.0, min(reading.not_before - now, TICK))
    return _going_on(reading).model_copy(update={"wait": wait, "why": reading.waiting})


def _stopped(job: Job) -> bool:
    return bool(job.cancelled_by) or job.phase.ended
