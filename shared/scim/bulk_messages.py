"""Bulk requests (RFC 7644 section 3.7): what a BulkRequest asks for, in which order, and the form of the answer.

An operation may refer to what another one creates, before or after it, as `bulkId:…` in its path or as a value in its
data. Operations keep their order, except that each waits for what it refers to. shared/scim_root/bulk.py runs them.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.json_text import dump
from shared.scim.errors import BodyTooLarge, InvalidPath, InvalidSyntax, InvalidValue, ScimError
from shared.scim.limits import MAX_BULK_OPERATIONS

BULK_REQUEST_URN = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"
BULK_RESPONSE_URN = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"

METHODS = ("POST", "PUT", "PATCH", "DELETE")
_PREFIX = "bulkId:"


class UnresolvedReference(ScimError):
    """An operation refers to one that failed, or that waits for it in turn (RFC 7644 section 3.7.1)."""

    status = 409


@dataclass(frozen=True, slots=True)
class BulkOperation:
    """One operation as it came. `references` are the bulkIds it waits for."""

    method: str
    path: str
    bulk_id: str | None
    version: str | None
    data: Any
    references: frozenset[str] = field(default=frozenset())

    def resolved(self, ids: Mapping[str, str], known: frozenset[str]) -> BulkOperation:
        """Return the operation with ids in the place of references. `known` are the bulkIds of the whole request.

        Raises InvalidValue for a bulkId that no operation has, UnresolvedReference where its operation created nothing.
        """
        for name in self.references:
            if name not in known:
                raise InvalidValue("bulkId: an operation refers to a bulkId that no POST of this request has.")
            if name not in ids:
                raise UnresolvedReference("bulkId: the operation that this one refers to created nothing.")
        if not self.references:
            return self
        path = "/".join(_replaced(part, ids) for part in self.path.split("/"))
        return BulkOperation(self.method, path, self.bulk_id, self.version, _replaced(self.data, ids))

    def target(self) -> tuple[str, str]:
        """Return the endpoint and the id that the path names; the id is "" for a POST. Raises InvalidPath."""
        found = _PATH.fullmatch(self.path)
        if found is None or (self.method == "POST") == bool(found[2]):
            raise InvalidPath("path takes /Users for a POST, and /Users/{id} for every other method.")
        return found[1], found[2] or ""


@dataclass(frozen=True, slots=True)
class Bulk:
    """A bulk request. `errors_allowed` is failOnErrors, None for any number."""

    operations: tuple[BulkOperation, ...]
    errors_allowed: int | None

    @property
    def bulk_ids(self) -> frozenset[str]:
        """The bulkIds of what is to be created."""
        return frozenset(_creators(self.operations))


def parse_bulk(body: object) -> Bulk:
    """Return the operations of a BulkRequest. Raises InvalidSyntax, InvalidValue, or BodyTooLarge for too many."""
    if not isinstance(body, dict) or BULK_REQUEST_URN not in _list(body.get("schemas"), "schemas"):
        raise InvalidSyntax(f"The body must be an object whose schemas name {BULK_REQUEST_URN}.")
    allowed = body.get("failOnErrors")
    if allowed is not None and (not isinstance(allowed, int) or isinstance(allowed, bool) or allowed < 1):
        raise InvalidValue("failOnErrors takes an integer from 1 on.")
    items = _list(body.get("Operations"), "Operations")
    if len(items) > MAX_BULK_OPERATIONS:
        raise BodyTooLarge(f"A bulk request has at most {MAX_BULK_OPERATIONS} operations. Send several.")
    operations = tuple(_operation(item, number) for number, item in enumerate(items, 1))
    creators = [operation.bulk_id for operation in operations if operation.method == "POST" and operation.bulk_id]
    if len(creators) != len(set(creators)):
        raise InvalidValue("bulkId must be unique within a bulk request.")
    return Bulk(operations, allowed)


def in_order(operations: Sequence[BulkOperation]) -> Iterator[int]:
    """Yield the places of the operations, each behind those that it refers to.

    Operations that refer to each other in a circle, and those that wait for them, come last: nothing resolves them.
    """
    creators = _creators(operations)
    needs = [{creators[name] for name in operation.references if name in creators} for operation in operations]
    waiting: dict[int, list[int]] = {}
    for place, needed in enumerate(needs):
        for other in needed:
            waiting.setdefault(other, []).append(place)
    ready = [place for place, needed in enumerate(needs) if not needed]
    done = set()
    while ready:
        place = heapq.heappop(ready)
        done.add(place)
        yield place
        for other in waiting.get(place, ()):
            needs[other].discard(place)
            if not needs[other]:
                heapq.heappush(ready, other)
    yield from (place for place in range(len(operations)) if place not in done)


def result(
    operation: BulkOperation, status: int, *, location: str | None, version: str | None = None, error: object = None
) -> dict[str, object]:
    """Return the answer to one operation (RFC 7644 section 3.7.3); a created resource is not shown again."""
    members = {
        "method": operation.method,
        "bulkId": operation.bulk_id,
        "version": version,
        "location": location,
        "status": str(status),
        "response": error,
    }
    return {name: value for name, value in members.items() if value is not None}


def bulk_response(results: Sequence[Mapping[str, object]]) -> str:
    """Return the JSON text of a BulkResponse."""
    return dump({"schemas": [BULK_RESPONSE_URN], "Operations": results})


_PATH = re.compile(r"/?([A-Za-z]+)(?:/([^/]+))?")


def _operation(item: object, number: int) -> BulkOperation:
    if not isinstance(item, dict):
        raise InvalidSyntax(f"Operation {number} must be a JSON object.")
    method, path, data = item.get("method"), item.get("path"), item.get("data")
    if not isinstance(method, str) or method.upper() not in METHODS:
        raise InvalidSyntax(f"Operation {number} needs method: {', '.join(METHODS)}.")
    if not isinstance(path, str):
        raise InvalidSyntax(f"Operation {number} needs path, a string such as /Users.")
    for name in ("bulkId", "version"):
        if not isinstance(item.get(name), str | None):
            raise InvalidSyntax(f"Operation {number}: {name} takes a string.")
    references = frozenset(_references([*path.split("/"), data]))
    return BulkOperation(method.upper(), path, item.get("bulkId"), item.get("version"), data, references)


def _list(value: object, name: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidSyntax(f"{name} takes a list.")
    return value


def _creators(operations: Sequence[BulkOperation]) -> dict[str, int]:
    """Return the places of the operations that create something to refer to, by bulkId."""
    return {item.bulk_id: place for place, item in enumerate(operations) if item.method == "POST" and item.bulk_id}


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith(_PREFIX):
            yield value.removeprefix(_PREFIX)
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _references(item)


def _replaced(value: Any, ids: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return ids[value.removeprefix(_PREFIX)] if value.startswith(_PREFIX) else value
    if isinstance(value, list):
        return [_replaced(item, ids) for item in value]
    return {name: _replaced(item, ids) for name, item in value.items()} if isinstance(value, dict) else value
