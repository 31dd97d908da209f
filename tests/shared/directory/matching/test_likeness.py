"""Likeness finds people whose names and addresses are written otherwise, and makes nobody certain."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.likeness import (
    LEAST_SCORE,
    MOST_COMPARED,
    MOST_SCORE,
    NAMESAKES_SCORE,
    Index,
    Likeness,
    Person,
    among,
    likeness,
)


def person(name: str, *addresses: str, number: str | None = None) -> Person:
    return Person.of(name, [name], addresses, number)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        (person("Anna Müller", "x1@a.example"), person("Mueller, Anna", "x2@b.example"), ("name",)),
        (person("Anna Müller", "x12345@a.example"), person("", "amueller"), ("nameInAddress",)),
        (person("Anna Müller", "x12345@a.example"), person("", "anna.muller@b.example"), ("nameInAddress",)),
        (person("", "anna.mueller@a.example"), person("", "anna_muller@b.example"), ("address",)),
        (person("Jean-Luc Picard", "j@a.example"), person("Jean Luc Pierre Picard", "p@b.example"), ("name",)),
        (person("Anna Berg", "a@a.example"), person("Anna Berg-Holm", "h@b.example"), ("name",)),
        (person("Anne Berg", "a@a.example"), person("Anna Berg", "h@b.example"), ("name",)),
        (person("Иван Петров", "i@a.example"), person("Петров Иван", "p@b.example"), ("name",)),
    ],
)
def test_who_is_written_otherwise_is_found_and_said_to_be_alike(
    one: Person, other: Person, alike: tuple[str, ...]
) -> None:
    found = likeness(one, other)
    assert found is not None
    assert found.alike == alike
    assert LEAST_SCORE <= found.score <= MOST_SCORE
    assert [*Index([other]).near(one)] == [0]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (person("Anna Schmidt", "anna.schmidt@a.example"), person("Anna Berg", "anna.berg@a.example")),
        (person("", "info@a.example"), person("", "info@b.example")),
        (person("Anna", "anna@a.example"), person("Bert", "bert@b.example")),
        (person("Anna Berg", number="17"), person("Anna Berg", number="18")),
    ],
)
def test_who_is_another_or_nobody_is_suggested_to_nobody(one: Person, other: Person) -> None:
    assert likeness(one, other) is None


def test_of_namesakes_none_is_likelier_than_another() -> None:
    one, other = person("Anna Berg", "anna.berg@a.example"), person("Anna Berg", "anna.berg@b.example")
    found = likeness(one, other)
    assert found is not None
    assert found.score == MOST_SCORE
    assert among(found, one.names, {}) == (found, 0)
    assert among(found, one.names, {("anna", "berg"): 3}) == (Likeness(NAMESAKES_SCORE, found.alike), 2)


def test_what_very_many_have_in_common_finds_nobody() -> None:
    crowd = Index([person(f"Test User{number}", f"test{number}@a.example") for number in range(500)])
    assert [*crowd.near(person("Test Berg", "test.berg@b.example"))] == []


def test_of_many_who_may_be_alike_those_with_most_in_common_are_compared() -> None:
    namesakes = [person("Anna Berger", f"anna.berger{n}x@a.example") for n in range(30)]
    found = Index([*namesakes, person("Anna Berg", "anna.berg@a.example"), *namesakes[:10]]).near(
        person("Anna Berg", "anna.berg@b.example")
    )
    assert len(found) == MOST_COMPARED
    assert found[0] == 30


WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(WORDS, WORDS, WORDS, WORDS)
def test_whatever_is_written_no_score_is_certain(name: str, other: str, address: str, another: str) -> None:
    one, two = Person.of("1", [name], [address]), Person.of("2", [other], [another])
    for found in (likeness(one, two), likeness(one, one)):
        assert found is None or LEAST_SCORE <= found.score <= MOST_SCORE < 100
    assert set(Index([one]).near(one)) <= {0}
