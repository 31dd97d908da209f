"""The history of a resource: a row for each change, committed with it, so that neither exists without the other.

Only its writer knows the row's key: after a lost answer, finding the row tells that the commit took effect.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.directory.keys import AUDIT, Keys, behind, prefix_end
from shared.directory.records.model import Resource
from shared.directory.text import dump
from shared.tables.access import read_range
from shared.tables.port import Insert, Row, Tables


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to a resource: in one word, by whom, when, to which attributes, and its link state before."""

    action: str
    by: str
    at: str
    attributes: tuple[str, ...]
    before: Mapping[str, Any]


def audit_row(
    resource_id: str, action: str, by: str, at: str, before: Resource | None, after: Resource | None
) -> Insert:
    """Return the operation that records a change, with the link state before it, so that a run can be undone."""
    was = before.link_state() if before and after else None
    columns = {
        "action": action,
        "by": by,
        "at": at,
        "attributes": ",".join(_changed(before, after)) or None,
        "before": dump(was) if was and after and was != after.link_state() else None,
    }
    # The nanoseconds keep the order of changes within one millisecond of `at`.
    return Insert(f"{AUDIT}{resource_id}_{at.translate(_COMPACT)}{time.time_ns():016x}{secrets.token_hex(4)}", columns)


async def list_history(tables: Tables, keys: Keys, resource_id: str, *beside: str) -> list[Change]:
    """Return a resource's changes, oldest first, also if it was deleted, from its partition and those `beside` it."""
    prefix = f"{AUDIT}{resource_id}_"
    rows: list[Row] = []
    for partition in (keys.home(resource_id), *beside):
        rows += await read_range(tables, partition, prefix, prefix_end(prefix))
    return [_change(row.columns) for row in sorted(rows, key=lambda row: row.key)]


HISTORY_CURSOR: Final = re.compile(r"[0-9]{17}[0-9a-f]{24}")
"""The end of a change's row key: its moment and something random."""


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
    return [_change(row.columns) for row in rows[:count]], more


def _change(columns: Mapping[str, Any]) -> Change:
    names = tuple(filter(None, columns.get("attributes", "").split(",")))
    return Change(columns["action"], columns["by"], columns["at"], names, json.loads(columns.get("before", "{}")))


_COMPACT = str.maketrans("", "", "-:.TZ")


def _changed(before: Resource | None, after: Resource | None) -> list[str]:
    if before is None or after is None:
        return []
    names: list[str] = []
    if after.text.startswith(before.text[:-1] + ","):
        # Attributes were only added: a run that stamps 100,000 externalIds need not parse whole documents.
        names = sorted(json.loads("{" + after.text[len(before.text) :]))
    elif before.text != after.text:
        old, new = before.document(), after.document()
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    return names + [name for name in before.audited if getattr(before, name) != getattr(after, name)]
