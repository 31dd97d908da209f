"""The benchmark: every figure of the aims is measured, on a small directory, and judged and compared rightly."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path

import pytest

from infra.local.bench.__main__ import growth
from infra.local.bench.figures import REFERENCE, Figure, with_yardstick
from infra.local.process import running
from tests.waiting import PATIENCE, process

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the bench reads /proc")

GROUPS = {
    "POST group",
    "POST group, 1 member",
    "in or out: 1 member, group of 10",
    "in or out: 1 member, group of 2,000",
    "in or out: 1 member, largest against smallest",
    "100 members into a group of 2,000",
    "1,000 members into a group of 2,000",
    "group without members, displayName eq",
    "GET a user in 20 groups",
    "page of 100 of a group's users, by cursor",
    "GET a group of 200",
    "GET a group of 2,000: memory",
}
REQUESTS = {
    "yardstick: aiohttp and one SELECT",
    "userName eq, hit",
    "userName eq, miss",
    "userName eq, an account that is not linked",
    "PATCH of 3 attributes, a linked account",
    "externalId eq",
    "work e-mail eq",
    "GET user",
    "POST user",
    "POST user, the userName is taken",
    "Bulk of 100 creates",
    "PATCH of 3 attributes",
    "PATCH active",
    "page of 100, the next one",
    "page of 100, anywhere",
}
JOBS = {name + more for name in ("import", "plan + apply", "undo") for more in ("", ": memory")} | {
    "a later run, 1 % changed",
    "a later run, nothing changed",
    "slowest page of the portal",
}
LINKING = {
    "storage requests a linked account",
    "storage requests a planned row",
    *(f"loop lag beside {job} in one process, p99" for job in ("an import", "a plan", "an apply", "an undo")),
    "SCIM p99 while a run applies, times idle",
    "apply on Azurite",
}
ENGINE = {"engine: PATCH of 3 Entra operations", "engine: parse a new filter", "engine: render a list of 100"}


@LINUX
async def test_a_quick_run_measures_every_figure_and_ends_with_json(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    arguments = ["-m", "infra.local.bench", "--quick", "--sizes", "100", "--json", str(file)]
    pipe = asyncio.subprocess.PIPE
    async with process(sys.executable, *arguments, stdout=pipe, stderr=pipe) as bench:
        output, errors = await asyncio.wait_for(bench.communicate(), PATIENCE)
    assert bench.returncode == 0, errors.decode()
    printed = json.loads(output.decode().splitlines()[-1])
    assert printed == json.loads(file.read_text())
    by_name = {figure["figure"]: figure for figure in printed["figures"]}
    assert len(by_name) == len(printed["figures"])
    assert {
        name for name in by_name if not name.startswith("round trips: ")
    } == REQUESTS | JOBS | ENGINE | GROUPS | LINKING
    assert by_name["round trips: get by id"]["measured"] == 1
    assert by_name["round trips: userName eq"]["beside"] == {"calls": 3}
    for figure in printed["figures"]:
        assert figure["measured"] > 0
        assert figure.get("accounts") == (100 if figure["figure"] in REQUESTS | JOBS else None)
        times = figure["unit"] in ("µs CPU", "ms CPU", "s")
        assert ("yardsticks" in figure.get("beside", ())) is times
        assert ("aimYardsticks" in figure) is (times and "aim" in figure)
    assert all(by_name[name]["beside"]["yardsticks"] > 0 for name in REQUESTS)


@LINUX
async def test_a_process_is_charged_for_what_it_does(tmp_path: Path) -> None:
    began = time.monotonic()
    async with running("infra.local.bench.yardstick", str(tmp_path / "rows.db")) as yardstick:
        assert 0 < yardstick.cpu() < (time.monotonic() - began) * (os.cpu_count() or 1)
        assert 10 < yardstick.peak() < 500


@pytest.mark.parametrize(
    ("measured", "aim", "verdict"), [(0.4, 0.4, "ok"), (0.404, 0.4, "ok"), (0.41, 0.4, "short"), (9.0, None, "")]
)
def test_a_figure_is_judged_by_its_aim_as_it_is_shown(measured: float, aim: float | None, verdict: str) -> None:
    assert Figure("a", measured, "ms CPU", aim).verdict == verdict


@pytest.mark.parametrize(("slower", "verdict"), [(1.0, "ok"), (3.0, "ok"), (0.5, "short")])
@pytest.mark.parametrize(("measured", "unit", "aim"), [(0.4, "ms CPU", 0.4), (59.0, "s", 60.0), (59.0, "µs CPU", 60.0)])
def test_a_time_is_judged_in_yardsticks(measured: float, unit: str, aim: float, slower: float, verdict: str) -> None:
    """A machine three times slower is no failure, and one that is faster than the reference is no excuse."""
    times = slower if verdict == "ok" else 1.0
    figure = Figure("a", measured * times, unit, aim, yardstick=REFERENCE * slower)
    assert figure.verdict == verdict
    assert figure.aim_yardsticks == pytest.approx({"ms CPU": 5.714, "s": 857_143, "µs CPU": 0.857}[unit], rel=1e-3)


def test_an_aim_that_this_run_measured_is_not_scaled() -> None:
    for measured, verdict in ((15.0, "ok"), (16.0, "short")):
        assert Figure("a", measured, "s", 15.5, yardstick=3 * REFERENCE, relative=True).verdict == verdict


def test_what_is_no_time_is_judged_as_it_is() -> None:
    (figure,) = with_yardstick([Figure("a", 5.0, "", 4, yardstick=3 * REFERENCE)])
    assert (figure.verdict, figure.yardsticks, figure.aim_yardsticks) == ("short", None, None)


def test_figures_without_a_yardstick_have_the_one_measured_among_them() -> None:
    figures = [Figure("a", 1.0, "s"), Figure("b", 0.2, "ms CPU", yardstick=0.1)]
    assert [figure.yardsticks for figure in with_yardstick(figures)] == [10_000, 2]


def test_growth_of_a_request_is_from_the_smallest_directory_to_the_largest() -> None:
    costs = ((1_000, 0.2, 2.0), (10_000, 0.1, 1.0), (100_000, 0.3, 2.2))
    figures = [Figure("GET user", cpu, "ms CPU", 0.4, n, yardstick=cpu / ratio) for n, cpu, ratio in costs]
    (found,) = growth(figures)
    assert found.name == "GET user: 1,000 to 100,000"
    assert found.measured == pytest.approx(50)
    assert found.beside == {"in yardsticks %": pytest.approx(10)}
    assert found.verdict == "short"


def test_growth_of_a_job_is_by_account_and_from_the_last_size_but_one() -> None:
    figures = [Figure("import", 9.0, "s", None, n, {"CPU s": cpu}) for n, cpu in ((100, 9), (1_000, 1.0), (10_000, 11))]
    (found,) = growth(figures)
    assert found.name == "import, CPU an account: 1,000 to 10,000"
    assert found.measured == pytest.approx(10)
    assert found.verdict == "ok"


def test_one_size_has_no_growth() -> None:
    assert growth([Figure("GET user", 0.2, "ms CPU", 0.4, 1_000)]) == []
