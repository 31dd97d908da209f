"""Jobs in the process that answers requests: how long its event loop works before others get their turn."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from infra.local.bench.jobs import approval_of
from infra.local.demo_data import generate, write
from infra.local.lag import p99, watched
from tests.link_orchestrator.running import serving

ACCOUNTS = 2_000
MOST_SECONDS = 0.05


async def test_beside_a_job_a_request_that_comes_at_any_moment_waits_a_twentieth_of_a_second(tmp_path: Path) -> None:
    """Of the CPU time of each job, a hundredth at most is in turns of the loop that are longer."""
    write(generate(ACCOUNTS, ACCOUNTS * 11 // 10), tmp_path)
    accounts, identities = ((tmp_path / name).read_bytes() for name in ("accounts.csv", "identities.json"))
    lag = dict[str, float]()

    @asynccontextmanager
    async def measured(job: str) -> AsyncIterator[None]:
        async with watched() as turns:
            yield
        lag[job] = p99(turns)

    gc.collect()
    gc.freeze()
    try:
        async with serving(tmp_path) as app:
            async with measured("import"):
                await app.bring(accounts)
            async with measured("plan"):
                upload = await app.call("POST", "linking/identities", identities)
                run = await app.call("POST", "linking/runs", {"identities": upload["id"]})
                path = f"linking/runs/{run['id']}"
                planned = await app.wait(path, "planned")
            async with measured("apply"):
                await app.call("POST", f"{path}/approve", approval_of(planned))
                assert (await app.wait(path, "done"))["phase"] == "done"
            async with measured("undo"):
                undo = await app.call("POST", f"{path}/undo")
                assert (await app.wait(f"linking/undos/{undo['id']}", "done"))["phase"] == "done"
    finally:
        gc.unfreeze()
    assert {job: seconds for job, seconds in lag.items() if seconds >= MOST_SECONDS} == {}
