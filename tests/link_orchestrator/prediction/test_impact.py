"""What a plan says that the first cycle changes is what Entra's stand-in then changes, account by account."""

from __future__ import annotations

import json
import random
from typing import Any

from infra.local.entra import Cycle
from infra.local.standins.provisioning import WORK_EMAIL
from link_orchestrator.files.identities import read_identities
from link_orchestrator.prediction.impact import shown_name
from shared.directory.matching.identity import Identity
from tests.link_orchestrator.running import TOKEN, App, csv_file, graph, object_id

PEOPLE = 60


def company(seed: int) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """Return accounts and identities of a company in which people were renamed, moved, disabled and switched off."""
    draw = random.Random(seed)
    rows, people = [], []
    for n in range(PEOPLE):
        name, mail = f"p{n}@contoso.com", f"p{n}@contoso.com"
        person = graph(n, name, mail=mail, displayName=f"Pat {n}", givenName="Pat", surname=f"N{n}")
        row = {"userName": name, "email": mail, "emailVerified": "yes", "displayName": f"Pat {n}"}
        row |= {"givenName": "Pat", "familyName": f"N{n}", "active": "yes"}
        if draw.random() < 0.3:
            row["userName"] = draw.choice((f"local{n}", name.upper()))
        if draw.random() < 0.2:
            row |= {"email": f"old{n}@contoso.com", "userName": name, "otherEmails": mail}
        if draw.random() < 0.2:
            row |= {"userName": f"local{n}", "email": mail, "emailVerified": "no"}
        if draw.random() < 0.2:
            row["active"] = "no"
        if draw.random() < 0.3:
            row["displayName"] = draw.choice(("", f"P. N{n}"))
        if draw.random() < 0.2:
            row["familyName"] = f"Née{n}"
        if draw.random() < 0.5:
            person |= {"department": draw.choice(("Sales", "Research")), "jobTitle": "Engineer"}
            row |= {"department": "Sales"}
        if draw.random() < 0.3:
            person["employeeId"] = str(1000 + n)
            row["employeeNumber"] = draw.choice(("", str(1000 + n)))
        if draw.random() < 0.1:
            person["accountEnabled"] = False
        if draw.random() < 0.1:
            del person["mail"]
            row["userName"] = name
        rows.append(row)
        people.append(person)
    return rows, people


def _name(path: str) -> str:
    """Return a path of the stand-in as plans name it."""
    return "emails" if path == WORK_EMAIL else shown_name(path)


async def test_what_is_predicted_to_change_is_what_the_cycle_changes(app: App) -> None:
    rows, people = company(7)
    await app.bring(csv_file(*rows))
    run = await app.plan(*people, pauseProvisioning=False)
    for row in await app.decisions(run, "review"):
        if row["identity"]["objectId"][7] in "02468":
            await app.call("POST", f"linking/runs/{run['id']}/review", {"rows": [row["id"]], "action": "link"})
    run = await app.call("GET", f"linking/runs/{run['id']}")
    planned = [
        row
        for row in await app.decisions(run)
        if row["decision"] == "link" or row.get("review", {}).get("action") == "link"
    ]
    await app.apply(run)
    file = json.dumps({"value": people}).encode()
    identities = [one for one in read_identities(file) if isinstance(one, Identity)]
    report = await Cycle(app.host.url, TOKEN, concurrency=1).run(identities)
    changed = {one.identity: set(map(_name, one.changed)) for one in report.outcomes}
    assert {row["identity"]["objectId"]: set(row.get("changes", ())) for row in planned} == {
        row["identity"]["objectId"]: changed[row["identity"]["objectId"]] for row in planned
    }
    assert any(row["decision"] == "review" and "userName" in row.get("changes", ()) for row in planned)
    linked = {row["identity"]["objectId"] for row in planned}
    for name in ("userName", "emails", "active", "displayName", "name.familyName", "department", "employeeNumber"):
        assert run["impact"][name] == sum(name in changed[one] for one in linked) > 0, name
    assert run["impact"]["accounts"] == sum(bool(changed[one]) for one in linked)
    for row in planned:
        if change := row.get("changes", {}).get("userName"):
            assert (await app.account(change["to"]))["id"] == row["account"]["id"]
            assert change["from"] == row["account"]["userName"]


async def test_the_rows_whose_sign_in_names_change_can_be_listed(app: App) -> None:
    verified = {"emailVerified": "yes"}
    await app.bring(
        csv_file({"userName": "ada", "email": "ada@contoso.com", **verified}, {"userName": "bob@contoso.com"})
    )
    run = await app.plan(graph(1, "ada@contoso.com"), graph(2, "bob@contoso.com", displayName="Bob"))
    path = f"linking/runs/{run['id']}/decisions"
    (row,) = (await app.call("GET", path, changes="userName"))["decisions"]
    assert row["changes"]["userName"] == {"from": "ada", "to": "ada@contoso.com"}
    (row,) = (await app.call("GET", path, changes="displayName"))["decisions"]
    assert (row["identity"]["objectId"], row["changes"]["displayName"]) == (object_id(2), {"to": "Bob"})
    assert len((await app.call("GET", path, changes="any"))["decisions"]) == 2
    assert (await app.call("GET", path, changes="title"))["decisions"] == []


async def test_nothing_changes_where_the_mapping_does_not_find_the_account(app: App) -> None:
    await app.bring(csv_file({"userName": "ada", "email": "ada@contoso.com", "emailVerified": "yes"}))
    mapping = {"attributes": {"externalId": "mailNickname", "userName": "userPrincipalName"}, "matching": ["userName"]}
    run = await app.plan(graph(1, "ada@contoso.com", mailNickname="ada.l"), mapping=mapping)
    assert (run["links"], run.get("impact")) == (1, None)
