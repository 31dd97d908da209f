"""A storage adapter that fails on purpose, around a real one: for tests and for counting round trips.

What fails is decided per call by a function: `script` names calls by number, `random_faults` draws from a seed.
Hooks before and after each call let a test hold one writer between two steps while another one runs.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import Literal, TypeVar

from shared.tables.port import MAX_PAGE, Operation, Page, Row, Span, Tables, Throttled, Unavailable

T = TypeVar("T")

_FROM_THE_START = "\x00"
"""The continuation of an empty first page. No adapter makes it: keys have no control characters."""


class Fault(Enum):
    """What goes wrong with one call."""

    THROTTLED = auto()
    """Not applied; the caller sees Throttled."""
    UNAVAILABLE = auto()
    """Not applied; the caller sees Unavailable."""
    LOST = auto()
    """Applied, but the answer is lost: the caller sees Unavailable."""
    SLOW = auto()
    """Applied after `FaultyTables.latency` seconds."""
    SHORT_PAGE = auto()
    """A query answers at most half of what was asked for, with a continuation."""
    EMPTY_PAGE = auto()
    """A query answers no row, with a continuation."""
    CRASH_BEFORE = auto()
    """The process dies before the call."""
    CRASH_AFTER = auto()
    """The process dies when the call has been applied, before its answer is seen."""


SURVIVABLE = tuple(fault for fault in Fault if fault not in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER))


class Crash(BaseException):
    """The process dies here. Not an Exception, so that no handler of the program under test survives it."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the port: for a get its key, for a query its bounds, for a commit the keys of its operations."""

    verb: Literal["get", "query", "commit"]
    partition: str
    keys: tuple[str, ...]


TURNS = 3
"""Turns of the event loop that a call takes: enough for all calls side by side to begin before one ends."""

Faults = Callable[[int, Call], Fault | None]
"""Returns what goes wrong with the call of a number (from 1), or None."""
Hook = Callable[[Call], Awaitable[None]]


def no_faults(number: int, call: Call) -> None:
    """Let every call through."""


def script(faults: Mapping[int, Fault]) -> Faults:
    """Return faults that strike the calls of these numbers, counted from 1."""
    return lambda number, call: faults.get(number)


def random_faults(seed: int, rate: float = 0.1, kinds: Iterable[Fault] = SURVIVABLE) -> Faults:
    """Return faults that strike each call with this probability; the same for the same seed and order of calls."""
    source = random.Random(seed)
    drawn = tuple(kinds)
    return lambda number, call: source.choice(drawn) if source.random() < rate else None


class FaultyTables(Tables):
    """Wraps `inner`. `before` and `after` may be set at any time; they run around each call, whatever its fault.

    `counts` has the calls by verb, `operations` the number of operations in all commits, `sequential` the length of the
    longest chain of calls that waited for each other (calls side by side count once). After a crash every call crashes,
    as in a process that is dead; wrap `inner` anew to start again.
    """

    def __init__(self, inner: Tables, faults: Faults = no_faults, *, latency: float = 0.01) -> None:
        self.inner = inner
        self.faults = faults
        self.latency = latency
        self.before: Hook | None = None
        self.after: Hook | None = None
        self.crashed = False
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.reset()

    def reset(self) -> None:
        """Count from 0 again; the next call has the number 1."""
        self.counts: Counter[str] = Counter()
        self.operations = 0
        self.sequential = 0

    @property
    def requests(self) -> int:
        """All calls so far."""
        return self.counts.total()

    async def get(self, partition: str, key: str, *, select: Sequence[str] | None = None) -> Row | None:
        """Return the row, or None (see port.Tables), unless a fault strikes."""
        call = Call("get", partition, (key,))
        return await self._run(call, lambda fault: self.inner.get(partition, key, select=select))

    async def get_many(
        self, places: Sequence[tuple[str, str]], *, select: Sequence[str] | None = None
    ) -> list[Row | None]:
        """Return the row or None for each partition and key (see port.Tables): each a call with faults of its own."""
        return await asyncio.gather(*(self.get(partition, key, select=select) for partition, key in places))

    async def query(
        self,
        partition: str,
        low: str = "",
        high: str | None = None,
        *,
        select: Sequence[str] | None = None,
        top: int = MAX_PAGE,
        continuation: str | None = None,
    ) -> Page:
        """Return rows in order of key (see port.Tables), unless a fault strikes."""

        async def run(fault: Fault | None) -> Page:
            if fault is Fault.EMPTY_PAGE:
                return Page((), continuation or _FROM_THE_START)
            return await self.inner.query(
                partition,
                low,
                high,
                select=select,
                top=max(1, top // 2) if fault is Fault.SHORT_PAGE else top,
                continuation=None if continuation == _FROM_THE_START else continuation,
            )

        return await self._run(Call("query", partition, (low,) if high is None else (low, high)), run)

    async def query_many(self, spans: Sequence[Span], *, top: int = MAX_PAGE) -> list[Page]:
        """Return the first page of each range (see port.Tables): each a call with faults of its own."""
        return await asyncio.gather(*(self.query(*span, top=top) for span in spans))

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply the operations (see port.Tables), unless a fault strikes."""
        self.operations += len(operations)
        call = Call("commit", partition, tuple(operation.key for operation in operations))
        return await self._run(call, lambda fault: self.inner.commit(partition, operations))

    async def close(self) -> None:
        """Close `inner`."""
        await self.inner.close()

    async def _run(self, call: Call, apply: Callable[[Fault | None], Awaitable[T]]) -> T:
        if self.crashed:
            raise Crash
        self.counts[call.verb] += 1
        fault = self.faults(self.requests, call)
        ends = self.sequential + 1
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if fault is Fault.SLOW:
            await asyncio.sleep(self.latency)
        try:
            if self.before:
                await self.before(call)
            answer = await self._strike(fault, apply)
            if self.after:
                await self.after(call)
        finally:
            self.sequential = max(self.sequential, ends)
        return answer

    async def _strike(self, fault: Fault | None, apply: Callable[[Fault | None], Awaitable[T]]) -> T:
        if self.crashed or fault is Fault.CRASH_BEFORE:
            await self._die()
        if fault is Fault.THROTTLED:
            raise Throttled(0.0)
        if fault is Fault.UNAVAILABLE:
            raise Unavailable("refused on purpose")
        self._under_way += 1
        self._idle.clear()
        try:
            answer = await apply(fault)
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()
        if self.crashed or fault is Fault.CRASH_AFTER:
            await self._die()
        if fault is Fault.LOST:
            raise Unavailable("answer lost on purpose")
        return answer

    async def _die(self) -> None:
        """Be dead, once the calls beside this one are decided: none may be applied after somebody looked."""
        self.crashed = True
        await self._idle.wait()
        raise Crash
