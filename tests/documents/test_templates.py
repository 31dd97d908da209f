"""The reference of the templates names what they take, with its default, what they give, and what is watched."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from infra.check import INFRA
from infra.checks.evaluation import deploy
from infra.checks.scenarios import SCENARIOS
from infra.checks.template import Template, read
from tests.documents.pages import inline_of

REFERENCE = (INFRA / "README.md").read_text("utf-8")
CAMEL = r"[a-z]+[A-Z]\w*"
OF_ENTRA = {"userName", "externalId", "objectId", "mailNickname"}


@pytest.fixture(scope="module")
def template() -> Template:
    return read((INFRA / "main.bicep").read_text("utf-8"), "infra/main.bicep")


def _table(heading: str) -> list[tuple[str, ...]]:
    """Return the cells of each row of the table under a heading, or behind a line that begins so."""
    below = REFERENCE.partition(heading)[2].partition("\n|---")[2].partition("\n\n")[0]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in below.splitlines()[1:]]


def test_every_parameter_is_in_the_reference_with_its_default(template: Template) -> None:
    defaults = deploy(template, "first", SCENARIOS["first"], INFRA).parameters
    rows = _table("\n## Parameters\n")
    named = {name for row in rows for name in re.findall(r"`(\w+)`", " ".join(row))}
    assert template.params.keys() <= named
    for names, shown, _ in rows:
        listed, values = re.findall(r"`(\w+)`", names), shown.split(", ")
        for name, said in zip(listed, values if len(values) == len(listed) else [""] * len(listed), strict=True):
            value = defaults[name]
            if isinstance(value, bool | int):
                assert said == json.dumps(value), name
            elif said.startswith("`"):
                assert said == f"`{value}`", name


def test_every_value_of_host_json_has_its_reason_in_the_reference() -> None:
    host = json.loads((INFRA.parent / "host.json").read_text("utf-8"))
    rows = dict(_table("And in `host.json`, for both apps:"))
    assert all(rows.values())
    told = " ".join(rows)
    for path in set(_leaves(host)) - {("version",)}:
        assert any(name in told for name in path[-2:]), path


def _leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for name, inside in value.items():
            yield from _leaves(inside, (*path, name))
    else:
        yield path


def test_every_output_is_in_the_reference(template: Template) -> None:
    (line,) = re.findall(r"^Outputs: (.*)\.$", REFERENCE, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == template.outputs.keys()


def test_every_alert_is_in_the_reference_and_they_and_the_queries_are_counted() -> None:
    alerts, queries = (
        json.loads((INFRA / "observability" / f"{name}.json").read_text("utf-8")) for name in ("alerts", "queries")
    )
    assert [row[0] for row in _table("None has a person's data")] == [one["title"] for one in alerts]
    assert f"{len(alerts)} alerts, {len(queries)} saved queries" in REFERENCE


def test_the_sentences_of_the_template_name_parameters_and_outputs_that_are_there(template: Template) -> None:
    entra = read((INFRA / "entra.bicep").read_text("utf-8"), "infra/entra.bicep")
    known = {*template.params, *template.outputs, *entra.params, *entra.outputs}
    for file in ("main.bicep", "entra.bicep"):
        text = (INFRA / file).read_text("utf-8")
        told = re.findall(r"@description\('(.*)'\)", text) + re.findall(r"^var \w+Step = .*$", text, re.MULTILINE)
        assert set(re.findall(rf"\b{CAMEL}", " ".join(told))) <= known | {"packageStep", "tokenStep", "signInStep"}


def test_what_the_runbook_asks_to_set_is_a_parameter_or_an_output(template: Template) -> None:
    entra = read((INFRA / "entra.bicep").read_text("utf-8"), "infra/entra.bicep")
    known = {*template.params, *template.outputs, *entra.params, *entra.outputs}
    named = {one for one in inline_of(INFRA / "docs" / "runbook.md") if re.fullmatch(CAMEL, one)}
    assert named <= known | OF_ENTRA
