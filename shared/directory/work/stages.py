"""Which stages there are: each is announced beside the jobs before its first row is written, so that none is lost.

Stages hold what people sent in their files. A job clears its own stages when it ends. What stays, after a crash, a dead
orchestration or a late activity, the nightly sweep clears a day later, and only then is a stage forgotten. Several runs
may use one upload, or what one run saw: such a stage is kept for the days that it names.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from shared.directory.keys import Keys, prefix_end
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, Jobs
from shared.directory.work.staging import Stage
from shared.tables.access import read_range
from shared.tables.port import Delete, Merge, Operation, Row, Tables, Upsert, VersionConflict

STAGE = "stage_"
SPARE_DAYS = 1
"""Days for which every stage is spared: longer than a late activity writes, or than the start of a run takes."""


class Stages:
    """The announced stages of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._partition = keys.jobs()
        self._now = now

    async def announce(self, job_id: str, names: Sequence[str], *, days: int = 0) -> None:
        """Announce stages that a job is about to fill; they are kept for `days` after its end."""
        since = self._now()
        rows = [Upsert(STAGE + name, {"job": job_id, "name": name, "since": since, "days": days}) for name in names]
        await self._tables.commit(self._partition, rows)

    async def clear(self, job_id: str, also: Sequence[str] = ()) -> None:
        """Empty the stages of a job that are not kept for days, and those named in `also`.

        They stay announced, since an activity of the job may still write. After a crash this may run again.
        """
        for row in await self._announced(STAGE + job_id):
            kept, named = bool(row.columns["days"]), row.columns["name"] in also
            if row.columns["job"] == job_id and (named or not kept):
                await self._empty(row)
                if kept:
                    await self._change(Merge(row.key, {"days": 0}, row.etag))

    async def let_go(self, job_id: str) -> None:
        """Keep the stages of a job that is removed no longer than the next sweep: a run may just begin to read them."""
        for row in await self._announced(STAGE + job_id):
            if row.columns["job"] == job_id and row.columns["days"]:
                await self._change(Merge(row.key, {"days": 0}, row.etag))

    async def sweep(self) -> int:
        """Remove the stages that are no longer needed, and return how many."""
        rows = await self._announced(STAGE)
        # Read after the rows: a job that is missing here was missing when its stage was announced.
        jobs = {job.id: job for job in await Jobs(self._tables, self._keys).list_all()}
        used = {name for job in jobs.values() if not job.state.ended for name in _names(job)}
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
        return await read_range(self._tables, self._partition, prefix, prefix_end(prefix))

    async def _empty(self, row: Row) -> None:
        await Stage(self._tables, self._keys, str(row.columns["name"])).clear()

    async def _change(self, operation: Operation) -> None:
        """Change an announcement, unless another writer was faster."""
        with contextlib.suppress(VersionConflict):
            await self._tables.commit(self._partition, [operation])


def _names(job: Job) -> Iterator[str]:
    """Yield the texts in a job's options, alone or in lists: some of them are names of stages."""
    for value in job.options.values():
        yield from map(str, value if isinstance(value, list) else [value])


def is_older(moment: str, days: int, now: str) -> bool:
    """Tell whether a timestamp is more than some days old."""
    return datetime.fromisoformat(now) - datetime.fromisoformat(moment) > timedelta(days=days)
