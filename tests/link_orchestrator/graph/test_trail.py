"""Links that lead in a circle are seen soon, and those that do not are never taken for one."""

from __future__ import annotations

from itertools import chain, cycle, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.graph.trail import Trail
from link_orchestrator.source import SourceFailed


def followed(links: list[str]) -> int:
    """Return how many links are followed before one is refused, and go through JSON between any two."""
    trail = Trail.of(None)
    for number, link in enumerate(links):
        try:
            trail = Trail.of(trail.to_json()).followed(link)
        except SourceFailed:
            return number
    return len(links)


@given(st.integers(0, 300), st.integers(1, 300))
def test_a_circle_is_seen_after_three_times_round_at_most(before: int, round_: int) -> None:
    links = chain(range(before), cycle(range(before, before + round_)))
    most = 3 * max(before, round_) + 1
    assert before + round_ <= followed([f"https://graph/{n}" for n in islice(links, most + 1)]) <= most


@given(st.integers(0, 3_000))
def test_links_that_are_all_different_are_followed(count: int) -> None:
    assert followed([f"https://graph/{n}" for n in range(count)]) == count


@pytest.mark.parametrize("target", ["/v1.0/users", ["id1", "id2"], ""])
def test_what_is_no_link_of_graphs_may_come_again(target: object) -> None:
    trail = Trail().followed("https://graph/1")
    assert trail.followed(target) == trail
