"""Property names, and what stands in them, held against Microsoft's types of the resources.

infra/types/azure.json is a trimmed print of those types (infra/types/README.md), infra/types/written.json the rest. Of
an object that the template sets anything in, they have every property that Azure takes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from infra.checks.evaluation import Deployed, Deployment, Reference
from infra.checks.finding import Finding

FOLDER = Path(__file__).parent.parent / "types"
OF_BICEP = {"parent", "scope", "dependsOn"}
"""Properties of every resource that are the language's own."""
LEFT_OUT = {("Microsoft.Web/sites/extensions", "properties")}
"""Properties that Microsoft's types leave out although the service takes them; the template suppresses BCP187 there."""
KINDS = {"string": str, "int": int, "bool": bool, "integer": int, "boolean": bool}
REQUIRED, READ_ONLY = "!", "~"
"""What a property's name ends in, in the files of types."""


@cache
def known() -> Mapping[str, Any]:
    """Return the body of each resource by type and version."""
    return {
        name: body
        for file in ("azure.json", "written.json")
        for name, body in json.loads((FOLDER / file).read_text("utf-8")).items()
        if "@" in name
    }


def check(deployment: Deployment) -> Iterator[Finding]:
    """Find properties that Azure does not know, misses, or gives itself, and values that it does not take."""
    for resource in deployment.resources:
        name = f"{resource.type}@{resource.version}"
        if name not in known():
            yield Finding("type", resource.symbol, f"{name} is not in infra/types")
            continue
        yield from _compare(resource, _own(resource), known()[name], "")


def _own(resource: Deployed) -> Mapping[str, Any]:
    # Graph's resources have no scope that they would be deployed at: it is a consent's own.
    of_bicep = OF_BICEP - {"scope"} if resource.type.startswith("Microsoft.Graph/") else OF_BICEP
    return {name: value for name, value in resource.body.items() if name not in of_bicep}


def _compare(resource: Deployed, value: Any, shape: Any, path: str) -> Iterator[Finding]:
    if value is None or isinstance(value, Reference) or (isinstance(value, str) and value.startswith("«")):
        return
    match shape:
        case {"by": by, "of": kinds}:
            yield from _compare_kind(resource, value, (by, kinds), path)
        case {"*": inside}:
            for name, one in _mapping(value).items():
                yield from _compare(resource, one, inside, f"{path}.{name}")
        case {"[]": inside}:
            if not isinstance(value, list):
                yield _wrong(resource, path, "is an array")
                return
            for i, one in enumerate(value):
                yield from _compare(resource, one, inside, f"{path}[{i}]")
        case dict():
            yield from _compare_object(resource, value, shape, path)
        case str():
            yield from _compare_plain(resource, value, shape, path)


def _compare_kind(resource: Deployed, value: Any, shape: tuple[str, Mapping[str, Any]], path: str) -> Iterator[Finding]:
    by, kinds = shape
    kind = str(_mapping(value).get(by))
    if kind not in kinds:
        yield _wrong(resource, f"{path}.{by}", f"is one of {', '.join(kinds)}, not {kind}")
    else:
        yield from _compare(resource, value, kinds[kind], path)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _compare_object(resource: Deployed, value: Any, shape: Mapping[str, Any], path: str) -> Iterator[Finding]:
    if not isinstance(value, Mapping):
        yield _wrong(resource, path, "is an object")
        return
    properties = {name.rstrip("!~"): (name, inside) for name, inside in shape.items()}
    for name, one in value.items():
        place = f"{path}.{name}"
        if (resource.type, place.strip(".")) in LEFT_OUT:
            continue
        if name not in properties:
            yield _wrong(resource, place, "is no property that Azure knows there")
        elif properties[name][0].endswith(READ_ONLY):
            yield _wrong(resource, place, "is given by Azure, and not set")
        else:
            yield from _compare(resource, one, properties[name][1], place)
    for name, (written, _) in properties.items():
        if written.endswith(REQUIRED) and name not in value:
            yield _wrong(resource, f"{path}.{name}", "is missing")


def _compare_plain(resource: Deployed, value: Any, shape: str, path: str) -> Iterator[Finding]:
    if shape in KINDS:
        if not isinstance(value, KINDS[shape]) or (KINDS[shape] is int and isinstance(value, bool)):
            yield _wrong(resource, path, f"is a {shape}")
    elif shape not in ("any", "object"):
        values = [one.strip() for one in shape.split(" | ")]
        # An open list, which ends in `string`, is held to as well: a value beside it is a slip more often than news.
        if value not in values:
            yield _wrong(resource, path, f"is one of {', '.join(one for one in values if one != 'string')}")
    elif shape == "object" and value not in ({}, None):
        yield _wrong(resource, path, "is not in infra/types: print the types again")


def _wrong(resource: Deployed, path: str, text: str) -> Finding:
    return Finding("property", resource.symbol, f"{path.strip('.')} {text}")
