"""The pages that people read: which there are, and what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = (".github", "infra", "link_orchestrator", "scim_groups", "scim_users", "shared", "tests")
README = ROOT / "README.md"
PAGES = sorted([README, *(page for place in PLACES for page in (ROOT / place).rglob("*.md"))])

SHELL, OUTPUT = "sh", "text"
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: SHELL is run as it is printed, OUTPUT shows what the commands before it print."""

    language: str
    text: str


def name_of(page: Path) -> str:
    """Return where a page is, from the top of the repository."""
    return page.relative_to(ROOT).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """Return the fenced blocks of a page in order."""
    return [Block(found[1], found[2]) for found in _FENCED.finditer(page.read_text("utf-8"))]


def prose_of(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCED.sub("", page.read_text("utf-8"))


def inline_of(page: Path) -> list[str]:
    """Return what is between backticks in a page's prose."""
    return _INLINE.findall(prose_of(page))


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return _LINK.findall(_INLINE.sub("", prose_of(page)))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them: words in lower case, joined by hyphens."""
    return set(_anchors(page))


def _anchors(page: Path) -> Iterator[str]:
    for heading in re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE):
        yield re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def assert_shown(shown: str, printed: str) -> None:
    """Hold what a page shows against what was printed: the same lines in the same order, `…` for what is left out."""
    lines = iter(printed.splitlines())
    for line in filter(lambda line: line != "…", shown.splitlines()):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        assert any(pattern.fullmatch(other.rstrip()) for other in lines), f"not printed, or not in this order: {line}"
