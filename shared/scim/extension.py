"""A customer's own extensions of User (RFC 7643 section 3.3): schema documents, checked, then enforced like ours.

A schema may promise neither uniqueness nor required attributes: nothing here would keep it, and /Schemas must be true.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, get_args

from shared.json_text import dump
from shared.scim.errors import InvalidSyntax, InvalidValue
from shared.scim.limits import MAX_EXTENSION_ATTRIBUTES, MAX_EXTENSIONS
from shared.scim.schema import ResourceType, Type, read_resource_type, read_schema

SCHEMA_URN = "urn:ietf:params:scim:schemas:core:2.0:Schema"

_URN = re.compile(r"urn:[A-Za-z0-9][A-Za-z0-9-]{1,31}:[A-Za-z0-9._:-]{1,200}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


@lru_cache(maxsize=64)
def extended(resource_type: ResourceType, documents: str) -> ResourceType:
    """Return the resource type with more extensions, a JSON list of schema documents; the same object each time."""
    found = json.loads(documents)
    if not found:
        return resource_type
    schemas = {schema.urn: schema for schema in (resource_type.schema, *resource_type.extensions)}
    schemas |= {document["id"]: read_schema(document) for document in found}
    more = [{"schema": document["id"], "required": False} for document in found]
    known: Any = resource_type.document.get("schemaExtensions", ())
    return read_resource_type({**resource_type.document, "schemaExtensions": [*known, *more]}, schemas)


def read_extensions(body: object, resource_type: ResourceType) -> str:
    """Return schema documents as `extended` takes them. Raises InvalidSyntax or InvalidValue, naming the attribute."""
    if not isinstance(body, list) or not all(isinstance(item, dict) for item in body):
        raise InvalidSyntax("The body must be a list of schema documents.")
    if len(body) > MAX_EXTENSIONS:
        raise InvalidValue(f"A directory has at most {MAX_EXTENSIONS} schemas of its own.")
    taken = {resource_type.schema.urn.lower(), *resource_type.extensions_by_urn}
    documents = []
    for item in body:
        document = _read_document(item)
        if document["id"].lower() in taken:
            raise InvalidValue("id: a schema has this URN already.")
        taken.add(document["id"].lower())
        documents.append(document)
    return dump(documents)


def _read_document(item: Mapping[str, Any]) -> dict[str, Any]:
    urn, name = item.get("id"), item.get("name", "")
    if not isinstance(urn, str) or not _URN.fullmatch(urn):
        raise InvalidValue("id takes a URN such as urn:contoso:scim:2.0:Employee.")
    if not isinstance(name, str) or not isinstance(item.get("description", ""), str):
        raise InvalidValue("name and description take texts.")
    attributes = _read_attributes(item.get("attributes"), "attributes", nested=False)
    if sum(1 + len(attribute.get("subAttributes", ())) for attribute in attributes) > MAX_EXTENSION_ATTRIBUTES:
        raise InvalidValue(f"attributes: a schema has at most {MAX_EXTENSION_ATTRIBUTES}, sub-attributes included.")
    described = {"name": name or urn.rpartition(":")[2], "description": item.get("description", "")}
    return {"schemas": [SCHEMA_URN], "id": urn, **described, "attributes": attributes}


def _read_attributes(items: object, where: str, *, nested: bool) -> list[dict[str, Any]]:
    if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
        raise InvalidValue(f"{where} takes a list of one attribute or more.")
    attributes = [_read_attribute(item, where, nested=nested) for item in items]
    if len({attribute["name"].lower() for attribute in attributes}) != len(attributes):
        raise InvalidValue(f"{where}: a name stands twice.")
    return attributes


def _read_attribute(item: Mapping[str, Any], where: str, *, nested: bool) -> dict[str, Any]:
    name = item.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidValue(f"{where}: name takes a letter, then letters, digits, - and _.")
    attribute: dict[str, Any] = {"name": name}
    for key, choices in _CHOICES.items():
        attribute[key] = item.get(key, choices[0])
        if attribute[key] not in choices:
            raise InvalidValue(f"{where}, {name}: {key} takes {' or '.join(map(str, choices))}.")
    if not isinstance(item.get("description", ""), str):
        raise InvalidValue(f"{where}, {name}: description takes a text.")
    attribute["description"] = item.get("description", "")
    if attribute["type"] == "complex":
        if nested:
            raise InvalidValue(f"{where}, {name}: a sub-attribute cannot be complex (RFC 7643 section 2.3.8).")
        attribute["subAttributes"] = _read_attributes(item.get("subAttributes"), f"{name}.subAttributes", nested=True)
    return attribute


_CHOICES: dict[str, tuple[Any, ...]] = {
    "type": get_args(Type),
    "multiValued": (False, True),
    # Nothing here enforces the next two.
    "required": (False,),
    "uniqueness": ("none",),
    "caseExact": (False, True),
    "mutability": ("readWrite", "immutable"),
    "returned": ("default", "request"),
}
