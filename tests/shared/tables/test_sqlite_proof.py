"""Many rows are proved at once, and to the same verdict as each by itself."""

from __future__ import annotations

from typing import Any, Literal
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.tables.port import Damaged
from shared.tables.sqlite_proof import MANY_ROWS, place_sum, prove

PARTITION = b"main_u_00"
Form = Literal["", "_keys", "_one"]
DAMAGE: tuple[Any, ...] = (None, b"", "", b"k_005", 'W/"0123456789abcdef.1"', 'W/"0123456789abcdef.1 1 1  "', "{}", 7)


def _rows(form: Form) -> list[tuple[Any, ...]]:
    rows = list[tuple[Any, ...]]()
    for number in range(MANY_ROWS + 3):
        key, columns = f"k_{number:03}".encode(), f'{{"n":"{number} ü"}}'
        etag = f'W/"0123456789abcdef.1{place_sum(PARTITION, key):08x}{crc32(columns.encode()):08x}"'
        rows.append((key, etag, number, crc32(columns.encode())) if form == "_one" else (key, etag, columns))
    return rows


def _verdict(rows: list[tuple[Any, ...]], form: Form) -> bool:
    try:
        prove(PARTITION, rows, form)
    except Damaged:
        return False
    return True


@pytest.mark.parametrize("form", ["", "_keys", "_one"])
def test_whole_rows_are_whole_however_many(form: Form) -> None:
    rows = _rows(form)
    assert _verdict(rows, form)
    assert _verdict(rows[:2], form)
    assert not _verdict([*rows[:3], rows[4], rows[3], *rows[5:]], form), "rows that come in another order"
    assert not _verdict([*rows[:3], rows[3], rows[3], *rows[4:]], form), "a row that comes twice"


@given(
    form=st.sampled_from(["", "_keys", "_one"]),
    number=st.integers(0, MANY_ROWS + 2),
    place=st.integers(0, 3),
    value=st.sampled_from(DAMAGE),
)
def test_a_damaged_row_is_told_among_many_as_alone(form: Form, number: int, place: int, value: Any) -> None:
    rows = _rows(form)
    if place == len(rows[number]):
        return
    damaged = (*rows[number][:place], value, *rows[number][place + 1 :])
    told = _verdict([damaged], form)
    assert _verdict([*rows[:number], damaged, *rows[number + 1 :]], form) == (told and rows[number][0] == damaged[0])
