"""Timers on one machine: which moments a schedule names, and that each runs a function once."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest

import function_app
from infra.local.functions import read_functions
from infra.local.timers import LONGEST, Ncrontab, Timer, Timers
from shared.host.settings import Settings
from shared.tables.sqlite import SqliteTables


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "after", "next_one"),
    [
        ("0 */15 * * * *", "2026-11-29T10:00:00", "2026-11-29T10:15:00"),
        ("0 */15 * * * *", "2026-12-31T23:59:59.5", "2027-01-01T00:00:00"),
        ("0 30 2 * * *", "2026-11-29T02:30:00", "2026-11-30T02:30:00"),
        ("0 30 2 * * *", "2026-11-29T02:29:59", "2026-11-29T02:30:00"),
        ("30 0 8,12-13 * * 1-5", "2026-11-27T13:00:30", "2026-11-30T08:00:30"),
        ("0 0 0 29 2 *", "2026-03-01T00:00:00", "2028-02-29T00:00:00"),
        ("5/20 * * * * 0", "2026-11-29T00:00:06", "2026-11-29T00:00:25"),
    ],
)
def test_the_next_moment_of_a_schedule(expression: str, after: str, next_one: str) -> None:
    assert Ncrontab(expression).after(moment(after)) == moment(next_one)


@pytest.mark.parametrize("expression", ["* * * * *", "60 * * * * *", "0 0 0 0 * *", "x * * * * *", "0 0 0 * * MON"])
def test_what_is_no_schedule_is_refused(expression: str) -> None:
    with pytest.raises(ValueError, match=r"six fields|must be from|invalid literal"):
        Ncrontab(expression)


def test_a_moment_that_never_comes_is_refused() -> None:
    with pytest.raises(ValueError, match="no moment"):
        Ncrontab("0 0 0 30 2 *").after(moment("2026-01-01T00:00:00"))


class Clock:
    """A clock that only sleepers move on."""

    def __init__(self, start: str) -> None:
        self.now = moment(start)
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


async def test_a_timer_runs_at_each_of_its_moments_also_after_one_that_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock, ran, enough = Clock("2026-11-29T09:58:30"), list[datetime](), asyncio.Event()

    async def run() -> None:
        ran.append(clock.now)
        if len(ran) == 1:
            raise RuntimeError("somebody's name")
        if len(ran) == 2:
            clock.now += timedelta(minutes=20)  # longer than to the next moment
        if len(ran) == 3:
            enough.set()

    timers = Timers([Timer("look", "0 */15 * * * *", run)], clock, clock.sleep)
    with caplog.at_level(logging.ERROR):
        timers.start()
        await enough.wait()
        await timers.close()
    assert [f"{one:%H:%M:%S}" for one in ran] == ["10:00:00", "10:15:00", "10:45:00"]
    assert max(clock.slept) <= LONGEST
    assert "RuntimeError" in caplog.text
    assert "somebody" not in caplog.text


def test_the_apps_timers_can_run_here(sqlite_tables: SqliteTables) -> None:
    functions = read_functions(function_app.build(Settings.local("token"), sqlite_tables))
    timers = {timer.name: timer for timer in functions.timers}
    assert {name: timer.client_names for name, timer in timers.items()} == {
        "credentials_expire": (),
        "sweep": (),
        "tables_copy": (),
        "scheduled_runs": ("client",),
        "jobs_remove": ("client",),
    }
    Timers(Timer(timer.name, timer.schedule, asyncio.Event().wait) for timer in functions.timers)  # type: ignore[arg-type]
