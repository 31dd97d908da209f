"""What the nightly timer tidies up, and what it leaves alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from shared.admin.functions import tidy
from shared.directory.records.bulk import reserve_many
from shared.directory.text import timestamp
from shared.directory.work.jobs import State
from shared.directory.work.refusals import DAYS, Attempt
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import stale_rows
from tests.shared.directory.people import create, reopened, small


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


async def test_what_is_kept_no_longer_goes_whatever_is_under_way(sqlite_tables: SqliteTables) -> None:
    """A schedule may have a plan that waits at any time."""
    directory = await small(sqlite_tables, buckets=1)
    ann = await create(directory, "ann")
    for days in (DAYS + 1, DAYS - 1):
        then = timestamp(datetime.now(UTC) - timedelta(days=days))
        former = await reopened(sqlite_tables, now=lambda then=then: then)
        await former.refusals.record(Attempt(ann.id, f"x{days}", "entra", "PATCH"))
    await directory.jobs.start("run", "test", "run1", {})
    assert await tidy(directory) == (1, 0)
    assert [refusal.attempt.external_id for refusal in (await directory.refusals.page("", 9))[0]] == [f"x{DAYS - 1}"]
