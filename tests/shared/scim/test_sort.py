"""sortBy and sortOrder (RFC 7644 section 3.4.2.3)."""

from __future__ import annotations

from typing import Any

import pytest

from shared.scim.errors import InvalidValue
from shared.scim.schema import ENTERPRISE_USER_URN, USER
from shared.scim.sort import Sort

USERS: list[dict[str, Any]] = [
    {"id": "b", "userName": "Zoe", "active": True, "meta": {"created": "2026-01-01T12:00:00+02:00"}},
    {"id": "a", "userName": "adam", "name": {"familyName": "Éclair"}, "emails": [{"value": "z@x"}, {"value": "a@x"}]},
    {
        "id": "B",
        "userName": "Bob",
        "active": False,
        "name": {"familyName": "zz"},
        "emails": [{"value": "z@x"}, {"value": "M@x", "primary": True}],
        "meta": {"created": "2026-01-01T11:00:00Z"},
        ENTERPRISE_USER_URN: {"department": "Art"},
    },
]


def ids(by: str, order: str = "") -> str:
    sort = Sort.parse(by, order, USER)
    assert sort is not None
    return "".join(user["id"] for user in sort.order([(sort.key(user), user) for user in USERS]))


@pytest.mark.parametrize(
    ("by", "ascending", "descending"),
    [
        ("userName", "aBb", "bBa"),
        ("id", "Bab", "baB"),
        ("name.familyName", "Bab", "baB"),
        ("emails", "Bab", "baB"),
        ("EMAILS.VALUE", "Bab", "baB"),
        ("active", "Bba", "abB"),
        ("meta.created", "bBa", "aBb"),
        (f"{ENTERPRISE_USER_URN}:department", "Bba", "baB"),
        ("department", "Bba", "baB"),
        ("title", "baB", "baB"),
    ],
)
def test_values_are_compared_as_their_types_and_nothing_comes_last(by: str, ascending: str, descending: str) -> None:
    assert (ids(by), ids(by, "ascending"), ids(by, "Descending")) == (ascending, ascending, descending)


def test_an_attribute_nobody_knows_has_no_order() -> None:
    assert Sort.parse("favouriteColour", "", USER) is None
    assert Sort.parse(" ", "descending", USER) is None


@pytest.mark.parametrize(
    ("by", "order", "names"),
    [
        ("name", "", "sortBy: name"),
        ("user name", "", "sortBy"),
        ('emails[type eq "work"].value', "", "sortBy"),
        ("userName", "down", "sortOrder"),
    ],
)
def test_what_is_no_order_is_refused(by: str, order: str, names: str) -> None:
    with pytest.raises(InvalidValue, match=names):
        Sort.parse(by, order, USER)


def test_two_orders_read_differently_as_text() -> None:
    texts = {
        str(Sort.parse(by, order, USER))
        for by in ("userName", "name.familyName", "department")
        for order in ("ascending", "descending")
    }
    assert len(texts) == 6
