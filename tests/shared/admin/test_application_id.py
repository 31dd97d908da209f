"""The application's own key of an account over HTTP: the application sets and finds it, provisioning does neither."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.link_orchestrator.passes.test_undo import undo
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, Refusal, csv_file, graph, object_id, serving
from tests.shared.directory.invariants import check_invariants, stale_rows

ADA, BOB = "ada@contoso.com", "bob@contoso.com"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
PROVISIONED = {"schemas": [USER], "userName": "eve@contoso.com", "externalId": object_id(5)}


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    """A running app with two accounts that are managed here, of which one has a key."""
    async with serving(tmp_path) as running:
        rows = {"userName": ADA, "email": ADA, "applicationId": "u-17"}, {"userName": BOB, "email": BOB}
        await running.bring(csv_file(*rows))
        yield running


async def edit(app: App, name: str, application_id: object) -> Any:
    account = await app.account(name)
    return await app.call("PATCH", f"accounts/{account['id']}", {"applicationId": application_id})


async def owners(app: App, application_id: str = "u-17") -> list[str]:
    found = await app.call("GET", "accounts", applicationId=application_id)
    return [account["userName"] for account in found["accounts"]]


async def answered(call: Awaitable[object]) -> int:
    try:
        await call
    except Refusal as refusal:
        return refusal.status
    return 200


async def linked(app: App, name: str = ADA) -> Any:
    run = await app.apply(await app.plan(graph(1, name)), links=1)
    found = await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{object_id(1)}"')
    assert found["totalResults"] == 1, "provisioning has confirmed the link"
    return run


async def test_it_is_shown_found_set_and_taken_away(app: App) -> None:
    assert (await app.account(ADA))["applicationId"] == "u-17"
    assert (await app.account(BOB))["applicationId"] is None
    assert (await edit(app, ADA, " u-1 "))["applicationId"] == "u-1"
    assert (await owners(app), await owners(app, "u-1"), await owners(app, "U-1")) == ([], [ADA], [])
    assert (await edit(app, ADA, None))["applicationId"] is None
    assert await owners(app, "u-1") == []
    changes = [change["attributes"] for change in (await app.account(ADA))["history"]]
    assert changes == [[], ["applicationId"], ["applicationId"]]


async def test_what_another_account_has_is_refused_with_that_account_and_the_remedy(app: App) -> None:
    ada = await app.account(ADA)
    status, detail = await status_of(edit(app, BOB, "u-17"))
    assert status == 409
    assert detail.startswith(f"applicationId: the account {ada['id']} has it: take it from that one first")
    assert (await app.account(BOB))["applicationId"] is None
    assert await owners(app) == [ADA]


async def test_of_two_requests_at_once_one_gets_it(app: App) -> None:
    await edit(app, ADA, None)
    statuses = await asyncio.gather(*(answered(edit(app, name, "u-9")) for name in (ADA, BOB)))
    assert sorted(statuses) == [200, 409]
    assert len(await owners(app, "u-9")) == 1
    await check_invariants(app.tables, "main")


@pytest.mark.parametrize("wrong", ["", " ", "x" * 257, "a\nb", 17, ["u"]])
async def test_what_can_be_no_key_is_refused(app: App, wrong: object) -> None:
    with pytest.raises(Refusal, match=r"400 .*applicationId"):
        await edit(app, BOB, wrong)


class TestProvisioning:
    """SCIM neither shows it, nor changes it, nor takes it away."""

    async def test_scim_shows_it_nowhere_and_finds_nobody_by_it(self, app: App) -> None:
        ada = await app.account(ADA)
        for path in (f"Users/{ada['id']}", "Users", "Schemas"):
            assert "applicationId" not in json.dumps(await app.call("GET", f"scim/v2/{path}"))
        found = await app.call("GET", "scim/v2/Users", filter='applicationId eq "u-17"')
        assert found["totalResults"] == 0

    async def test_no_write_of_it_changes_it(self, app: App) -> None:
        await linked(app)
        ada = await app.account(ADA)
        path = f"scim/v2/Users/{ada['id']}"
        operations = [{"op": "replace", "path": "title", "value": "Lead"}]
        await app.call("PATCH", path, {"schemas": [PATCH], "Operations": operations})
        await app.call("PUT", path, {"schemas": [USER], "userName": ADA, "externalId": object_id(1)})
        body = {"schemas": [USER], "userName": ADA, "externalId": object_id(1), "applicationId": "stolen"}
        await answered(app.call("PUT", path, body))
        for operation in ("replace", "remove", "add"):
            sent = {"op": operation, "path": "applicationId", "value": "stolen"}
            await answered(app.call("PATCH", path, {"schemas": [PATCH], "Operations": [sent]}))
        assert (await app.account(ADA))["applicationId"] == "u-17"
        assert await owners(app, "stolen") == []

    async def test_the_application_sets_it_though_the_identity_provider_manages_the_account(self, app: App) -> None:
        await linked(app, BOB)
        assert (await edit(app, BOB, "u-18"))["applicationId"] == "u-18"
        made = await app.call("POST", "scim/v2/Users", PROVISIONED)
        assert (await edit(app, "eve@contoso.com", "u-19"))["id"] == made["id"]
        assert (await owners(app, "u-18"), await owners(app, "u-19")) == ([BOB], ["eve@contoso.com"])

    async def test_it_stays_through_delete_and_return(self, app: App) -> None:
        await linked(app)
        ada = await app.account(ADA)
        await app.call("DELETE", f"scim/v2/Users/{ada['id']}")
        (kept,) = (await app.call("GET", "accounts", applicationId="u-17"))["accounts"]
        assert (kept["id"], kept["deletedOverScim"]) == (ada["id"], True)
        assert (await status_of(edit(app, BOB, "u-17")))[0] == 409
        back = await app.call("POST", "scim/v2/Users", {"schemas": [USER], "userName": ADA, "externalId": object_id(1)})
        assert back["id"] == ada["id"]
        assert await owners(app) == [ADA]
        await check_invariants(app.tables, "main")

    async def test_a_key_that_is_set_meanwhile_does_not_keep_the_account_from_its_identity(self, app: App) -> None:
        await linked(app)
        ada = await app.account(ADA)
        await app.call("DELETE", f"scim/v2/Users/{ada['id']}")
        await app.call("PATCH", f"accounts/{ada['id']}", {"applicationId": "u-20"})
        body = {"schemas": [USER], "userName": ADA, "externalId": object_id(1)}
        assert (await app.call("POST", "scim/v2/Users", body))["id"] == ada["id"]
        assert await owners(app, "u-20") == [ADA]

    async def test_with_an_account_that_is_deleted_it_is_free_again(self, app: App) -> None:
        made = await app.call("POST", "scim/v2/Users", PROVISIONED)
        await edit(app, "eve@contoso.com", "u-19")
        await app.call("DELETE", f"scim/v2/Users/{made['id']}")
        bob = await app.account(BOB)
        await edit(app, BOB, "u-19")
        await app.call("DELETE", f"accounts/{bob['id']}")
        assert (await edit(app, ADA, "u-19"))["applicationId"] == "u-19"
        await check_invariants(app.tables, "main")
        assert await stale_rows(app.tables, "main") == 0

    async def test_an_undo_and_a_release_leave_it(self, app: App) -> None:
        run = await linked(app)
        await edit(app, ADA, "u-21")
        (row,) = (await app.call("GET", f"linking/undos/{(await undo(app, run))['id']}/rows"))["rows"]
        assert (row["outcome"], row["account"]["applicationId"]) == ("undone", "u-21"), "as it is named by now"
        assert await owners(app, "u-21") == [ADA]
        ada = await app.account(ADA)
        await app.call("POST", f"accounts/{ada['id']}/link", {"identity": object_id(1)})
        assert (await app.call("POST", f"accounts/{ada['id']}/release"))["applicationId"] == "u-21"
        await check_invariants(app.tables, "main")
