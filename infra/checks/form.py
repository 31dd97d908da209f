"""The form that the portal shows, and azd's answers and list of services: all name what the template has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.checks.finding import Finding
from infra.checks.template import Array, Template, Text

_STEP = re.compile(r"(?:steps\('(\w+)'\)|basics\('(\w+)'\))((?:\.\w+)*)")


def check(template: Template, folder: Path) -> Iterator[Finding]:
    """Find outputs of the form that are no parameters, elements that are not there, and services without an app."""
    file = folder / "createUiDefinition.json"
    form = json.loads(file.read_text("utf-8"))["parameters"]
    elements = _elements(form)
    for name, value in form["outputs"].items():
        if name not in template.params:
            yield Finding("form", f"{file.name} outputs.{name}", "is no parameter of main.bicep")
        for step, basics, path in _STEP.findall(str(value)):
            wanted = tuple(filter(None, (step or "basics" if not basics else "basics", basics, *path.split("."))))
            if not any(wanted[: len(one)] == one for one in elements):
                yield Finding("form", f"{file.name} outputs.{name}", f"there is no element {'.'.join(wanted)}")
    for name in ("scim", "admin"):
        if f'"roles": ["{name}"]' not in str(form["outputs"].get(f"{name}Credentials")):
            yield Finding("form", f"{file.name} outputs.{name}Credentials", f"has a token without the role {name}")
    for one in _all_elements(form):
        if one["name"] in template.params and one["name"] not in form["outputs"]:
            yield Finding("form", f"{file.name} {one['name']}", "is asked for, and handed on to nothing")
        for value in one.get("constraints", {}).get("allowedValues", ()):
            kind = template.params[one["name"]].kind if one["name"] in template.params else ""
            if isinstance(value["value"], str) == (kind == "bool"):
                yield Finding("form", f"{file.name} {one['name']}", f"{value['value']!r} is no {kind}")
        labels = [value["label"] for value in one.get("constraints", {}).get("allowedValues", ())]
        if labels and one.get("defaultValue") not in labels:
            yield Finding("form", f"{file.name} {one['name']}", "its defaultValue is none of its labels")
    for place, values, parameter in _choices(form):
        if parameter in template.params:
            allowed = template.params[parameter].decorators.get("allowed")
            if isinstance(allowed, Array) and values != _plain(allowed):
                yield Finding(
                    "form", f"{file.name} {place}", f"offers {values}, and main.bicep allows {_plain(allowed)}"
                )
    answers = folder / "main.parameters.json"
    for name in json.loads(answers.read_text("utf-8"))["parameters"].keys() - template.params.keys():
        yield Finding("form", f"{answers.name} {name}", "is no parameter of main.bicep")
    services = set(
        re.findall(r"^  (\w+):$", (folder / "azure.yaml").read_text("utf-8").partition("services:")[2], re.MULTILINE)
    )
    tagged = set(re.findall(r"'azd-service-name': '(\w+)'", (folder / "main.bicep").read_text("utf-8")))
    if services != tagged:
        yield Finding(
            "form", "azure.yaml", f"has the services {sorted(services)}, and main.bicep tags {sorted(tagged)}"
        )


def _elements(form: Mapping[str, Any]) -> set[tuple[str, ...]]:
    found = {("basics", one["name"]) for one in form.get("basics", [])} | {("basics", "location"), ("location",)}
    for step in form.get("steps", []):
        found |= {(step["name"], *path) for path in _paths(step["elements"])}
    return found


def _paths(elements: list[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    for one in elements:
        if one["type"] == "Microsoft.Common.Section":
            yield from ((one["name"], *path) for path in _paths(one["elements"]))
        else:
            yield (one["name"],)


def _all_elements(form: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    waiting: list[Any] = [*form.get("basics", []), *(one for step in form.get("steps", []) for one in step["elements"])]
    while waiting:
        one = waiting.pop()
        waiting += one.get("elements", [])
        yield one


def _choices(form: Mapping[str, Any]) -> Iterator[tuple[str, list[Any], str]]:
    """Return each choice of the form: its place, its values, and the parameter that has the name of its element."""
    for one in _all_elements(form):
        values = one.get("constraints", {}).get("allowedValues")
        if values:
            yield one["name"], [value["value"] for value in values], one["name"]


def _plain(allowed: Array) -> list[Any]:
    return [one.parts[0] if isinstance(one, Text) else getattr(one, "value", None) for one in allowed.items]
