"""Projections: what is shown of a document."""

import json
from typing import Any

import pytest

from shared.scim.errors import InvalidValue
from shared.scim.projection import Projection
from shared.scim.schema import ENTERPRISE_USER_URN, USER

BOB: dict[str, Any] = {
    "schemas": [USER.schema.urn, ENTERPRISE_USER_URN],
    "id": "1",
    "userName": "bob",
    "name": {"givenName": "Bob", "familyName": "Smith"},
    "emails": [{"type": "work", "value": "b@w", "primary": True}, {"type": "home", "value": "b@h"}],
    ENTERPRISE_USER_URN: {"department": "IT", "manager": {"value": "m1", "displayName": "Eve"}},
    "meta": {"resourceType": "User", "version": 'W/"1"'},
}
ALWAYS = {"schemas": BOB["schemas"], "id": "1"}


@pytest.mark.parametrize(
    ("attributes", "shown"),
    [
        ("userName", {"userName": "bob"}),
        (" USERNAME , , name.givenName", {"userName": "bob", "name": {"givenName": "Bob"}}),
        ("name.givenName,name.familyName", {"name": BOB["name"]}),
        ("name.givenName,name", {"name": BOB["name"]}),
        ("emails.type,emails.value", {"emails": [{"type": "work", "value": "b@w"}, {"type": "home", "value": "b@h"}]}),
        ("emails.primary", {"emails": [{"primary": True}]}),
        ('emails[type eq "work"]', {"emails": [BOB["emails"][0]]}),
        ('emails[type eq "home" or value co ","].value,userName', {"emails": [{"value": "b@h"}], "userName": "bob"}),
        ('emails[type eq "other"]', {}),
        ("urn:ietf:params:scim:schemas:core:2.0:User:userName", {"userName": "bob"}),
        (f"{ENTERPRISE_USER_URN}:department", {ENTERPRISE_USER_URN: {"department": "IT"}}),
        ("manager.displayName", {ENTERPRISE_USER_URN: {"manager": {"displayName": "Eve"}}}),
        (ENTERPRISE_USER_URN, {ENTERPRISE_USER_URN: BOB[ENTERPRISE_USER_URN]}),
        (f"department,{ENTERPRISE_USER_URN}", {ENTERPRISE_USER_URN: BOB[ENTERPRISE_USER_URN]}),
        ("meta.version", {"meta": {"version": 'W/"1"'}}),
        ("colour,nickName", {}),
        ("id,schemas", {}),
    ],
)
def test_attributes_show_what_they_name_and_what_is_always_returned(attributes: str, shown: dict[str, Any]) -> None:
    assert Projection.parse(attributes, None, USER).apply(BOB) == ALWAYS | shown


@pytest.mark.parametrize(
    ("excluded", "changed"),
    [
        ("name", {"name": None}),
        ("name.givenName", {"name": {"familyName": "Smith"}}),
        ("name.givenName,name.familyName", {"name": None}),
        ("emails.value,emails.primary", {"emails": [{"type": "work"}, {"type": "home"}]}),
        ('emails[type eq "work"]', {"emails": [BOB["emails"][1]]}),
        (ENTERPRISE_USER_URN, {ENTERPRISE_USER_URN: None}),
        ("manager", {ENTERPRISE_USER_URN: {"department": "IT"}}),
        ("manager,department", {ENTERPRISE_USER_URN: None}),
        ("id,schemas,colour", {}),
    ],
)
def test_excluded_attributes_are_left_out_unless_always_returned(excluded: str, changed: dict[str, Any]) -> None:
    expected = {name: value for name, value in (BOB | changed).items() if value is not None}
    assert Projection.parse(None, excluded, USER).apply(BOB) == expected


def test_both_parameters_together_show_what_both_allow() -> None:
    shown = Projection.parse("userName,name", "name.givenName", USER).apply(BOB)
    assert shown == ALWAYS | {"userName": "bob", "name": {"familyName": "Smith"}}


@pytest.mark.parametrize(("attributes", "excluded"), [(None, None), ("", ""), (" ", ","), (None, "colour")])
def test_a_projection_that_takes_nothing_out_says_so(attributes: str | None, excluded: str | None) -> None:
    projection = Projection.parse(attributes, excluded, USER)
    assert projection.is_default
    assert projection.apply(BOB) == BOB


@pytest.mark.parametrize(("attributes", "excluded"), [("userName", None), ("colour", None), (None, "userName")])
def test_a_projection_that_takes_something_out_says_so(attributes: str | None, excluded: str | None) -> None:
    assert not Projection.parse(attributes, excluded, USER).is_default


def test_a_text_is_projected_as_its_document_is() -> None:
    projection = Projection.parse("userName", None, USER)
    assert json.loads(projection.apply_to_text(json.dumps(BOB))) == projection.apply(BOB)


@pytest.mark.parametrize("text", ["user name", "emails[", "x" * 5000, "[" * 4000, "a," * 2048 + "b"])
def test_what_is_no_list_of_names_is_refused_by_the_parameter(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"^attributes "):
        Projection.parse(text, None, USER)
    with pytest.raises(InvalidValue, match=r"^excludedAttributes "):
        Projection.parse(None, text, USER)
