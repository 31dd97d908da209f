"""What is made of a value of an identity before it is compared: data in a rule of the policy. Pure.

A transform makes of what Entra has the form that the application has. So an account is found by the value as it is
stored, and nothing about accounts is guessed. Where a transform does not apply there is no value to compare.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.directory.matching.domains import domain_of, to_ascii
from shared.directory.text import Advice

MOST: Final = 5
"""Transforms of one rule, at most."""
MAX_PREFIX: Final = 64
"""Characters that a transform puts before a value, at most."""
MOST_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class Transform:
    """One transform: its name and what it takes, "" where it takes nothing. Both are as read_transforms() checked."""

    name: str
    value: str = ""
    to: str = ""

    def apply(self, text: str) -> str:
        """Return what the transform makes of a text; "" where it does not apply."""
        return _APPLY[self.name](self, text)

    def words(self) -> str:
        """Return the transform in the words in which evidence and reasons show it."""
        return _WORDS[self.name].format(self.value, self.to)

    def to_json(self) -> Any:
        """Return the transform as the policy shows it."""
        if self.name == "replaceDomain":
            return {self.name: {"from": self.value, "to": self.to}}
        if self.name == "padZeros":
            return {self.name: int(self.value)}
        return {self.name: self.value} if self.value else self.name


def transformed(text: str, transforms: Sequence[Transform]) -> str:
    """Return what some transforms, one after the other, make of a text; "" where one does not apply."""
    for one in transforms:
        text = one.apply(text) if text else ""
    return text


def in_words(attribute: str, transforms: Sequence[Transform]) -> str:
    """Return the name of an attribute with what is made of its value."""
    return f"{attribute} ({', '.join(one.words() for one in transforms)})" if transforms else attribute


def _replaced(one: Transform, text: str) -> str:
    # A full-width @ is one, as for the domain.
    local = unicodedata.normalize("NFKC", text).strip().rpartition("@")[0]
    return f"{local}@{one.to}" if local and domain_of(text) == one.value else ""


_APPLY: Final[Mapping[str, Callable[[Transform, str], str]]] = {
    "beforeAt": lambda _, text: text.rpartition("@")[0] if "@" in text else text,
    "replaceDomain": _replaced,
    "addDomain": lambda one, text: "" if "@" in text else f"{text}@{one.value}",
    "addPrefix": lambda one, text: one.value + text,
    "stripLeadingZeros": lambda _, text: text.strip().lstrip("0"),
    "padZeros": lambda one, text: _padded(text.strip(), int(one.value)),
}
_WORDS: Final = {
    "beforeAt": "the part before @",
    "replaceDomain": "@{0} replaced by @{1}",
    "addDomain": "with @{0} added",
    "addPrefix": "with {0} before it",
    "stripLeadingZeros": "without leading zeros",
    "padZeros": "with zeros before it to {0} digits",
}
_EXAMPLES: Final = (
    '"beforeAt", {"replaceDomain": {"from": "new.example", "to": "old.example"}}, {"addDomain": "old.example"}, '
    '{"addPrefix": "CORP\\\\"}, "stripLeadingZeros", {"padZeros": 8}'
)


def _padded(text: str, digits: int) -> str:
    return text.zfill(digits) if text.isascii() and text.isdigit() else ""


def read_transforms(where: str, value: object) -> tuple[Transform, ...]:
    """Return the transforms of a rule. Raises ValueError with `where` they are and what they may be."""
    if not isinstance(value, list) or len(value) > MOST:
        raise ValueError(f"{where}: must be a list of at most {MOST} transforms, from: {_EXAMPLES}")
    return tuple(_read(f"{where}.{number}", item) for number, item in enumerate(value))


def _read(where: str, item: object) -> Transform:
    if item in ("beforeAt", "stripLeadingZeros"):
        return Transform(str(item))
    if isinstance(item, Mapping) and len(item) == 1:
        ((name, value),) = item.items()
        if name == "replaceDomain" and isinstance(value, Mapping) and value.keys() == {"from", "to"}:
            return Transform(name, *(_domain(f"{where}.{name}.{side}", value[side]) for side in ("from", "to")))
        if name == "addDomain":
            return Transform(name, _domain(f"{where}.{name}", value))
        if name == "addPrefix":
            if isinstance(value, str) and 0 < len(value) <= MAX_PREFIX and not re.search(r"[\s@\x00-\x1f]", value):
                return Transform(name, value)
            raise ValueError(f"{where}.{name}: must be 1 to {MAX_PREFIX} characters without spaces and @")
        if name == "padZeros":
            if isinstance(value, int) and not isinstance(value, bool) and 1 < value <= MOST_DIGITS:
                return Transform(name, str(value))
            raise ValueError(f"{where}.{name}: must be a whole number from 2 to {MOST_DIGITS}")
    raise ValueError(Advice(f"{where}: is no transform;", f"there are: {_EXAMPLES}", "transforms"))


def _domain(where: str, value: object) -> str:
    if isinstance(value, str) and (domain := to_ascii(value.strip())):
        return domain
    raise ValueError(f"{where}: must be a domain like old.example, without @ and *")
