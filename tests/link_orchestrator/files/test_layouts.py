"""What each product's export is read as: a small file of each, with the headers that the product writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from link_orchestrator.files import layouts
from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.identities import read_identities
from link_orchestrator.files.layouts import ACCOUNTS, IDENTITIES, Product, recognise
from link_orchestrator.files.reading import Notes, Reading
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import Identity
from shared.directory.records.model import ENTERPRISE
from tests.link_orchestrator.running import App, Refusal, object_id

EXPORTS = Path(__file__).parent / "exports"
ONE, TWO = (f"6f1c2a3e-0000-4000-8000-00000000000{n}" for n in (1, 2))
LANGUAGES = ("de", "fr", "es", "ja")


def read(name: str) -> tuple[list[AccountRow], Reading]:
    notes = Notes()
    rows = list(read_accounts((EXPORTS / name).read_bytes(), notes=notes))
    accounts = [row for row in rows if isinstance(row, AccountRow)]
    assert len(accounts) == len(rows), [row for row in rows if isinstance(row, Problem)]
    return accounts, notes.reading()


def identities(name: str) -> list[Identity]:
    rows = list(read_identities((EXPORTS / name).read_bytes()))
    assert all(isinstance(row, Identity) for row in rows), rows
    return [row for row in rows if isinstance(row, Identity)]


def short(row: AccountRow) -> tuple[str | None, str, str, list[str], Any]:
    """Return applicationId, userName, displayName, addresses, and whether the account is active."""
    document = row.document
    addresses = [email["value"] for email in document.get("emails", ())]
    return row.application_id, row.user_name, document.get("displayName", ""), addresses, document.get("active")


JANE, MAX = "jane@contoso.com", "max@contoso.com"


class TestAccounts:
    def test_atlassian_managed_accounts_of_a_domain_say_verified_in_words(self) -> None:
        (jane, max_), reading = read("atlassian_domain.csv")
        assert reading.layout == "Atlassian, managed accounts"
        assert short(jane) == ("712020:0b1c", JANE, "Jane Doe", [JANE], True)
        assert jane.evidence.verified_emails == (JANE,)
        assert short(max_) == ("712020:0b1d", MAX, "Max Muster", [MAX], False)
        assert max_.evidence.verified_emails == ()

    def test_atlassian_managed_accounts_of_before_have_their_id_too(self) -> None:
        (jane, _), _ = read("atlassian_managed.csv")
        assert jane.application_id == "712020:0b1c"

    def test_a_user_name_of_an_atlassian_site_is_a_name_to_show_and_nobodys_user_name(self) -> None:
        (jane, max_, eve), reading = read("atlassian_users.csv")
        assert reading.layout == "Atlassian, users of a site"
        assert short(jane) == ("712020:0b1c", JANE, "Jane Doe", [JANE], True)
        assert short(max_) == ("712020:0b1d", MAX, "Max", [MAX], False)
        assert (eve.user_name, eve.document["active"]) == ("eve@contoso.com", False)

    def test_an_atlassian_export_by_groups_has_one_account_for_all_of_them(self) -> None:
        accounts, reading = read("atlassian_users_by_group.csv")
        assert [(row.line, row.user_name) for row in accounts] == [(2, JANE), (4, MAX)]
        assert "Group name" in reading.ignored

    def test_okta_profiles_with_all_their_states(self) -> None:
        accounts, reading = read("okta_profiles.csv")
        assert reading.layout == "Okta, profiles"
        # STAGED, PROVISIONED, ACTIVE, RECOVERY, PASSWORD_EXPIRED, LOCKED_OUT, SUSPENDED, DEPROVISIONED
        assert [row.document["active"] for row in accounts] == [False, True, True, True, True, True, False, False]
        pat = accounts[2]
        assert short(pat) == ("00u2", "p2@contoso.com", "", ["pat2@contoso.com", "p2@home.example"], True)
        assert pat.document["name"] == {"givenName": "Pat", "familyName": "Person2"}
        assert pat.document[ENTERPRISE] == {"employeeNumber": "0002"}

    def test_an_okta_report(self) -> None:
        (jane, max_), reading = read("okta_report.csv")
        assert reading.layout == "Okta, report"
        assert short(jane) == ("00u1", JANE, "", ["jane.doe@contoso.com"], True)
        assert short(max_) == ("00u2", MAX, "", [MAX], False)

    def test_the_json_of_oktas_api(self) -> None:
        (jane, max_), reading = read("okta_api.json")
        assert reading.layout == "Okta, profiles"
        assert short(jane) == ("00u1", JANE, "", ["jane.doe@contoso.com"], True)
        assert short(max_) == ("00u2", MAX, "", [MAX], False)
        assert jane.document["name"] == {"givenName": "Jane", "familyName": "Doe"}

    @pytest.mark.parametrize("language", LANGUAGES)
    def test_google_workspace_in_other_languages(self, language: str) -> None:
        (jane, max_), reading = read(f"google_{language}.csv")
        assert reading.layout == "Google Workspace"
        assert short(jane) == (None, JANE, "", [JANE], True)
        assert jane.document["name"] == {"givenName": "Jane", "familyName": "Doe"}
        assert jane.document[ENTERPRISE] == {"employeeNumber": "0042", "department": "Research"}
        assert short(max_) == (None, MAX, "", [MAX], False)
        assert "hunter2" not in str([row.to_json() for row in (jane, max_)])

    def test_googles_directory_api(self) -> None:
        (jane, max_), _ = read("google_api.json")
        assert short(jane) == ("1045", JANE, "Jane Doe", [JANE, "jd@contoso.com"], True)
        assert short(max_) == ("1046", MAX, "Max Muster", [MAX], False)

    def test_salesforce_signs_in_by_its_federation_identifier(self) -> None:
        (jane, max_), reading = read("salesforce.csv")
        assert reading.layout == "Salesforce"
        assert short(jane) == ("0055g00000ABCDeAAF", "jane@contoso.com.crm", "Jane Doe", [JANE], True)
        assert jane.evidence.name_id == JANE
        assert "userType" not in jane.document, "Standard is a licence, and no kind of person"
        assert short(max_) == ("0055g00000ABCDEAAF", "max@contoso.com.crm", "Max Muster", [MAX], False)
        assert max_.evidence.name_id is None

    def test_slacks_status_is_a_role_or_deactivated(self) -> None:
        (jane, max_, eve), reading = read("slack.csv")
        assert reading.layout == "Slack"
        assert short(jane) == ("U059H0Z4PH6", "jane", "Jane Doe", [JANE], True)
        assert (short(max_)[-1], short(eve)[-1]) == (False, True)
        assert jane.document["nickName"] == "JD"

    @pytest.mark.parametrize("name", ["github_licences.json", "github_licences.csv"])
    def test_github_licences(self, name: str) -> None:
        (jane, *others), reading = read(name)
        assert reading.layout == "GitHub, consumed licences"
        assert short(jane) == (None, "janedoe", "Jane Doe", [JANE, "jd@contoso.com"], None)
        assert jane.evidence.verified_emails == (JANE, "jd@contoso.com")
        assert jane.evidence.name_id == JANE
        assert [row.user_name for row in others] in ([], ["maxm"])

    def test_github_members(self) -> None:
        (jane, _), _ = read("github_members.json")
        assert short(jane) == ("583231", "janedoe", "", [], None)

    @pytest.mark.parametrize("name", ["gitlab_users.json", "gitlab_seats.csv"])
    def test_gitlab(self, name: str) -> None:
        (jane, max_), reading = read(name)
        assert reading.layout == "GitLab"
        assert short(jane) == ("17", "jane", "Jane Doe", [JANE], True)
        assert short(max_) == ("18", "max", "Max Muster", [MAX], False)
        assert jane.evidence.verified_emails == (), "an administrator may skip the confirmation"

    def test_gitlab_memberships_have_one_account_for_all_of_them(self) -> None:
        (jane,), _ = read("gitlab_members.csv")
        assert short(jane) == (None, "jane", "Jane Doe", [JANE], None)

    def test_aws_identity_center(self) -> None:
        (jane, max_), reading = read("aws_identity_center.json")
        assert reading.layout == "AWS IAM Identity Center"
        own = "f9c1f3f0-1031-70dc-4d25-30d7225b04a0"
        assert short(jane) == (own, "jane", "Jane Doe", [JANE, "jd@contoso.com"], None)
        assert jane.document["externalId"] == ONE
        assert jane.document["name"] == {"givenName": "Jane", "familyName": "Doe"}
        assert jane.document["phoneNumbers"] == [{"value": "+1 425 555 0100", "type": "work"}]
        assert jane.document["addresses"] == [{"locality": "Redmond", "country": "US", "type": "work"}]
        assert (max_.user_name, max_.document["active"]) == ("max", False)

    def test_a_scim_list(self) -> None:
        (jane, max_), reading = read("scim_list.json")
        assert reading.layout == "SCIM"
        assert short(jane) == ("2819c223", JANE, "", [JANE], True)
        assert jane.document["externalId"] == "701984"
        assert short(max_) == ("2819c224", MAX, "", [], False)


class TestNames:
    """A name to show is never taken for one to sign in with."""

    def test_a_table_of_ones_own_is_no_products_for_its_user_names(self) -> None:
        (row,) = read_accounts(b"user_id,username,email\n17,jane,jane@contoso.com\n")
        assert isinstance(row, AccountRow)
        assert short(row) == (None, "jane", "", [JANE], None)

    @pytest.mark.parametrize("header", ["User name", "User Name", "user_name", "User"])
    def test_a_name_with_a_space_under_a_header_of_either_is_a_problem_with_the_remedy(self, header: str) -> None:
        file = f"{header},email\nJane Doe,jane@contoso.com\n".encode()
        (problem,) = read_accounts(file)
        assert isinstance(problem, Problem)
        assert "Jane" not in problem.reason + problem.remedy
        assert "displayName or userName" in problem.remedy
        for column, expected in (("displayName", JANE), ("userName", "Jane Doe")):
            (row,) = read_accounts(file, columns={header: column})
            assert isinstance(row, AccountRow)
            assert row.user_name == expected


class TestIdentities:
    @pytest.mark.parametrize("language", ["en", *LANGUAGES])
    def test_the_microsoft_365_admin_centre_blocks_and_joins_addresses_by_plus(self, language: str) -> None:
        jane, max_ = identities(f"m365_{language}.csv")
        assert jane == Identity(
            ONE,
            JANE,
            "jane.doe@contoso.com",
            ("smtp:jd+news@contoso.com", "SMTP:jane.doe@contoso.com", "X500:/o=Contoso/cn=jane"),
            display_name="Jane Doe",
            given_name="Jane",
            surname="Doe",
            job_title="Lead",
            department="Research",
        )
        assert (max_.object_id, max_.account_enabled, max_.mail) == (TWO, False, MAX)

    def test_a_list_that_powershell_did_not_write_is_none(self) -> None:
        jane, max_ = identities("get_mguser.csv")
        assert (jane.object_id, jane.mail, jane.proxy_addresses, jane.other_mails) == (ONE, JANE, (), ())
        assert (jane.on_premises_immutable_id, jane.account_enabled) == ("AbC==", True)
        assert (max_.mail, max_.account_enabled) == (None, True)

    @pytest.mark.parametrize("language", ["en", *LANGUAGES, "version"])
    def test_a_template_of_a_bulk_operation_is_refused_by_name_with_what_to_take(self, language: str) -> None:
        with pytest.raises(UnreadableFile, match=r"template of a bulk operation.*Download users") as refused:
            identities(f"entra_bulk_{language}.csv")
        assert "hunter2" not in str(refused.value)

    def test_the_members_of_a_group_are_identities(self) -> None:
        assert identities("entra_group_members.csv") == [Identity(ONE, JANE, display_name="Jane Doe")]

    @pytest.mark.parametrize(
        ("name", "layout"),
        [
            ("entra_users.csv", "Entra, Download users"),
            ("entra_users_older.csv", "Entra, Download users"),
            ("m365_ja.csv", "Microsoft 365 admin centre"),
            ("get_mguser.csv", "Get-MgUser"),
            ("entra_group_members.csv", "Entra's users, in the names of Microsoft Graph"),
        ],
    )
    def test_each_is_called_by_its_name(self, name: str, layout: str) -> None:
        header = (EXPORTS / name).read_text("utf-8-sig").splitlines()[0].replace('"', "").split(",")
        found = recognise(IDENTITIES, header)
        assert found is not None
        assert found.name == layout


@pytest.mark.parametrize("products", [ACCOUNTS, IDENTITIES], ids=["accounts", "identities"])
def test_every_layout_says_where_its_headers_were_found_and_names_columns_that_there_are(
    products: Sequence[Product],
) -> None:
    from link_orchestrator.files import accounts, identities

    known = set(accounts.COLUMNS if products is ACCOUNTS else identities._ALSO_KNOWN_AS)
    assert len({product.name for product in products}) == len(products)
    for product in products:
        assert product.source.endswith((".", "…"))
        assert {word for columns in product.columns.values() for word in columns.split()} <= known, product.name
        for mark in product.marks:
            assert recognise(products, mark.split(";")) is product, mark
    assert layouts.BULK in {product.name for product in IDENTITIES}


class TestUnknownHeaders:
    """What was found, and a parameter that works when it is pasted into the address."""

    @pytest.mark.parametrize(
        ("header", "named"),
        [
            ("Kennung,Stelle", {"Kennung": "userName"}),
            ("Stelle,Benutzer", {"Benutzer": "userName"}),
            ("Nummer,Mail-Adresse dienstlich,Ort", {"Mail-Adresse dienstlich": "email"}),
            ('"Name, ganz",Ort', {"Name, ganz": "userName"}),
        ],
    )
    async def test_of_accounts(self, app: App, header: str, named: dict[str, str]) -> None:
        columns = len(next(csv.reader([header])))
        file = f"{header}\n{','.join([JANE] * columns)}\n".encode()
        with pytest.raises(Refusal) as refusal:
            await app.bring(file)
        detail = refusal.value.detail
        assert refusal.value.status == 400
        for name in header.replace('"', "").split(","):
            assert name in detail
        assert "jane" not in detail
        params = pasted(detail)
        (text,) = params.values()
        assert json.loads(text) == named
        assert (await app.bring(file, **params))["counts"]["created"] == 1
        assert await app.account("jane@contoso.com")

    async def test_of_accounts_as_json(self, app: App) -> None:
        file = json.dumps([{"kennung": "jane@contoso.com", "ort": {"plz": "98052"}}, {"kennung": "max@contoso.com"}])
        with pytest.raises(Refusal) as refusal:
            await app.bring(file.encode(), "application/json")
        assert "What was found: kennung, ort.plz." in refusal.value.detail
        assert "contoso" not in refusal.value.detail
        done = await app.bring(file.encode(), "application/json", **pasted(refusal.value.detail))
        assert done["counts"]["created"] == 2

    async def test_of_identities(self, app: App) -> None:
        file = f"Objekt,Anmeldename\n{object_id(1)},jane@contoso.com\n".encode()
        with pytest.raises(Refusal) as refusal:
            await app.call("POST", "linking/identities", file, "text/csv")
        assert "Objekt, Anmeldename" in refusal.value.detail
        params = pasted(refusal.value.detail)
        upload = await app.call("POST", "linking/identities", file, "text/csv", **params)
        assert upload["counts"]["read"] == 1

    async def test_a_file_without_object_ids_is_told_what_to_export_instead(self, app: App) -> None:
        with pytest.raises(Refusal, match=r"No column holds the object id\..*Download users") as refusal:
            await app.call("POST", "linking/identities", b"userPrincipalName,Ort\nx,y\n", "text/csv")
        assert "?columns" not in refusal.value.detail

    async def test_the_former_name_of_the_parameter_is_understood_and_not_both(self, app: App) -> None:
        file, said = b"Kennung\njane@contoso.com\n", '{"Kennung": "userName"}'
        with pytest.raises(Refusal, match="400 columns: mapping is its former name"):
            await app.bring(file, columns=said, mapping=said)
        assert (await app.bring(file, mapping=said))["counts"]["created"] == 1


def pasted(detail: str) -> dict[str, str]:
    """Return the parameters of the address that a refusal shows."""
    address = next(word for word in detail.split() if word.startswith("?columns="))
    return dict(parse_qsl(urlsplit("/accounts/import" + address).query))
