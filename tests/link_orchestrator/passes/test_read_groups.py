"""Groups beside the identities of a reading: crashes, restarts and renames between its pages, without HTTP."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.local.faults import Crash, Fault, FaultyTables, random_faults, script
from link_orchestrator import staged
from link_orchestrator.files.entra_groups import EntraGroup
from link_orchestrator.messages import Slice
from link_orchestrator.passes import plan_groups, read
from link_orchestrator.source import IN_GROUPS, Page, Place, PlaceExpired, SourceBusy
from shared.directory.directory import Directory
from shared.directory.work.jobs import Job
from shared.directory.work.readings import Readings
from tests.link_orchestrator.passes.test_read import TROUBLE, Script, people, small, until_read
from tests.link_orchestrator.running import plan_rows


async def test_a_group_stands_in_the_plan_once_under_its_newest_name_wherever_a_reading_died(tmp_path: Path) -> None:
    """It is renamed while the reader is dead: what that one had staged and not kept is read again."""

    def source(name: str) -> Script:
        pages: Any = [people(1), [EntraGroup("g1", name, ("m1",), whole=False)], [EntraGroup("g1", name, ("m2",))]]
        return Script(*pages)

    async with small(tmp_path) as (tables, _, job):
        counting = FaultyTables(tables)
        await until_read(counting, job, source("Old"))
    for place in range(1, counting.requests + 1):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            with tempfile.TemporaryDirectory() as folder:
                async with small(folder) as (tables, directory, job):
                    job = await directory.jobs.change(job.id, with_groups)
                    with pytest.raises(Crash):
                        await until_read(FaultyTables(tables, script({place: fault})), job, source("Old"))
                    at = await Readings(tables, directory.keys).find(job.id)
                    name = "Old" if at and at.place is None else "New"
                    assert (await until_read(tables, job, source(name))).slices
                    found = await resolved(directory, await directory.jobs.get(job.id))
                    assert found == {name: {"m1", "m2"}}, (place, fault)


MEMBERS = st.lists(st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=3)
"""A group's members, page by page."""


@settings(max_examples=40)
@given(st.lists(MEMBERS, min_size=1, max_size=4), TROUBLE, st.integers(1, 8), st.integers(0, 2**16))
async def test_however_pages_fall_and_whatever_fails_every_group_has_all_its_members(
    groups: list[list[list[int]]], trouble: list[tuple[int, str]], at_once: int, seed: int
) -> None:
    pages: list[Any] = [people(1)]
    for number, chunks in enumerate(groups):
        for at, chunk in enumerate(chunks):
            members = tuple(dict.fromkeys(f"m{member}" for member in chunk))
            pages.append([EntraGroup(f"g{number}", f"Group {number}", members, whole=at == len(chunks) - 1)])
    source = Script(*pages)
    kinds = {"busy": SourceBusy("busy"), "crash": Crash(), "expired": PlaceExpired("expired")}
    for at, kind in dict(trouble).items():
        source.errors.setdefault(at, []).append(kinds[kind])  # type: ignore[arg-type]  # a Crash is none
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "ROWS", at_once)
        patch.setattr(read, "RESTARTS", 9)
        patch.setattr(staged, "RESTARTS", 9)
        patch.setattr("link_orchestrator.passes.read.random.uniform", lambda low, high: 0.0)
        async with small(folder) as (tables, directory, job):
            job = await directory.jobs.change(job.id, with_groups)
            faulty = FaultyTables(tables, random_faults(seed, 0.05), latency=0)
            while True:
                try:
                    assert (await until_read(faulty, job, source)).slices
                    break
                except Crash:
                    pass
            found = await resolved(directory, await directory.jobs.get(job.id))
            assert found == {
                f"Group {n}": {f"m{member}" for chunk in chunks for member in chunk} for n, chunks in enumerate(groups)
            }


@pytest.mark.parametrize("rows", [1, 5000])
async def test_of_a_group_read_twice_the_newer_name_counts_in_one_batch_or_over_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    monkeypatch.setattr(read, "ROWS", rows)
    pages: Any = [people(1), [EntraGroup("g1", "Old", ("m1",))], [EntraGroup("g1", "New", ("m1", "m2"))]]
    async with small(tmp_path) as (tables, directory, job):
        job = await directory.jobs.change(job.id, with_groups)
        assert (await until_read(tables, job, Counting(*pages))).slices
        assert await resolved(directory, await directory.jobs.get(job.id)) == {"New": {"m1", "m2"}}


class Counting(Script):
    """Counts members as graph/groups.py does, so that they fill a batch."""

    async def page(self, place: Place) -> Page:
        page = await super().page(place)
        members = sum(len(row.members) for row in page.rows if isinstance(row, EntraGroup))
        return replace(page, counts={IN_GROUPS: members})


async def resolved(directory: Directory, job: Job) -> dict[str, set[str]]:
    """Return the members of each group as a plan sees them."""
    part = Slice(job=job.id, directory="small", pass_name="", low=0, high=2)
    await plan_groups.resolve_members(directory, job, part)
    await plan_groups.decide_groups(directory, job, part)
    rows = await plan_rows(directory, job.id)
    names = {row.shown["entraGroup"]["id"]: row.shown["entraGroup"]["displayName"] for row in rows}
    assert len(names) == len(rows), "each group stands in the plan once"
    found: dict[str, set[str]] = {name: set() for name in names.values()}
    for bucket in range(2):
        async for items in directory.stage(job.id + staged.MEMBERS).read(bucket):
            for group, _, member in items:
                found[names[group]].add(member)
    return found


def with_groups(job: Job) -> Job:
    """Return a run that reads its groups, too."""
    name = staged.groups_of(staged.reading_names(job.id)[0])
    return replace(job, options={**job.options, "groups": name})
