"""Timer functions on one machine: each runs when the clock comes to a moment that its schedule names.

Schedules are NCRONTAB expressions of six fields, in UTC
(https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions). A moment at which no
server runs is passed over, as with a timer in Azure that has no monitor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

log = logging.getLogger(__name__)

FIELDS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
"""Lowest and highest value of seconds, minutes, hours, days, months, and days of the week from Sunday."""
LONGEST = 60.0
"""Seconds after which a waiting timer looks at the clock again: it may have been set, or the machine have slept."""


class Ncrontab:
    """The moments that an expression names. Raises ValueError for one of names, or one that is none."""

    def __init__(self, expression: str) -> None:
        fields = expression.split()
        if len(fields) != len(FIELDS):
            raise ValueError(f"{expression}: a schedule has six fields")
        self._seconds, self._minutes, self._hours, self._days, self._months, self._weekdays = (
            _values(field, low, high) for field, (low, high) in zip(fields, FIELDS, strict=True)
        )

    def after(self, moment: datetime) -> datetime:
        """Return the first of its moments after this one. Raises ValueError if none comes within five years."""
        found = moment.replace(microsecond=0) + timedelta(seconds=1)
        end = found + timedelta(days=5 * 366)
        while found < end:
            if not self._has_day(found):
                found = found.replace(hour=0, minute=0, second=0) + timedelta(days=1)
            elif found.hour not in self._hours:
                found = found.replace(minute=0, second=0) + timedelta(hours=1)
            elif found.minute not in self._minutes:
                found = found.replace(second=0) + timedelta(minutes=1)
            elif found.second not in self._seconds:
                found += timedelta(seconds=1)
            else:
                return found
        raise ValueError("the schedule names no moment that comes")

    def _has_day(self, moment: datetime) -> bool:
        weekday = moment.isoweekday() % 7
        return moment.day in self._days and moment.month in self._months and weekday in self._weekdays


def _values(field: str, low: int, high: int) -> frozenset[int]:
    """Return the values of a field such as `*`, `5`, `1-5`, `*/15` or `1,3`."""
    values: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = (str(low), "-", str(high)) if span == "*" else span.partition("-")
        end = int(last) if dash else high if slash else int(first)
        values.update(range(int(first), end + 1, int(step) if slash else 1))
    if not values or min(values) < low or max(values) > high:
        raise ValueError(f"{field}: must be from {low} to {high}")
    return frozenset(values)


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer function: its name, its schedule, and what runs it."""

    name: str
    schedule: str
    run: Callable[[], Awaitable[None]]


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


class Timers:
    """Runs timers until it is closed, none of them twice at once. What a timer raises is logged by its name."""

    def __init__(
        self,
        timers: Iterable[Timer],
        clock: Callable[[], datetime] = now,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._timers: Sequence[tuple[Timer, Ncrontab]] = [(timer, Ncrontab(timer.schedule)) for timer in timers]
        self._clock = clock
        self._sleep = sleep
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to wait."""
        self._tasks = [asyncio.create_task(self._keep(timer, moments)) for timer, moments in self._timers]

    async def close(self) -> None:
        """Stop waiting, and cut off what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _keep(self, timer: Timer, moments: Ncrontab) -> None:
        due = moments.after(self._clock())
        while True:
            while (left := (due - self._clock()).total_seconds()) > 0:
                await self._sleep(min(left, LONGEST))
            try:
                await timer.run()
            # As in Azure, what leaves a timer's function keeps none of its later runs from coming.
            except Exception as error:
                log.error("the timer %s failed with %s", timer.name, type(error).__name__)
            # Moments that came while it ran are passed over.
            due = moments.after(max(due, self._clock()))
