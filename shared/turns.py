"""Turns of the event loop: long work is done a slice at a time, so that no short request waits for all of it.

A process has one event loop, on Azure too, where a plan may be made beside the requests. Work that ends within its
first slice is never put off. What takes longer queues up for each further slice, behind all other long work, and in one
turn of the loop one slice is begun: so ten scans at once hold up a look-up no longer than one does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

SLICE_SECONDS = 0.003
"""Seconds of work that are done in one turn. A short request takes some ten turns from its first byte to its last."""

T = TypeVar("T")

_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
"""For each event loop the queue for its turns."""


class Turns:
    """The turns that one piece of work takes. The first begins with it."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = perf_counter() + SLICE_SECONDS

    async def step(self) -> None:
        """Be told that a step of the work is done: wait for another turn if the time of this one is used up."""
        if perf_counter() >= self._end:
            await next_turn()
            self._end = perf_counter() + SLICE_SECONDS


async def take(steps: Iterable[T]) -> list[T]:
    """Take the steps of an iterator, as many in each turn as its time allows, and return what they yield."""
    turns, taken = Turns(), list[T]()
    for one in steps:
        taken.append(one)
        await turns.step()
    return taken


async def next_turn() -> None:
    """Wait for a turn of the loop in which no other long work goes on; who waits longest comes first."""
    loop = asyncio.get_running_loop()
    queue = _queues.setdefault(loop, asyncio.Lock())
    await asyncio.sleep(0)
    await queue.acquire()
    loop.call_soon(queue.release)
