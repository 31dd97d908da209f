"""Small directories and the people in them, for all tests of the directory."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from infra.local.faults import Call, FaultyTables
from shared.directory.directory import Directories, Directory
from shared.directory.errors import DirectoryError
from shared.directory.keys import Key
from shared.directory.records.model import Account, Link, Status
from shared.directory.text import timestamp
from shared.tables.port import Insert, Tables, Value

BY = "test"


class Clock:
    """Time that moves a millisecond at each look."""

    def __init__(self) -> None:
        self._ticks = itertools.count()

    def __call__(self) -> str:
        return timestamp(datetime(2025, 1, 1, tzinfo=UTC) + timedelta(milliseconds=next(self._ticks)))


async def small(tables: Tables, name: str = "small", buckets: int = 4, now: Callable[[], str] = timestamp) -> Directory:
    """Return a new directory with few buckets, so that a test soon has several accounts in one and can read all."""
    columns: dict[str, Value | None] = {"secret": "5e" * 32, "buckets": buckets, "created": timestamp()}
    await tables.commit(f"{name}_d", [Insert("directory", columns)])
    return await reopened(tables, name, now)


async def reopened(tables: Tables, name: str = "small", now: Callable[[], str] = timestamp) -> Directory:
    """Return the directory as another process sees it: nothing remembered."""
    return await Directories(tables, now).open(name)


def person(directory: Directory, user_name: str, *emails: str, status: Status = Status.LOCAL, **more: Any) -> Account:
    """Return an account that is not stored yet; `more` are attributes of its document."""
    document = {"userName": user_name, "emails": [{"value": email} for email in emails], **more}
    return Account.new(directory.keys.new_id(user_name), document, status, directory.accounts.now())


async def create(directory: Directory, user_name: str, *emails: str, **more: Any) -> Account:
    """Store a new account."""
    return await directory.accounts.create(person(directory, user_name, *emails, **more), by=BY)


def with_changes(account: Account, **changes: Any) -> Account:
    """Return the account with other attributes in its document; None takes one away."""
    document = {name: value for name, value in (account.document() | changes).items() if value is not None}
    return account.with_document(document)


def with_emails(account: Account, *emails: str) -> Account:
    """Return the account with these e-mails."""
    return with_changes(account, emails=[{"value": email} for email in emails])


def linked(account: Account, identity: str) -> Account:
    """Return the account linked to an identity, as a run does it."""
    stamped = with_changes(account, externalId=identity)
    link = Link(identity, "userName", "2025-01-01T00:00:00.000Z", BY)
    return replace(stamped, status=Status.CLAIMED, link=link, retired=False)


def retired(account: Account) -> Account:
    """Return the account as SCIM's DELETE leaves a claimed one."""
    return replace(with_changes(account, externalId=None), status=Status.LOCAL, link=None, retired=True)


async def change(directory: Directory, before: Account, after: Account) -> Account:
    """Store a change."""
    return await directory.accounts.replace(before, after, by=BY)


async def outcome(work: Awaitable[object]) -> type[DirectoryError] | None:
    """Return the kind of refusal that some work ends with, or None."""
    try:
        await work
    except DirectoryError as error:
        return type(error)
    return None


async def ids_of(directory: Directory, kind: str, value: str) -> list[str]:
    """Return the ids of the accounts found by a key, in order."""
    return sorted(account.id for account in await directory.accounts.list_by(Key(kind, value)))


Step = Callable[[Call], bool]


def writes(*row_starts: str) -> Step:
    """The commit that touches a row whose key starts with one of these."""
    return lambda call: call.verb == "commit" and any(key.startswith(row_starts) for key in call.keys)


def reads(*row_starts: str) -> Step:
    """The read of a row whose key starts with one of these."""
    return lambda call: call.verb != "commit" and call.keys[0].startswith(row_starts)


def commits_account(call: Call) -> bool:
    """The commit point of a change: it alone writes audit."""
    return writes("z_")(call)


def pause(
    tables: FaultyTables, step: Step, meanwhile: Callable[[], Awaitable[object]], *, after: bool = False
) -> list[Call]:
    """Hold the writer over `tables` the first time it comes to a step, run `meanwhile`, then let it go on.

    Returns a list that holds the step's call once it was reached.
    """
    reached: list[Call] = []

    async def hook(call: Call) -> None:
        if not reached and step(call):
            reached.append(call)
            await meanwhile()

    if after:
        tables.after = hook
    else:
        tables.before = hook
    return reached


def nth(step: Step, number: int) -> Step:
    """The step when it comes for this time, counted from 1."""
    times = itertools.count(1)
    return lambda call: step(call) and next(times) == number


def call_number(number: int) -> Step:
    """The writer's call of this number, counted from 1."""
    return nth(lambda call: True, number)
