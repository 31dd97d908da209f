"""What a job does while storage is away, while its plan waits for days, and where it is started twice."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import pytest
from azure.durable_functions.models.history import HistoryEventType as EventType

from infra.local.durable import wire
from infra.local.durable.management import Management
from infra.local.faults import Fault, FaultyTables
from link_orchestrator import activities, orchestrator
from link_orchestrator.functions import RETRY
from link_orchestrator.kinds import RUN
from link_orchestrator.lifecycle import Client, ensure_started
from link_orchestrator.orchestrator import APPLY_PASSES, PLAN_PASSES, UNDO_PASSES, VERIFY_PASSES
from shared.directory.directory import Directories
from shared.directory.work.jobs import State
from shared.tables.port import Unavailable
from tests.link_orchestrator.requests.test_runs import ACCOUNTS, IDENTITIES, approve_untold, status_of
from tests.link_orchestrator.running import App, serving
from tests.waiting import until


async def progress(app: App, job_id: str) -> Any:
    """Return what an orchestration says of itself, though the directory's storage is away."""
    head = await app.host.executor.find(job_id)
    return json.loads(head.custom_status) if head and head.custom_status else {}


async def test_a_run_outlives_an_outage_of_storage_and_says_what_it_waits_for(tmp_path: Path) -> None:
    away = False

    def wrap(tables: Any) -> FaultyTables:
        return FaultyTables(tables, lambda *_: Fault.UNAVAILABLE if away else None)

    async with serving(tmp_path, wrap) as app:
        await app.bring(ACCOUNTS)
        upload = await app.upload(*IDENTITIES)
        run = await app.call("POST", "linking/runs", {"identities": upload})
        away = True

        async def it_waits() -> bool:
            return "the directory's storage does not answer; tried again at" in str(await progress(app, run["id"]))

        await until(it_waits)
        away = False
        planned = await app.wait(f"linking/runs/{run['id']}", "planned")
        assert "waiting" not in planned.get("progress", {})
        assert (await app.apply(planned))["counts"]["linked"] == planned["links"] > 0


class Outages:
    """Storage goes away at some call of every activity's first attempts, each time at a later one; never for HTTP."""

    def __init__(self, fault: Fault | None) -> None:
        self._fault = fault
        self._calls_left: ContextVar[list[int]] = ContextVar("calls_left")
        self._attempts: Counter[str] = Counter()
        self.met: Counter[str] = Counter()

    def strike(self, *_: object) -> Fault | None:
        """Return what goes wrong with a call of storage."""
        calls_left = self._calls_left.get(None)
        if calls_left is None:
            return None
        calls_left[0] -= 1
        return self._fault if calls_left[0] in (0, -1) else None

    async def meet(self, activity: Any, name: str, message: Mapping[str, Any]) -> dict[str, Any]:
        """Run an activity's attempt."""
        name = message.get("stage") or message.get("phase") or name
        self._attempts[name] += 1
        self._calls_left.set([3 * self._attempts[name]])
        answer = await activities.answered(activity)
        self.met[name] += answer.get("away", False)
        return answer


@pytest.mark.parametrize("fault", [Fault.UNAVAILABLE, Fault.THROTTLED, Fault.LOST])
async def test_whatever_pass_an_outage_meets_the_counts_are_those_of_a_job_without_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(orchestrator, "LONGEST_PAUSE", timedelta(milliseconds=20))
    counts = []
    for number, struck in enumerate((None, fault)):
        outages = Outages(struck)
        with monkeypatch.context() as patched:
            patched.setattr("link_orchestrator.functions.answered", outages_of(outages))
            folder = tmp_path / str(number)
            folder.mkdir()
            async with serving(folder, lambda tables, outages=outages: FaultyTables(tables, outages.strike)) as app:
                counts.append(await life(app))
        met = {name for name, times in outages.met.items() if times}
        assert not struck or met >= {
            "import",
            *PLAN_PASSES,
            *APPLY_PASSES,
            *VERIFY_PASSES,
            *UNDO_PASSES,
            "planned",
            "done",
        }
    assert counts[0] == counts[1]


def outages_of(outages: Outages) -> Any:
    """Return what stands for answered()."""

    async def answered(work: Any) -> dict[str, Any]:
        arguments = work.cr_frame.f_locals
        return await outages.meet(work, work.__name__, arguments["message"])

    return answered


async def life(app: App) -> list[Any]:
    """Import, link, verify and take back; return what each job counted."""
    imported = await app.bring(ACCOUNTS)
    run = await app.plan(*IDENTITIES)
    done = await app.apply(run)
    jobs = [imported, run, done]
    for kind, path in (("verification", "verifications"), ("undo", "undos")):
        job = await app.call("POST", f"linking/runs/{run['id']}/{kind}")
        jobs.append(await app.wait(f"linking/{path}/{job['id']}"))
    return [(job["phase"], job["counts"]) for job in jobs]


def test_attempts_after_a_crash_are_ever_further_apart() -> None:
    assert RETRY.to_json() == {
        "firstRetryIntervalInMilliseconds": 2_000,
        "maxNumberOfAttempts": 10,
        "backoffCoefficient": 2,
        "maxRetryIntervalInMilliseconds": 300_000,
    }


async def test_a_plan_that_waits_longer_than_a_timer_of_azure_goes_on_as_soon_as_it_is_approved(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in Azure, with a second for a million. Of a timer that is too long a piece takes longer than the test."""
    monkeypatch.setattr(wire, "LONGEST_TIMER", "00:00:00.5184000")
    monkeypatch.setattr(wire, "LONG_TIMER_STEP", "00:10:00")
    monkeypatch.setattr(orchestrator, "LONGEST_TIMER", orchestrator.LONGEST_TIMER / 1_000_000)
    await app.bring(ACCOUNTS)
    upload = await app.upload(*IDENTITIES)
    run = await app.call("POST", "linking/runs", {"identities": upload, "expiresHours": 1})
    planned = await app.wait(f"linking/runs/{run['id']}", "planned")
    await until(lambda: timers_over(app, run["id"], 3))
    assert (await app.apply(planned))["phase"] == "done"

    async def it_has_ended() -> bool:
        head = await app.host.executor.find(run["id"])
        return head is not None and head.status == "Completed"

    await until(it_has_ended)


async def test_a_plan_that_waits_with_the_long_timer_of_the_version_before_is_applied_once_it_is_approved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history of that plan is in pieces, which the SDK made: the new version replays it, and frees it of them."""
    for name in ("LONGEST_TIMER", "LONG_TIMER_STEP"):
        monkeypatch.setattr(wire, name, "00:00:00.2000000")
    monkeypatch.setattr(orchestrator, "LONGEST_TIMER", timedelta(days=30))
    async with serving(tmp_path) as app:
        await app.bring(ACCOUNTS)
        upload = await app.upload(*IDENTITIES)
        run = await app.call("POST", "linking/runs", {"identities": upload, "expiresHours": 168})
        await app.wait(f"linking/runs/{run['id']}", "planned")
        await until(lambda: timers_over(app, run["id"], 2))
    monkeypatch.undo()
    async with serving(tmp_path) as app:
        planned = await app.wait(f"linking/runs/{run['id']}", "planned")
        assert (await app.apply(planned))["phase"] == "done"


async def timers_over(app: App, instance_id: str, number: int) -> bool:
    head = await app.host.executor.find(instance_id)
    events, _ = await app.host.executor.store.load(head) if head else ([], [])
    return [one["EventType"] for one in events].count(EventType.TIMER_FIRED) >= number


async def test_of_two_requests_that_start_an_orchestration_the_second_finds_it_started(app: App) -> None:
    """Azure refuses to start what has not ended, and both requests saw none."""
    run = await app.plan(*IDENTITIES)
    management = Management(app.host.executor)
    await management.start()
    try:
        sdk = df.DurableOrchestrationClient(management.binding)
        with pytest.raises(Exception, match="already exists"):
            await sdk.start_new("link_accounts", run["id"], {})
        client = Client(sdk)
        directory = await Directories(app.tables).open("main")
        job = await directory.jobs.get(run["id"])
        seen = asyncio.Event()

        class Late(Client):
            """A client that sees no orchestration at first."""

            async def get_status(self, instance_id: str) -> Any:
                if not seen.is_set():
                    seen.set()
                    return None
                return await super().get_status(instance_id)

        started = replace(job, state=State.STARTED)
        assert await ensure_started(directory, started, Late(sdk)) == started
        with pytest.raises(Unavailable):
            await client.start_new(RUN.name, "another", {})
    finally:
        await management.close()
    assert (await app.apply(run))["phase"] == "done"


async def test_a_request_that_the_extension_cannot_serve_is_to_be_sent_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await app.plan(*IDENTITIES)

    async def fails(*_: object) -> None:
        raise OSError("the task hub's storage is away")

    with monkeypatch.context() as away:
        for name in ("find", "start_new"):
            away.setattr(app.host.executor, name, fails)
        for method, path in (("GET", f"linking/runs/{run['id']}"), ("POST", f"linking/runs/{run['id']}/approve")):
            assert (await status_of(app.call(method, path)))[0] == 503
    assert (await app.apply(run))["phase"] == "done"


async def test_a_plan_that_was_approved_in_time_does_not_expire_though_its_orchestration_was_not_told(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who approved it at the last moment was answered that it is approved."""
    await app.bring(ACCOUNTS)
    upload = await app.upload(*IDENTITIES)
    run = await app.call("POST", "linking/runs", {"identities": upload, "expiresHours": 0.001})
    planned = await app.wait(f"linking/runs/{run['id']}", "planned")
    await approve_untold(app, planned, monkeypatch)
    jobs = (await Directories(app.tables).open("main")).jobs

    async def it_has_ended() -> bool:
        return (await jobs.get(run["id"])).state.ended

    await until(it_has_ended)
    done = await jobs.get(run["id"])
    assert (done.state, done.counts["linked"]) == (State.DONE, planned["links"])
