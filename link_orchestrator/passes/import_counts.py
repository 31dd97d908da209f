"""What becomes of a row of an import, and under which names that is counted; the same in its preview. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator.problems import Problem
from shared.directory.records.kept import values_changed
from shared.directory.records.model import ENTERPRISE, Account

CREATED, UPDATED, UNCHANGED, REFUSED = "created", "updated", "unchanged", "refused"
REPEATED: Final = "repeated"
"""Count of rows that say the same as a row before them."""
CHANGES: Final = "changes."
"""Prefix of counts of updated accounts or groups, by the attribute that changes."""
DEACTIVATED, ACTIVATED = f"{CHANGES}deactivated", f"{CHANGES}activated"
"""Counts of updated accounts whose attribute active changes: they are not active any more, or are again."""
LEFT_ALONE: Final = "leftAlone."
"""Prefix of counts of refused rows whose account or group is left as it is: because of what it is, not of the row."""
PROTECTED_ACCOUNT, LINKED_ACCOUNT = f"{LEFT_ALONE}protected", f"{LEFT_ALONE}linked"
LINKED_GROUP: Final = LINKED_ACCOUNT


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a row: the counts to which it adds one, and the problem with it, None for none."""

    counts: tuple[str, ...]
    problem: Problem | None = None


def refused(problem: Problem, why: str = "") -> Outcome:
    """Return the outcome of a row that changes nothing; `why` is a count beside that of the refused ones."""
    return Outcome((REFUSED, why) if why else (REFUSED,), problem)


def updated(before: Account, after: Account) -> Outcome:
    """Return the outcome of a row that brings an account up to date."""
    return replacing({name: old for name, (old, _) in values_changed(before, after).items()})


def replacing(values: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a row that replaces these values of an account, by attribute as in Kept."""
    turned = DEACTIVATED if values.get("active", True) else ACTIVATED
    return Outcome((UPDATED, *(turned if name == "active" else CHANGES + shown_name(name) for name in values)))


def shown_name(name: str) -> str:
    """Return an attribute's name as people know it: the enterprise extension's go without the extension's URN."""
    return name.removeprefix(f"{ENTERPRISE}:")


def count(outcomes: Iterable[Outcome]) -> Counter[str]:
    """Return the sums of the counts of outcomes."""
    return Counter(name for outcome in outcomes for name in outcome.counts)
