"""Documents made from bodies: liberal in what is read, strict in what is kept."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given

from shared.scim.document import normalise, read_json
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue, ScimError
from shared.scim.limits import MAX_BODY_BYTES, MAX_ELEMENTS, MAX_JSON_DEPTH, MAX_STRING_CHARS
from shared.scim.schema import ENTERPRISE_USER_URN, GROUP, USER
from tests.shared.scim.strategies import json_values, user_bodies

TYPO_URN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0User"


def kept(**attributes: Any) -> dict[str, Any]:
    document = normalise(USER, {"userName": "bob", **attributes})
    assert document.pop("userName") == "bob"
    document.pop("schemas")
    return document


@pytest.mark.parametrize("letter", "\x00\x08\x0b\x0c\x0e\x1b\x1f\x7f\x80\x85\x9f\ufffe\uffff")
@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({"userName": "b{}b"}, "userName"),
        ({"userName": "bob", "name": {"givenName": "{}"}}, "name.givenName"),
        ({"userName": "bob", "emails": [{"value": "bob@contoso.com{}"}]}, "emails.value"),
        ({"userName": "bob", ENTERPRISE_USER_URN: {"department": "{}IT"}}, "department"),
    ],
)
def test_a_character_that_nobody_can_see_is_refused_by_the_attribute(letter: str, body: Any, name: str) -> None:
    with pytest.raises(InvalidValue, match=f"^{name} holds a control character") as refused:
        normalise(USER, json.loads(json.dumps(body).replace("{}", json.dumps(letter)[1:-1])))
    assert letter not in refused.value.detail


def test_tabs_line_ends_and_all_other_characters_are_kept() -> None:
    text = "\t a\r\nb\u00a0\u200d\ufffd\U0001f600\ufdd0"
    assert kept(title=text) == {"title": text}


def test_the_order_is_schemas_id_and_then_as_it_came() -> None:
    body = {"title": "CTO", "userName": "bob", "schemas": [], "id": "theirs"}
    assert list(normalise(USER, body, id="ours").items()) == [
        ("schemas", [USER.schema.urn]),
        ("id", "ours"),
        ("title", "CTO"),
        ("userName", "bob"),
    ]


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"DISPLAYNAME": "Bob"}, {"displayName": "Bob"}),
        ({"favouriteColour": "green", "name": {"colour": "red"}}, {}),
        ({"id": "1", "meta": {"resourceType": "User"}, "groups": [{"value": "g"}]}, {}),
        ({"title": None, "nickName": "", "roles": [], "name": {}, "addresses": None}, {}),
        ({"emails": [None, "", {}, {"value": None, "type": "work"}, {"type": "home", "primary": True}]}, {}),
        ({"password": "secret"}, {}),
        ({"active": "True"}, {"active": True}),
        ({"active": "false"}, {"active": False}),
        ({"displayName": 42, "title": 1.5}, {"displayName": "42", "title": "1.5"}),
        ({"emails": {"value": "b@x"}}, {"emails": [{"value": "b@x"}]}),
        ({"emails": ["b@x"]}, {"emails": [{"value": "b@x"}]}),
        ({"emails": "b@x"}, {"emails": [{"value": "b@x"}]}),
        ({"emails": [{"Primary": "true", "VALUE": "b@x"}]}, {"emails": [{"primary": True, "value": "b@x"}]}),
        ({"roles": [{"value": '{"id":"1"}'}]}, {"roles": [{"value": '{"id":"1"}'}]}),
        (
            {"roles": [{"value": '{"id":"1","value":"A"}'}, {"type": "WindowsAzureActiveDirectoryRole", "value": "a"}]},
            {"roles": [{"type": "WindowsAzureActiveDirectoryRole", "primary": False, "value": "a"}]},
        ),
        (
            {"roles": [{"value": '{"Value":"A","DisplayName":"a"}'}]},
            {"roles": [{"type": "WindowsAzureActiveDirectoryRole", "primary": False, "value": "A", "display": "a"}]},
        ),
        *(
            (
                {"roles": roles},
                {
                    "roles": [
                        {"type": "WindowsAzureActiveDirectoryRole", "primary": False, "value": name} for name in names
                    ]
                },
            )
            for roles, names in (
                ('[{"value":"A"},{"value":"B"}]', "AB"),
                ([{"value": '[{"value":"A"},{"value":"B"}]'}, {"value": '{"value":"C"}'}], "ABC"),
                ([{"value": '[{"value":"A"}]'}], "A"),
            )
        ),
        ({"roles": '[{"value":"A"},"B"]'}, {"roles": [{"value": '[{"value":"A"},"B"]'}]}),
        ({"roles": '[{"id":"1"}]'}, {"roles": [{"value": '[{"id":"1"}]'}]}),
        ({"roles": "[]"}, {"roles": [{"value": "[]"}]}),
        ({"roles": [{"value": "r", "displayName": "R"}]}, {"roles": [{"value": "r", "display": "R"}]}),
        ({"roles": [{"value": "{" * 30_000}]}, {"roles": [{"value": "{" * 30_000}]}),
        (
            {"emails": [{"value": "b@x", "type": "work"}, {"value": "B@X", "type": "Work", "primary": True}, "b@x"]},
            {"emails": [{"value": "B@X", "type": "Work", "primary": True}, {"value": "b@x"}]},
        ),
        (
            {"addresses": [{"country": "NO"}, {"country": "NO", "primary": False}, {"country": "SE"}]},
            {"addresses": [{"country": "NO", "primary": False}, {"country": "SE"}]},
        ),
        ({"active": None}, {}),
        ({"addresses": [{"type": "work", "country": None}, {"country": "NO"}]}, {"addresses": [{"country": "NO"}]}),
        ({"title": "A", "TITLE": "B"}, {"title": "B"}),
        ({"title": "A", "TITLE": None}, {}),
    ],
)
def test_what_is_sent_is_stored_as(sent: dict[str, Any], stored: dict[str, Any]) -> None:
    assert kept(**sent) == stored


@pytest.mark.parametrize(
    ("manager", "stored"),
    [
        ("m1", {"value": "m1"}),
        ({"value": "m1"}, {"value": "m1"}),
        ([{"$ref": None, "value": "m1"}], {"value": "m1"}),
        ({"Value": "m1", "displayName": "Eve"}, {"value": "m1"}),
        ({"value": "m1", "$ref": "../Users/m1"}, {"value": "m1", "$ref": "../Users/m1"}),
        ({"value": ""}, None),
        ("", None),
        ([], None),
        (None, None),
    ],
)
def test_a_manager_is_stored_as_an_object(manager: object, stored: object) -> None:
    document = kept(**{ENTERPRISE_USER_URN: {"manager": manager}})
    assert document == ({ENTERPRISE_USER_URN: {"manager": stored}} if stored else {})


def test_an_extension_is_read_under_each_spelling_of_its_urn_and_listed_in_schemas() -> None:
    body = {
        "userName": "bob",
        "schemas": ["urn:of:something:else"],
        TYPO_URN: {"department": "IT"},
        ENTERPRISE_USER_URN.upper(): {"costCenter": "41"},
        "urn:unknown:2.0:User": {"x": 1},
    }
    document = normalise(USER, body)
    assert document["schemas"] == [USER.schema.urn, ENTERPRISE_USER_URN]
    assert document[ENTERPRISE_USER_URN] == {"department": "IT", "costCenter": "41"}
    assert len(document) == 3


def test_an_extension_without_values_is_not_there() -> None:
    for empty in ({}, None, {"department": ""}, {"colour": "green"}):
        assert kept(**{ENTERPRISE_USER_URN: empty}) == {}


def test_the_last_of_two_primaries_stays() -> None:
    emails = [{"value": "a", "primary": True}, {"value": "b", "primary": "True"}, {"value": "c", "primary": False}]
    assert [email["primary"] for email in kept(emails=emails)["emails"]] == [False, True, False]


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({"active": "perhaps"}, "active"),
        ({"active": 1}, "active"),
        ({"active": ""}, "active"),
        ({"active": {}}, "active"),
        ({"active": []}, "active"),
        ({"title": {}}, "title"),
        ({"title": []}, "title"),
        ({"name": []}, "name"),
        ({"name": {"givenName": {}}}, "name.givenName"),
        ({"emails": [{"value": {}}]}, "emails.value"),
        ({"emails": [{"value": "x", "primary": []}]}, "emails.primary"),
        ({"x509Certificates": [{"value": "no base64!"}]}, "x509Certificates.value"),
        ({"title": {"a": 1}}, "title"),
        ({"title": ["a"]}, "title"),
        ({"title": True}, "title"),
        ({"name": "Bob"}, "name"),
        ({"emails": [["b@x"]]}, "emails"),
        ({"addresses": ["Oslo"]}, "addresses"),
        ({"emails": [{"value": {"a": 1}}]}, "emails.value"),
        ({ENTERPRISE_USER_URN: "IT"}, ENTERPRISE_USER_URN),
        ({"title": "x" * (MAX_STRING_CHARS + 1)}, "title"),
        ({"title": "half \ud83d"}, "title"),
        ({"emails": ["x"] * (MAX_ELEMENTS + 1)}, "emails"),
    ],
)
def test_a_value_of_another_shape_is_refused_by_the_attribute(sent: dict[str, Any], name: str) -> None:
    with pytest.raises(InvalidValue, match=name):
        kept(**sent)


@pytest.mark.parametrize("user_name", [None, "", "  "])
def test_a_user_needs_a_user_name(user_name: object) -> None:
    with pytest.raises(InvalidValue, match="userName is required"):
        normalise(USER, {"userName": user_name})


def test_a_group_needs_a_display_name() -> None:
    with pytest.raises(InvalidValue, match="displayName is required"):
        normalise(GROUP, {"members": []})


@pytest.mark.parametrize("body", [None, [], "bob", 1])
def test_a_body_that_is_no_object_is_refused(body: object) -> None:
    with pytest.raises(InvalidSyntax):
        normalise(USER, body)


@given(user_bodies | json_values)
def test_a_document_normalises_to_itself_and_the_body_stays(body: Any) -> None:
    if isinstance(body, dict):
        body = {**body, "userName": "bob"}
    before = copy.deepcopy(body)
    try:
        document = normalise(USER, body)
    except ScimError:
        return
    assert body == before
    assert normalise(USER, document) == document
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def nested_lists(depth: int) -> list[Any]:
    return [nested_lists(depth - 1)] if depth > 1 else []


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"\xef\xbb\xbf[1.5]", [1.5]),
        ('"\\ud83d\\ude00 å"'.encode(), "😀 å"),
        (b"[" * MAX_JSON_DEPTH + b"]" * MAX_JSON_DEPTH, nested_lists(MAX_JSON_DEPTH)),
        (json.dumps(["[" * 100, {"{": '"['}] * 50).encode(), ["[" * 100, {"{": '"['}] * 50),
    ],
)
def test_json_is_read(body: bytes, value: object) -> None:
    assert read_json(body) == value


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"{'a': 1}",
        b"[NaN]",
        b"[-Infinity]",
        b"[1e999]",
        b"[" + b"9" * 5000 + b"]",
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'{"a": "\\ud800"}',
        b'{"\\uDFFF": 1}',
        b"[" * (MAX_JSON_DEPTH + 1) + b"]" * (MAX_JSON_DEPTH + 1),
        b'{"a":' * 100_000,
        b'[{"a":[' * 1000 + b"]}]" * 1000,
        b'"' + b'\\"' * 100_000 + b"[" * 40,
        "{}".encode("utf-16"),
    ],
    ids=range(16),
)
def test_what_is_not_json_as_it_should_be_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidSyntax):
        read_json(body)


def test_a_large_body_is_refused() -> None:
    assert read_json(b" " * (MAX_BODY_BYTES - 2) + b"{}") == {}
    with pytest.raises(BodyTooLarge):
        read_json(b" " * (MAX_BODY_BYTES - 1) + b"{}")


def test_a_body_of_too_many_values_is_refused() -> None:
    assert read_json(b"[" + b"[]," * 10_000 + b"[]]")
    with pytest.raises(InvalidSyntax, match="values"):
        read_json(b"[" + b"[]," * 40_000 + b"[]]")
