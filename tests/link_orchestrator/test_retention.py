"""Jobs that are kept no longer: what goes at night once their term is over, and what an undo still finds."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Fault, FaultyTables
from infra.local.timers import Ncrontab
from link_orchestrator.functions import NIGHT as NIGHTLY
from link_orchestrator.messages import ACTIVATING
from link_orchestrator.passes.undo import SWITCHED_ON
from link_orchestrator.passes.undo_names import USER_NAME, Owed, debts_of
from link_orchestrator.retention import AGAIN_DAYS
from shared.directory.directory import Directories, Directory
from shared.directory.matching.policy import FEWEST_JOB_DAYS
from shared.directory.text import timestamp
from shared.directory.work.plan import PlanRow
from tests.link_orchestrator.passes.test_undo import linked, person, scim_patch, undo
from tests.link_orchestrator.requests.test_runs import Gate, status_of
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, left_open, object_id, plan_rows, serving

NIGHT = "jobs_remove"


async def directory_of(app: App) -> Directory:
    return await Directories(app.tables).open("main")


async def age(app: App, *jobs: Any, days: float = 181) -> None:
    """Let jobs have ended so many days ago."""
    directory = await directory_of(app)
    for job in jobs:
        stored = await directory.jobs.get(job["id"])
        assert stored.ended
        ended = timestamp(datetime.fromisoformat(stored.ended) - timedelta(days=days))
        await directory.jobs.replace(stored, replace(stored, ended=ended))


async def forget_the_last_look(app: App, job: Any) -> None:
    """Let it be a month ago that the rows of a job were looked through."""
    directory = await directory_of(app)
    stored = await directory.jobs.get(job["id"])
    assert stored.reduced
    reduced = timestamp(datetime.fromisoformat(stored.reduced) - timedelta(days=AGAIN_DAYS, hours=1))
    await directory.jobs.replace(stored, replace(stored, reduced=reduced))


async def names_kept(app: App, job: Any) -> set[str]:
    """Return the userNames that the rows of a job's plan hold."""
    shown = [row.shown for row in await plan_rows(await directory_of(app), job["id"])]
    return {one["account"]["userName"] for one in shown if one.get("account")}


def rows_under(folder: Path, job: Any) -> int:
    """Return how many rows have the name of a job in their partition."""
    with closing(sqlite3.connect(folder / "scimlink.db")) as connection:
        (found,) = connection.execute("SELECT count(*) FROM accounts WHERE instr(partition, ?)", (job["id"],))
        return int(found[0])


async def test_a_job_goes_with_its_rows_and_its_orchestration_after_its_term(app: App, tmp_path: Path) -> None:
    imported = await app.bring(csv_file(person("ada"), person("ada", title="Another")))
    run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "new@contoso.com"))
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    run = await app.wait(f"linking/runs/{run['id']}", "cancelled")
    await app.plan(graph(1, "ada@contoso.com"))  # from now on SCIM goes by this plan
    assert rows_under(tmp_path, run)
    await age(app, imported, run, days=179)
    await app.host.run_timer(NIGHT)
    assert await app.problems(imported)
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "cancelled"
    await age(app, imported, run, days=2)
    await app.host.run_timer(NIGHT)
    for path in (f"accounts/imports/{imported['id']}", f"linking/runs/{run['id']}"):
        assert (await status_of(app.call("GET", path)))[0] == 404
    for job in (imported, run):
        assert await app.host.executor.find(job["id"]) is None
        # What a late activity could still fill is announced until the sweep comes, and empty.
        assert not rows_under(tmp_path, job)
    directory = await directory_of(app)
    assert await directory.jobs.total(run["id"]) == {}
    assert (await app.account("ada@contoso.com"))["userName"] == "ada@contoso.com"


async def test_of_a_run_whose_links_stand_an_undo_finds_what_it_needs(app: App) -> None:
    """Of all others no row stays: who was released or deleted since, who had no match, a group that was released."""
    names = ("ada", "bob", "cleo", "dora")
    await app.bring(csv_file(*map(person, (*names, "alone")), {"userName": "rita", "email": "rita.alias@contoso.com"}))
    groups = csv_file({"displayName": "Kept", "members": ""}, {"displayName": "Released", "members": ""})
    job = await app.call("POST", "groups/import", groups, "text/csv")
    await app.wait(f"groups/imports/{job['id']}", "done")
    people = [graph(number, f"{name}@contoso.com") for number, name in enumerate(names)]
    people.append(graph(8, "rita@contoso.com", proxyAddresses=["smtp:rita.alias@contoso.com"]))
    theirs = [{"id": f"g{name}", "displayName": name, "members": []} for name in ("Kept", "Released")]
    upload = await app.call("POST", "linking/groups", {"value": theirs})
    run = await app.plan(*people, groups=upload["id"])
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"action": "link", "rows": [row["id"]]})
    run = await app.apply(run, links=5, groups=2)
    for name in ("bob", "cleo"):
        await app.call("POST", f"accounts/{(await app.account(f'{name}@contoso.com'))['id']}/release")
    await app.call("DELETE", f"accounts/{(await app.account('cleo@contoso.com'))['id']}")
    await scim_patch(app, "dora", externalId=object_id(3))
    await app.call("DELETE", f"scim/v2/Users/{(await app.account('dora@contoso.com'))['id']}")
    (released,) = (await app.call("GET", "groups", displayName="Released"))["groups"]
    await app.call("POST", f"groups/{released['id']}/release")
    assert len(await plan_rows(await directory_of(app), run["id"])) == 8
    names = (await directory_of(app)).plan_names(run["id"])
    assert await names.exist()
    await age(app, run)
    await app.host.run_timer(NIGHT)
    assert not await names.exist(), "by which people were found"
    with pytest.raises(Refusal, match="the term of this run is over"):
        await app.call("GET", f"linking/runs/{run['id']}/decisions", find="ada")
    assert await names_kept(app, run) == {"ada@contoso.com", "dora@contoso.com", "rita"}
    assert len(await plan_rows(await directory_of(app), run["id"])) == 4
    assert await app.host.executor.find(run["id"]) is None
    back = await undo(app, run)
    assert back["counts"] == {"undone": 2, "undoneInactive": 1, "groupsUndone": 1}
    assert (await app.account("ada@contoso.com"))["sourceOfAuthority"] == "local"
    assert not (await app.account("dora@contoso.com"))["deletedOverScim"]
    await forget_the_last_look(app, run)
    await app.host.run_timer(NIGHT)
    assert await names_kept(app, run) == {"dora@contoso.com"}, "the undo left her inactive"


async def test_what_was_kept_of_a_run_is_looked_through_once_a_month(tmp_path: Path) -> None:
    """A look reads every account that the run linked, and there are more such runs every day."""
    read: list[str] = []

    def wrap(tables: Any) -> FaultyTables:
        return FaultyTables(tables, lambda _, call: read.append(call.partition))

    async with serving(tmp_path, wrap) as app:
        run = await linked(app, "ada")
        await age(app, run)
        await app.host.run_timer(NIGHT)
        kept = await names_kept(app, run)
        read.clear()
        await app.host.run_timer(NIGHT)
        assert not [one for one in read if run["id"] in one]
        assert (await app.call("GET", f"linking/runs/{run['id']}"))["reduced"]
        await app.call("POST", f"accounts/{(await app.account('ada@contoso.com'))['id']}/release")
        await forget_the_last_look(app, run)
        await app.host.run_timer(NIGHT)
        assert kept
        assert not await names_kept(app, run)


async def test_whom_an_undo_left_inactive_another_one_switches_on_though_the_runs_term_is_over(app: App) -> None:
    run = await linked(app, "ada", "bob")
    for name, number in (("ada", 0), ("bob", 1)):
        await scim_patch(app, name, externalId=object_id(number))
        await scim_patch(app, name, active=False)
    assert (await undo(app, run))["counts"] == {"undoneInactive": 2}
    bob = (await app.account("bob@contoso.com"))["id"]
    await app.call("PATCH", f"accounts/{bob}", {"document": {"active": True}})
    await age(app, run)
    await app.host.run_timer(NIGHT)
    assert await names_kept(app, run) == {"ada@contoso.com"}
    assert (await undo(app, run, activate=1))["counts"]["activated"] == 1
    assert (await app.call("GET", f"scim/v2/Users/{(await app.account('ada@contoso.com'))['id']}"))["active"]


async def test_of_a_damaged_job_the_others_do_not_wait_for_the_repair(app: App, tmp_path: Path) -> None:
    run = await linked(app, "ada")
    imported = await app.bring(csv_file(person("bob")))
    await age(app, run, imported)
    with closing(sqlite3.connect(tmp_path / "scimlink.db")) as connection, connection:
        damaged = connection.execute(
            "UPDATE accounts SET columns = 'x' WHERE instr(partition, ?)", (f"_p_{run['id']}_",)
        )
        assert damaged.rowcount
    await app.host.run_timer(NIGHT)
    assert (await app.call("GET", f"linking/runs/{run['id']}"))["phase"] == "done"
    assert (await status_of(app.call("GET", f"accounts/imports/{imported['id']}")))[0] == 404


async def test_a_run_that_begins_at_the_same_time_each_night_keeps_nothing_for_ever(app: App) -> None:
    """While it is under way nothing goes, so there is another time in the same night."""
    moments, moment = [], datetime(2026, 11, 30, tzinfo=UTC)
    while (moment := Ncrontab(NIGHTLY).after(moment)) < datetime(2026, 12, 1, tzinfo=UTC):
        moments.append(moment)
    assert moments[-1] - moments[0] > timedelta(hours=2)
    assert all(after - before >= timedelta(minutes=15) for before, after in pairwise(moments))


async def test_an_undo_goes_with_its_report_with_whom_it_may_switch_on_and_with_what_it_owes(app: App) -> None:
    run = await linked(app, "ada")
    first, second = await undo(app, run, activate=0), await undo(app, run)
    directory = await directory_of(app)
    jobs = [await directory.jobs.get(job["id"]) for job in (first, second)]
    owed = [Owed(job.id, USER_NAME, "ada@contoso.com", "a@contoso.com", job.id, ("", ""), ("", ""), {}) for job in jobs]
    debts = debts_of(directory, jobs[0])
    await debts.write(0, [one.to_row() for one in owed])
    listed = directory.plan(first["id"] + SWITCHED_ON)
    await listed.write(0, [PlanRow(ACTIVATING, "someone", {}, "1")])
    await age(app, first)
    await app.host.run_timer(NIGHT)
    assert (await status_of(app.call("GET", f"linking/undos/{first['id']}")))[0] == 404
    assert [row.subject async for rows in debts.decided(0) for row in rows] == [second["id"]]
    assert not [row async for rows in listed.decided(0) for row in rows]
    assert not await plan_rows(directory, first["id"])
    assert (await app.call("GET", f"linking/undos/{second['id']}"))["phase"] == "done"


async def test_a_row_stays_in_which_an_undo_is_to_tell_that_a_name_is_back(app: App) -> None:
    run = await linked(app, "ada")
    first, ada = await undo(app, run), (await app.account("ada@contoso.com"))["id"]
    directory = await directory_of(app)
    job = await directory.jobs.get(first["id"])
    told, then, planned = ("undone", "without its name"), ("undone", "with its name"), ("link", object_id(0))
    owed = Owed(ada, USER_NAME, "lady@contoso.com", "ada@contoso.com", job.id, told, then, {}, planned)
    await debts_of(directory, job).write(directory.keys.bucket(ada), [owed.to_row()])
    await age(app, run)
    await app.host.run_timer(NIGHT)
    assert (await undo(app, run))["phase"] == "done"
    assert (await app.account("lady@contoso.com"))["id"] == ada
    await age(app, first)
    await forget_the_last_look(app, run)
    for _ in range(2):
        await app.host.run_timer(NIGHT)
    assert await plan_rows(directory, run["id"]), "the second undo owed the name when it gave it back"


async def test_a_name_that_an_undo_owed_goes_with_the_undo(app: App, tmp_path: Path) -> None:
    run = await linked(app, "ada")
    await scim_patch(app, "ada", externalId=object_id(0), userName="new@contoso.com")
    await app.bring(csv_file(person("ada", email="other@contoso.com")))
    job = await undo(app, run)
    assert job["counts"]["undonePartly"] == 1
    directory = await directory_of(app)
    owed = debts_of(directory, await directory.jobs.get(job["id"]))
    assert [row for bucket in range(directory.keys.buckets) async for rows in owed.decided(bucket) for row in rows]
    await age(app, run, job)
    await app.host.run_timer(NIGHT)
    await app.host.run_timer(NIGHT)
    assert not rows_under(tmp_path, job)
    assert not [row for bucket in range(directory.keys.buckets) async for rows in owed.decided(bucket) for row in rows]


async def test_what_the_last_plan_left_open_stays_so_when_its_rows_are_gone(app: App) -> None:
    await app.bring(csv_file({"userName": "rita", "email": "rita.alias@contoso.com"}))
    identity = graph(3, "rita@contoso.com", proxyAddresses=["smtp:rita.alias@contoso.com"])
    run = await app.apply(await app.plan(identity), links=0)
    await age(app, run)
    await app.host.run_timer(NIGHT)
    assert not await names_kept(app, run)
    directory = await directory_of(app)
    assert await left_open(app.tables, directory.plan(run["id"]), object_id(3)) == "review"
    found = await directory.left_open.find(object_id(3))
    assert found == (run["id"], "review")
    assert (await app.plan(identity))["phase"] in ("planned", "done"), "the next run goes on from it, or plans anew"


async def test_the_term_is_the_policys(app: App) -> None:
    imported = await app.bring(csv_file(person("ada")))
    for wrong in (0, FEWEST_JOB_DAYS - 1, 3651, "180", None, True):
        status, detail = await status_of(app.call("PUT", "directory/policy", {"jobDays": wrong}))
        assert (status, detail) == (400, "jobDays: must be a whole number from 30 to 3650")
    assert (await app.call("GET", "directory/policy"))["jobDays"] == 180
    await app.call("PUT", "directory/policy", {"jobDays": 40})
    await age(app, imported, days=39)
    await app.host.run_timer(NIGHT)
    await app.call("GET", f"accounts/imports/{imported['id']}")
    await age(app, imported, days=2)
    await app.host.run_timer(NIGHT)
    assert (await status_of(app.call("GET", f"accounts/imports/{imported['id']}")))[0] == 404


@pytest.fixture
async def held(tmp_path: Path) -> AsyncIterator[tuple[App, Gate]]:
    gate = Gate()

    def wrap(tables: Any) -> FaultyTables:
        gated = FaultyTables(tables)
        gated.before = gate
        return gated

    async with serving(tmp_path, wrap) as running:
        yield running, gate
        gate.opened.set()


async def test_nothing_goes_while_an_undo_reads_it(held: tuple[App, Gate]) -> None:
    app, gate = held
    run = await linked(app, "ada")
    await age(app, run)
    gate.close("main_p_undo")
    job = await app.call("POST", f"linking/runs/{run['id']}/undo")
    await gate.reached.wait()
    kept = await names_kept(app, run)
    await app.host.run_timer(NIGHT)
    assert await names_kept(app, run) == kept != set()
    gate.opened.set()
    assert (await app.wait(f"linking/undos/{job['id']}"))["counts"]["undone"] == 1


async def test_a_night_that_breaks_off_is_made_up_for_by_the_next(tmp_path: Path) -> None:
    broken = False

    def wrap(tables: Any) -> FaultyTables:
        return FaultyTables(
            tables,
            lambda _, call: Fault.UNAVAILABLE if broken and call.verb == "commit" and "_j" in call.partition else None,
        )

    async with serving(tmp_path, wrap) as app:
        imported = await app.bring(csv_file(person("ada")))
        await age(app, imported)
        broken = True
        await app.host.run_timer(NIGHT)
        broken = False
        assert (await app.call("GET", f"accounts/imports/{imported['id']}"))["phase"] == "done"
        await app.host.run_timer(NIGHT)
        assert (await status_of(app.call("GET", f"accounts/imports/{imported['id']}")))[0] == 404
