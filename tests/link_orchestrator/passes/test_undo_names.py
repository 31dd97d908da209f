"""Names that provisioning gave from one to another are everybody's own again after an undo, whatever the order."""

from __future__ import annotations

import itertools
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
from link_orchestrator.passes.undo_names import chains
from shared.directory.records.model import Account, Status
from shared.directory.work.jobs import Job, State
from shared.tables.port import TablesError
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.passes.test_undo_attributes import NAMES, Scene, of
from tests.link_orchestrator.passes.test_undo_groups import group, run_over, scim_patch, undo
from tests.link_orchestrator.running import activity_calls, make_directory, plan_rows
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
