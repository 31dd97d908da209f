"""Members that one answer reads of many groups are bounded, however they are spread."""

from __future__ import annotations

from typing import Any, cast

from hypothesis import given
from hypothesis import strategies as st

from scim_groups.search import read_bounded
from shared.directory.records.model import Group


@given(st.lists(st.integers(0, 40), min_size=1, max_size=16), st.integers(0, 100))
async def test_all_is_read_or_nothing_and_never_more_than_twice_the_bound(sizes: list[int], most: int) -> None:
    held = 0
    groups = cast("list[Group]", list(range(len(sizes))))

    async def read(group: Any, count: int) -> list[int]:
        nonlocal held
        found = list(range(min(count, sizes[group])))
        held += len(found)
        return found

    found = await read_bounded(groups, most, read, len)
    assert found == ([list(range(size)) for size in sizes] if sum(sizes) <= most else None)
    assert held <= 2 * most + 2 * len(sizes) + 1
