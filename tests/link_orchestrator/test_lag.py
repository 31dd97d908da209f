"""A plan in the process that answers requests: how long its event loop works before others get their turn."""

from __future__ import annotations

import gc
from pathlib import Path

from infra.local.demo_data import generate, write
from infra.local.lag import p99, watched
from tests.link_orchestrator.running import serving

ACCOUNTS = 2_000
MOST_SECONDS = 0.05


async def test_beside_a_plan_a_request_that_comes_at_any_moment_waits_a_twentieth_of_a_second(tmp_path: Path) -> None:
    """Of the CPU time of an import and of a plan, a hundredth at most is in turns of the loop that are longer."""
    write(generate(ACCOUNTS, ACCOUNTS * 11 // 10), tmp_path)
    accounts, identities = ((tmp_path / name).read_bytes() for name in ("accounts.csv", "identities.json"))
    gc.collect()
    gc.freeze()
    try:
        async with serving(tmp_path) as app, watched() as turns:
            await app.bring(accounts)
            upload = await app.call("POST", "linking/identities", identities)
            run = await app.call("POST", "linking/runs", {"identities": upload["id"]})
            await app.wait(f"linking/runs/{run['id']}", "planned")
    finally:
        gc.unfreeze()
    assert p99(turns) < MOST_SECONDS
