"""Groups that existed before provisioning, over HTTP: what it may do to a linked one, and what is left of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from shared.directory.directory import Directory
from shared.directory.records.members import Member
from shared.directory.records.model import Group, Status
from shared.directory.sweep import sweep
from tests.scim_groups.test_service import a_user, adding, assert_error, created, members, operations
from tests.scim_users.conftest import ADMIN_TOKEN, Server
from tests.shared.directory import people

SALES = "8b3f1c9e-0901-4000-8000-000000000000"
OTHER = "8b3f1c9e-0902-4000-8000-000000000000"


async def a_group(directory: Directory, name: str, *ids: str, external_id: str = "") -> Group:
    """Store a group that is managed here."""
    document = {"displayName": name, **({"externalId": external_id} if external_id else {})}
    new = Group.new(directory.groups.keys.new_id(name), document, Status.LOCAL, directory.groups.now())
    await directory.members.add(new.id, map(Member, ids))
    return await directory.groups.create(new, by="test")


async def link(directory: Directory, before: Group, external_id: str = SALES, by: str = "run:1") -> Group:
    """Link a group as a run does."""
    found = await directory.groups.find(before.id)
    assert found
    after = found.with_document(found.document() | {"externalId": external_id})
    return await directory.groups.link(found, replace(after, status=Status.CLAIMED, retired=False, left=None), by=by)


async def linked(server: Server, *ids: str, name: str = "Sales") -> str:
    """Store a group with members that is managed here, link it, and return its id."""
    directory = await server.main()
    return (await link(directory, await a_group(directory, name, *ids))).id


async def with_policy(server: Server, **changes: Any) -> None:
    policy = (await (await server.main()).policies.get()).to_json() | changes
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with server.session.put(f"{server.url}/directory/policy", json=policy, headers=headers) as answer:
        assert answer.status in (200, 204)


async def administered(server: Server, path: str) -> Any:
    """Return what the administrator's API shows."""
    headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
    async with server.session.get(f"{server.url}/{path}", headers=headers) as answer:
        assert answer.status == 200
        return await answer.json()


def removing(*ids: str) -> dict[str, Any]:
    return operations({"op": "remove", "path": "members", "value": [{"value": member} for member in ids]})


class TestExternalId:
    OTHERS = (
        ("PATCH", operations({"op": "replace", "path": "externalId", "value": OTHER})),
        ("PATCH", operations({"op": "add", "value": {"externalId": OTHER}})),
        ("PATCH", operations({"op": "remove", "path": "externalId"})),
        ("PATCH", operations({"op": "replace", "path": "externalId", "value": ""})),
        ("PUT", {"displayName": "Sales", "externalId": OTHER}),
    )

    @pytest.mark.parametrize(("method", "body"), OTHERS)
    async def test_a_linked_group_takes_no_other(self, server: Server, method: str, body: Any) -> None:
        ada = await a_user(server, "ada")
        group = await linked(server, ada)
        answer = await server.send(method, f"/Groups/{group}", body)
        assert_error(answer, 403)
        assert answer.body["detail"].startswith("externalId: ")
        shown = (await server.send("GET", f"/Groups/{group}")).body
        assert (shown["externalId"], await members(server, group)) == (SALES, [ada])

    SAME = (
        ("PATCH", operations({"op": "replace", "path": "externalId", "value": SALES.upper()}), SALES.upper()),
        ("PATCH", operations({"op": "replace", "path": "displayName", "value": "Selling"}), SALES),
        ("PUT", {"displayName": "Sales", "externalId": SALES.upper()}, SALES.upper()),
        ("PUT", {"displayName": "Selling"}, SALES),
    )

    @pytest.mark.parametrize(("method", "body", "kept"), SAME)
    async def test_it_keeps_its_own_in_any_letters(self, server: Server, method: str, body: Any, kept: str) -> None:
        group = await linked(server)
        answer = await server.send(method, f"/Groups/{group}", body)
        assert (answer.status, answer.body["externalId"]) == (200, kept)

    @pytest.mark.parametrize("deleted", [False, True])
    async def test_no_second_group_gets_that_of_a_linked_one(self, server: Server, deleted: bool) -> None:
        group = await linked(server)
        other = (await created(server, "Other", externalId=OTHER))["id"]
        if deleted:
            await server.send("DELETE", f"/Groups/{group}")
        else:
            answer = await server.send("POST", "/Groups", {"displayName": "New", "externalId": SALES.upper()})
            assert_error(answer, 409, "uniqueness")
        for method, body in (
            ("PATCH", operations({"op": "replace", "path": "externalId", "value": SALES.upper()})),
            ("PUT", {"displayName": "Other", "externalId": SALES}),
        ):
            assert_error(await server.send(method, f"/Groups/{other}", body), 409, "uniqueness")
        assert (await server.send("GET", f"/Groups/{other}")).body["externalId"] == OTHER

    async def test_a_group_of_provisioning_may_change_it(self, server: Server) -> None:
        group = (await created(server, externalId=SALES))["id"]
        for method, body in self.OTHERS:
            assert (await server.send(method, f"/Groups/{group}", body)).status == 200


class TestMembers:
    async def test_who_was_only_here_stays_in(self, server: Server) -> None:
        ada, bob, cleo = [await a_user(server, name) for name in ("ada", "bob", "cleo")]
        for number, body in enumerate(
            (
                removing(ada, bob),
                operations({"op": "remove", "path": "members"}),
                operations({"op": "remove", "path": f'members[value eq "{ada}"]'}),
                operations({"op": "remove", "path": 'members[type eq "User"]'}),
                operations({"op": "replace", "path": "members", "value": [{"value": cleo}]}),
                operations({"op": "replace", "path": "members", "value": []}),
            )
        ):
            group = await linked(server, ada, bob, name=f"Group {number}")
            version = (await server.send("GET", f"/Groups/{group}")).headers["ETag"]
            answer = await server.send("PATCH", f"/Groups/{group}", body)
            wanted = {ada, bob, cleo} if number == 4 else {ada, bob}
            assert (answer.status, set(await members(server, group))) == (200, wanted), number
            assert (answer.headers["ETag"] == version) == (number != 4)
        group = await linked(server, ada, name="Put")
        answer = await server.send("PUT", f"/Groups/{group}", {"displayName": "Put", "members": [{"value": bob}]})
        assert (answer.status, set(await members(server, group))) == (200, {ada, bob})

    async def test_whom_provisioning_added_goes_out_with_it(self, server: Server) -> None:
        ada, bob, cleo = [await a_user(server, name) for name in ("ada", "bob", "cleo")]
        group = await linked(server, ada)
        path = f"/Groups/{group}"
        assert (await server.send("PATCH", path, adding(bob, cleo))).status == 200
        assert (await server.send("PATCH", path, removing(ada, bob))).status == 200
        assert set(await members(server, group)) == {ada, cleo}
        put = await server.send("PUT", path, {"displayName": "Sales"})
        assert (put.status, await members(server, group)) == (200, [ada])

    async def test_an_add_of_who_is_in_marks_without_a_new_version(self, server: Server) -> None:
        ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
        group = await linked(server, ada, bob)
        path = f"/Groups/{group}"
        before = await server.send("GET", path)
        for _ in range(2):
            answer = await server.send("PATCH", path, adding(ada))
            assert (answer.status, answer.body) == (200, before.body)
        assert (await server.send("GET", path)).headers["ETag"] == before.headers["ETag"]
        await server.send("PATCH", path, operations({"op": "remove", "path": "members"}))
        assert await members(server, group) == [bob], "from the add on, ada is provisioning's to take out"

    async def test_those_who_are_in_and_those_who_come_may_be_in_one_request(self, server: Server) -> None:
        here = [await a_user(server, f"here{n}") for n in range(3)]
        ids = [f"{n % 256:02x}000000-0000-4000-8000-{n:012x}" for n in range(250)]
        group = await linked(server, *here, *ids[:20])
        path = f"/Groups/{group}"
        assert (await server.send("PATCH", path, adding(here[0], *ids))).status == 204
        assert set(await members(server, group)) == {*here, *ids}
        assert (await server.send("PATCH", path, removing(*here, *ids))).status == 200
        assert set(await members(server, group)) == set(here[1:])

    async def test_a_group_of_provisioning_is_as_before(self, server: Server) -> None:
        ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
        group = (await created(server, members=[{"value": ada}]))["id"]
        version = (await server.send("GET", f"/Groups/{group}")).headers["ETag"]
        answer = await server.send("PATCH", f"/Groups/{group}", adding(ada))
        assert answer.headers["ETag"] == version
        directory = await server.main()
        await directory.members.add(group, [Member(bob)])
        await server.send("PUT", f"/Groups/{group}", {"displayName": "Sales"})
        assert await members(server, group) == []

    async def test_a_group_that_an_earlier_version_linked_keeps_all_who_are_in_it(self, server: Server) -> None:
        """It has no marks, and nothing says whom provisioning added."""
        ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
        directory = await server.main()
        before = await a_group(directory, "Sales", ada)
        after = before.with_document(before.document() | {"externalId": SALES})
        await directory.groups.replace(before, replace(after, status=Status.CLAIMED), by="run:1", action="link")
        path = f"/Groups/{before.id}"
        assert (await server.send("PATCH", path, removing(ada))).status == 200
        assert (await server.send("PATCH", path, adding(bob))).status == 200
        assert set(await members(server, before.id)) == {ada, bob}
        assert (await server.send("PATCH", path, removing(ada, bob))).status == 200
        assert await members(server, before.id) == [ada]

    async def test_a_version_that_is_named_still_counts(self, server: Server) -> None:
        ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
        group = await linked(server, ada)
        path = f"/Groups/{group}"
        version = (await server.send("GET", path)).headers["ETag"]
        marked = await server.send("PATCH", path, adding(ada), if_match=version)
        assert (marked.status, marked.headers["ETag"]) == (200, version)
        assert (await server.send("PATCH", path, adding(bob), if_match=version)).status == 200
        assert_error(await server.send("PATCH", path, removing(ada), if_match=version), 412)


class TestDelete:
    async def test_a_linked_group_is_gone_for_scim_and_kept_with_its_members(self, server: Server) -> None:
        ada, bob = [await a_user(server, name) for name in ("ada", "bob")]
        group = await linked(server, ada)
        path = f"/Groups/{group}"
        await server.send("PATCH", path, adding(bob))
        assert (await server.send("DELETE", path)).status == 204
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", adding(ada)), ("PUT", {"displayName": "x"})):
            assert_error(await server.send(method, path, body), 404)
        assert_error(await server.send("GET", f"{path}?attributes=id"), 404)
        for asked in (
            "",
            '?filter=displayName eq "Sales"',
            f'?filter=externalId eq "{SALES}"',
            f'?filter=id eq "{group}"',
            f'?filter=members eq "{ada}"',
            '?filter=displayName co "ale"',
            "?cursor&count=5",
        ):
            assert (await server.send("GET", f"/Groups{asked}")).body.get("Resources", []) == [], asked
        assert (await server.send("GET", f"/Users/{ada}")).body.get("groups") is None
        users = await server.send("GET", f'/Users?filter=groups.value eq "{group}"')
        assert users.body["totalResults"] == 0
        shown = await administered(server, f"groups/{group}")
        assert (shown["status"], shown["deletedOverScim"], shown["externalId"]) == ("local", True, None)
        (found,) = (await administered(server, "groups?displayName=sales"))["groups"]
        assert (found["id"], found["deletedOverScim"]) == (group, True)
        directory = await server.main()
        assert {member.id for member in await directory.members.first(group, 10)} == {ada, bob}
        await sweep(directory, "9")
        assert {member.id for member in await directory.members.first(group, 10)} == {ada, bob}

    async def test_a_group_of_provisioning_is_deleted_as_before(self, server: Server) -> None:
        group = (await created(server, externalId=SALES))["id"]
        assert (await server.send("DELETE", f"/Groups/{group}")).status == 204
        assert (await administered(server, f"groups/{group}"))["deleted"]
        assert (await created(server, externalId=SALES))["id"] != group

    @pytest.mark.parametrize("name", ["Sales", "SALES", "Selling"])
    async def test_the_same_group_comes_back_to_the_kept_one(self, server: Server, name: str) -> None:
        ada, bob, cleo = [await a_user(server, person) for person in ("ada", "bob", "cleo")]
        group = await linked(server, ada)
        await server.send("PATCH", f"/Groups/{group}", adding(bob))
        await server.send("DELETE", f"/Groups/{group}")
        back = await created(server, name, externalId=SALES.upper(), members=[{"value": cleo}])
        assert (back["id"], back["displayName"]) == (group, name)
        assert set(await members(server, group)) == {ada, bob, cleo}
        await server.send("PUT", f"/Groups/{group}", {"displayName": name})
        assert await members(server, group) == [ada]
        shown = await administered(server, f"groups/{group}")
        assert (shown["status"], shown["deletedOverScim"]) == ("claimed", False)
        actions = [change["action"] for change in shown["history"] if change["action"] != "members"]
        assert actions == ["create", "link", "retire", "return"]
        assert (await server.send("GET", "/Groups")).body["totalResults"] == 1

    async def test_one_whose_external_id_another_group_has_by_now_does_not_come_back(self, server: Server) -> None:
        group = await linked(server)
        await server.send("DELETE", f"/Groups/{group}")
        await linked(server, name="Selling")
        for name in ("Sales", "Other"):
            answer = await server.send("POST", "/Groups", {"displayName": name, "externalId": SALES})
            assert_error(answer, 409, "uniqueness")
        assert (await administered(server, f"groups/{group}"))["deletedOverScim"]

    @pytest.mark.parametrize("external_id", [OTHER, None])
    async def test_another_group_of_the_name_is_refused_with_the_remedy(
        self, server: Server, external_id: str | None
    ) -> None:
        await with_policy(server, linkGroupsOnCreate=True)
        group = await linked(server)
        await server.send("DELETE", f"/Groups/{group}")
        answer = await server.send("POST", "/Groups", {"displayName": "sales", "externalId": external_id})
        assert_error(answer, 409, "uniqueness")
        assert group in answer.body["detail"]
        assert "linking run" in answer.body["detail"]
        assert (await administered(server, f"groups/{group}"))["status"] == "local"

    async def test_an_excluded_group_does_not_come_back(self, server: Server) -> None:
        group = await linked(server)
        await server.send("DELETE", f"/Groups/{group}")
        await with_policy(server, excluded=[SALES])
        for name in ("Sales", "Selling"):
            answer = await server.send("POST", "/Groups", {"displayName": name, "externalId": SALES})
            assert_error(answer, 409, "uniqueness")
            assert "excluded" in answer.body["detail"]

    async def test_a_name_that_is_taken_by_now_keeps_it_from_coming_back(self, server: Server) -> None:
        group = await linked(server)
        await server.send("DELETE", f"/Groups/{group}")
        await created(server, "Taken")
        answer = await server.send("POST", "/Groups", {"displayName": "taken", "externalId": SALES})
        assert_error(answer, 409, "uniqueness")
        assert (await administered(server, f"groups/{group}"))["deletedOverScim"]


class TestDeletedAccounts:
    async def claimed(self, server: Server, name: str) -> str:
        """Return a user who existed before, linked and confirmed."""
        directory = await server.main()
        before = await people.create(directory, name)
        account = people.linked(before, "8b3f1c9e-0001-4000-8000-000000000000")
        assert account.link
        confirmed = replace(account, link=replace(account.link, confirmed="2025-01-01T00:00:00.000Z"))
        return (await people.change(directory, before, confirmed)).id

    async def test_who_is_kept_here_stays_in_the_groups_that_are_managed_here(self, server: Server) -> None:
        ada = await self.claimed(server, "ada")
        directory = await server.main()
        local = (await a_group(directory, "Local", ada)).id
        before = await linked(server, ada, name="Before")
        marked = await linked(server, ada, name="Marked")
        added = await linked(server, name="Added")
        for group in (marked, added):
            await server.send("PATCH", f"/Groups/{group}", adding(ada))
        made = (await created(server, "Made", members=[{"value": ada}]))["id"]
        assert (await server.send("DELETE", f"/Users/{ada}")).status == 204
        for _ in range(2):
            held = await directory.members.held([(ada, group) for group in (local, before, marked, added, made)])
            assert held == [True, True, False, False, False]
            await sweep(directory, "9")

    async def test_a_delete_that_was_cut_off_is_finished_by_the_sweep(self, server: Server) -> None:
        ada = await self.claimed(server, "ada")
        directory = await server.main()
        local = (await a_group(directory, "Local", ada)).id
        made = (await created(server, "Made", members=[{"value": ada}]))["id"]
        account = await directory.accounts.get(ada)
        await directory.accounts.replace(account, replace(account, retired=True, status=Status.LOCAL), by="entra")
        assert await directory.members.held([(ada, local), (ada, made)]) == [True, True]
        await sweep(directory, "9")
        assert await directory.members.held([(ada, local), (ada, made)]) == [True, False]

    async def test_who_is_deleted_leaves_every_group(self, server: Server) -> None:
        ada = await a_user(server, "ada")
        directory = await server.main()
        local = (await a_group(directory, "Local", ada)).id
        before = await linked(server, ada, name="Before")
        assert (await server.send("DELETE", f"/Users/{ada}")).status == 204
        assert await directory.members.held([(ada, local), (ada, before)]) == [False, False]


class TestCreate:
    REFUSED: tuple[tuple[str, str | None, dict[str, Any], str], ...] = (
        ("Sales", SALES, {"linkGroupsOnCreate": False}, "linkGroupsOnCreate"),
        ("Sales", None, {}, "no externalId"),
        ("\uff33ales", SALES, {}, "only looks the same"),
        ("\u017fales", SALES, {}, "only looks the same"),
        ("Sales", SALES, {"excluded": [SALES.upper()]}, "excluded"),
    )

    @pytest.mark.parametrize(("name", "external_id", "policy", "word"), REFUSED)
    async def test_what_is_in_the_way_is_refused_and_named(
        self, server: Server, name: str, external_id: str | None, policy: dict[str, Any], word: str
    ) -> None:
        await with_policy(server, **({"linkGroupsOnCreate": True} | policy))
        directory = await server.main()
        group = await a_group(directory, "Sales")
        answer = await server.send("POST", "/Groups", {"displayName": name, "externalId": external_id})
        assert_error(answer, 409, "uniqueness")
        assert word in answer.body["detail"]
        assert await directory.groups.find(group.id) == group

    @pytest.mark.parametrize("decision", ["groupConflict", "groupExcluded"])
    async def test_what_the_last_plan_left_open_is_refused(self, server: Server, decision: str) -> None:
        await with_policy(server, linkGroupsOnCreate=True)
        directory = await server.main()
        await a_group(directory, "Sales")
        run = await directory.jobs.start("run", "test", directory.jobs.new_id("run"), {})
        await directory.plan(run.id).leave_open({SALES: decision})
        await directory.jobs.note_planned([run.id])
        answer = await server.send("POST", "/Groups", {"displayName": "Sales", "externalId": SALES.upper()})
        assert_error(answer, 409, "uniqueness")
        assert run.id in answer.body["detail"]
        await directory.plan(run.id).leave_open({SALES: ""})
        assert (await created(server, externalId=SALES))["externalId"] == SALES

    @pytest.mark.parametrize("by", ["linked", "provisioned", "kept"])
    async def test_an_external_id_that_another_group_has_is_refused(self, server: Server, by: str) -> None:
        await with_policy(server, linkGroupsOnCreate=True)
        directory = await server.main()
        await a_group(directory, "Sales")
        if by == "provisioned":
            await created(server, "Other", externalId=SALES)
        else:
            other = await linked(server, name="Other")
        if by == "kept":
            await server.send("DELETE", f"/Groups/{other}")
        answer = await server.send("POST", "/Groups", {"displayName": "Sales", "externalId": SALES})
        assert_error(answer, 409, "uniqueness")

    @pytest.mark.parametrize(("own", "status"), [("g-17", 201), (SALES.upper(), 201), (OTHER, 409)])
    async def test_a_group_that_says_that_it_is_another_one_is_refused(
        self, server: Server, own: str, status: int
    ) -> None:
        await with_policy(server, linkGroupsOnCreate=True)
        await a_group(await server.main(), "Sales", external_id=own)
        answer = await server.send("POST", "/Groups", {"displayName": "SALES", "externalId": SALES})
        assert answer.status == status

    async def test_members_of_the_create_are_marked(self, server: Server) -> None:
        await with_policy(server, linkGroupsOnCreate=True)
        ada, bob, cleo = [await a_user(server, name) for name in ("ada", "bob", "cleo")]
        group = await a_group(await server.main(), "Sales", ada, bob)
        body = await created(server, externalId=SALES, members=[{"value": bob}, {"value": cleo}])
        assert body["id"] == group.id
        await server.send("PATCH", f"/Groups/{group.id}", operations({"op": "remove", "path": "members"}))
        assert await members(server, group.id) == [ada]
