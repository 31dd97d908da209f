"""Groups of Entra with their members, from the JSON of Microsoft Graph.

A file holds pages of `/groups` with `members`, or groups one after the other, also as PowerShell writes them. There may
be one object for each page of a group's members: they add up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from link_orchestrator.files.cells import Unusable, plain, printable, read_text
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.groups import MAX_GROUP_CHARS
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import Header, Row, UnreadableFile
from link_orchestrator.files.wrong_file import Door, Doorkeeper
from link_orchestrator.problems import Problem
from shared.directory.keys import fold
from shared.directory.text import MAX_NAME_CHARS

MAX_ID_CHARS = 200
_IN_ENTRA: Final = "Look the group up in Entra by its object id, mend it there, and start the run again."
MOST_EXPANDED: Final = 20
"""Members of a group that Microsoft Graph gives by $expand, at most and without a word of more.

https://learn.microsoft.com/graph/query-parameters#expand
"""
_NO_MEMBERS: Final = (
    "The file is a table, such as Download groups in the Entra admin center gives: it names the groups, and not who is "
    "in them. Get them with their members: open Graph Explorer (https://aka.ms/ge), sign in as an administrator, "
    "choose GET and v1.0, enter "
    "https://graph.microsoft.com/v1.0/groups?$select=id,displayName&$expand=members($select=id), "
    "consent to Group.Read.All under Modify permissions, press Run query, save the whole answer as a file that ends in "
    ".json, and send that. Where it ends with @odata.nextLink, send what that address answers behind it in the same "
    f"file. Graph gives {MOST_EXPANDED} members of a group at most that way: where a group has more, let the plan read "
    "the groups from Microsoft Graph itself."
)
_CUT_OFF: Final = "membersodatanextlink"
_READ: Final = {"id": "id", "objectid": "id", "displayname": "displayName", "members": "members"}


@dataclass(frozen=True, slots=True)
class EntraGroup:
    """A group of the customer's tenant, with the object ids of the users in it, or of some of them.

    It is `whole` once no more of them are to come. Before that no run plans it.
    """

    object_id: str
    display_name: str
    members: tuple[str, ...] = ()
    whole: bool = True


def read_entra_groups(
    file: bytes, *, content_type: str = "", notes: Notes | None = None
) -> Iterator[EntraGroup | Problem]:
    """Yield the groups of a file, and a Problem for each object that is not usable as one.

    `notes` is told what is read. Raises UnreadableFile, when the first group is asked for, if the file is not JSON.
    """
    notes = notes or Notes()
    return notes.watch(_read(file, content_type, notes))


def _read(file: bytes, content_type: str, notes: Notes) -> Iterator[EntraGroup | Problem]:
    names: dict[str, tuple[str, int]] = {}
    keeper = Doorkeeper(Door.ENTRA_GROUPS)
    most = 0
    for row in read_rows(file, content_type=content_type, row_chars=MAX_GROUP_CHARS, notes=notes):
        keeper.look(row)
        if isinstance(row, Header):
            raise UnreadableFile(_NO_MEMBERS)
        if isinstance(row, Problem):
            yield row
            continue
        notes.look(row.line, row.cells, _layout(row.cells))
        try:
            group = _group(row)
        except Unusable as unusable:
            yield Problem(row.line, unusable.reason, unusable.remedy)
            continue
        name, line = names.setdefault(fold(group.object_id), (fold(group.display_name), row.line))
        most = max(most, len(group.members))
        if fold(group.display_name) != name:
            reason = f"The column id is that of the group in line {line}, under another name."
            yield Problem(row.line, reason, "Export the groups again, at one time.")
        else:
            yield group
    if most == MOST_EXPANDED:
        notes.remark(
            f"The largest group has exactly {MOST_EXPANDED} members, which is as many as Microsoft Graph gives of each "
            "by $expand=members. Where a group has more in Entra, let the plan read the groups from Microsoft Graph."
        )


def _layout(cells: Mapping[str, Any]) -> Mapping[str, list[str]]:
    """Return which header holds what is read of a group."""
    return {column: [header] for header in cells if (column := _READ.get(plain(header)))}


def entra_group_of(group: Mapping[str, Any], *, whole: bool = True) -> EntraGroup | Problem:
    """Return a group as Microsoft Graph shows it, with its members, after the same checks as for an object of a file.

    A Problem names the group by its object id, since there is no line to look at.
    """
    try:
        return replace(_group(Row(1, dict(group))), whole=whole)
    except Unusable as unusable:
        object_id = printable(str(group.get("id") or "without an id")[:MAX_ID_CHARS])
        return Problem(1, f"Group {object_id}: {unusable.reason}", _IN_ENTRA)


def _group(row: Row) -> EntraGroup:
    cells: dict[str, tuple[str, Any]] = {}
    for header, value in row.cells.items():
        cells.setdefault(plain(header), (header, value))
    object_id = _id(*cells.get("id", cells.get("objectid", ("id", None))))
    name = read_text(*cells.get("displayname", ("displayName", None)), compared=True, most=MAX_NAME_CHARS)
    for column, value in (("id", object_id), ("displayName", name)):
        if not value:
            raise Unusable(column, "is empty", "Export id, displayName and members of every group.")
    header, members = cells.get("members", ("members", None))
    if not isinstance(members, list):
        # Not the same as an empty list: without its members, nobody can see how the group differs and approve that.
        raise Unusable(header, "is missing", "Ask Graph for them: /groups?$expand=members, or /groups/{id}/members.")
    if _CUT_OFF in cells and cells[_CUT_OFF][1]:
        raise Unusable(
            header, "is cut off", "Read it to its end: follow members@odata.nextLink, or /groups/{id}/members."
        )
    users = (_user(header, member) for member in members)
    return EntraGroup(object_id or "", name or "", tuple(dict.fromkeys(filter(None, users))))


def _user(header: str, member: object) -> str | None:
    """Return the object id of a member that is a user, else None: Entra provisions no nested groups, no devices."""
    if not isinstance(member, Mapping):
        return _id(header, member)
    cells = {plain(name): value for name, value in member.items()}
    more = cells.get("additionalproperties")
    kind = cells.get("odatatype") or (more.get("@odata.type") if isinstance(more, Mapping) else None)
    if kind and not str(kind).lower().endswith("graph.user"):
        return None
    object_id = _id(header, cells.get("id", cells.get("objectid")))
    if not object_id:
        raise Unusable(header, "holds a member without an id", "Export the members with their id.")
    return object_id


def _id(header: str, value: object) -> str | None:
    return read_text(header, value, compared=True, most=MAX_ID_CHARS)
