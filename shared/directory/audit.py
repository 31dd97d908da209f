"""The history of an account: one row a change, committed with it, so that neither exists without the other.

The row's key is the writer's own: after a lost answer, finding it tells that the commit took effect.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.directory.keys import AUDIT, Keys, prefix_end
from shared.directory.model import Account, dump
from shared.tables.port import Insert, Tables


@dataclass(frozen=True, slots=True)
class Change:
    """What happened to an account: `action` in one word, `by` whom, when, which attributes, and what they were."""

    action: str
    by: str
    at: str
    attributes: tuple[str, ...]
    before: Mapping[str, Any]


def audit_row(account_id: str, action: str, by: str, at: str, before: Account | None, after: Account | None) -> Insert:
    """Return the operation that records a change; `before` keeps the link state, so that a run can be undone."""
    columns = {
        "action": action,
        "by": by,
        "at": at,
        "attributes": ",".join(_changed(before, after)) or None,
        "before": dump(_link_state(before)) if before and after and _link_state(before) != _link_state(after) else None,
    }
    return Insert(f"{AUDIT}{account_id}_{at.translate(_COMPACT)}{secrets.token_hex(4)}", columns)


async def list_history(tables: Tables, keys: Keys, account_id: str) -> list[Change]:
    """Return an account's changes, oldest first; also those of a deleted one."""
    prefix = f"{AUDIT}{account_id}_"
    changes: list[Change] = []
    continuation = None
    while True:
        page = await tables.query(keys.accounts_of(account_id), prefix, prefix_end(prefix), continuation=continuation)
        for row in page.rows:
            columns: Mapping[str, Any] = row.columns
            names = columns.get("attributes", "")
            before = json.loads(columns.get("before", "{}"))
            changes.append(
                Change(columns["action"], columns["by"], columns["at"], tuple(filter(None, names.split(","))), before)
            )
        continuation = page.continuation
        if continuation is None:
            return changes


_COMPACT = str.maketrans("", "", "-:.TZ")


def _changed(before: Account | None, after: Account | None) -> list[str]:
    if before is None or after is None:
        return []
    names: list[str] = []
    if before.text != after.text:
        old, new = before.document(), after.document()
        names = sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
    beside = ("status", "protected", "evidence", "link", "retired")
    return names + [name for name in beside if getattr(before, name) != getattr(after, name)]


def _link_state(account: Account) -> dict[str, Any]:
    return {
        "status": account.status.value,
        "externalId": account.external_id,
        "userName": account.user_name,
        "link": account.link.to_json() if account.link else None,
    }
