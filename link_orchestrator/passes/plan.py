"""The passes that make a plan of who meets whom (pairs.py), one bucket in memory at a time.

weigh    accounts and pairs -> candidates with evidence and rivals, in the identity's bucket; accounts nobody matches
decide   identities and candidates -> the plan's rows; its links once more, in the bucket of the claim that each needs
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from link_orchestrator.messages import Slice
from link_orchestrator.passes.excluded_groups import policy_with_members
from link_orchestrator.passes.pairs import identities_in
from link_orchestrator.passes.said import WARNED, Said
from link_orchestrator.passes.shared_values import places_of
from link_orchestrator.prediction.cycle import PredictedOutcome, Prediction, carried, predict
from link_orchestrator.run import (
    ASSIGNED,
    CARRIED,
    EXCLUDED_BY,
    IDS_CARRIED,
    IDS_KNOWN,
    PREDICTED,
    REPORTS_ASIDE,
    SET_ASIDE,
    chain_of,
    mapping_of,
    policy_of,
)
from link_orchestrator.staged import (
    CANDIDATES,
    CHANGED,
    LEFT,
    LINKS,
    MEETING,
    PAIRS,
    TOUCHED,
    identity_bucket,
    parts_of,
)
from shared.directory.directory import Directory
from shared.directory.keys import Key, Keys, fold
from shared.directory.matching.accounts import (
    STAYS_OFF,
    SWITCHED_ON,
    Decision,
    DecisionKind,
    decide,
    is_parted,
    objection_of,
    stays_local,
)
from shared.directory.matching.authority import mark_of
from shared.directory.matching.evidence import (
    AccountFacts,
    Candidate,
    Claim,
    MatchEvidence,
    Rival,
    evidence_for,
    facts_of,
    is_sure,
    linked,
    rivals_of,
    trust_of,
)
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import MatchKey, match_key
from shared.directory.matching.names import names_in
from shared.directory.matching.policy import LOGIN_NAMES, Policy, Rule, Trust
from shared.directory.object_ids import read_object_id
from shared.directory.records.model import Account, Status, digest_facts
from shared.directory.work.jobs import Job
from shared.directory.work.plan import PlanRow
from shared.directory.work.seen import IN_DOUBT, Leads, short
from shared.directory.work.staging import Stage
from shared.tables.access import in_parts, together
from shared.turns import Turns

WITH_ACCOUNT = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)
"""Decisions that leave an identity with an account of its own."""
ACCOUNTS_AT_ONCE = 500
"""Accounts that a later run has in memory at once."""


async def weigh(directory: Directory, job: Job, slice_: Slice, *, again: bool = False) -> Counter[str]:
    """Check each pair against the account, and stage for each identity what it and its rivals have on the account."""
    weighing = _Weighing(directory, job, slice_.name)
    for bucket in slice_.buckets:
        await weighing.weigh(bucket, again=again)
    return await weighing.close()


class _Weighing:
    """The pass weigh() over one slice: what it writes, and what it counts."""

    def __init__(self, directory: Directory, job: Job, slice_name: str) -> None:
        self._directory, self._job, self._keys = directory, job, directory.keys
        self._policy = policy_of(job)
        self._writer = directory.stage(job.id + CANDIDATES).writer(slice_name)
        self._seen = directory.seen_writer(job.id, slice_name)
        self._said = Said(directory.keys, self._policy, mapping_of(job), {})
        self._found_under = f"weigh_{slice_name}"
        self._counts: Counter[str] = Counter()
        self._unmatched: list[tuple[int, PlanRow]] = []

    async def weigh(self, bucket: int, *, again: bool) -> None:
        """Weigh the accounts of a bucket; of a later run, those that something changed about."""
        pairs = self._directory.stage(self._job.id + PAIRS)
        keys, shared = await _keys_by_account(pairs, bucket, self._policy)
        known = await _KnownPairs.read(self._directory, self._job, bucket, keys) if again else None
        # With their documents, of which provisioning may change something: a bucket that nobody meets, without.
        scanned = self._directory.listing.scan_facts(bucket, documents=bool(keys))
        digests = await self._directory.seen(chain_of(self._job)).accounts(bucket)
        unmatched: list[PlanRow] = []
        async for account in known.accounts() if known else scanned:
            theirs = keys.get(account.id, {})
            facts, held = self._facts(account, bool(theirs))
            if digests.get(account.id) != account.digest:
                # It changed after this run saw it, so others may meet it now. Without a version it is not linked.
                # Another version of the app may have made the digest of other facts, so that it is made by none anew.
                facts = facts._replace(version="")
                await self._seen.doubt_account(account.id)
            crowds = _Crowds.of(self._keys, account.id, shared, known)
            found = {oid: evidence_for(_in_order(crowds.without(have)), facts) for oid, have in theirs.items()}
            claims: Mapping[str, Claim | None] = _claims(self._keys, theirs, found)
            if known:
                # An untouched account is met by the same identities as before, of which only some are weighed again.
                claims = known.near.get(account.id) or claims
            made = {oid: claim for oid, claim in claims.items() if claim}
            await self._stage(facts, held, found, made, contested=len(claims) > 1)
            if known and account.id not in known.touched:
                continue
            if not known:
                self._counts.update(_object_ids(facts, theirs))
            await self._keep(account.id, claims, crowds, also_none=bool(known))
            if all(claim.excluded for claim in made.values()) and not account.retired and self._reports(account):
                aside = self._policy.set_aside_in_words(account.id, account.user_name)
                apart = not made and any(is_parted(facts.parted, oid) for oid in theirs)
                stays = stays_local(facts, excluded=bool(made), apart=apart, aside=aside)
                unmatched.append(_row(stays, self._policy))
        await self._directory.plan(self._job.id).write(bucket, unmatched)
        self._unmatched += [(bucket, row) for row in unmatched]
        if unmatched or not again:
            self._counts[DecisionKind.NO_IDENTITY.value] += len(unmatched)

    async def close(self) -> Counter[str]:
        """Write all that is held, and return what was counted."""
        await together(self._writer.close(), self._seen.close())
        await self._directory.plan_names(self._job.id).write(self._found_under, self._unmatched)
        await self._directory.findings.write(self._job.id, self._found_under, self._said.found)
        return self._counts

    def _facts(self, account: Account, is_met: bool) -> tuple[AccountFacts, Sequence[Any]]:
        """Return the facts of an account, and what Impact.held_by() says of it. Nobody asks for one that is not met."""
        facts = facts_of(account)
        if facts.employee_number:
            self._said.number(facts.employee_number, "account", facts.user_name)
        if not is_met:
            return facts, ()
        document = account.document()
        if self._policy.compares_names:
            facts = facts._replace(names=names_in(document))
        return facts, self._said.impact.held_by(document)

    async def _stage(
        self,
        facts: AccountFacts,
        held: Sequence[Any],
        found: Mapping[str, tuple[MatchEvidence, ...]],
        made: Mapping[str, Claim],
        *,
        contested: bool,
    ) -> None:
        """Stage an account for each identity that meets it, with the evidence and the rivals."""
        for oid, evidence in found.items():
            rivals = rivals_of(oid, evidence, made, self._keys.fingerprint) if contested else ()
            staged = _candidate(oid, facts, evidence, rivals, held, contested=contested)
            await self._writer.add(identity_bucket(self._keys, oid), staged)

    async def _keep(
        self, account_id: str, claims: Mapping[str, Claim | None], crowds: _Crowds, *, also_none: bool
    ) -> None:
        """Keep for later runs who meets an account, and which of its values are shared."""
        if claims or also_none:
            near = {oid: claim.to_text() if claim else "" for oid, claim in claims.items()}
            await self._seen.add_near(account_id, near)
        if crowds.are_new:
            await self._seen.add_crowds(account_id, crowds.leads())

    def _reports(self, account: Account) -> bool:
        """Tell whether an account that no identity matches has a row, and count it where the policy sets it aside."""
        if not self._policy.sets_aside(account.id, account.user_name):
            return True
        self._counts[SET_ASIDE] += 1
        return bool(self._job.options.get(REPORTS_ASIDE))


class _Crowds:
    """The shared values of one account: those that join() told of, and short leads of those that earlier runs knew."""

    def __init__(
        self, keys: Keys, told: Collection[tuple[str, str]], former: Collection[Leads] = (), *, recounted: bool = True
    ) -> None:
        self._keys = keys
        self._told = told
        self.are_new = bool(told or former)
        """Whether there is something to keep: shared values, or that there are none any more."""
        # By their own lead alone: an address that many carry says nothing of a name that is written alike.
        self._former = () if recounted else {own for own, *_ in former}

    @classmethod
    def of(
        cls, keys: Keys, account_id: str, told: Mapping[str, Collection[tuple[str, str]]], known: _KnownPairs | None
    ) -> Self:
        """Return those of an account: what a touched one has of shared values is counted again, and join() says so."""
        if known is None:
            return cls(keys, told.get(account_id, ()))
        former = known.crowds.get(account_id, ())
        return cls(keys, told.get(account_id, ()), former, recounted=account_id in known.touched)

    def without(self, have: Collection[MatchKey]) -> Iterable[MatchKey]:
        """Return match keys without those of weak rules and of login names whose value is shared."""
        if not (self._told or self._former):
            return have
        return [key for key in have if not (key.trust is Trust.WEAK or key.rule in LOGIN_NAMES) or not self._has(key)]

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
        excluded, among_many = _exclusion(theirs[oid])
        claim = Claim(trust_of(evidence), sure=is_sure(evidence), excluded=excluded, among_many=among_many)
        return {oid: claim if evidence else None}
    said = {oid: _exclusion(theirs[oid]) for oid in found}
    return {
        oid: Claim.of(evidence, excluded=said[oid][0], among_many=said[oid][1], digest=keys.fingerprint)
        if evidence
        else None
        for oid, evidence in found.items()
    }


def _exclusion(have: Collection[MatchKey]) -> tuple[bool, bool]:
    """Tell whether keys are those of an excluded identity, and of one excluded among many: then all of them say so."""
    return any(key.excluded for key in have), any(key.among_many for key in have)


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
    held: Sequence[Any],
    *,
    contested: bool,
) -> list[Any]:
    """Return what is staged of an account that an identity meets; _candidates_by_identity() reads it.

    `held` is what Impact.held_by() returned of it. `contested` says that other identities meet the account, whether or
    not they have a claim to it.
    """
    # The words of enumerations: to find them out takes the encoder longer than the rest.
    account = [*facts]
    account[_STATUS] = facts.status.value
    items = [(rule.value, trust.value, *rest) for rule, trust, *rest in evidence]
    others = [(other, trust and trust.value, *rest) for other, trust, *rest in rivals]
    return [object_id, account, items, others, held, contested]


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
    policy, mapping = await policy_with_members(directory, job), mapping_of(job)
    said = Said(directory.keys, policy, mapping, {})
    candidates = directory.stage(job.id + CANDIDATES)
    plan = directory.plan(job.id)
    links = directory.stage(job.id + LINKS).writer(slice_.name)
    left = directory.stage(job.id + LEFT).writer(slice_.name)
    seen = directory.seen_writer(job.id, slice_.name)
    counts: Counter[str] = Counter()
    rows: defaultdict[int, list[PlanRow]] = defaultdict(list)
    turns = Turns()
    for bucket in slice_.buckets:
        known, contested = await _candidates_by_identity(candidates, bucket)
        left_open: dict[str, str] = {}
        said.assigned = await _assigned(directory, job, bucket)
        names = [job.id + CHANGED, job.id + MEETING] if again else parts_of(job)
        for _, identity in await identities_in(directory, names, bucket):
            # By id: items of a stage come in any order, and a prediction may name the first account that it meets.
            near = [candidate for _, candidate in sorted(known.get(identity.object_id, {}).items())]
            decision = decide(identity, near, policy)
            of_row = (decision.account and decision.account.id, *decision.others)
            matching = [candidate for candidate in near if candidate.evidence or candidate.account.id in of_row]
            predicted = predict(identity, decision, near, mapping, policy, assigned=said.is_assigned(identity))
            counts.update((decision.kind.value, PREDICTED + predicted.outcome.value))
            account = decision.account
            if decision.kind is DecisionKind.EXCLUDED:
                counts[EXCLUDED_BY + policy.exclusion_of(identity)] += 1
            if account and decision.kind in WITH_ACCOUNT:
                counts[CARRIED + carried(identity, account)] += 1
            home = directory.keys.bucket(account.id) if account else bucket
            row = _row(decision, policy, identity, predicted, matching, said)
            rows[home].append(row)
            said.count(identity, decision, matching, row.shown, home)
            mark = mark_of(decision, identity, policy)
            if mark or again:
                left_open[identity.object_id] = mark
            if decision.kind is DecisionKind.NO_ACCOUNT:
                await left.add(bucket, identity.to_json())
            if account and decision.kind is DecisionKind.LINK:
                digest = directory.keys.digest(Key("externalId", identity.object_id))
                await links.add(directory.keys.bucket(digest), [account.id, identity.object_id])
                before, after = _digests(account, linked(account, identity.object_id))
                # The link changes the account for the others that meet it, so the next run decides on those again.
                await seen.add_link(account.id, before, IN_DOUBT if account.id in contested else after)
            await turns.step()
        await plan.leave_open(left_open)
    await together(*(plan.write(home, batch) for home, batch in rows.items()))
    written = ((home, row) for home, batch in rows.items() for row in batch)
    await directory.plan_names(job.id).write(f"decide{'_again' if again else ''}_{slice_.name}", written)
    await together(links.close(), left.close(), seen.close())
    await directory.findings.write(job.id, f"decide_{slice_.name}", said.found)
    counts.update(said.counts)
    return counts


async def merge_names(directory: Directory, job: Job, slice_: Slice) -> Counter[str]:
    """Put the names of all rows in one order, by which they are found. The pass runs in one slice."""
    await directory.plan_names(job.id).merge()
    return Counter()


async def _assigned(directory: Directory, job: Job, bucket: int) -> set[str] | None:
    """Return the folded ids of a bucket's people who are assigned to the application, None where nobody said who."""
    names = job.options.get(ASSIGNED)
    if names is None:
        return None
    return {fold(identity.object_id) for _, identity in await identities_in(directory, names, bucket)}


def _digests(*accounts: AccountFacts) -> Iterator[str]:
    """Yield the digests of accounts' facts, of which id, version, applicationId and names are no part."""
    return (digest_facts(account[2:-2]) for account in accounts)


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
                marks = {"excluded": bool(mark), "among_many": len(mark) > 1}
                known.add(match_key(rules[rule], attribute, literal, policy, **marks))
    return keys, shared


async def _candidates_by_identity(candidates: Stage, bucket: int) -> tuple[dict[str, dict[str, Candidate]], set[str]]:
    """Return the candidates of a bucket's identities by account, and the accounts that several identities meet."""
    known: defaultdict[str, dict[str, Candidate]] = defaultdict(dict)
    contested = set[str]()
    async for items in candidates.read(bucket):
        for object_id, facts, evidence, rivals, held, is_contested in items:
            account = _facts(facts)
            if is_contested:
                contested.add(account.id)
            known[object_id][account.id] = Candidate(
                account,
                tuple(MatchEvidence(Rule(rule), Trust(trust), *rest) for rule, trust, *rest in evidence),
                tuple(Rival(other, Trust(trust) if trust else None, *rest) for other, trust, *rest in rivals),
                held,
            )
    return known, contested


_STATUS = AccountFacts._fields.index("status")


def _facts(values: list[Any]) -> AccountFacts:
    """Return the facts that were staged as JSON: their lists are tuples again, their status is a Status."""
    known: list[Any] = [tuple(value) if type(value) is list else value for value in values]
    known[_STATUS] = Status(known[_STATUS])
    return AccountFacts(*known)


def _in_order(keys: Iterable[MatchKey]) -> list[MatchKey]:
    """Return match keys in an order that does not depend on the file's: strong rules first, then by rule."""
    return sorted(keys, key=lambda key: (key.trust is Trust.WEAK, _PLACES[key.rule], key.attribute, key.literal))


_PLACES = {rule: place for place, rule in enumerate(Rule)}


def _row(
    decision: Decision,
    policy: Policy,
    identity: Identity | None = None,
    predicted: Prediction | None = None,
    candidates: Sequence[Candidate] = (),
    said: Said | None = None,
) -> PlanRow:
    skipped = predicted is not None and predicted.outcome is PredictedOutcome.SKIPPED
    shown: dict[str, Any] = {"reason": decision.reason.replace(SWITCHED_ON, STAYS_OFF) if skipped else decision.reason}
    account = decision.account
    versions: dict[str, str] = {}
    if identity is not None:
        shown["identity"] = {
            "objectId": identity.object_id,
            "userPrincipalName": identity.user_principal_name,
            "displayName": identity.display_name,
        } | ({"department": identity.department} if identity.department else {})
    if account is not None:
        shown["account"] = account.shown()
    if decision.evidence:
        shown["evidence"] = [item.to_json() for item in decision.evidence]
    if decision.others:
        shown["others"] = list(decision.others)
    if account and identity and said:
        if decision.kind in WARNED and (codes := said.codes(identity, account)):
            shown["warnings"] = codes
        if changes := _changes(decision, identity, predicted, candidates, said):
            shown["changes"] = changes
    if decision.kind is DecisionKind.AMBIGUOUS and identity is not None and said:
        found = [candidate for candidate in candidates if candidate.account.id in decision.others]
        shown["candidates"] = [_shown_candidate(identity, candidate, policy, said) for candidate in found]
        versions = {candidate.account.id: candidate.account.version for candidate in found}
    if predicted is not None:
        shown["predicted"] = predicted.to_json()
    if identity is None and account is None:
        raise ValueError("a decision is about an identity or an account")
    subject = identity.object_id if identity else account.id if account else ""
    return PlanRow(decision.kind.value, subject, shown, account.version if account else "", versions=versions)


def _changes(
    decision: Decision,
    identity: Identity,
    predicted: Prediction | None,
    candidates: Sequence[Candidate],
    said: Said,
) -> dict[str, dict[str, Any]]:
    """Return what the first cycle changes of the account of a row that is linked, or that a review may link."""
    if decision.kind not in (*WARNED, *WITH_ACCOUNT):
        return {}
    candidate = next(one for one in candidates if one.account is decision.account)
    return said.changes(identity, candidate, predicted if decision.kind in WITH_ACCOUNT else None)


def _shown_candidate(identity: Identity, candidate: Candidate, policy: Policy, said: Said) -> dict[str, Any]:
    """Return one of several candidates as a row shows it, with what forbids to link it, whoever asks for that."""
    account, against = candidate.account, objection_of(identity, candidate, policy)
    shown: dict[str, Any] = account.shown() | {"rules": [item.rule.value for item in candidate.evidence]}
    if places := [item.place for item in candidate.evidence]:
        shown["places"] = places
    if codes := said.codes(identity, account):
        shown["warnings"] = codes
    if changes := said.changes(identity, candidate):
        shown["changes"] = changes
    return shown | ({"objection": against} if against else {})
