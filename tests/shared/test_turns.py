"""Turns of the event loop: what shares one, and what waits for the next."""

from __future__ import annotations

import asyncio

import pytest

from shared import turns
from shared.turns import Turns, take


class Clock:
    """A clock that moves with the steps of work."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that stands still unless a test moves it."""
    clock = Clock()
    monkeypatch.setattr(turns, "perf_counter", clock)
    return clock


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When somebody waited for another turn."""
    waits, wait = list[float](), turns.next_turn

    async def watched() -> None:
        waits.append(turns.perf_counter())
        await wait()

    monkeypatch.setattr(turns, "next_turn", watched)
    return waits


async def test_work_that_writes_through_another_waits_once_a_turn(clock: Clock, waits: list[float]) -> None:
    async def work() -> None:
        mine, writers = Turns(), Turns()
        for _ in range(100):
            clock.now += 0.001
            await mine.step()
            await writers.step()

    await asyncio.gather(*(work() for _ in range(8)))
    assert len(waits) <= 800 / 3 + 8


async def test_work_that_ends_within_its_first_slice_is_never_put_off(clock: Clock, waits: list[float]) -> None:
    clock.now = 5.0
    assert await take(iter(range(1000))) == list(range(1000))
    assert not waits


async def test_no_turn_lasts_longer_than_a_slice_and_a_step(clock: Clock) -> None:
    longest = began = 0.0

    async def look() -> None:
        nonlocal longest, began
        while True:
            longest, began = max(longest, clock.now - began), clock.now
            await asyncio.sleep(0)

    async def work() -> None:
        mine, writers = Turns(), Turns()
        for _ in range(50):
            clock.now += 0.001
            await mine.step()
            await writers.step()

    async with asyncio.timeout(5):
        looking = asyncio.create_task(look())
        await work()
        begun = longest
        longest = 0.0
        await asyncio.gather(*(work() for _ in range(8)))
        looking.cancel()
    # Alone, and eight at once: each has a first slice of its own, all of which may be in one turn.
    assert begun <= 0.0041
    assert longest <= 0.025
