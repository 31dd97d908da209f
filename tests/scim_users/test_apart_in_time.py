"""A create, or a change by SCIM, whose requests to the storage are apart in time, while somebody changes an account.

On Table Storage each look is a request of its own. Those beside a late one are answered before the change begins, and
the late one once it is over. Whoever had an account before and has it after it gets no second one.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from infra.local.faults import Call, FaultyTables
from scim_users import service
from shared.admin import account_changes
from shared.directory.directory import Directory
from shared.directory.errors import DirectoryError
from shared.directory.records import claims, resources
from shared.directory.records.bulk import replace_many
from shared.directory.records.model import ENTERPRISE, Account, SignInEvidence, Status
from shared.scim.endpoint import Request
from shared.tables.port import Tables
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import change, create, linked, reopened, small, with_changes, with_emails

KIM = "8b3f1c9e-0001-4000-8000-00000000000a"
NAME, NEW, WORK, HOME = "kim", "new@contoso.com", "kim@contoso.com", "kim@home.example"
NUMBER = {ENTERPRISE: {"employeeNumber": "4711"}}
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"

Act = Callable[[Directory, Account], Awaitable[object]]


def sent(user_name: str, *emails: str, **more: Any) -> dict[str, Any]:
    """Return a user as provisioning sends it."""
    return {"userName": user_name, "emails": [{"value": one} for one in emails], **more}


def asked(body: Any, about: str = "", by: str = "entra") -> Request:
    return Request("http://x/scim/v2", by, about, body=b"" if body is None else json.dumps(body).encode())


def edit(**edited: Any) -> Act:
    """Change an account as an administrator does."""
    return lambda d, kim: account_changes.edit_account(d, asked(edited, kim.id, "ada"))


def release(*, keep: bool) -> Act:
    return lambda d, kim: account_changes.release_account(d, asked({"keepEvidence": keep}, kim.id, "ada"))


def imported(after: Callable[[Account], Account]) -> Act:
    return lambda d, kim: replace_many(d.accounts, [(kim, after(kim))], by="import", action="import")


def link(d: Directory, kim: Account) -> Awaitable[object]:
    return account_changes.link_account(d, asked({"identity": KIM}, kim.id, "ada"))


def delete(d: Directory, kim: Account) -> Awaitable[object]:
    return service.delete(d, asked(None, kim.id))


async def come_back(d: Directory, kim: Account) -> None:
    """Delete an account over SCIM, and let its person have it back."""
    await service.delete(d, asked(None, kim.id))
    await service.create(d, asked(sent("kim.back@contoso.com", externalId=KIM)))


def local(
    user_name: str, *emails: str, evidence: SignInEvidence | None = None, **more: Any
) -> Callable[[Directory], Awaitable[Account]]:
    """Put an account that is managed here; `evidence` is what the application knows of its sign-ins."""

    async def put(directory: Directory) -> Account:
        account = await create(directory, user_name, *emails, **more)
        return await change(directory, account, replace(account, evidence=evidence)) if evidence else account

    return put


async def claimed(directory: Directory) -> Account:
    """Put an account that is linked, and that provisioning has come for."""
    account = linked(await create(directory, NAME), KIM)
    assert account.link
    confirmed = replace(account, link=replace(account.link, confirmed=account.link.at))
    before = await directory.accounts.get(account.id)
    return await change(directory, before, confirmed)


@dataclass(frozen=True)
class Case:
    """An account, what happens to it, and what provisioning sends of its person meanwhile."""

    put: Callable[[Directory], Awaitable[Account]]
    act: Act
    user: Mapping[str, Any]


BY_ID = SignInEvidence(object_id=KIM)
BOTH = sent(NEW, WORK, HOME)
CASES = {
    "from one address to the other": Case(local(NAME, WORK), edit(document={"emails": [{"value": HOME}]}), BOTH),
    "from an address to a verified one": Case(
        local(NAME, WORK), edit(document={"emails": None}, evidence={"verifiedEmails": [HOME]}), BOTH
    ),
    "from one address to the other by an import": Case(
        local(NAME, WORK), imported(lambda kim: with_emails(kim, HOME)), BOTH
    ),
    "from the userName to an address": Case(local(WORK, WORK), edit(document={"userName": NAME}), sent(NEW, WORK)),
    "from the userName to an address, which is sent as userName": Case(
        local(WORK, WORK), edit(document={"userName": NAME}), sent(WORK, WORK)
    ),
    "from the userName alone to an address": Case(
        local(WORK), edit(document={"userName": NAME, "emails": [{"value": WORK}]}), sent(WORK)
    ),
    "from the userName alone to another address": Case(
        local(NAME), edit(document={"userName": "kim2", "emails": [{"value": HOME}]}), sent(NAME, HOME)
    ),
    "from the userName to a number by an import": Case(
        local(NAME), imported(lambda kim: with_changes(kim, userName="kim2", **NUMBER)), sent(NAME, **NUMBER)
    ),
    "from an address to the userName": Case(local(NAME, WORK), edit(document={"userName": WORK}), sent(NEW, WORK)),
    "from an address to the userName, which is sent as userName": Case(
        local(NAME, WORK), edit(document={"userName": WORK}), sent(WORK, WORK)
    ),
    "from a number to an address": Case(
        local(NAME, **NUMBER), edit(document={"emails": [{"value": WORK}], ENTERPRISE: None}), sent(NEW, WORK, **NUMBER)
    ),
    "from evidence to the externalId": Case(
        local(NAME, evidence=BY_ID), edit(document={"externalId": KIM}, evidence=None), sent(NEW, externalId=KIM)
    ),
    "from the externalId to evidence": Case(
        local(NAME, externalId=KIM),
        edit(document={"externalId": None}, evidence={"objectId": KIM}),
        sent(NEW, externalId=KIM),
    ),
    "from the externalId to an address": Case(
        local(NAME, externalId=KIM),
        edit(document={"externalId": None, "emails": [{"value": WORK}]}),
        sent(NEW, WORK, externalId=KIM),
    ),
    "released": Case(claimed, release(keep=True), sent(NEW, externalId=KIM)),
    "released as linked wrongly": Case(claimed, release(keep=False), sent(NEW, externalId=KIM)),
    "deleted": Case(claimed, delete, sent(NEW, externalId=KIM)),
    "deleted and come back": Case(claimed, come_back, sent(NEW, externalId=KIM)),
    "linked": Case(local(NAME, WORK), link, sent(NEW, WORK, externalId=KIM)),
    "linked by evidence": Case(local(NAME, evidence=BY_ID), link, sent(NEW, externalId=KIM)),
}


async def beside(tables: Tables, name: str, case: Case, made: int, late: Collection[int], *, patches: bool) -> int:
    """Create a user while something happens to the account of its person, and return how many calls that made.

    Any call of the create may be `late`, by number. With `patches` the user is there, and gets all that by a PATCH.
    """
    directory = await small(tables, name, buckets=2)
    kim = await case.put(directory)
    slow = FaultyTables(tables)
    scim = await reopened(slow, name)
    for number in range(made):
        await service.create(scim, asked(sent(f"{number}@contoso.com")))
    user = await create(directory, "user@contoso.com", status=Status.PROVISIONED) if patches else None
    before = {kim.id, user.id} if user else {kim.id}
    lock, numbers, done = asyncio.Lock(), itertools.count(1), list[object]()

    async def happen(call: Call) -> None:
        if next(numbers) in late:
            async with lock:
                for _ in range(50):  # turns of the event loop, in which whatever is asked beside it is answered
                    await asyncio.sleep(0)
                if not done:
                    done.append(await case.act(directory, kim))

    slow.reset()
    slow.before = happen
    with suppress(DirectoryError):
        if user:
            operations = [{"op": "replace", "value": case.user}]
            await service.patch(scim, asked({"schemas": [PATCH], "Operations": operations}, user.id))
        else:
            await service.create(scim, asked(case.user))
    async with lock:  # a request that is refused leaves its look at the groups under way
        pass
    found = {account.id: account for account in await check_invariants(tables, name)}
    assert len(found) == len(before) + made, late
    if user:
        assert not found[user.id].found_by() & found[kim.id].found_by(), late
    return slow.requests


@pytest.mark.parametrize("made", [0, 1], ids=["checked first", "checked beside"])
@pytest.mark.parametrize("case", CASES)
async def test_a_create_while_an_account_changes_makes_its_person_no_second_one(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, case: str, made: int
) -> None:
    """Whichever of its calls is late."""
    monkeypatch.setattr(claims, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(resources, "SURE", 1)
    for late in itertools.count(1):
        if late > await beside(sqlite_tables, f"at{late}", CASES[case], made, {late}, patches=False):
            return


@pytest.mark.parametrize("case", CASES)
async def test_a_patch_while_an_account_changes_makes_nobody_its_second_person(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """Whichever of its calls is late."""
    monkeypatch.setattr(claims, "GIVE_WAY_SECONDS", 0.0)
    for late in itertools.count(1):
        if late > await beside(sqlite_tables, f"at{late}", CASES[case], 0, {late}, patches=True):
            return


@pytest.mark.parametrize("made", [0, 1], ids=["checked first", "checked beside"])
async def test_a_create_while_the_account_of_its_identity_is_deleted_makes_no_second_one(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, made: int
) -> None:
    """Whichever one or two of its calls are late."""
    monkeypatch.setattr(claims, "GIVE_WAY_SECONDS", 0.0)
    monkeypatch.setattr(resources, "SURE", 1)
    for first in itertools.count(1):
        for second in itertools.count(first):
            name, late = f"at{first}and{second}", {first, second}
            requests = await beside(sqlite_tables, name, CASES["deleted"], made, late, patches=False)
            if second > requests:
                break
        if first > requests:
            return
