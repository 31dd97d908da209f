"""Whether two names may be one person's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.identity import Identity
from shared.directory.matching.names import names_differ, names_in


def differ(ours: str, theirs: str) -> bool:
    return names_differ((ours,) if ours else (), Identity("1", "x@contoso.com", display_name=theirs or None))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Jane Miller", "Jane Miller"),
        ("Jane Miller", "Miller, Jane"),
        ("J\u00fcrgen M\u00fcller", "Juergen Mueller"),
        ("J\u00fcrgen M\u00fcller", "Jurgen Muller"),
        ("Jos\u00e9 Nu\u00f1ez", "Jose Nunez"),
        ("Dr. Jane Miller", "Jane Miller (External)"),
        ("J. Miller", "Jane Miller"),
        ("Jane Ann Miller", "Jane Miller"),
        ("Jane", "Jane Miller"),
        ("", "Jane Miller"),
        ("Jane Miller", ""),
        ("jane@contoso.com", "Jane Miller"),
    ],
)
def test_names_that_may_be_one_persons_do_not_differ(ours: str, theirs: str) -> None:
    assert not differ(ours, theirs)
    assert not differ(theirs, ours)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("Jane Miller", "John Miller"),
        ("Jane Miller", "Jane Smith"),
        ("Jane Miller", "Bob Stone"),
        ("J. M.", "John Moore"),
        ("Information Desk", "Jane Miller"),
        ("Jane Jane", "Jane Miller"),
    ],
)
def test_names_of_two_people_differ(ours: str, theirs: str) -> None:
    assert differ(ours, theirs)
    assert differ(theirs, ours)


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({}, ()),
        ({"displayName": "Jane Miller"}, ("Jane Miller",)),
        ({"name": {"givenName": "Jane", "familyName": "Miller"}}, ("Jane Miller",)),
        (
            {"displayName": "JM", "name": {"formatted": "Ms Jane Miller", "givenName": "Jane"}},
            ("JM", "Ms Jane Miller", "Jane"),
        ),
        ({"displayName": 1, "name": "Jane"}, ()),
    ],
)
def test_an_accounts_names_are_those_of_its_document(document: Any, names: tuple[str, ...]) -> None:
    assert names_in(document) == names


@given(st.text(), st.text())
def test_it_is_the_same_both_ways_and_a_name_never_differs_from_itself(left: str, right: str) -> None:
    assert differ(left, right) is differ(right, left)
    assert not differ(left, left)
