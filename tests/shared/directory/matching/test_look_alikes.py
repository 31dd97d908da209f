"""What only looks like somebody's id or name gets nothing that is theirs, and is kept away by what keeps them away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scim_groups import authority
from shared.admin.account_changes import LinkRequest, linked
from shared.directory.errors import Refused
from shared.directory.matching.groups import refused_return
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy, read_asked
from shared.directory.records.model import Account, Group, Link, Status

NOW = "2026-12-01T12:00:00.000Z"
OBJECT_ID = "8b3f1c9e-0001-4000-8000-00000000000a"
WIDE_ID = "".join(chr(ord(c) + 0xFEE0) if c.isalnum() else c for c in OBJECT_ID)
CASED = [OBJECT_ID.upper(), "KIM@contoso.com", "IRIS@contoso.com", "J\u00dcRGEN@contoso.com"]
LOOK_ALIKES = [
    WIDE_ID,
    "\u212aim@contoso.com",
    "\uff4bim@contoso.com",
    "\u0131ris@contoso.com",
    "iri\u017f@contoso.com",
]
EXCLUDED = ["kim@contoso.com", "iris@contoso.com", "j\u00fcrgen@contoso.com", "wei\u00df@contoso.com", OBJECT_ID]
POLICY = Policy.from_json({"excluded": [{"identity": one, "create": True} for one in EXCLUDED]})


@pytest.mark.parametrize("policy", [POLICY, Policy.from_json(POLICY.to_json())], ids=["new", "stored"])
def test_an_exclusion_lets_create_whom_it_names_and_nobody_who_looks_like_them(policy: Policy) -> None:
    for name in (*CASED, *EXCLUDED):
        assert policy.lets_create(name, name), name
        assert policy.excludes(name, name), name
    for name in (*LOOK_ALIKES, "weiss@contoso.com"):
        assert not policy.lets_create(name, name), name
    assert policy.excludes(WIDE_ID, "x")
    assert policy.excludes("x", LOOK_ALIKES[1])
    kelvin = Identity(OBJECT_ID.replace("a", "b"), "\u212aim@contoso.com", None)
    assert policy.exclusion_of(kelvin) == "identity"
    assert not policy.may_create(kelvin)


def test_white_space_around_an_entry_is_none_of_its_letters() -> None:
    policy = read_asked({"excluded": [{"identity": " kim@contoso.com\n", "create": True}]})
    assert policy.excludes("", "kim@contoso.com")
    assert policy.lets_create("", "kim@contoso.com")
    assert not policy.lets_create("", "kim@contoso.com ")
    assert policy.to_json()["excluded"] == [{"identity": "kim@contoso.com", "create": True}]


def test_whom_an_administrator_took_apart_no_look_alike_joins_again() -> None:
    document = {"userName": "ada"}
    account = Account.new("1a", document, Status.LOCAL, NOW)
    parted = replace(account, parted=account.parted_from("\u212aim"))
    assert parted.joined_with("kim") == parted.parted
    assert parted.joined_with("\u212aIM") == ()
    assert replace(account, parted=account.parted_from(OBJECT_ID)).joined_with(OBJECT_ID.upper()) == ()


def test_a_link_to_what_looks_like_an_object_id_is_pointed_at_the_real_one() -> None:
    account = Account.new("1a", {"userName": "ada", "externalId": WIDE_ID}, Status.CLAIMED, NOW)
    account = replace(account, link=Link(WIDE_ID, "userName", NOW, "run"))
    after = linked(account, LinkRequest(identity=OBJECT_ID), "me", NOW)
    assert after.link is not None
    assert (after.link.identity, after.external_id) == (OBJECT_ID, OBJECT_ID)
    assert linked(after, LinkRequest(identity=OBJECT_ID.upper()), "me", NOW) == after


def test_a_linked_group_takes_no_external_id_that_only_looks_like_its_own() -> None:
    group = Group.new("1g", {"displayName": "Staff", "externalId": OBJECT_ID}, Status.CLAIMED, NOW)
    assert authority.authorise(group, group.document() | {"externalId": OBJECT_ID.upper()}).external_id
    with pytest.raises(Refused, match=r"^externalId: "):
        authority.authorise(group, group.document() | {"externalId": WIDE_ID})


def test_a_kept_group_comes_back_to_its_own_external_id_alone() -> None:
    kept = replace(Group.new("1g", {"displayName": "Staff"}, Status.LOCAL, NOW), retired=True, left=OBJECT_ID)
    assert refused_return(kept, OBJECT_ID.upper(), Policy()) == ""
    assert "another externalId" in refused_return(kept, WIDE_ID, Policy())
