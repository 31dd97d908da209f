"""Every command that a page shows is run as it is printed, and prints what the page says that it prints.

`make demo` is run by tests/infra/test_demo.py, which looks at all that it prints.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.documents.clone import Clone
from tests.documents.pages import OUTPUT, PAGES, README, SHELL, assert_shown, blocks_of, name_of

WITH_COMMANDS = [page for page in PAGES if any(block.language == SHELL for block in blocks_of(page))]
NEXT = "---- the next block ----"
ELSEWHERE = "make demo"
SERVES = "make run"
IN_THE_BACKGROUND = f"{SERVES} > served 2>&1 &\nuntil grep -q ready: served; do sleep 0.2; done"
"""How the line that a reader pastes into a terminal of its own is run in the one shell that all blocks share."""


def test_there_are_pages_with_commands() -> None:
    assert README in WITH_COMMANDS


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, tmp_path: Path) -> None:
    blocks = [block for block in blocks_of(page) if block.language in (SHELL, OUTPUT)]
    script = f"\necho '{NEXT}'\n".join(_runnable(block.text) for block in blocks if block.language == SHELL)
    printed = iter(Clone(tmp_path).run(script).split(f"{NEXT}\n"))
    last = ""
    for number, block in enumerate(blocks):
        if block.language == SHELL:
            last = next(printed)
            assert "urn:ietf:params:scim:api:messages:2.0:Error" not in last
            assert not re.search(r'"phase": *"(failed|expired|cancelled)"', last), last
        elif ELSEWHERE not in blocks[number - 1].text:
            assert_shown(block.text, last)


def _runnable(block: str) -> str:
    lines = [line for line in block.splitlines() if not line.startswith(ELSEWHERE)]
    return "\n".join(IN_THE_BACKGROUND if line.startswith(SERVES) else line for line in lines)
