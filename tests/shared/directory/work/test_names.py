"""Names of a plan: a search reads few of them, and finds what looking at all of them finds."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from shared import turns
from shared.directory.directory import Directories, Directory
from shared.directory.work import names
from shared.directory.work.plan import PlanRow
from shared.tables.port import Tables

WRITERS = 4


def person(number: int, name: str) -> PlanRow:
    return PlanRow("noAccount", str(number), {"identity": {"displayName": name, "userPrincipalName": name[::-1]}})


async def write(directory: Directory, people: Iterable[str]) -> dict[str, list[str]]:
    """Write a plan of these people by several writers, and return the names of each of its rows."""
    written = [(number % 3, person(number, name)) for number, name in enumerate(people)]
    for bucket in range(3):
        await directory.plan("run").write(bucket, [row for home, row in written if home == bucket])
    for writer in range(WRITERS):
        theirs = written[writer::WRITERS] if writer else []
        await directory.plan_names("run").write(f"w{writer}", theirs)
    return {row.subject: sorted(names.names_of(row.shown)) for at, (_, row) in enumerate(written) if at % WRITERS}


@pytest.mark.parametrize("seed", range(8))
async def test_a_search_finds_what_looking_at_all_names_finds(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    chance = random.Random(seed)
    monkeypatch.setattr(names, "CHUNK", chance.choice((2, 3, 7)))
    monkeypatch.setattr(names, "_AT_ONCE", 5)
    directory = await Directories(tables, buckets=4).open("main")
    held = await write(directory, ("".join(chance.choices("ab ", k=chance.randint(1, 5))) for _ in range(60)))
    for begins, also in (("a", ()), ("ba", ("a", "aab", "ba")), ("zz", ("b", "b", "bab")), ("b", ())):
        found, cursor = list[PlanRow](), ""
        while True:
            rows, more = await directory.plan_names("run").find(begins, cursor, chance.randint(1, 9), also)
            found += rows
            if more is None:
                break
            cursor = more
        wanted = {
            row: next(name for name in theirs if name.startswith(begins) or name in also)
            for row, theirs in held.items()
            if any(name.startswith(begins) or name in also for name in theirs)
        }
        assert [wanted[row.subject] for row in found] == sorted(wanted.values()), "in the order of their names"
        assert {row.subject for row in found} == set(wanted)


async def test_names_are_written_in_turns(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer of a large plan has 50,000 of them: in one piece they hold up every request for half a second."""
    given = 0

    async def next_turn() -> None:
        nonlocal given
        given += 1

    directory = await Directories(tables, buckets=4).open("main")
    people = [(0, person(number, f"Ada Byron {number}")) for number in range(600)]
    monkeypatch.setattr(turns, "SLICE_SECONDS", 0)
    monkeypatch.setattr(turns, "next_turn", next_turn)
    await directory.plan_names("run").write("decide", people)
    assert given > len(people)
