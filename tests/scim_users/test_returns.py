"""Deleted over SCIM and created again: the same identity gets the account that was kept, nobody else does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared.directory.directory import Directory
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account, Link, Status
from tests.scim_users.conftest import Answer, Server

NOW = "2026-11-29T12:00:00.000Z"
KIM, OTHER = "8b3f1c9e-0001-4000-8000-00000000000a", "8b3f1c9e-0002-4000-8000-00000000000b"
CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
NAME = "kim@contoso.com"


def work(address: str) -> list[dict[str, Any]]:
    return [{"type": "work", "value": address, "primary": True}]


CREATE = {"schemas": [CORE], "userName": NAME, "externalId": KIM, "active": True, "emails": work(NAME)}


async def claimed(server: Server, identity: str = KIM, policy: Policy | None = None) -> tuple[Directory, str]:
    """Put a linked and confirmed account into the directory; return that and the account's id."""
    directory = await server.main()
    await directory.policies.set(policy or Policy(verified_domains=frozenset({"contoso.com"})))
    document = {"schemas": [CORE], "userName": NAME, "emails": work(NAME), "title": "Analyst", "active": True}
    new = Account.new(directory.keys.new_id(NAME), document, Status.LOCAL, NOW)
    account = await directory.accounts.create(new, by="import")
    link = Link(identity, "userName", NOW, "run", NOW)
    after = account.with_external_id(identity, status=Status.CLAIMED, link=link)
    await directory.accounts.replace(account, after, by="run")
    return directory, account.id


async def deleted(server: Server, identity: str = KIM, policy: Policy | None = None) -> tuple[Directory, str]:
    directory, account_id = await claimed(server, identity, policy)
    assert (await server.send("DELETE", f"/Users/{account_id}")).status == 204
    return directory, account_id


async def come_back(server: Server, **more: Any) -> Answer:
    return await server.send("POST", "/Users", CREATE | more)


async def total(server: Server) -> int:
    """Return how many accounts SCIM shows."""
    shown: int = (await server.send("GET", "/Users?count=0")).body["totalResults"]
    return shown


async def test_the_same_object_id_gets_the_kept_account_back(server: Server) -> None:
    directory, account_id = await deleted(server)
    answer = await come_back(server, externalId=KIM.upper(), displayName="Kim")
    assert (answer.status, answer.body["id"], answer.headers["Location"]) == (
        201, account_id, answer.body["meta"]["location"],
    )  # fmt: skip
    assert (answer.body["active"], answer.body["displayName"], answer.body["title"]) == (True, "Kim", "Analyst")
    assert answer.body["externalId"] == KIM.upper()
    account = await directory.accounts.get(account_id)
    assert (account.status, account.retired, account.retired_as) == (Status.CLAIMED, False, None)
    assert account.link is not None
    assert (account.link.identity, account.link.rule, account.link.confirmed) == (KIM, "return", account.link.at)
    assert [change.action for change in await directory.accounts.history(account_id)][-2:] == ["retire", "return"]
    found = await server.send("GET", f'/Users?filter=externalId eq "{KIM.upper()}"')
    assert found.body["totalResults"] == 1


@pytest.mark.parametrize(
    ("sent", "active"),
    [({"active": False}, False), ({"active": "True"}, True), ({}, True)],
    ids=["no", "text", "unsaid"],
)
async def test_it_is_active_as_sent(server: Server, sent: dict[str, Any], active: bool) -> None:
    await deleted(server)
    body = {name: value for name, value in CREATE.items() if name != "active"} | sent
    answer = await server.send("POST", "/Users", body)
    assert (answer.status, answer.body["active"]) == (201, active)


@pytest.mark.parametrize("former", ["kim", "S-1-5-21\u00e4"])
async def test_a_former_link_by_another_id_counts_in_the_same_letters(server: Server, former: str) -> None:
    _, account_id = await deleted(server, former)
    assert (await come_back(server, externalId=former + "x")).status == 409
    answer = await come_back(server, externalId=former)
    assert (answer.status, answer.body["id"]) == (201, account_id)


@pytest.mark.parametrize("policy", [Policy(create_beside_matches=True), Policy(adopt_on_create=True)])
@pytest.mark.parametrize("sent", [{"userName": "kim.new@contoso.com", "emails": []}, {}], ids=["renamed", "as before"])
async def test_it_comes_back_whatever_it_is_called_by_now(server: Server, policy: Policy, sent: dict[str, Any]) -> None:
    _, account_id = await deleted(server, policy=policy)
    answer = await come_back(server, **sent)
    assert (answer.status, answer.body["id"]) == (201, account_id)
    assert answer.body["userName"] == (CREATE | sent)["userName"]


async def test_again_and_again(server: Server) -> None:
    _, account_id = await claimed(server)
    for _ in range(3):
        assert (await server.send("DELETE", f"/Users/{account_id}")).status == 204
        assert (await server.send("DELETE", f"/Users/{account_id}")).status == 404
        assert (await server.send("GET", f'/Users?filter=userName eq "{NAME}"')).body["totalResults"] == 0
        assert (await come_back(server)).body["id"] == account_id
        assert (await come_back(server)).status == 409
    assert await total(server) == 1


async def test_of_two_creates_at_once_one_gets_it_and_there_is_one_account(server: Server) -> None:
    directory, account_id = await deleted(server)

    async def settled() -> int:
        while (answer := await come_back(server)).status == 503:  # the others were faster: send it again
            assert "Retry-After" in answer.headers
        return answer.status

    assert sorted(await asyncio.gather(*(settled() for _ in range(6)))) == [201, 409, 409, 409, 409, 409]
    assert await total(server) == 1
    assert (await directory.accounts.get(account_id)).status is Status.CLAIMED


async def test_a_name_that_another_account_has_by_now_is_refused(server: Server) -> None:
    directory, account_id = await deleted(server)
    body = {"schemas": [CORE], "userName": "kim.new@contoso.com", "externalId": OTHER}
    assert (await server.send("POST", "/Users", body)).status == 201
    answer = await come_back(server, userName="kim.new@contoso.com")
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "userName")
    assert (await directory.accounts.get_any(account_id)).retired


@pytest.mark.parametrize(
    "sent",
    [{"externalId": OTHER}, {"externalId": OTHER, "userName": "kim.new@contoso.com"}, {"externalId": None}],
    ids=["by name", "by address", "without one"],
)
@pytest.mark.parametrize("policy", [None, Policy(verified_domains=frozenset({"contoso.com"}), adopt_on_create=True)])
async def test_another_object_id_is_refused_and_told_of_the_kept_account(
    server: Server, sent: dict[str, Any], policy: Policy | None
) -> None:
    directory, account_id = await deleted(server, policy=policy)
    before = await directory.accounts.get_any(account_id)
    answer = await come_back(server, **sent)
    assert (answer.status, answer.body["scimType"]) == (409, "uniqueness")
    assert account_id in answer.body["detail"]
    assert "POST /accounts/{id}/link" in answer.body["detail"]
    assert await directory.accounts.get_any(account_id) == before


@pytest.mark.parametrize("sent", [f"{{{KIM}}}", f"{{{KIM.upper()}}}", f" {KIM} "], ids=["braces", "capitals", "spaces"])
@pytest.mark.parametrize("policy", [None, Policy(create_beside_matches=True)])
async def test_its_object_id_in_another_form_makes_no_second_account(
    server: Server, writes: list[str], sent: str, policy: Policy | None
) -> None:
    directory, account_id = await deleted(server, policy=policy)
    before = await directory.accounts.get_any(account_id)
    answer = await come_back(server, externalId=sent, userName="kim.new@contoso.com", emails=[])
    assert answer.status == 409
    assert "no object id as Entra writes it" in answer.body["detail"]
    assert await directory.accounts.get_any(account_id) == before
    assert (await come_back(server)).body["id"] == account_id
    writes.clear()
    answer = await come_back(server, externalId=sent, userName="kim.new@contoso.com", emails=[])
    assert (answer.status, answer.body["detail"].partition(":")[0]) == (409, "externalId")
    assert writes == [], "Entra sends it again in every cycle"
    assert await total(server) == 1


async def test_whom_a_plan_left_open_is_not_created_by_their_object_id_in_another_form(server: Server) -> None:
    directory = await server.main()
    await leave_open(directory, "")
    assert (await come_back(server, externalId=f"{{{KIM}}}")).status == 409


async def leave_open(directory: Directory, account_id: str) -> None:
    jobs = directory.jobs
    run = await jobs.start("run", "admin", jobs.new_id("run"), {})
    await jobs.note_planned([run.id])
    await directory.plan(run.id).leave_open({KIM: "excluded"})


async def protect(directory: Directory, account_id: str) -> None:
    kept = await directory.accounts.get_any(account_id)
    await directory.accounts.replace(kept, replace(kept, protected=True), by="administrator")


async def part(directory: Directory, account_id: str) -> None:
    kept = await directory.accounts.get_any(account_id)
    await directory.accounts.replace(kept, replace(kept, parted=(KIM,)), by="administrator")


async def edit(directory: Directory, account_id: str) -> None:
    kept = await directory.accounts.get_any(account_id)
    document = kept.document() | {"userName": "kim.here@contoso.com", "emails": work("kim.here@contoso.com")}
    await directory.accounts.replace(kept, kept.with_document(document), by="application")


@pytest.mark.parametrize("happened", [leave_open, protect, part, edit])
async def test_what_happened_meanwhile_keeps_it_here(server: Server, happened: Any) -> None:
    directory, account_id = await deleted(server)
    await happened(directory, account_id)
    before = await directory.accounts.get_any(account_id)
    answer = await come_back(server)
    assert answer.status == 409
    after = await directory.accounts.get_any(account_id)
    assert (after, after.etag) == (before, before.etag)
    assert await total(server) == 0


async def test_whom_the_policy_excludes_does_not_come_back(server: Server) -> None:
    _, account_id = await deleted(server, policy=Policy(excluded=frozenset({NAME})))
    answer = await come_back(server)
    assert (answer.status, account_id in answer.body["detail"]) == (409, True)


async def test_an_edit_that_was_taken_back_is_none(server: Server) -> None:
    directory, account_id = await deleted(server)
    kept = await directory.accounts.get_any(account_id)
    edited = await directory.accounts.replace(kept, kept.with_document(kept.document() | {"title": "Dr"}), by="x")
    assert (await come_back(server)).status == 409
    await directory.accounts.replace(edited, kept.with_document(kept.document()), by="x")
    assert (await come_back(server)).body["id"] == account_id
