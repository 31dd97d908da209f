"""A create that adopts an account or gets one back, and dies, or meets a deletion: in the end there is one account."""

from __future__ import annotations

import itertools
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infra.local.faults import Crash, Fault, FaultyTables, script
from scim_users import service
from scim_users.authority import retire
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Link, Status, digest_facts
from shared.directory.sweep import sweep
from shared.directory.text import timestamp
from shared.scim.endpoint import Request
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants, stale_rows
from tests.shared.directory.people import reopened, small

KIM = "8b3f1c9e-0001-4000-8000-00000000000a"
NAME = "kim@contoso.com"
NOW = "2026-11-29T12:00:00.000Z"
CREATE = {"userName": NAME, "externalId": KIM, "active": True, "emails": [{"type": "work", "value": NAME}]}
POLICY = Policy(verified_domains=frozenset({"contoso.com"}), adopt_on_create=True)


async def adopted(directory: Directory) -> Account:
    """Put an account that a create adopts: a run planned everybody, and nothing is in the way."""
    jobs = directory.jobs
    run = await jobs.start("run", "admin", jobs.new_id("run"), {})
    await jobs.change(run.id, lambda job: replace(job, planned=timestamp()))
    await jobs.note_planned([run.id])
    seen = directory.seen_writer(run.id, "0")
    document = {"userName": NAME, "emails": [{"value": "kim@home.example"}]}
    new = Account.new(directory.keys.new_id(NAME), document, Status.LOCAL, NOW)
    await seen.add_account(new.id, digest_facts(new.facts()))
    await seen.close()
    return await directory.accounts.create(new, by="import")


async def linked(directory: Directory) -> Account:
    """Put an account that is linked to an identity."""
    account = await adopted(directory)
    link = Link(KIM, "userName", NOW, "run", NOW)
    stamped = account.with_external_id(KIM, status=Status.CLAIMED, link=link)
    return await directory.accounts.replace(account, stamped, by="run")


async def returned(directory: Directory) -> Account:
    """Put an account that a create gets back."""
    return await deleted(directory, await linked(directory))


async def deleted(directory: Directory, account: Account) -> Account:
    """Delete an account as SCIM deletes a linked one."""
    return await directory.accounts.replace(account, retire(account), by="entra")


async def post(directory: Directory, user: Mapping[str, Any]) -> str:
    """Create a user, and return the id that is answered."""
    request = Request("http://x/scim/v2", "entra", body=json.dumps(user).encode())
    return str(json.loads((await service.create(directory, request)).text)["id"])


async def create(tables: Tables) -> str:
    """Create as a new process does, and return the id that is answered."""
    return await post(await reopened(tables), CREATE)


@pytest.mark.parametrize("fault", [Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
@pytest.mark.parametrize("put", [adopted, returned])
async def test_a_create_that_was_killed_anywhere_ends_right_when_it_is_sent_again(
    tmp_path: Path, put: Callable[[Directory], Awaitable[Account]], fault: Fault
) -> None:
    for number in itertools.count(1):
        tables = SqliteTables.open(tmp_path / f"{number}.db")
        directory = await small(tables, buckets=2)
        await directory.policies.set(POLICY)
        account = await put(directory)
        dying = FaultyTables(tables, script({number: fault}))
        try:
            assert await create(dying) == account.id
        except Crash:
            with suppress(AlreadyExists):  # it was done, and its answer lost
                assert await create(tables) == account.id
        (found,) = await check_invariants(tables)
        assert found.link is not None
        assert (found.id, found.link.identity, found.retired) == (account.id, KIM, False)
        await sweep(await reopened(tables))
        assert await stale_rows(tables) == 0
        await tables.close()
        if number > dying.requests:
            return
