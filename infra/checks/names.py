"""Names and functions: all that an expression uses is declared, all that is declared is used, and nothing twice."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from infra.checks.evaluation import FUNCTIONS, Deployed, Deployment
from infra.checks.finding import Finding
from infra.checks.template import Call, Expression, Loop, Member, Name, Object, Resource, Template, parts

LOADED = {"loadJsonContent", "loadTextContent"}
DECORATORS = {
    "allowed",
    "batchSize",
    "description",
    "maxLength",
    "maxValue",
    "metadata",
    "minLength",
    "minValue",
    "secure",
}
TYPES = {"array", "bool", "int", "object", "string"}


def check(template: Template) -> Iterator[Finding]:
    """Find names that are not declared, not used or declared twice, and functions that Bicep does not have."""
    declared = template.declared()
    used: set[str] = set()
    for expression in template.expressions():
        for one in free(expression, frozenset()):
            used.add(one.name)
            if one.name not in declared:
                yield Finding("name", f"{template.file}:{one.line}", f"{one.name} is not declared")
        yield from _functions(template, expression)
    for name, line in declared.items():
        if name not in used and name not in template.resources:
            yield Finding("name", f"{template.file}:{line}", f"{name} is not used")
    for twice in template.twice:
        yield Finding("name", f"{template.file}:{twice.line}", f"{twice.name} is declared twice")
    yield from _declarations(template)
    yield from _perhaps_not_there(template)
    for resource in template.resources.values():
        yield from _properties_twice(template, resource.body)


def free(expression: Expression, local: frozenset[str]) -> Iterator[Name]:
    """Return the names in an expression that are not those of a loop around them."""
    if isinstance(expression, Name):
        if expression.name not in local:
            yield expression
    elif isinstance(expression, Loop):
        yield from free(expression.over, local)
        yield from free(expression.body, local | set(expression.names))
    elif not isinstance(expression, str):
        for one in _children(expression):
            yield from free(one, local)


def _children(expression: Expression) -> Iterator[Expression]:
    for value in vars(expression).values():
        for one in value if isinstance(value, tuple) else (value,):
            if hasattr(one, "key") and hasattr(one, "value"):
                yield from (one.key, one.value)
            elif hasattr(one, "__dataclass_fields__"):
                yield one


def _functions(template: Template, expression: Expression) -> Iterator[Finding]:
    for one in parts(expression):
        if isinstance(one, Call) and one.function not in FUNCTIONS.keys() | LOADED:
            yield Finding(
                "name", f"{template.file}:{one.line}", f"{one.function} is no function of Bicep's that is used here"
            )


def _declarations(template: Template) -> Iterator[Finding]:
    for one in (*template.params.values(), *template.outputs.values()):
        place = f"{template.file}:{one.line}"
        if one.kind not in TYPES:
            yield Finding("plain", place, f"{one.name} is a {one.kind}: only {', '.join(sorted(TYPES))} are plain")
        if "description" not in one.decorators:
            yield Finding("description", place, f"{one.name} says nothing: the portal shows its description")
        for decorator in one.decorators.keys() - DECORATORS:
            yield Finding("name", place, f"{decorator} is no decorator of Bicep's")


def _perhaps_not_there(template: Template) -> Iterator[Finding]:
    """Find what is taken of a resource with a condition as if it were there: Bicep warns of it (BCP318)."""
    for expression in template.expressions():
        for one in parts(expression):
            if isinstance(one, Member) and isinstance(one.of, Name) and one.name not in ("id", "name") and not one.sure:
                resource = template.resources.get(one.of.name)
                if resource is not None and resource.condition is not None:
                    text = (
                        f"{one.of.name} may not be there: {one.of.name}!.{one.name}, where a condition says that it is"
                    )
                    yield Finding("name", f"{template.file}:{one.line}", text)


def _properties_twice(template: Template, body: Expression) -> Iterator[Finding]:
    for one in parts(body):
        if isinstance(one, Object):
            seen: set[object] = set()
            for entry in one.entries:
                if entry.key.parts in seen:
                    yield Finding("property", f"{template.file}:{entry.line}", f"{entry.key.parts[0]} is set twice")
                seen.add(entry.key.parts)


NAMES: Mapping[str, str] = {
    "Microsoft.Storage/storageAccounts": r"[a-z0-9]{3,24}",
    "Microsoft.Storage/storageAccounts/blobServices/containers": r"[a-z0-9](?:-?[a-z0-9]){2,62}",
    "Microsoft.Storage/storageAccounts/tableServices/tables": r"[A-Za-z][A-Za-z0-9]{2,62}",
    "Microsoft.KeyVault/vaults": r"(?=.{3,24}$)[A-Za-z](?:-?[A-Za-z0-9])*",
    # The host's id is the first 32 letters of the name: two apps whose names begin alike would share their leases.
    "Microsoft.Web/sites": r"[A-Za-z0-9](?:-?[A-Za-z0-9]){1,31}",
    "Microsoft.DurableTask/schedulers": r"[A-Za-z0-9-]{3,64}",
    "Microsoft.OperationalInsights/workspaces": r"[A-Za-z0-9][A-Za-z0-9-]{2,61}[A-Za-z0-9]",
}
"""Names that Azure takes, by type
(https://learn.microsoft.com/azure/azure-resource-manager/management/resource-name-rules)."""


def check_start(template: Template, deployment: Deployment) -> Iterator[Finding]:
    """Find names of resources that only a deployment knows: Azure needs them before it begins (BCP120)."""
    seen: dict[tuple[str, ...], str] = {}
    for resource in deployment.resources:
        name = str(resource.body.get("name", ""))
        if ".properties." in name or not (name or resource.type.startswith("Microsoft.Graph/")):
            yield Finding("name", resource.symbol, "its name must be known before the deployment begins")
        if not re.fullmatch(NAMES.get(resource.type, ".*"), name):
            yield Finding("name", resource.symbol, f"{name} is no name that Azure takes ({deployment.scenario})")
        place = (resource.type, str(resource.body.get("parent", "")), str(resource.body.get("scope", "")), name)
        if place in seen and name:
            yield Finding("name", resource.symbol, f"has the name of {seen[place]}")
        seen[place] = resource.symbol
        yield from _known_parent(template, resource)


def _known_parent(template: Template, resource: Deployed) -> Iterator[Finding]:
    declared: Resource = template.resources[resource.symbol.partition("[")[0]]
    kind = declared.type.partition("@")[0]
    parent = resource.body.get("parent")
    nested = kind.count("/") > 1 and not kind.startswith("Microsoft.Graph/")
    if nested and parent is None:
        yield Finding("property", resource.symbol, f"a {kind} has a parent")
    elif parent is not None:
        above = template.resources[parent.symbol].type.partition("@")[0]
        if kind.rpartition("/")[0] != above:
            yield Finding("property", resource.symbol, f"a {kind} is no child of a {above}")


def check_taken(template: Template, deployments: list[Deployment]) -> Iterator[Finding]:
    """Find resources that no scenario deploys: nothing has been looked at there."""
    taken = {one.symbol.partition("[")[0] for deployment in deployments for one in deployment.resources}
    for resource in template.resources.values():
        if resource.symbol not in taken and not resource.existing:
            yield Finding(
                "scenario", f"{template.file}:{resource.line}", f"{resource.symbol} is deployed in no scenario"
            )
