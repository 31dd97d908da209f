"""The order of the passes: every bucket once, a window at a time, each ending shown in the tables."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Call, FaultyTables
from link_orchestrator.messages import FORM, WINDOW, Answer, Extent, SliceDone, Start, slices_for
from link_orchestrator.orchestrator import (
    AGAIN_PASSES,
    APPLY_PASSES,
    GROUP_APPLY_PASSES,
    GROUP_PLAN_PASSES,
    NAME_PASSES,
    PLAN_PASSES,
    SUGGEST_PASSES,
    import_accounts,
    import_groups,
    link_accounts,
)
from shared.directory.directory import Directories
from shared.tables.port import Tables
from tests.link_orchestrator.running import Engine, all_accounts, csv_file, graph, object_id, serving

START = Start(job="run1", directory="main", buckets=64, slices=20, expires_hours=2)


def answers(**by_stage: dict[str, Any]) -> Callable[[str, Any], Any]:
    """Return what answers every slice, those of a stage named here otherwise."""

    async def call(name: str, message: Any) -> Any:
        if name == "reach_milestone":
            return {}
        return by_stage.get(message["stage"], SliceDone(counts={message["stage"]: 1}).to_json())

    return call


def milestones(engine: Engine) -> list[str]:
    return [message["phase"] for name, message in engine.calls if name == "reach_milestone"]


def stages(engine: Engine) -> list[str]:
    return [stage for stage, _ in groupby(m["stage"] for name, m in engine.calls if name == "run_slice")]


@pytest.mark.parametrize(("buckets", "slices"), [(64, 1), (64, 20), (64, 64), (64, 900), (5, 3), (1, 1)])
async def test_every_pass_sees_every_bucket_once_and_never_more_than_a_window_at_a_time(
    buckets: int, slices: int
) -> None:
    engine = Engine(answers())
    start = START.model_copy(update={"buckets": buckets, "slices": slices})
    assert await engine.play(link_accounts, start) == "done"
    assert stages(engine) == [*PLAN_PASSES, *APPLY_PASSES]
    for stage in (*PLAN_PASSES, *APPLY_PASSES):
        parts = [m for name, m in engine.calls if name == "run_slice" and m["stage"] == stage]
        assert [n for part in parts for n in range(part["low"], part["high"])] == list(range(buckets))
        assert len(parts) == min(slices, buckets)
    assert 0 < max(engine.windows) <= WINDOW
    assert 0 not in engine.windows, "Durable Functions answers an empty task_all with None"
    assert milestones(engine) == ["planned", "done"]


@pytest.mark.parametrize(
    ("items", "slices"), [(0, 1), (2_000, 1), (2_001, 2), (42_000, 8), (128_000, 8), (128_001, 16), (2_100_000, 136)]
)
def test_a_pass_has_whole_windows_of_slices_once_there_is_work_for_one(items: int, slices: int) -> None:
    assert slices_for(items) == slices


@pytest.mark.parametrize(("form", "first", "last"), [(FORM, ("spread",), (*SUGGEST_PASSES, *NAME_PASSES)), (0, (), ())])
async def test_a_later_run_of_an_earlier_version_has_the_passes_of_its_history(
    form: int, first: tuple[str, ...], last: tuple[str, ...]
) -> None:
    """A plan that waits when the app is replaced is replayed from its first pass on."""
    answer = answers()

    async def call(name: str, message: Any) -> Any:
        return Extent(slices=1).to_json() if name == "choose_extent" else await answer(name, message)

    engine = Engine(call)
    assert await engine.play(link_accounts, START.model_copy(update={"compares": True, "form": form})) == "done"
    compared = ("changes", *first, "lead", "touch", "gather")
    assert stages(engine) == [*compared, *AGAIN_PASSES, *last, *APPLY_PASSES]


@pytest.mark.parametrize(
    ("form", "order"), [(FORM, ("suggest", "merge_names", "keep_reviews")), (2, ("keep_reviews", "suggest"))]
)
async def test_reviews_are_kept_once_it_is_known_who_is_suggested_but_in_the_histories_of_before(
    form: int, order: tuple[str, ...]
) -> None:
    engine = Engine(answers(decide=SliceDone(counts={"noAccount": 1, "noIdentity": 1}).to_json()))
    start = START.model_copy(update={"keeps_reviews": True, "form": form})
    assert await engine.play(link_accounts, start) == "done"
    assert stages(engine) == [*PLAN_PASSES, *order, *APPLY_PASSES]
    engine = Engine(answers(keep_reviews=SliceDone(stopped=True).to_json()))
    assert await engine.play(link_accounts, start) == "cancelled"


async def test_a_slice_that_cannot_go_on_says_why_the_job_failed() -> None:
    engine = Engine(answers(join=SliceDone(failed="for a reason").to_json()))
    assert await engine.play(link_accounts, START) == "failed"
    (last,) = [message for name, message in engine.calls if name == "reach_milestone"]
    assert (last["phase"], last["reason"]) == ("failed", "for a reason")
    assert stages(engine) == ["collect", "join"]


async def test_groups_come_behind_the_accounts_where_the_run_has_any() -> None:
    engine = Engine(answers())
    assert await engine.play(link_accounts, START.model_copy(update={"groups": True})) == "done"
    assert stages(engine) == [*PLAN_PASSES, *GROUP_PLAN_PASSES, *APPLY_PASSES, *GROUP_APPLY_PASSES]
    engine = Engine(answers(decide_groups=SliceDone(stopped=True).to_json()))
    assert await engine.play(link_accounts, START.model_copy(update={"groups": True})) == "cancelled"
    assert stages(engine) == [*PLAN_PASSES, *GROUP_PLAN_PASSES]


@pytest.mark.parametrize(("stopped", "phase"), [(False, "done"), (True, "cancelled")])
async def test_an_import_of_groups_is_one_pass(stopped: bool, phase: str) -> None:
    engine = Engine(answers(import_groups=SliceDone(stopped=stopped).to_json()))
    assert await engine.play(import_groups, START) == phase
    assert (stages(engine), milestones(engine)) == (["import_groups"], [phase])


async def test_progress_is_told_by_pass_with_counts() -> None:
    engine = Engine(answers())
    await engine.play(link_accounts, START)
    assert all(engine.statuses), "a falsy custom status is dropped"
    shown = [status for status in engine.statuses if "of" in status]
    assert {status["of"] for status in shown} == {20}
    assert [status["done"] for status in shown] == [0, 8, 16] * 6
    assert shown[-1]["counts"] == {"apply": 16}
    assert engine.statuses[-1] == {"phase": "done"}


async def test_a_plan_says_when_it_expires() -> None:
    engine = Engine(answers(), verdict="timer")
    assert await engine.play(link_accounts, START) == "expired"
    assert milestones(engine) == ["planned", "expired"]
    (planned,) = [message for _, message in engine.calls if message.get("phase") == "planned"]
    assert planned["expires"] == "2026-01-02T02:00:00Z"
    assert "apply" not in stages(engine)


async def test_a_plan_that_waits_for_long_has_a_timer_after_the_other_and_none_that_is_too_long_for_azure() -> None:
    engine = Engine(answers(), verdict="timer")
    assert await engine.play(link_accounts, START.model_copy(update={"expires_hours": 12 * 24})) == "expired"
    began = datetime(2026, 1, 2, tzinfo=UTC)
    assert [fires - began for fires in engine.timers] == [timedelta(days=days) for days in (5, 10, 12)]


async def test_every_timer_of_a_plan_that_is_approved_is_cancelled() -> None:
    """One that is open keeps the orchestration from ending."""
    engine = Engine(answers())
    assert await engine.play(link_accounts, START.model_copy(update={"expires_hours": 12 * 24})) == "done"
    assert (len(engine.timers), engine.cancelled) == (1, engine.timers)


async def test_a_plan_that_waited_with_one_timer_of_the_version_before_expires_with_it() -> None:
    """On a machine of one's own, timers had any length: its history has one, which fires at the very end."""

    class Late(Engine):
        def _fire(self, task: Any) -> Any:
            self.current_utc_datetime = datetime(2026, 1, 14, tzinfo=UTC)
            return task

    engine = Late(answers(), verdict="timer")
    assert await engine.play(link_accounts, START.model_copy(update={"expires_hours": 12 * 24})) == "expired"
    assert len(engine.timers) == 1


AWAY = Answer(away=True, why="the directory's storage does not answer")


def away_for(time: timedelta, *activities: str) -> tuple[Engine, Callable[[str, Any], Any]]:
    """Return an engine whose storage is away for some time from the start, as far as these activities need it."""
    answer = answers()

    async def call(name: str, message: Any) -> Any:
        ended = engine.current_utc_datetime >= datetime(2026, 1, 2, tzinfo=UTC) + time
        if not ended and name in activities:
            return AWAY.to_json()
        return Extent(everything=True).to_json() if name == "choose_extent" else await answer(name, message)

    engine = Engine(call)
    return engine, call


@pytest.mark.parametrize("activity", ["choose_extent", "run_slice", "reach_milestone"])
async def test_a_job_waits_for_storage_that_is_away_and_says_so(activity: str) -> None:
    engine, _ = away_for(timedelta(minutes=40), activity)
    assert await engine.play(link_accounts, START.model_copy(update={"compares": True})) == "done"
    waits = [after - before for before, after in pairwise([datetime(2026, 1, 2, tzinfo=UTC), *engine.fired])]
    seconds = [wait.total_seconds() for wait in waits]
    assert seconds[:9] == [2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert set(seconds[9:]) == {300}
    told = [status["waiting"] for status in engine.statuses if "waiting" in status]
    assert told[0] == "the directory's storage does not answer; tried again at 2026-01-02T00:00:02Z"
    assert len(told) == len(waits)
    assert "waiting" not in engine.statuses[-1]


async def test_of_a_window_only_the_slices_that_did_nothing_run_again() -> None:
    answer, times = answers(), Counter[tuple[str, int]]()

    async def call(name: str, message: Any) -> Any:
        if name == "run_slice":
            times[message["stage"], message["low"]] += 1
            if message["low"] == 0 and times[message["stage"], 0] == 1:
                return AWAY.to_json()
        return await answer(name, message)

    assert await Engine(call).play(link_accounts, START) == "done"
    assert {low: times["apply", low] for stage, low in times if stage == "apply" and times[stage, low] > 1} == {0: 2}


async def test_while_storage_is_away_one_slice_looks_whether_it_still_is() -> None:
    """Each try makes the history longer, all of which every replay goes through."""
    engine, _ = away_for(timedelta(hours=1), "run_slice")
    assert await engine.play(link_accounts, START) == "done"
    assert engine.windows[0] == WINDOW
    tries = engine.windows[1 : len(engine.fired) + 1]
    assert (set(tries), len(tries)) == ({1}, len(engine.fired))
    assert engine.windows[len(tries) + 1] == WINDOW - 1
    assert engine.statuses[-1] == {"phase": "done"}


async def test_a_job_whose_storage_is_away_for_half_a_day_has_failed() -> None:
    engine, _ = away_for(timedelta(hours=13), "run_slice")
    assert await engine.play(link_accounts, START) == "failed"
    (last,) = [message for name, message in engine.calls if name == "reach_milestone"]
    assert last["reason"] == (
        "the directory's storage does not answer. That was so for 12 hours: start again once it is mended"
    )


async def test_nothing_is_applied_without_approval() -> None:
    engine = Engine(answers(), verdict="cancel")
    assert await engine.play(link_accounts, START) == "cancelled"
    assert milestones(engine) == ["planned", "cancelled"]
    assert "apply" not in stages(engine)


@pytest.mark.parametrize("stage", [*PLAN_PASSES, *APPLY_PASSES])
async def test_a_cancelled_run_ends_with_the_window_that_is_under_way(stage: str) -> None:
    engine = Engine(answers(**{stage: SliceDone(stopped=True).to_json()}))
    assert await engine.play(link_accounts, START) == "cancelled"
    assert milestones(engine)[-1] == "cancelled"
    assert stages(engine)[-1] == stage
    assert Counter(m["stage"] for name, m in engine.calls if name == "run_slice")[stage] == WINDOW


@pytest.mark.parametrize("body", [link_accounts, import_accounts])
async def test_what_fails_for_good_is_shown_and_still_fails(body: Any) -> None:
    async def call(name: str, message: Any) -> Any:
        if name == "run_slice":
            raise RuntimeError("storage is away")
        return {}

    engine = Engine(call)
    with pytest.raises(RuntimeError, match="storage is away"):
        await engine.play(body, START)
    assert milestones(engine) == ["failed"]


async def test_an_import_is_one_pass() -> None:
    engine = Engine(answers())
    assert await engine.play(import_accounts, START) == "done"
    assert (stages(engine), milestones(engine)) == (["import"], ["done"])


class Stopping:
    """Hosts one after the other over the same tables; each closes after some commits, whatever is under way."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._draw = random.Random(seed)
        self.stops = 0

    async def see_through(self, path: str, phase: str) -> Any:
        """Return a job once it is in a phase, however many hosts that takes; the tenth goes on to the end."""
        for number in range(10):
            enough = asyncio.Event()
            most = 2 ** self._draw.randrange(6) if number < 9 else 1_000_000

            def wrap(tables: Tables, enough: asyncio.Event = enough, most: int = most) -> Tables:
                counted = FaultyTables(tables)

                async def count(_: Call) -> None:
                    if counted.counts["commit"] >= most:
                        enough.set()

                counted.before = count
                return counted

            async with serving(self._folder, wrap) as app:
                job, stop = asyncio.create_task(app.wait(path, phase)), asyncio.create_task(enough.wait())
                await asyncio.wait({job, stop}, return_when=asyncio.FIRST_COMPLETED)
                for task in (job, stop):
                    task.cancel()
                await asyncio.wait({job})
                if not job.cancelled():
                    return job.result()
            self.stops += 1
        raise AssertionError


@pytest.mark.parametrize("seed", range(4))
async def test_a_host_that_stops_anywhere_is_taken_over_by_the_next(tmp_path: Path, seed: int) -> None:
    people = [f"person{number}@contoso.com" for number in range(120)]
    hosts = Stopping(tmp_path, seed)
    async with serving(tmp_path) as app:
        job = await app.call("POST", "accounts/import", csv_file(*({"userName": name} for name in people)), "text/csv")
        upload = await app.upload(*(graph(number, name) for number, name in enumerate(people)))
    job = await hosts.see_through(f"accounts/imports/{job['id']}", "done")
    assert (job["phase"], job["counts"]["refused"]) == ("done", 0)
    async with serving(tmp_path) as app:
        run = await app.call("POST", "linking/runs", {"identities": upload})
    path = f"linking/runs/{run['id']}"
    assert (await hosts.see_through(path, "planned"))["counts"]["link"] == 120
    async with serving(tmp_path) as app:
        await app.call("POST", path + "/approve", {"links": 120})
    done = await hosts.see_through(path, "done")
    assert (done["phase"], done["counts"]["linked"]) == ("done", 120)
    assert hosts.stops > 2
    async with serving(tmp_path) as app:
        directory = await Directories(app.tables).open("main")
        accounts = await all_accounts(directory)
        assert sorted(account.user_name for account in accounts) == sorted(people)
        assert sorted(a.link.identity for a in accounts if a.link) == [object_id(n) for n in range(120)]
        for account in accounts:
            changes = await directory.accounts.history(account.id)
            assert [change.action for change in changes] == ["create", "link"]
