"""What the linter in Bicep's compiler warns of unless it is told otherwise, and a template of the plain subset can do.

Each finding has the name of the linter's rule (https://aka.ms/bicep/linter-diagnostics). What is not here, other checks
find (names that nobody uses, regions that are written down, secrets), or the plain subset leaves out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infra.checks.finding import Finding
from infra.checks.names import free
from infra.checks.template import Array, Call, Expression, Loop, Name, Object, Resource, Template, Text, parts

HOSTS = (
    *("azuredatalakeanalytics.net", "azuredatalakestore.net", "batch.core.windows.net", "core.windows.net"),
    *("database.windows.net", "datalake.azure.net", "gallery.azure.com", "graph.windows.net"),
    *("login.microsoftonline.com", "management.azure.com", "management.core.windows.net", "vault.azure.net"),
)
"""Hosts that environment() has, and that differ in sovereign clouds."""
_QUOTED = re.compile(r"^\s*'([A-Za-z_]\w*)':", re.MULTILINE)


def check(template: Template, source: str) -> Iterator[Finding]:
    """Find what the linter warns of."""
    for one in _QUOTED.finditer(source):
        line = source.count("\n", 0, one.start(1)) + 1
        yield _warns(template, "prefer-unquoted-property-names", line, f"{one[1]} needs no quotation marks")
    for expression in _values(template):
        yield from _check_value(template, expression)
        for part in parts(expression):
            yield from _check_part(template, part)
    after = {symbol: _reached(template, _without_order(one.body)) for symbol, one in template.resources.items()}
    for symbol, resource in template.resources.items():
        if resource.existing and not any(symbol in found for found in after.values()):
            yield _warns(template, "no-unused-existing-resources", resource.line, f"{symbol} is used by nothing")
        implied = _all_before(symbol, after)
        for early in _order(resource):
            if early.name in implied and not isinstance(template.resources[early.name].body, Loop):
                told = f"{symbol} is after {early.name} without being told"
                yield _warns(template, "no-unnecessary-dependson", early.line, told)


def _warns(template: Template, rule: str, line: int, text: str) -> Finding:
    return Finding("lint", f"{template.file}:{line}", f"{text} ({rule})")


def _values(template: Template) -> Iterator[Expression]:
    """Return what a file sets: all its expressions but what decorators say."""
    for group in (template.params, template.variables, template.outputs):
        yield from (one.value for one in group.values() if one.value is not None)
    yield from (one.body for one in template.resources.values())


def _check_part(template: Template, one: Expression) -> Iterator[Finding]:
    if isinstance(one, Call) and one.function == "concat" and any(isinstance(each, Text) for each in one.arguments):
        yield _warns(template, "prefer-interpolation", one.line, "texts are joined by ${…}")
    if isinstance(one, Call) and one.function == "json" and _literal(one.arguments[0]) == "null":
        yield _warns(template, "simplify-json-null", one.line, "json('null') is null")
    if isinstance(one, Text):
        found = next((host for host in HOSTS if host in _literal(one).lower()), None)
        if found is not None:
            yield _warns(template, "no-hardcoded-env-urls", one.line, f"{found} differs by cloud: environment() has it")
    if isinstance(one, Object):
        for entry in one.entries:
            yield from _check_value(template, entry.value)


def _check_value(template: Template, value: Expression) -> Iterator[Finding]:
    if isinstance(value, Text) and len(value.parts) == 1 and not isinstance(value.parts[0], str):
        yield _warns(template, "simplify-interpolation", value.line, "a text of one value alone is that value")


def _literal(one: Expression) -> str:
    return "".join(part for part in one.parts if isinstance(part, str)) if isinstance(one, Text) else ""


def _body(resource: Resource) -> Expression:
    return resource.body.body if isinstance(resource.body, Loop) else resource.body


def _order(resource: Resource) -> list[Name]:
    """Return what a resource's dependsOn names."""
    body = _body(resource)
    entries = body.entries if isinstance(body, Object) else ()
    told = next((one.value for one in entries if one.key.parts == ("dependsOn",)), Array(()))
    return [one for one in told.items if isinstance(one, Name)] if isinstance(told, Array) else []


def _without_order(body: Expression) -> Expression:
    if isinstance(body, Loop):
        return Loop(body.names, body.over, _without_order(body.body), body.line)
    if isinstance(body, Object):
        return Object(tuple(one for one in body.entries if one.key.parts != ("dependsOn",)), body.line)
    return body


def _reached(template: Template, expression: Expression) -> set[str]:
    """Return the resources that an expression names, itself or through variables."""
    found: set[str] = set()
    waiting, seen = [expression], set[str]()
    while waiting:
        for one in free(waiting.pop(), frozenset()):
            if one.name in template.resources:
                found.add(one.name)
            elif one.name in template.variables and one.name not in seen:
                seen.add(one.name)
                value = template.variables[one.name].value
                waiting += [value] if value is not None else []
    return found


def _all_before(symbol: str, after: Mapping[str, set[str]]) -> set[str]:
    """Return what a resource is deployed after by what its properties name, and theirs."""
    found: set[str] = set()
    waiting = [*after[symbol]]
    while waiting:
        one = waiting.pop()
        if one not in found:
            found.add(one)
            waiting += after[one]
    return found
