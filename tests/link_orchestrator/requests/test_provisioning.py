"""Lists for the administrator: refused writes of provisioning, what its creates linked, links to foreign ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from link_orchestrator.requests import provisioning
from shared.admin import pages as admin_pages
from shared.directory.directory import Directories, Directory
from shared.directory.records.model import Account, Link, Status
from tests.link_orchestrator.running import App, Refusal, csv_file, object_id

NOW = "2026-11-29T12:00:00.000Z"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
BULK = "urn:ietf:params:scim:api:messages:2.0:BulkRequest"


def patch(*operations: dict[str, Any]) -> dict[str, Any]:
    return {"schemas": [PATCH], "Operations": list(operations)}


KEY = {"op": "Add", "path": "externalId", "value": object_id(1)}


async def refused(app: App, method: str, account: str, body: object = None) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call(method, f"scim/v2/Users/{account}", body)
    assert refusal.value.status == 403


async def listed(app: App) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await app.call("GET", "linking/refusals"))["refusals"]
    return sorted(found, key=lambda row: (row["account"]["userName"], row["externalId"]))


async def test_refused_writes_are_listed_by_account_and_externalid(app: App) -> None:
    await app.bring(csv_file({"userName": "kim"}, {"userName": "root", "protected": "yes"}))
    kim, root = (await app.account("kim"))["id"], (await app.account("root"))["id"]
    for body in (patch(KEY), patch({"op": "add", "path": "emails", "value": []}, KEY)):
        await refused(app, "PATCH", kim, body)
    await refused(app, "PUT", kim, {"schemas": [USER], "userName": "kim", "externalId": object_id(1)})
    await refused(app, "PATCH", kim, patch({"op": "replace", "path": "title", "value": "x"}))
    await refused(app, "DELETE", kim)
    await refused(app, "PUT", root, {"schemas": [USER], "userName": "root", "externalId": object_id(2)})
    data = patch({"op": "add", "value": {"externalId": object_id(3)}})
    bulk = {"schemas": [BULK], "Operations": [{"method": "PATCH", "path": f"/Users/{kim}", "data": data}]}
    assert (await app.call("POST", "scim/v2/Bulk", bulk))["Operations"][0]["status"] == "403"
    rows = await listed(app)
    told = [(row["account"]["id"], row["externalId"], row["method"], row["count"]) for row in rows]
    assert told == [
        (kim, "", "DELETE", 2),
        (kim, object_id(1), "PUT", 3),
        (kim, object_id(3), "PATCH", 1),
        (root, object_id(2), "PUT", 1),
    ]
    assert {row["credential"] for row in rows} == {"local"}
    assert [row["cause"] for row in rows] == ["keptHere", "managedHere", "managedHere", "protected"]
    assert rows[0]["remedy"].startswith("None if the account is to stay")
    assert "POST /accounts/{id}/link" in rows[1]["remedy"]
    assert "protection" in rows[3]["remedy"]


async def test_what_is_no_refusal_of_a_local_account_is_not_listed(app: App) -> None:
    await app.bring(csv_file({"userName": "kim"}))
    kim = (await app.account("kim"))["id"]
    made = await app.call("POST", "scim/v2/Users", {"schemas": [USER], "userName": "eve"})
    for account, body in ((kim, patch({"op": "nonsense"})), ("nobody", patch(KEY))):
        with pytest.raises(Refusal):
            await app.call("PATCH", f"scim/v2/Users/{account}", body)
    await app.call("PATCH", f"scim/v2/Users/{made['id']}", patch(KEY))
    await app.call("GET", "scim/v2/Users", filter='userName eq "kim"')
    assert await listed(app) == []


async def test_the_status_of_the_account_is_that_of_now(app: App) -> None:
    await app.bring(csv_file({"userName": "kim"}, {"userName": "lea"}))
    kim, lea = (await app.account("kim"))["id"], (await app.account("lea"))["id"]
    for account in (kim, lea):
        await refused(app, "PATCH", account, patch(KEY))
    await app.call("POST", f"accounts/{kim}/link", {"identity": object_id(1)})
    await app.call("DELETE", f"accounts/{lea}")
    rows = {row["account"]["id"]: row for row in (await app.call("GET", "linking/refusals"))["refusals"]}
    assert (rows[kim]["account"]["status"], rows[kim]["remedy"]) == ("claimed", provisioning.LINKED)
    assert (rows[lea]["account"], rows[lea]["remedy"]) == ({"id": lea, "deleted": True}, provisioning.GONE)


async def put_linked(directory: Directory, number: int, identity: str, rule: str = "userName") -> str:
    document = {"schemas": [USER], "userName": f"user{number}"}
    new = Account.new(directory.keys.new_id(f"user{number}"), document, Status.LOCAL, NOW)
    account = await directory.accounts.create(new, by="import")
    link = Link(identity, rule, NOW, "entra")
    if rule == "adoption":
        await directory.adoptions.note(account.id, link)
    after = account.with_external_id(identity, status=Status.CLAIMED, link=link)
    await directory.accounts.replace(account, after, by="run")
    return account.id


async def test_adoptions_are_listed_while_their_link_is_there(app: App) -> None:
    directory = await Directories(app.tables).open("main")
    adopted = [await put_linked(directory, n, object_id(n), "adoption") for n in range(5)]
    await put_linked(directory, 9, object_id(9))
    rows = await app.pages("linking/adoptions", "adoptions", 2)
    assert sorted(row["account"]["id"] for row in rows) == sorted(adopted)
    assert {(row["rule"], row["by"], row["confirmed"]) for row in rows} == {("adoption", "entra", None)}
    await app.call("POST", f"accounts/{adopted[0]}/release")
    rows = await app.pages("linking/adoptions", "adoptions", 1)
    assert sorted(row["account"]["id"] for row in rows) == sorted(adopted[1:])


@pytest.mark.parametrize("scanned", [2, admin_pages.SCANNED])
async def test_links_to_what_is_no_object_id_are_listed(
    app: App, scanned: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin_pages, "SCANNED", scanned)
    directory = await Directories(app.tables).open("main")
    identities = [object_id(1), "kim", "12345", object_id(2).upper(), "S-1-5"]
    ids = [await put_linked(directory, n, identity) for n, identity in enumerate(identities)]
    retired = await directory.accounts.get(ids[2])
    await directory.accounts.replace(retired, replace(retired, retired=True, status=Status.LOCAL, link=None), by="x")
    rows = await app.pages("linking/foreign-links", "links", 1)
    assert sorted(row["identity"] for row in rows) == ["S-1-5", "kim"]


@pytest.mark.parametrize("path", ["refusals", "adoptions", "foreign-links"])
@pytest.mark.parametrize("asked", [{"cursor": "x"}, {"cursor": "ffa_"}, {"count": "0"}, {"count": "1001"}])
async def test_a_page_that_cannot_be_is_refused(app: App, path: str, asked: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refusal:
        await app.call("GET", f"linking/{path}", **asked)
    assert refusal.value.status == 400
