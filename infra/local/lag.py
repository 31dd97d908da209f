"""How long the event loop works in one turn: in CPU time, so that a busy machine changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


@asynccontextmanager
async def watched() -> AsyncIterator[list[float]]:
    """Yield a list that fills with the CPU seconds of this thread in each turn of its event loop."""
    loop, turns, watching = asyncio.get_running_loop(), list[float](), True
    since = time.thread_time()

    def look() -> None:
        nonlocal since
        now = time.thread_time()
        turns.append(now - since)
        since = now
        if watching:
            loop.call_soon(look)

    loop.call_soon(look)
    try:
        yield turns
    finally:
        watching = False
        await asyncio.sleep(0)


def p99(turns: list[float]) -> float:
    """Return the seconds that 99 of 100 moments of work see their turn last at most."""
    left = sum(turns) / 100
    for turn in sorted(turns, reverse=True):
        left -= turn
        if left < 0:
            return turn
    return 0.0
