"""What connects an account with an identity, and what others who are connected with it have to do with that.

A run finds candidates by match keys (match_keys.py, link_orchestrator/passes/pairs.py). What becomes of them is decided
in accounts.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from shared.directory.keys import fold, same_letters
from shared.directory.matching.match_keys import FORMER_NAME, MatchKey
from shared.directory.matching.policy import LOGIN_NAMES, SURE, Rule, Trust
from shared.directory.object_ids import forms_of, read_object_id
from shared.directory.records.model import Account, Status, name_account


class AccountFacts(NamedTuple):
    """What matching asks of an account. `linked_identity` is the object id of its link, None if it is not linked.

    Nothing is matched by `application_id`: it is here for plans to show, and is no part of the digest of facts.
    """

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
    application_id: str | None = None
    names: tuple[str, ...] = ()
    """Names of the person, where the policy asks for them; no part of the digest of facts."""

    def shown(self) -> dict[str, str]:
        """Return how plans and reports name the account."""
        return name_account(self.id, self.user_name, self.application_id)


class MatchEvidence(NamedTuple):
    """That an account carries a value that an identity has in `attribute`.

    `value` is the folded value, which no plan shows. `look_alike` says that the two are written in other letters.
    `held` says where the account has it: an attribute and, of several e-mails, which one: `emails 2`.
    """

    rule: Rule
    trust: Trust
    attribute: str
    outside: bool = False
    look_alike: bool = False
    value: str = ""
    held: str = ""

    @property
    def place(self) -> str:
        """Where the account and the identity have the value, in words."""
        return place_of(self.to_json())

    @property
    def name(self) -> str:
        """What reasons call the evidence: the rule, or the attribute with what transforms made of it."""
        return self.attribute if self.is_transformed else self.rule.value

    @property
    def is_transformed(self) -> bool:
        """Whether the account has what transforms made of the identity's value, and not that value."""
        return "(" in self.attribute

    def to_json(self) -> dict[str, Any]:
        """Return the evidence as the JSON object that plans and reports show, without its value."""
        document: dict[str, Any] = {"rule": self.rule.value, "trust": self.trust.value, "attribute": self.attribute}
        if self.held and self.held != _HELD.get(self.rule):
            attribute, _, position = self.held.partition(" ")
            # As little as says it: a plan has millions of these.
            document |= {"position": int(position)} if position else {"accountAttribute": attribute}
        marks = {"outsideVerifiedDomains": self.outside, "lookAlike": self.look_alike}
        return document | {name: True for name, said in marks.items() if said}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the evidence that `to_json` wrote."""
        get = document.get
        marks = get("outsideVerifiedDomains", False), get("lookAlike", False)
        return cls(Rule(document["rule"]), Trust(document["trust"]), document["attribute"], *marks)


def account_attribute(evidence: Mapping[str, Any]) -> dict[str, str]:
    """Return where the account has the value of evidence that to_json() wrote, {} where that is not known."""
    known = evidence.get("accountAttribute") or ("emails" if "position" in evidence else _HELD.get(evidence["rule"]))
    return {"accountAttribute": known} if known else {}


def place_of(evidence: Mapping[str, Any]) -> str:
    """Return in words where account and identity have the value of evidence that to_json() wrote.

    "" where that is not known: an earlier version of the app did not keep it of e-mail addresses.
    """
    attribute, position = account_attribute(evidence).get("accountAttribute", ""), evidence.get("position", 0)
    if not attribute:
        return ""
    held = f"{_ORDINALS.get(position, f'{position}th')} e-mail" if position else _IN_WORDS.get(attribute, attribute)
    theirs = _IN_WORDS.get(evidence["attribute"], evidence["attribute"])
    return f"the account's {held} {'looks like' if evidence.get('lookAlike') else 'is'} the identity's {theirs}"


_ORDINALS = {1: "first", 2: "second", 3: "third"}
_IN_WORDS = {
    "id": "object id",
    "objectId": "object id of a past sign-in",
    "nameId": "NameID of a past sign-in",
    "verifiedEmails": "verified e-mail",
    "proxyAddresses": "alias (proxyAddresses)",
    "otherMails": "other mail (otherMails)",
    "formerUserPrincipalName": "former userPrincipalName",
}


def facts_of(account: Account) -> AccountFacts:
    """Return what matching asks of an account."""
    return AccountFacts(account.id, account.etag, *account.facts(), account.application_id)


def linked(account: AccountFacts, object_id: str) -> AccountFacts:
    """Return an account as it is once a run has linked it to an identity."""
    return account._replace(external_id=object_id, linked_identity=object_id, status=Status.CLAIMED, retired=False)


def proving_rule(evidence: Iterable[MatchEvidence]) -> Rule:
    """Return the rule of the first evidence that proves a link. Raises ValueError if none does."""
    for item in evidence:
        if proves(item):
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
        forms = forms_of if key.rule in SURE else _folded
        alike = [value for value in _carried(key.rule, account) if value and key.value in forms(value)]
        if key.attribute == "onPremisesImmutableId":
            # In Base64, another case is another identifier.
            alike = [value for value in alike if value.strip() == key.literal.strip()]
        if alike:
            same = key.literal in alike or any(_is_same(key, value.strip()) for value in alike)
            trust = key.trust if same else Trust.WEAK
            held = _held(key.rule, account, alike[0])
            found.append(MatchEvidence(key.rule, trust, key.attribute, key.outside, not same, key.value, held))
        elif key.rule is Rule.EMAIL:
            aliases.append(key)
    if aliases:
        names = {Rule.USER_NAME: fold(account.user_name), Rule.NAME_ID: fold(account.name_id or "")}
        named = {name for rule, name in names.items() if not any((i.rule, i.value) == (rule, name) for i in found)}
        found += [
            MatchEvidence(
                key.rule,
                Trust.WEAK,
                key.attribute,
                key.outside,
                value=key.value,
                held=_HELD[Rule.USER_NAME if key.value == names[Rule.USER_NAME] else Rule.NAME_ID],
            )
            for key in aliases
            if key.value in named
        ]
    return tuple(found)


def _folded(value: str) -> tuple[str, ...]:
    return (fold(value),)


def _is_same(key: MatchKey, value: str) -> bool:
    """Tell whether a value that folds like a key's is the same, and not one in letters that only look like it."""
    return same_letters(value, key.literal.strip()) or (key.rule in SURE and read_object_id(value) == key.value)


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


def proves(item: MatchEvidence) -> bool:
    return item.trust is Trust.STRONG and not item.outside


def _carried(rule: Rule, account: AccountFacts) -> tuple[str | None, ...]:
    match rule:
        case Rule.EXTERNAL_ID:
            return (account.external_id,)
        case Rule.SIGN_IN_OBJECT_ID:
            return (account.object_id,)
        case Rule.NAME_ID:
            return (account.name_id,)
        case Rule.USER_NAME | Rule.MAIL_NICKNAME | Rule.SAM_ACCOUNT_NAME | Rule.TRANSFORMED_NAME:
            return (account.user_name,)
        case Rule.VERIFIED_EMAIL:
            return account.verified_emails
        case Rule.EMAIL | Rule.MAIL | Rule.TRANSFORMED_MAIL:
            return account.emails + account.verified_emails
        case Rule.EMPLOYEE_NUMBER:
            return (account.employee_number,)


_HELD = {
    Rule.EXTERNAL_ID: "externalId",
    Rule.SIGN_IN_OBJECT_ID: "objectId",
    Rule.NAME_ID: "nameId",
    Rule.USER_NAME: "userName",
    Rule.EMPLOYEE_NUMBER: "employeeNumber",
    Rule.MAIL_NICKNAME: "userName",
    Rule.SAM_ACCOUNT_NAME: "userName",
    Rule.TRANSFORMED_NAME: "userName",
}
"""Where an account has what a rule compares, under the names of an import's columns; e-mail addresses are several."""


def _held(rule: Rule, account: AccountFacts, value: str) -> str:
    if held := _HELD.get(rule):
        return held
    return f"emails {account.emails.index(value) + 1}" if value in account.emails else "verifiedEmails"


class Claim(NamedTuple):
    """What an identity's evidence on an account is to the others that match it.

    `trust` is None where it is no evidence. `addresses` are those that it rests on, or digests of them. `sure` says
    that past sign-ins or the externalId are among it, `numbered` that the employee number is. `excluded` says that the
    administrator excluded the identity, `among_many` that an entry did which leaves many out.
    """

    trust: Trust | None
    addresses: frozenset[str] = frozenset()
    sure: bool = False
    excluded: bool = False
    numbered: bool = False
    among_many: bool = False

    @classmethod
    def of(
        cls,
        evidence: Collection[MatchEvidence],
        *,
        excluded: bool = False,
        among_many: bool = False,
        digest: Callable[[str], str] = str,
    ) -> Claim:
        """Return the claim that evidence makes."""
        addresses = {digest(item.value) for item in evidence if not item.outside and "@" in item.value}
        sure, numbered = is_sure(evidence), is_numbered(evidence)
        return cls(trust_of(evidence), frozenset(addresses), sure, excluded, numbered, among_many)

    def to_text(self) -> str:
        """Return the claim as a short text."""
        said = (("s", self.sure), ("x", self.excluded), ("n", self.numbered), ("m", self.among_many))
        marks = "".join(mark for mark, is_so in said if is_so)
        return " ".join((f"{self.trust.value if self.trust else _NONE}/{marks}", *sorted(self.addresses)))

    @classmethod
    def from_text(cls, text: str) -> Claim:
        """Return the claim that `to_text` wrote."""
        head, *addresses = text.split(" ")
        trust, _, marks = head.partition("/")
        known = Trust(trust) if trust != _NONE else None
        return cls(known, frozenset(addresses), "s" in marks, "x" in marks, "n" in marks, "m" in marks)


_NONE = "none"


def is_sure(evidence: Iterable[MatchEvidence]) -> bool:
    """Tell whether past sign-ins or the externalId are among evidence."""
    return any(item.rule in SURE and item.attribute != FORMER_NAME for item in evidence)


def is_numbered(evidence: Iterable[MatchEvidence]) -> bool:
    return any(item.rule is Rule.EMPLOYEE_NUMBER for item in evidence)


class Rival(NamedTuple):
    """Another identity that matches the same account, and its claim to it.

    `same_address` says that the claim rests on an address on which the evidence rests that it is a rival of. `doubted`
    says that somebody else has an address on which the claim rests, or signed in to the account. `numbered` says that
    it has the account's employee number. `among_many` says that an entry excludes it which leaves many out.
    """

    object_id: str
    trust: Trust | None
    same_address: bool = False
    sure: bool = False
    excluded: bool = False
    doubted: bool = False
    numbered: bool = False
    among_many: bool = False


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
            claim.among_many,
        )
        for other, claim in sorted(claims.items())
        if other != object_id
    )


def _proving_addresses(evidence: Iterable[MatchEvidence]) -> list[str]:
    """Return the addresses that a strong claim rests on; none where an object id proves it, too: that is not freed."""
    proving = [item for item in evidence if proves(item)]
    return [] if has_object_id(proving) else [item.value for item in proving if "@" in item.value]


def is_unverified(evidence: Iterable[MatchEvidence], *, names: bool) -> bool:
    """Tell whether what proves a link is nothing but addresses and login names that the application never verified.

    `names` says that userNames are such, too, as they are where they are the addresses.
    """
    known = (*SURE, Rule.VERIFIED_EMAIL, Rule.EMPLOYEE_NUMBER, *(() if names else (Rule.USER_NAME,)))
    return not any(item.rule in known and not item.outside and not item.look_alike for item in evidence)


def rests_on_trust(evidence: Iterable[Mapping[str, Any]]) -> bool:
    """Tell of a plan's row, by its evidence as it shows it, whether only trust in what nobody verified makes it a link.

    That is an address by `trustEmails`, a login name by a rule that compares those, and whatever transforms made.
    """
    proving = [item for item in map(MatchEvidence.from_json, evidence) if proves(item)]
    return bool(proving) and all(item.rule in (Rule.MAIL, *LOGIN_NAMES) or item.is_transformed for item in proving)


def has_object_id(evidence: Iterable[MatchEvidence]) -> bool:
    return any(item.rule in SURE and "@" not in item.value for item in evidence)


class Candidate(NamedTuple):
    """An account that carries at least one key of an identity, and the other identities that match it.

    `held` is what a prediction of its changes asks of its document (link_orchestrator/prediction/impact.py).
    """

    account: AccountFacts
    evidence: tuple[MatchEvidence, ...]
    rivals: tuple[Rival, ...] = ()
    held: Sequence[Any] = (None,)
