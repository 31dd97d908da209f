"""The stand-in for Microsoft Graph as a process, and the demo over it."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from infra.local import demo
from infra.local.demo_data import generate, write
from infra.local.graph import every
from infra.local.standins.tenant import Tenant, read_users
from tests.infra.test_serve import lines_until_ready, served
from tests.link_orchestrator.running import TOKEN, Api, connected
from tests.waiting import PATIENCE, process


async def test_an_app_reads_from_it_as_the_printed_variables_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(generate(20, 60), tmp_path)
    given = ["--identities", str(tmp_path / "identities.json"), "--groups", str(tmp_path / "entra_groups.json")]
    given += ["--slow", "0.001", "--expire", "2", "--change"]
    async with process(sys.executable, "-m", "infra.local.graph", *given, stdout=asyncio.subprocess.PIPE) as stand_in:
        lines = await lines_until_ready(stand_in)
        for name, value in re.findall(r"^export (\w+)='(.*)'$", "\n".join(lines), re.MULTILINE):
            monkeypatch.setenv(name, value)
        application = next(line for line in lines if line.startswith("# the enterprise")).split()[-1]
        async with (
            served("--data", str(tmp_path / "data"), "--token", TOKEN) as server,
            connected(server.url) as session,
        ):
            api = Api(session)
            for scope in ({"scope": "all"}, {"scope": "assigned", "servicePrincipal": application}):
                run = await api.call("POST", "linking/runs", {"source": {"graph": scope}, "groups": True})
                planned = await api.wait(f"linking/runs/{run['id']}", "planned")
                groups = {"all": 6, "assigned": 2}[scope["scope"]]
                assert planned["counts"] == {"noAccount": 60, "noIdentity": 0, "noGroup": groups}
                await api.call("POST", f"linking/runs/{run['id']}/cancel")
                await api.wait(f"linking/runs/{run['id']}", "cancelled")
        stand_in.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(stand_in.wait(), PATIENCE) == 0


async def test_the_demo_comes_to_the_same_over_graph(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = io.StringIO()
    monkeypatch.setattr(demo, "console", Console(file=text, width=160, highlight=False))
    monkeypatch.setattr(demo, "CYCLE_FILE", tmp_path / "cycle.txt")
    assert await demo.main(graph=True) == 0
    assert "read from the stand-in for Microsoft Graph" in text.getvalue()
    assert re.search(r"Linked 821, refused 0", text.getvalue())


def test_a_tenant_assigns_everybody_once_at_least(tmp_path: Path) -> None:
    write(generate(10, 30), tmp_path)
    users = read_users(tmp_path / "identities.json")
    tenant = Tenant.of(users)
    reached = {a["principalId"] for a in tenant.assigned if a["principalType"] == "User"}
    for assignment in tenant.assigned:
        if assignment["principalType"] == "Group":
            reached |= set(tenant.members_of(assignment["principalId"], transitive=True))
    assert reached == {user["id"] for user in users}
    assert json.loads(json.dumps(list(tenant.groups.values())))


def test_faults_strike_as_often_as_they_are_told_to() -> None:
    faults = every(3, 4, 5, 0.5)
    struck = [fault for number in range(1, 13) if (fault := faults(number, "/v1.0/users"))]
    assert [fault.status for fault in struck if fault.status] == [429, 503, 429, 503]
    assert [fault.cut for fault in struck].count(True) == 2
    assert [fault.expire for fault in struck].count(True) == 2
    assert {fault.delay for fault in struck} == {0.5}
