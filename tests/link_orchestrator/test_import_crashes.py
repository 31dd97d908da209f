"""Death at any storage operation of an import that renames accounts: what it was to refuse, it refuses run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Crash, FaultyTables, script
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.orchestrator import import_accounts
from link_orchestrator.passes.freed_names import KEYED
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.work.jobs import Job
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import Engine, activity_calls, all_accounts, csv_file, make_directory, start_of
from tests.link_orchestrator.test_kill import copy, deaths, in_file
from tests.shared.directory.invariants import check_invariants

BEFORE = [{"userName": f"n{number}", "applicationId": f"k{number}"} for number in range(6)]
RENAMED = [{"userName": f"fresh{number}", "applicationId": f"k{number}"} for number in range(6)]
IN_FREED_NAMES = [{"userName": f"n{number}", "applicationId": f"new{number}"} for number in range(6)]


async def staged(directory: Directory, *rows: dict[str, str]) -> Job:
    job = await directory.jobs.start("import", "test", directory.jobs.new_id("import"), {"slices": 1, KEYED: True})
    writer = directory.stage(job.id).writer()
    for row in read_accounts(csv_file(*rows)):
        assert isinstance(row, AccountRow)
        bucket = directory.keys.bucket(directory.keys.digest(Key("userName", row.user_name)))
        await writer.add(bucket, row.to_json())
    await writer.close()
    return job


async def test_a_freed_name_is_nobodys_wherever_the_import_dies(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "all.db")
    directory = await make_directory(tables, "small", 2)
    job = await staged(directory, *BEFORE)
    await Engine(activity_calls(Directories(tables))).play(import_accounts, start_of(directory, job))
    job = await staged(directory, *RENAMED, *IN_FREED_NAMES)
    passes: list[tuple[Any, int]] = []

    async def call(name: str, message: Any) -> Any:
        if message.get("stage") == "import":
            copy(tmp_path / "all.db", tmp_path / "before.db")
        counting = FaultyTables(tables)
        answer = await activity_calls(Directories(counting))(name, message)
        if message.get("stage") == "import":
            passes.append((message, counting.requests))
        return answer

    await Engine(call).play(import_accounts, start_of(directory, job))
    await tables.close()
    ((message, calls),) = passes
    for place, fault in deaths(calls):
        path = copy(tmp_path / "before.db", tmp_path / "again.db")

        async def die(tables: SqliteTables, place: int = place, fault: Any = fault) -> None:
            await activity_calls(Directories(FaultyTables(tables, script({place: fault}))))("run_slice", message)

        async def run(tables: SqliteTables) -> list[tuple[str, str | None]]:
            await activity_calls(Directories(tables))("run_slice", message)
            await check_invariants(tables, "small")
            found = await all_accounts(await Directories(tables).open("small"))
            return sorted((account.user_name, account.application_id) for account in found)

        with pytest.raises(Crash):
            await in_file(path, die)
        assert await in_file(path, run) == [(f"fresh{n}", f"k{n}") for n in range(6)], (place, fault)
        path.unlink()
