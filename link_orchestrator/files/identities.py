"""Identities from an exported file, for administrators who may not grant permissions on Microsoft Graph.

What is read: the "Download users" CSV of the Entra admin center (headers of past and present versions), the users of
the Microsoft 365 admin centre, and those of Microsoft Graph as JSON, in pages or plain, also as Get-MgUser and
ConvertTo-Json or Export-Csv write them. The layouts are in layouts.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from link_orchestrator.files.cells import Unusable, read_flag, read_text
from link_orchestrator.files.columns import Columns, Layout, Needed, check_named, ranks
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.layouts import BULK_REMEDY, IDENTITIES, is_bulk
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.files.suspicious import is_type_name
from link_orchestrator.files.wrong_file import Door, Doorkeeper
from link_orchestrator.problems import Problem
from shared.directory.matching.identity import FILE_TEXTS, TEXTS, Identity
from shared.directory.object_ids import NO_OBJECT_ID, read_object_id

_ALSO_KNOWN_AS: Final[Mapping[str, str]] = {
    "id": "objectid",
    "userPrincipalName": "",
    "mail": "",
    "proxyAddresses": "",
    "otherMails": "alternateemailaddress",
    "employeeId": "",
    "displayName": "",
    "givenName": "",
    "surname": "",
    "mailNickname": "",
    "jobTitle": "",
    "department": "",
    "accountEnabled": "",
    "blocked": "blockcredential",
    "userType": "",
    "onPremisesImmutableId": "immutableid",
    "onPremisesSamAccountName": "",
    "recipientTypeDetails": "",
}
"""Attributes of Graph, and other headers that they have. `blocked` is accountEnabled the other way round."""
_RANKS: Final = ranks(_ALSO_KNOWN_AS, _ALSO_KNOWN_AS)
_NEEDED: Final = (
    Needed(("id",), "the object id", ("objectid", "objekt", "object", "oid", "guid", "id"), any_other=False),
    Needed(
        ("userPrincipalName",),
        "the userPrincipalName",
        ("upn", "principal", "prinzipal", "username", "login", "mail", "user", "name"),
        any_other=False,
    ),
)
_REMEDY: Final = (
    "Otherwise take Users > Download users in the Entra admin center, or the JSON of Microsoft Graph, which have it."
)


def read_identities(
    file: bytes, *, content_type: str = "", columns: Mapping[str, str] | None = None
) -> Iterator[Identity | Problem]:
    """Yield the identities of a file, and a Problem for each row that is not usable as one.

    `columns` names, for headers that are not recognised, the attribute of Graph that each is, "" for none. An object id
    may come twice: the caller has to see to that. Raises UnreadableFile, when the first row is asked for, if no row can
    be used or `columns` names an unknown attribute.
    """
    for row in number_identities(file, content_type=content_type, columns=columns):
        yield row if isinstance(row, Problem) else row[1]


def number_identities(
    file: bytes, *, content_type: str = "", columns: Mapping[str, str] | None = None, notes: Notes | None = None
) -> Iterator[tuple[int, Identity] | Problem]:
    """Do the same, each identity with its line. `notes` is told what is read."""
    notes = notes or Notes()
    return notes.watch(_read(file, content_type, columns or {}, notes))


def _read(
    file: bytes, content_type: str, named: Mapping[str, str], notes: Notes
) -> Iterator[tuple[int, Identity] | Problem]:
    found, keeper = Columns(_RANKS, check_named(named, _ALSO_KNOWN_AS), IDENTITIES), Doorkeeper(Door.IDENTITIES, named)
    for row in read_rows(file, content_type=content_type, notes=notes):
        keeper.look(row)
        if isinstance(row, Header):
            _check(row, found)
        elif isinstance(row, Problem):
            yield row
        else:
            layout, product = found.look(row.cells)
            notes.look(row.line, row.cells, layout)
            notes.layout = notes.layout or (product.name if product else "")
            read = _identity(row, layout)
            yield read if isinstance(read, Problem) else (row.line, read)


def identity_of(user: Mapping[str, Any]) -> Identity | Problem:
    """Return the identity of a user as Microsoft Graph shows it, after the same checks as for a row of a file."""
    return _identity(Row(1, dict(user)), _GRAPH.of(user))


_GRAPH: Final = Columns(_RANKS, {})


def _check(header: Header, columns: Columns) -> None:
    if is_bulk(header.names):
        raise UnreadableFile(BULK_REMEDY)
    try:
        columns.check(header, *_NEEDED)
    except UnreadableFile as lacking:
        raise UnreadableFile(f"{lacking} {_REMEDY}") from lacking


def _identity(row: Row, layout: Layout) -> Identity | Problem:
    cells: dict[str, tuple[str, Any]] = {}
    value_of = row.cells.get
    for attribute, headers in layout.items():
        for header in headers:
            if (value := value_of(header)) not in (None, "", []):
                cells[attribute] = header, value
                break

    def text(attribute: str, *, compared: bool = False) -> str | None:
        cell = cells.get(attribute)
        return read_text(*cell, compared=compared) if cell else None

    try:
        object_id, name = text("id", compared=True), text("userPrincipalName", compared=True)
        if not object_id or not name:
            missing = "userPrincipalName" if object_id else "id"
            raise Unusable(missing, "is empty", "Export id and userPrincipalName of every user.")
        guid = read_object_id(object_id)
        if guid is None:
            remedy = "Export it from Entra anew; a spreadsheet may have taken it for a number."
            raise Unusable(cells["id"][0], f"holds no object id: {NO_OBJECT_ID}", remedy)
        proxies = _several(*cells.get("proxyAddresses", ("", [])))
        texts = {field: text(attribute) for attribute, field in (*TEXTS, *FILE_TEXTS)}
        if "mail" not in layout and "proxyAddresses" in layout:
            texts["mail"] = next((one[5:] for one in proxies if one.startswith("SMTP:")), None)
        # Graph leaves accountEnabled out unless it is asked for.
        enabled = read_flag(*cells.get("accountEnabled", ("", None)), default=True)
        blocked = read_flag(*cells.get("blocked", ("", None)), default=False)
        return Identity(
            guid,
            name,
            proxy_addresses=proxies,
            other_mails=_several(*cells.get("otherMails", ("", []))),
            account_enabled=enabled and not blocked,
            user_type=text("userType") or "Member",
            **texts,
        )
    except Unusable as unusable:
        return Problem(row.line, unusable.reason, unusable.remedy)


_BETWEEN: Final = re.compile(r"[;,\s]+|\+(?=[A-Za-z][A-Za-z0-9]*:)")
"""Separates addresses in a cell. The Microsoft 365 admin centre joins them by a plus sign, which may be in one, too."""


def _several(header: str, value: object) -> tuple[str, ...]:
    """Return the values of a list, or of a CSV cell that holds several."""
    items = value if isinstance(value, list) else _BETWEEN.split(read_text(header, value) or "")
    items = [item for item in items if not (isinstance(item, str) and item and is_type_name(item))]
    return tuple(text for item in items if (text := read_text(header, item, compared=True)))
