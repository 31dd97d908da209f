"""What the rows of a plan say beside their decision: what they warn of, and what the first cycle changes.

It is found while the rows are made, since nobody reads the directory once more for it. warnings.py has the sentences.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from link_orchestrator.prediction.cycle import PredictedOutcome, Prediction
from link_orchestrator.prediction.impact import Impact
from link_orchestrator.prediction.mapping import AttributeMapping
from link_orchestrator.run import INACTIVE, WARNINGS
from link_orchestrator.warnings import (
    DISABLED,
    FILLERS,
    IMPACT,
    NAME_KEPT,
    NAMES,
    NAMES_BEFORE,
    OUTSIDE,
    PADDED,
    PLAIN,
    ROW,
    SECOND,
    TRUST,
    UNASSIGNED,
    add_met,
)
from shared.directory.keys import Keys, fold
from shared.directory.matching.accounts import Decision, DecisionKind, decide
from shared.directory.matching.evidence import AccountFacts, Candidate, MatchEvidence, trust_of
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import is_filler
from shared.directory.matching.names import names_in
from shared.directory.matching.policy import Policy, Rule, Trust
from shared.directory.matching.transforms import MOST_DIGITS
from shared.directory.work.findings import EXAMPLES, Finding
from shared.directory.work.plan import keeps_name, row_id

WARNED: Final = (DecisionKind.LINK, DecisionKind.REVIEW, DecisionKind.OUTSIDE_VERIFIED_DOMAINS)
"""Decisions whose row warns of what linking it brings: the links, and what a review may link."""
LINKED: Final = (DecisionKind.LINK, DecisionKind.ALREADY_LINKED)
ACCOUNTS: Final = IMPACT + "accounts"
"""Count of the linked accounts of which the first cycle changes anything."""


@dataclass(slots=True)
class Said:
    """What one slice of a plan has to say. `assigned` has the folded ids of who is assigned, None where none knows."""

    keys: Keys
    policy: Policy
    mapping: AttributeMapping
    found: dict[str, Finding]
    assigned: Collection[str] | None = None
    counts: Counter[str] = field(default_factory=Counter)
    impact: Impact = field(init=False)
    _trusting: Policy | None = field(init=False)

    def __post_init__(self) -> None:
        self.impact = Impact(self.mapping)
        self._trusting = _trusting(self.policy)

    def is_assigned(self, identity: Identity) -> bool:
        """Tell whether provisioning has a person in its scope, as far as that is known."""
        return self.assigned is None or fold(identity.object_id) in self.assigned

    def codes(self, identity: Identity, account: AccountFacts) -> list[str]:
        """Return the codes of what linking the two would bring."""
        goes_through = identity.account_enabled and self.is_assigned(identity)  # otherwise it switches nobody on
        said = (
            (INACTIVE, not account.active and goes_through),
            (DISABLED, not identity.account_enabled),
            (UNASSIGNED, not self.is_assigned(identity)),
        )
        return [code for code, is_so in said if is_so]

    def changes(
        self, identity: Identity, candidate: Candidate, predicted: Prediction | None = None
    ) -> dict[str, dict[str, Any]]:
        """Return what the first cycle changes of an account that it finds.

        Without a prediction: once a review has linked it.
        """
        if predicted is None:
            finds = self.mapping.keyed and identity.account_enabled and self.is_assigned(identity)
        else:
            finds = predicted.outcome is PredictedOutcome.MATCHED
        return self.impact.changes(identity, candidate.account, candidate.held) if finds else {}

    def count(
        self, identity: Identity, decision: Decision, near: Sequence[Candidate], shown: Mapping[str, Any], bucket: int
    ) -> None:
        """Keep what a row of a bucket says of an identity, and count it."""
        account, changes = decision.account, shown.get("changes", {})
        if decision.kind is DecisionKind.EXCLUDED:
            add_met(self.found, self.keys, self.policy.naming(identity))
        if decision.kind in LINKED and changes:
            self.counts[ACCOUNTS] += 1
            for name in changes:
                self.counts[IMPACT + name] += 1
            if keeps_name(changes):
                self.counts[NAME_KEPT] += 1
            elif "userName" in changes:
                if decision.kind is DecisionKind.ALREADY_LINKED:
                    self.counts[NAMES_BEFORE] += 1
                self._add(NAMES, identity, {**_example(identity, account), **changes["userName"]})
        for code in shown.get("warnings", ()):
            if code != DISABLED and decision.kind is DecisionKind.LINK:
                self.counts[WARNINGS + code] += 1
                self._add(code, identity, _example(identity, account))
        if shown.get("predicted", {}).get("second"):
            self.counts[WARNINGS + SECOND] += 1
            self._add(SECOND, identity, _example(identity, account))
        if near and not identity.account_enabled and decision.kind is not DecisionKind.EXCLUDED:
            self._add(DISABLED, identity, _example(identity, account))
        if decision.kind is DecisionKind.OUTSIDE_VERIFIED_DOMAINS:
            self._add_open(OUTSIDE, identity, decision, bucket, _domain(decision.evidence))
        if decision.kind is DecisionKind.REVIEW and self._would_be_trusted(identity, decision, near):
            self._add_open(TRUST, identity, decision, bucket)
        if identity.employee_id:
            self.number(identity.employee_id, "identity", identity.user_principal_name)

    def _would_be_trusted(self, identity: Identity, decision: Decision, near: Sequence[Candidate]) -> bool:
        if self._trusting is None or trust_of(decision.evidence) is not Trust.WEAK:
            return False
        return would_be_trusted(identity, decision, near, self.mapping, self._trusting)

    def number(self, number: str, whose: str, name: str) -> None:
        """Keep what an employee number of an identity or an account of this name looks like: none, or so many digits.

        warnings.py compares the digits of both sides.
        """
        if is_filler(number):
            code, value = FILLERS, fold(number)
        elif number.isdecimal() and number.isascii() and len(number) <= MOST_DIGITS:
            code, value = f"{PADDED if number[0] == '0' else PLAIN}{whose}.{len(number)}", ""
        else:
            return
        self.found.setdefault(code, Finding()).add("0", {whose: name, "value": number}, value)

    def _add_open(self, code: str, identity: Identity, decision: Decision, bucket: int, value: str = "") -> None:
        """Keep what is said of a row that a review settles: an example has its id, and is none once that is so."""
        example = _example(identity, decision.account)
        if code not in self.found or len(self.found[code].examples) < EXAMPLES:
            example[ROW] = row_id(self.keys, bucket, decision.kind.value, identity.object_id)
        self._add(code, identity, example, value)

    def _add(self, code: str, identity: Identity, example: Mapping[str, Any], value: str = "") -> None:
        told = self.keys.fingerprint(f"{code} {fold(identity.object_id)} {value}")
        self.found.setdefault(code, Finding()).add(told, example, value)


def would_be_trusted(
    identity: Identity, decision: Decision, near: Sequence[Candidate], mapping: AttributeMapping, policy: Policy
) -> bool:
    """Tell whether a review would be a link under a policy that trusts every address in the verified domains.

    Where another identity matches the account, too, nobody can tell before that is decided.
    """
    mails = [one for one in decision.evidence if one.attribute == "mail" and "emails" in one.held]
    proving = [one for one in mails if not (one.outside or one.look_alike)]
    if not proving or any(rival.trust and not rival.excluded for one in near for rival in one.rivals):
        return False
    more = MatchEvidence(Rule.MAIL, Trust.STRONG, "mail", value=proving[0].value)
    trusted = [
        one._replace(account=one.account._replace(names=_names(one, mapping)), evidence=(more, *one.evidence))
        if one.account is decision.account
        else one
        for one in near
    ]
    return decide(identity, trusted, policy).kind is DecisionKind.LINK


def _trusting(policy: Policy) -> Policy | None:
    """Return the policy with every address in the verified domains trusted, None where that changes nothing."""
    if policy.trusts_unverified:
        return None
    try:
        return replace(policy, trust_emails="inVerifiedDomains")
    except ValueError:  # the rules contradict it
        return None


def _names(candidate: Candidate, mapping: AttributeMapping) -> tuple[str, ...]:
    """Return the names of an account as far as the mapping sends some."""
    held = dict(zip(mapping.others, candidate.held[1:], strict=False))
    name = {part: held.get(f"name.{part}") for part in ("givenName", "familyName", "formatted")}
    return names_in({"displayName": held.get("displayName"), "name": name})


def _example(identity: Identity, account: AccountFacts | None) -> dict[str, str]:
    return {"identity": identity.user_principal_name, **({"account": account.user_name} if account else {})}


def _domain(evidence: Sequence[MatchEvidence]) -> str:
    """Return the domain of the first address that proves nothing, "" where a name has none."""
    values = [item.value for item in evidence if item.outside and "@" in item.value]
    return values[0].rpartition("@")[2] if values else ""
