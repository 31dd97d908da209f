"""A template worked out for given parameters, as a deployment does: its resources and outputs as plain JSON.

What only Azure knows (an id, an address, a tenant) is a Reference, and in a text «symbol.path». So a check sees the
value that a property gets, however the template comes to it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from infra.checks.template import (
    Array,
    Call,
    Choice,
    Constant,
    Expression,
    Index,
    Loop,
    Member,
    Name,
    Object,
    Operation,
    Resource,
    Template,
    Text,
)


class CannotTell(ValueError):
    """An expression that does not come out: a member that is not there, a function that Bicep does not have."""


class Reference(NamedTuple):
    """A value that Azure gives: of which resource, or of which function, and by which path."""

    symbol: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"«{'.'.join((self.symbol, *self.path))}»"

    def member(self, name: str) -> Reference:
        """Return the value one step further."""
        return Reference(self.symbol, (*self.path, name))


class Deployed(NamedTuple):
    """A resource as it is deployed. `symbol` has an index where a loop made it; `scope` is that of an extension."""

    symbol: str
    type: str
    version: str
    body: Mapping[str, Any]
    line: int

    @property
    def properties(self) -> Mapping[str, Any]:
        """What stands under properties."""
        found = self.body.get("properties", {})
        return found if isinstance(found, Mapping) else {}


class Deployment(NamedTuple):
    """What a template makes with the parameters of a scenario."""

    scenario: str
    resources: Sequence[Deployed]
    outputs: Mapping[str, Any]
    parameters: Mapping[str, Any]

    def of(self, kind: str) -> list[Deployed]:
        """Return the resources of a type."""
        return [one for one in self.resources if one.type == kind]

    def get(self, symbol: str) -> Deployed | None:
        """Return the resource with a symbol, if it is deployed."""
        return next((one for one in self.resources if one.symbol == symbol), None)


def at(body: Any, path: str) -> Any:
    """Return what stands at a path with dots, None if nothing does."""
    for step in path.split("."):
        body = body.get(step) if isinstance(body, Mapping) else None
    return body


def deploy(template: Template, scenario: str, parameters: Mapping[str, Any], folder: Path) -> Deployment:
    """Work a template out. Files that it loads are found from `folder`. Raises CannotTell naming the line."""
    return _Worker(template, parameters, folder).deploy(scenario)


def constant(template: Template, name: str, folder: Path) -> Any:
    """Return a variable's value with the default parameters. Raises CannotTell."""
    return _Worker(template, {}, folder).value(Name(name, 0))


class _Worker:
    def __init__(self, template: Template, parameters: Mapping[str, Any], folder: Path) -> None:
        self.template = template
        self.given = parameters
        self.folder = folder
        self.known: dict[str, Any] = {}
        self.under_way: set[str] = set()

    def deploy(self, scenario: str) -> Deployment:
        made = [one for resource in self.template.resources.values() for one in self._deploy(resource)]
        outputs = {name: self._told(one.value, one.line) for name, one in self.template.outputs.items() if one.value}
        parameters = {name: self.value(Name(name, one.line)) for name, one in self.template.params.items()}
        return Deployment(scenario, made, outputs, parameters)

    def _told(self, expression: Expression, line: int) -> Any:
        try:
            return self.value(expression)
        except CannotTell as problem:
            raise CannotTell(f"{self.template.file}:{line}: {problem}") from None

    def _deploy(self, resource: Resource) -> list[Deployed]:
        if resource.existing or (resource.condition is not None and not self._told(resource.condition, resource.line)):
            return []
        kind, _, version = resource.type.partition("@")
        if not isinstance(resource.body, Loop):
            return [Deployed(resource.symbol, kind, version, self._told(resource.body, resource.line), resource.line)]
        return [
            Deployed(f"{resource.symbol}[{i}]", kind, version, body, resource.line)
            for i, body in enumerate(self._told(resource.body, resource.line))
        ]

    def value(self, expression: Expression, local: Mapping[str, Any] | None = None) -> Any:
        """Return what an expression comes to; `local` has the names of the loops around it."""
        local = local or {}

        def of(one: Expression) -> Any:
            return self.value(one, local)

        match expression:
            case str() | Constant():
                return expression.value if isinstance(expression, Constant) else expression
            case Text(parts):
                return _joined([of(part) for part in parts])
            case Name(name):
                return local[name] if name in local else self._named(name)
            case Object(entries):
                return {str(of(entry.key)): of(entry.value) for entry in entries}
            case Array(items):
                return [of(item) for item in items]
            case Member(inside, name):
                return _member(of(inside), name)
            case Index(inside, by):
                return _member(of(inside), of(by))
            case Choice(condition, yes, no):
                return of(yes) if of(condition) else of(no)
            case Operation(operator, operands):
                return _operate(operator, [lambda one=one: of(one) for one in operands])  # type: ignore[misc]
            case Loop(names, over, body):
                items = of(over)
                if not isinstance(items, list):
                    raise CannotTell("a loop goes over an array")
                return [
                    self.value(body, {**local, **dict(zip(names, (item, i), strict=False))})
                    for i, item in enumerate(items)
                ]
            case Call(function, arguments, line):
                return self._call(function, [of(one) for one in arguments], line)
        raise CannotTell(f"{type(expression).__name__} does not come out")

    def _named(self, name: str) -> Any:
        if name in self.known:
            return self.known[name]
        if name in self.template.resources:
            return Reference(name)
        if name in self.under_way:
            raise CannotTell(f"{name} is made of itself")
        self.under_way.add(name)
        if name in self.template.params:
            self.known[name] = self._parameter(name)
        elif name in self.template.variables:
            value = self.template.variables[name].value
            self.known[name] = self.value(value) if value is not None else None
        else:
            raise CannotTell(f"{name} is not declared")
        self.under_way.discard(name)
        return self.known[name]

    def _parameter(self, name: str) -> Any:
        if name in self.given:
            return self.given[name]
        default = self.template.params[name].value
        return Reference(f"param {name}") if default is None else self.value(default)

    def _call(self, function: str, arguments: list[Any], line: int) -> Any:
        if function in ("loadJsonContent", "loadTextContent"):
            try:
                text = (self.folder / arguments[0]).read_text("utf-8")
                return json.loads(text) if function == "loadJsonContent" else text
            except (OSError, ValueError) as error:
                raise CannotTell(f"{arguments[0]} cannot be read: {type(error).__name__}") from None
        if function not in FUNCTIONS:
            raise CannotTell(f"line {line}: {function} is no function that the checks know")
        try:
            return FUNCTIONS[function](*arguments)
        except (TypeError, ValueError, AttributeError) as error:
            raise CannotTell(f"line {line}: {function}: {error}") from None


def _joined(values: Sequence[Any]) -> Any:
    if not all(isinstance(one, str | int | Reference) for one in values):
        raise CannotTell("a text holds no object or array")
    return "".join(str(one) for one in values)


def _member(of: Any, name: Any) -> Any:
    match of:
        case Reference():
            return of.member(str(name))
        case Mapping() if name in of:
            return of[name]
        case str() if of.startswith("«"):
            return f"{of[:-1]}.{name}»"
        case list() if isinstance(name, int) and name < len(of):
            return of[name]
    raise CannotTell(f"there is no {name}")


def _operate(operator: str, operands: Sequence[Callable[[], Any]]) -> Any:
    left = operands[0]()
    match operator:
        case "!":
            return not left
        case "-" if len(operands) == 1:
            return -left
        case "&&":
            return left and operands[1]()
        case "||":
            return left or operands[1]()
        case "??":
            return operands[1]() if left is None else left
    right = operands[1]()
    both: dict[str, Callable[[], Any]] = {
        "==": lambda: left == right,
        "!=": lambda: left != right,
        ">": lambda: left > right,
        "<": lambda: left < right,
        ">=": lambda: left >= right,
        "<=": lambda: left <= right,
        "+": lambda: left + right,
        "-": lambda: left - right,
        "*": lambda: left * right,
    }
    if operator not in both:
        raise CannotTell(f"{operator} is no operator that the checks know")
    return both[operator]()


def _union(*given: Any) -> Any:
    if all(isinstance(one, list) for one in given):
        return [item for one in given for item in one]
    return {name: value for one in given for name, value in dict(one).items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON takes it: what only Azure knows is a text there."""
    if isinstance(value, Reference):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(_plain(value), separators=(",", ":"), ensure_ascii=False)


def _opaque(name: str) -> Callable[..., str]:
    return lambda *arguments: f"«{name}({', '.join(map(str, arguments))})»"


PUBLIC_CLOUD = {
    "name": "AzureCloud",
    "suffixes": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
}
"""What environment() gives in the public cloud; the loginEndpoint ends in a slash."""

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "concat": lambda *lists: [item for one in lists for item in one],
    "contains": lambda of, item: item in of,
    "empty": lambda of: not of,
    "environment": lambda: PUBLIC_CLOUD,
    "filter": lambda *_: [],
    "guid": _opaque("guid"),
    "join": lambda items, between: between.join(map(str, items)),
    "json": json.loads,
    "length": len,
    "replace": lambda text, old, new: str(text).replace(str(old), str(new)),
    "resourceGroup": lambda: Reference("resourceGroup"),
    "resourceId": _opaque("resourceId"),
    "string": _text,
    "subscription": lambda: Reference("subscription"),
    "subscriptionResourceId": _opaque("subscriptionResourceId"),
    "take": lambda of, number: str(of) if isinstance(of, Reference) else of[:number],
    "tenant": lambda: Reference("tenant"),
    "toLower": lambda text: str(text).lower(),
    "union": _union,
    "uniqueString": lambda *_: "abcdefgh23456",
}
"""Bicep's functions that the templates use."""
