"""The storage port on SQLite: embedded, durable, and as strict as Table Storage. azure.py is the other adapter.

A read runs on the event loop, on a connection of its own, and takes microseconds. Commits that wait are applied as one
group. A thread makes the group durable with one sync, so that no event loop waits for the disk.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any
from zlib import crc32

from shared.json_text import load
from shared.tables import sqlite_proof
from shared.tables.port import (
    MAX_PAGE,
    AlreadyExists,
    Damaged,
    Delete,
    Insert,
    LimitExceeded,
    Merge,
    Operation,
    Page,
    Replace,
    Row,
    Span,
    Unavailable,
    Upsert,
    Value,
    VersionConflict,
    check,
    check_key,
    check_page,
)
from shared.tables.sqlite_precedence import Precedence
from shared.tables.sqlite_proof import DAMAGED, Form, Read, are_empty, place_sum, prove, prove_around
from shared.tables.sqlite_rows import Etags, encoded, key_text, present, stored_columns, stored_key
from shared.turns import Turns, next_turn

BUSY_SECONDS = 10.0
"""Seconds that a commit waits while other processes write to the file; then it fails as Unavailable."""
LOOKS = 5
"""Attempts that a commit makes at least: while its own process is busy, seconds pass in which it looks at nothing."""
GROUP_OPERATIONS = 100
"""Operations in a group, unless its one transaction has more. The event loop applies each in about 10 µs; meanwhile no
other process can write."""
URGENT_RETRY_SECONDS, PATIENT_RETRY_SECONDS = 0.0001, 0.002
"""Seconds until an urgent or a patient process tries again while another writes."""
MANY = 16
"""Operations from which on a transaction waits for a turn of the event loop: each is checked and encoded there."""
PAGE_BYTES = 1024 * 1024
"""Bytes of columns from which on a page has no more rows: a page is read in one step of the event loop. Azure ends its
pages, too."""
LARGE_BYTES = 1800
"""Bytes of columns above which a row is kept beside the tree of keys. SQLite compares a key with one of a row that does
not fit into a quarter of a page by copying the whole row, and a search passes rows of all partitions: beside 30 MB of
staged identities the look-up of an account was seen to cost twice as much."""
RANGES_AT_ONCE = 100
"""Ranges at which one statement looks: SQLite takes 500 at most, and one step of the event loop is to be short."""
FETCHED_AT_ONCE = 8
"""Rows that are fetched before their bytes are counted."""
LOG_BYTES = 64 * 1024 * 1024
"""Bytes above which the write-ahead log is emptied. SQLite itself empties it only if nobody writes while it copies the
pages: beside two processes that wrote all the time, the log was seen to grow to a gigabyte."""
LOG_PAGES = 1000
"""Pages in the log from which on a COMMIT copies them into the file, as SQLite itself has it."""
GROUPS_AHEAD = 10
"""Groups in a row, at most, that do not wait for the disk: the next one empties the log of the pages of all of them."""
SLOW_SYNC_SECONDS = 0.002
"""Seconds after which a group counts as slow; then the event loop makes way for the thread."""
MAKE_WAY_SECONDS = 0.0005
"""Seconds that the event loop sleeps to make way."""

_NORMAL = 1
"""Of SQLite's levels of `synchronous` the one at which a COMMIT does not wait for the disk, and the log stays whole."""
_TABLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS TABLE_NAME (
    partition BLOB NOT NULL, key BLOB NOT NULL, etag TEXT NOT NULL, columns TEXT NOT NULL, large INTEGER,
    PRIMARY KEY (partition, key)) WITHOUT ROWID""",
    # Columns that are too large for the tree of keys, whose row has none then, and this id.
    "CREATE TABLE IF NOT EXISTS TABLE_NAME_large (id INTEGER PRIMARY KEY, columns TEXT NOT NULL)",
    """CREATE TRIGGER IF NOT EXISTS TABLE_NAME_changed AFTER UPDATE ON TABLE_NAME WHEN OLD.large IS NOT NULL
    BEGIN DELETE FROM TABLE_NAME_large WHERE id = OLD.large; END""",
    # An earlier version, which knows no id, leaves it where it is.
    """CREATE TRIGGER IF NOT EXISTS TABLE_NAME_earlier AFTER UPDATE ON TABLE_NAME WHEN NEW.large = OLD.large
    BEGIN UPDATE TABLE_NAME SET large = NULL WHERE partition = NEW.partition AND key = NEW.key; END""",
    """CREATE TRIGGER IF NOT EXISTS TABLE_NAME_removed AFTER DELETE ON TABLE_NAME WHEN OLD.large IS NOT NULL
    BEGIN DELETE FROM TABLE_NAME_large WHERE id = OLD.large; END""",
)
_COLUMNS = "iif(large IS NULL, columns, ifnull((SELECT columns FROM TABLE_NAME_large WHERE id = large), ''))"
# Of two paths SQLite makes an array, in which true stays true; of one, the bare value.
_ONE = "json_extract(COLUMNS, ?, ?), crc32(CAST(COLUMNS AS BLOB)), length(CAST(COLUMNS AS BLOB))"
_STATEMENTS = {
    "all": "SELECT partition, key, etag FROM TABLE_NAME",
    "get": "SELECT etag, COLUMNS FROM TABLE_NAME WHERE partition = ? AND key = ?",
    "query": "SELECT key, etag, COLUMNS FROM TABLE_NAME WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range": "SELECT key, etag, COLUMNS FROM TABLE_NAME WHERE partition = ? AND key >= ? AND key < ? "
    "ORDER BY key LIMIT ?",
    "query_keys": "SELECT key, etag, '{}' FROM TABLE_NAME WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range_keys": "SELECT key, etag, '{}' FROM TABLE_NAME WHERE partition = ? AND key >= ? AND key < ? "
    "ORDER BY key LIMIT ?",
    "query_one": "SELECT key, etag, ONE FROM TABLE_NAME WHERE partition = ? AND key >= ? ORDER BY key LIMIT ?",
    "range_one": "SELECT key, etag, ONE FROM TABLE_NAME WHERE partition = ? AND key >= ? AND key < ? "
    "ORDER BY key LIMIT ?",
    "insert": "INSERT INTO TABLE_NAME (etag, columns, large, partition, key) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO NOTHING",
    "upsert": "INSERT INTO TABLE_NAME (etag, columns, large, partition, key) VALUES (?, ?, ?, ?, ?) "
    "ON CONFLICT DO UPDATE SET etag = excluded.etag, columns = excluded.columns, large = excluded.large",
    "update": "UPDATE TABLE_NAME SET etag = ?, columns = ?, large = ? "
    "WHERE partition = ? AND key = ? AND ? IN (etag, '*')",
    "delete": "DELETE FROM TABLE_NAME WHERE partition = ? AND key = ? AND ? IN (etag, '*')",
    "next": "SELECT ifnull(max(id), 0) + 1 FROM TABLE_NAME_large",
    "large": "SELECT count(large), (SELECT count(*) FROM TABLE_NAME_large WHERE id IN (SELECT large FROM TABLE_NAME)), "
    "(SELECT count(*) FROM TABLE_NAME_large) FROM TABLE_NAME",
    "unnamed": "DELETE FROM TABLE_NAME_large WHERE id NOT IN (SELECT large FROM TABLE_NAME WHERE large IS NOT NULL)",
    "keep": "INSERT INTO TABLE_NAME_large (id, columns) VALUES (?, ?)",
    "around": sqlite_proof.AROUND,
    "around_each": sqlite_proof.AROUND_EACH,
}


_NOTHING = Page((), None)

Values = tuple[str | bytes | int, ...] | Mapping[str, bytes]
"""Values of a statement, in order or by name."""


class SqliteTables:
    """One table in a SQLite file."""

    def __init__(self, file: _File, name: str) -> None:
        self._file = file
        self._statements = {verb: _for_table(sql, name) for verb, sql in _STATEMENTS.items()}
        self._closed = False

    @classmethod
    def open(cls, path: Path | str, name: str = "scimlink", *, patient: bool = False) -> SqliteTables:
        """Open the table `name` in the file, making either where it is missing.

        Other tables of the same file in this process share its connections and its thread. A patient process has one
        event loop, and lets urgent processes write first (sqlite_precedence.py). Raises Unavailable where a table
        cannot be made completely.
        """
        if not _TABLE_NAME.fullmatch(name):
            raise LimitExceeded("a table's name has 3 to 63 letters and digits and begins with a letter")
        file = Path(path).resolve()
        try:
            return cls(_File.share(file, name, patient=patient), name)
        except sqlite3.OperationalError as error:
            raise Unavailable(
                f"{file} cannot be opened: {error}. See that its disk has room, and that this user may write there"
            ) from error

    @staticmethod
    def check(path: Path) -> None:
        """Raise Damaged if SQLite finds the file damaged, or rows are not where they were written.

        It reads all of the file: a second or two for a gigabyte. Large columns that no row has are removed.
        """
        if path.exists():
            with closing(sqlite3.connect(path)) as connection:
                try:
                    ((found,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
                    if found == "ok" and not all(sqlite_proof.are_in_place(rows) for rows in _rows(connection)):
                        found = "rows are not where they were written"
                    if found == "ok" and any(_misses_large(connection, name) for name in _names(connection)):
                        found = "large rows are missing, or belong to several"
                except sqlite3.DatabaseError as error:
                    found = str(error)
            if found != "ok":
                raise Damaged(f"{path} is damaged: {found}".replace("\n", " "))

    async def get(self, partition: str, key: str, *, select: Sequence[str] | None = None) -> Row | None:
        """Return the row, or None (see port.Tables)."""
        check_key(partition)
        check_key(key)
        place = stored_key(partition), stored_key(key)
        found = self._file.read(self._statements["get"], place)
        if not found:
            prove_around(self._file.read, self._statements["around"], place[0], (place[1], place[1]))
            return None
        etag, text = found[0]
        prove(place[0], [(place[1], etag, text)])
        return Row(partition, key, etag, _pick(_parse(text), select))

    async def get_many(
        self, places: Sequence[tuple[str, str]], *, select: Sequence[str] | None = None
    ) -> list[Row | None]:
        """Return the row, or None, at each place (see port.Tables); no read is long enough to need a task."""
        turns, rows = Turns(), list[Row | None]()
        for partition, key in places:
            rows.append(await self.get(partition, key, select=select))
            await turns.step()
        return rows

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
        if high is not None and bounds[-1] <= begin:
            return Page([], None)
        one = select[0] if select is not None and len(select) == 1 else None
        path = [f'$."{one}"'] * 2 if one else []
        form: Form = ""
        if select is not None and len(select) < 2:  # then SQLite picks what is wanted
            form, select = "_one" if one else "_keys", None
        found, ended = self._query(verb, path, bounds, top + 1, form)
        after = None if ended else key_text(found.pop()[0])
        # One array for all rows saves a millisecond for a thousand of them.
        parsed = _parse("[" + ",".join([row[2] for row in found]) + "]")
        if one:
            parsed = [{} if value is None else {one: value} for value, _ in parsed]
        rows = [
            Row(partition, key_text(row[0]), row[1], _pick(columns, select))
            for row, columns in zip(found, parsed, strict=True)
        ]
        return Page(rows, after)

    async def query_many(self, spans: Sequence[Span], *, top: int = MAX_PAGE) -> list[Page]:
        """Return the first page of each range (see port.Tables). One statement tells which ranges are empty."""
        check_page(top)
        for partition, *_ in spans:
            check_key(partition)
        turns, pages = Turns(), list[Page]()
        for begin in range(0, len(spans), RANGES_AT_ONCE):
            some = spans[begin : begin + RANGES_AT_ONCE]
            ranges = [(stored_key(partition), stored_key(low), stored_key(high)) for partition, low, high in some]
            empty = are_empty(self._file.read, self._statements["around_each"], ranges)
            for span, is_empty in zip(some, empty, strict=True):
                pages.append(_NOTHING if is_empty else await self.query(*span, top=top))
                await turns.step()
        return pages

    def _query(
        self, verb: str, path: Sequence[str], bounds: tuple[bytes, ...], most: int, form: Form
    ) -> tuple[list[tuple[Any, ...]], bool]:
        """Return a page of rows, and whether it reaches the end; otherwise its last row is the next page's first."""
        partition, low, *high = bounds
        statement = self._statements[verb + form]
        values: Values = (*path, *bounds, most)
        if form == "_keys":
            found = self._file.read(statement, values)
            ended = len(found) < most
        else:
            found, ended = self._file.read_page(statement, values, most)
        prove(partition, found, form)
        if found and (found[0][0] < low or (high and found[-1][0] >= high[0])):  # as a search may find that was misled
            raise Damaged(DAMAGED)
        if ended or found[0][0] != low:
            behind = found[-1][0] + b"\0" if found else low
            prove_around(self._file.read, self._statements["around"], partition, (low, behind))
        return found, ended

    async def commit(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Apply the operations, all or none, and return once they are on the disk (see port.Tables)."""
        return await self._commit(partition, operations, ahead=False)

    async def commit_ahead(self, partition: str, operations: Sequence[Operation]) -> list[str]:
        """Do the same, and do not wait for the disk: the next sync, of whatever commit, takes them along.

        The log is read back up to the first frame that is not whole, so that nothing behind them lasts without them.
        """
        return await self._commit(partition, operations, ahead=True)

    async def _commit(self, partition: str, operations: Sequence[Operation], *, ahead: bool) -> list[str]:
        if len(operations) >= MANY:
            await next_turn()
        check(partition, operations)
        if self._closed:
            raise Unavailable("the table is closed")
        loop = asyncio.get_running_loop()
        rows = [_row(operation) for operation in operations]
        future: asyncio.Future[list[str]] = loop.create_future()
        commit = _Commit(self._statements, stored_key(partition), operations, rows, ahead, loop, future)
        self._file.submit(commit)
        return await commit.future

    async def close(self) -> None:
        """Finish the commits under way, and close the file unless another table of this process uses it."""
        if not self._closed:
            self._closed = True
            await self._file.release()


@dataclass(slots=True, eq=False)
class _Commit:
    """A transaction that waits or was applied, and its outcome: new etags, or an error."""

    statements: Mapping[str, str]
    partition: bytes
    operations: Sequence[Operation]
    rows: Sequence[tuple[bytes, str, int]]
    """The key and columns of each operation, with their checksum, made before the file is locked."""
    ahead: bool
    """Whether it may wait for the sync of a later one."""
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[list[str]]
    outcome: list[str] | Exception | None = None

    def apply(self, connection: sqlite3.Connection, new_etag: Etags, *, guarded: bool) -> bool:
        """Write the operations in the open SQLite transaction, keep the outcome, and tell whether it is all or nothing.

        `guarded`, a transaction that fails is taken back; for that, SQLite copies each page before it changes.
        """
        several = len(self.operations) > 1  # a single one that fails has changed nothing
        if guarded and several:
            connection.execute("SAVEPOINT one")
        try:
            # Damage may hide rows that are there.
            made = [
                (row[0], row[0]) for row, one in zip(self.rows, self.operations, strict=True) if isinstance(one, Insert)
            ]
            prove_around(_reading(connection), self.statements["around"], self.partition, *made)
            self.outcome = [
                self._apply_one(connection, index, operation, new_etag)
                for index, operation in enumerate(self.operations)
            ]
        except sqlite3.Error:
            raise  # the whole group fails
        except Exception as error:  # one caller's mistake must not fail the others
            if guarded and several:
                connection.execute("ROLLBACK TO one")
            self.outcome = error
        if guarded and several:
            connection.execute("RELEASE one")
        return guarded or not several or isinstance(self.outcome, list)

    def _apply_one(self, connection: sqlite3.Connection, index: int, operation: Operation, new_etag: Etags) -> str:
        key, columns, columns_sum = self.rows[index]
        place = (self.partition, key)
        if isinstance(operation, Delete):
            if not self._changes(connection, "delete", (*place, operation.etag)):
                raise VersionConflict(index)
            return ""
        if isinstance(operation, Merge):
            columns = self._merged(connection, operation, place)
            columns_sum = crc32(encoded(columns))
        etag = new_etag(place_sum(*place), columns_sum)
        large = self._next_large(connection) if len(columns.encode()) > LARGE_BYTES else None
        stored = (etag, columns if large is None else "", large, *place)
        match operation:
            case Insert():
                if not self._changes(connection, "insert", stored):
                    raise AlreadyExists(index)
            case Upsert():
                self._changes(connection, "upsert", stored)
            case Replace(_, _, condition) | Merge(_, _, condition):
                if not self._changes(connection, "update", (*stored, condition)):
                    raise VersionConflict(index)
        if large is not None:
            connection.execute(self.statements["keep"], (large, columns))
        return etag

    def _next_large(self, connection: sqlite3.Connection) -> int:
        """Return the id under which the next large columns are kept."""
        (number,) = connection.execute(self.statements["next"]).fetchone()
        return int(number)

    def _merged(self, connection: sqlite3.Connection, operation: Merge, place: tuple[bytes, bytes]) -> str:
        """Return the columns that a row has after a merge; those of the operation alone if there is no row."""
        found = connection.execute(self.statements["get"], place).fetchone()
        merged = present(operation.columns)
        if found:
            etag, text = found
            prove(place[0], [(place[1], etag, text)])
            merged = _parse(text) | merged
        check(key_text(self.partition), (Upsert(operation.key, merged),))
        return stored_columns(merged)

    def _changes(
        self, connection: sqlite3.Connection, statement: str, values: tuple[str | bytes | int | None, ...]
    ) -> bool:
        return connection.execute(self.statements[statement], values).rowcount > 0

    def settle(self) -> None:
        """Hand the outcome to the task that waits, on its own event loop."""
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
    """When it has waited for other processes for BUSY_SECONDS."""
    looks: int = 0
    commits: list[_Commit] = field(default_factory=list)
    ahead: bool = False
    """Whether it waits for the sync of a later group, as all its commits may."""
    applied: bool = False
    done: bool = False


class _File:
    """A SQLite file as this process has it open: one connection reads, one writes, one thread syncs.

    SQLite allows one writer. Statements run on the event loop, in microseconds each; on a thread, each would cost two
    switches of the interpreter lock. Only COMMIT, which waits for the disk, runs on the thread, and what arrives during
    it is the next group. A patient process has no use for the thread: its event loop waits for the disk (_write).
    """

    _opened: dict[Path, _File] = {}  # noqa: RUF012 - the files that this process has open
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
        (self._synchronous,) = self._writer.execute("PRAGMA synchronous").fetchone()
        self._syncing = True
        self._ahead = 0
        self._new_etag = Etags()
        self._waiting: deque[_Commit] = deque()
        self._busy = threading.Lock()  # held from BEGIN to the end of COMMIT; another thread may release it
        self._groups: SimpleQueue[_Group | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._sync, name="sqlite-sync", daemon=True)
        self._thread.start()

    @classmethod
    def share(cls, path: Path, name: str, *, patient: bool) -> _File:
        """Return the file at a path, with a table of this name in it."""
        with cls._opening:
            file = cls._opened.get(path) or cls(path, patient=patient)
            try:
                _write_schema(path, name)
            except sqlite3.Error:
                if path not in cls._opened:
                    file._close()
                raise
            cls._opened[path] = file
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
        self._close()
        await asyncio.to_thread(self._thread.join)

    def _close(self) -> None:
        self._reader.close()
        self._groups.put(None)  # the thread closes the rest

    def read(self, statement: str, values: Values) -> list[tuple[Any, ...]]:
        """Return all rows of a SELECT, which sees every acknowledged commit."""
        try:
            return self._reader.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise _failure(error) from error

    def read_page(self, statement: str, values: Values, most: int) -> tuple[list[tuple[Any, ...]], bool]:
        """Return the first rows of a SELECT, and whether they are all. Last in each is its text, or how long that is.

        There are fewer than `most` where more than PAGE_BYTES were read before, but never only one of several.
        """
        found, read = list[tuple[Any, ...]](), 0
        try:
            cursor = self._reader.execute(statement, values)
            while rows := cursor.fetchmany(FETCHED_AT_ONCE):
                found += rows
                read += sum([size if isinstance(size := row[-1], int) else len(size) for row in rows])
                if read > PAGE_BYTES and len(found) < most:
                    ended = len(rows) < FETCHED_AT_ONCE
                    cursor.close()
                    return found, ended
        except sqlite3.Error as error:
            raise _failure(error) from error
        except TypeError as error:  # a damaged row, whose last column is no text
            raise Damaged(DAMAGED) from error
        return found, len(found) < most

    def submit(self, commit: _Commit) -> None:
        """Add a commit to the next group."""
        self._waiting.append(commit)
        if not self._busy.locked():
            commit.loop.call_soon(self._start)  # soon, not now: other tasks may add commits in this turn of the loop

    def _start(self) -> None:
        """Apply the commits that wait, and leave the COMMIT to the thread."""
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
            if self._apply(group) and group.ahead:
                self._commit(group)
                return
        self._groups.put(group)
        asyncio.get_running_loop().call_later(SLOW_SYNC_SECONDS, self._make_way, group)

    def _write(self, group: _Group) -> None:
        """Write the group in one step of the event loop; if another process writes, try again a little later.

        A thread gives up the interpreter lock between two statements, and an event loop that computes gives it back
        late: a worker was seen to keep the file locked for 20 ms instead of one.
        """
        try:
            if not self._apply(group):
                asyncio.get_running_loop().call_later(PATIENT_RETRY_SECONDS, self._write, group)
                return
        except sqlite3.Error as error:
            self._fail(group, error)
            self._end(group)
        else:
            self._commit(group)

    def _make_way(self, group: _Group) -> None:
        """If the group is not done yet, sleep for a moment, so that the thread gets the interpreter lock.

        An event loop that is never idle gives up the lock often, but so briefly that the waiting thread misses it each
        time: a commit was seen to take 25 seconds.
        """
        if not group.done:
            time.sleep(MAKE_WAY_SECONDS)
            asyncio.get_running_loop().call_later(SLOW_SYNC_SECONDS, self._make_way, group)

    def _apply(self, group: _Group) -> bool:
        """Apply the group, and tell whether that was done: not while another process writes, or has precedence."""
        late = time.monotonic() > group.until and group.looks >= LOOKS
        group.looks += 1
        try:
            if not self._patient or self._precedence.enter() or late:
                group.ahead = self._ahead < GROUPS_AHEAD and all(commit.ahead for commit in group.commits)
                self._sync_next(not group.ahead)
                if not self._apply_all(group.commits, guarded=False):
                    self._roll_back()
                    self._apply_all(group.commits, guarded=True)
                group.applied = True
        except sqlite3.Error as error:
            self._roll_back()
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY or late:
                raise
            if not self._patient:
                self._precedence.enter()  # only now, so that it costs nothing where the file is free
        return group.applied

    def _apply_all(self, commits: Sequence[_Commit], *, guarded: bool) -> bool:
        """Apply commits in one transaction, and tell whether each is in it as a whole, or not at all.

        Few fail, so all are tried unguarded first.
        """
        self._writer.execute("BEGIN IMMEDIATE")
        return all(commit.apply(self._writer, self._new_etag, guarded=guarded) for commit in commits)

    def _sync_next(self, wanted: bool) -> None:
        """Have the next COMMIT wait for the disk, or not; only one that does copies the log into the file."""
        if self._syncing != wanted and self._synchronous > _NORMAL:
            self._writer.execute(f"PRAGMA synchronous = {self._synchronous if wanted else _NORMAL}")
            self._writer.execute(f"PRAGMA wal_autocheckpoint = {LOG_PAGES if wanted else 0}")
            self._syncing = wanted

    def _sync(self) -> None:
        while group := self._groups.get():
            try:
                while not (group.applied or self._apply(group)):
                    time.sleep(URGENT_RETRY_SECONDS)  # SQLite itself would sleep up to 100 ms at a time
            except sqlite3.Error as error:
                self._fail(group, error)
                self._end(group)
            else:
                self._commit(group)
        self._writer.close()
        self._precedence.close()

    def _commit(self, group: _Group) -> None:
        """Commit a group that was applied. Nothing tries again: SQLite may have taken the transaction back."""
        try:
            self._writer.execute("COMMIT")
        except sqlite3.Error as error:
            self._fail(group, error)
        self._end(group)

    def _fail(self, group: _Group, error: sqlite3.Error) -> None:
        self._roll_back()
        for commit in group.commits:
            commit.outcome = _failure(error)

    def _end(self, group: _Group) -> None:
        self._precedence.leave()
        self._ahead = self._ahead + 1 if group.ahead else 0
        if not group.ahead:  # which may end on the event loop
            self._empty_log()
        self._busy.release()
        self._wake(group.commits)
        group.done = True

    def _empty_log(self) -> None:
        """Empty a log that has grown too large; while another connection uses it, that is left to a later commit."""
        with suppress(OSError, sqlite3.Error):
            if self._log.stat().st_size > LOG_BYTES:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _roll_back(self) -> None:
        if self._writer.in_transaction:
            with suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")

    def _wake(self, commits: list[_Commit]) -> None:
        """Wake each event loop that has a commit among these or in the next group."""
        for loop in {commit.loop for commit in (*commits, *self._waiting)}:
            with suppress(RuntimeError):  # a closed loop: no task waits there
                loop.call_soon_threadsafe(self._settle, commits, loop)

    def _settle(self, commits: list[_Commit], loop: asyncio.AbstractEventLoop) -> None:
        self._start()
        for commit in commits:
            if commit.loop is loop:
                commit.settle()


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA page_size = 8192")  # of a new file: an account's row then fits on its page
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -16384")
    connection.create_function("crc32", 1, crc32, deterministic=True)
    return connection


def _write_schema(path: Path, name: str) -> None:
    """Make a table where it is missing, and what one of an earlier version lacks: all of it, or nothing."""
    with closing(_connect(path)) as connection:
        if _is_complete(connection, name):  # mostly, and then nobody waits who writes to the file
            return
        connection.execute("BEGIN IMMEDIATE")
        table, *others = _SCHEMA
        connection.execute(_for_table(table, name))
        if not _has_large(connection, name):
            connection.execute(f"ALTER TABLE {name} ADD COLUMN large INTEGER")
        for statement in others:
            connection.execute(_for_table(statement, name))
        connection.execute("COMMIT")


def _is_complete(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a table has all that belongs to it."""
    parts = "name IN (:name, :name || '_large') OR tbl_name = :name AND type = 'trigger'"
    ((count,),) = connection.execute(f"SELECT count(*) FROM sqlite_master WHERE {parts}", {"name": name})  # noqa: S608
    return bool(count == len(_SCHEMA) and _has_large(connection, name))


def _rows(connection: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """Yield the rows of each table as they follow each other in the file: partition, key and etag."""
    for name in _names(connection):
        yield connection.execute(_for_table(_STATEMENTS["all"], name))


def _names(connection: sqlite3.Connection) -> list[str]:
    keyed = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT GLOB '*_large'"
    return [name for (name,) in connection.execute(keyed)]


def _misses_large(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a row names large columns that are not there, or are another's; then a change would take those away.

    Columns that no row names do no harm, and are removed: versions before 2026-12-01 leave them where they write over a
    large row.
    """
    kept_apart = connection.execute("SELECT 1 FROM sqlite_master WHERE name = ? || '_large'", (name,)).fetchone()
    if kept_apart is None or not _has_large(connection, name):  # as where the disk was full when it was to be made
        return False
    ((named, found, kept),) = connection.execute(_for_table(_STATEMENTS["large"], name))
    if named == found < kept:
        with suppress(sqlite3.OperationalError):  # on a full disk they stay until the next start
            connection.execute(_for_table(_STATEMENTS["unnamed"], name))
            connection.commit()
    return bool(named != found)


def _has_large(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a table is of a version that keeps large rows apart."""
    found = connection.execute("SELECT 1 FROM pragma_table_info(?) WHERE name = 'large'", (name,))
    return found.fetchone() is not None


def _for_table(statement: str, name: str) -> str:
    """Return a statement for the table of this name."""
    return statement.replace("ONE", _ONE).replace("COLUMNS", _COLUMNS).replace("TABLE_NAME", name)


def _row(operation: Operation) -> tuple[bytes, str, int]:
    """Return the key and the columns that an operation stores, with their checksum; "" where the stored row matters."""
    key = stored_key(operation.key)
    columns = stored_columns(operation.columns) if isinstance(operation, Insert | Upsert | Replace) else ""
    return key, columns, crc32(encoded(columns))


def _parse(text: str) -> Any:
    try:
        return load(text)
    except (TypeError, ValueError) as error:  # a row of an earlier version, which has no checksum
        raise Damaged(DAMAGED) from error


def _reading(connection: sqlite3.Connection) -> Read:
    return lambda statement, values: connection.execute(statement, values).fetchall()


def _failure(error: sqlite3.Error) -> Damaged | Unavailable:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    damaged = code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB) or "decode" in str(error) or "JSON" in str(error)
    return Damaged(DAMAGED) if damaged else Unavailable(str(error))


def _pick(columns: dict[str, Value], select: Sequence[str] | None) -> dict[str, Value]:
    if select is None:
        return columns
    return {name: columns[name] for name in select if name in columns}
