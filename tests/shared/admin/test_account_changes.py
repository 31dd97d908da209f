"""One account in the administrator's hands, over HTTP: edited, deleted, linked, pointed elsewhere, released."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.directory.directory import Directories
from tests.link_orchestrator.requests.test_runs import bodies, status_of
from tests.link_orchestrator.running import TOKEN, App, Refusal, all_accounts, csv_file, graph, object_id, serving
from tests.shared.directory.invariants import check_invariants, stale_rows

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ADA = {"userName": "ada@contoso.com", "email": "ada@contoso.com", "title": "Engineer", "givenName": "Ada"}
BOB = {"userName": "bob@contoso.com", "email": "bob@contoso.com"}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A running app with two accounts that are managed here."""
    async with serving(tmp_path) as running:
        await running.bring(csv_file(ADA, BOB))
        yield running


async def path_of(app: App, name: str = "ada") -> str:
    return f"accounts/{(await app.account(f'{name}@contoso.com'))['id']}"


async def edit(app: App, body: object, name: str = "ada") -> Any:
    return await app.call("PATCH", await path_of(app, name), body)


async def link(app: App, number: int, name: str = "ada", **more: str) -> Any:
    return await app.call("POST", f"{await path_of(app, name)}/link", {"identity": object_id(number), **more})


async def release(app: App, name: str = "ada", body: object = None) -> Any:
    return await app.call("POST", f"{await path_of(app, name)}/release", body)


async def scim_patch(app: App, account: Any, **values: Any) -> Any:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return await app.call("PATCH", f"scim/v2/Users/{account['id']}", {"schemas": [PATCH], "Operations": operations})


async def confirm(app: App, number: int) -> None:
    """Let provisioning find whom an identity's stamp leads to."""
    found = await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(number)}"')
    assert found["totalResults"] == 1


class TestLinking:
    async def test_a_link_by_hand_names_who_and_why_and_waits_for_provisioning(self, app: App) -> None:
        answer = await link(app, 1, reason="asked on the phone")
        assert (answer["status"], answer["sourceOfAuthority"]) == ("claimed", "idp")
        assert answer["document"]["externalId"] == object_id(1)
        at = answer["link"].pop("at")
        assert answer["link"] == {
            "identity": object_id(1),
            "rule": "administrator",
            "by": "local",
            "confirmed": None,
            "reason": "asked on the phone",
        }
        assert at <= answer["modified"]
        ada = await app.account("ada@contoso.com")
        assert [change["action"] for change in ada["history"]] == ["create", "link"]
        status, detail = await status_of(scim_patch(app, ada, active=False))
        assert (status, "has not come through its externalId yet" in detail) == (403, True)
        await confirm(app, 1)
        assert (await scim_patch(app, ada, active=False))["active"] is False
        await check_invariants(app.tables, "main")

    async def test_saying_it_again_changes_nothing(self, app: App) -> None:
        first = await link(app, 1)
        assert await link(app, 1, reason="again") == first
        assert len((await app.account("ada@contoso.com"))["history"]) == 2

    async def test_a_link_that_is_pointed_at_another_identity_is_unconfirmed_and_keeps_its_history(
        self, app: App
    ) -> None:
        await link(app, 1)
        await confirm(app, 1)
        answer = await link(app, 2)
        assert (answer["link"]["identity"], answer["link"]["confirmed"]) == (object_id(2), None)
        history = (await app.account("ada@contoso.com"))["history"]
        assert [change["action"] for change in history] == ["create", "link", "confirm", "link"]
        assert history[-1]["before"]["link"]["identity"] == object_id(1)
        assert (await link(app, 1, "bob"))["link"]["identity"] == object_id(1), "the former identity is free"
        assert await stale_rows(app.tables, "main") == 0
        await check_invariants(app.tables, "main")

    async def test_an_identity_that_another_account_has_is_refused_naming_it(self, app: App) -> None:
        bob = await link(app, 1, "bob")
        status, detail = await status_of(link(app, 1))
        assert (status, f"the account {bob['id']} has this identity" in detail) == (409, True)
        user = {"schemas": [USER], "userName": "new@contoso.com", "externalId": object_id(2)}
        created = await app.call("POST", "scim/v2/Users", user)
        status, detail = await status_of(link(app, 2))
        assert (status, f"the account {created['id']} has this identity" in detail) == (409, True)
        assert (await app.account("ada@contoso.com"))["status"] == "local"
        await check_invariants(app.tables, "main")

    async def test_of_twenty_who_link_one_identity_one_succeeds(self, app: App) -> None:
        answers = await asyncio.gather(
            *(link(app, 1, ("ada", "bob")[n % 2]) for n in range(20)), return_exceptions=True
        )
        linked = {answer["id"] for answer in answers if not isinstance(answer, BaseException)}
        assert len(linked) == 1
        assert {answer.status for answer in answers if isinstance(answer, Refusal)} <= {409, 503}
        await check_invariants(app.tables, "main")

    async def test_what_a_rule_forbids_is_refused(self, app: App) -> None:
        await edit(app, {"protected": True})
        assert (await status_of(link(app, 1)))[0] == 403
        policy = await app.call("GET", "directory/policy")
        await app.call("PUT", "directory/policy", policy | {"excluded": [object_id(1), "gone@contoso.com"]})
        await app.plan(graph(2, "gone@contoso.com"))
        for number in (1, 2):
            status, detail = await status_of(link(app, number, "bob"))
            assert (status, "it is excluded" in detail) == (403, True)
        made = await app.call("POST", "scim/v2/Users", {"schemas": [USER], "userName": "new@contoso.com"})
        body = {"identity": object_id(3)}
        status, detail = await status_of(app.call("POST", f"accounts/{made['id']}/link", body))
        assert (status, "release it first" in detail) == (409, True)
        assert (await status_of(app.call("POST", "accounts/none/link", body)))[0] == 404

    async def test_an_account_that_is_set_aside_is_linked_by_nobody(self, app: App) -> None:
        await app.call("PUT", "directory/policy", {"setAside": ["Bob@*"]})
        status, detail = await status_of(link(app, 1, "bob"))
        assert (status, "setAside: the policy sets this account aside" in detail) == (403, True)
        assert (await app.account("bob@contoso.com"))["link"] is None

    async def test_whom_a_plan_left_open_is_settled_by_a_link(self, app: App) -> None:
        run = await app.plan(graph(1, "other@contoso.com", mail="ada@contoso.com"))
        assert run["counts"]["review"] == 1
        await link(app, 1)
        await confirm(app, 1)
        ada = await app.account("ada@contoso.com")
        assert (await scim_patch(app, ada, title="Director"))["title"] == "Director"

    async def test_whom_provisioning_deleted_comes_back_inactive(self, app: App) -> None:
        ada = await link(app, 1)
        await confirm(app, 1)
        await app.call("DELETE", f"scim/v2/Users/{ada['id']}")
        again = await link(app, 2)
        assert (again["deletedOverScim"], again["active"], again["link"]["identity"]) == (False, False, object_id(2))
        await check_invariants(app.tables, "main")


class TestReleasing:
    async def test_a_released_account_is_managed_here_and_remembers_its_identity(self, app: App) -> None:
        await link(app, 1)
        await confirm(app, 1)
        answer = await release(app)
        assert (answer["status"], answer["sourceOfAuthority"], answer["link"]) == ("local", "local", None)
        assert answer["evidence"]["objectId"] == object_id(1)
        assert "externalId" not in answer["document"]
        history = (await app.account("ada@contoso.com"))["history"]
        assert [change["action"] for change in history] == ["create", "link", "confirm", "release"]
        status, detail = await status_of(scim_patch(app, answer, title="Director"))
        assert (status, "managed here" in detail) == (403, True)
        assert (await edit(app, {"document": {"title": "Director"}}))["document"]["title"] == "Director"
        assert await stale_rows(app.tables, "main") == 0
        await check_invariants(app.tables, "main")

    async def test_whoever_comes_with_its_name_later_is_compared(self, app: App) -> None:
        await link(app, 1)
        await release(app)
        run = await app.plan(graph(2, "ada@contoso.com"))
        assert run["counts"]["conflict"] == 1

    async def test_a_link_that_was_wrong_leaves_no_evidence(self, app: App) -> None:
        await link(app, 1)
        assert (await release(app, body={"keepEvidence": False}))["evidence"] == {}
        assert (await app.plan(graph(2, "ada@contoso.com")))["counts"]["link"] == 1

    async def test_the_identity_is_free_for_another_account(self, app: App) -> None:
        await link(app, 1)
        await release(app)
        assert (await link(app, 1, "bob"))["link"]["identity"] == object_id(1)
        await check_invariants(app.tables, "main")

    async def test_one_that_is_managed_here_stays_as_it_is(self, app: App) -> None:
        before = await app.account("ada@contoso.com")
        await release(app)
        assert await app.account("ada@contoso.com") == before

    async def test_one_that_provisioning_made_can_be_released_and_linked(self, app: App) -> None:
        user = {"schemas": [USER], "userName": "new@contoso.com", "externalId": object_id(1)}
        await app.call("POST", "scim/v2/Users", user)
        assert (await release(app, "new"))["evidence"] == {"objectId": object_id(1)}
        assert (await link(app, 1, "new"))["status"] == "claimed"
        await check_invariants(app.tables, "main")


class TestEditing:
    async def test_an_account_that_is_managed_here_is_edited(self, app: App) -> None:
        body = {
            "document": {
                "Title": "Director",
                "name": {"familyName": "Lovelace"},
                "emails": [{"value": "countess@contoso.com"}],
                ENTERPRISE: {"employeeNumber": "1815"},
            },
            "evidence": {"nameId": "n-1", "verifiedEmails": ["countess@contoso.com"]},
        }
        answer = await edit(app, body)
        assert answer["document"]["title"] == "Director"
        assert answer["document"]["name"] == {"givenName": "Ada", "familyName": "Lovelace"}
        assert answer["evidence"] == {"nameId": "n-1", "verifiedEmails": ["countess@contoso.com"]}
        for asked in ({"email": "countess@contoso.com"}, {"nameId": "n-1"}, {"employeeNumber": "1815"}):
            found = (await app.call("GET", "accounts", **asked))["accounts"]
            assert [account["id"] for account in found] == [answer["id"]]
        assert (await app.call("GET", "accounts", email="ada@contoso.com"))["accounts"] == [], "but by its userName"
        await check_invariants(app.tables, "main")

    async def test_null_takes_a_value_away(self, app: App) -> None:
        await edit(app, {"evidence": {"nameId": "n-1", "objectId": object_id(9)}, "protected": True})
        answer = await edit(
            app, {"document": {"title": None, "name": {"givenName": None}}, "evidence": {"nameId": None}}
        )
        assert not answer["document"].keys() & {"title", "name"}
        assert (answer["evidence"], answer["protected"]) == ({"objectId": object_id(9)}, True)
        assert (await edit(app, {"evidence": None, "protected": None}))["evidence"] == {}

    async def test_an_edit_that_changes_nothing_leaves_no_trace(self, app: App) -> None:
        before = await app.account("ada@contoso.com")
        for body in ({}, {"document": {"title": "Engineer"}}, {"protected": False, "evidence": {}}):
            await edit(app, body)
        assert await app.account("ada@contoso.com") == before

    async def test_a_name_that_another_account_holds_is_refused(self, app: App) -> None:
        status, detail = await status_of(edit(app, {"document": {"userName": "BOB@contoso.com"}}))
        assert (status, detail.startswith("userName: ")) == (409, True)
        assert (await edit(app, {"document": {"userName": "countess"}}))["userName"] == "countess"
        await check_invariants(app.tables, "main")

    async def test_an_identity_that_another_account_is_linked_to_is_no_external_id(self, app: App) -> None:
        await link(app, 1, "bob")
        status, detail = await status_of(edit(app, {"document": {"externalId": object_id(1)}}))
        assert (status, detail.startswith("externalId: ")) == (409, True)
        await check_invariants(app.tables, "main")

    async def test_what_the_identity_provider_manages_is_refused_by_name_and_the_rest_is_editable(
        self, app: App
    ) -> None:
        await link(app, 1)
        body = {"document": {"title": "Director", "name": {"givenName": "Augusta"}}, "protected": True}
        status, detail = await status_of(edit(app, body))
        assert status == 409
        assert detail.startswith("name, title: this account is managed by the identity provider")
        assert (await app.account("ada@contoso.com"))["protected"] is False, "all or nothing"
        same = {"document": {"title": "Engineer"}, "protected": True, "evidence": {"nameId": "n-1"}}
        answer = await edit(app, same)
        assert (answer["protected"], answer["evidence"], answer["status"]) == (True, {"nameId": "n-1"}, "claimed")

    async def test_a_version_that_is_past_is_refused(self, app: App) -> None:
        path = await path_of(app)
        async with app.session.get("/" + path) as answer:
            version = answer.headers["ETag"]
        for expected, title in ((200, "Director"), (412, "Countess")):
            body = json.dumps({"document": {"title": title}})
            async with app.session.patch("/" + path, data=body, headers={"If-Match": version}) as answer:
                assert answer.status == expected
        assert (await app.account("ada@contoso.com"))["document"]["title"] == "Director"

    @pytest.mark.parametrize(
        ("body", "word"),
        [
            ({"title": "Director"}, "title"),
            ({"document": {"id": "x"}}, "id"),
            ({"document": {"meta": {}}}, "meta"),
            ({"document": {"luck": 1}}, "luck"),
            ({"document": {"active": "perhaps"}}, "active"),
            ({"document": {"userName": None}}, "userName"),
            ({"document": []}, "document"),
            ({"document": None}, "document"),
            ({"protected": "yes"}, "protected"),
            ({"evidence": {"nameId": ""}}, "nameId"),
            ({"evidence": {"sid": "1"}}, "sid"),
            ([], ""),
        ],
    )
    async def test_a_wrong_edit_names_the_attribute(self, app: App, body: object, word: str) -> None:
        before = await app.account("ada@contoso.com")
        status, detail = await status_of(edit(app, body))
        assert (status, word in detail) == (400, True), detail
        assert await app.account("ada@contoso.com") == before


class TestDeleting:
    async def test_an_account_that_is_managed_here_is_deleted_and_its_history_stays(self, app: App) -> None:
        path = await path_of(app)
        await app.call("DELETE", path)
        gone = await app.call("GET", path)
        assert (gone["deleted"], [change["action"] for change in gone["history"]]) == (True, ["create", "delete"])
        assert (await status_of(app.call("DELETE", path)))[0] == 404
        await app.bring(csv_file(ADA))
        assert await path_of(app) != path
        await check_invariants(app.tables, "main")

    async def test_its_memberships_go_with_it(self, app: App) -> None:
        ada = (await app.account("ada@contoso.com"))["id"]
        group = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "g"}
        made = await app.call("POST", "scim/v2/Groups", group | {"members": [{"value": ada}]})
        await app.call("DELETE", f"accounts/{ada}")
        assert "members" not in await app.call("GET", f"scim/v2/Groups/{made['id']}")
        directory = await Directories(app.tables).open("main")
        assert not await directory.members.holds(made["id"], ada)

    async def test_what_is_protected_or_linked_is_not(self, app: App) -> None:
        await edit(app, {"protected": True})
        await link(app, 1, "bob")
        for name, expected in (("ada", 403), ("bob", 409)):
            assert (await status_of(app.call("DELETE", await path_of(app, name))))[0] == expected
        await release(app, "bob")
        await app.call("DELETE", await path_of(app, "bob"))


async def test_only_an_administrator_may(app: App) -> None:
    path = await path_of(app)
    for method, more in (("PATCH", ""), ("DELETE", ""), ("POST", "/link"), ("POST", "/release")):
        async with app.session.request(method, f"/{path}{more}", headers={"Authorization": "Bearer no"}) as answer:
            assert answer.status == 401


edits = st.fixed_dictionaries(
    {},
    optional={
        "document": st.dictionaries(
            st.sampled_from(["userName", "emails", "active", "externalId", ENTERPRISE, "name", "schemas", "members"]),
            st.none() | st.booleans() | st.text(max_size=5) | st.lists(st.text(max_size=3), max_size=2),
            max_size=3,
        ),
        "protected": st.booleans() | st.none() | st.just("x"),
        "evidence": st.none() | st.dictionaries(st.sampled_from(["nameId", "objectId"]), st.text(max_size=4)),
        "identity": st.text(max_size=5) | st.integers(),
        "reason": st.text(max_size=5),
        "keepEvidence": st.booleans() | st.just(1),
    },
).map(lambda body: json.dumps(body).encode())


@given(body=edits | bodies)
@settings(max_examples=80)
async def test_nothing_that_is_sent_is_answered_500(app: App, body: bytes) -> None:
    directory = await Directories(app.tables).open("main")
    account = (await all_accounts(directory))[0]
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for method, more in (("PATCH", ""), ("POST", "/link"), ("POST", "/release")):
        answer = await app.host.handle(method, f"/accounts/{account.id}{more}", headers, body)
        shown = answer.get_body().decode()
        assert answer.status_code in {200, 400, 403, 409, 413}, shown
        assert answer.status_code < 400 or json.loads(shown)["detail"]


async def test_a_pair_that_was_released_is_parted_until_a_person_joins_it_again(app: App) -> None:
    directory = await Directories(app.tables).open("main")

    async def parted() -> tuple[str, ...]:
        return (await directory.accounts.get((await app.account("ada@contoso.com"))["id"])).parted

    await link(app, 1)
    await link(app, 2)
    assert await parted() == ()
    await release(app)
    await link(app, 1)
    await release(app, body={"keepEvidence": False})
    assert await parted() == (object_id(2), object_id(1))
    await release(app)
    assert await parted() == (object_id(2), object_id(1)), "it was released already"
    await link(app, 2)
    assert await parted() == (object_id(1),)
