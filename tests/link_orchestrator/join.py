"""The join of a linking run in a few lines, in memory: enough to decide on whole populations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from shared.directory.keys import fold
from shared.directory.matching.accounts import Decision, decide
from shared.directory.matching.evidence import AccountFacts, Candidate, Claim, MatchEvidence, evidence_for, rivals_of
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import MatchKey, identity_keys, is_name_as_address, is_shared
from shared.directory.matching.policy import IDENTITY, LOGIN_NAMES, Policy, Trust

Keys = Mapping[str, Collection[MatchKey]]
"""The match keys of identities, by object id."""
Found = dict[tuple[str, str], tuple[MatchEvidence, ...]]
"""The evidence of identities on accounts, by both their ids."""


def plan(identities: Sequence[Identity], accounts: Sequence[AccountFacts], policy: Policy) -> dict[str, Decision]:
    """Look at every identity with every account, see who else matches each account, and decide on each identity."""
    keys = {one.object_id: identity_keys(one, policy) for one in identities}
    return decided(identities, evidence(keys, accounts, shared_values(keys, accounts, policy)), accounts, policy)


def shared_values(keys: Keys, accounts: Sequence[AccountFacts], policy: Policy) -> dict[tuple[str, str], list[int]]:
    """Return the values that are no evidence for a weak rule, with the numbers of accounts and identities."""
    weak = {rule for rule, match_rule in policy.compared.items() if match_rule.yields_to_many}
    wanted: dict[tuple[str, str], set[str]] = defaultdict(set)
    for object_id, theirs in keys.items():
        for key in theirs:
            if key.rule in weak:
                named = {object_id} if is_name_as_address(key.rule, key.attribute) else set[str]()
                wanted[key.kind, key.value] |= {object_id} - named
    carried: dict[tuple[str, str], set[str]] = defaultdict(set)
    for facts in accounts:
        for key in pointers(facts):
            carried[key].add(facts.id)
    counts = {key: [len(carried[key]), len(identities)] for key, identities in wanted.items()}
    return {key: numbers for key, numbers in counts.items() if numbers[0] and is_shared(numbers[1], numbers[0])}


def pointers(facts: AccountFacts) -> set[tuple[str, str]]:
    """Return the values that an account counts among the carriers of; its name and NameID are addresses, too."""
    return {
        (kind, fold(value))
        for kind, value in (
            ("externalId", facts.external_id),
            ("objectId", facts.object_id),
            ("nameId", facts.name_id),
            ("userName", facts.user_name),
            ("employeeNumber", facts.employee_number),
            *(("email", one) for one in (*facts.emails, *facts.verified_emails, facts.user_name, facts.name_id)),
        )
        if value
    }


def evidence(keys: Keys, accounts: Sequence[AccountFacts], shared: Collection[tuple[str, str]]) -> Found:
    """Return the evidence of every identity on every account; a look at the values first makes a million bearable."""
    counted = {
        object_id: [key for key in theirs if not _yields(key) or (key.kind, key.value) not in shared]
        for object_id, theirs in keys.items()
    }
    found: Found = {}
    for facts in accounts:
        carried = {value for _, value in pointers(facts)}
        for object_id, theirs in counted.items():
            if not carried.isdisjoint(key.value for key in theirs) and (proof := evidence_for(theirs, facts)):
                found[object_id, facts.id] = proof
    return found


def _yields(key: MatchKey) -> bool:
    return key.trust is Trust.WEAK or key.rule in LOGIN_NAMES


def decided(
    identities: Sequence[Identity], found: Found, accounts: Sequence[AccountFacts], policy: Policy
) -> dict[str, Decision]:
    """Decide on each identity by the evidence of all."""
    entries = {one.object_id: policy.exclusion_of(one) for one in identities}
    claims: dict[str, dict[str, Claim]] = defaultdict(dict)
    for (object_id, account_id), proof in found.items():
        entry = entries[object_id]
        many = entry not in ("", IDENTITY)
        claims[account_id][object_id] = Claim.of(proof, excluded=bool(entry), among_many=many)
    near: dict[str, list[Candidate]] = defaultdict(list)
    by_id = {facts.id: facts for facts in accounts}
    for (object_id, account_id), proof in found.items():
        rivals = rivals_of(object_id, proof, claims[account_id])
        near[object_id].append(Candidate(by_id[account_id], proof, rivals))
    return {one.object_id: decide(one, near[one.object_id], policy) for one in identities}
