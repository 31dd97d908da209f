"""Members apart from the document: every shape of a change, and many operations against a set that does as told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.errors import InvalidPath, InvalidValue, Mutability
from shared.scim.filter import parse_filter
from shared.scim.membership import Change, asked_members, read_members, split_body, split_operations
from shared.scim.patch import Operation

IDS = st.sampled_from("abcde")


def split(*operations: Operation) -> tuple[list[Operation], list[Change]]:
    return split_operations(operations)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (Operation("add", "members", [{"$ref": None, "value": "a"}]), Change({"a": None})),
        (Operation("add", "MEMBERS", [{"Value": "a", "display": "A"}]), Change({"a": "A"})),
        (Operation("add", "urn:ietf:params:scim:schemas:core:2.0:Group:members", "a"), Change({"a": None})),
        (Operation("add", "members", {"value": "a"}), Change({"a": None})),
        (Operation("add", "members", None), Change()),
        (Operation("add", 'members[value eq "a"]', {"display": "A"}), Change({"a": None})),
        (Operation("remove", "members", [{"value": "a"}, {"value": "b"}]), Change(out={"a", "b"})),
        (Operation("remove", "members", []), Change()),
        (Operation("remove", "members", None), Change(exact=True)),
        (Operation("remove", 'members[value eq "a"]', None), Change(out={"a"})),
        (Operation("remove", 'members[value eq "a" or value eq "b"]', None), Change(out={"a", "b"})),
        (Operation("replace", "members", [{"value": "a"}]), Change({"a": None}, exact=True)),
        (Operation("replace", "members", ""), Change(exact=True)),
        (Operation("replace", 'members[value eq "a"]', {"value": "b"}), Change({"b": None}, {"a"})),
        (Operation("replace", None, {"members": ["a"]}), Change({"a": None}, exact=True)),
    ],
)
def test_every_shape_is_read(operation: Operation, expected: Change) -> None:
    assert split(operation) == ([], [expected])


def test_the_document_keeps_its_own_operations_in_order() -> None:
    name = Operation("replace", "displayName", "x")
    both = Operation("replace", None, {"id": "1", "displayName": "y", "members": "a"})
    rest, changes = split(name, Operation("add", "members", "b"), both)
    assert rest == [name, Operation("replace", None, {"id": "1", "displayName": "y"})]
    assert changes == [Change({"a": None}, exact=True)]


def test_a_removal_by_another_filter_stands_by_itself() -> None:
    operations = [Operation("add", "members", "a"), Operation("remove", 'members[type eq "Group"]', None)]
    _, changes = split(*operations, Operation("add", "members", "b"))
    assert [change.into for change in changes] == [{"a": None}, {}, {"b": None}]
    passes = changes[1].passes
    assert passes is not None
    assert [passes({"type": kind}) for kind in ("Group", "User")] == [True, False]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (Operation("add", "members", [{"display": "A"}]), InvalidValue),
        (Operation("add", "members", 5), InvalidValue),
        (Operation("replace", "members.display", "A"), Mutability),
        (Operation("replace", 'members[value eq "a"].value', "b"), Mutability),
        (Operation("add", 'members[type eq "User"]', {"value": "a"}), InvalidPath),
        (Operation("remove", "members[", None), InvalidPath),
    ],
)
def test_what_cannot_be_done_names_the_operation(operation: Operation, error: type[Exception]) -> None:
    with pytest.raises(error, match="Operation 2: "):
        split(Operation("add", "members", "a"), operation)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "replace"]), st.lists(IDS, max_size=3))), st.sets(IDS))
def test_many_operations_come_to_what_they_do_one_by_one(steps: list[tuple[Any, list[str]]], before: set[str]) -> None:
    expected = set(before)
    for kind, ids in steps:
        expected = expected | set(ids) if kind == "add" else expected - set(ids) if kind == "remove" else set(ids)
    _, changes = split(*(Operation(kind, "members", [{"value": i} for i in ids]) for kind, ids in steps))
    assert len(changes) <= 1
    for change in changes:
        assert not change.out.intersection(change.into)
        before = (set() if change.exact else before - change.out) | set(change.into)
    assert before == expected


def test_a_body_is_split_from_its_members() -> None:
    assert split_body({"displayName": "x", "Members": ["a"]}) == ({"displayName": "x"}, {"a": None})
    assert split_body({"displayName": "x"}) == ({"displayName": "x"}, None)
    assert split_body([]) == ([], None)
    assert read_members([None, "", {"value": "a", "display": 5}, "a"]) == {"a": None}


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ('displayName eq "x"', set()),
        ('members eq "a"', {"a"}),
        ('not (members.value eq "a") or members[value eq "b"]', {"a", "b"}),
        ('id eq "1" and members eq "a"', {"a"}),
        ("members pr", None),
        ('members ne "a"', None),
        ('members.value sw "a"', None),
        ('members[type eq "User"]', None),
        ('members[type eq "User"].value eq "a"', None),
        ('members eq "a" and members.type eq "User"', None),
    ],
)
def test_a_filter_tells_whom_it_asks_about(text: str, asked: set[str] | None) -> None:
    assert asked_members(parse_filter(text)) == asked
