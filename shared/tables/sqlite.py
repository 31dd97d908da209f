"""The storage port on SQLite: the embedded default, durable, and as strict as Table Storage.

A read runs where it is called, in microseconds, on a connection of its own. Commits that wait are applied together,
and one thread makes them durable with one sync, so no event loop waits for the disk. azure.py is the other adapter.
"""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from shared.tables.port import (
    MAX_PAGE,
    AlreadyExists,
    Delete,
    Insert,
    LimitExceeded,
    Merge,
    Operation,
    Page,
    Replace,
    Row,
    Unavailable,
    Upsert,
    Value,
    VersionConflict,
    check,
    check_key,
    check_page,
)
from shared.tables.sqlite_precedence import Precedence
from shared.tables.sqlite_rows import Etags, key_text, present, stored_columns, stored_key

BUSY_SECONDS = 10.0
"""How long a commit waits for another process that is writing to the same file, ..."""
LOOKS = 5
"""... if it looked so often: what its own process computes meanwhile is no waiting."""
GROUP_OPERATIONS = 100
"""So many operations, or one transaction, share a sync: they are applied on the event loop, at about 10 µs each, and
keep other processes from writing."""
HURRIED_SECONDS, PATIENT_SECONDS = 0.0001, 0.002
"""So long a process waits before it tries again while another writes."""
LOG_BYTES = 64 * 1024 * 1024
"""A write-ahead log above this is emptied. SQLite begins it anew by itself only where no other process writes while the
log's pages are copied: beside two that never rest, it was seen to grow to a gigabyte."""
PATIENCE_SECONDS = 0.002
YIELD_SECONDS = 0.0005
"""A sync that has taken so long is given so much of the event loop's time, again and again."""

_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_SCHEMA = """CREATE TABLE IF NOT EXISTS TABLE_NAME (
    partition BLOB NOT NULL, key BLOB NOT NULL, etag TEXT NOT NULL, columns TEXT NOT NULL,
    PRIMARY KEY (partition, key)) WITHOUT ROWID"""
_STATEMENTS = {
    "get": "SELECT etag, columns FROM TABLE_NAME WHERE partition = ? AND key = ?",
    "query": "SELECT key, etag, columns FROM TABLE_NAME WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range": "SELECT key, etag, columns FROM TABLE_NAME WHERE partition = ? AND key >= ? AND key < ? "
    "ORDER BY key LIMIT ?",
    "query_keys": "SELECT key, etag, '{}' FROM TABLE_NAME WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range_keys": "SELECT key, etag, '{}' FROM TABLE_NAME WHERE partition = ? AND key >= ? AND key < ? "
    "ORDER BY key LIMIT ?",
    # Of two paths SQLite makes an array, in which true stays true; of one, the bare value.
    "query_one": "SELECT key, etag, json_extract(columns, ?, ?) FROM TABLE_NAME "
    "WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range_one": "SELECT key, etag, json_extract(columns, ?, ?) FROM TABLE_NAME "
    "WHERE partition = ? AND key >= ? AND key < ? ORDER BY key LIMIT ?",
    "insert": "INSERT INTO TABLE_NAME (etag, columns, partition, key) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
    "upsert": "INSERT OR REPLACE INTO TABLE_NAME (etag, columns, partition, key) VALUES (?, ?, ?, ?)",
    "update": "UPDATE TABLE_NAME SET etag = ?, columns = ? WHERE partition = ? AND key = ? AND ? IN (etag, '*')",
    "delete": "DELETE FROM TABLE_NAME WHERE partition = ? AND key = ? AND ? IN (etag, '*')",
}


class SqliteTables:
    """One table in a SQLite file."""

    def __init__(self, file: _File, name: str) -> None:
        self._file = file
        self._statements = {verb: sql.replace("TABLE_NAME", name) for verb, sql in _STATEMENTS.items()}
        self._closed = False

    @classmethod
    def open(cls, path: Path | str, name: str = "scimlink", *, patient: bool = False) -> SqliteTables:
        """Open the table `name` in the file, making either where it is missing.

        Other tables of the same file, opened in this process, share its connections and its thread. A patient process
        has one event loop, and lets others write first (sqlite_precedence.py).
        """
        if not _TABLE_NAME.fullmatch(name):
            raise LimitExceeded("a table's name has 3 to 63 letters and digits and begins with a letter")
        file = _File.share(Path(path).resolve(), patient=patient)
        file.write_schema(_SCHEMA.replace("TABLE_NAME", name))
        return cls(file, name)

    async def get(self, partition: str, key: str, *, select: Sequence[str] | None = None) -> Row | None:
        """Return the row, or None (see port.Tables)."""
        check_key(partition)
        check_key(key)
        found = self._file.read(self._statements["get"], (stored_key(partition), stored_key(key)))
        if not found:
            return None
        etag, text = found[0]
        return Row(partition, key, etag, _pick(json.loads(text), select))

    async def get_many(
        self, places: Sequence[tuple[str, str]], *, select: Sequence[str] | None = None
    ) -> list[Row | None]:
        """Return the row, or None, at each place (see port.Tables); a read is too short to be worth a task."""
        return [await self.get(partition, key, select=select) for partition, key in places]

    async def query(
        self,
        partition: str,
        low: str = "",
        high: str | None = None,
        *,
        select: Sequence[str] | None = None,
        top: int = MAX_PAGE,
        continuation: str | None = None,
    ) -> Page:
        """Return rows in order of key (see port.Tables). A continuation is the key of the next row."""
        check_key(partition)
        check_page(top)
        begin = stored_key(low if continuation is None else continuation)
        verb = "query" if high is None else "range"
        bounds = (stored_key(partition), begin) if high is None else (stored_key(partition), begin, stored_key(high))
        one = select[0] if select is not None and len(select) == 1 else None
        path = [f'$."{one}"'] * 2 if one else []
        if select is not None and len(select) < 2:  # then SQLite picks what is wanted
            verb, select = verb + ("_one" if one else "_keys"), None
        found = self._file.read(self._statements[verb], (*path, *bounds, top + 1))
        after = key_text(found.pop()[0]) if len(found) > top else None
        # One array for all rows: a thousand calls of the parser cost a millisecond more.
        parsed = json.loads("[" + ",".join([text for _, _, text in found]) + "]")
        if one:
            parsed = [{} if value is None else {one: value} for value, _ in parsed]
        rows = [
            Row(partition, key_text(key), etag, _pick(columns, select))
            for (key, etag, _), columns in zip(found, parsed, strict=True)
        ]
        return Page(rows, after)

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply the operations, all or none, and return when they are on the disk (see port.Tables)."""
        check(partition, operations)
        if self._closed:
            raise Unavailable("the table is closed")
        loop = asyncio.get_running_loop()
        rows = [_row(operation) for operation in operations]
        commit = _Commit(self._statements, stored_key(partition), operations, rows, loop, loop.create_future())
        self._file.submit(commit)
        return await commit.future

    async def close(self) -> None:
        """Finish the commits that are under way and let go of the file, if no other table of this process uses it."""
        if not self._closed:
            self._closed = True
            await self._file.release()


@dataclass(slots=True, eq=False)
class _Commit:
    """A transaction on its way: what to do, and what came of it."""

    statements: Mapping[str, str]
    partition: bytes
    operations: Sequence[Operation]
    rows: Sequence[tuple[bytes, str]]
    """What each operation stores, encoded before the file is taken."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[str]]
    outcome: list[str] | Exception | None = None

    def apply(self, connection: sqlite3.Connection, new_etag: Etags) -> None:
        """Write the operations into the open SQLite transaction, all or none, and keep the outcome."""
        several = len(self.operations) > 1  # one alone that fails has changed nothing
        if several:
            connection.execute("SAVEPOINT one")
        try:
            self.outcome = [
                self._apply_one(connection, index, operation, new_etag())
                for index, operation in enumerate(self.operations)
            ]
        except sqlite3.Error:
            raise  # the whole group fails
        except Exception as error:  # what one caller did wrong stays with that caller
            if several:
                connection.execute("ROLLBACK TO one")
            self.outcome = error
        if several:
            connection.execute("RELEASE one")

    def _apply_one(self, connection: sqlite3.Connection, index: int, operation: Operation, etag: str) -> str:
        key, columns = self.rows[index]
        place = (self.partition, key)
        match operation:
            case Insert():
                if not self._changes(connection, "insert", (etag, columns, *place)):
                    raise AlreadyExists(index)
            case Upsert():
                self._changes(connection, "upsert", (etag, columns, *place))
            case Replace(_, _, condition):
                if not self._changes(connection, "update", (etag, columns, *place, condition)):
                    raise VersionConflict(index)
            case Merge(_, changed, condition):
                found = connection.execute(self.statements["get"], place).fetchone()
                merged = {**json.loads(found[1]), **present(changed)} if found else {}
                check(key_text(self.partition), (Upsert(operation.key, merged),))
                if not self._changes(connection, "update", (etag, stored_columns(merged), *place, condition)):
                    raise VersionConflict(index)
            case Delete(_, condition):
                if not self._changes(connection, "delete", (*place, condition)):
                    raise VersionConflict(index)
                return ""
        return etag

    def _changes(self, connection: sqlite3.Connection, statement: str, values: tuple[str | bytes, ...]) -> bool:
        try:
            return connection.execute(self.statements[statement], values).rowcount > 0
        except UnicodeEncodeError as error:
            raise LimitExceeded("a string holds half a surrogate pair") from error

    def settle(self) -> None:
        """Tell the task that waits, on its own event loop."""
        if self.future.done():  # cancelled meanwhile
            return
        if isinstance(self.outcome, list):
            self.future.set_result(self.outcome)
        else:
            self.future.set_exception(self.outcome or Unavailable("not committed"))


@dataclass(slots=True, eq=False)
class _Group:
    """Commits that share one SQLite transaction, and so one sync."""

    until: float
    """When it has waited for other processes for long enough, with LOOKS at the file."""
    looks: int = 0
    commits: list[_Commit] = field(default_factory=list)
    applied: bool = False
    done: bool = False


class _File:
    """A SQLite file of this process: one connection reads, one writes, one thread syncs.

    SQLite allows one writer. Statements run on the event loop, where they cost microseconds; only COMMIT, which waits
    for the disk, is left to the thread: a thread that executes them would hand over the interpreter lock twice for
    each. What arrives during a sync is the next group. A patient process waits for the disk itself (_write).
    """

    _opened: dict[Path, _File] = {}  # noqa: RUF012 - the one place that says which files this process has open
    _opening = threading.Lock()

    def __init__(self, path: Path, *, patient: bool) -> None:
        self._path = path
        self._patient = patient
        self._precedence = Precedence(path, patient=patient)
        self._log = path.with_name(f"{path.name}-wal")
        self._users = 0
        self._writer = _connect(path)
        self._reader = _connect(path)
        self._writer.execute("PRAGMA busy_timeout = 0")
        self._new_etag = Etags()
        self._waiting: deque[_Commit] = deque()
        self._busy = threading.Lock()  # held from BEGIN to the end of COMMIT; another thread may let go of it
        self._groups: SimpleQueue[_Group | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._sync, name="sqlite-sync", daemon=True)
        self._thread.start()

    @classmethod
    def share(cls, path: Path, *, patient: bool) -> _File:
        with cls._opening:
            file = cls._opened.get(path)
            if file is None:
                file = cls._opened[path] = cls(path, patient=patient)
            file._users += 1
            return file

    async def release(self) -> None:
        with self._opening:
            self._users -= 1
            if self._users:
                return
            del self._opened[self._path]
        while self._waiting or self._busy.locked():
            self._start()
            await asyncio.sleep(0.001)
        self._reader.close()
        self._groups.put(None)
        await asyncio.to_thread(self._thread.join)

    def write_schema(self, statement: str) -> None:
        """Run a CREATE statement."""
        with _connect(self._path) as connection:
            connection.execute(statement)
        connection.close()

    def read(self, statement: str, values: tuple[str | bytes | int, ...]) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT. It sees every commit that was acknowledged."""
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise Unavailable(str(error)) from error

    def submit(self, commit: _Commit) -> None:
        """Let the commit join the next group."""
        self._waiting.append(commit)
        if not self._busy.locked():
            commit.loop.call_soon(self._start)  # soon, not now: the other tasks of this turn join the group

    def _start(self) -> None:
        """Apply what waits, and hand the COMMIT to the thread."""
        if not self._waiting or not self._busy.acquire(blocking=False):
            return
        group = _Group(time.monotonic() + BUSY_SECONDS)
        size = 0
        while self._waiting and size < GROUP_OPERATIONS:
            group.commits.append(self._waiting.popleft())
            size += len(group.commits[-1].operations)
        if self._patient:
            self._write(group)
            return
        with suppress(sqlite3.Error):  # the thread tries again
            self._apply(group)
        self._groups.put(group)
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._make_way, group)

    def _write(self, group: _Group) -> None:
        """Write the group in one step of the event loop, or look a little later whether the file is free.

        Between two statements a thread lets go of the interpreter lock, and waits for an event loop that computes to
        give it back: so a worker was seen to keep the file for 20 ms, where it needs one.
        """
        try:
            if not self._apply(group):
                asyncio.get_running_loop().call_later(PATIENT_SECONDS, self._write, group)
                return
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(group, error)
        self._end(group)

    def _make_way(self, group: _Group) -> None:
        """Sleep a moment if the group is not done yet, so that the thread gets the interpreter lock.

        An event loop that is never idle lets go of the lock often, but so briefly that a thread which waits for it
        comes too late each time, and starts to wait anew: a commit was seen to take 25 seconds.
        """
        if not group.done:
            time.sleep(YIELD_SECONDS)
            asyncio.get_running_loop().call_later(PATIENCE_SECONDS, self._make_way, group)

    def _apply(self, group: _Group) -> bool:
        """Apply the group, unless another process is writing or goes first: then tell that it is to be tried again."""
        late = time.monotonic() > group.until and group.looks >= LOOKS
        group.looks += 1
        try:
            if not self._patient or self._precedence.enter() or late:
                self._writer.execute("BEGIN IMMEDIATE")
                for commit in group.commits:
                    commit.apply(self._writer, self._new_etag)
                group.applied = True
        except sqlite3.Error as error:
            self._roll_back()
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or late:
                raise
            if not self._patient:
                self._precedence.enter()  # only now: whoever finds the file free pays nothing for going first
        return group.applied

    def _sync(self) -> None:
        while group := self._groups.get():
            try:
                while not (group.applied or self._apply(group)):
                    time.sleep(HURRIED_SECONDS)  # SQLite's own way to wait sleeps up to 100 ms at a time
                self._writer.execute("COMMIT")
            except sqlite3.Error as error:
                self._fail(group, error)
            self._end(group)
        self._writer.close()
        self._precedence.close()

    def _fail(self, group: _Group, error: sqlite3.Error) -> None:
        self._roll_back()
        for commit in group.commits:
            commit.outcome = Unavailable(str(error))

    def _end(self, group: _Group) -> None:
        self._precedence.leave()
        self._empty_log()
        self._busy.release()
        self._wake(group.commits)
        group.done = True

    def _empty_log(self) -> None:
        """Empty a log that has grown too large. Where somebody writes, or reads what is old, a later commit does it."""
        with suppress(OSError, sqlite3.Error):
            if self._log.stat().st_size > LOG_BYTES:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _wake(self, commits: list[_Commit]) -> None:
        """Tell each event loop that has a commit among these, or one that waits for the next group."""
        for loop in {commit.loop for commit in (*commits, *self._waiting)}:
            with suppress(RuntimeError):  # the loop was closed: nobody waits there
                loop.call_soon_threadsafe(self._settle, commits, loop)

    def _settle(self, commits: list[_Commit], loop: asyncio.AbstractEventLoop) -> None:
        self._start()
        for commit in commits:
            if commit.loop is loop:
                commit.settle()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA page_size = 8192")  # of a new file; an account's row then fits its leaf
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def _row(operation: Operation) -> tuple[bytes, str]:
    """Return what an operation stores, as far as that does not depend on what is there."""
    key = stored_key(operation.key)
    return key, stored_columns(operation.columns) if isinstance(operation, Insert | Upsert | Replace) else ""


def _pick(columns: dict[str, Value], select: Sequence[str] | None) -> dict[str, Value]:
    if select is None:
        return columns
    return {name: columns[name] for name in select if name in columns}
