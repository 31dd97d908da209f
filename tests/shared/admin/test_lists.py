"""Accounts and groups a page at a time: all of them, those in a state, a group's members, an account's groups."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from infra.local.faults import FaultyTables
from shared.admin import pages
from shared.admin.accounts import find_accounts
from shared.directory.directory import Directory
from shared.directory.keys import GROUPS, Key
from shared.directory.records.bulk import create_many
from shared.directory.records.model import Account
from shared.scim.endpoint import Request
from shared.tables.access import write
from shared.tables.port import Upsert
from shared.tables.sqlite import SqliteTables
from tests.link_orchestrator.running import App, Refusal, csv_file, object_id, serving
from tests.shared.directory.people import BY, create, person, small

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"


async def people(app: App) -> dict[str, str]:
    """Bring accounts in every state, and return their ids by name."""
    names = ("ada", "bob", "root", "gone", "out")
    rows = [{"userName": name, "protected": "yes" if name == "root" else ""} for name in names]
    await app.bring(csv_file(*rows))
    ids = {name: str((await app.account(name))["id"]) for name in names}
    await app.call("POST", f"accounts/{ids['bob']}/link", {"identity": object_id(1)})
    await app.call("POST", f"accounts/{ids['gone']}/link", {"identity": object_id(2)})
    await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(2)}"')
    await app.call("DELETE", f"scim/v2/Users/{ids['gone']}")
    await app.call("PATCH", f"accounts/{ids['out']}", {"document": {"active": False}})
    made = await app.call("POST", "scim/v2/Users", {"userName": "new", "externalId": object_id(3)})
    return ids | {"new": made["id"]}


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_accounts_are_listed_by_state_a_page_at_a_time(tmp_path: Path, count: int) -> None:
    async with serving(tmp_path) as app:
        ids = await people(app)
        for state, names in {
            "": "ada bob root gone out new",
            "local": "ada root gone out",
            "linked": "bob",
            "unconfirmed": "bob",
            "provisioned": "new",
            "protected": "root",
            "inactive": "gone out",
            "deletedOverScim": "gone",
        }.items():
            rows = await app.pages("accounts", "accounts", count, **({"state": state} if state else {}))
            assert sorted(row["id"] for row in rows) == sorted(ids[name] for name in names.split()), state
        assert rows[0]["document"]["userName"] == "gone"


async def test_groups_members_and_an_accounts_groups_are_listed_a_page_at_a_time(tmp_path: Path) -> None:
    async with serving(tmp_path) as app:
        ids = await people(app)
        inner = await app.call("POST", "scim/v2/Groups", {"displayName": "Inner"})
        members = [{"value": one} for one in (ids["bob"], ids["new"], inner["id"])]
        outer = await app.call(
            "POST", "scim/v2/Groups", {"displayName": "Outer", "externalId": "o", "members": members}
        )
        assert {row["displayName"] for row in await app.pages("groups", "groups", 1)} == {"Inner", "Outer"}
        assert await app.pages("groups", "groups", 9, state="linked") == []
        rows = await app.pages("members", "members", 1, group=outer["id"])
        assert sorted(row["account"]["userName"] for row in rows if "account" in row) == ["bob", "new"]
        assert [row["group"]["displayName"] for row in rows if "group" in row] == ["Inner"]
        (only,) = await app.pages("groups", "groups", 1, member=ids["bob"])
        assert (only["id"], only["displayName"], only["status"]) == (outer["id"], "Outer", "provisioned")
        assert await app.pages("groups", "groups", 1, member=ids["ada"]) == []
        await app.call("DELETE", f"scim/v2/Groups/{outer['id']}")
        assert await app.pages("groups", "groups", 1, member=ids["bob"]) == []


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_who_shares_a_value_is_listed_a_page_at_a_time(tmp_path: Path, count: int) -> None:
    names = [f"p{number}" for number in range(5)]
    rows = [{"userName": name, "email": "desk@contoso.com", "employeeNumber": "7"} for name in names]
    others = ({"userName": "desk@contoso.com"}, {"userName": "other", "email": "o@contoso.com"})
    async with serving(tmp_path) as app:
        await app.bring(csv_file(*rows, *others))
        for asked, found in (
            ({"email": "Desk@contoso.com"}, names),
            ({"employeeNumber": "7"}, names),
            ({"userName": "P1"}, ["p1"]),
            ({"email": "nobody@contoso.com"}, []),
        ):
            listed = await app.pages("accounts", "accounts", count, **asked)
            assert sorted(one["userName"] for one in listed) == found, asked


@pytest.mark.parametrize("count", [1, 2, 100])
async def test_accounts_are_listed_by_how_a_user_name_or_an_address_begins(tmp_path: Path, count: int) -> None:
    rows = [
        {"userName": "Ada@contoso.com", "email": "lovelace@contoso.com", "displayName": "Zoe"},
        {"userName": "adam", "email": ""},
        {"userName": "bob", "email": "ada.b@contoso.com"},
    ]
    async with serving(tmp_path) as app:
        await app.bring(csv_file(*rows))
        for begins, found in {
            "ADA": ["Ada@contoso.com", "adam", "bob"],
            "ada@": ["Ada@contoso.com"],
            "love": ["Ada@contoso.com"],
            "zoe": [],
            "da": [],
        }.items():
            listed = await app.pages("accounts", "accounts", count, begins=begins)
            assert sorted(one["userName"] for one in listed) == found, begins


@pytest.mark.parametrize("side_by_side", [True, False])
async def test_a_page_looks_at_a_bounded_number_of_accounts_and_goes_on_behind_them(
    sqlite_tables: SqliteTables, monkeypatch: pytest.MonkeyPatch, side_by_side: bool
) -> None:
    """Small buckets are read side by side, a large one as far as it is needed."""
    monkeypatch.setattr(pages, "SCANNED", 7)
    monkeypatch.setattr(pages, "MAX_PAGE", 1_000 if side_by_side else 1)
    directory = await people_in(sqlite_tables, 8, [f"p{number:02}" for number in range(40)])
    for begins, wanted in (("p", 40), ("p1", 10), ("x", 0)):
        found, cursor = list[str](), ""
        for _ in range(20):
            request = Request("https://scimlink.example", BY, params={"begins": begins, "cursor": cursor, "count": "3"})
            page = json.loads((await find_accounts(directory, request)).text)
            found += [one["userName"] for one in page["accounts"]]
            if not (cursor := page.get("cursor", "")):
                break
        assert sorted(found) == sorted({*found})
        assert len(found) == wanted


async def people_in(tables: SqliteTables, buckets: int, names: list[str]) -> Directory:
    directory = await small(tables, buckets=buckets)
    for name in names:
        await create(directory, name)
    return directory


async def test_a_page_of_who_shares_a_value_or_of_an_accounts_groups_costs_a_page(sqlite_tables: SqliteTables) -> None:
    """However many share it: the others are not read."""
    counting, costs = FaultyTables(sqlite_tables), list[tuple[int, int]]()
    directory = await small(counting, buckets=1)
    (ann,) = await create_many(directory.accounts, [person(directory, "ann", "desk@contoso.com")], by=BY)
    assert isinstance(ann, Account)
    for more in (30, 200):
        people = [person(directory, f"p{more}-{n}", "desk@contoso.com") for n in range(more)]
        await create_many(directory.accounts, people, by=BY)
        groups = [directory.keys.of(GROUPS).new_id(f"g{more}-{n}") for n in range(more)]
        rows = [Upsert(f"{ann.id}_{group}", {"at": "now"}) for group in groups]
        await write(sqlite_tables, {directory.keys.groups_of(ann.id): rows})
        counting.reset()
        found, cursor = await directory.accounts.page_by(Key("email", "desk@contoso.com"), "", 10)
        _, after = await directory.members.page_indexed(ann.id, "", 10)
        assert (len(found), bool(cursor), bool(after)) == (10, True, True)
        costs.append((counting.sequential, counting.requests))
    assert costs[0] == costs[1]


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("accounts", {"state": "nonsense"}, 400),
        ("accounts", {"cursor": "x"}, 400),
        ("accounts", {"count": "0"}, 400),
        ("accounts", {"cursor": "x", "begins": "x"}, 400),
        ("accounts", {"begins": "x", "state": "local"}, 400),
        ("accounts", {"begins": "x", "email": "x"}, 400),
        ("groups", {"state": "protected"}, 400),
        ("groups", {"cursor": "ff"}, 400),
        ("groups", {"cursor": "ff", "displayName": "x"}, 400),
        ("accounts", {"cursor": "ff", "email": "x"}, 400),
        ("groups", {"member": "nobody"}, 400),
        ("groups", {"member": "0" * 36}, 400),
        ("groups", {"cursor": "x", "member": "nobody"}, 400),
        ("members", {}, 400),
        ("members", {"group": "nobody"}, 400),
        ("members", {"cursor": "~", "group": "nobody"}, 400),
    ],
)
async def test_what_cannot_be_listed_is_refused_with_its_name(
    tmp_path: Path, path: str, asked: dict[str, str], status: int
) -> None:
    async with serving(tmp_path) as app:
        with pytest.raises(Refusal) as refusal:
            await app.call("GET", path, **asked)
        assert refusal.value.status == status
        assert refusal.value.detail.startswith(next(iter(asked), "group"))
