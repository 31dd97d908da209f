"""A change of many accounts leaves each as it was meant to be, whatever it takes out of its row."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from shared.directory.errors import Stale
from shared.directory.records import bulk
from shared.directory.records.bulk import create_many, find_neighbours, replace_many
from shared.directory.records.model import Account
from shared.tables.port import Tables
from tests.shared.directory.invariants import check_invariants
from tests.shared.directory.people import BY, person, small, with_changes


async def test_what_a_change_takes_out_of_a_row_is_gone_and_the_rest_stays(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Documents of one, two and three columns, with and without columns beside them, each changed into each."""
    monkeypatch.setattr(bulk, "OPERATIONS", 24)  # aiohttp warns of a body above 1 MiB
    texts = [None, "a" * 40_000, "b" * 70_000]
    states = [
        {"nickName": text, "protected": protected, "active": active}
        for text, protected, active in itertools.product(texts, (False, True), (False, True))
    ]
    pairs = list(itertools.product(states, states))
    directory = await small(tables, buckets=1)
    new = [_changed(person(directory, f"p{n}"), **before) for n, (before, _) in enumerate(pairs)]
    stored = [account for account in await create_many(directory.accounts, new, by=BY) if isinstance(account, Account)]
    changes = [(account, _changed(account, **after)) for account, (_, after) in zip(stored, pairs, strict=True)]
    outcomes = await replace_many(directory.accounts, changes, by=BY, action="import")
    found = await find_neighbours(directory.accounts, sorted(account.id for account in stored))
    shown = {account.id: account for account in found if account}
    for (_, after), told in zip(changes, outcomes, strict=True):
        assert shown[after.id] == told == replace(after, modified=shown[after.id].modified)
    await check_invariants(tables)


@pytest.mark.parametrize("taken_out", [True, False])
async def test_an_account_that_changed_meanwhile_is_left_as_it_is(tables: Tables, taken_out: bool) -> None:
    directory = await small(tables, buckets=1)
    new = [_changed(person(directory, name), nickName="Dr", protected=True, active=True) for name in ("ann", "bea")]
    ann, bea = [one for one in await create_many(directory.accounts, new, by=BY) if isinstance(one, Account)]
    now = await directory.accounts.replace(ann, with_changes(ann, title="Dr"), by="entra")
    after = [_changed(one, nickName="x", protected=not taken_out, active=False) for one in (ann, bea)]
    told = await replace_many(directory.accounts, list(zip((ann, bea), after, strict=True)), by=BY, action="import")
    assert [type(one) for one in told] == [Stale, Account]
    assert await directory.accounts.get(ann.id) == now


def _changed(account: Account, *, nickName: str | None, protected: bool, active: bool) -> Account:  # noqa: N803
    return replace(with_changes(account, nickName=nickName, active=active), protected=protected)
