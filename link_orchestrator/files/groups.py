"""Existing groups from an exported file: their names, and their members by userName.

files/formats.py reads the rows, and passes/import_groups.py stores the groups. Headers are recognised as in
files/accounts.py, in these layouts: CSV or JSON Lines with a row for every group and member, Atlassian's older site
export among them, and JSON with an object for every group. Rows of one group add up.

| Column | Holds | Also known as |
|---|---|---|
| group | the group's name | group_name; displayName |
| userName | a member, by the userName of its account; none if empty | username, login, user, UPN, email, member |
| groupExternalId | the client's identifier of the group | externalId, where there is no userName beside it |
| members | all members of the group, as a list of userNames | |
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.files.cells import BETWEEN, Unusable, read_shown, read_text
from link_orchestrator.files.columns import Columns, Layout, Needed, check_named, ranks
from link_orchestrator.files.formats import read_rows
from link_orchestrator.files.layouts import ADDRESSES, GROUP_NAMES, SIGN_IN_NAMES
from link_orchestrator.files.reading import Notes
from link_orchestrator.files.rows import MAX_FIELD_CHARS, Header, Row
from link_orchestrator.files.wrong_file import Door, Doorkeeper
from link_orchestrator.problems import LINES, Problem
from shared.directory.object_ids import is_nil
from shared.directory.text import MAX_NAME_CHARS

MAX_GROUP_CHARS = 16_000_000
"""Characters of a row, which in JSON may be a group of 100,000 members."""
GROUP_ROW_CHARS = 50_000
"""Characters of the members in one GroupRow. A group with more becomes several."""

_ALSO_KNOWN_AS: Final[Mapping[str, str]] = {
    "group": f"groupname groupdisplayname displayname {GROUP_NAMES}",
    "userName": f"member membername mitglied membre miembro メンバー {SIGN_IN_NAMES} email {ADDRESSES}",
    "groupExternalId": "",
    "members": "mitglieder membres miembros",
}
COLUMNS: Final = tuple(_ALSO_KNOWN_AS)
"""The columns that a header may be read as."""
_RANKS: Final = {**ranks(_ALSO_KNOWN_AS, _ALSO_KNOWN_AS), "externalid": ("externalId", 0)}


@dataclass(frozen=True, slots=True)
class GroupRow:
    """A group, and some of its members by userName. `first` is the place of the first one if the file has a list."""

    line: int
    display_name: str
    members: tuple[str, ...] = ()
    external_id: str | None = None
    first: int | None = None

    def to_json(self) -> list[Any]:
        """Return the row as JSON types, and as a list, since there may be one for every membership."""
        return [self.line, self.display_name, list(self.members), self.external_id, self.first]

    @classmethod
    def from_json(cls, row: list[Any]) -> GroupRow:
        """Return the row that `to_json` wrote."""
        line, display_name, members, external_id, first = row
        return cls(line, display_name, tuple(members), external_id, first)


def read_groups(
    file: bytes, *, content_type: str = "", columns: Mapping[str, str] | None = None, notes: Notes | None = None
) -> Iterator[GroupRow | Problem]:
    """Yield the groups of a file with their members, and a Problem for each row that is not usable as one.

    `columns` names, for headers that are not recognised, the column that each is, "" for none. `notes` is told what is
    read. Raises UnreadableFile, when the first row is asked for, if no row can be used or `columns` names an unknown
    column.
    """
    notes = notes or Notes()
    return notes.watch(_read(file, content_type, columns or {}, notes))


def _read(file: bytes, content_type: str, named: Mapping[str, str], notes: Notes) -> Iterator[GroupRow | Problem]:
    found, keeper = Columns(_RANKS, check_named(named, _ALSO_KNOWN_AS)), Doorkeeper(Door.GROUPS, named)
    groups = members = 0
    for row in read_rows(file, content_type=content_type, row_chars=MAX_GROUP_CHARS, notes=notes):
        keeper.look(row)
        if isinstance(row, Header):
            found.check(row, Needed(("group",), "the group's name", ("group", "grup", "team", "equip", "name")))
        elif isinstance(row, Problem):
            yield row
        else:
            notes.look(row.line, row.cells, found.of(row.cells))
            try:
                for group in _group(row, found.of(row.cells)):
                    groups, members = groups + 1, members + len(group.members)
                    yield group
            except Unusable as unusable:
                yield Problem(row.line, unusable.reason, unusable.remedy)
    if groups and not members:
        notes.remark(_without_members(notes))


def _without_members(notes: Notes) -> str:
    """Return what to say of a file of groups in which nobody is a member."""
    reading = notes.reading()
    if any(one.read_as in ("userName", "members") for one in reading.columns):
        return "No group of this file has a member: the columns that hold members are empty."
    said = "No column was read as the members of the groups, so that they come without any."
    if reading.ignored:
        said += f" Not read: {', '.join(reading.ignored[:LINES])}. If one of them has the members, say that it is "
        return f"{said}userName (a member in each row) or members (all of them in one cell)."
    return f"{said} Export it with a column of members, a row for each of them, called userName."


def _group(row: Row, columns: Layout) -> Iterator[GroupRow]:
    def text(column: str, most: int = MAX_FIELD_CHARS) -> str | None:
        found = (read_text(name, row.cells[name], compared=True, most=most) for name in columns.get(column, ()))
        return next(filter(None, found), None)

    name, external_id = text("group", MAX_NAME_CHARS), text("groupExternalId", MAX_NAME_CHARS)
    if not external_id and ("members" in columns or "userName" not in columns):  # otherwise it is the member's
        external_id = text("externalId", MAX_NAME_CHARS)
    header = columns.get("group", ["group"])[0]
    if not (name and read_shown(header, name, emoji=True)):
        raise Unusable(header, "names no group", "Fill it in, or leave the row out if it belongs to none.")
    read_shown("groupExternalId", external_id)
    if external_id and is_nil(external_id):
        raise Unusable("groupExternalId", "holds the id that stands for none", "Leave it empty.")
    if "members" not in columns:
        member = text("userName")
        yield GroupRow(row.line, name, (member,) if member else (), external_id)
        return
    members = _members(columns["members"][0], row.cells[columns["members"][0]])
    yield from (GroupRow(row.line, name, some, external_id, first) for first, some in _split(members))


def _members(header: str, value: object) -> list[str]:
    items = value if isinstance(value, list) else BETWEEN.split(read_text(header, value) or "")
    members = []
    for item in items:
        user_name = item.get("userName") if isinstance(item, dict) else item
        member = read_text(header, user_name, compared=True)
        if member:
            members.append(member)
        elif item:
            raise Unusable(header, "holds a member without a userName", "Write it as a list of userNames.")
    return members


def _split(members: list[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the members, each time as many as fit a GroupRow, with the place of the first; () if there are none."""
    start = size = 0
    for place, member in enumerate(members):
        if size and size + len(member) > GROUP_ROW_CHARS:
            yield start, tuple(members[start:place])
            start, size = place, 0
        size += len(member) + 3
    yield start, tuple(members[start:])
