"""The portal's pages about a plan that waits: what the dearest of them costs the server in CPU time."""

from __future__ import annotations

import aiohttp

from infra.local.bench.figures import Figure
from infra.local.process import Process

LOOKS = 3
"""Times that each page is asked for; the first time of a page makes its template."""
AIM = 150
"""Milliseconds for which a page may take the server."""
NAMED = 3
"""Pages that are named beside the figure, the dearest ones."""
RUN = "runs/{run}"
PAGES = (
    *("", "runs", "plan", "import", "policy", "connect", "accounts", "accounts?find=maja", "groups", "activity"),
    *("provisioning", "settings", RUN, f"{RUN}/approve", f"{RUN}/pilot", f"{RUN}/problems", f"{RUN}/report"),
    *(f"{RUN}/decisions", f"{RUN}/decisions?find=maja", f"{RUN}/decisions?reviewed=true"),
    *(f"{RUN}/decisions?changes=userName", f"{RUN}/decisions?decision=link&predicted=created"),
    *(f"{RUN}/all?decision=link&action=exclude", f"{RUN}/all?decision=link&action=exclude&domain=contoso.com"),
    *(f"{RUN}/all?decision=review&action=link", f"{RUN}/all?decision=link&action=leave"),
)
"""Pages behind /portal/, with conditions that many rows of a plan meet, and such that none does."""


async def slowest(process: Process, session: aiohttp.ClientSession, run: str, accounts: int, aim: int | None) -> Figure:
    """Return the figure of the dearest page, with the run whose plan waits."""
    costs: dict[str, float] = {}
    for page in PAGES:
        name = page.partition("?")[0] or "overview"
        costs[name] = max(costs.get(name, 0.0), await _cost(process, session, page.format(run=run)))
    by_cost = sorted(costs.items(), key=lambda one: -one[1])
    beside = {f"{page.replace('{run}', '…')} ms": cost for page, cost in by_cost[:NAMED]}
    return Figure("slowest page of the portal", by_cost[0][1], "ms CPU", aim, accounts, beside)


async def _cost(process: Process, session: aiohttp.ClientSession, page: str) -> float:
    """Return the milliseconds of CPU that a page takes at least."""
    costs = list[float]()
    for _ in range(LOOKS):
        before = process.cpu()
        async with session.get(f"portal/{page}".rstrip("/")) as answer:
            await answer.read()
            if answer.status != 200:
                raise RuntimeError(f"the page {page} answered {answer.status}")
        costs.append((process.cpu() - before) * 1e3)
    return min(costs)
