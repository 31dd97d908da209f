"""Member differences in the tables: pages that lose nothing, and an attempt that takes the place of one cut off."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.directory.errors import InvalidCursor
from shared.directory.keys import Key, Keys
from shared.directory.work.differences import Differences, Differing, Totals
from shared.tables.sqlite import SqliteTables

KEYS = Keys("main", b"5e" * 16, 4)


def account(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


members = st.lists(
    st.integers(0, 50).map(lambda n: Differing(account(n)))
    | st.tuples(st.text("ab/#é\x00", min_size=1, max_size=4), st.sampled_from(["", account(99)])).map(
        lambda pair: Differing(pair[1], pair[0])
    ),
    max_size=40,
    unique_by=lambda member: (member.only, KEYS.digest(Key("x", member.identity or member.member))),
)


@given(before=members, after=members, count=st.integers(1, 9))
@settings(max_examples=40)
async def test_what_was_written_last_is_listed_whole(
    sqlite_tables: SqliteTables, before: list[Differing], after: list[Differing], count: int
) -> None:
    differences = Differences(sqlite_tables, KEYS, "run1", "group")
    await differences.clear()  # what the example before left
    assert await differences.find_totals() is None
    await differences.write(before)  # an attempt that was cut off
    await differences.clear()
    await differences.write(after)
    await differences.close(Totals(1, 2, 3))
    assert await differences.find_totals() == Totals(1, 2, 3)
    listed, cursor = await differences.page("", count)
    while cursor:
        page, cursor = await differences.page(cursor, count)
        assert len(page) <= count
        listed += page
    assert sorted(listed, key=repr) == sorted(after, key=repr)
    assert [member.only for member in listed] == sorted(member.only for member in listed), "those only here come first"


@pytest.mark.parametrize("cursor", ["x", "a", "h_", "h_../x", "t_" + "0" * 31, "~"])
async def test_a_cursor_that_no_page_gave_is_refused(sqlite_tables: SqliteTables, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await Differences(sqlite_tables, KEYS, "run1", "x").page(cursor, 1)
