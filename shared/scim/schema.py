"""Attributes, schemas and resource types (RFC 7643 sections 2, 6 and 7), read from the JSON documents in schemas/.

Those documents are also what discovery.py serves, so what is advertised and what is enforced cannot differ.
Names are looked up without regard to case, each in one or two dictionary reads.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

CORE_URNS = {f"urn:ietf:params:scim:schemas:core:2.0:{name}" for name in ("user", "group")}
"""The URNs of the core schemas, in lower case: their attributes have the same names without them."""
ENTERPRISE_USER_URN = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"

Type = Literal["string", "boolean", "decimal", "integer", "dateTime", "binary", "reference", "complex"]


_ASSUMED = ("active",)
"""Attributes that every resource has, and that no body need name: change.py and the directory's model see to that."""


class Names(dict[str, "Attribute"]):
    """Attributes by name: their own spelling is found at once, any other through lower case."""

    def __init__(self, attributes: Sequence[Attribute]) -> None:
        super().__init__({spelling: item for item in attributes for spelling in (item.name, item.name.lower())})

    def find(self, name: str) -> Attribute | None:
        """Return the attribute of that name in any case, or None."""
        return self.get(name) or self.get(name.lower())


@dataclass(frozen=True, slots=True, eq=False)
class Attribute:
    """One attribute or sub-attribute. It is equal to itself only, which makes it a cheap key."""

    name: str
    type: Type
    multi_valued: bool
    required: bool
    case_exact: bool
    mutability: Literal["readWrite", "readOnly", "immutable", "writeOnly"]
    returned: Literal["default", "always", "never", "request"]
    sub_attributes: Names = field(repr=False)

    @property
    def has_value(self) -> bool:
        """Whether it is complex with the default sub-attribute `value`, so that a bare value can stand for it."""
        return "value" in self.sub_attributes


@dataclass(frozen=True, slots=True, eq=False)
class Schema:
    """One schema: its URN, its attributes, and the JSON document it was read from."""

    urn: str
    attributes: Names
    document: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Target:
    """What a name resolves to. `extension` is the URN of the document member that holds the attribute; None is core."""

    extension: str | None
    attribute: Attribute
    sub_attribute: Attribute | None

    @property
    def simple(self) -> Target | None:
        """The target itself, or the `value` of a complex attribute; None for one that has parts and no `value`."""
        if self.sub_attribute is not None or self.attribute.type != "complex":
            return self
        value = self.attribute.sub_attributes.find("value")
        return None if value is None else Target(self.extension, self.attribute, value)

    @property
    def is_read_only(self) -> bool:
        """Whether clients cannot write it."""
        return "readOnly" in (self.attribute.mutability, self.sub_attribute and self.sub_attribute.mutability)


@dataclass(frozen=True, slots=True, eq=False)
class ResourceType:
    """A resource type: its core schema and extensions. `attributes` are the core ones and those of every resource."""

    name: str
    endpoint: str
    schema: Schema
    extensions: tuple[Schema, ...]
    attributes: Names
    document: Mapping[str, object] = field(repr=False)
    extensions_by_urn: Mapping[str, Schema] = field(repr=False)
    required: tuple[str, ...]
    always_returned: tuple[str, ...]
    returned_on_request: tuple[Target, ...]
    immutable: tuple[Target, ...]

    def find_extension(self, urn: str) -> Schema | None:
        """Return the extension of that URN in any case, or None.

        Entra also writes the enterprise URN without its last colon (`…:enterprise:2.0User`).
        """
        return self.extensions_by_urn.get(urn) or self.extensions_by_urn.get(urn.lower())

    def find(self, urn: str | None, attribute: str, sub_attribute: str | None = None) -> Target | None:
        """Return what the name stands for, or None. Without a URN a bare name also finds an extension's attribute.

        Some clients write a full stop for the colon behind a URN, which reads as a sub-attribute.
        """
        if urn is None:
            found = self._find_unqualified(attribute)
        elif urn.lower() == self.schema.urn.lower():
            found = self._in_scope(None, self.attributes, attribute)
        elif sub_attribute is not None and self._is_schema(named := f"{urn}:{attribute}"):
            return self.find(named, sub_attribute)
        else:
            extension = self.find_extension(urn)
            found = None if extension is None else self._in_scope(extension.urn, extension.attributes, attribute)
        if found is None or sub_attribute is None:
            return found
        sub = found.attribute.sub_attributes.find(sub_attribute)
        return None if sub is None else Target(found.extension, found.attribute, sub)

    def _is_schema(self, urn: str) -> bool:
        return urn.lower() == self.schema.urn.lower() or self.find_extension(urn) is not None

    def _find_unqualified(self, attribute: str) -> Target | None:
        found = self._in_scope(None, self.attributes, attribute)
        for extension in self.extensions:
            if found is not None:
                break
            found = self._in_scope(extension.urn, extension.attributes, attribute)
        return found

    @staticmethod
    def _in_scope(urn: str | None, attributes: Names, name: str) -> Target | None:
        found = attributes.find(name)
        return None if found is None else Target(urn, found, None)


def read_attribute(document: Mapping[str, Any]) -> Attribute:
    """Return the attribute that a schema document describes. Defaults are those of RFC 7643 section 2.2."""
    return Attribute(
        name=document["name"],
        type=document.get("type", "string"),
        multi_valued=document.get("multiValued", False),
        required=document.get("required", False),
        case_exact=document.get("caseExact", False),
        mutability=document.get("mutability", "readWrite"),
        returned=document.get("returned", "default"),
        sub_attributes=Names([read_attribute(item) for item in document.get("subAttributes", ())]),
    )


def read_schema(document: Mapping[str, Any]) -> Schema:
    """Return the schema of a schema document (RFC 7643 section 7)."""
    return Schema(document["id"], Names([read_attribute(item) for item in document["attributes"]]), document)


def read_resource_type(document: Mapping[str, Any], schemas: Mapping[str, Schema]) -> ResourceType:
    """Return the resource type of a resource type document (RFC 7643 section 6); `schemas` are by URN."""
    schema = schemas[document["schema"]]
    extensions = tuple(schemas[item["schema"]] for item in document.get("schemaExtensions", ()))
    by_urn = {extension.urn: extension for extension in extensions}
    for extension in extensions:
        front, _, last = extension.urn.rpartition(":")
        by_urn[extension.urn.lower()] = by_urn[(front + last).lower()] = extension
    attributes = Names([*schema.attributes.values(), *_COMMON])
    return ResourceType(
        name=document["name"],
        endpoint=document["endpoint"],
        schema=schema,
        extensions=extensions,
        attributes=attributes,
        document=document,
        extensions_by_urn=by_urn,
        required=tuple(n for n, item in attributes.items() if item.required and n == item.name and n not in _ASSUMED),
        always_returned=tuple(item.name for item in _COMMON if item.returned == "always"),
        returned_on_request=_targets(attributes, extensions, lambda item: item.returned == "request"),
        immutable=_targets(attributes, extensions, lambda item: item.mutability == "immutable"),
    )


def _targets(core: Names, extensions: Sequence[Schema], chosen: Callable[[Attribute], bool]) -> tuple[Target, ...]:
    """Return the attributes and sub-attributes that are chosen."""
    places: list[tuple[str | None, Names]] = [(None, core), *((item.urn, item.attributes) for item in extensions)]
    return tuple(
        Target(urn, attribute, sub)
        for urn, attributes in places
        for attribute in dict.fromkeys(attributes.values())
        for sub in (None, *dict.fromkeys(attribute.sub_attributes.values()))
        if chosen(sub or attribute)
    )


def _read(name: str) -> Any:
    return json.loads((Path(__file__).parent / "schemas" / f"{name}.json").read_text("utf-8"))


# Every resource has these; no schema document lists them (RFC 7643 section 3.1).
_COMMON = [read_attribute(item) for item in _read("common")]
_SCHEMAS = [read_schema(_read(name)) for name in ("user", "enterprise_user", "group")]
_BY_URN = {schema.urn: schema for schema in _SCHEMAS}
USER, GROUP = (read_resource_type(item, _BY_URN) for item in _read("resource_types"))
ACTIVE, ROLES = USER.attributes["active"], USER.attributes["roles"]
