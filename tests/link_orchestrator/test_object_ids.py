"""An object id of Entra is read as one at every door, however a spreadsheet or a script has written it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.directory.directory import Directories
from shared.directory.records.model import Account, SignInEvidence, Status
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph, object_id, serving
from tests.shared.directory.invariants import check_invariants

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
NIL = "00000000-0000-0000-0000-000000000000"

WRITTEN: dict[str, Callable[[str], str]] = {
    "upper case": str.upper,
    "braces": "{{{}}}".format,
    "braces and upper case": lambda one: f"{{{one.upper()}}}",
    "spaces": "  {}  ".format,
    "spaces in braces": "{{ {} }}".format,
    "no dashes": lambda one: one.replace("-", ""),
    "hyphens of a word processor": lambda one: one.replace("-", "\u2010"),
    "hyphens that do not break": lambda one: one.replace("-", "\u2011"),
    "a zero width space behind": "{}\u200b".format,
    "a byte order mark before": "\ufeff{}".format,
}
"""Ways of writing one object id, by name."""
HIDDEN = ("a zero width space behind", "a byte order mark before")
every_way = pytest.mark.parametrize("written", WRITTEN.values(), ids=WRITTEN)


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(tmp_path) as running:
        yield running


async def decisions(app: App, *identities: dict[str, Any]) -> list[str]:
    """Return what a plan over these identities decides on each."""
    run = await app.plan(*identities)
    rows = [row for row in await app.decisions(run) if row.get("identity")]
    await app.call("POST", f"linking/runs/{run['id']}/cancel")
    return [row["decision"] for row in sorted(rows, key=lambda row: str(row["identity"]["objectId"]))]


def user(name: str, external_id: str) -> dict[str, Any]:
    return {"schemas": [USER], "userName": name, "externalId": external_id}


async def post(app: App, name: str, external_id: str) -> Any:
    return await app.call("POST", "scim/v2/Users", user(name, external_id), "application/scim+json")


async def patch(app: App, account: Any, **values: Any) -> Any:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return await app.call("PATCH", f"scim/v2/Users/{account['id']}", {"schemas": [PATCH], "Operations": operations})


async def refused(call: Awaitable[Any], status: int, said: str) -> None:
    answered, detail = await status_of(call)
    assert (answered, said in detail) == (status, True), (answered, detail)


class TestEvidence:
    """The account of somebody who has signed in, and has another name in Entra by now."""

    @every_way
    @pytest.mark.parametrize("column", ["objectId", "externalId", "nameId"])
    async def test_an_import_gives_the_account_to_its_owner_and_to_nobody_else(
        self, app: App, column: str, written: Callable[[str], str]
    ) -> None:
        policy = {"verifiedDomains": ["contoso.com"], "nameIdSource": "objectId"}
        await app.call("PUT", "directory/policy", policy)
        await app.bring(csv_file({"userName": "maiden@contoso.com", column: written(object_id(1))}))
        assert await decisions(app, graph(1, "married@contoso.com")) == ["link"]
        assert await decisions(app, graph(2, "maiden@contoso.com")) == ["conflict"]
        await refused(post(app, "married@contoso.com", object_id(1)), 409, "managed here")
        await check_invariants(app.tables, "main")

    @every_way
    @pytest.mark.parametrize("attribute", ["objectId", "externalId"])
    async def test_so_does_an_edit(self, app: App, attribute: str, written: Callable[[str], str]) -> None:
        await app.bring(csv_file({"userName": "maiden@contoso.com"}))
        path = f"accounts/{(await app.account('maiden@contoso.com'))['id']}"
        value = {attribute: written(object_id(1))}
        shown = await app.call("PATCH", path, {"evidence": value} if attribute == "objectId" else {"document": value})
        assert (shown["evidence"] | shown["document"])[attribute] == object_id(1)
        assert await decisions(app, graph(1, "married@contoso.com")) == ["link"]
        assert await decisions(app, graph(2, "maiden@contoso.com")) == ["conflict"]
        await check_invariants(app.tables, "main")

    @pytest.mark.parametrize("text", ["12345", "1.2E+05", "n/a", object_id(1)[:-1], NIL, f"{{{NIL}}}"])
    async def test_what_is_none_is_a_problem_with_its_line_and_refused_in_an_edit(self, app: App, text: str) -> None:
        rows = {"userName": "a@contoso.com", "objectId": object_id(1)}, {"userName": "b@contoso.com", "objectId": text}
        (problem,) = await app.problems(await app.bring(csv_file(*rows)))
        assert (problem["line"], "objectId" in problem["reason"]) == (3, True)
        assert "is a GUID" in problem["remedy"]
        path = f"accounts/{(await app.account('a@contoso.com'))['id']}"
        await refused(app.call("PATCH", path, {"evidence": {"objectId": text}}), 400, "evidence.objectId")
        assert (await app.call("PATCH", path, {"evidence": {"objectId": None}}))["evidence"] == {}

    @every_way
    @pytest.mark.parametrize("column", ["objectId", "externalId", "nameId"])
    async def test_a_list_finds_it_however_it_is_asked(
        self, app: App, column: str, written: Callable[[str], str]
    ) -> None:
        await app.bring(csv_file({"userName": "a@contoso.com", column: object_id(1)}))
        (found,) = (await app.call("GET", "accounts", **{column: written(object_id(1))}))["accounts"]
        assert found["userName"] == "a@contoso.com"

    @pytest.mark.parametrize("nil", [NIL, f"{{{NIL}}}", NIL.replace("-", "")])
    async def test_the_nil_guid_is_nobodys_external_id(self, app: App, nil: str) -> None:
        said = f"externalId: {nil} stands for no id"
        await refused(post(app, "a@contoso.com", nil), 400, said)
        made = await post(app, "b@contoso.com", "b")
        await refused(patch(app, made, externalId=nil), 400, said)
        await refused(app.call("PUT", f"scim/v2/Users/{made['id']}", user("b@contoso.com", nil)), 400, said)
        group = {"schemas": [GROUP], "displayName": "Staff", "externalId": nil}
        await refused(app.call("POST", "scim/v2/Groups", group), 400, said)
        rows = {"userName": "c@contoso.com"}, {"userName": "d@contoso.com", "externalId": nil}
        (problem,) = await app.problems(await app.bring(csv_file(*rows)))
        assert (problem["line"], "externalId" in problem["reason"]) == (3, True)
        path = f"accounts/{(await app.account('c@contoso.com'))['id']}"
        await refused(app.call("PATCH", path, {"document": {"externalId": nil}}), 400, said)

    @every_way
    async def test_an_account_that_an_earlier_version_stored_is_no_false_conflict(
        self, app: App, written: Callable[[str], str]
    ) -> None:
        directory = await Directories(app.tables).open("main")
        for number, field in enumerate(("object_id", "name_id"), 1):
            name = f"{field}@contoso.com"
            new = Account.new(directory.keys.new_id(name), {"userName": name}, Status.LOCAL, "2026-11-01T12:00:00.000Z")
            evidence = SignInEvidence(**{field: written(object_id(number))})
            await directory.accounts.create(replace(new, evidence=evidence), by="test")
        policy = {"verifiedDomains": ["contoso.com"], "nameIdSource": "objectId"}
        await app.call("PUT", "directory/policy", policy)
        found = await decisions(app, graph(1, "object_id@contoso.com"), graph(2, "name_id@contoso.com"))
        assert found == ["link", "link"]


class TestLinked:
    """An identity that an account is linked to is nobody else's, whichever door another account comes through."""

    @every_way
    async def test_no_other_account_takes_its_identity(self, app: App, written: Callable[[str], str]) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}, {"userName": "bob@contoso.com"}))
        ada, bob = await app.account("ada@contoso.com"), await app.account("bob@contoso.com")
        await app.call("POST", f"accounts/{ada['id']}/link", {"identity": object_id(1)})
        made = await post(app, "new@contoso.com", "mailnickname")
        external_id = written(object_id(1))
        hidden = written in [WRITTEN[one] for one in HIDDEN]
        for call in (patch(app, made, externalId=external_id), post(app, "other@contoso.com", external_id)):
            status, _ = await status_of(call)
            assert status == 409 or (hidden and status == 400)
        put = app.call("PUT", f"scim/v2/Users/{made['id']}", user("new@contoso.com", external_id))
        assert (await status_of(put))[0] in (400, 409)
        await refused(app.call("PATCH", f"accounts/{bob['id']}", {"document": {"externalId": external_id}}), 409, "")
        job = await app.bring(csv_file({"userName": "eve@contoso.com", "externalId": external_id}))
        assert len(await app.problems(job)) == 1
        holders = [one for one in await _external_ids(app) if one and "0001" in one]
        assert holders == [object_id(1)]
        await check_invariants(app.tables, "main")

    @pytest.mark.parametrize("name", [name for name in WRITTEN if name not in HIDDEN])
    async def test_an_account_of_provisioning_is_its_however_the_id_was_sent(self, app: App, name: str) -> None:
        await app.bring(csv_file({"userName": "ada@contoso.com"}))
        made = await post(app, "new@contoso.com", WRITTEN[name](object_id(1)))
        ada = await app.account("ada@contoso.com")
        link = app.call("POST", f"accounts/{ada['id']}/link", {"identity": object_id(1)})
        await refused(link, 409, f"the account {made['id']} has this identity")
        assert await decisions(app, graph(1, "else@contoso.com")) == ["alreadyLinked"]


async def _external_ids(app: App) -> list[str | None]:
    listed = (await app.call("GET", "scim/v2/Users"))["Resources"]
    return [one.get("externalId") for one in listed]
