"""The members of a group apart from its document (RFC 7644 section 3.5.2): they are rows, which no PATCH loads as one.

A body or a PATCH is split into what changes the document, which patch.py applies, and what changes the memberships.
Tolerated here, because clients send it: a bare id or one object where a list belongs, null and empty lists, `$ref:
null`, `displayName` for `display`, an id that nothing here can have (it is left out, like a deleted member's).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.scim.change import Op
from shared.scim.errors import InvalidPath, InvalidValue, Mutability, NoTarget, ScimError
from shared.scim.evaluate import Test
from shared.scim.filter import And, Comparison, Filter, Not, Or, ValuePath
from shared.scim.limits import MAX_STRING_CHARS
from shared.scim.patch import PatchOperation
from shared.scim.path import DocumentPlace, resolve
from shared.scim.schema import GROUP

MEMBERS = GROUP.attributes["members"]


@dataclass(slots=True)
class MembershipChange:
    """A change of memberships: `into` join, by id with the name that the client gave, and `out` leave.

    With `exact`, all others leave, too. With `passes`, the members that pass it leave, and nobody joins. `expected` has
    the numbers of operations, and ids of which each needs one to be a member before this change.
    """

    into: dict[str, str | None] = field(default_factory=dict)
    out: set[str] = field(default_factory=set)
    exact: bool = False
    passes: Test | None = None
    expected: list[tuple[int, frozenset[str]]] = field(default_factory=list)

    @property
    def is_plain(self) -> bool:
        """Whether it names each member that joins or leaves."""
        return not self.exact and self.passes is None

    def apply(self, op: Op, members: Mapping[str, str | None]) -> None:
        """Add an operation that comes after the change so far."""
        if op == "replace":
            self.into, self.out, self.exact = dict(members), set(), True
        elif op == "add":
            self.into.update(members)
            self.out.difference_update(members)
        else:
            self.out.update(members)
            for member_id in members:
                self.into.pop(member_id, None)

    def expect(self, number: int, members: Collection[str]) -> None:
        """Note that an operation, which comes after the change so far, means one of these members. Raises NoTarget."""
        if not self.into.keys() & members:
            open_ids = frozenset() if self.exact else frozenset(members) - self.out
            if not open_ids:
                raise NoTarget(_NOBODY)
            self.expected.append((number, open_ids))


_NOBODY = "no member passes the filter of the path; nothing is changed."
_Step = tuple[Op | Literal["expect"], dict[str, str | None] | Test | None]
"""What one operation does, to the members named or to all that pass a test."""


def read_members(value: object) -> dict[str, str | None]:
    """Return ids and names of a `members` value; each id once. Raises InvalidValue for what is no member."""
    members: dict[str, str | None] = {}
    for item in value if isinstance(value, list) else [value]:
        if item is None or item == "":
            continue
        given = {name.lower(): part for name, part in item.items()} if isinstance(item, dict) else {"value": item}
        member_id, display = given.get("value"), given.get("display") or given.get("displayname")
        if not isinstance(member_id, str) or not member_id:
            raise InvalidValue("members.value is required: the id of a user or a group.")
        if isinstance(display, str) and len(display) > MAX_STRING_CHARS:
            raise InvalidValue(f"members.display has at most {MAX_STRING_CHARS} characters.")
        members[member_id.strip()] = display if isinstance(display, str) and display else None
    return members


def split_body(body: object) -> tuple[object, dict[str, str | None] | None]:
    """Return the body of a POST or PUT without members, and the members; None where it names none."""
    if not isinstance(body, dict):
        return body, None
    names = [name for name in body if _is_members(name)]
    if not names:
        return body, None
    rest = {name: value for name, value in body.items() if name not in names}
    return rest, read_members(body[names[-1]])


def split_operations(operations: Sequence[PatchOperation]) -> tuple[list[PatchOperation], list[MembershipChange]]:
    """Return the operations on the document, and the changes, in order, that all others amount to; mostly one.

    Raises a ScimError, which names the operation by its number.
    """
    rest: list[PatchOperation] = []
    changes: list[MembershipChange] = []
    for number, operation in enumerate(operations, 1):
        try:
            kept, steps = _split(operation)
            for step in steps:
                _take(step, number, changes)
        except ScimError as error:
            raise type(error)(f"Operation {number}: {error.detail}") from None
        rest += kept
    return rest, changes


def _take(step: _Step, number: int, changes: list[MembershipChange]) -> None:
    """Add a step of an operation to the changes so far."""
    kind, members = step
    if not isinstance(members, dict):
        changes.append(MembershipChange(passes=members))
        return
    if not changes or changes[-1].passes is not None:
        changes.append(MembershipChange())
    if kind == "expect":
        changes[-1].expect(number, members)
    else:
        changes[-1].apply(kind, members)


def expected_members(changes: Sequence[MembershipChange]) -> frozenset[str]:
    """Return the ids of which it must be known whether they are members, for check_expected()."""
    return frozenset(member for change in changes for _, members in change.expected for member in members)


def check_expected(changes: Sequence[MembershipChange], held: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise NoTarget where an operation means members of whom none is in when its turn comes.

    `held` are the members among expected_members() before all changes: their values, by id.
    """
    members = dict(held)
    for change in changes:
        for number, ids in change.expected:
            if not members.keys() & ids:
                raise NoTarget(f"Operation {number}: {_NOBODY}")
        if change.exact:
            members.clear()
        members = {i: m for i, m in members.items() if i not in change.out and not (change.passes and change.passes(m))}
        members |= {member: {"value": member} for member in change.into}


def _split(operation: PatchOperation) -> tuple[list[PatchOperation], list[_Step]]:
    if operation.path is not None:
        place = _place(operation.path)
        return ([operation], []) if place is None else ([], list(_steps(operation, place, operation.value)))
    places = {key: _place(key) for key in operation.value}
    steps = [s for key, place in places.items() if place for s in _steps(operation, place, operation.value[key])]
    document = {key: value for key, value in operation.value.items() if places[key] is None}
    return [PatchOperation(operation.op, None, document)] if document else [], steps


def _place(path: str) -> DocumentPlace | None:
    """Return the place of a path that means members, or None; patch.py refuses what is no path."""
    try:
        place = resolve(path, GROUP)
    except InvalidPath:
        if "[" in path:
            raise
        return None
    return place if isinstance(place, DocumentPlace) and place.target.attribute is MEMBERS else None


def _is_members(name: str) -> bool:
    place = None if "[" in name else _place(name)
    return place is not None and place.target.sub_attribute is None


def _steps(operation: PatchOperation, place: DocumentPlace, value: Any) -> Iterator[_Step]:
    if place.target.sub_attribute is not None:
        raise Mutability("a member does not change: remove it and add another.")
    if place.value_filter is not None:
        yield from _filtered(operation, place, place.value_filter, value)
    elif operation.op == "remove" and value is None:
        yield "replace", {}
    else:
        yield operation.op, _read_named(operation.op, value)


def _read_named(op: Op, value: Any) -> dict[str, str | None]:
    """Return the members that a value names. Raises InvalidValue for one that is there and names nobody."""
    members = read_members(value)
    if not members and (op == "remove" or value not in (None, "", [])):
        raise InvalidValue(f"members: {op} takes the members to {op}. Remove without a value takes all of them out.")
    return members


def _filtered(operation: PatchOperation, place: DocumentPlace, value_filter: Filter, value: Any) -> Iterator[_Step]:
    """`members[value eq "…"]`: remove takes it out; replace puts another in the place of one that is in."""
    named = dict.fromkeys(_named(value_filter))
    if operation.op == "remove":
        if named or place.passes is not None:
            yield "remove", named or place.passes
        return
    if not named:
        raise InvalidPath('members: add and replace take the path members, or members[value eq "…"].')
    yield "expect", named
    new = read_members(value) if isinstance(value, list | dict) and _has_id(value) else {}
    if operation.op == "replace" and (new or value in (None, "", [])):
        yield "remove", named
    yield "add", new


def _has_id(value: Any) -> bool:
    items = value if isinstance(value, list) else [value]
    return any(isinstance(item, str) or (isinstance(item, dict) and "value" in map(str.lower, item)) for item in items)


def asked_members(tree: Filter) -> frozenset[str] | None:
    """Return the ids whose membership a filter asks for; None where it asks something else of members."""
    if isinstance(tree, And | Or):
        parts = [asked_members(term) for term in tree.terms]
        known = [part for part in parts if part is not None]
        return frozenset().union(*known) if len(known) == len(parts) else None
    if isinstance(tree, Not):
        return asked_members(tree.term)
    if tree.path.attribute.lower() != MEMBERS.name:
        return frozenset()
    if isinstance(tree, Comparison):
        is_id = tree.operator == "eq" and tree.path.key in ("members", "members.value") and tree.value is not None
        return frozenset((str(tree.value),)) if is_id else None
    named = _named(tree.path.value_filter) if isinstance(tree, ValuePath) and tree.path.value_filter else []
    return frozenset(named) or None


def _named(tree: Filter) -> list[str]:
    """Return the ids that a value filter names one by one, or [] where it asks something else of members."""
    if isinstance(tree, Or):
        parts = [_named(term) for term in tree.terms]
        return [member for part in parts for member in part] if all(parts) else []
    if isinstance(tree, Comparison) and tree.operator == "eq" and tree.path.key == "value" and tree.value is not None:
        return [str(tree.value)]
    return []
