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
    SOURCES,
    USER_NAME,
    AttributeMapping,
)
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity

WORK: Final = "work"
"""The type of the e-mail address that provisioning writes."""


class Impact:
    """What provisioning under one mapping changes: made once, since each of a million accounts is to cost little."""

    def __init__(self, mapping: AttributeMapping) -> None:
        get = mapping.attributes.get
        self._user_name, self._email, self._number = (
            SOURCES.get(get(name, ""), _nothing) for name in (USER_NAME, EMAIL, EMPLOYEE_NUMBER)
        )
        self._activates = mapping.activates
        self.paths = tuple(mapping.others)
        self._places = [_place(path) for path in self.paths]
        self._others = [(shown_name(path), SOURCES[source]) for path, source in mapping.others.items()]

    @property
    def names(self) -> list[str]:
        """What the mapping may change, as changes() names it."""
        sent = ((USER_NAME, self._user_name), (EMAIL, self._email), (EMPLOYEE_NUMBER, self._number))
        known = [name for name, source in sent if source is not _nothing]
        return [*known, *([ACTIVE] if self._activates is not None else []), *(name for name, _ in self._others)]

    def held_by(self, document: Mapping[str, Any]) -> list[Any]:
        """Return what changes() asks of an account's document: the work address, and the values at the paths."""
        work = None
        for email in document.get("emails") or ():
            if email.get("type") == WORK:
                work = email.get("value")
                break
        held = [work]
        for holder, name in self._places:
            within = document.get(holder) if holder else document
            held.append(within.get(name) if within else None)
        return held

    def changes(self, identity: Identity, account: AccountFacts, held: Sequence[Any]) -> dict[str, dict[str, Any]]:
        """Return by attribute what it is, `from`, and what it becomes, `to`, once provisioning finds an account.

        `held` is what held_by() returned of the account's document. There is no `from` where it had no value.
        """
        found: dict[str, dict[str, Any]] = {}
        for name, value, now in (
            (USER_NAME, self._user_name(identity), account.user_name),
            (EMAIL, self._email(identity), held[0]),
            (EMPLOYEE_NUMBER, self._number(identity), account.employee_number),
        ):
            if value and value != now:
                found[name] = _change(now, value)
        if self._activates is not None and self._activates != account.active:
            found[ACTIVE] = _change(account.active, self._activates)
        for place, (name, source) in enumerate(self._others, 1):
            value = source(identity)
            if value and value != held[place]:
                found[name] = _change(held[place], value)
        return found


def shown_name(path: str) -> str:
    """Return a path as changes name it: without the URN of its extension."""
    return path.rpartition(":")[2]


def _nothing(_: Identity) -> None:
    return None


def _place(path: str) -> tuple[str, str]:
    """Return what an attribute is within ("" is the resource itself), and its name there."""
    holder, _, name = path.rpartition(":" if path.startswith("urn:") else ".")
    return holder, name


def _change(now: Any, value: Any) -> dict[str, Any]:
    return {"to": value} if now in (None, "") else {"from": now, "to": value}
