"""Identities out of the portal's export and out of Graph's JSON, in all their spellings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from link_orchestrator.files.identities import read_identities
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import Identity

EXPORTS = Path(__file__).parent / "exports"
JANE = Identity(
    "6f1c2a3e-0000-4000-8000-000000000001",
    "jane@contoso.com",
    "jane@contoso.com",
    ("SMTP:jane@contoso.com", "smtp:jd@contoso.com"),
    ("jane@home.example",),
    "0042",
    "=1+3 MSOBB",
    "Jane",
    "Doe",
    "jane",
    "Lead",
    "Research",
    on_premises_immutable_id="qZ8==",
)
MAX = Identity(
    "6f1c2a3e-0000-4000-8000-000000000002",
    "max_fabrikam.com#EXT#@contoso.onmicrosoft.com",
    "max@fabrikam.com",
    display_name="Max Muster",
    account_enabled=False,
    user_type="Guest",
)


ONE = "00000000-0000-4000-8000-000000000001"


def export(name: str) -> list[Identity | Problem]:
    return list(read_identities((EXPORTS / name).read_bytes(), content_type=name))


def read(text: str) -> list[Identity | Problem]:
    return list(read_identities(text.encode()))


@pytest.mark.parametrize("name", ["graph_pages.json", "get_mguser.json"])
def test_the_json_of_graph_and_of_its_powershell_is_read(name: str) -> None:
    jane, max_, nobody = export(name)
    assert [jane, max_] == [JANE, MAX]
    assert isinstance(nobody, Problem)
    assert "userPrincipalName" in nobody.reason


@pytest.mark.parametrize("name", ["entra_users.csv", "entra_users_older.csv"])
def test_the_portals_export_is_read_with_present_and_past_headers(name: str) -> None:
    jane, max_, nobody = export(name)
    assert isinstance(jane, Identity)
    assert jane.to_json() == {
        "id": JANE.object_id,
        "userPrincipalName": "jane@contoso.com",
        "mail": "jane@contoso.com",
        "displayName": "=1+3 MSOBB",
        "givenName": "Jane",
        "surname": "Doe",
        "jobTitle": "Lead",
        "department": "Research",
        "otherMails": ["jane@home.example"],
    }
    assert max_ == MAX
    assert isinstance(nobody, Problem)
    assert nobody.line == 4


@pytest.mark.parametrize("identity", [JANE, MAX, Identity("1", "x")])
def test_an_identity_survives_json(identity: Identity) -> None:
    assert Identity.from_json(json.loads(json.dumps(identity.to_json()))) == identity


def test_an_identity_says_nothing_of_what_was_not_exported() -> None:
    assert read(json.dumps({"id": ONE, "userPrincipalName": "x"})) == [Identity(ONE, "x")]


@pytest.mark.parametrize(
    ("attributes", "named"),
    [
        ({"userPrincipalName": "secret"}, "id"),
        ({"id": ONE}, "userPrincipalName"),
        ({"id": ONE, "userPrincipalName": ["secret"]}, "userPrincipalName"),
        ({"id": ONE, "userPrincipalName": "a\nsecret"}, "userPrincipalName"),
        ({"id": ONE, "userPrincipalName": "x", "mail": {"secret": 1}}, "mail"),
        ({"id": ONE, "userPrincipalName": "x", "accountEnabled": "secret"}, "accountEnabled"),
        ({"id": ONE, "userPrincipalName": "x", "ProxyAddresses": [["secret"]]}, "ProxyAddresses"),
    ],
)
def test_a_row_that_is_no_identity_is_reported_by_attribute_and_without_its_values(
    attributes: dict[str, object], named: str
) -> None:
    (problem, after) = read(json.dumps([attributes, {"id": JANE.object_id, "userPrincipalName": "y"}]))
    assert isinstance(problem, Problem)
    assert named in problem.reason
    assert "secret" not in problem.reason + problem.remedy
    assert isinstance(after, Identity)


def test_a_file_of_something_else_is_refused_with_the_columns_it_lacks() -> None:
    with pytest.raises(UnreadableFile, match="holds the object id and no column holds the userPrincipalName"):
        read("name,mail\nx,y\n")


@pytest.mark.parametrize("written", [ONE, ONE.upper(), "{" + ONE + "}", f" {ONE} ", ONE.replace("-", "")])
def test_an_object_id_is_read_as_entra_writes_it(written: str) -> None:
    assert read(json.dumps({"id": written, "userPrincipalName": "x"})) == [Identity(ONE, "x")]


@pytest.mark.parametrize("written", ["12345", "1.2E+05", "=A1", ONE[:-1], "0" * 32, "n/a"])
def test_what_is_no_object_id_is_a_problem_with_its_line_and_the_remedy(written: str) -> None:
    good = {"id": ONE, "userPrincipalName": "y"}
    (_, problem) = read(f"id,userPrincipalName\n{ONE},y\n{written},x\n")
    assert isinstance(problem, Problem)
    assert (problem.line, "is a GUID" in problem.reason) == (3, True)
    assert "spreadsheet" in problem.remedy
    assert read(json.dumps([good, {"id": written, "userPrincipalName": "x"}]))[0] == Identity(ONE, "y")
