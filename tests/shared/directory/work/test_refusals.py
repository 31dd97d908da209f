"""What provisioning was refused: counted in memory, written now and then, bounded, and never in the way."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.faults import Call, Fault, FaultyTables
from shared.directory.errors import InvalidCursor
from shared.directory.keys import Keys
from shared.directory.text import timestamp
from shared.directory.work import buckets, refusals
from shared.directory.work.refusals import DAYS, ROWS, Attempt, Refusal, Refusals
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.waiting import PATIENCE

KEYS = Keys("main", b"secret", 4)
ANN, BEA = "00000000-0000-4000-8000-00000000000a", "01000000-0000-4000-8000-00000000000b"
START = datetime(2026, 11, 29, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is told the time, in hours from START."""

    def __init__(self) -> None:
        self.hours = 0.0

    def __call__(self) -> str:
        return at(self.hours)


def at(hours: float) -> str:
    return timestamp(START + timedelta(hours=hours))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def nobody_hurries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "SECONDS", PATIENCE)


def attempt(account: str = ANN, external_id: str = "x", credential: str = "entra", method: str = "PATCH") -> Attempt:
    return Attempt(account, external_id, credential, method)


async def shown(tables: Tables, clock: Clock) -> list[Refusal]:
    """Return what another process shows."""
    found, more = await Refusals(tables, KEYS, clock).page("", 1000)
    assert more is None
    return found


async def test_a_refusal_is_kept_with_who_tried_what_and_when(tables: Tables, clock: Clock) -> None:
    await Refusals(tables, KEYS, clock).record(attempt())
    assert await shown(tables, clock) == [Refusal(attempt(), at(0), at(0), 1)]


async def test_within_an_hour_refusals_are_counted_in_memory_and_then_added(
    sqlite_tables: SqliteTables, clock: Clock
) -> None:
    counting = FaultyTables(sqlite_tables)
    here = Refusals(counting, KEYS, clock)
    await here.record(attempt())
    counting.reset()
    for clock.hours in (0.1, 0.5, 0.9):
        await here.record(attempt(method="PUT"))
    assert counting.requests == 0
    assert await shown(sqlite_tables, clock) == [Refusal(attempt(), at(0), at(0), 1)]
    assert (await here.page("", 1))[0] == [Refusal(attempt(method="PUT"), at(0), at(0.9), 4)]
    clock.hours = 1
    await here.record(attempt(credential="other"))
    assert await shown(sqlite_tables, clock) == [Refusal(attempt(credential="other"), at(0), at(1), 5)]


async def test_what_another_process_wrote_within_the_hour_is_not_written_again(
    sqlite_tables: SqliteTables, clock: Clock
) -> None:
    await Refusals(sqlite_tables, KEYS, clock).record(attempt())
    here = Refusals(sqlite_tables, KEYS, clock)
    clock.hours = 0.9
    await here.record(attempt())
    assert (await shown(sqlite_tables, clock))[0].count == 1
    clock.hours = 1.1
    await here.record(attempt())
    assert await shown(sqlite_tables, clock) == [Refusal(attempt(), at(0), at(1.1), 3)]


async def test_each_externalid_of_an_account_has_a_row_of_its_own_as_it_is_written(
    sqlite_tables: SqliteTables, clock: Clock
) -> None:
    here = Refusals(sqlite_tables, KEYS, clock)
    for external_id in ("", "kim", "KIM", "\u212aim", "x" * 300):
        await here.record(attempt(external_id=external_id))
    found = {refusal.attempt.external_id for refusal in await shown(sqlite_tables, clock)}
    assert found == {"", "kim", "KIM", "\u212aim", "x" * 256}


async def test_an_account_has_so_many_rows_and_the_oldest_makes_room(tables: Tables, clock: Clock) -> None:
    here = Refusals(tables, KEYS, clock)
    await here.record(attempt(BEA))
    for number in range(ROWS + 4):
        clock.hours = number / 60
        await here.record(attempt(external_id=str(number)))
    found = [refusal.attempt for refusal in await shown(tables, clock)]
    assert {one.external_id for one in found if one.account == ANN} == {str(n) for n in range(4, ROWS + 4)}
    assert [one.account for one in found].count(BEA) == 1


async def test_many_at_once_by_two_processes_leave_no_more_rows(sqlite_tables: SqliteTables, clock: Clock) -> None:
    both = [Refusals(sqlite_tables, KEYS, clock) for _ in range(2)]
    for number in range(ROWS - 1):
        await both[0].record(attempt(external_id=f"before {number}"))
    await asyncio.gather(*(both[n % 2].record(attempt(external_id=str(n))) for n in range(60)))
    assert len(await shown(sqlite_tables, clock)) == ROWS


async def test_of_two_processes_that_make_room_one_sees_the_others_row(
    sqlite_tables: SqliteTables, clock: Clock
) -> None:
    others, held = Refusals(sqlite_tables, KEYS, clock), FaultyTables(sqlite_tables)
    for number in range(ROWS - 1):
        await others.record(attempt(external_id=str(number)))
    clock.hours = 0.5

    async def another_writes(call: Call) -> None:
        if call.verb == "commit":
            held.before = None
            await others.record(attempt(external_id="another"))

    held.before = another_writes
    await Refusals(held, KEYS, clock).record(attempt(external_id="mine"))
    found = {refusal.attempt.external_id for refusal in await shown(sqlite_tables, clock)}
    assert len(found) == ROWS
    assert {"mine", "another"} < found


async def test_pages_follow_one_another(sqlite_tables: SqliteTables, clock: Clock) -> None:
    here = Refusals(sqlite_tables, KEYS, clock)
    for account in (ANN, BEA):
        for number in range(5):
            await here.record(attempt(account, str(number)))
    found, cursor = list[Refusal](), ""
    while True:
        page, more = await here.page(cursor, 3)
        assert len(page) <= 3
        found += page
        if more is None:
            break
        cursor = more
    assert len({refusal.attempt for refusal in found}) == len(found) == 10


@given(cursor=st.text(min_size=1) | st.from_regex(buckets.ACCOUNT_CURSOR, fullmatch=True))
async def test_any_text_is_a_cursor_or_refused(sqlite_tables: SqliteTables, cursor: str) -> None:
    try:
        await Refusals(sqlite_tables, KEYS).page(cursor, 1)
    except InvalidCursor:
        return
    assert buckets.ACCOUNT_CURSOR.fullmatch(cursor)
    assert int(cursor[:2], 16) < KEYS.buckets


async def test_after_its_term_a_row_is_shown_no_more_and_the_sweep_removes_it(
    sqlite_tables: SqliteTables, clock: Clock
) -> None:
    here = Refusals(sqlite_tables, KEYS, clock)
    await here.record(attempt(external_id="old"))
    clock.hours = 24
    await here.record(attempt(external_id="new"))
    clock.hours = 24 * DAYS
    assert len(await shown(sqlite_tables, clock)) == 2
    assert await here.sweep() == 0
    clock.hours += 1
    assert [refusal.attempt.external_id for refusal in await shown(sqlite_tables, clock)] == ["new"]
    assert await here.sweep() == 1
    assert await here.sweep() == 0


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.THROTTLED])
async def test_trouble_with_the_storage_is_logged_without_a_persons_data(
    sqlite_tables: SqliteTables, clock: Clock, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    def struck(number: int, call: Call) -> Fault:
        return fault

    with caplog.at_level(logging.WARNING):
        await Refusals(FaultyTables(sqlite_tables, struck), KEYS, clock).record(attempt(external_id="kim@contoso.com"))
    assert len(caplog.messages) == 1
    assert "kim" not in caplog.text
    assert ANN not in caplog.text
    assert await shown(sqlite_tables, clock) == []


async def test_nobody_waits_for_a_storage_that_does_not_answer(
    sqlite_tables: SqliteTables, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "SECONDS", 0.01)

    def slow(number: int, call: Call) -> Fault:
        return Fault.SLOW

    await Refusals(FaultyTables(sqlite_tables, slow, latency=PATIENCE), KEYS, clock).record(attempt())


async def test_a_process_counts_a_bounded_number_of_rows(
    sqlite_tables: SqliteTables, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "COUNTED", 3)
    here = Refusals(sqlite_tables, KEYS, clock)
    for number in range(5):
        await here.record(attempt(external_id=str(number)))
    assert len(here._counted) == 3
