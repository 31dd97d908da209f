"""How far a run has read: of two who get on with it one counts, and only the end leaves a bookmark."""

from __future__ import annotations

from dataclasses import replace

from shared.directory.work.readings import Bookmark, Reading
from shared.tables.port import Tables
from tests.shared.directory.people import small

BEGUN = "2026-01-01T00:00:00.000Z"


async def test_of_two_who_get_on_with_a_reading_the_second_learns_that_it_is_too_late(tables: Tables) -> None:
    readings = (await small(tables)).readings
    assert await readings.find("run1") is None
    new = Reading("run1", BEGUN, 1.0, place={"page": 1})
    assert await readings.save(new)
    assert not await readings.save(new), "neither has read anything yet"
    found = await readings.find("run1")
    assert found is not None
    assert await readings.save(replace(found, place={"page": 3}, read=30))
    assert not await readings.save(replace(found, place={"page": 2}, read=20))
    now = await readings.find("run1")
    assert now is not None
    assert (now.place, now.read) == ({"page": 3}, 30)


async def test_a_bookmark_is_left_at_the_end_and_stays(tables: Tables) -> None:
    readings = (await small(tables)).readings
    assert await readings.save(Reading("run1", BEGUN, 1.0, place={"page": 1}, bookmark="link"))
    assert await readings.find_bookmark() is None
    found = await readings.find("run1")
    assert found is not None
    assert await readings.save(replace(found, place=None))
    await readings.forget("run1")
    assert await readings.find("run1") is None
    assert await readings.find_bookmark() == Bookmark("run1", BEGUN, "link")
