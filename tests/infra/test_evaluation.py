"""A template comes to the values that Bicep gives it: what the checks look at is what would be deployed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.checks.evaluation import CannotTell, Reference, constant, deploy
from infra.checks.template import NotPlain, read

HERE = Path(__file__).parent
NAMES = st.from_regex(r"[a-z][a-zA-Z0-9]{0,8}", fullmatch=True)
TEXTS = st.sampled_from(["${x}", "it's", "\\", "a.b", "$", "{}", "«x»"]) | st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=20
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(0, 10**9) | TEXTS,
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(NAMES | TEXTS.filter(bool), inside, max_size=4),
    max_leaves=12,
)


def written(value: Any, indent: int = 0) -> str:
    """Return a value as Bicep writes it."""
    if isinstance(value, dict):
        inside = [f"{' ' * indent}  {quoted(name)}: {written(one, indent + 2)}" for name, one in value.items()]
        return "\n".join(["{", *inside, " " * indent + "}"]) if inside else "{}"
    if isinstance(value, list):
        inside = [f"{' ' * indent}  {written(one, indent + 2)}" for one in value]
        return "\n".join(["[", *inside, " " * indent + "]"]) if inside else "[]"
    if isinstance(value, str):
        return quoted(value)
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def quoted(text: str) -> str:
    """Return a text in quotation marks."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("${", "\\${") + "'"


def value_of(source: str, name: str = "v") -> Any:
    """Return what a variable comes to."""
    return constant(read(source, "x.bicep"), name, HERE)


@given(VALUES)
def test_every_value_comes_out_as_it_was_written(value: Any) -> None:
    assert value_of(f"var v = {written(value)}\n") == value


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("yes ? a.x : a.y.z", "x"),
        ("no ? a.x : a.y.z", "z"),
        ("no ? a.y.z : list[1]", "second"),
        ("yes && no ? 1 : 2", 2),
        ("no || !no ? 1 : 2", 1),
        ("empty(list) ? [] : [\n  'one'\n]", ["one"]),
        ("'${a.x}-${no ? 'n' : 'y'}'", "x-y"),
        ("'it\\'s \\${x} \\\\ \\n'", "it's ${x} \\ \n"),
        ("[for (one, i) in list: {\n  name: '${one}${i}'\n}]", [{"name": "first0"}, {"name": "second1"}]),
        ("union(a, yes ? {\n  x: 'new'\n} : {})", {"x": "new", "y": {"z": "z"}}),
        ("concat(list, [\n  'third'\n])", ["first", "second", "third"]),
        ("string(list)", '["first","second"]'),
        ("string(64)", "64"),
        ("replace('a.b', '.', '-')", "a-b"),
        ("join(list, ', ')", "first, second"),
        ("take('abcdef', 3)", "abc"),
        ("1 + 2", 3),
        ("a['x']", "x"),
    ],
)
def test_an_expression_comes_to_what_bicep_makes_of_it(expression: str, value: Any) -> None:
    before = "var yes = true\nvar no = false\nvar list = [\n  'first'\n  'second'\n]\n"
    before += "var a = {\n  x: 'x'\n  y: {\n    z: 'z'\n  }\n}\n"
    assert value_of(f"{before}var v = {expression}\n") == value


def test_what_only_azure_knows_stays_a_reference() -> None:
    source = "resource a 'A/b@2024-01-01' = if (on) {\n  name: 'n'\n}\nparam on bool = false\n"
    assert value_of(source + "var v = a!.properties.id\n") == Reference("a", ("properties", "id"))
    assert value_of(source + "var v = 'x${a.id}'\n") == "x«a.id»"
    assert deploy(read(source, "x.bicep"), "off", {}, HERE).resources == []
    (made,) = deploy(read(source, "x.bicep"), "on", {"on": True}, HERE).resources
    assert (made.symbol, made.type, made.version, made.line) == ("a", "A/b", "2024-01-01", 1)


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("var v = w\nvar w = v\n", "v is made of itself"),
        ("var v = {\n  a: 1\n}.b\n", "there is no b"),
        ("var v = [\n  1\n][2]\n", "there is no 2"),
        ("var v = shout('x')\n", "shout is no function"),
        ("var v = loadJsonContent('nowhere.json')\n", "nowhere.json cannot be read"),
        ("var v = [for x in 'text': x]\n", "a loop goes over an array"),
    ],
)
def test_what_does_not_come_out_is_said(source: str, told: str) -> None:
    with pytest.raises(CannotTell, match=told):
        value_of(source)


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("var v = 1\nmodule m 'm.bicep' = {\n  name: 'm'\n}\n", 2),
        ("type t = string\n", 1),
        ("var v = {\n  ...w\n}\n", 2),
        ("var v = 1\n\nvar w = (\n", 3),
        ("import { x } from 'y.bicep'\n", 1),
    ],
)
def test_what_is_not_plain_is_refused_with_its_line(source: str, line: int) -> None:
    with pytest.raises(NotPlain, match=rf"^x\.bicep:{line}: "):
        read(source, "x.bicep")
