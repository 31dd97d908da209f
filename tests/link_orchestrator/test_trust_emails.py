"""trustEmails: a plain export links by addresses that nobody verified, in runs that a person approves."""

from __future__ import annotations

from typing import Any

import pytest

from tests.link_orchestrator.running import POLICY, App, Refusal, csv_file, graph
from tests.waiting import until

TRUST = POLICY | {"trustEmails": "inVerifiedDomains"}
JANE = {"userName": "jm", "email": "jane@contoso.com", "name": "Jane Miller", "active": "yes"}
ENTRA = graph(1, "jane.miller@contoso.com", mail="jane@contoso.com", displayName="Jane Miller")


async def row(app: App, account: dict[str, str], *identities: Any, policy: Any = TRUST) -> Any:
    """Return the plan's row of the first identity beside one account."""
    await app.bring(csv_file(account))
    run = await app.plan(*identities, policy=policy)
    rows = await app.decisions(run)
    return next(one for one in rows if one.get("identity", {}).get("objectId") == identities[0]["id"])


async def test_an_address_that_nobody_verified_links_and_the_row_says_by_which_rule(app: App) -> None:
    found = await row(app, JANE, ENTRA)
    assert found["decision"] == "link"
    assert found["reason"].startswith("The account matches by mail, email")
    assert ("mail", "strong", "mail") in [(one["rule"], one["trust"], one["attribute"]) for one in found["evidence"]]


@pytest.mark.parametrize(
    "policy",
    [
        POLICY,
        {"trustEmails": "inVerifiedDomains", "verifiedDomains": ["fabrikam.com"]},
        {"trustEmails": "inVerifiedDomains"},
    ],
)
async def test_without_it_or_outside_the_verified_domains_nothing_is_linked(app: App, policy: Any) -> None:
    assert (await row(app, JANE, ENTRA, policy=policy))["decision"] in ("review", "outsideVerifiedDomains")


@pytest.mark.parametrize("attribute", ["proxyAddresses", "otherMails"])
async def test_an_address_that_people_may_set_themselves_is_trusted_no_more_than_before(
    app: App, attribute: str
) -> None:
    values = ["smtp:jane@contoso.com" if attribute == "proxyAddresses" else "jane@contoso.com"]
    identity = ENTRA | {"mail": "other@contoso.com", attribute: values}
    assert (await row(app, JANE, identity))["decision"] == "review"


async def test_a_link_is_a_review_where_the_names_differ(app: App) -> None:
    found = await row(app, JANE, ENTRA | {"displayName": "Jack Miller"})
    assert (found["decision"], "the names of the two people differ" in found["reason"]) == ("review", True)


async def test_names_are_looked_at_by_a_sign_in_name_as_well(app: App) -> None:
    found = await row(app, JANE | {"userName": "jane.miller@contoso.com"}, ENTRA | {"displayName": "Jack Miller"})
    assert found["decision"] == "review"


async def test_a_verified_address_links_whatever_the_names(app: App) -> None:
    found = await row(app, JANE | {"emailVerified": "yes"}, ENTRA | {"displayName": "Jack Miller"})
    assert found["decision"] == "link"


async def test_a_link_is_a_review_where_the_account_is_deactivated(app: App) -> None:
    found = await row(app, JANE | {"active": "no"}, ENTRA)
    assert (found["decision"], "may be a leaver's" in found["reason"]) == ("review", True)


async def test_a_link_is_a_review_where_another_identity_has_the_address_too(app: App) -> None:
    other = graph(2, "bob@contoso.com", proxyAddresses=["smtp:jane@contoso.com"])
    assert (await row(app, JANE, ENTRA, other))["decision"] == "review"


async def test_two_who_have_the_address_as_their_own_are_a_conflict(app: App) -> None:
    other = graph(2, "bob@contoso.com", mail="jane@contoso.com")
    assert (await row(app, JANE, ENTRA, other))["decision"] == "conflict"


async def test_a_run_with_such_a_link_waits_for_a_person(app: App) -> None:
    await app.call("PUT", "directory/policy", TRUST | {"autoApprove": {"share": 1, "number": 10}})
    await app.bring(csv_file(JANE))
    run = await app.call("POST", "linking/runs", {"identities": await app.upload(ENTRA)})

    async def told() -> Any:
        job = await app.call("GET", f"linking/runs/{run['id']}")
        return job if "reason" in job or "ended" in job else None

    waiting = await until(told)
    assert waiting["phase"] == "planned"
    assert waiting["reason"] == (
        "It waits for a person: 1 link by what nobody verified or transforms made, which a person approves."
    )
    assert (await app.apply(waiting))["counts"]["linked"] == 1
    assert (await app.account("jm"))["link"]["rule"] == "mail"


async def test_a_run_whose_links_are_proved_otherwise_approves_itself(app: App) -> None:
    await app.call("PUT", "directory/policy", TRUST | {"autoApprove": {"share": 1, "number": 10}})
    # By the name that she keeps: a sign-in name that will change is a warning, which only a person acknowledges.
    await app.bring(csv_file(JANE | {"userName": ENTRA["userPrincipalName"], "emailVerified": "yes"}))
    run = await app.call("POST", "linking/runs", {"identities": await app.upload(ENTRA)})
    assert (await app.wait(f"linking/runs/{run['id']}", "done"))["counts"]["linked"] == 1


async def test_what_it_risks_is_said_where_it_is_set(app: App) -> None:
    answer = await app.call("PUT", "directory/policy", TRUST)
    (warning,) = answer["warnings"]
    assert (warning["code"], "registered an account" in warning["warning"]) == ("trustEmails", True)
    assert "warnings" not in await app.call("GET", "directory/policy")
    (warning,) = (await app.call("PUT", "directory/policy", {}))["warnings"]
    assert warning["code"] == "noVerifiedDomains"


STRONG, WEAK = ({"rule": "mail", "trust": trust} for trust in ("strong", "weak"))
EXTERNAL_ID = {"rule": "externalId", "trust": "strong"}
EMAIL = {"rule": "email", "trust": "weak"}


@pytest.mark.parametrize(
    ("policy", "remedy"),
    [
        ({"trustEmails": "all"}, "must be one of verified, inVerifiedDomains"),
        ({"rules": [EXTERNAL_ID, STRONG]}, 'strong only with "trustEmails": "inVerifiedDomains"'),
        (TRUST | {"rules": [EXTERNAL_ID, EMAIL, WEAK]}, "leave mail out"),
        (TRUST | {"rules": [EXTERNAL_ID]}, "needs the rule email"),
    ],
)
async def test_what_contradicts_itself_is_refused_with_the_remedy(app: App, policy: Any, remedy: str) -> None:
    with pytest.raises(Refusal, match=remedy) as refused:
        await app.call("PUT", "directory/policy", policy)
    assert refused.value.status == 400


async def test_the_rule_mail_compares_the_primary_address(app: App) -> None:
    found = await row(app, JANE, ENTRA, policy=MAIL_ALONE)
    assert found["decision"] == "review"
    assert [(one["rule"], one["trust"], one["attribute"]) for one in found["evidence"]] == [("mail", "weak", "mail")]


async def test_the_rule_mail_leaves_aliases_out(app: App) -> None:
    alias = ENTRA | {"mail": "other@contoso.com", "proxyAddresses": ["smtp:jane@contoso.com"]}
    assert (await row(app, JANE, alias, policy=MAIL_ALONE))["decision"] == "noAccount"


MAIL_ALONE = POLICY | {"rules": [EXTERNAL_ID, WEAK]}
