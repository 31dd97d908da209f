"""No stage is forgotten: it goes when its job ends, or the sweep finds that nothing needs it any more."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, random_faults, script
from shared.directory.keys import Keys
from shared.directory.text import timestamp
from shared.directory.work.jobs import Jobs, State
from shared.directory.work.stages import Stages, is_older
from shared.directory.work.staging import Stage
from shared.tables.port import Operation, Tables
from shared.tables.sqlite import SqliteTables

KEYS = Keys("d", b"secret", 4)
NOW = "2026-03-01T12:00:00.000Z"
HOUR_AGO, TWO_DAYS_AGO = "2026-03-01T11:00:00.000Z", "2026-02-27T12:00:00.000Z"
MONTH_AGO, LONG_AGO = "2026-01-29T12:30:00.000Z", "2026-01-29T11:30:00.000Z"


async def stage(tables: Tables, job_id: str, *names: str, since: str = NOW, days: int = 0) -> None:
    """Announce stages and fill them."""
    await Stages(tables, KEYS, lambda: since).announce(job_id, names or [job_id], days=days)
    for name in names or [job_id]:
        writer = Stage(tables, KEYS, name).writer()
        for bucket in range(4):
            await writer.add(bucket, name)
        await writer.close()


async def is_there(tables: Tables, name: str) -> bool:
    found = [[items async for items in Stage(tables, KEYS, name).read(bucket)] for bucket in range(4)]
    return any(found)


async def sweep(tables: Tables) -> int:
    return await Stages(tables, KEYS, lambda: NOW).sweep()


async def start(tables: Tables, job_id: str, *, ended: str = "", **options: object) -> None:
    jobs = Jobs(tables, KEYS, lambda: ended or NOW)
    await jobs.start(job_id.rstrip("0123456789"), "test", job_id, options)
    if ended:
        await jobs.change(job_id, lambda job: replace(job, state=State.FAILED))


async def test_clearing_a_job_clears_all_its_stages_and_no_other_jobs(tables: Tables) -> None:
    await stage(tables, "run1", "run1keys", "run1pairs")
    await stage(tables, "run11")
    await Stages(tables, KEYS).clear("run1")
    await Stages(tables, KEYS).clear("run1")
    there = [await is_there(tables, name) for name in ("run1keys", "run1pairs", "run11")]
    assert there == [False, False, True]


async def test_a_job_and_the_sweep_may_clear_the_same_stages_and_what_is_kept_stays(tables: Tables) -> None:
    await stage(tables, "run1", "run1keys", "run1pairs", since=TWO_DAYS_AGO)
    await stage(tables, "run1", "run1seen", since=TWO_DAYS_AGO, days=30)
    await asyncio.gather(Stages(tables, KEYS).clear("run1"), sweep(tables), sweep(tables))
    there = [await is_there(tables, name) for name in ("run1keys", "run1pairs", "run1seen")]
    assert there == [False, False, True]


@pytest.mark.parametrize(("since", "swept"), [(HOUR_AGO, 0), (TWO_DAYS_AGO, 1)])
async def test_what_a_dead_request_staged_goes_once_it_cannot_be_under_way_any_more(
    sqlite_tables: SqliteTables, since: str, swept: int
) -> None:
    await stage(sqlite_tables, "import1", since=since)
    assert await sweep(sqlite_tables) == swept
    assert await is_there(sqlite_tables, "import1") is not bool(swept)
    assert await sweep(sqlite_tables) == 0


@pytest.mark.parametrize(("ended", "swept"), [("", 0), (HOUR_AGO, 0), (TWO_DAYS_AGO, 2)])
async def test_what_a_dead_orchestration_left_goes_after_its_job(
    sqlite_tables: SqliteTables, ended: str, swept: int
) -> None:
    await stage(sqlite_tables, "run1", "run1keys", "run1pairs", since=LONG_AGO)
    await start(sqlite_tables, "run1", ended=ended)
    assert await sweep(sqlite_tables) == swept
    assert await is_there(sqlite_tables, "run1keys") is not bool(swept)


@pytest.mark.parametrize(("uploaded", "swept"), [(TWO_DAYS_AGO, 0), (MONTH_AGO, 0), (LONG_AGO, 1)])
async def test_an_upload_is_kept_for_its_days_and_one_to_spare(
    sqlite_tables: SqliteTables, uploaded: str, swept: int
) -> None:
    await stage(sqlite_tables, "identities1", since=uploaded, days=30)
    await Jobs(sqlite_tables, KEYS, lambda: uploaded).record("identities", "test", "identities1", {})
    await start(sqlite_tables, "run1", ended=TWO_DAYS_AGO, identities="identities1")
    assert await sweep(sqlite_tables) == swept
    assert await is_there(sqlite_tables, "identities1") is not bool(swept)


@pytest.mark.parametrize(("ended", "swept"), [(HOUR_AGO, 0), (TWO_DAYS_AGO, 2)])
async def test_what_an_activity_stages_behind_the_end_of_its_job_is_swept(
    sqlite_tables: SqliteTables, ended: str, swept: int
) -> None:
    await stage(sqlite_tables, "run1", "run1keys", since=LONG_AGO)
    await stage(sqlite_tables, "run1", "run1seen", since=LONG_AGO, days=30)
    await start(sqlite_tables, "run1", ended=ended)
    late = [Stage(sqlite_tables, KEYS, name).writer("1") for name in ("run1keys", "run1seen")]
    for writer in late:
        await writer.add(0, ["somebody"])
    await Stages(sqlite_tables, KEYS).clear("run1", ["run1seen"])
    assert [await is_there(sqlite_tables, name) for name in ("run1keys", "run1seen")] == [False, False]
    for writer in late:
        await writer.close()
    assert await sweep(sqlite_tables) == swept
    assert await is_there(sqlite_tables, "run1keys") is await is_there(sqlite_tables, "run1seen") is not bool(swept)
    assert await sweep(sqlite_tables) == 0


async def test_a_stage_that_is_announced_again_while_it_is_swept_is_not_forgotten(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage(sqlite_tables, "import1", since=LONG_AGO)
    commit, again = sqlite_tables.commit, iter([True])

    async def late(partition: str, operations: Sequence[Operation]) -> list[str]:
        if partition == KEYS.jobs() and next(again, False):
            await stage(sqlite_tables, "import1")
        return await commit(partition, operations)

    monkeypatch.setattr(sqlite_tables, "commit", late)
    await sweep(sqlite_tables)
    monkeypatch.undo()
    assert await is_there(sqlite_tables, "import1")
    assert await Stages(sqlite_tables, KEYS, lambda: "2026-03-04T12:00:00.000Z").sweep() == 1
    assert not await is_there(sqlite_tables, "import1")


async def test_an_upload_stays_while_a_run_under_way_names_it(sqlite_tables: SqliteTables) -> None:
    await stage(sqlite_tables, "identities1", since=LONG_AGO, days=30)
    await Jobs(sqlite_tables, KEYS, lambda: LONG_AGO).record("identities", "test", "identities1", {})
    await start(sqlite_tables, "run1", identities="identities1")
    assert await sweep(sqlite_tables) == 0
    assert await is_there(sqlite_tables, "identities1")


async def test_after_a_crash_at_any_call_the_next_sweep_clears_all(sqlite_tables: SqliteTables) -> None:
    for number in itertools.count(2):
        fault = Fault.CRASH_AFTER if number % 2 else Fault.CRASH_BEFORE
        await stage(sqlite_tables, "import1", since=LONG_AGO)
        faulty = FaultyTables(sqlite_tables, script({number // 2: fault}))
        with suppress(Crash):
            await sweep(faulty)
        await sweep(sqlite_tables)
        assert not await is_there(sqlite_tables, "import1")
        if not faulty.crashed:
            assert number > 8
            break


async def test_short_and_empty_pages_hide_no_stage(sqlite_tables: SqliteTables) -> None:
    for number in range(30):
        await stage(sqlite_tables, f"import{number}", since=LONG_AGO)
    faults = random_faults(4, 0.6, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE])
    assert await sweep(FaultyTables(sqlite_tables, faults)) == 30
    assert await sweep(sqlite_tables) == 0


def test_the_timestamps_of_the_directory_have_an_age() -> None:
    now = timestamp()
    assert not is_older(now, 0, now)
    assert is_older(TWO_DAYS_AGO, 1, NOW)


async def test_the_parts_of_an_upload_stay_while_a_run_under_way_names_them(sqlite_tables: SqliteTables) -> None:
    for name in ("identities1", "identities2", "identities3"):
        await stage(sqlite_tables, name, since=LONG_AGO, days=30)
        await Jobs(sqlite_tables, KEYS, lambda: LONG_AGO).record("identities", "test", name, {})
    await start(sqlite_tables, "run1", identities="identities2", parts=["identities1", "identities2"])
    assert await sweep(sqlite_tables) == 1
    assert [await is_there(sqlite_tables, f"identities{n}") for n in (1, 2, 3)] == [True, True, False]
