"""Accounts and groups a page at a time: all of them, those in a state, a group's members, an account's groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.link_orchestrator.running import App, Refusal, csv_file, object_id, serving

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


@pytest.mark.parametrize(
    ("path", "asked", "status"),
    [
        ("accounts", {"state": "nonsense"}, 400),
        ("accounts", {"cursor": "x"}, 400),
        ("accounts", {"count": "0"}, 400),
        ("groups", {"state": "protected"}, 400),
        ("groups", {"cursor": "ff"}, 400),
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
