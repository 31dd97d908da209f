"""No page leads nowhere: every link of every page is followed, as an operator and as a reader."""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import unescape
from pathlib import Path

import pytest

from tests.link_orchestrator.portal.door import OPERATOR, READER, opened
from tests.link_orchestrator.portal.test_overview import bring_people

MOST = 150
"""Pages that are looked at: those of one kind are alike."""


def linked_in(html: str) -> list[str]:
    """Return the paths behind /portal/ that a page leads to."""
    found = re.findall(r'(?:href|data-progress)="/portal/?([^"#]*)', html)
    return [unescape(path) for path in found if not path.startswith("assets/")]


@pytest.mark.parametrize("who", [OPERATOR, READER], ids=["operator", "reader"])
async def test_every_link_leads_to_a_page(tmp_path: Path, who: Mapping[str, str]) -> None:
    async with opened(tmp_path) as door:
        await bring_people(door)
        found, new = {""}, [""]
        while new and len(found) < MOST:
            page = await door.get(path := new.pop(0), who)
            assert page.status in (200, 303), (path, page.status, page.text)
            led = [page.headers["Location"].removeprefix("/portal/")] if page.status == 303 else linked_in(page.html)
            links = [one for one in led if one not in found]
            found |= {*links}
            new += dict.fromkeys(links)
        assert len(found) > 5
