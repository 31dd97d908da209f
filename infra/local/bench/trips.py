"""Round trips of each request, counted at the storage port: what it costs on Table Storage, whatever the machine.

A figure is the longest chain of calls that wait for each other; the number of all calls is beside it.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import scim_groups.service
from infra.local.bench.figures import Figure
from infra.local.bench.people import members_patch, patch, user
from infra.local.faults import FaultyTables
from infra.local.standins.provisioning import ENTERPRISE
from scim_users import service
from shared.directory.directory import Directories, Directory
from shared.directory.records.model import Account, Group, Link, Status
from shared.scim.endpoint import Request, Response
from shared.tables.sqlite import SqliteTables

PEOPLE = 250
"""Users in the directory: enough for a page of 100 to be of many of its 64 buckets."""

Service = Callable[[Directory, Request], Awaitable[Response]]


class Counted:
    """A directory whose storage calls are counted."""

    def __init__(self, tables: FaultyTables, directory: Directory) -> None:
        self._tables = tables
        self._directory = directory

    async def call(self, service: Service, body: object = None, *, id: str = "", **params: str) -> Any:
        """Have a service answer, counting from 0; return the JSON. Raises what the service raises."""
        text = b"" if body is None else json.dumps(body).encode()
        request = Request("http://127.0.0.1/scim/v2", "bench", id=id, params=params, body=text)
        self._tables.reset()
        response = await service(self._directory, request)
        return json.loads(response.text or "null")

    async def bring(self, person: dict[str, Any], identity: str = "") -> str:
        """Store an account that existed before provisioning, link it if there is an identity, and return its id."""
        accounts = self._directory.accounts
        new = Account.new(accounts.keys.new_id(person["userName"]), person, Status.LOCAL, accounts.now())
        made = await accounts.create(new, by="bench")
        if not identity:
            return made.id
        at = accounts.now()
        document = made.document() | {"externalId": identity}
        after = made.with_document(document, status=Status.CLAIMED, link=Link(identity, "userName", at, "bench", at))
        return (await accounts.replace(made, after, by="bench", action="link")).id

    async def link_group(self) -> str:
        """Store a group that is managed here, link it as a run does, and return its id."""
        groups = self._directory.groups
        new = Group.new(groups.keys.new_id("Linked"), {"displayName": "Linked"}, Status.LOCAL, groups.now())
        made = await groups.create(new, by="bench")
        return (await groups.link(made, replace(made, status=Status.CLAIMED), by="bench")).id

    def figure(self, name: str, aim: int) -> Figure:
        """Return the last call's round trips."""
        return Figure(f"round trips: {name}", self._tables.sequential, "", aim, None, {"calls": self._tables.requests})


async def measure(folder: Path) -> list[Figure]:
    """Count the round trips of every kind of request, in a small directory in the folder."""
    inner = SqliteTables.open(folder / "trips.db")
    tables = FaultyTables(inner)
    try:
        counted = Counted(tables, await Directories(tables).open("main"))
        ids = [(await counted.call(service.create, user(n)))["id"] for n in range(PEOPLE)]
        await counted.call(service.patch, patch(title="reads the policy"), id=ids[0])
        return [
            *await _reads(counted, ids[1]),
            *await _creates(counted),
            *await _changes(counted, ids[2]),
            *await _groups(counted, ids[3]),
            # By another process, which has no counts in its memory yet.
            *await _pages(Counted(tables, await Directories(tables).open("main"))),
        ]
    finally:
        await tables.close()


async def _reads(counted: Counted, account_id: str) -> list[Figure]:
    await counted.call(service.get, id=account_id)
    figures = [counted.figure("get by id", 1)]
    person = user(1)
    filters = {
        "userName eq": (2, f'userName eq "{person["userName"]}"'),
        "externalId eq": (2, f'externalId eq "{person["externalId"]}"'),
        "work e-mail eq": (2, f'emails[type eq "work"].value eq "{person["userName"]}"'),
        "userName eq, miss": (1, 'userName eq "nobody@contoso.com"'),
        "externalId eq, miss": (1, 'externalId eq "nobody"'),
        "work e-mail eq, miss": (1, 'emails[type eq "work"].value eq "nobody@contoso.com"'),
    }
    for name, (aim, text) in filters.items():
        await counted.call(service.query, filter=text)
        figures.append(counted.figure(name, aim))
    await counted.bring({"userName": "local@contoso.com"})
    await counted.call(service.query, filter='userName eq "local@contoso.com"')
    return [*figures, counted.figure("userName eq, an account that is managed here", 2)]


async def _creates(counted: Counted) -> list[Figure]:
    keyed = user(PEOPLE, email="another@contoso.com")
    plain = user(PEOPLE + 1)
    # The aims count no employeeNumber, which is one more key.
    del keyed[ENTERPRISE], plain[ENTERPRISE], plain["externalId"]
    await counted.call(service.query, count="0")  # has every bucket's count in memory, as a process that served before
    await counted.call(service.create, plain)
    figures = [counted.figure("create, e-mail = userName", 2)]
    await counted.call(service.create, keyed)
    return [*figures, counted.figure("create, externalId, other e-mail", 2)]


async def _changes(counted: Counted, account_id: str) -> list[Figure]:
    await counted.call(service.patch, patch(displayName="A", title="B", nickName="C"), id=account_id)
    figures = [counted.figure("PATCH, no key changed", 2)]
    await counted.call(service.patch, patch(userName="renamed@contoso.com"), id=account_id)
    figures.append(counted.figure("rename", 4))
    linked = await counted.bring({"userName": "linked@contoso.com"}, identity=str(uuid.uuid4()))
    await counted.call(service.patch, patch(displayName="A", title="B", nickName="C"), id=linked)
    return [*figures, counted.figure("PATCH of a linked account, no key changed", 2)]


async def _groups(counted: Counted, account_id: str) -> list[Figure]:
    body = {"displayName": "Everybody", "members": [{"value": account_id}]}
    group = (await counted.call(scim_groups.service.create, body))["id"]
    await counted.call(scim_groups.service.get, id=group, excludedAttributes="members")
    figures = [counted.figure("group without members", 1)]
    await counted.call(service.get, id=account_id)
    figures.append(counted.figure("get by id, a user in a group", 2))
    one, many = [str(uuid.uuid4())], [str(uuid.uuid4()) for _ in range(1_000)]
    # The answer leaves members out, so that what is counted is the change alone.
    linked = await counted.link_group()
    for name, aim, op, members, to in (
        ("1 member in", 2, "add", one, group),
        ("1 member out", 2, "remove", one, group),
        ("1,000 members in", 4, "add", many, group),
        ("1 member in, linked group", 2, "add", one, linked),
        ("1 member out, linked group", 2, "remove", one, linked),
        ("1,000 members in, linked group", 4, "add", many, linked),
    ):
        await counted.call(scim_groups.service.patch, members_patch(op, members), id=to, excludedAttributes="members")
        figures.append(counted.figure(name, aim))
    return figures


async def _pages(counted: Counted) -> list[Figure]:
    await counted.call(service.query, count="0")
    figures = [counted.figure("totalResults", 1)]
    page = await counted.call(service.query, startIndex="1", count="100")
    buckets = len({resource["id"][:2] for resource in page["Resources"]})
    return [*figures, counted.figure(f"page of 100 over {buckets} buckets", buckets)]
