"""Filters: the grammar of RFC 7644 section 3.4.2.2 (figure 1) and the tree it parses to, which prints itself.

One method for each rule, with its ABNF beside it. What a filter means for a document is evaluate.py's;
path.py uses the same rules for the paths of PATCH operations.
Beyond the grammar, because Entra and its validator send it: a value without quotation marks, and a value path
with a sub-attribute on the left of a comparison (`emails[type eq "work"].value eq "…"`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TypeVar

from shared.scim.errors import InvalidFilter
from shared.scim.limits import MAX_FILTER_CHARS, MAX_FILTER_DEPTH, MAX_FILTER_TERMS
from shared.scim.schema import CORE_URNS

Literal = str | bool | int | float | None


@dataclass(frozen=True, slots=True)
class Path:
    """An attribute path or value path: `urn:attribute[value_filter].sub_attribute`, all but the attribute optional."""

    urn: str | None
    attribute: str
    value_filter: Filter | None = None
    sub_attribute: str | None = None

    def __str__(self) -> str:
        urn = f"{self.urn}:" if self.urn else ""
        value_filter = f"[{self.value_filter}]" if self.value_filter else ""
        sub_attribute = f".{self.sub_attribute}" if self.sub_attribute else ""
        return f"{urn}{self.attribute}{value_filter}{sub_attribute}"

    @property
    def key(self) -> str:
        """The path in lower case without the URN of a core schema: equal for every spelling of one path."""
        is_core = self.urn is not None and self.urn.lower() in CORE_URNS
        return str(replace(self, urn=None) if is_core else self).lower()


@dataclass(frozen=True, slots=True)
class Comparison:
    """An attribute compared with a literal. `operator` is in lower case."""

    path: Path
    operator: str
    value: Literal

    def __str__(self) -> str:
        return f"{self.path} {self.operator} {json.dumps(self.value, ensure_ascii=False)}"


@dataclass(frozen=True, slots=True)
class Present:
    """An attribute has a value."""

    path: Path

    def __str__(self) -> str:
        return f"{self.path} pr"


@dataclass(frozen=True, slots=True)
class ValuePath:
    """Some value of a complex attribute passes the value filter of `path`."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True, slots=True)
class And:
    """Every term holds. At least two."""

    terms: tuple[Filter, ...]

    def __str__(self) -> str:
        return " and ".join(f"({term})" if isinstance(term, And | Or) else str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Or:
    """Some term holds. At least two."""

    terms: tuple[Filter, ...]

    def __str__(self) -> str:
        return " or ".join(f"({term})" if isinstance(term, Or) else str(term) for term in self.terms)


@dataclass(frozen=True, slots=True)
class Not:
    """The term does not hold."""

    term: Filter

    def __str__(self) -> str:
        return f"not ({self.term})"


Term = Comparison | Present | ValuePath
Filter = Term | And | Or | Not
LookUp = TypeVar("LookUp", bound=Hashable)


def parse_filter(text: str) -> Filter:
    """Return the tree of a filter. Raises InvalidFilter with the position (from 1) and what is expected there.

    Not cached: nearly every filter holds another person's value, and parsing one takes microseconds.
    """
    parser = Parser(text)
    tree = parser.filter()
    parser.end()
    return tree


def equalities(tree: Filter) -> tuple[tuple[str, Literal], ...]:
    """Return (path key, value) of every `eq` that must hold for the filter to hold.

    A key is in lower case and holds the value filter, such as `emails[type eq "work"].value`; see `Path.key`.
    """
    if isinstance(tree, Comparison) and tree.operator == "eq":
        return ((tree.path.key, tree.value),)
    if isinstance(tree, And):
        return tuple(pair for term in tree.terms for pair in equalities(term))
    return ()


def look_ups(
    tree: Filter, of_term: Callable[[Term], Sequence[LookUp] | None], cost: Callable[[LookUp], int]
) -> Sequence[LookUp] | None:
    """Return the look-ups that together lead to all that passes a filter, or None where no index does.

    `of_term` returns those of one term. Every term of an `or` needs its own; of an `and` the cheapest term's will do.
    """
    if isinstance(tree, Not):
        return None
    if not isinstance(tree, And | Or):
        return of_term(tree)
    parts = [look_ups(term, of_term, cost) for term in tree.terms]
    known = [part for part in parts if part is not None]
    if isinstance(tree, And):
        return min(known, key=lambda part: sum(map(cost, part)), default=None)
    return list(dict.fromkeys(chain.from_iterable(known))) if len(known) == len(parts) else None


def mentions(tree: Filter, attribute: str) -> bool:
    """Tell whether a core attribute, named in lower case, occurs in the filter."""
    if isinstance(tree, And | Or):
        return any(mentions(term, attribute) for term in tree.terms)
    if isinstance(tree, Not):
        return mentions(tree.term, attribute)
    return Path(tree.path.urn, tree.path.attribute).key == attribute


def count_terms(tree: Filter) -> int:
    """Return how many comparisons the filter makes at most for one document or value."""
    if isinstance(tree, And | Or):
        return sum(map(count_terms, tree.terms))
    if isinstance(tree, Not):
        return count_terms(tree.term)
    return 1


_ATTRIBUTE_PATH = re.compile(
    r"""\s*
    (?: ((?i:urn):[^\s()\[\]",]+) : )?      # the URN of a schema, up to the last colon
    ( [A-Za-z$][\w-]* )                     # ATTRNAME; "$" for $ref
    (?: \. ( [A-Za-z$][\w-]* ) )?           # subAttr""",
    re.VERBOSE | re.ASCII,
)
_SUB_ATTRIBUTE = re.compile(r"\.([A-Za-z$][\w-]*)", re.ASCII)
_OPERATOR = re.compile(r"\s+(eq|ne|co|sw|ew|gt|ge|lt|le|pr)(?![\w-])", re.IGNORECASE)
_VALUE = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|([^\s()\[\]"]+))""", re.DOTALL)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?")
_AND = re.compile(r"\s*and(?![\w:.-])", re.IGNORECASE)
_OR = re.compile(r"\s*or(?![\w:.-])", re.IGNORECASE)
_NOT = re.compile(r"\s*not\s*(?=\()", re.IGNORECASE)
_OPEN = re.compile(r"\s*\(")
_CLOSE = re.compile(r"\s*\)")
_CLOSE_BRACKET = re.compile(r"\s*\]")
_BLANK = re.compile(r"\s*")
_WORDS: dict[str, Literal] = {"true": True, "false": False, "null": None}


class Parser:
    """A position in a text, and a method for each rule, which moves it on or raises InvalidFilter."""

    __slots__ = ("_depth", "_in_value_path", "_terms", "position", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0
        self._depth = 0
        self._terms = 0
        self._in_value_path = False
        if len(text) > MAX_FILTER_CHARS:
            raise InvalidFilter(f"A filter has at most {MAX_FILTER_CHARS} characters. Ask in several requests.")
        if not text.isascii():
            _check_characters(text)

    def filter(self) -> Filter:
        """FILTER = attrExp / logExp / valuePath / *1"not" "(" FILTER ")"; `or` binds weakest."""
        first = self._conjunction()
        if not self._take(_OR):
            return first
        terms = [first, self._conjunction()]
        while self._take(_OR):
            terms.append(self._conjunction())
        return Or(tuple(terms))

    def _conjunction(self) -> Filter:
        """logExp = FILTER SP ("and" / "or") SP FILTER; this is its `and`."""
        first = self._factor()
        if not self._take(_AND):
            return first
        terms = [first, self._factor()]
        while self._take(_AND):
            terms.append(self._factor())
        return And(tuple(terms))

    def _factor(self) -> Filter:
        """*1"not" "(" FILTER ")" / attrExp / valuePath"""
        negated = self._take(_NOT)
        if not self._take(_OPEN):
            return self._expression()
        self._enter()
        tree = self.filter()
        self._depth -= 1
        if not self._take(_CLOSE):
            raise self.error("and, or, or a closing parenthesis is expected")
        return Not(tree) if negated else tree

    def _expression(self) -> Filter:
        """attrExp = (attrPath SP "pr") / (attrPath SP compareOp SP compValue)"""
        self._terms += 1
        if self._terms > MAX_FILTER_TERMS:
            raise InvalidFilter(f"A filter has at most {MAX_FILTER_TERMS} comparisons. Ask in several requests.")
        path = self.path()
        match = _OPERATOR.match(self.text, self.position)
        if match is None:
            if path.value_filter is not None and path.sub_attribute is None:
                return ValuePath(path)
            raise self.error("an operator is expected: eq, ne, co, sw, ew, gt, ge, lt, le or pr")
        self.position = match.end()
        operator = match[1].lower()
        return Present(path) if operator == "pr" else Comparison(path, operator, self._value())

    def path(self) -> Path:
        """attrPath = [URI ":"] ATTRNAME *1subAttr; valuePath = attrPath "[" valFilter "]", PATCH adds [subAttr]"""
        match = _ATTRIBUTE_PATH.match(self.text, self.position)
        if match is None:
            raise self.error("the name of an attribute is expected")
        self.position = match.end()
        urn, attribute, sub_attribute = match.groups()
        if not self.text.startswith("[", self.position):
            return Path(urn, attribute, None, sub_attribute)
        if sub_attribute is not None or self._in_value_path:
            raise self.error("a value filter belongs after the name of an attribute, and not inside another one")
        value_filter = self._value_filter()
        match = _SUB_ATTRIBUTE.match(self.text, self.position)
        if match is None:
            return Path(urn, attribute, value_filter)
        self.position = match.end()
        return Path(urn, attribute, value_filter, match[1])

    def _value_filter(self) -> Filter:
        """valFilter = attrExp / logExp / *1"not" "(" valFilter ")", in brackets"""
        self.position += 1
        self._enter()
        self._in_value_path = True
        tree = self.filter()
        self._in_value_path = False
        self._depth -= 1
        if not self._take(_CLOSE_BRACKET):
            raise self.error("and, or, or a closing bracket is expected")
        return tree

    def _value(self) -> Literal:
        """compValue = false / null / true / number / string, as JSON; a bare word is a string too"""
        match = _VALUE.match(self.text, self.position)
        if match is None:
            raise self.error('a value is expected, such as "text", true, 12 or null')
        quoted, bare = match.groups()
        if quoted is None:
            self.position = match.end()
            return _bare(bare)
        if "\\" in quoted:
            quoted = self._unescape(quoted)
        self.position = match.end()
        return str(quoted)

    def _unescape(self, quoted: str) -> str:
        try:
            text = str(json.loads(f'"{quoted}"', strict=False))
        except ValueError:
            raise self.error("the string has a backslash that JSON does not know; write it twice") from None
        _check_characters(text)
        return text

    def _take(self, token: re.Pattern[str]) -> bool:
        match = token.match(self.text, self.position)
        if match is None:
            return False
        self.position = match.end()
        return True

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > MAX_FILTER_DEPTH:
            raise InvalidFilter(f"A filter nests at most {MAX_FILTER_DEPTH} parentheses. Take some out.")

    def end(self) -> None:
        """Raise InvalidFilter if anything but blanks is left."""
        self._take(_BLANK)
        if self.position < len(self.text):
            raise self.error("and, or, or the end is expected; a value with blanks needs quotation marks")

    def error(self, expectation: str) -> InvalidFilter:
        """Return the error for the present position."""
        return InvalidFilter(f"At character {self.position + 1} of the filter {expectation}.")


def _bare(word: str) -> Literal:
    """Return what an unquoted word stands for: a Boolean, null, a number that prints as itself, or text."""
    lower = word.lower()
    if lower in _WORDS:
        return _WORDS[lower]
    if _NUMBER.fullmatch(word):
        number = float(word) if "." in word else int(word)
        if str(number) == word:
            return number
    return word


def _check_characters(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidFilter("A filter holds half of a surrogate pair. Send whole characters in UTF-8.") from None
