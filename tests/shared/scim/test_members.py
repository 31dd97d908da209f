"""Members apart from the document: every shape of a change, and many operations against a set that does as told."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.errors import InvalidPath, InvalidValue, Mutability, NoTarget
from shared.scim.filter import parse_filter
from shared.scim.members import (
    MembershipChange,
    asked_members,
    check_expected,
    expected_members,
    read_members,
    split_body,
    split_operations,
)
from shared.scim.patch import PatchOperation

A = (1, frozenset("a"))
"""What the first operation expects where it means the member a."""
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
        (PatchOperation("add", 'members[value eq "a"]', {"display": "A"}), MembershipChange(expected=[A])),
        (PatchOperation("remove", "members", [{"value": "a"}, {"value": "b"}]), MembershipChange(out={"a", "b"})),
        (PatchOperation("remove", "members", None), MembershipChange(exact=True)),
        (PatchOperation("remove", 'members[value eq "a"]', None), MembershipChange(out={"a"})),
        (PatchOperation("remove", 'members[value eq "a" or value eq "b"]', None), MembershipChange(out={"a", "b"})),
        (PatchOperation("replace", "members", [{"value": "a"}]), MembershipChange({"a": None}, exact=True)),
        (PatchOperation("replace", "members", ""), MembershipChange(exact=True)),
        (
            PatchOperation("replace", 'members[value eq "a"]', {"value": "b"}),
            MembershipChange({"b": None}, {"a"}, expected=[A]),
        ),
        (PatchOperation("replace", 'members[value eq "a"]', ""), MembershipChange(out={"a"}, expected=[A])),
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
        (PatchOperation("add", "members", {}), InvalidValue),
        (PatchOperation("add", "members", [None]), InvalidValue),
        (PatchOperation("replace", "members", ["", None]), InvalidValue),
        *((PatchOperation("remove", "members", value), InvalidValue) for value in ("", [], {}, [""], [None], [{}])),
        (PatchOperation("replace", "members.display", "A"), Mutability),
        (PatchOperation("replace", 'members[value eq "a"].value', "b"), Mutability),
        (PatchOperation("add", 'members[type eq "User"]', {"value": "a"}), InvalidPath),
        (PatchOperation("remove", "members[", None), InvalidPath),
    ],
)
def test_what_cannot_be_done_names_the_operation(operation: PatchOperation, error: type[Exception]) -> None:
    with pytest.raises(error, match="Operation 2: "):
        split(PatchOperation("add", "members", "a"), operation)


def replacing(member: str, by: str) -> PatchOperation:
    return PatchOperation("replace", f'members[value eq "{member}"]', {"value": by})


def expecting(*operations: PatchOperation, held: str = "") -> None:
    """Raise NoTarget as a request with these operations would, in a group with these members."""
    _, changes = split(*operations)
    check_expected(changes, {member: {"value": member, "type": "User"} for member in held})


def test_who_is_replaced_must_be_in_when_the_operation_has_its_turn() -> None:
    into, out = PatchOperation("add", "members", "a"), PatchOperation("remove", "members", "a")
    all_out, users_out = (
        PatchOperation("remove", "members", None),
        PatchOperation("remove", 'members[type eq "User"]', None),
    )
    expecting(replacing("a", "b"), held="a")
    expecting(into, replacing("a", "b"), replacing("b", "c"))
    expecting(users_out, into, replacing("a", "b"))
    expecting(PatchOperation("replace", 'members[value eq "x" or value eq "a"]', ""), held="a")
    for operations in (
        [replacing("a", "b")],
        [out, replacing("a", "b")],
        [all_out, replacing("a", "b")],
        [users_out, replacing("a", "b")],
        [replacing("a", "b"), replacing("a", "b")],
        [users_out, out, PatchOperation("add", 'members[value eq "a"]', {"display": "A"})],
    ):
        with pytest.raises(NoTarget, match=f"^Operation {len(operations)}: "):
            expecting(*operations, held="a" if len(operations) > 1 else "b")
    assert expected_members(split(replacing("a", "b"), users_out, replacing("c", "d"))[1]) == {"a", "c"}


STEPS = st.tuples(st.sampled_from(["add", "remove", "replace", "replace one"]), st.lists(IDS, min_size=1, max_size=3))


def operation(kind: Any, ids: list[str]) -> PatchOperation:
    """Return an operation on members; `replace one` puts the others in the place of the first."""
    path, kind, ids = (f'members[value eq "{ids[0]}"]', "replace", ids[1:]) if " " in kind else ("members", kind, ids)
    return PatchOperation(kind, path, [{"value": member} for member in ids])


def done(members: set[str], kind: str, ids: list[str]) -> set[str] | None:
    """Return the members after an operation, None where it has no target."""
    match kind:
        case "add":
            return members | {*ids}
        case "remove":
            return members - {*ids}
        case "replace":
            return {*ids}
    return members - {ids[0]} | {*ids[1:]} if ids[0] in members else None


@given(st.lists(STEPS), st.sets(IDS))
def test_many_operations_come_to_what_they_do_one_by_one(steps: list[tuple[str, list[str]]], before: set[str]) -> None:
    expected: set[str] | None = {*before}
    for kind, ids in steps:
        expected = None if expected is None else done(expected, kind, ids)
    with pytest.raises(NoTarget) if expected is None else nullcontext():
        _, changes = split(*(operation(kind, ids) for kind, ids in steps))
        check_expected(changes, {member: {"value": member} for member in before})
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
