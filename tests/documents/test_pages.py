"""The pages are true as far as a test can tell: what they name is there, and what they promise to be short is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from link_orchestrator.functions import described
from link_orchestrator.kinds import RUN, UNDO
from link_orchestrator.prediction.cycle import PredictedOutcome
from link_orchestrator.run import INACTIVE
from shared.directory.matching.policy import Policy, Rule
from tests.documents.pages import (
    PAGES,
    README,
    ROOT,
    SHELL,
    anchors_of,
    blocks_of,
    inline_of,
    links_of,
    name_of,
)

WORDS = 2_300
"""The most words that a newcomer is asked to read."""
CODE = ("infra", "link_orchestrator", "scim_groups", "scim_users", "shared")
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=name_of)


def test_the_readme_is_short() -> None:
    assert len(README.read_text("utf-8").split()) <= WORDS


def test_the_readme_begins_with_two_commands() -> None:
    first, *_ = blocks_of(README)
    assert first.text.splitlines() == ["make demo", "make run"]


def test_the_readme_points_nowhere_outside_the_repository() -> None:
    addresses = re.findall(r"\bhttps?://[^\s`)\"]+", README.read_text("utf-8"))
    assert {re.sub(r":\d+.*", "", address) for address in addresses} <= {"http://127.0.0.1"}


@EVERY_PAGE
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), f"{link} leads out of the repository"
        assert target.is_file(), f"{link} leads to no file"
        assert not anchor or anchor in anchors_of(target), f"{link} leads to no heading"


def test_every_page_is_found_from_the_readme() -> None:
    found, new = set[Path](), {README}
    while new:
        found |= new
        links = {(page.parent / link.partition("#")[0]).resolve() for page in new for link in links_of(page)}
        new = {link for link in links if link.suffix == ".md"} - found
    assert set(PAGES) <= found


@EVERY_PAGE
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    for code in inline_of(page):
        if re.fullmatch(rf"(?:{'|'.join((*CODE, 'tests'))})/[\w./]*", code):
            assert (ROOT / code).exists(), f"{code} is not there"


@EVERY_PAGE
def test_every_request_that_a_page_names_has_a_route(page: Path) -> None:
    routes = {(route.method, "/" + re.sub(r"\{\w+\}", "{}", route.path)) for route in described()}
    for code in inline_of(page):
        asked = re.fullmatch(r"(GET|POST|PUT|PATCH|DELETE) (?:…|\$R)?(/[a-z][\w/{}]*)(?:\?.*)?", code)
        if asked and not asked[2].startswith(("/scim/", "/health")):
            path = re.sub(r"\{[\w ]+\}", "{}", asked[2])
            known = [path, f"/linking/runs/{{}}{path}"]
            assert any((asked[1], one) in routes for one in known), f"{code} has no route"


def test_the_pages_name_every_setting_and_no_other() -> None:
    setting = re.compile(r"\bSCIMLINK_[A-Z_]+[A-Z]\b")
    known = {
        name for room in CODE for file in (ROOT / room).rglob("*.py") for name in setting.findall(file.read_text())
    }
    named = {name for page in PAGES for name in setting.findall(page.read_text("utf-8"))}
    assert named == known


def test_the_reference_of_linking_names_whatever_an_administrator_may_set_or_meet() -> None:
    check = (ROOT / "link_orchestrator/prediction/check.py").read_text("utf-8")
    codes = re.findall(r'Warned\(\s*"(\w+)"', check)
    words = {*Policy().to_json(), *Rule, *RUN.rows.choices, *UNDO.rows.choices, *PredictedOutcome, INACTIVE, *codes}
    assert words - set(inline_of(ROOT / "link_orchestrator/README.md")) == set()


@EVERY_PAGE
def test_commands_can_be_pasted_into_zsh_as_well(page: Path) -> None:
    """On macOS a pasted `#` is not the beginning of a comment but a word of the command, or a command of its own."""
    lines = [line for block in blocks_of(page) if block.language == SHELL for line in block.text.splitlines()]
    assert not [line for line in lines if re.search(r"(^|\s)#", line)]


@EVERY_PAGE
def test_make_knows_what_a_page_asks_of_it(page: Path) -> None:
    known = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    shown = [*inline_of(page), *(line for block in blocks_of(page) for line in block.text.splitlines())]
    asked = {found[1] for line in shown if (found := re.match(r"make (\w+)", line))}
    assert asked <= {*known}
