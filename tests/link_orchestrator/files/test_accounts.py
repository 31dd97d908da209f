"""Accounts out of the files that administrators really have, and what is said about the rows that are none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from link_orchestrator.files import accounts
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from shared.directory.records.model import ENTERPRISE, SignInEvidence

EXPORTS = Path(__file__).parent / "exports"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"


def read(text: str, columns: Mapping[str, str] | None = None) -> list[AccountRow | Problem]:
    return list(read_accounts(text.encode("utf-8", "surrogatepass"), columns=columns))


def account(text: str, columns: Mapping[str, str] | None = None) -> AccountRow:
    (row,) = read(text, columns)
    assert isinstance(row, AccountRow), row
    return row


def problem(text: str) -> Problem:
    (row,) = read(text)
    assert isinstance(row, Problem), row
    return row


def export(name: str) -> list[AccountRow]:
    rows = list(read_accounts((EXPORTS / name).read_bytes(), content_type=name))
    accounts = [row for row in rows if isinstance(row, AccountRow)]
    assert len(accounts) == len(rows)
    return accounts


def shown(row: AccountRow) -> dict[str, Any]:
    return {name: value for name, value in row.document.items() if name != "schemas"}


class TestExports:
    def test_the_generic_layout(self) -> None:
        jane, admin = export("generic.csv")
        assert jane.document == {
            "schemas": [USER, ENTERPRISE],
            "userName": "jane@contoso.com",
            "displayName": "=1+3 MSOBB",
            "title": "+Lead",
            "name": {"givenName": "Jane", "familyName": "Doe"},
            ENTERPRISE: {"employeeNumber": "0042", "department": "Research, Life"},
            "active": True,
            "emails": [
                {"value": "jane@contoso.com", "type": "work", "primary": True},
                {"value": "jd@contoso.com", "type": "other"},
                {"value": "jane@home.example", "type": "other"},
            ],
            "phoneNumbers": [{"value": "+1 425 555 0100", "type": "work"}],
            "addresses": [{"locality": "Redmond", "country": "US", "type": "work"}],
        }
        assert jane.evidence == SignInEvidence(
            "jane@contoso.com", "6f1c2a3e-0000-4000-8000-000000000001", ("jane@contoso.com",)
        )
        assert (jane.line, jane.protected, admin.line, admin.protected) == (2, False, 3, True)
        assert admin.document == {"schemas": [USER], "userName": "admin", "displayName": "Break glass"}

    def test_every_extension_that_a_row_fills_is_among_its_schemas(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ours = "urn:contoso:scim:2.0:User"
        monkeypatch.setitem(cast(dict[str, tuple[str, str]], accounts._TEXTS), "costCenter", (ours, "badge"))
        document = account("userName,department,costCenter\njane,Research,B1").document
        assert document["schemas"] == [USER, ENTERPRISE, ours]
        assert document[ours] == {"badge": "B1"}

    def test_a_password_is_never_read(self) -> None:
        for name in ("generic.csv", "google.csv"):
            text = str([row.to_json() for row in export(name)])
            assert "hunter2" not in text
            assert "****" not in text

    def test_atlassian_managed_accounts(self) -> None:
        jane, max_ = export("atlassian_managed.csv")
        assert shown(jane) == {
            "userName": "jane@contoso.com",
            "displayName": "Jane Doe",
            "active": True,
            "emails": [{"value": "jane@contoso.com", "type": "work", "primary": True}],
        }
        assert jane.evidence.verified_emails == ("jane@contoso.com",)
        assert (max_.document["active"], max_.evidence.verified_emails) == (False, ())

    def test_the_older_atlassian_export_has_one_account_for_all_groups_of_a_user(self) -> None:
        jane, max_ = export("atlassian_site.csv")
        assert (jane.user_name, jane.line, jane.document["displayName"]) == ("jane", 2, "Jane Doe")
        assert (max_.user_name, max_.line, max_.document["active"]) == ("max", 3, False)

    def test_two_different_rows_for_one_user_of_that_export_both_come(self) -> None:
        text = "group_name,username,email,active\na,jane,jane@contoso.com,Yes\nb,jane,jd@contoso.com,Yes\n"
        assert len(read(text)) == 2

    def test_okta(self) -> None:
        jane, max_ = export("okta.csv")
        assert shown(jane) == {
            "userName": "jane@contoso.com",
            "displayName": "Jane Doe",
            "nickName": "JD",
            "title": "Lead",
            "userType": "Employee",
            "preferredLanguage": "en",
            "locale": "en_US",
            "timezone": "America/Los_Angeles",
            "name": {"givenName": "Jane", "familyName": "Doe", "middleName": "Q"},
            ENTERPRISE: {
                "employeeNumber": "0042",
                "department": "Research",
                "division": "West",
                "organization": "Contoso",
                "costCenter": "CC1",
            },
            "active": True,
            "emails": [
                {"value": "jane.doe@contoso.com", "type": "work", "primary": True},
                {"value": "jane@home.example", "type": "other"},
            ],
            "phoneNumbers": [
                {"value": "+1 425 555 0100", "type": "work"},
                {"value": "+1 425 555 0101", "type": "mobile"},
            ],
            "addresses": [
                {
                    "streetAddress": "1 Main St",
                    "locality": "Redmond",
                    "region": "WA",
                    "postalCode": "98052",
                    "country": "US",
                    "type": "work",
                }
            ],
        }
        assert max_.document["active"] is False

    def test_google_workspace(self) -> None:
        jane, max_ = export("google.csv")
        assert shown(jane) == {
            "userName": "jane@contoso.com",
            "title": "Lead",
            "userType": "Employee",
            "name": {"givenName": "Jane", "familyName": "Doe"},
            ENTERPRISE: {"employeeNumber": "0042", "department": "Research", "costCenter": "CC1"},
            "active": True,
            "emails": [
                {"value": "jane@contoso.com", "type": "work", "primary": True},
                {"value": "jd@contoso.com", "type": "other"},
                {"value": "jane@home.example", "type": "other"},
            ],
            "phoneNumbers": [
                {"value": "+1 425 555 0100", "type": "work"},
                {"value": "+1 425 555 0101", "type": "mobile"},
            ],
        }
        assert (max_.line, max_.document["active"]) == (4, False)

    def test_scim_documents_a_line(self) -> None:
        jane, max_ = export("scim.jsonl")
        assert shown(jane) == {
            "userName": "jane@contoso.com",
            "displayName": "Jane Doe",
            "name": {"givenName": "Jane", "familyName": "Doe"},
            ENTERPRISE: {"employeeNumber": "0042", "department": "Research"},
            "active": True,
            "emails": [
                {"value": "jane@contoso.com", "type": "work", "primary": True},
                {"value": "jane@home.example", "type": "home"},
            ],
            "phoneNumbers": [{"value": "+1 425 555 0101", "type": "mobile"}],
            "addresses": [{"locality": "Redmond", "country": "US", "type": "work"}],
        }
        assert jane.evidence == SignInEvidence("jane@contoso.com", None, ("jane@contoso.com",))
        assert shown(max_) == {"userName": "max@contoso.com", "active": False, ENTERPRISE: {"employeeNumber": "43"}}


class TestColumns:
    @pytest.mark.parametrize(
        "header", ["userName", "USER NAME", "user_name", "Login", "User-Name", "User Name [Required]"]
    )
    def test_a_header_is_known_whatever_its_case_and_punctuation(self, header: str) -> None:
        assert account(f"{header},x\njane,1\n").user_name == "jane"

    @pytest.mark.parametrize("header", ["department", f"{ENTERPRISE}:department"])
    def test_a_header_may_be_an_attribute_with_its_urn(self, header: str) -> None:
        assert account(f"userName,{header}\njane,R\n").document[ENTERPRISE] == {"department": "R"}

    def test_the_caller_says_what_other_headers_are(self) -> None:
        row = account(
            "Account,Personal,mail\nj,jane@home.example,x\n",
            {"account": "username", "personal": "otherEmails", "mail": ""},
        )
        assert row.user_name == "j"
        assert row.document["emails"] == [{"value": "jane@home.example", "type": "work", "primary": True}]

    def test_the_caller_goes_before_what_is_recognised(self) -> None:
        assert account("userName,Key\na,b\n", {"Key": "userName"}).user_name == "b"

    def test_an_unknown_column_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'Key' is said to be .shoeSize., which is no column.*employeeNumber"):
            read("Key\nx\n", {"Key": "shoeSize"})

    def test_a_header_that_is_not_there_is_refused(self) -> None:
        with pytest.raises(UnreadableFile, match="does not have the headers account"):
            read("userName\nx\n", {"Account": "userName"})

    def test_a_file_without_a_column_for_the_name_is_refused_with_its_headers_and_the_remedy(self) -> None:
        with pytest.raises(UnreadableFile, match=r"Account, Group.*columns"):
            read("Account,Group\nx,y\n")

    def test_a_file_without_a_header_row_is_refused_without_showing_its_values(self) -> None:
        with pytest.raises(UnreadableFile, match="no header row") as refused:
            read("jane@contoso.com,Jane\n")
        assert "jane" not in str(refused.value).lower()

    def test_of_several_columns_for_one_field_the_first_that_is_not_empty_counts(self) -> None:
        assert account("login,userName\na,\n").user_name == "a"
        assert account("login,userName\na,b\n").user_name == "b"

    def test_an_address_that_comes_twice_is_kept_once(self) -> None:
        row = account("email,otherEmails\nj@contoso.com,J@contoso.com;k@contoso.com\n")
        assert [email["value"] for email in row.document["emails"]] == ["j@contoso.com", "k@contoso.com"]

    @pytest.mark.parametrize(
        ("cell", "verified"),
        [
            ("yes", ("j@contoso.com",)),
            ("no", ()),
            ("", ()),
            ("j@contoso.com", ("j@contoso.com",)),
            ("yes;l@contoso.com", ("j@contoso.com", "l@contoso.com")),
            ("Unverified", ()),
            ("Not verified", ()),
            ("Verified", ("j@contoso.com",)),
            ("Perhaps", None),
        ],
    )
    def test_a_verified_address_is_marked_or_named(self, cell: str, verified: tuple[str, ...] | None) -> None:
        for further in ("", "k@contoso.com"):
            (row,) = read(f"email,otherEmails,Verified email\nj@contoso.com,{further},{cell}\n")
            assert (row.evidence.verified_emails if isinstance(row, AccountRow) else None) == verified

    @pytest.mark.parametrize(
        ("status", "active"),
        [("ACTIVE", True), ("Password Expired", True), ("", None), ("FAUX", False), ("SUSPENDED", False), ("0", False)],
    )
    def test_a_status_says_whether_the_account_is_active(self, status: str, active: bool | None) -> None:
        assert account(f"userName,status\nj,{status}\n").document.get("active") is active


class TestProblems:
    @pytest.mark.parametrize(
        ("text", "column"),
        [
            ("userName,email\n,\n\t,x\n", "email"),
            ("userName,title\n,x\n", "userName"),
            ("userName,email\nj,secret\n", "email"),
            ("userName,email\nj,a@secret@b\n", "email"),
            ("userName,Other emails\nj,a@b;secret\n", "Other emails"),
            ("userName,active\nj,secret\n", "active"),
            ("userName,protected\nj,secret\n", "protected"),
            ('userName,x\n"sec\nret",\n', "userName"),
            ("userName,title\nj,sec\x00ret\n", "title"),
            ("userName,title\nj,sec\u0085ret\n", "title"),
            (json.dumps({"userName": ["secret"]}), "userName"),
            (json.dumps({"userName": "j", "name": {"givenName": {"secret": 1}}}), "givenName"),
            (json.dumps({"userName": "sec\ud800ret"}), "userName"),
            (json.dumps({"userName": "j", "title": "secret" * 6000}), "title"),
            (json.dumps({"userName": "j", "emails": [{"type": "work"}]}), "emails"),
            (json.dumps({"user\ud800name": 1, "protected": "secret"}), "protected"),
            (json.dumps({"title": "secret"}), "the user name"),
        ],
    )
    def test_a_bad_row_is_reported_by_column_and_without_its_values(self, text: str, column: str) -> None:
        found = problem(text)
        assert column in found.reason
        assert found.remedy
        assert "secret" not in found.reason + found.remedy
        (found.reason + found.remedy).encode()

    def test_a_bad_row_does_not_stop_the_others(self) -> None:
        rows = read("userName,email\na,\nb,oops\nc,\n")
        assert [(row.line, isinstance(row, Problem)) for row in rows] == [(2, False), (3, True), (4, False)]

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(
                        ["userName", "emails", "value", "name", "active", "addresses", "phoneNumbers", "type", "a:b"]
                    ),
                    inner,
                    max_size=4,
                )
            ),
            max_leaves=12,
        )
    )
    def test_any_json_ends_in_accounts_and_problems_that_survive_json(self, value: object) -> None:
        for row in read(json.dumps([value])):
            if isinstance(row, AccountRow):
                assert AccountRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_an_account_row_survives_json() -> None:
    for row in (*export("generic.csv"), *export("scim.jsonl")):
        assert AccountRow.from_json(json.loads(json.dumps(row.to_json()))) == row


def test_a_header_that_cannot_be_written_out_is_no_example() -> None:
    (row,) = read_accounts(b'[{"\\ud800": 1, "x\\u0000": "x"}]')
    assert isinstance(row, Problem)
    assert row.remedy == "Export it with that column, too."
