"""Any path with any operation and value, on users with little and with everything, ends well or in a SCIM error.

A test run takes every eleventh of all, so that every path has its turn; `make fuzz` takes each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import pytest

from shared.scim.document import Document, normalise
from shared.scim.errors import ScimError
from shared.scim.evaluate import compile_filter
from shared.scim.filter import parse_filter
from shared.scim.patch import apply, check, parse_operations
from shared.scim.projection import Projection
from shared.scim.schema import Attribute
from shared.scim.sort import Sort
from tests.fuzz import times
from tests.shared.scim.paths import OPS, VALUES, paths
from tests.shared.scim.test_customer_schema import EMPLOYEE

OF_TYPE: dict[str, Any] = {
    "string": "x", "reference": "x", "boolean": True, "integer": 7, "decimal": 0.5, "binary": "AQ==",
    "dateTime": "2026-11-23T17:30:00Z",
}  # fmt: skip


def filled(attribute: Attribute) -> Any:
    """Return a value of an attribute, with all its parts."""
    subs = dict.fromkeys(attribute.sub_attributes.values())
    value = {sub.name: filled(sub) for sub in subs} if subs else OF_TYPE[attribute.type]
    return [value] if attribute.multi_valued else value


def documents() -> Iterator[Document]:
    """Yield users: one with a name alone, and one with everything, of the customer's schema, too."""
    yield normalise(EMPLOYEE, {"userName": "bob"})
    body = {item.name: filled(item) for item in dict.fromkeys(EMPLOYEE.attributes.values())}
    for extension in EMPLOYEE.extensions:
        body[extension.urn] = {item.name: filled(item) for item in dict.fromkeys(extension.attributes.values())}
    yield normalise(EMPLOYEE, body)


@pytest.mark.fuzz
@pytest.mark.parametrize("document", list(documents()), ids=["a name alone", "everything"])
@pytest.mark.parametrize("with_path", [True, False])
def test_any_path_with_any_value_is_answered(document: Document, with_path: bool) -> None:
    every = product(dict.fromkeys(paths(EMPLOYEE)), OPS, VALUES)
    for path, op, value in islice(every, None, None, 11 if times() == 1 else 1):
        operation = {"op": op, "path": path, "value": value} if with_path else {"op": op, "value": {path: value}}
        with contextlib.suppress(ScimError):
            operations = parse_operations({"Operations": [operation]})
            check(operations, EMPLOYEE)
            after = apply(operations, document, EMPLOYEE)
            assert normalise(EMPLOYEE, after, id=after.get("id")) == after, operation


@pytest.mark.parametrize("document", list(documents()), ids=["a name alone", "everything"])
def test_any_path_can_be_asked_for_and_compared(document: Document) -> None:
    for path in dict.fromkeys(paths(EMPLOYEE)):
        for ask in (
            lambda path=path: Projection.parse(path, None, EMPLOYEE).apply(document),
            lambda path=path: Projection.parse(None, path, EMPLOYEE).apply(document),
            lambda path=path: compile_filter(parse_filter(f"{path} pr"), EMPLOYEE)(document),
            lambda path=path: compile_filter(parse_filter(f'{path} ne "x"'), EMPLOYEE)(document),
            lambda path=path: (sort := Sort.parse(path, "", EMPLOYEE)) and sort.order([(sort.key(document), document)]),
        ):
            with contextlib.suppress(ScimError):
                ask()
