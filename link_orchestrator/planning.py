"""The passes that make a plan: a hash join in four steps, each over slices of buckets, none larger in memory than one.

collect  identities -> their match keys, by the key's bucket
join     match keys and pointers -> pairs of account and identity, by the account's bucket
weigh    accounts and pairs -> candidates with evidence and rivals, by the identity's bucket; accounts nobody matches
decide   identities and candidates -> the plan's rows, and the links among them, by the bucket of the claim they need

Cost: every account, pointer and identity is read once and written at most once, in pages; nothing is looked up singly.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any

from link_orchestrator.mapping import DEFAULT, AttributeMapping
from link_orchestrator.messages import Slice
from link_orchestrator.predicting import Prediction, adds_nothing, carried, predict, probes
from shared.directory.claims import together
from shared.directory.directory import Directory
from shared.directory.identity import Identity
from shared.directory.jobs import Job
from shared.directory.keys import Key, fold
from shared.directory.matching import (
    AccountFacts,
    Candidate,
    Decision,
    DecisionKind,
    Evidence,
    MatchKey,
    Rival,
    claim,
    decide,
    evidence_for,
    facts_of,
    identity_keys,
    match_key,
    stays_local,
)
from shared.directory.model import Status
from shared.directory.plan import Plan, PlanRow
from shared.directory.policy import Policy, Rule, Trust
from shared.directory.staging import Stage

STAGES = KEYS, PAIRS, CANDIDATES, LINKS, RESERVED = "keys", "pairs", "candidates", "links", "reserved"


LEFT_OPEN = (DecisionKind.REVIEW, DecisionKind.AMBIGUOUS, DecisionKind.CONFLICT, DecisionKind.EXCLUDED)
"""Decisions that provisioning must not settle by linking, and all but the last not by a second account either."""

WITH_ACCOUNT = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)
"""Decisions that leave an identity with an account of its own."""
PREDICTED, CARRIED = "predicted.", "carried."
"""Prefixes of the counts that are not of decisions: outcomes of the first cycle; how else linked accounts are found."""


def stage(directory: Directory, name: str) -> Stage:
    """Return a set of staged items of this directory."""
    return Stage(directory.tables, directory.keys, name)


def identity_bucket(directory: Directory, object_id: str) -> int:
    """Return the bucket of an identity."""
    return directory.keys.bucket(directory.keys.digest(Key("identity", object_id)))


def policy_of(job: Job) -> Policy:
    """Return the policy as it was when the run started."""
    return Policy.from_json(job.options["policy"])


def mapping_of(job: Job) -> AttributeMapping:
    """Return the provisioning job's attribute mapping as it was when the run started."""
    mapping = job.options.get("mapping")
    return AttributeMapping.from_json(mapping) if mapping else DEFAULT


async def collect(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Spread the match keys of a slice's identities over the buckets of the keys."""
    policy, mapping, digest = policy_of(job), mapping_of(job), directory.keys.digest
    covered = adds_nothing(mapping, policy)
    writer = stage(directory, job.id + KEYS).writer(part.name)
    for bucket in range(part.low, part.high):
        for identity in await _identities(directory, job, bucket):
            led: defaultdict[Key, list[list[str]]] = defaultdict(list)
            for key in identity_keys(identity, policy):
                # An e-mail that equals its account's userName has no pointer of its own: the name claim leads there.
                for kind in (key.kind, "userName") if key.kind == "email" else (key.kind,):
                    led[Key(kind, key.value)].append([key.rule.value, key.attribute, key.literal])
            if not (led and covered) or "#" in identity.user_principal_name:
                for probe in probes(identity, mapping, policy):
                    led.setdefault(probe, [])  # proves nothing, but provisioning may meet who carries it
            for found, values in led.items():
                found_by = digest(found)
                await writer.add(directory.keys.bucket(found_by), [found_by, identity.object_id, values])
    await writer.close()
    return Counter()


async def join(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Pair identities and accounts that a key leads to."""
    keys = stage(directory, job.id + KEYS)
    writer = stage(directory, job.id + PAIRS).writer(part.name)
    for bucket in range(part.low, part.high):
        wanted: defaultdict[str, list[Any]] = defaultdict(list)
        async for items in keys.read(bucket):
            for digest, object_id, values in items:
                wanted[digest].append((object_id, values))
        if not wanted:
            continue
        for scan in (directory.listing.scan_pointers, directory.listing.scan_names):
            async for digest, account_id in scan(bucket):
                for item in wanted.get(digest, ()):
                    await writer.add(directory.keys.bucket(account_id), [account_id, *item])
    await writer.close()
    return Counter()


async def weigh(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Verify each pair against the account, and tell every identity what it and its rivals have on the account."""
    policy = policy_of(job)
    pairs = stage(directory, job.id + PAIRS)
    writer = stage(directory, job.id + CANDIDATES).writer(part.name)
    counts: Counter[str] = Counter()
    for bucket in range(part.low, part.high):
        keys = await _keys_by_account(pairs, bucket, policy)
        alone: list[PlanRow] = []
        async for account in directory.listing.scan_facts(bucket):
            facts = facts_of(account)
            found = {oid: evidence_for(_in_order(theirs), facts) for oid, theirs in keys.get(account.id, {}).items()}
            claims = {oid: claim(evidence) for oid, evidence in found.items() if evidence}
            for oid, proven in found.items():
                rivals = [[other, theirs.value] for other, theirs in claims.items() if other != oid]
                evidence = [item.to_json() for item in proven]
                item = [oid, _VALUES(facts), evidence, sorted(rivals)]
                await writer.add(identity_bucket(directory, oid), item)
            if not claims and not account.retired:
                alone.append(_row(stays_local(facts)))
        await Plan(directory.tables, directory.keys, job.id).write(bucket, alone)
        counts[DecisionKind.NO_IDENTITY.value] += len(alone)
    await writer.close()
    return counts


async def decide_all(directory: Directory, job: Job, part: Slice) -> Counter[str]:
    """Write the plan's row of every identity in a slice."""
    policy, mapping = policy_of(job), mapping_of(job)
    candidates = stage(directory, job.id + CANDIDATES)
    plan = Plan(directory.tables, directory.keys, job.id)
    links = stage(directory, job.id + LINKS).writer(part.name)
    counts: Counter[str] = Counter()
    rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
    for bucket in range(part.low, part.high):
        known = await _candidates_by_identity(candidates, bucket)
        left: dict[str, str] = {}
        for identity in await _identities(directory, job, bucket):
            near = tuple(known.get(identity.object_id, {}).values())
            matching = [candidate for candidate in near if candidate.evidence]
            decision = decide(identity, matching, policy)
            predicted = predict(identity, decision, near, mapping, policy)
            counts.update((decision.kind.value, PREDICTED + predicted.outcome.value))
            if decision.account and decision.kind in WITH_ACCOUNT:
                counts[CARRIED + carried(identity, decision.account)] += 1
            where = directory.keys.bucket(decision.account.id) if decision.account else bucket
            rows[where].append(_row(decision, identity, predicted, matching))
            if decision.kind in LEFT_OPEN:
                left[identity.object_id] = decision.kind.value
            if decision.kind is DecisionKind.LINK and decision.account:
                claim = directory.keys.digest(Key("externalId", identity.object_id))
                await links.add(directory.keys.bucket(claim), [decision.account.id, identity.object_id])
        await plan.leave_open(left)
    await together(*(plan.write(where, some) for where, some in rows.items()))
    await links.close()
    return counts


async def _identities(directory: Directory, job: Job, bucket: int) -> Iterable[Identity]:
    """Return a bucket's identities, each object id once: the first in the files, whatever stands there again."""
    found: dict[str, Identity] = {}
    for part in job.options.get("parts", [job.options["identities"]]):
        async for items in stage(directory, part).read(bucket):
            for item in items:
                identity = Identity.from_json(item)
                found.setdefault(fold(identity.object_id), identity)
    return found.values()


async def _keys_by_account(pairs: Stage, bucket: int, policy: Policy) -> Mapping[str, Mapping[str, set[MatchKey]]]:
    rules = {match_rule.rule.value: match_rule for match_rule in policy.rules}
    keys: defaultdict[str, defaultdict[str, set[MatchKey]]] = defaultdict(lambda: defaultdict(set))
    async for items in pairs.read(bucket):
        for account_id, object_id, values in items:
            keys[account_id][object_id].update(
                match_key(rules[rule], attribute, literal, policy) for rule, attribute, literal in values
            )
    return keys


async def _candidates_by_identity(candidates: Stage, bucket: int) -> dict[str, dict[str, Candidate]]:
    known: defaultdict[str, dict[str, Candidate]] = defaultdict(dict)
    async for items in candidates.read(bucket):
        for object_id, facts, evidence, rivals in items:
            account = _facts(facts)
            known[object_id][account.id] = Candidate(
                account,
                tuple(map(Evidence.from_json, evidence)),
                tuple(Rival(other, Trust(trust)) for other, trust in rivals),
            )
    return known


_NAMES = tuple(field.name for field in fields(AccountFacts))
_VALUES = attrgetter(*_NAMES)


def _facts(values: list[Any]) -> AccountFacts:
    """Return the facts that travelled as JSON: their lists are tuples again, their status is a Status."""
    known: dict[str, Any] = dict(zip(_NAMES, (tuple(v) if isinstance(v, list) else v for v in values), strict=True))
    return AccountFacts(**known | {"status": Status(known["status"])})


def _in_order(keys: Iterable[MatchKey]) -> list[MatchKey]:
    """Return match keys in one order, whatever order the file had: by rule, strong ones first."""
    return sorted(keys, key=lambda key: (key.trust is Trust.WEAK, _RULES.index(key.rule), key.attribute, key.literal))


_RULES = tuple(Rule)


def _row(
    decision: Decision,
    identity: Identity | None = None,
    predicted: Prediction | None = None,
    candidates: Sequence[Candidate] = (),
) -> PlanRow:
    shown: dict[str, Any] = {"reason": decision.reason}
    account = decision.account
    versions: dict[str, str] = {}
    if identity is not None:
        shown["identity"] = {
            "objectId": identity.object_id,
            "userPrincipalName": identity.user_principal_name,
            "displayName": identity.display_name,
        }
    if account is not None:
        shown["account"] = {"id": account.id, "userName": account.user_name}
    if decision.evidence:
        shown["evidence"] = [item.to_json() for item in decision.evidence]
    if decision.others:
        shown["others"] = list(decision.others)
    if decision.kind is DecisionKind.AMBIGUOUS:
        found = sorted(candidates, key=lambda candidate: candidate.account.id)
        shown["candidates"] = [
            {"id": c.account.id, "userName": c.account.user_name, "rules": [item.rule.value for item in c.evidence]}
            for c in found
        ]
        versions = {candidate.account.id: candidate.account.version for candidate in found}
    if predicted is not None:
        shown["predicted"] = predicted.to_json()
    if identity is None and account is None:
        raise ValueError("a decision is about an identity or an account")
    subject = identity.object_id if identity else account.id if account else ""
    return PlanRow(decision.kind.value, subject, shown, account.version if account else "", versions=versions)
