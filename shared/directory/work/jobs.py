"""Jobs: imports, runs and undos as rows, with what was asked, by whom, how far it is, and how it ended.

At most one job of a kind is under way in a directory: it holds the kind's lock until it ends. A run also holds the
lock CHANGING while it is planned and while it is applied, but not while its plan waits for approval; an undo holds it
all the time. So an undo may begin beside a plan that waits, and such a plan is not approved while an undo is under way.
A lock is taken and let go in the transaction that stores the job's state.

The same transaction stores the job's entry, by which it is listed: an entry has what a list shows, and the entries of a
kind are in order, the latest first. So a page of a list costs a page, however many jobs there are. Versions of the app
that know no entries leave them out and behind: what decides anything reads the jobs themselves.

The orchestrations in link_orchestrator move a job from state to state; plan.py keeps the rows of a run's plan.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from enum import StrEnum
from itertools import chain
from typing import Any, Final

from shared.directory.errors import Busy, InvalidCursor, NotFound
from shared.directory.keys import Keys, behind, prefix_end
from shared.directory.text import from_the_end, join_text, split_text, timestamp
from shared.json_text import dump, load
from shared.tables import port
from shared.tables.access import delete, in_waves, read_range, scan, scan_pages, together
from shared.tables.port import ANY, Delete, Insert, Operation, Replace, Row, Tables, Upsert, VersionConflict

LOCK = "lock_"
JOB = "job_"
ENTRY: Final = "entry_"
"""Row key prefix of entries: behind it the kind, a number that shrinks with the time of the job's start, and its id."""
ENTRIES: Final = "entries"
"""Row that is there once the jobs of versions of the app that knew no entries were given theirs."""
MAX_ID: Final = 64
"""Characters of a job's id at most."""
_CURSOR: Final = re.compile(rf"[0-9]{{16}}_[0-9A-Za-z]{{1,{MAX_ID}}}")
LISTED_COUNTS: Final = ("review.links", "review.times")
"""Counts of a group that an entry has nevertheless: links that reviews add to a plan's, and how many reviews."""
PLANNED = "planned"
SEEN = "seen"
COUNTS = "n_"
RUN, UNDO = "run", "undo"
"""Kinds of jobs that must not change accounts at the same time."""
UNDOS = (UNDO, "importundo", "groupimportundo")
"""Kinds of jobs that take something back: the links of a run, an import of accounts, one of groups."""
CHANGING = "changing"
"""Lock of a run or an undo that decides on accounts or changes them."""


class State(StrEnum):
    """The state of a job. Most go from started to done; a run is planned, waits for approval, and is applied."""

    STARTED = "started"
    PLANNED = "planned"
    APPROVED = "approved"
    DONE = "done"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"

    @property
    def ended(self) -> bool:
        return self in (State.DONE, State.CANCELLED, State.EXPIRED, State.FAILED)


@dataclass(frozen=True, slots=True)
class Job:
    """One import, run or undo. `options` is what was asked; `counts` is what was found or done, by name.

    `reason` tells the administrator why the job failed, why there was nothing to do, or why a plan waits for a person.
    `replaced_by` is the id of the scheduled run that took its place while it waited. Since `reduced` it has those rows
    alone that an undo needs. `warned` is what a run's plan warns of, by code (link_orchestrator/warnings.py); None of a
    plan that an earlier version of the app made.
    `persons` are the names of those who started, approved or cancelled it, where they were known as persons; they go
    once the job is reduced.
    """

    id: str
    kind: str
    state: State
    started: str
    by: str
    options: Mapping[str, Any] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    planned: str | None = None
    reviewed: str | None = None
    expires: str | None = None
    approved: str | None = None
    approved_by: str | None = None
    cancelled_by: str | None = None
    replaced_by: str | None = None
    ended: str | None = None
    reduced: str | None = None
    reason: str | None = None
    persons: Mapping[str, str] | None = None
    warned: Mapping[str, Any] | None = None
    etag: str = ""

    @property
    def entry(self) -> Job:
        """The job as lists show it: without what may be long, such as a policy, a reading or warnings."""
        options = {name: value for name, value in self.options.items() if _is_short(value)}
        counts = {name: count for name, count in self.counts.items() if "." not in name or name in LISTED_COUNTS}
        return replace(self, options=options, counts=counts, warned={}, etag="")

    def told_by(self, deed: str, person: str) -> Job:
        """Return the job with the name of the person who did something to it, "" for none."""
        return replace(self, persons={**(self.persons or {}), deed: person}) if person else self

    def to_json(self) -> dict[str, Any]:
        """Return the job as the API shows it, and as its row keeps it."""
        shown = {name: getattr(self, own) for own, name in _NAMES.items()}
        return {name: value for name, value in shown.items() if value is not None}

    @classmethod
    def from_row(cls, row: Row) -> Job:
        """Return the job of a row."""
        data: dict[str, Any] = load(join_text("job", row.columns))
        known = {own: data[name] for own, name in _NAMES.items() if name in data}
        return cls(**known | {"state": State(data["phase"])}, etag=row.etag)


_NAMES = {one.name: one.name for one in fields(Job) if one.name != "etag"} | {
    "state": "phase",
    "by": "startedBy",
    "approved_by": "approvedBy",
    "cancelled_by": "cancelledBy",
    "replaced_by": "replacedBy",
}
"""The fields of a job, each with the name under which it is shown and kept."""


class Jobs:
    """The jobs of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._partition = keys.jobs()
        self._completed = False
        self._completing = asyncio.Lock()
        self.now = now

    def new_id(self, kind: str) -> str:
        """Return a new id: the kind of the job, the time, and something random."""
        return f"{kind}{self.now().translate(str.maketrans('', '', '-:.TZ'))}{secrets.token_hex(3)}"

    async def start(self, kind: str, by: str, job_id: str, options: Mapping[str, Any], person: str = "") -> Job:
        """Record a new job and take its locks. Raises Busy naming a job that holds one of them."""
        job = Job(job_id, kind, State.STARTED, self.now(), by, options).told_by("started", person)
        if kind in UNDOS:
            await self._refuse_older_version()
        taken = locks_of(job)
        operations: list[Operation] = [Insert(LOCK + lock, {"id": job.id}) for lock in taken]
        try:
            await self._tables.commit(
                self._partition, [*operations, Insert(JOB + job.id, _columns(job)), _entry_of(job)]
            )
        except port.AlreadyExists as conflict:
            raise await self._held(taken[min(conflict.index, len(taken) - 1)]) from None
        return job

    async def _held(self, lock: str) -> Busy:
        """Return the refusal that names the job that holds a lock."""
        row = await self._tables.get(self._partition, LOCK + lock)
        if row is None:
            return Busy("another job has just ended in this directory", retry_after=1)
        name = str(row.columns["id"])
        if (await self.get(name)).state.ended:
            # A version of the app that does not know this lock ended the job: what it left holds up nobody.
            with contextlib.suppress(VersionConflict):
                await self._tables.commit(self._partition, [Delete(row.key, row.etag)])
            return Busy("another job has just ended in this directory", retry_after=1)
        return Busy(f"{name} is under way in this directory: let it end or cancel it first", holder=name)

    async def _refuse_older_version(self) -> None:
        """Raise Busy if a job of an earlier version of the app, which knows no lock CHANGING, changes accounts."""
        row = await self._tables.get(self._partition, LOCK + RUN)
        if row and (await self.get(str(row.columns["id"]))).state in (State.STARTED, State.APPROVED):
            raise await self._held(RUN)

    async def start_instead(self, waiting: Job, why: str, by: str, job_id: str, options: Mapping[str, Any]) -> Job:
        """Record a new job that takes the place, and the lock, of one that waits: of the two, one is always there.

        The one that waited is cancelled. Raises VersionConflict if it changed since it was read, for instance because
        it was approved.
        """
        now = self.now()
        job = Job(job_id, waiting.kind, State.STARTED, now, by, options)
        ended = replace(waiting, state=State.CANCELLED, cancelled_by=by, replaced_by=job_id, reason=why, ended=now)
        operations: list[Operation] = [
            # First: while it has not changed it has not ended, and so it holds the lock.
            Replace(JOB + waiting.id, _columns(ended), waiting.etag),
            Replace(LOCK + waiting.kind, {"id": job_id}, ANY),
            Insert(LOCK + CHANGING, {"id": job_id}),
            _entry_of(ended),
            _entry_of(job),
            Insert(JOB + job_id, _columns(job)),
        ]
        *_, etag = await self._tables.commit(self._partition, operations)
        return replace(job, etag=etag)

    async def record(
        self, kind: str, by: str, job_id: str, counts: Mapping[str, int], options: Mapping[str, Any] | None = None
    ) -> Job:
        """Record a job that is done already and needed no lock, and return it."""
        now = self.now()
        job = Job(job_id, kind, State.DONE, now, by, options or {}, counts, ended=now)
        await self._tables.commit(self._partition, [Upsert(JOB + job_id, _columns(job)), _entry_of(job)])
        return job

    async def get(self, job_id: str) -> Job:
        """Return a job. Raises NotFound."""
        valid = _is_id(job_id)
        row = await self._tables.get(self._partition, JOB + job_id) if valid else None
        if row is None:
            raise NotFound(f"no job {job_id}", "job")
        return Job.from_row(row)

    async def find_many(self, ids: Iterable[str]) -> dict[str, Job]:
        """Return those jobs of these ids that are there, by id."""
        asked = filter(_is_id, dict.fromkeys(ids))
        rows = await self._tables.get_many([(self._partition, JOB + one) for one in asked])
        return {job.id: job for job in (Job.from_row(row) for row in rows if row)}

    async def list_under_way(self) -> list[Job]:
        """Return the jobs that hold a lock, and so have not ended: those of imports, runs and what follows them."""
        rows = await read_range(self._tables, self._partition, LOCK, prefix_end(LOCK))
        jobs = await self.find_many(str(row.columns["id"]) for row in rows)
        return sorted((job for job in jobs.values() if not job.state.ended), key=lambda job: job.started)

    async def list_all(self) -> list[Job]:
        """Return the directory's jobs, oldest first."""
        jobs = map(Job.from_row, await read_range(self._tables, self._partition, JOB, prefix_end(JOB)))
        return sorted(jobs, key=lambda job: job.started)

    async def page(self, kinds: Sequence[str], cursor: str, count: int) -> tuple[list[Job], str | None]:
        """Return the entries of `count` jobs of some kinds, the latest first, and the next cursor.

        They are those from behind a cursor, "" for the latest. Raises InvalidCursor.
        """
        if cursor and not _CURSOR.fullmatch(cursor):
            raise InvalidCursor
        found = await together(*(self.entries(kind, cursor, count + 1) for kind in kinds))
        entries = sorted(chain.from_iterable(found), key=position)
        more = position(entries[count - 1]) if len(entries) > count else None
        return entries[:count], more

    async def of_kind(self, kind: str, first: str = "") -> list[Job]:
        """Return the jobs of a kind, whatever version of the app stored them, oldest first; from the id `first` on."""
        low, high = f"{JOB}{kind}0", f"{JOB}{kind}:"  # a digit follows: behind "import" no undo of one
        jobs = map(Job.from_row, await read_range(self._tables, self._partition, max(low, JOB + first), high))
        return sorted(jobs, key=lambda job: (job.started, job.id))

    async def find_about(self, kind: str, option: str, *about: str) -> list[Job]:
        """Return those jobs of a kind that have the id of one of some others as an option, oldest first."""
        asked = [entry.id for entry in await self.entries(kind) if entry.options.get(option) in about]
        return sorted((await self.find_many(asked)).values(), key=lambda job: (job.started, job.id))

    async def find_last(self, kind: str) -> Job | None:
        """Return the job of a kind that was started last, or None.

        Of whole jobs, which may be long, it reads those alone that are not before the last one with an entry.
        """
        first = next((entry.id for entry in await self.entries(kind, most=1)), "")
        # What an earlier version removed has an entry still.
        jobs = await self.of_kind(kind, first) or await self.of_kind(kind)
        return jobs[-1] if jobs else None

    async def entries(self, kind: str, cursor: str = "", most: int = sys.maxsize) -> list[Job]:
        """Return the entries of the jobs of a kind from behind a cursor, `most` of them, the latest first."""
        await self._complete_entries()
        low = behind(f"{ENTRY}{kind}_{cursor}") if cursor else f"{ENTRY}{kind}_"
        rows = await read_range(self._tables, self._partition, low, prefix_end(f"{ENTRY}{kind}_"), top=most)
        return [replace(Job.from_row(row), etag="") for row in rows]

    async def _complete_entries(self) -> None:
        """Mend the entries if that was never done in this directory: before, jobs were stored without."""
        async with self._completing:
            if self._completed:
                return
            if await self._tables.get(self._partition, ENTRIES) is None:
                await self.mend_entries()
                await self._tables.commit(self._partition, [Upsert(ENTRIES, {"at": self.now()})])
            self._completed = True

    async def mend_entries(self) -> None:
        """Make the entries be those of the jobs: what a copy of the tables or an earlier version of the app left.

        Whoever changes a job meanwhile writes its entry, which stays.
        """
        entries = await read_range(self._tables, self._partition, ENTRY, prefix_end(ENTRY))
        wanted = {one.key: one for one in map(_entry_of, await self.list_all())}
        operations: list[Operation] = []
        for row in entries:
            right = wanted.pop(row.key, None)
            if right is None:
                operations.append(Delete(row.key, row.etag))
            elif right.columns != row.columns:
                operations.append(Replace(row.key, right.columns, row.etag))
        operations += [Insert(one.key, one.columns) for one in wanted.values()]
        await in_waves(map(self._mend_entry, operations))

    async def _mend_entry(self, operation: Operation) -> None:
        with contextlib.suppress(port.Conflict):
            await self._tables.commit(self._partition, [operation])

    async def remove(self, job: Job) -> None:
        """Remove a job that has ended, and the counts of its slices."""
        low = f"{COUNTS}{job.id}_"
        async for page in scan_pages(self._tables, self._partition, low, prefix_end(low), select=[]):
            await delete(self._tables, self._partition, [Delete(row.key, ANY) for row in page.rows])
        await delete(self._tables, self._partition, [Delete(JOB + job.id, ANY), Delete(_entry_of(job).key, ANY)])

    async def change(self, job_id: str, change: Callable[[Job], Job]) -> Job:
        """Store what `change` makes of a job, with the locks of its state. It may run twice. Raises Busy as start()."""
        while True:
            before = await self.get(job_id)
            after = change(before)
            if after == before:
                return before
            if after.state.ended:
                after = replace(after, ended=after.ended or self.now())
            with contextlib.suppress(VersionConflict):
                await self.replace(before, after)
                return after

    async def replace(self, before: Job, after: Job) -> Job:
        """Store a job in the place of the one that was read, and take or let go its locks with it.

        Raises VersionConflict if the job changed meanwhile, Busy naming the job that holds a lock to be taken.
        """
        had, has = locks_of(before), locks_of(after)
        taken = [lock for lock in has if lock not in had]
        operations: list[Operation] = [Replace(JOB + before.id, _columns(after), before.etag)]
        operations += [Insert(LOCK + lock, {"id": after.id}) for lock in taken]
        given = [lock for lock in had if lock not in has]
        if given and after.kind == UNDO:
            given.append(RUN)  # an undo that an earlier version of the app began holds the lock of runs
        operations += await self._letting_go(after.id, given)
        operations.append(_entry_of(after))
        try:
            etag, *_ = await self._tables.commit(self._partition, operations)
        except port.AlreadyExists as conflict:
            raise await self._held(taken[conflict.index - 1]) from None
        return replace(after, etag=etag)

    async def _letting_go(self, job_id: str, locks: Sequence[str]) -> list[Operation]:
        """Return the operations that remove those of the locks that a job holds."""
        rows = await self._tables.get_many([(self._partition, LOCK + lock) for lock in locks])
        return [Delete(row.key, row.etag) for row in rows if row and row.columns["id"] == job_id]

    async def is_under_way(self, *locks: str) -> bool:
        """Tell whether a job holds one of these locks: the name of its kind, or CHANGING."""
        rows = await self._tables.get_many([(self._partition, LOCK + lock) for lock in locks])
        return any(rows)

    async def find_under_way(self, kind: str) -> Job | None:
        """Return the job of a kind that has not ended, or None; an undo of an earlier version of the app as a run."""
        lock = await self._tables.get(self._partition, LOCK + kind)
        job = await self.get(str(lock.columns["id"])) if lock else None
        # A version of the app that does not know the lock may have ended the job.
        return job if job and not job.state.ended else None

    async def find_undo(self) -> Job | None:
        """Return the undo of whatever kind that has not ended, or None."""
        job = await self.find_under_way(CHANGING)
        return job if job and job.kind in UNDOS else None

    async def note_planned(self, runs: Sequence[str]) -> None:
        """Note the last run that made a plan, behind the runs on which it builds, of which the first planned all."""
        await self._tables.commit(self._partition, [Upsert(PLANNED, {"runs": " ".join(runs)})])

    async def withdraw_plan(self, job_id: str, runs: Sequence[str]) -> None:
        """If a run made the last plan and nobody carried it out, note the runs on which it built instead."""
        row = await self._tables.get(*self.planned_place)
        if row and planned_in(row)[0] == job_id:
            with contextlib.suppress(VersionConflict):  # another run has planned by now
                operation = Replace(PLANNED, {"runs": " ".join(runs)}, row.etag)
                await self._tables.commit(self._partition, [operation])

    async def find_planned(self) -> str | None:
        """Return the id of the last run that planned everything, or None."""
        runs = await self.find_chain()
        return runs[0] if runs else None

    async def find_chain(self) -> list[str]:
        """Return the last run that made a plan behind those on which it builds, oldest first; none before the first."""
        return list(reversed(planned_in(await self._tables.get(*self.planned_place))))

    async def note_seen(self, runs: Sequence[str]) -> None:
        """Note the chain of runs from whose end on changes count: a run that planned everything, then later ones."""
        await self._tables.commit(self._partition, [Upsert(SEEN, {"runs": " ".join(runs)})])

    async def find_seen(self) -> list[str]:
        """Return the chain of runs from whose end on changes count, empty before the first run is done."""
        row = await self._tables.get(self._partition, SEEN)
        return str(row.columns["runs"]).split() if row else []

    @property
    def planned_place(self) -> tuple[str, str]:
        """The row in which the last run that made a plan is noted; planned_in() reads it."""
        return self._partition, PLANNED

    async def count(self, job_id: str, slice_name: str, counts: Mapping[str, int]) -> None:
        """Store the counts of one slice; a slice that runs again replaces them."""
        row = Upsert(f"{COUNTS}{job_id}_{slice_name}", {"counts": dump(counts)})
        await self._tables.commit(self._partition, [row])

    async def total(self, job_id: str, prefix: str = "") -> dict[str, int]:
        """Return the sums of the counts of all slices whose names begin with `prefix`."""
        low = f"{COUNTS}{job_id}_{prefix}"
        total: dict[str, int] = {}
        async for row in scan(self._tables, self._partition, low, prefix_end(low)):
            for name, count in load(str(row.columns["counts"])).items():
                total[name] = total.get(name, 0) + count
        return total


def _is_id(job_id: str) -> bool:
    return job_id.isascii() and job_id.isalnum() and len(job_id) <= MAX_ID


def made_at(job_id: str) -> str:
    """Return the time at which new_id() made an id."""
    digits = re.sub(r"^[a-z]+", "", job_id)[:17]
    return timestamp(datetime.strptime(f"{digits}+0000", "%Y%m%d%H%M%S%f%z"))


def planned_in(row: Row | None) -> tuple[str, ...]:
    """Return the last run that made a plan and those on which it built, latest first, as their row has them."""
    # Earlier versions of the app noted one run, as `id`.
    return tuple(reversed(str(row.columns.get("runs") or row.columns["id"]).split())) if row else ()


def locks_of(job: Job) -> tuple[str, ...]:
    """Return the locks that a job holds in its state: CHANGING first, so that a refusal names who changes accounts."""
    if job.state.ended:
        return ()
    changes = job.kind in UNDOS or (job.kind == RUN and job.state is not State.PLANNED)
    return (CHANGING, job.kind) if changes else (job.kind,)


def before(at: str) -> str:
    """Return the cursor behind the jobs that were started at a time or later."""
    return f"{from_the_end(at)}_{'z' * MAX_ID}"


def _is_short(option: object) -> bool:
    """Tell whether an entry has an option: a text, a number, or a list of texts, such as ids."""
    if isinstance(option, list):
        return all(isinstance(one, str) for one in option)
    return isinstance(option, str | int | float)


def position(job: Job) -> str:
    """Return the place of a job in lists, the smaller the later it was started; and the cursor that goes on behind."""
    return f"{from_the_end(job.started)}_{job.id}"


def _entry_of(job: Job) -> Upsert:
    return Upsert(f"{ENTRY}{job.kind}_{position(job)}", _columns(job.entry))


def _columns(job: Job) -> dict[str, port.Value | None]:
    return split_text("job", dump(job.to_json()))
