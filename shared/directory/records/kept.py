"""What provisioning replaced of an account that existed before it: kept for a while, so that an undo can give it back.

A row is committed with the change, under the change's number, and holds the old values of the attributes that the
change touched. The history has names of attributes only, and stays for ever; these values go after the policy's
undo term, or with their account.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.directory.keys import KEPT, Keys, prefix_end
from shared.directory.records.audit import Values, numbered
from shared.directory.records.model import Resource, Status
from shared.directory.text import dump, join_text, split_text
from shared.tables.access import delete, read_range, scan_pages
from shared.tables.port import Delete, Row, Tables, Upsert

SCHEMAS = "schemas"
"""Attribute that follows from the others, so that it is not kept."""
_URN = "urn:"


@dataclass(frozen=True, slots=True)
class Kept:
    """What one change by provisioning replaced: `values` by attribute, None where it had none.

    An attribute of an extension schema has the name of the schema and its own, with a colon between them.
    """

    number: int
    at: str
    values: Mapping[str, Any]


def kept_row(before: Resource, after: Resource, values: Values) -> Upsert | None:
    """Return the operation that keeps what a change replaced; None if that is nothing, or if nothing need be kept.

    `values` are those of audit.changed_values(). An account that provisioning made has nothing of its own to keep.
    """
    if Status.CLAIMED not in (before.status, after.status):
        return None
    replaced: dict[str, Any] = {}
    for name, (old, new) in values.items():
        if name.startswith(_URN):
            replaced |= _within(name, old or {}, new or {})
        elif name != SCHEMAS:
            replaced[name] = old
    beside = after.beside_document()
    replaced |= {name: value for name, value in before.beside_document().items() if value != beside[name]}
    if not replaced:
        return None
    columns = {"at": after.modified} | split_text("values", dump(replaced))
    return Upsert(f"{KEPT}{before.id}_{numbered(after.changes)}", columns)


def extension_of(name: str) -> str:
    """Return the extension schema that a kept attribute belongs to, "" for none."""
    return name.rpartition(":")[0] if name.startswith(_URN) else ""


async def list_kept(tables: Tables, keys: Keys, account_id: str, first: int, since: str) -> list[Kept]:
    """Return what was kept of an account's changes from the one numbered `first` on, not before `since`, in order."""
    prefix = f"{KEPT}{account_id}_"
    rows = await read_range(tables, keys.home(account_id), prefix + numbered(first), prefix_end(prefix))
    return [kept for kept in map(_read, rows) if kept.at >= since]


async def forget_kept(tables: Tables, keys: Keys, account_id: str) -> int:
    """Remove what was kept of a deleted account, and return how many rows that was."""
    prefix, partition = f"{KEPT}{account_id}_", keys.home(account_id)
    rows = await read_range(tables, partition, prefix, prefix_end(prefix))
    return await delete(tables, partition, [Delete(row.key, row.etag) for row in rows])


async def sweep_kept(tables: Tables, keys: Keys, bucket: int, before: str) -> int:
    """Remove what was kept in a bucket before that time, and return how many rows that was."""
    removed, partition = 0, keys.resources(bucket)
    async for page in scan_pages(tables, partition, KEPT, prefix_end(KEPT), select=["at"]):
        old = [Delete(row.key, row.etag) for row in page.rows if str(row.columns["at"]) < before]
        removed += await delete(tables, partition, old)
    return removed


def _within(urn: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of an extension's attributes that differ."""
    return {f"{urn}:{name}": old.get(name) for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _read(row: Row) -> Kept:
    number = int(row.key.rpartition("_n")[2])
    return Kept(number, str(row.columns["at"]), json.loads(join_text("values", row.columns)))
