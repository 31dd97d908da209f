"""An undo works in an emergency: beside a plan that waits, and beside an import, which waits for it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import FaultyTables
from shared.directory.directory import Directories
from shared.directory.work.jobs import State
from tests.link_orchestrator.passes.test_undo import identities, linked, person, undo
from tests.link_orchestrator.requests.test_runs import Gate, status_of
from tests.link_orchestrator.running import App, csv_file, object_id, serving
from tests.waiting import until


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def held(tmp_path: Path, gate: Gate) -> AsyncIterator[App]:
    """The app with a gate before its storage."""

    def wrap(tables: Any) -> FaultyTables:
        gated = FaultyTables(tables)
        gated.before = gate
        return gated

    async with serving(tmp_path, wrap) as running:
        yield running
        gate.opened.set()


async def test_it_runs_beside_a_plan_that_waits_which_is_carried_out_after_it(held: App, gate: Gate) -> None:
    run = await linked(held, "ada", "bob")
    await held.bring(csv_file(person("eve")))
    waiting = await held.plan(*identities("ada", "bob", "eve"))
    upload = await held.upload(*identities("ada"))
    gate.close(f"_p_{run['id']}")
    job = await held.call("POST", f"linking/runs/{run['id']}/undo")
    await gate.reached.wait()
    status, detail = await status_of(held.approve(waiting))
    assert (status, f"GET /linking/undos/{job['id']}" in detail) == (409, True)
    status, detail = await status_of(held.call("POST", "linking/runs", {"identities": upload}))
    assert (status, job["id"] in detail) == (409, True)
    gate.opened.set()
    assert (await held.wait(f"linking/undos/{job['id']}"))["counts"] == {"undone": 2}
    assert (await held.call("GET", f"linking/runs/{waiting['id']}"))["phase"] == "planned"
    assert (await held.apply(waiting))["counts"]["linked"] == 1
    assert (await held.account("ada@contoso.com"))["link"] is None


async def test_rows_of_a_waiting_plan_on_accounts_that_it_fenced_off_are_refused_as_changed(app: App) -> None:
    """The first run died before it linked anybody; a slice of it may still be under way."""
    await app.bring(csv_file(person("ada"), person("bob")))
    dead = await app.plan(*identities("ada"))
    await app.call("POST", f"linking/runs/{dead['id']}/cancel")
    await app.wait(f"linking/runs/{dead['id']}")
    directory = await Directories(app.tables).open("main")
    await directory.jobs.change(dead["id"], lambda job: replace(job, approved=job.started, state=State.FAILED))
    waiting = await app.plan(*identities("ada", "bob"))
    assert (await undo(app, dead))["counts"] == {}
    assert (await app.apply(waiting))["counts"] | {} == waiting["counts"] | {"linked": 1, "refused": 1}
    assert (await app.account("ada@contoso.com"))["link"] is None


@pytest.mark.parametrize(("partition", "phase"), [("_s_", "started"), ("_u_", "approved")])
async def test_it_does_not_start_while_a_run_is_planned_or_applied_which_it_names(
    held: App, gate: Gate, partition: str, phase: str
) -> None:
    first = await linked(held, "ada")
    await held.bring(csv_file(person("eve")))
    upload = await held.upload(*identities("ada", "eve"))
    if phase == "started":
        gate.close(partition)
    run = await held.call("POST", "linking/runs", {"identities": upload})
    if phase == "approved":
        run = await held.wait(f"linking/runs/{run['id']}", "planned")
        gate.close(partition)
        await held.approve(run)
    await gate.reached.wait()
    status, detail = await status_of(held.call("POST", f"linking/runs/{first['id']}/undo"))
    assert (status, f"POST /linking/runs/{run['id']}/cancel ends it" in detail) == (409, True)
    gate.opened.set()
    await held.wait(f"linking/runs/{run['id']}", "planned", "done")
    assert (await held.account("ada@contoso.com"))["link"]["identity"] == object_id(0)


async def test_an_import_waits_until_it_has_ended_and_says_so(held: App, gate: Gate) -> None:
    run = await linked(held, "ada")
    gate.close(f"_p_{run['id']}")
    job = await held.call("POST", f"linking/runs/{run['id']}/undo")
    await gate.reached.wait()
    path = f"accounts/imports/{(await held.call('POST', 'accounts/import', csv_file(person('eve')), 'text/csv'))['id']}"

    async def waiting() -> bool:
        return "waiting" in (await held.call("GET", path)).get("progress", {})

    await until(waiting)
    assert (await held.call("GET", path))["progress"]["waiting"] == f"{job['id']} is under way"
    assert (await held.call("GET", "accounts", userName="eve@contoso.com"))["accounts"] == []
    gate.opened.set()
    assert (await held.wait(path))["counts"]["created"] == 1
    assert (await held.call("GET", f"linking/undos/{job['id']}"))["phase"] == "done"


async def test_it_starts_beside_an_import(held: App, gate: Gate) -> None:
    run = await linked(held, "ada")
    gate.close("_u_")
    job = await held.call("POST", "accounts/import", csv_file(person("eve")), "text/csv")
    await gate.reached.wait()
    gate.partition = "nowhere"
    assert (await undo(held, run))["counts"] == {"undone": 1}
    gate.opened.set()
    assert (await held.wait(f"accounts/imports/{job['id']}"))["counts"]["created"] == 1


async def test_an_import_does_not_wait_for_ever(held: App, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("link_orchestrator.activities.LONGEST", timedelta())
    run = await linked(held, "ada")
    gate.close(f"_p_{run['id']}")
    await held.call("POST", f"linking/runs/{run['id']}/undo")
    await gate.reached.wait()
    assert (await held.bring(csv_file(person("eve"))))["counts"]["created"] == 1
