"""The undo of an import beside what else is under way: plans that wait, runs that are applied, other imports."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import FaultyTables
from tests.link_orchestrator.passes.test_undo import identities, person
from tests.link_orchestrator.passes.test_undo_imports import undo
from tests.link_orchestrator.requests.test_runs import Gate, status_of
from tests.link_orchestrator.running import App, csv_file, serving
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


async def test_no_run_is_approved_or_started_meanwhile(held: App, gate: Gate) -> None:
    await held.bring(csv_file(person("ada")))
    imported = await held.bring(csv_file(person("eve")))
    waiting = await held.plan(*identities("ada", "eve"))
    upload = await held.upload(*identities("ada"))
    gate.close(f"_s_{imported['id']}")
    job = await held.call("POST", f"accounts/imports/{imported['id']}/undo")
    await gate.reached.wait()
    status, detail = await status_of(held.approve(waiting))
    assert (status, f"GET /accounts/undos/{job['id']}" in detail) == (409, True)
    status, detail = await status_of(held.call("POST", "linking/runs", {"identities": upload}))
    assert status == 409
    gate.opened.set()
    # The plan would link eve, so she stays.
    assert (await held.wait(f"accounts/undos/{job['id']}"))["counts"] == {"refused": 1}
    assert (await held.apply(waiting))["counts"]["linked"] == 2


async def test_another_import_waits_for_it_and_says_so(held: App, gate: Gate) -> None:
    imported = await held.bring(csv_file(person("ada")))
    gate.close(f"_s_{imported['id']}")
    job = await held.call("POST", f"accounts/imports/{imported['id']}/undo")
    await gate.reached.wait()
    path = f"accounts/imports/{(await held.call('POST', 'accounts/import', csv_file(person('eve')), 'text/csv'))['id']}"

    async def waiting() -> bool:
        return "waiting" in (await held.call("GET", path)).get("progress", {})

    await until(waiting)
    assert (await held.call("GET", path))["progress"]["waiting"] == f"{job['id']} is under way"
    gate.opened.set()
    assert (await held.wait(path))["counts"]["created"] == 1
    assert (await held.call("GET", f"accounts/undos/{job['id']}"))["counts"] == {"removed": 1}


async def test_it_goes_beside_another_import_which_changes_the_same_account(held: App, gate: Gate) -> None:
    await held.bring(csv_file(person("ada")))
    imported = await held.bring(csv_file(person("ada") | {"title": "Director"}))
    gate.close("_u_")
    job = await held.call("POST", "accounts/import", csv_file(person("ada") | {"title": "Boss"}), "text/csv")
    await gate.reached.wait()
    gate.partition = "nowhere"
    assert (await undo(held, imported))["counts"] == {"undone": 1}
    gate.opened.set()
    assert (await held.wait(f"accounts/imports/{job['id']}"))["counts"] == {"updated": 1, "refused": 0}
    assert (await held.account("ada@contoso.com"))["document"]["title"] == "Boss"


async def test_it_does_not_start_while_its_import_or_a_run_is_under_way(held: App, gate: Gate) -> None:
    first = await held.bring(csv_file(person("ada")))
    gate.close("_u_")
    job = await held.call("POST", "accounts/import", csv_file(person("eve")), "text/csv")
    await gate.reached.wait()
    status, detail = await status_of(held.call("POST", f"accounts/imports/{job['id']}/undo"))
    assert (status, f"{job['id']} is under way" in detail) == (409, True)
    gate.opened.set()
    await held.wait(f"accounts/imports/{job['id']}")
    run = await held.plan(*identities("ada"))
    gate.close("_u_")
    await held.approve(run)
    await gate.reached.wait()
    status, detail = await status_of(held.call("POST", f"accounts/imports/{first['id']}/undo"))
    assert (status, f"POST /linking/runs/{run['id']}/cancel ends it" in detail) == (409, True)
    gate.opened.set()
    assert (await held.wait(f"linking/runs/{run['id']}"))["counts"]["linked"] == 1
