"""That what the workflows name is there, and that a release is whole. What they may do: infra/checks/workflows.py."""

from __future__ import annotations

import re
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
