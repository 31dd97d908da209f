"""The pass that reads a run's identities: paging, crashes between and within pages, twins, and which state counts."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.faults import Call, Crash, Fault, FaultyTables, random_faults, script
from link_orchestrator.messages import Milestone, Read, ReadDone, Start
from link_orchestrator.orchestrator import link_accounts
from link_orchestrator.passes import read
from link_orchestrator.passes.read import read_identities
from link_orchestrator.source import Page, Place, PlaceExpired, RunSource, SourceBusy, SourceFailed
from link_orchestrator.staged import READ, RESTARTS, reading_names
from shared.directory.directory import Directories, Directory
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.work.jobs import Job
from shared.directory.work.readings import Readings
from shared.tables.port import Tables, TablesError
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import Engine, activity_calls, make_directory, object_id, start_of
from tests.waiting import PATIENCE


class Script:
    """A source of fixed pages; an exception in the place of one is raised once, and then the page is there."""

    def __init__(self, *pages: Sequence[Identity] | Exception, bookmark: str | None = None) -> None:
        self.pages = [page for page in pages if not isinstance(page, Exception)]
        self.errors: dict[int, list[Exception]] = {}
        for page in pages:
            if isinstance(page, Exception):
                at = len([one for one in pages[: pages.index(page)] if not isinstance(one, Exception)])
                self.errors.setdefault(at, []).append(page)
        self.bookmark = bookmark
        self.asked: list[int] = []

    def check(self, directory: str) -> None:
        """Anybody may read."""

    def tenant(self, directory: str) -> str:
        return "contoso.onmicrosoft.com"

    @asynccontextmanager
    async def open(self, directory: str, source: RunSource, *, groups: bool = False) -> AsyncIterator[Script]:
        yield self

    async def page(self, place: Place) -> Page:
        at = int(place.get("at", 0))
        self.asked.append(at)
        if self.errors.get(at):
            raise self.errors[at].pop(0)
        then = {"at": at + 1} if at + 1 < len(self.pages) else None
        return Page(self.pages[at], then, self.bookmark if at == 0 else None)


def people(*numbers: int, name: str = "u") -> list[Identity]:
    return [Identity(object_id(number), f"{name}{number}@contoso.com") for number in numbers]


async def begin(directory: Directory) -> Job:
    """Record a run that reads its identities, as the service does."""
    jobs = directory.jobs
    run = jobs.new_id("run")
    await directory.stages.announce(run, reading_names(run))
    options = {"source": {"graph": {"scope": "all"}}, "identities": reading_names(run)[0], "policy": Policy().to_json()}
    return await jobs.start("run", "test", run, options)


async def once(tables: Tables, job: Job, source: Script) -> ReadDone:
    message = Read(job=job.id, directory="small").to_json()
    return ReadDone.from_json(await read_identities(Directories(tables), source, message))


async def until_read(tables: Tables, job: Job, source: Script, most: int = 500) -> ReadDone:
    """Call the activity as its orchestration and host do: on and on, and again after each failure of storage."""
    for _ in range(most):
        try:
            done = await once(tables, job, source)
        except TablesError:
            continue
        if done.slices or done.failed or done.stopped:
            return done
    raise AssertionError("it comes to no end")


async def staged(directory: Directory, job: Job) -> dict[str, str]:
    """Return the names of the identities that a plan sees, by id: the first of each id in a bucket."""
    found: dict[str, str] = {}
    name = (await directory.jobs.get(job.id)).options["identities"]
    for bucket in range(directory.keys.buckets):
        async for items in directory.stage(name).read(bucket):
            for item in items:
                found.setdefault(item["id"], item["userPrincipalName"])
    return found


@asynccontextmanager
async def small(folder: Path | str) -> AsyncIterator[tuple[SqliteTables, Directory, Job]]:
    tables = SqliteTables.open(Path(folder) / "small.db")
    try:
        directory = await make_directory(tables, "small", 2)
        yield tables, directory, await begin(directory)
    finally:
        await tables.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait, and an activity end with each batch: what a source asks for is tested over HTTP."""
    monkeypatch.setattr(read, "SECONDS", 0.0)
    monkeypatch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: 0.0)


PAGES = st.lists(st.lists(st.integers(0, 12), max_size=5), min_size=1, max_size=8).filter(any)
TROUBLE = st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["busy", "crash", "expired"])), max_size=5)


@settings(max_examples=60)
@given(PAGES, TROUBLE, st.integers(1, 8), st.integers(0, 2**16))
async def test_however_pages_fall_and_whatever_fails_everybody_is_staged_in_the_newest_state(
    pages: list[list[int]], trouble: list[tuple[int, str]], at_once: int, seed: int
) -> None:
    newest = {object_id(number): f"p{at}u{number}@contoso.com" for at, page in enumerate(pages) for number in page}
    source = Script(*(people(*page, name=f"p{at}u") for at, page in enumerate(pages)))
    kinds: dict[str, Callable[[], BaseException]] = {
        "busy": lambda: SourceBusy("busy"),
        "crash": Crash,
        "expired": lambda: PlaceExpired("expired"),
    }
    for at, kind in [trouble_at for trouble_at in trouble if trouble_at[0] < len(pages)]:
        expired = sum(isinstance(error, PlaceExpired) for errors in source.errors.values() for error in errors)
        if kind != "expired" or expired < RESTARTS:
            source.errors.setdefault(at, []).append(kinds[kind]())  # type: ignore[arg-type]  # a Crash is none
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "ROWS", at_once)
        patch.setattr(read, "SECONDS", float(seed % 2))
        patch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: 0.0)
        async with small(folder) as (tables, directory, job):
            faulty = FaultyTables(tables, random_faults(seed, 0.05), latency=0)
            for _ in range(20):
                try:
                    done = await until_read(faulty, job, source)
                    break
                except Crash:
                    pass
            assert not done.failed
            assert await staged(directory, job) == newest


async def test_an_activity_that_dies_at_any_storage_operation_goes_on_where_it_was(tmp_path: Path) -> None:
    pages = [people(1, 2), people(3), people(2, 4), people(5)]
    async with small(tmp_path) as (tables, directory, job):
        counting = FaultyTables(tables)
        await until_read(counting, job, Script(*pages))
    wanted = names_of(pages)
    for place in range(1, counting.requests + 1):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            with tempfile.TemporaryDirectory() as folder:
                async with small(folder) as (tables, directory, job):
                    source = Script(*pages, bookmark="from-here")
                    with pytest.raises(Crash):
                        await until_read(FaultyTables(tables, script({place: fault})), job, source)
                    done = await until_read(tables, job, source)
                    assert (done.read, await staged(directory, job)) == (5, wanted), (place, fault)
                    bookmark = await Readings(tables, directory.keys).find_bookmark()
                    assert bookmark
                    assert (bookmark.job, bookmark.link) == (job.id, "from-here")


def names_of(pages: Sequence[Sequence[Identity]]) -> dict[str, str]:
    return {identity.object_id: identity.user_principal_name for page in pages for identity in page}


async def test_an_activity_that_runs_twice_at_once_loses_nobody(tmp_path: Path) -> None:
    """The twin begins at each storage operation of the first, and reads another number of pages."""
    pages = [people(1, 2), people(3), people(2, 4), people(5)]
    async with small(tmp_path) as (tables, directory, job):
        counting = FaultyTables(tables)
        await once(counting, job, Script(*pages))
    for lead in range(counting.requests):
        with tempfile.TemporaryDirectory() as folder:
            async with small(folder) as (tables, directory, job):
                first, far_enough = FaultyTables(tables), asyncio.Event()

                async def look(_: Call, first: FaultyTables = first, lead: int = lead, far: Any = far_enough) -> None:
                    if first.requests > lead:
                        far.set()
                        await asyncio.sleep(0)

                async def twin(tables: Tables = tables, job: Job = job, far: asyncio.Event = far_enough) -> None:
                    await asyncio.wait_for(far.wait(), PATIENCE)
                    await once(tables, job, Script(*pages, SourceBusy("in the middle")))
                    await once(tables, job, Script(pages[0], SourceBusy("in the middle"), *pages[1:]))

                first.before = look
                await asyncio.gather(once(first, job, Script(*pages)), twin())
                done = await until_read(tables, job, Script(*pages))
                assert done.slices
                assert await staged(directory, job) == names_of(pages), lead


async def test_a_slow_twin_that_read_less_overwrites_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first reads one page and is held before it stages it; the second reads two and is done with both."""
    pages = [people(1, 2), people(3, 4), people(5)]
    async with small(tmp_path) as (tables, directory, job):
        held, opened, reached = FaultyTables(tables), asyncio.Event(), asyncio.Event()

        async def hold(call: Call) -> None:
            if call.verb == "commit" and READ in call.partition and not opened.is_set():
                reached.set()
                await opened.wait()

        held.before = hold
        monkeypatch.setattr(read, "ROWS", 1)
        slow = asyncio.create_task(once(held, job, Script(*pages)))
        await asyncio.wait_for(reached.wait(), PATIENCE)
        monkeypatch.setattr(read, "ROWS", 3)
        assert (await once(tables, job, Script(*pages))).read == 4
        opened.set()
        assert (await slow).read in (2, 4)
        assert (await until_read(tables, job, Script(*pages))).read == 5
        assert await staged(directory, job) == names_of(pages)


class Slow(Script):
    """Holds what it has read until it is told to hand it on."""

    def __init__(self, *pages: Sequence[Identity] | Exception) -> None:
        super().__init__(*pages)
        self.reached, self.opened = asyncio.Event(), asyncio.Event()

    async def page(self, place: Place) -> Page:
        found = await super().page(place)
        self.reached.set()
        await self.opened.wait()
        return found


async def test_what_a_slow_twin_read_stays_nowhere_once_the_run_has_ended(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, directory, job):
        source = Slow(people(1))
        slow = asyncio.create_task(once(tables, job, source))
        await asyncio.wait_for(source.reached.wait(), PATIENCE)
        ended = Milestone(job=job.id, directory="small", state="cancelled").to_json()
        await activity_calls(Directories(tables))("reach_milestone", ended)
        source.opened.set()
        await slow
        assert await staged(directory, job) == {}
        assert await Readings(tables, directory.keys).find(job.id) is None


async def test_what_a_slow_twin_read_before_the_other_went_on_does_not_count(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, directory, job):
        source = Slow(people(1, name="old"))
        slow = asyncio.create_task(once(tables, job, source))
        await asyncio.wait_for(source.reached.wait(), PATIENCE)
        assert (await until_read(tables, job, Script(people(1, name="new")))).read == 1
        source.opened.set()
        await slow
        assert await staged(directory, job) == {object_id(1): "new1@contoso.com"}


async def test_progress_is_kept_before_the_source_is_left_alone(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, _, job):
        source = Script(people(1, 2), SourceBusy("busy", 600), people(3))
        done = await once(tables, job, source)
        assert (done.read, done.why) == (2, "busy")
        assert (await until_read(tables, job, source)).read == 3
        assert source.asked == [0, 1, 1], "no page is read again"


async def test_a_source_that_is_busy_without_saying_for_how_long_is_asked_later_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: high)
    monkeypatch.setattr(read, "time", SimpleNamespace(time=lambda: 1000.0, monotonic=time.monotonic))
    async with small(tmp_path) as (tables, directory, job):
        readings = Readings(tables, directory.keys)
        waits = []
        for _ in range(9):
            done = await once(tables, job, Script(SourceBusy("busy")))
            found = await readings.find(job.id)
            assert found
            assert done.wait <= read.TICK
            waits.append(found.not_before - 1000.0)
            await readings.save(replace(found, not_before=0.0))
            assert found.waited == pytest.approx(sum(waits))
        assert waits == pytest.approx([1.2 * 2 ** min(n, 6) for n in range(9)], abs=0.01)


async def test_what_a_source_asks_for_is_waited_for_with_a_little_more_and_within_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(read, "SECONDS", 0.0)
    monkeypatch.setattr(read, "time", SimpleNamespace(time=lambda: 1000.0, monotonic=time.monotonic))
    for asked, least, most in ((100.0, 100, 120), (90_000.0, 900, 1080)):
        with tempfile.TemporaryDirectory() as folder:
            async with small(folder) as (tables, directory, job):
                await once(tables, job, Script(SourceBusy("busy", asked)))
                found = await Readings(tables, directory.keys).find(job.id)
                assert found
                assert least <= found.not_before - 1000.0 <= most


async def test_a_place_that_expires_again_and_again_fails_the_run(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, _, job):
        source = Script(people(1), *(PlaceExpired("too old") for _ in range(9)), people(2))
        done = await until_read(tables, job, source)
        assert done.failed == "too old, again and again: start the run again"
        assert len(source.asked) == 2 * (RESTARTS + 1)


async def test_of_a_user_who_is_read_twice_the_later_state_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read, "ROWS", 1)
    async with small(tmp_path) as (tables, directory, job):
        await until_read(tables, job, Script(people(1, 2), people(2, name="renamed")))
        assert await staged(directory, job) == {
            object_id(1): "u1@contoso.com",
            object_id(2): "renamed2@contoso.com",
        }


async def test_what_was_read_before_a_place_expired_is_forgotten(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, directory, job):
        source = Script(people(1, 2), PlaceExpired("too old"), people(3), bookmark="old")
        await once(tables, job, source)
        source.pages[0] = people(2)
        assert (await until_read(tables, job, source)).read == 2
        assert set(await staged(directory, job)) == {object_id(2), object_id(3)}


async def test_the_orchestration_reads_waits_and_goes_on_with_as_many_slices_as_were_told() -> None:
    answers = [ReadDone(read=5), ReadDone(read=5, wait=7, why="busy"), ReadDone(read=9, slices=3)]

    async def call(name: str, message: Mapping[str, Any]) -> Any:
        return answers.pop(0).to_json() if name == "read_identities" else {}

    engine = Engine(call)
    start = reading_start(slices=1)
    assert await engine.play(link_accounts, start) == "done"
    names = [name for name, _ in engine.calls]
    assert names[:5] == ["read_identities", "read_identities", "timer", "read_identities", "run_slice"]
    assert engine.windows[0] == 3
    shown = [(status["read"], status.get("waiting")) for status in engine.statuses if status.get("pass") == "read"]
    assert shown == [(0, None), (5, ""), (5, "busy"), (5, "busy")]


@pytest.mark.parametrize(
    ("answer", "phase", "reason"),
    [(ReadDone(failed="grant it"), "failed", "grant it"), (ReadDone(stopped=True), "cancelled", None)],
)
async def test_a_reading_that_ends_the_run_is_shown_with_its_reason(
    answer: ReadDone, phase: str, reason: str | None
) -> None:
    async def call(name: str, message: Mapping[str, Any]) -> Any:
        return answer.to_json() if name == "read_identities" else {}

    engine = Engine(call)
    assert await engine.play(link_accounts, reading_start(slices=1)) == phase
    name, milestone = engine.calls[-1]
    assert (name, milestone["phase"], milestone["reason"]) == ("reach_milestone", phase, reason)


def reading_start(slices: int) -> Start:
    return Start(job="run1", directory="main", buckets=64, slices=slices, expires_hours=1, reads=True)


async def test_a_source_that_fails_for_good_fails_the_job_with_its_reason(tmp_path: Path) -> None:
    async with small(tmp_path) as (tables, directory, job):
        source = Script(people(1), SourceFailed("grant it"), people(2))

        async def call(name: str, message: Mapping[str, Any]) -> Any:
            if name == "read_identities":
                return await read_identities(Directories(tables), source, message)
            return await activity_calls(Directories(tables))(name, message)

        start = start_of(directory, job).model_copy(update={"reads": True})
        assert await Engine(call).play(link_accounts, start) == "failed"
        ended = await directory.jobs.get(job.id)
        assert (ended.state, ended.reason, ended.to_json()["reason"]) == ("failed", "grant it", "grant it")
        assert await staged(directory, job) == {}
        assert await Readings(tables, directory.keys).find(job.id) is None
