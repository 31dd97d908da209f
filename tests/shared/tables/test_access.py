"""Ranges, deletions and many calls at once, as the directory uses them on top of the port."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from infra.local.faults import Fault, FaultyTables, random_faults
from shared.tables.access import AT_ONCE, clear, delete, in_waves, read_range, scan, scan_pages, write
from shared.tables.port import (
    ANY,
    MAX_OPERATIONS,
    Delete,
    Insert,
    LimitExceeded,
    Operation,
    Tables,
    TransactionTooLarge,
)
from shared.tables.sqlite import SqliteTables


def key(number: int) -> str:
    return f"k{number:04}"


async def fill(tables: Tables, rows: int) -> list[str]:
    keys = [key(number) for number in range(rows)]
    await write(tables, {"p": [Insert(key, {"n": 1}) for key in keys]})
    return keys


async def test_what_is_too_large_for_one_transaction_is_written_in_several(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    await write(counting, {"p": [Insert(key(number), {"text": "漢" * 20_000}) for number in range(100)]})
    assert len(await read_range(sqlite_tables, "p")) == 100  # several pages: each ends by its bytes
    assert counting.requests == 3  # one that was refused, and its halves


async def test_a_row_that_is_too_large_by_itself_is_refused(sqlite_tables: SqliteTables) -> None:
    rows = [Insert("small", {}), Insert("large", {f"c{n}": "x" * 30_000 for n in range(20)})]
    with pytest.raises(LimitExceeded, match="a row has at most"):
        await write(sqlite_tables, {"p": rows})
    assert (await sqlite_tables.query("p")).rows == []


async def test_a_row_that_the_service_itself_finds_too_large_is_sent_in_halves_no_longer() -> None:
    class Strict:
        async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
            raise TransactionTooLarge("RequestBodyTooLarge")

    with pytest.raises(TransactionTooLarge):
        await write(cast(Tables, Strict()), {"p": [Insert("j", {}), Insert("k", {})]})


@pytest.mark.parametrize("top", [1, 7, 30, 31, 1000])
async def test_a_scan_yields_the_first_rows_of_a_range_however_short_its_pages(
    sqlite_tables: SqliteTables, top: int
) -> None:
    await fill(sqlite_tables, 50)
    faulty = FaultyTables(sqlite_tables, random_faults(3, 0.6, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE]))
    found = [row.key async for row in scan(faulty, "p", key(10), key(40), top=top, page_rows=4)]
    assert found == [key(number) for number in range(10, min(40, 10 + top))]


async def test_a_scan_of_no_rows_asks_for_none(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    assert [row async for row in scan(counting, "p", top=0)] == []
    assert counting.requests == 0


async def test_the_last_page_of_a_scan_tells_whether_there_are_more_rows(sqlite_tables: SqliteTables) -> None:
    await fill(sqlite_tables, 6)
    for top, more in ((5, True), (6, False)):
        pages = [page async for page in scan_pages(sqlite_tables, "p", top=top, page_rows=3)]
        assert (pages[-1].continuation is not None) is more


async def test_a_long_scan_lets_other_tasks_run_between_its_pages(sqlite_tables: SqliteTables) -> None:
    await fill(sqlite_tables, 6)
    turns = list[str]()

    async def read() -> None:
        async for page in scan_pages(sqlite_tables, "p", page_rows=2):
            turns.append(page.rows[0].key)

    async def other() -> None:
        for _ in range(2):
            turns.append("other")
            await asyncio.sleep(0)

    await asyncio.gather(read(), other())
    assert turns == [key(0), "other", key(2), "other", key(4)]


async def test_rows_that_changed_or_are_gone_are_not_deleted_and_not_counted(tables: Tables) -> None:
    keys = await fill(tables, MAX_OPERATIONS + 5)
    gone = [Delete(key, ANY) for key in (*keys, "none")]
    assert await delete(tables, "p", [*gone[:3], Delete(keys[3], 'W/"another"'), *gone[4:]]) == len(keys) - 1
    assert [row.key async for row in scan(tables, "p")] == [keys[3]]


async def test_a_partition_is_cleared_to_its_last_row(tables: Tables) -> None:
    await fill(tables, 2 * MAX_OPERATIONS + 1)
    await clear(tables, "p")
    assert [row async for row in scan(tables, "p")] == []


async def test_waves_keep_the_order_and_no_call_is_made_after_one_that_failed() -> None:
    under_way = most = made = 0

    async def call(number: int, fails: bool) -> int:
        nonlocal under_way, most, made
        made += 1
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if fails:
            raise ValueError
        return number

    assert await in_waves(call(n, False) for n in range(3 * AT_ONCE)) == list(range(3 * AT_ONCE))
    assert most == AT_ONCE
    made = 0
    with pytest.raises(ValueError):  # noqa: PT011
        await in_waves(call(n, n == 1) for n in range(3 * AT_ONCE))
    assert made == AT_ONCE
