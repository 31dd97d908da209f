"""What the nightly timer tidies up, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace

from shared.admin.functions import tidy
from shared.directory.records.bulk import reserve_many
from shared.directory.work.jobs import State
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import stale_rows
from tests.shared.directory.people import create, small


async def test_the_sweep_waits_for_a_run_that_is_under_way(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    await directory.jobs.start("run", "test", "run1", {})
    await reserve_many(directory.accounts, [(ann.id, "oid-a")], by="run:run1")
    assert await tidy(directory) == (0, 0)
    assert (await directory.accounts.get(ann.id)).etag == ann.etag, "the run refuses an account that changed"
    await directory.jobs.start("import", "test", "import1", {})
    await directory.jobs.change("run1", lambda job: replace(job, state=State.CANCELLED))
    assert await tidy(directory) == (2, 0)
    assert await stale_rows(sqlite_tables) == 0
