"""What must hold in a directory at any moment, checked against all of its rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from shared.directory.directory import Directory
from shared.directory.keys import IDENTITY, LIVE, NAME, OWN, POINTER, RETIRED, TOMBSTONE, Key, prefix_end
from shared.directory.records.claims import GIVEN_UP
from shared.directory.records.counts import share_of
from shared.directory.records.model import Account
from shared.tables.port import Row, Tables
from tests.shared.directory.people import reopened


async def check_invariants(store: Tables, name: str = "small") -> list[Account]:
    """Assert the directory's invariants as a new process sees them; return all accounts, live and retired."""
    directory = await reopened(store, name)
    accounts: list[Account] = []
    for bucket in range(directory.keys.buckets):
        here = await _accounts(directory, bucket)
        count = await directory.accounts.counts.read(bucket)
        assert Counter(dict(enumerate(count.shares))) == Counter(share_of(a.id) for a in here if not a.retired)
        accounts += here
        await _check_deleted(directory, bucket)
    _check_nobody_twice(accounts)
    for account in accounts:
        await _check_found(directory, account)
        history = await directory.accounts.history(account.id)
        assert history[0].action == "create"
        assert max(change.at for change in history) == account.modified
    assert await directory.listing.total() == sum(not account.retired for account in accounts)
    return accounts


async def stale_rows(store: Tables, name: str = "small") -> int:
    """Return how many claims and pointers lead to accounts that may not be found by them, and were not given up."""
    directory = await reopened(store, name)
    right: set[tuple[str, str]] = set()
    held: set[tuple[str, str, str]] = set()
    found: dict[tuple[str, str], str] = {}
    for bucket in range(directory.keys.buckets):
        for account in await _accounts(directory, bucket):
            right |= {directory.keys.claim(key) for key in account.claims()}
            right |= {directory.keys.pointer(key, account.id) for key in account.pointers()}
            held |= {(*directory.keys.claim(key), account.id) for key in account.held()}
        for partition in (directory.keys.resources(bucket), directory.keys.pointers(bucket)):
            rows = await _rows(directory, partition)
            found |= {
                (partition, row.key): str(row.columns["id"])
                for row in rows
                if row.key.startswith((NAME, IDENTITY, OWN, POINTER)) and GIVEN_UP not in row.columns
            }
    assert right <= found.keys()
    return sum(place not in right and (*place, holder) not in held for place, holder in found.items())


async def _check_found(directory: Directory, account: Account) -> None:
    assert await directory.accounts.find(account.id) == account
    for key in account.claims():
        row = await directory.tables.get(*directory.keys.claim(key))
        assert row is not None, f"no claim on a {key.kind}"
        assert row.columns["id"] == account.id
        assert await directory.accounts.list_by(key) == [account]
    for key in account.found_by():
        assert account.id in [found.id for found in await directory.accounts.list_by(key)], f"not found by {key.kind}"


def _check_nobody_twice(accounts: Sequence[Account]) -> None:
    claims = Counter(key for account in accounts for key in account.claims())
    assert [key.kind for key, holders in claims.items() if holders > 1] == []
    for account in accounts:
        if account.link:
            stamp = Key("externalId", next(key.value for key in account.claims() if key.kind == "identity"))
            assert [a.id for a in accounts if stamp in a.found_by() and a.id != account.id] == [], "a second account"


async def _check_deleted(directory: Directory, bucket: int) -> None:
    rows = await _rows(directory, directory.keys.resources(bucket))
    live = {row.key[2:] for row in rows if row.key.startswith((LIVE, RETIRED))}
    deleted = {row.key[2:] for row in rows if row.key.startswith(TOMBSTONE)}
    claimed = {str(row.columns["id"]) for row in rows if row.key.startswith(NAME)}
    assert not live & deleted
    assert {id for id in claimed if directory.keys.bucket(id) == bucket} <= live | deleted
    for account_id in deleted:
        assert "delete" in [change.action for change in await directory.accounts.history(account_id)]


async def _accounts(directory: Directory, bucket: int) -> list[Account]:
    rows = await _rows(directory, directory.keys.resources(bucket))
    return [Account.from_row(row) for row in rows if LIVE <= row.key < prefix_end(RETIRED)]


async def _rows(directory: Directory, partition: str) -> list[Row]:
    rows: list[Row] = []
    continuation = None
    while True:
        page = await directory.tables.query(partition, continuation=continuation)
        rows += page.rows
        continuation = page.continuation
        if continuation is None:
            return rows
