"""The history of a resource: a row for each change, committed with it, so that neither exists without the other.

A change has a number, one more than the change before it, which is committed with it, too. By this number the history
is in order: a clock may go back. Only its writer knows the row's key: after a lost answer, finding the row tells that
the commit took effect.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.directory.keys import AUDIT, Keys, behind, prefix_end
from shared.directory.records.model import Resource
from shared.json_text import dump, load
from shared.tables.access import read_range, write
from shared.tables.port import ANY, Insert, Operation, Replace, Row, Tables

UNDO_IMPORT: Final = "undoImport"
"""The action by which what an import made or changed is taken back."""
Values = Mapping[str, tuple[Any, Any]]
"""Attributes of a document that a change touched, each with its value before and after: None where it has none."""


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a resource: in one word, by whom, when, to which attributes, and its link state before.

    `number` is the change's number, 0 for one that an earlier version of the app made. Changes of a group's members
    have that of the group's own change before them.
    """

    action: str
    by: str
    at: str
    attributes: tuple[str, ...]
    before: Mapping[str, Any]
    number: int = 0


def audit_row(
    action: str, by: str, at: str, before: Resource | None, after: Resource | None, values: Values | None = None
) -> Insert:
    """Return the operation that records a change, with the link state before it, so that a run can be undone.

    `before` is None for a creation, `after` for a deletion. `values` are changed_values(), where they are known.
    """
    resource, number = (after, after.changes) if after else (before, before.changes + 1 if before else 0)
    if resource is None:
        raise ValueError("a change has a resource before it or after it")
    names: list[str] = []
    if before and after:
        names = sorted(changed_values(before, after) if values is None else values)
        names += [name for name, field in before.audited.items() if getattr(before, field) != getattr(after, field)]
    was = before.link_state() if before and after else None
    columns = {
        "action": action,
        "by": by,
        "at": at,
        "attributes": ",".join(names) or None,
        "before": dump(was) if was and after and was != after.link_state() else None,
    }
    return Insert(f"{AUDIT}{resource.id}_{numbered(number)}{secrets.token_hex(4)}", columns)


def members_row(group_id: str, number: int, by: str, at: str) -> Insert:
    """Return the operation that records a change of a group's members, after the group's own change of this number.

    Members change without the group's row. Their changes between two of the group itself go by the clock.
    """
    moment = f"{time.time_ns():016x}{secrets.token_hex(4)}"
    return Insert(f"{AUDIT}{group_id}_{numbered(number)}m{moment}", {"action": "members", "by": by, "at": at})


def numbered(number: int) -> str:
    """Return a change's number in a row key. It follows the year with which keys of earlier versions begin."""
    return f"n{number:010d}"


async def list_history(tables: Tables, keys: Keys, resource_id: str, *beside: str) -> list[Change]:
    """Return a resource's changes, oldest first, also if it was deleted, from its partition and those `beside` it."""
    prefix = f"{AUDIT}{resource_id}_"
    rows: list[Row] = []
    for partition in (keys.home(resource_id), *beside):
        rows += await read_range(tables, partition, prefix, prefix_end(prefix))
    return [_change(row, prefix) for row in sorted(rows, key=lambda row: row.key)]


async def forget_names(tables: Tables, keys: Keys, account_id: str) -> int:
    """Remove the userNames from the history of a deleted account, and return how many changes had one.

    While it is there, its history says which names were its own.
    """
    prefix, partition = f"{AUDIT}{account_id}_", keys.home(account_id)
    named: list[Operation] = []
    for row in await read_range(tables, partition, prefix, prefix_end(prefix)):
        before = load(str(row.columns.get("before") or "{}"))
        if before.pop("userName", None) is not None:
            named.append(Replace(row.key, {**row.columns, "before": dump(before)}, ANY))
    await write(tables, {partition: named})
    return len(named)


HISTORY_CURSOR: Final = re.compile(r"[0-9]{17}[0-9a-f]{24}|n[0-9]{10}(?:m[0-9a-f]{24}|[0-9a-f]{8})")
"""The end of a change's row key: its number, and something random; of earlier versions, its moment."""


async def page_history(
    tables: Tables, keys: Keys, resource_id: str, *beside: str, cursor: str, count: int
) -> tuple[list[Change], str | None]:
    """Return some of what list_history() returns, from behind a cursor ("" for the start), and the next cursor."""
    prefix = f"{AUDIT}{resource_id}_"
    low, rows = behind(prefix + cursor) if cursor else prefix, list[Row]()
    for partition in (keys.home(resource_id), *beside):
        rows += await read_range(tables, partition, low, prefix_end(prefix), top=count + 1)
    rows = sorted(rows, key=lambda row: row.key)
    more = rows[count - 1].key.removeprefix(prefix) if len(rows) > count else None
    return [_change(row, prefix) for row in rows[:count]], more


async def latest_history(
    tables: Tables, keys: Keys, resource_id: str, *, changes: int, cursor: str, count: int
) -> tuple[list[Change], int, str | None]:
    """Return a resource's changes from a page on, how many of them are the page, and the cursor to the page before it.

    The page without a cursor ends with the latest change; `changes` is the number of that, 0 where nobody knows it.
    Each page is in order, oldest first. What came behind it is returned with it: what a change led to, later ones say.
    """
    prefix = f"{AUDIT}{resource_id}_"
    following = int(cursor[1:11]) if cursor.startswith("n") else 0 if cursor else changes + 1
    first = following - count
    low = prefix + numbered(first) if first > 1 else prefix
    rows = await read_range(tables, keys.home(resource_id), low, prefix_end(prefix))
    end = sum(not cursor or row.key < prefix + cursor for row in rows)
    begin = max(end - count, 0)
    more = rows[begin].key.removeprefix(prefix) if end > begin and (begin or first > 1) else None
    return [_change(row, prefix) for row in rows[begin:]], end - begin, more


def changed_values(before: Resource, after: Resource) -> dict[str, tuple[Any, Any]]:
    """Return the attributes of the document that differ, by name, each with its value before and after."""
    if before.text == after.text:
        return {}
    if after.text.startswith(before.text[:-1] + ","):
        # Attributes were only added: a run that stamps 100,000 externalIds need not parse whole documents.
        return {name: (None, value) for name, value in load("{" + after.text[len(before.text) :]).items()}
    old, new = before.document(), after.document()
    names = [name for name in old.keys() | new.keys() if old.get(name) != new.get(name)]
    return {name: (old.get(name), new.get(name)) for name in names}


def group_before(history: Sequence[Change], place: int) -> dict[str, Any]:
    """Return the link state of a group before a change of its history.

    Earlier versions of the app kept no name with it: then it is that before the first change which kept one, if any.
    """
    before = dict(history[place].before)
    later = (change.before["displayName"] for change in history[place:] if "displayName" in change.before)
    if name := next(later, None):
        before["displayName"] = name
    return before


def _change(row: Row, prefix: str) -> Change:
    columns: Mapping[str, Any] = row.columns
    names = tuple(filter(None, columns.get("attributes", "").split(",")))
    place = row.key.removeprefix(prefix)
    number = int(place[1:11]) if place.startswith("n") else 0
    before = load(columns.get("before", "{}"))
    return Change(columns["action"], columns["by"], columns["at"], names, before, number)
