"""The index of adoptions: what leads to an account is held against its link."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.directory.errors import InvalidCursor
from shared.directory.records.model import Account, Link, Status
from shared.directory.sweep import LOOKED_UP, sweep, sweep_terms
from shared.tables.port import Upsert
from shared.tables.sqlite import SqliteTables
from tests.shared.directory.people import change, create, small

LINK = Link("oid-a", "adoption", "2026-11-29T12:00:00.000Z", "entra")


def adopted(account: Account) -> Account:
    return account.with_external_id("oid-a", status=Status.CLAIMED, link=LINK)


async def test_an_adoption_counts_only_with_its_link(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=2)
    ann = await create(directory, "ann")
    await directory.adoptions.note(ann.id, LINK)
    (adoption,), more = await directory.adoptions.page("", 2)
    assert (adoption.account, adoption.identity, more) == (ann.id, "oid-a", None)
    assert not adoption.made(ann)
    assert not adoption.made(None)
    linked = await change(directory, ann, adopted(ann))
    assert adoption.made(linked)
    assert adoption.made(replace(linked, link=replace(LINK, confirmed="2026-11-29T13:00:00.000Z")))
    assert not adoption.made(replace(linked, link=replace(LINK, by="administrator")))


async def test_pages_and_scans_have_every_adoption_once(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=4)
    noted = {(await create(directory, f"p{n}")).id for n in range(9)}
    for account_id in noted:
        await directory.adoptions.note(account_id, LINK)
        await directory.adoptions.note(account_id, LINK)
    found, cursor = list[str](), ""
    while True:
        page, more = await directory.adoptions.page(cursor, 2)
        found += [one.account for one in page]
        if more is None:
            break
        cursor = more
    scanned = [one.account for bucket in range(4) async for some in directory.adoptions.scan(bucket) for one in some]
    assert sorted(found) == sorted(noted) == sorted(scanned)
    for wrong in ("x", "ff" + min(noted), "0"):
        with pytest.raises(InvalidCursor):
            await directory.adoptions.page(wrong, 1)


async def test_the_sweep_removes_what_leads_to_no_adoption(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=2)
    made, not_made, young = [await create(directory, name) for name in ("ann", "bea", "cleo")]
    await change(directory, made, adopted(made))
    for account in (made, not_made):
        await directory.adoptions.note(account.id, LINK)
    await directory.adoptions.note(young.id, replace(LINK, at="2026-11-29T12:59:00.000Z"))
    assert await sweep(directory, before="2026-11-29T12:30:00.000Z") == 1
    found, _ = await directory.adoptions.page("", 9)
    assert {one.account for one in found} == {made.id, young.id}


async def test_the_sweep_removes_the_look_ups_that_earlier_versions_remembered(sqlite_tables: SqliteTables) -> None:
    directory = await small(sqlite_tables, buckets=2)
    ann = await create(directory, "ann")
    gone = "00" + ann.id[2:-2] + "ff"
    for account_id in (ann.id, gone):
        row = Upsert(LOOKED_UP + account_id, {"keys": '{"email":{"value":"ann@contoso.com"}}'})
        await sqlite_tables.commit(directory.keys.home(account_id), [row])
    assert await sweep_terms(directory) == 2
    assert await sweep_terms(directory) == 0
    assert await directory.accounts.get(ann.id) == ann
