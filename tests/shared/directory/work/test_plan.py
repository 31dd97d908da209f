"""A plan's rows: none lost and none twice, whatever pages the store gives, and only those that were asked for."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from infra.local.faults import Fault, FaultyTables, random_faults
from shared.directory.errors import InvalidCursor
from shared.directory.keys import Keys
from shared.directory.work.plan import Plan, PlanRow
from shared.tables.port import Page, Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import reopened, small

KEYS = Keys("d", b"secret", 8)
DECISIONS = ("alreadyLinked", "link", "noAccount", "review")


def row(decision: str, n: int) -> PlanRow:
    return PlanRow(decision, f"{decision}-{n}", {"n": n, "reason": "grün"}, version=f"v{n}")


async def filled(tables: Tables, rows: int = 60, job: str = "run1") -> Plan:
    """A plan with some rows of each decision, in all buckets but one."""
    plan = Plan(tables, KEYS, job)
    for bucket in (0, 1, 2, 4, 5, 6, 7):
        here = [row(decision, n) for n in range(bucket, rows, 8) for decision in DECISIONS]
        await plan.write(bucket, here)
    return plan


async def all_pages(plan: Plan, decision: str, count: int) -> list[PlanRow]:
    rows: list[PlanRow] = []
    cursor: str | None = ""
    while cursor is not None:
        some, cursor = await plan.page(decision, cursor, count)
        assert len(some) <= count
        assert len(some) == count or cursor is None
        rows += some
    return rows


def subjects(rows: list[PlanRow]) -> list[str]:
    return sorted(row.subject for row in rows)


@pytest.mark.parametrize("count", [1, 7, 52, 1000])
@pytest.mark.parametrize("decision", ["", *DECISIONS])
async def test_pages_hold_every_row_once(sqlite_tables: SqliteTables, decision: str, count: int) -> None:
    plan = await filled(sqlite_tables)
    expected = [f"{d}-{n}" for d in DECISIONS if decision in ("", d) for n in range(60) if n % 8 != 3]
    assert subjects(await all_pages(plan, decision, count)) == sorted(expected)


@pytest.mark.parametrize("seed", range(5))
async def test_short_and_empty_pages_lose_no_row(sqlite_tables: SqliteTables, seed: int) -> None:
    plain = await filled(sqlite_tables)
    faults = random_faults(seed, 0.7, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE])
    paged = Plan(FaultyTables(sqlite_tables, faults), KEYS, "run1")
    assert await all_pages(paged, "link", 10) == await all_pages(plain, "link", 10)
    assert await all_pages(paged, "", 10) == await all_pages(plain, "", 10)
    decided = [row async for rows in paged.decided(2, "review") for row in rows]
    assert subjects(decided) == subjects([row("review", n) for n in range(2, 60, 8)])


async def test_an_empty_page_that_comes_again_from_the_start_is_left_by_its_continuation(
    sqlite_tables: SqliteTables,
) -> None:
    """Table Storage may answer no row and a continuation, and the same again to the same question."""

    class Stubborn(FaultyTables):
        async def query(self, *args: str, continuation: str | None = None, **more: object) -> Page:  # type: ignore[override]
            if continuation is None:
                return Page((), "go on")
            inner = None if continuation == "go on" else continuation
            return await self.inner.query(*args, continuation=inner, **more)  # type: ignore[arg-type]

    await filled(sqlite_tables)
    plan = Plan(Stubborn(sqlite_tables), KEYS, "run1")
    assert len(await all_pages(plan, "link", 10)) == 52


async def test_plans_of_other_jobs_are_apart(tables: Tables) -> None:
    one = await filled(tables, 8)
    other = await filled(tables, 16, "run11")
    assert len(await all_pages(one, "link", 5)) == 7
    assert len(await all_pages(other, "link", 5)) == 14


async def test_the_same_rows_again_change_nothing(sqlite_tables: SqliteTables) -> None:
    plan = await filled(sqlite_tables)
    before = await all_pages(plan, "", 100)
    await filled(sqlite_tables)
    assert await all_pages(plan, "", 100) == before


async def test_an_outcome_is_shown_with_its_row_and_nothing_else_changes(tables: Tables) -> None:
    plan = await filled(tables, 8)
    [before] = [row async for rows in plan.decided(4, "link") for row in rows]
    await plan.record_outcomes(4, {before.subject: "linked", "another": "x"}, [before])
    await plan.record_outcomes(4, {before.subject: "linked"}, [before])
    [after] = [row async for rows in plan.decided(4, "link") for row in rows]
    assert (after.outcome, after.version, after.shown) == ("linked", before.version, before.shown)
    assert after.to_json() == {**before.to_json(), "outcome": "linked"}


async def test_what_was_written_into_a_row_since_it_was_read_stays_when_it_is_settled(
    sqlite_tables: SqliteTables,
) -> None:
    plan = await filled(sqlite_tables, 8)
    [before] = [row async for rows in plan.decided(4, "link") for row in rows]
    await plan.write(4, [replace(before, review={"action": "leave"})])
    await plan.record_outcomes(4, {before.subject: "linked"}, [before])
    [after] = [row async for rows in plan.decided(4, "link") for row in rows]
    assert (after.outcome, after.review) == ("linked", {"action": "leave"})


async def test_more_rows_than_a_transaction_holds_are_written_and_settled(sqlite_tables: SqliteTables) -> None:
    plan = Plan(sqlite_tables, KEYS, "run1")
    rows = [row("link", n) for n in range(250)]
    await plan.write(0, rows)
    await plan.record_outcomes(0, {r.subject: "linked" for r in rows}, rows)
    assert {r.outcome for r in await all_pages(plan, "link", 100)} == {"linked"}


async def test_a_row_with_much_evidence_comes_back(sqlite_tables: SqliteTables) -> None:
    plan = Plan(sqlite_tables, KEYS, "run1")
    large = PlanRow("ambiguous", "a subject / with # any ? characters \\", {"others": ["ü" * 36] * 3_000})
    await plan.write(0, [large])
    assert await all_pages(plan, "ambiguous", 10) == [large]


async def test_a_cursor_of_another_decision_shows_no_row_of_it(sqlite_tables: SqliteTables) -> None:
    plan = await filled(sqlite_tables)
    for decision in DECISIONS:
        _, cursor = await plan.page(decision, "", 3)
        for other in DECISIONS:
            rows, _ = await plan.page(other, cursor or "", 100)
            assert {r.decision for r in rows} <= {other}


@pytest.mark.parametrize(
    "cursor",
    ["0", "zz", "08link_" + "0" * 32, "00", "00link_" + "0" * 33, "00" + "a" * 600, "00/..", "00link_\x00", "éé"],
)
async def test_a_cursor_that_was_never_given_out_is_refused(sqlite_tables: SqliteTables, cursor: str) -> None:
    plan = await filled(sqlite_tables, 8)
    with pytest.raises(InvalidCursor, match="former page"):
        await plan.page("link", cursor, 10)


async def test_what_is_left_open_is_found_by_many_who_look_at_once(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables)
    process = await reopened(FaultyTables(sqlite_tables))
    for run in ("run1", "run2"):
        await directory.jobs.note_planned([run])
        await directory.plan(run).leave_open({f"person of {run}": "review"})
        found = await asyncio.gather(*(process.left_open.find(f"person of {run}") for _ in range(4)))
        assert found == [(run, "review")] * 4
    assert await process.left_open.find("person of run1") is None
