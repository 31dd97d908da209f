"""What only the SQLite adapter has to show: durability, several processes and event loops, grouped commits."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.tables import sqlite
from shared.tables.access import read_range, scan
from shared.tables.port import ANY, Delete, Insert, LimitExceeded, Merge, Replace, Unavailable, Upsert, VersionConflict
from shared.tables.sqlite import GROUPS_AHEAD, PAGE_BYTES, SqliteTables
from tests.waiting import PATIENCE

COMMITTER = """
import asyncio, sys
from shared.tables.port import Insert
from shared.tables.sqlite import SqliteTables

async def write(tables, writer):
    for number in range(1_000_000):
        operations = [Insert(f"{writer}_{number:06}_{part}", {"writer": writer}) for part in "ab"]
        await tables.commit("p", operations)
        print(writer, number, flush=True)

async def run(path):
    tables = SqliteTables.open(path)
    await asyncio.gather(*(write(tables, writer) for writer in range(4)))

asyncio.run(run(sys.argv[1]))
"""
COUNTER = """
import asyncio, sys
from shared.tables.port import Replace, VersionConflict
from shared.tables.sqlite import SqliteTables

async def run(path):
    tables = SqliteTables.open(path)
    added = 0
    while added < 100:
        row = await tables.get("p", "count")
        try:
            await tables.commit("p", [Replace("count", {"n": row.columns["n"] + 1}, row.etag)])
            added += 1
        except VersionConflict:
            pass
    await tables.close()

asyncio.run(run(sys.argv[1]))
"""
ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def running(program: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", program, str(path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("acknowledged", [1, 40, 150])
async def test_a_killed_process_loses_no_acknowledged_commit(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "tables.db"
    with running(COMMITTER, path) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(acknowledged)]
        process.kill()
        lines += process.stdout.readlines()
    tables = SqliteTables.open(path)
    found = set(await _keys(tables))
    for line in lines:
        if not line.endswith("\n"):  # the kill came in the middle of it
            continue
        writer, number = line.split()
        assert {f"{writer}_{int(number):06}_{part}" for part in "ab"} <= found
    assert found == {key[:-1] + part for key in found for part in "ab"}
    await tables.close()


async def test_two_processes_write_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("count", {"n": 0})])
    added = 0
    with running(COUNTER, path) as one, running(COUNTER, path) as other:
        while one.poll() is None or other.poll() is None:
            row = await tables.get("p", "count")
            assert row is not None
            try:
                await tables.commit("p", [Replace("count", {"n": int(row.columns["n"]) + 1}, row.etag)])
                added += 1
            except VersionConflict:
                pass
            await asyncio.sleep(0.01)
        assert (one.returncode, other.returncode) == (0, 0)
    row = await tables.get("p", "count")
    assert row is not None
    assert row.columns == {"n": 200 + added}
    await tables.close()


def test_what_is_acknowledged_outlives_a_power_cut(tmp_path: Path) -> None:
    full = 2
    with contextlib.closing(inspect.unwrap(sqlite._connect)(tmp_path / "tables.db")) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (full,)


def test_one_table_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")
    for number in range(3):
        asyncio.run(_insert(tables, f"{number}"))
    assert asyncio.run(_keys(tables)) == ["0", "1", "2"]
    asyncio.run(tables.close())


def test_event_loops_in_several_threads_share_a_table(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")

    async def write(thread: int) -> None:
        for number in range(30):
            await asyncio.gather(*(_insert(tables, f"{thread}_{number:02}_{task}") for task in range(3)))

    threads = [threading.Thread(target=lambda thread=thread: asyncio.run(write(thread))) for thread in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asyncio.run(_keys(tables))) == 270
    asyncio.run(tables.close())


def test_a_commit_abandoned_with_its_event_loop_does_not_block_the_next(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")

    async def abandon() -> None:
        task = asyncio.create_task(_insert(tables, "abandoned"))
        await asyncio.sleep(0)
        task.cancel()

    for _ in range(20):
        asyncio.run(abandon())
    asyncio.run(_insert(tables, "k"))
    assert "k" in asyncio.run(_keys(tables))
    asyncio.run(tables.close())


async def test_commits_that_wait_together_succeed_and_fail_each_for_itself(sqlite_tables: SqliteTables) -> None:
    await sqlite_tables.commit("p", [Insert("taken", {})])
    outcomes = await asyncio.gather(
        *(
            sqlite_tables.commit("p", [Upsert(f"{number}", {}), Insert("taken" if number % 2 else f"x{number}", {})])
            for number in range(20)
        ),
        return_exceptions=True,
    )
    assert [isinstance(outcome, list) for outcome in outcomes] == [True, False] * 10
    assert len((await sqlite_tables.query("p")).rows) == 21


class SlowDisk:
    """A connection whose COMMIT waits until the disk is let go."""

    def __init__(self, tables: SqliteTables, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ready = threading.Event()
        self._connection = tables._file._writer
        monkeypatch.setattr(tables._file, "_writer", self)

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, values: tuple[str | bytes, ...] = ()) -> object:
        if statement == "COMMIT":
            assert self.ready.wait(PATIENCE)
        return self._connection.execute(statement, values)


async def test_the_event_loop_does_not_wait_for_the_disk(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(sqlite_tables, monkeypatch)
    commit = asyncio.create_task(_insert(sqlite_tables, "k"))
    for _ in range(100):
        assert await sqlite_tables.get("p", "k") is None
        await asyncio.sleep(0)
    assert not commit.done()
    disk.ready.set()
    await commit
    assert await sqlite_tables.get("p", "k") is not None


async def test_commits_do_not_starve_beside_a_busy_event_loop(sqlite_tables: SqliteTables) -> None:
    """Counted in turns of the event loop, and without a disk: a commit that starved took some thousand turns."""
    sqlite_tables._file._writer.execute("PRAGMA synchronous = OFF")
    turns = 0

    async def work() -> None:
        nonlocal turns
        while True:
            sum(range(200_000))
            turns += 1
            await asyncio.sleep(0)

    worker = asyncio.create_task(work())
    for number in range(20):
        began = turns
        await _insert(sqlite_tables, f"{number}")
        assert turns - began < 1_000
    worker.cancel()


def test_a_commit_that_waits_behind_one_of_a_closed_event_loop_is_applied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")
    disk = SlowDisk(tables, monkeypatch)

    async def abandon() -> None:
        task = asyncio.create_task(_insert(tables, "abandoned"))
        await asyncio.sleep(0.01)
        task.cancel()

    async def wait_behind() -> None:
        asyncio.get_running_loop().call_later(0.01, disk.ready.set)
        await asyncio.wait_for(_insert(tables, "k"), PATIENCE)

    asyncio.run(abandon())
    asyncio.run(wait_behind())
    assert asyncio.run(_keys(tables)) == ["abandoned", "k"]
    asyncio.run(tables.close())


async def test_a_disk_that_fails_leaves_the_commit_unavailable_and_the_table_usable(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = SlowDisk(sqlite_tables, monkeypatch)
    monkeypatch.setattr(disk.ready, "wait", _disk_full)
    with pytest.raises(Unavailable):
        await _insert(sqlite_tables, "a")
    monkeypatch.undo()
    await _insert(sqlite_tables, "b")
    assert await _keys(sqlite_tables) == ["b"]


async def test_a_commit_ahead_that_the_disk_refuses_says_why(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes back the transaction by itself, and of the next COMMIT it says only that there is none."""
    disk = SlowDisk(sqlite_tables, monkeypatch)

    def refuse(_: float) -> bool:
        if disk.in_transaction:
            disk.execute("ROLLBACK")
            raise sqlite3.OperationalError("database or disk is full")
        return True

    monkeypatch.setattr(disk.ready, "wait", refuse)
    with pytest.raises(Unavailable, match="full"):
        await sqlite_tables.commit_ahead("p", [Upsert("a", {})])
    monkeypatch.undo()
    await _insert(sqlite_tables, "b")
    assert await _keys(sqlite_tables) == ["b"]


async def test_tables_of_one_file_are_apart_and_close_apart(tmp_path: Path) -> None:
    first, second = (SqliteTables.open(tmp_path / "tables.db", name) for name in ("first", "second"))
    await asyncio.gather(_insert(first, "a"), _insert(second, "b"))
    await first.close()
    await first.close()
    assert await _keys(second) == ["b"]
    with pytest.raises(Unavailable):
        await _insert(first, "c")
    await second.commit("p", [Delete("b", ANY)])
    await second.close()


async def test_closing_finishes_commits_under_way(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "tables.db")
    commits = [asyncio.create_task(_insert(tables, f"{number:02}")) for number in range(50)]
    await asyncio.sleep(0)
    await tables.close()
    await asyncio.gather(*commits)
    again = SqliteTables.open(tmp_path / "tables.db")
    assert len(await _keys(again)) == 50
    await again.close()


async def test_no_two_rows_ever_have_one_etag(tmp_path: Path) -> None:
    etags: list[str] = []
    for _ in range(3):
        tables = SqliteTables.open(tmp_path / "tables.db")
        etags += await tables.commit("p", [Upsert(key, {}) for key in "abc"])
        etags += await tables.commit("q", [Upsert(key, {}) for key in "abc"])
        await tables.close()
    assert len(set(etags)) == 18


@pytest.mark.parametrize("name", ["", "ab", "1abc", "a-b-c", 'abc"; DROP TABLE abc; --'])
def test_a_table_name_that_azure_would_refuse_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(LimitExceeded):
        SqliteTables.open(tmp_path / "tables.db", name)


@pytest.mark.parametrize(
    "operation", [Insert("\ud800", {}), Insert("k", {"s": "\udc00"}), Merge("k", {"s": "\udc00"}, ANY)]
)
async def test_half_a_surrogate_pair_is_refused_without_harm_to_other_commits(
    sqlite_tables: SqliteTables, operation: Insert | Merge
) -> None:
    refused, _ = await asyncio.gather(
        sqlite_tables.commit("p", [Upsert("first", {}), operation]), _insert(sqlite_tables, "a"), return_exceptions=True
    )
    assert isinstance(refused, LimitExceeded)
    assert await _keys(sqlite_tables) == ["a"]


async def test_a_merge_may_not_grow_a_row_beyond_the_limit(sqlite_tables: SqliteTables) -> None:
    await sqlite_tables.commit("p", [Insert("k", {f"a{number}": 1 for number in range(200)})])
    with pytest.raises(LimitExceeded):
        await sqlite_tables.commit("p", [Merge("k", {f"b{number}": 1 for number in range(100)}, ANY)])


async def _insert(tables: SqliteTables, key: str) -> None:
    await tables.commit("p", [Insert(key, {})])


async def _keys(tables: SqliteTables) -> list[str]:
    page = await tables.query("p")
    keys = [row.key for row in page.rows]
    while page.continuation:
        page = await tables.query("p", continuation=page.continuation)
        keys += [row.key for row in page.rows]
    return keys


def _disk_full(_: float) -> bool:
    raise sqlite3.OperationalError("database or disk is full")


async def test_a_log_that_somebody_kept_from_beginning_anew_is_emptied_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tables.sqlite.LOG_BYTES", 200_000)
    log, tables = tmp_path / "rows.db-wal", SqliteTables.open(tmp_path / "rows.db")

    async def write(number: int) -> None:
        await tables.commit("p", [Upsert(f"{number:02}", {"text": "x" * 20_000})])

    with contextlib.closing(sqlite3.connect(tmp_path / "rows.db", isolation_level=None)) as other:
        await write(0)
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM scimlink").fetchone()
        for number in range(40):
            await write(number)
        assert log.stat().st_size > 200_000, "who reads what is old keeps the log"
        other.execute("COMMIT")
        await write(40)
        assert log.stat().st_size == 0
        assert len((await tables.query("p")).rows) == 41
    await tables.close()


@pytest.fixture
async def synced_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SqliteTables]:
    """An empty table that waits for the disk, as outside of tests."""
    monkeypatch.setattr(sqlite, "_connect", sqlite._connect.__wrapped__)  # type: ignore[attr-defined]
    opened = SqliteTables.open(tmp_path / "synced.db")
    yield opened
    await opened.close()


async def test_a_commit_ahead_does_not_wait_for_the_disk_and_the_next_commit_does(synced_tables: SqliteTables) -> None:
    writer = synced_tables._file._writer
    levels = []
    for commit in (synced_tables.commit, synced_tables.commit_ahead, synced_tables.commit, synced_tables.commit_ahead):
        await commit("p", [Upsert("a", {})])
        levels.append(writer.execute("PRAGMA synchronous").fetchone()[0])
    full, normal = 2, 1
    assert levels == [full, normal, full, normal]
    await asyncio.gather(
        synced_tables.commit_ahead("p", [Upsert("b", {})]), synced_tables.commit("p", [Upsert("c", {})])
    )
    assert writer.execute("PRAGMA synchronous").fetchone()[0] == full, "of a group one waits for the disk"


async def test_among_many_commits_ahead_some_wait_for_the_disk_so_that_the_log_is_emptied(
    synced_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[bool] = []
    monkeypatch.setattr(synced_tables._file, "_sync_next", waited.append)
    for number in range(2 * (GROUPS_AHEAD + 1)):
        await synced_tables.commit_ahead("p", [Upsert(f"{number}", {})])
    assert waited == 2 * [*(GROUPS_AHEAD * [False]), True]


async def test_whatever_a_power_cut_takes_no_commit_lasts_without_those_ahead_of_it(
    synced_tables: SqliteTables, tmp_path: Path
) -> None:
    begin = (tmp_path / "synced.db-wal").stat().st_size
    for number in range(3):
        await synced_tables.commit_ahead("pointers", [Insert(f"{number}", {"id": "x" * 5_000})])
        await synced_tables.commit("accounts", [Insert(f"{number}", {"text": "x" * 5_000})])
    file, log = (tmp_path / "synced.db").read_bytes(), (tmp_path / "synced.db-wal").read_bytes()
    lasting = set()
    for kept in range(begin, len(log) + 1, 2_000):
        (tmp_path / "cut.db").write_bytes(file)
        (tmp_path / "cut.db-wal").write_bytes(log[:kept])
        (tmp_path / "cut.db-shm").unlink(missing_ok=True)
        with closing(sqlite3.connect(tmp_path / "cut.db")) as connection:
            found = [text for (text,) in connection.execute("SELECT CAST(partition AS TEXT) FROM scimlink")]
        ahead, behind = found.count("pointers"), found.count("accounts")
        assert behind <= ahead <= behind + 1
        lasting.add(behind)
    assert lasting >= {0, 1, 2}


async def test_a_page_of_large_rows_ends_by_its_bytes(sqlite_tables: SqliteTables) -> None:
    """Each is read in one step of the event loop; what reads on gets all of them, in order."""
    keys = [f"k{number:02d}" for number in range(40)]
    for key in keys:
        await sqlite_tables.commit("p", [Insert(key, {f"text{n}": "x" * 30_000 for n in range(10)})])
    page = await sqlite_tables.query("p")
    assert page.continuation is not None
    assert sum(len(str(row.columns)) for row in page.rows) < 2 * PAGE_BYTES + 8 * 300_000
    assert [row.key for row in await read_range(sqlite_tables, "p", "", None, top=1000)] == keys
    assert [row.key for row in await read_range(sqlite_tables, "p", "k05", "k31", top=17)] == keys[5:22]
    assert [row.key for row in (await sqlite_tables.query("p", top=1)).rows] == keys[:1]


@pytest.mark.parametrize("column", ["text1", "small", "none"])
async def test_a_page_of_one_column_ends_by_the_bytes_of_the_rows_that_it_is_picked_from(
    sqlite_tables: SqliteTables, column: str
) -> None:
    """Its checksum is that of all columns, so that SQLite reads all of them whichever is wanted."""
    keys = [f"k{number:02d}" for number in range(40)]
    for key in keys:
        columns = {f"text{n}": "ä" * 30_000 for n in range(5)} | {"small": key}
        await sqlite_tables.commit("p", [Insert(key, columns)])
    page = await sqlite_tables.query("p", select=[column])
    assert len(page.rows) == 7
    assert page.continuation is not None
    found = [row async for row in scan(sqlite_tables, "p", select=[column])]
    assert [row.key for row in found] == keys
    wanted = {"text1": ["ä" * 30_000] * 40, "small": keys, "none": [None] * 40}[column]
    assert [row.columns.get(column) for row in found] == wanted
