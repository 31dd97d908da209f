"""Turns of the event loop: long work is done a slice at a time, so that no short request waits for all of it.

A process has one event loop, on Azure too, where a plan may be made beside the requests. Work that ends within its
first slice is never put off. What takes longer queues up for each further slice, behind all other long work, and in one
turn of the loop one slice is begun: so ten scans at once hold up a look-up no longer than one does.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TypeVar
from weakref import WeakKeyDictionary

SLICE_SECONDS = 0.003
"""Seconds of work that are done in one turn. A short request takes some ten turns from its first byte to its last."""

T = TypeVar("T")


class _Queue:
    """The queue for the turns of one event loop, and when the turn that was given last is over."""

    __slots__ = ("end", "lock")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.end = 0.0


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _Queue] = WeakKeyDictionary()


class Turns:
    """The turns that one piece of work takes. The first begins with it.

    Work that is done for another piece, as a writer's for a pass, shares the turn that was given last. With an end of
    its own it would find that passed each time that the other had queued, and queue again: two such pieces then took a
    step a turn.
    """

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = perf_counter() + SLICE_SECONDS

    @property
    def is_over(self) -> bool:
        """Whether the time of this turn is used up."""
        now = perf_counter()
        if now >= self._end:
            self._end = max(self._end, _queue().end)
        return now >= self._end

    async def step(self) -> None:
        """Be told that a step of the work is done: wait for another turn if the time of this one is used up."""
        if self.is_over:
            await next_turn()


async def take(steps: Iterable[T]) -> list[T]:
    """Take the steps of an iterator, as many in each turn as its time allows, and return what they yield."""
    turns, taken = Turns(), list[T]()
    for one in steps:
        taken.append(one)
        if turns.is_over:  # asked here, since most steps are shorter than a call that can wait
            await turns.step()
    return taken


async def next_turn() -> None:
    """Wait for a turn of the loop in which no other long work goes on; who waits longest comes first."""
    queue = _queue()
    await asyncio.sleep(0)
    await queue.lock.acquire()
    asyncio.get_running_loop().call_soon(queue.lock.release)
    queue.end = perf_counter() + SLICE_SECONDS


def _queue() -> _Queue:
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _Queue()
    return queue


_collecting: list[tuple[int, int, int]] = []
"""The thresholds of the garbage collector, once for each work under way that puts its full collections off."""


@contextmanager
def without_full_collections() -> Iterator[None]:
    """Put full collections off while work holds much in memory, of which none is garbage.

    One looks through all of it in a single step: beside a plan of 20,000 accounts that took up to 0.2 s, and held up
    every request. What goes in circles and outlives the first two generations waits until the work is done.
    """
    thresholds = gc.get_threshold()
    _collecting.append(_collecting[0] if _collecting else thresholds)
    gc.set_threshold(thresholds[0], thresholds[1], 1_000_000)
    try:
        yield
    finally:
        before = _collecting.pop()
        if not _collecting:
            gc.set_threshold(*before)
