"""The demo from start to end, as `make demo` runs it."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from infra.local import demo
from infra.local.entra import CycleOutcome, CycleReport, Result
from tests.documents.clone import Clone
from tests.documents.pages import README, assert_shown, blocks_of

ALREADY_LINKED = 11
HEADINGS = (
    "1. Existing accounts",
    "2. The plan: nothing is changed by it",
    "3. Approved: ",
    "4. A provisioning cycle of Entra",
    "5. The rule: ",
    "6. Afterwards: ",
)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the demo prints."""
    text = io.StringIO()
    monkeypatch.setattr(demo, "console", Console(file=text, width=160, highlight=False))
    return text


async def test_the_server_takes_any_token_that_the_demo_may_draw(tmp_path: Path) -> None:
    async with demo.serving(tmp_path, "-token") as url:
        assert url.startswith("http://127.0.0.1:")


def test_the_demo_shows_the_whole_job_and_its_totals(tmp_path: Path) -> None:
    text = Clone(tmp_path).run("make demo")
    _, shown, *_ = blocks_of(README)
    assert_shown(shown.text, text)
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
        "groupLink",
        "localGroup",
    ):
        assert re.search(rf"│ {decision} +│ +\d+ +│", text), decision
    assert len(re.findall(r"Group \w+ linked: \d+ members are in both", text)) == 4
    totals = re.search(r"Totals: (.*)", text)
    assert totals
    count_of = {result: int(count) for count, result in re.findall(r"(\d+) (\w+)", totals[1])}
    assert sum(count_of[result] for result in demo.RESULTS) == demo.IDENTITIES
    assert all(count_of[result] for result in demo.RESULTS)
    assert count_of["matched"] == int(linked[1]) + ALREADY_LINKED
    lines = (tmp_path / demo.CYCLE_FILE).read_text("utf-8").splitlines()
    assert Counter(line.split()[0] for line in lines) == {result: count_of[result] for result in demo.RESULTS}
    for decision in ("review", "ambiguous", "conflict"):
        row = re.search(rf"│ {decision} +│ (.*) │ (.*) │ +(\d+) +│ (.*) │\n", text[places[3] :])
        assert row, decision
        assert (row[1].strip(), row[2].strip()) == ("", ""), "nobody whom the plan left open is linked or made twice"
    assert f"predicted this for {demo.IDENTITIES} of {demo.IDENTITIES} identities" in text
    assert "edit here: title: this account is linked" in text[places[4] :]
    assert "SCIM PATCH: 403" in text[places[4] :]
    assert re.search(r"\n1000 of the 1000 imported accounts are what they were before the run", text)
    assert f"The {count_of['created']} people whom provisioning created stay." in text


@pytest.mark.parametrize(("show_all", "matched", "created"), [(False, demo.LINES_SHOWN, 3), (True, 50, 3)])
def test_the_cycle_shows_every_refusal_and_some_of_what_went_well(
    printed: io.StringIO, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, show_all: bool, matched: int, created: int
) -> None:
    monkeypatch.setattr(demo, "CYCLE_FILE", tmp_path / "cycle.txt")
    counts: dict[Result, int] = {"refused": 50, "matched": 50, "skipped": 50, "created": 3}
    outcomes = [CycleOutcome(result, str(n), f"{result}{n}") for result, count in counts.items() for n in range(count)]
    demo.show_cycle(CycleReport(tuple(outcomes), {}, 0.0), show_all=show_all)
    lines = printed.getvalue().splitlines()
    shown = Counter(line.split()[0] for line in lines)
    assert {name: shown[name] for name in counts} == {**counts, "matched": matched, "created": created}
    assert (f"… and {50 - matched} more matched" in lines) is not show_all
    assert len((tmp_path / "cycle.txt").read_text("utf-8").splitlines()) == 153
    assert [line for line in lines if "cycle.txt" in line]
