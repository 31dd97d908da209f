"""Reviews of rows: what two at once come to."""

from __future__ import annotations

import pytest

from infra.local.faults import Call, FaultyTables
from shared.directory.directory import Directory
from shared.directory.errors import Busy
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import LINK, Review
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import pause, reopened, small

RUN = "run1"


async def record(directory: Directory, row: PlanRow) -> None:
    async def planned() -> None: ...

    await directory.reviews(RUN, planned).record([(row, Review(LINK, "somebody", "now", row.subject))])


@pytest.mark.parametrize("reviewed", [0, 1])
async def test_two_reviews_at_once_count_as_two(sqlite_tables: SqliteTables, reviewed: int) -> None:
    """Whether somebody reviewed a row of the bucket before, and so made its tally, or not."""
    slow = FaultyTables(sqlite_tables)
    b = await small(sqlite_tables, buckets=1)
    await b.plan(RUN).write(0, [PlanRow("review", name, {}) for name in ("ann", "bea", "cleo")])
    rows, _ = await b.plan(RUN).page("review", "", 3)
    for row in rows[2 : 2 + reviewed]:
        await record(b, row)
    a = await reopened(slow)
    slow.reset()

    def commits(call: Call) -> bool:
        return call.verb == "commit"

    reached = pause(slow, commits, lambda: record(b, rows[1]))
    await record(a, rows[0])
    assert reached

    async def planned() -> None: ...

    total = await b.reviews(RUN, planned).total()
    assert (total["review.links"], total["review.link"]) == (2 + reviewed, 2 + reviewed)


async def test_reviews_that_are_too_large_for_one_transaction_are_all_stored(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=1)
    reasons = {"reason": "漢" * 30_000}
    plan = directory.plan(RUN)
    await plan.write(0, [PlanRow("review", f"{number:02}", reasons) for number in range(48)])
    rows, _ = await plan.page("review", "", 48)

    async def planned() -> None: ...

    reviews = directory.reviews(RUN, planned)
    await reviews.record([(row, Review(LINK, "somebody", "now", row.subject)) for row in rows])
    found = [row and row.review for row in await reviews.find_rows([row.id for row in rows])]
    assert [review and review["account"] for review in found] == [row.subject for row in rows]
    total = await reviews.total()
    assert (total["review.links"], total["review.link"]) == (48, 48)


@pytest.mark.parametrize("gone", [0, 1, 2])
async def test_a_refusal_says_whether_some_of_the_reviews_are_stored(sqlite_tables: SqliteTables, gone: int) -> None:
    """Reviews of several buckets are stored side by side, and one of them may be refused."""
    directory = await small(sqlite_tables, buckets=2)
    plan = directory.plan(RUN)
    for bucket in range(2):
        await plan.write(bucket, [PlanRow("review", str(bucket), {})])
    rows, _ = await plan.page("review", "", 2)
    for row in rows[:gone]:
        await plan.remove(int(row.id[:2], 16), [row.id[2:]])

    async def planned() -> None: ...

    reviews = directory.reviews(RUN, planned)
    half_done = None
    try:
        await reviews.record([(row, Review(LINK, "somebody", "now", row.subject)) for row in rows])
    except Busy as refusal:
        half_done = refusal.half_done
    assert half_done is (None, True, False)[gone]
    assert (await reviews.total())["review.link"] == 2 - gone
