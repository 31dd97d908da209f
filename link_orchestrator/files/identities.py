"""Identities from an exported file, for administrators who may not grant permissions on Microsoft Graph.

Two kinds of file are read: the "Download users" CSV of the Entra portal (headers of past and present versions), and the
users of Microsoft Graph as JSON, in pages or plain, also as `Get-MgUser | ConvertTo-Json` writes them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from link_orchestrator.files.cells import BETWEEN, Unusable, plain, read_flag, read_text
from link_orchestrator.files.columns import Layout
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.files.suspicious import is_type_name
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import FILE_TEXTS, NO_OBJECT_ID, TEXTS, Identity, read_object_id

# Headers of the portal's export and attributes of Graph, as plain() returns them: which attribute of Graph each is.
_ATTRIBUTES: Final[Mapping[str, str]] = {
    "id": "id",
    "objectid": "id",
    "userprincipalname": "userPrincipalName",
    "mail": "mail",
    "proxyaddresses": "proxyAddresses",
    "othermails": "otherMails",
    "alternateemailaddress": "otherMails",
    "employeeid": "employeeId",
    "displayname": "displayName",
    "givenname": "givenName",
    "surname": "surname",
    "mailnickname": "mailNickname",
    "jobtitle": "jobTitle",
    "department": "department",
    "accountenabled": "accountEnabled",
    "usertype": "userType",
    "onpremisesimmutableid": "onPremisesImmutableId",
    "onpremisessamaccountname": "onPremisesSamAccountName",
    "recipienttypedetails": "recipientTypeDetails",
    "immutableid": "onPremisesImmutableId",
}


def read_identities(file: bytes, *, content_type: str = "") -> Iterator[Identity | Problem]:
    """Yield the identities of a file, and a Problem for each row that is not usable as one.

    An object id may come twice: the caller has to see to that. Raises UnreadableFile, when the first row is asked for,
    if no row can be used.
    """
    for row in number_identities(file, content_type=content_type):
        yield row if isinstance(row, Problem) else row[1]


def number_identities(
    file: bytes, *, content_type: str = "", notes: Notes | None = None
) -> Iterator[tuple[int, Identity] | Problem]:
    """Do the same, each identity with its line. `notes` is told what is read."""
    notes = notes or Notes()
    return notes.watch(_read(file, content_type, notes))


def _read(file: bytes, content_type: str, notes: Notes) -> Iterator[tuple[int, Identity] | Problem]:
    for row in read_rows(file, content_type=content_type, notes=notes):
        if isinstance(row, Header):
            _check(row)
        elif isinstance(row, Problem):
            yield row
        else:
            notes.look(row.line, row.cells, _layout(tuple(row.cells)))
            read = _identity(row)
            yield read if isinstance(read, Problem) else (row.line, read)


@lru_cache(256)
def _layout(headers: tuple[str, ...]) -> Layout:
    """Return which attribute each header is, for those that are read."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for header in headers:
        if attribute := _ATTRIBUTES.get(plain(header)):
            found[attribute].append(header)
    return found


def identity_of(user: Mapping[str, Any]) -> Identity | Problem:
    """Return the identity of a user as Microsoft Graph shows it, after the same checks as for a row of a file."""
    return _identity(Row(1, dict(user)))


def _check(header: Header) -> None:
    found = {_ATTRIBUTES.get(plain(name)) for name in header.names}
    missing = [name for name in ("id", "userPrincipalName") if name not in found]
    if missing:
        raise UnreadableFile(
            f"The file has no column {' and no column '.join(missing)}. Take Users > Download users in the Entra admin "
            "center, or the JSON of Microsoft Graph."
        )


def _identity(row: Row) -> Identity | Problem:
    cells: dict[str, tuple[str, Any]] = {}
    for header, value in row.cells.items():
        if value not in (None, "", []) and (attribute := _ATTRIBUTES.get(plain(header))):
            cells.setdefault(attribute, (header, value))

    def text(attribute: str, *, compared: bool = False) -> str | None:
        return read_text(*cells.get(attribute, (attribute, None)), compared=compared)

    try:
        object_id, name = text("id", compared=True), text("userPrincipalName", compared=True)
        if not object_id or not name:
            missing = "userPrincipalName" if object_id else "id"
            raise Unusable(missing, "is empty", "Export id and userPrincipalName of every user.")
        guid = read_object_id(object_id)
        if guid is None:
            remedy = "Export it from Entra anew; a spreadsheet may have taken it for a number."
            raise Unusable(cells["id"][0], f"holds no object id: {NO_OBJECT_ID}", remedy)
        return Identity(
            guid,
            name,
            proxy_addresses=_several(*cells.get("proxyAddresses", ("", []))),
            other_mails=_several(*cells.get("otherMails", ("", []))),
            # Graph leaves accountEnabled out unless it is asked for.
            account_enabled=read_flag(*cells.get("accountEnabled", ("", None)), default=True),
            user_type=text("userType") or "Member",
            **{field: text(attribute) for attribute, field in (*TEXTS, *FILE_TEXTS)},
        )
    except Unusable as unusable:
        return Problem(row.line, unusable.reason, unusable.remedy)


def _several(header: str, value: object) -> tuple[str, ...]:
    """Return the values of a list, or of a CSV cell that holds several."""
    items = value if isinstance(value, list) else BETWEEN.split(read_text(header, value) or "")
    items = [item for item in items if not (isinstance(item, str) and item and is_type_name(item))]
    return tuple(text for item in items if (text := read_text(header, item, compared=True)))
