"""A job holds the lock of its kind until it ends, and its changes and counts survive being done twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from infra.local.faults import Call, Crash, Fault, FaultyTables, random_faults, script
from shared.directory.errors import Busy, NotFound
from shared.directory.keys import Keys
from shared.directory.work.jobs import Job, Jobs, State, planned_in, position
from shared.json_text import dump
from shared.tables.port import ANY, Conflict, Delete, Insert, Tables, Upsert, VersionConflict
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import leave_out_entries, rows_of
from tests.shared.directory.people import BY, Clock, call_number, outcome, pause, writes

KEYS = Keys("d", b"secret")


def jobs_in(tables: Tables) -> Jobs:
    return Jobs(tables, KEYS, Clock())


async def begin(jobs: Jobs, kind: str = "run", name: str = "") -> Job:
    return await jobs.start(kind, BY, name or jobs.new_id(kind), {"file": "f1"})


def ended(job: Job, state: State = State.DONE) -> Job:
    return replace(job, state=state)


async def test_a_job_is_read_as_it_was_written(tables: Tables) -> None:
    jobs = jobs_in(tables)
    job = await begin(jobs)
    assert replace(await jobs.get(job.id), etag="") == job
    planned = await jobs.change(job.id, lambda j: replace(j, state=State.PLANNED, counts={"link": 3}, planned="now"))
    shown = (await jobs.get(job.id)).to_json()
    assert shown == planned.to_json()
    assert (shown["phase"], shown["counts"], shown["options"]) == ("planned", {"link": 3}, {"file": "f1"})
    assert "ended" not in shown


async def test_one_job_of_a_kind_is_under_way_and_the_refusal_names_it(tables: Tables) -> None:
    jobs = jobs_in(tables)
    job = await begin(jobs)
    with pytest.raises(Busy, match=job.id):
        await begin(jobs)
    await begin(jobs, "import")
    await Jobs(tables, Keys("other", b"")).start("run", BY, "run1", {})
    assert len(await jobs.list_all()) == 2


async def test_of_many_jobs_started_at_once_one_starts(tables: Tables) -> None:
    jobs = jobs_in(tables)
    outcomes = await asyncio.gather(*(outcome(begin(jobs)) for _ in range(8)))
    assert sorted(outcomes, key=str) == [Busy] * 7 + [None]
    assert len(await jobs.list_all()) == 1


@pytest.mark.parametrize("state", [state for state in State if state.ended])
async def test_a_job_that_ends_lets_go_of_its_lock(sqlite_tables: SqliteTables, state: State) -> None:
    jobs = jobs_in(sqlite_tables)
    job = await begin(jobs)
    first = await jobs.change(job.id, lambda j: ended(j, state))
    assert first.ended
    again = await jobs.change(job.id, lambda j: ended(j, state))
    assert again.ended == first.ended
    await begin(jobs)


@pytest.mark.parametrize("state", [state for state in State if not state.ended])
async def test_a_job_that_goes_on_keeps_its_lock(sqlite_tables: SqliteTables, state: State) -> None:
    jobs = jobs_in(sqlite_tables)
    job = await begin(jobs)
    await jobs.change(job.id, lambda j: replace(j, state=state, planned="now"))
    assert await outcome(begin(jobs)) is Busy


async def test_a_job_that_ends_again_leaves_the_lock_of_the_next_one(sqlite_tables: SqliteTables) -> None:
    jobs = jobs_in(sqlite_tables)
    job = await begin(jobs)
    await jobs.change(job.id, ended)
    following = await begin(jobs)
    await jobs.change(job.id, lambda j: replace(j, state=State.FAILED))
    with pytest.raises(Busy, match=following.id):
        await begin(jobs)


async def test_a_change_is_made_again_on_what_another_left(sqlite_tables: SqliteTables) -> None:
    slow = FaultyTables(sqlite_tables)
    jobs, others = jobs_in(slow), jobs_in(sqlite_tables)
    job = await begin(others)
    reached = pause(slow, writes("job_"), lambda: others.change(job.id, lambda j: replace(j, cancelled_by="someone")))
    await jobs.change(job.id, lambda j: replace(j, state=State.PLANNED))
    assert reached
    found = await jobs.get(job.id)
    assert (found.state, found.cancelled_by) == (State.PLANNED, "someone")


async def test_what_was_read_before_another_change_is_not_put_in_its_place(tables: Tables) -> None:
    jobs = jobs_in(tables)
    read = await jobs.get((await begin(jobs)).id)
    await jobs.change(read.id, lambda job: replace(job, cancelled_by="somebody"))
    with pytest.raises(VersionConflict):
        await jobs.replace(read, replace(read, state=State.APPROVED))
    found = await jobs.get(read.id)
    assert (found.state, found.cancelled_by) == (State.STARTED, "somebody")


async def test_after_a_crash_at_any_call_a_job_ends_and_its_lock_is_free(sqlite_tables: SqliteTables) -> None:
    for number, fault in itertools.product(range(1, 5), (Fault.CRASH_BEFORE, Fault.CRASH_AFTER)):
        keys = Keys(f"d{number}{fault.name[6:].lower()}", b"")
        jobs = Jobs(sqlite_tables, keys)
        job = await jobs.start("run", BY, "run1", {})
        with suppress(Crash):
            await Jobs(FaultyTables(sqlite_tables, script({number: fault})), keys).change(job.id, ended)
        done = await jobs.change(job.id, ended)
        assert done.state is State.DONE
        await jobs.start("run", BY, "run2", {})


async def test_a_run_withdraws_its_own_plan_alone(tables: Tables) -> None:
    jobs = jobs_in(tables)
    await jobs.withdraw_plan("run1", ["run0"])
    assert await jobs.find_planned() is None
    await jobs.note_planned(["run0", "run2"])
    await jobs.withdraw_plan("run1", ["run9"])
    assert planned_in(await tables.get(*jobs.planned_place)) == ("run2", "run0")
    await jobs.withdraw_plan("run2", ["run0", "run1"])
    assert planned_in(await tables.get(*jobs.planned_place)) == ("run1", "run0")


async def test_counts_of_a_slice_that_runs_again_count_once(tables: Tables) -> None:
    jobs = jobs_in(tables)
    await jobs.count("run1", "match00", {"a": 1, "b": 2})
    await jobs.count("run1", "match01", {"a": 10})
    await jobs.count("run1", "apply00", {"linked": 7})
    await jobs.count("run1", "match00", {"a": 3, "b": 2})
    await jobs.count("run11", "match00", {"a": 100})
    assert await jobs.total("run1", "match") == {"a": 13, "b": 2}
    assert await jobs.total("run1") == {"a": 13, "b": 2, "linked": 7}
    assert await jobs.total("run2") == {}


async def test_short_and_empty_pages_hide_no_job_and_no_count(sqlite_tables: SqliteTables) -> None:
    plain = jobs_in(sqlite_tables)
    for n in range(30):
        await plain.record("upload", BY, f"upload{n}", {"rows": n})
        await plain.count("run1", f"s{n}", {"a": 1})
    paged = jobs_in(FaultyTables(sqlite_tables, random_faults(3, 0.6, [Fault.SHORT_PAGE, Fault.EMPTY_PAGE])))
    assert [job.id for job in await paged.list_all()] == [f"upload{n}" for n in range(30)]
    assert await paged.total("run1") == {"a": 30}


@pytest.mark.parametrize("job_id", ["", "run1", "a_b", "../x", "é", "x" * 65])
async def test_an_unknown_job_is_not_found(sqlite_tables: SqliteTables, job_id: str) -> None:
    with pytest.raises(NotFound):
        await jobs_in(sqlite_tables).get(job_id)


async def test_what_is_recorded_at_once_is_done_and_holds_no_lock(sqlite_tables: SqliteTables) -> None:
    jobs = jobs_in(sqlite_tables)
    recorded = await jobs.record("run", BY, "run1", {"rows": 3})
    assert (recorded.state, recorded.ended) == (State.DONE, recorded.started)
    await begin(jobs)


async def test_large_options_come_back(sqlite_tables: SqliteTables) -> None:
    jobs = jobs_in(sqlite_tables)
    excluded: list[str] = [f"person{n}@example.com" for n in range(5_000)]
    await jobs.start("run", BY, "run1", {"excluded": excluded})
    assert (await jobs.get("run1")).options == {"excluded": excluded}


def new_ids(jobs: Jobs) -> Callable[[], str]:
    return lambda: jobs.new_id("run")


async def test_ids_of_jobs_differ_and_are_letters_and_digits(sqlite_tables: SqliteTables) -> None:
    new = new_ids(Jobs(sqlite_tables, KEYS, lambda: "2025-01-01T00:00:00.000Z"))
    ids = {new() for _ in range(50)}
    assert len(ids) == 50
    assert all(job_id.isalnum() and job_id.startswith("run20250101") for job_id in ids)


class TestRunsAndUndos:
    """A run that decides or changes accounts, and an undo, never at the same time; beside a waiting plan an undo is."""

    @pytest.mark.parametrize("state", [State.STARTED, State.APPROVED])
    async def test_no_undo_starts_while_a_run_is_planned_or_applied(self, tables: Tables, state: State) -> None:
        jobs = jobs_in(tables)
        run = await begin(jobs)
        await jobs.change(run.id, lambda job: replace(job, state=state))
        with pytest.raises(Busy, match=run.id):
            await begin(jobs, "undo")
        assert [job.kind for job in await jobs.list_all()] == ["run"]

    async def test_an_undo_starts_beside_a_plan_that_waits_which_is_not_approved_until_it_ends(
        self, tables: Tables
    ) -> None:
        jobs = jobs_in(tables)
        run = await begin(jobs)
        planned = await jobs.change(run.id, lambda job: replace(job, state=State.PLANNED))
        undo = await begin(jobs, "undo")
        planned = await jobs.get(planned.id)
        with pytest.raises(Busy, match=undo.id):
            await jobs.replace(planned, replace(planned, state=State.APPROVED))
        assert (await jobs.get(run.id)).state is State.PLANNED
        await jobs.change(undo.id, ended)
        with pytest.raises(Busy, match=run.id):
            await begin(jobs)
        assert (await jobs.replace(planned, replace(planned, state=State.APPROVED))).state is State.APPROVED
        with pytest.raises(Busy, match=run.id):
            await begin(jobs, "undo")

    async def test_no_run_starts_while_an_undo_is_under_way_though_the_plan_beside_it_was_cancelled(
        self, tables: Tables
    ) -> None:
        jobs = jobs_in(tables)
        run = await begin(jobs)
        await jobs.change(run.id, lambda job: replace(job, state=State.PLANNED))
        undo = await begin(jobs, "undo")
        with pytest.raises(Busy, match=undo.id):
            await begin(jobs)
        await jobs.change(run.id, lambda job: ended(job, State.CANCELLED))
        with pytest.raises(Busy, match=undo.id):
            await begin(jobs)
        await jobs.change(undo.id, ended)
        await begin(jobs)

    async def test_of_an_approval_and_an_undo_at_once_one_is_done(self, sqlite_tables: SqliteTables) -> None:
        for number in itertools.count(1):
            keys = Keys(f"at{number}", b"")
            others = Jobs(sqlite_tables, keys)
            run = await others.start("run", BY, "run1", {})
            planned = await others.change(run.id, lambda job: replace(job, state=State.PLANNED))
            planned = await others.get(planned.id)
            slow = FaultyTables(sqlite_tables)

            async def approve(others: Jobs = others, planned: Job = planned) -> None:
                await others.replace(planned, replace(planned, state=State.APPROVED))

            reached = pause(slow, call_number(number), approve)
            undone = await outcome(Jobs(slow, keys).start("undo", BY, "undo1", {}))
            approved = (await others.get("run1")).state is State.APPROVED
            assert (undone is None) != approved or not reached
            if not reached:
                assert number > 1
                break

    async def test_a_run_of_the_version_before_holds_an_undo_off(self, sqlite_tables: SqliteTables) -> None:
        jobs = jobs_in(sqlite_tables)
        run = await begin(jobs)
        keys = KEYS.jobs()
        (row,) = [row for row in await rows_of(sqlite_tables, keys) if row.key == "lock_changing"]
        await sqlite_tables.commit(keys, [Delete(row.key, row.etag)])
        with pytest.raises(Busy, match=run.id):
            await begin(jobs, "undo")
        await jobs.change(run.id, ended)
        await begin(jobs, "undo")

    @pytest.mark.parametrize("kind", ["run", "undo"])
    async def test_a_lock_that_the_version_before_left_behind_holds_up_nobody(
        self, sqlite_tables: SqliteTables, kind: str
    ) -> None:
        jobs = jobs_in(sqlite_tables)
        job = await begin(jobs, kind)
        rows = [row for row in await rows_of(sqlite_tables, KEYS.jobs()) if row.key in ("lock_changing", "lock_undo")]
        await jobs.change(job.id, ended)
        await sqlite_tables.commit(KEYS.jobs(), [Insert(row.key, row.columns) for row in rows])
        assert await jobs.find_under_way("undo") is None
        for _ in rows:
            with pytest.raises(Busy, match="just ended"):
                await begin(jobs, "undo")
        await begin(jobs, "undo")

    async def test_a_run_takes_the_place_of_a_plan_that_waits_only_where_no_undo_is_under_way(
        self, tables: Tables
    ) -> None:
        jobs = jobs_in(tables)
        run = await begin(jobs)
        await jobs.change(run.id, lambda job: replace(job, state=State.PLANNED))
        waiting, undo = await jobs.get(run.id), await begin(jobs, "undo")
        with pytest.raises(Conflict):
            await jobs.start_instead(waiting, "why", BY, "run2", {})
        assert await jobs.get(run.id) == waiting
        await jobs.change(undo.id, ended)
        await jobs.start_instead(waiting, "why", BY, "run2", {})
        with pytest.raises(Busy, match="run2"):
            await begin(jobs, "undo")
        await jobs.change("run2", ended)
        assert not await jobs.is_under_way("run", "changing", "undo")

    async def test_a_waiting_run_that_somebody_reviewed_meanwhile_is_not_replaced(self, tables: Tables) -> None:
        jobs = jobs_in(tables)
        run = await begin(jobs)
        await jobs.change(run.id, lambda job: replace(job, state=State.PLANNED))
        waiting = await jobs.get(run.id)
        await jobs.change(run.id, lambda job: replace(job, reviewed="now"))
        with pytest.raises(Conflict):
            await jobs.start_instead(waiting, "why", BY, "run2", {})
        assert (await jobs.get(run.id)).state is State.PLANNED


async def listed(jobs: Jobs, *kinds: str) -> list[tuple[str, State]]:
    entries, _ = await jobs.page(kinds, "", 100)
    return [(entry.id, entry.state) for entry in entries]


async def test_an_entry_follows_its_job_until_it_is_removed(tables: Tables) -> None:
    jobs = jobs_in(tables)
    job = await begin(jobs)
    assert await listed(jobs, "run") == [(job.id, State.STARTED)]
    planned = await jobs.change(job.id, lambda j: replace(j, state=State.PLANNED))
    next_id = jobs.new_id("run")
    await jobs.start_instead(await jobs.get(planned.id), "why", BY, next_id, {})
    assert await listed(jobs, "run") == [(next_id, State.STARTED), (job.id, State.CANCELLED)]
    await jobs.remove(await jobs.get(job.id))
    assert await listed(jobs, "run") == [(next_id, State.STARTED)]


async def test_jobs_of_a_copy_and_of_an_earlier_version_of_the_app_are_listed_again(tables: Tables) -> None:
    """The first has no entry, the entry of the second is behind, and the third is gone and has one."""
    jobs = jobs_in(tables)
    first, second, third = [await jobs.record("upload", BY, jobs.new_id("upload"), {}) for _ in range(3)]
    rows = {row.key: row for row in await rows_of(tables, KEYS.jobs())}
    (of_first, of_second, _) = (f"entry_upload_{position(job)}" for job in (first, second, third))
    stale = Job.from_row(rows[of_second])
    await tables.commit(
        KEYS.jobs(),
        [
            Delete(of_first, rows[of_first].etag),
            Upsert(of_second, {"job": dump(replace(stale, state=State.STARTED).to_json())}),
            Delete(f"job_{third.id}", rows[f"job_{third.id}"].etag),
        ],
    )
    await jobs.mend_entries()
    assert await listed(jobs, "upload") == [(second.id, State.DONE), (first.id, State.DONE)]


async def test_jobs_of_a_version_without_entries_are_listed_and_found(tables: Tables) -> None:
    jobs = jobs_in(tables)
    runs = [await jobs.record("run", BY, jobs.new_id("run"), {}) for _ in range(2)]
    undo = await jobs.record("undo", BY, jobs.new_id("undo"), {}, {"run": runs[0].id})
    await jobs.record("importundo", BY, jobs.new_id("importundo"), {})
    await leave_out_entries(tables, KEYS)
    upgraded = jobs_in(tables)
    last = await upgraded.find_last("run")
    assert last is not None
    assert last.id == runs[1].id
    assert [job.id for job in await upgraded.find_about("undo", "run", runs[0].id)] == [undo.id]
    assert await upgraded.find_last("import") is None
    pages = await asyncio.gather(listed(upgraded, "run"), listed(upgraded, "undo"), listed(upgraded, "run", "undo"))
    assert [[name for name, _ in page] for page in pages] == [
        [runs[1].id, runs[0].id],
        [undo.id],
        [undo.id, runs[1].id, runs[0].id],
    ]


async def test_what_an_earlier_version_removed_and_left_the_entry_of_is_not_found(tables: Tables) -> None:
    jobs = jobs_in(tables)
    former, latter = [await jobs.record("run", BY, jobs.new_id("run"), {}) for _ in range(2)]
    await tables.commit(KEYS.jobs(), [Delete(f"job_{latter.id}", ANY)])
    last = await jobs.find_last("run")
    assert last is not None
    assert last.id == former.id


async def test_a_job_that_changes_while_entries_are_mended_keeps_its_own(sqlite_tables: SqliteTables) -> None:
    jobs = jobs_in(sqlite_tables)
    job = await begin(jobs)
    (entry,) = [row for row in await rows_of(sqlite_tables, KEYS.jobs()) if row.key.startswith("entry_")]
    await sqlite_tables.commit(KEYS.jobs(), [Delete(entry.key, entry.etag)])

    async def end_first(call: Call) -> None:
        if call.verb == "commit":
            await jobs.change(job.id, ended)

    held = FaultyTables(sqlite_tables)
    held.before = end_first
    await jobs_in(held).mend_entries()
    assert await listed(jobs, "run") == [(job.id, State.DONE)]
