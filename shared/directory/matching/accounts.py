"""Which identity is which account: match keys, candidates, and the decision on each identity.

Candidates come from a run's join (link_orchestrator/passes/plan.py); rules and policy are in policy.py. A decision is a
link only if nothing speaks against it: what two people could read in two ways is left to the administrator. A SCIM
create that adopts an account has rules of its own, in adoption.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Self

from shared.directory.keys import fold, same_letters
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import MatchRule, Policy, Rule, Trust
from shared.directory.records.model import Account, Status

Kind = Literal["externalId", "objectId", "nameId", "userName", "email", "employeeNumber"]


class MatchKey(NamedTuple):
    """One value of an identity by which accounts are looked up.

    `kind` and the folded `value` are the key of the accounts that carry it. `attribute` is where the identity has the
    value, `literal` how it is written there. `outside` says that the rule demands a verified domain, which it has not.
    """

    rule: Rule
    trust: Trust
    kind: Kind
    value: str
    attribute: str
    literal: str
    outside: bool = False


def identity_keys(identity: Identity, policy: Policy) -> tuple[MatchKey, ...]:
    """Return the match keys of an identity in the order of the policy's rules; none for an excluded one.

    So an excluded identity finds no account, and is no rival of another.
    """
    if policy.excludes(identity.object_id, identity.user_principal_name):
        return ()
    keys: dict[tuple[Rule, str], MatchKey] = {}
    for match_rule in policy.rules:
        _, values = _VALUES[match_rule.rule]
        for attribute, literal in values(identity, policy):
            key = match_key(match_rule, attribute, literal, policy)
            if key.value:
                keys.setdefault((key.rule, key.value), key)
    return tuple(keys.values())


def match_key(match_rule: MatchRule, attribute: str, literal: str, policy: Policy) -> MatchKey:
    """Return the match key that a rule makes of one value of an identity."""
    rule, value = match_rule.rule, fold(literal)
    # An address proves something only in a domain that the customer has proved to own: anybody can register
    # jane@elsewhere.example in an application, and a guest's home tenant can rename its users.
    demands = match_rule.trust is Trust.STRONG and rule in _ADDRESS_RULES
    outside = demands and _domain(value) not in policy.verified_domains
    return MatchKey(rule, match_rule.trust, _VALUES[rule][0], value, attribute, literal, outside)


_ADDRESS_RULES = frozenset({Rule.USER_NAME, Rule.VERIFIED_EMAIL, Rule.EMAIL})

_GUEST = re.compile(r"(.+)#EXT#@(.+)", re.IGNORECASE)

_Values = Callable[[Identity, Policy], Iterator[tuple[str, str]]]


def _object_id(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    yield "id", identity.object_id


def _name_id(identity: Identity, policy: Policy) -> Iterator[tuple[str, str]]:
    values = {
        "userPrincipalName": identity.user_principal_name,
        "mail": identity.mail,
        "objectId": identity.object_id,
        "onPremisesImmutableId": identity.on_premises_immutable_id,
    }
    yield policy.name_id_source, values[policy.name_id_source] or ""


def _user_name(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    """Yield the name and, for a guest's `alias_home.example#EXT#@tenant`, what the provisioning mapping makes of it.

    That is `alias@home.example`; earlier versions of the page below take out `#EXT#` alone.
    https://learn.microsoft.com/entra/identity/app-provisioning/how-provisioning-works#b2b-guest-users
    """
    name = identity.user_principal_name
    yield "userPrincipalName", name
    if guest := _GUEST.fullmatch(name):
        prefix, tenant = guest.groups()
        # An alias may have underscores and a domain has none: the last one was the @.
        alias, _mark, home = prefix.rpartition("_")
        if alias and "." in home:
            yield "userPrincipalName", f"{alias}@{home}"
        yield "userPrincipalName", f"{prefix}@{tenant}"


def _mail(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    yield "mail", identity.mail or ""


def _addresses(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    yield "mail", identity.mail or ""
    for address in identity.proxy_addresses:
        scheme, _colon, value = address.partition(":")
        if scheme.lower() == "smtp":
            yield "proxyAddresses", value
    for address in identity.other_mails:
        yield "otherMails", address


def _employee_id(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    yield "employeeId", identity.employee_id or ""


_VALUES: Final[Mapping[Rule, tuple[Kind, _Values]]] = {
    Rule.EXTERNAL_ID: ("externalId", _object_id),
    Rule.SIGN_IN_OBJECT_ID: ("objectId", _object_id),
    Rule.NAME_ID: ("nameId", _name_id),
    Rule.USER_NAME: ("userName", _user_name),
    Rule.VERIFIED_EMAIL: ("email", _mail),
    Rule.EMAIL: ("email", _addresses),
    Rule.EMPLOYEE_NUMBER: ("employeeNumber", _employee_id),
}


def _domain(address: str) -> str:
    return address.rpartition("@")[2] if "@" in address else ""


def is_filler(number: str) -> bool:
    """Tell whether an employee number says that there is none: "N/A", "0", "-", "xxx". Such a one is nobody's."""
    core = re.sub(r"[\W_]+", "", fold(number))
    return _FILLER.fullmatch(core) is not None


_FILLER = re.compile(r"0*|x+|na|nan|none|null|nil|empty|unknown|undefined|notapplicable|tbd|tba|test|keine|unbekannt")


def numbers_contradict(left: str | None, right: str | None) -> bool:
    """Tell whether two employee numbers are both there and differ by more than the zeros before them."""
    if not left or not right or is_filler(left) or is_filler(right):
        return False
    return fold(left).lstrip("0") != fold(right).lstrip("0")


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What matching asks of an account. `linked_identity` is the object id of its link, None if it is not linked."""

    id: str
    version: str
    user_name: str
    external_id: str | None = None
    emails: tuple[str, ...] = ()
    verified_emails: tuple[str, ...] = ()
    name_id: str | None = None
    object_id: str | None = None
    employee_number: str | None = None
    protected: bool = False
    active: bool = True
    status: Status = Status.LOCAL
    linked_identity: str | None = None
    retired: bool = False
    parted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MatchEvidence:
    """That an account carries a value that an identity has in `attribute`; the value itself is left out."""

    rule: Rule
    trust: Trust
    attribute: str
    outside: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as the JSON object that plans and reports show."""
        document: dict[str, Any] = {"rule": self.rule.value, "trust": self.trust.value, "attribute": self.attribute}
        return document | {"outsideVerifiedDomains": True} if self.outside else document

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the evidence that `to_json` wrote."""
        outside = document.get("outsideVerifiedDomains", False)
        return cls(Rule(document["rule"]), Trust(document["trust"]), document["attribute"], outside)


def facts_of(account: Account) -> AccountFacts:
    """Return what matching asks of an account."""
    return AccountFacts(account.id, account.etag, *account.facts())


def linked(account: AccountFacts, object_id: str) -> AccountFacts:
    """Return an account as it is once a run has linked it to an identity."""
    return replace(account, external_id=object_id, linked_identity=object_id, status=Status.CLAIMED, retired=False)


def proving_rule(evidence: Iterable[MatchEvidence]) -> Rule:
    """Return the rule of the first evidence that proves a link. Raises ValueError if none does."""
    for item in evidence:
        if _proves(item):
            return item.rule
    raise ValueError("nothing here proves a link")


def evidence_for(keys: Iterable[MatchKey], account: AccountFacts) -> tuple[MatchEvidence, ...]:
    """Return evidence for each of the keys that the account carries: a pointer may lead to accounts that carry none."""
    found = []
    for key in keys:
        alike = [value for value in _carried(key.rule, account) if value and fold(value) == key.value]
        if key.attribute == "onPremisesImmutableId":
            # In Base64, another case is another identifier.
            alike = [value for value in alike if value.strip() == key.literal.strip()]
        if alike:
            same = any(same_letters(value, key.literal) for value in alike)
            found.append(MatchEvidence(key.rule, key.trust if same else Trust.WEAK, key.attribute, key.outside))
    return tuple(found)


def holds(key: MatchKey, account: AccountFacts) -> bool:
    """Tell whether the account carries the key."""
    return bool(evidence_for((key,), account))


def claim(evidence: Iterable[MatchEvidence]) -> Trust:
    """Return how strongly evidence claims an account. A value outside the verified domains claims it weakly."""
    return Trust.STRONG if any(_proves(item) for item in evidence) else Trust.WEAK


def _proves(item: MatchEvidence) -> bool:
    return item.trust is Trust.STRONG and not item.outside


def _carried(rule: Rule, account: AccountFacts) -> tuple[str | None, ...]:
    match rule:
        case Rule.EXTERNAL_ID:
            return (account.external_id,)
        case Rule.SIGN_IN_OBJECT_ID:
            return (account.object_id,)
        case Rule.NAME_ID:
            return (account.name_id,)
        case Rule.USER_NAME:
            return (account.user_name,)
        case Rule.VERIFIED_EMAIL:
            return account.verified_emails
        case Rule.EMAIL:
            return account.emails + account.verified_emails
        case Rule.EMPLOYEE_NUMBER:
            return (account.employee_number,)


@dataclass(frozen=True, slots=True)
class Rival:
    """Another identity that matches the same account, and its claim to it."""

    object_id: str
    trust: Trust


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that carries at least one key of an identity, and the other identities that match it."""

    account: AccountFacts
    evidence: tuple[MatchEvidence, ...]
    rivals: tuple[Rival, ...] = ()


class DecisionKind(StrEnum):
    """What becomes of an identity, or of an account that no identity matches."""

    LINK = "link"
    ALREADY_LINKED = "alreadyLinked"
    REVIEW = "review"
    AMBIGUOUS = "ambiguous"
    CONFLICT = "conflict"
    PROTECTED = "protected"
    OUTSIDE_VERIFIED_DOMAINS = "outsideVerifiedDomains"
    EXCLUDED = "excluded"
    NO_ACCOUNT = "noAccount"
    NO_IDENTITY = "noIdentity"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision with the sentence that explains it.

    `account` is the account concerned, if it is one. `others` are what stands in the way: ids of accounts where the
    decision is ambiguous or already linked, object ids of rival identities where it is a conflict.
    """

    kind: DecisionKind
    reason: str
    account: AccountFacts | None = None
    evidence: tuple[MatchEvidence, ...] = ()
    others: tuple[str, ...] = ()


def decide(identity: Identity, candidates: Iterable[Candidate], policy: Policy) -> Decision:
    """Decide on one identity, given every account that carries one of its keys. Their order does not matter."""
    if policy.excludes(identity.object_id, identity.user_principal_name):
        return Decision(DecisionKind.EXCLUDED, "The administrator excluded this identity from linking.")
    found = sorted(candidates, key=lambda candidate: candidate.account.id)
    linked = [candidate for candidate in found if _linked_to(candidate.account, identity)]
    if linked:
        return _already_linked(linked, found)
    if not found:
        return _no_account(identity)
    if len(found) > 1:
        return Decision(
            DecisionKind.AMBIGUOUS,
            f"{len(found)} accounts match this identity (by {_names(found)}): find out which one is this person's, "
            "and take the shared value from the others.",
            evidence=tuple(item for candidate in found for item in candidate.evidence),
            others=tuple(candidate.account.id for candidate in found),
        )
    return _decide_on(identity, found[0], policy)


def stays_local(account: AccountFacts) -> Decision:
    """Decide on an account that no identity of the source matches: nothing about it changes."""
    if account.status is Status.LOCAL:
        reason = "No identity matches this account: it stays as it is and is managed here."
    else:
        reason = "This account is linked, but its identity is not in this source: nothing about it changes."
    return Decision(DecisionKind.NO_IDENTITY, reason, account)


def _decide_on(identity: Identity, candidate: Candidate, policy: Policy) -> Decision:
    """Decide on an identity that matches exactly one account, which is not linked to it yet."""
    account, evidence, by = candidate.account, candidate.evidence, _names([candidate])
    if account.protected:
        reason = f"The account matches by {by}, but it is protected: a run never links a protected account."
        return Decision(DecisionKind.PROTECTED, reason, account, evidence)
    if against := objection(identity, account, policy):
        return Decision(DecisionKind.CONFLICT, against, account, evidence)
    mine = claim(evidence)
    if mine is Trust.WEAK and any(item.outside for item in evidence):
        reason = f"The account matches by {by}, but the address lies outside the verified domains and proves nothing."
        return Decision(DecisionKind.OUTSIDE_VERIFIED_DOMAINS, reason, account, evidence)
    if stronger := [rival for rival in candidate.rivals if mine is Trust.WEAK or rival.trust is Trust.STRONG]:
        return Decision(
            DecisionKind.CONFLICT,
            f"The account matches by {by}, but another identity matches it too: find out whose it is, and exclude the "
            "other identity or correct its attribute.",
            account,
            evidence,
            tuple(sorted(rival.object_id for rival in stronger)),
        )
    if mine is Trust.WEAK:
        reason = f"Only weak evidence ({by}) connects the two: confirm that they are the same person."
        return Decision(DecisionKind.REVIEW, reason, account, evidence)
    if not identity.account_enabled:
        # Entra provisions no disabled user that was never in scope: a link would leave the account, which may be in
        # use, without anybody who can change it.
        reason = f"The account matches by {by}, but the identity is disabled in Entra: confirm that it is to be linked."
        return Decision(DecisionKind.REVIEW, reason, account, evidence)
    return Decision(DecisionKind.LINK, f"The account matches by {by}, and nothing else claims it.", account, evidence)


def objection(identity: Identity, account: AccountFacts, policy: Policy) -> str | None:
    """Return why the account itself says that it belongs to somebody else, or None."""
    if account.linked_identity:
        return "The account is linked to another identity: release that link first if it is wrong."
    if account.status is not Status.LOCAL:
        return (
            "The identity provider already manages this account under another externalId: check that the provisioning "
            "mapping sends objectId as externalId."
        )
    # A name can pass from a person who left to one who came; what a past sign-in proved cannot.
    rules = {match_rule.rule for match_rule in policy.rules}
    own = fold(identity.object_id)
    if account.object_id and Rule.SIGN_IN_OBJECT_ID in rules:
        signed_in_as_another = fold(account.object_id) != own
    elif account.name_id and Rule.NAME_ID in rules and policy.name_id_source == "objectId":
        signed_in_as_another = fold(account.name_id) != own
    elif account.name_id and Rule.NAME_ID in rules and policy.name_id_source == "onPremisesImmutableId":
        signed_in_as_another = account.name_id.strip() != (identity.on_premises_immutable_id or "").strip()
    else:
        signed_in_as_another = False
    if signed_in_as_another:
        return "The account was last signed in to by another identity: its name or address may have been given away."
    return None


def _linked_to(account: AccountFacts, identity: Identity) -> bool:
    own = fold(identity.object_id)
    if account.linked_identity:
        return fold(account.linked_identity) == own
    return account.status is not Status.LOCAL and fold(account.external_id or "") == own


def _already_linked(linked: Sequence[Candidate], found: Sequence[Candidate]) -> Decision:
    if len(linked) > 1:
        return Decision(
            DecisionKind.CONFLICT,
            f"{len(linked)} accounts are linked to this identity: release all but the right one.",
            evidence=tuple(item for candidate in linked for item in candidate.evidence),
            others=tuple(candidate.account.id for candidate in linked),
        )
    (first,) = linked
    others = tuple(candidate.account.id for candidate in found if candidate is not first)
    reason = "The account is linked to this identity."
    if others:
        reason += f" The identity also matches {len(others)} other accounts; they stay as they are."
    return Decision(DecisionKind.ALREADY_LINKED, reason, first.account, first.evidence, others)


def _no_account(identity: Identity) -> Decision:
    if identity.account_enabled:
        reason = "No account matches this identity: provisioning will create one."
    else:
        reason = "No account matches this identity. It is disabled in Entra, so provisioning will create none."
    return Decision(DecisionKind.NO_ACCOUNT, reason)


def _names(candidates: Iterable[Candidate]) -> str:
    """Name the rules that the evidence rests on, in the order of trust of the default rules."""
    rules = {item.rule for candidate in candidates for item in candidate.evidence}
    return ", ".join(rule.value for rule in Rule if rule in rules)
