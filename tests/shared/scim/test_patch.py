"""PATCH: every shape that Entra sends (patch_shapes.json), what is refused, and what holds for any input."""

import contextlib
import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim import errors
from shared.scim.document import Document, normalise
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue, Mutability, NoTarget, ScimError, TooMany
from shared.scim.limits import MAX_ELEMENTS, MAX_OPERATIONS, MAX_STRING_CHARS
from shared.scim.patch import PATCH_OP_URN, apply, check, parse_operations
from shared.scim.schema import GROUP, USER
from tests.fuzz import many
from tests.shared.scim.strategies import json_values, keys, user_bodies

SHAPES = json.loads((Path(__file__).parent / "patch_shapes.json").read_text("utf-8"))
BEFORE: Document = SHAPES["before"]


def patched(*operations: Any, document: Document = BEFORE) -> Document:
    return apply(parse_operations({"Operations": list(operations)}), document, USER)


@pytest.mark.parametrize("shape", SHAPES["shapes"], ids=lambda shape: shape["shape"])
def test_a_shape_that_entra_sends_is_understood(shape: dict[str, Any]) -> None:
    given_document = copy.deepcopy(BEFORE)
    after = patched(*shape["operations"], document=given_document)
    assert after == {name: value for name, value in (BEFORE | shape["changed"]).items() if value is not None}
    assert given_document == BEFORE


@pytest.mark.parametrize("refused", SHAPES["refused"], ids=lambda refused: refused["why"])
def test_what_cannot_be_applied_is_refused_by_its_name(refused: dict[str, Any]) -> None:
    given_document = copy.deepcopy(BEFORE)
    with pytest.raises(getattr(errors, refused["error"])) as refusal:
        patched(*refused["operations"], document=given_document)
    assert type(refusal.value).__name__ == refused["error"]
    assert given_document == BEFORE


def test_an_error_names_the_operation_and_not_the_value() -> None:
    with pytest.raises(InvalidValue, match="Operation 2: active takes true or false") as refusal:
        patched({"op": "add", "path": "title", "value": "CTO"}, {"op": "add", "path": "active", "value": "hunter2"})
    assert "hunter2" not in refusal.value.detail


@pytest.mark.parametrize("body", [None, [], "x", {}, {"Operations": {}}, {"Operations": []}])
def test_a_body_without_operations_is_refused(body: object) -> None:
    with pytest.raises(InvalidSyntax):
        parse_operations(body)


MESSAGE = {"Operations": [{"op": "replace", "path": "title", "value": "CTO"}]}


@pytest.mark.parametrize("schemas", [None, [PATCH_OP_URN], ["urn:x", PATCH_OP_URN]])
def test_the_schemas_of_a_message_may_be_left_out(schemas: object) -> None:
    assert parse_operations(MESSAGE) == parse_operations({"Schemas": schemas, **MESSAGE})


@pytest.mark.parametrize("schemas", [[], "", PATCH_OP_URN, ["urn:ietf:params:scim:schemas:core:2.0:User"], [1], {}])
def test_a_message_of_another_kind_is_refused(schemas: object) -> None:
    with pytest.raises(InvalidSyntax, match="schemas takes a list with"):
        parse_operations({"schemas": schemas, **MESSAGE})


@pytest.mark.parametrize("refused", SHAPES["refused"], ids=lambda refused: refused["why"])
def test_what_is_wrong_for_any_user_is_known_without_one(refused: dict[str, Any]) -> None:
    wrong_for_any = refused["error"] != "NoTarget" and not refused["why"].startswith("userName is required, by")
    expected = pytest.raises(getattr(errors, refused["error"])) if wrong_for_any else contextlib.nullcontext()
    with expected, contextlib.suppress(NoTarget):
        check(parse_operations({"Operations": refused["operations"]}), USER)


@pytest.mark.parametrize("shape", SHAPES["shapes"], ids=lambda shape: shape["shape"])
def test_what_is_right_for_some_user_is_not_refused_without_one(shape: dict[str, Any]) -> None:
    check(parse_operations({"Operations": shape["operations"]}), USER)


def test_too_many_operations_are_refused() -> None:
    operation = {"op": "remove", "path": "title"}
    assert len(parse_operations({"Operations": [operation] * MAX_OPERATIONS})) == MAX_OPERATIONS
    with pytest.raises(BodyTooLarge):
        parse_operations({"Operations": [operation] * (MAX_OPERATIONS + 1)})


@pytest.mark.parametrize("path", ["emails", 'emails[type eq "x"].value', "emails.value", "title"])
def test_a_text_that_is_too_long_is_refused(path: str) -> None:
    with pytest.raises(InvalidValue):
        patched({"op": "replace", "path": path, "value": "x" * (MAX_STRING_CHARS + 1)})


def test_values_cannot_pile_up() -> None:
    values = [{"value": str(number)} for number in range(MAX_ELEMENTS)]
    with pytest.raises(InvalidValue, match="emails has at most"):
        patched({"op": "add", "path": "emails", "value": values})
    with pytest.raises(InvalidValue, match="emails has at most"):
        patched(
            {"op": "replace", "path": "emails", "value": values},
            {"op": "add", "path": 'emails[type eq "new"].value', "value": "x"},
        )


@pytest.mark.parametrize("op", ["add", "remove"])
def test_a_role_that_an_earlier_version_kept_as_text_is_the_same_role(op: str) -> None:
    text = '{"id":"1","value":"Admin","displayName":"Administrator"}'
    kept = BEFORE | {"roles": [{"value": text}, {"value": "Reader"}]}
    admin = {"type": "WindowsAzureActiveDirectoryRole", "primary": False, "value": "Admin", "display": "Administrator"}
    after = patched({"op": op, "path": "roles", "value": [{"value": text}]}, document=kept)
    assert after["roles"] == [*([admin] if op == "add" else []), {"value": "Reader"}]


def test_operations_that_compare_too_much_together_are_refused() -> None:
    values = [{"value": str(number)} for number in range(MAX_ELEMENTS)]
    path = f"roles[{' or '.join(['type eq x'] * 25)}]"
    with pytest.raises(TooMany):
        patched({"op": "add", "path": "roles", "value": values}, *[{"op": "remove", "path": path}] * 21)


def test_read_only_attributes_that_are_stored_stay() -> None:
    groups = [{"value": "g1", "display": "Staff"}]
    assert patched({"op": "replace", "value": {"groups": []}}, document=BEFORE | {"groups": groups})["groups"] == groups


def test_a_member_is_one_membership_however_often_it_is_added() -> None:
    before = {
        "schemas": [GROUP.schema.urn],
        "displayName": "Staff",
        "members": [{"value": "u1", "$ref": "../Users/u1"}],
    }
    operations = [
        {"op": "Add", "path": "members", "value": [{"$ref": "u1", "value": "u1"}, {"value": "u2"}, {"value": "u2"}]},
        {"op": "Remove", "path": "members", "value": [{"value": "u9"}]},
        {"op": "add", "path": "members", "value": "u3"},
    ]
    after = apply(parse_operations({"Operations": operations}), before, GROUP)
    assert after["members"] == [{"value": "u1", "$ref": "../Users/u1"}, {"value": "u2"}, {"value": "u3"}]


def test_an_immutable_part_of_a_value_cannot_become_another() -> None:
    before = {"schemas": [GROUP.schema.urn], "displayName": "Staff", "members": [{"value": "u1"}]}
    operation = {"op": "replace", "path": 'members[value eq "u1"].value', "value": "u2"}
    with pytest.raises(Mutability):
        apply(parse_operations({"Operations": [operation]}), before, GROUP)


paths = keys | st.sampled_from(
    [
        'emails[type eq "work"]',
        'emails[primary eq "True"].value',
        "emails[not (value pr)].type",
        "emails[primary eq true and type eq x].value",
        "manager.$ref",
    ]
)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "Replace", "remove"])},
    optional={"path": paths, "value": json_values | st.dictionaries(paths, json_values, max_size=3) | user_bodies},
)


@many(300)
@given(user_bodies, st.lists(operations, min_size=1, max_size=4))
def test_a_patch_ends_in_a_normalised_document_or_a_scim_error(body: Any, listed: list[Any]) -> None:
    try:
        before = normalise(USER, {**body, "userName": "bob"})
        after = patched(*listed, document=before)
    except ScimError:
        return
    assert normalise(USER, after) == after
    for value in after.values():
        if isinstance(value, list):
            assert sum(item.get("primary") is True for item in value if isinstance(item, dict)) <= 1


@given(json_values)
def test_any_json_is_operations_or_a_scim_error(body: Any) -> None:
    for candidate in (body, {"Operations": body}, {"Operations": [body]}):
        with contextlib.suppress(ScimError):
            assert parse_operations(candidate)
