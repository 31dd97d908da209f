"""Files at the wrong door: what a file is by its headers, and where it belongs.

A file of Entra's users has all that an account needs, and so has a list of groups with their members: sent to the
import of accounts, either would make an account of every row. So a file that is surely another door's is refused by
name, and so is one that no door takes: a log of sign-ins has names, addresses and ids, which are not those of people.
Whoever says by `columns` what its headers are is believed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from link_orchestrator.files.cells import plain
from link_orchestrator.files.layouts import ACCOUNTS, ADDRESSES, GROUP_NAMES, IDENTITIES, SIGN_IN_NAMES, recognise
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.problems import Problem
from shared.directory.text import Advice


class Door(StrEnum):
    """Where files are sent, by what they are."""

    ACCOUNTS = "POST /accounts/import"
    GROUPS = "POST /groups/import"
    IDENTITIES = "POST /linking/identities"
    ENTRA_GROUPS = "POST /linking/groups"
    DECISIONS = "POST /linking/runs/{id}/decisions"


_DECISIONS: Final = ({"action", "row", "run"}, {"decision", "reason"})
"""Headers of the tables of a run's report, with columns to fill in and without."""
_PORTAL_GROUP: Final = frozenset({"grouptype", "membershiptype"})
"""Headers of a list of groups as Entra's portal shows it."""
_ENTRA_GROUP: Final = (
    {"grouptypes"}, {"securityenabled", "mailenabled"}, {"membershiprule"}, {"membershiptype"}, {"mailnickname"},
)  # fmt: skip
"""Headers that only groups of Entra have, beside an id and a displayName; a mailNickname its users have with others."""
_USER: Final = frozenset({"userprincipalname", "accountenabled", "usertype", "givenname", "jobtitle"})
_PRINCIPAL: Final = frozenset(
    {"userprincipalname", "benutzerprinzipalname", "nomdutilisateurprincipal", "nombreprincipaldeusuario"}
    | {"ユーザープリンシパル名"}
)
"""The userPrincipalName, as headers call it in English, German, French, Spanish and Japanese."""
_OBJECT_ID: Final = frozenset({"id", "objectid", "objektid", "iddobjet", "iddeobjeto", "オブジェクトid"})
"""The object id in these languages."""
_BESIDE_PRINCIPAL: Final = frozenset({"displayname", "accountenabled", "usertype"})
"""Properties of Entra's users that are chosen with the userPrincipalName, where the object id was left out."""
_LOGINS: Final = frozenset({"username", "login", "loginname", "emailverified", "verifiedemail", "nameid", "samlnameid"})
"""Headers that an application's accounts have, and users of Entra do not."""
_GROUP: Final = frozenset({"group", "groupname", "groupdisplayname", *GROUP_NAMES.split()})
_PERSONAL: Final = frozenset(
    {"active", "status", "enabled", "isactive", "accountenabled", "suspended", "name", "fullname", "displayname"}
    | {"firstname", "givenname", "lastname", "surname", "familyname", "employeenumber", "employeeid", "department"}
    | {"title", "jobtitle", "nameid", "objectid", "externalid", "protected", "applicationid"}
    | {"vorname", "nachname", "anzeigename", "personalnummer", "abteilung", "aktiv", "prénom", "nom", "actif"}
    | {"nombre", "apellido", "apellidos", "activo", "名", "姓"}
) | _LOGINS - {"username", "login", "loginname"}
"""Headers that a list of groups and their members does not have."""
_STRAYS: Final = (
    (
        "a list of objects of Active Directory, which have no object ids of Entra",
        (
            {"samaccountname", "objectguid"}, {"samaccountname", "objectclass"}, {"samaccountname", "sid"},
            {"samaccountname", "distinguishedname"}, {"distinguishedname", "objectguid"},
        ),
        _LOGINS | _OBJECT_ID,
    ),
    (
        "a list of devices",
        (
            {"deviceid", "devicename"}, {"deviceid", "operatingsystem"}, {"devicename", "operatingsystem"},
            {"devicename", "serialnumber"},
        ),
        _LOGINS,
    ),
    (
        "a log of sign-ins or other events",
        (
            {"correlationid", "requestid"}, {"correlationid", "ipaddress"}, {"correlationid", "activity"},
            {"correlationid", "appdisplayname"}, {"recordtype", "auditdata"},
        ),
        frozenset[str](),
    ),
    ("a report about usage or licences", ({"reportrefreshdate"}, {"assignmentpaths"}), frozenset[str]()),
)  # fmt: skip
"""What no door takes: what it is, the headers of which it has all of one set, and those of which it has none.

The properties are those of Get-ADUser and Get-ADGroup, and of Graph's signIn, directoryAudit, device and managedDevice
(learn.microsoft.com). How portals call them in their CSV files is unconfirmed.
"""
_ADDRESSES: Final = frozenset({"username", "login", "loginname", "email", "emailaddress", "mail", "emails"})
_MEMBERS: Final = _ADDRESSES | {*SIGN_IN_NAMES.split(), *ADDRESSES.split()}
"""Headers of the members in a list of groups, in several languages."""


class Doorkeeper:
    """Refuses the files of other doors. It looks at the header of a table, and at the first object of JSON."""

    def __init__(self, door: Door, named: Mapping[str, str] | None = None) -> None:
        self._door = door
        self._looks = not named

    def look(self, row: Header | Row | Problem) -> None:
        """Raise UnreadableFile if what comes first in a file shows that it belongs elsewhere."""
        if not self._looks or isinstance(row, Problem):
            return
        self._looks = False
        headers = row.names if isinstance(row, Header) else tuple(row.cells)
        found = find_stray(headers) or find_door(headers, is_table=isinstance(row, Header))
        if found is None or found[1] is self._door:
            return
        what, door = found
        remedy = (
            f"Send it to {door}." if door else f"No door takes it: send Entra's Download users to {Door.IDENTITIES}."
        )
        if self._door is Door.ACCOUNTS and door is not Door.DECISIONS:
            remedy += " If these are accounts of the application all the same, say what the columns are by ?columns=…"
        here, there = self._door.name.lower(), door.name.lower() if door else ""
        said = f"The file is {what}"
        raise UnreadableFile(
            Advice(f"{said}, and this is {self._door}.", remedy, "door", {"is": said, "here": here, "there": there})
        )


def find_stray(headers: Iterable[str]) -> tuple[str, None] | None:
    """Return what a file with these headers surely is that no door takes; None for any other file."""
    words = {plain(name) for name in headers if name}
    for what, marks, others in _STRAYS:
        if any(mark <= words for mark in marks) and not words & others:
            return what, None
    return None


def find_door(headers: Iterable[str], *, is_table: bool) -> tuple[str, Door] | None:
    """Return what a file with these headers surely is, and where it belongs; None where it may be several things."""
    names = [name for name in headers if name]
    words = {plain(name) for name in names}
    if any(mark <= words for mark in _DECISIONS):
        return "a table of a run's rows, for decisions about them", Door.DECISIONS
    if not words & _LOGINS:
        if words >= _PORTAL_GROUP and not words & _USER:
            return "a list of Entra's groups", Door.ENTRA_GROUPS
        if (
            {"id", "displayname"} <= words
            and not words & _USER
            and (any(mark <= words for mark in _ENTRA_GROUP) or ("members" in words and "schemas" not in words))
        ):
            return "a list of Entra's groups", Door.ENTRA_GROUPS
        product = recognise(IDENTITIES, names)
        if product or (words & _PRINCIPAL and words & _OBJECT_ID):
            return f"a list of Entra's users ({product.name if product else 'Entra'})", Door.IDENTITIES
        if words & _PRINCIPAL and words & _BESIDE_PRINCIPAL and not words & _GROUP:
            return "a list of Entra's users, without the object ids that have to be in it", Door.IDENTITIES
    accounts = recognise(ACCOUNTS, names)
    if words & _GROUP and words & _MEMBERS and not words & _PERSONAL and not accounts:
        return "a list of groups and their members", Door.GROUPS
    if not is_table and {"displayname", "members"} <= words and not words & _ADDRESSES:
        return "a list of groups", Door.GROUPS
    if words & _GROUP:
        return None  # an export of users by group is a list of accounts, and of groups
    if accounts or (words & _ADDRESSES and words & (_PERSONAL - {"name"}) and words & {*_LOGINS, "displayname"}):
        return f"a list of accounts{f' ({accounts.name})' if accounts else ''}", Door.ACCOUNTS
    return None
