"""What provisioning or an import replaced of an account: kept for a while, so that an undo can give it back.

A row is committed with the change, under the change's number, and holds the old values of the attributes that the
change touched. The history has names of attributes only, and stays for ever; these values go after the policy's
undo term, or with their account. An undo keeps what it replaces for the history alone. What imports replaced has rows
of its own: the undo of a run leaves it alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.directory.keys import KEPT, Keys, prefix_end
from shared.directory.records.audit import Values, changed_values, numbered
from shared.directory.records.model import Account, Resource, Status
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables.access import delete, read_range, scan_pages
from shared.tables.port import Delete, Row, Tables, Upsert

SCHEMAS = "schemas"
"""Attribute that follows from the others, so that it is not kept."""
_URN = "urn:"
BY_IMPORT = "_i"
"""What follows the account's id in the keys of what imports replaced: before the numbers that list_kept() reads."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What one change replaced: `values` by attribute, None where it had none. `by` is the import that made it, if any.

    An attribute of an extension schema has the name of the schema and its own, with a colon between them.
    """

    number: int
    at: str
    values: Mapping[str, Any]
    by: str = ""


def kept_row(before: Resource, after: Resource, values: Values) -> Upsert | None:
    """Return the operation that keeps what a change replaced; None if that is nothing, or if nothing need be kept.

    `values` are those of audit.changed_values(). An account that provisioning made has nothing of its own to keep.
    """
    if Status.CLAIMED not in (before.status, after.status):
        return None
    replaced = _replaced(values, before.beside_document(), after.beside_document())
    if not replaced:
        return None
    columns = {"at": after.modified} | split_text("values", dump(replaced))
    return Upsert(f"{KEPT}{before.id}_{numbered(after.changes)}", columns)


def values_changed(before: Account, after: Account) -> dict[str, tuple[Any, Any]]:
    """Return what a change by an import touches, with the values before and after it, by name in order.

    Attributes are named as in Kept.
    """
    values = changed_values(before, after)
    old = _replaced(values, before.beside_import(), after.beside_import())
    new = _replaced({name: (b, a) for name, (a, b) in values.items()}, after.beside_import(), before.beside_import())
    return {name: (old[name], new[name]) for name in sorted(old)}


def _replaced(values: Values, before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the old values of what differs: in the document, by audit.changed_values(), and beside it."""
    replaced: dict[str, Any] = {}
    for name, (old, new) in values.items():
        if name.startswith(_URN):
            replaced |= _within(name, old or {}, new or {})
        elif name != SCHEMAS:
            replaced[name] = old
    return replaced | {name: value for name, value in before.items() if value != after[name]}


def import_row(before: Account, after: Account, import_id: str) -> Upsert:
    """Return the operation that keeps what a change by an import replaced."""
    values = {name: old for name, (old, _) in values_changed(before, after).items()}
    columns = {"at": after.modified, "import": import_id} | split_text("values", dump(values))
    return Upsert(f"{KEPT}{before.id}{BY_IMPORT}{numbered(after.changes)}", columns)


def extension_of(name: str) -> str:
    """Return the extension schema that a kept attribute belongs to, "" for none."""
    return name.rpartition(":")[0] if name.startswith(_URN) else ""


async def list_kept(tables: Tables, keys: Keys, account_id: str, first: int, since: str) -> list[Kept]:
    """Return what was kept of an account's changes from the one numbered `first` on, not before `since`, in order."""
    prefix = f"{KEPT}{account_id}_"
    rows = await read_range(tables, keys.home(account_id), prefix + numbered(first), prefix_end(prefix))
    return [kept for kept in map(_read, rows) if kept.at >= since]


async def list_replaced(tables: Tables, keys: Keys, account_id: str, import_id: str, since: str = "") -> list[Kept]:
    """Return what was kept of an account's changes by an import, not before `since`, in order."""
    prefix = f"{KEPT}{account_id}{BY_IMPORT}"
    rows = await read_range(tables, keys.home(account_id), prefix, prefix_end(prefix))
    return [kept for kept in map(_read, rows) if kept.by == import_id and kept.at >= since]


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
    number = int(row.key.rpartition("n")[2])
    values, by = load(join_text("values", row.columns)), str(row.columns.get("import", ""))
    return Kept(number, str(row.columns["at"]), values, by)
