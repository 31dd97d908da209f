"""One attribute's value from what a client sent (RFC 7643 section 2.3): the type is made right, or InvalidValue raised.

Clients' habits with values are tolerated here and nowhere else: Booleans and numbers in strings, a bare value where
an object belongs, one value where a list belongs, "" or null for no value, and a role as JSON in a string. document.py
and change.py build on it.
"""

import json
import re
import sys
from collections.abc import Hashable, Mapping, Sequence
from datetime import UTC, datetime

from shared.scim.errors import InvalidValue
from shared.scim.limits import MAX_ELEMENTS, MAX_STRING_CHARS
from shared.scim.schema import ACTIVE, ROLES, Attribute

Scalar = str | bool | int | float
Element = dict[str, Scalar]
"""One value of a complex attribute. Complex attributes do not nest (RFC 7643 section 2.3.8)."""
Changes = Mapping[str, Scalar | None]
"""Sub-attributes to set, by their own names. None takes one away."""

# Sub-attributes that say something about a value. An element of nothing else holds no value: Entra clears one
# by setting `value` to "" and leaves these behind.
LABELS = {"type", "primary"}


def read(attribute: Attribute, value: object) -> object:
    """Return the value in the attribute's type, or None for no value. Raises InvalidValue, naming the attribute."""
    if attribute.multi_valued:
        return settle(attribute, read_elements(attribute, value)) or None
    return read_one(attribute, value)


def read_one(attribute: Attribute, value: object) -> object:
    """Return one value of the attribute, or None for no value."""
    if attribute.type == "complex":
        element = {name: item for name, item in read_changes(attribute, value).items() if item is not None}
        return element if has_content(element) else None
    return read_scalar(attribute, value)


def read_elements(attribute: Attribute, value: object) -> list[object]:
    """Return the values of a multi-valued attribute, those without a value left out."""
    values = value if isinstance(value, list) else [value]
    if attribute is ROLES:
        values = [role for one in values for role in _roles_in(one)]
    check_count(attribute, values)
    return [element for element in (read_one(attribute, item) for item in values) if element is not None]


def check_count(attribute: Attribute, values: Sequence[object]) -> None:
    """Raise InvalidValue if these are too many values for one attribute."""
    if len(values) > MAX_ELEMENTS:
        raise InvalidValue(f"{attribute.name} has at most {MAX_ELEMENTS} values.")


def read_changes(attribute: Attribute, value: object) -> Changes:
    """Return the sub-attributes that the value names, None for empty ones; unknown and read-only ones are left out.

    A bare value stands for the sub-attribute `value`; for a single-valued attribute a list stands for its first.
    """
    if isinstance(value, list) and not attribute.multi_valued and (value or attribute.has_value):
        value = value[0] if value else None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        if isinstance(value, list) or not attribute.has_value:
            raise InvalidValue(f"{attribute.name} takes an object of sub-attributes.")
        value = {"value": value}
    changes = {}
    for name, item in (_role(value) if attribute is ROLES else value).items():
        sub_attribute = attribute.sub_attributes.find(name)
        if sub_attribute is not None and sub_attribute.mutability != "readOnly":
            changes[sub_attribute.name] = read_scalar(sub_attribute, item, attribute)
    return changes


def read_scalar(attribute: Attribute, value: object, parent: Attribute | None = None) -> Scalar | None:
    """Return a simple value in the attribute's type, or None for null and "".

    "" is no value of `active`: whoever empties it has not said that the person may come in again.
    """
    if value is None or (value == "" and attribute is not ACTIVE):
        return None
    kind = attribute.type
    if type(value) is str:
        if len(value) > MAX_STRING_CHARS:
            raise _invalid(attribute, parent, f"has at most {MAX_STRING_CHARS} characters")
        if not value.isascii() and not _encodable(value):
            raise _invalid(attribute, parent, "holds half of a surrogate pair; send whole characters in UTF-8")
        if kind in _TEXT:
            if _UNUSABLE.search(value):
                raise _invalid(
                    attribute, parent, "holds a control character; of these only tab and line ends may be sent"
                )
            return value
    if kind == "boolean":
        return _boolean(attribute, value, parent)
    if kind in {"integer", "decimal"}:
        return _number(attribute, value, parent)
    if kind == "dateTime":
        return _date_time(attribute, value, parent)
    if kind == "binary":
        return _binary(attribute, value, parent)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _invalid(attribute, parent, "takes a string")


def settle(attribute: Attribute, elements: list[object]) -> list[object]:
    """Return the values as they are kept: each type and value once, the later one on top, and one primary at most.

    RFC 7643 section 2.4: a service provider should not return the same (type, value) combination more than once.
    """
    if len(elements) < 2:
        return elements
    kept: dict[Hashable, object] = {}
    for element in elements:
        identity = identify(element, attribute)
        had = kept.get(identity)
        kept[identity] = {**had, **element} if isinstance(had, dict) and isinstance(element, dict) else element
    return settle_primary(list(kept.values()))


def identify(element: object, attribute: Attribute) -> tuple[Hashable, str | None]:
    """Return what tells a value from others, and its type: its `value`, or else everything but `primary`."""
    if not isinstance(element, dict):
        return (element,), None
    label = str(element["type"]).casefold() if "type" in element else None
    if "value" not in element:
        return frozenset(item for item in element.items() if item[0] != "primary"), label
    value = element["value"]
    if isinstance(value, str) and not attribute.sub_attributes["value"].case_exact:
        value = value.casefold()
    return value, label


def settle_primary(elements: list[object], chosen: object = None) -> list[object]:
    """Leave one primary value at most: `chosen`, or else the last that says so. The elements are changed in place."""
    for element in reversed(elements):
        if isinstance(element, dict) and element.get("primary") is True:
            if chosen is None:
                chosen = element
            elif element is not chosen:
                element["primary"] = False
    return elements


def has_content(element: object) -> bool:
    """Whether an element holds more than its labels."""
    return not isinstance(element, dict) or bool(element.keys() - LABELS)


def instant(text: str) -> datetime | None:
    """Return the instant an ISO 8601 text names, in UTC where it names no offset, or None if it is not one."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_TEXT = {"string", "reference"}
_UNUSABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]")
"""The controls C0 and C1 but for tab, LF and CR, DEL, and the noncharacters U+FFFE and U+FFFF.

They are invisible, so that two people could have names that look alike. XML, which Table Storage speaks, cannot hold
them.
"""
_BOOLEANS = {"true": True, "false": False}


def _boolean(attribute: Attribute, value: object, parent: Attribute | None) -> bool:
    if isinstance(value, bool):
        return value
    found = _BOOLEANS.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise _invalid(attribute, parent, "takes true or false")
    return found


def _number(attribute: Attribute, value: object, parent: Attribute | None) -> int | float:
    """Return a number as it came, or as JSON has it where it came in a string (RFC 7643 sections 2.3.3 and 2.3.4)."""
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        value = float(value) if set(".eE") & set(value) else int(value)
    if isinstance(value, float) and attribute.type == "integer" and value.is_integer():
        value = int(value)
    kinds = int if attribute.type == "integer" else int | float
    if isinstance(value, kinds) and not isinstance(value, bool) and abs(value) <= _MOST:
        return value
    raise _invalid(attribute, parent, f"takes {'a whole' if attribute.type == 'integer' else 'a'} number")


_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,400})(?:\.[0-9]{1,400})?(?:[eE][+-]?[0-9]{1,4})?")
"""A number of JSON (RFC 8259 section 6)."""
_MOST = sys.float_info.max
"""The greatest number that JSON readers know (RFC 8259 section 6)."""


def _date_time(attribute: Attribute, value: object, parent: Attribute | None) -> str:
    if isinstance(value, str) and _DATE_TIME.fullmatch(value) and instant(value) is not None:
        return value
    raise _invalid(attribute, parent, "takes a date and time such as 2026-11-23T17:30:00Z")


_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
"""xsd:dateTime, which has both a date and a time (RFC 7643 section 2.3.5)."""


def _binary(attribute: Attribute, value: object, parent: Attribute | None) -> str:
    """Return a text in base64 or base64url, with or without padding (RFC 7643 section 2.3.6, RFC 4648)."""
    if isinstance(value, str) and _BASE64.fullmatch(value):
        data = value.rstrip("=")
        if len(data) % 4 != 1 and len(value) in (len(data), -(-len(data) // 4) * 4):
            return value
    raise _invalid(attribute, parent, "takes bytes in base64")


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]+|[A-Za-z0-9_-]+)={0,2}")


def _role(value: Mapping[str, object]) -> Mapping[str, object]:
    """Return a role as Entra's create has it, where its PATCH has it as JSON in the text of `value`.

    A create also calls `display` by another name, displayName. Both are AppRoleAssignmentsComplex's:
    https://learn.microsoft.com/entra/identity/app-provisioning/customize-application-attributes (provisioning a role).
    """
    given = {name.lower(): item for name, item in value.items()}
    match _objects_in(given.get("value")):
        case [told] if told.keys() & {"value", "displayname"}:
            given = {"type": _APP_ROLE, "primary": False, **given, "value": None, **told}
    name = given.pop("displayname", None)
    return given if given.get("display") or not name else {**given, "display": name}


def _roles_in(value: object) -> Sequence[object]:
    """Return the roles of one value, which may be several as a JSON list in its text."""
    told = _objects_in(value.get("value") if isinstance(value, dict) else value)
    return [{"value": json.dumps(role)} for role in told] if len(told) > 1 else [value]


_APP_ROLE = "WindowsAzureActiveDirectoryRole"


def _objects_in(text: object) -> Sequence[Mapping[str, object]]:
    """Return the JSON object that a text holds, or those of a list, with names in lower case; none for another text."""
    if not isinstance(text, str) or not text.lstrip().startswith(("{", "[")):
        return ()
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    objects = found if isinstance(found, list) else [found]
    if not all(isinstance(item, dict) for item in objects):
        return ()
    return [{name.lower(): part for name, part in item.items()} for item in objects]


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(attribute: Attribute, parent: Attribute | None, expectation: str) -> InvalidValue:
    name = attribute.name if parent is None else f"{parent.name}.{attribute.name}"
    return InvalidValue(f"{name} {expectation}.")
