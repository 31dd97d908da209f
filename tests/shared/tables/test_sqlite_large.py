"""Rows that are too large for the tree of keys are kept beside it, and go through every verb as others do."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from shared.tables import sqlite
from shared.tables.port import (
    ANY,
    AlreadyExists,
    Damaged,
    Delete,
    Insert,
    Merge,
    Replace,
    Unavailable,
    Upsert,
    VersionConflict,
)
from shared.tables.sqlite import LARGE_BYTES, SqliteTables
from shared.tables.sqlite_proof import place_sum

SMALL, LARGE, LARGER = {"a": "x"}, {"a": "x" * LARGE_BYTES}, {"a": "ä" * 30_000, "b": True}
EARLIER_SCHEMA = """CREATE TABLE scimlink (partition BLOB NOT NULL, key BLOB NOT NULL, etag TEXT NOT NULL,
    columns TEXT NOT NULL, PRIMARY KEY (partition, key)) WITHOUT ROWID"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "large.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path)) as connection:
        yield connection


def _kept(connection: sqlite3.Connection) -> int:
    """Return how many rows are kept beside the tree, each of them by one row of the tree."""
    ((named, kept),) = connection.execute(
        "SELECT (SELECT count(large) FROM scimlink), (SELECT count(*) FROM scimlink_large)"
    )
    ((joined,),) = connection.execute("SELECT count(*) FROM scimlink JOIN scimlink_large ON id = large")
    assert named == kept == joined
    return int(kept)


async def test_no_row_of_the_tree_is_copied_by_a_search(path: Path, connection: sqlite3.Connection) -> None:
    tables = SqliteTables.open(path)
    for number, columns in enumerate((SMALL, LARGE, LARGER)):
        await tables.commit("p", [Insert(f"{number}", columns)])
    # SQLite compares within the page what takes less than a quarter of it, less some bytes.
    ((longest,),) = connection.execute("SELECT max(length(CAST(columns AS BLOB)) + length(key)) FROM scimlink")
    assert longest < 8192 // 4 - 100
    assert _kept(connection) == 2
    assert [row.columns for row in (await tables.query("p")).rows] == [SMALL, LARGE, LARGER]
    assert [row.columns for row in (await tables.query("p", select=["b"])).rows] == [{}, {}, {"b": True}]
    assert [row.columns for row in (await tables.query("p", "1", "3", select=[])).rows] == [{}, {}]
    assert [row and row.columns for row in await tables.get_many([("p", "1"), ("p", "2")])] == [LARGE, LARGER]
    await tables.close()


@pytest.mark.parametrize("after", [SMALL, LARGE, LARGER], ids=["small", "large", "larger"])
@pytest.mark.parametrize("before", [SMALL, LARGE, LARGER], ids=["small", "large", "larger"])
async def test_nothing_is_left_of_what_is_replaced_or_deleted(
    path: Path, connection: sqlite3.Connection, before: dict[str, str], after: dict[str, str]
) -> None:
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert(key, before) for key in ("merged", "replaced", "upserted")])
    await tables.commit("p", [Merge("merged", after, ANY), Replace("replaced", after, ANY), Upsert("upserted", after)])
    read = {row.key: row.columns for row in (await tables.query("p")).rows}
    assert read == {"merged": before | after, "replaced": after, "upserted": after}
    assert _kept(connection) == sum(len(row["a"]) >= LARGE_BYTES for row in read.values())
    await tables.commit("p", [Delete(key, ANY) for key in read])
    assert _kept(connection) == 0
    await tables.close()


async def test_nothing_is_left_of_what_is_refused(path: Path, connection: sqlite3.Connection) -> None:
    tables = SqliteTables.open(path)
    [etag, _] = await tables.commit("p", [Insert("large", LARGE), Insert("small", SMALL)])
    await tables.commit("p", [Merge("large", {"b": "y"}, etag)])
    for refused in (
        [Insert("large", LARGER)],
        [Replace("large", LARGER, etag)],
        [Merge("large", LARGER, etag)],
        [Upsert("new", LARGER), Delete("small", ANY), Insert("large", SMALL)],
    ):
        with pytest.raises((AlreadyExists, VersionConflict)):
            await tables.commit("p", refused)
        assert _kept(connection) == 1
    assert {row.key: row.columns for row in (await tables.query("p")).rows} == {
        "large": LARGE | {"b": "y"},
        "small": SMALL,
    }
    await tables.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM scimlink_large",
        "UPDATE scimlink_large SET columns = replace(columns, 'x', 'y')",
        "UPDATE scimlink SET large = NULL",
        "UPDATE scimlink SET large = (SELECT max(large) FROM scimlink)",
    ],
)
async def test_a_large_row_that_is_lost_or_another_one_is_damage_and_not_a_miss(
    path: Path, connection: sqlite3.Connection, damage: str
) -> None:
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", LARGE), Insert("2", LARGER)])
    for trigger in ("scimlink_changed", "scimlink_removed"):
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute(damage)
    connection.commit()
    with pytest.raises(Damaged):
        await tables.get("p", "1")
    for select in (None, ["a"]):
        with pytest.raises(Damaged):
            await tables.query("p", select=select)
    await tables.close()


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM scimlink_large WHERE id = 1",
        "UPDATE scimlink SET large = 2 WHERE large = 1",
        "UPDATE scimlink SET large = 9 WHERE large = 1",
        "UPDATE scimlink SET large = 'x' WHERE large = 1",
    ],
)
async def test_a_large_row_that_is_lost_or_named_twice_is_found_at_the_start(
    path: Path, connection: sqlite3.Connection, damage: str
) -> None:
    """A change of the row that names it would take another one away."""
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", LARGE), Insert("2", LARGER), Insert("3", SMALL)])
    await tables.close()
    SqliteTables.check(path)
    connection.executescript("DROP TRIGGER scimlink_changed; DROP TRIGGER scimlink_removed")
    connection.execute(damage)
    connection.commit()
    with pytest.raises(Damaged, match="large rows are missing"):
        SqliteTables.check(path)


async def test_what_an_earlier_version_writes_over_a_large_row_is_read_and_takes_no_other_away(
    path: Path, connection: sqlite3.Connection
) -> None:
    """It knows nothing of large rows: it leaves their ids as they are."""
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", SMALL), Insert("2", LARGE)])
    (small,) = connection.execute("SELECT columns FROM scimlink WHERE key = x'31'").fetchone()
    await tables.commit("p", [Insert("3", LARGE)])
    (proved,) = await tables.commit("q", [Insert("3", SMALL)])
    etag = f"{proved[:-17]}{place_sum(b'p', b'3'):08x}{proved[-9:]}"
    written = "UPDATE scimlink SET etag = ?, columns = ? WHERE partition = x'70' AND key = x'33'"
    connection.execute(written, (etag, small))
    connection.commit()
    SqliteTables.check(path)
    await tables.commit("p", [Insert("4", LARGER)])
    assert [row.columns for row in (await tables.query("p")).rows] == [SMALL, LARGE, SMALL, LARGER]
    await tables.commit("p", [Delete("3", ANY)])
    assert [row.columns for row in (await tables.query("p")).rows] == [SMALL, LARGE, LARGER]
    assert _kept(connection) == 2
    await tables.close()


async def test_a_file_of_an_earlier_version_is_read_and_its_next_large_row_is_kept_beside_it(
    path: Path, connection: sqlite3.Connection
) -> None:
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", SMALL)])
    await tables.close()
    (earlier,) = connection.execute("SELECT partition, key, etag, columns FROM scimlink").fetchall()
    connection.executescript(f"DROP TABLE scimlink; DROP TABLE scimlink_large; {EARLIER_SCHEMA}")
    connection.execute("INSERT INTO scimlink VALUES (?, ?, ?, ?)", earlier)
    connection.commit()
    SqliteTables.check(path)
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("2", LARGE), Merge("1", {"b": "y" * LARGE_BYTES}, ANY)])
    assert [row.columns for row in (await tables.query("p")).rows] == [SMALL | {"b": "y" * LARGE_BYTES}, LARGE]
    await tables.commit("p", [Delete("1", ANY)])
    assert _kept(connection) == 1
    await tables.close()
    SqliteTables.check(path)


@pytest.mark.parametrize("earlier", [EARLIER_SCHEMA, ""], ids=["earlier", "new"])
async def test_on_a_full_disk_a_table_is_made_completely_or_not_at_all(
    path: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, earlier: str
) -> None:
    """Half of it would be opened, and every read would fail later for a column or a table that is not there."""
    connection.executescript(f"PRAGMA page_size = 8192; PRAGMA journal_mode = WAL; {earlier}")
    made = "SELECT name, sql FROM sqlite_master ORDER BY name"
    before = connection.execute(made).fetchall()
    connect, refused = sqlite._connect, list[str]()
    for pages in range(1, 20):

        def small(path: Path, pages: int = pages) -> sqlite3.Connection:
            opened = connect(path)
            opened.execute(f"PRAGMA max_page_count = {pages}")
            return opened

        monkeypatch.setattr(sqlite, "_connect", small)
        try:
            await SqliteTables.open(path).close()
            break
        except Unavailable as problem:
            refused.append(str(problem))
        assert connection.execute(made).fetchall() == before
    monkeypatch.undo()
    assert refused
    assert all(said.startswith(f"{path} cannot be opened: database or disk is full. ") for said in refused)
    SqliteTables.check(path)
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", LARGE), Upsert("2", SMALL)])
    await tables.commit("p", [Delete("1", ANY)])
    assert _kept(connection) == 0
    await tables.close()


async def test_what_an_earlier_version_leaves_of_a_large_row_is_removed_at_the_start(
    path: Path, connection: sqlite3.Connection
) -> None:
    tables = SqliteTables.open(path)
    await tables.commit("p", [Insert("1", LARGE), Insert("2", LARGE), Insert("3", SMALL)])
    await tables.close()
    # Of a row that it replaces so, SQLite calls no trigger for the deletion.
    connection.execute(
        "INSERT OR REPLACE INTO scimlink (partition, key, etag, columns) "
        "SELECT partition, key, 'W/\"0123456789abcdef.1\"', '{}' FROM scimlink WHERE large = 1"
    )
    connection.commit()
    assert connection.execute("SELECT id FROM scimlink_large").fetchall() == [(1,), (2,)]
    SqliteTables.check(path)
    assert connection.execute("SELECT id FROM scimlink_large").fetchall() == [(2,)]
    tables = SqliteTables.open(path)
    assert [row.columns for row in (await tables.query("p")).rows] == [{}, LARGE, SMALL]
    await tables.close()
