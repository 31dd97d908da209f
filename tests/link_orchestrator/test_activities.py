"""What activities record in the tables, and in which order."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.activities import ANOTHER_VERSION, PLANNING, answered, reach_milestone, run_slice
from link_orchestrator.messages import FORM, Answer, Milestone, Slice, SliceDone
from shared.directory.directory import Directories
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.work.jobs import State
from shared.tables.port import Denied, Throttled, Unavailable
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import begin_run, make_directory, object_id


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


async def test_an_activity_that_storage_refuses_or_does_not_answer_has_its_orchestration_wait() -> None:
    async def fails(error: Exception) -> dict[str, Any]:
        raise error

    for away in (Throttled(9.0), Unavailable("ServiceRequestError")):
        told = Answer(away=True, why="the directory's storage does not answer")
        assert Answer.from_json(await answered(fails(away))) == told
    denied = Answer.from_json(await answered(fails(Denied("403 AuthorizationPermissionMismatch: give it the role"))))
    assert denied.away
    assert denied.why == (
        "the directory's storage refuses the app: 403 AuthorizationPermissionMismatch: give it the role"
    )
    with pytest.raises(KeyError):
        await answered(fails(KeyError("a fault of ours")))


async def test_no_plan_is_made_by_two_versions_of_the_app(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    run = await begin_run(directory, [Identity(object_id(1), "ada@contoso.com")], Policy())
    for name in sorted(PLANNING):
        for form in (0, FORM + 1):
            part = Slice(job=run.id, directory=directory.name, pass_name=name, low=0, high=4, form=form)
            done = SliceDone.from_json(await run_slice(Directories(sqlite_tables), part.to_json()))
            assert done == SliceDone(failed=ANOTHER_VERSION, code="version")
    assert await directory.jobs.total(run.id) == {}
    earlier = Slice(job=run.id, directory=directory.name, pass_name="apply", low=0, high=4)
    assert not SliceDone.from_json(await run_slice(Directories(sqlite_tables), earlier.to_json())).failed
