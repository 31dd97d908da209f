"""Predictions come true: what a plan says about each identity is what Entra's stand-in then gets, over HTTP."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.local.demo_data import generate, write
from infra.local.entra import Cycle
from infra.local.standins.provisioning import WORK_EMAIL, ExternalId, create_body
from link_orchestrator.files.identities import read_identities
from link_orchestrator.prediction.cycle import adds_nothing, probes
from link_orchestrator.prediction.mapping import DEFAULT
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import identity_keys
from shared.directory.matching.policy import NameIdSource, Policy
from tests.link_orchestrator.passes.test_plan import identities
from tests.link_orchestrator.populations import population
from tests.link_orchestrator.running import TOKEN, App, Refusal, csv_file, graph, object_id

MAPPINGS: dict[ExternalId, dict[str, Any]] = {
    "objectId": {
        "attributes": {
            "externalId": "objectId",
            "userName": "userPrincipalName",
            "emails": "mail",
            "employeeNumber": "employeeId",
        },
        "matching": ["externalId", "userName"],
    },
    "mailNickname": {
        "attributes": {
            "externalId": "mailNickname",
            "userName": "userPrincipalName",
            "emails": "mail",
            "employeeNumber": "employeeId",
        },
        "matching": ["userName"],
    },
}


async def provisioned(app: App, identities: Sequence[Identity], external_id: ExternalId) -> dict[str, str]:
    """Return what a cycle of Entra's stand-in does about each identity."""
    report = await Cycle(app.host.url, TOKEN, external_id=external_id, concurrency=1).run(identities)
    return {outcome.identity: f"{outcome.result} {outcome.detail or outcome.changed}" for outcome in report.outcomes}


@pytest.mark.parametrize("external_id", ["objectId", "mailNickname"])
async def test_every_prediction_on_the_demo_data_comes_true(app: App, tmp_path: Path, external_id: ExternalId) -> None:
    write(generate(1_000, 1_100), tmp_path)
    await app.call("PUT", "directory/policy", json.loads((tmp_path / "policy.json").read_text()))
    for user in (tmp_path / "provisioned.jsonl").read_text().splitlines():
        await app.call("POST", "scim/v2/Users", json.loads(user))
    await app.bring((tmp_path / "accounts.csv").read_bytes())
    file = (tmp_path / "identities.json").read_bytes()
    upload = await app.call("POST", "linking/identities", file)
    asked = {"identities": upload["id"], "mapping": MAPPINGS[external_id]}
    run = await app.call("POST", "linking/runs", asked)
    run = await app.wait(f"linking/runs/{run['id']}", "planned")
    rows = {row["identity"]["objectId"]: row for row in await app.decisions(run) if "identity" in row}
    await app.apply(run)
    identities = [one for one in read_identities(file) if isinstance(one, Identity)]
    got = await provisioned(app, identities, external_id)
    wrong = {
        object_id: (row["decision"], row["predicted"], got[object_id])
        for object_id, row in rows.items()
        if row["predicted"]["outcome"] != got[object_id].partition(" ")[0]
    }
    assert not wrong, "\n".join(map(str, wrong.values()))
    assert sum(run["predicted"].values()) == len(rows) == len(got)


UNFORESEEN = {(44, "mailNickname", object_id(2)), (58, "mailNickname", object_id(0))}
"""Whose rival has a strong match to the account that they meet, and a second match: one identity does not show that."""


@pytest.mark.parametrize("external_id", ["objectId", "mailNickname"])
@pytest.mark.parametrize("seed", range(70))
async def test_every_prediction_on_people_who_collide_comes_true(app: App, seed: int, external_id: ExternalId) -> None:
    made = population(seed)
    await app.call("PUT", "directory/policy", made.policy)
    await app.bring(csv_file(*made.rows))
    run = await app.plan(*made.people, mapping=MAPPINGS[external_id], pauseProvisioning=False)
    rows = [row for row in await app.decisions(run) if "identity" in row]
    await app.apply(run)
    file = json.dumps({"value": made.people}).encode()
    got = await provisioned(app, [one for one in read_identities(file) if isinstance(one, Identity)], external_id)
    for row in rows:
        outcome, foreseen = got[row["identity"]["objectId"]], (seed, external_id, row["identity"]["objectId"])
        same = outcome.partition(" ")[0] == row["predicted"]["outcome"]
        assert same is (foreseen not in UNFORESEEN), (row, outcome)


@pytest.mark.parametrize("seed", range(100, 190))
async def test_predictions_follow_the_reviews(app: App, seed: int) -> None:
    made, draw = population(seed), random.Random(seed)
    await app.call("PUT", "directory/policy", made.policy)
    await app.bring(csv_file(*made.rows))
    run = await app.plan(*made.people, pauseProvisioning=False)
    path = f"linking/runs/{run['id']}"
    for row in await app.decisions(run):
        action = "exclude" if row["decision"] in ("link", "ambiguous") else draw.choice(("link", "exclude"))
        if row["decision"] in ("link", "ambiguous", "review"):
            await app.call("POST", f"{path}/review", {"rows": [row["id"]], "action": action})
    rows = [row for row in await app.decisions(run) if "identity" in row]
    run = await app.call("GET", path)
    assert +Counter(run["predicted"]) == Counter(row["predicted"]["outcome"] for row in rows)
    await app.apply(run)
    file = json.dumps({"value": made.people}).encode()
    got = await provisioned(app, [one for one in read_identities(file) if isinstance(one, Identity)], "objectId")
    for row in rows:
        outcome = got[row["identity"]["objectId"]]
        assert outcome.partition(" ")[0] == row["predicted"]["outcome"], (row, outcome)


BY_MAIL = {"attributes": {"externalId": "objectId", "userName": "mail", "emails": "mail"}, "matching": ["externalId"]}
"""Names people by their mail and looks nobody up by it, so that a create collides with the account of that name."""


@pytest.mark.parametrize(
    ("emails", "excluded", "outcome"),
    [
        pytest.param(["ada@contoso.com"], [], "created", id="links"),
        pytest.param(["ada@contoso.com", "ada@home.example"], [], "created", id="takes no address away"),
        pytest.param(["ada@contoso.com"], ["ada@corp.example"], "refused", id="excluded by the name in Entra"),
    ],
)
async def test_a_prediction_knows_which_account_a_create_may_take_over(
    app: App, emails: list[str], excluded: list[str], outcome: str
) -> None:
    rules = [{"rule": rule, "trust": "strong"} for rule in ("externalId", "userName")]
    policy = {"rules": rules, "verifiedDomains": ["contoso.com"], "excluded": excluded, "adoptOnCreate": True}
    await app.call("PUT", "directory/policy", policy)
    await app.bring(csv_file({"userName": "ada@contoso.com"}))
    account = await app.account("ada@contoso.com")
    document = {"emails": [{"value": email, "type": "home" if place else "work"} for place, email in enumerate(emails)]}
    await app.call("PATCH", f"accounts/{account['id']}", {"document": document})
    ada = graph(1, "ada@corp.example", mail="ada@contoso.com")
    run = await app.plan(ada, mapping=BY_MAIL, pauseProvisioning=False)
    (row,) = [row for row in await app.decisions(run) if "identity" in row]
    await app.apply(run)
    attributes = {"externalId": ada["id"], "userName": ada["mail"], WORK_EMAIL: ada["mail"], "active": True}
    try:
        created = await app.call("POST", "scim/v2/Users", create_body(attributes, "default"))
    except Refusal:
        got = "refused"
    else:
        got = "created"
        assert created["id"] == account["id"]
    assert (row["predicted"]["outcome"], got) == (outcome, outcome)


async def test_an_account_that_an_excluded_person_matches_is_linked_to_another_in_the_prediction_too(app: App) -> None:
    await app.call("PUT", "directory/policy", {"verifiedDomains": ["contoso.com"], "excluded": [object_id(1)]})
    await app.bring(csv_file({"userName": "cyd@contoso.com", "email": "dan@contoso.com", "emailVerified": "yes"}))
    people = [graph(1, "dan@contoso.com", mailNickname="dan"), graph(2, "cyd@contoso.com", mailNickname="cyd")]
    run = await app.plan(*people, mapping=MAPPINGS["mailNickname"], pauseProvisioning=False)
    (row,) = await app.decisions(run, "excluded")
    await app.apply(run)
    dan = {"userName": "dan@contoso.com", "externalId": "dan", WORK_EMAIL: "dan@contoso.com", "active": True}
    await app.call("POST", "scim/v2/Users", create_body(dan, "default"))
    assert row["predicted"]["outcome"] == "created"


@given(one=identities(), source=st.sampled_from(get_args(NameIdSource)))
def test_where_match_keys_hold_all_probes_none_is_looked_up_again(one: Identity, source: NameIdSource) -> None:
    policy = Policy(name_id_source=source)
    assert adds_nothing(DEFAULT, policy)
    kinds = [(key.kind, key.value) for key in identity_keys(one, policy)]
    led = {*kinds, *(("userName", value) for kind, value in kinds if kind == "email")}
    if "#" not in one.user_principal_name:
        assert {(probe.kind, probe.value) for probe in probes(one, DEFAULT, policy)} <= led
