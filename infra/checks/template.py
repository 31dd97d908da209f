"""A Bicep file as plain objects: its declarations, and their expressions.

tree-sitter reads it. What is not in the plain subset (modules, spread, types of one's own, a loop with a condition) is
refused with its line, so that both parsers and every check see all that there is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, TypeAlias

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

LANGUAGE = Language(tree_sitter_bicep.language())
_EXTENSION = re.compile(r"^extension (\w+)$", re.MULTILINE)
"""A statement that is younger than the parser."""


class NotPlain(ValueError):
    """A line that is no Bicep, or is outside the subset."""


@dataclass(frozen=True)
class Name:
    """A name of something declared, or a loop's own."""

    name: str
    line: int


@dataclass(frozen=True)
class Constant:
    """A number, true, false or null."""

    value: int | bool | None


@dataclass(frozen=True)
class Text:
    """A string; what stands in ${…} is an expression among its parts."""

    parts: tuple[Expression, ...]
    line: int


@dataclass(frozen=True)
class Entry:
    """A property of an object."""

    key: Text
    value: Expression
    line: int


@dataclass(frozen=True)
class Object:
    """{…}"""

    entries: tuple[Entry, ...]
    line: int


@dataclass(frozen=True)
class Array:
    """[…]"""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Call:
    """A function with its arguments."""

    function: str
    arguments: tuple[Expression, ...]
    line: int


@dataclass(frozen=True)
class Member:
    """of.name; `sure` where it is of!.name."""

    of: Expression
    name: str
    line: int
    sure: bool = False


@dataclass(frozen=True)
class Index:
    """of[by]"""

    of: Expression
    by: Expression
    line: int


@dataclass(frozen=True)
class Choice:
    """condition ? yes : no"""

    condition: Expression
    yes: Expression
    no: Expression


@dataclass(frozen=True)
class Operation:
    """An operator with one operand or two."""

    operator: str
    operands: tuple[Expression, ...]


@dataclass(frozen=True)
class Loop:
    """[for (item, index) in over: body]"""

    names: tuple[str, ...]
    over: Expression
    body: Expression
    line: int


Expression: TypeAlias = (
    str | Name | Constant | Text | Object | Array | Call | Member | Index | Choice | Operation | Loop
)


@dataclass(frozen=True)
class Declaration:
    """A parameter, variable or output. `kind` is its type; `value` None where a parameter has no default."""

    name: str
    kind: str
    value: Expression | None
    decorators: Mapping[str, Expression]
    line: int


@dataclass(frozen=True)
class Resource:
    """A resource: an object, or a loop that makes several."""

    symbol: str
    type: str
    existing: bool
    condition: Expression | None
    body: Expression
    line: int


@dataclass
class Template:
    """What a file declares, by name."""

    file: str
    params: dict[str, Declaration] = field(default_factory=dict)
    variables: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Declaration] = field(default_factory=dict)
    resources: dict[str, Resource] = field(default_factory=dict)
    extensions: list[str] = field(default_factory=list)
    scope: str = "resourceGroup"
    twice: list[Name] = field(default_factory=list)

    def declared(self) -> dict[str, int]:
        """Return the line of each name that an expression may use."""
        places: dict[str, int] = {}
        for group in (self.params, self.variables, self.resources):
            places |= {name: one.line for name, one in group.items()}
        return places

    def expressions(self) -> Iterator[Expression]:
        """Return all expressions of the file."""
        for group in (self.params, self.variables, self.outputs):
            for one in group.values():
                yield from one.decorators.values()
                if one.value is not None:
                    yield one.value
        for resource in self.resources.values():
            yield resource.body
            if resource.condition is not None:
                yield resource.condition


def parts(expression: Expression) -> Iterator[Expression]:
    """Return an expression and all that it is made of."""
    yield expression
    if not isinstance(expression, str | Name | Constant):
        for one in fields(expression):
            yield from _within(getattr(expression, one.name))


def _within(value: Any) -> Iterator[Expression]:
    if isinstance(value, tuple):
        for one in value:
            yield from _within(one)
    elif hasattr(value, "__dataclass_fields__"):
        yield from parts(value)


def read(source: str, file: str) -> Template:
    """Return what a Bicep file declares. Raises NotPlain naming the line."""
    template = Template(file)
    template.extensions += _EXTENSION.findall(source)
    source = _EXTENSION.sub("", source)
    root = Parser(LANGUAGE).parse(source.encode()).root_node
    if root.has_error:
        raise NotPlain(f"{file}:{_first_error(root)}: this is no Bicep")
    waiting: dict[str, Expression] = {}
    for node in root.children:
        if not node.is_named or node.type in ("comment", "diagnostic_comment"):
            continue
        if node.type == "decorators":
            waiting = dict(_decorator(child, file) for child in node.named_children if child.type == "decorator")
            continue
        _declare(template, node, waiting)
        waiting = {}
    return template


def _first_error(node: Node) -> int:
    for child in node.children:
        if child.is_error or child.is_missing:
            return _line(child)
        if child.has_error:
            return _first_error(child)
    return _line(node)


def _line(node: Node) -> int:
    return node.start_point.row + 1


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _named(node: Node) -> list[Node]:
    return [child for child in node.named_children if child.type not in ("comment", "diagnostic_comment")]


def _decorator(node: Node, file: str) -> tuple[str, Expression]:
    call = _expression(_named(node)[0], file)
    if isinstance(call, Call):
        return call.function, call.arguments[0] if call.arguments else Constant(None)
    raise NotPlain(f"{file}:{_line(node)}: a decorator is written with its parentheses")


def _declare(template: Template, node: Node, decorators: Mapping[str, Expression]) -> None:
    inside = _named(node)
    match node.type:
        case "target_scope_assignment":
            template.scope = _text(inside[0]).strip("'")
        case "metadata_declaration":
            pass
        case "parameter_declaration":
            value = _expression(inside[2], template.file) if len(inside) > 2 else None
            _keep(
                template,
                template.params,
                Declaration(_text(inside[0]), _text(inside[1]), value, decorators, _line(node)),
            )
        case "variable_declaration":
            value = _expression(inside[1], template.file)
            _keep(template, template.variables, Declaration(_text(inside[0]), "", value, decorators, _line(node)))
        case "output_declaration":
            value = _expression(inside[2], template.file)
            name = _text(inside[0])
            template.outputs[name] = Declaration(name, _text(inside[1]), value, decorators, _line(node))
        case "resource_declaration":
            _keep_resource(template, node, inside)
        case _:
            raise NotPlain(f"{template.file}:{_line(node)}: {node.type} is outside the plain subset")


def _keep(template: Template, group: dict[str, Declaration], one: Declaration) -> None:
    if one.name in template.declared():
        template.twice.append(Name(one.name, one.line))
    group[one.name] = one


def _keep_resource(template: Template, node: Node, inside: Sequence[Node]) -> None:
    symbol, condition, body = _text(inside[0]), None, inside[2]
    if symbol in template.declared():
        template.twice.append(Name(symbol, _line(node)))
    if body.type == "if_statement":
        asked, body = _named(body)
        condition = _expression(asked, template.file)
    template.resources[symbol] = Resource(
        symbol,
        _text(inside[1]).strip("'"),
        any(child.type == "existing" or _text(child) == "existing" for child in node.children),
        condition,
        _expression(body, template.file),
        _line(node),
    )


def _expression(node: Node, file: str) -> Expression:
    line = _line(node)
    inside = _named(node)

    def of(child: Node) -> Expression:
        return _expression(child, file)

    match node.type:
        case "identifier":
            return Name(_text(node), line)
        case "number":
            return Constant(int(_text(node)))
        case "boolean":
            return Constant(_text(node) == "true")
        case "null":
            return Constant(None)
        case "string":
            return _string(node, file)
        case "object":
            return Object(tuple(_entry(child, file) for child in inside), line)
        case "array":
            return Array(tuple(map(of, inside)))
        case "parenthesized_expression":
            return of(inside[0])
        case "call_expression":
            arguments = _named(inside[1]) if len(inside) > 1 else []
            return Call(_text(inside[0]), tuple(map(of, arguments)), line)
        case "member_expression":
            sure = any(_text(child) == "!" for child in node.children)
            return _of_last(inside[0], of, lambda one: Member(one, _text(inside[1]), line, sure))
        case "subscript_expression":
            return _of_last(inside[0], of, lambda one: Index(one, of(inside[1]), line))
        case "ternary_expression":
            return Choice(of(inside[0]), of(inside[1]), of(inside[2]))
        case "binary_expression" | "unary_expression":
            if any(child.type == "ternary_expression" for child in inside):
                raise NotPlain(f"{file}:{line}: put parentheses around the condition")
            operator = next(_text(child) for child in node.children if not child.is_named)
            return Operation(operator, tuple(map(of, inside)))
        case "nullable_expression" | "non_null_assertion" | "null_forgiving_expression" | "assertion_expression":
            return of(inside[0])
        case "for_statement":
            return _loop(node, inside, file)
    raise NotPlain(f"{file}:{line}: {node.type} is outside the plain subset")


def _of_last(node: Node, of: Callable[[Node], Expression], take: Callable[[Expression], Expression]) -> Expression:
    """Return what is taken of an expression. In `a ? b : c.d` the parser takes d of the whole; Bicep takes it of c."""
    found = of(node)
    if node.type != "parenthesized_expression" and isinstance(found, Choice):
        return Choice(found.condition, found.yes, take(found.no))
    return take(found)


def _loop(node: Node, inside: Sequence[Node], file: str) -> Loop:
    names = [_text(one) for one in (_named(inside[0]) if inside[0].type == "for_loop_parameters" else [inside[0]])]
    if inside[2].type == "if_statement":
        raise NotPlain(f"{file}:{_line(node)}: a loop with a condition is outside the plain subset")
    return Loop(tuple(names), _expression(inside[1], file), _expression(inside[2], file), _line(node))


_ESCAPE = re.compile(r"\\(?:u\{([0-9a-fA-F]+)\}|(.))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r"}
_RAW = "'''"


def _string(node: Node, file: str) -> Text:
    """Return a string's parts: its text between the expressions in it, as it was written, but for escapes."""
    source, begin = node.text or b"", node.start_byte
    if source.decode().startswith(_RAW):
        return Text((source.decode()[3:-3].removeprefix("\n"),), _line(node))
    found: list[Expression] = []
    position = 1
    for child in node.named_children:
        if child.type == "interpolation":
            found += _unescaped(source[position : child.start_byte - begin])
            found.append(_expression(_named(child)[0], file))
            position = child.end_byte - begin
    found += _unescaped(source[position:-1])
    return Text(tuple(found), _line(node))


def _unescaped(source: bytes) -> list[str]:
    def meant(found: re.Match[str]) -> str:
        return chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2])

    return [_ESCAPE.sub(meant, source.decode())] if source else []


def _entry(node: Node, file: str) -> Entry:
    if node.type != "object_property":
        raise NotPlain(f"{file}:{_line(node)}: {node.type} is outside the plain subset")
    key, value = _named(node)
    written = _string(key, file) if key.type == "string" else Text((_text(key),), _line(key))
    return Entry(written, _expression(value, file), _line(node))
