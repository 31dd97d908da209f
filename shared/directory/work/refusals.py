"""Refusals: what provisioning tried to do to accounts that are managed here, for the administrator to see.

A row for each account and the externalId that a write carried, in the account's bucket. It is written at most once an
hour: between two writes a process counts in memory, and adds that to the next one. So what a process had counted when
it ended is missing. A refusal is answered whether or not it could be recorded.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.directory.keys import Key, Keys, prefix_end
from shared.directory.text import timestamp
from shared.directory.work.buckets import ACCOUNT_CURSOR, read_page, read_place
from shared.tables.access import delete, in_waves, read_range, scan_pages
from shared.tables.port import Conflict, Delete, Insert, Merge, Operation, Replace, Row, Tables, TablesError

ROWS: Final = 16
"""Rows of one account. A further one takes the place of the one that was written longest ago."""
DAYS: Final = 90
"""Days after the last refusal for which its row is kept."""
CHARACTERS: Final = 256
"""Characters of an externalId that are kept."""
BETWEEN: Final = timedelta(hours=1)
"""Time between two writes of one row."""
COUNTED: Final = 4096
"""Rows that a process counts in memory at once, of about 500 bytes each."""
ATTEMPTS: Final = 8
"""Times that a row is written while other processes write about the same account."""
SECONDS: Final = 5.0
"""Seconds that a refused request waits for its record."""

log = logging.getLogger("scimlink.directory")


class Attempt(NamedTuple):
    """A write that was refused: to which account, with which externalId ("" for none), by whom, by which method."""

    account: str
    external_id: str
    credential: str
    method: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """How often writes with one externalId to one account were refused. `attempt` is the last of them."""

    attempt: Attempt
    first: str
    last: str
    count: int


@dataclass(slots=True)
class _Counted:
    """What this process counted of one row since it was last written, by this or another process, at `written`."""

    refusal: Refusal
    written: str


class Refusals:
    """The refusals of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str] = timestamp) -> None:
        self._tables = tables
        self._keys = keys
        self._now = now
        self._counted: OrderedDict[tuple[int, str], _Counted] = OrderedDict()
        self._locks: dict[int, asyncio.Lock] = {}

    async def record(self, attempt: Attempt) -> None:
        """Record that a write was refused. Trouble with the storage is logged, and the record is lost."""
        attempt = attempt._replace(external_id=attempt.external_id[:CHARACTERS])
        bucket, key = self._keys.bucket(attempt.account), self._key(attempt)
        try:
            async with asyncio.timeout(SECONDS):
                if not self._count(bucket, key, attempt):
                    # One after the other, or of many at once most would meet what another has just written.
                    async with self._locks.setdefault(bucket, asyncio.Lock()):
                        if not self._count(bucket, key, attempt):
                            await self._store(bucket, key, attempt)
        except (TablesError, TimeoutError) as error:
            log.warning("a refusal was not recorded: %s", type(error).__name__)

    async def page(self, cursor: str, count: int) -> tuple[list[Refusal], str | None]:
        """Return refusals from behind a cursor ("" for the start), and the next cursor. Raises InvalidCursor.

        What this process counts is in them; what is kept no longer is left out.
        """
        buckets = self._keys.buckets
        place = read_place(cursor, ACCOUNT_CURSOR, buckets)
        found, more = await read_page(self._tables, self._keys.refusals, buckets, place, count)
        shown = [self._shown(bucket, row) for bucket, row in found]
        return [refusal for refusal in shown if refusal.last >= self._oldest()], more

    async def count(self, days: int, most: int) -> tuple[int, int]:
        """Return how many writes were refused to accounts whose last refusal was in the last days, and to how many.

        At most about `most` rows are looked at. What processes still count in memory is left out.
        """
        oldest, found = _before(self._now(), timedelta(days=days)), dict[str, int]()

        async def look(bucket: int) -> None:
            async for page in scan_pages(
                self._tables, self._keys.refusals(bucket), select=["account", "last", "count"]
            ):
                for row in page.rows:
                    if str(row.columns["last"]) >= oldest:
                        account = str(row.columns["account"])
                        found[account] = found.get(account, 0) + int(row.columns["count"])
                if len(found) >= most:
                    return

        await in_waves(look(bucket) for bucket in range(self._keys.buckets))
        return sum(found.values()), len(found)

    async def sweep(self) -> int:
        """Remove the rows that are kept no longer, and return how many."""
        oldest, removed = self._oldest(), 0
        for bucket in range(self._keys.buckets):
            partition = self._keys.refusals(bucket)
            async for page in scan_pages(self._tables, partition, select=["last"]):
                old = [Delete(row.key, row.etag) for row in page.rows if str(row.columns["last"]) < oldest]
                removed += await delete(self._tables, partition, old)
        return removed

    def _count(self, bucket: int, key: str, attempt: Attempt) -> bool:
        """Count a refusal in memory, where its row was written less than an hour ago; tell whether it was."""
        known, now = self._counted.get((bucket, key)), self._now()
        if known is None or known.written <= _before(now, BETWEEN):
            return False
        known.refusal = _added(known.refusal, Refusal(attempt, now, now, 1))
        self._counted.move_to_end((bucket, key))
        return True

    async def _store(self, bucket: int, key: str, attempt: Attempt) -> None:
        """Write a refusal into its row, with those that were counted since the last time."""
        now = self._now()
        new, known = Refusal(attempt, now, now, 1), self._counted.get((bucket, key))
        self._counted[bucket, key] = await self._write(bucket, key, _added(known.refusal, new) if known else new)
        self._counted.move_to_end((bucket, key))
        if len(self._counted) > COUNTED:
            self._counted.popitem(last=False)

    async def _write(self, bucket: int, key: str, new: Refusal) -> _Counted:
        """Add refusals to a row; return what is left to be counted, which is all where another process wrote lately."""
        partition, prefix = self._keys.refusals(bucket), new.attempt.account + "_"
        for _ in range(ATTEMPTS):
            rows = await read_range(self._tables, partition, prefix, prefix_end(prefix))
            mine = next((row for row in rows if row.key == key), None)
            if mine is not None and str(mine.columns["last"]) > _before(new.last, BETWEEN):
                return _Counted(new, str(mine.columns["last"]))
            total = new if mine is None else _added(_read(mine), new)
            try:
                await self._tables.commit(partition, [_put(key, total, mine), *self._make_room(rows, mine)])
            except Conflict:
                continue
            return _Counted(replace(new, first="", count=0), new.last)
        log.warning("a refusal was not recorded: others write about the same account")
        return _Counted(new, new.last)

    def _make_room(self, rows: Sequence[Row], mine: Row | None) -> list[Operation]:
        """Return what is committed with an account's row: the rows that go, old ones and those beyond ROWS.

        Beside a new row another one is touched, so that of two processes that make room one sees the other's row.
        """
        others = sorted((row for row in rows if row is not mine), key=lambda row: str(row.columns["last"]))
        old = [row for row in others if str(row.columns["last"]) < self._oldest()]
        gone = old if mine is not None else others[: max(len(old), len(others) - ROWS + 1)]
        touched = others[-1:] if mine is None and len(others) > len(gone) else []
        return [
            *(Delete(row.key, row.etag) for row in gone),
            *(Merge(row.key, {"touched": True}, row.etag) for row in touched),
        ]

    def _shown(self, bucket: int, row: Row) -> Refusal:
        known = self._counted.get((bucket, row.key))
        stored = _read(row)
        return _added(stored, known.refusal) if known and known.refusal.count else stored

    def _oldest(self) -> str:
        return _before(self._now(), timedelta(days=DAYS))

    def _key(self, attempt: Attempt) -> str:
        return f"{attempt.account}_{self._keys.digest(Key('literal', attempt.external_id.encode().hex()))}"


def _added(known: Refusal, new: Refusal) -> Refusal:
    """Return two counts of one row as one."""
    latest = new if new.last >= known.last else known
    first = min(filter(None, (known.first, new.first)))
    return Refusal(latest.attempt, first, latest.last, known.count + new.count)


def _before(moment: str, time: timedelta) -> str:
    return timestamp(datetime.fromisoformat(moment) - time)


def _put(key: str, refusal: Refusal, row: Row | None) -> Operation:
    columns = {**refusal.attempt._asdict(), "first": refusal.first, "last": refusal.last, "count": refusal.count}
    return Insert(key, columns) if row is None else Replace(key, columns, row.etag)


def _read(row: Row) -> Refusal:
    text = {name: str(row.columns[name]) for name in Attempt._fields}
    return Refusal(Attempt(**text), str(row.columns["first"]), str(row.columns["last"]), int(row.columns["count"]))
