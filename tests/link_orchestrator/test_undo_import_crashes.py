"""Death at any storage operation of the undo of an import, and twins of its activities: it ends the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Crash, FaultyTables, script
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.groups import GroupRow, read_groups
from link_orchestrator.orchestrator import (
    UNDO_GROUP_IMPORT_PASSES,
    UNDO_IMPORT_COUNTS,
    UNDO_IMPORT_PASSES,
    import_accounts,
    import_groups,
    undo_group_import,
    undo_import,
)
from link_orchestrator.staged import name_bucket
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.work.jobs import Job, Jobs
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import Engine, activity_calls, csv_file, make_directory, plan_rows, start_of
from tests.link_orchestrator.test_kill import Step, copy, deaths, in_file, until_done
from tests.shared.directory.invariants import check_invariants
from tests.waiting import PATIENCE

BEFORE = csv_file(
    {"userName": "ada", "title": "Old", "email": "ada@contoso.com", "active": ""},
    {"userName": "bob", "title": "Old", "email": "bob@contoso.com", "active": ""},
    {"userName": "kept", "title": "Old", "email": "", "active": ""},
)
FILE = csv_file(
    {"userName": "ada", "title": "New", "email": "ada@fabrikam.com", "active": "no"},
    {"userName": "bob", "title": "New", "email": "bob@contoso.com", "active": ""},
    {"userName": "kept", "title": "New", "email": "", "active": ""},
    {"userName": "eve", "title": "New", "email": "eve@contoso.com", "active": ""},
    {"userName": "new", "title": "New", "email": "", "active": ""},
    {"userName": "edited", "title": "New", "email": "", "active": ""},
)
GROUPS_BEFORE = b'[{"displayName": "Old", "members": ["ada"]}]'
GROUPS = (
    b'[{"displayName": "Old", "members": ["ada", "bob"], "externalId": "g-1"},'
    b' {"displayName": "New", "members": ["eve"]}]'
)
STEPS = (*UNDO_IMPORT_COUNTS, *UNDO_IMPORT_PASSES, *UNDO_GROUP_IMPORT_PASSES)


async def bring(directory: Directory, file: bytes, kind: str = "import") -> Job:
    """Import a file, and return the import."""
    jobs, keys, groups = directory.jobs, directory.keys, directory.groups.keys
    job = await jobs.start(kind, "test", jobs.new_id(kind), {"slices": 1})
    writer = directory.stage(job.id).writer()
    for row in read_accounts(file) if kind == "import" else read_groups(file):
        match row:
            case AccountRow():
                await writer.add(keys.bucket(keys.digest(Key("userName", row.user_name))), row.to_json())
            case GroupRow():
                await writer.add(name_bucket(groups, row.display_name), row.to_json())
            case _:
                raise AssertionError(row)
    await writer.close()
    body = import_accounts if kind == "import" else import_groups
    assert await Engine(activity_calls(Directories(directory.tables))).play(body, start_of(directory, job)) == "done"
    return job


async def undisturbed(folder: Path) -> dict[str, Step]:
    """Import, edit one account, and take both imports back; return the activities of the undos, by pass."""
    steps: dict[str, Step] = {}
    path = folder / "all.db"
    tables = SqliteTables.open(path)

    async def call(name: str, message: Any) -> Any:
        passed = message.get("stage", "")
        before = copy(path, folder / f"{passed}-before.db")
        counting = FaultyTables(tables)
        answer = await activity_calls(Directories(counting))(name, message)
        if passed in STEPS:
            steps[passed] = Step(name, message, counting.requests, before, copy(path, folder / f"{passed}-after.db"))
        return answer

    directory = await make_directory(tables, "small", 2)
    await bring(directory, BEFORE)
    await bring(directory, GROUPS_BEFORE, "groupimport")
    imported = await bring(directory, FILE)
    grouped = await bring(directory, GROUPS, "groupimport")
    (edited,) = await directory.accounts.list_by(Key("userName", "edited"))
    after = edited.with_document(edited.document() | {"title": "Boss"})
    await directory.accounts.replace(edited, after, by="test", action="edit")
    jobs = directory.jobs
    for kind, body, options in (
        ("groupimportundo", undo_group_import, {"import": grouped.id}),
        ("importundo", undo_import, {"import": imported.id, "activate": 1}),
    ):
        job = await jobs.start(kind, "test", jobs.new_id(kind), options)
        start = start_of(directory, job).model_copy(update={"activate": options.get("activate")})
        assert await Engine(call).play(body, start) == "done"
        expected = {"removed": 1, "undone": 1}
        if kind == "importundo":
            expected = {"activating": 1, "removed": 2, "undone": 3, "refused": 1}
        assert await jobs.total(job.id) == expected
    await tables.close()
    return steps


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Step]:
    """The activities of the undos on the way without a crash: tests work on copies of its files."""
    return asyncio.run(undisturbed(tmp_path_factory.mktemp("undisturbed")))


async def check(tables: SqliteTables) -> list[Any]:
    """Return what the directory and its jobs tell."""
    found = await check_invariants(tables, "small")
    directory = await Directories(tables).open("small")
    names = {account.id: account.user_name for account in found}
    shown: list[Any] = []
    for account in found:
        history = [change.action for change in await directory.accounts.history(account.id)]
        shown.append((account.user_name, account.document(), account.evidence, history))
    for bucket in range(2):
        async for group in directory.group_listing.scan(bucket):
            members = [names.get(one.id) for page in [await directory.members.first(group.id, 100)] for one in page]
            shown.append((group.display_name, group.external_id, members))
    jobs = Jobs(tables, directory.keys)
    for job in await jobs.list_all():
        rows = sorted((row.decision, row.subject) for row in await plan_rows(directory, job.id))
        shown.append((job.id, job.state, +Counter(await jobs.total(job.id)), rows))
    return sorted(shown, key=repr)


@pytest.mark.parametrize("name", STEPS)
async def test_an_activity_that_dies_at_any_storage_operation_ends_the_same_when_run_again(
    tmp_path: Path, steps: dict[str, Step], name: str
) -> None:
    step = steps[name]
    assert step.calls > 2
    everything = await in_file(step.after, check)
    for place, fault in deaths(step.calls):
        path = copy(step.before, tmp_path / "again.db")

        async def die(tables: SqliteTables, place: int = place, fault: Any = fault) -> None:
            dying = FaultyTables(tables, script({place: fault}))
            await activity_calls(Directories(dying))(step.name, step.message)

        async def run(tables: SqliteTables) -> list[Any]:
            await activity_calls(Directories(tables))(step.name, step.message)
            return await check(tables)

        with pytest.raises(Crash):
            await in_file(path, die)
        assert await in_file(path, run) == everything, (place, fault)
        path.unlink()


@pytest.mark.parametrize("name", STEPS)
async def test_an_activity_that_runs_twice_at_once_ends_the_same(
    tmp_path: Path, steps: dict[str, Step], name: str
) -> None:
    step = steps[name]
    everything = await in_file(step.after, check)
    for lead in range(step.calls):
        path = copy(step.before, tmp_path / "again.db")

        async def run(tables: SqliteTables, lead: int = lead) -> list[Any]:
            first, far_enough = FaultyTables(tables), asyncio.Event()

            async def look(_: Any) -> None:
                if first.requests > lead:
                    far_enough.set()

            async def twin() -> None:
                await asyncio.wait_for(far_enough.wait(), PATIENCE)
                await until_done(step, tables)

            first.before = look
            await asyncio.gather(until_done(step, first), twin())
            return await check(tables)

        assert await in_file(path, run) == everything, lead
        path.unlink()
