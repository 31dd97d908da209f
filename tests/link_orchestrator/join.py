"""The join of a linking run in a few lines, in memory: enough to decide on whole populations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from shared.directory.keys import fold
from shared.directory.matching.accounts import (
    AccountFacts,
    Candidate,
    Decision,
    Rival,
    claim,
    decide,
    evidence_for,
    identity_keys,
)
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import Policy


def plan(identities: Sequence[Identity], accounts: Sequence[AccountFacts], policy: Policy) -> dict[str, Decision]:
    """Look every key up, verify it, see who else matches each account, and decide on each identity."""
    pointers: dict[tuple[str, str], list[AccountFacts]] = defaultdict(list)
    for facts in accounts:
        for kind, value in (
            ("externalId", facts.external_id),
            ("objectId", facts.object_id),
            ("nameId", facts.name_id),
            ("userName", facts.user_name),
            ("employeeNumber", facts.employee_number),
            *(("email", address) for address in facts.emails + facts.verified_emails),
        ):
            if value:
                pointers[kind, fold(value)].append(facts)
    matches: dict[str, dict[str, Candidate]] = {}
    claims: dict[str, list[Rival]] = defaultdict(list)
    for one in identities:
        keys = identity_keys(one, policy)
        near = {facts.id: facts for key in keys for facts in pointers[key.kind, key.value]}
        proven = {facts.id: Candidate(facts, found) for facts in near.values() if (found := evidence_for(keys, facts))}
        matches[one.object_id] = proven
        for candidate in proven.values():
            claims[candidate.account.id].append(Rival(one.object_id, claim(candidate.evidence)))
    decisions = {}
    for one in identities:
        candidates = [
            replace(match, rivals=tuple(rival for rival in claims[id] if rival.object_id != one.object_id))
            for id, match in matches[one.object_id].items()
        ]
        decisions[one.object_id] = decide(one, candidates, policy)
    return decisions
