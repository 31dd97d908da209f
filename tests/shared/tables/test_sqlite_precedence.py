"""Who writes next: a process that hurries goes before one that is patient, and holds it up no longer than it lives."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.tables.port import AlreadyExists, Insert, Unavailable
from shared.tables.sqlite import LOOKS, SqliteTables
from shared.tables.sqlite_precedence import Precedence
from tests.waiting import PATIENCE, until

PATIENT = """
import asyncio, sys
from shared.tables import sqlite
from shared.tables.port import AlreadyExists, Insert

async def run(path):
    sqlite.BUSY_SECONDS = 600.0
    tables = sqlite.SqliteTables.open(path, patient=True)
    print("open", flush=True)
    sys.stdin.readline()
    commit = asyncio.create_task(tables.commit("p", [Insert("k", {"by": "patient"})]))
    await asyncio.sleep(0.1)
    print("waits" if not commit.done() else "does not wait", flush=True)
    try:
        await commit
        print("first", flush=True)
    except AlreadyExists:
        print("second", flush=True)
    await tables.close()

asyncio.run(run(sys.argv[1]))
"""
HURRIED = """
import sys
from pathlib import Path
from shared.tables.sqlite_precedence import Precedence

mine = Precedence(Path(sys.argv[1]), patient=False)
assert mine.enter()
print("entered", flush=True)
sys.stdin.readline()
"""
ROOT = Path(__file__).parents[3]


@contextlib.contextmanager
def another(program: str, path: Path, says: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program over the file in another process, from its first line on."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True
    ) as process:
        try:
            assert line(process) == says
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Be a third process that writes to the file."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as third:
        third.execute("BEGIN IMMEDIATE")
        yield
        third.execute("COMMIT")


def is_held_up(path: Path) -> bool:
    """Tell whether a patient process may not begin to write."""
    with contextlib.closing(Precedence(path, patient=True)) as patient:
        return not patient.enter()


async def test_who_hurries_writes_next_though_a_patient_process_looks_a_hundred_times_as_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tables.sqlite.URGENT_RETRY_SECONDS", 0.3)
    monkeypatch.setattr("shared.tables.sqlite.BUSY_SECONDS", PATIENCE)
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path)
    with another(PATIENT, path, says="open") as patient:
        with writing(path):
            mine = asyncio.create_task(tables.commit("p", [Insert("k", {"by": "who hurries"})]))
            await until(lambda: is_held_up(path))
            assert patient.stdin is not None
            print(file=patient.stdin, flush=True)
            assert await asyncio.to_thread(line, patient) == "waits"
        await mine
        assert await asyncio.to_thread(line, patient) == "second"
    await tables.close()


async def test_whatever_comes_of_a_commit_patient_processes_may_begin_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tables.sqlite.BUSY_SECONDS", 0.01)
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("k", {})])
    assert not is_held_up(path)
    with pytest.raises(AlreadyExists):
        await tables.commit("p", [Insert("k", {})])
    assert not is_held_up(path)
    with writing(path), pytest.raises(Unavailable):
        await tables.commit("p", [Insert("l", {})])
    assert not is_held_up(path)
    await tables.close()


async def test_a_process_that_is_killed_while_it_goes_first_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tables.sqlite.BUSY_SECONDS", 2 * PATIENCE)
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path, patient=True)
    with another(HURRIED, path, says="entered") as hurried:
        commit = asyncio.create_task(tables.commit("p", [Insert("k", {})]))
        await asyncio.sleep(0.05)
        assert not commit.done()
        hurried.kill()
        await asyncio.wait_for(commit, PATIENCE)
    await tables.close()


async def test_patience_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.tables.sqlite.BUSY_SECONDS", 0.05)
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path, patient=True)
    with another(HURRIED, path, says="entered"):
        await asyncio.wait_for(tables.commit("p", [Insert("k", {})]), PATIENCE)
    await tables.close()


class Watched:
    """A connection that notes in which thread each transaction begins and ends."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.threads = set[int]()
        self._connection = connection

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: object) -> object:
        answer = self._connection.execute(statement, *values)
        if statement.startswith(("BEGIN", "COMMIT")):
            self.threads.add(threading.get_ident())
        return answer


class Counting:
    """A connection that counts how often a transaction was asked for."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.looks = 0
        self._connection = connection

    def __getattr__(self, name: str) -> object:
        return getattr(self._connection, name)

    def execute(self, statement: str, *values: object) -> object:
        self.looks += statement.startswith("BEGIN")
        return self._connection.execute(statement, *values)


async def test_what_a_process_computes_itself_uses_up_none_of_its_patience(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.tables.sqlite.BUSY_SECONDS", 0.05)
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path, patient=True)
    counting = Counting(tables._file._writer)
    monkeypatch.setattr(tables._file, "_writer", counting)
    with writing(path):
        commit = asyncio.create_task(tables.commit("p", [Insert("k", {})]))
        while not counting.looks:  # noqa: ASYNC110 - a look sets no event
            await asyncio.sleep(0)
        time.sleep(0.1)  # noqa: ASYNC251 - a bucket that is decided on
        with pytest.raises(Unavailable):
            await asyncio.wait_for(commit, PATIENCE)
    assert counting.looks > LOOKS
    await tables.close()


@pytest.mark.parametrize("patient", [False, True])
def test_where_a_file_system_knows_no_such_lock_everybody_may_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with contextlib.closing(Precedence(tmp_path / "tables.db", patient=patient)) as mine:
        assert mine.enter()
        mine.leave()


async def test_no_thread_of_a_patient_process_waits_for_another_while_it_keeps_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tables.db"
    tables = SqliteTables.open(path, patient=True)
    watched = Watched(tables._file._writer)
    monkeypatch.setattr(tables._file, "_writer", watched)
    with writing(path):
        commit = asyncio.create_task(tables.commit("p", [Insert("k", {})]))
        await asyncio.sleep(0.02)
        assert not commit.done()
    await asyncio.wait_for(commit, PATIENCE)
    await tables.commit("p", [Insert("l", {})])
    assert watched.threads == {threading.get_ident()}
    await tables.close()
