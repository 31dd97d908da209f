"""The directory's policy, with a history of who changed what in it, and since when its switches are on.

A change and its entry in the history are one transaction. Entries are numbered, since the clocks of several machines
give no order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from shared.directory.errors import InvalidCursor
from shared.directory.keys import Keys, behind, prefix_end
from shared.directory.matching.policy import Policy
from shared.directory.settings import POLICY, Setting
from shared.directory.text import join_text, split_text
from shared.json_text import dump, load
from shared.tables.access import read_range
from shared.tables.port import Conflict, Insert, Merge, Operation, Replace, Row, Tables, Value

AUTO_APPROVE, SCHEDULE, EXCLUDED, SET_ASIDE = "autoApprove", "schedule", "excluded", "setAside"
MATCHING_ENDED: Final = "matchingEnded"
SWITCHES: Final = (AUTO_APPROVE, SCHEDULE, MATCHING_ENDED)
"""Attributes by which something happens without a person, or no more. It is known who gave each its present value."""
ENTRY: Final = "policy_"
"""Row key prefix of the history's entries, the newest first."""
MOST: Final = 10**9
"""Number from which an entry's own is taken away in its key, so that keys are in order of newest first."""
APP: Final = "app"
"""The name under which a policy is stored that no request brought."""


class Switch(NamedTuple):
    """Who gave a switch of the policy its present value, and when."""

    by: str
    at: str


class Stored(NamedTuple):
    """The policy as it is stored, its switches that are on, by attribute, and its version, as an ETag."""

    policy: Policy
    switches: Mapping[str, Switch]
    version: str


class Policies(Setting[Policy]):
    """The policy of one directory."""

    def __init__(self, tables: Tables, keys: Keys, now: Callable[[], str]) -> None:
        super().__init__(tables, keys, POLICY, Policy(), _read, lambda policy: dump(policy.to_json()))
        self._now = now

    async def set(self, value: Policy, by: str = APP, check: Callable[[str], None] | None = None) -> None:
        """Store a policy; this process uses it at once. `check` may raise, handed the version of the one before.

        Nothing that others store comes between the check and the change.
        """
        await self.change(lambda _: value, by, check)

    async def change(
        self, change: Callable[[Policy], Policy], by: str = APP, check: Callable[[str], None] | None = None
    ) -> None:
        """Store what `change` makes of the policy as it is now, whatever others store at the same time."""
        while True:
            row = await self._tables.get(self._partition, POLICY)
            if check is not None:
                check(_version(row))
            before = self._value_of(row)
            after = change(before)
            number, at = _number(row) + 1, self._now()
            switches = {name: list(switch) for name, switch in _switches(row).items()}
            changes = _changes(before, after)
            for name in changes.keys() & set(SWITCHES):
                switches[name] = [by, at]
            columns = self._columns(after) | {"number": number} | split_text("switches", dump(switches))
            operation = Replace(POLICY, columns, row.etag) if row else Insert(POLICY, columns)
            with contextlib.suppress(Conflict):
                await self._tables.commit(self._partition, [operation, _entry(number, by, at, changes)])
                self._use(after)
                return

    async def read(self) -> Stored:
        """Return the policy as it is stored now, though this process read it a moment ago."""
        row = await self._tables.get(self._partition, POLICY)
        self.keep(row)
        policy = self._value_of(row)
        on = {
            AUTO_APPROVE: policy.approval_in_force,
            SCHEDULE: policy.schedule_in_force,
            MATCHING_ENDED: policy.matching_ended,
        }
        switches = {name: switch for name, switch in _switches(row).items() if on[name]}
        return Stored(policy, switches, _version(row))

    async def note(self, by: str, changes: Mapping[str, Any], operation: Operation) -> bool:
        """Commit an operation beside the policy together with an entry of the history; False if others were faster."""
        row = await self._tables.get(self._partition, POLICY)
        number = _number(row) + 1
        counted = Merge(POLICY, {"number": number}, row.etag) if row else Insert(POLICY, self._first(number))
        try:
            await self._tables.commit(self._partition, [counted, _entry(number, by, self._now(), changes), operation])
        except Conflict:
            return False
        return True

    async def history(self, cursor: str, count: int) -> tuple[list[dict[str, Any]], str | None]:
        """Return entries of the history, the newest first, from behind a cursor ("" for the start), and the next one.

        Raises InvalidCursor.
        """
        if cursor and not (cursor.isascii() and cursor.isdecimal() and 0 < int(cursor) < MOST):
            raise InvalidCursor
        low = behind(_key(int(cursor))) if cursor else ENTRY
        rows = await read_range(self._tables, self._partition, low, prefix_end(ENTRY), top=count + 1)
        entries = [_shown(row) for row in rows[:count]]
        return entries, str(entries[-1]["number"]) if len(rows) > count else None

    def _first(self, number: int) -> Mapping[str, Any]:
        return self._columns(self._default) | {"number": number}


def _read(text: str) -> Policy:
    return Policy.from_json(load(text))


def _number(row: Row | None) -> int:
    return int(row.columns.get("number", 0)) if row else 0


def _version(row: Row | None) -> str:
    """Return the number of the last change as an ETag."""
    return f'W/"{_number(row)}"'


def _switches(row: Row | None) -> dict[str, Switch]:
    found: Mapping[str, Sequence[str]] = load(join_text("switches", row.columns) or "{}") if row else {}
    return {name: Switch(*switch) for name, switch in found.items()}


def _changes(before: Policy, after: Policy) -> dict[str, Any]:
    """Return the attributes that differ, each with its values before and after; of exclusions only their numbers."""
    old, new = before.to_json(), after.to_json()
    changes = {name: {"before": old[name], "after": new[name]} for name in old if old[name] != new[name]}
    # Their values are names of people, who may want to be forgotten.
    if EXCLUDED in changes:
        changes[EXCLUDED] = _counted({*before.excluded, *before.criteria}, {*after.excluded, *after.criteria})
    if SET_ASIDE in changes:
        changes[SET_ASIDE] = _counted(set(before.set_aside), set(after.set_aside))
    return changes


def _counted(before: set[Any], after: set[Any]) -> dict[str, int]:
    """Return how many entries there were and are, and how many came and went."""
    come, gone = after - before, before - after
    return {"before": len(before), "after": len(after), "added": len(come), "removed": len(gone)}


def _key(number: int) -> str:
    return f"{ENTRY}{MOST - number:09d}"


def _entry(number: int, by: str, at: str, changes: Mapping[str, Any]) -> Insert:
    columns: dict[str, Value | None] = {"number": number, "by": by, "at": at, **split_text("changes", dump(changes))}
    return Insert(_key(number), columns)


def _shown(row: Row) -> dict[str, Any]:
    changes = load(join_text("changes", row.columns))
    known = {name: row.columns[name] for name in ("number", "by", "at")}
    return known | {"attributes": sorted(changes), "changes": changes}
