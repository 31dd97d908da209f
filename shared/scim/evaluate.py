"""What a filter means for a document (RFC 7644 section 3.4.2.2): it is compiled once to a function of the document.

Where the RFC leaves a choice: an unknown attribute has no value, so nothing compares with it; `ne` is the opposite of
`eq` for a single value, and true for an attribute without one; a literal that cannot be compared with the attribute's
type is an InvalidFilter. Of a multi-valued attribute any value may pass. A complex attribute stands for its `value`.
Strings compare without regard to case unless caseExact; date-times compare as instants.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from shared.scim.errors import InvalidFilter, InvalidValue
from shared.scim.filter import And, Comparison, Filter, Literal, Not, Or, Path, Present, ValuePath
from shared.scim.schema import Attribute, ResourceType, Target
from shared.scim.values import instant, read_scalar

Test = Callable[[Mapping[str, Any]], bool]
"""Whether a document, or one element of a complex attribute, passes."""
_Check = Callable[[Any], bool]
"""Whether one simple value passes."""


def compile_filter(tree: Filter, resource_type: ResourceType) -> Test:
    """Return the filter as a function of a document. Raises InvalidFilter for a comparison its types do not allow."""

    def find(path: Path) -> Target | None:
        return resource_type.find(path.urn, path.attribute, path.sub_attribute)

    return _compile(tree, find)


def compile_value_filter(tree: Filter, attribute: Attribute) -> Test:
    """Return the filter of a value path as a function of one element of the complex attribute."""

    def find(path: Path) -> Target | None:
        found = None if path.sub_attribute else attribute.sub_attributes.find(path.attribute)
        return None if found is None else Target(None, found, None)

    return _compile(tree, find)


_Find = Callable[[Path], Target | None]


def _compile(tree: Filter, find: _Find) -> Test:
    if isinstance(tree, And):
        terms = [_compile(term, find) for term in tree.terms]
        return lambda document: all(term(document) for term in terms)
    if isinstance(tree, Or):
        terms = [_compile(term, find) for term in tree.terms]
        return lambda document: any(term(document) for term in terms)
    if isinstance(tree, Not):
        inner = _compile(tree.term, find)
        return lambda document: not inner(document)
    if isinstance(tree, Comparison):
        return _compile_comparison(tree, find)
    return _compile_presence(tree, find)


def _compile_presence(tree: Present | ValuePath, find: _Find) -> Test:
    """attrPath SP "pr", and a value path by itself: some value passes its filter"""
    target = find(tree.path)
    if target is None:
        return _never
    values = _values(tree.path, target)
    return lambda document: any(_has_value(value) for value in values(document))


def _compile_comparison(tree: Comparison, find: _Find) -> Test:
    """attrPath SP compareOp SP compValue"""
    target = find(tree.path)
    if tree.operator == "ne":
        equal = Comparison(tree.path, "eq", tree.value)
        if target is None or (tree.value is not None and not _is_multi_valued(tree.path, target)):
            return _compile(Not(equal), find)
    if tree.value is None:
        present = _compile_presence(Present(tree.path), find)
        return _null(tree, present)
    if target is None:
        return _never
    simple = target.simple
    if simple is None:
        raise InvalidFilter(f"{target.attribute.name} has parts. Compare one of them, such as name.familyName.")
    values = _values(tree.path, simple)
    check = _check(tree.operator, tree.value, simple.sub_attribute or simple.attribute)
    if tree.operator != "ne":
        return lambda document: any(map(check, values(document)))

    def some_differs_or_none_is_there(document: Mapping[str, Any]) -> bool:
        found = list(values(document))
        return not found or any(map(check, found))

    return some_differs_or_none_is_there


def _null(tree: Comparison, present: Test) -> Test:
    """A comparison with null: no value and null are the same (RFC 7643 section 2.5)."""
    if tree.operator == "eq":
        return lambda document: not present(document)
    if tree.operator == "ne":
        return present
    raise InvalidFilter(f"{tree.path.attribute} cannot be compared with null by {tree.operator}; use eq, ne or pr.")


def _is_multi_valued(path: Path, target: Target) -> bool:
    return target.attribute.multi_valued or path.value_filter is not None


def _values(path: Path, target: Target) -> Callable[[Mapping[str, Any]], Iterable[Any]]:
    """Return the function that gives the values a path selects in a document."""
    extension, name = target.extension, target.attribute.name
    sub_name = target.sub_attribute.name if target.sub_attribute else None
    passes = compile_value_filter(path.value_filter, target.attribute) if path.value_filter else None

    def select(document: Mapping[str, Any]) -> Iterable[Any]:
        if extension is not None:
            document = document.get(extension) or {}
        value = document.get(name)
        if value is None:
            return ()
        values = value if isinstance(value, list) else (value,)
        if passes is not None:
            values = [item for item in values if isinstance(item, dict) and passes(item)]
        if sub_name is not None:
            return [item[sub_name] for item in values if isinstance(item, dict) and sub_name in item]
        return values

    return select


def _has_value(value: Any) -> bool:
    return value is not None and value != "" and value != {}


def _never(_: Mapping[str, Any]) -> bool:
    return False


_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}
_ORDERING = {"gt", "ge", "lt", "le"}
_PARTS: dict[str, Callable[[str, str], bool]] = {
    "co": operator.contains,
    "sw": str.startswith,
    "ew": str.endswith,
}


def _check(name: str, literal: Literal, attribute: Attribute) -> _Check:
    """Return the comparison of one value of the attribute with the literal."""
    expected = _literal(literal, attribute)
    # Nothing is greater than a Boolean or a binary value (RFC 7644 section 3.4.2.2, table 3).
    unordered = attribute.type in {"boolean", "binary"} and name in _ORDERING
    if attribute.type in {"string", "reference", "binary"} and not unordered:
        if name in _ORDERING and not isinstance(literal, str):
            # Bare digits may stand for a text that is equal; but every name comes after the text "5".
            raise InvalidFilter(f"{attribute.name} is compared by {name} with a text: put it in quotes.")
        return _check_text(name, str(expected), attribute)
    compare = _ORDER.get(name)
    if compare is None or unordered:
        raise InvalidFilter(f"{attribute.name} is of type {attribute.type} and cannot be compared by {name}.")
    if attribute.type == "dateTime":
        moment = instant(str(expected))
        return lambda value: (found := instant(value)) is not None and compare(found, moment)
    return lambda value: compare(value, expected)


def _check_text(name: str, expected: str, attribute: Attribute) -> _Check:
    folded = expected if attribute.case_exact else expected.casefold()
    compare = _ORDER.get(name) or _PARTS[name]
    if attribute.case_exact:
        return lambda value: compare(value, folded)
    if name == "eq":
        return lambda value: value == expected or value.casefold() == folded
    return lambda value: compare(value.casefold(), folded)


def _literal(literal: Literal, attribute: Attribute) -> object:
    """Return the literal in the attribute's type: clients write "True" for a Boolean and bare digits for a string."""
    if literal == "" or (isinstance(literal, bool) and attribute.type != "boolean"):
        literal = str(literal).lower()
    if literal == "" and attribute.type in {"string", "reference"}:
        return literal
    # What a client asks for need not be a whole value: a part of a certificate, or the date of a moment.
    if attribute.type == "binary" or (attribute.type == "dateTime" and instant(str(literal)) is not None):
        return literal
    try:
        value = read_scalar(attribute, literal)
    except InvalidValue as error:
        raise InvalidFilter(f"In a comparison {error.detail}") from None
    if value is None:
        raise InvalidFilter(f"{attribute.name} is of type {attribute.type} and cannot be compared with an empty text.")
    return value
