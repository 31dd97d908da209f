"""Staged items come back whole from their bucket, with little held in memory, also when a slice runs twice."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, random_faults, script
from shared.directory.keys import Keys
from shared.directory.work import staging
from shared.directory.work.staging import Stage
from shared.tables import access
from shared.tables.port import Operation, Tables
from shared.tables.sqlite import SqliteTables

KEYS = Keys("d", b"secret", 4)


async def staged(stage: Stage, bucket: int) -> list[Any]:
    return [item async for items in stage.read(bucket) for item in items]


async def fill(stage: Stage, slice_name: str = "0", items: int = 100) -> None:
    writer = stage.writer(slice_name)
    for n in range(items):
        await writer.add(n % 4, [slice_name, n, "ü𝄞"])
    await writer.close()


async def test_items_come_back_from_the_bucket_they_were_added_to(tables: Tables) -> None:
    stage = Stage(tables, KEYS, "run1")
    await fill(stage)
    for bucket in range(4):
        assert await staged(stage, bucket) == [["0", n, "ü𝄞"] for n in range(bucket, 100, 4)]
    assert await staged(Stage(tables, KEYS, "run11"), 0) == []


async def test_an_attempt_takes_no_item_of_another_away(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Accounts grew between two attempts at a slice, and the second packs fewer items into its first row, then dies."""
    monkeypatch.setattr(staging, "ROW_CHARS", 100)
    stage = Stage(sqlite_tables, KEYS, "run1")
    await fill(stage)
    faulty = FaultyTables(sqlite_tables, script({2: Fault.CRASH_BEFORE}))
    writer = Stage(faulty, KEYS, "run1").writer("0")
    with suppress(Crash):
        for n in range(0, 100, 4):
            await writer.add(0, ["0", n, "grown " * 5])
    assert faulty.crashed
    assert {item[1] for item in await staged(stage, 0)} == set(range(0, 100, 4))


async def test_after_a_crash_at_any_call_a_slice_that_runs_again_leaves_every_item(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_CHARS", 100)
    monkeypatch.setattr(staging, "HELD_CHARS", 700)
    for number in itertools.count(1):
        stage = Stage(sqlite_tables, KEYS, f"run{number}")
        faulty = FaultyTables(sqlite_tables, script({number: Fault.CRASH_AFTER}))
        with suppress(Crash):
            await fill(Stage(faulty, KEYS, f"run{number}"))
        await fill(stage)
        for bucket in range(4):
            assert {item[1] for item in await staged(stage, bucket)} == set(range(bucket, 100, 4))
        if not faulty.crashed:
            assert number > 10
            break


async def test_a_writer_holds_no_more_than_its_bound(sqlite_tables: SqliteTables) -> None:
    stage = Stage(sqlite_tables, KEYS, "run1")
    writer = stage.writer()
    most = 0
    for n in range(3_000):
        await writer.add(n % 4, "x" * 10_000)
        held = sum(len(text) for texts in writer._items.values() for text in texts)
        most = max(most, held)
        assert held == writer._held
    await writer.close()
    assert writer._held == 0
    assert most <= 4 * staging.ROW_CHARS
    assert len(await staged(stage, 1)) == 750


async def test_a_writer_to_many_buckets_writes_out_what_it_holds(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "HELD_CHARS", 50_000)
    keys = Keys("d", b"", 64)
    stage = Stage(sqlite_tables, keys, "run1")
    writer = stage.writer()
    for n in range(2_000):
        await writer.add(n % 64, "x" * 1_000)
        assert writer._held <= 51_002
    await writer.close()
    assert sum([len(await staged(stage, bucket)) for bucket in range(64)]) == 2_000


@pytest.mark.parametrize("text", ["x" * 200_000, "ü" * 150_000, "𝄞" * 60_000])
async def test_a_large_item_comes_back(tables: Tables, text: str) -> None:
    stage = Stage(tables, KEYS, "run1")
    writer = stage.writer()
    for item in (text, text, "small"):
        await writer.add(0, item)
    await writer.close()
    assert [item async for items in stage.read(0) for item in items] == [text, text, "small"]
    assert all([items async for items in stage.read(0)])


async def test_the_rows_of_neighbouring_buckets_are_one_transaction_and_one_page(sqlite_tables: SqliteTables) -> None:
    tables = FaultyTables(sqlite_tables)
    stage = Stage(tables, Keys("d", b"", 20), "run1")
    writer = stage.writer()
    for n in range(200):
        await writer.add(n % 20, n)
    await writer.close()
    assert (tables.requests, tables.operations) == (3, 20)
    tables.reset()
    found = {bucket: items async for bucket, items in stage.read_many(6, 17)}
    assert found == {bucket: list(range(bucket, 200, 20)) for bucket in range(6, 17)}
    assert tables.requests == 3
    tables.reset()
    await stage.clear()
    assert tables.requests == 6


async def test_full_rows_fit_a_transaction_and_what_is_too_large_goes_alone(sqlite_tables: SqliteTables) -> None:
    """Of characters that are a pair of units each, which take most room; a larger item still fits a row."""
    stage = Stage(sqlite_tables, Keys("d", b"", 8), "run1")
    full, larger = "𝄞" * (staging.ROW_CHARS - 2), "𝄞" * 150_000
    writer = stage.writer()
    for bucket in range(8):
        await writer.add(bucket, larger if bucket == 3 else full)
    await writer.add(3, full)
    await writer.close()
    assert [await staged(stage, bucket) for bucket in (0, 3, 7)] == [[full], [larger, full], [full]]


async def test_short_and_empty_pages_hide_no_item_and_leave_none_behind(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_CHARS", 40)
    faults = random_faults(5, 0.6, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE])
    stage = Stage(FaultyTables(sqlite_tables, faults), KEYS, "run1")
    await fill(stage)
    assert len(await staged(stage, 3)) == 25
    other = Stage(sqlite_tables, KEYS, "run2")
    await fill(other)
    await stage.clear()
    plain = Stage(sqlite_tables, KEYS, "run1")
    assert [await staged(plain, bucket) for bucket in range(4)] == [[]] * 4
    assert len(await staged(other, 0)) == 25
    await stage.clear()


async def test_who_clears_beside_another_that_dies_leaves_nothing(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_CHARS", 40)
    monkeypatch.setattr(access, "MAX_OPERATIONS", 10)
    stage = Stage(sqlite_tables, KEYS, "run1")
    await fill(stage)
    commit, others = sqlite_tables.commit, iter([True])

    async def late(partition: str, operations: Sequence[Operation]) -> list[str]:
        if next(others, False):
            await commit(partition, operations[:1])
        return await commit(partition, operations)

    monkeypatch.setattr(sqlite_tables, "commit", late)
    await stage.clear()
    assert [await staged(stage, bucket) for bucket in range(4)] == [[]] * 4


async def test_two_who_clear_a_stage_at_once_leave_nothing(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staging, "ROW_CHARS", 40)
    monkeypatch.setattr(access, "MAX_OPERATIONS", 10)
    kinds = [Fault.SHORT_PAGE, Fault.SLOW]
    for seed in range(0, 60, 2):
        stage = Stage(sqlite_tables, KEYS, f"run{seed}")
        await fill(stage)
        both = [FaultyTables(sqlite_tables, random_faults(seed + n, 0.5, kinds), latency=0.0005) for n in range(2)]
        await asyncio.gather(*(Stage(tables, KEYS, f"run{seed}").clear() for tables in both))
        assert [await staged(stage, bucket) for bucket in range(4)] == [[]] * 4


async def test_what_is_staged_is_json(sqlite_tables: SqliteTables) -> None:
    items: list[Any] = [None, True, 1.5, 'a\u2028"b', {"k": [1, {"x": None}]}, []]
    stage = Stage(sqlite_tables, KEYS, "run1")
    writer = stage.writer()
    for item in items:
        await writer.add(0, item)
    await writer.close()
    assert json.dumps(await staged(stage, 0)) == json.dumps(items)
