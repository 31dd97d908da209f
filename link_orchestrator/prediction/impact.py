"""What the first provisioning cycle changes of an account that it finds, from what to what. Pure.

A mapping names what is sent; what an account holds of it is in its facts and, of the rest, in its document. Like Entra,
a value is compared with its case, and what has no value in Entra is not sent. A test holds this against the stand-in
for Entra, on a whole company (tests/link_orchestrator/prediction/test_impact.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from link_orchestrator.prediction.mapping import (
    ACTIVE,
    EMAIL,
    EMPLOYEE_NUMBER,
    USER_NAME,
    AttributeMapping,
)
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity

Changes = Mapping[str, Mapping[str, Any]]
"""Attributes that change, each with what it is, `from`, and what it becomes, `to`; no `from` where it had no value."""

WORK: Final = "work"
"""The type of the e-mail address that provisioning writes."""


def held_by(document: Mapping[str, Any], mapping: AttributeMapping) -> list[Any]:
    """Return what impact() asks of an account's document: the work address, and the values of `mapping.others`."""
    emails = document.get("emails") or ()
    work = next((email.get("value") for email in emails if email.get("type") == WORK), None)
    return [work, *(_read(document, path) for path in mapping.others)]


def impact(
    identity: Identity, account: AccountFacts, held: Sequence[Any], mapping: AttributeMapping
) -> dict[str, dict[str, Any]]:
    """Return what changes of an account once provisioning finds it for an identity.

    `held` is what held_by() returned of the account's document.
    """
    sent = mapping.values(identity)
    work, *others = held
    found: dict[str, dict[str, Any]] = {}
    for name, now in ((USER_NAME, account.user_name), (EMAIL, work), (EMPLOYEE_NUMBER, account.employee_number)):
        value = sent.get(name)
        if value and value != now:
            found[name] = _change(now, value)
    activates = mapping.activates
    if activates is not None and activates != account.active:
        found[ACTIVE] = _change(account.active, activates)
    if mapping.others:
        values = mapping.other_values(identity)
        for path, now in zip(mapping.others, others, strict=True):
            value = values.get(path)
            if value and value != now:
                found[shown_name(path)] = _change(now, value)
    return found


def shown_name(path: str) -> str:
    """Return a path as changes name it: without the URN of its extension."""
    return path.rpartition(":")[2]


def _change(now: Any, value: Any) -> dict[str, Any]:
    return {"to": value} if now in (None, "") else {"from": now, "to": value}


def _read(document: Mapping[str, Any], path: str) -> Any:
    urn, _, name = path.rpartition(":")
    value: Any = document.get(urn) if urn else document
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
