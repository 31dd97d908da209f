"""What activities record in the tables, and in which order."""

from __future__ import annotations

from contextlib import suppress
from itertools import count

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.activities import reach_milestone
from link_orchestrator.messages import Milestone
from shared.directory.directory import Directories
from shared.directory.matching.policy import Policy
from shared.directory.work.jobs import State
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import begin_run, make_directory


async def test_a_run_shows_that_it_is_planned_only_when_scim_goes_by_its_plan(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    run = await begin_run(directory, [], Policy())
    planned = Milestone(job=run.id, directory=directory.name, state="planned", expires="2999-01-01T00:00:00Z")
    for number in count(1):
        faulty = FaultyTables(sqlite_tables)
        directories = Directories(faulty)
        await directories.open(directory.name)
        faulty.reset()
        faulty.faults = script({number: Fault.CRASH_AFTER})
        with suppress(Crash):
            await reach_milestone(directories, planned.to_json())
        is_planned = (await directory.jobs.get(run.id)).state is State.PLANNED
        if is_planned:
            break
    assert number > 1, "the run was planned at once: nothing came before"
    assert await directory.jobs.find_planned() == run.id
