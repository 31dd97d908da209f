"""Groups that a run linked, taken back: what the plan's rows and the groups' histories say decides."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

import scim_groups.service
from infra.local.faults import Crash, Fault, FaultyTables, script
from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.messages import Slice
from link_orchestrator.orchestrator import undo_links
from link_orchestrator.passes.apply_groups import apply_groups
from link_orchestrator.passes.plan_groups import decide_groups, resolve_members
from link_orchestrator.run import GROUPS_APPROVED
from link_orchestrator.staged import EntraGroupWriter
from shared.directory.directory import Directories, Directory
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.policy import Policy
from shared.directory.records.members import Member
from shared.directory.records.model import Group, Status
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.scim.endpoint import Request
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import Engine, activity_calls, make_directory, object_id, plan_rows, start_of

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


async def group(directory: Directory, name: str, external_id: str = "") -> Group:
    """Store a group that is managed here."""
    document = {"displayName": name, **({"externalId": external_id} if external_id else {})}
    new = Group.new(directory.groups.keys.new_id(name), document, Status.LOCAL, directory.groups.now())
    return await directory.groups.create(new, by="test")


async def run_over(directory: Directory, *groups: Group, linked: int) -> Job:
    """Record an approved run that planned to link groups and linked the first of them."""
    jobs = directory.jobs
    run = await jobs.start("run", "test", jobs.new_id("run"), {"slices": 1})
    for number, one in enumerate(groups):
        row = PlanRow(
            GroupDecisionKind.LINK.value,
            object_id(number),
            {"group": {"id": one.id, "displayName": one.display_name}},
            one.version,
        )
        if number < linked:
            await link(directory, run, one, number)
            row = replace(row, outcome="linked")
        await directory.plan(run.id).write(0, [row])
    return await jobs.change(run.id, lambda job: replace(job, approved=job.started, state=State.CANCELLED))


async def link(directory: Directory, run: Job, before: Group, number: int) -> Group:
    document = before.document() | {"externalId": object_id(number)}
    after = replace(before.with_document(document), status=Status.CLAIMED)
    return await directory.groups.replace(before, after, by=f"run:{run.id}", action="link")


async def undo(directory: Directory, run: Job, **asked: str) -> tuple[Counter[str], dict[str, str]]:
    """Take a run back; return the counts, and the reason by the group's name."""
    jobs = directory.jobs
    job = await jobs.start("undo", "test", jobs.new_id("undo"), {"run": run.id, **asked})
    calls = activity_calls(Directories(directory.tables))
    assert await Engine(calls).play(undo_links, start_of(directory, job)) == "done"
    rows = await plan_rows(directory, job.id)
    return Counter(await jobs.total(job.id)), {r.shown["group"]["displayName"]: r.shown["reason"] for r in rows}


async def scim_patch(directory: Directory, group_id: str, operation: dict[str, Any]) -> None:
    body = json.dumps({"schemas": [PATCH], "Operations": [operation]}).encode()
    await scim_groups.service.patch(directory, Request(base="http://x/scim/v2", by="entra", id=group_id, body=body))


async def test_groups_are_what_they_were_and_a_second_undo_changes_nothing(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, "sales"), await group(directory, "ops", "g-17")]
    run = await run_over(directory, *groups, linked=2)
    counts, _ = await undo(directory, run)
    assert counts == {"groupsUndone": 2}
    for before in groups:
        after = await directory.groups.get(before.id)
        assert (after.document(), after.status) == (before.document(), Status.LOCAL)
        assert [change.action for change in await directory.groups.history(before.id)] == ["create", "link", "undo"]
    counts, reasons = await undo(directory, run)
    assert counts == {"groupsUnchanged": 2}
    assert reasons["ops"].startswith("The link was taken back before")


@pytest.mark.parametrize("asked", [{}, {"keep": "attributes"}], ids=["refuse", "release"])
async def test_what_provisioning_changed_is_refused_or_released_as_it_is(
    sqlite_tables: SqliteTables, asked: dict[str, str]
) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, name) for name in ("named", "joined", "gone", "kept")]
    run = await run_over(directory, *groups, linked=4)
    named, joined, gone, _ = groups
    await scim_patch(directory, named.id, {"op": "replace", "path": "displayName", "value": "renamed"})
    member = str(joined.id)
    await scim_patch(directory, joined.id, {"op": "add", "path": "members", "value": [{"value": gone.id}]})
    await directory.groups.delete(await directory.groups.get(gone.id), by="entra")
    counts, reasons = await undo(directory, run, **asked)
    changed = "groupsReleased" if asked else "groupsRefused"
    assert counts == Counter({"groupsUndone": 1, "groupsRefused": 1}) + Counter({changed: 2})
    assert reasons["named"].startswith("displayName: provisioning changed it")
    assert reasons["joined"].startswith("members: provisioning changed it")
    assert reasons["gone"] == "The group was deleted after the run."
    found = await directory.groups.get(named.id)
    expected = (Status.LOCAL, None) if asked else (Status.CLAIMED, object_id(0))
    assert (found.status, found.external_id, found.display_name) == (*expected, "renamed")
    assert await directory.members.holds(member, gone.id)


async def test_a_slice_of_a_failed_run_that_is_under_way_links_no_group_behind_its_undo(
    sqlite_tables: SqliteTables,
) -> None:
    """The plan's rows hold versions with the members' head: by these the undo knows what it has to fence."""
    directory = await make_directory(sqlite_tables)
    here = await group(directory, "Sales")
    upload = directory.jobs.new_id("entragroups")
    writer = EntraGroupWriter(directory, upload)
    await writer.add(EntraGroup(object_id(1), "Sales", ()))
    await writer.close()
    options = {"groups": upload, GROUPS_APPROVED: 1, "policy": Policy().to_json(), "slices": 1}
    run = await directory.jobs.start("run", "test", directory.jobs.new_id("run"), options)
    whole = Slice(job=run.id, directory="main", pass_name="apply_groups", low=0, high=4)
    await resolve_members(directory, run, whole)
    assert await decide_groups(directory, run, whole) == {"groupLink": 1}
    run = await directory.jobs.change(run.id, lambda job: replace(job, approved=job.started, state=State.FAILED))
    undo = await directory.jobs.start("undo", "test", directory.jobs.new_id("undo"), {"run": run.id})
    calls = activity_calls(Directories(sqlite_tables))
    assert await Engine(calls).play(undo_links, start_of(directory, undo)) == "done"
    await apply_groups(directory, run, whole)
    found = await directory.groups.get(here.id)
    assert (found.status, found.external_id) == (Status.LOCAL, None)


async def test_a_dead_runs_activity_links_no_group_after_the_undo(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    first, late = await group(directory, "first"), await group(directory, "late")
    run = await run_over(directory, first, late, linked=1)
    assert (await undo(directory, run))[0] == {"groupsUndone": 1}
    with pytest.raises(Exception, match="changed since it was read"):
        await link(directory, run, late, 1)


@pytest.mark.parametrize(("ended", "fenced"), [(State.FAILED, {"waiting"}), (State.DONE, set[str]())])
async def test_an_undo_changes_the_version_of_those_alone_that_a_run_may_still_link(
    sqlite_tables: SqliteTables, ended: State, fenced: set[str]
) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, "waiting"), await group(directory, "renamed")]
    run = await run_over(directory, *groups, linked=0)
    await directory.jobs.change(run.id, lambda job: replace(job, state=ended))
    renamed = groups[1].with_document(groups[1].document() | {"displayName": "another"})
    before = [groups[0], await directory.groups.replace(groups[1], renamed, by="the application")]
    assert (await undo(directory, run))[0] == {}
    after = [await directory.groups.get(one.id) for one in groups]
    assert {one.display_name for one, now in zip(before, after, strict=True) if now.etag != one.etag} == fenced


async def test_an_undo_of_a_run_that_nobody_approved_changes_no_group(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    waiting = await group(directory, "waiting")
    run = await run_over(directory, waiting, linked=0)
    await directory.jobs.change(run.id, lambda job: replace(job, approved=None))
    assert (await undo(directory, run))[0] == {}
    assert (await directory.groups.get(waiting.id)).etag == waiting.etag


async def test_an_undo_leaves_what_another_run_linked(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales = await group(directory, "sales")
    first = await run_over(directory, sales, linked=0)
    second = await run_over(directory, sales, linked=1)
    assert (await undo(directory, first))[0] == {}
    assert (await directory.groups.get(sales.id)).status is Status.CLAIMED
    assert (await undo(directory, second))[0] == {"groupsUndone": 1}


async def test_death_at_any_storage_operation_is_made_good(sqlite_tables: SqliteTables) -> None:
    for number in itertools.count(1):
        directory = await make_directory(sqlite_tables, f"at{number}")
        groups = [await group(directory, name, f"k-{name}") for name in ("a", "b")]
        run = await run_over(directory, *groups, linked=2)
        jobs = directory.jobs
        job = await jobs.start("undo", "test", jobs.new_id("undo"), {"run": run.id})
        dying = FaultyTables(sqlite_tables, script({number: Fault.CRASH_AFTER}))
        with suppress(Crash):
            await Engine(activity_calls(Directories(dying))).play(undo_links, start_of(directory, job))
        calls = activity_calls(Directories(sqlite_tables))
        await Engine(calls).play(undo_links, start_of(directory, job))
        assert await jobs.total(job.id) == {"groupsUndone": 2}
        assert [(await directory.groups.get(g.id)).external_id for g in groups] == ["k-a", "k-b"]
        if not dying.crashed:
            assert number > 10
            break


async def test_members_stay_as_they_are(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales, inner = await group(directory, "sales"), await group(directory, "inner")
    await directory.members.add(sales.id, [Member(inner.id)])
    run = await run_over(directory, sales, linked=1)
    await undo(directory, run)
    assert await directory.members.holds(sales.id, inner.id)
