"""PATCH (RFC 7644 section 3.5.2): operations are read from a message and applied, all or none, to a plain document.

change.py holds what one operation does at one place. Tolerated here beyond the RFC, because Entra sends it: operations
in any case, and an object of values whose keys are paths (dotted, with a URN, with a value filter).
Attributes that the resource type does not have are ignored, and so are read-only ones in an object of values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.scim.change import Op, change, tidy
from shared.scim.document import Document, complete
from shared.scim.errors import BodyTooLarge, InvalidPath, InvalidSyntax, InvalidValue, NoTarget, ScimError, TooMany
from shared.scim.limits import MAX_OPERATIONS, MAX_PATCH_COMPARISONS
from shared.scim.messages import names_message
from shared.scim.path import DocumentPlace, resolve
from shared.scim.schema import ResourceType, Schema, Target

PATCH_OP_URN = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

_OPS: dict[str, Op] = {"add": "add", "replace": "replace", "remove": "remove"}


@dataclass(frozen=True, slots=True)
class PatchOperation:
    """One operation. `path` is as it came, or None; `value` is None where none came."""

    op: Op
    path: str | None
    value: Any


def parse_operations(body: object) -> tuple[PatchOperation, ...]:
    """Return the operations of a PatchOp message. Names and `op` are read without regard to case.

    Raises InvalidSyntax, InvalidPath, InvalidValue or NoTarget for what is no operation, BodyTooLarge for too many.
    """
    message = _members(body, "The body")
    if not names_message(message.get("schemas"), PATCH_OP_URN):
        raise InvalidSyntax(f"schemas takes a list with {PATCH_OP_URN}.")
    operations = message.get("operations")
    if not isinstance(operations, list) or not operations:
        raise InvalidSyntax("The body needs Operations, a list of one operation or more.")
    if len(operations) > MAX_OPERATIONS:
        raise BodyTooLarge(f"A PATCH has at most {MAX_OPERATIONS} operations. Send several.")
    read = tuple(_operation(item, number) for number, item in enumerate(operations, 1))
    if sum(map(_count_names, read)) > MAX_OPERATIONS:
        raise BodyTooLarge(f"The operations of a PATCH name at most {MAX_OPERATIONS} attributes. Send several.")
    return read


def _count_names(operation: PatchOperation) -> int:
    """Return how many attributes an operation names in an object: each of them is found by its path, as it has one."""
    if not isinstance(operation.value, dict):
        return 0
    return sum(len(inner) + 1 if isinstance(inner, dict) else 1 for inner in operation.value.values())


def apply(operations: Sequence[PatchOperation], document: Mapping[str, Any], resource_type: ResourceType) -> Document:
    """Return the normalised document with the operations applied in order; the one given stays as it is.

    Read-only attributes that the document already holds (id, say) are kept. Raises a ScimError, which names the
    operation by its number, if any one of them cannot be applied.
    """
    *_, applied = steps(operations, document, resource_type)
    return applied


def steps(
    operations: Sequence[PatchOperation], document: Mapping[str, Any], resource_type: ResourceType
) -> Iterator[Document]:
    """Do the same, for who takes turns with others: yield a draft after each operation, and the document at last."""
    draft = _Draft(_copy(document), resource_type)
    for number, operation in enumerate(operations, 1):
        draft.apply(number, operation)
        yield draft.document
    yield draft.finish()


def check(operations: Sequence[PatchOperation], resource_type: ResourceType) -> None:
    """Raise a ScimError where the operations are wrong for any resource: for one that is not there."""
    draft = _Draft({}, resource_type)
    for number, operation in enumerate(operations, 1):
        with contextlib.suppress(NoTarget):
            draft.apply(number, operation)


class _Draft:
    """A document under change, and the places that were touched."""

    __slots__ = ("_comparisons", "_resource_type", "_touched", "document")

    def __init__(self, document: Document, resource_type: ResourceType) -> None:
        self.document = document
        self._resource_type = resource_type
        self._touched: set[Target] = set()
        self._comparisons = 0

    def apply(self, number: int, operation: PatchOperation) -> None:
        """Apply one operation. Raises a ScimError that names it by its number."""
        try:
            self._apply(operation)
        except ScimError as error:
            raise type(error)(f"Operation {number}: {error.detail}") from None

    def _apply(self, operation: PatchOperation) -> None:
        if operation.path is not None:
            self._apply_at(resolve(operation.path, self._resource_type), operation.op, operation.value, named=True)
            return
        for key, value in operation.value.items():
            self._apply_at(self._find_key(key), operation.op, value, named=False)

    def _find_key(self, key: str) -> DocumentPlace | Schema | None:
        """Return what a key in an object of values names. One that is no path is an unknown attribute."""
        try:
            return resolve(key, self._resource_type)
        except InvalidPath:
            if "[" in key:
                raise
            return None

    def _apply_at(self, found: DocumentPlace | Schema | None, op: Op, value: Any, *, named: bool) -> None:
        if found is None:
            return
        if isinstance(found, Schema):
            self._apply_to_extension(found, op, value)
        elif named or not found.target.is_read_only:
            self._spend(found)
            change(self.document, found, op, value)
            self._touched.add(found.target)

    def _spend(self, place: DocumentPlace) -> None:
        """Raise TooMany where the operations so far make too many comparisons: together they could take a minute."""
        target = place.target
        if target.attribute.multi_valued:
            members = self.document if target.extension is None else self.document.get(target.extension, {})
            self._comparisons += place.terms * len(members.get(target.attribute.name, ()))
            if self._comparisons > MAX_PATCH_COMPARISONS:
                raise TooMany(f"{target.attribute.name} has too many values for so many operations. Send several.")

    def _apply_to_extension(self, extension: Schema, op: Op, value: Any) -> None:
        """Change the attributes of an extension that the value names; null and "" clear the whole of it."""
        if op == "remove" or value is None or value == "":
            self.document.pop(extension.urn, None)
            return
        if not isinstance(value, dict):
            raise InvalidValue(f"{extension.urn} takes an object of attributes.")
        for key, item in value.items():
            self._apply_at(self._find_key(f"{extension.urn}:{key}"), op, item, named=False)

    def finish(self) -> Document:
        """Return the document, normalised."""
        for target in self._touched:
            tidy(self.document, target)
        return complete(self._resource_type, self.document)


def _operation(item: object, number: int) -> PatchOperation:
    where = f"Operation {number}"
    members = _members(item, where)
    name = members.get("op")
    op = _OPS.get(name.lower()) if isinstance(name, str) else None
    if op is None:
        raise InvalidSyntax(f"{where} needs op: add, replace or remove.")
    path = members.get("path")
    if path is not None and not isinstance(path, str):
        raise InvalidPath(f"{where}: path takes a string.")
    value = members.get("value")
    if not path:
        if op == "remove":
            raise NoTarget(f"{where}: remove needs a path.")
        if not isinstance(value, dict):
            raise InvalidValue(f"{where} has no path, so its value must be an object of attributes.")
    elif op != "remove" and "value" not in members:
        raise InvalidValue(f"{where} needs a value; null clears an attribute.")
    return PatchOperation(op, path or None, value)


def _members(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidSyntax(f"{where} must be a JSON object.")
    return {name.lower(): item for name, item in value.items()}


def _copy(value: Any) -> Any:
    """Return the same JSON in lists and objects of its own."""
    if isinstance(value, dict):
        return {name: item if type(item) is str else _copy(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
