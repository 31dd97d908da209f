"""Whatever is written in whatever order, the local engine holds what a dictionary would, and nothing beside it."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from shared.tables.port import (
    ANY,
    AlreadyExists,
    Conflict,
    Delete,
    Insert,
    Merge,
    Operation,
    Replace,
    Upsert,
    VersionConflict,
)
from shared.tables.sqlite import LARGE_BYTES, SqliteTables
from tests.fuzz import many

FRAME = len('{"a":""}')
SIZES = st.integers(LARGE_BYTES - FRAME - 2, LARGE_BYTES - FRAME + 2) | st.sampled_from([0, 1, 4_000, 30_000])
"""Bytes of a column: about where a row with one column has LARGE_BYTES, and others."""
TEXTS = st.builds(lambda letter, size: letter * (size // len(letter.encode())), st.sampled_from("xä漢"), SIZES)
COLUMNS = st.dictionaries(st.sampled_from("ab"), TEXTS)
KEYS, PARTITIONS = st.sampled_from("klmn"), st.sampled_from("pq")
VERSIONS = st.sampled_from([ANY, "present", "former"])
OPERATIONS = st.one_of(
    st.builds(Insert, KEYS, COLUMNS),
    st.builds(Upsert, KEYS, COLUMNS),
    st.builds(Replace, KEYS, COLUMNS, VERSIONS),
    st.builds(Merge, KEYS, COLUMNS, VERSIONS),
    st.builds(Delete, KEYS, VERSIONS),
)
TRANSACTIONS = st.lists(OPERATIONS, min_size=1, max_size=4, unique_by=lambda operation: operation.key)
Place = tuple[str, str]
Model = dict[Place, tuple[str, dict[str, Any]]]
"""Etag and columns of each row."""


class Rows(RuleBasedStateMachine):
    """Transactions come alone or several in one group, and each of them waits for the disk or not."""

    @initialize(patient=st.booleans())
    def start(self, patient: bool) -> None:
        self.loop = asyncio.new_event_loop()
        self.folder = tempfile.TemporaryDirectory()
        self.file, self.patient = Path(self.folder.name) / "tables.db", patient
        self.tables = SqliteTables.open(self.file, patient=patient)
        self.model: Model = {}
        self.former: dict[Place, str] = {}

    @rule(together=st.lists(st.tuples(PARTITIONS, TRANSACTIONS, st.booleans()), min_size=1, max_size=3))
    def commits(self, together: Sequence[tuple[str, Sequence[Operation], bool]]) -> None:
        known = [(home, [self._known(home, one) for one in some], ahead) for home, some, ahead in together]

        async def commit() -> list[Any]:
            calls = [
                (self.tables.commit_ahead if ahead else self.tables.commit)(partition, operations)
                for partition, operations, ahead in known
            ]
            return await asyncio.gather(*calls, return_exceptions=True)

        for (partition, operations, _), answer in zip(known, self.loop.run_until_complete(commit()), strict=True):
            self._compare(partition, operations, answer)
        self._look()

    @rule()
    def opens_again(self) -> None:
        self.loop.run_until_complete(self.tables.close())
        SqliteTables.check(self.file)
        self.tables = SqliteTables.open(self.file, patient=self.patient)
        self._look()

    @rule()
    def packs(self) -> None:
        with closing(sqlite3.connect(self.file)) as connection:
            connection.execute("VACUUM")
        self._look()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.tables.close())
        self.loop.close()
        self.folder.cleanup()

    def _known(self, partition: str, operation: Operation) -> Operation:
        """Return the operation with an etag in the place of the word for one."""
        if isinstance(operation, Insert | Upsert) or operation.etag == ANY:
            return operation
        place = partition, operation.key
        etags = {"present": self.model.get(place, ("none",))[0], "former": self.former.get(place, "none")}
        etag = etags[operation.etag]
        if isinstance(operation, Delete):
            return Delete(operation.key, etag)
        return type(operation)(operation.key, operation.columns, etag)

    def _compare(self, partition: str, operations: Sequence[Operation], answer: Any) -> None:
        """Apply a transaction to the model, and compare its answer."""
        rows = dict(self.model)
        refused = next(filter(None, (_refusal(rows, partition, n, one) for n, one in enumerate(operations))), None)
        if refused:
            assert (type(answer), answer.index) == (type(refused), refused.index)
            return
        for operation, etag in zip(operations, answer, strict=True):
            place = partition, operation.key
            if place in self.model:
                self.former[place] = self.model[place][0]
            if place in rows:
                rows[place] = etag, rows[place][1]
        self.model = rows

    def _look(self) -> None:
        """Compare all rows, whole and by a column; and what is kept beside the tree of keys."""
        for partition in "pq":
            rows = [(key, *row) for (home, key), row in sorted(self.model.items()) if home == partition]
            read = self.loop.run_until_complete(self.tables.query(partition)).rows
            assert [(row.key, row.etag, row.columns) for row in read] == rows
            read = self.loop.run_until_complete(self.tables.query(partition, select=["a"])).rows
            assert [row.columns for row in read] == [{"a": row[2]["a"]} if "a" in row[2] else {} for row in rows]
        with closing(sqlite3.connect(self.file)) as connection:
            named = connection.execute("SELECT large FROM scimlink WHERE large IS NOT NULL ORDER BY 1").fetchall()
            assert named == connection.execute("SELECT id FROM scimlink_large ORDER BY 1").fetchall()


def _refusal(rows: Model, partition: str, index: int, operation: Operation) -> Conflict | None:
    """Apply an operation to rows, or return why not."""
    place = partition, operation.key
    etag, columns = rows.get(place, ("", None))
    if isinstance(operation, Insert) and columns is not None:
        return AlreadyExists(index)
    if isinstance(operation, Replace | Merge | Delete) and (columns is None or operation.etag not in (ANY, etag)):
        return VersionConflict(index)
    if isinstance(operation, Delete):
        del rows[place]
    else:
        kept = columns if isinstance(operation, Merge) and columns else {}
        rows[place] = etag, {**kept, **operation.columns}
    return None


TestRows = Rows.TestCase
TestRows.settings = settings(many(50), stateful_step_count=20, database=None)
