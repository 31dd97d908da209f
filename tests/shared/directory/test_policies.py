"""The policy's history: numbered entries in the transaction of each change, without the name of a person."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from shared.directory.directory import Directories, Directory
from shared.directory.errors import InvalidCursor
from shared.directory.matching.policy import AutoApproval, Policy, Schedule
from shared.directory.policies import AUTO_APPROVE, SCHEDULE
from shared.scim.endpoint import PreconditionFailed
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import App, Refusal, make_directory, serving

ON = AutoApproval(0.5, 10)
EVERY_DAY = Schedule({"graph": {"scope": "all"}}, 24)


@pytest.fixture
async def directory(sqlite_tables: SqliteTables) -> Directory:
    return await make_directory(sqlite_tables)


async def entries(directory: Directory) -> list[dict[str, Any]]:
    found, cursor = await directory.policies.history("", 1000)
    assert cursor is None
    return found


async def test_each_change_says_who_changed_what_from_what_to_what(directory: Directory) -> None:
    await directory.policies.set(Policy(safeguard_share=0.5), "ann")
    await directory.policies.change(lambda policy: replace(policy, auto_approve=ON), "bob")
    latest, first = await entries(directory)
    assert (first["number"], first["by"], first["changes"]) == (
        1,
        "ann",
        {"safeguardShare": {"before": 0.2, "after": 0.5}},
    )
    assert (latest["number"], latest["by"], latest["attributes"]) == (2, "bob", ["autoApprove"])
    assert latest["changes"] == {"autoApprove": {"before": None, "after": {"share": 0.5, "number": 10}}}


async def test_exclusions_are_counted_and_not_named(directory: Directory) -> None:
    await directory.policies.set(Policy(excluded=frozenset({"ann@contoso.com", "bob@contoso.com"})), "me")
    await directory.policies.set(Policy(excluded=frozenset({"bob@contoso.com"}), creatable=frozenset()), "me")
    latest, first = await entries(directory)
    assert first["changes"] == {"excluded": {"before": 0, "after": 2, "added": 2, "removed": 0}}
    assert latest["changes"] == {"excluded": {"before": 2, "after": 1, "added": 0, "removed": 1}}
    assert "contoso" not in str([first, latest])


async def test_numbers_order_changes_though_the_clock_goes_back(sqlite_tables: SqliteTables) -> None:
    moments = iter([f"2026-01-01T0{hour}:00:00.000Z" for hour in (9, 3, 7)])
    directory = await make_directory(sqlite_tables)
    directory.policies._now = lambda: next(moments)
    for share in (0.1, 0.2, 0.3):
        await directory.policies.set(Policy(safeguard_share=share), "me")
    assert [entry["number"] for entry in await entries(directory)] == [3, 2, 1]


async def test_two_who_change_it_at_once_are_both_in_the_history(sqlite_tables: SqliteTables) -> None:
    here, there = await make_directory(sqlite_tables), await Directories(sqlite_tables).open("main")

    async def exclude(where: Directory, name: str) -> None:
        await where.policies.change(lambda policy: replace(policy, excluded=policy.excluded | {name}), name)

    await asyncio.gather(*(exclude(where, f"{where is here}{n}") for n in range(5) for where in (here, there)))
    found = await entries(here)
    assert [entry["number"] for entry in found] == list(range(10, 0, -1))
    assert [entry["changes"]["excluded"]["after"] for entry in found] == list(range(10, 0, -1))


async def test_a_switch_knows_who_gave_it_its_present_value(directory: Directory) -> None:
    await directory.policies.set(Policy(auto_approve=ON), "ann")
    await directory.policies.set(Policy(auto_approve=ON, schedule=EVERY_DAY), "bob")
    stored = await directory.policies.read()
    assert {name: switch.by for name, switch in stored.switches.items()} == {AUTO_APPROVE: "ann", SCHEDULE: "bob"}
    await directory.policies.set(Policy(auto_approve=replace(ON, number=11)), "cleo")
    stored = await directory.policies.read()
    assert {name: switch.by for name, switch in stored.switches.items()} == {AUTO_APPROVE: "cleo"}


async def test_the_policy_is_read_as_it_is_stored_though_a_process_remembers_it(sqlite_tables: SqliteTables) -> None:
    here, there = await make_directory(sqlite_tables), await Directories(sqlite_tables).open("main")
    await here.policies.set(Policy(auto_approve=ON), "me")
    await there.policies.set(Policy(), "me")
    assert (await here.policies.get()).auto_approve == ON
    assert (await here.policies.read()).policy.auto_approve is None
    assert (await here.policies.get()).auto_approve is None


async def test_a_crash_leaves_a_change_with_its_entry_or_neither(sqlite_tables: SqliteTables) -> None:
    for number in range(1, 10):
        for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            directory = await make_directory(sqlite_tables, f"d{number}{fault.name[6:7].lower()}")
            dying = FaultyTables(sqlite_tables)
            policies = (await Directories(dying).open(directory.name)).policies
            dying.reset()
            dying.faults = script({number: fault})
            try:
                await policies.set(Policy(auto_approve=ON), "me")
            except Crash:
                stored = (await directory.policies.read()).policy.auto_approve
                assert len(await entries(directory)) == (stored is not None)
                continue
            assert number > 2
            return
    raise AssertionError


async def test_a_suspension_is_told_in_the_history_and_a_second_one_changes_nothing(directory: Directory) -> None:
    await directory.schedule.suspend("ann", "an undo")
    await directory.schedule.suspend("bob", "another")
    state = await directory.schedule.get()
    assert (state.suspended_by, state.why) == ("ann", "an undo")
    await directory.schedule.resume("bob")
    await directory.schedule.resume("bob")
    assert not (await directory.schedule.get()).suspended
    told = [(entry["number"], entry["by"], entry["changes"]["schedule"]) for entry in await entries(directory)]
    assert told == [
        (2, "bob", {"before": "suspended", "after": "resumed"}),
        (1, "ann", {"after": "suspended", "why": "an undo"}),
    ]
    assert (await directory.policies.read()).policy == Policy()


async def test_the_history_comes_in_pages_over_http(tmp_path: Any) -> None:
    async with serving(tmp_path) as app:
        for share in (0.1, 0.3, 0.4):
            await app.call("PUT", "directory/policy", {"safeguardShare": share})
        found = await pages(app, 2)
        assert [entry["number"] for entry in found] == [4, 3, 2, 1]
        assert {entry["by"] for entry in found} == {"local", "app"}
        for cursor in ("x", "0", "-1", "9" * 30, "²"):
            with pytest.raises(Refusal) as refusal:
                await app.call("GET", "directory/policy/history", cursor=cursor)
            assert refusal.value.status == 400


async def test_a_policy_is_not_put_in_the_place_of_one_that_nobody_saw(tmp_path: Any) -> None:
    """Whom a colleague excluded meanwhile could be linked again."""
    async with serving(tmp_path) as app:
        async with app.session.get("/directory/policy") as shown:
            seen = {"If-Match": shown.headers["ETag"]}
        await app.call("PUT", "directory/policy", {"excluded": ["leaver@contoso.com"]})
        async with app.session.put("/directory/policy", json={"undoDays": 30}, headers=seen) as refused:
            assert refused.status == 412
        async with app.session.get("/directory/policy") as shown:
            assert (await shown.json())["excluded"] == ["leaver@contoso.com"]
            seen = {"If-Match": shown.headers["ETag"]}
        async with app.session.put("/directory/policy", json={"undoDays": 30}, headers=seen) as taken:
            assert taken.status == 200


async def test_a_change_between_the_check_and_the_store_is_found(sqlite_tables: SqliteTables) -> None:
    directory = await make_directory(sqlite_tables)
    stored = await directory.policies.read()
    seen: list[str] = []

    def check(version: str) -> None:
        seen.append(version)
        if version != stored.version:
            raise PreconditionFailed

    other = await Directories(sqlite_tables).open("main")
    await other.policies.set(Policy(undo_days=7))
    with pytest.raises(PreconditionFailed):
        await directory.policies.set(Policy(undo_days=30), check=check)
    assert ((await directory.policies.read()).policy.undo_days, len(seen)) == (7, 1)


async def pages(app: App, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await app.call("GET", "directory/policy/history", count=str(count), cursor=cursor)
        assert len(page["history"]) <= count
        found += page["history"]
        if "cursor" not in page:
            return found
        cursor = page["cursor"]


async def test_cursors_of_other_listings_are_refused(directory: Directory) -> None:
    for cursor in ("x", "0", "1" * 20, "²"):
        with pytest.raises(InvalidCursor):
            await directory.policies.history(cursor, 10)
