"""The passes that plan groups, run twice while people and groups change: nothing counts twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.messages import Slice
from link_orchestrator.passes import plan_groups
from link_orchestrator.staged import EntraGroupWriter
from shared.directory.directory import Directory
from shared.directory.records.model import Account, Group, Link, Status
from shared.directory.work.jobs import Job
from tests.link_orchestrator.passes.test_read import small
from tests.link_orchestrator.running import object_id, plan_rows

NOW = "2026-01-01T00:00:00.000Z"


async def with_group(directory: Directory, job: Job, *members: str) -> Job:
    """Bring a group of one name in Entra, with members, and here, without."""
    upload = directory.jobs.new_id("entragroups")
    writer = EntraGroupWriter(directory, upload)
    await writer.add(EntraGroup(object_id(900), "Sales", members))
    await writer.close()
    group_id = directory.groups.keys.new_id("Sales")
    await directory.groups.create(Group.new(group_id, {"displayName": "Sales"}, Status.LOCAL, NOW), by="t")
    return await directory.jobs.change(job.id, lambda j: replace(j, options={**j.options, "groups": upload}))


@pytest.mark.parametrize("first", ["local", "linked"])
async def test_a_member_counts_once_though_he_was_linked_or_released_between_two_runs_of_a_slice(
    tmp_path: Path, first: str
) -> None:
    async with small(tmp_path) as (_, directory, job):
        who = object_id(1)
        job = await with_group(directory, job, who)
        accounts, part = directory.accounts, Slice(job=job.id, directory="small", pass_name="", low=0, high=2)
        local = Account.new(directory.keys.new_id("ada"), {"userName": "ada"}, Status.LOCAL, NOW)
        linked = local.with_external_id(who, status=Status.CLAIMED, link=Link(who, "hand", NOW, "admin"))
        now, then = (local, linked) if first == "local" else (linked, local)
        account = await accounts.create(now, by="t")
        await plan_groups.resolve_members(directory, job, part)  # its answer is lost
        await accounts.replace(account, then, by="admin", action="link")
        await plan_groups.resolve_members(directory, job, part)
        await plan_groups.decide_groups(directory, job, part)
        (row,) = await plan_rows(directory, job.id)
        shown = row.shown["members"]
        assert (shown["both"], shown["onlyHere"], shown["onlyThere"]) == (0, 0, 1)
        assert [member["only"] for member in shown["differing"]] == ["there"]


@pytest.mark.parametrize(("then", "decisions"), [("Verkauf", ["localGroup", "noGroup"]), ("SALES", ["groupLink"])])
async def test_a_group_stands_in_the_plan_once_though_one_here_was_renamed_between_two_runs_of_a_slice(
    tmp_path: Path, then: str, decisions: list[str]
) -> None:
    async with small(tmp_path) as (_, directory, job):
        job = await with_group(directory, job)
        part = Slice(job=job.id, directory="small", pass_name="", low=0, high=2)
        await plan_groups.resolve_members(directory, job, part)
        assert await plan_groups.decide_groups(directory, job, part) == {"groupLink": 1}  # its answer is lost
        (_, group_id), *_ = [pair for n in (0, 1) async for pair in directory.group_listing.scan_names(n)]
        group = await directory.groups.get(group_id)
        await directory.groups.replace(group, group.with_document(group.document() | {"displayName": then}), by="t")
        counts = await plan_groups.decide_groups(directory, job, part)
        rows = [row.decision for row in await plan_rows(directory, job.id)]
        assert sorted(rows) == sorted(counts.elements()) == decisions
