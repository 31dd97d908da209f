"""Names that provisioning gave from one to another are everybody's own again after an undo, whatever the order."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.orchestrator import undo_links
from link_orchestrator.passes import undo_names
from link_orchestrator.passes.undo_names import chains
from shared.directory.directory import Directories
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job, State
from shared.tables.port import TablesError
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.passes.test_undo import person
from tests.link_orchestrator.passes.test_undo import scim_patch as scim_patch_user
from tests.link_orchestrator.passes.test_undo import undo as undo_run
from tests.link_orchestrator.passes.test_undo_attributes import NAMES, PATCH, Scene, of
from tests.link_orchestrator.passes.test_undo_groups import group, run_over, scim_patch, undo
from tests.link_orchestrator.running import (
    App,
    activity_calls,
    csv_file,
    graph,
    make_directory,
    object_id,
    plan_rows,
)
from tests.shared.directory.invariants import check_invariants, stale_rows

OWN = tuple(f"{name}@contoso.com" for name in NAMES)
RING = (OWN[1], OWN[2], OWN[0])
"""Names in which everybody has another one's."""


@pytest.fixture
async def scene(sqlite_tables: SqliteTables) -> Scene:
    return await Scene(sqlite_tables).set()


async def rename(scene: Scene, names: Sequence[str]) -> None:
    """Let provisioning give all three people other names; two that change places have others in between."""
    for number in range(3):
        await scene.patch(number, userName=f"between{number}@contoso.com")
    for number, name in enumerate(names):
        await scene.patch(number, userName=name)


async def names_of(scene: Scene) -> list[str]:
    return [(await scene.now(number)).user_name for number in range(3)]


@pytest.mark.parametrize("names", [*permutations(OWN), *permutations(("new@contoso.com", *OWN[:2]))])
async def test_whoever_has_anothers_name_gets_their_own_back(scene: Scene, names: Sequence[str]) -> None:
    await rename(scene, names)
    counts, told = await scene.undo()
    assert +counts == {"undone": 3}
    assert {reason for _, reason in told.values()} == {"The account is what it was before it was linked."}
    assert [of(await scene.now(number)) for number in range(3)] == [of(before) for before in scene.before]
    assert await stale_rows(scene.tables, "main") == 0
    undone = {row.undone.partition(" ")[0] for row in await plan_rows(scene.directory, scene.run.id) if row.undone}
    assert undone == {"undone"}
    await check_invariants(scene.tables, "main")


async def test_a_name_that_somebody_outside_the_run_has_stays_theirs_and_is_named(scene: Scene) -> None:
    await rename(scene, ("new@contoso.com", *OWN[1:]))
    keys, accounts = scene.directory.keys, scene.directory.accounts
    other = Account.new(keys.new_id(OWN[0]), {"userName": OWN[0]}, Status.LOCAL, scene.clock())
    await accounts.create(other, by="test")
    counts, told = await scene.undo()
    assert +counts == {"undone": 2, "undonePartly": 1}
    assert told["ann"][1] == (
        "The link is taken back; userName: another account has the former one, ann@contoso.com, by now."
    )
    assert (await names_of(scene))[0] == "new@contoso.com"


async def run_slice(scene: Scene, job: Job, stage: str) -> None:
    whole = {"job": job.id, "directory": scene.name, "stage": stage, "low": 0, "high": 2}
    await activity_calls(scene.opened(scene.tables))("run_slice", whole)


async def test_a_name_that_was_edited_here_meanwhile_stays(scene: Scene) -> None:
    await rename(scene, RING)
    job = await scene.start()
    await run_slice(scene, job, "undo")
    await scene.edit(0, userName="ours@contoso.com")
    await run_slice(scene, job, "names")
    assert await names_of(scene) == ["ours@contoso.com", *OWN[1:]]


async def test_the_name_of_an_account_that_was_linked_meanwhile_stays(scene: Scene) -> None:
    await rename(scene, RING)
    link, job = (await scene.now()).link, await scene.start()
    await run_slice(scene, job, "undo")
    left = await scene.now()
    await scene.directory.accounts.replace(left, replace(left, status=Status.CLAIMED, link=link), by="local")
    await run_slice(scene, job, "names")
    assert (await names_of(scene))[0] == left.user_name


@pytest.mark.parametrize("slices", [1, 2, 3])
async def test_what_an_undo_that_was_cancelled_owed_the_next_one_gives_back(scene: Scene, slices: int) -> None:
    await rename(scene, RING)
    job = await scene.start()
    for stage in ("undo", "undo_groups", "names")[:slices]:
        await run_slice(scene, job, stage)
    await scene.directory.jobs.change(job.id, lambda job: replace(job, state=State.CANCELLED))
    counts, told = await scene.undo()
    assert await names_of(scene) == list(OWN)
    assert +counts == {"unchanged" if slices == 3 else "undone": 3}
    assert len(told) == 3


async def cut_off(scene: Scene, state: State = State.CANCELLED) -> Job:
    """Return an undo that came to an end before it gave names back."""
    job = await scene.start()
    await run_slice(scene, job, "undo")
    return await scene.directory.jobs.change(job.id, lambda job: replace(job, state=state))


async def outcomes(scene: Scene, job: Job) -> Counter[str]:
    """Return how often the report of an undo has each outcome, which its counts say, too."""
    rows = await plan_rows(scene.directory, job.id)
    found = Counter(row.decision for row in rows)
    assert len(rows) == len({row.subject for row in rows}), "an account is reported twice"
    assert found == +Counter(await scene.directory.jobs.total(job.id))
    return found


async def test_an_undo_that_keeps_attributes_gives_no_name_back_that_an_earlier_one_owed(scene: Scene) -> None:
    await rename(scene, RING)
    await cut_off(scene)
    left = await names_of(scene)
    counts, _ = await scene.undo(keep="attributes")
    assert (counts, await names_of(scene)) == ({"unchanged": 3}, left)
    await scene.undo()
    assert await names_of(scene) == list(OWN), "what is owed is owed still"


@pytest.mark.parametrize("begun", [False, True])
async def test_a_twin_that_is_late_takes_nothing_back_that_is_told_of_names(scene: Scene, begun: bool) -> None:
    await rename(scene, RING)
    if begun:
        await cut_off(scene)
    job = await scene.start()
    for stage in ("undo", "names", "names", "undo"):
        await run_slice(scene, job, stage)
    assert await outcomes(scene, job) == {"undone": 3}
    assert {row.undone for row in await plan_rows(scene.directory, scene.run.id)} == {f"undone by {job.id}"}


async def test_twins_at_once_tell_of_everybody_once_and_alike(sqlite_tables: SqliteTables) -> None:
    """Whom one of them finds without a free name, the other may take back before it looks again."""
    for number in range(6):
        scene = await Scene(sqlite_tables, f"twins{number}").set()
        await rename(scene, RING)
        job = await scene.start()
        for stage in ("undo", "names"):
            await asyncio.gather(*(run_slice(scene, job, stage) for _ in range(2)))
        assert await outcomes(scene, job) == {"undone": 3}
        assert await names_of(scene) == list(OWN)


async def test_a_name_that_people_give_again_after_an_undo_stays(scene: Scene) -> None:
    await rename(scene, RING)
    left = [(await scene.now(number)).user_name for number in range(3)]
    await scene.undo()
    for number in (0, 1, 2, 0, 1, 2):
        free = (await scene.now(number)).user_name != OWN[number]
        await scene.edit(number, userName=left[number] if free else f"free{number}@contoso.com")
    _, told = await scene.undo()
    assert await names_of(scene) == left
    assert {outcome for outcome, _ in told.values()} == {"unchanged"}


async def test_what_an_undo_gave_back_but_did_not_tell_the_next_one_tells(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rename(scene, RING)
    with monkeypatch.context() as patch:
        patch.setattr(undo_names, "_tell", None)
        job = await scene.start()
        await run_slice(scene, job, "undo")
        with pytest.raises(TypeError):
            await run_slice(scene, job, "names")
    assert await names_of(scene) == list(OWN)
    await scene.directory.jobs.change(job.id, lambda job: replace(job, state=State.FAILED))
    job = await scene.start()
    await scene.play(undo_links, job)
    assert await outcomes(scene, job) == {"undone": 3}
    assert {row.undone for row in await plan_rows(scene.directory, scene.run.id)} == {f"undone by {job.id}"}


async def test_nothing_is_told_of_a_sleep_from_which_somebody_woke_the_account(scene: Scene) -> None:
    await rename(scene, RING)
    for number in range(3):
        await scene.patch(number, active=False)
    await cut_off(scene)
    await scene.edit(0, active=True)
    _, told = await scene.undo()
    assert await names_of(scene) == list(OWN)
    assert {name: outcome for name, (outcome, _) in told.items()} == {
        "ann": "unchanged",
        "bob": "undoneInactive",
        "cleo": "undoneInactive",
    }


async def test_an_account_that_an_undo_switches_on_gets_its_name_and_is_inactive_in_no_plan(scene: Scene) -> None:
    await rename(scene, RING)
    for number in range(3):
        await scene.patch(number, active=False)
    former = await cut_off(scene)
    counts, _ = await scene.undo(activate=3)
    assert +counts == {"activating": 3, "activated": 3}
    assert await names_of(scene) == list(OWN)
    told = {row.undone for row in await plan_rows(scene.directory, scene.run.id)}
    assert told == {f"undoneInactive by {former.id}"}, "what the first undo did"


async def test_a_ring_is_undone_though_others_are_named_by_the_ids_of_its_accounts(scene: Scene) -> None:
    await rename(scene, RING)
    keys, accounts = scene.directory.keys, scene.directory.accounts
    for before in scene.before:
        other = Account.new(keys.new_id(before.id), {"userName": before.id.upper()}, Status.LOCAL, scene.clock())
        await accounts.create(other, by="test")
    counts, _ = await scene.undo()
    assert +counts == {"undone": 3}
    assert await names_of(scene) == list(OWN)


async def test_a_name_of_an_account_that_a_review_linked_goes_back_though_its_row_is_elsewhere(app: App) -> None:
    """A row of several candidates is in the bucket of the identity."""
    bob, sue, old = "bob@contoso.com", "sue@contoso.com", "sue.old@contoso.com"
    await app.bring(csv_file({"userName": bob}, {"userName": sue}, {"userName": old, "email": sue}))
    run = await app.plan(graph(1, bob), graph(2, sue))
    ids = [(await app.account(name))["id"] for name in (bob, old)]
    (row,) = await app.decisions(run, "ambiguous")
    assert row["id"][:2] != ids[1][:2]
    await app.call(
        "POST", f"linking/runs/{run['id']}/review", {"action": "link", "rows": [row["id"]], "account": ids[1]}
    )
    await app.apply(run, links=2)
    for at, name in (0, "new@contoso.com"), (1, bob), (0, old):
        await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(at + 1)}"')
        operation = {"op": "replace", "path": "userName", "value": name}
        await app.call("PATCH", f"scim/v2/Users/{ids[at]}", {"schemas": [PATCH], "Operations": [operation]})
    undo = await app.call("POST", f"linking/runs/{run['id']}/undo", {})
    undo = await app.wait(f"linking/undos/{undo['id']}", "done")
    assert {name: count for name, count in undo["counts"].items() if count} == {"undone": 2}
    assert [(await app.account(name))["id"] for name in (bob, old)] == ids
    assert {row["undone"] for row in await app.decisions(run) if "undone" in row} == {f"undone by {undo['id']}"}


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.LOST])
async def test_killed_anywhere_and_run_again_everybody_has_their_own_name(
    sqlite_tables: SqliteTables, fault: Fault
) -> None:
    for number in itertools.count(1):
        scene = await Scene(sqlite_tables, f"at{number}").set()
        await rename(scene, RING)
        job, answers = await scene.start(), dict[str, Any]()
        dying = FaultyTables(sqlite_tables, script({number: fault}))
        with suppress(Crash, TablesError):
            await scene.play(undo_links, job, dying, answers)
        job = await scene.directory.jobs.get(job.id)
        if job.state is State.FAILED:
            job, answers = await scene.start(), {}
        if not job.state.ended:
            await scene.play(undo_links, job, answers=answers)
        assert [of(await scene.now(n)) for n in range(3)] == [of(before) for before in scene.before], number
        assert len(await plan_rows(scene.directory, job.id)) == 3
        await check_invariants(sqlite_tables, scene.name)
        if dying.requests < number:
            assert number > 30
            break


async def test_groups_get_their_own_names_back_too(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, name) for name in ("sales", "ops", "law")]
    run = await run_over(directory, *groups, linked=3)
    for one, name in [*zip(groups, "abc", strict=True), *zip(groups, ("ops", "sales", "new"), strict=True)]:
        await scim_patch(directory, one.id, {"op": "replace", "path": "displayName", "value": name})
    counts, reasons = await undo(directory, run)
    assert +counts == {"groupsUndone": 3}
    assert {reason.partition(".")[0] for reason in reasons.values()} == {"The group is what it was before the run"}
    assert not any("another group has" in reason for reason in reasons.values())
    names = [(await directory.groups.get(one.id)).display_name for one in groups]
    assert names == ["sales", "ops", "law"]


async def test_what_an_undo_that_was_cancelled_owed_a_group_the_next_one_gives_back_and_tells(
    sqlite_tables: SqliteTables,
) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, name) for name in ("sales", "ops")]
    run = await run_over(directory, *groups, linked=2)
    for one, name in (groups[0], "between"), (groups[1], "sales"), (groups[0], "ops"):
        await scim_patch(directory, one.id, {"op": "replace", "path": "displayName", "value": name})
    jobs, call = directory.jobs, activity_calls(Directories(directory.tables))
    job = await jobs.start("undo", "test", jobs.new_id("undo"), {"run": run.id})
    await call("run_slice", {"job": job.id, "directory": "main", "stage": "undo_groups", "low": 0, "high": 4})
    await jobs.change(job.id, lambda job: replace(job, state=State.CANCELLED))
    counts, reasons = await undo(directory, run)
    assert +counts == {"groupsUndone": 2}
    assert len(reasons) == 2
    assert [(await directory.groups.get(one.id)).display_name for one in groups] == ["sales", "ops"]


@given(wants=st.permutations(range(6)), has=st.permutations(range(8)), owners=st.sets(st.integers(0, 5)))
def test_in_the_order_of_the_chains_everybody_gets_what_they_want(
    wants: list[int], has: list[int], owners: set[int]
) -> None:
    """Whatever has no holder, or a holder who wants another thing and can have it, is to be had."""
    wanted = {str(owner): wants[owner] for owner in sorted(owners)}
    held = {str(owner): has[owner] for owner in sorted(owners)}
    outside = {thing for owner, thing in enumerate(has) if owner not in owners}
    for chain, first in chains(wanted, dict(held)):
        if first:
            held[first] = -1
        for owner in chain:
            if wanted[owner] not in outside | {held[other] for other in held if other != owner}:
                held[owner] = wanted[owner]
    stuck = {owner for owner in wanted if held[owner] != wanted[owner]}
    assert -1 not in held.values(), "who gave something up for others has nothing"
    assert all(wanted[o] in outside or wanted[o] in {held[other] for other in stuck} for o in stuck)


@pytest.mark.parametrize("first", [0, 1])
async def test_names_that_passed_between_accounts_of_two_runs_come_back_with_the_second_undo(
    app: App, first: int
) -> None:
    people = [graph(number, f"{name}@contoso.com") for number, name in enumerate(("ada", "bob"))]
    await app.bring(csv_file(person("ada"), person("bob")))
    before = [await app.account(f"{name}@contoso.com") for name in ("ada", "bob")]
    runs = [await app.apply(await app.plan(people[0]), links=1), await app.apply(await app.plan(*people), links=1)]
    for name, number, new in ("ada", 0, "between"), ("bob", 1, "ada"), ("between", 0, "bob"):
        await scim_patch_user(app, name, externalId=object_id(number), userName=f"{new}@contoso.com")
    job = await undo_run(app, runs[first])
    assert job["counts"]["undonePartly"] == 1
    job = await undo_run(app, runs[1 - first])
    assert +Counter(job["counts"]) == {"undone": 1}
    after = [await app.account(f"{name}@contoso.com") for name in ("ada", "bob")]
    assert [one["id"] for one in after] == [one["id"] for one in before]
    told = [row["undone"].partition(" ")[0] for run in runs for row in await app.decisions(run, "link")]
    assert told == ["undone", "undone"]


async def test_a_name_that_another_runs_undo_owes_and_that_is_in_nobodys_way_stays_as_it_is(app: App) -> None:
    people = [graph(number, f"{name}@contoso.com") for number, name in enumerate(("ada", "bob"))]
    await app.bring(csv_file(person("ada"), person("bob")))
    runs = [await app.apply(await app.plan(people[0]), links=1), await app.apply(await app.plan(*people), links=1)]
    await scim_patch_user(app, "ada", externalId=object_id(0), userName="new@contoso.com")
    await app.bring(csv_file(person("ada", email="other@contoso.com")))
    assert (await undo_run(app, runs[0]))["counts"]["undonePartly"] == 1
    other = await app.account("ada@contoso.com")
    await app.call("DELETE", f"accounts/{other['id']}")
    await undo_run(app, runs[1])
    assert (await app.account("new@contoso.com"))["sourceOfAuthority"] == "local"
    assert +Counter((await undo_run(app, runs[0]))["counts"]) == {"undone": 1}
    assert (await app.account("ada@contoso.com"))["sourceOfAuthority"] == "local"
