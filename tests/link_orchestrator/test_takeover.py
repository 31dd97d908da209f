"""Nobody comes to another's account: attempts by a run, a review and provisioning together, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.local.entra import Cycle
from link_orchestrator.files.identities import read_identities
from shared.directory.directory import Directories
from shared.directory.matching.identity import Identity
from tests.link_orchestrator.running import POLICY, TOKEN, App, Refusal, csv_file, graph, object_id

PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
VICTIM, ATTACKER = object_id(1), object_id(66)


async def patch(app: App, account: str, **values: Any) -> Any:
    operations = [{"op": "replace", "path": path, "value": value} for path, value in values.items()]
    return await app.call("PATCH", f"scim/v2/Users/{account}", {"schemas": [PATCH], "Operations": operations})


async def provision(app: App, *people: dict[str, Any]) -> list[str]:
    """Return what a provisioning cycle does about people."""
    found = read_identities(json.dumps({"value": list(people)}).encode())
    report = await Cycle(app.host.url, TOKEN, concurrency=1).run([one for one in found if isinstance(one, Identity)])
    return [outcome.result for outcome in report.outcomes]


async def refused(call: Any) -> int:
    with pytest.raises(Refusal) as refusal:
        await call
    return refusal.value.status


@pytest.mark.parametrize(
    ("account", "attacker", "decision"),
    [
        ({"email": "jane@contoso.com"}, {"mail": "jane@contoso.com"}, "review"),
        ({"email": "jane@contoso.com"}, {"otherMails": ["jane@contoso.com"]}, "review"),
        ({"email": "jane@contoso.com"}, {"proxyAddresses": ["smtp:jane@contoso.com"]}, "review"),
        (
            {"email": "jane@home.example", "emailVerified": "yes"},
            {"mail": "jane@home.example"},
            "outsideVerifiedDomains",
        ),
        ({"email": "thief@contoso.com"}, {"mail": None}, "review"),
        ({"email": "thief@contoso.com", "emailVerified": "yes"}, {"mail": "other@contoso.com"}, "review"),
        ({"employeeNumber": "7"}, {"employeeId": "7"}, "review"),
    ],
    ids=["unverified", "other mail", "alias", "foreign domain", "name", "name of a verified one", "employee number"],
)
async def test_an_address_that_anybody_can_enter_opens_no_account(
    app: App, account: dict[str, str], attacker: dict[str, Any], decision: str
) -> None:
    await app.bring(csv_file({"userName": "jane.local", **account}))
    before = await app.account("jane.local")
    thief = graph(66, "thief@contoso.com") | {"mail": "thief@contoso.com"} | attacker
    run = await app.plan(thief)
    assert run["counts"] == {decision: 1, "noIdentity": 0}
    await app.apply(run, links=0)
    await provision(app, thief)
    assert await refused(patch(app, before["id"], externalId=ATTACKER)) == 403
    await app.call("GET", "scim/v2/Users", filter=f'emails.value eq "{account.get("email", "x@x.org")}"')
    assert await refused(patch(app, before["id"], externalId=ATTACKER, title="Owner")) == 403
    assert await app.account("jane.local") == before


@pytest.mark.parametrize(
    "change",
    [
        {"emails": [{"value": "thief@contoso.com", "type": "work"}]},
        {'emails[type eq "work"].value': "thief@contoso.com"},
        {"userName": "thief@contoso.com"},
        {"active": False},
    ],
)
async def test_a_link_is_no_way_to_change_how_a_person_is_reached(app: App, change: dict[str, Any]) -> None:
    await app.bring(csv_file({"userName": "jane@contoso.com", "email": "jane@contoso.com"}))
    await app.apply(await app.plan(graph(1, "jane@contoso.com")), links=1)
    before = await app.account("jane@contoso.com")
    assert await refused(patch(app, before["id"], **change)) == 403
    assert await app.account("jane@contoso.com") == before
    assert (await app.call("GET", "scim/v2/Users", filter=f'externalId eq "{VICTIM}"'))["totalResults"] == 1
    await patch(app, before["id"], **change)


async def test_the_same_holds_for_a_link_by_review(app: App) -> None:
    await app.bring(csv_file({"userName": "jane.local", "email": "jane@contoso.com"}))
    run = await app.plan(graph(1, "jane@contoso.com"))
    (row,) = await app.decisions(run, "review")
    await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    await app.apply(run, links=1)
    before = await app.account("jane.local")
    assert before["link"]["identity"] == VICTIM
    assert await refused(patch(app, before["id"], userName="thief@contoso.com")) == 403
    assert await app.account("jane.local") == before


async def test_a_protected_administrator_is_out_of_reach(app: App) -> None:
    await app.bring(csv_file({"userName": "root@contoso.com", "email": "root@contoso.com", "protected": "yes"}))
    before = await app.account("root@contoso.com")
    person = graph(1, "root@contoso.com")
    run = await app.plan(person)
    (row,) = await app.decisions(run)
    assert (row["decision"], row["predicted"]["outcome"]) == ("protected", "refused")
    asked = {"rows": [row["id"]], "action": "link"}
    answer = await app.call("POST", f"linking/runs/{run['id']}/review", asked)
    assert (answer["reviewed"], len(answer["refused"])) == (0, 1)
    await app.apply(run, links=0)
    assert await provision(app, person) == ["refused"]
    assert await refused(patch(app, before["id"], externalId=VICTIM)) == 403
    assert await refused(app.call("DELETE", f"scim/v2/Users/{before['id']}")) == 403
    twin = {"schemas": [USER], "userName": "ROOT@contoso.com", "externalId": VICTIM}
    assert await refused(app.call("POST", "scim/v2/Users", twin)) == 409
    assert await app.account("root@contoso.com") == before


@pytest.mark.parametrize("reviewed", [False, True])
async def test_an_account_that_was_made_again_under_the_name_is_not_the_one_that_was_planned(
    app: App, reviewed: bool
) -> None:
    columns = {"userName": "jane.local", "employeeNumber": "1"} if reviewed else {"userName": "jane@contoso.com"}
    await app.bring(csv_file(columns))
    run = await app.plan(graph(1, "jane@contoso.com", employeeId="1"))
    (row,) = [one for one in await app.decisions(run) if "identity" in one]
    if reviewed:
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    directory = await Directories(app.tables).open("main")
    old = await directory.accounts.get(row["account"]["id"])
    await directory.accounts.delete(old, by="the application")
    await app.bring(csv_file(columns))
    done = await app.apply(run, links=1)
    assert (done["counts"].get("linked", 0), done["counts"]["refused"]) == (0, 1)
    made_again = await app.account(columns["userName"])
    assert (made_again["link"], made_again["id"] != old.id) == (None, True)


async def test_a_name_that_was_given_to_somebody_else_opens_no_account(app: App) -> None:
    await app.bring(csv_file({"userName": "jane@contoso.com", "objectId": VICTIM}))
    before = await app.account("jane@contoso.com")
    successor = graph(66, "jane@contoso.com")
    run = await app.plan(successor)
    (row,) = await app.decisions(run)
    assert (row["decision"], row["predicted"]["outcome"]) == ("conflict", "refused")
    await app.apply(run, links=0)
    assert await provision(app, successor) == ["refused"]
    assert await app.account("jane@contoso.com") == before


@pytest.mark.parametrize("planned", [False, True])
async def test_whoever_signs_in_by_a_name_gets_no_second_account_by_it(app: App, planned: bool) -> None:
    """The application calls the account something else; the plan that links it is not approved yet."""
    await app.bring(csv_file({"userName": "jdoe", "nameId": "Jane@contoso.com"}, {"userName": "other"}))
    jane = graph(1, "jane@contoso.com", mail=None)
    run = await app.plan(jane) if planned else None
    user = {"schemas": [USER], "userName": "jane@contoso.com", "externalId": VICTIM}
    with pytest.raises(Refusal) as refusal:
        await app.call("POST", "scim/v2/Users", user)
    assert (refusal.value.status, refusal.value.detail.partition(":")[0]) == (409, "userName")
    run = run or await app.plan(jane)
    assert [row["predicted"]["outcome"] for row in await app.decisions(run, "link")] == ["matched"]
    await app.apply(run)
    assert await provision(app, jane) == ["matched"]


@pytest.mark.parametrize("by", ["review", "policy"])
async def test_whom_an_administrator_excluded_takes_no_account_over_by_a_create(app: App, by: str) -> None:
    await app.call("PUT", "directory/policy", POLICY | {"adoptOnCreate": True})
    await app.bring(csv_file({"userName": "jane@contoso.com"}))
    before = await app.account("jane@contoso.com")
    asked = {"policy": POLICY | {"excluded": [VICTIM]}} if by == "policy" else {}
    run = await app.plan(graph(1, "jane@contoso.com"), **asked)
    if by == "review":
        (row,) = await app.decisions(run, "link")
        await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "exclude"})
    await app.apply(run, links=0)
    user = {"schemas": [USER], "userName": "jane@contoso.com", "externalId": VICTIM}
    assert await refused(app.call("POST", "scim/v2/Users", user)) == 409
    assert await app.account("jane@contoso.com") == before
