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
from link_orchestrator.passes.import_groups import SCHEMA
from link_orchestrator.passes.plan_groups import decide_groups, resolve_members
from link_orchestrator.passes.undo_groups import judge, undo_groups
from link_orchestrator.passes.undo_verdicts import UNCHANGED, UNDONE
from link_orchestrator.run import GROUPS_APPROVED
from link_orchestrator.staged import EntraGroupWriter
from shared.directory.directory import Directories, Directory
from shared.directory.errors import Stale
from shared.directory.matching.groups import GroupDecisionKind
from shared.directory.matching.policy import Policy
from shared.directory.records.members import Member
from shared.directory.records.model import Account, Group, Status
from shared.directory.work.jobs import Job, State
from shared.directory.work.plan import PlanRow
from shared.scim.endpoint import Request
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import Engine, activity_calls, make_directory, object_id, plan_rows, start_of

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


async def group(directory: Directory, name: str, external_id: str = "") -> Group:
    """Store a group that is managed here."""
    document = {"schemas": [SCHEMA], "displayName": name, **({"externalId": external_id} if external_id else {})}
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
    return await directory.groups.link(before, after, by=f"run:{run.id}")


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


def moving(op: str, *ids: str) -> dict[str, Any]:
    return {"op": op, "path": "members", "value": [{"value": member} for member in ids]}


async def inside(directory: Directory, group_id: str) -> set[str]:
    return {member.id for member in await directory.members.first(group_id, 1_000)}


async def account(directory: Directory, name: str) -> str:
    new = Account.new(directory.keys.new_id(name), {"userName": name}, Status.LOCAL, directory.accounts.now())
    return (await directory.accounts.create(new, by="test")).id


@pytest.mark.parametrize("asked", [{}, {"changed": "release"}, {"keep": "attributes"}])
async def test_what_provisioning_changed_is_given_back_or_stays_as_it_is(
    sqlite_tables: SqliteTables, asked: dict[str, str]
) -> None:
    directory = await make_directory(sqlite_tables)
    ann, bea, cleo = [await account(directory, name) for name in ("ann", "bea", "cleo")]
    named, joined, left, kept = [await group(directory, name) for name in ("named", "joined", "left", "kept")]
    for one in (joined, left):
        await directory.members.add(one.id, [Member(ann), Member(bea)])
    seen = [await directory.groups.get(one.id) for one in (named, joined, left, kept)]
    run = await run_over(directory, *seen, linked=4)
    await scim_patch(directory, named.id, {"op": "replace", "path": "displayName", "value": "renamed"})
    await scim_patch(directory, joined.id, moving("add", ann, cleo))
    await scim_patch(directory, left.id, moving("add", ann, bea))
    await scim_patch(directory, left.id, moving("remove", ann))
    counts, reasons = await undo(directory, run, **asked)
    assert counts == ({"groupsReleased": 3, "groupsUndone": 1} if asked else {"groupsUndone": 4})
    assert reasons["named"].count("displayName: ") == reasons["joined"].count("members: ") == 1
    assert reasons["kept"] == "The group is what it was before the run."
    found = await directory.groups.get(named.id)
    assert (found.status, found.external_id) == (Status.LOCAL, None)
    assert found.display_name == ("renamed" if asked else "named")
    assert await inside(directory, joined.id) == ({ann, bea, cleo} if asked else {ann, bea})
    assert await inside(directory, left.id) == ({bea} if asked else {ann, bea})
    for one in (joined, left):
        assert not [m async for page in directory.linked_members.scan(one.id) for m in page if m.marked or m.here]
        assert await directory.linked_members.was_here(one.id) == []


async def test_a_name_that_another_group_has_by_now_is_named_and_not_restored(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    named = await group(directory, "named")
    run = await run_over(directory, named, linked=1)
    await scim_patch(directory, named.id, {"op": "replace", "path": "displayName", "value": "renamed"})
    other = await group(directory, "Named")
    counts, reasons = await undo(directory, run)
    assert counts == {"groupsUndone": 1}
    assert reasons["named"].endswith("displayName: another group has the former name by now; it keeps the present one.")
    found = await directory.groups.get(named.id)
    assert (found.status, found.display_name) == (Status.LOCAL, "renamed")
    assert await directory.groups.get(other.id) == other


async def test_a_group_that_scim_deleted_is_there_again_and_one_that_is_gone_stays_gone(
    sqlite_tables: SqliteTables,
) -> None:
    directory = await make_directory(sqlite_tables)
    groups = [await group(directory, name) for name in ("kept", "back", "gone")]
    run = await run_over(directory, *groups, linked=3)
    kept, back, gone = groups
    for one in (kept, back):
        await scim_groups.service.delete(directory, Request(base="http://x", by="entra", id=one.id))
    body = json.dumps({"displayName": "BACK", "externalId": object_id(1)}).encode()
    await scim_groups.service.create(directory, Request(base="http://x", by="entra", body=body))
    await directory.groups.delete(await directory.groups.get(gone.id), by="entra")
    counts, reasons = await undo(directory, run)
    assert counts == {"groupsUndone": 2, "groupsRefused": 1}
    assert reasons["gone"] == "The group was deleted after the run."
    for before in (kept, back):
        after = await directory.groups.get(before.id)
        assert (after.document(), after.status, after.retired, after.left) == (
            before.document(),
            Status.LOCAL,
            False,
            None,
        )


async def test_who_is_deleted_by_now_is_not_put_back(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    ann, sales = await account(directory, "ann"), await group(directory, "sales")
    await directory.members.add(sales.id, [Member(ann)])
    run = await run_over(directory, await directory.groups.get(sales.id), linked=1)
    for op in ("add", "remove"):
        await scim_patch(directory, sales.id, moving(op, ann))
    await directory.accounts.delete(await directory.accounts.get(ann), by="test")
    await undo(directory, run)
    assert await inside(directory, sales.id) == set()
    assert await directory.linked_members.was_here(sales.id) == []


async def test_an_undo_of_one_link_leaves_the_marks_of_the_next(sqlite_tables: SqliteTables) -> None:
    """The slice of a dead undo that runs again finds the group linked anew."""
    directory = await make_directory(sqlite_tables)
    ann, bea = [await account(directory, name) for name in ("ann", "bea")]
    sales = await group(directory, "sales")
    await directory.members.add(sales.id, [Member(ann)])
    run = await run_over(directory, await directory.groups.get(sales.id), linked=1)
    await undo(directory, run)
    (job,) = [job for job in await directory.jobs.list_all() if job.kind == "undo"]
    whole = Slice(job=job.id, directory="main", pass_name="undo_groups", low=0, high=4)
    await run_over(directory, await directory.groups.get(sales.id), linked=1)
    await scim_patch(directory, sales.id, moving("add", bea))
    await undo_groups(directory, job, whole)
    assert await inside(directory, sales.id) == {ann, bea}
    assert (await directory.groups.get(sales.id)).status is Status.CLAIMED


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
    with pytest.raises(Stale):
        await link(directory, run, late, 1)


async def test_a_dead_runs_link_that_was_cut_off_half_way_is_not_made_after_the_undo(
    sqlite_tables: SqliteTables,
) -> None:
    directory = await make_directory(sqlite_tables)
    late = await group(directory, "late")
    run = await run_over(directory, late, linked=0)
    assert late.head
    await directory.linked_members.begin(late.id, late.head)
    begun = await directory.groups.get(late.id)
    assert begun.version_before_link == late.version
    assert (await undo(directory, run))[0] == {}
    with pytest.raises(Stale):
        await directory.groups.link(begun, replace(begun, status=Status.CLAIMED), by=f"run:{run.id}", begun=True)


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


async def test_an_undo_leaves_what_a_later_run_linked_to_the_same_group_again(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales = await group(directory, "sales")
    first = await run_over(directory, sales, linked=1)
    await undo(directory, first)
    second = await run_over(directory, await directory.groups.get(sales.id), linked=1)
    assert (await undo(directory, first))[0] == {"groupsUnchanged": 1}
    found = await directory.groups.get(sales.id)
    assert (found.status, found.external_id) == (Status.CLAIMED, object_id(0))
    assert (await undo(directory, second))[0] == {"groupsUndone": 1}


async def test_death_at_any_storage_operation_is_made_good(sqlite_tables: SqliteTables) -> None:
    for number in itertools.count(1):
        directory = await make_directory(sqlite_tables, f"at{number}")
        ann, bea, cleo = [await account(directory, name) for name in ("ann", "bea", "cleo")]
        groups = [await group(directory, name, f"k-{name}") for name in ("a", "b")]
        for one in groups:
            await directory.members.add(one.id, [Member(ann), Member(bea)])
        seen = [await directory.groups.get(one.id) for one in groups]
        run = await run_over(directory, *seen, linked=2)
        for one in groups:
            await scim_patch(directory, one.id, moving("add", ann, bea, cleo))
            await scim_patch(directory, one.id, moving("remove", ann))
            await scim_patch(directory, one.id, {"op": "replace", "path": "displayName", "value": f"{one.id}"})
        jobs = directory.jobs
        job = await jobs.start("undo", "test", jobs.new_id("undo"), {"run": run.id})
        dying = FaultyTables(sqlite_tables, script({number: Fault.CRASH_AFTER}))
        with suppress(Crash):
            await Engine(activity_calls(Directories(dying))).play(undo_links, start_of(directory, job))
        calls = activity_calls(Directories(sqlite_tables))
        await Engine(calls).play(undo_links, start_of(directory, job))
        assert await jobs.total(job.id) == {"groupsUndone": 2}
        for one in groups:
            after = await directory.groups.get(one.id)
            assert (after.document(), after.status) == (one.document(), Status.LOCAL), number
            assert await inside(directory, one.id) == {ann, bea}, number
            assert await directory.linked_members.was_here(one.id) == []
        if not dying.crashed:
            assert number > 30
            break


async def test_members_stay_as_they_are(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales, inner = await group(directory, "sales"), await group(directory, "inner")
    await directory.members.add(sales.id, [Member(inner.id)])
    run = await run_over(directory, await directory.groups.get(sales.id), linked=1)
    await undo(directory, run)
    assert await directory.members.holds(sales.id, inner.id)


async def test_the_order_of_clocks_takes_back_no_link_of_another_run(sqlite_tables: SqliteTables) -> None:
    """With a clock that goes back, an undo stands before its link in the history."""
    directory = await make_directory(sqlite_tables)
    sales = await group(directory, "sales")
    run = await run_over(directory, sales, linked=1)
    await undo(directory, run)
    created, link_, undo_, *rest = await directory.groups.history(sales.id)
    shuffled = [created, undo_, *rest, link_]
    free = await directory.groups.get(sales.id)
    other = replace(free.with_document(free.document() | {"externalId": object_id(7)}), status=Status.CLAIMED)
    for now in (free, other):
        verdict = judge(now, shuffled, object_id(0), run.id, "undo0")
        assert verdict
        assert (verdict.outcome, verdict.after) == (UNCHANGED, None)


async def test_an_undo_names_what_an_earlier_version_did_not_keep(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales = await group(directory, "sales")
    run = await run_over(directory, sales, linked=1)
    await scim_patch(directory, sales.id, {"op": "replace", "path": "displayName", "value": "renamed"})
    now, history = await directory.groups.get(sales.id), await directory.groups.history(sales.id)
    old = [replace(c, before={name: c.before[name] for name in c.before if name != "displayName"}) for c in history]
    verdict = judge(now, old, object_id(0), run.id, "undo0")
    assert verdict
    assert verdict.after
    assert (verdict.outcome, verdict.after.status, verdict.after.display_name) == (UNDONE, Status.LOCAL, "renamed")
    assert "displayName: provisioning changed it" in verdict.reason
    assert "An earlier version" in verdict.reason


async def test_a_name_that_provisioning_changed_after_the_upgrade_is_given_back(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    sales = await group(directory, "sales")
    run = await run_over(directory, sales, linked=1)
    for name in ("renamed", "and again"):
        await scim_patch(directory, sales.id, {"op": "replace", "path": "displayName", "value": name})
    now, history = await directory.groups.get(sales.id), await directory.groups.history(sales.id)
    by_earlier = ("create", "link")
    old = [
        replace(c, before={n: c.before[n] for n in c.before if c.action not in by_earlier or n != "displayName"})
        for c in history
    ]
    verdict = judge(now, old, object_id(0), run.id, "undo0")
    assert verdict
    assert verdict.after
    assert (verdict.after.display_name, verdict.name) == ("sales", "sales")
    assert verdict.reason.startswith("The link is taken back. displayName: ")
