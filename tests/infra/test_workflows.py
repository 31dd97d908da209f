"""That what the workflows name is there, and that a release is whole. What they may do: infra/checks/workflows.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
MADE = {"infra/createUiDefinition.json", "infra/entra.bicep", "infra/main.bicep", "requirements.txt"}
"""Files of this repository that steps use."""


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_what_a_workflow_runs_is_there(workflow: Path) -> None:
    text = workflow.read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", text.replace("what make chooses", ""))) <= targets
    named = set(re.findall(r"(?<![\w/.$])(?:infra/[\w./]+|requirements\.txt)", text))
    assert named <= MADE
    assert all((ROOT / name).is_file() for name in named | {".ci/run"})


def test_nothing_is_published_that_a_what_if_did_not_get_through() -> None:
    """always() would publish from a run that somebody stopped, and one that took too long is no failure to GitHub."""
    condition = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["publish"]["if"]
    assert "always()" not in condition
    assert condition.startswith("!cancelled() && needs.build.result == 'success'")
    assert condition.endswith("(needs.what-if.result == 'success' || needs.what-if.result == 'skipped')")


def test_a_release_is_a_draft_until_everything_is_there() -> None:
    """Whatever step fails, nobody sees half of a release."""
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["publish"]["steps"]
    commands = [step.get("run", "") for step in steps]
    (drafts,) = [place for place, command in enumerate(commands) if "gh release create" in command]
    assert "--draft " in commands[drafts]
    assert "gh release upload" in commands[drafts]
    (pushes,) = [place for place, command in enumerate(commands) if "git push" in command]
    assert drafts < pushes < len(commands) - 1
    assert commands[-1] == 'gh release edit "$TAG" --draft=false'


def _git(folder: Path, *arguments: str) -> str:
    git = [shutil.which("git") or "git", "-c", "user.name=t", "-c", "user.email=t@example.com"]
    return subprocess.run([*git, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_each_release_puts_its_template_and_its_form_on_the_branch_that_the_button_opens(tmp_path: Path) -> None:
    """The commands of the workflow themselves, twice: the first release makes the branch."""
    steps = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["publish"]["steps"]
    bash = shutil.which("bash") or "bash"
    (command,) = [step["run"] for step in steps if step.get("name") == "Publish the template"]
    _git(tmp_path, "init", "--quiet", "--bare", "origin")
    _git(tmp_path, "clone", "--quiet", "origin", "work")
    (tmp_path / "work" / "main.bicep").write_text("param x string")
    _git(tmp_path / "work", "add", "-A")
    _git(tmp_path / "work", "commit", "--quiet", "--message", "code")
    _git(tmp_path / "work", "push", "--quiet", "origin", "HEAD:main")
    for tag in ("v1.0.0", "v1.1.0"):
        clone = tmp_path / tag
        _git(tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "main", f"file://{tmp_path / 'origin'}", tag)
        (clone / "out").mkdir()
        (clone / "out" / "azuredeploy.json").write_text(f'"{tag}"')
        shutil.copy(ROOT / "infra" / "createUiDefinition.json", clone / "out")
        environment = {**os.environ, "REPOSITORY": "owner/scimlink", "TAG": tag}
        subprocess.run([bash, "-e", "-c", command], cwd=clone, env=environment, check=True, capture_output=True)
        listed = _git(tmp_path / "origin", "ls-tree", "-r", "--name-only", "release").split()
        assert listed == ["README.md", "azuredeploy.json", "createUiDefinition.json"]
        assert _git(tmp_path / "origin", "show", "release:azuredeploy.json") == f'"{tag}"'
        assert f"# {tag}" in _git(tmp_path / "origin", "show", "release:README.md")
    button = _git(tmp_path / "origin", "show", "release:README.md")
    raw = "https%3A%2F%2Fraw.githubusercontent.com%2Fowner%2Fscimlink%2Frelease%2F"
    assert f"/uri/{raw}azuredeploy.json/createUIDefinitionUri/{raw}createUiDefinition.json" in button
    form = json.loads((ROOT / "infra" / "createUiDefinition.json").read_text())
    elements = {one["name"]: one for step in form["parameters"]["steps"] for one in step["elements"]}
    elements["packageUri"]["defaultValue"] = f"https://github.com/owner/scimlink/releases/download/{tag}/scimlink.zip"
    assert json.loads(_git(tmp_path / "origin", "show", "release:createUiDefinition.json")) == form
    assert _git(tmp_path / "origin", "rev-list", "--count", "release").strip() == "2"
