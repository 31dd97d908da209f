"""What port.py promises, asked of each adapter: SQLite on disk, and azure-data-tables against Azurite over the wire."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shared.tables.port import (
    ANY,
    FORBIDDEN_IN_KEYS,
    AlreadyExists,
    Delete,
    Insert,
    LimitExceeded,
    Merge,
    Operation,
    Page,
    Replace,
    Row,
    Tables,
    Upsert,
    Value,
    VersionConflict,
)

OTHER = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""
"""An ETag that no row has."""
UNICODE_KEYS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\#?").filter(
        lambda character: not FORBIDDEN_IN_KEYS.match(character)
    )
    | st.sampled_from("aZ'%+ .&=\ud7ff\ue000\uffff\U00010000\U0001f600é"),
    min_size=1,
    max_size=8,
).filter(lambda key: not key.startswith(","))  # in a transaction Azurite does not find such a row, Table Storage does


async def all_rows(
    tables: Tables, partition: str, low: str = "", high: str | None = None, top: int = 1000
) -> list[Row]:
    rows: list[Row] = []
    continuation: str | None = None
    while True:
        page: Page = await tables.query(partition, low, high, top=top, continuation=continuation)
        assert len(page.rows) <= top
        rows += page.rows
        continuation = page.continuation
        if continuation is None:
            return rows


async def insert(tables: Tables, partition: str, *keys: str) -> list[str]:
    etags: list[str] = []
    for start in range(0, len(keys), 100):
        etags += await tables.commit(partition, [Insert(key, {"n": 1}) for key in keys[start : start + 100]])
    return etags


class TestColumns:
    async def test_a_value_comes_back_with_its_type(self, tables: Tables) -> None:
        written: dict[str, Value] = {
            "text": "Zoë 😀 \u2028 \"quoted\" \\ 'single'",
            "empty": "",
            "long": "ß" * 32 * 1024,
            "zero": 0,
            "big": 2**63 - 1,
            "small": -(2**63),
            "whole": 1.0,
            "part": -0.25,
            "huge": 1e300,
            "infinite": float("inf"),
            "yes": True,
            "no": False,
        }
        [etag] = await tables.commit("p", [Insert("k", written)])
        row = await tables.get("p", "k")
        assert row == Row("p", "k", etag, written)
        assert {name: type(value) for name, value in row.columns.items()} == {
            name: type(value) for name, value in written.items()
        }
        assert (await tables.query("p")).rows == [row]

    async def test_a_transaction_keeps_types_as_well(self, tables: Tables) -> None:
        etags = await tables.commit("p", [Insert(key, {"n": 7, "f": 7.0, "b": True, "s": "7"}) for key in "ab"])
        rows = (await tables.query("p")).rows
        assert [(row.key, row.etag) for row in rows] == [("a", etags[0]), ("b", etags[1])]
        assert [type(rows[0].columns[name]) for name in "nfbs"] == [int, float, bool, str]

    async def test_a_column_that_is_none_is_not_written(self, tables: Tables) -> None:
        await tables.commit("p", [Insert("k", {"a": 1, "b": None})])
        await tables.commit("p", [Merge("k", {"a": None, "c": 3}, ANY)])
        row = await tables.get("p", "k")
        assert row is not None
        assert row.columns == {"a": 1, "c": 3}

    @pytest.mark.parametrize("single", [True, False])
    async def test_a_replace_drops_what_it_does_not_name_and_a_merge_keeps_it(
        self, tables: Tables, single: bool
    ) -> None:
        await tables.commit("p", [Insert("m", {"a": 1, "b": 2}), Insert("r", {"a": 1, "b": 2})])
        changes: list[Operation] = [Merge("m", {"b": 3}, ANY), Replace("r", {"b": 3}, ANY)]
        for group in [[change] for change in changes] if single else [changes]:
            await tables.commit("p", group)
        assert [row.columns for row in (await tables.query("p")).rows] == [{"a": 1, "b": 3}, {"b": 3}]

    async def test_select_gives_the_columns_named_and_leaves_out_missing_ones(self, tables: Tables) -> None:
        [etag] = await tables.commit("p", [Insert("k", {"a": 1, "b": "x"})])
        assert await tables.get("p", "k", select=["a", "c"]) == Row("p", "k", etag, {"a": 1})
        assert (await tables.query("p", select=["b", "c"])).rows == [Row("p", "k", etag, {"b": "x"})]
        assert (await tables.query("p", select=[])).rows == [Row("p", "k", etag, {})]

    @pytest.mark.parametrize("value", [True, False, 0, -(2**63), 2**63 - 1, 0.1, 1e300, "", "é\n\"$'", "null"])
    async def test_one_column_selected_is_what_was_written(self, tables: Tables, value: Value) -> None:
        (etag,) = await tables.commit("p", [Insert("k", {"a": value, "b": "x"})])
        (row,) = (await tables.query("p", "k", "l", select=["a"])).rows
        assert row == Row("p", "k", etag, {"a": value})
        assert type(row.columns["a"]) is type(value)
        assert (await tables.query("p", select=["c"])).rows == [Row("p", "k", etag, {})]


class TestConditions:
    async def test_a_missing_row_is_none(self, tables: Tables) -> None:
        await insert(tables, "p", "k")
        assert await tables.get("p", "other") is None
        assert await tables.get("other", "k") is None

    async def test_an_insert_over_a_row_is_refused_and_changes_nothing(self, tables: Tables) -> None:
        [etag] = await insert(tables, "p", "k")
        with pytest.raises(AlreadyExists):
            await tables.commit("p", [Insert("k", {"n": 2})])
        assert await tables.get("p", "k") == Row("p", "k", etag, {"n": 1})

    async def test_an_upsert_writes_or_replaces(self, tables: Tables) -> None:
        await tables.commit("p", [Upsert("k", {"a": 1})])
        [etag] = await tables.commit("p", [Upsert("k", {"b": 2})])
        assert await tables.get("p", "k") == Row("p", "k", etag, {"b": 2})

    @pytest.mark.parametrize("change", [Replace("k", {"n": 2}, OTHER), Merge("k", {"n": 2}, OTHER), Delete("k", OTHER)])
    async def test_a_change_of_another_version_is_refused(self, tables: Tables, change: Operation) -> None:
        [etag] = await insert(tables, "p", "k")
        with pytest.raises(VersionConflict):
            await tables.commit("p", [change])
        assert await tables.get("p", "k") == Row("p", "k", etag, {"n": 1})

    @pytest.mark.parametrize("etag", [OTHER, ANY])
    @pytest.mark.parametrize("change", [Replace("gone", {"n": 2}, ""), Merge("gone", {"n": 2}, ""), Delete("gone", "")])
    async def test_a_change_of_no_row_is_refused(self, tables: Tables, change: Operation, etag: str) -> None:
        await insert(tables, "p", "k")
        with pytest.raises(VersionConflict):
            await tables.commit("p", [_with_etag(change, etag)])
        assert [row.key for row in (await tables.query("p")).rows] == ["k"]

    async def test_each_change_of_the_version_read_succeeds_once(self, tables: Tables) -> None:
        [first] = await insert(tables, "p", "k")
        [second] = await tables.commit("p", [Replace("k", {"n": 2}, first)])
        with pytest.raises(VersionConflict):
            await tables.commit("p", [Merge("k", {"n": 9}, first)])
        [third] = await tables.commit("p", [Merge("k", {"n": 3}, second)])
        assert await tables.commit("p", [Delete("k", third)]) == [""]
        assert await tables.get("p", "k") is None

    async def test_a_key_never_has_the_same_etag_again(self, tables: Tables) -> None:
        etags: list[str] = []
        for number in range(10):
            etags += await insert(tables, "p", "k")
            etags += await tables.commit("p", [Upsert("k", {"n": number})])
            etags += (await tables.commit("p", [Merge("k", {"n": number}, ANY), Upsert("other", {})]))[:1]
            await tables.commit("p", [Delete("k", ANY)])
        assert len(set(etags)) == 30

    @pytest.mark.parametrize("kind", ["insert", "replace"])
    async def test_of_twenty_writers_of_one_version_one_wins(self, tables: Tables, kind: str) -> None:
        [etag] = await insert(tables, "p", "other" if kind == "insert" else "k")

        async def write(number: int) -> bool:
            columns = {"n": number}
            try:
                await tables.commit("p", [Insert("k", columns) if kind == "insert" else Replace("k", columns, etag)])
            except (AlreadyExists, VersionConflict):
                return False
            return True

        won = await asyncio.gather(*(write(number) for number in range(20)))
        assert sum(won) == 1
        row = await tables.get("p", "k")
        assert row is not None
        assert row.columns == {"n": won.index(True)}


async def test_partitions_of_every_kind_are_there_for_all_who_open_the_tables(
    open_tables: Callable[[], Tables],
) -> None:
    partitions = ["main_u_00", "main_u_01", "main_p_run1_00", "main_j", "other_u_00", "p"]
    here, there = open_tables(), open_tables()
    # Both find the tables missing.
    for partition, *_ in [await asyncio.gather(*(_fill(tables, p) for tables in (here, there))) for p in partitions]:
        for tables in (here, there):
            assert {row.columns["of"] for row in await all_rows(tables, partition)} == {partition}
    places = [(partition, "k") for partition in partitions]
    assert [row.partition for row in await here.get_many(places) if row] == partitions
    await here.close()
    await there.close()


async def test_ranges_of_several_partitions_are_read_at_once(tables: Tables) -> None:
    """Also where a partition and a key together are as another pair, and one key begins as another does."""
    for partition, keys in {"main_x_0": ["1", "1a", "b", "b2"], "main_x_01": ["0", "a"], "p": ["m"]}.items():
        await insert(tables, partition, *keys)
    spans = [
        ("main_x_0", "1", "1a"),
        ("main_x_0", "1", "2"),
        ("main_x_0", "1b", "b"),
        ("main_x_0", "c", "d"),
        ("main_x_0", "b!", "b1"),
        ("main_x_01", "1", "a"),
        ("main_x_01", "", "\ufffd"),
        ("o", "", "x"),
        ("z", "m", "n"),
    ]
    pages = await tables.query_many(spans, top=2)
    found = [[row.key for row in page.rows] for page in pages]
    assert found == [["1"], ["1", "1a"], [], [], [], [], ["0", "a"], [], []]
    assert await tables.query_many([]) == []
    many = await tables.query_many([("main_x_0", f"b{number}", f"b{number}~") for number in range(600)])
    assert [number for number, page in enumerate(many) if page.rows] == [2]
    (page,) = await tables.query_many([("main_x_0", "1", "c")], top=2)
    assert [row.key for row in page.rows] == ["1", "1a"]
    rest = await tables.query("main_x_0", "1", "c", top=2, continuation=page.continuation)
    assert [row.key for row in rest.rows] == ["b", "b2"]


async def _fill(tables: Tables, partition: str) -> str:
    await tables.commit(partition, [Upsert("k", {"of": partition})])
    return partition


class TestTransactions:
    @pytest.mark.parametrize("index", [0, 1, 3])
    @pytest.mark.parametrize(
        ("fails", "error"),
        [
            (Insert("there", {}), AlreadyExists),
            (Replace("there", {}, OTHER), VersionConflict),
            (Merge("gone", {}, ANY), VersionConflict),
            (Delete("gone", ANY), VersionConflict),
            (Delete("there", OTHER), VersionConflict),
        ],
    )
    async def test_a_failing_operation_is_named_and_nothing_is_changed(
        self, tables: Tables, fails: Operation, error: type[AlreadyExists | VersionConflict], index: int
    ) -> None:
        await insert(tables, "p", "there", "merged", "removed")
        before = await all_rows(tables, "p")
        operations: list[Operation] = [Upsert("new", {}), Merge("merged", {"n": 2}, ANY), Delete("removed", ANY)]
        operations.insert(index, fails)
        with pytest.raises(error) as caught:
            await tables.commit("p", operations)
        assert isinstance(caught.value, AlreadyExists | VersionConflict)
        assert caught.value.index == index
        assert await all_rows(tables, "p") == before

    async def test_a_hundred_operations_of_each_kind_are_one_transaction(self, tables: Tables) -> None:
        keys = [f"{number:03}" for number in range(80)]
        etags = await insert(tables, "p", *keys)
        operations: list[Operation] = [Insert(f"new{number}", {"n": 0}) for number in range(20)]
        operations += [Upsert(key, {"u": 1}) for key in keys[:20]]
        operations += [Replace(key, {"r": 1}, etag) for key, etag in zip(keys[20:40], etags[20:40], strict=True)]
        operations += [Merge(key, {"m": 1}, etag) for key, etag in zip(keys[40:60], etags[40:60], strict=True)]
        operations += [Delete(key, etag) for key, etag in zip(keys[60:], etags[60:], strict=True)]
        new = await tables.commit("p", operations)
        rows = {row.key: row for row in await all_rows(tables, "p")}
        assert [rows[operation.key].etag for operation in operations[:80]] == new[:80]
        assert new[80:] == [""] * 20
        assert len(rows) == 80
        assert [rows[key].columns for key in ("000", "020", "040")] == [{"u": 1}, {"r": 1}, {"n": 1, "m": 1}]

    @pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")
    async def test_a_transaction_may_be_as_large_as_table_storage_takes_it(self, tables: Tables) -> None:
        await tables.commit("p", [Upsert(f"{number}", {"a": "漢" * 12_000}) for number in range(100)])
        await tables.commit("p", [Upsert(f"{number}", {"a": "x" * 32_000}) for number in range(100)])
        assert len(await all_rows(tables, "p")) == 100

    async def test_any_character_may_stand_in_a_transaction(self, tables: Tables) -> None:
        text = "".join(map(chr, (*range(0x100), 0x2028, 0x2029, 0xD7FF, 0xE000, 0xFEFF, 0xFFFE, 0xFFFF, 0x10FFFF)))
        await tables.commit("p", [Insert("a", {"text": text}), Upsert("b", {"text": text})])
        assert [row.columns["text"] for row in await all_rows(tables, "p")] == [text, text]

    @pytest.mark.parametrize(
        "operations",
        [
            [],
            [Upsert(f"{number}", {}) for number in range(101)],
            [Upsert("k", {}), Delete("k", ANY)],
            [Upsert("a/b", {})],
            [Upsert("a\u0085b", {})],
            [Upsert("k" * 513, {})],
            [Upsert("😀" * 257, {})],
            [Upsert("k", {"s": "x" * (32 * 1024 + 1)})],
            [Upsert("k", {"s": "😀" * (16 * 1024 + 1)})],
            [Upsert("k", {"n": 2**63})],
            [Upsert("k", {f"c{number}": 1 for number in range(253)})],
            [Upsert("k", {f"c{number}": "x" * 30_000 for number in range(20)})],
            [Upsert(f"{number}", {"a": "漢" * 20_000}) for number in range(100)],  # 3.8 MiB stored, 5.7 MiB sent
            [Upsert(f"{number}", {"a": '"' * 30_000}) for number in range(80)],
        ],
    )
    async def test_what_table_storage_would_refuse_is_never_sent(
        self, tables: Tables, operations: list[Operation]
    ) -> None:
        with pytest.raises(LimitExceeded):
            await tables.commit("p", operations)
        assert (await tables.query("p")).rows == []

    async def test_a_read_that_table_storage_would_refuse_is_never_sent(self, tables: Tables) -> None:
        for top in (0, 1001):
            with pytest.raises(LimitExceeded):
                await tables.query("p", top=top)
        with pytest.raises(LimitExceeded):
            await tables.get("p", "a#b")
        with pytest.raises(LimitExceeded):
            await tables.query("p?")


class TestQueries:
    # The fixture's table serves every example: each has a partition of its own.
    @settings(max_examples=25)
    @given(keys=st.sets(UNICODE_KEYS, min_size=1, max_size=12), bounds=st.tuples(UNICODE_KEYS, UNICODE_KEYS))
    async def test_rows_come_in_order_of_utf_16_units(
        self, tables: Tables, keys: set[str], bounds: tuple[str, str]
    ) -> None:
        partition = secrets.token_hex(8)
        low, high = sorted(bounds, key=_units)
        await insert(tables, partition, *keys)
        ordered = sorted(keys, key=_units)
        assert [row.key for row in await all_rows(tables, partition)] == ordered
        within = [key for key in ordered if _units(low) <= _units(key) < _units(high)]
        assert [row.key for row in await all_rows(tables, partition, low, high, top=2)] == within

    @settings(max_examples=25)
    @given(partition=UNICODE_KEYS, key=UNICODE_KEYS)
    async def test_any_allowed_key_can_be_written_read_and_deleted(
        self, tables: Tables, partition: str, key: str
    ) -> None:
        # Azurite's transactions do not find the row of such a key; "a,b" is found.
        assume(key != "," and "'," not in key and ",'" not in key)
        partition = secrets.token_hex(4) + partition
        [etag] = await tables.commit(partition, [Insert(key, {"k": key})])
        assert await tables.get(partition, key) == Row(partition, key, etag, {"k": key})
        [etag] = await tables.commit(partition, [Replace(key, {"k": 2}, etag)])
        assert (await tables.query(partition)).rows == [Row(partition, key, etag, {"k": 2})]
        await tables.commit(partition, [Upsert(key + "2", {}), Merge(key, {"m": 1}, etag)])
        await tables.commit(partition, [Delete(key, ANY)])
        assert await tables.get(partition, key) is None

    async def test_the_low_bound_is_included_and_the_high_one_is_not(self, tables: Tables) -> None:
        await insert(tables, "p", "a", "b", "b'", "c", "d")
        await insert(tables, "q", "b")
        assert [row.key for row in await all_rows(tables, "p", "b", "c")] == ["b", "b'"]
        assert [row.key for row in await all_rows(tables, "p", "b'")] == ["b'", "c", "d"]
        assert [row.key for row in await all_rows(tables, "p", high="b")] == ["a"]
        assert await all_rows(tables, "p", "c", "b") == []
        assert await all_rows(tables, "nothing") == []

    async def test_pages_hold_every_row_once(self, tables: Tables) -> None:
        keys = [f"{number:02}" for number in range(10)]
        await insert(tables, "p", *keys)
        for top in (1, 3, 5, 10, 11):
            assert [row.key for row in await all_rows(tables, "p", top=top)] == keys

    async def test_the_last_page_has_no_continuation(self, tables: Tables) -> None:
        await insert(tables, "p", *"abcd")
        page = await tables.query("p", top=4)
        assert (len(page.rows), page.continuation) == (4, None)

    async def test_a_continuation_serves_a_later_process(self, open_tables: Callable[[], Tables]) -> None:
        keys = [f"{number:04}" for number in range(1100)]
        tables = open_tables()
        await insert(tables, "p", *keys)
        page = await tables.query("p")
        assert page.continuation is not None
        assert re.fullmatch(r"[\x20-\x7e]+", page.continuation)
        await tables.close()
        later = open_tables()
        await later.commit("p", [Delete(page.rows[-1].key, ANY)])
        rest = await later.query("p", continuation=page.continuation)
        assert [row.key for row in (*page.rows, *rest.rows)] == keys
        assert rest.continuation is None
        await later.close()


def _units(key: str) -> bytes:
    return key.encode("utf-16-be")


def _with_etag(change: Operation, etag: str) -> Operation:
    assert not isinstance(change, Insert | Upsert)
    return Delete(change.key, etag) if isinstance(change, Delete) else type(change)(change.key, change.columns, etag)
