"""Which stages there are: each is announced beside the jobs before its first row is written, so none is forgotten.

Stages hold what people sent in their files. A job clears its own when it ends; what a crash or a dead orchestration
left, or an activity under way wrote behind that end, the nightly sweep clears a day after, and only then is a stage
forgotten. An upload may serve several runs, and so does what a run saw: such a stage is kept for as many days as it
says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, Jobs
from shared.directory.work.staging import Stage
from shared.tables.access import scan
from shared.tables.port import Delete, Merge, Operation, Row, Tables, Upsert, VersionConflict

STAGE = "stage_"
SPARE_DAYS = 1
"""Longer than a request or an activity that still writes can last, and than starting a run on an upload takes."""


class Stages:
    """The announced stages of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._partition = keys.jobs()
        self._now = now

    async def announce(self, job_id: str, names: Sequence[str], *, days: int = 0) -> None:
        """Say that a job is going to fill stages of these names, to be kept for some days beyond its end."""
        since = self._now()
        rows = [Upsert(STAGE + name, {"job": job_id, "name": name, "since": since, "days": days}) for name in names]
        await self._tables.commit(self._partition, rows)

    async def clear(self, job_id: str, also: Sequence[str] = ()) -> None:
        """Empty the stages of a job but those that are kept for some days; of these, the ones named as well.

        They stay announced, for an activity of the job may still write. What a crash leaves goes by running it again.
        """
        for row in await self._announced(STAGE + job_id):
            kept, named = bool(row.columns["days"]), row.columns["name"] in also
            if row.columns["job"] == job_id and (named or not kept):
                await self._empty(row)
                if kept:
                    await self._change(Merge(row.key, {"days": 0}, row.etag))

    async def sweep(self) -> int:
        """Remove the stages that nothing needs any more, and return how many."""
        rows = await self._announced(STAGE)
        # Read after the rows: a job that is not there now was not there when its stage was announced.
        jobs = {job.id: job for job in await Jobs(self._tables, self._keys).list_all()}
        used = {name for job in jobs.values() if not job.phase.ended for name in _names(job)}
        free = [row for row in rows if used.isdisjoint((str(row.columns["job"]), str(row.columns["name"])))]
        gone = [row for row in free if self._is_over(row, jobs)]
        for row in gone:
            await self._empty(row)
            await self._change(Delete(row.key, row.etag))
        return len(gone)

    def _is_over(self, row: Row, jobs: dict[str, Job]) -> bool:
        job = jobs.get(str(row.columns["job"]))
        end = str(row.columns["since"]) if job is None else job.ended
        return end is not None and is_older(end, int(str(row.columns["days"])) + SPARE_DAYS, self._now())

    async def _announced(self, prefix: str) -> list[Row]:
        return [row async for row in scan(self._tables, self._partition, prefix, prefix_end(prefix))]

    async def _empty(self, row: Row) -> None:
        await Stage(self._tables, self._keys, str(row.columns["name"])).clear()

    async def _change(self, operation: Operation) -> None:
        """Change an announcement, unless a job, the sweep or who announces it again was first."""
        with contextlib.suppress(VersionConflict):
            await self._tables.commit(self._partition, [operation])


def _names(job: Job) -> Iterator[str]:
    """Yield what a job's options name, alone or in a list."""
    for value in job.options.values():
        yield from map(str, value if isinstance(value, list) else [value])


def is_older(moment: str, days: int, now: str) -> bool:
    """Tell whether a timestamp lies more than some days back."""
    return datetime.fromisoformat(now) - datetime.fromisoformat(moment) > timedelta(days=days)
