"""Which reviews a run keeps of the run whose place it took, row by row, and what comes of a crash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.messages import FORM, Milestone, Slice
from link_orchestrator.orchestrator import PLAN_PASSES
from link_orchestrator.run import REVIEWS_DROPPED, REVIEWS_FROM, REVIEWS_KEPT, reviews_of
from shared.directory.directory import Directories, Directory
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, EXCLUDE, LEAVE, LINK, Review
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    activity_calls,
    begin_run,
    left_open,
    make_directory,
    object_id,
    plan_rows,
)
from tests.shared.directory.people import call_number, pause

NUMBER = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
POLICY = Policy(verified_domains=frozenset({"contoso.com"}))
PEOPLE = (
    Identity(object_id(1), "ann@contoso.com"),
    Identity(object_id(2), "bob@contoso.com", employee_id="2"),
    Identity(object_id(3), "cleo@contoso.com", employee_id="3"),
)
"""Ann is linked by her name, bob is for review by his number, and two accounts have cleo's."""
ACCOUNTS = ("ann@contoso.com", ""), ("bobby", "2"), ("cleo1", "3"), ("cleo2", "3")


async def account(directory: Directory, name: str, number: str, **more: Any) -> Account:
    document = {"userName": name, **({NUMBER: {"employeeNumber": number}} if number else {}), **more}
    new = Account.new(directory.keys.new_id(name), document, Status.LOCAL, directory.accounts.now())
    await directory.accounts.create(new, by="test")
    return new


async def plan(directory: Directory, people: Sequence[Identity] = PEOPLE, **options: Any) -> Job:
    """Plan a run over these people and let it wait, after those before have ended."""
    for job in await directory.jobs.list_all():
        await directory.jobs.change(job.id, lambda job: replace(job, state=State.CANCELLED))
    run = await begin_run(directory, people, POLICY)
    await directory.jobs.change(run.id, lambda job: replace(job, options={**job.options, **options}))
    for name in PLAN_PASSES:
        await call(directory.tables, directory, run, name)
    return await directory.jobs.get(run.id)


async def call(tables: Tables, directory: Directory, run: Job, name: str) -> Counter[str]:
    part = Slice(
        job=run.id, directory=directory.name, pass_name=name, low=0, high=directory.keys.buckets, form=FORM
    ).to_json()
    return Counter((await activity_calls(Directories(tables))("run_slice", part))["counts"])


async def wait(directory: Directory, run: Job) -> None:
    reached = Milestone(job=run.id, directory=directory.name, state="planned", expires="2999-01-01T00:00:00Z")
    await activity_calls(Directories(directory.tables))("reach_milestone", reached.to_json())


async def review(directory: Directory, run: Job, person: int, action: str, chosen: str = "") -> PlanRow:
    """Review a person's row as the service does, and return the row."""
    await directory.jobs.change(run.id, lambda job: replace(job, reviewed=job.reviewed or "now"))
    (row,) = [row for row in await plan_rows(directory, run.id) if row.subject == object_id(person)]
    account_id = chosen or (row.shown["account"]["id"] if action == LINK else None)
    await reviews_of(directory, run.id).record([(row, Review(action, "ann", "then", account_id))])
    return row


async def reviewed(directory: Directory, run: Job) -> dict[str, Any]:
    return {row.subject: row.review for row in await plan_rows(directory, run.id) if row.review}


@pytest.fixture
async def directory(sqlite_tables: SqliteTables) -> Directory:
    made = await make_directory(sqlite_tables)
    for name, number in ACCOUNTS:
        await account(made, name, number)
    return made


async def two_runs(directory: Directory, *reviews: tuple[Any, ...]) -> tuple[Job, Job]:
    """Plan a run, review it, and plan another in its place."""
    first = await plan(directory)
    await wait(directory, first)
    for one in reviews:
        await review(directory, first, *one)
    return first, await plan(directory, **{REVIEWS_FROM: first.id})


async def test_every_kind_of_review_is_kept_with_its_person_and_its_time(directory: Directory) -> None:
    (cleo,) = [row for row in await plan_rows(directory, (await plan(directory)).id) if row.decision == "ambiguous"]
    chosen = cleo.shown["candidates"][0]["id"]
    first, second = await two_runs(directory, (1, EXCLUDE), (2, LINK), (3, LINK, chosen))
    kept = await call(directory.tables, directory, second, "keep_reviews")
    assert kept == {REVIEWS_KEPT: 3, REVIEWS_DROPPED: 0}
    found = await reviewed(directory, second)
    assert {subject: (one["action"], one["by"], one["at"]) for subject, one in found.items()} == {
        object_id(1): (EXCLUDE, "ann", "then"),
        object_id(2): (LINK, "ann", "then"),
        object_id(3): (LINK, "ann", "then"),
    }
    assert found[object_id(3)]["account"] == chosen
    total = await reviews_of(directory, second.id).total()
    before = await reviews_of(directory, first.id).total()
    assert {name: total[name] for name in total if name.startswith("review.")} == {
        name: before[name] for name in before if name.startswith("review.")
    }
    assert total["review.links"] == 1, "two links more, and one less"
    assert (await directory.jobs.get(second.id)).reviewed


async def test_a_review_that_was_taken_back_is_none(directory: Directory) -> None:
    _, second = await two_runs(directory, (1, EXCLUDE), (1, LEAVE))
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 0, REVIEWS_DROPPED: 0}
    assert await reviewed(directory, second) == {}


async def test_a_row_whose_account_has_another_version_is_another_row(directory: Directory) -> None:
    first = await plan(directory)
    await wait(directory, first)
    row = await review(directory, first, 2, LINK)
    bobby = await directory.accounts.find(row.shown["account"]["id"])
    assert bobby
    await directory.accounts.replace(bobby, bobby.with_document(bobby.document() | {"title": "Dr"}), by="me")
    second = await plan(directory, **{REVIEWS_FROM: first.id})
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 0, REVIEWS_DROPPED: 1}
    assert await reviewed(directory, second) == {}


@pytest.mark.parametrize("person", [PEOPLE[1]._replace(display_name="Bob"), PEOPLE[1]._replace(employee_id="9"), None])
async def test_a_row_that_says_something_else_or_is_gone_is_another_row(
    directory: Directory, person: Identity | None
) -> None:
    first = await plan(directory)
    await wait(directory, first)
    await review(directory, first, 2, LINK)
    second = await plan(directory, [PEOPLE[0], *([person] if person else [])], **{REVIEWS_FROM: first.id})
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 0, REVIEWS_DROPPED: 1}


async def test_the_choice_among_several_is_dropped_where_the_plan_links_the_account_to_another(
    directory: Directory,
) -> None:
    """The row of the ambiguous one stays the same, but another one has a stronger claim on the account by now."""
    first = await plan(directory)
    await wait(directory, first)
    (cleo,) = [row for row in await plan_rows(directory, first.id) if row.decision == "ambiguous"]
    chosen = next(one["id"] for one in cleo.shown["candidates"] if one["userName"] == "cleo1")
    await review(directory, first, 3, LINK, chosen)
    second = await plan(directory, **{REVIEWS_FROM: first.id})
    (ann,) = [row for row in await plan_rows(directory, second.id) if row.decision == LINK]
    rival = replace(ann, subject=object_id(9), shown={**ann.shown, "account": {"id": chosen, "userName": "cleo1"}})
    await directory.plan(second.id).write(directory.keys.bucket(chosen), [rival])
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 0, REVIEWS_DROPPED: 1}


async def test_scim_is_told_whom_a_kept_review_excludes(directory: Directory) -> None:
    _, second = await two_runs(directory, (1, EXCLUDE), (2, LINK))
    await call(directory.tables, directory, second, "keep_reviews")
    marks = directory.plan(second.id)
    assert await left_open(directory.tables, marks, object_id(1)) == "excluded"
    assert await left_open(directory.tables, marks, object_id(2)) == "review"


async def test_a_review_that_a_person_made_meanwhile_stays(directory: Directory) -> None:
    """The pass runs again, late, when its run waits and somebody has decided otherwise."""
    _, second = await two_runs(directory, (1, EXCLUDE))
    await call(directory.tables, directory, second, "keep_reviews")
    await review(directory, second, 1, ACKNOWLEDGE)
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 1, REVIEWS_DROPPED: 0}
    assert (await reviewed(directory, second))[object_id(1)]["action"] == ACKNOWLEDGE


async def test_a_twin_that_lags_behind_takes_no_review_of_a_person_back(directory: Directory) -> None:
    """It is held at any of its storage operations while the pass ends and a person decides otherwise."""
    first, _ = await two_runs(directory, (1, EXCLUDE))
    for number in range(1, 60):
        run = await plan(directory, **{REVIEWS_FROM: first.id})
        slow = FaultyTables(directory.tables)

        async def meanwhile(run: Job = run) -> None:
            await call(directory.tables, directory, run, "keep_reviews")
            await review(directory, run, 1, ACKNOWLEDGE)

        reached = pause(slow, call_number(number), meanwhile)
        await call(slow, directory, run, "keep_reviews")
        if not reached:
            return
        assert (await reviewed(directory, run))[object_id(1)]["action"] == ACKNOWLEDGE, number
    raise AssertionError


async def test_what_the_run_before_could_not_keep_stays_counted(directory: Directory) -> None:
    first = await plan(directory)
    await directory.jobs.change(first.id, lambda job: replace(job, counts={REVIEWS_DROPPED: 2}))
    second = await plan(directory, **{REVIEWS_FROM: first.id})
    assert await call(directory.tables, directory, second, "keep_reviews") == {REVIEWS_KEPT: 0, REVIEWS_DROPPED: 2}


async def test_a_crash_at_any_storage_operation_ends_the_same(directory: Directory) -> None:
    first, _ = await two_runs(directory, (1, EXCLUDE), (2, LINK))
    number, crashed = 0, True
    while crashed:
        number += 1
        crashed = False
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            run = await plan(directory, **{REVIEWS_FROM: first.id})
            try:
                await call(FaultyTables(directory.tables, script({number: fault})), directory, run, "keep_reviews")
            except Crash:
                crashed = True
            kept = await call(directory.tables, directory, run, "keep_reviews")
            assert kept == {REVIEWS_KEPT: 2, REVIEWS_DROPPED: 0}
            total = await reviews_of(directory, run.id).total()
            assert (total["review.link"], total["review.exclude"], total["review.links"]) == (1, 1, 0)
            marks = directory.plan(run.id)
            assert await left_open(directory.tables, marks, object_id(1)) == "excluded"
    assert number > 10


async def test_of_a_run_that_is_kept_no_longer_no_review_is_kept(directory: Directory) -> None:
    first, second = await two_runs(directory, (1, EXCLUDE))
    await directory.jobs.remove(first)
    assert await call(directory.tables, directory, second, "keep_reviews") == Counter(reviewsKept=0, reviewsDropped=0)
    assert not await reviewed(directory, second)


async def test_the_links_of_a_plan_are_read_once_however_many_reviews_chose_among_several(directory: Directory) -> None:
    """Each chosen account was looked for among all links of its bucket by itself: 34 queries for 30 reviews."""
    some = [Identity(object_id(n), f"p{n}@contoso.com", employee_id=str(n)) for n in range(10, 40)]
    for one in some:
        for twin in "ab":
            await account(directory, f"{one.user_principal_name[:3]}{twin}", one.employee_id or "")

    async def queries(reviews: int) -> int:
        first = await plan(directory, some)
        await wait(directory, first)
        for row in [row for row in await plan_rows(directory, first.id) if row.decision == "ambiguous"][:reviews]:
            await review(directory, first, int(row.subject[:8], 16), LINK, row.shown["candidates"][0]["id"])
        second = await plan(directory, some, **{REVIEWS_FROM: first.id})
        counted = FaultyTables(directory.tables)
        kept = await call(counted, directory, second, "keep_reviews")
        assert kept == {REVIEWS_KEPT: reviews, REVIEWS_DROPPED: 0}
        return counted.counts["query"]

    few, many = await queries(8), await queries(30)
    assert many <= few + 8, f"{few} queries for 8 reviews, {many} for 30"
