"""No reader of a client's text takes more than some constant for each character of it.

Every regular expression of the app is found in its sources, with the methods that it is used by, and given texts that
make careless ones go back: one of its own characters again and again, two in turn, and something else at the end.
Judged is the growth of CPU time from a length to four times that length: 4 if it is linear, 16 if it is quadratic.
"""

from __future__ import annotations

import ast
import gc
import gzip
import importlib
import itertools
import json
import re
import string
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local import host
from link_orchestrator.files.accounts import read_accounts
from link_orchestrator.files.cells import plain
from link_orchestrator.files.groups import read_groups
from link_orchestrator.files.identities import read_identities
from link_orchestrator.prediction.mapping import provisioned_name
from link_orchestrator.warnings import _changed
from shared.directory.matching.policy import Policy
from shared.host.auth import authenticate
from shared.host.body import unpack
from shared.scim.document import normalise, read_json
from shared.scim.endpoint import version_matches
from shared.scim.filter import parse_filter
from shared.scim.limits import MAX_FILTER_CHARS
from shared.scim.patch import apply, parse_operations
from shared.scim.path import parse_path, resolve
from shared.scim.projection import Projection
from shared.scim.schema import USER

ROOT = Path(__file__).parents[1]
ROOMS = ("shared", "scim_users", "scim_groups", "link_orchestrator", "infra/local/host.py")
METHODS = {"match", "fullmatch", "search", "sub", "split", "findall", "finditer"}
LENGTH = 2_000
GROWTH = 9.0
"""Between 4 and 16, nearer to neither on a machine that is busy."""
HARMLESS = 0.004
"""Seconds of CPU that no growth makes worth a thought at four times the length."""


def seconds(run: Callable[[], object]) -> float:
    """Return the CPU seconds of a call that may refuse what it is given, but those of collecting garbage."""
    gc.disable()
    begun = time.thread_time()
    try:
        with suppress(Exception):
            run()
        return time.thread_time() - begun
    finally:
        gc.enable()


def is_linear(read: Callable[[str], object], text: Callable[[int], str], length: int = LENGTH) -> bool:
    """Tell whether reading four times as much takes far less than sixteen times as long."""
    short, long = text(length), text(4 * length)
    if seconds(lambda: read(long)) < HARMLESS:
        return True
    # The least of several, in turns: whatever else the machine does only adds to it, and for a while.
    tries = [[seconds(lambda one=one: read(one)) for one in (short, long)] for _ in range(7)]
    least = [min(times) for times in zip(*tries, strict=True)]
    return least[1] < HARMLESS or least[1] < GROWTH * least[0]


def _patterns() -> Iterator[tuple[str, str, re.Pattern[Any]]]:
    """Yield where each pattern is, the method that it is used by, and the pattern."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")) or [ROOT / room]:
            tree = ast.parse(path.read_text("utf-8"))
            module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
            for name, value in vars(module).items():  # also those that are handed on before they are used
                if isinstance(value, re.Pattern):
                    yield f"{path.relative_to(ROOT)}:{name}", "match", value
            for node in ast.walk(tree):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                owner, method = node.func.value, node.func.attr
                if not isinstance(owner, ast.Name) or method not in METHODS:
                    continue
                where = f"{path.relative_to(ROOT)}:{owner.id}"
                pattern = getattr(module, owner.id, None)
                if isinstance(pattern, re.Pattern):
                    yield where, method, pattern
                elif owner.id == "re" and isinstance(node.args[0], ast.Constant):
                    flags = re.IGNORECASE if any(word.arg == "flags" for word in node.keywords) else 0
                    yield f"{where}:{node.lineno}", method, re.compile(node.args[0].value, flags)


PATTERNS = {(where, method): pattern for where, method, pattern in _patterns()}


def _hostile(pattern: re.Pattern[Any]) -> Iterator[Callable[[int], Any]]:
    """Yield texts of any length that are made of a pattern's own characters."""
    source = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    own = {letter for letter in source if letter in string.printable} - set("\\^$*+?.|\n")
    letters = [*sorted(own & set(string.punctuation + string.whitespace)), "a", "0", "_", " ", "."]
    pairs = map("".join, itertools.permutations(letters, 2))
    made = itertools.product(("", letters[0]), letters, ("", "!", "\x00"))
    for begin, word, end in itertools.chain(made, itertools.product(("",), pairs, ("", "!"))):

        def text(length: int, begin: str = begin, word: str = word, end: str = end) -> Any:
            made = begin + word * (length // len(word)) + end
            return made if isinstance(pattern.pattern, str) else made.encode("latin-1")

        yield text


def test_every_room_has_patterns() -> None:
    """The search for them finds what is there."""
    found = {where.partition(":")[0] for where, _ in PATTERNS}
    assert {"shared/scim/filter.py", "shared/scim/endpoint.py", "link_orchestrator/files/json_rows.py"} <= found
    assert ("shared/scim/filter.py:_AND", "match") in PATTERNS
    assert len(PATTERNS) > 50


@pytest.mark.parametrize("place", PATTERNS, ids=lambda place: f"{place[0]}.{place[1]}")
def test_no_pattern_goes_back_over_a_text_again_and_again(place: tuple[str, str]) -> None:
    pattern, method = PATTERNS[place], place[1]

    def read(text: Any) -> object:
        found = getattr(pattern, method)(*(("", text) if method == "sub" else (text,)))
        return list(found) if method == "finditer" else found

    assert [text(40) for text in _hostile(pattern) if not is_linear(read, text)] == []


def _patched(text: str) -> object:
    parse_path.cache_clear()  # It holds the paths of the short text, and not those of the long one.
    resolve.cache_clear()
    document = {"schemas": [USER.schema.urn], "userName": "a", "emails": [{"value": "b"}]}
    return apply(parse_operations(json.loads(text)), document, USER)


def _operations(count: int, path: str, value: object) -> str:
    return json.dumps({"Operations": [{"op": "add", "path": path, "value": value}] * max(1, count)})


EMPTY_MEMBER = gzip.compress(b"").decode("latin-1")
READERS: dict[str, tuple[Callable[[str], object], Callable[[int], str], int]] = {
    "tags": (lambda text: version_matches(text, 'W/"1"'), lambda n: '"a"' * n, 2_000),
    "tags without an end": (lambda text: version_matches(text, 'W/"1"'), lambda n: "a" * n + '"', 2_000),
    "tags of quotes": (lambda text: version_matches(text, 'W/"1"'), lambda n: '"' * (n | 1), 2_000),
    "tags of blanks": (lambda text: version_matches(text, 'W/"1"'), lambda n: " " * n + "x y", 2_000),
    "attributes": (lambda text: Projection.parse(text, None, USER), lambda n: "a," * n, MAX_FILTER_CHARS // 10),
    "attributes in brackets": (lambda text: Projection.parse(text, None, USER), lambda n: "[," * n, 500),
    "a token": (lambda text: authenticate(text, [], "scim"), lambda n: "bearer" + " " * n, LENGTH),
    "members of gzip": (lambda text: unpack(text.encode("latin-1"), "gzip", 9), lambda n: EMPTY_MEMBER * n, 2 * LENGTH),
    "a query": (host._params, lambda n: "a=b&" * n, LENGTH),
    "a path": (host._decoded, lambda n: "%2F" * n, LENGTH),
    "a header of a file": (plain, lambda n: "[" * n, LENGTH),
    "a guest's name": (provisioned_name, lambda n: "a_" * n + "#", LENGTH),
    "blanks in a filter": (parse_filter, lambda n: "userName" + " " * n + 'eq "a"' + " " * n + "x", 400),
    "a filter of terms": (parse_filter, lambda n: " or ".join(["a pr"] * n), 40),
    "a filter of quotes": (parse_filter, lambda n: 'a eq "' + '\\"' * n, 400),
    "a filter of parentheses": (parse_filter, lambda n: "not (" * n, 150),
    "JSON of digits": (lambda text: read_json(text.encode()), lambda n: "1" * n, LENGTH),
    "JSON of decimals": (lambda text: read_json(text.encode()), lambda n: "0." + "1" * n, 20 * LENGTH),
    "JSON of lists": (lambda text: read_json(text.encode()), lambda n: f"[{','.join(['[]'] * n)}]", LENGTH),
    "JSON of members of which the last two have one name": (
        lambda text: read_json(text.encode(), written=True),
        lambda n: "{" + ",".join(f'"{one}":1' for one in [*range(n), n - 1]) + "}",
        LENGTH,
    ),
    "an unknown attribute": (lambda text: normalise(USER, json.loads(text)), lambda n: '{"a":' + "[" * n, 400),
    "many e-mails": (
        lambda text: normalise(USER, json.loads(text)),
        lambda n: json.dumps({"userName": "a", "emails": [{"value": f"{one}", "primary": True} for one in range(n)]}),
        200,
    ),
    "one operation of many values": (
        _patched,
        lambda n: _operations(1, "emails", [{"value": str(one)} for one in range(n)]),
        200,
    ),
    "many operations on one value": (_patched, lambda n: _operations(n, "emails", [{"value": "b"}]), 200),
    "many names of attributes": (
        _patched,
        lambda n: json.dumps({"Operations": [{"op": "add", "value": {f"a{one}": 1 for one in range(n)}}]}),
        200,
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_reader_of_a_clients_text_takes_as_long_as_the_text_is(name: str) -> None:
    read, text, length = READERS[name]
    assert is_linear(read, text, length)


FILES: dict[str, tuple[Callable[..., Iterator[Any]], Callable[[int], str]]] = {
    "a header of brackets": (read_accounts, lambda n: "userName," + "[" * n + "\na,b\n"),
    "quotes that never close": (read_accounts, lambda n: "userName,email\n" + 'a,"\n' * n),
    "one long line": (read_accounts, lambda n: "userName,email\na," + "b" * 100 * n + "\n"),
    "one long address": (read_accounts, lambda n: "userName,email\na," + "b@" * n + "\n"),
    "JSON that is cut off": (read_accounts, lambda n: '[{"userName":"' + "a" * 100 * n),
    "JSON of brackets": (read_accounts, lambda n: "[" * n),
    "JSON of escapes": (read_accounts, lambda n: '[{"userName":"' + "\\" * 20 * n),
    "pages within pages": (read_identities, lambda n: '{"value":[' * n),
    "remarks before a page": (read_identities, lambda n: '{"@a":"b",' * n),
    "words that are no JSON": (read_identities, lambda n: "[" + "x " * n),
    "members of a row of which the last two have one name": (
        read_identities,
        lambda n: "[{" + ",".join(f'"{one}":1' for one in [*range(n), n - 1]) + "}]",
    ),
    "members of a group": (read_groups, lambda n: "group;members\na;" + "b " * n + "\n"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_takes_as_long_as_it_is(name: str) -> None:
    read, text = FILES[name]
    assert is_linear(lambda made: list(read(made.encode())), text)


def test_how_a_long_policy_differs_from_another_is_told_in_a_time_that_grows_with_it() -> None:
    def both(length: int) -> tuple[Policy, Policy]:
        planned = Policy(excluded=frozenset(f"{n}@b.c" for n in range(length)))
        return planned, replace(planned, excluded=planned.excluded | {"new@b.c"})

    some = {length: both(length) for length in (LENGTH, 4 * LENGTH)}
    assert [_changed(*pair, own=False) for pair in some.values()] == [{"excluded": 1}] * 2
    assert is_linear(lambda text: _changed(*some[len(text)], own=False), lambda length: "a" * length)


def test_the_judgement_knows_a_square() -> None:
    """A pattern that goes back over all of a text from each of its characters is told from one that does not."""
    assert not is_linear(re.compile('a*"').search, lambda n: "a" * n)
    assert is_linear(re.compile('a*+"').match, lambda n: "a" * n)
