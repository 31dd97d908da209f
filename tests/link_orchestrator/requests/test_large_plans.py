"""Rows of a large plan by a condition: each once, in few round trips, however few meet it."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from infra.local.faults import FaultyTables
from link_orchestrator.requests import jobs
from link_orchestrator.requests.jobs import pages_of, select_rows
from link_orchestrator.requests.selection import Filter
from link_orchestrator.run import reviews_of
from shared.directory.directory import Directory
from shared.directory.work.plan import Plan, PlanRow
from shared.directory.work.reviews import Review
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import make_directory

BUCKETS = 16


async def planned(directory: Directory, rows: int) -> Plan:
    """Return a plan with this many links, of which each tenth is of IT."""
    plan = directory.plan("run1")
    for bucket in range(BUCKETS):
        here = (PlanRow("link", f"{n}", {"it": n % 10 == 0}) for n in range(bucket, rows, BUCKETS))
        await plan.write(bucket, [*here])
    return plan


def is_of_it(row: PlanRow) -> bool:
    return bool(row.shown["it"])


@pytest.mark.parametrize("count", [1, 3, 7, 100])
@pytest.mark.parametrize("read", [5, 64, 5_000])
async def test_every_row_that_meets_a_condition_is_on_one_page(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, count: int, read: int
) -> None:
    monkeypatch.setattr(jobs, "ROWS_READ", read)
    plan = await planned(await make_directory(sqlite_tables, buckets=BUCKETS), 400)
    found = list[str]()
    cursor: str | None = ""
    while cursor is not None:
        rows, cursor = await select_rows(plan.pages, "link", cursor, count, is_of_it)
        assert len(rows) <= count
        found += [row.subject for row in rows]
    assert sorted(found) == sorted(str(n) for n in range(0, 400, 10))


async def test_a_page_of_few_among_many_takes_few_round_trips(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await make_directory(counting, buckets=BUCKETS)
    plan = await planned(directory, 4_000)
    for condition, most in ((is_of_it, 5), (lambda row: True, 1), (lambda row: False, 10)):
        counting.reset()
        rows, cursor = await select_rows(plan.pages, "link", "", 50, condition)
        assert counting.sequential <= most
        assert len(rows) == 50 or cursor is None


async def test_a_page_behind_the_last_rows_of_a_bucket_reads_no_more_buckets_than_it_needs(
    sqlite_tables: SqliteTables,
) -> None:
    """How few rows were left of a bucket that the page before had begun says nothing of the next ones."""
    counting = FaultyTables(sqlite_tables)
    plan = await planned(await make_directory(counting, buckets=BUCKETS), 4_000)
    _, cursor = await plan.page("link", "", 4_000 // BUCKETS - 3)
    counting.reset()
    rows, _ = await plan.page("link", cursor or "", 50)
    assert (len(rows), counting.requests) == (50, 2), "the three rows that are left, and the next bucket"
    counting.reset()
    async with aclosing(plan.pages("link", "", [10, 4_000 // BUCKETS + 10])) as pages:
        assert [len(rows) async for rows, _ in pages] == [10, 4_000 // BUCKETS + 10]
    assert counting.requests == 3, "nor does how many of it the first page was to have"


async def test_the_few_reviewed_rows_among_many_are_found_without_reading_the_others(
    sqlite_tables: SqliteTables,
) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await make_directory(counting, buckets=BUCKETS)
    plan, reviews = await planned(directory, 4_000), reviews_of(directory, "run1")
    rows, _ = await plan.page("link", "", 4_000)
    chosen, taken_back = [rows[100], rows[2_000], rows[3_900]], rows[3_000]
    await reviews.record([(row, Review("exclude", "a", "t")) for row in chosen])
    await reviews.record([(taken_back, Review("exclude", "a", "t"))])
    await reviews.record([(taken_back, Review("leave", "a", "t"))])
    wanted = Filter(reviewed=True)
    for brief in (False, True):
        found = list[PlanRow]()
        cursor: str | None = ""
        while cursor is not None:
            counting.reset()
            pages = pages_of(directory, "run1", wanted, brief=brief)
            page, cursor = await select_rows(pages, "link", cursor, 2, wanted.selects_among("link"))
            assert counting.requests < 3 * BUCKETS
            found += page
        assert [row.id for row in found] == [row.id for row in chosen], "who was left as planned is not reviewed"
        assert {bool(row.shown) for row in found} == {not brief}


async def test_the_few_rows_of_a_decision_are_read_from_many_buckets_at_once(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    plan = await planned(await make_directory(counting, buckets=BUCKETS), 3)
    counting.reset()
    rows, cursor = await plan.page("link", "", 50)
    assert (len(rows), cursor) == (3, None)
    assert (counting.sequential, counting.requests) == (2, BUCKETS), "one, then the others"
