"""A SQLite file that the disk gives back otherwise than it was written: no row reads as missing, or as another."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from zlib import crc32

import pytest

from shared.tables.port import ANY, AlreadyExists, Damaged, Insert, Merge, Replace, Unavailable, Upsert
from shared.tables.sqlite import SqliteTables
from shared.tables.sqlite_proof import place_sum

ROWS = {f"l_{number * 7919 % 1009:04d}": {"id": f"{number}", "text": "x" * 200} for number in range(600)}
BEGIN, END = "l_", "l`"


@pytest.fixture
async def whole(tmp_path: Path) -> Path:
    """A file of two partitions, in which ROWS are."""
    path = tmp_path / "whole.db"
    tables = SqliteTables.open(path)
    rows = [Insert(key, columns) for key, columns in ROWS.items()]
    for partition in ("main_r_00", "main_r_01"):
        for at in range(0, len(rows), 100):
            await tables.commit(partition, rows[at : at + 100])
    await tables.close()
    return path


def _bit(data: bytearray, at: int, source: random.Random) -> None:
    data[at] ^= 1 << source.randrange(8)


def _smear(data: bytearray, at: int, source: random.Random) -> None:
    data[at : at + 64] = source.randbytes(len(data[at : at + 64]))


def _sector(data: bytearray, at: int, source: random.Random) -> None:
    begin = at // 512 * 512
    data[begin : begin + 512] = bytes(512)


def _other_page(data: bytearray, at: int, source: random.Random) -> None:
    """Put another page of the table where one was, as a disk does that writes to a wrong place."""
    begin, other = at // 8192 * 8192, source.randrange(2, len(data) // 8192) * 8192
    data[begin : begin + 8192] = data[other : other + 8192]


def _swapped(data: bytearray, at: int, source: random.Random) -> None:
    begin, other = at // 8192 * 8192, source.randrange(2, len(data) // 8192) * 8192
    here, there = data[begin : begin + 8192], data[other : other + 8192]
    data[begin : begin + 8192], data[other : other + 8192] = there, here


Damage = Callable[[bytearray, int, random.Random], None]
damages = pytest.mark.parametrize("damage", [_bit, _smear, _sector], ids=["a bit", "64 bytes", "a sector"])


@damages
async def test_no_row_of_a_damaged_file_reads_as_missing_or_as_another(
    whole: Path, tmp_path: Path, damage: Damage
) -> None:
    """What SQLite itself would refuse at the start is read here, too: the disk may fail while the server runs."""
    met = [not await _reads_whole(_damaged(whole, tmp_path / f"{n}.db", damage, random.Random(n))) for n in range(12)]
    assert sum(met) > 5


def _damaged(whole: Path, path: Path, damage: Damage, source: random.Random) -> Path:
    """Copy the file, with damage somewhere behind its first page."""
    data = bytearray(whole.read_bytes())
    damage(data, source.randrange(8192, len(data)), source)
    path.write_bytes(data)
    return path


async def _reads_whole(path: Path) -> bool:
    """Read every row by its key, in a range of its own and among all. Returns whether the damage was never met."""
    met = 0
    tables = SqliteTables.open(path)
    for partition in ("main_r_00", "main_r_01"):
        for key, columns in ROWS.items():
            try:
                row = await tables.get(partition, key)
                assert row is not None
                assert row.columns == columns
                (row,) = (await tables.query(partition, key, key + "~")).rows
                assert row.columns == columns
                ((row,),) = [page.rows for page in await tables.query_many([(partition, key, key + "~")])]
                assert row.columns == columns
            except (Damaged, Unavailable):
                met += 1
        for select in (None, [], ["id"]):
            try:
                page = await tables.query(partition, BEGIN, END, select=select)
                assert [row.key for row in page.rows] == sorted(ROWS)
                assert select != ["id"] or [row.columns["id"] for row in page.rows] == [
                    ROWS[key]["id"] for key in sorted(ROWS)
                ]
            except (Damaged, Unavailable):
                met += 1
    await tables.close()
    return not met


def _smaller(data: bytearray, at: int) -> None:
    data[at + len("main_")] = ord("a")


def _greater(data: bytearray, at: int) -> None:
    data[at + len("main_")] = ord("z")


def _no_values(data: bytearray, at: int) -> None:
    """Have the row's four values, whose types are in the five bytes before it, read as NULL."""
    data[at - 5 : at] = bytes(5)


@pytest.mark.parametrize("harm", [_smaller, _greater, _no_values], ids=["smaller", "greater", "no values"])
async def test_a_row_at_an_end_of_a_partition_does_not_read_as_missing(
    tmp_path: Path, harm: Callable[[bytearray, int], None]
) -> None:
    """What hides it may seem to be of another partition, or of none."""
    places = [(f"main_m_{n}", f"k_{k}") for n in range(6) for k in range(1 + 2 * (n % 2))]
    tables = SqliteTables.open(tmp_path / "whole.db")
    for partition, key in places:
        await tables.commit(partition, [Insert(key, {"text": "x" * 200})])
    await tables.close()
    whole = (tmp_path / "whole.db").read_bytes()
    for harmed in places:
        data, path = bytearray(whole), tmp_path / f"{'_'.join(harmed)}.db"
        harm(data, whole.index("".join(harmed).encode()))
        path.write_bytes(data)
        tables = SqliteTables.open(path)
        for partition, key in places:
            with suppress(Damaged):
                assert await tables.get(partition, key) is not None
            with suppress(Damaged):
                assert len((await tables.query(partition, key, key + "~")).rows) == 1
            with suppress(Damaged):
                assert [len(page.rows) for page in await tables.query_many([(partition, key, key + "~")])] == [1]
            with suppress(Damaged), pytest.raises(AlreadyExists):
                await tables.commit(partition, [Insert(key, {})])
        with pytest.raises(Damaged):
            await tables.get(*harmed)
        await tables.close()


def _change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def _break_key(path: Path, key: str, other: str) -> None:
    """Write another key over a row's, of the same length, where the file has it: SQLite goes on searching for both."""
    data = path.read_bytes()
    assert data.count(key.encode()) == 2
    path.write_bytes(data.replace(key.encode(), other.encode(), 1))


async def test_a_row_whose_key_is_damaged_is_neither_found_missing_nor_made_again(whole: Path) -> None:
    key, other = sorted(ROWS)[300], sorted(ROWS)[300][:-1] + "~"
    _break_key(whole, key, other)
    with pytest.raises(Damaged, match="rows are not where they were written"):
        SqliteTables.check(whole)  # SQLite itself finds nothing: the keys are still in order
    tables = SqliteTables.open(whole)
    partition = "main_r_00" if await _is_damaged(tables, "main_r_00", key) else "main_r_01"
    for look in (tables.query(partition, key, key + "}"), tables.query_many([(partition, key, key + "}")])):
        with pytest.raises(Damaged):
            await look
    with pytest.raises(Damaged):
        await tables.commit(partition, [Insert(key, {"id": "second"})])
    with pytest.raises(Damaged):
        await tables.query(partition, select=[])
    await tables.close()


async def _is_damaged(tables: SqliteTables, partition: str, key: str) -> bool:
    try:
        assert await tables.get(partition, key) is not None
    except Damaged:
        return True
    return False


async def test_columns_that_are_damaged_are_neither_read_nor_merged(whole: Path) -> None:
    key = sorted(ROWS)[7]
    _change(
        whole,
        "UPDATE scimlink SET columns = ? WHERE partition = ? AND key = ?",
        '{"id":"no"}',
        b"main_r_00",
        key.encode(),
    )
    tables = SqliteTables.open(whole)
    for select in (None, ["id"]):
        with pytest.raises(Damaged):
            await tables.query("main_r_00", select=select)
    with pytest.raises(Damaged):
        await tables.get("main_r_00", key)
    with pytest.raises(Damaged):
        await tables.commit("main_r_00", [Merge(key, {"more": True}, ANY)])
    await tables.commit("main_r_00", [Replace(key, {"id": "new"}, ANY)])
    assert (await tables.get("main_r_00", key)).columns == {"id": "new"}  # type: ignore[union-attr]
    await tables.close()


async def test_what_an_earlier_version_wrote_is_read_and_gets_its_checksums_as_it_changes(whole: Path) -> None:
    with closing(sqlite3.connect(whole)) as connection, connection:
        connection.execute("""UPDATE scimlink SET etag = 'W/"0123456789abcdef.' || hex(rowid_of.n) || '"' FROM
            (SELECT partition AS p, key AS k, row_number() OVER () AS n FROM scimlink) AS rowid_of
            WHERE partition = p AND key = k""")
    tables = SqliteTables.open(whole)
    key = sorted(ROWS)[7]
    row = await tables.get("main_r_00", key)
    assert row is not None
    assert row.columns == ROWS[key]
    assert await tables.get("main_r_00", "l_none") is None
    assert len((await tables.query("main_r_00")).rows) == len(ROWS)
    [etag] = await tables.commit("main_r_00", [Replace(key, {"id": "new"}, row.etag)])
    place, columns = place_sum(b"main_r_00", key.encode()), crc32(b'{"id":"new"}')
    assert etag.endswith(f'.{place:08x}{columns:08x}"')
    with pytest.raises(AlreadyExists):
        await tables.commit("main_r_00", [Insert(sorted(ROWS)[8], {})])
    await tables.close()


@pytest.mark.parametrize("damage", [_other_page, _swapped], ids=["another page", "swapped"])
def test_pages_that_are_not_in_their_place_are_found_at_the_start(whole: Path, tmp_path: Path, damage: Damage) -> None:
    """SQLite's own check finds each of them whole."""
    for number in range(8):
        path = _damaged(whole, tmp_path / f"{number}.db", damage, random.Random(number))
        if path.read_bytes() != whole.read_bytes():
            with pytest.raises(Damaged):
                SqliteTables.check(path)


@pytest.mark.parametrize(("at", "harm"), [(0, b"no database here"), (5 * 8192, bytes(8192))], ids=["header", "page"])
def test_a_file_that_sqlite_finds_damaged_is_said_to_be(whole: Path, at: int, harm: bytes) -> None:
    SqliteTables.check(whole)
    data = bytearray(whole.read_bytes())
    data[at : at + len(harm)] = harm
    whole.write_bytes(data)
    with pytest.raises(Damaged, match=r"whole\.db is damaged"):
        SqliteTables.check(whole)


async def test_a_table_that_is_empty_has_nothing_to_prove(tmp_path: Path) -> None:
    tables = SqliteTables.open(tmp_path / "new.db")
    assert await tables.get("p", "k") is None
    assert (await tables.query("p")).rows == []
    await tables.commit("p", [Upsert("k", {})])
    assert await tables.get("p", "j") is None
    await tables.close()
    SqliteTables.check(tmp_path / "none.db")
    shutil.copy(tmp_path / "new.db", tmp_path / "copy.db")
    SqliteTables.check(tmp_path / "copy.db")
