"""The demo from start to end, as `make demo` runs it."""

from __future__ import annotations

import io
import re
import secrets
from pathlib import Path

import pytest
from rich.console import Console

from infra.local import demo

HEADINGS = (
    "1. Existing accounts",
    "2. The plan: nothing is changed by it",
    "3. Approved: ",
    "4. A provisioning cycle of Entra",
    "5. The rule: ",
)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the demo prints."""
    text = io.StringIO()
    monkeypatch.setattr(demo, "console", Console(file=text, width=160, soft_wrap=True, highlight=False))
    return text


async def test_the_server_takes_any_token_that_the_demo_may_draw(tmp_path: Path) -> None:
    async with demo.serving(tmp_path, "-token") as url:
        assert url.startswith("http://127.0.0.1:")


async def test_the_demo_shows_the_whole_job_and_its_totals(
    printed: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_urlsafe", lambda _: "a-token")
    assert await demo.main() == 0
    text = printed.getvalue()
    places = [text.find(heading) for heading in HEADINGS]
    assert -1 not in places
    assert places == sorted(places)
    assert re.search(r"Accounts: 1000 created", text)
    approved, linked = re.search(r"Approved: (\d+)", text), re.search(r"Linked (\d+), refused 0", text)
    assert approved
    assert linked
    assert approved[1] == linked[1]
    for decision in (
        "link",
        "alreadyLinked",
        "review",
        "ambiguous",
        "conflict",
        "protected",
        "noAccount",
        "noIdentity",
    ):
        assert re.search(rf"│ {decision} +│ +\d+ +│", text), decision
    totals = re.search(r"Totals: (.*)", text)
    assert totals
    count_of = {result: int(count) for count, result in re.findall(r"(\d+) (\w+)", totals[1])}
    assert sum(count_of[result] for result in demo.RESULTS) == demo.IDENTITIES
    assert all(count_of[result] for result in demo.RESULTS)
    assert count_of["matched"] >= int(linked[1])
    assert "edit here: title: this account is linked" in text[places[4] :]
    assert "SCIM PATCH: 403" in text[places[4] :]
