"""Names of a plan: a search reads few of them, and finds what looking at all of them finds."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from shared import turns
from shared.directory.directory import Directories, Directory
from shared.directory.work import names
from shared.directory.work.plan import PlanRow
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables

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


@pytest.mark.parametrize("merges", [0, 1, 2])
@pytest.mark.parametrize("seed", range(8))
async def test_a_search_finds_what_looking_at_all_names_finds(
    tables: Tables, monkeypatch: pytest.MonkeyPatch, seed: int, merges: int
) -> None:
    chance = random.Random(seed)
    for name, values in (("CHUNK", (2, 3, 7)), ("CHUNKS_AT_ONCE", (1, 2, 5, 99)), ("FIRSTS_A_ROW", (1, 4, 99))):
        monkeypatch.setattr(names, name, chance.choice(values))
    monkeypatch.setattr(names, "_AT_ONCE", 5)
    directory = await Directories(tables, buckets=4).open("main")
    held = await write(directory, ("".join(chance.choices("ab ", k=chance.randint(1, 5))) for _ in range(60)))
    for _ in range(merges):
        await directory.plan_names("run").merge()
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


async def test_a_search_in_merged_names_reads_as_little_however_many_wrote_them(sqlite_tables: SqliteTables) -> None:
    counting = FaultyTables(sqlite_tables)
    directory = await Directories(counting, buckets=4).open("main")
    for writer in range(40):
        people = [person(writer * 20 + number, f"{'abcdefghij'[number % 10]}{writer}") for number in range(20)]
        await directory.plan("run").write(0, people)
        await directory.plan_names("run").write(f"w{writer:02}", [(0, one) for one in people])
    await directory.plan_names("run").merge()
    counting.reset()
    found, more = await directory.plan_names("run").find("a1", "", 50)
    assert len(found) == 22
    assert more is None
    assert counting.sequential == 3, "by which names chunks begin, the chunks, and the rows"
    assert counting.requests - len(found) <= 3


@pytest.mark.parametrize("crash", range(1, 9))
async def test_a_merge_that_broke_off_changes_no_search_and_is_done_again(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, crash: int
) -> None:
    for name in ("CHUNK", "CHUNKS_AT_ONCE", "FIRSTS_A_ROW"):
        monkeypatch.setattr(names, name, 3)
    directory = await Directories(sqlite_tables, buckets=4).open("main")
    await write(directory, (f"ada {number:02}" for number in range(20)))
    wanted, _ = await directory.plan_names("run").find("ada", "", 2)
    faulty = FaultyTables(sqlite_tables, script({crash: Fault.CRASH_BEFORE}))
    with pytest.raises(Crash):
        await names.PlanNames(faulty, directory.keys, "run").merge()
    for _ in range(2):
        assert (await directory.plan_names("run").find("ada", "", 2))[0] == wanted
        await directory.plan_names("run").merge()
