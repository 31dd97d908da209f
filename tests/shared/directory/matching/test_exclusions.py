"""Exclusions by pattern, domain, group and type, and accounts that are set aside: what may be asked, whom it takes."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.directory.matching.accounts import DecisionKind, decide
from shared.directory.matching.exclusions import matches_pattern
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy, read_asked

GROUP = "99999999-0000-4000-8000-000000000001"


def excluded(*entries: Any) -> Policy:
    return read_asked({"excluded": [*entries]})


def person(upn: str = "jane@contoso.com", **more: Any) -> Identity:
    return Identity("11111111-0000-4000-8000-000000000001", upn, **more)


@pytest.mark.parametrize(
    ("entry", "one", "label"),
    [
        ({"pattern": "SVC-*"}, person("svc-backup@contoso.com"), "pattern:svc-*"),
        ({"pattern": "*.ext@*"}, person(mail="Jane.Ext@contoso.com"), "pattern:*.ext@*"),
        ({"domain": "Partner.example"}, person("jane@PARTNER.example"), "domain:partner.example"),
        ({"domain": "m\u00fcller.example"}, person(mail="jane@xn--mller-kva.example"), "domain:xn--mller-kva.example"),
        ({"type": "guest"}, person(user_type="Guest"), "type:guest"),
        ({"type": "guest"}, person("jane_x.example#EXT#@contoso.com"), "type:guest"),
        ({"type": "disabled"}, person(account_enabled=False), "type:disabled"),
        ({"type": "sharedMailbox"}, person(recipient_type="SharedMailbox"), "type:sharedMailbox"),
        ({"type": "serviceAccount"}, person("svc_scan@contoso.com"), "type:serviceAccount"),
        ({"type": "serviceAccount"}, person("scan.printer@contoso.com"), "type:serviceAccount"),
        ("JANE@contoso.com", person(), "identity"),
    ],
)
def test_an_entry_takes_whom_it_says_and_is_named_in_the_count(entry: Any, one: Identity, label: str) -> None:
    assert excluded(entry).exclusion_of(one) == label
    assert Policy.from_json(excluded(entry).to_json()) == excluded(entry)


@pytest.mark.parametrize(
    ("entry", "one", "named"),
    [
        ({"pattern": "SVC-*"}, person("svc-backup@contoso.com"), 'by the entry "pattern svc-*"'),
        ({"domain": "Partner.example"}, person("jane@PARTNER.example"), 'by the entry "domain partner.example"'),
        ({"type": "guest"}, person(user_type="Guest"), 'by the entry "type guest"'),
        ("JANE@contoso.com", person(), "by its user principal name"),
        (person().object_id, person(), "by its object id"),
    ],
)
def test_the_reason_of_who_is_excluded_names_the_entry(entry: Any, one: Identity, named: str) -> None:
    decision = decide(one, [], excluded(entry))
    assert decision.kind is DecisionKind.EXCLUDED
    assert decision.reason.startswith(f"The policy excludes this identity from linking, {named}. ")
    assert excluded({"type": "disabled"}).exclusion_in_words(one) == ""


@pytest.mark.parametrize(
    ("enabled", "told"),
    [
        (True, "No account matches it: provisioning creates one all the same, unless the prediction says otherwise."),
        (False, "No account matches it: the person is disabled in Entra, so provisioning will create none."),
    ],
)
def test_the_reason_of_who_is_excluded_says_whether_the_person_is_created_all_the_same(
    enabled: bool, told: str
) -> None:
    one = person("svc-backup@contoso.com", account_enabled=enabled)
    reason = decide(one, [], excluded({"pattern": "svc-*"})).reason
    assert told in reason
    assert ("take them out of the provisioning scope in Entra" in reason) is enabled


@pytest.mark.parametrize(
    ("entry", "one"),
    [
        ({"pattern": "svc-*"}, person("my-svc-x@contoso.com")),
        ({"pattern": "svc.*"}, person("svcx@contoso.com")),
        ({"domain": "contoso.com"}, person("jane@eu.contoso.com", mail="jane@notcontoso.com")),
        ({"type": "guest"}, person()),
        ({"type": "disabled"}, person()),
        ({"type": "sharedMailbox"}, person(recipient_type="UserMailbox")),
        ({"type": "sharedMailbox"}, person(account_enabled=False)),
        ({"type": "serviceAccount"}, person("svc.miller@contoso.com", given_name="Svc", surname="Miller")),
        ({"type": "serviceAccount"}, person("appleton@contoso.com")),
        ({"group": GROUP}, person()),
    ],
)
def test_an_entry_takes_nobody_else(entry: Any, one: Identity) -> None:
    assert excluded(entry).exclusion_of(one) == ""


@pytest.mark.parametrize(
    ("entry", "remedy"),
    [
        ({"pattern": "*"}, "excluded.0.pattern: leaves everybody out"),
        ({"pattern": "*@*"}, "excluded.0.pattern: leaves everybody out"),
        ({"pattern": ""}, "excluded.0.pattern: leaves everybody out"),
        ({"pattern": "a" * 257}, "excluded.0.pattern: has more than 256 characters"),
        ({"domain": "@partner.example"}, "excluded.0.domain: must be a domain like partner.example"),
        ({"group": "Sales"}, "excluded.0.group: must be the object id of a group"),
        ({"type": "robots"}, "excluded.0.type: must be one of guest, disabled, sharedMailbox, serviceAccount"),
        ({"pattern": "a*", "domain": "b.example"}, "excluded: must be a list"),
        ({"patern": "a*"}, "excluded: must be a list"),
        ({"create": True}, "excluded: must be a list"),
        ({"type": "guest", "create": "yes"}, "excluded: must be a list"),
        (7, "excluded: must be a list"),
    ],
)
def test_a_wrong_entry_is_refused_with_the_remedy(entry: Any, remedy: str) -> None:
    with pytest.raises(ValueError, match=re.escape(remedy)):
        excluded(entry)


@pytest.mark.parametrize("wrong", ["a", [1], [""], ["*"], ["*@*"]])
def test_a_wrong_list_of_accounts_is_refused_by_its_name(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"^setAside"):
        read_asked({"setAside": wrong})


def test_a_guest_is_known_by_the_name_alone_where_provisioning_sends_no_more() -> None:
    policy = excluded({"type": "guest"}, {"type": "disabled"})
    assert policy.excludes("00000001-0000-4000-8000-000000000000", "jane_home.example#EXT#@contoso.com")
    assert not policy.excludes("00000001-0000-4000-8000-000000000000", "jane@contoso.com")


def test_accounts_are_set_aside_by_id_name_and_pattern() -> None:
    policy = read_asked({"setAside": ["id1", "Bob", "*@partner.example"]})
    assert Policy.from_json(policy.to_json()) == policy
    taken = [("id1", "x"), ("id2", "BOB"), ("id3", "jane@Partner.example")]
    assert all(policy.sets_aside(*one) for one in taken)
    assert [policy.set_aside_in_words(*one) for one in taken] == [
        "by its id",
        "by its userName",
        'by the entry "*@partner.example"',
    ]
    assert policy.set_aside_in_words("id4", "bobby") == ""
    assert not policy.sets_aside("id4", "bobby")
    assert not Policy().sets_aside("id1", "bob")


def test_who_may_be_created_beside_is_said_by_the_entry() -> None:
    assert excluded({"type": "guest", "create": True}).may_create(person(user_type="Guest"))
    assert not excluded({"type": "guest"}).may_create(person(user_type="Guest"))


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_a_pattern_matches_as_the_expression_of_it_does(pattern: str, text: str) -> None:
    expression = ".*".join(map(re.escape, pattern.split("*")))
    assert matches_pattern(pattern, text) is bool(re.fullmatch(expression, text))
