"""A real server that reads from Microsoft Graph's stand-in, and is killed again and again while it does."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from infra.local.graph import Fault, GraphStandIn
from infra.local.standins.tenant import Tenant
from tests.link_orchestrator.running import SEEN, Refusal, csv_file, graph
from tests.link_orchestrator.test_kill import Killed
from tests.waiting import until

PEOPLE = 11_000
KILLS = ((4, 1), (9, 0), (3, 1), (2, 0))
"""After so many requests of a server with so many workers it is killed: within the first batch, behind it, and within
the second twice."""


async def test_a_process_that_is_killed_while_it_reads_goes_on_at_the_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = [graph(number, f"u{number}@contoso.com") for number in range(PEOPLE)]
    (tmp_path / "graph").mkdir()
    async with GraphStandIn(Tenant.of(users), tmp_path / "graph") as stand_in:
        for name, value in stand_in.environment().items():
            monkeypatch.setenv(name, value)
        stand_in.faults = lambda number, path: Fault(delay=0.05)
        killed = Killed(tmp_path / "data")
        async with killed.api() as api:
            await api.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"]})
            await api.bring(csv_file({"userName": "u1@contoso.com"}, {"userName": f"u{PEOPLE - 1}@contoso.com"}))
            run = await api.call("POST", "linking/runs", {"source": {"graph": {"scope": "all"}}})
        path = f"linking/runs/{run['id']}"
        for pages, workers in KILLS:
            async with killed.api(workers):
                asked = len(stand_in.requests)

                async def got_on(asked: int = asked, pages: int = pages) -> bool:
                    return len(stand_in.requests) >= asked + pages

                await until(got_on)
        async with killed.api() as api:
            planned = await api.wait(path, "planned")
        assert (planned["phase"], planned["counts"]) == (
            "planned",
            {"link": 2, "noAccount": PEOPLE - 2, "noIdentity": 0},
        )
        pages = Counter(one.partition("skiptoken=")[2] for one in stand_in.requests if one.startswith("/v1.0/users?"))
        assert pages[""] <= 2, "what was kept is not read again"
        async with killed.api() as api:
            with pytest.raises(Refusal) as refusal:
                await api.call("POST", "linking/runs", {"source": {"graph": {"scope": "all"}}})
            assert (refusal.value.status, run["id"] in refusal.value.detail) == (409, True)
            await api.call("POST", path + "/approve", {"links": 2, "acknowledged": SEEN})
            assert (await api.wait(path, "done"))["counts"]["linked"] == 2
