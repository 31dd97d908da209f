"""Documents: what is stored for a resource, made from the body of a POST or PUT (RFC 7644 sections 3.3 and 3.5.1).

A normalised document holds only attributes that the schemas know, under their own names and in their own types,
without empty ones, with at most one primary value an attribute, and with `schemas` naming what is present.
values.py makes single values right; patch.py keeps a document normalised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from shared.json_text import NotJson, read_sent, read_written
from shared.scim.errors import BodyTooLarge, InvalidSyntax, InvalidValue, Mutability
from shared.scim.limits import JSON_BYTES_A_VALUE, MAX_BODY_BYTES, MAX_JSON_DEPTH, MAX_JSON_VALUES
from shared.scim.schema import Names, ResourceType
from shared.scim.values import read

Document = dict[str, Any]


def normalise(resource_type: ResourceType, body: object, *, id: str | None = None) -> Document:
    """Return the document to store for the body of a POST or PUT, with the `id` given; the body stays as it is.

    Unknown and read-only attributes are left out, and so is `password`, which is never kept.
    Raises InvalidSyntax if the body is no object, InvalidValue for a value that does not fit or a missing userName.
    """
    if not isinstance(body, dict):
        raise InvalidSyntax("The body must be a JSON object.")
    document: Document = {"schemas": []}
    if id is not None:
        document["id"] = id
    for name, value in body.items():
        extension = resource_type.find_extension(name)
        if extension is None:
            _read_into(document, resource_type.attributes, name, value)
        elif isinstance(value, dict):
            members = document.setdefault(extension.urn, {})
            for inner_name, inner_value in value.items():
                _read_into(members, extension.attributes, inner_name, inner_value)
        elif value:
            raise InvalidValue(f"{extension.urn} takes an object of attributes.")
    return complete(resource_type, document)


def complete(resource_type: ResourceType, document: Document) -> Document:
    """Finish a document in place: empty extensions go, `schemas` is computed, required attributes are checked."""
    schemas = [resource_type.schema.urn]
    for extension in resource_type.extensions:
        if document.get(extension.urn):
            schemas.append(extension.urn)
        else:
            document.pop(extension.urn, None)
    document["schemas"] = schemas
    for name in resource_type.required:
        value = document.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            raise InvalidValue(f"{name} is required and must not be empty.")
    return document


def keep_immutable(resource_type: ResourceType, before: Mapping[str, Any], document: Document) -> Document:
    """Put immutable values that a PUT left out back into the document (RFC 7644 section 3.5.1).

    Raises Mutability where one that was set has another value now. The values of a list are replaced with the list.
    """
    for target in resource_type.immutable:
        name, sub = target.attribute.name, target.sub_attribute
        if sub is not None and target.attribute.multi_valued:
            continue
        path = [part for part in (target.extension, name if sub else None) if part]
        had: Any = before
        for part in path:
            had = had.get(part) or {}
        last = sub.name if sub else name
        if last not in had:
            continue
        holder: Any = document
        for part in path:
            holder = holder.setdefault(part, {})
        if holder.setdefault(last, had[last]) != had[last]:
            raise Mutability(f"{last} cannot be changed once it is set.")
    return complete(resource_type, document)


def _read_into(members: Document, attributes: Names, name: str, value: object) -> None:
    attribute = attributes.find(name)
    if attribute is None or attribute.mutability == "readOnly" or attribute.returned == "never":
        return
    normal = read(attribute, value)
    if normal is None:
        members.pop(attribute.name, None)
    else:
        members[attribute.name] = normal


def read_json(body: bytes, limit: int = MAX_BODY_BYTES, *, written: bool = False) -> object:
    """Return the JSON value in a request's body; of members with the same name the last counts.

    Raises BodyTooLarge, or InvalidSyntax for what is not JSON in UTF-8, has no finite number, nests too deep, or holds
    too many values; for one that is `written` by a person, also where an object has two members of one name.
    """
    if len(body) > limit:
        raise BodyTooLarge(f"A body has at most {limit} bytes here. Send less at once.")
    most = min(limit // JSON_BYTES_A_VALUE, MAX_JSON_VALUES)
    # Of empty lists, a megabyte makes half a million objects. No value comes without one of these characters before it.
    if body.count(b",") + body.count(b"[") + body.count(b"{") > most:
        raise InvalidSyntax(f"A body has at most {most} values here. Send less at once.")
    try:
        text = body.decode("utf-8-sig")
        value: object = read_written(text) if written else read_sent(text)
        # Most bodies have fewer brackets than may nest.
        if body.count(b"{") + body.count(b"[") > MAX_JSON_DEPTH:
            _check_depth(value)
        if _SURROGATE_ESCAPE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeError:
        raise InvalidSyntax("The body must be whole characters in UTF-8.") from None
    except ValueError as error:
        if not body.strip():
            raise InvalidSyntax("The body is empty, and has to be JSON.") from None
        raise InvalidSyntax(
            f"The body is not JSON: {error}." if isinstance(error, NotJson) else f"In the body {error}."
        ) from None
    except RecursionError:
        raise InvalidSyntax(_TOO_DEEP) from None
    return value


_SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")
_TOO_DEEP = f"The body nests deeper than {MAX_JSON_DEPTH} levels."


def _check_depth(value: object) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_JSON_DEPTH):
        inner = (item for outer in level for item in (outer.values() if isinstance(outer, dict) else outer))
        level = [item for item in inner if isinstance(item, dict | list)]
        if not level:
            return
    raise InvalidSyntax(_TOO_DEEP)
