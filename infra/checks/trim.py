"""`python -m infra.checks.trim FOLDER`: makes infra/types/azure.json anew of what the Azure MCP server prints.

FOLDER holds its answers, a file for each type; infra/types/README.md says how to get them. Kept are the objects that
main.bicep sets anything in, with all their properties, and without what describes them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.checks.evaluation import Deployed, deploy
from infra.checks.scenarios import SCENARIOS
from infra.checks.template import read
from infra.checks.types import FOLDER, OF_BICEP, READ_ONLY, REQUIRED

INFRA = FOLDER.parent


def main(folder: Path) -> None:
    """Write infra/types/azure.json."""
    template = read((INFRA / "main.bicep").read_text("utf-8"), "infra/main.bicep")
    used: dict[str, list[Mapping[str, Any]]] = {}
    for name, parameters in SCENARIOS.items():
        for resource in deploy(template, name, parameters, INFRA).resources:
            used.setdefault(f"{resource.type}@{resource.version}", []).append(_own(resource))
    found: dict[str, Any] = {}
    for file in sorted(folder.glob("*.json")):
        answer = json.loads(file.read_text("utf-8"))
        if answer.get("status") == 200:
            found |= _trim(answer["results"]["BicepSchemaResult"], used)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    (FOLDER / "azure.json").write_text(text + "\n", "utf-8")
    print(f"{len(found)} types, {len(text)} bytes. Not printed: {', '.join(sorted(set(used) - set(found)))}")


def _own(resource: Deployed) -> Mapping[str, Any]:
    return {name: value for name, value in resource.body.items() if name not in OF_BICEP}


def _trim(entries: Sequence[Mapping[str, Any]], used: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    objects = {one["name"]: one for one in entries if one["$type"] != "Resource"}
    return {
        one["name"]: _shape(one["bodyType"], used[one["name"]], objects)
        for one in entries
        if one["$type"] == "Resource" and one["name"] in used
    }


def _shape(kind: Mapping[str, Any], values: Sequence[Any], objects: Mapping[str, Mapping[str, Any]]) -> Any:
    """Return an object's properties, and of those that are objects, what the values enter."""
    if kind["$type"] == "DiscriminatedObject":
        by = kind.get("discriminator", "name")
        kinds: dict[str, Any] = {}
        for element in kind["elements"]:
            inside = element if isinstance(element, dict) else objects[element]
            name = next(one["type"] for one in inside["properties"] if one["name"] == by)
            entered = [value for value in values if value.get(by) == name]
            kinds[name] = _shape(inside, entered, objects) if entered else "object"
        return {"by": by, "of": kinds}
    shape: dict[str, Any] = {}
    for one in kind["properties"]:
        flags = one.get("flags", "")
        mark = READ_ONLY if "ReadOnly" in flags else REQUIRED if "Required" in flags else ""
        entered = [value[one["name"]] for value in values if isinstance(value, Mapping) and one["name"] in value]
        shape[one["name"] + mark] = "any" if mark == READ_ONLY else _of(one["type"], entered, objects)
    if not shape and "additionalPropertiesType" in kind:
        items = [item for value in values if isinstance(value, Mapping) for item in value.values()]
        return {"*": _of(kind["additionalPropertiesType"], items, objects)}
    return shape


def _of(kind: str, values: Sequence[Any], objects: Mapping[str, Mapping[str, Any]]) -> Any:
    if kind.endswith("[]"):
        items = [item for value in values if isinstance(value, list) for item in value]
        return {"[]": _of(kind[:-2], items, objects)}
    if kind not in objects:
        return kind
    entered = [value for value in values if isinstance(value, Mapping)]
    return _shape(objects[kind], entered, objects) if entered else "object"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
