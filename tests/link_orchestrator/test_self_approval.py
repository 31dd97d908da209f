"""Runs that approve themselves: within what an administrator switched on, and nothing else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator import approving
from link_orchestrator.messages import FORM, Milestone, SelfApproval, Slice
from link_orchestrator.orchestrator import PLAN_PASSES, link_accounts
from link_orchestrator.passes import plan
from link_orchestrator.run import OWN_POLICY, REVIEWS_DROPPED, SELF_APPROVED, renew_waiting, reviews_of
from shared.directory.directory import Directories, Directory
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import AutoApproval, Policy
from shared.directory.records.model import Account, Status
from shared.directory.work.gate import Gate
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.directory.work.reviews import ACKNOWLEDGE, EXCLUDE, LEAVE, Review
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import (
    POLICY,
    App,
    Engine,
    activity_calls,
    begin_run,
    csv_file,
    graph,
    make_directory,
    object_id,
    plan_rows,
    start_of,
)
from tests.link_orchestrator.test_groups import GROUPS, RESEARCH, bring, entra
from tests.link_orchestrator.test_groups import upload as upload_groups
from tests.shared.directory.people import call_number, pause
from tests.waiting import until

NAMES = ("ann@contoso.com", "bob@contoso.com", "cleo@contoso.com")
AUTO = {"share": 1, "number": 3}
RULES = [{"rule": "externalId", "trust": "strong"}]


async def started(app: App, auto: Any = AUTO, others: int = 0, **asked: Any) -> Any:
    """Start a run over three people with accounts, under a policy that lets runs approve themselves."""
    await app.call("PUT", "directory/policy", POLICY | {"autoApprove": auto})
    rows = [{"userName": name} for name in NAMES] + [{"userName": f"o{n}"} for n in range(others)]
    await app.bring(csv_file(*rows))
    upload = await app.upload(*(graph(n, name) for n, name in enumerate(NAMES)))
    return await app.call("POST", "linking/runs", {"identities": upload, **asked})


async def came_to(app: App, run: Any) -> Any:
    """Return a run once it has ended or says what it waits for."""
    return await app.wait(f"linking/runs/{run['id']}", "planned")


async def waiting(app: App, run_id: str) -> Any:
    """Return a run once it says that it waits for a person. Raises AssertionError if it goes on without one."""

    async def told() -> Any:
        job = await app.call("GET", f"linking/runs/{run_id}")
        assert job["phase"] in ("started", "planned")
        return job if "waits for a person" in job.get("reason", "") else None

    return await until(told)


async def waits(app: App, run: Any) -> str:
    """Return why a run waits for a person. It has linked nobody."""
    job = await waiting(app, run["id"])
    assert not [name for name in NAMES if (await app.account(name))["link"]]
    return str(job["reason"])


class TestOverHttp:
    async def test_a_plan_within_the_limits_is_applied_in_the_name_of_who_switched_that_on(self, app: App) -> None:
        run = await started(app)
        done = await app.wait(f"linking/runs/{run['id']}", "done")
        assert (done["phase"], done["counts"]["linked"]) == ("done", 3)
        assert (done["approvedBy"], done["options"][SELF_APPROVED]) == ("autoApprove:local", True)
        assert (await app.account(NAMES[0]))["link"]["by"] == f"run:{run['id']}"
        async with app.session.get(f"/linking/runs/{run['id']}/report") as answer:
            page = await answer.text()
        assert "rule, switched on by local" in page
        assert "up to 3 links and 100.0% of the accounts" in page

    @pytest.mark.parametrize(
        ("auto", "others", "why"),
        [
            ({"share": 1, "number": 2}, 0, "3 links, more than autoApprove's number of 2"),
            ({"share": 0.5, "number": 9}, 2, "3 links to 5 accounts, more than autoApprove's share of 0.5"),
        ],
    )
    async def test_a_larger_plan_waits_for_a_person_and_says_why(
        self, app: App, auto: Any, others: int, why: str
    ) -> None:
        run = await started(app, auto, others)
        assert await waits(app, run) == f"It waits for a person: {why}."
        done = await app.apply(await app.call("GET", f"linking/runs/{run['id']}"))
        assert (done["approvedBy"], done["counts"]["linked"]) == ("local", 3)
        assert "reason" not in done
        assert SELF_APPROVED not in done["options"]

    async def test_plans_at_the_limits_are_within_them(self, app: App) -> None:
        run = await started(app, {"share": 0.6, "number": 3}, others=2)
        assert (await app.wait(f"linking/runs/{run['id']}", "done"))["counts"]["linked"] == 3

    async def test_a_run_with_a_policy_of_its_own_waits_though_it_is_the_directorys(self, app: App) -> None:
        policy = POLICY | {"autoApprove": AUTO}
        run = await started(app, policy=policy)
        assert await waits(app, run) == "It waits for a person: the run brings a policy of its own."

    async def test_without_the_switch_no_run_approves_itself(self, app: App) -> None:
        run = await started(app, None)
        planned = await came_to(app, run)
        assert (planned["phase"], planned.get("reason")) == ("planned", None)

    async def test_groups_are_approved_by_persons_alone(self, app: App) -> None:
        await bring(app, GROUPS, "text/csv")
        group = await upload_groups(app, entra(RESEARCH, "Research", 0))
        run = await started(app, groups=group)
        assert await waits(app, run) == "It waits for a person: 1 group to link, which a person alone approves."

    async def test_a_link_with_a_warning_waits_and_is_acknowledged_by_a_review(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warn(monkeypatch, object_id(1))
        run = await started(app)
        why = "1 link with a warning that nobody has acknowledged"
        assert await waits(app, run) == f"It waits for a person: {why}."
        path = f"linking/runs/{run['id']}"
        by_name = {row["identity"]["userPrincipalName"]: row["id"] for row in await app.decisions(run, "link")}
        asked = {"rows": [by_name[NAMES[1]], by_name[NAMES[0]]], "action": ACKNOWLEDGE}
        answer = await app.call("POST", path + "/review", asked)
        assert answer["reviewed"] == 1
        assert answer["refused"] == [
            {"id": by_name[NAMES[0]], "reason": "only a link that the plan warns of is acknowledged"}
        ]
        assert (answer["run"]["links"], answer["run"]["review"]) == (3, {"acknowledge": 1})
        (row,) = [row for row in await app.decisions(run, "link") if "review" in row]
        assert (row["review"]["action"], row["review"]["by"], row["warnings"]) == (ACKNOWLEDGE, "local", ["inactive"])
        await app.call("POST", path + "/review", {"rows": [row["id"]], "action": EXCLUDE})
        assert (await app.call("POST", path + "/review", asked | {"rows": [row["id"]]}))["run"]["links"] == 3
        done = await app.apply(answer["run"])
        assert done["counts"]["linked"] == 3

    async def test_pairs_that_an_undo_took_apart_wait_until_a_person_has_decided_about_each(self, app: App) -> None:
        run = await started(app)
        await app.wait(f"linking/runs/{run['id']}", "done")
        undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
        await app.wait(f"linking/undos/{undo['id']}", "done")
        await app.bring(csv_file({"userName": "dan@contoso.com"}))
        people = await app.upload(*(graph(n, name) for n, name in enumerate((*NAMES, "dan@contoso.com"))))
        again = await app.call("POST", "linking/runs", {"identities": people})
        assert "3 pairs that an undo or a release took apart" in await waits(app, again)
        first, second, third = (row["id"] for row in await app.decisions(again, "review"))
        asked = {"rows": [first], "action": "link"}
        await app.call("POST", f"linking/runs/{again['id']}/review", asked)
        await app.call("POST", f"linking/runs/{again['id']}/review", {"rows": [second], "action": EXCLUDE})
        directory = await Directories(app.tables).open("main")
        assert not await approving.approve_itself(directory, again["id"])
        assert "person: 1 pair that an undo or a release took apart" in await waits(app, again)
        await app.call("POST", f"linking/runs/{again['id']}/review", {"rows": [third], "action": EXCLUDE})
        assert await approving.approve_itself(directory, again["id"])

    async def test_a_plan_of_a_person_that_would_link_nobody_waits(self, app: App) -> None:
        await app.call("PUT", "directory/policy", POLICY | {"autoApprove": AUTO})
        people = await app.upload(graph(1, NAMES[0]))
        run = await app.call("POST", "linking/runs", {"identities": people})
        told = (await waiting(app, run["id"]))["reason"]
        assert told == "It waits for a person: it would link nobody, and its rows can still be reviewed."

    async def test_provisioning_waits_while_a_run_is_applied_that_approved_itself(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gates: list[str] = []

        async def close(self: Gate, job_id: str) -> None:
            gates.append(job_id)

        monkeypatch.setattr(Gate, "close", close)
        run = await started(app)
        await app.wait(f"linking/runs/{run['id']}", "done")
        assert gates == [run["id"]]

    async def test_a_run_that_lets_provisioning_through_closes_no_gate(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gates: list[str] = []

        async def close(self: Gate, job_id: str) -> None:
            gates.append(job_id)

        monkeypatch.setattr(Gate, "close", close)
        run = await started(app, pauseProvisioning=False)
        await app.wait(f"linking/runs/{run['id']}", "done")
        assert gates == []

    @pytest.mark.parametrize(
        "policy", [{}, {"autoApprove": AUTO | {"number": 2}}, {"autoApprove": AUTO, "rules": RULES}]
    )
    async def test_a_policy_that_is_changed_after_the_plan_counts(
        self, app: App, monkeypatch: pytest.MonkeyPatch, policy: Any
    ) -> None:
        approve = approving.approve_itself

        async def later(directory: Directory, job_id: str) -> bool:
            await app.call("PUT", "directory/policy", POLICY | policy)
            return await approve(directory, job_id)

        monkeypatch.setattr(approving, "approve_itself", later)
        run = await started(app)
        assert "policy was changed since the run began" in await waits(app, run)

    async def test_once_a_change_of_the_policy_is_answered_no_run_approves_itself_by_the_one_before(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count, counted = approving.count_plan, list[str]()

        async def meanwhile(directory: Directory, job: Job) -> approving.Counted:
            counted.append(job.id)
            if len(counted) == 1:
                await app.call("PUT", "directory/policy", POLICY)
            return await count(directory, job)

        monkeypatch.setattr(approving, "count_plan", meanwhile)
        run = await started(app)
        assert "policy was changed since the run began" in await waits(app, run)
        assert counted == [run["id"]]


def warn(monkeypatch: pytest.MonkeyPatch, *identities: str) -> None:
    """Let plans warn of the links of these identities."""
    row_of = plan._row

    def warned(*told: Any, **more: Any) -> PlanRow:
        row = row_of(*told, **more)
        return replace(row, shown={**row.shown, "warnings": ["inactive"]}) if row.subject in identities else row

    monkeypatch.setattr(plan, "_row", warned)


IDENTITIES = [Identity(object_id(n), name) for n, name in enumerate(NAMES)]
SWITCHED_ON = Policy(verified_domains=frozenset({"contoso.com"}), auto_approve=AutoApproval(1.0, 3))


async def planned(directory: Directory, policy: Policy = SWITCHED_ON) -> Job:
    """Return a planned run over three people with accounts, under a policy that lets it approve itself."""
    await directory.policies.set(policy, "boss")
    for name in NAMES:
        new = Account.new(directory.keys.new_id(name), {"userName": name}, Status.LOCAL, directory.accounts.now())
        await directory.accounts.create(new, by="test")
    run = await begin_run(directory, IDENTITIES, policy)
    calls = activity_calls(Directories(directory.tables))
    for name in PLAN_PASSES:
        part = Slice(
            job=run.id, directory=directory.name, pass_name=name, low=0, high=directory.keys.buckets, form=FORM
        ).to_json()
        await calls("run_slice", part)
    reached = Milestone(job=run.id, directory=directory.name, state="planned", expires="2999-01-01T00:00:00Z")
    await calls("reach_milestone", reached.to_json())
    return await directory.jobs.get(run.id)


async def asks(tables: Tables, job: Job, name: str = "main") -> bool:
    """Return what the activity answers."""
    asked = SelfApproval(job=job.id, directory=name).to_json()
    answer = await activity_calls(Directories(tables))("approve_itself", asked)
    return bool(answer["approved"])


class TestTheActivity:
    async def test_it_approves_and_closes_the_gate(self, sqlite_tables: SqliteTables) -> None:
        directory = await make_directory(sqlite_tables)
        job = await planned(directory)
        assert await asks(sqlite_tables, job)
        found = await directory.jobs.get(job.id)
        assert (found.state, found.approved_by) == (State.APPROVED, "autoApprove:boss")
        gate = await sqlite_tables.get(directory.keys.settings(), "gate")
        assert gate
        assert gate.columns["job"] == job.id

    async def test_what_is_switched_off_and_keeps_its_numbers_approves_nothing(
        self, sqlite_tables: SqliteTables
    ) -> None:
        directory = await make_directory(sqlite_tables)
        job = await planned(directory, replace(SWITCHED_ON, auto_approve=AutoApproval(1.0, 3, on=False)))
        assert not await asks(sqlite_tables, job)
        assert (await directory.jobs.get(job.id)).state is State.PLANNED

    @pytest.mark.parametrize(
        ("options", "counts", "why"),
        [
            ({OWN_POLICY: True}, {}, "a policy of its own"),
            ({"reviewsFrom": "run0"}, {REVIEWS_DROPPED: 1}, "reviews of the run before were not kept"),
        ],
    )
    async def test_what_waits_says_why_and_links_nobody(
        self, sqlite_tables: SqliteTables, options: Any, counts: Any, why: str
    ) -> None:
        directory = await make_directory(sqlite_tables)
        job = await planned(directory)
        changed = replace(job, options={**job.options, **options}, counts={**job.counts, **counts})
        await directory.jobs.change(job.id, lambda _: changed)
        assert not await asks(sqlite_tables, job)
        found = await directory.jobs.get(job.id)
        assert found.state is State.PLANNED
        assert why in str(found.reason)

    @pytest.mark.parametrize(
        ("action", "approves"), [(ACKNOWLEDGE, True), (EXCLUDE, True), (LEAVE, False), ("", False)]
    )
    async def test_of_links_with_a_warning_a_person_must_have_decided(
        self, sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, action: str, approves: bool
    ) -> None:
        warn(monkeypatch, object_id(1))
        directory = await make_directory(sqlite_tables)
        job = await planned(directory)
        (row,) = [row for row in await plan_rows(directory, job.id) if row.subject == object_id(1)]
        if action:
            await directory.jobs.change(job.id, lambda job: replace(job, reviewed="now"))
            await reviews_of(directory, job.id).record([(row, Review(action, "me", "now"))])
        assert await asks(sqlite_tables, job) is approves

    async def test_a_crash_at_any_storage_operation_ends_the_same(self, sqlite_tables: SqliteTables) -> None:
        number, crashed = 0, True
        while crashed:
            number += 1
            crashed = False
            for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
                name = f"d{number}{fault.name.partition('_')[2].lower()}"
                directory = await make_directory(sqlite_tables, name)
                job = await planned(directory)
                dying = FaultyTables(sqlite_tables, script({number: fault}))
                try:
                    await asks(dying, job, name)
                except Crash:
                    crashed = True
                assert await asks(sqlite_tables, job, name)
                found = await directory.jobs.get(job.id)
                assert (found.state, found.approved_by, found.reason) == (State.APPROVED, "autoApprove:boss", None)
                assert await sqlite_tables.get(directory.keys.settings(), "gate")
        assert number > 5

    async def test_twice_at_once_it_approves_once(self, sqlite_tables: SqliteTables) -> None:
        for number in range(1, 40):
            name = f"d{number}"
            directory = await make_directory(sqlite_tables, name)
            job = await planned(directory)
            slow = FaultyTables(sqlite_tables)
            twin: list[bool] = []

            async def second(job: Job = job, name: str = name, twin: list[bool] = twin) -> None:
                twin.append(await asks(sqlite_tables, job, name))

            reached = pause(slow, call_number(number), second)
            assert await asks(slow, job, name)
            if not reached:
                return
            assert twin == [True]
        raise AssertionError

    @pytest.mark.parametrize("act", ["approves", "cancels", "switches off", "excludes"])
    async def test_of_itself_and_a_person_the_first_one_decides(self, sqlite_tables: SqliteTables, act: str) -> None:
        won: set[bool] = set()
        for number in range(1, 60):
            name = f"d{number}"
            directory = await make_directory(sqlite_tables, name)
            job = await planned(directory)
            slow = FaultyTables(sqlite_tables)
            acted: list[bool] = []

            async def person(directory: Directory = directory, job: Job = job, acted: list[bool] = acted) -> None:
                acted.append(await PERSONS[act](directory, job.id))

            reached = pause(slow, call_number(number), person)
            itself = await asks(slow, job, name)
            if not reached:
                assert itself
                break
            found = await directory.jobs.get(job.id)
            won.add(itself)
            assert itself is (found.approved_by == "autoApprove:boss")
            if act == "excludes":
                assert itself, "a link less is no more than the limit"
                continue
            assert acted == [not itself], "exactly one of them"
            assert (found.state is State.APPROVED) is (itself or act == "approves")
        else:
            raise AssertionError
        assert won >= {True}
        assert False in won or act == "excludes"

    async def test_orchestrations_that_began_without_it_go_on_without_it(self, sqlite_tables: SqliteTables) -> None:
        directory = await make_directory(sqlite_tables)
        run = await begin_run(directory, IDENTITIES, SWITCHED_ON)
        await directory.policies.set(SWITCHED_ON)
        engine = Engine(activity_calls(Directories(sqlite_tables)), verdict="cancel")
        await engine.play(link_accounts, start_of(directory, run))
        assert "approve_itself" not in {name for name, _ in engine.calls}


async def approves(directory: Directory, job_id: str) -> bool:
    return await _changes(directory, job_id, lambda job: approving.approved(directory, job, "a person"))


async def cancels(directory: Directory, job_id: str) -> bool:
    return await _changes(directory, job_id, lambda job: replace(job, cancelled_by="a person"))


async def _changes(directory: Directory, job_id: str, change: Callable[[Job], Job]) -> bool:
    job = await directory.jobs.get(job_id)
    if job.state is State.PLANNED:
        await directory.jobs.replace(job, change(job))
    return job.state is State.PLANNED


async def switches_off(directory: Directory, job_id: str) -> bool:
    """Switch it off as the service does; return whether the run waits after that."""
    await directory.policies.set(Policy())
    await renew_waiting(directory)
    return (await directory.jobs.get(job_id)).state is State.PLANNED


async def excludes(directory: Directory, job_id: str) -> bool:
    """Exclude somebody as the service does, unless the run is approved."""
    job = await directory.jobs.get(job_id)
    if job.state is not State.PLANNED:
        return False
    await directory.jobs.replace(job, replace(job, reviewed="now"))
    row = next(row for row in await plan_rows(directory, job_id) if row.subject == object_id(1))
    await reviews_of(directory, job_id).record([(row, Review(EXCLUDE, "a person", "now"))])
    return True


PERSONS: dict[str, Callable[[Directory, str], Awaitable[bool]]] = {
    "approves": approves,
    "cancels": cancels,
    "switches off": switches_off,
    "excludes": excludes,
}
