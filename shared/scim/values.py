"""One attribute's value from what a client sent (RFC 7643 section 2.3): the type is made right, or InvalidValue raised.

Clients' habits with values are tolerated here and nowhere else: Booleans and numbers in strings, a bare value where
an object belongs, one value where a list belongs, and "" or null for no value. document.py and change.py build on it.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from shared.scim.errors import InvalidValue
from shared.scim.limits import MAX_ELEMENTS, MAX_STRING_CHARS
from shared.scim.schema import Attribute

Scalar = str | bool | int | float
Element = dict[str, Scalar]
"""One value of a complex attribute. Complex attributes do not nest (RFC 7643 section 2.3.8)."""
Changes = Mapping[str, Scalar | None]
"""Sub-attributes to set, by their own names. None takes one away."""

# Sub-attributes that say something about a value. An element of nothing else holds no value: Entra clears one
# by setting `value` to "" and leaves these behind.
_LABELS = {"type", "primary"}


def read(attribute: Attribute, value: object) -> object:
    """Return the value in the attribute's type, or None for no value. Raises InvalidValue, naming the attribute."""
    if attribute.multi_valued:
        elements = read_elements(attribute, value)
        return settle_primary(elements) or None
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
    if isinstance(value, list) and not attribute.multi_valued:
        value = value[0] if value else None
    if value is None or value == "":
        return {}
    if not isinstance(value, dict):
        if isinstance(value, list) or not attribute.has_value:
            raise InvalidValue(f"{attribute.name} takes an object of sub-attributes.")
        value = {"value": value}
    changes = {}
    for name, item in value.items():
        sub_attribute = attribute.sub_attributes.find(name)
        if sub_attribute is not None and sub_attribute.mutability != "readOnly":
            changes[sub_attribute.name] = read_scalar(sub_attribute, item, attribute)
    return changes


def read_scalar(attribute: Attribute, value: object, parent: Attribute | None = None) -> Scalar | None:
    """Return a simple value in the attribute's type, or None for null and ""."""
    if value is None or value == "" or value == [] or value == {}:
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
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    raise _invalid(attribute, parent, "takes a string")


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
    return not isinstance(element, dict) or bool(element.keys() - _LABELS)


def instant(text: str) -> datetime | None:
    """Return the instant an ISO 8601 text names, in UTC where it names no offset, or None if it is not one."""
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_TEXT = {"string", "reference", "binary"}
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
    convert = int if attribute.type == "integer" else float
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            number = convert(value)
        except (ValueError, OverflowError):
            number = None
        if number is not None and abs(number) < float("inf"):
            return number
    raise _invalid(attribute, parent, "takes a number")


def _date_time(attribute: Attribute, value: object, parent: Attribute | None) -> str:
    if isinstance(value, str) and instant(value) is not None:
        return value
    raise _invalid(attribute, parent, "takes a date and time such as 2026-11-23T17:30:00Z")


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _invalid(attribute: Attribute, parent: Attribute | None, expectation: str) -> InvalidValue:
    name = attribute.name if parent is None else f"{parent.name}.{attribute.name}"
    return InvalidValue(f"{name} {expectation}.")
