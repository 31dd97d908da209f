"""Groups of three sizes: the server's CPU time for a change of members, a look-up, and a read of all members."""

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
from infra.local.bench.traffic import PAGE, Effort, HttpCall, RequestKind, Server, take_turns

SMALL = 10
"""Members of the smallest group."""
LARGE_PATCH = 1_000
"""Members that a PATCH adds at most."""
USERS_GROUPS = 20
"""Groups of the one user who is in many."""
USERS = 300
"""Members of the group of users whose pages are read."""
MEMORY = 200
"""MB that the server may take when it shows the largest group: it holds that text twice, and a page of its rows."""

GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"


async def measure(folder: Path, effort: Effort) -> list[Figure]:
    """Return every figure of groups, in a directory that has little besides."""
    async with serving(folder) as (process, session):
        app = Server(process, session)
        few, many, most = [await _group(app, size) for size in (SMALL, effort.group // 10, effort.group)]
        user = await _user_in_groups(app)
        page = await _page_of_members(app)
        whole = b"]}"
        kinds = [
            RequestKind(f"in or out: 1 member, group of {SMALL:,}", 1.0, _in_and_out(few), 0.5),
            RequestKind(f"in or out: 1 member, group of {effort.group:,}", 1.0, _in_and_out(most), 0.5),
            RequestKind(f"100 members into a group of {effort.group:,}", 10, _joins(most, 100), 0.02),
            RequestKind(f"1,000 members into a group of {effort.group:,}", 90, _joins(most, LARGE_PATCH), 0.005),
            RequestKind("POST group", 1.0, _creates(0), 0.25),
            RequestKind("POST group, 1 member", 1.0, _creates(1), 0.25),
            RequestKind("group without members, displayName eq", 0.5, itertools.repeat(_named(effort.group))),
            RequestKind(f"GET a user in {USERS_GROUPS} groups", 1.0, itertools.repeat(user)),
            RequestKind(f"page of {PAGE} of a group's users, by cursor", 10, itertools.repeat(page), 0.1),
            RequestKind(f"GET a group of {effort.group // 10:,}", 60, itertools.repeat(_read(many, whole)), 0.01, 1),
        ]
        # Without the yardstick, which is among the requests as well.
        figures = (await take_turns(app, kinds, folder, None, effort))[1:]
        await app.send(_read(most, whole))
        memory = Figure(f"GET a group of {effort.group:,}: memory", process.peak(), "MB", MEMORY)
    return [*figures, _apart(figures[0], figures[1]), memory]


def _apart(one: Figure, other: Figure) -> Figure:
    """Return how many per cent the dearer of two figures costs more."""
    low, high = sorted((one.measured, other.measured))
    return replace(
        one, name="in or out: 1 member, largest against smallest", measured=100 * (high / low - 1), unit="%", aim=25
    )


async def _group(app: Server, size: int) -> str:
    """Create a group of a size, with made-up ids as members, and return its id."""
    body = {"schemas": [GROUP], "displayName": f"Group of {size}"}
    group_id = str(json.loads(await app.send(HttpCall("POST", "/scim/v2/Groups", b'"meta":', body)))["id"])
    joins = _joins(group_id, min(size, LARGE_PATCH))
    await app.send_all(itertools.islice(joins, size // min(size, LARGE_PATCH)))
    return group_id


async def _user_in_groups(app: Server) -> HttpCall:
    """Create a user in USERS_GROUPS groups, and return the call that reads the user."""
    user = json.loads(await app.send(HttpCall("POST", "/scim/v2/Users", b'"meta":', people.user(1))))["id"]
    for number in range(USERS_GROUPS):
        body = {"schemas": [GROUP], "displayName": f"Group {number}", "members": [{"value": user}]}
        await app.send(HttpCall("POST", "/scim/v2/Groups", b'"meta":', body))
    return HttpCall("GET", f"/scim/v2/Users/{user}", b'"groups":')


async def _page_of_members(app: Server) -> HttpCall:
    """Create a group of users, and return the call that reads its first page of them."""
    calls = (HttpCall("POST", "/scim/v2/Users", b'"meta":', people.user(n)) for n in range(2, 2 + USERS))
    ids = [json.loads(answer)["id"] for answer in await app.send_all(calls)]
    body = {"schemas": [GROUP], "displayName": "Users", "members": [{"value": user} for user in ids]}
    group = json.loads(await app.send(HttpCall("POST", "/scim/v2/Groups", b'"meta":', body)))["id"]
    text = quote(f'groups.value eq "{group}"', safe="")
    return HttpCall("GET", f"/scim/v2/Users?filter={text}&cursor&count={PAGE}", b'"nextCursor":')


def _creates(members: int) -> Iterator[HttpCall]:
    """Create groups of a size, with made-up ids as members. Each has an externalId, as Entra sends it."""
    for number in itertools.count():
        body = {"schemas": [GROUP], "displayName": f"New {members}.{number}", "externalId": str(uuid.uuid4())}
        values = [{"value": str(uuid.uuid4())} for _ in range(members)]
        yield HttpCall("POST", "/scim/v2/Groups", b'"meta":', body | ({"members": values} if members else {}))


def _patch(group_id: str, op: str, ids: Sequence[str]) -> HttpCall:
    return HttpCall("PATCH", f"/scim/v2/Groups/{group_id}", b"", people.members_patch(op, ids))


def _in_and_out(group_id: str) -> Iterator[HttpCall]:
    while True:
        member = str(uuid.uuid4())
        yield _patch(group_id, "Add", [member])
        yield _patch(group_id, "Remove", [member])


def _joins(group_id: str, count: int) -> Iterator[HttpCall]:
    while True:
        yield _patch(group_id, "Add", [str(uuid.uuid4()) for _ in range(count)])


def _named(size: int) -> HttpCall:
    text = quote(f'displayName eq "Group of {size}"', safe="")
    return HttpCall("GET", f"/scim/v2/Groups?excludedAttributes=members&filter={text}", b'"totalResults":1,')


def _read(group_id: str, has: bytes) -> HttpCall:
    return HttpCall("GET", f"/scim/v2/Groups/{group_id}", has)
