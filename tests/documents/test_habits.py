"""What a contributor is told, and what is done, is one thing."""

from __future__ import annotations

import re

import link_orchestrator
from shared.directory.work.jobs import State
from tests.documents.pages import ROOT, blocks_of


def test_the_hooks_before_a_commit_are_the_checks_of_make_check() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8").replace("$(VENV)", ".venv")
    (recipe,) = re.findall(r"^check:.*\n((?:\t.+\n)+)", makefile, re.MULTILINE)
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text("utf-8"), re.MULTILINE)
    assert hooks == recipe.replace("\t", "").splitlines()


def test_everything_in_the_drawing_of_the_house_is_there() -> None:
    drawing = next(block for block in blocks_of(ROOT / ".github" / "CONTRIBUTING.md") if not block.language)
    above: list[str] = []
    for line in filter(None, drawing.text.splitlines()):
        indent, names = re.fullmatch(r"((?: {4})*)(\S+(?: \S+)*?)(?:  .*)?", line).groups()  # type: ignore[union-attr]
        del above[len(indent) // 4 :]
        for name in names.split():
            path = ROOT.joinpath(*above, name)
            assert path.exists() or path.with_suffix(".py").exists(), path
        above.append(names.split()[0])


def test_every_state_of_a_run_is_drawn_and_explained() -> None:
    drawn = link_orchestrator.__doc__ or ""
    reference = (ROOT / "link_orchestrator" / "README.md").read_text("utf-8")
    for state in State:
        assert re.search(rf"\b{state}\b", drawn)
        assert f"\n| `{state}` |" in reference
