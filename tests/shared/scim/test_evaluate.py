"""What filters mean for documents, by the types of the schema."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.scim.document import normalise
from shared.scim.errors import InvalidFilter, ScimError
from shared.scim.evaluate import compile_filter
from shared.scim.filter import parse_filter
from shared.scim.schema import ENTERPRISE_USER_URN, USER
from tests.shared.scim.strategies import user_bodies

BOB = {
    "schemas": [USER.schema.urn, ENTERPRISE_USER_URN],
    "id": "A1b",
    "externalId": "Ext-1",
    "userName": "Bob.Straße@contoso.com",
    "active": True,
    "title": "007",
    "name": {"familyName": "Straße"},
    "emails": [
        {"type": "Work", "value": "Bob@contoso.com", "primary": True},
        {"type": "home", "value": "bob@home.example"},
    ],
    "phoneNumbers": [{"value": "+1 555"}],
    ENTERPRISE_USER_URN: {"department": "IT", "manager": {"value": "M1", "displayName": "Eve"}},
    "meta": {"created": "2026-11-23T17:30:00Z", "lastModified": "2026-11-23T18:30:00.5+01:00", "resourceType": "User"},
}

TRUE = """
userName eq "BOB.STRASSE@contoso.com"
userName co "straSSE"
userName sw "bob" and userName ew ".COM"
userName gt "alice" and userName lt "carol" and userName ge "bob" and userName le "bobby"
id eq "A1b"
externalId eq "Ext-1"
active eq true
active eq "True"
active ne "false"
active pr
title eq 007
title eq "007"
name pr
name.familyName eq "STRASSE"
emails eq "bob@CONTOSO.com"
emails.type eq "home"
emails.value ne "bob@contoso.com"
emails[type eq "work" and primary eq "True"].value eq "bob@contoso.com"
emails[type eq "work" and value co "@contoso"]
emails[not (primary pr)].value ew "example"
emails co "@home" and not (emails co "@nowhere")
phoneNumbers.value sw "+1"
department eq "it"
urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:department eq "IT"
manager eq "M1"
manager.displayName sw "e"
meta.created eq "2026-11-23T18:30:00+01:00"
meta.lastModified eq "2026-11-23T17:30:00.500Z"
meta.lastModified gt 2026-11-23T17:30:00.4999999Z
meta.created ge "2026-11-23T17:30:00" and meta.created le "2026-11-23T17:30:00Z"
meta.resourceType eq "User"
schemas eq "urn:ietf:params:scim:schemas:core:2.0:User"
nickName eq null
userName ne null
nickName ne "Bob"
photos ne "x"
not (nickName pr)
colour ne "green"
colour eq null
not (colour eq "green")
title eq "x" or active eq true
""".strip().splitlines()

FALSE = """
userName eq "bob"
id eq "a1b"
externalId eq "ext-1"
active eq false
active ne true
nickName pr
nickName eq "Bob"
nickName gt "A"
nickName ne null
userName eq null
userName eq ""
emails[type eq "home"].value eq "bob@contoso.com"
emails[type eq "home" and primary eq true]
emails[type eq "other"] or emails[type eq "fax"].value pr
emails[colour eq "x"]
emails[emails.value pr]
emails.value ne "bob@contoso.com" and emails[type eq "work"].value ne "bob@contoso.com"
userName[value eq "Bob.Straße@contoso.com"]
phoneNumbers.type pr
department eq "HR"
manager eq "m1"
meta.created gt "2026-11-23T17:30:00Z"
colour eq "green"
colour pr
colour ne null
urn:unknown:User:userName pr
urn:ietf:params:scim:schemas:core:2.0:User:department pr
""".strip().splitlines()


@pytest.mark.parametrize("text", TRUE)
def test_a_filter_matches(text: str) -> None:
    assert compile_filter(parse_filter(text), USER)(BOB)


@pytest.mark.parametrize("text", FALSE)
def test_a_filter_does_not_match(text: str) -> None:
    assert not compile_filter(parse_filter(text), USER)(BOB)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("active gt true", "active"),
        ('x509Certificates.value gt "MII"', "value"),
        ('active co "t"', "active"),
        ('active eq "perhaps"', "active"),
        ('active eq ""', "active"),
        ('name eq "Bob"', "name"),
        ('meta.created gt "yesterday"', "created"),
        ('meta.created co "2026"', "created"),
        ("title gt null", "title"),
        ("userName gt 5", "userName"),
        ("userName le true", "userName"),
        ("emails.value ge 5", "value"),
        ("emails[primary lt true].value pr", "primary"),
    ],
)
def test_what_its_type_does_not_allow_is_refused_by_the_attribute(text: str, name: str) -> None:
    with pytest.raises(InvalidFilter, match=name):
        compile_filter(parse_filter(text), USER)


def test_a_number_and_a_boolean_literal_are_not_taken_for_one_another() -> None:
    numbered = BOB | {"title": "1"}
    assert compile_filter(parse_filter("title eq 1"), USER)(numbered)
    assert not compile_filter(parse_filter("title eq true"), USER)(numbered)


names = st.sampled_from(["userName", "emails", "emails.type", "active", "name.givenName", "department", "manager", "x"])
terms = st.tuples(
    names, st.sampled_from(["eq", "ne", "co", "ge"]), st.sampled_from(['"work"', "true", "null", '""', "5"])
)


@given(user_bodies, terms.map(" ".join))
def test_a_filter_and_its_negation_disagree_on_any_document(body: Any, text: str) -> None:
    try:
        document = normalise(USER, {**body, "userName": "bob"})
        test = compile_filter(parse_filter(text), USER)
    except ScimError:
        return
    assert test(document) is not compile_filter(parse_filter(f"not ({text})"), USER)(document)
