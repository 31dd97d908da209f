"""The mapping check through Graph: the app over HTTP on this side, the stand-in for Graph on the other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from infra.local.graph import Fault, GraphStandIn
from infra.local.standins.tenant import APPLICATION, JOB, SCHEMA
from tests.link_orchestrator.graph.test_graph import standing
from tests.link_orchestrator.running import App, Refusal

OF_APPLICATION = {"source": {"graph": {"servicePrincipal": APPLICATION}}}


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    async with standing(tmp_path, monkeypatch) as running:
        yield running


async def refusal_of(app: App, document: Any = OF_APPLICATION) -> Refusal:
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", "linking/mapping", document)
    assert (await app.call("GET", "linking/mapping"))["isDefault"] is True, "what failed keeps nothing"
    return refusal.value


async def test_a_schema_read_from_graph_is_checked_and_kept_as_an_exported_one(both: tuple[GraphStandIn, App]) -> None:
    _, app = both
    read = await app.call("POST", "linking/mapping", OF_APPLICATION)
    assert read["isDefault"] is False
    assert read == await app.call("GET", "linking/mapping")
    assert read == await app.call("POST", "linking/mapping", SCHEMA)


async def test_of_several_jobs_one_must_be_named(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.schemas["another"] = {"id": "another"}
    refusal = await refusal_of(app)
    assert refusal.status == 409
    assert JOB in str(refusal)
    named = {"source": {"graph": {"servicePrincipal": APPLICATION, "job": JOB}}}
    assert (await app.call("POST", "linking/mapping", named))["isDefault"] is False


async def test_a_missing_permission_is_named(both: tuple[GraphStandIn, App]) -> None:
    stand_in, app = both
    stand_in.tenant.granted.discard("Synchronization.Read.All")
    refusal = await refusal_of(app)
    assert refusal.status == 409
    assert "Synchronization.Read.All" in str(refusal)


@pytest.mark.parametrize("fault", [Fault(503, retry_after="7"), Fault(429), Fault(500), Fault(cut=True)])
async def test_while_graph_does_not_answer_the_request_is_to_be_sent_again(
    both: tuple[GraphStandIn, App], fault: Fault
) -> None:
    stand_in, app = both
    stand_in.faults = lambda number, path: fault
    assert (await refusal_of(app)).status == 503


async def test_a_missing_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with standing(tmp_path, monkeypatch, tenants={}) as (_, app):
        refusal = await refusal_of(app)
    assert refusal.status == 409
    assert "SCIMLINK_GRAPH_TENANTS" in str(refusal)


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"servicePrincipal": "me"},
        {"servicePrincipal": APPLICATION, "job": "../../users"},
        {"servicePrincipal": APPLICATION, "job": ".."},
        {"servicePrincipal": APPLICATION, "tenant": "another"},
    ],
)
async def test_what_names_no_provisioning_job_is_refused(both: tuple[GraphStandIn, App], graph: Any) -> None:
    stand_in, app = both
    assert (await refusal_of(app, {"source": {"graph": graph}})).status == 400
    assert not stand_in.requests, "nothing was asked"
