"""The fault-injecting wrapper does what its faults say, and counts."""

from __future__ import annotations

import asyncio

import pytest

from infra.local.faults import Call, Crash, Fault, FaultyTables, random_faults, script
from shared.tables.port import Insert, TablesError, Throttled, Unavailable, Upsert
from shared.tables.sqlite import SqliteTables


async def test_without_faults_it_is_the_table_inside(sqlite_tables: SqliteTables) -> None:
    tables = FaultyTables(sqlite_tables)
    etags = await tables.commit("p", [Insert(key, {"n": 1}) for key in "abc"])
    row = await tables.get("p", "b", select=["n"])
    assert row is not None
    assert row.etag == etags[1]
    page = await tables.query("p", "a", "c", top=1)
    rest = await tables.query("p", "a", "c", top=1, continuation=page.continuation)
    assert [found.key for found in (*page.rows, *rest.rows)] == ["a", "b"]
    assert rest.continuation is None


@pytest.mark.parametrize(
    ("fault", "error", "applied"),
    [
        (Fault.THROTTLED, Throttled, False),
        (Fault.UNAVAILABLE, Unavailable, False),
        (Fault.LOST, Unavailable, True),
        (Fault.CRASH_BEFORE, Crash, False),
        (Fault.CRASH_AFTER, Crash, True),
    ],
)
async def test_a_fault_strikes_the_call_it_is_written_for(
    sqlite_tables: SqliteTables, fault: Fault, error: type[BaseException], applied: bool
) -> None:
    tables = FaultyTables(sqlite_tables, script({2: fault}))
    await tables.commit("p", [Insert("first", {})])
    with pytest.raises(error):
        await tables.commit("p", [Insert("second", {})])
    assert (await sqlite_tables.get("p", "second") is not None) == applied


async def test_after_a_crash_every_call_crashes_until_it_is_wrapped_anew(sqlite_tables: SqliteTables) -> None:
    tables = FaultyTables(sqlite_tables, script({1: Fault.CRASH_BEFORE}))
    outcomes = await asyncio.gather(
        *(tables.commit("p", [Insert(key, {})]) for key in "abc"), tables.get("p", "a"), return_exceptions=True
    )
    assert [type(outcome) for outcome in outcomes] == [Crash] * 4
    assert (await sqlite_tables.query("p")).rows == []
    await FaultyTables(sqlite_tables).commit("p", [Insert("a", {})])


@pytest.mark.parametrize(
    ("faults", "sizes"),
    [
        ({1: Fault.EMPTY_PAGE}, [0, 4, 2]),
        ({2: Fault.EMPTY_PAGE, 3: Fault.EMPTY_PAGE}, [4, 0, 0, 2]),
        ({1: Fault.SHORT_PAGE, 2: Fault.SHORT_PAGE}, [2, 2, 2]),
    ],
)
async def test_short_and_empty_pages_lose_no_row(
    sqlite_tables: SqliteTables, faults: dict[int, Fault], sizes: list[int]
) -> None:
    await sqlite_tables.commit("p", [Insert(key, {}) for key in "abcdef"])
    tables = FaultyTables(sqlite_tables, script(faults))
    page = await tables.query("p", top=4)
    pages = [page]
    while page.continuation is not None:
        page = await tables.query("p", top=4, continuation=page.continuation)
        pages.append(page)
    assert [len(page.rows) for page in pages] == sizes
    assert [row.key for page in pages for row in page.rows] == list("abcdef")


async def test_random_faults_are_the_same_for_the_same_seed(sqlite_tables: SqliteTables) -> None:
    async def outcomes(seed: int) -> list[str]:
        tables = FaultyTables(sqlite_tables, random_faults(seed, rate=0.5), latency=0)
        said = []
        for number in range(40):
            try:
                await tables.commit("p", [Upsert(f"{number}", {})])
                said.append("done")
            except TablesError as error:
                said.append(type(error).__name__)
        return said

    first = await outcomes(1)
    assert first == await outcomes(1)
    assert first != await outcomes(2)
    assert set(first) == {"done", "Throttled", "Unavailable"}


async def test_a_hook_holds_one_writer_while_another_one_runs(sqlite_tables: SqliteTables) -> None:
    held, resume = asyncio.Event(), asyncio.Event()
    seen: list[Call] = []

    async def hold(call: Call) -> None:
        seen.append(call)
        if call.keys == ("slow", "x"):
            held.set()
            await resume.wait()

    tables = FaultyTables(sqlite_tables)
    tables.before = hold
    slow = asyncio.create_task(tables.commit("p", [Insert("slow", {}), Upsert("x", {"by": "slow"})]))
    await held.wait()
    await tables.commit("p", [Upsert("x", {"by": "quick"})])
    resume.set()
    await slow
    row = await tables.get("p", "x")
    assert row is not None
    assert row.columns == {"by": "slow"}
    assert seen == [Call("commit", "p", ("slow", "x")), Call("commit", "p", ("x",)), Call("get", "p", ("x",))]


async def test_the_hook_after_a_call_sees_it_applied(sqlite_tables: SqliteTables) -> None:
    async def look(call: Call) -> None:
        assert await sqlite_tables.get(call.partition, call.keys[0]) is not None

    tables = FaultyTables(sqlite_tables)
    tables.after = look
    await tables.commit("p", [Insert("k", {})])
    assert tables.requests == 1


async def test_calls_are_counted_by_verb_and_by_the_longest_chain(sqlite_tables: SqliteTables) -> None:
    tables = FaultyTables(sqlite_tables)
    await tables.commit("p", [Insert(key, {}) for key in "abc"])

    async def read_twice(key: str) -> None:
        await tables.get("p", key)
        await tables.query("p", key)

    await asyncio.gather(*(read_twice(key) for key in "abc"))
    assert tables.counts == {"commit": 1, "get": 3, "query": 3}
    assert (tables.requests, tables.operations, tables.sequential) == (7, 3, 3)
    tables.reset()
    await asyncio.gather(*(tables.commit("p", [Upsert(key, {})]) for key in "abc"))
    assert (tables.requests, tables.sequential) == (3, 1)


async def test_a_slow_call_is_applied_late(sqlite_tables: SqliteTables) -> None:
    tables = FaultyTables(sqlite_tables, script({1: Fault.SLOW}), latency=0.05)
    late = asyncio.create_task(tables.commit("p", [Insert("k", {})]))
    await asyncio.sleep(0.01)
    assert await sqlite_tables.get("p", "k") is None
    await late
    assert await sqlite_tables.get("p", "k") is not None
