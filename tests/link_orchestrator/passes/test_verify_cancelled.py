"""A verification that is cancelled stops within a page, and counts what it told until then."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Call, FaultyTables
from shared.directory.directory import Directories
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.passes.test_undo import linked
from tests.link_orchestrator.passes.test_verify import rows
from tests.link_orchestrator.requests.test_runs import Gate, status_of
from tests.link_orchestrator.running import App, activity_calls, serving
from tests.link_orchestrator.test_kill import ACTIVITIES, Step, copy, in_file

PEOPLE = [f"person{number}" for number in range(20)]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held(tmp_path: Path, gate: Gate) -> AsyncIterator[App]:
    """The app with a gate before its storage."""

    def wrap(tables: Tables) -> FaultyTables:
        gated = FaultyTables(tables)
        gated.before = gate
        return gated

    async with serving(tmp_path, wrap) as running:
        yield running


async def test_what_it_told_before_is_kept_and_another_tells_all(held: App, gate: Gate) -> None:
    run = await linked(held, *PEOPLE)
    gate.close("_p_verification")
    job = await held.call("POST", f"linking/runs/{run['id']}/verification")
    path = f"linking/verifications/{job['id']}"
    await gate.reached.wait()
    assert (await held.call("POST", path + "/cancel"))["cancelledBy"] == "local"
    gate.opened.set()
    ended = await held.wait(path)
    assert ended["phase"] == "cancelled"
    told = await rows(held, ended, "unconfirmed")
    assert 0 < len(told) == ended["counts"]["unconfirmed"] < len(PEOPLE)
    assert await status_of(held.call("POST", path + "/cancel")) == (409, "phase: the verification is cancelled already")
    again = await held.call("POST", f"linking/runs/{run['id']}/verification")
    whole = await held.wait(f"linking/verifications/{again['id']}")
    assert (whole["phase"], whole["counts"]["unconfirmed"]) == ("done", len(PEOPLE))


@pytest.mark.parametrize(
    ("name", "read"), [("look", "_p_run"), ("look", "_u_"), ("compare", "keys_"), ("settle", "pairs_")]
)
async def test_no_pass_writes_anything_behind_the_page_on_which_it_was_cancelled(
    tmp_path: Path, steps: list[Step], name: str, read: str
) -> None:
    step = steps[ACTIVITIES.index(name)]

    async def run(tables: SqliteTables) -> tuple[Any, list[str]]:
        watched = FaultyTables(tables)
        directory = await Directories(tables).open("small")
        job = step.message["job"]
        written: list[str] = []
        cancelled: list[str] = []

        async def cancel(call: Call) -> None:
            if cancelled and call.verb == "commit" and ("_p_" in call.partition or "_s_" in call.partition):
                written.append(call.partition)
            if not cancelled and call.verb == "query" and read in call.partition:
                cancelled.append(call.partition)
                await directory.jobs.change(job, lambda job: replace(job, cancelled_by="test"))

        watched.after = cancel
        done = await activity_calls(Directories(watched))(step.name, step.message)
        assert cancelled
        assert +Counter(done["counts"]) == +Counter(await directory.jobs.total(job, name))
        return done, written

    done, written = await in_file(copy(step.before, tmp_path / "own.db"), run)
    assert done["stopped"]
    assert written == []
