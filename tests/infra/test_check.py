"""Faults planted in templates and workflows (tests/infra/planted), each of which the checks must find."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from infra import check
from infra.check import INFRA, WORKFLOWS, look, read_again
from infra.checks import audit, safety, secrets, settings, workflows
from infra.checks.evaluation import Deployment, deploy
from infra.checks.finding import Finding
from infra.checks.scenarios import SCENARIOS
from infra.checks.template import read
from tests.environments import ROOT

LISTS = sorted((Path(__file__).parent / "planted").glob("*.toml"))
FILES = (
    *("main.bicep", "entra.bicep", "entra.sh"),
    *("createUiDefinition.json", "azure.yaml", "main.parameters.json"),
)
FAULTS: list[Any] = [
    pytest.param(fault, id=f"{file.stem}.{name}")
    for file in LISTS
    for name, fault in tomllib.loads(file.read_text("utf-8")).items()
]
"""Each says what would happen if it were real, what is replaced by what, in main.bicep where no file is named, and what
is found."""


@pytest.fixture
def templates(tmp_path: Path) -> Path:
    """A folder with the templates, what they load, and the workflows."""
    for name in (
        "main.bicep",
        "entra.bicep",
        "entra.sh",
        "createUiDefinition.json",
        "azure.yaml",
        "main.parameters.json",
    ):
        shutil.copy(INFRA / name, tmp_path / name)
    shutil.copytree(INFRA / "observability", tmp_path / "observability")
    shutil.copytree(WORKFLOWS, tmp_path / "workflows")
    return tmp_path


def test_the_templates_and_the_workflows_are_right(templates: Path) -> None:
    assert look(templates) == []
    assert list(workflows.check(WORKFLOWS)) == []
    for name in ("main.bicep", "entra.bicep"):
        assert read_again((INFRA / name).read_text("utf-8"), name) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(templates: Path, fault: dict[str, str]) -> None:
    assert fault.keys() >= {"harm", "replaced", "by", "finds"}
    file = templates / fault.get("file", "main.bicep")
    text = file.read_text("utf-8")
    assert fault["replaced"] in text, "the fault fits nowhere any more"
    file.write_text(text.replace(fault["replaced"], fault["by"]), "utf-8")
    found = [str(one) for one in (*look(templates), *workflows.check(templates / "workflows"))]
    assert any(fault["finds"] in one for one in found), found


def test_at_least_sixty_faults_are_planted() -> None:
    assert len(FAULTS) >= 60


@pytest.mark.parametrize(
    ("line", "file"),
    [("param x string = 'a\n", "main.bicep"), ("param l array = [for o in p: if (q) {\n}]\n", "entra.bicep")],
)
def test_what_only_one_parser_reads_is_found(line: str, file: str) -> None:
    assert read_again(line, file)[0].rule == "syntax"


@pytest.mark.parametrize(
    "secret",
    [
        "DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + "A1" * 43 + "==",
        "https://x.blob.core.windows.net/p.zip?sv=2024-11-04&sig=" + "a%2B" * 11,
        "-----BEGIN " + "PRIVATE KEY-----",
        "eyJ" + "a" * 30 + ".eyJ" + "b" * 30 + "." + "c" * 30,
        "abc8Q~" + "d" * 34,
        "slk_" + "e" * 40,
        "ghp_" + "f" * 36,
        "SharedAccessKey=" + "g" * 43 + "=",
    ],
)
def test_a_secret_is_found_wherever_it_is(secret: str) -> None:
    assert secrets.scan(f"one line\nparam x string = '{secret}'\n", "infra/main.bicep")
    assert next(secrets.scan(f"one line\n{secret}\n", "host.json")).place == "host.json:2"


def test_no_secret_is_committed() -> None:
    assert list(secrets.check(ROOT)) == []


def test_a_new_setting_of_the_model_is_missing_in_the_template(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = settings.model() | {"SCIMLINK_NEW"}
    monkeypatch.setattr(settings, "model", lambda: more)
    found = [str(one) for one in look(templates)]
    assert any("scimApp: SCIMLINK_NEW is missing" in one for one in found)
    assert any("adminApp: SCIMLINK_NEW is missing" in one for one in found)


def test_what_checkov_finds_beyond_the_reasons_is_told_and_so_are_reasons_too_many() -> None:
    failed = [
        {"check_id": check, "check_name": "", "resource": f"Microsoft.Web/sites.{symbol}"}
        for check, (symbols, _) in audit.NOT_FOLLOWED.items()
        for symbol in symbols
    ]
    known = {"summary": {"parsing_errors": 0}, "results": {"failed_checks": failed}}
    assert list(audit.judge([known])) == []
    new = {"check_id": "CKV_AZURE_44", "check_name": "TLS", "resource": "Microsoft.Storage/storageAccounts.data"}
    known["results"] = {"failed_checks": [*failed[1:], new]}
    told = [str(one) for one in audit.judge([known])]
    assert told[0] == "data: CKV_AZURE_44 TLS [checkov]"
    assert told[1].endswith("is followed: take it out of NOT_FOLLOWED [checkov]")
    assert next(audit.judge([{"summary": {"parsing_errors": 1}}])).text == "checkov could not read a file"


def test_what_is_wrong_is_told_with_its_place_and_fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "look", lambda _: [Finding("safety", "data", "keys")])
    monkeypatch.setattr(check, "read_again", lambda *_: [])
    assert check.main() == 1
    assert capsys.readouterr().out.splitlines()[0] == "data: keys [safety]"
    monkeypatch.setattr(check, "look", lambda _: [])
    assert check.main() == 0


def _with(body: Mapping[str, Any], path: str, value: Any) -> dict[str, Any]:
    name, _, rest = path.partition(".")
    return {**body, name: _with(body.get(name, {}), rest, value) if rest else value}


@pytest.fixture(scope="module")
def complete() -> Deployment:
    """What a deployment with all parameters makes."""
    template = read((INFRA / "main.bicep").read_text("utf-8"), "infra/main.bicep")
    return deploy(template, "complete", SCENARIOS["complete"], INFRA)


def _found_in(made: Deployment, symbol: str, path: str, value: Any) -> list[str]:
    """Return what the checks of safety say of a resource, where its value at a path is another one."""
    resources = [
        one._replace(body=_with(one.body, path, value)) if one.symbol == symbol else one for one in made.resources
    ]
    return [one.text for one in safety.check(made._replace(resources=resources)) if one.place == symbol]


@pytest.mark.parametrize("rule", safety.RULES, ids=lambda rule: f"{rule.type} {rule.path}")
def test_every_rule_of_safety_is_kept_by_every_resource_of_its_type(complete: Deployment, rule: safety.Rule) -> None:
    resources = complete.of(rule.type)
    assert resources
    for resource in resources:
        for value in {"another", None} - set(rule.values):
            assert any(rule.path in one for one in _found_in(complete, resource.symbol, rule.path, value))


@pytest.mark.parametrize("path", safety.SIGN_IN)
def test_every_part_of_the_sign_in_is_looked_at(complete: Deployment, path: str) -> None:
    assert any(path in one for one in _found_in(complete, "adminSignIn", f"properties.{path}", "another"))
