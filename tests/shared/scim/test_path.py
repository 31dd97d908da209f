"""Paths, and what they name in a resource type."""

import pytest

from shared.scim.errors import InvalidPath
from shared.scim.limits import MAX_PATH_CHARS
from shared.scim.path import DocumentPlace, parse_path, resolve
from shared.scim.schema import ENTERPRISE_USER_URN, USER, Schema


@pytest.mark.parametrize(
    "text",
    [
        "userName",
        "name.familyName",
        "manager.$ref",
        'emails[type eq "work"]',
        'emails[type eq "work" and not (primary eq true)].value',
        f"{ENTERPRISE_USER_URN}:manager.displayName",
    ],
)
def test_a_path_prints_as_it_was_written(text: str) -> None:
    assert str(parse_path(text)) == text


@pytest.mark.parametrize("text", ["", " ", "a b", "a.b.c", "emails[", "emails[]", "emails[type pr]x", "1", "[type pr]"])
def test_what_is_no_path_is_refused(text: str) -> None:
    with pytest.raises(InvalidPath, match="of the path"):
        parse_path(text)


@pytest.mark.parametrize("text", ["active[x pr]", "title[not (x pr)].y", f"{ENTERPRISE_USER_URN}:division[value pr]"])
def test_a_filter_at_what_has_no_parts_is_refused(text: str) -> None:
    with pytest.raises(InvalidPath, match="has no parts"):
        resolve(text, USER)


def test_a_long_or_deep_path_is_refused() -> None:
    for text in ("x" * (MAX_PATH_CHARS + 1), f"emails[{'(' * 500}type pr"):
        with pytest.raises(InvalidPath):
            parse_path(text)


@pytest.mark.parametrize(
    ("text", "extension", "attribute", "sub_attribute"),
    [
        ("USERNAME", None, "userName", None),
        ("name.FAMILYNAME", None, "name", "familyName"),
        ("Manager.Value", ENTERPRISE_USER_URN, "manager", "value"),
        (f"{ENTERPRISE_USER_URN.upper()}:department", ENTERPRISE_USER_URN, "department", None),
        (
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0User:department",
            ENTERPRISE_USER_URN,
            "department",
            None,
        ),
        ("urn:ietf:params:scim:schemas:core:2.0:User:title", None, "title", None),
        ("externalId", None, "externalId", None),
        (f"{ENTERPRISE_USER_URN}.department", ENTERPRISE_USER_URN, "department", None),
        ("urn:ietf:params:scim:schemas:core:2.0:USER.title", None, "title", None),
    ],
)
def test_a_path_names_an_attribute_in_any_case(
    text: str, extension: str | None, attribute: str, sub_attribute: str | None
) -> None:
    place = resolve(text, USER)
    assert isinstance(place, DocumentPlace)
    target = place.target
    assert (target.extension, target.attribute.name) == (extension, attribute)
    assert (target.sub_attribute.name if target.sub_attribute else None) == sub_attribute


@pytest.mark.parametrize("text", [ENTERPRISE_USER_URN, ENTERPRISE_USER_URN.lower(), ENTERPRISE_USER_URN[:-5] + "User"])
def test_a_urn_names_a_whole_extension(text: str) -> None:
    extension = resolve(text, USER)
    assert isinstance(extension, Schema)
    assert extension.urn == ENTERPRISE_USER_URN


@pytest.mark.parametrize(
    "text", ["colour", "name.colour", "userName.value", "urn:x:title", f"{ENTERPRISE_USER_URN}:title", "members"]
)
def test_a_path_to_an_unknown_attribute_names_nothing(text: str) -> None:
    assert resolve(text, USER) is None
