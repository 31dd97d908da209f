"""The create of a group whose requests to the storage are apart in time, while the group of its externalId changes.

What binds a group to an externalId is one key, whatever becomes of the group: so one look finds it, whenever it comes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest

from infra.local.faults import Call, FaultyTables
from scim_groups import service
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key
from shared.directory.records import claims, resources
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.scim_groups.test_linked import SALES, a_group, link
from tests.scim_groups.test_two_writers import IDS, naming, patch, request
from tests.shared.directory.people import reopened, small

Act = Callable[[Directory, str], Awaitable[object]]


async def come_back(directory: Directory, group: str) -> None:
    """Delete a linked group over SCIM, and let it come back."""
    await service.delete(directory, request(id=group))
    await service.create(directory, request({"displayName": "Sales", "externalId": SALES}))


ACTS: dict[str, Act] = {
    "deleted": lambda directory, group: service.delete(directory, request(id=group)),
    "deleted and come back": come_back,
    "renamed": lambda directory, group: patch(directory, group, naming("Staff")),
}


async def create_beside(tables: Tables, name: str, act: Act, made: int, late: int) -> bool:
    """Create a group with a linked one's externalId while that changes; tell whether there was a call of that number.

    The calls beside the late one are answered before the change, and it once that is over.
    """
    directory = await small(tables, name)
    group = await link(directory, await a_group(directory, "Sales", IDS[0]))
    slow = FaultyTables(tables)
    scim = await reopened(slow, name)
    for number in range(made):
        await service.create(scim, request({"displayName": f"Group {number}"}))
    numbers, done = itertools.count(1), asyncio.Event()

    async def happen(call: Call) -> None:
        if next(numbers) == late:
            for _ in range(50):  # turns of the event loop, in which whatever is asked beside it is answered
                await asyncio.sleep(0)
            await act(directory, group.id)
            done.set()

    slow.before = happen
    with suppress(DirectoryError):
        await service.create(scim, request({"displayName": "Other", "externalId": SALES}))
    found = await directory.groups.list_by(Key("externalId", SALES))
    assert [one.id for one in found] == [group.id], late
    return done.is_set()


@pytest.mark.parametrize("made", [0, 1], ids=["checked first", "checked beside"])
@pytest.mark.parametrize("act", ACTS)
async def test_a_create_while_its_group_changes_makes_no_second_one(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, act: str, made: int
) -> None:
    """Whichever of its calls is late."""
    monkeypatch.setattr(claims, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(resources, "SURE", 1)
    for late in itertools.count(1):
        if not await create_beside(sqlite_tables, f"at{late}", ACTS[act], made, late):
            assert late > 5
            return
