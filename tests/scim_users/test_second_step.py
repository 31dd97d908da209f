"""What provisioning may not create, it may not create in two steps either: a plain create, then a PATCH or PUT."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scim_users import doubles
from shared.directory.records.accounts import Accounts
from shared.directory.records.model import ENTERPRISE, Account, Status
from tests.link_orchestrator.requests.test_runs import status_of
from tests.link_orchestrator.running import App, csv_file, graph, object_id, serving
from tests.scim_users.conftest import Answer, Server
from tests.scim_users.test_authority import IDENTITY, OTHER, VERIFIED, leave_open, linked, local, stored, work
from tests.scim_users.test_returns import KIM, claimed

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
NEW: dict[str, Any] = {"schemas": [CORE, ENTERPRISE], "userName": "new@contoso.com", "externalId": "new"}
SHARED: dict[str, dict[str, Any]] = {
    "emails": {"emails": work("ada@home.example")},
    "externalId": {"externalId": OTHER},
    "employeeNumber": {ENTERPRISE: {"employeeNumber": "1815"}},
    "userName": {"userName": "ada@home.example"},
}


async def create(server: Server, **more: Any) -> str:
    """Create an account of provisioning; return its id."""
    answer = await server.send("POST", "/Users", NEW | more)
    assert answer.status == 201
    return str(answer.body["id"])


async def write(server: Server, method: str, account_id: str, change: dict[str, Any]) -> Answer:
    patch = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "value": change}]}
    return await server.send(method, f"/Users/{account_id}", patch if method == "PATCH" else NEW | change)


both = pytest.mark.parametrize("method", ["PATCH", "PUT"])


@both
@pytest.mark.parametrize("decision", ["review", "ambiguous", "conflict", "excluded"])
async def test_whom_the_last_plan_left_to_a_person_gets_no_account_by_a_change(
    server: Server, method: str, decision: str
) -> None:
    directory, _ = await stored(server, local())
    run = await leave_open(directory, decision)
    new = await create(server)
    answer = await write(server, method, new, {"externalId": IDENTITY})
    assert (answer.status, run in answer.body["detail"]) == (409, True)
    assert (await directory.accounts.get(new)).external_id == "new"
    (refusal,), _ = await directory.refusals.page("", 10)
    assert (refusal.attempt.account, refusal.attempt.external_id, refusal.attempt.method) == (new, IDENTITY, method)


@both
@pytest.mark.parametrize("attribute", SHARED)
async def test_what_an_account_managed_here_has_is_added_to_no_other(
    server: Server, method: str, attribute: str
) -> None:
    held = {"emails": work("ada@home.example")} | (SHARED[attribute] if attribute != "userName" else {})
    directory, _ = await stored(server, local(userName="ada", **held))
    new = await create(server)
    before = await directory.accounts.get(new)
    answer = await write(server, method, new, SHARED[attribute])
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, attribute)
    assert await directory.accounts.get(new) == before


@both
@pytest.mark.parametrize("external_id", [KIM, f"{{{KIM}}}"], ids=["as it is", "braces"])
async def test_the_object_id_of_who_is_linked_goes_to_no_other_and_the_administrator_is_told(
    server: Server, method: str, external_id: str
) -> None:
    directory, _ = await claimed(server)
    new = await create(server)
    answer = await write(server, method, new, {"externalId": external_id})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "externalId")
    (refusal,), _ = await directory.refusals.page("", 10)
    assert (refusal.attempt.account, refusal.attempt.external_id, refusal.attempt.method) == (new, external_id, method)


@both
async def test_what_the_account_had_before_keeps_no_other_write_away(server: Server, method: str) -> None:
    new = await create(server, emails=work("ada@home.example"))
    await stored(server, local(userName="ada", emails=work("ada@home.example")))
    assert (await write(server, method, new, {"title": "Engineer", "emails": work("ada@home.example")})).status == 200


@both
async def test_an_administrator_may_allow_it(server: Server, method: str) -> None:
    policy = replace(VERIFIED, create_beside_matches=True)
    await stored(server, local(userName="ada", emails=work("ada@home.example")), policy)
    assert (await write(server, method, await create(server), SHARED["emails"])).status == 200


async def test_a_change_that_adds_no_such_value_reads_nothing_more(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def called(*_: object) -> None:
        raise AssertionError("it looked for others")

    new = await create(server)
    monkeypatch.setattr(doubles, "refuse_left_open", called)
    monkeypatch.setattr(doubles, "refuse_second_account", called)
    assert (await write(server, "PATCH", new, {"title": "Engineer", "active": False})).status == 200


async def share(server: Server, address: str, number: int, *, last: Account | None = None) -> None:
    """Store accounts of provisioning with an address, and one in the order of ids behind them."""
    directory = await server.main()
    ends = "3f"  # of the buckets, which the first digits of an id name
    names = [name for name in map("p{}".format, range(2 * number)) if directory.keys.new_id(name)[:2] != ends]
    for name in names[:number]:
        document = {"userName": name, "emails": work(address)}
        account = Account.new(directory.keys.new_id(name), document, Status.PROVISIONED, directory.accounts.now())
        await directory.accounts.create(account, by="test")
    if last:
        name = next(name for name in map("l{}".format, range(9_999)) if directory.keys.new_id(name)[:2] == ends)
        await stored(server, last.with_document(last.document() | {"userName": name}))


@both
async def test_who_is_managed_here_is_seen_behind_many_whom_provisioning_made(server: Server, method: str) -> None:
    address = {"emails": work("info@home.example")}
    await share(server, "info@home.example", doubles.FIRST_READ + doubles.READ_ON, last=local(**address))
    refused = {"userName": "second@contoso.com", "externalId": "second", **address}
    answers = [
        await server.send("POST", "/Users", {"schemas": [CORE], **refused}),
        await write(server, method, await create(server), address),
    ]
    assert {(answer.status, answer.body["detail"].partition(":")[0]) for answer in answers} == {(409, "emails")}


@both
async def test_beside_more_than_can_be_looked_through_nothing_is_made_or_changed(
    server: Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(doubles, "MOST_READ", 100)
    address = {"emails": work("info@home.example")}
    await share(server, "info@home.example", 98)
    for number, status in enumerate([201, 201, 201, 409]):
        user = {"schemas": [CORE], "userName": f"n{number}", **address}
        answer = await server.send("POST", "/Users", user)
        assert answer.status == status, number
    assert "createBesideMatches" in answer.body["detail"]
    assert (await write(server, method, await create(server), address)).status == 409


@both
async def test_of_an_address_that_an_import_gave_to_many_few_are_read(
    server: Server, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    for number in range(doubles.FIRST_READ + 8):
        await stored(server, local(userName=f"p{number}", emails=work("info@home.example")))
    new, read, find_many = await create(server), [0], Accounts.find_many

    async def counting(accounts: Accounts, ids: Sequence[str]) -> list[Account | None]:
        read.append(len(ids))
        return await find_many(accounts, ids)

    monkeypatch.setattr(Accounts, "find_many", counting)
    answer = await write(server, method, new, {"emails": work("info@home.example")})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "emails")
    assert 0 < sum(read) <= doubles.FIRST_READ + 2


async def test_a_link_that_an_earlier_version_wrote_in_another_form_keeps_a_create_away(server: Server) -> None:
    written = f"{{{IDENTITY.upper()}}}"
    ada = linked().with_external_id(written)
    assert ada.link is not None
    await stored(server, replace(ada, link=replace(ada.link, identity=written)))
    answer = await server.send("POST", "/Users", NEW | {"externalId": IDENTITY})
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "externalId")


@both
async def test_whoever_has_a_number_that_many_gave_up_today_is_seen(server: Server, method: str) -> None:
    """What led to them stays until the night: they are no more who carry it."""
    number = {ENTERPRISE: {"employeeNumber": "1815"}}
    directory = await server.main()
    await share(server, "info@home.example", 0, last=local(**number))
    for place in range(doubles.FIRST_READ + doubles.READ_ON):
        document = {"userName": f"given{place}", **number}
        one = Account.new(directory.keys.new_id(f"given{place}"), document, Status.LOCAL, directory.accounts.now())
        one = await directory.accounts.create(one, by="test")
        await directory.accounts.replace(one, one.with_document({"userName": f"given{place}"}), by="test")
    refused = {"userName": "second@contoso.com", "externalId": "second", **number}
    answers = [
        await server.send("POST", "/Users", {"schemas": [CORE, ENTERPRISE], **refused}),
        await write(server, method, await create(server), number),
    ]
    assert {(answer.status, answer.body["detail"].partition(":")[0]) for answer in answers} == {(409, "employeeNumber")}


# With a plan


@pytest.fixture
async def app(tmp_path: Path) -> AsyncIterator[App]:
    async with serving(tmp_path) as running:
        yield running


async def send_patch(app: App, account_id: str, **values: Any) -> Any:
    operations = [{"op": "replace", "value": values}]
    return await app.call("PATCH", f"scim/v2/Users/{account_id}", {"schemas": [PATCH_OP], "Operations": operations})


async def test_a_corrected_mapping_gives_provisioned_people_their_object_ids(app: App) -> None:
    """Entra sent mailNickname, and finds them by userName once it sends object ids."""
    user = {"schemas": [CORE], "userName": "eve@contoso.com", "externalId": "eve"}
    eve = await app.call("POST", "scim/v2/Users", user)
    run = await app.plan(graph(1, "eve@contoso.com"))
    (row,) = await app.decisions(run, "conflict")
    assert row["predicted"]["outcome"] == "matched"
    other = await app.call("POST", "scim/v2/Users", {"schemas": [CORE], "userName": "x", "externalId": "x"})
    assert (await status_of(send_patch(app, other["id"], externalId=object_id(1))))[0] == 409, "it is not about x"
    assert (await send_patch(app, eve["id"], externalId=object_id(1)))["externalId"] == object_id(1)


@pytest.mark.parametrize("keep", [True, False])
async def test_who_was_released_or_undone_gets_no_second_account(app: App, keep: bool) -> None:
    await app.bring(csv_file({"userName": "ada@contoso.com", "email": "ada@contoso.com", "emailVerified": "yes"}))
    run = await app.apply(await app.plan(graph(1, "ada@contoso.com")))
    ada = await app.account("ada@contoso.com")
    if keep:
        await app.call("POST", f"accounts/{ada['id']}/release")
    else:
        undo = await app.call("POST", f"linking/runs/{run['id']}/undo")
        await app.wait(f"linking/undos/{undo['id']}", "done")
    new = await app.call("POST", "scim/v2/Users", {"schemas": [CORE], "userName": "n2", "externalId": "n2"})
    for change in ({"externalId": object_id(1)}, {"emails": work("ada@contoso.com")}):
        status, detail = await status_of(send_patch(app, new["id"], **change))
        assert (status, new["id"] in detail) == (409, False), change
    refusals = (await app.call("GET", "linking/refusals"))["refusals"]
    assert {(one["account"]["id"], one["cause"]) for one in refusals} == {(new["id"], "mayBeAnother")}
    await app.call("POST", f"accounts/{ada['id']}/link", {"identity": object_id(1)})
    await send_patch(app, new["id"], title="Engineer")
    refusals = (await app.call("GET", "linking/refusals"))["refusals"]
    assert {one["cause"] for one in refusals} == {"changedSince"}, "they were settled"


async def test_the_prediction_says_so(app: App) -> None:
    user = {"schemas": [CORE], "userName": "eve@contoso.com", "externalId": "eve"}
    eve = await app.call("POST", "scim/v2/Users", user)
    await app.bring(csv_file({"userName": "eve.old", "objectId": object_id(1)}))
    run = await app.plan(graph(1, "eve@contoso.com"))
    (row,) = [one for one in await app.decisions(run) if one.get("identity")]
    assert row["predicted"]["outcome"] == "refused"
    assert (await status_of(send_patch(app, eve["id"], externalId=object_id(1))))[0] == 409
