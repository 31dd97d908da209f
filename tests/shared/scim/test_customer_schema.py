"""A schema of a customer's own: types that User does not use are read, patched, filtered and shown all the same."""

from typing import Any

import pytest

from shared.scim.document import keep_immutable, normalise
from shared.scim.errors import InvalidFilter, InvalidValue, Mutability
from shared.scim.evaluate import compile_filter
from shared.scim.filter import parse_filter
from shared.scim.patch import apply, parse_operations
from shared.scim.projection import Projection
from shared.scim.schema import USER, read_resource_type, read_schema

URN = "urn:contoso:hr:1.0:Employee"
HR = read_schema(
    {
        "id": URN,
        "attributes": [
            {"name": "level", "type": "integer"},
            {"name": "share", "type": "decimal"},
            {"name": "hired", "type": "dateTime"},
            {"name": "photo", "type": "binary"},
            {"name": "badge", "mutability": "immutable"},
            {"name": "salary", "type": "integer", "returned": "request"},
            {
                "name": "desk",
                "type": "complex",
                "subAttributes": [
                    {"name": "floor", "type": "integer", "mutability": "immutable"},
                    {"name": "phone", "returned": "request"},
                ],
            },
            {"name": "skills", "multiValued": True},
            {"name": "levels", "type": "integer", "multiValued": True},
        ],
    }
)
EMPLOYEE = read_resource_type(
    {
        "name": "Employee",
        "endpoint": "/Employees",
        "schema": USER.schema.urn,
        "schemaExtensions": [{"schema": URN, "required": False}],
    },
    {USER.schema.urn: USER.schema, URN: HR},
)
HIRED = "2026-11-23T17:30:00+01:00"


def employee(**attributes: Any) -> dict[str, Any]:
    return normalise(EMPLOYEE, {"userName": "bob", URN: attributes})


def patched(before: dict[str, Any], op: str, path: str, value: object = None) -> Any:
    operation = {"op": op, "path": f"{URN}:{path}", "value": value}
    return apply(parse_operations({"Operations": [operation]}), before, EMPLOYEE).get(URN)


def test_values_get_their_types() -> None:
    sent = {"Level": "7", "share": "0.5", "hired": HIRED, "skills": ["sql", "", "go"], "levels": "3"}
    stored = {"level": 7, "share": 0.5, "hired": HIRED, "skills": ["sql", "go"], "levels": [3]}
    assert employee(**sent)[URN] == stored
    for sent in (
        {"level": 12.0, "share": 2**53 + 1},
        {"level": -7, "share": "-1.5e2", "hired": "2016-03-01T12:00:00", "photo": "AQ=="},
        {"hired": "2016-03-01T12:00:00.1234567-05:00", "photo": "_-8"},
    ):
        assert employee(**sent)[URN] == sent | ({"share": -150.0} if sent.get("share") == "-1.5e2" else {})
    assert employee(**stored)["schemas"] == [USER.schema.urn, URN]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("level", "seven"),
        ("level", True),
        ("level", "9" * 5000),
        ("share", "inf"),
        ("share", 10**400),
        ("share", {"a": 1}),
        ("share", "1_0"),
        ("share", "nan"),
        ("level", 12.99),
        ("level", "12.99"),
        ("level", "1_0"),
        ("level", "٣"),
        ("level", {}),
        ("level", []),
        ("hired", "yesterday"),
        ("hired", "2016-03-01"),
        ("hired", "2016-03-01 12:00:00"),
        ("hired", "20160301T120000Z"),
        ("hired", "2016-W09-2T12:00:00"),
        ("hired", "2016-13-01T12:00:00Z"),
        ("hired", "2016-03-01T12:00:00.Z"),
        ("hired", "2016-03-01T12:00:00Z\n"),
        ("photo", "no base64!"),
        ("photo", "AAAAA"),
        ("photo", "AAA=="),
        ("photo", "+_"),
        ("photo", 12),
        ("photo", {}),
        ("hired", 5),
        ("skills", [["sql"]]),
    ],
)
def test_a_value_of_another_type_is_refused_by_the_attribute(name: str, value: object) -> None:
    with pytest.raises(InvalidValue, match=name):
        employee(**{name: value})


@pytest.mark.parametrize(
    ("op", "value", "skills"),
    [
        ("add", ["go", "c", "c"], ["sql", "go", "c"]),
        ("add", "c", ["sql", "go", "c"]),
        ("remove", ["sql"], ["go"]),
        ("remove", ["c"], ["sql", "go"]),
        ("replace", "c", ["c"]),
    ],
)
def test_a_list_of_simple_values_is_patched(op: str, value: object, skills: list[str]) -> None:
    assert patched(employee(skills=["sql", "go"]), op, "skills", value) == {"skills": skills}


def test_what_is_zero_is_a_value() -> None:
    assert patched(employee(levels=[0]), "add", "levels", [0, 1]) == {"levels": [0, 1]}
    assert patched(employee(level=7), "replace", "level", 0) == {"level": 0}


def test_an_immutable_attribute_is_set_once() -> None:
    assert patched(employee(), "add", "badge", "b1") == {"badge": "b1"}
    assert patched(employee(badge="b1"), "replace", "badge", "b1") == {"badge": "b1"}
    for op, value in (("replace", "b2"), ("remove", None)):
        with pytest.raises(Mutability, match="badge"):
            patched(employee(badge="b1"), op, "badge", value)


@pytest.mark.parametrize(
    "text",
    [
        "level gt 6 and level le 7",
        'level eq "7"',
        "share lt 1",
        f"hired eq {HIRED}",
        'hired lt "2026-11-23T16:30:00.1Z"',
        'hired gt "2026-11-23"',
        'skills co "QL"',
        "levels ge 3",
        f"{URN}:level ne 8",
    ],
)
def test_a_filter_compares_by_type(text: str) -> None:
    document = employee(level=7, share=0.5, hired=HIRED, skills=["sql"], levels=[1, 3])
    assert compile_filter(parse_filter(text), EMPLOYEE)(document)


@pytest.mark.parametrize("text", ['level co "7"', "level eq x", 'share sw "0"', "hired gt 5"])
def test_a_comparison_its_type_does_not_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        compile_filter(parse_filter(text), EMPLOYEE)(employee(level=7))


PAID = {"level": 7, "salary": 9, "desk": {"floor": 3, "phone": "1"}}


@pytest.mark.parametrize(
    ("attributes", "excluded", "shown"),
    [
        (None, None, {"level": 7, "desk": {"floor": 3}}),
        ("salary", None, {"salary": 9}),
        (f"{URN}:desk", None, {"desk": {"floor": 3, "phone": "1"}}),
        ("desk.phone,level", None, {"level": 7, "desk": {"phone": "1"}}),
        (URN, None, {"level": 7, "desk": {"floor": 3}}),
        (None, "level", {"desk": {"floor": 3}}),
    ],
)
def test_what_is_returned_on_request_waits_for_its_name(
    attributes: str | None, excluded: str | None, shown: dict[str, Any]
) -> None:
    projection = Projection.parse(attributes, excluded, EMPLOYEE)
    assert projection.apply(employee(**PAID)).get(URN) == shown
    assert not projection.is_default


def test_a_put_keeps_what_is_immutable_and_cannot_change_it() -> None:
    before = employee(badge="b", desk={"floor": 3, "phone": "1"})
    for sent in ({}, {"badge": "b"}, {"desk": {"floor": 3}}):
        kept = keep_immutable(EMPLOYEE, before, employee(**sent))
        assert kept[URN] == {"badge": "b", "desk": {"floor": 3}}
        assert URN in kept["schemas"]
    assert keep_immutable(EMPLOYEE, employee(), employee(badge="c"))[URN] == {"badge": "c"}
    for sent in ({"badge": "c"}, {"desk": {"floor": 4}}):
        with pytest.raises(Mutability, match=r"badge|floor"):
            keep_immutable(EMPLOYEE, before, employee(**sent))
