"""The form that the portal shows, and azd's answers and list of services: all name what the template has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.checks.finding import Finding
from infra.checks.template import Array, Template, Text

_OF_ALL = {"name", "type", "visible"}
_OF_FIELDS = {"label", "toolTip", "defaultValue", "constraints"}
KINDS: Mapping[str, tuple[set[str], set[str]]] = {
    "Microsoft.Common.CheckBox": (_OF_FIELDS, set()),
    "Microsoft.Common.DropDown": (_OF_FIELDS, {"required", "allowedValues"}),
    "Microsoft.Common.InfoBox": ({"options"}, set()),
    "Microsoft.Common.OptionsGroup": (_OF_FIELDS, {"required", "allowedValues"}),
    "Microsoft.Common.TextBox": (_OF_FIELDS, {"required", "regex", "validationMessage"}),
}
"""Elements of the portal's forms that this one has, with what each and its constraints may say
(https://learn.microsoft.com/azure/azure-resource-manager/managed-applications/create-uidefinition-elements)."""
FUNCTIONS = {"basics", "concat", "empty", "if", "location", "parse", "steps"}
"""Functions of the portal's forms that this one uses."""
_CALL = re.compile(r"\b(\w+)\(")
_STEP = re.compile(r"(?:steps\('(\w+)'\)|basics\('(\w+)'\))((?:\.\w+)*)")


def check(template: Template, folder: Path) -> Iterator[Finding]:
    """Find outputs of the form that are no parameters, elements that are not there, and services without an app."""
    file = folder / "createUiDefinition.json"
    form = json.loads(file.read_text("utf-8"))["parameters"]
    elements = _elements(form)
    yield from _check_elements(file.name, form)
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


def _check_elements(file: str, form: Mapping[str, Any]) -> Iterator[Finding]:
    """Find what the portal does not take in a form: it shows an error, and nothing of the form."""
    names = [one["name"] for one in _all_elements(form)]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding("form", f"{file} {name}", "is the name of two elements")
    for one in _all_elements(form):
        place = f"{file} {one['name']}"
        if one["type"] not in KINDS:
            yield Finding("form", place, f"{one['type']} is no element that this form has")
            continue
        said, constraints = KINDS[one["type"]]
        for name in sorted(one.keys() - said - _OF_ALL):
            yield Finding("form", place, f"{name} is nothing that a {one['type']} has")
        for name in sorted({"label", "toolTip", "options"} & said - one.keys()):
            yield Finding("form", place, f"has no {name}")
        given = one.get("constraints", {})
        for name in sorted(given.keys() - constraints):
            yield Finding("form", place, f"constraints.{name} is nothing that a {one['type']} has")
        if ("regex" in given) != ("validationMessage" in given):
            yield Finding("form", place, "a regex and what it wants come together")
        yield from _check_regex(place, given.get("regex", ""), one.get("defaultValue", ""))
    for name, value in form["outputs"].items():
        outside = re.sub(r"'[^']*'", "''", str(value))
        for function in sorted(set(_CALL.findall(outside)) - FUNCTIONS):
            yield Finding("form", f"{file} outputs.{name}", f"{function} is no function of forms that is used here")
        if outside.count("(") != outside.count(")") or not (outside.startswith("[") and outside.endswith("]")):
            yield Finding("form", f"{file} outputs.{name}", "is broken off")


def _check_regex(place: str, regex: str, default: Any) -> Iterator[Finding]:
    try:
        fits = not regex or re.search(regex, default) is not None
    except re.error as error:
        yield Finding("form", place, f"its regex is none: {error}")
        return
    if not fits:
        yield Finding("form", place, "its regex refuses its own default")


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
