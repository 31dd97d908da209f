"""Groups of three sizes: what a change of members, a look-up and a whole read cost the server in CPU."""

from __future__ import annotations

import itertools
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from infra.local.bench import people
from infra.local.bench.figures import Figure
from infra.local.bench.jobs import serving
from infra.local.bench.traffic import PAGE, Call, Effort, Operation, Server, take_turns

SMALL = 10
LARGE_PATCH = 1_000
USERS_GROUPS = 20
USERS = 300
MEMORY = 200
"""Aim in MB for the whole server after it has shown the largest group: its text is held twice, its rows a page."""

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


async def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Return every figure of groups, in a directory that holds them alone."""
    async with serving(folder) as (process, session):
        app = Server(process, session)
        few, many, most = [await _group(app, size) for size in (SMALL, effort.group // 10, effort.group)]
        user = await _user_in_groups(app)
        page = await _page_of_members(app)
        whole = b"]}"
        operations = [
            Operation(f"in or out: 1 member, group of {SMALL:,}", 1.0, _in_and_out(few), 0.5),
            Operation(f"in or out: 1 member, group of {effort.group:,}", 1.0, _in_and_out(most), 0.5),
            Operation(f"100 members into a group of {effort.group:,}", 10, _joins(most, 100), 0.02),
            Operation(f"1,000 members into a group of {effort.group:,}", 90, _joins(most, LARGE_PATCH), 0.005),
            Operation("group without members, displayName eq", 0.5, itertools.repeat(_named(effort.group))),
            Operation(f"GET a user in {USERS_GROUPS} groups", 1.0, itertools.repeat(user)),
            Operation(f"page of {PAGE} of a group's users, by cursor", 10, itertools.repeat(page), 0.1),
            Operation(f"GET a group of {effort.group // 10:,}", 60, itertools.repeat(_read(many, whole)), 0.01, 1),
        ]
        # The first is the yardstick, which stands among the requests, too.
        figures = (await take_turns(app, operations, folder, None, effort))[1:]
        await app.send(_read(most, whole))
        memory = Figure(f"GET a group of {effort.group:,}: memory", process.peak(), "MB", MEMORY)
    return [*figures, _apart(figures[0], figures[1]), memory]


def _apart(one: Figure, other: Figure) -> Figure:
    """Return by how many per cent the dearer of two figures costs more."""
    low, high = sorted((one.measured, other.measured))
    return replace(
        one, name="in or out: 1 member, largest against smallest", measured=100 * (high / low - 1), unit="%", aim=25
    )


async def _group(app: Server, size: int) -> str:
    """Create a group of so many members who are nobody, and return its id."""
    body = {"schemas": [GROUP], "displayName": f"Group of {size}"}
    group_id = str(json.loads(await app.send(Call("POST", "/scim/v2/Groups", b'"meta":', body)))["id"])
    joins = _joins(group_id, min(size, LARGE_PATCH))
    await app.send_all(itertools.islice(joins, size // min(size, LARGE_PATCH)))
    return group_id


async def _user_in_groups(app: Server) -> Call:
    """Create a user in groups, and return the call that reads it."""
    user = json.loads(await app.send(Call("POST", "/scim/v2/Users", b'"meta":', people.user(1))))["id"]
    for number in range(USERS_GROUPS):
        body = {"schemas": [GROUP], "displayName": f"Group {number}", "members": [{"value": user}]}
        await app.send(Call("POST", "/scim/v2/Groups", b'"meta":', body))
    return Call("GET", f"/scim/v2/Users/{user}", b'"groups":')


async def _page_of_members(app: Server) -> Call:
    """Create a group of users, and return the call that reads its first page of them."""
    calls = (Call("POST", "/scim/v2/Users", b'"meta":', people.user(n)) for n in range(2, 2 + USERS))
    ids = [json.loads(answer)["id"] for answer in await app.send_all(calls)]
    body = {"schemas": [GROUP], "displayName": "Users", "members": [{"value": user} for user in ids]}
    group = json.loads(await app.send(Call("POST", "/scim/v2/Groups", b'"meta":', body)))["id"]
    text = quote(f'groups.value eq "{group}"', safe="")
    return Call("GET", f"/scim/v2/Users?filter={text}&cursor&count={PAGE}", b'"nextCursor":')


def _patch(group_id: str, op: str, ids: Sequence[str]) -> Call:
    return Call("PATCH", f"/scim/v2/Groups/{group_id}", b"", people.members_patch(op, ids))


def _in_and_out(group_id: str) -> Iterator[Call]:
    while True:
        member = str(uuid.uuid4())
        yield _patch(group_id, "Add", [member])
        yield _patch(group_id, "Remove", [member])


def _joins(group_id: str, count: int) -> Iterator[Call]:
    while True:
        yield _patch(group_id, "Add", [str(uuid.uuid4()) for _ in range(count)])


def _named(size: int) -> Call:
    text = quote(f'displayName eq "Group of {size}"', safe="")
    return Call("GET", f"/scim/v2/Groups?excludedAttributes=members&filter={text}", b'"totalResults":1,')


def _read(group_id: str, has: bytes) -> Call:
    return Call("GET", f"/scim/v2/Groups/{group_id}", has)
