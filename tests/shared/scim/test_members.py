"""Members apart from the document: every shape of a change, and many operations against a set that does as told."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.errors import InvalidPath, InvalidValue, Mutability
from shared.scim.filter import parse_filter
from shared.scim.members import MembershipChange, asked_members, read_members, split_body, split_operations
from shared.scim.patch import PatchOperation

IDS = st.sampled_from("abcde")


def split(*operations: PatchOperation) -> tuple[list[PatchOperation], list[MembershipChange]]:
    return split_operations(operations)


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        (PatchOperation("add", "members", [{"$ref": None, "value": "a"}]), MembershipChange({"a": None})),
        (PatchOperation("add", "MEMBERS", [{"Value": "a", "display": "A"}]), MembershipChange({"a": "A"})),
        (
            PatchOperation("add", "urn:ietf:params:scim:schemas:core:2.0:Group:members", "a"),
            MembershipChange({"a": None}),
        ),
        (PatchOperation("add", "members", {"value": "a"}), MembershipChange({"a": None})),
        (PatchOperation("add", "members", None), MembershipChange()),
        (PatchOperation("add", 'members[value eq "a"]', {"display": "A"}), MembershipChange({"a": None})),
        (PatchOperation("remove", "members", [{"value": "a"}, {"value": "b"}]), MembershipChange(out={"a", "b"})),
        (PatchOperation("remove", "members", []), MembershipChange()),
        (PatchOperation("remove", "members", None), MembershipChange(exact=True)),
        (PatchOperation("remove", 'members[value eq "a"]', None), MembershipChange(out={"a"})),
        (PatchOperation("remove", 'members[value eq "a" or value eq "b"]', None), MembershipChange(out={"a", "b"})),
        (PatchOperation("replace", "members", [{"value": "a"}]), MembershipChange({"a": None}, exact=True)),
        (PatchOperation("replace", "members", ""), MembershipChange(exact=True)),
        (PatchOperation("replace", 'members[value eq "a"]', {"value": "b"}), MembershipChange({"b": None}, {"a"})),
        (PatchOperation("replace", None, {"members": ["a"]}), MembershipChange({"a": None}, exact=True)),
    ],
)
def test_every_shape_is_read(operation: PatchOperation, expected: MembershipChange) -> None:
    assert split(operation) == ([], [expected])


def test_the_document_keeps_its_own_operations_in_order() -> None:
    name = PatchOperation("replace", "displayName", "x")
    both = PatchOperation("replace", None, {"id": "1", "displayName": "y", "members": "a"})
    rest, changes = split(name, PatchOperation("add", "members", "b"), both)
    assert rest == [name, PatchOperation("replace", None, {"id": "1", "displayName": "y"})]
    assert changes == [MembershipChange({"a": None}, exact=True)]


def test_a_removal_by_another_filter_stands_by_itself() -> None:
    operations = [PatchOperation("add", "members", "a"), PatchOperation("remove", 'members[type eq "Group"]', None)]
    _, changes = split(*operations, PatchOperation("add", "members", "b"))
    assert [change.into for change in changes] == [{"a": None}, {}, {"b": None}]
    passes = changes[1].passes
    assert passes is not None
    assert [passes({"type": kind}) for kind in ("Group", "User")] == [True, False]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (PatchOperation("add", "members", [{"display": "A"}]), InvalidValue),
        (PatchOperation("add", "members", 5), InvalidValue),
        (PatchOperation("replace", "members.display", "A"), Mutability),
        (PatchOperation("replace", 'members[value eq "a"].value', "b"), Mutability),
        (PatchOperation("add", 'members[type eq "User"]', {"value": "a"}), InvalidPath),
        (PatchOperation("remove", "members[", None), InvalidPath),
    ],
)
def test_what_cannot_be_done_names_the_operation(operation: PatchOperation, error: type[Exception]) -> None:
    with pytest.raises(error, match="Operation 2: "):
        split(PatchOperation("add", "members", "a"), operation)


@given(st.lists(st.tuples(st.sampled_from(["add", "remove", "replace"]), st.lists(IDS, max_size=3))), st.sets(IDS))
def test_many_operations_come_to_what_they_do_one_by_one(steps: list[tuple[Any, list[str]]], before: set[str]) -> None:
    expected = set(before)
    for kind, ids in steps:
        expected = expected | set(ids) if kind == "add" else expected - set(ids) if kind == "remove" else set(ids)
    _, changes = split(*(PatchOperation(kind, "members", [{"value": i} for i in ids]) for kind, ids in steps))
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
