"""The passes that make a plan: a hash join in four steps, each over slices of buckets, none larger in memory than one.

collect  identities -> their match keys, by the key's bucket
join     match keys and pointers -> pairs of account and identity, by the account's bucket
weigh    accounts and pairs -> candidates with evidence and rivals, by the identity's bucket; accounts nobody matches
decide   identities and candidates -> the plan's rows, and the links among them, by the bucket of the claim they need

Cost: every account, pointer and identity is read once and written at most once, in pages; nothing is looked up singly.
A later run decides again on some identities only (passes/compare.py): then the same passes run over these, and look up
what they lead to. All that a run saw is kept for the next one (shared/directory/work/seen.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from operator import attrgetter
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.prediction.cycle import Prediction, adds_nothing, carried, predict, probes
from link_orchestrator.run import CARRIED, PREDICTED, chain_of, mapping_of, policy_of
from link_orchestrator.staged import (
    CANDIDATES,
    CHANGED,
    KEYS,
    LINKS,
    MEETING,
    PAIRS,
    TOUCHED,
    identity_bucket,
    parts_of,
)
from shared.directory.directory import Directory
from shared.directory.keys import NAME, POINTER, Key, fold
from shared.directory.matching.accounts import (
    AccountFacts,
    Candidate,
    Decision,
    DecisionKind,
    MatchEvidence,
    MatchKey,
    Rival,
    claim,
    decide,
    evidence_for,
    facts_of,
    identity_keys,
    linked,
    match_key,
    stays_local,
)
from shared.directory.matching.authority import KEPT_FROM_SCIM
from shared.directory.matching.identity import Identity, is_gone
from shared.directory.matching.policy import Policy, Rule, Trust
from shared.directory.records.model import Account, Status, digest_facts
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.seen import IN_DOUBT
from shared.directory.work.staging import Stage, parse
from shared.tables.access import AT_ONCE, in_parts, together

WITH_ACCOUNT = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)
"""Decisions that leave an identity with an account of its own."""
ACCOUNTS_AT_ONCE = 500
"""Accounts that are in memory while a later run weighs them."""


async def collect(directory: Directory, job: Job, part: Slice, *, again: bool = False) -> Counter[str]:
    """Spread the match keys of a slice's identities over the buckets of the keys."""
    finder, keys = KeyFinder(job), directory.keys
    writer = directory.stage(job.id + KEYS).writer(part.name)
    seen = directory.seen_writer(job.id, part.name)
    for bucket in range(part.low, part.high):
        if not again:
            # Before any pointer is read: whoever changes afterwards is seen to have changed.
            async for accounts in directory.listing.scan_digests(bucket):
                for account_id, facts in accounts:
                    await seen.add_account(account_id, facts)
        names = [job.id + MEETING] if again else parts_of(job)  # what changed was looked up before
        for line, identity in await _identities(directory, names, bucket):
            found = {keys.lead(key): values for key, values in finder.find(identity).items()}
            for lead, values in found.items():
                await writer.add(keys.bucket_of(lead), [lead, identity.object_id, values])
            if not again:
                who = keys.digest(Key("identity", identity.object_id))
                await seen.add_identity(bucket, keys.fingerprint(line), who, found)
    await together(writer.close(), seen.close())
    return Counter()


class KeyFinder:
    """Finds the keys that lead to every account which an identity may meet, under a run's policy and mapping."""

    def __init__(self, job: Job) -> None:
        self._policy, self._mapping = policy_of(job), mapping_of(job)
        self._covered = adds_nothing(self._mapping, self._policy)

    def find(self, identity: Identity) -> Mapping[Key, list[list[str]]]:
        """Return the keys of an identity, each with the values that it stands for: rule, attribute, literal."""
        led: defaultdict[Key, list[list[str]]] = defaultdict(list)
        for key in identity_keys(identity, self._policy):
            # An e-mail that equals its account's userName has no pointer of its own: the name claim leads there.
            for kind in (key.kind, "userName") if key.kind == "email" else (key.kind,):
                led[Key(kind, key.value)].append([key.rule.value, key.attribute, key.literal])
        if not (led and self._covered) or "#" in identity.user_principal_name:
            for probe in probes(identity, self._mapping, self._policy):
                led.setdefault(probe, [])  # proves nothing, but provisioning may meet who carries it
        return led


async def join(directory: Directory, job: Job, part: Slice, *, again: bool = False) -> Counter[str]:
    """Pair identities and accounts that a key leads to."""
    keys = directory.stage(job.id + KEYS)
    writer = directory.stage(job.id + PAIRS).writer(part.name)
    for bucket in range(part.low, part.high):
        wanted = await keys_of(keys, bucket)
        led = find_led(directory, bucket, wanted) if again else _scan_led(directory, bucket, wanted)
        async for lead, account_id in led:
            for item in wanted[lead]:
                await writer.add(directory.keys.bucket(account_id), [account_id, *item])
    await writer.close()
    return Counter()


async def keys_of(keys: Stage, bucket: int) -> Mapping[str, list[tuple[str, list[list[str]]]]]:
    """Return the keys of a bucket by lead: the identities that have each, with the values that it stands for."""
    wanted: defaultdict[str, list[tuple[str, list[list[str]]]]] = defaultdict(list)
    async for items in keys.read(bucket):
        for lead, object_id, values in items:
            wanted[lead].append((object_id, values))
    return wanted


async def find_led(directory: Directory, bucket: int, leads: Collection[str]) -> AsyncIterator[tuple[str, str]]:
    """Look up, for each of some leads of a bucket, to which accounts it leads."""
    for some in in_parts(list(leads), AT_ONCE):
        for lead, ids in zip(some, await directory.listing.find_led(bucket, some), strict=True):
            for account_id in ids:
                yield lead, account_id


async def _scan_led(directory: Directory, bucket: int, leads: Collection[str]) -> AsyncIterator[tuple[str, str]]:
    """Look through a bucket for the accounts to which some leads lead."""
    for prefix, scan in ((POINTER, directory.listing.scan_pointers), (NAME, directory.listing.scan_names)):
        wanted = {lead[len(prefix) :]: lead for lead in leads if lead.startswith(prefix)}
        if wanted:
            async for digest, account_id in scan(bucket):
                if digest in wanted:
                    yield wanted[digest], account_id


async def weigh(directory: Directory, job: Job, part: Slice, *, again: bool = False) -> Counter[str]:
    """Verify each pair against the account, and tell every identity what it and its rivals have on the account."""
    policy = policy_of(job)
    pairs = directory.stage(job.id + PAIRS)
    writer = directory.stage(job.id + CANDIDATES).writer(part.name)
    seen = directory.seen_writer(job.id, part.name)
    counts: Counter[str] = Counter()
    for bucket in range(part.low, part.high):
        keys = await _keys_by_account(pairs, bucket, policy)
        known = await _KnownPairs.read(directory, job, bucket, keys) if again else None
        accounts = known.accounts() if known else directory.listing.scan_facts(bucket)
        compared = await directory.seen(chain_of(job)).accounts(bucket)
        alone: list[PlanRow] = []
        async for account in accounts:
            facts = facts_of(account)
            if compared.get(account.id) != digest_facts(account.facts()):
                # It changed since this run looked who meets it, and others may meet it now: nothing is done about it.
                facts = replace(facts, version="")
                await seen.doubt_account(account.id)
            found = {oid: evidence_for(_in_order(theirs), facts) for oid, theirs in keys.get(account.id, {}).items()}
            trusts: Mapping[str, str] = {
                oid: claim(evidence).value if evidence else "" for oid, evidence in found.items()
            }
            # An account that is met as it was before: of the identities that meet it only some are decided again.
            trusts = (known.trusts(account.id) if known else None) or trusts
            for oid, proven in found.items():
                rivals = sorted([other, trust] for other, trust in trusts.items() if trust and other != oid)
                evidence = [item.to_json() for item in proven]
                item = [oid, _VALUES(facts), evidence, rivals, len(trusts) > 1]
                await writer.add(identity_bucket(directory.keys, oid), item)
            if known and not known.is_touched(account.id):
                continue
            if trusts or known:
                await seen.add_near(account.id, trusts)
            if not any(trusts.values()) and not account.retired:
                alone.append(_row(stays_local(facts)))
        await directory.plan(job.id).write(bucket, alone)
        if alone or not again:
            counts[DecisionKind.NO_IDENTITY.value] += len(alone)
    await together(writer.close(), seen.close())
    return counts


class _KnownPairs:
    """The accounts of a bucket that a later run weighs, and who meets those of them that nothing happened to."""

    def __init__(
        self, directory: Directory, ids: set[str], touched: set[str], near: Mapping[str, Mapping[str, str]]
    ) -> None:
        self._directory = directory
        self._ids = ids
        self._touched = touched
        self._near = near

    @classmethod
    async def read(cls, directory: Directory, job: Job, bucket: int, met: Collection[str]) -> _KnownPairs:
        touched = {one async for some in directory.stage(job.id + TOUCHED).read(bucket) for one, _ in some}
        seen = directory.seen(job.options["since"])
        return cls(directory, {*met, *touched}, touched, await seen.near(bucket, set(met) - touched))

    async def accounts(self) -> AsyncIterator[Account]:
        for some in in_parts(sorted(self._ids), ACCOUNTS_AT_ONCE):
            for account in await self._directory.accounts.find_many(some):
                if account is not None:
                    yield account

    def is_touched(self, account_id: str) -> bool:
        return account_id in self._touched

    def trusts(self, account_id: str) -> Mapping[str, str] | None:
        return self._near.get(account_id)


async def decide_all(directory: Directory, job: Job, part: Slice, *, again: bool = False) -> Counter[str]:
    """Write the plan's row of every identity in a slice."""
    policy, mapping = policy_of(job), mapping_of(job)
    candidates = directory.stage(job.id + CANDIDATES)
    plan = directory.plan(job.id)
    links = directory.stage(job.id + LINKS).writer(part.name)
    seen = directory.seen_writer(job.id, part.name)
    counts: Counter[str] = Counter()
    rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
    for bucket in range(part.low, part.high):
        known, crowded = await _candidates_by_identity(candidates, bucket)
        left: dict[str, str] = {}
        names = [job.id + CHANGED, job.id + MEETING] if again else parts_of(job)
        for _, identity in await _identities(directory, names, bucket):
            # By id: rows of a stage come in any order, and a prediction may name the first account that it meets.
            near = [candidate for _, candidate in sorted(known.get(identity.object_id, {}).items())]
            matching = [candidate for candidate in near if candidate.evidence]
            decision = decide(identity, matching, policy)
            predicted = predict(identity, decision, near, mapping, policy)
            counts.update((decision.kind.value, PREDICTED + predicted.outcome.value))
            account = decision.account
            if account and decision.kind in WITH_ACCOUNT:
                counts[CARRIED + carried(identity, account)] += 1
            where = directory.keys.bucket(account.id) if account else bucket
            rows[where].append(_row(decision, identity, predicted, matching))
            if decision.kind in KEPT_FROM_SCIM or again:
                left[identity.object_id] = decision.kind.value if decision.kind in KEPT_FROM_SCIM else ""
            if account and decision.kind is DecisionKind.LINK:
                claim = directory.keys.digest(Key("externalId", identity.object_id))
                await links.add(directory.keys.bucket(claim), [account.id, identity.object_id])
                before, after = _digests(account, linked(account, identity.object_id))
                # Whoever else meets it is decided again once it is linked, and it is, if it is not.
                await seen.add_link(account.id, before, IN_DOUBT if account.id in crowded else after)
        await plan.leave_open(left)
    await together(*(plan.write(where, some) for where, some in rows.items()))
    await together(links.close(), seen.close())
    return counts


def _digests(*accounts: AccountFacts) -> Iterator[str]:
    return (digest_facts(_VALUES(account)[2:]) for account in accounts)


async def _identities(directory: Directory, names: Sequence[str], bucket: int) -> Iterable[tuple[str, Identity]]:
    """Return a bucket's identities in some stages, each with the line it was staged as.

    Each object id is there once: the first in the files, whatever stands there again.
    """
    found: dict[str, tuple[str, Identity] | None] = {}
    for name in names:
        async for lines in directory.stage(name).lines(bucket):
            for line, item in zip(lines, parse(lines), strict=True):
                known = None if is_gone(line) else (line, Identity.from_json(item))
                found.setdefault(fold(item["id"]), known)
    return filter(None, found.values())


async def _keys_by_account(pairs: Stage, bucket: int, policy: Policy) -> Mapping[str, Mapping[str, set[MatchKey]]]:
    rules = {match_rule.rule.value: match_rule for match_rule in policy.rules}
    keys: defaultdict[str, defaultdict[str, set[MatchKey]]] = defaultdict(lambda: defaultdict(set))
    async for items in pairs.read(bucket):
        for account_id, object_id, values in items:
            keys[account_id][object_id].update(
                match_key(rules[rule], attribute, literal, policy) for rule, attribute, literal in values
            )
    return keys


async def _candidates_by_identity(candidates: Stage, bucket: int) -> tuple[dict[str, dict[str, Candidate]], set[str]]:
    """Return the candidates of a bucket's identities, and which of these accounts several identities meet."""
    known: defaultdict[str, dict[str, Candidate]] = defaultdict(dict)
    crowded = set[str]()
    async for items in candidates.read(bucket):
        for object_id, facts, evidence, rivals, is_crowded in items:
            account = _facts(facts)
            if is_crowded:
                crowded.add(account.id)
            known[object_id][account.id] = Candidate(
                account,
                tuple(map(MatchEvidence.from_json, evidence)),
                tuple(Rival(other, Trust(trust)) for other, trust in rivals),
            )
    return known, crowded


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
