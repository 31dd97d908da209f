"""What provisioning may do to an account that existed before it. Pure.

SCIM refuses by these rules (scim_users), and a plan foretells by them what the first cycle will be refused
(link_orchestrator/prediction/cycle.py). Each says so in its own words.
"""

from __future__ import annotations

from typing import Final

from shared.directory.keys import in_small_letters
from shared.directory.matching.accounts import Decision, DecisionKind
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy
from shared.directory.records.model import Account

LEFT_OPEN: Final = (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS, DecisionKind.CONFLICT)
"""Decisions that a plan leaves to the administrator: SCIM neither links nor creates such a person."""
UNMATCHED: Final = "excludedUnmatched"
"""Mark of an excluded person who matches no account: SCIM does not link them, and creates them like anybody else."""
CREATABLE: Final = "excludedCreatable"
"""Mark of an excluded person of whom the administrator said so: SCIM creates them beside the accounts they match."""
NOT_CREATED: Final = (*LEFT_OPEN, DecisionKind.EXCLUDED)
"""Marks of people whom SCIM does not create: an account may be theirs."""
EXCLUSIONS: Final = (DecisionKind.EXCLUDED, UNMATCHED, CREATABLE)
"""Marks of excluded people."""


def mark_of(decision: Decision, identity: Identity, policy: Policy) -> str:
    """Return the mark by which SCIM knows what a plan decided about an identity, "" if nothing keeps it from SCIM."""
    if decision.kind is not DecisionKind.EXCLUDED:
        return decision.kind.value if decision.kind in LEFT_OPEN else ""
    if policy.may_create(identity):
        return CREATABLE
    return DecisionKind.EXCLUDED.value if decision.account or decision.others else UNMATCHED


GUARDED: Final = ("userName", "emails", "active")
"""Attributes by which a person signs in or is reached: until provisioning has confirmed a link, none may change."""


def guarded_change(before: Account | AccountFacts, after: Account | AccountFacts) -> str:
    """Return the first of the GUARDED attributes that differs, or ""."""
    # Not by fold(): a look-alike letter makes another name.
    if in_small_letters(before.user_name) != in_small_letters(after.user_name):
        return "userName"
    if set(map(in_small_letters, before.emails)) != set(map(in_small_letters, after.emails)):
        return "emails"
    return "active" if before.active != after.active else ""
