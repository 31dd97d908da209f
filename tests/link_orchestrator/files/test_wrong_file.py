"""A file at the wrong door is refused by name, with the right door; at its own door it is read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from link_orchestrator.files.accounts import AccountRow, read_accounts
from link_orchestrator.files.entra_groups import read_entra_groups
from link_orchestrator.files.groups import read_groups
from link_orchestrator.files.identities import number_identities
from link_orchestrator.files.rows import UnreadableFile
from link_orchestrator.files.wrong_file import Door
from tests.link_orchestrator.files.workbooks import xlsx
from tests.link_orchestrator.running import App, Refusal, graph, object_id

EXPORTS = Path(__file__).parent / "exports"
READERS: dict[Door, Callable[..., Iterator[Any]]] = {
    Door.ACCOUNTS: read_accounts,
    Door.GROUPS: read_groups,
    Door.IDENTITIES: number_identities,
    Door.ENTRA_GROUPS: read_entra_groups,
}
GROUP = {"id": object_id(1), "displayName": "Sales", "members": []}
ENTRA = (
    "id,displayName,groupType,membershipType,source,mail,securityEnabled,mailEnabled\n1,Sales,,Assigned,,,True,False\n"
)
FILES: dict[str, tuple[bytes, Door]] = {
    "Entra's users": ((EXPORTS / "entra_users.csv").read_bytes(), Door.IDENTITIES),
    "Entra's users, older": ((EXPORTS / "entra_users_older.csv").read_bytes(), Door.IDENTITIES),
    "Entra's users in a workbook": (
        xlsx({"S": [["userPrincipalName", "displayName", "id"], ["a@contoso.com", "A", object_id(1)]]}),
        Door.IDENTITIES,
    ),
    "pages of Graph": ((EXPORTS / "graph_pages.json").read_bytes(), Door.IDENTITIES),
    "Get-MgUser": ((EXPORTS / "get_mguser.json").read_bytes(), Door.IDENTITIES),
    "users with their licences": (
        json.dumps([graph(1, "a@contoso.com", assignedLicenses=[])]).encode(),
        Door.IDENTITIES,
    ),
    "Entra's groups": (json.dumps({"value": [GROUP]}).encode(), Door.ENTRA_GROUPS),
    "Entra's groups without members": (
        json.dumps([{"id": "1", "displayName": "Sales", "groupTypes": [], "securityEnabled": True}]).encode(),
        Door.ENTRA_GROUPS,
    ),
    "Entra's groups by name and address": (
        b"id,displayName,mail,mailNickname\n" + f"{object_id(1)},Sales,sales@contoso.com,sales\n".encode(),
        Door.ENTRA_GROUPS,
    ),
    "Entra's list of groups": (ENTRA.encode(), Door.ENTRA_GROUPS),
    "groups as the portal shows them": (
        b"Object Id,Name,Group type,Membership type,Email\n1,Sales,Security,Assigned,s@contoso.com\n",
        Door.ENTRA_GROUPS,
    ),
    "accounts": ((EXPORTS / "generic.csv").read_bytes(), Door.ACCOUNTS),
    "accounts of Atlassian": ((EXPORTS / "atlassian_managed.csv").read_bytes(), Door.ACCOUNTS),
    "accounts of Okta": ((EXPORTS / "okta.csv").read_bytes(), Door.ACCOUNTS),
    "accounts of Google": ((EXPORTS / "google.csv").read_bytes(), Door.ACCOUNTS),
    "SCIM users": ((EXPORTS / "scim.jsonl").read_bytes(), Door.ACCOUNTS),
    "groups and members": (b"group,userName\nSales,a@contoso.com\n", Door.GROUPS),
    "groups and addresses": (b"Group Name;E-Mail\nSales;a@contoso.com\n", Door.GROUPS),
    "groups with lists": (json.dumps([{"displayName": "Sales", "members": ["a"]}]).encode(), Door.GROUPS),
    "decisions": (b"decision,action,account,identity,run,row\nreview,link,,,run1,00x\n", Door.DECISIONS),
    "a report": (b"decision,reason,objectId,userName\nreview,x,y,z\n", Door.DECISIONS),
}


WITHOUT_MEMBERS = (
    "Entra's groups without members",
    "Entra's groups by name and address",
    "Entra's list of groups",
    "groups as the portal shows them",
)


SIGN_IN = {"id": object_id(7), "userPrincipalName": "a@contoso.com", "appDisplayName": "App", "correlationId": "1"}
DEVICE = graph(1, "a@contoso.com", deviceName="PC", operatingSystem="iOS", serialNumber="7")
STRAYS = {
    "DistinguishedName,Enabled,Name,ObjectClass,ObjectGUID,SamAccountName,SID,UserPrincipalName": "Active Directory",
    "Name,SamAccountName,EmailAddress,ObjectGUID": "Active Directory",
    "DN,objectClass,sAMAccountName,mail": "Active Directory",
    "DistinguishedName,GroupCategory,GroupScope,Name,ObjectClass,ObjectGUID,SamAccountName,SID": "Active Directory",
    "Date (UTC),Request ID,User agent,Correlation ID,User ID,User,Username,User type,Application,IP address": "a log",
    "Date (UTC),Correlation ID,Service,Category,Activity,Actor User Principal Name,Target1DisplayName,Email": "a log",
    "RecordId,CreationDate,RecordType,Operation,UserId,AuditData,Email": "a log",
    json.dumps({"value": [SIGN_IN]}): "a log",
    "Report Refresh Date,User Principal Name,Display Name,Is Deleted,Assigned Products": "usage or licences",
    "Name,User principal name,State,Enabled services,Assignment paths": "usage or licences",
    "displayName,accountEnabled,operatingSystem,joinType (trustType),userNames,deviceId,objectId,mail": "devices",
    "Device ID,Device name,Serial number,OS version,Primary user UPN,Primary user email address,Email": "devices",
    json.dumps([DEVICE]): "devices",
}
"""Files that no door takes, by their header or as a whole, and what they are."""


@pytest.mark.parametrize("door", READERS)
@pytest.mark.parametrize(("file", "what"), STRAYS.items())
def test_a_file_that_no_door_takes_is_refused_by_name_and_with_the_one_to_send(
    file: str, what: str, door: Door
) -> None:
    row = "" if file.startswith(("{", "[")) else "\n" + ",".join(["a@contoso.com"] * (file.count(",") + 1)) + "\n"
    with pytest.raises(UnreadableFile, match=what) as refused:
        list(READERS[door]((file + row).encode()))
    assert f"send Entra's Download users to {Door.IDENTITIES}" in str(refused.value)


@pytest.mark.parametrize(
    "file",
    [
        b"userName,distinguishedName,samAccountName\na@contoso.com,CN=A,a\n",
        b"userName,email,deviceId\na,a@contoso.com,1\n",
        b"login,sid\na,S-1-5\n",
    ],
)
def test_accounts_that_know_their_directory_or_device_are_accounts(file: bytes) -> None:
    assert list(read_accounts(file))


@pytest.mark.parametrize("door", READERS)
@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_with_its_own_door_at_every_other(name: str, door: Door) -> None:
    file, own = FILES[name]
    if door is own:
        if name not in WITHOUT_MEMBERS:
            assert next(iter(READERS[door](file)))
        return
    with pytest.raises(UnreadableFile) as refused:
        list(READERS[door](file))
    assert own in str(refused.value)
    assert door in str(refused.value)


@pytest.mark.parametrize("door", [Door.ACCOUNTS, Door.GROUPS])
@pytest.mark.parametrize(
    "file",
    [
        b"userPrincipalName,displayName\na@contoso.com,A\n",
        b"DisplayName,UserPrincipalName,Mail\nA,a@contoso.com,a@contoso.com\n",
        b"UserPrincipalName;AccountEnabled\na@contoso.com;True\n",
        json.dumps({"value": [{"displayName": "A", "userPrincipalName": "a@contoso.com"}]}).encode(),
    ],
)
def test_entras_users_without_object_ids_become_neither_accounts_nor_groups(door: Door, file: bytes) -> None:
    with pytest.raises(UnreadableFile, match="without the object ids") as refused:
        list(READERS[door](file))
    assert Door.IDENTITIES in str(refused.value)
    if door is Door.ACCOUNTS:
        (row,) = read_accounts(file, columns={"userPrincipalName": "userName"})
        assert isinstance(row, AccountRow)


@pytest.mark.parametrize(
    ("door", "file"),
    [
        (Door.ACCOUNTS, b"userName,objectId\na@contoso.com,x\n"),
        (Door.ACCOUNTS, b"login,userPrincipalName,id\na,b,1\n"),
        (Door.ACCOUNTS, b"email\na@contoso.com\n"),
        (Door.ACCOUNTS, b"UPN,Name\na@contoso.com,A\n"),
        (Door.ACCOUNTS, b"userName,group\n,\na,Sales\n".replace(b"group", b"Department")),
        (Door.ACCOUNTS, (EXPORTS / "atlassian_site.csv").read_bytes()),
        (Door.GROUPS, (EXPORTS / "atlassian_site.csv").read_bytes()),
        (Door.GROUPS, b"group,userName,externalId\nSales,ada,7\n"),
        (Door.GROUPS, b"displayName\nSales\n"),
    ],
)
def test_a_file_that_may_be_what_the_door_takes_is_read(door: Door, file: bytes) -> None:
    assert list(READERS[door](file))


@pytest.mark.parametrize(
    "header",
    [
        "Anzeigename;Benutzerprinzipalname;Objekt-ID;E-Mail;Konto aktiviert",
        "Nom d'utilisateur principal;ID d'objet;E-mail",
        "Nombre principal de usuario;Id. de objeto;E-mail",
        "ユーザー プリンシパル名;オブジェクト ID;E-mail",
    ],
)
def test_entras_users_are_known_in_other_languages(header: str) -> None:
    row = ";".join(["a@contoso.com"] * header.count(";"))
    with pytest.raises(UnreadableFile, match="POST /linking/identities"):
        list(read_accounts(f"{header}\r\n{row};x\r\n".encode()))


def test_whoever_says_what_the_columns_are_is_believed() -> None:
    file = b"id,userPrincipalName,displayName\n1,a@contoso.com,A\n"
    with pytest.raises(UnreadableFile, match=r"\?columns="):
        list(read_accounts(file))
    (row,) = read_accounts(file, columns={"userPrincipalName": "userName"})
    assert row.user_name == "a@contoso.com"  # type: ignore[union-attr]


async def test_the_door_refuses_before_it_stages_anything(app: App) -> None:
    for name, (file, own) in FILES.items():
        for path in ("accounts/import", "groups/import", "linking/identities", "linking/groups"):
            if own == f"POST /{path}":
                continue
            with pytest.raises(Refusal) as refused:
                await app.call("POST", path, file, "text/csv")
            assert refused.value.status == 400, name
            assert own in refused.value.detail
    assert await app.call("GET", "accounts", userName="a@contoso.com") == {"accounts": []}
