"""The pass before a plan: a run's identities out of their source, into the stage that planning.py reads.

An activity reads for some seconds, writes what it has, and then how far it is: a crash costs what was read since. How
far it is, and how long the source asked to be left alone, stands in the tables (shared/directory/readings.py).
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from secrets import token_hex
from typing import Any, Final

from link_orchestrator.importing import write_problems
from link_orchestrator.job_requests import slices
from link_orchestrator.messages import Read, ReadDone
from link_orchestrator.planning import identity_bucket, stage
from link_orchestrator.sources import IdentitySource, PlaceExpired, RunSource, SourceBusy, SourceFailed, Sources
from link_orchestrator.tabular import Problem
from shared.directory.directory import Directories, Directory
from shared.directory.identity import Identity
from shared.directory.jobs import Job
from shared.directory.keys import fold
from shared.directory.readings import Reading, Readings

READ: Final = "read"
"""Ends the name of the stage that a run's own identities are in, and of the report on those that cannot be used."""
SECONDS: Final = 20.0
"""So long an activity goes on reading, and ..."""
ROWS: Final = 20_000
"""... up to so many identities, which it holds in memory."""
TICK: Final = 15.0
"""An orchestration waits at most so long before it looks whether the run was cancelled."""
LONGEST_WAIT: Final = 900.0
"""What a source may ask for at once; whoever asks for more is asked again after that."""
PATIENCE: Final = 3600.0
"""After so long without any progress the run has failed."""
RESTARTS: Final = 3


@dataclass
class Batch:
    """What one activity has read: identities by their folded ids, where it goes on, and why it stopped, if it did."""

    place: Mapping[str, Any] | None
    identities: dict[str, Identity] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    bookmark: str | None = None
    pages: int = 0
    busy: SourceBusy | None = None


async def read_identities(directories: Directories, sources: Sources, message: Mapping[str, Any]) -> dict[str, Any]:
    """Read on for some seconds; answers how many identities there are so far, and what is to be done next."""
    asked = Read.from_json(message)
    directory = await directories.open(asked.directory)
    job = await directory.jobs.get(asked.job)
    if _stopped(job):
        return ReadDone(stopped=True).to_json()
    readings, now = Readings(directory.tables, directory.keys), time.time()
    found = await readings.find(job.id)
    reading = found or Reading(job.id, begun=directory.jobs.now(), progressed=now)
    if reading.place is None:
        return await _finished(directory, reading)
    if reading.not_before > now:
        return _wait(reading, now)
    try:
        async with sources.open(directory.name, RunSource.model_validate(job.options["source"])) as source:
            batch = await _read(directory, job, source, reading)
    except PlaceExpired as expired:
        if reading.restarts >= RESTARTS:
            return ReadDone(read=reading.read, failed=f"{expired}, again and again: start the run again").to_json()
        return await _begin_again(directory, readings, reading)
    except SourceFailed as failed:
        return ReadDone(read=reading.read, failed=str(failed)).to_json()
    return await _keep(directory, readings, reading, batch)


async def _read(directory: Directory, job: Job, source: IdentitySource, reading: Reading) -> Batch:
    """Read pages until the time is up, the memory full, the source busy or at its end, or the run cancelled."""
    batch, until = Batch(reading.place), time.monotonic() + SECONDS
    while batch.place is not None and len(batch.identities) < ROWS and time.monotonic() < until:
        try:
            page = await source.page(batch.place)
        except SourceBusy as busy:
            batch.busy = busy
            break
        for row in page.rows:
            if isinstance(row, Problem):
                batch.problems.append(replace(row, line=reading.read + len(batch.identities) + 1))
            else:
                batch.identities[fold(row.object_id)] = row
        batch.place, batch.bookmark = page.then, page.bookmark or batch.bookmark
        batch.pages += 1
        if _stopped(await directory.jobs.get(job.id)):
            break
    return batch


async def _keep(directory: Directory, readings: Readings, reading: Reading, batch: Batch) -> dict[str, Any]:
    """Stage what was read, and then say how far that is."""
    now = time.time()
    known = await readings.find(reading.job)
    if (known.etag if known else "") != reading.etag or _stopped(await directory.jobs.get(reading.job)):
        # Durable Functions may run an activity twice at once. What the other one read stands, also if it read further.
        return ReadDone(read=known.read if known else 0).to_json()
    if batch.identities:
        # Rows are read in order of their names and the first of an id counts: so the newest ones come first.
        writer = stage(directory, reading.job + READ).writer(f"{10**13 - int(now * 1000):013d}{token_hex(3)}")
        for identity in batch.identities.values():
            await writer.add(identity_bucket(directory, identity.object_id), identity.to_json())
        await writer.close()
    if batch.problems:
        alike = Counter[str]()
        await write_problems(directory, reading.job + READ, 0, batch.problems, alike)
    after = replace(
        reading,
        place=batch.place,
        bookmark=batch.bookmark or reading.bookmark,
        read=reading.read + len(batch.identities),
        unusable=reading.unusable + len(batch.problems),
        progressed=now if batch.pages else reading.progressed,
        busy=0,
    )
    if batch.busy is not None:
        if now - after.progressed > PATIENCE:
            reason = f"{batch.busy.reason}, for more than an hour: start the run again later"
            return ReadDone(read=after.read, failed=reason).to_json()
        after = _left_alone(after, 0 if batch.pages else reading.busy, batch.busy, now)
    await readings.save(after)
    if after.place is None:
        return await _finished(directory, after)
    return _wait(after, now) if batch.busy else ReadDone(read=after.read).to_json()


def _left_alone(reading: Reading, busy_before: int, busy: SourceBusy, now: float) -> Reading:
    """Return a reading that waits as long as its source asks for, or twice as long each time, and a little more.

    The little more is drawn, so that many who were refused at once do not come back at once.
    """
    asked = busy.retry_after if busy.retry_after is not None else 2.0 ** min(busy_before, 6)
    wait = min(asked, LONGEST_WAIT) * random.uniform(1.0, 1.2)  # noqa: S311 - not a secret
    return replace(reading, busy=busy_before + 1, not_before=now + wait, waiting=busy.reason)


async def _begin_again(directory: Directory, readings: Readings, reading: Reading) -> dict[str, Any]:
    """Forget what was read: its place is too old, and so is what stands in the stage."""
    await stage(directory, reading.job + READ).clear()
    now = directory.jobs.now()
    await readings.save(
        Reading(reading.job, now, progressed=time.time(), restarts=reading.restarts + 1, etag=reading.etag)
    )
    return ReadDone().to_json()


async def _finished(directory: Directory, reading: Reading) -> dict[str, Any]:
    if not reading.read:
        return ReadDone(failed="the source holds no user that can be read: check the scope of the run").to_json()
    if reading.unusable:
        await directory.jobs.count(reading.job, READ, {"unusable": reading.unusable})
    return ReadDone(read=reading.read, slices=slices(reading.read + await directory.listing.total())).to_json()


def _wait(reading: Reading, now: float) -> dict[str, Any]:
    return ReadDone(
        read=reading.read, wait=max(0.0, min(reading.not_before - now, TICK)), why=reading.waiting
    ).to_json()


def _stopped(job: Job) -> bool:
    return bool(job.cancelled_by) or job.phase.ended
