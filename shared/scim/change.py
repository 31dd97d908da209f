"""What add, replace and remove do at one place of a document (RFC 7644 sections 3.5.2.1 to 3.5.2.3).

patch.py reads the operations and finds the places; values.py makes the values right. Beyond the RFC: "" and null
clear; removing what is not there is no error; a value path that matches nothing creates the value where its filter
describes one by `type` and `primary` alone (Entra relies on it), and ends with NoTarget otherwise.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Literal

from shared.scim.document import Document
from shared.scim.errors import InvalidValue, Mutability, NoTarget
from shared.scim.filter import equalities
from shared.scim.path import DocumentPlace
from shared.scim.schema import ACTIVE, ROLES, Attribute, Target
from shared.scim.values import (
    LABELS,
    Changes,
    Element,
    check_count,
    has_content,
    identify,
    read_changes,
    read_elements,
    read_scalar,
    settle,
    settle_primary,
)

Op = Literal["add", "replace", "remove"]


def change(document: Document, place: DocumentPlace, op: Op, value: Any) -> None:
    """Change the document in place. Raises InvalidValue, Mutability or NoTarget."""
    target, attribute = place.target, place.target.attribute
    if attribute.name == "schemas" or attribute.returned == "never":
        return  # schemas is computed from what is present, and a password is never kept
    if attribute is ACTIVE and (op == "remove" or value is None):
        return  # it is never without a value, and only a value says whether the person may come in
    _check_mutability(target, op)
    members = document if target.extension is None else document.setdefault(target.extension, {})
    if place.passes is not None or (target.sub_attribute is not None and attribute.multi_valued):
        _change_elements(members, place, op, value)
    elif attribute.multi_valued:
        _change_values(members, attribute, op, value)
    elif target.sub_attribute is None and _clears(attribute, op, value):
        _set(members, attribute, None)
    elif attribute.type == "complex":
        _update(members.setdefault(attribute.name, {}), attribute, _changes(target, op, value))
    else:
        _set(members, attribute, read_scalar(attribute, value))


def tidy(document: Document, target: Target) -> None:
    """Take out what a finished PATCH left without a value, or twice: labels alone, empty objects and lists, doubles."""
    members = document if target.extension is None else document.get(target.extension, {})
    name = target.attribute.name
    value = members.get(name)
    if isinstance(value, list):
        value = members[name] = settle(target.attribute, [element for element in value if has_content(element)])
    if value in (None, "", [], {}) or not has_content(value):
        members.pop(name, None)


def _clears(attribute: Attribute, op: Op, value: Any) -> bool:
    """Tell whether an operation takes all away at its place; an empty list does where a list may stand."""
    if op == "remove" or value is None:
        return True
    if value == "":
        return attribute is not ACTIVE
    return value == [] and (attribute.multi_valued or attribute.has_value)


def _check_mutability(target: Target, op: Op) -> None:
    named = target.sub_attribute or target.attribute
    if target.is_read_only:
        raise Mutability(f"{named.name} is read-only.")
    if op == "remove" and named.required:
        raise Mutability(f"{named.name} is required and cannot be removed; replace it.")


def _set(holder: dict[str, Any], attribute: Attribute, value: Any) -> None:
    name = attribute.name
    if attribute.mutability == "immutable" and name in holder and holder[name] != value:
        raise Mutability(f"{name} cannot be changed once it is set.")
    if value is None:
        holder.pop(name, None)
    else:
        holder[name] = value


def _update(element: Element, attribute: Attribute, changes: Changes) -> None:
    """Set the sub-attributes given, None taking one away; the others stay (RFC 7644 section 3.5.2.3).

    Where `value` becomes another one, what described the old one goes: `$ref` and read-only sub-attributes.
    """
    if "value" in changes and changes["value"] != element.get("value"):
        for name in [name for name in element if name not in changes and _describes_value(attribute, name)]:
            del element[name]
    for name, value in changes.items():
        _set(element, attribute.sub_attributes[name], value)


def _describes_value(attribute: Attribute, name: str) -> bool:
    sub_attribute = attribute.sub_attributes.get(name)
    return name == "$ref" or sub_attribute is None or sub_attribute.mutability == "readOnly"


def _changes(target: Target, op: Op, value: Any) -> Changes:
    """Return the changes to one value of a complex attribute, which may come as a list of one.

    Entra also wraps the value of a sub-attribute as if it were the whole attribute's.
    """
    attribute, sub_attribute = target.attribute, target.sub_attribute
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if sub_attribute is None:
        return read_changes(attribute, value)
    if op == "remove":
        return {sub_attribute.name: None}
    if isinstance(value, dict):
        value = value.get(sub_attribute.name, value)
    if attribute is ROLES and sub_attribute.name == "value":
        # It may tell more than itself; but which role is meant, the path has said.
        return {name: item for name, item in read_changes(attribute, {"value": value}).items() if name not in LABELS}
    return {sub_attribute.name: read_scalar(sub_attribute, value, attribute)}


def _change_values(members: dict[str, Any], attribute: Attribute, op: Op, value: Any) -> None:
    """Change a multi-valued attribute as a whole. Remove with values takes away those listed and no others."""
    if op == "remove" and value is None:
        _set(members, attribute, None)
        return
    if op != "remove":
        _refuse_hollow(attribute, op, value)
    elements = read_elements(attribute, value)
    present = members.get(attribute.name, [])
    if attribute is ROLES:
        present = read_elements(attribute, present)  # an earlier version kept some as JSON in a text
    if op == "remove" and not elements:
        raise InvalidValue(f"{attribute.name}: remove takes the values that are to go; without a value all go.")
    if op == "remove":
        _set(members, attribute, _without(present, elements, attribute))
    elif op == "replace" or value is None or value == "":
        _set(members, attribute, settle(attribute, elements))
    else:
        _set(members, attribute, _with(present, elements, attribute))


def _refuse_hollow(attribute: Attribute, op: Op, value: Any) -> None:
    """Raise InvalidValue for objects that hold no value: put in the place of values, they would take them away."""
    given = value if isinstance(value, list) else [value]
    if {} in given or (op == "replace" and given and all(_is_hollow(attribute, item) for item in given)):
        raise InvalidValue(f"{attribute.name} takes values; null or an empty list clears it.")


def _is_hollow(attribute: Attribute, value: Any) -> bool:
    """Whether an object names nothing but labels, and not even an empty value."""
    return isinstance(value, dict) and read_changes(attribute, value).keys() <= LABELS


def _with(present: list[Any], added: list[Any], attribute: Attribute) -> list[Any]:
    """Return the values with others added. One that is there already is updated instead (RFC 7643 section 2.4)."""
    result = list(present)
    chosen = None
    known: dict[Hashable, Any] = {}
    for element in present:
        _remember(known, element, attribute)
    for element in added:
        identity, label = identify(element, attribute)
        same = known.get((identity, label))
        if same is None:
            same = known.get((identity, None) if label else identity)
        if same is None:
            result.append(element)
            _remember(known, element, attribute)
        elif isinstance(same, dict):
            _update(same, attribute, _without_immutable(element, same, attribute))
            element = same
        if isinstance(element, dict) and element.get("primary") is True:
            chosen = element
    if chosen is not None:
        settle_primary(result, chosen)
    check_count(attribute, result)
    return result


def _without_immutable(element: Element, same: Element, attribute: Attribute) -> Changes:
    """Return the sub-attributes that adding a value again may set. A member may come with another form of its $ref."""
    subs = attribute.sub_attributes
    return {name: item for name, item in element.items() if subs[name].mutability != "immutable" or name not in same}


def _remember(known: dict[Hashable, Any], element: Any, attribute: Attribute) -> None:
    identity, label = identify(element, attribute)
    known.setdefault((identity, label), element)
    known.setdefault(identity, element)


def _without(present: list[Any], listed: list[Any], attribute: Attribute) -> list[Any]:
    """Return the values but those listed: equal by `value`, and by `type` where both have one."""
    labels: dict[Hashable, set[str | None]] = {}
    for element in listed:
        identity, label = identify(element, attribute)
        labels.setdefault(identity, set()).add(label)
    result = []
    for element in present:
        identity, label = identify(element, attribute)
        named = labels.get(identity, ())
        if not named or not (label is None or label in named or None in named):
            result.append(element)
    return result


def _change_elements(members: dict[str, Any], place: DocumentPlace, op: Op, value: Any) -> None:
    """Change the values that pass the place's filter, or all of them where it has none."""
    attribute, whole = place.target.attribute, place.target.sub_attribute is None
    present = members.get(attribute.name)
    elements: list[Any] = [present] if isinstance(present, dict) else list(present or ())
    matching = [element for element in elements if place.selects(element)]
    new = _create(place) if op != "remove" and not matching else {}
    if whole and _clears(attribute, op, value):
        elements = [element for element in elements if not place.selects(element)]
    else:
        if whole:
            _refuse_hollow(attribute, op, value)
        changes = _changes(place.target, op, value)
        if not matching and any(item is not None for item in changes.values()):
            matching = [new]
            elements += matching
        for element in matching:
            rest = dict.fromkeys(element) | _described(place) if whole and op == "replace" else {}
            _update(element, attribute, {**rest, **changes})
        if matching and matching[-1].get("primary") is True:
            settle_primary(elements, matching[-1])
    check_count(attribute, elements)
    _set(members, attribute, elements if attribute.multi_valued else (elements[0] if elements else None))


def _create(place: DocumentPlace) -> Element:
    """Return the value that the place's filter describes by its labels, for an operation that found none.

    Who asks for one by anything else means a value that is there (RFC 7644 section 3.5.2.3). Raises NoTarget.
    """
    if place.passes is None:
        return {}
    element = _described(place)
    sub_attribute = place.target.sub_attribute
    denied = sub_attribute is not None and sub_attribute.name in element
    if not element or denied or not element.keys() <= LABELS or not place.selects(element):
        raise NoTarget(f"no value of {place.target.attribute.name} passes the filter of the path; nothing is changed.")
    return element


def _described(place: DocumentPlace) -> Element:
    """Return the sub-attributes that the place's filter says are equal to something."""
    element: Element = {}
    attribute = place.target.attribute
    for name, literal in equalities(place.value_filter) if place.value_filter else ():
        sub_attribute = attribute.sub_attributes.find(name)
        value = None if sub_attribute is None else read_scalar(sub_attribute, literal, attribute)
        if sub_attribute is not None and sub_attribute.mutability != "readOnly" and value is not None:
            element[sub_attribute.name] = value
    return element
