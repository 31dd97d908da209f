"""Transforms: what each makes of a value, what is refused, and which evidence a login name is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.accounts import DecisionKind
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import identity_keys
from shared.directory.matching.policy import Policy, Rule, read_asked
from shared.directory.matching.transforms import read_transforms, transformed
from tests.link_orchestrator.join import plan

MERGED = {"replaceDomain": {"from": "new.com", "to": "old.com"}}
DOMAINS = ["new.com", "old.com"]
BASE = [{"rule": "externalId", "trust": "strong"}, {"rule": "userName", "trust": "strong"}]


def policy(rule: str, *transforms: Any, trust: str = "weak", domains: Any = DOMAINS) -> Policy:
    entry = {"rule": rule, "trust": trust, "transforms": [*transforms]}
    return read_asked({"verifiedDomains": domains, "rules": [*BASE, entry]})


def person(number: int = 1, upn: str = "jane@new.com", **more: Any) -> Identity:
    return Identity(f"11111111-0000-4000-8000-00000000000{number}", upn, **more)


def account(name: str, number: int = 1, **more: Any) -> AccountFacts:
    return AccountFacts(f"a{number}", "v1", name, **more)


def kinds(people: list[Identity], accounts: list[AccountFacts], known: Policy) -> list[str]:
    return [decision.kind.value for decision in plan(people, accounts, known).values()]


@pytest.mark.parametrize(
    ("transforms", "before", "after"),
    [
        (["beforeAt"], "Jane.Doe@new.com", "Jane.Doe"),
        (["beforeAt"], "jane", "jane"),
        ([MERGED], "jane@NEW.com", "jane@old.com"),
        ([MERGED], "jane@eu.new.com", ""),
        ([MERGED], "jane", ""),
        ([{"addDomain": "Old.com"}], "jane", "jane@old.com"),
        ([{"addDomain": "old.com"}], "jane@new.com", ""),
        (["beforeAt", {"addDomain": "old.com"}], "jane@new.com", "jane@old.com"),
        ([{"addPrefix": "CORP\\"}], "jdoe", "CORP\\jdoe"),
        (["stripLeadingZeros"], "00712", "712"),
        (["stripLeadingZeros"], "000", ""),
        ([{"padZeros": 6}], "712", "000712"),
        ([{"padZeros": 2}], "712", "712"),
        ([{"padZeros": 6}], "a12", ""),
    ],
)
def test_a_transform_makes_what_it_says_and_nothing_where_it_does_not_apply(
    transforms: list[Any], before: str, after: str
) -> None:
    read = read_transforms("t", transforms)
    assert transformed(before, read) == after
    assert read_transforms("t", [one.to_json() for one in read]) == read


@pytest.mark.parametrize(
    ("rule", "transforms", "remedy"),
    [
        ("mailNickname", ["lower"], "rules.2.transforms.0: is no transform"),
        ("mailNickname", [{"addDomain": "@old.com"}], "rules.2.transforms.0.addDomain: must be a domain like"),
        ("mailNickname", [{"addDomain": 1}], "rules.2.transforms.0.addDomain: must be a domain like"),
        ("mailNickname", [{"replaceDomain": {"from": "a.com"}}], "is no transform"),
        ("mailNickname", [{"addPrefix": "a b"}], "without spaces and @"),
        ("mailNickname", [{"padZeros": 1}], "from 2 to 32"),
        ("mailNickname", [{"padZeros": True}], "from 2 to 32"),
        ("mailNickname", ["beforeAt"] * 6, "rules.2.transforms: must be a list of at most 5"),
        ("nameId", ["beforeAt"], "the rule nameId has none"),
        ("transformedName", [], "without any it would be the rule userName"),
        ("transformedMail", [], "without any it would be the rule mail"),
    ],
)
def test_what_is_wrong_is_refused_by_its_place(rule: str, transforms: list[Any], remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        policy(rule, *transforms)


def test_none_of_these_rules_is_there_unless_named() -> None:
    one = person(mail_nickname="jane", on_premises_sam_account_name="jane", mail="jane@new.com")
    assert {key.rule for key in identity_keys(one, Policy())} <= set(Policy().compared)
    assert not {Rule.MAIL_NICKNAME, Rule.SAM_ACCOUNT_NAME} & set(Policy().compared)


@pytest.mark.parametrize(
    ("rule", "transforms", "one", "name", "attribute"),
    [
        ("mailNickname", [], person(mail_nickname="Jane"), "jane", "mailNickname"),
        (
            "mailNickname",
            [{"addDomain": "old.com"}],
            person(mail_nickname="jane"),
            "jane@old.com",
            "mailNickname (with @old.com added)",
        ),
        (
            "onPremisesSamAccountName",
            [{"addPrefix": "CORP\\"}],
            person(on_premises_sam_account_name="jane"),
            "corp\\JANE",
            "onPremisesSamAccountName (with CORP\\ before it)",
        ),
        ("transformedName", ["beforeAt"], person(), "jane", "userPrincipalName (the part before @)"),
        ("transformedName", [MERGED], person(), "Jane@old.com", "userPrincipalName (@new.com replaced by @old.com)"),
    ],
)
@pytest.mark.parametrize(("trust", "kind"), [("weak", "review"), ("strong", "link")])
def test_a_login_name_is_trusted_as_the_policy_says_and_the_reason_names_what_was_made_of_it(
    rule: str, transforms: list[Any], one: Identity, name: str, attribute: str, trust: str, kind: str
) -> None:
    (decision,) = plan([one], [account(name)], policy(rule, *transforms, trust=trust)).values()
    assert decision.kind == kind
    assert attribute in decision.reason
    assert [(item.rule, item.trust, item.attribute) for item in decision.evidence] == [(rule, trust, attribute)]


def test_an_address_in_another_domain_is_found_by_its_transform() -> None:
    known = policy("transformedMail", MERGED)
    one = person(mail="jane@new.com")
    assert kinds([one], [account("x", emails=("jane@old.com",))], known) == ["review"]
    assert kinds([one], [account("x", emails=("jane@new.com",))], known) == ["noAccount"]


def test_a_number_is_found_with_and_without_its_zeros() -> None:
    known = policy("employeeNumber", "stripLeadingZeros")
    assert kinds([person(employee_id="0712")], [account("x", employee_number="712")], known) == ["review"]
    assert kinds([person(employee_id="0712")], [account("x", employee_number="0712")], known) == ["review"]
    assert kinds([person(employee_id="0000")], [account("x", employee_number="0")], known) == ["noAccount"]


@pytest.mark.parametrize("trust", ["weak", "strong"])
def test_two_identities_that_a_transform_makes_one_are_no_link(trust: str) -> None:
    known = policy("transformedName", "beforeAt", trust=trust)
    assert kinds([person(1, "jane@new.com"), person(2, "jane@old.com")], [account("jane")], known) == ["conflict"] * 2


@pytest.mark.parametrize("trust", ["weak", "strong"])
def test_two_accounts_to_which_a_transform_leads_are_ambiguous(trust: str) -> None:
    known = policy("transformedName", MERGED, trust=trust)
    assert kinds([person()], [account("jane@new.com"), account("jane@old.com", 2)], known) == ["ambiguous"]


@pytest.mark.parametrize("trust", ["weak", "strong"])
def test_what_more_than_three_come_to_proves_nothing(trust: str) -> None:
    known = policy("transformedName", "beforeAt", trust=trust, domains=[f"d{n}.com" for n in range(5)])
    people = [person(n, f"info@d{n}.com") for n in range(5)]
    assert kinds(people[:3], [account("info")], known) == ["conflict"] * 3
    assert kinds(people, [account("info")], known) == ["noAccount"] * 5


@pytest.mark.parametrize(
    ("one", "name"),
    [
        (person(upn="jane_x.example#EXT#@new.com"), "jane_x.example#EXT#"),
        (person(upn="jane@new.com", user_type="Guest"), "jane"),
        (person(upn="jane@elsewhere.example"), "jane"),
    ],
)
def test_neither_a_guest_nor_an_address_outside_the_verified_domains_is_compared(one: Identity, name: str) -> None:
    assert kinds([one], [account(name)], policy("transformedName", "beforeAt", trust="strong")) == ["noAccount"]


def test_what_a_transform_makes_lies_in_a_verified_domain_or_proves_nothing() -> None:
    known = policy("transformedName", MERGED, trust="strong", domains=["new.com"])
    assert kinds([person()], [account("jane@old.com")], known) == ["outsideVerifiedDomains"]


@pytest.mark.parametrize("names", [("Jane Miller",), ()])
def test_a_strong_login_name_links_where_the_names_agree_only(names: tuple[str, ...]) -> None:
    known = policy("mailNickname", trust="strong")
    one = person(mail_nickname="jane", display_name="Jane Miller")
    assert kinds([one], [account("jane", names=names)], known) == ["link"]
    assert kinds([one], [account("jane", names=("Bob Stone",))], known) == ["review"]


def test_letters_that_only_look_alike_are_weak_after_a_transform_too() -> None:
    known = policy("transformedName", "beforeAt", trust="strong")
    assert kinds([person()], [account("\uff4aane")], known) == [DecisionKind.REVIEW]


@given(
    st.lists(
        st.sampled_from(["beforeAt", "stripLeadingZeros", MERGED, {"addDomain": "old.com"}, {"padZeros": 4}]),
        max_size=5,
    ),
    st.text(),
)
def test_whatever_is_transformed_is_a_text_and_the_same_each_time(transforms: list[Any], text: str) -> None:
    read = read_transforms("t", transforms)
    assert transformed(text, read) == transformed(text, read)
    assert read or transformed(text, read) == text
