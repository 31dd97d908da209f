"""Whom a create gives an account: every single thing that is in the way, and what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from scim_users.authority import retire
from shared.directory.matching.adoption import (
    Sent,
    Surroundings,
    obstacle_to_adoption,
    obstacle_to_return,
    proving_rule_of,
)
from shared.directory.matching.evidence import facts_of
from shared.directory.matching.policy import DEFAULT_RULES, MatchRule, Policy, Rule, Trust
from shared.directory.records.model import ENTERPRISE, NO_EVIDENCE, Account, Link, SignInEvidence, Status

NOW = "2026-11-29T12:00:00.000Z"
ADA = "8b3f1c9e-0001-4000-8000-00000000000a"
BOB = "8b3f1c9e-0002-4000-8000-00000000000b"
POLICY = Policy(verified_domains=frozenset({"contoso.com"}), adopt_on_create=True)
PLANNED = Surroundings(planned=True)


def account(evidence: SignInEvidence = NO_EVIDENCE, **more: Any) -> Account:
    document = {"schemas": [], "userName": "kim@contoso.com", **more}
    return replace(Account.new("1a", document, Status.LOCAL, NOW), evidence=evidence)


def create(**more: Any) -> dict[str, Any]:
    return {"userName": "kim@contoso.com", "externalId": ADA, **more}


def obstacle(sent: dict[str, Any], to: Account, around: Surroundings = PLANNED, policy: Policy = POLICY) -> str:
    return obstacle_to_adoption(Sent.of(sent), facts_of(to), around, policy)


def address(value: str, **more: Any) -> dict[str, Any]:
    return {"value": value, **more}


PRIMARY = address("kim@contoso.com", type="work", primary=True)
VERIFIED = account(SignInEvidence(verified_emails=("kim@contoso.com",)), userName="kim.local")
OTHERWISE = {"userName": "kim.new@contoso.com"}
NUMBERED = account(**{ENTERPRISE: {"employeeNumber": "0077"}})


@pytest.mark.parametrize(
    ("sent", "to", "policy"),
    [
        (create(), account(), POLICY),
        (create(userName="KIM@CONTOSO.COM", externalId=ADA.upper()), account(), POLICY),
        (create(**OTHERWISE, emails=[address("Kim@contoso.com", type="work")]), VERIFIED, POLICY),
        (
            create(**OTHERWISE, emails=[address("a@b.c", type="work"), PRIMARY]),
            VERIFIED,
            POLICY,
        ),
        (create(), account(SignInEvidence(object_id=ADA)), POLICY),
        (create(), account(externalId=BOB), replace(POLICY, foreign_object_ids=True)),
        (create(), account(externalId="kim"), POLICY),
        (create(**{ENTERPRISE: {"employeeNumber": "77"}}), NUMBERED, POLICY),
        (create(**{ENTERPRISE: {"employeeNumber": "N/A"}}), NUMBERED, POLICY),
        (create(), NUMBERED, POLICY),
    ],
    ids=[
        "userName", "in another case", "the only work address", "the primary work address", "its own sign-in",
        "ids of the application's own", "no object id", "the same number", "a filler", "a number alone",
    ],
)  # fmt: skip
def test_what_the_create_carries_itself_adopts(sent: dict[str, Any], to: Account, policy: Policy) -> None:
    assert obstacle(sent, to, policy=policy) == ""


def weakened(rule: Rule) -> Policy:
    rules = [MatchRule(one.rule, Trust.WEAK if one.rule is rule else one.trust) for one in DEFAULT_RULES]
    return replace(POLICY, rules=tuple(rules))


UNPROVED: dict[str, tuple[dict[str, Any], Account, Policy]] = {
    "another name": (create(**OTHERWISE), account(), POLICY),
    "a Kelvin sign": (create(userName="\u212aim@contoso.com"), account(), POLICY),
    "a Kelvin sign here": (create(), account(userName="\u212aim@contoso.com"), POLICY),
    "a Kelvin sign among umlauts": (
        create(userName="\u212aäte@contoso.com"), account(userName="käte@contoso.com"), POLICY
    ),
    "full width": (create(userName="\uff4bim@contoso.com"), account(), POLICY),
    "full width here": (create(), account(userName="\uff4bim@contoso.com"), POLICY),
    "a sharp s": (create(userName="weiß@contoso.com"), account(userName="weiss@contoso.com"), POLICY),
    "a sharp s here": (create(userName="weiss@contoso.com"), account(userName="weiß@contoso.com"), POLICY),
    "a blank": (create(userName="kim@contoso.com "), account(), POLICY),
    "a foreign domain": (create(userName="kim@home.example"), account(userName="kim@home.example"), POLICY),
    "a domain in full width": (
        create(userName="kim@\uff43ontoso.com"), account(userName="kim@\uff43ontoso.com"), POLICY
    ),
    "no domain": (create(userName="contoso.com"), account(userName="contoso.com"), POLICY),
    "no verified domain": (create(), account(), replace(POLICY, verified_domains=frozenset())),
    "a weak userName": (create(), account(), weakened(Rule.USER_NAME)),
    "no rule for userName": (create(), account(), replace(POLICY, rules=DEFAULT_RULES[:3])),
    "a weak address": (
        create(**OTHERWISE, emails=[address("kim@contoso.com", type="work")]), VERIFIED, weakened(Rule.VERIFIED_EMAIL)
    ),
    "an unverified address": (
        create(**OTHERWISE, emails=[address("kim@contoso.com", type="work")]),
        account(userName="kim.local", emails=[address("kim@contoso.com", type="work")]),
        POLICY,
    ),
    "a private address": (create(**OTHERWISE, emails=[address("kim@contoso.com", type="home")]), VERIFIED, POLICY),
    "an address without a type": (create(**OTHERWISE, emails=[address("kim@contoso.com")]), VERIFIED, POLICY),
    "two work addresses": (
        create(**OTHERWISE, emails=[address("kim@contoso.com", type="work"), address("a@b.c", type="work")]),
        VERIFIED,
        POLICY,
    ),
    "a work address that is not the primary one": (
        create(**OTHERWISE, emails=[address("kim@contoso.com", type="work"), PRIMARY | {"value": "a@b.c"}]),
        VERIFIED,
        POLICY,
    ),
    "the employee number alone": (
        create(**OTHERWISE, **{ENTERPRISE: {"employeeNumber": "77"}}), NUMBERED, POLICY
    ),
    "a past sign-in alone": (create(**OTHERWISE), account(SignInEvidence(object_id=ADA)), POLICY),
}  # fmt: skip


@pytest.mark.parametrize("name", UNPROVED)
def test_what_proves_nothing_adopts_nothing(name: str) -> None:
    sent, to, policy = UNPROVED[name]
    assert proving_rule_of(Sent.of(sent), facts_of(to), policy) is None
    assert "in the same letters and in a verified domain" in obstacle(sent, to, policy=policy)


NAMED_BY_OBJECT_ID = replace(POLICY, name_id_source="objectId")
HINDERED: dict[str, tuple[dict[str, Any], Account, Surroundings, Policy]] = {
    "is protected": (create(), replace(account(), protected=True), PLANNED, POLICY),
    "is deactivated": (create(), account(active=False), PLANNED, POLICY),
    "is not managed here": (create(), replace(account(), retired=True), PLANNED, POLICY),
    "managed here": (create(), replace(account(), status=Status.PROVISIONED), PLANNED, POLICY),
    "not managed": (
        create(), replace(account(), status=Status.CLAIMED, link=Link(BOB, "userName", NOW, "run")), PLANNED, POLICY
    ),
    "signed in to by another": (create(), account(SignInEvidence(object_id=BOB)), PLANNED, POLICY),
    "signed in to by another identity": (create(), account(SignInEvidence(name_id=BOB)), PLANNED, NAMED_BY_OBJECT_ID),
    "NameID": (create(), account(SignInEvidence(name_id="bob@contoso.com")), PLANNED, POLICY),
    "object id of another|externalId is": (create(), account(externalId=BOB), PLANNED, POLICY),
    "employeeNumber": (create(**{ENTERPRISE: {"employeeNumber": "78"}}), NUMBERED, PLANNED, POLICY),
    "took this pair apart": (create(), replace(account(), parted=(ADA.upper(),)), PLANNED, POLICY),
    "no object id": (create(externalId="kim"), account(), PLANNED, POLICY),
    "is no object id": (create(externalId=f"{{{ADA}}}"), account(), PLANNED, POLICY),
    "externalId is no object id": ({"userName": "kim@contoso.com"}, account(), PLANNED, POLICY),
    "excludes": (create(), account(), PLANNED, replace(POLICY, excluded=frozenset({ADA.upper()}))),
    "policy excludes": (create(), account(), PLANNED, replace(POLICY, excluded=frozenset({"Kim@contoso.com"}))),
    "left this identity": (create(), account(), replace(PLANNED, left_open={ADA: "review"}), POLICY),
    r"administrator \(excluded\)": (create(), account(), replace(PLANNED, left_open={ADA: "excluded"}), POLICY),
    "in the last 30 days": (create(), account(), Surroundings(planned=False), POLICY),
    "1 more account": (create(), account(), replace(PLANNED, others=("2b",)), POLICY),
    "since the last plan": (create(), account(), replace(PLANNED, as_planned=False), POLICY),
    "another identity matched": (create(), account(), replace(PLANNED, near={ADA: "strong", BOB: "weak"}), POLICY),
    "meets the account": (create(), account(), replace(PLANNED, near={BOB: ""}, left_open={BOB: "excluded"}), POLICY),
    "to an administrator meets": (
        create(), account(), replace(PLANNED, near={BOB: ""}), replace(POLICY, excluded=frozenset({BOB}))
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", HINDERED)
def test_whatever_is_in_the_way_keeps_the_pair_apart(why: str) -> None:
    sent, to, around, policy = HINDERED[why]
    said = obstacle(sent, to, around, policy)
    assert any(part in said for part in why.replace("\\", "").split("|")), said
    assert (said[0].isupper(), said[-1] == ".") == (False, False), "it is part of a sentence"


def test_the_identity_itself_and_those_who_have_no_claim_are_not_in_the_way() -> None:
    around = replace(PLANNED, near={ADA.upper(): "strong", BOB: ""})
    assert obstacle(create(), account(), around) == ""


def kept(**more: Any) -> Account:
    """An account as a DELETE over SCIM leaves it."""
    link = Link(ADA, "userName", NOW, "run", NOW)
    return retire(replace(account(externalId=ADA, **more), status=Status.CLAIMED, link=link))


def test_a_kept_account_goes_back_to_its_identity() -> None:
    assert obstacle_to_return(Sent.of(create(externalId=ADA.upper())), kept(), "", POLICY) == ""


def edited() -> Account:
    before = kept()
    return before.with_document(before.document() | {"title": "Dr"})


EXCLUDED = replace(POLICY, excluded=frozenset({"kim@contoso.com"}))
KEPT: dict[str, tuple[Account, str, Policy, str]] = {
    "another identity": (kept(), "", POLICY, BOB),
    "without an identity": (kept(), "", POLICY, ""),
    "not deleted": (replace(kept(), retired=False), "", POLICY, ADA),
    "protected": (replace(kept(), protected=True), "", POLICY, ADA),
    "edited": (edited(), "", POLICY, ADA),
    "another sign-in known": (replace(kept(), evidence=SignInEvidence("x", ADA)), "", POLICY, ADA),
    "deleted by an earlier version": (replace(kept(), retired_as=None), "", POLICY, ADA),
    "excluded": (kept(), "", EXCLUDED, ADA),
    "left open": (kept(), "conflict", POLICY, ADA),
    "taken apart": (replace(kept(), parted=(ADA,)), "", POLICY, ADA),
}


def test_of_an_account_that_an_earlier_version_deleted_nobody_says_that_it_was_edited() -> None:
    said = obstacle_to_return(Sent.of(create(externalId=ADA)), replace(kept(), retired_as=None), "", POLICY)
    assert said.startswith("an earlier version of the app deleted it")


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_account_goes_back_to_nobody_else_and_only_as_it_was_left(name: str) -> None:
    held, left_open, policy, external_id = KEPT[name]
    assert obstacle_to_return(Sent.of(create(externalId=external_id)), held, left_open, policy)


def test_trusting_addresses_in_plans_lets_no_create_adopt_by_one() -> None:
    trusting = replace(POLICY, trust_emails="inVerifiedDomains")
    unverified = account(userName="kim.local", emails=[PRIMARY])
    sent = create(**OTHERWISE, emails=[PRIMARY])
    assert proving_rule_of(Sent.of(sent), facts_of(VERIFIED), trusting) is Rule.VERIFIED_EMAIL
    assert proving_rule_of(Sent.of(sent), facts_of(unverified), trusting) is None
    assert obstacle(sent, unverified, policy=trusting)
