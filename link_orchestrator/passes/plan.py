"""The passes that make a plan: a hash join, one bucket in memory at a time. Each writes what the next one reads.

collect  identities -> their match keys, in the key's bucket
join     match keys and the directory's pointers -> pairs of account and identity, in the account's bucket
weigh    accounts and pairs -> candidates with evidence and rivals, in the identity's bucket; accounts nobody matches
decide   identities and candidates -> the plan's rows; its links once more, in the bucket of the claim that each needs

An identity *meets* an account if one of its keys leads there, whether or not that proves anything. A key's *lead* is
the beginning of the row keys under which the directory finds the accounts that carry it (shared/directory/keys.py).

Every account, pointer and identity is read once and written at most once, in pages; nothing is looked up one by one.
A later run plans only some identities again (passes/compare.py): the same passes run over those, and look up the
accounts that they meet. What a run saw is kept for the next one (shared/directory/work/seen.py).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from typing import Any

from link_orchestrator.messages import Slice
from link_orchestrator.passes.shared_values import SharedValues, Wanted, places_of
from link_orchestrator.prediction.cycle import Prediction, adds_nothing, carried, predict, probes
from link_orchestrator.run import (
    CARRIED,
    IDS_CARRIED,
    IDS_KNOWN,
    INACTIVE,
    PREDICTED,
    WARNINGS,
    chain_of,
    mapping_of,
    policy_of,
)
from link_orchestrator.staged import (
    CANDIDATES,
    CHANGED,
    KEYS,
    LEADS,
    LINKS,
    MANY,
    MEETING,
    PAIRS,
    TOUCHED,
    VALUES,
    identity_bucket,
    parts_of,
)
from shared.directory.directory import Directory
from shared.directory.keys import NAME, POINTER, Key, Keys, fold
from shared.directory.matching.accounts import Decision, DecisionKind, decide, objection_of, stays_local
from shared.directory.matching.authority import mark_of
from shared.directory.matching.evidence import (
    AccountFacts,
    Candidate,
    Claim,
    MatchEvidence,
    Rival,
    evidence_for,
    facts_of,
    linked,
    rivals_of,
    trust_of,
)
from shared.directory.matching.identity import Identity, is_gone, is_void, read_object_id
from shared.directory.matching.match_keys import MOST_SHARED, MatchKey, identity_keys, match_key
from shared.directory.matching.policy import Policy, Rule, Trust
from shared.directory.records.model import Account, Status, digest_facts
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.seen import IN_DOUBT, Leads, short
from shared.directory.work.staging import Stage, parse
from shared.tables.access import AT_ONCE, in_parts, together

WITH_ACCOUNT = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)
"""Decisions that leave an identity with an account of its own."""
WARNED = (DecisionKind.LINK, DecisionKind.REVIEW, DecisionKind.OUTSIDE_VERIFIED_DOMAINS)
"""Decisions whose row warns of what linking it brings: the links, and what a review may link."""
ACCOUNTS_AT_ONCE = 500
"""Accounts that a later run has in memory at once."""


async def collect(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Stage the match keys of a slice's identities; in a later run of the gathered ones, as lead() did the changed."""
    finder, keys = KeyFinder(job), directory.keys
    writer = directory.stage(job.id + KEYS).writer(slice_.name)
    seen = directory.seen_writer(job.id, slice_.name)
    for bucket in slice_.buckets:
        if not again:
            # Before any pointer is read, so that an account which changes later is known to have changed.
            async for accounts in directory.listing.scan_digests(bucket):
                for account_id, facts in accounts:
                    await seen.add_account(account_id, facts)
        names = [job.id + MEETING] if again else parts_of(job)
        for line, identity in await _identities(directory, names, bucket):
            found = {keys.lead(key): values for key, values in finder.find(identity).items()}
            for lead, values in found.items():
                await writer.add(keys.bucket_of(lead), [lead, identity.object_id, values])
            if not again:
                id_digest = keys.digest(Key("identity", identity.object_id))
                await seen.add_identity(bucket, keys.fingerprint(line), id_digest, found)
    await together(writer.close(), seen.close())
    return Counter()


class KeyFinder:
    """Finds the keys that lead to every account which an identity may meet, under a run's policy and mapping."""

    def __init__(self, job: Job) -> None:
        self._policy, self._mapping = policy_of(job), mapping_of(job)
        self._covered = adds_nothing(self._mapping, self._policy)

    def find(self, identity: Identity) -> Mapping[Key, list[list[Any]]]:
        """Return an identity's keys, each with `[rule, attribute, literal]` of every value that it came from.

        Those of an excluded identity have true at the end.
        """
        found: defaultdict[Key, list[list[Any]]] = defaultdict(list)
        for key in identity_keys(identity, self._policy):
            value = [key.rule.value, key.attribute, key.literal, *([True] if key.excluded else [])]
            # An account has no pointer for an e-mail that equals its userName: the claim on the name leads there.
            for kind in (key.kind, "userName") if key.kind == "email" else (key.kind,):
                found[Key(kind, key.value)].append(value)
            if key.rule is Rule.EMAIL or (key.kind == "email" and key.trust is Trust.WEAK):
                # Of everybody: who has the address is counted wherever it leads.
                found[Key("nameId", key.value)].append(value)
        if not self._covered or "#" in identity.user_principal_name:
            for probe in probes(identity, self._mapping, self._policy):
                found.setdefault(probe, [])  # proves nothing, but provisioning may find the account that carries it
        return found


async def join(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Pair the identities that have a slice's keys with the accounts to which these keys lead."""
    keys = directory.stage(job.id + KEYS)
    writer = directory.stage(job.id + PAIRS).writer(slice_.name)
    shared = SharedValues(directory, job, writer)
    triggered = await _Triggered.read(directory, job) if again else None
    for bucket in slice_.buckets:
        wanted = await keys_of(keys, bucket)
        also = await triggered.keys(bucket) if triggered else {}
        led = find_led(directory, bucket, wanted) if again else _scan_led(directory, bucket, wanted)
        async for lead, ids in led:
            identities: Wanted = wanted[lead]
            if triggered is None or triggered.has(lead):
                # Otherwise not all who have the key are here, and nothing changed about how many they are.
                identities = await shared.without(lead, identities, ids, also.pop(lead, ()))
            for account_id in ids:
                for item in identities:
                    await writer.add(directory.keys.bucket(account_id), [account_id, *item])
        for lead, changed in also.items():
            await shared.without(lead, (), triggered.crowded(lead) if triggered else (), changed)
    await writer.close()
    return Counter({DecisionKind.SHARED_VALUE.value: shared.told} if shared.told else {})


@dataclass(frozen=True, slots=True)
class _Triggered:
    """The keys in a later run of which everybody who has them is planned again, as something changed about them."""

    directory: Directory
    job: Job
    gathered: Collection[str]
    led: set[str]
    many: set[str]

    @classmethod
    async def read(cls, directory: Directory, job: Job) -> _Triggered:
        """Read the short leads by which gather() found identities."""
        values = {lead async for items in directory.stage(job.id + VALUES).read(0) for lead in items}
        return cls(directory, job, values, set(), set())

    async def keys(self, bucket: int) -> dict[str, Wanted]:
        """Return the changed identities by their keys in a bucket. From now on the others know of the bucket."""
        many = self.directory.stage(self.job.id + MANY)
        self.many.update([lead async for items in many.read(bucket) for lead in items])
        found: defaultdict[str, list[tuple[str, list[list[Any]]]]] = defaultdict(list)
        for lead, items in (await keys_of(self.directory.stage(self.job.id + LEADS), bucket)).items():
            self.led.add(short(lead))
            if changed := [item for item in items if item[0]]:
                found[lead] += changed
        return dict(found)

    def has(self, lead: str) -> bool:
        """Tell whether everybody who has a key is planned again."""
        return short(lead) in self.led or short(lead) in self.gathered

    def crowded(self, lead: str) -> Sequence[str]:
        """Return as many words as there are accounts, if many: the caller looks at their number alone."""
        return [lead] * MOST_SHARED if lead in self.many else []


async def keys_of(keys: Stage, bucket: int) -> Mapping[str, list[tuple[str, list[list[Any]]]]]:
    """Return the identities that have the keys of a bucket, by lead, each with the values that the key came from."""
    wanted: defaultdict[str, list[tuple[str, list[list[Any]]]]] = defaultdict(list)
    async for items in keys.read(bucket):
        for lead, object_id, values in items:
            wanted[lead].append((object_id, values))
    return wanted


async def find_led(
    directory: Directory, bucket: int, leads: Collection[str]
) -> AsyncIterator[tuple[str, Collection[str]]]:
    """Look up the accounts of some leads of a bucket, and yield each lead that has any, with their ids."""
    for batch in in_parts(list(leads), AT_ONCE):
        for lead, ids in zip(batch, await directory.listing.find_led(bucket, batch), strict=True):
            if ids:
                yield lead, ids


async def _scan_led(
    directory: Directory, bucket: int, leads: Collection[str]
) -> AsyncIterator[tuple[str, Collection[str]]]:
    """Do the same by reading through the whole bucket, in which the rows of a lead are neighbours."""
    for prefix, scan in ((POINTER, directory.listing.scan_pointers), (NAME, directory.listing.scan_names)):
        wanted = {lead[len(prefix) :]: lead for lead in leads if lead.startswith(prefix)}
        last, ids = "", list[str]()
        if wanted:
            async for digest, account_id in scan(bucket):
                if digest not in wanted:
                    continue
                if digest != last and ids:
                    yield wanted[last], ids
                    ids = []
                last = digest
                ids.append(account_id)
            if ids:
                yield wanted[last], ids


async def weigh(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Check each pair against the account, and stage for each identity what it and its rivals have on the account."""
    policy = policy_of(job)
    pairs = directory.stage(job.id + PAIRS)
    writer = directory.stage(job.id + CANDIDATES).writer(slice_.name)
    seen = directory.seen_writer(job.id, slice_.name)
    counts: Counter[str] = Counter()
    for bucket in slice_.buckets:
        keys, shared = await _keys_by_account(pairs, bucket, policy)
        known = await _KnownPairs.read(directory, job, bucket, keys) if again else None
        accounts = known.accounts() if known else directory.listing.scan_facts(bucket)
        digests = await directory.seen(chain_of(job)).accounts(bucket)
        unmatched: list[PlanRow] = []
        async for account in accounts:
            facts = facts_of(account)
            if digests.get(account.id) != account.digest:
                # It changed after this run saw it, so others may meet it now. Without a version it is not linked.
                # Another version of the app may have made the digest of other facts, so that it is made by none anew.
                facts = replace(facts, version="")
                await seen.doubt_account(account.id)
            theirs = keys.get(account.id, {})
            former = known.crowds.get(account.id, ()) if known else ()
            # What a touched account has of shared values is counted again, and join() told of it.
            recounted = known is not None and account.id in known.touched
            crowds = _Crowds(directory.keys, shared.get(account.id, ()), () if recounted else former)
            found = {oid: evidence_for(_in_order(crowds.without(have)), facts) for oid, have in theirs.items()}
            claims: Mapping[str, Claim | None] = _claims(directory.keys, theirs, found)
            if known:
                # An untouched account is met by the same identities as before, of which only some are weighed again.
                claims = known.near.get(account.id) or claims
            made = {oid: claim for oid, claim in claims.items() if claim}
            for oid, evidence in found.items():
                rivals = rivals_of(oid, evidence, made, directory.keys.fingerprint) if len(claims) > 1 else ()
                staged = _candidate(oid, facts, evidence, rivals, contested=len(claims) > 1)
                await writer.add(identity_bucket(directory.keys, oid), staged)
            if known and not recounted:
                continue
            if not known:
                counts.update(_object_ids(facts, theirs))
            if claims or known:
                await seen.add_near(
                    account.id, {oid: claim.to_text() if claim else "" for oid, claim in claims.items()}
                )
            if crowds or former:
                await seen.add_crowds(account.id, crowds.leads())
            if all(claim.excluded for claim in made.values()) and not account.retired:
                unmatched.append(_row(stays_local(facts, excluded=bool(made)), policy))
        await directory.plan(job.id).write(bucket, unmatched)
        if unmatched or not again:
            counts[DecisionKind.NO_IDENTITY.value] += len(unmatched)
    await together(writer.close(), seen.close())
    return counts


class _Crowds:
    """The shared values of one account: those that join() told of, and short leads of those that earlier runs knew."""

    def __init__(self, keys: Keys, told: Collection[tuple[str, str]], former: Collection[Leads]) -> None:
        self._keys = keys
        self._told = told
        # By their own lead alone: an address that many carry says nothing of a name that is written alike.
        self._former = {own for own, *_ in former} if former else ()

    def __bool__(self) -> bool:
        return bool(self._told)

    def without(self, have: Collection[MatchKey]) -> Iterable[MatchKey]:
        """Return match keys without the weak ones whose value is shared."""
        if not (self._told or self._former):
            return have
        return [key for key in have if key.trust is not Trust.WEAK or not self._has(key)]

    def leads(self) -> set[Leads]:
        """Return the short leads of each of the values that this run was told of."""
        return {_short_leads(self._keys, Key(*key)) for key in self._told}

    def _has(self, key: MatchKey) -> bool:
        if (key.kind, key.value) in self._told:
            return True
        return bool(self._former) and short(self._keys.lead(Key(key.kind, key.value))) in self._former


def _short_leads(keys: Keys, key: Key) -> Leads:
    """Return the short leads to the accounts that carry a value, the one of its own kind first."""
    return tuple(short(keys.lead(place)) for place in places_of(key))


def _claims(
    keys: Keys, theirs: Mapping[str, Collection[MatchKey]], found: Mapping[str, tuple[MatchEvidence, ...]]
) -> dict[str, Claim | None]:
    """Return what each identity claims of an account, None if it only meets it. Digests are for rivals."""
    if len(found) == 1:
        ((oid, evidence),) = found.items()
        return {oid: Claim(trust_of(evidence), excluded=_is_excluded(theirs[oid])) if evidence else None}
    return {
        oid: Claim.of(evidence, excluded=_is_excluded(theirs[oid]), digest=keys.fingerprint) if evidence else None
        for oid, evidence in found.items()
    }


def _is_excluded(have: Collection[MatchKey]) -> bool:
    """Tell whether the keys are those of an excluded identity: then all of them say so."""
    return any(key.excluded for key in have)


def _object_ids(account: AccountFacts, theirs: Collection[str]) -> Iterator[str]:
    """Yield what to count of the object ids that an account carries: that it has any, that one is in the source."""
    if account.status is not Status.LOCAL or not (account.object_id or account.external_id):
        return
    carried = {read_object_id(text) for text in (account.object_id, account.external_id) if text} - {None}
    if carried:
        yield IDS_CARRIED
        if not carried.isdisjoint(map(fold, theirs)):
            yield IDS_KNOWN


def _candidate(
    object_id: str,
    facts: AccountFacts,
    evidence: Iterable[MatchEvidence],
    rivals: Sequence[Rival],
    *,
    contested: bool,
) -> list[Any]:
    """Return what is staged of an account that an identity meets; _candidates_by_identity() reads it.

    `contested` says that other identities meet the account, whether or not they have a claim to it.
    """
    return [object_id, _values(facts), list(evidence), rivals, contested]


@dataclass(frozen=True, slots=True)
class _KnownPairs:
    """The accounts of a bucket that a later run weighs: those in pairs, and those that passes/compare.py touched.

    `near` has, by account that was not touched, the identities that met it in the runs before, with their claims.
    `crowds` has, by account, the short leads of each of the values that were shared then.
    """

    directory: Directory
    ids: set[str]
    touched: set[str]
    near: Mapping[str, Mapping[str, Claim | None]]
    crowds: Mapping[str, Collection[Leads]]

    @classmethod
    async def read(cls, directory: Directory, job: Job, bucket: int, met: Collection[str]) -> _KnownPairs:
        stage = directory.stage(job.id + TOUCHED)
        touched = {account_id async for items in stage.read(bucket) for account_id, _ in items}
        seen, untouched = directory.seen(job.options["since"]), set(met) - touched
        ids = {*met, *touched}
        claims, crowds = await seen.near(bucket, untouched), await seen.crowds(bucket, ids)
        near = {
            account_id: {oid: Claim.from_text(text) if text else None for oid, text in met.items()}
            for account_id, met in claims.items()
        }
        return cls(directory, ids, touched, near, crowds)

    async def accounts(self) -> AsyncIterator[Account]:
        for batch in in_parts(sorted(self.ids), ACCOUNTS_AT_ONCE):
            for account in await self.directory.accounts.find_many(batch):
                if account is not None:
                    yield account


async def decide_all(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Write the plan's row of every identity in a slice, and stage the links among them."""
    policy, mapping = policy_of(job), mapping_of(job)
    candidates = directory.stage(job.id + CANDIDATES)
    plan = directory.plan(job.id)
    links = directory.stage(job.id + LINKS).writer(slice_.name)
    seen = directory.seen_writer(job.id, slice_.name)
    counts: Counter[str] = Counter()
    rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
    for bucket in slice_.buckets:
        known, contested = await _candidates_by_identity(candidates, bucket)
        left_open: dict[str, str] = {}
        names = [job.id + CHANGED, job.id + MEETING] if again else parts_of(job)
        for _, identity in await _identities(directory, names, bucket):
            # By id: items of a stage come in any order, and a prediction may name the first account that it meets.
            near = [candidate for _, candidate in sorted(known.get(identity.object_id, {}).items())]
            matching = [candidate for candidate in near if candidate.evidence]
            decision = decide(identity, matching, policy)
            predicted = predict(identity, decision, near, mapping, policy)
            counts.update((decision.kind.value, PREDICTED + predicted.outcome.value))
            account = decision.account
            if account and decision.kind in WITH_ACCOUNT:
                counts[CARRIED + carried(identity, account)] += 1
            home = directory.keys.bucket(account.id) if account else bucket
            rows[home].append(_row(decision, policy, identity, predicted, matching))
            mark = mark_of(decision, identity, policy)
            if mark or again:
                left_open[identity.object_id] = mark
            if account and decision.kind is DecisionKind.LINK:
                counts[WARNINGS + INACTIVE] += not account.active
                digest = directory.keys.digest(Key("externalId", identity.object_id))
                await links.add(directory.keys.bucket(digest), [account.id, identity.object_id])
                before, after = _digests(account, linked(account, identity.object_id))
                # The link changes the account for the others that meet it, so the next run decides on those again.
                await seen.add_link(account.id, before, IN_DOUBT if account.id in contested else after)
        await plan.leave_open(left_open)
    await together(*(plan.write(home, batch) for home, batch in rows.items()))
    await together(links.close(), seen.close())
    return counts


def _digests(*accounts: AccountFacts) -> Iterator[str]:
    """Yield the digests of accounts' facts, of which id and version are no part."""
    return (digest_facts(_values(account)[2:]) for account in accounts)


async def _identities(directory: Directory, names: Sequence[str], bucket: int) -> Iterable[tuple[str, Identity]]:
    """Return a bucket's identities in some stages, each with the line that it was staged as.

    Where an object id comes several times, the first counts; none where two rows of an upload contradict each other.
    """
    found: dict[str, tuple[str, Identity] | None] = {}
    for name in names:
        async for lines in directory.stage(name).lines(bucket):
            for line, item in zip(lines, parse(lines), strict=True):
                if is_void(line):
                    found[fold(item["id"])] = None
                    continue
                read = None if is_gone(line) else (line, Identity.from_json(item))
                found.setdefault(fold(item["id"]), read)
    return filter(None, found.values())


async def _keys_by_account(
    pairs: Stage, bucket: int, policy: Policy
) -> tuple[Mapping[str, Mapping[str, set[MatchKey]]], Mapping[str, set[tuple[str, str]]]]:
    """Return the match keys of each account's identities, and the shared values of each account."""
    rules = {rule.value: match_rule for rule, match_rule in policy.compared.items()}
    keys: defaultdict[str, defaultdict[str, set[MatchKey]]] = defaultdict(lambda: defaultdict(set))
    shared: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)
    async for items in pairs.read(bucket):
        for account_id, object_id, values in items:
            if not object_id:
                shared[account_id].update((kind, value) for kind, value in values)
                continue
            known = keys[account_id][object_id]
            for rule, attribute, literal, *mark in values:
                known.add(match_key(rules[rule], attribute, literal, policy, excluded=bool(mark)))
    return keys, shared


async def _candidates_by_identity(candidates: Stage, bucket: int) -> tuple[dict[str, dict[str, Candidate]], set[str]]:
    """Return the candidates of a bucket's identities by account, and the accounts that several identities meet."""
    known: defaultdict[str, dict[str, Candidate]] = defaultdict(dict)
    contested = set[str]()
    async for items in candidates.read(bucket):
        for object_id, facts, evidence, rivals, is_contested in items:
            account = _facts(facts)
            if is_contested:
                contested.add(account.id)
            known[object_id][account.id] = Candidate(
                account,
                tuple(MatchEvidence(Rule(rule), Trust(trust), *rest) for rule, trust, *rest in evidence),
                tuple(Rival(other, Trust(trust) if trust else None, *rest) for other, trust, *rest in rivals),
            )
    return known, contested


_FACTS = tuple(field.name for field in fields(AccountFacts))
_values = attrgetter(*_FACTS)


def _facts(values: list[Any]) -> AccountFacts:
    """Return the facts that were staged as JSON: their lists are tuples again, their status is a Status."""
    known: dict[str, Any] = dict(zip(_FACTS, (tuple(v) if isinstance(v, list) else v for v in values), strict=True))
    return AccountFacts(**known | {"status": Status(known["status"])})


def _in_order(keys: Iterable[MatchKey]) -> list[MatchKey]:
    """Return match keys in an order that does not depend on the file's: strong rules first, then by rule."""
    return sorted(keys, key=lambda key: (key.trust is Trust.WEAK, _RULES.index(key.rule), key.attribute, key.literal))


_RULES = tuple(Rule)


def _row(
    decision: Decision,
    policy: Policy,
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
    if account and decision.kind in WARNED and not account.active:
        shown["warnings"] = [INACTIVE]
    if decision.kind is DecisionKind.AMBIGUOUS and identity is not None:
        found = [candidate for candidate in candidates if candidate.account.id in decision.others]
        shown["candidates"] = [_shown_candidate(identity, candidate, policy) for candidate in found]
        versions = {candidate.account.id: candidate.account.version for candidate in found}
    if predicted is not None:
        shown["predicted"] = predicted.to_json()
    if identity is None and account is None:
        raise ValueError("a decision is about an identity or an account")
    subject = identity.object_id if identity else account.id if account else ""
    return PlanRow(decision.kind.value, subject, shown, account.version if account else "", versions=versions)


def _shown_candidate(identity: Identity, candidate: Candidate, policy: Policy) -> dict[str, Any]:
    """Return one of several candidates as a row shows it, with what forbids to link it, whoever asks for that."""
    account, against = candidate.account, objection_of(identity, candidate, policy)
    shown = {"id": account.id, "userName": account.user_name, "rules": [item.rule.value for item in candidate.evidence]}
    warned = {} if account.active else {"warnings": [INACTIVE]}
    return shown | warned | ({"objection": against} if against else {})
