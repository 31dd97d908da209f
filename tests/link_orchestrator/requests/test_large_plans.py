"""Rows of a large plan by a condition: each once, in few round trips, however few meet it."""

from __future__ import annotations

import pytest

from infra.local.faults import FaultyTables
from link_orchestrator.requests import jobs
from link_orchestrator.requests.jobs import select_rows
from shared.directory.directory import Directory
from shared.directory.work.plan import Plan, PlanRow
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


async def test_the_few_rows_of_a_decision_are_read_from_many_buckets_at_once(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    plan = await planned(await make_directory(counting, buckets=BUCKETS), 3)
    counting.reset()
    rows, cursor = await plan.page("link", "", 50)
    assert (len(rows), cursor) == (3, None)
    assert (counting.sequential, counting.requests) == (2, BUCKETS), "one, then the others"
