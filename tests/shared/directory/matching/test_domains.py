"""Verified domains: what an administrator may write, what is refused and how, and which addresses lie in one."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.domains import check_domains, domain_of, read_domains, to_ascii
from shared.directory.matching.policy import Policy, read_asked

BELOW = {"domain": "contoso.com", "subdomains": True}


def policy(*domains: Any) -> Policy:
    return read_asked({"verifiedDomains": [*domains]})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("@contoso.com", "write contoso.com"),
        ("jane@contoso.com", "write contoso.com"),
        ("https://www.contoso.com/login?x=1", "write contoso.com"),
        ("https://www.contoso", "write www.contoso"),
        ("www.contoso.com", 'write contoso.com. If people have addresses like name@www.contoso.com, write {"domain": '),
        ("WWW.contoso.com", "write contoso.com"),
        ("contoso.com:443", "write contoso.com"),
        ("contoso.com.", "write contoso.com"),
        (" contoso.com", "write contoso.com"),
        (".contoso.com", "write contoso.com"),
        ("*.contoso.com", '{"domain": "contoso.com", "subdomains": true}'),
        ("*@contoso.com", '{"domain": "contoso.com", "subdomains": true}'),
        ("*", '{"domain": "contoso.com", "subdomains": true}'),
        ("", "take it out"),
        ("  ", "take it out"),
        ("contoso.com, fabrikam.com", "an entry of its own"),
        ("contoso.com fabrikam.com", "an entry of its own"),
        ("contoso", "write it like contoso.com"),
        ("con_to so", "an entry of its own"),
        ("a..b", "write it like contoso.com"),
        ("xn--\u00fc.example", "write it like contoso.com"),
        ("gmail.com", "anybody gets an address"),
        ("onmicrosoft.com", "anybody gets an address"),
        ({"domain": "@contoso.com"}, "write contoso.com"),
    ],
)
def test_what_is_no_domain_is_refused_with_what_was_meant(written: Any, meant: str) -> None:
    with pytest.raises(ValueError, match=re.escape(meant)) as refused:
        read_asked({"verifiedDomains": ["fabrikam.com", written]})
    assert str(refused.value).startswith("verifiedDomains.1: ")


def test_a_mail_domain_may_begin_with_www_where_it_is_said_to_be_one() -> None:
    known = policy({"domain": "www.contoso.com"})
    assert known.verifies("jane@www.contoso.com")
    assert not known.verifies("jane@contoso.com")
    assert read_asked(known.to_json()) == known


def test_what_is_wrong_with_several_entries_is_said_at_once() -> None:
    sent = {"verifiedDomains": ["www.contoso.com"], "excluded": ["jane", {"type": "x"}], "setAside": ["*"]}
    with pytest.raises(ValueError) as refused:  # noqa: PT011  # what it says is looked at
        read_asked(sent)
    for entry in ("verifiedDomains.0: ", "excluded.0: ", "excluded.1.type: ", "setAside.0: "):
        assert entry in str(refused.value)


@pytest.mark.parametrize(
    "wrong", [1, None, {"domain": 1}, {"subdomains": True}, BELOW | {"more": 1}, BELOW | {"subdomains": 1}]
)
def test_what_is_no_entry_is_refused_with_an_example(wrong: Any) -> None:
    with pytest.raises(
        ValueError, match=re.escape("verifiedDomains: must be a list of domains, each a string or like {")
    ):
        read_domains([wrong])


@pytest.mark.parametrize("stored", ["@contoso.com", "*", "", "contoso.com."])
def test_what_an_earlier_version_stored_is_read_and_proves_nothing(stored: str) -> None:
    old = Policy.from_json({"verifiedDomains": [stored]})
    assert not old.verifies("jane@contoso.com")
    assert not old.verifies("jane")
    assert not old.verifies("jane@")


@pytest.mark.parametrize(
    ("address", "is_inside"),
    [
        ("jane@Contoso.COM", True),
        ("jane@eu.contoso.com", True),
        ("jane@a.b.contoso.com", True),
        ("jane@notcontoso.com", False),
        ("jane@com", False),
        ("jane@contoso.com.evil.example", False),
        ("jane@fabrikam.com", True),
        ("jane@eu.fabrikam.com", False),
        ("jane", False),
        ("contoso.com", False),
    ],
)
def test_subdomains_are_the_customers_where_the_entry_says_so(address: str, is_inside: bool) -> None:
    assert policy(BELOW, "fabrikam.com").verifies(address) is is_inside


@pytest.mark.parametrize("written", ["m\u00fcller.example", "M\u00dcLLER.example", "xn--mller-kva.example"])
@pytest.mark.parametrize("used", ["m\u00fcller.example", "Mu\u0308ller.example", "XN--mller-KVA.example"])
def test_punycode_and_unicode_are_one(written: str, used: str) -> None:
    assert policy(written).verifies(f"jane@{used}")
    assert policy(written).to_json()["verifiedDomains"] == ["xn--mller-kva.example"]


def test_two_domains_of_which_the_rules_of_2003_make_one_are_two() -> None:
    assert not policy("strasse.example").verifies("jane@stra\u00dfe.example")
    assert not policy("stra\u00dfe.example").verifies("jane@strasse.example")
    assert policy("stra\u00dfe.example").verifies("jane@stra\u00dfe.example")


def test_a_policy_with_subdomains_survives_json() -> None:
    known = policy(BELOW, "fabrikam.com", "m\u00fcller.example")
    assert Policy.from_json(known.to_json()) == known
    assert read_asked(known.to_json()) == known


@given(st.lists(st.one_of(st.text(), st.fixed_dictionaries({"domain": st.text()}))), st.text())
def test_whatever_is_sent_is_a_policy_or_refused_and_no_text_without_an_at_is_inside(domains: Any, text: str) -> None:
    try:
        known = read_asked({"verifiedDomains": domains})
    except ValueError:
        return
    assert Policy.from_json(known.to_json()) == known
    assert "@" in text or "\uff20" in text or "\ufe6b" in text or not known.verifies(text)


@given(st.text())
def test_an_accepted_domain_is_its_own_and_holds_its_addresses(domain: str) -> None:
    try:
        check_domains([domain])
    except ValueError:
        return
    assert to_ascii(domain) == to_ascii(to_ascii(domain) or "")
    assert domain_of(f"jane@{domain}") == to_ascii(domain)
