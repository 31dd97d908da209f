"""Why rows of an approved plan are refused while it is carried out, and under which names that is counted.

A row keeps its outcome as a sentence, by which a pass that runs again counts it as before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.directory.policies import EXCLUDED, SET_ASIDE

REFUSED: Final = "refused"
REFUSED_BY, GROUPS_REFUSED_BY = "refusedBy.", "groupsRefusedBy."
"""Prefixes of counts of refused rows, of accounts and of groups, by what was in the way."""
CHANGED, DELETED, HELD, NAMED = "changed", "deleted", "held", "named"
WHY: Final[Mapping[str, str]] = {
    CHANGED: "the account changed since the plan; a new run decides again",
    DELETED: "the account was deleted since the plan",
    EXCLUDED: "the directory's policy excludes the person by now, whatever policy the run goes by",
    SET_ASIDE: "the directory's policy sets the account aside by now, whatever policy the run goes by",
    HELD: "another account holds this identity's {} by now",
}
"""What is said of each, by its name. What is in the way of an account that a review named has many words: NAMED."""
WHY_GROUP: Final[Mapping[str, str]] = {
    CHANGED: "the group or its members changed since the plan; a new run decides again",
    DELETED: "the group was deleted since the plan",
    EXCLUDED: "the directory's policy excludes the group by now",
    HELD: "another group carries its object id by now",
}


def refused(why: str, *values: str) -> str:
    """Return the outcome of a refused row, by what is said of it."""
    return f"{REFUSED}: {why.format(*values)}"


def word_of(outcome: str) -> str:
    """Return the first word of an outcome, by which it is counted."""
    return outcome.partition(":")[0]


def counts_of(outcome: str) -> tuple[str, ...]:
    """Return the counts to which the outcome of an account's row adds one."""
    return (REFUSED, REFUSED_BY + _name_of(outcome, WHY)) if word_of(outcome) == REFUSED else (outcome,)


def counts_of_group(outcome: str) -> tuple[str, ...]:
    """Return the counts of refused groups to which the outcome of a group's row adds one, none where it is not one."""
    return (GROUPS_REFUSED_BY + _name_of(outcome, WHY_GROUP),) if word_of(outcome) == REFUSED else ()


def _name_of(outcome: str, known: Mapping[str, str]) -> str:
    said = outcome.removeprefix(f"{REFUSED}: ")
    return next((name for name, why in known.items() if said.startswith(why.partition("{")[0])), NAMED)
