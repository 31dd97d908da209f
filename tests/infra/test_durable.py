"""The executor with the real SDK: every kind of task, and what holds when a process ends anywhere."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable import wire
from infra.local.durable.executor import AlreadyStarted, Executor
from infra.local.durable.instance import Instance, first_events
from infra.local.durable.store import Head, Store
from infra.local.durable.wire import Event, ReplayOutcome, event, utc_now
from infra.local.faults import Crash, Fault, FaultyTables, random_faults, script
from infra.local.functions import Functions
from infra.local.host import LocalHost
from infra.local.workers import WorkerDied
from shared.tables.port import Insert, LimitExceeded, Tables
from shared.tables.sqlite import SqliteTables
from tests import waiting
from tests.infra.durable_app import Clockwork, build, ended, run
from tests.waiting import PATIENCE, until


@pytest.fixture
async def tables(tmp_path: Path) -> AsyncIterator[SqliteTables]:
    opened = SqliteTables.open(tmp_path / "hub.db", "hub")
    yield opened
    await opened.close()


@pytest.fixture
async def host(tables: SqliteTables) -> AsyncIterator[LocalHost]:
    async with LocalHost(build(failures=2), tables) as started:
        yield started


@pytest.mark.parametrize(
    ("name", "value", "output"),
    [
        ("fan", 10, 90),
        ("window", 12, 66),
        ("retrying", None, "a"),
        ("mixed", None, [10, "a", "b", "c"]),
        ("nameless", None, [None, None]),
        ("echo", {"text": "ä€😀" * 10}, {"text": "ä€😀" * 10}),
    ],
)
async def test_an_orchestration_ends_with_its_output(host: LocalHost, name: str, value: Any, output: Any) -> None:
    assert await run(host, name, value) == output


async def test_a_thousand_activities_take_few_replays_and_writes(
    tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every replay runs over the whole history, so that results have to gather."""
    replays, replay = list[Instance](), Instance._replay

    async def counted(self: Instance) -> ReplayOutcome:
        replays.append(self)
        return await replay(self)

    monkeypatch.setattr(Instance, "_replay", counted)
    counting = FaultyTables(tables)
    async with LocalHost(build(), counting) as host:
        assert await run(host, "fan", 1000) == 999_000
    assert len(replays) < 100
    assert counting.counts["commit"] < 500


async def test_a_value_longer_than_a_row_comes_back_whole(host: LocalHost) -> None:
    value = ["ü" * 1_200_000, "x" * 31_000]
    assert await run(host, "echo", value) == value


async def test_an_event_wins_against_a_timer(host: LocalHost) -> None:
    instance_id = await host.executor.start_new("race", None, "60000")
    assert await host.executor.raise_event(instance_id, "approve", '"yes"')
    assert (await ended(host, instance_id)).output == '"yes"'


async def test_a_timer_wins_against_an_event_that_does_not_come(host: LocalHost) -> None:
    assert await run(host, "race", 10) == "too late"


async def test_a_timer_is_no_longer_than_azure_storage_keeps_it(
    host: LocalHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a longer one the SDK makes several, which cannot be cancelled, and what comes behind them waits for all."""
    for name in ("LONGEST_TIMER", "LONG_TIMER_STEP"):
        monkeypatch.setattr(wire, name, "00:00:00.0500000")
    instance_id = await host.executor.start_new("race", None, "60000")

    async def kinds() -> list[int]:
        return [one["EventType"] for one in await history(host, instance_id)]

    async def the_second_timer_runs() -> bool:
        return (await kinds()).count(EventType.TIMER_CREATED) > 1

    await until(the_second_timer_runs)
    await host.executor.raise_event(instance_id, "approve", '"yes"')

    async def it_was_told() -> bool:
        told, raised = await kinds(), EventType.EVENT_RAISED
        return raised in told and EventType.ORCHESTRATOR_COMPLETED in told[told.index(raised) :]

    await until(it_was_told)
    head = await host.executor.find(instance_id)
    assert head is not None
    assert head.status == "Running"


async def history(host: LocalHost, instance_id: str) -> list[Event]:
    head = await host.executor.find(instance_id)
    assert head is not None
    events, _ = await host.executor.store.load(head)
    return events


async def test_an_instance_with_an_open_timer_stays_running(host: LocalHost) -> None:
    lasting = await host.executor.start_new("leaving", None, "60000")

    async def its_code_has_ended() -> bool:
        return [one["EventType"] for one in await history(host, lasting)][-2:] == [
            EventType.TASK_COMPLETED,
            EventType.ORCHESTRATOR_COMPLETED,
        ]

    await until(its_code_has_ended)
    head = await host.executor.find(lasting)
    assert head is not None
    assert (head.status, head.output) == ("Running", None)
    short = await ended(host, await host.executor.start_new("leaving", None, "50"))
    assert (short.status, short.output) == ("Completed", '"left"')
    assert EventType.TIMER_FIRED in [one["EventType"] for one in await history(host, short.instance_id)]


async def test_what_follows_several_tasks_waits_for_all_of_them_though_one_failed(tables: SqliteTables) -> None:
    effects: list[str] = []
    async with LocalHost(build(effects.append, failures=1), tables) as host:
        assert await run(host, "giving_up") == "went on"
    assert effects == ["flaky a", "late 1", "double 2"]


@pytest.mark.parametrize(("attempts", "waits"), [(1, [0]), (2, [1, 0]), (4, [1, 10, 50, 0])])
async def test_attempts_are_apart_as_the_policy_says_and_a_timer_that_fires_at_once_follows_the_last(
    tables: SqliteTables, attempts: int, waits: list[int]
) -> None:
    async with LocalHost(build(failures=9), tables) as host:
        head = await ended(host, await host.executor.start_new("growing", None, str(attempts)))
        assert head.status == "Failed"
        seen = []
        for one in await history(host, head.instance_id):
            if one["EventType"] == EventType.ORCHESTRATOR_STARTED:
                now = moment(one["Timestamp"])
            elif one["EventType"] == EventType.TIMER_CREATED:
                seen.append((moment(one["FireAt"]) - now) / timedelta(milliseconds=1))
    assert seen == waits


def moment(text: str) -> datetime:
    return datetime.strptime(text, wire.TIME).replace(tzinfo=UTC)


async def test_a_history_that_the_version_before_wrote_goes_on(tables: SqliteTables) -> None:
    """It wrote the timer of a retry as soon as the attempt had failed, and noted there of which attempt it was."""
    now, retry = utc_now(), {"interval": 5, "attempts": 3, "attempt": 1}
    events = [
        *first_events("retrying", None, now),
        event(EventType.TASK_SCHEDULED, now, 0, Name="flaky", Input='"a"', Retry=retry),
        event(EventType.ORCHESTRATOR_COMPLETED, now),
        event(EventType.ORCHESTRATOR_STARTED, now),
        event(EventType.TASK_FAILED, now, TaskScheduledId=0, Reason="not yet", Details="Boom"),
        event(EventType.TIMER_CREATED, now, 1, FireAt=now.strftime(wire.TIME), Retry=retry, RetryOf=0),
    ]
    at = now.strftime(wire.TIME)
    await Store(tables).begin(Head("old", "retrying", "Running", at, at), [json.dumps(one) for one in events])
    async with LocalHost(build(failures=1), tables) as host:
        assert (await ended(host, "old")).output == '"a"'


async def test_events_that_come_early_wait_in_order(host: LocalHost) -> None:
    instance_id = await host.executor.start_new("patient")
    for n in (1, 2):
        await host.executor.raise_event(instance_id, "go", str(n))
    assert (await ended(host, instance_id)).output == "[1, 2]"


async def test_a_retry_policy_ends(tables: SqliteTables) -> None:
    effects: list[str] = []
    async with LocalHost(build(effects.append, failures=9), tables) as host:
        head = await ended(host, await host.executor.start_new("retrying"))
    assert head.status == "Failed"
    assert "Activity function 'flaky' failed: not yet" in (head.output or "")
    assert effects == ["flaky a"] * 3


async def test_an_orchestrator_that_raises_fails_its_instance(host: LocalHost) -> None:
    head = await ended(host, await host.executor.start_new("failing"))
    assert (head.status, head.output) == ("Failed", "\"Orchestrator function 'failing' failed: gave up\"")


async def test_an_orchestrator_can_catch_what_its_tasks_raise(host: LocalHost) -> None:
    seen = await run(host, "catching")
    for text, part in zip(seen, ("not JSON serializable", "'missing' failed: there is no such function"), strict=True):
        assert part in text


@pytest.mark.parametrize(
    ("name", "action"), [("by_http", "CALL_HTTP"), ("by_another", "CALL_SUB_ORCHESTRATOR"), ("anew", "CONTINUE_AS_NEW")]
)
async def test_what_a_laptop_lacks_is_named(host: LocalHost, name: str, action: str) -> None:
    head = await ended(host, await host.executor.start_new(name))
    assert head.status == "Failed"
    assert f"{action} is not supported on a laptop" in (head.output or "")


async def test_a_custom_status_is_seen_while_it_runs(host: LocalHost) -> None:
    instance_id = await host.executor.start_new("reporting")

    async def told() -> Head | None:
        found = await host.executor.find(instance_id)
        return found if found is not None and found.custom_status is not None else None

    head = await until(told)
    assert (head.status, head.custom_status) == ("Running", '{"phase": "first"}')
    await host.executor.raise_event(instance_id, "next", "null")
    assert (await ended(host, instance_id)).custom_status == '{"phase": "second"}'


async def test_a_terminated_instance_stays_terminated(host: LocalHost) -> None:
    instance_id = await host.executor.start_new("waiting")
    for reason in ("enough", "again"):
        await host.executor.terminate(instance_id, reason)
        head = await ended(host, instance_id)
        assert (head.status, head.output) == ("Terminated", '"enough"')


async def test_only_an_instance_that_ended_is_purged(host: LocalHost, tables: SqliteTables) -> None:
    instance_id = await host.executor.start_new("reporting")
    assert not await host.executor.purge(instance_id)
    await host.executor.raise_event(instance_id, "next", "null")
    await ended(host, instance_id)
    assert await host.executor.purge(instance_id)
    assert await host.executor.find(instance_id) is None
    assert not (await tables.query(f"i:{instance_id}")).rows


async def test_an_instance_that_an_older_version_wrote_is_known(host: LocalHost, tables: SqliteTables) -> None:
    fields = {"instance_id": "old", "name": "fan", "status": "Completed", "created": "t", "updated": "t"}
    text = json.dumps({**fields, "execution": 1, "parent": None, "output": "2", "custom_status": None})
    await tables.commit("i:old", [Insert("head", {"rows": 1, "t00": text})])
    head = await host.executor.find("old")
    assert head == Head(**fields, output="2")


async def test_an_instance_has_every_field_that_an_older_version_reads(host: LocalHost, tables: SqliteTables) -> None:
    instance_id = await host.executor.start_new("echo")
    await ended(host, instance_id)
    head = await tables.get(f"i:{instance_id}", "head")
    assert head is not None
    # Before this version Store.find() took the parent out of the fields, and all others were those of Head.
    fields = json.loads(str(head.columns["t00"]))
    assert fields.pop("parent") is None
    assert Head(**fields).status == "Completed"


async def test_an_orchestrator_that_asks_for_something_else_on_replay_fails(host: LocalHost) -> None:
    Clockwork.ticks = 0
    head = await ended(host, await host.executor.start_new("unsteady"))
    assert head.status == "Failed"
    assert "task 0 was the activity 'double' and is the activity 'slow'" in (head.output or "")


async def test_an_instance_is_replaced_only_once_it_has_ended(host: LocalHost) -> None:
    await host.executor.start_new("patient", "one")
    with pytest.raises(AlreadyStarted, match=r"An Orchestration instance with the status \w+ already exists"):
        await host.executor.start_new("fan", "one", "2")
    for n in (1, 2):
        await host.executor.raise_event("one", "go", str(n))
    assert (await ended(host, "one")).output == "[1, 2]"
    await host.executor.start_new("fan", "one", "2")
    assert (await ended(host, "one")).output == "2"


async def test_an_id_that_the_tables_cannot_keep_is_refused(host: LocalHost) -> None:
    with pytest.raises(LimitExceeded):
        await host.executor.start_new("fan", "a/b")


class Dying:
    """A replay whose process dies as often as it is told to, or always; then the orchestrator has ended."""

    def __init__(self, times: int = 99) -> None:
        self.left = times
        self.died = asyncio.Semaphore(0)

    async def __call__(self, _: str) -> ReplayOutcome:
        self.left -= 1
        if self.left >= 0:
            self.died.release()
            raise WorkerDied("the worker ended")
        return ReplayOutcome(is_done=True, output='"done"')


def executor(tables: Tables, replay: Dying) -> Executor:
    return Executor(Functions((), {}, {"o": replay}), tables)


@pytest.mark.parametrize(("deaths", "status"), [(2, "Completed"), (3, "Failed")])
async def test_an_instance_whose_replays_die_again_and_again_has_failed(
    tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, deaths: int, status: str
) -> None:
    monkeypatch.setattr("infra.local.durable.instance._REPLAY_AGAIN", (0.01, 0.01))
    async with executor(tables, Dying(deaths)) as some:
        one = await some.start_new("o", "one", "null")
        head = await ended(some, one)
        assert (head.status, "died" in (head.output or "")) == (status, status == "Failed")
        await until(lambda: nothing_is_open(tables))


async def nothing_is_open(tables: Tables) -> bool:
    return await Store(tables).list_open() == []


async def test_a_stop_between_two_replays_is_heard(tables: SqliteTables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.local.durable.instance._REPLAY_AGAIN", (2 * PATIENCE, 0.0))
    replay = Dying()
    async with executor(tables, replay) as some:
        for one in ("ended", "left"):
            await some.start_new("o", one, "null")
            await replay.died.acquire()
        await asyncio.wait_for(some.terminate("ended", "by hand"), PATIENCE)
    async with executor(tables, Dying(0)) as some:
        assert (await ended(some, "left")).status == "Completed"


async def test_an_event_for_an_instance_that_cannot_go_on_here_waits_for_the_next_process(
    tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_up = list[Instance]()

    async def broken(self: Instance) -> None:
        given_up.append(self)
        raise RuntimeError("a fault of the executor")

    async with LocalHost(build(), tables) as host:
        monkeypatch.setattr(Instance, "run", broken)
        one = await host.executor.start_new("patient")
        await until(lambda: given_up and given_up[0].gone.is_set())
        for n in (1, 2):
            assert await host.executor.raise_event(one, "go", str(n))
        monkeypatch.undo()
    async with LocalHost(build(), tables) as host:
        assert (await ended(host, one)).output == "[1, 2]"


async def test_a_closed_host_leaves_its_instances_for_the_next(open_tables: Callable[[], Tables]) -> None:
    first = open_tables()
    async with LocalHost(build(), first) as host:
        for name, value in (("race", "60000"), ("window", "20"), ("race", "150")):
            await host.executor.start_new(name, f"{name}{value}", value)
        await host.executor.raise_event("race60000", "approve", "1")
    await first.close()
    second = open_tables()
    async with LocalHost(build(), second) as host:
        assert (await ended(host, "race60000")).output == "1"
        assert (await ended(host, "window20")).output == "190"
        assert (await ended(host, "race150")).output == '"too late"'
        assert await run(host, "echo", "ü" * 300_000) == "ü" * 300_000
        assert await host.executor.purge("window20")
    await second.close()


async def _survive(tables: SqliteTables, name: str, value: str, crash_at: int, fault: Fault) -> tuple[bool, str | None]:
    """Run an orchestration in a process that dies at a storage call, then in one that does not.

    Returns whether it died, and the output.
    """
    dying = FaultyTables(tables, script({crash_at: fault}))
    host = LocalHost(build(failures=1), dying)
    try:
        await host.start()
        await host.executor.start_new(name, "x", value)
        while not dying.crashed:
            head = await host.executor.find("x")
            if head is None or head.status not in ("Running", "Pending"):
                break
            await asyncio.sleep(0.001)
    except Crash:
        assert dying.crashed
    await host.close()
    async with LocalHost(build(failures=1), tables) as host:
        if await host.executor.find("x") is None:
            await host.executor.start_new(name, "x", value)  # it was never answered, so the client asks again
        output = (await ended(host, "x")).output
        await host.executor.purge("x")
    assert await Store(tables).list_open() == []
    return dying.crashed, output


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize(
    ("name", "value", "output"),
    [("fan", "2", "2"), ("retrying", "null", '"a"'), ("race", "1", '"too late"')],
)
async def test_a_process_may_die_at_any_storage_call(
    tables: SqliteTables, name: str, value: str, output: str, fault: Fault
) -> None:
    died, call = True, 0
    while died:
        call += 1
        died, result = await _survive(tables, name, value, call, fault)
        assert result == output, f"after a crash at call {call}"
    assert call > 8


@pytest.mark.parametrize("seed", range(3))
async def test_storage_may_fail_now_and_then(tables: SqliteTables, seed: int) -> None:
    kinds = (Fault.THROTTLED, Fault.UNAVAILABLE, Fault.LOST, Fault.SHORT_PAGE, Fault.EMPTY_PAGE)
    async with LocalHost(build(), FaultyTables(tables, random_faults(seed, 0.2, kinds))) as host:
        assert await run(host, "fan", 150) == 22_350
        instance_id = await host.executor.start_new("patient")
        for n in (1, 2):
            await host.executor.raise_event(instance_id, "go", str(n))
        assert (await ended(host, instance_id)).output == "[1, 2]"


async def test_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """kill -9 twice in the middle: the run ends, and no activity whose result was recorded runs again."""

    def effects() -> list[str]:
        return (tmp_path / "effects").read_text().splitlines()

    (tmp_path / "effects").touch()
    recorded: Counter[str] = Counter()
    for _ in range(2):
        before = Counter(effects())
        async with _process(tmp_path, most=40) as process:
            await until(lambda before=before: len(effects()) >= before.total() + 20)
            process.kill()
            assert await process.wait() == -signal.SIGKILL
        recorded = await _recorded(tmp_path)
    before = Counter(effects())
    async with _process(tmp_path, most=80) as process:
        assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
    after = Counter(effects())
    assert set(after) == {f"slow {n}" for n in range(80)}
    assert 0 < len(recorded) < 80
    assert all(after[line] == before[line] for line in recorded)


def _process(folder: Path, most: int) -> AbstractAsyncContextManager[asyncio.subprocess.Process]:
    command = (sys.executable, "-m", "tests.infra.durable_app", folder, str(most))
    return waiting.process(*command, stdin=asyncio.subprocess.PIPE)


async def _recorded(folder: Path) -> Counter[str]:
    tables = SqliteTables.open(folder / "hub.db", "hub")
    store = Store(tables)
    head = await store.find("the-one")
    assert head is not None
    events, _ = await store.load(head)
    names = {e["EventId"]: e["Input"] for e in events if e["EventType"] == 4}
    done = Counter(f"slow {names[e['TaskScheduledId']]}" for e in events if e["EventType"] == 5)
    await tables.close()
    return done
