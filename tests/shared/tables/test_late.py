"""Tables that are opened when they are first used."""

from __future__ import annotations

from shared.tables.late import LateTables
from shared.tables.port import Insert, Tables
from shared.tables.sqlite import SqliteTables


async def test_tables_are_opened_once_and_by_the_first_call(sqlite_tables: SqliteTables) -> None:
    opened: list[Tables] = []

    def connect() -> Tables:
        opened.append(sqlite_tables)
        return sqlite_tables

    tables: Tables = LateTables(connect)
    assert not opened
    [etag] = await tables.commit("p", [Insert("k", {"n": 1})])
    await tables.commit_ahead("p", [Insert("l", {"n": 2})])
    row = await tables.get("p", "k")
    assert row is not None
    assert (row.etag, row.columns) == (etag, {"n": 1})
    assert [one and one.key for one in await tables.get_many([("p", "l"), ("p", "m")])] == ["l", None]
    assert [len(page.rows) for page in await tables.query_many([("p", "l", "m"), ("p", "m", "n")])] == [1, 0]
    page = await tables.query("p", "k", "m", select=[], top=1)
    assert ([one.key for one in page.rows], page.continuation is None) == (["k"], False)
    assert opened == [sqlite_tables]


async def test_what_was_never_used_has_nothing_to_close() -> None:
    def connect() -> Tables:
        raise AssertionError("nobody asked for them")

    await LateTables(connect).close()
