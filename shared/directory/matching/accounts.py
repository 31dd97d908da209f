"""Which identity is which account: match keys, candidates, and the decision on each identity.

Candidates come from a run's join (link_orchestrator/passes/plan.py); rules and policy are in policy.py. A decision is a
link only if nothing speaks against it: what two people could read in two ways is left to the administrator. A SCIM
create that adopts an account has rules of its own, in adoption.py.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal, NamedTuple, Self

from shared.directory.keys import fold, same_letters
from shared.directory.matching.identity import Identity, read_object_id
from shared.directory.matching.policy import MatchRule, Policy, Rule, Trust
from shared.directory.records.model import Account, Status
from shared.directory.text import counted

Kind = Literal["externalId", "objectId", "nameId", "userName", "email", "employeeNumber"]


MOST_SHARED: Final = 3
"""Accounts, or identities, that may carry a value by which a weak rule matches. One that more carry is no evidence."""
FORMER_NAME: Final = "formerUserPrincipalName"
"""Attribute of a name that an identity had before it was deleted: weak evidence, whatever the trust of the rule."""


class MatchKey(NamedTuple):
    """One value of an identity by which accounts are looked up.

    `kind` and the folded `value` are the key of the accounts that carry it. `attribute` is where the identity has the
    value, `literal` how it is written there. `outside` says that it is an address outside the verified domains, which
    is no evidence. `excluded` says that the administrator excluded the identity.
    """

    rule: Rule
    trust: Trust
    kind: Kind
    value: str
    attribute: str
    literal: str
    outside: bool = False
    excluded: bool = False


def identity_keys(identity: Identity, policy: Policy) -> tuple[MatchKey, ...]:
    """Return the match keys of an identity in the order of the policy's rules.

    Those of its sign-ins it has under any rules: whose account it is does not depend on which rules link.
    """
    excluded = policy.excludes(identity.object_id, identity.user_principal_name)
    keys: dict[tuple[Rule, str], MatchKey] = {}
    for match_rule in rules_for(policy).values():
        _, values = _VALUES[match_rule.rule]
        for attribute, literal in values(identity, policy):
            key = match_key(match_rule, attribute, literal, policy, excluded=excluded)
            if key.value and not (key.rule is Rule.EMPLOYEE_NUMBER and is_filler(key.value)):
                keys.setdefault((key.rule, key.value), key)
    return tuple(keys.values())


def rules_for(policy: Policy) -> dict[Rule, MatchRule]:
    """Return the rules by which identities are compared, in order. Of SURE, what the policy leaves out is weak."""
    rules = {match_rule.rule: match_rule for match_rule in policy.rules}
    return rules | {rule: MatchRule(rule, Trust.WEAK) for rule in SURE if rule not in rules}


def match_key(
    match_rule: MatchRule, attribute: str, literal: str, policy: Policy, *, excluded: bool = False
) -> MatchKey:
    """Return the match key that a rule makes of one value of an identity."""
    rule, value = match_rule.rule, fold(literal)
    # An address proves something only in a domain that the customer has proved to own: anybody can register
    # jane@elsewhere.example in an application, and a guest's home tenant can rename its users.
    outside = rule in _ADDRESS_RULES and _domain(value) not in policy.verified_domains
    trust = Trust.WEAK if attribute == FORMER_NAME or is_name_as_address(rule, attribute) else match_rule.trust
    return MatchKey(rule, trust, _VALUES[rule][0], value, attribute, literal, outside, excluded)


def is_name_as_address(rule: str, attribute: str) -> bool:
    """Tell whether a key is a name that an account may have as its e-mail: it need not be anybody's mailbox."""
    return rule == Rule.EMAIL and attribute in ("userPrincipalName", FORMER_NAME)


SURE: Final = (Rule.EXTERNAL_ID, Rule.SIGN_IN_OBJECT_ID, Rule.NAME_ID)
"""Rules of what a sign-in of the past showed, or the application was told: it passes to nobody else."""
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
    if policy.name_id_source == "userPrincipalName" and (home := _home_name(identity.user_principal_name)):
        # Entra issues a guest's name at home: https://learn.microsoft.com/entra/identity-platform/saml-claims-customization
        yield policy.name_id_source, home
    if policy.name_id_source == "userPrincipalName" and (former := _DELETED.fullmatch(identity.user_principal_name)):
        yield FORMER_NAME, former[1]


def _user_name(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    """Yield the name and, for a guest's `alias_home.example#EXT#@tenant`, what the provisioning mapping makes of it.

    That is `alias@home.example`; earlier versions of the page below take out `#EXT#` alone. A deleted user's name has
    the object id before it, and the former name behind that.
    https://learn.microsoft.com/entra/identity/app-provisioning/how-provisioning-works#b2b-guest-users
    """
    name = identity.user_principal_name
    yield "userPrincipalName", name
    if home := _home_name(name):
        yield "userPrincipalName", home
    if "#" in name and (guest := _GUEST.fullmatch(name)):
        prefix, tenant = guest.groups()
        yield "userPrincipalName", f"{prefix}@{tenant}"
    if former := _DELETED.fullmatch(name):
        yield FORMER_NAME, former[1]


_DELETED = re.compile(r"[0-9a-f]{32}([^@]+@.+)", re.IGNORECASE)


def _home_name(user_principal_name: str) -> str:
    """Return a guest's name in its home tenant, "" where it shows none."""
    guest = _GUEST.fullmatch(user_principal_name) if "#" in user_principal_name else None
    if guest is None:
        return ""
    # An alias may have underscores and a domain has none: the last one was the @.
    alias, _mark, home = guest[1].rpartition("_")
    return f"{alias}@{home}" if alias and "." in home else ""


def _mail(identity: Identity, _: Policy) -> Iterator[tuple[str, str]]:
    yield "mail", identity.mail or ""


def _addresses(identity: Identity, policy: Policy) -> Iterator[tuple[str, str]]:
    yield "mail", identity.mail or ""
    for address in identity.proxy_addresses:
        scheme, _colon, value = address.partition(":")
        if scheme.lower() == "smtp":
            yield "proxyAddresses", value
    for address in identity.other_mails:
        yield "otherMails", address
    # Provisioning sends the name, and a name that is the account's e-mail is most likely the same person's.
    for attribute, name in _user_name(identity, policy):
        if "@" in name:
            yield attribute, name


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


def kind_of(rule: Rule) -> Kind:
    """Return the kind of key by which the accounts that carry a rule's value are found."""
    return _VALUES[rule][0]


def _domain(address: str) -> str:
    return address.rpartition("@")[2] if "@" in address else ""


def is_filler(number: str) -> bool:
    """Tell whether an employee number says that there is none: "N/A", "0", "-", "xxx". Such a one is nobody's."""
    if number.isascii() and number.isdigit():
        return not number.strip("0")  # most of them, without a pattern
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


class MatchEvidence(NamedTuple):
    """That an account carries a value that an identity has in `attribute`.

    `value` is the folded value, which no plan shows. `look_alike` says that the two are written in other letters.
    """

    rule: Rule
    trust: Trust
    attribute: str
    outside: bool = False
    look_alike: bool = False
    value: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as the JSON object that plans and reports show, without its value."""
        document: dict[str, Any] = {"rule": self.rule.value, "trust": self.trust.value, "attribute": self.attribute}
        marks = {"outsideVerifiedDomains": self.outside, "lookAlike": self.look_alike}
        return document | {name: True for name, said in marks.items() if said}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the evidence that `to_json` wrote."""
        get = document.get
        marks = get("outsideVerifiedDomains", False), get("lookAlike", False)
        return cls(Rule(document["rule"]), Trust(document["trust"]), document["attribute"], *marks)


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
    """Return evidence for each of the keys that the account carries: a pointer may lead to accounts that carry none.

    An address of an identity that is the account's userName or NameID, and no e-mail of it, is evidence that proves
    nothing: an alias may be the name that the person had.
    """
    found: list[MatchEvidence] = []
    aliases: list[MatchKey] = []
    for key in keys:
        alike = [value for value in _carried(key.rule, account) if value and fold(value) == key.value]
        if key.attribute == "onPremisesImmutableId":
            # In Base64, another case is another identifier.
            alike = [value for value in alike if value.strip() == key.literal.strip()]
        if alike:
            same = any(same_letters(value.strip(), key.literal.strip()) for value in alike)
            trust = key.trust if same else Trust.WEAK
            found.append(MatchEvidence(key.rule, trust, key.attribute, key.outside, not same, key.value))
        elif key.rule is Rule.EMAIL:
            aliases.append(key)
    if aliases:
        names = {Rule.USER_NAME: fold(account.user_name), Rule.NAME_ID: fold(account.name_id or "")}
        named = {name for rule, name in names.items() if not any((i.rule, i.value) == (rule, name) for i in found)}
        found += [
            MatchEvidence(key.rule, Trust.WEAK, key.attribute, key.outside, value=key.value)
            for key in aliases
            if key.value in named
        ]
    return tuple(found)


def holds(key: MatchKey, account: AccountFacts) -> bool:
    """Tell whether the account carries the key."""
    return bool(evidence_for((key,), account))


def trust_of(evidence: Iterable[MatchEvidence]) -> Trust | None:
    """Return how far evidence is trusted. None: it is none, as an address outside the verified domains is not."""
    trust: Trust | None = None
    for item in evidence:
        if not item.outside:
            if item.trust is Trust.STRONG:
                return Trust.STRONG
            trust = Trust.WEAK
    return trust


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


class Claim(NamedTuple):
    """What an identity's evidence on an account is to the others that match it.

    `trust` is None where it is no evidence. `addresses` are those that it rests on, or digests of them. `sure` says
    that past sign-ins or the externalId are among it, `numbered` that the employee number is. `excluded` says that the
    administrator excluded the identity.
    """

    trust: Trust | None
    addresses: frozenset[str] = frozenset()
    sure: bool = False
    excluded: bool = False
    numbered: bool = False

    @classmethod
    def of(
        cls, evidence: Collection[MatchEvidence], *, excluded: bool = False, digest: Callable[[str], str] = str
    ) -> Claim:
        """Return the claim that evidence makes."""
        addresses = {digest(item.value) for item in evidence if not item.outside and "@" in item.value}
        sure = any(item.rule in SURE and item.attribute != FORMER_NAME for item in evidence)
        return cls(trust_of(evidence), frozenset(addresses), sure, excluded, _is_numbered(evidence))

    def to_text(self) -> str:
        """Return the claim as a short text."""
        said = (("s", self.sure), ("x", self.excluded), ("n", self.numbered))
        marks = "".join(mark for mark, is_so in said if is_so)
        return " ".join((f"{self.trust.value if self.trust else _NONE}/{marks}", *sorted(self.addresses)))

    @classmethod
    def from_text(cls, text: str) -> Claim:
        """Return the claim that `to_text` wrote."""
        head, *addresses = text.split(" ")
        trust, _, marks = head.partition("/")
        known = Trust(trust) if trust != _NONE else None
        return cls(known, frozenset(addresses), "s" in marks, "x" in marks, "n" in marks)


_NONE = "none"


def _is_numbered(evidence: Iterable[MatchEvidence]) -> bool:
    return any(item.rule is Rule.EMPLOYEE_NUMBER for item in evidence)


class Rival(NamedTuple):
    """Another identity that matches the same account, and its claim to it.

    `same_address` says that the claim rests on an address on which the evidence rests that it is a rival of. `doubted`
    says that somebody else has an address on which the claim rests, or signed in to the account. `numbered` says that
    it has the account's employee number.
    """

    object_id: str
    trust: Trust | None
    same_address: bool = False
    sure: bool = False
    excluded: bool = False
    doubted: bool = False
    numbered: bool = False


def rivals_of(
    object_id: str,
    evidence: Iterable[MatchEvidence],
    claims: Mapping[str, Claim],
    digest: Callable[[str], str] = str,
) -> tuple[Rival, ...]:
    """Return the rivals of an identity that has this evidence on an account, given everybody's claims to it."""
    if len(claims) < 2:
        return ()
    rests_on = set(map(digest, _proving_addresses(evidence)))
    counted = [claim for claim in claims.values() if claim.trust and not claim.excluded]
    times = Counter(address for claim in counted for address in claim.addresses)
    sure = {other for other, claim in claims.items() if claim.sure}
    return tuple(
        Rival(
            other,
            claim.trust,
            not claim.addresses.isdisjoint(rests_on),
            claim.sure,
            claim.excluded,
            any(times[address] > 1 for address in claim.addresses) or not sure.issubset((other,)),
            claim.numbered,
        )
        for other, claim in sorted(claims.items())
        if other != object_id
    )


def _proving_addresses(evidence: Iterable[MatchEvidence]) -> list[str]:
    """Return the addresses that a strong claim rests on; none where an object id proves it, too: that is not freed."""
    proving = [item for item in evidence if _proves(item)]
    return [] if _has_object_id(proving) else [item.value for item in proving if "@" in item.value]


def _has_object_id(evidence: Iterable[MatchEvidence]) -> bool:
    return any(item.rule in SURE and "@" not in item.value for item in evidence)


@dataclass(frozen=True, slots=True)
class Candidate:
    """An account that carries at least one key of an identity, and the other identities that match it."""

    account: AccountFacts
    evidence: tuple[MatchEvidence, ...]
    rivals: tuple[Rival, ...] = ()


class DecisionKind(StrEnum):
    """What becomes of an identity, of an account that no identity matches, or of a value that many share."""

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
    SHARED_VALUE = "sharedValue"


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision with the sentence that explains it.

    `account` is the account concerned, if it is one. `others` are what else there is: ids of accounts where several
    match, object ids of other identities that match the account.
    """

    kind: DecisionKind
    reason: str
    account: AccountFacts | None = None
    evidence: tuple[MatchEvidence, ...] = ()
    others: tuple[str, ...] = ()


def decide(identity: Identity, candidates: Iterable[Candidate], policy: Policy) -> Decision:
    """Decide on one identity, given every account that carries one of its keys. Their order does not matter."""
    near = sorted(candidates, key=lambda candidate: candidate.account.id)
    linked = [candidate for candidate in near if _linked_to(candidate.account, identity)]
    if policy.excludes(identity.object_id, identity.user_principal_name):
        return _excluded(identity, linked or near, policy)
    # What lies outside the verified domains counts where there is nothing else.
    found = [candidate for candidate in near if trust_of(candidate.evidence)] or near
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
            others=_ids(found),
        )
    return _decide_on(identity, found[0], policy, outside=len(near) - 1)


def stays_local(account: AccountFacts, *, excluded: bool = False) -> Decision:
    """Decide on an account that no identity of the source matches, or an `excluded` one alone: nothing changes."""
    if account.status is Status.LOCAL:
        who = "Only an excluded identity" if excluded else "No identity"
        reason = f"{who} matches this account: it stays as it is and is managed here."
    elif excluded:
        reason = "This account is linked, and only an excluded identity matches it: nothing about it changes."
    else:
        reason = "This account is linked, but its identity is not in this source: nothing about it changes."
    return Decision(DecisionKind.NO_IDENTITY, reason, account)


def is_shared(identities: int, accounts: int) -> bool:
    """Tell whether a value that so many identities and accounts carry is no evidence for a weak rule."""
    return max(identities, accounts) > MOST_SHARED


def _decide_on(identity: Identity, candidate: Candidate, policy: Policy, *, outside: int) -> Decision:
    """Decide on an identity that matches exactly one account, which is not linked to it yet.

    `outside` is the number of other accounts that have an address of the identity outside the verified domains.
    """
    account, evidence, by = candidate.account, candidate.evidence, _names([candidate])
    everybody = tuple(rival.object_id for rival in candidate.rivals if rival.trust and not rival.excluded)
    if account.protected:
        reason = f"The account matches by {by}, but it is protected: a run never links a protected account."
        return Decision(DecisionKind.PROTECTED, reason, account, evidence)
    if against := objection_of(identity, candidate, policy):
        others = tuple(rival.object_id for rival in candidate.rivals if rival.sure and rival.excluded)
        return Decision(DecisionKind.CONFLICT, against, account, evidence, others)
    mine = trust_of(evidence)
    asleep = "" if account.active else _DEACTIVATED
    if mine is None:
        outside_ = _outside(by, evidence, policy) + asleep
        return Decision(DecisionKind.OUTSIDE_VERIFIED_DOMAINS, outside_, account, evidence)
    if mine is Trust.WEAK and everybody:
        stronger = everybody
    else:
        stronger = tuple(
            r.object_id for r in candidate.rivals if (r.trust is Trust.STRONG or r.sure) and not r.excluded
        )
    if stronger:
        return Decision(
            DecisionKind.CONFLICT,
            f"The account matches by {by}, but another identity matches it too: find out whose it is, and exclude the "
            "other identity or correct its attribute.",
            account,
            evidence,
            stronger,
        )
    if doubt := _doubt(identity, candidate, mine):
        reason = f"The account matches by {by}, but {doubt}{asleep}"
        return Decision(DecisionKind.REVIEW, reason, account, evidence, everybody)
    if mine is Trust.WEAK:
        return Decision(DecisionKind.REVIEW, _weak(by, evidence) + asleep, account, evidence)
    reason = f"The account matches by {by}{_beside(candidate, outside)}{asleep}"
    return Decision(DecisionKind.LINK, reason, account, evidence, everybody)


_DEACTIVATED: Final = " The account is deactivated here: once it is linked, provisioning switches it on."


def is_parted(parted: Iterable[str], object_id: str) -> bool:
    """Tell whether an identity is among those from which an undo or a release took an account apart."""
    return fold(object_id) in map(fold, parted)


def _doubt(identity: Identity, candidate: Candidate, mine: Trust) -> str:
    """Return why a person has to look at a link, however well it is proved, or ""."""
    account = candidate.account
    if is_parted(account.parted, identity.object_id):
        return "an undo or a release took the two apart: only a person joins them again."
    if mine is Trust.WEAK:
        return ""
    if numbers_contradict(identity.employee_id, account.employee_number):
        return (
            "their employee numbers contradict each other: a name or address may have been given to a new person. "
            "Confirm that they are the same person."
        )
    if contested := _contested(candidate):
        return f"{contested}: it may have been given to a new person. Find out whose account it is."
    if not identity.account_enabled:
        # Entra provisions no disabled user that was never in scope: a link would leave the account, which may be in
        # use, without anybody who can change it.
        return "the identity is disabled in Entra: confirm that it is to be linked."
    return ""


def _contested(candidate: Candidate) -> str:
    """Return what of another identity speaks for it as strongly as the name or address does for this one, or ""."""
    rivals = [rival for rival in candidate.rivals if rival.trust and not rival.excluded]
    if same := sum(rival.same_address for rival in rivals):
        return f"{'another identity has' if same == 1 else f'{same} other identities have'} that very address, too"
    if _is_numbered(candidate.evidence) or _has_object_id(filter(_proves, candidate.evidence)):
        return ""
    if any(rival.numbered for rival in rivals):
        return "another identity has the account's employee number, where this one has its name or address"
    return ""


def _weak(by: str, evidence: Iterable[MatchEvidence]) -> str:
    counted = [item for item in evidence if not item.outside]
    if all(item.look_alike for item in counted):
        return (
            f"The account matches by {by} in look-alike letters only, such as full-width ones: confirm that they are "
            "the same person."
        )
    return f"Only weak evidence ({by}) connects the two: confirm that they are the same person."


def _outside(by: str, evidence: Iterable[MatchEvidence], policy: Policy) -> str:
    """Return the reason where there is nothing but addresses outside the verified domains."""
    if not policy.verified_domains:
        return (
            f"The account matches by {by}, but no verified domains are set, and without them no address proves "
            "anything: set verifiedDomains in the policy (PUT /directory/policy), and plan again."
        )
    known = "If you know that they are the same person, link this row in a review, by itself."
    if not any("@" in item.value for item in evidence):
        return f"The account matches by {by}, but a name without a verified domain proves nothing. {known}"
    return f"The account matches by {by}, but the address lies outside the verified domains and proves nothing. {known}"


def _beside(candidate: Candidate, outside: int) -> str:
    """Return the rest of the sentence on a link: what else there is, and why that does not stop it."""
    weak = excluded = foreign = 0
    for rival in candidate.rivals:
        excluded += rival.excluded
        weak += bool(rival.trust) and not rival.excluded
        foreign += not rival.trust and not rival.excluded
    where = "outside the verified domains, which proves nothing"
    said = [
        f"{counted(count, who)} {text}"
        for count, who, text in (
            (weak, "other identity", "by weak evidence, which does not contest that"),
            (excluded, "excluded identity", "which stands in nobody's way"),
            (foreign, "other identity", f"by an address {where}"),
            (outside, "other account", f"by an address {where}"),
        )
        if count
    ]
    return f". Beside that there is a match with {'; with '.join(said)}." if said else ", and nothing else claims it."


def objection_of(identity: Identity, candidate: Candidate, policy: Policy) -> str | None:
    """Return why an account is not to be linked to an identity, whoever asks for it, or None."""
    if against := objection(identity, candidate.account, policy):
        return against
    if any(rival.sure and rival.excluded for rival in candidate.rivals):
        return (
            "The NameID, the past sign-in or the externalId of the account is an excluded identity's: it goes to "
            "nobody else."
        )
    return None


def objection(identity: Identity, account: AccountFacts, policy: Policy) -> str | None:
    """Return why the account itself says that it belongs to somebody else, or None: under whatever rules link."""
    if account.linked_identity:
        return "The account is linked to another identity: release that link first if it is wrong."
    if account.status is not Status.LOCAL:
        return (
            "The identity provider already manages this account under another externalId: check that the provisioning "
            "mapping sends objectId as externalId."
        )
    # A name can pass from a person who left to one who came; what a past sign-in proved cannot.
    own = fold(identity.object_id)
    if account.object_id and fold(account.object_id) != own and not _is_foreign(account, policy):
        return _SIGNED_IN_AS_ANOTHER
    if account.name_id and policy.name_id_source == "objectId" and fold(account.name_id) != own:
        return _SIGNED_IN_AS_ANOTHER
    if (
        account.name_id
        and policy.name_id_source == "onPremisesImmutableId"
        and account.name_id.strip() != (identity.on_premises_immutable_id or "").strip()
    ):
        return _SIGNED_IN_AS_ANOTHER
    carried = read_object_id(account.external_id) if account.external_id and not policy.foreign_object_ids else None
    if carried and carried != (read_object_id(identity.object_id) or own):
        return (
            "The externalId of the account is the object id of another identity: correct it, or set foreignObjectIds "
            "in the policy if such ids here are not those of this tenant."
        )
    return None


def _is_foreign(account: AccountFacts, policy: Policy) -> bool:
    """Tell whether an account's object id may be no identity's of this tenant. One that a link here left behind is."""
    known = account.retired or fold(account.object_id or "") in map(fold, account.parted)
    return policy.foreign_object_ids and not known


_SIGNED_IN_AS_ANOTHER = (
    "The account was last signed in to by another identity: its name or address may have been given away."
)


def _linked_to(account: AccountFacts, identity: Identity) -> bool:
    own = fold(identity.object_id)
    if account.linked_identity:
        return fold(account.linked_identity) == own
    return account.status is not Status.LOCAL and fold(account.external_id or "") == own


def _excluded(identity: Identity, found: Sequence[Candidate], policy: Policy) -> Decision:
    reason = "The administrator excluded this identity from linking."
    if not found:
        return Decision(DecisionKind.EXCLUDED, reason)
    many = len(found) > 1
    reason += f" It matches {counted(len(found), 'account') if many else 'an account'} by {_names(found)}, "
    reason += "which stay as they are." if many else "which stays as it is."
    if policy.lets_create(identity.object_id, identity.user_principal_name):
        reason += " Provisioning may create the person beside that."
    evidence = tuple(item for candidate in found for item in candidate.evidence)
    return Decision(
        DecisionKind.EXCLUDED, reason, None if many else found[0].account, evidence, _ids(found) if many else ()
    )


def _already_linked(linked: Sequence[Candidate], found: Sequence[Candidate]) -> Decision:
    if len(linked) > 1:
        return Decision(
            DecisionKind.CONFLICT,
            f"{len(linked)} accounts are linked to this identity: release all but the right one.",
            evidence=tuple(item for candidate in linked for item in candidate.evidence),
            others=_ids(linked),
        )
    (first,) = linked
    others = tuple(candidate.account.id for candidate in found if candidate is not first)
    reason = "The account is linked to this identity."
    if others:
        reason += f" The identity also matches {counted(len(others), 'other account')}; nothing of that changes."
    return Decision(DecisionKind.ALREADY_LINKED, reason, first.account, first.evidence, others)


def _no_account(identity: Identity) -> Decision:
    if identity.account_enabled:
        reason = (
            "No account matches this identity: provisioning creates one, unless the prediction says that it is refused."
        )
    else:
        reason = "No account matches this identity. It is disabled in Entra, so provisioning will create none."
    return Decision(DecisionKind.NO_ACCOUNT, reason)


def _ids(candidates: Iterable[Candidate]) -> tuple[str, ...]:
    return tuple(candidate.account.id for candidate in candidates)


def _names(candidates: Iterable[Candidate]) -> str:
    """Name the rules that the evidence rests on, in the order of trust of the default rules."""
    evidence = [item for candidate in candidates for item in candidate.evidence]
    rules = {item.rule for item in evidence if not item.outside} or {item.rule for item in evidence}
    return ", ".join(rule.value for rule in Rule if rule in rules)
