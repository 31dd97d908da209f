"""What provisioning may do to an account that existed before it: by what a plan decided, and before a confirmation."""

from __future__ import annotations

import pytest

from shared.directory.matching.accounts import Decision, DecisionKind
from shared.directory.matching.authority import CREATABLE, EXCLUSIONS, LEFT_OPEN, NOT_CREATED, UNMATCHED, mark_of
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy

JANE = Identity("11111111-0000-4000-8000-000000000001", "jane@contoso.com")
ACCOUNT = AccountFacts("a1", "v1", "jane@contoso.com")
LETS_CREATE = Policy(excluded=frozenset({"jane@contoso.com"}), creatable=frozenset({"jane@contoso.com"}))


@pytest.mark.parametrize(
    ("decision", "policy", "mark"),
    [
        (Decision(DecisionKind.EXCLUDED, "", ACCOUNT), Policy(), "excluded"),
        (Decision(DecisionKind.EXCLUDED, "", others=("a1", "a2")), Policy(), "excluded"),
        (Decision(DecisionKind.EXCLUDED, ""), Policy(), UNMATCHED),
        (Decision(DecisionKind.EXCLUDED, "", ACCOUNT), LETS_CREATE, CREATABLE),
        (Decision(DecisionKind.LINK, "", ACCOUNT), Policy(), ""),
        (Decision(DecisionKind.OUTSIDE_VERIFIED_DOMAINS, "", ACCOUNT), Policy(), ""),
        *((Decision(kind, ""), Policy(), kind.value) for kind in LEFT_OPEN),
    ],
)
def test_a_plan_marks_who_is_kept_from_scim_and_how(decision: Decision, policy: Policy, mark: str) -> None:
    assert mark_of(decision, JANE, policy) == mark
    assert (mark in (*LEFT_OPEN, *EXCLUSIONS)) == bool(mark)
    assert (mark in NOT_CREATED) == (bool(mark) and mark not in (UNMATCHED, CREATABLE))
