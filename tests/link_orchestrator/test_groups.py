"""Groups over HTTP: those that exist here come in, a run shows how they differ from Entra's, and links the approved."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from link_orchestrator.passes import import_groups, plan_groups
from link_orchestrator.requests.groups import NOT_KEPT, UNREAD
from link_orchestrator.staged import IDS, IMPORTED
from shared.directory.directory import Directories, Directory
from shared.directory.keys import Key
from shared.directory.records.members import Members
from shared.directory.records.model import Group, Status
from shared.directory.work.seen import stages_of
from shared.tables.port import Insert, kind
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, holder, object_id, rows_of, staged_in
from tests.waiting import until

PEOPLE = ("ada", "bob", "cleo", "dan")
SALES, RESEARCH, STAFF = (object_id(number) for number in (901, 902, 903))
ACCOUNTS = csv_file(*({"userName": f"{name}@contoso.com"} for name in PEOPLE))
IDENTITIES = [graph(number, f"{name}@contoso.com") for number, name in enumerate(PEOPLE, 1)]
GROUPS = b"group,userName\nSales,ada@contoso.com\nsales ,BOB@contoso.com\nResearch,ada@contoso.com\nEmpty,\n"


def entra(group_id: str, name: str, *members: int) -> dict[str, Any]:
    """Return a group as Microsoft Graph shows it with its members."""
    users = [{"@odata.type": "#microsoft.graph.user", "id": object_id(number)} for number in members]
    return {"id": group_id, "displayName": name, "members": users}


async def bring(app: App, file: bytes | object, content_type: str = "", **params: str) -> Any:
    """Import groups and return the job once it has ended."""
    job = await app.call("POST", "groups/import", file, content_type, **params)
    return await app.wait(f"groups/imports/{job['id']}", "done")


async def problems(app: App, job: Any) -> list[tuple[int, str]]:
    page = await app.call("GET", f"groups/imports/{job['id']}/problems", count="1000")
    assert all(problem["remedy"] for problem in page["problems"])
    return sorted((problem["line"], problem["reason"]) for problem in page["problems"])


async def upload(app: App, *groups: Any) -> str:
    return str((await app.call("POST", "linking/groups", {"value": list(groups)}))["id"])


async def plan(app: App, *groups: Any, identities: Sequence[Any] = IDENTITIES, **asked: Any) -> Any:
    return await app.plan(*identities, groups=await upload(app, *groups), **asked)


async def find(app: App, name: str) -> Any:
    """Return the group that Entra's first look-up finds, or None."""
    found = await app.call("GET", "scim/v2/Groups", filter=f'displayName eq "{name}"')
    return found["Resources"][0] if found["Resources"] else None


async def shown(app: App, name: str) -> Any:
    """Return the group of that name as the administrator sees it, with its history."""
    (group,) = (await app.call("GET", "groups", displayName=name))["groups"]
    return await app.call("GET", f"groups/{group['id']}")


async def members(app: App, name: str) -> list[str]:
    group = await app.call("GET", f"scim/v2/Groups/{(await find(app, name))['id']}")
    names = [await app.call("GET", f"scim/v2/Users/{member['value']}") for member in group.get("members", [])]
    return sorted(user["userName"].partition("@")[0] for user in names)


async def patch(app: App, name: str, *add: str) -> int:
    """Add members as Entra does; return the status."""
    ids = [(await app.account(f"{member}@contoso.com"))["id"] for member in add]
    operation = {"op": "Add", "path": "members", "value": [{"value": member} for member in ids]}
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": [operation]}
    try:
        await app.call("PATCH", f"scim/v2/Groups/{(await find(app, name))['id']}", body)
    except Refusal as refusal:
        return refusal.status
    return 200


async def directory_of(app: App) -> Directory:
    return await Directories(app.tables).open("main")


async def stored(app: App) -> list[Any]:
    """Return all rows of the groups, their keys, members and the index, etags included."""
    directory = await directory_of(app)
    keys = directory.groups.keys
    places = [place(bucket) for bucket in range(keys.buckets) for place in (keys.resources, keys.pointers)]
    groups = [g for bucket in range(keys.buckets) async for g in directory.group_listing.scan(bucket)]
    places += [keys.members(group.id) for group in groups] + [keys.memberships(bucket) for bucket in range(16)]
    return [row for place in places for row in await rows_of(app.tables, place)]


async def refused(call: Any) -> tuple[int, str]:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.status, refusal.value.detail


class TestLookingUp:
    async def test_a_group_is_found_by_one_key_and_shown_after_its_end(self, app: App) -> None:
        made = await app.call("POST", "scim/v2/Groups", {"displayName": "Sales", "externalId": SALES})
        (found,) = (await app.call("GET", "groups", externalId=SALES))["groups"]
        assert (found["id"], found["status"]) == (made["id"], "provisioned")
        assert (await app.call("GET", "groups", displayName="other"))["groups"] == []
        await app.call("DELETE", f"scim/v2/Groups/{made['id']}")
        gone = await app.call("GET", f"groups/{made['id']}")
        assert gone["deleted"]
        assert [change["action"] for change in gone["history"]] == ["create", "delete"]
        for params in ({"displayName": "x", "externalId": "y"}, {"id": "x"}, {"dispalyName": "x"}):
            assert (await refused(app.call("GET", "groups", **params)))[0] == 400
        for group_id in ("import", "none", "../x"):
            assert (await refused(app.call("GET", f"groups/{quote(group_id, safe='')}")))[0] == 404


class TestImport:
    async def test_groups_come_in_with_their_members_and_are_managed_here(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        job = await bring(app, GROUPS)
        assert job["counts"] == {"created": 3, "members": 3, "refused": 0}
        assert await members(app, "SALES") == ["ada", "bob"]
        assert (await members(app, "research"), await members(app, "Empty")) == (["ada"], [])
        user = await app.call("GET", f"scim/v2/Users/{(await app.account('ada@contoso.com'))['id']}")
        assert sorted(group["display"] for group in user["groups"]) == ["Research", "Sales"]
        assert (await shown(app, "sales"))["status"] == "local"
        assert await patch(app, "Sales", "cleo") == 403

    async def test_the_same_file_again_changes_no_row(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        before = await stored(app)
        job = await bring(app, GROUPS)
        assert job["counts"] == {"unchanged": 3, "members": 3, "refused": 0}
        assert await stored(app) == before, "etags included"

    async def test_members_add_up_and_nobody_is_taken_out(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        version = (await find(app, "Sales"))["meta"]["version"]
        job = await bring(app, {"displayName": "SALES", "members": ["cleo@contoso.com", "ada@contoso.com"]})
        assert job["counts"] == {"updated": 1, "members": 2, "refused": 0}
        assert await members(app, "Sales") == ["ada", "bob", "cleo"]
        group = await find(app, "Sales")
        assert group["displayName"] == "Sales", "its spelling is the group's"
        assert group["meta"]["version"] != version

    LAYOUTS = (
        (
            b"group_name,username,full_name,email,active\n"
            b'Sales,ada@contoso.com,"Abel, Ada",a@x.org,true\nSales,bob@contoso.com,Bob,b@x.org,true\n'
        ),
        b"Team;E-Mail\nSales;ada@contoso.com\nSales;bob@contoso.com\n",
        b'[{"displayName": "Sales", "members": ["ada@contoso.com", {"userName": "bob@contoso.com"}]}]',
        (
            b'{"displayName": "Sales", "members": ["ada@contoso.com"]}\n'
            b'{"displayName": "Sales", "members": "bob@contoso.com"}\n'
        ),
        b'{"group": "Sales", "userName": "ada@contoso.com"}\n{"group": "sales", "userName": "bob@contoso.com"}',
    )

    @pytest.mark.parametrize("file", LAYOUTS)
    async def test_every_layout_means_the_same(self, app: App, file: bytes) -> None:
        await app.bring(ACCOUNTS)
        mapping = {"columns": '{"Team": "group"}'} if file.startswith(b"Team") else {}
        job = await bring(app, file, **mapping)
        assert job["counts"] == {"created": 1, "members": 2, "refused": 0}
        assert await members(app, "Sales") == ["ada", "bob"]

    async def test_who_has_no_account_is_reported_by_line_and_comes_with_a_later_import(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        file = GROUPS + b"Sales,new@contoso.com\nNewest,new@contoso.com\n"
        job = await bring(app, file)
        assert job["counts"] == {"created": 4, "members": 3, "refused": 2}
        reason = "userName: no account has this userName"
        assert await problems(app, job) == [(6, reason), (7, reason)]
        assert await members(app, "Newest") == []
        listed = await bring(app, {"displayName": "Sales", "members": ["ada@contoso.com", "x", "y"]})
        assert [reason.partition(":")[0] for _, reason in await problems(app, listed)] == ["members[1]", "members[2]"]
        await app.bring(csv_file({"userName": "new@contoso.com"}))
        job = await bring(app, file)
        assert job["counts"] == {"updated": 2, "unchanged": 2, "members": 5, "refused": 0}
        assert await members(app, "Sales") == ["ada", "bob", "new"]

    async def test_a_group_of_the_identity_provider_is_left_alone_and_reported_once(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await app.call("POST", "scim/v2/Groups", {"displayName": "sales", "externalId": SALES})
        before = await find(app, "Sales")
        job = await bring(app, GROUPS)
        assert job["counts"] == {"created": 2, "members": 1, "refused": 1}
        ((line, reason),) = await problems(app, job)
        assert (line, reason.partition(" manages")[0]) == (2, "group: the identity provider")
        assert await find(app, "Sales") == before
        assert await members(app, "Sales") == []

    async def test_whoever_had_a_members_name_is_not_that_member(self, app: App) -> None:
        """Its claim is there, as a rename that died before it removed it leaves it."""
        await app.bring(ACCOUNTS)
        directory = await directory_of(app)
        (ada,) = await directory.accounts.list_by(Key("userName", "ada@contoso.com"))
        partition, row = directory.keys.claim(Key("userName", "ada.before@contoso.com"))
        await app.tables.commit(partition, [Insert(row, {"id": ada.id})])
        job = await bring(app, b"group,userName\nSales,ada.before@contoso.com\nSales,bob@contoso.com\n")
        assert await problems(app, job) == [(2, "userName: no account has this userName")]
        assert await members(app, "Sales") == ["bob"]

    async def test_a_group_that_is_linked_while_a_file_comes_in_takes_nobody_from_it(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, b"group,userName\nSales,ada@contoso.com\n")
        groups, look_up = (await directory_of(app)).groups, Members.look_up

        async def linked_meanwhile(self: Members, group: str, members: Iterable[str]) -> list[str]:
            there = await look_up(self, group, members)
            before = await groups.get(group)
            if before.status is Status.LOCAL:
                await groups.link(before, replace(before, status=Status.CLAIMED), by="run:1")
            return there

        monkeypatch.setattr(Members, "look_up", linked_meanwhile)
        monkeypatch.setattr(import_groups, "NAMES_AT_ONCE", 1)
        file = b"group,userName\nSales,bob@contoso.com\nSales,cleo@contoso.com\nSales,ada@contoso.com\n"
        job = await bring(app, file)
        assert await members(app, "Sales") == ["ada"]
        reason = "group: it was linked or deleted while this file came in; this row's members may be missing"
        assert await problems(app, job) == [(line, reason) for line in (2, 3, 4)]
        assert job["counts"] == {"refused": 3}

    async def test_between_two_transactions_of_a_file_a_group_is_linked_by_nobody_unseen(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The link that looked at the group behind the first transaction comes before the second one."""
        monkeypatch.setattr(Members, "room", 1)
        await app.bring(ACCOUNTS)
        await bring(app, {"displayName": "Sales", "members": []})
        groups, change = (await directory_of(app)).groups, Members.change
        linked: list[Group] = []

        async def linked_before_the_second(self: Members, group: str, into: Any = (), *more: Any, **named: Any) -> Any:
            if (before := await groups.get(group)).status is Status.LOCAL and await self.first(group, 1):
                linked.append(await groups.link(before, replace(before, status=Status.CLAIMED), by="run:1"))
            return await change(self, group, into, *more, **named)

        monkeypatch.setattr(Members, "change", linked_before_the_second)
        job = await bring(app, {"displayName": "Sales", "members": [f"{name}@contoso.com" for name in PEOPLE]})
        assert len(linked) == 1
        assert len(await members(app, "Sales")) == 1
        assert [reason.partition(":")[0] for _, reason in await problems(app, job)] == ["group"]

    async def test_a_group_that_scim_deleted_does_not_come_back_once_a_file_added_members(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        await app.apply(await plan(app, entra(SALES, "Sales", 2), entra(RESEARCH, "Research", 1)), groups=2, links=4)
        ids = {name: (await find(app, name))["id"] for name in ("Sales", "Research")}
        for group_id in ids.values():
            await app.call("DELETE", f"scim/v2/Groups/{group_id}")
        job = await bring(app, b"group,userName\nSales,cleo@contoso.com\nResearch,ada@contoso.com\n")
        assert job["counts"] == {"updated": 1, "unchanged": 1, "members": 2, "refused": 0}
        status, detail = await refused(
            app.call("POST", "scim/v2/Groups", {"displayName": "Sales", "externalId": SALES})
        )
        assert (status, ids["Sales"] in detail) == (409, True)
        back = await app.call("POST", "scim/v2/Groups", {"displayName": "Research", "externalId": RESEARCH})
        assert back["id"] == ids["Research"]
        run = await plan(app, entra(SALES, "Sales", 2))
        (row,) = await app.decisions(run, "groupLink")
        assert (row["group"]["id"], row["members"]["both"], row["members"]["onlyHere"]) == (ids["Sales"], 1, 2)
        assert "SCIM deleted" in row["reason"]
        await app.apply(run, groups=1)
        assert await members(app, "Sales") == ["ada", "bob", "cleo"]

    async def test_a_deleted_account_is_nobody(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await app.apply(await app.plan(*IDENTITIES), links=4)
        await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(2)}"')
        await app.call("DELETE", f"scim/v2/Users/{(await app.account('bob@contoso.com'))['id']}")
        job = await bring(app, GROUPS)
        assert job["counts"] == {"created": 3, "members": 2, "refused": 1}

    async def test_an_external_id_is_taken_from_the_first_row_that_opens_the_group(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        rows = [{"group": "Sales", "userName": f"{name}@contoso.com", "groupExternalId": "s"} for name in PEOPLE]
        rows[3] |= {"groupExternalId": "other"}
        job = await bring(app, csv_file(*rows))
        assert (await find(app, "Sales"))["externalId"] == "s"
        ((line, reason),) = await problems(app, job)
        assert (line, reason.partition(":")[0]) == (5, "groupExternalId")
        job = await bring(app, {"displayName": "Sales", "externalId": "t", "members": []})
        assert job["counts"] == {"updated": 1, "refused": 0}
        assert (await find(app, "Sales"))["externalId"] == "t"

    @pytest.mark.parametrize(
        ("file", "words"),
        [
            (b"", "The file is empty"),
            (b"name,userName\nx,y\n", "No column holds the group's name. What was found: name, userName."),
            (b"group,userName\n,ada\n", "Line 2: The column group names no group."),
            (b'[{"displayName": "x", "members": [{"value": "1"}]}]', "holds a member without a userName"),
            (b'[{"displayName": "x", "members": [["a"]]}]', "holds no plain text"),
            (b"[]", "There is no row in it."),
        ],
    )
    async def test_a_file_that_names_no_group_is_refused_with_the_reason(
        self, app: App, file: bytes, words: str
    ) -> None:
        status, detail = await refused(app.call("POST", "groups/import", file, ""))
        assert status == 400
        assert words in detail

    @pytest.mark.parametrize("columns", ['{"group": "luck"}', '{"Nowhere": "group"}', "[]"])
    async def test_wrong_columns_are_refused(self, app: App, columns: str) -> None:
        status, detail = await refused(bring(app, GROUPS, columns=columns))
        assert status == 400
        assert detail.startswith("columns")

    async def test_a_group_of_many_members_comes_in_parts(self, app: App) -> None:
        names = [f"person{number:04d}@contoso.com" for number in range(2_500)]
        await app.bring(csv_file(*({"userName": name} for name in names)))
        job = await bring(app, {"displayName": "Everybody", "members": [*names, *names[:10]]})
        assert job["counts"] == {"created": 1, "members": 2_500, "refused": 0}
        directory = await directory_of(app)
        group = (await find(app, "Everybody"))["id"]
        assert sum([len(page) async for page in directory.members.scan(group)]) == 2_500

    async def test_an_import_is_no_import_of_accounts(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        job = await bring(app, GROUPS)
        for path in (
            f"accounts/imports/{job['id']}",
            f"linking/runs/{job['id']}",
            f"linking/groups/{job['id']}/problems",
        ):
            assert (await refused(app.call("GET", path)))[0] == 404
        assert (await refused(app.call("POST", f"groups/imports/{job['id']}/cancel")))[0] == 409


class TestUpload:
    async def test_graphs_pages_and_powershells_objects_are_read(self, app: App) -> None:
        pages = [
            {"@odata.context": "x", "value": [entra(SALES, "Sales", 1)], "@odata.nextLink": "https://x"},
            [
                {
                    "Id": RESEARCH,
                    "DisplayName": "Research",
                    "Members": [
                        {"Id": object_id(1), "AdditionalProperties": {"@odata.type": "#microsoft.graph.user"}},
                        {"Id": STAFF, "AdditionalProperties": {"@odata.type": "#microsoft.graph.group"}},
                    ],
                }
            ],
            {"id": STAFF, "displayName": "Staff", "members": [object_id(1), object_id(2)]},
            {"id": STAFF.upper(), "displayName": "staff", "members": [object_id(3)]},
        ]
        answer = await app.call("POST", "linking/groups", "\n".join(map(json.dumps, pages)).encode())
        assert answer["counts"] == {"read": 4, "members": 5, "problems": 0}

    async def test_a_group_whose_members_are_not_all_known_is_reported_and_not_planned(self, app: App) -> None:
        broken = [
            {"id": SALES, "displayName": "Sales"},
            {**entra(RESEARCH, "Research", 1), "members@odata.nextLink": "https://x"},
            {**entra(STAFF, "Staff"), "members": [{"displayName": "no id"}]},
            {"displayName": "No id", "members": []},
            entra(object_id(904), "One", 1),
            entra(object_id(904), "Two", 1),
        ]
        answer = await app.call("POST", "linking/groups", {"value": broken})
        assert answer["counts"] == {"read": 1, "members": 1, "problems": 5}
        page = await app.call("GET", f"linking/groups/{answer['id']}/problems")
        assert len(page["problems"]) == 5
        for file in (b"id,displayName\n1,2\n", json.dumps(broken[:1]).encode()):
            assert (await refused(app.call("POST", "linking/groups", file)))[0] == 400

    async def test_a_run_names_an_upload_of_groups(self, app: App) -> None:
        identities = await app.upload(*IDENTITIES)
        groups = await upload(app, entra(SALES, "Sales"))
        for body, status, words in (
            ({"identities": identities, "groups": identities}, 400, "groups: name an upload"),
            ({"identities": groups}, 400, "identities: name an upload"),
            ({"identities": identities, "groups": "none"}, 400, "groups: name an upload"),
            ({"identities": identities, "groups": 7}, 400, "groups"),
        ):
            answer = await refused(app.call("POST", "linking/runs", body))
            assert answer[0] == status
            assert words in answer[1]


async def difference(app: App, run: Any, group: str, count: int = 100) -> tuple[Any, list[Any]]:
    """Return the totals of a difference, and its rows page by page."""
    path, rows, cursor = f"linking/runs/{run['id']}/groups/{quote(group, safe='')}/difference", list[Any](), ""
    while True:
        page = await app.call("GET", path, count=str(count), cursor=cursor)
        rows += page.pop("differing")
        cursor = page.pop("cursor", "")
        if not cursor:
            return page, rows


async def prepared(app: App) -> Any:
    """Return a run over accounts and groups in which every decision occurs."""
    await app.bring(ACCOUNTS)
    await bring(app, GROUPS + b"Twice,ada@contoso.com\nLocal,ada@contoso.com\nOut,ada@contoso.com\n")
    await app.call("POST", "scim/v2/Groups", {"displayName": "Managed", "externalId": "other"})
    await app.call("POST", "scim/v2/Groups", {"displayName": "Old name", "externalId": STAFF})
    policy = {"verifiedDomains": ["contoso.com"], "excluded": [object_id(907)]}
    return await plan(
        app,
        entra(SALES, "SALES", 2, 3, 77),
        entra(RESEARCH, "Research", 1),
        entra(STAFF, "New name", 1),
        entra(object_id(904), "Managed"),
        entra(object_id(905), "Twice"),
        entra(object_id(906), "twice"),
        entra(object_id(907), "Out"),
        entra(object_id(908), "Unknown", 1),
        policy=policy,
    )


COUNTS = {
    "groupLink": 2,
    "groupAlreadyLinked": 1,
    "groupConflict": 3,
    "groupExcluded": 1,
    "noGroup": 1,
    "localGroup": 2,
}


async def test_what_a_run_staged_of_groups_goes_with_it_and_the_upload_stays(app: App) -> None:
    run = await prepared(app)
    await app.apply(run, links=4, groups=2)
    identities, groups = run["options"]["identities"], run["options"]["groups"]
    uploads = {identities, identities + IDS, groups, groups + "members"}

    async def only_those_and_what_was_seen_are_staged() -> bool:
        staged = {name for name in await staged_in(app.tables) if not name.endswith(IMPORTED)}  # for an undo
        return staged - {*stages_of(run["id"])} == uploads

    await until(only_those_and_what_was_seen_are_staged)  # a job is shown as done, then its stages go
    assert (await difference(app, run, SALES))[0] == {"displayName": "SALES", "both": 1, "onlyHere": 1, "onlyThere": 2}


async def test_whatever_is_stored_is_of_a_kind_that_can_have_a_table_of_its_own(app: App, tmp_path: Path) -> None:
    await app.apply(await prepared(app), links=4, groups=2)
    with contextlib.closing(sqlite3.connect(tmp_path / "scimlink.db")) as connection:
        partitions = [stored.decode() for (stored,) in connection.execute("SELECT DISTINCT partition FROM accounts")]
    assert {kind(partition) for partition in partitions} == set("degjmpqrsuxy")


class TestPlan:
    async def test_every_decision_is_counted_beside_the_accounts_and_listed(self, app: App) -> None:
        run = await prepared(app)
        assert run["counts"] == {"link": 4, "noIdentity": 0, **COUNTS}
        rows = await app.decisions(run)
        assert Counter(row["decision"] for row in rows) == Counter(run["counts"])
        for decision, count in COUNTS.items():
            assert len(await app.decisions(run, decision)) == count
        assert all(row["reason"] for row in rows)
        local = sorted(row["group"]["displayName"] for row in await app.decisions(run, "localGroup"))
        assert local == ["Empty", "Local"]
        (linked,) = await app.decisions(run, "groupAlreadyLinked")
        assert (linked["group"]["displayName"], linked["entraGroup"]["displayName"]) == ("Old name", "New name")
        twice = [row for row in await app.decisions(run, "groupConflict") if "others" in row]
        assert sorted(row["others"] for row in twice) == [[object_id(905)], [object_id(906)]]

    async def test_members_compare_through_the_links_that_the_run_plans(self, app: App) -> None:
        run = await prepared(app)
        rows = {row["entraGroup"]["id"]: row for row in await app.decisions(run, "groupLink")}
        bob, ada, cleo = [(await app.account(f"{name}@contoso.com"))["id"] for name in ("bob", "ada", "cleo")]
        shown = rows[SALES]["members"]
        assert {name: shown[name] for name in ("both", "onlyHere", "onlyThere")} == {
            "both": 1,
            "onlyHere": 1,
            "onlyThere": 2,
        }
        expected = [
            {"only": "here", "account": {"id": ada, "userName": "ada@contoso.com"}},
            {
                "only": "there",
                "identity": {"objectId": object_id(3)},
                "account": {"id": cleo, "userName": "cleo@contoso.com"},
            },
            {"only": "there", "identity": {"objectId": object_id(77)}},
        ]
        assert sorted(shown["differing"], key=str) == sorted(expected, key=str)
        totals, listed = await difference(app, run, SALES, 1)
        assert totals == {"displayName": "SALES", "both": 1, "onlyHere": 1, "onlyThere": 2}
        unknown = [one["identity"].pop("unknown") for one in listed if "unknown" in one.get("identity", {})]
        assert sorted(listed, key=str) == sorted(expected, key=str)
        assert len(unknown) == 1
        assert bob not in str(listed)
        assert rows[RESEARCH]["members"] == {"both": 1, "onlyHere": 0, "onlyThere": 0, "differing": []}

    async def test_who_is_only_in_entra_is_named_as_the_run_read_them(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        people = [*IDENTITIES, graph(50, "new@contoso.com", displayName="New Person"), graph(51, "plain@contoso.com")]
        run = await plan(app, entra(SALES, "Sales", 50, 51, 77), identities=people)
        _, listed = await difference(app, run, SALES)
        there = {one["identity"]["objectId"]: one["identity"] for one in listed if one["only"] == "there"}
        named = {"userPrincipalName": "new@contoso.com", "displayName": "New Person"}
        assert there[object_id(50)] == {"objectId": object_id(50), **named}
        assert there[object_id(51)]["userPrincipalName"] == "plain@contoso.com"
        assert there[object_id(77)] == {"objectId": object_id(77), "unknown": UNREAD}
        directory = await directory_of(app)
        await directory.stage(run["options"]["identities"]).clear()
        _, listed = await difference(app, run, SALES)
        assert {one["identity"]["unknown"] for one in listed if one["only"] == "there"} == {NOT_KEPT}

    async def test_whoever_only_carries_a_members_object_id_or_did_once_is_not_that_member(self, app: App) -> None:
        await app.bring(csv_file({"userName": "carries", "externalId": object_id(77)}))
        run = await prepared(app)
        await app.apply(run, links=4, groups=2)
        ada = (await app.account("ada@contoso.com"))["id"]
        directory = await directory_of(app)
        await directory.accounts.claims.point(Key("externalId", object_id(78)), ada)
        again = await plan(app, entra(SALES, "Sales", 77, 78))
        (row,) = await app.decisions(again, "groupAlreadyLinked")
        there = [one for one in row["members"]["differing"] if one["only"] == "there"]
        assert sorted(there, key=str) == [
            {"only": "there", "identity": {"objectId": object_id(number)}} for number in (77, 78)
        ]

    async def test_members_compare_through_links_that_were_made_before(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await app.apply(await app.plan(*IDENTITIES), links=4)
        await app.call("POST", "scim/v2/Users", {"userName": "new@contoso.com", "externalId": object_id(9)})
        await bring(app, GROUPS + b"Sales,new@contoso.com\nSales,dan@contoso.com\n")
        run = await plan(app, entra(SALES, "Sales", 1, 2, 9), identities=IDENTITIES[:1])
        (row,) = await app.decisions(run, "groupLink")
        assert (row["members"]["both"], row["members"]["onlyHere"], row["members"]["onlyThere"]) == (3, 1, 0)

    async def test_a_row_shows_some_of_a_long_difference_and_its_pages_the_whole(
        self, app: App, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(plan_groups, "SHOWN", 3)
        names = [f"person{number}@contoso.com" for number in range(30)]
        await app.bring(csv_file(*({"userName": name} for name in names)))
        await bring(app, {"displayName": "Sales", "members": names})
        run = await plan(app, entra(SALES, "Sales", *range(200, 240)), identities=[graph(1, names[0])])
        (row,) = await app.decisions(run, "groupLink")
        assert Counter(item["only"] for item in row["members"]["differing"]) == {"here": 3, "there": 3}
        for count in (1, 7, 30, 1000):
            _, listed = await difference(app, run, SALES, count)
            assert sorted(item["account"]["userName"] for item in listed if item["only"] == "here") == sorted(names)
            there = [item["identity"]["objectId"] for item in listed if item["only"] == "there"]
            assert sorted(there) == [object_id(number) for number in range(200, 240)]

    async def test_only_a_compared_group_has_a_difference(self, app: App) -> None:
        run = await prepared(app)
        path = f"linking/runs/{run['id']}/groups"
        for group, params, status in (
            ("nobody", {}, 404),
            (object_id(908), {}, 404),
            (SALES, {"cursor": "x"}, 400),
            (SALES, {"count": "0"}, 400),
        ):
            assert (await refused(app.call("GET", f"{path}/{group}/difference", **params)))[0] == status
        assert (await refused(app.call("GET", f"linking/runs/none/groups/{SALES}/difference")))[0] == 404

    async def test_a_run_without_groups_plans_none(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        run = await app.plan(*IDENTITIES)
        assert run["counts"] == {"link": 4, "noIdentity": 0}
        assert (await refused(app.call("POST", f"linking/runs/{run['id']}/approve", {"groups": 1})))[0] == 409

    async def test_a_claim_that_a_rename_left_behind_leads_to_no_group(self, app: App) -> None:
        await bring(app, {"displayName": "Sales", "members": []})
        keys = (await directory_of(app)).groups.keys
        partition, row = keys.claim(Key("displayName", "Research"))
        await app.tables.commit(partition, [Insert(row, {"id": (await find(app, "Sales"))["id"]})])
        run = await plan(app, entra(RESEARCH, "Research", 1))
        assert {name: count for name, count in run["counts"].items() if "roup" in name} == {
            "noGroup": 1,
            "localGroup": 1,
        }

    async def test_a_name_that_only_looks_the_same_is_a_conflict(self, app: App) -> None:
        await bring(app, {"displayName": "Sales", "members": []})
        run = await plan(app, entra(SALES, "\uff33ales"))
        (row,) = await app.decisions(run, "groupConflict")
        assert (row["group"]["displayName"], "only looks the same" in row["reason"]) == ("Sales", True)

    async def test_a_create_links_no_group_that_the_plan_left_open(self, app: App) -> None:
        run = await prepared(app)
        await app.call("PUT", "directory/policy", {"linkGroupsOnCreate": True})
        for number, name, decision in ((905, "Twice", "groupConflict"), (907, "Out", "groupExcluded")):
            body = {"displayName": name, "externalId": object_id(number)}
            status, detail = await refused(app.call("POST", "scim/v2/Groups", body))
            assert (status, run["id"] in detail, decision in detail) == (409, True, True)
            assert (await shown(app, name))["status"] == "local"
        await app.call("POST", "scim/v2/Groups", {"displayName": "Local", "externalId": object_id(999)})
        assert (await shown(app, "Local"))["status"] == "claimed"

    async def test_a_plan_changes_no_group(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, GROUPS)
        before = await stored(app)
        await plan(app, entra(SALES, "Sales", 1), entra(RESEARCH, "Research", 1))
        assert await stored(app) == before


class TestApproval:
    async def test_groups_are_linked_by_their_number_and_entra_provisions_them(self, app: App) -> None:
        run = await prepared(app)
        group = await find(app, "Sales")
        assert await patch(app, "Sales", "cleo") == 403
        done = await app.apply(run, links=4, groups=2)
        assert done["counts"] == {**run["counts"], "linked": 4, "groupsLinked": 2}
        assert {row["outcome"] for row in await app.decisions(run, "groupLink")} == {"linked"}
        after = await find(app, "SALES")
        assert (after["id"], after["displayName"], after["externalId"]) == (group["id"], "Sales", SALES)
        assert await members(app, "Sales") == ["ada", "bob"], "members are left as they are"
        assert (await app.call("GET", "scim/v2/Groups", filter=f'externalId eq "{SALES}"'))["totalResults"] == 1
        assert await patch(app, "Sales", "cleo") == 200
        assert await members(app, "Sales") == ["ada", "bob", "cleo"]
        assert await patch(app, "Local", "cleo") == 403
        assert (await refused(app.call("POST", "scim/v2/Groups", {"displayName": "local"})))[0] == 409
        seen = await shown(app, "Sales")
        assert (seen["status"], seen["sourceOfAuthority"], seen["externalId"]) == ("claimed", "idp", SALES)
        assert [change["by"] for change in seen["history"] if change["action"] == "link"] == [f"run:{run['id']}"]
        assert (await shown(app, "Local"))["sourceOfAuthority"] == "local"

    async def test_a_group_that_only_carries_the_object_id_is_linked_like_any_other(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        await bring(app, {"displayName": "Sales", "externalId": SALES, "members": []})
        run = await plan(app, entra(SALES, "Sales"))
        assert (await app.apply(run, groups=1))["counts"]["groupsLinked"] == 1
        seen = await shown(app, "Sales")
        assert (seen["status"], [change["action"] for change in seen["history"]]) == ("claimed", ["create", "link"])

    async def test_without_their_number_no_group_is_linked_and_the_report_says_so(self, app: App) -> None:
        run = await prepared(app)
        before = await find(app, "Sales")
        done = await app.apply(run, links=4)
        assert done["counts"] == {**run["counts"], "linked": 4, "groupsLeft": 2}
        assert {row["outcome"] for row in await app.decisions(run, "groupLink")} == {
            "left: the approval named no groups"
        }
        assert await find(app, "Sales") == before
        assert await patch(app, "Sales", "cleo") == 403

    async def test_only_the_planned_number_is_approved(self, app: App) -> None:
        run = await prepared(app)
        path = f"linking/runs/{run['id']}/approve"
        for wrong in (0, 1, 3, -2):
            status, detail = await refused(app.call("POST", path, {"links": 4, "groups": wrong}))
            assert status == 409
            assert "would link 2 groups" in detail
        for no_number in (True, "2", [2]):
            assert (await refused(app.call("POST", path, {"groups": no_number})))[0] == 400
        assert (await app.apply(run, groups=2))["counts"]["groupsLinked"] == 2

    async def test_a_second_run_finds_what_is_linked(self, app: App) -> None:
        run = await prepared(app)
        await app.apply(run, links=4, groups=2)
        again = await plan(app, entra(SALES, "Sales", 1, 2), entra(RESEARCH, "Renamed", 1))
        assert (again["counts"]["groupAlreadyLinked"], again["counts"].get("groupLink")) == (2, None)
        job = await bring(app, GROUPS)
        assert job["counts"] == {"unchanged": 1, "refused": 2}, "a linked group is the identity provider's"

    @pytest.mark.parametrize("change", ["members", "document", "deleted", "linked elsewhere", "excluded", "taken"])
    async def test_a_group_that_changed_since_the_plan_is_refused_and_reported(self, app: App, change: str) -> None:
        run = await prepared(app)
        groups = (await directory_of(app)).groups
        group = await holder(groups, Key("displayName", "Sales"))
        assert group
        match change:
            case "members":
                await bring(app, {"displayName": "Sales", "members": ["dan@contoso.com"]})
            case "document":
                await bring(app, {"displayName": "Sales", "externalId": "new", "members": []})
            case "deleted":
                await groups.delete(group, by="test")
            case "linked elsewhere":
                await app.call("PUT", "directory/policy", {"linkGroupsOnCreate": True})
                await app.call("POST", "scim/v2/Groups", {"displayName": "Sales", "externalId": object_id(910)})
            case "excluded":
                await app.call("PUT", "directory/policy", {"excluded": [SALES]})
            case _:
                await app.call("POST", "scim/v2/Groups", {"displayName": "Another", "externalId": SALES})
        foretold = await app.call("GET", f"linking/runs/{run['id']}/left-out")
        assert foretold["groups"] == (change == "excluded")
        done = await app.apply(run, links=4, groups=2)
        assert (done["counts"]["groupsLinked"], done["counts"]["groupsRefused"]) == (1, 1)
        why = {"deleted": "deleted", "excluded": "excluded", "taken": "held"}.get(change, "changed")
        assert done["groupsRefusedBy"] == {why: 1}
        outcomes = {r["entraGroup"]["id"]: r["outcome"] for r in await app.decisions(run, "groupLink")}
        assert outcomes[RESEARCH] == "linked"
        assert outcomes[SALES].startswith("refused: ")
        after = await find(app, "Sales")
        assert (after or {}).get("externalId") != SALES

    async def test_approving_twice_is_no_error_but_adds_no_groups(self, app: App) -> None:
        run = await prepared(app)
        path = f"linking/runs/{run['id']}/approve"
        await app.call("POST", path, {"links": 4})
        status, detail = await refused(app.call("POST", path, {"links": 4, "groups": 2}))
        assert status == 409
        assert detail
        done = await app.wait(f"linking/runs/{run['id']}", "done")
        assert done["counts"]["groupsLeft"] == 2


class TestRelease:
    async def linked(self, app: App) -> str:
        """Link a group by a create, let provisioning change it, and return its address."""
        await app.bring(ACCOUNTS)
        await bring(app, {"displayName": "Sales", "externalId": "s", "members": ["ada@contoso.com", "bob@contoso.com"]})
        await app.call("PUT", "directory/policy", {"linkGroupsOnCreate": True})
        made = await app.call("POST", "scim/v2/Groups", {"displayName": "SALES", "externalId": SALES})
        path = f"scim/v2/Groups/{made['id']}"
        await patch(app, "Sales", "bob", "cleo")
        out = {"op": "remove", "path": "members", "value": [{"value": (await app.account("bob@contoso.com"))["id"]}]}
        name = {"op": "replace", "path": "displayName", "value": "Selling"}
        await app.call("PATCH", path, {"Operations": [out, name]})
        assert await members(app, "Selling") == ["ada", "cleo"]
        return f"groups/{made['id']}/release"

    @pytest.mark.parametrize("body", [None, {}, {"keep": None}])
    async def test_a_group_is_what_it_was_before_it_was_linked(self, app: App, body: Any) -> None:
        path = await self.linked(app)
        for _ in range(2):
            released = await app.call("POST", path, body)
            assert (released["status"], released["displayName"], released["externalId"]) == ("local", "Sales", "s")
            assert await members(app, "Sales") == ["ada", "bob"]
        assert await patch(app, "Sales", "cleo") == 403

    async def test_it_keeps_what_provisioning_made_of_it_where_that_is_asked_for(self, app: App) -> None:
        released = await app.call("POST", await self.linked(app), {"keep": "attributes"})
        assert (released["status"], released["displayName"], released["externalId"]) == ("local", "Selling", "s")
        assert await members(app, "Selling") == ["ada", "cleo"]

    async def test_one_that_scim_deleted_is_there_again(self, app: App) -> None:
        path = await self.linked(app)
        await app.call("DELETE", f"scim/v2/Groups/{path.split('/')[1]}")
        assert not (await app.call("POST", path))["deletedOverScim"]
        assert await members(app, "Sales") == ["ada", "bob"]

    async def test_one_that_provisioning_made_stays_as_it_is_and_is_managed_here(self, app: App) -> None:
        await app.bring(ACCOUNTS)
        ada = (await app.account("ada@contoso.com"))["id"]
        body = {"displayName": "Made", "externalId": SALES, "members": [{"value": ada}]}
        made = await app.call("POST", "scim/v2/Groups", body)
        released = await app.call("POST", f"groups/{made['id']}/release")
        assert (released["status"], released["displayName"], released["externalId"]) == ("local", "Made", None)
        assert await members(app, "Made") == ["ada"]

    async def test_one_that_was_never_linked_is_left_alone(self, app: App) -> None:
        await bring(app, GROUPS)
        before = await stored(app)
        await app.call("POST", f"groups/{(await find(app, 'Sales'))['id']}/release")
        assert await stored(app) == before

    async def test_what_is_refused_says_why(self, app: App) -> None:
        path = await self.linked(app)
        await app.call("POST", "scim/v2/Groups", {"displayName": "sales", "externalId": STAFF})
        status, detail = await refused(app.call("POST", path))
        assert (status, '"keep": "attributes"' in detail) == (409, True)
        for wrong in ({"keep": "all"}, {"x": 1}, []):
            assert (await refused(app.call("POST", path, wrong)))[0] == 400
        for nobody in ("none", object_id(1)):
            assert (await refused(app.call("POST", f"groups/{nobody}/release")))[0] == 404
        assert (await shown(app, "Selling"))["status"] == "claimed"
