"""Runs that start by a timer over Graph, make room for one another, and stop when an undo begins."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from azure.functions.timer import TimerRequest

import function_app
from infra.local.durable.management import binding
from infra.local.faults import Crash, Fault, FaultyTables, script
from infra.local.functions import read_functions
from infra.local.graph import GraphStandIn
from link_orchestrator.lifecycle import tidy_up
from link_orchestrator.requests import schedule
from link_orchestrator.requests.approval import approve
from link_orchestrator.run import SCHEDULED
from link_orchestrator.schedule import suspend_for
from link_orchestrator.source import SourceFailed
from shared.directory.directory import Directories, Directory
from shared.directory.errors import Busy
from shared.directory.matching.policy import Policy, Schedule
from shared.directory.schedule import ScheduleState
from shared.directory.text import timestamp
from shared.directory.work.jobs import Job, State
from shared.host.settings import Credential, Settings
from shared.scim.endpoint import Request
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.graph.test_graph import ALL, USERS, standing
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, leave_out_entries, make_directory, object_id
from tests.link_orchestrator.test_self_approval import waiting, warn
from tests.shared.directory.people import call_number, pause

EVERY = {"schedule": {"source": ALL, "everyHours": 2}}
VERIFIED = {"verifiedDomains": ["contoso.com"]}
WITHIN = {"autoApprove": {"share": 1, "number": 5}}
ACCOUNTS = csv_file(
    {"userName": "jane@contoso.com", "employeeNumber": ""},
    {"userName": "rita", "employeeNumber": "7"},
    {"userName": "sam", "employeeNumber": "8"},
)
"""Jane is linked by her name; rita and sam wait for a review, since only their numbers match."""
PEOPLE = (
    graph(1, "jane@contoso.com"),
    graph(3, "rita@contoso.com", employeeId="7"),
    graph(4, "sam@contoso.com", employeeId="8"),
)


@pytest.fixture
async def both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[GraphStandIn, App]]:
    async with standing(tmp_path, monkeypatch, PEOPLE) as running:
        yield running


@pytest.fixture
def app(both: tuple[GraphStandIn, App]) -> App:
    return both[1]


async def switch_on(app: App, **policy: Any) -> None:
    await app.call("PUT", "directory/policy", VERIFIED | EVERY | policy)


async def tick(app: App) -> Any:
    """Let the timer come, and return what the schedule shows then."""
    await app.host.run_timer("scheduled_runs")
    return await app.call("GET", "linking/schedule")


async def hours_later(tables: Tables, hours: float, name: str = "main") -> None:
    """Let the last start have been so many hours earlier."""
    directory = await Directories(tables).open(name)
    state = await directory.schedule.get()
    moment = timestamp(datetime.fromisoformat(state.started) - timedelta(hours=hours))
    assert await directory.schedule.save(state, replace(state, started=moment))


async def ended(app: App, run_id: str, *phases: str) -> Any:
    return await app.wait(f"linking/runs/{run_id}", *phases)


async def test_once_matching_has_ended_no_run_starts_and_the_schedule_says_why(app: App) -> None:
    await app.bring(ACCOUNTS)
    await switch_on(app, matchingEnded=True)
    shown = await tick(app)
    assert (shown["lastRun"], shown["putOff"].startswith("matchingEnded: matching has ended")) == (None, True)
    await switch_on(app)
    assert (await tick(app))["lastRun"]


class TestOverGraph:
    async def test_same_address_linked_and_accounts_that_come_later_are_found(
        self, both: tuple[GraphStandIn, App], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("link_orchestrator.passes.compare.MOST_SHARE", 10.0)
        stand_in, app = both
        await app.bring(ACCOUNTS)
        await switch_on(app, **WITHIN)
        shown = await tick(app)
        assert shown["switchedOn"]["by"] == "local"
        first = await ended(app, shown["lastRun"])
        assert (first["phase"], first["counts"]["linked"], first["startedBy"]) == ("done", 1, "schedule:local")
        assert (first["approvedBy"], first["options"][SCHEDULED]) == ("autoApprove:local", True)
        assert (await tick(app))["lastRun"] == first["id"], "the next one is not due"
        await app.bring(csv_file({"userName": "new@contoso.com"}))
        stand_in.tenant.change(object_id(9), userPrincipalName="new@contoso.com", mail="new@contoso.com")
        await hours_later(app.tables, 2)
        second = await ended(app, (await tick(app))["lastRun"])
        assert second["id"] != first["id"]
        assert (second["phase"], second["options"]["since"]) == ("done", [first["id"]])
        assert (await app.account("new@contoso.com"))["link"]["by"] == f"run:{second['id']}"
        await hours_later(app.tables, 2)
        third = await ended(app, (await tick(app))["lastRun"])
        assert (third["phase"], "Nothing changed" in third["reason"]) == ("done", True)

    async def test_a_group_that_the_policy_excludes_keeps_no_run_from_approving_itself(
        self, both: tuple[GraphStandIn, App]
    ) -> None:
        stand_in, app = both
        stand_in.tenant.groups.clear()
        stand_in.tenant.add_group("Staff", [object_id(1)])
        outside = stand_in.tenant.add_group("Externals", [object_id(3)])
        await app.bring(ACCOUNTS + b"rita@contoso.com,\r\n")
        group = await app.call("POST", "groups/import", b"group,userName\nStaff,jane@contoso.com\n", "text/csv")
        await app.wait(f"groups/imports/{group['id']}", "done")
        await switch_on(app, **WITHIN, excluded=[{"group": outside}])
        run = await ended(app, (await tick(app))["lastRun"])
        assert (run["phase"], run["counts"]["linked"], run["counts"]["excluded"]) == ("done", 1, 1)
        assert {"groupLink", "noGroup", "localGroup"}.isdisjoint(run["counts"]), "its groups are read for that alone"

    async def test_one_that_waits_makes_room_and_its_reviews_are_kept(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await switch_on(app)
        first = await ended(app, (await tick(app))["lastRun"], "planned")
        rows = {row["identity"]["objectId"]: row for row in await app.decisions(first) if "identity" in row}
        path = f"linking/runs/{first['id']}"
        linked, excluded = rows[object_id(3)]["id"], rows[object_id(1)]["id"]
        await app.call("POST", path + "/review", {"rows": [linked], "action": "link"})
        await app.call("POST", path + "/review", {"rows": [excluded], "action": "exclude"})
        await app.call("POST", path + "/review", {"rows": [rows[object_id(4)]["id"]], "action": "link"})
        await app.call("POST", path + "/review", {"rows": [rows[object_id(4)]["id"]], "action": "leave"})
        before = {row["id"]: row for row in await app.decisions(first) if "review" in row}
        await hours_later(app.tables, 2)
        shown = await tick(app)
        former = await app.call("GET", path)
        assert (former["phase"], former["replacedBy"]) == ("cancelled", shown["lastRun"])
        assert shown["lastRun"] in former["reason"]
        second = await ended(app, shown["lastRun"], "planned")
        assert (second["counts"]["reviewsKept"], second["counts"]["reviewsDropped"]) == (2, 0)
        assert f"2 of 2 reviews were kept of {first['id']}" in second["reason"]
        assert second["review"] == {"link": 1, "exclude": 1}
        assert second["links"] == 1
        after = {row["id"]: row for row in await app.decisions(second) if "review" in row}
        assert after == {name: before[name] for name in (linked, excluded)}
        with pytest.raises(Refusal, match="the run is cancelled"):
            await app.call("POST", path + "/approve", {"links": 1})
        done = await app.apply(second)
        assert done["counts"]["linked"] == 1
        assert (await app.account("rita"))["link"]["identity"] == object_id(3)
        assert (await app.account("jane@contoso.com"))["link"] is None

    async def test_a_review_whose_row_is_another_one_now_is_dropped_and_asks_for_a_person(self, app: App) -> None:
        """Jane was excluded. Though her row changed, no run links her by itself, the one after the next neither."""
        await app.bring(ACCOUNTS)
        await switch_on(app, autoApprove={"share": 0, "number": 5})
        first = await waiting(app, (await tick(app))["lastRun"])
        (jane,) = await app.decisions(first, "link")
        await app.call("POST", f"linking/runs/{first['id']}/review", {"rows": [jane["id"]], "action": "exclude"})
        account = await app.account("jane@contoso.com")
        await app.call("PATCH", f"accounts/{account['id']}", {"document": {"title": "Dr"}})
        await switch_on(app, **WITHIN)
        for former in (first["id"], None):
            await hours_later(app.tables, 2)
            run = await waiting(app, (await tick(app))["lastRun"])
            assert former in (None, run["options"]["reviewsFrom"])
            assert (run["counts"]["reviewsKept"], run["counts"]["reviewsDropped"]) == (0, 1)
            assert "reviews of the run before were not kept" in run["reason"]
        assert (await app.account("jane@contoso.com"))["link"] is None

    async def test_of_who_was_linked_in_a_review_that_is_kept_nothing_warns(
        self, both: tuple[GraphStandIn, App]
    ) -> None:
        """What a review takes off the warnings goes by the suggestions of its row, which come before it."""
        stand_in, app = both
        stand_in.tenant.change(object_id(9), userPrincipalName="x@contoso.com", displayName="Anna Mueller")
        await app.bring(csv_file({"userName": "am", "displayName": "Mueller, Anna"}))
        await switch_on(app)
        first = await ended(app, (await tick(app))["lastRun"], "planned")
        (row,) = [one for one in await app.decisions(first, "noAccount") if "suggestions" in one]
        review = {"rows": [row["id"]], "action": "link", "account": "am"}
        await app.call("POST", f"linking/runs/{first['id']}/review", review)
        await hours_later(app.tables, 2)
        second = await ended(app, (await tick(app))["lastRun"], "planned")
        assert second["counts"]["reviewsKept"] == 1
        assert "probableAccounts" not in [one["code"] for one in second.get("warnings", ())]
        path = f"linking/runs/{second['id']}/review"
        again = await app.call("POST", path, {"rows": [row["id"]], "action": "leave"})
        (told,) = [one for one in again["run"]["warnings"] if one["code"] == "probableAccounts"]
        assert told["count"] == 1

    async def test_an_acknowledgement_is_good_for_the_runs_that_follow(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warn(monkeypatch, object_id(1))
        await app.bring(ACCOUNTS)
        await switch_on(app, **WITHIN)
        first = await waiting(app, (await tick(app))["lastRun"])
        (jane,) = await app.decisions(first, "link")
        await app.call("POST", f"linking/runs/{first['id']}/review", {"rows": [jane["id"]], "action": "acknowledge"})
        await hours_later(app.tables, 2)
        second = await ended(app, (await tick(app))["lastRun"])
        assert (second["phase"], second["counts"]["reviewsKept"]) == ("done", 1)
        assert (await app.account("jane@contoso.com"))["link"]["by"] == f"run:{second['id']}"

    async def test_one_that_would_link_nobody_approves_itself_so_that_later_runs_go_on_from_it(self, app: App) -> None:
        await app.bring(csv_file({"userName": "somebody@fabrikam.com"}))
        await switch_on(app, **WITHIN)
        run = await ended(app, (await tick(app))["lastRun"])
        assert (run["phase"], run["approvedBy"]) == ("done", "autoApprove:local")
        assert not run["counts"].get("linked")

    async def test_a_run_that_a_person_started_makes_no_room(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await switch_on(app)
        mine = await app.call("POST", "linking/runs", {"source": ALL})
        await ended(app, mine["id"], "planned")
        shown = await tick(app)
        assert shown["lastRun"] is None
        assert shown["putOff"] == f"{mine['id']}, which local started, waits for approval: approve or cancel it"
        assert (await app.call("GET", f"linking/runs/{mine['id']}"))["phase"] == "planned"
        await app.call("POST", f"linking/runs/{mine['id']}/cancel")
        await ended(app, mine["id"])
        shown = await tick(app)
        assert shown["lastRun"]
        assert shown["putOff"] is None

    async def test_an_undo_suspends_the_schedule_until_somebody_resumes_it(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await switch_on(app, **WITHIN)
        run = await ended(app, (await tick(app))["lastRun"])
        undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
        await app.wait(f"linking/undos/{undo['id']}", "done")
        await hours_later(app.tables, 2)
        shown = await tick(app)
        assert (shown["lastRun"], shown["nextStart"]) == (run["id"], None)
        assert shown["suspended"]["by"] == "local"
        assert shown["suspended"]["why"] == f"{undo['id']} takes back what {run['id']} linked"
        shown = await app.call("POST", "linking/schedule/resume")
        assert shown["suspended"] is None
        assert (await app.call("POST", "linking/schedule/resume"))["suspended"] is None, "saying it again is no error"
        assert (await tick(app))["lastRun"] != run["id"]
        history = (await app.call("GET", "directory/policy/history"))["history"]
        assert [entry["changes"]["schedule"].get("after") for entry in history[:2]] == ["resumed", "suspended"]

    @pytest.mark.parametrize(
        ("source", "wrong"),
        [
            ({}, "schedule.source.graph: "),
            ({"graph": {"scope": "some"}}, "schedule.source.graph.scope: "),
            ({"graph": {"scope": "groups", "groups": ["abc"]}}, r"schedule.source.graph.groups.0: .* is a GUID"),
            ({"graph": {"scope": "groups"}}, "schedule.source.graph: .*groups, a list of object ids"),
        ],
    )
    async def test_a_source_that_cannot_be_read_is_refused_by_name(self, app: App, source: Any, wrong: str) -> None:
        with pytest.raises(Refusal, match=wrong) as refusal:
            await switch_on(app, schedule={"source": source, "everyHours": 2})
        assert refusal.value.status == 400
        assert (await app.call("GET", "directory/policy"))["schedule"] is None

    async def test_a_schedule_is_refused_where_the_app_is_not_set_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "other").mkdir()
        async with standing(tmp_path / "other", monkeypatch, USERS, tenants={}) as (_, app):
            with pytest.raises(Refusal, match=r"schedule\.source: this app is not set up to read it") as refusal:
                await switch_on(app)
            assert refusal.value.status == 409


class Client:
    """A durable client whose orchestrations are started and told, and do nothing. All clients have one task hub."""

    hub: ClassVar[set[str]] = set()

    def __init__(self) -> None:
        self.started: list[str] = []
        self.told: list[tuple[str, str]] = []

    async def start_new(self, name: str, instance_id: str, client_input: Any) -> str:
        self.started.append(instance_id)
        self.hub.add(instance_id)
        return instance_id

    async def raise_event(self, instance_id: str, event_name: str, event_data: Any) -> None:
        self.told.append((instance_id, event_name))

    async def get_status(self, instance_id: str) -> Any:
        running = SimpleNamespace(runtime_status=SimpleNamespace(value="Running"), custom_status=None)
        return running if instance_id in self.hub else None


class Ready:
    """Sources that the app is set up for, or not."""

    def __init__(self, missing: str = "") -> None:
        self._missing = missing

    def check(self, directory: str) -> None:
        if self._missing:
            raise SourceFailed(self._missing)

    def tenant(self, directory: str) -> str:
        return "contoso.onmicrosoft.com"


SCHEDULE = Schedule({"graph": {"scope": "all"}}, 2)


async def scheduled(tables: Tables, name: str) -> tuple[Directory, Job]:
    """Return a directory in which a scheduled run waits for approval, and the next one is due."""
    directory = await make_directory(tables, name, 2)
    await directory.policies.set(Policy(schedule=SCHEDULE), "boss")
    await start_due(tables, name)
    (job,) = await directory.jobs.list_all()
    await directory.jobs.change(job.id, lambda job: replace(job, state=State.PLANNED, planned=directory.jobs.now()))
    await hours_later(tables, 2, name)
    return directory, await directory.jobs.get(job.id)


async def start_due(tables: Tables, name: str, client: Any = None, sources: Any = None) -> None:
    await schedule.start_due(await Directories(tables).open(name), client or Client(), sources or Ready())


async def the_two(directory: Directory, first: Job) -> tuple[Job, Job]:
    """Return the run that waited and the one that was to take its place. There are no others."""
    jobs = {job.id: job for job in await directory.jobs.list_all()}
    former = jobs.pop(first.id)
    (latter,) = jobs.values()
    return former, latter


class TestTwoAtOnce:
    async def test_two_timers_start_one_run(self, sqlite_tables: SqliteTables) -> None:
        for number in range(1, 80):
            directory, first = await scheduled(sqlite_tables, f"d{number}")
            slow = FaultyTables(sqlite_tables)

            async def other(name: str = f"d{number}") -> None:
                await start_due(sqlite_tables, name)

            reached = pause(slow, call_number(number), other)
            await start_due(slow, directory.name)
            former, latter = await the_two(directory, first)
            assert (former.replaced_by, latter.state) == (latter.id, State.STARTED)
            assert (await directory.schedule.get()).run == latter.id
            if not reached:
                return
        raise AssertionError

    async def test_of_an_approval_and_the_next_run_one_wins(self, sqlite_tables: SqliteTables) -> None:
        won: set[bool] = set()
        for number in range(1, 80):
            directory, first = await scheduled(sqlite_tables, f"a{number}")
            slow = FaultyTables(sqlite_tables)

            answered: list[int] = []

            async def other(first: Job = first, name: str = f"a{number}", answered: list[int] = answered) -> None:
                client: Any = Client()
                with suppress(Busy):
                    where = await Directories(sqlite_tables).open(name)
                    answer = await approve(where, Request("http://x/scim/v2", "me", first.id), client)
                    answered.append(answer.status)

            reached = pause(slow, call_number(number), other)
            await start_due(slow, directory.name)
            job = await directory.jobs.get(first.id)
            won.add(job.state is State.APPROVED)
            assert answered == ([202] if job.state is State.APPROVED else []), "what was answered holds"
            if job.state is State.APPROVED:
                assert [one.id for one in await directory.jobs.list_all()] == [first.id]
                assert job.replaced_by is None
            else:
                former, latter = await the_two(directory, first)
                assert (former.state, former.approved, latter.state) == (State.CANCELLED, None, State.STARTED)
            if not reached:
                break
        else:
            raise AssertionError
        assert won == {True, False}

    async def test_a_crash_at_any_storage_operation_leaves_one_run_in_the_place_of_the_other(
        self, sqlite_tables: SqliteTables
    ) -> None:
        number, crashed = 0, True
        while crashed:
            number += 1
            crashed = False
            for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
                name = f"c{number}{fault.name.partition('_')[2].lower()}"
                directory, first = await scheduled(sqlite_tables, name)
                dying = FaultyTables(sqlite_tables, script({number: fault}))
                client = Client()
                try:
                    await start_due(dying, name, client)
                except Crash:
                    crashed = True
                jobs = await directory.jobs.list_all()
                assert sum(not job.state.ended for job in jobs) == 1, "one of them is always there"
                again = Client()
                await start_due(sqlite_tables, name, again)
                former, latter = await the_two(directory, first)
                assert (former.state, former.replaced_by) == (State.CANCELLED, latter.id)
                assert (latter.options["reviewsFrom"], latter.options["insteadOf"]) == (first.id, first.id)
                assert latter.id in (*client.started, *again.started)
                assert (first.id, "cancel") in (*client.told, *again.told)
                assert (await directory.schedule.get()).begun
        assert number > 10

    async def test_whose_place_was_taken_is_hidden_from_scim_by_its_plan_until_the_next_one(
        self, sqlite_tables: SqliteTables
    ) -> None:
        directory, first = await scheduled(sqlite_tables, "main")
        await directory.jobs.record("run", "test", "run0", {})
        await directory.jobs.note_seen(["run0"])
        await directory.jobs.note_planned(["run0", first.id])
        await start_due(sqlite_tables, "main")
        await tidy_up(directory, first.id)
        assert await directory.jobs.find_planned() == "run0"
        row = await sqlite_tables.get(*directory.jobs.planned_place)
        assert row
        assert row.columns["runs"] == f"run0 {first.id}"


class TestWhatIsInTheWay:
    async def test_a_run_that_is_not_due_or_suspended_or_switched_off_does_not_start(
        self, sqlite_tables: SqliteTables
    ) -> None:
        directory = await make_directory(sqlite_tables, "main", 2)
        await start_due(sqlite_tables, "main")
        assert await directory.schedule.get() == ScheduleState()
        await directory.policies.set(Policy(schedule=replace(SCHEDULE, on=False)), "boss")
        await start_due(sqlite_tables, "main")
        assert await directory.jobs.list_all() == []
        await directory.policies.set(Policy(schedule=SCHEDULE), "boss")
        await directory.schedule.suspend("me", "for now")
        await start_due(sqlite_tables, "main")
        assert await directory.jobs.list_all() == []
        await directory.schedule.resume("me")
        await start_due(sqlite_tables, "main")
        (job,) = await directory.jobs.list_all()
        await directory.jobs.change(job.id, lambda job: replace(job, state=State.DONE))
        await hours_later(sqlite_tables, 1.9)
        await start_due(sqlite_tables, "main")
        assert len(await directory.jobs.list_all()) == 1
        # A timer never comes to the second: it may start a little early, or each day would begin later.
        await hours_later(sqlite_tables, 0.05)
        await start_due(sqlite_tables, "main")
        assert len(await directory.jobs.list_all()) == 2

    @pytest.mark.parametrize("adoptions", [False, True])
    async def test_an_undo_that_is_under_way_suspends_the_schedule(
        self, sqlite_tables: SqliteTables, adoptions: bool
    ) -> None:
        """Where a crash came between the start of the undo and the suspension."""
        directory, first = await scheduled(sqlite_tables, "main")
        await directory.jobs.change(first.id, lambda job: replace(job, state=State.DONE))
        of, linked = ({"adoptions": True}, "creates over SCIM") if adoptions else ({"run": first.id}, first.id)
        undo = await directory.jobs.start("undo", "me", directory.jobs.new_id("undo"), {**of, "slices": 1})
        await start_due(sqlite_tables, "main")
        state = await directory.schedule.get()
        assert (state.suspended_by, state.why) == ("me", f"{undo.id} takes back what {linked} linked")
        await directory.jobs.change(undo.id, lambda job: replace(job, state=State.DONE))
        await start_due(sqlite_tables, "main")
        assert (await directory.schedule.get()).run == first.id

    @pytest.mark.parametrize("state", [State.STARTED, State.APPROVED])
    async def test_a_run_that_is_under_way_is_waited_for(self, sqlite_tables: SqliteTables, state: State) -> None:
        directory, first = await scheduled(sqlite_tables, "main")
        await directory.jobs.change(first.id, lambda job: replace(job, state=state))
        await start_due(sqlite_tables, "main")
        found = await directory.schedule.get()
        assert (found.run, found.skipped) == (first.id, f"{first.id} is under way")
        assert (await directory.jobs.get(first.id)).state is state

    async def test_a_run_that_was_noted_and_put_off_says_so_until_it_begins(self, sqlite_tables: SqliteTables) -> None:
        directory, first = await scheduled(sqlite_tables, "main")
        state = await directory.schedule.get()
        await directory.schedule.save(state, replace(state, run="run1", begun=False))
        await directory.jobs.change(first.id, lambda job: replace(job, state=State.APPROVED))
        await start_due(sqlite_tables, "main")
        assert (await directory.schedule.get()).skipped == f"{first.id} is under way"
        await directory.jobs.change(first.id, lambda job: replace(job, state=State.DONE))
        await start_due(sqlite_tables, "main")
        found = await directory.schedule.get()
        assert (found.run, found.begun, found.skipped) == ("run1", True, "")
        assert (await directory.jobs.get("run1")).state is State.STARTED

    async def test_settings_that_went_missing_put_the_run_off(self, sqlite_tables: SqliteTables) -> None:
        directory, first = await scheduled(sqlite_tables, "main")
        await start_due(sqlite_tables, "main", sources=Ready("SCIMLINK_GRAPH_TENANTS names no tenant"))
        found = await directory.schedule.get()
        assert (found.run, "SCIMLINK_GRAPH_TENANTS" in found.skipped) == (first.id, True)

    async def test_a_schedule_without_a_policy_that_has_one_is_not_suspended(self, sqlite_tables: SqliteTables) -> None:
        directory = await make_directory(sqlite_tables, "main", 2)
        undo = await directory.jobs.start("undo", "me", directory.jobs.new_id("undo"), {"adoptions": True, "slices": 1})
        await suspend_for(directory, undo)
        assert not (await directory.schedule.get()).suspended


async def test_trouble_in_one_directory_keeps_no_other_from_its_runs(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    looked: list[str] = []

    async def look(directory: Directory, client: Any, sources: Any) -> None:
        looked.append(directory.name)
        if directory.name == "first":
            raise RuntimeError("jane@contoso.com")

    monkeypatch.setattr(schedule, "start_due", look)
    names = ("second", "first", "second")
    credentials = tuple(Credential.of(f"token{n}", f"c{n}", directory=name) for n, name in enumerate(names))
    app = function_app.build(Settings(credentials=credentials), sqlite_tables)
    (timer,) = [one for one in read_functions(app).timers if one.name == "scheduled_runs"]
    client = json.dumps(binding("http://127.0.0.1:1"))
    await timer.call(timer=TimerRequest(), client=client)
    assert looked == ["first", "second"]
    assert "schedule first failed with RuntimeError" in caplog.text
    assert "jane" not in caplog.text


@pytest.mark.parametrize(
    ("state", "planned", "approved", "former"),
    [
        (State.EXPIRED, "then", None, "itself"),
        (State.FAILED, "then", None, "itself"),
        (State.FAILED, None, None, "run0"),
        (State.CANCELLED, None, None, "run0"),
        (State.CANCELLED, "then", None, None),
        (State.FAILED, "then", "then", None),
        (State.DONE, None, None, None),
    ],
)
async def test_reviews_are_kept_of_the_last_run_that_nobody_decided_about(
    sqlite_tables: SqliteTables, state: State, planned: str | None, approved: str | None, former: str | None
) -> None:
    directory, first = await scheduled(sqlite_tables, "main")
    options = {**first.options, "reviewsFrom": "run0"}
    await directory.jobs.change(
        first.id, lambda job: replace(job, state=state, planned=planned, approved=approved, options=options)
    )
    await start_due(sqlite_tables, "main")
    _, latter = await the_two(directory, first)
    assert latter.options.get("reviewsFrom") == (first.id if former == "itself" else former)
    assert "insteadOf" not in latter.options


async def test_reviews_are_kept_of_a_run_that_a_version_without_entries_stored(sqlite_tables: SqliteTables) -> None:
    directory, first = await scheduled(sqlite_tables, "main")
    await directory.jobs.change(first.id, lambda job: replace(job, state=State.FAILED, planned="then"))
    await leave_out_entries(sqlite_tables, directory.keys)
    await start_due(sqlite_tables, "main")
    _, latter = await the_two(directory, first)
    assert latter.options["reviewsFrom"] == first.id
