"""One address in two spellings: a plan finds it and leaves it to a person, and nothing takes it for proof."""

from __future__ import annotations

from typing import Any

import pytest

from tests.link_orchestrator.running import App, csv_file, graph, object_id

POLICY = {"verifiedDomains": ["bücher.example"], "adoptOnCreate": True}
UNICODE, DNS = "jane@bücher.example", "jane@xn--bcher-kva.example"


@pytest.mark.parametrize(("here", "there"), [(UNICODE, DNS), (DNS, UNICODE), ("JANE@BÜCHER.example", DNS)])
@pytest.mark.parametrize(
    "account",
    [
        lambda address: {"userName": address},
        lambda address: {"userName": "jane", "email": address, "emailVerified": "yes"},
        lambda address: {"userName": "jane", "nameId": address},
    ],
)
async def test_a_domain_in_unicode_and_in_the_letters_of_the_dns_is_one_for_a_person_to_review(
    app: App, account: Any, here: str, there: str
) -> None:
    await app.bring(csv_file(account(here)))
    run = await app.plan(graph(1, there), policy=POLICY)
    (row,) = await app.decisions(run)
    assert (row["decision"], row["identity"]["userPrincipalName"]) == ("review", there)
    assert {one["trust"] for one in row["evidence"]} == {"weak"}
    assert "with its domain in the other spelling" in row["reason"]


async def test_domains_that_only_fold_to_one_another_are_no_proof_either(app: App) -> None:
    """By the rules of 2003 the two were one domain, and they may be two owners'."""
    await app.bring(csv_file({"userName": "jane@strasse.example"}))
    known = {"verifiedDomains": ["strasse.example", "straße.example"]}
    (row,) = await app.decisions(await app.plan(graph(1, "jane@xn--strae-oqa.example"), policy=known))
    assert row["decision"] == "review"


async def test_no_create_adopts_an_account_by_another_spelling(app: App) -> None:
    await app.call("PUT", "directory/policy", POLICY)
    await app.bring(csv_file({"userName": UNICODE}))
    await app.plan(graph(2, "bob@contoso.com"))
    user = {"schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "userName": DNS, "externalId": object_id(1)}
    await app.call("POST", "scim/v2/Users", user)
    assert (await app.account(UNICODE))["link"] is None
