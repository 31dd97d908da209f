"""From what to what the changes of an account's history led, as far as that is known. Pure.

The history keeps the userName for ever, and names of attributes only of the rest. What provisioning replaced is kept
for a while (records/kept.py), and what an undo replaced of that. What is on or off was the other before each change of
it, back from what it is now.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.directory.records.audit import Change
from shared.directory.records.kept import Kept, extension_of
from shared.directory.records.model import EVIDENCE, Account

UNTOLD: Final = frozenset({EVIDENCE, "externalId"})
"""Attributes that a history tells otherwise: by the link, or by what the account shows of its past sign-ins."""

SWITCHES: Final = ("active", "protected")
"""Attributes that every account has, on or off."""

UNKNOWN: Final = object()
"""Stands for the value of an attribute that nobody knows any more."""

Values = dict[str, dict[str, Any]]


def values_of(history: Sequence[Change], kept: Sequence[Kept], account: Account | None) -> list[Values]:
    """Return for each change of a history the attributes of which more is known, each with `from` and `to`.

    Where one of the two is not there, the account had no value. `unknown` says that what it became was replaced since
    by a change of which nothing is kept. Of an account that is gone nothing is told, since its names are forgotten.
    """
    if account is None:
        return [{} for _ in history]
    replaced = {one.number: one.values for one in kept}
    now, found = account.document(), list[Values]()
    later: dict[str, Any] = {"protected": account.protected}
    for change in reversed(history):
        old = _known(change, replaced.get(change.number, {}))
        old |= {name: not later.get(name, now.get(name)) for name in SWITCHES if name in change.attributes}
        found.append({name: _values(was, _became(later, now, name)) for name, was in sorted(old.items())})
        # What a later change replaced without keeping it nobody knows; of an extension it says the schema alone.
        lost = {*change.attributes} - {extension_of(name) for name in old}
        later = {name: value for name, value in later.items() if extension_of(name) not in lost}
        later |= dict.fromkeys(lost, UNKNOWN) | old
    return found[::-1]


def _became(later: Mapping[str, Any], now: Mapping[str, Any], name: str) -> Any:
    """Return what an attribute was before the changes that `later` tells of, and is now where these let it be."""
    return later.get(name, later.get(extension_of(name), _now(now, name)))


def _known(change: Change, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is known of the values before a change, by attribute; None where there was none."""
    known = {name: value for name, value in replaced.items() if name not in UNTOLD}
    name = change.before.get("userName")
    return known | ({"userName": name} if name and "userName" in change.attributes else {})


def _now(document: Mapping[str, Any], name: str) -> Any:
    urn = extension_of(name)
    return (document.get(urn) or {}).get(name[len(urn) + 1 :]) if urn else document.get(name)


def _values(was: Any, then: Any) -> dict[str, Any]:
    if then is UNKNOWN:
        return _values(was, None) | {"unknown": True}
    return {name: value for name, value in (("from", was), ("to", then)) if value is not None}
