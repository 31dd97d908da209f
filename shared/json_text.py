"""JSON as the app stores and sends it, by the encoder that pydantic brings along; and as people and clients send it.

Of a plan's row that encoder takes a sixth of the time of the standard library's, which builds its encoder anew for each
call, and reading takes a quarter. What is sent is read by the standard library: it says at which place it gives up.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NoReturn

from pydantic_core import PydanticSerializationError, from_json, to_json

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode


class NotJson(ValueError):
    """A text is no JSON. The message says in which line and column, and what is wrong there."""


class Twice(ValueError):
    """An object has two members of one name, of which one would be lost. The message names the member."""


def dump(value: object) -> str:
    """Return compact JSON; characters stay readable.

    Half a surrogate pair stays what it is, for whoever stores or sends the text to refuse by name.
    """
    try:
        return to_json(value).decode()
    except PydanticSerializationError:
        return _encode(value)


def load(text: str) -> Any:
    """Return what the app's own JSON says, of at most 200 levels. Raises ValueError."""
    try:
        return from_json(text, cache_strings="keys")
    except TypeError as no_text:  # half a surrogate pair, of which no UTF-8 can be made
        raise ValueError("the text is no Unicode text") from no_text


def read_sent(text: str) -> Any:
    """Return what JSON of a client says; of members with the same name the last counts.

    Raises NotJson, also for a number that is not finite, and RecursionError.
    """
    return _read(text, _CLIENTS)


def read_written(text: str) -> Any:
    """Return what JSON that a person wrote says.

    Raises NotJson, also for a number that is not finite and for what nests too deep to be read, and Twice.
    """
    try:
        return _read(text, _PERSONS)
    except RecursionError:
        raise NotJson("it nests too deep") from None


def once(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of these members. Raises Twice. For JSONDecoder's `object_pairs_hook`."""
    found = dict(members)
    if len(found) != len(members):
        twice = next(name for name, count in Counter(name for name, _ in members).items() if count > 1)[:80]
        shown = "".join(letter if letter.isprintable() else "?" for letter in twice)
        raise Twice(f'the member "{shown}" is there twice in one object: take one of the two out')
    return found


def _read(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        return decoder.decode(text)
    except json.JSONDecodeError as error:
        said = next((ours for theirs, ours in _WORDS.items() if error.msg.startswith(theirs)), "this is no JSON")
        raise NotJson(f"line {error.lineno}, column {error.colno}: {said}") from None
    except Twice:
        raise
    except ValueError:
        raise NotJson("it has a number that is not finite, or has too many digits") from None


_WORDS: Final = {
    "Expecting value": "a value is missing here, or is none of JSON: texts stand in double quotes",
    "Expecting property name": "the name of a member must stand here, in double quotes",
    "Expecting ':'": "a colon must stand here, behind the name of the member",
    "Expecting ','": "a comma or the closing bracket must stand here",
    "Illegal trailing comma": "there is a comma too many here",
    "Unterminated string": "the text that begins here has no closing quote",
    "Invalid control character": "a text has a line break or a control character here: write \\n for a line break",
    "Invalid \\u": "\\u needs four hexadecimal digits behind it",
    "Invalid \\": "a backslash stands before a character that takes none: write \\\\ for one",
    "Extra data": "the JSON has ended before this",
}
"""What is wrong at a place, by how the message of the standard library begins."""


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError
    return number


_CLIENTS: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite)
_PERSONS: Final = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=once)
