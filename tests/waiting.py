"""Waiting for other tasks and processes, and cleaning up after them. No outcome depends on how long anything takes."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

PLANTED = "SCIMLINK_PLANTED"
"""The environment variable by which tests know that a fault is planted (tests/mutants)."""
PATIENCE = 30.0 if PLANTED in os.environ else 600.0
"""Seconds after which a test gives up on what never happens: far more than the slowest machine takes.

Beside a planted fault what never happens is what is looked for; the same tests pass first without one.
"""


async def until(happened: Callable[[], T | Awaitable[T]]) -> T:
    """Return the first true answer. Asks after a millisecond, then ever more rarely. Raises TimeoutError."""
    pause = 0.001
    async with asyncio.timeout(PATIENCE):
        while True:
            answer = happened()
            found: T = await answer if isawaitable(answer) else answer
            if found:
                return found
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, 0.05)


@asynccontextmanager
async def process(*command: str | Path, **options: Any) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a command, and kill it in the end if it still runs.

    The processes that it started end by themselves, or are killed where the block fails: the next test finds nothing.
    """
    started = await asyncio.create_subprocess_exec(*command, start_new_session=True, **options)
    try:
        yield started
    except BaseException:
        with suppress(ProcessLookupError):  # all of them have ended
            os.killpg(started.pid, signal.SIGKILL)
        raise
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()
