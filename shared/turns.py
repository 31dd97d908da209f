"""Turns of the event loop: long work is done a slice at a time, so that no short request waits for all of it.

A process has one event loop, on Azure too, where a plan may be made beside the requests. A task's first slice begins
with its first step, and costs it nothing. For each further one it queues up behind all other long work, and in one turn
of the loop one slice is begun: so ten scans at once hold up a look-up no longer than one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextvars import ContextVar
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

SLICE_SECONDS = 0.005
"""Seconds of work that are done in one turn. A short request takes some six turns from its first byte to its last."""

T = TypeVar("T")

_end: ContextVar[float] = ContextVar("end", default=0.0)
"""When the present slice of this task ends, and of those that it began meanwhile; 0 before the first one."""
_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""For each event loop the queue for its turns."""


async def step() -> None:
    """Be told that a step of long work is done: wait for another turn if the time of this one is used up."""
    end, now = _end.get(), perf_counter()
    if now >= end:
        if end:
            await _next_turn()
            now = perf_counter()
        _end.set(now + SLICE_SECONDS)


async def take(steps: Iterable[T]) -> list[T]:
    """Take the steps of an iterator, as many in each turn as its time allows, and return what they yield."""
    taken: list[T] = []
    for one in steps:
        taken.append(one)
        await step()
    return taken


async def _next_turn() -> None:
    """Wait for a turn of the loop in which no other long work goes on; who waits longest comes first."""
    loop = asyncio.get_running_loop()
    queue = _queues.setdefault(loop, asyncio.Lock())
    await asyncio.sleep(0)
    await queue.acquire()
    loop.call_soon(queue.release)
