"""The pass before a plan: it reads a run's identities from their source into the stage that passes/plan.py reads.

If the run asks for groups, they follow in the same way, for passes/plan_groups.py. Where the source can tell what has
changed, a later run reads only that; the rest is in the stages of the readings before it, which are kept for a week.

An activity reads a batch of pages, stages it, records how far it got, and goes on. A crash costs the batch under way.
The record, which also says how long the source asks to be left alone, is a Reading (shared/directory/work/readings.py).
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
from link_orchestrator.problem_report import KEPT_IN_BUCKET, ProblemReport
from link_orchestrator.problems import Problem
from link_orchestrator.run import ASSIGNED, READ_IN_FULL, reads_groups
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
    assigned_of,
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
"""Seconds after which an activity starts no further batch. With shorter activities a replay would cost more."""
BATCH_SECONDS: Final = 3.0
"""Seconds after which a batch reads no further page."""
ROWS: Final = 5_000
"""Identities and members of groups after which a batch reads no further page: all of them are in memory."""
TICK: Final = 15.0
"""Seconds that an orchestration waits at most before it looks again whether the run was cancelled."""
LONGEST_WAIT: Final = 900.0
"""Seconds after which a source is asked again, even if it asked to be left alone for longer."""
PATIENCE: Final = 3600.0
"""Seconds of waiting without any progress after which a reading has failed."""
KEPT_DAYS: Final = 7
"""Days for which later readings may build on a reading of everything: as long as Graph remembers what changed."""
MOST_PARTS: Final = 8
"""Readings that may build on one another before everything is read again."""


@dataclass
class Batch:
    """Some pages: identities by folded object id, where to read on, and `busy` if the source asked to wait."""

    place: Mapping[str, Any] | None
    identities: dict[str, Identity | Gone] = field(default_factory=dict)
    assigned: dict[str, Identity] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    groups: list[EntraGroup] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    bookmark: str | None = None
    pages: int = 0
    busy: SourceBusy | None = None

    @property
    def rows(self) -> int:
        """How many identities and members of groups it holds."""
        return len(self.identities) + len(self.assigned) + self.counts[IN_GROUPS]


async def read_identities(directories: Directories, sources: Sources, message: Mapping[str, Any]) -> dict[str, Any]:
    """Read on for some seconds. The answer is a ReadDone."""
    asked = Read.from_json(message)
    directory = await directories.open(asked.directory)
    job = await directory.jobs.get(asked.job)
    until = time.monotonic() + SECONDS
    try:
        asked_for = RunSource.model_validate(job.options["source"])
        async with sources.open(directory.name, asked_for, groups=reads_groups(job)) as source:
            while True:
                done = await _advance(directory, job.id, source)
                goes_on = done == ReadDone(read=done.read, groups=done.groups)
                if not goes_on or time.monotonic() >= until:
                    return done.to_json()
    except SourceFailed as failed:
        return ReadDone(failed=str(failed), code=failed.code).to_json()


async def _advance(directory: Directory, job_id: str, source: IdentitySource) -> ReadDone:
    """Read one batch, unless the run was cancelled, everything is read, or the source asked to be left alone."""
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
            raise SourceFailed(f"{expired}, again and again: start the run again", "sourceExpired") from None
        return await _begin_again(directory, reading)
    return await _keep(directory, reading, batch)


async def _begin(directory: Directory, job_id: str, source: IdentitySource) -> Reading:
    """Return the reading of a run that has read nothing yet: of what changed if that is enough, else of everything."""
    reading = Reading(job_id, begun=directory.jobs.now(), progressed=time.time())
    full = (await directory.jobs.get(job_id)).options.get("full")
    bookmark = None if full else await directory.readings.find_bookmark()
    place = source.changes(bookmark.link) if bookmark else None
    if bookmark is None or place is None:
        return reading
    former = await directory.jobs.get(bookmark.job)
    read_in_full = former.options.get(READ_IN_FULL, "")
    if not read_in_full or is_older(read_in_full, KEPT_DAYS, directory.jobs.now()):
        return reading
    return reading if len(parts_of(former)) >= MOST_PARTS else replace(reading, place=place, former=former.id)


async def _read(directory: Directory, source: IdentitySource, reading: Reading) -> Batch:
    """Read pages until the batch is full or took long enough, the source ends or is busy, or the run is cancelled."""
    batch, until = Batch(reading.place), time.monotonic() + BATCH_SECONDS
    while batch.place is not None and batch.rows < ROWS and time.monotonic() < until:
        try:
            page = await source.page(batch.place)
        except SourceBusy as busy:
            batch.busy = busy
            break
        for row in page.rows:
            if page.assigned:
                if isinstance(row, Identity):  # of the others the page of everybody has told
                    batch.assigned[fold(row.object_id)] = row
            elif isinstance(row, Problem):
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
    """Stage what was read, and then record how far that is."""
    # Later than the batch before, even if that was staged by a machine whose clock is ahead.
    now = max(time.time(), reading.progressed + 0.000_001)
    known = await directory.readings.find(reading.job)
    if (known.etag if known else "") != reading.etag or _stopped(await directory.jobs.get(reading.job)):
        # Durable Functions may run an activity twice at once. The other one's record counts, and this batch is dropped.
        return _going_on(known) if known else ReadDone()
    name = reading_names(reading.job)[reading.restarts]
    # Stages are read in the order of these names, and the first item of an id counts: so newer batches sort first.
    await _stage(directory, name, batch, f"{10**16 - int(now * 1e6):016d}{token_hex(3)}")
    report = ProblemReport(directory, name, f"{reading.read + reading.unusable}", KEPT_IN_BUCKET)
    await report.add(batch.problems)
    await report.close()
    after = _advanced(reading, batch, now)
    if not await directory.readings.save(after):
        return _going_on(after)
    if after.place is None:
        return await _finished(directory, after)
    return _wait(after, now) if batch.busy else _going_on(after)


def _advanced(reading: Reading, batch: Batch, now: float) -> Reading:
    """Return a reading as it is after a batch. Raises SourceFailed as _left_alone() does."""
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
    return _left_alone(after, batch.busy, now) if batch.busy else after


async def _stage(directory: Directory, name: str, batch: Batch, slice_name: str) -> None:
    for stage, identities in ((name, batch.identities), (assigned_of(name), batch.assigned)):
        writer = directory.stage(stage).writer(slice_name)
        for identity in identities.values():
            await writer.add(identity_bucket(directory.keys, identity.object_id), identity.to_json())
        await writer.close()
    if batch.groups:
        groups = EntraGroupWriter(directory, groups_of(name), slice_name)
        for group in reversed(batch.groups):
            await groups.add(group)
        await groups.close()


def _left_alone(reading: Reading, busy: SourceBusy, now: float) -> Reading:
    """Return a reading that waits as long as its source asks for; if it does not say, twice as long each time.

    Up to a fifth is added at random, so that readings that were refused at the same time do not return at the same
    time. Raises SourceFailed once the waits add up to PATIENCE; time in which no process ran does not count.
    """
    if reading.waited > PATIENCE:
        raise SourceFailed(f"{busy.reason}, for more than an hour: start the run again later", "sourceBusy")
    asked = busy.retry_after if busy.retry_after is not None else 2.0 ** min(reading.busy, 6)
    wait = min(asked, LONGEST_WAIT) * random.uniform(1.0, 1.2)  # noqa: S311 - not a secret
    waited, busy_for = reading.waited + wait, reading.busy + 1
    return replace(reading, busy=busy_for, waited=waited, not_before=now + wait, waiting=busy.reason)


async def _begin_again(directory: Directory, reading: Reading) -> ReadDone:
    """Go back to the start: what the reading goes on from has expired. The new attempt fills a stage of its own."""
    begun, now = directory.jobs.now(), time.time()
    again = Reading(reading.job, begun, now, restarts=reading.restarts + 1, etag=reading.etag)
    await directory.readings.save(again)
    return ReadDone()


async def _finished(directory: Directory, reading: Reading) -> ReadDone:
    """Tell the run's job where its identities are, and return the number of slices to plan them in."""
    if not reading.read and not reading.former:
        return ReadDone(failed="the source holds no user that can be read: check the scope of the run", code="nobody")
    name = reading_names(reading.job)[reading.restarts]
    options: dict[str, Any] = {"identities": name, READ_IN_FULL: reading.begun}
    asked = RunSource.model_validate((await directory.jobs.get(reading.job)).options["source"])
    assigned = {ASSIGNED: [assigned_of(name)]} if asked.graph.tells_assigned else {}
    if reading.former:
        former = await directory.jobs.get(reading.former)
        if is_older(former.options[READ_IN_FULL], KEPT_DAYS, directory.jobs.now()):
            # This reading stood still for so long that the sweep may have removed the stages that it builds on.
            return await _begin_again(directory, reading)
        parts = [*([name] if reading.read else []), *parts_of(former)]
        options = {"identities": parts[0], "parts": parts, READ_IN_FULL: former.options[READ_IN_FULL]}

    def change(job: Job) -> Job:
        groups = {"groups": groups_of(name)} if reads_groups(job) else {}
        return replace(job, options={**job.options, **options, **groups, **assigned})

    job = await directory.jobs.change(reading.job, change)
    counts = ({GROUPS: 0} if reads_groups(job) else {}) | dict(reading.counts)
    if reading.unusable:
        counts["unusable"] = reading.unusable
    await directory.jobs.count(reading.job, READ, counts)
    members = counts.get(IN_GROUPS, 0)
    # A reading of changes does not know how many identities there are; take it to be as many as accounts.
    accounts = await directory.listing.total()
    items = (accounts if reading.former else reading.read) + accounts + members // MEMBERSHIPS_AN_ACCOUNT
    return _going_on(reading).model_copy(update={"slices": slices_for(items)})


def _going_on(reading: Reading) -> ReadDone:
    return ReadDone(read=reading.read, groups=reading.counts.get(GROUPS, 0))


def _wait(reading: Reading, now: float) -> ReadDone:
    wait = max(0.0, min(reading.not_before - now, TICK))
    return _going_on(reading).model_copy(update={"wait": wait, "why": reading.waiting})


def _stopped(job: Job) -> bool:
    return bool(job.cancelled_by) or job.state.ended
