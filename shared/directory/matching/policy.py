"""The policy of a directory: match rules and how far each is trusted, verified domains, and who is excluded.

A linking run keeps a copy of it from its start. accounts.py applies it, and adoption.py where a create is to adopt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final, Literal, Self, get_args

from shared.directory.keys import fold, in_small_letters
from shared.directory.matching import domains, exclusions
from shared.directory.matching.domains import domain_of, is_below
from shared.directory.matching.entries import refuse_twice
from shared.directory.matching.exclusions import Criterion, Names, matches_pattern, patterns_in
from shared.directory.matching.identity import Identity
from shared.directory.matching.transforms import Transform, read_transforms
from shared.directory.object_ids import compared_id, read_object_id
from shared.directory.text import Advice, Several

NameIdSource = Literal["userPrincipalName", "mail", "objectId", "onPremisesImmutableId"]
TrustEmails = Literal["verified", "inVerifiedDomains"]
"""Which e-mail addresses of accounts are taken as verified: those that the application verified, or every one in the
verified domains."""


class Rule(StrEnum):
    """What an identity and an account are compared by."""

    EXTERNAL_ID = "externalId"
    SIGN_IN_OBJECT_ID = "signInObjectId"
    NAME_ID = "nameId"
    USER_NAME = "userName"
    VERIFIED_EMAIL = "verifiedEmail"
    MAIL = "mail"
    EMAIL = "email"
    EMPLOYEE_NUMBER = "employeeNumber"
    MAIL_NICKNAME = "mailNickname"
    SAM_ACCOUNT_NAME = "onPremisesSamAccountName"
    TRANSFORMED_NAME = "transformedName"
    TRANSFORMED_MAIL = "transformedMail"


class Trust(StrEnum):
    """A strong rule links once the plan is approved; a weak one waits for an administrator to review the row."""

    STRONG = "strong"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class MatchRule:
    """A rule and its trust; and what is made of the identity's value before it is compared, for TRANSFORMING rules."""

    rule: Rule
    trust: Trust
    transforms: tuple[Transform, ...] = ()

    @property
    def yields_to_many(self) -> bool:
        """Whether a value that many carry is no evidence for the rule."""
        return self.trust is Trust.WEAK or self.rule in LOGIN_NAMES

    def to_json(self) -> dict[str, Any]:
        """Return the rule as the policy shows it."""
        shown: dict[str, Any] = {"rule": self.rule.value, "trust": self.trust.value}
        return shown | ({"transforms": [one.to_json() for one in self.transforms]} if self.transforms else {})


DEFAULT_RULES: Final = (
    MatchRule(Rule.EXTERNAL_ID, Trust.STRONG),
    MatchRule(Rule.SIGN_IN_OBJECT_ID, Trust.STRONG),
    MatchRule(Rule.NAME_ID, Trust.STRONG),
    MatchRule(Rule.USER_NAME, Trust.STRONG),
    MatchRule(Rule.VERIFIED_EMAIL, Trust.STRONG),
    MatchRule(Rule.EMAIL, Trust.WEAK),
    MatchRule(Rule.EMPLOYEE_NUMBER, Trust.WEAK),
)


ADDRESSES: Final = (Rule.USER_NAME, Rule.VERIFIED_EMAIL, Rule.MAIL, Rule.EMAIL)
"""Rules that compare addresses, or names like them: outside the verified domains they prove nothing."""

LOGIN_NAMES: Final = (Rule.MAIL_NICKNAME, Rule.SAM_ACCOUNT_NAME, Rule.TRANSFORMED_NAME, Rule.TRANSFORMED_MAIL)
"""Rules that compare what transforms make of a name or address: none of them is there unless a policy names it."""
TRANSFORMING: Final = (*LOGIN_NAMES, Rule.EMPLOYEE_NUMBER)
"""Rules that may have transforms."""

SURE: Final = (Rule.EXTERNAL_ID, Rule.SIGN_IN_OBJECT_ID, Rule.NAME_ID)
"""Rules of what a sign-in of the past showed, or the application was told: it passes to nobody else."""

ON: Final = "on"
"""Attribute of what runs by itself: false keeps its numbers, and switches it off."""
IDENTITY: Final = "identity"
"""Label of all entries that exclude one identity each, by its id or name."""
SAFEGUARD_SHARE: Final = 0.2
UNDO_DAYS: Final = 90
"""Days for which values that provisioning replaced are kept, so that an undo can give them back."""
MOST_UNDO_DAYS: Final = 365
JOB_DAYS: Final = 180
"""Days after its end for which a job is kept, with its plan or report."""
FEWEST_JOB_DAYS: Final = 30
"""The least of them: for as long, a run may start over an upload, and build on another run."""
MOST_JOB_DAYS: Final = 3650
MOST_EVERY_HOURS: Final = 7 * 24
MOST_AUTO_LINKS: Final = 1_000_000
NO_SHARE: Final = "must be a number from 0 to 1"
"""What is said of what is no share. A page has it in per cent."""
MAX_EXCLUDED_CHARS: Final = 300_000
"""Characters of exclusions in a policy: the row of a run, which has a copy of the policy, has room for a third more."""


@dataclass(frozen=True, slots=True)
class AutoApproval:
    """How many links a run may make that approves itself: at most `number`, and at most this share of the accounts.

    One that is not `on` approves nothing: it is kept for when it is switched on again.
    """

    share: float
    number: int
    on: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the approval as the policy shows it."""
        return {"share": self.share, "number": self.number} | ({} if self.on else {ON: False})


@dataclass(frozen=True, slots=True)
class Schedule:
    """That runs start by themselves, every so many hours, over a source as POST /linking/runs takes it.

    One that is not `on` starts nothing: it is kept for when it is switched on again.
    """

    source: Mapping[str, Any]
    every_hours: int
    on: bool = True

    def to_json(self) -> dict[str, Any]:
        """Return the schedule as the policy shows it."""
        return {"source": dict(self.source), "everyHours": self.every_hours} | ({} if self.on else {ON: False})


@dataclass(frozen=True, slots=True)
class Policy:
    """What the administrator decided. Domains are compared as the DNS has them, exclusions folded.

    `excluded` has object ids and user principal names; those of them in `creatable` may be created over SCIM beside the
    accounts that they match. `adopt_on_create` lets a SCIM create that collides with an
    account link it (adoption.py), instead of being refused. `create_beside_matches` lets a SCIM create
    make an account although one that is managed here shares an e-mail address or a number with it.
    `link_groups_on_create` lets the create of a group take over the group of that name that is managed here. Approving
    a plan that links more than `safeguard_share` of the directory's accounts takes the number of its links.

    Raises ValueError if a rule is there twice; if externalId is missing, by which a run knows its own links; if rules
    and `trust_emails` contradict each other; or if there are more exclusions than a run can keep.
    """

    rules: tuple[MatchRule, ...] = DEFAULT_RULES
    verified_domains: frozenset[str] = frozenset()
    name_id_source: NameIdSource = "userPrincipalName"
    excluded: frozenset[str] = frozenset()
    adopt_on_create: bool = False
    create_beside_matches: bool = False
    link_groups_on_create: bool = False
    safeguard_share: float = SAFEGUARD_SHARE
    creatable: frozenset[str] = frozenset()
    foreign_object_ids: bool = False
    """Whether the object ids that accounts carry are the application's own or a former tenant's: they object to no link
    then."""
    auto_approve: AutoApproval | None = None
    schedule: Schedule | None = None
    undo_days: int = UNDO_DAYS
    job_days: int = JOB_DAYS
    subdomains_of: frozenset[str] = frozenset()
    """Those of the verified domains whose subdomains are verified, too."""
    trust_emails: TrustEmails = "verified"
    criteria: tuple[Criterion, ...] = ()
    """Exclusions by pattern, domain, group or type."""
    set_aside: frozenset[str] = frozenset()
    """Ids, userNames and patterns of userNames of accounts that no run links or reports."""
    matching_ended: bool = False
    """Whether nothing is matched any more: no run, no create that adopts, no schedule."""
    members: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False, compare=False)
    """Members of the groups that `criteria` names, by folded object id, as far as a run has read them."""
    _trusts_login_names: bool = field(init=False, repr=False, compare=False)
    """Whether one of LOGIN_NAMES is strong."""
    _patterns: tuple[str, ...] = field(init=False, repr=False, compare=False)
    """Those of `set_aside` that are patterns."""
    compared: Mapping[Rule, MatchRule] = field(init=False, repr=False, compare=False)
    """The rules by which identities are compared, in order. Of SURE, what the policy leaves out is weak; the rule mail
    is strong where every address in the verified domains is taken as verified."""

    def __post_init__(self) -> None:
        names = [rule.rule for rule in self.rules]
        if Rule.EXTERNAL_ID not in names:
            raise ValueError("rules: externalId must be among them, by which a run knows its own links: add it")
        refuse_twice("rules", [(rule.rule, rule) for rule in self.rules])
        rules = {rule.rule: rule for rule in self.rules}
        weak = {rule: MatchRule(rule, Trust.WEAK) for rule in SURE if rule not in rules}
        _check_trust(rules, self.trust_emails)
        trusted = {Rule.MAIL: MatchRule(Rule.MAIL, Trust.STRONG)} if self.trusts_unverified else {}
        object.__setattr__(self, "compared", rules | weak | trusted)
        object.__setattr__(self, "subdomains_of", domains.normalised(self.subdomains_of))
        known = domains.normalised(self.verified_domains) | self.subdomains_of
        object.__setattr__(self, "verified_domains", known)
        object.__setattr__(self, "excluded", frozenset(map(compared_id, self.excluded)))
        object.__setattr__(self, "creatable", frozenset(_in_letters(one.strip()) for one in self.creatable))
        object.__setattr__(self, "set_aside", frozenset(map(fold, self.set_aside)))
        object.__setattr__(self, "_patterns", patterns_in(self.set_aside))
        strong = {one.rule for one in self.rules if one.trust is Trust.STRONG}
        object.__setattr__(self, "_trusts_login_names", not strong.isdisjoint(LOGIN_NAMES))
        named = (*self.excluded, *self.set_aside)
        if sum(map(len, named)) + 3 * len(named) > MAX_EXCLUDED_CHARS:
            raise ValueError(
                f"excluded, setAside: the two lists together have at most {MAX_EXCLUDED_CHARS:,} characters, about "
                "7,500 object ids: leave people out of the source instead, by its scope or by their line in the file; "
                "or name a pattern"
            )

    @property
    def approval_in_force(self) -> AutoApproval | None:
        """How many links a run may make that approves itself, None where none does."""
        return self.auto_approve if self.auto_approve and self.auto_approve.on else None

    @property
    def schedule_in_force(self) -> Schedule | None:
        """By what runs start by themselves, None where none does."""
        return self.schedule if self.schedule and self.schedule.on else None

    @property
    def trusts_unverified(self) -> bool:
        """Whether an address that nobody verified proves a link, where it lies in the verified domains."""
        return self.trust_emails == "inVerifiedDomains"

    @property
    def compares_names(self) -> bool:
        """Whether a link may rest on nothing that was verified, so that the names of the two are compared."""
        return self.trusts_unverified or self._trusts_login_names

    def verifies(self, address: str) -> bool:
        """Tell whether an address, or a name like one, lies in a verified domain."""
        domain = domain_of(address)
        return domain in self.verified_domains or (bool(self.subdomains_of) and is_below(domain, self.subdomains_of))

    def excludes(self, object_id: str, name: str) -> bool:
        """Tell whether the administrator excluded an identity of which nothing but the id and a name is known."""
        if self.excluded and (compared_id(object_id) in self.excluded or fold(name) in self.excluded):
            return True
        if not self.criteria:
            return False
        names = Names.of(name)
        return any(one.matches_one_of(names) for one in self.criteria)

    def exclusion_of(self, identity: Identity) -> str:
        """Return the label of the entry that excludes an identity, "" if none does."""
        if not (self.excluded or self.criteria):
            return ""
        if self._names(identity):
            return IDENTITY
        criterion = self._criterion_of(identity)
        return criterion.label if criterion else ""

    def exclusion_in_words(self, identity: Identity) -> str:
        """Return by what the policy excludes an identity, as a reason ends; "" if it does not."""
        if fold(identity.object_id) in self.excluded:
            return "by its object id"
        if fold(identity.user_principal_name) in self.excluded:
            return "by its user principal name"
        criterion = self._criterion_of(identity)
        return f'by the entry "{criterion.kind} {criterion.value}"' if criterion else ""

    def may_create(self, identity: Identity) -> bool:
        """Tell whether an excluded identity may be created over SCIM beside the accounts that it matches."""
        if self._names(identity):
            return self.lets_create(identity.object_id, identity.user_principal_name)
        criterion = self._criterion_of(identity)
        return bool(criterion and criterion.create)

    def lets_create(self, object_id: str, user_principal_name: str) -> bool:
        """Tell whether an identity that is excluded by its id or name may be created beside what it matches.

        An exclusion is for look-alikes, too; what it allows is for the very letters.
        """
        return bool(self.creatable) and not self.creatable.isdisjoint(
            (_in_letters(object_id), _in_letters(user_principal_name))
        )

    def sets_aside(self, account_id: str, user_name: str) -> bool:
        """Tell whether the administrator set an account aside."""
        return bool(self.set_aside and self.set_aside_in_words(account_id, user_name))

    def set_aside_in_words(self, account_id: str, user_name: str) -> str:
        """Return by what the policy sets an account aside, as a reason ends; "" if it does not."""
        name = fold(user_name)
        if account_id in self.set_aside:
            return "by its id"
        if name in self.set_aside:
            return "by its userName"
        pattern = next((one for one in self._patterns if matches_pattern(one, name)), "")
        return f'by the entry "{pattern}"' if pattern else ""

    @property
    def excluded_groups(self) -> frozenset[str]:
        """Object ids of the groups whose members are excluded."""
        return frozenset(one.value for one in self.criteria if one.kind == "group")

    @property
    def adopts(self) -> bool:
        """Whether a create over SCIM may link the account that it collides with."""
        return self.adopt_on_create and not self.matching_ended

    @property
    def links_groups(self) -> bool:
        """Whether the create of a group over SCIM may link the group of that name."""
        return self.link_groups_on_create and not self.matching_ended

    def naming(self, identity: Identity) -> frozenset[str]:
        """Return the entries of `excluded` that name an identity, by its id or its name."""
        return self.excluded & {fold(identity.object_id), fold(identity.user_principal_name)}

    def _names(self, identity: Identity) -> bool:
        return fold(identity.object_id) in self.excluded or fold(identity.user_principal_name) in self.excluded

    def _criterion_of(self, identity: Identity) -> Criterion | None:
        if not self.criteria:
            return None
        own, names = fold(identity.object_id), Names.of(identity.user_principal_name, identity.mail)
        for one in self.criteria:
            if own in self.members.get(one.value, ()) if one.kind == "group" else one.matches(identity, names):
                return one
        return None

    def to_json(self) -> dict[str, Any]:
        """Return the policy as the JSON document that `from_json` reads."""
        creatable = {compared_id(one): {"identity": one, "create": True} for one in self.creatable}
        return {
            "rules": [rule.to_json() for rule in self.rules],
            "verifiedDomains": domains.to_json(self.verified_domains, self.subdomains_of),
            "trustEmails": self.trust_emails,
            "nameIdSource": self.name_id_source,
            "excluded": [
                *(creatable.get(one, one) for one in sorted(self.excluded)),
                *(one.to_json() for one in self.criteria),
            ],
            "setAside": sorted(self.set_aside),
            "matchingEnded": self.matching_ended,
            "adoptOnCreate": self.adopt_on_create,
            "createBesideMatches": self.create_beside_matches,
            "linkGroupsOnCreate": self.link_groups_on_create,
            "safeguardShare": self.safeguard_share,
            "foreignObjectIds": self.foreign_object_ids,
            "autoApprove": self.auto_approve.to_json() if self.auto_approve else None,
            "schedule": self.schedule.to_json() if self.schedule else None,
            "undoDays": self.undo_days,
            "jobDays": self.job_days,
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Return the policy of a JSON document; what it leaves out has its default.

        Raises ValueError naming the attribute that is wrong and what it may be. What an earlier version of the app has
        let through is read; `read_asked` refuses that in a document that somebody sends.
        """
        if not isinstance(document, Mapping):
            raise ValueError("the policy must be a JSON object")
        known = cls().to_json().keys()
        if not known >= document.keys():
            unknown = ", ".join(sorted(str(name)[:80] for name in document.keys() - known)[:3])
            raise ValueError(f"the policy has an unknown attribute, {unknown}; it may have: {', '.join(sorted(known))}")
        source = document.get("nameIdSource", "userPrincipalName")
        if source not in get_args(NameIdSource):
            raise ValueError(f"nameIdSource: must be one of {', '.join(get_args(NameIdSource))}")
        trust = document.get("trustEmails", "verified")
        if trust not in get_args(TrustEmails):
            raise ValueError(f"trustEmails: must be one of {', '.join(get_args(TrustEmails))}")
        excluded, creatable, criteria = exclusions.read_excluded(document.get(exclusions.ATTRIBUTE, []))
        verified, below = domains.read_domains(document.get(domains.ATTRIBUTE, []))
        return cls(
            rules=_rules(document["rules"]) if "rules" in document else DEFAULT_RULES,
            verified_domains=verified,
            subdomains_of=below,
            trust_emails=trust,
            criteria=criteria,
            set_aside=exclusions.read_set_aside(document.get(exclusions.SET_ASIDE, [])),
            matching_ended=_flag(document, "matchingEnded"),
            name_id_source=source,
            excluded=excluded,
            adopt_on_create=_flag(document, "adoptOnCreate"),
            create_beside_matches=_flag(document, "createBesideMatches"),
            link_groups_on_create=_flag(document, "linkGroupsOnCreate"),
            safeguard_share=_share(document, "safeguardShare", SAFEGUARD_SHARE),
            creatable=creatable,
            foreign_object_ids=_flag(document, "foreignObjectIds"),
            auto_approve=_auto_approval(document.get("autoApprove")),
            schedule=_schedule(document.get("schedule")),
            undo_days=_whole(document, "undoDays", UNDO_DAYS, 1, MOST_UNDO_DAYS),
            job_days=_whole(document, "jobDays", JOB_DAYS, FEWEST_JOB_DAYS, MOST_JOB_DAYS),
        )


def _in_letters(name: str) -> str:
    """Return the form in which ids and names of identities are compared that must be written alike but for case."""
    return read_object_id(name) or in_small_letters(name)


def read_asked(document: object) -> Policy:
    """Return the policy of a JSON document that somebody sends. Raises ValueError as Policy.from_json() does, and for
    what could only be meant otherwise, saying how: of several entries at once."""
    if isinstance(document, Mapping):
        _refuse_entries(document)
    policy = Policy.from_json(document)
    if isinstance(document, Mapping):
        domains.check_domains(document.get(domains.ATTRIBUTE))
        exclusions.check_excluded(document.get(exclusions.ATTRIBUTE))
        exclusions.check_set_aside(document.get(exclusions.SET_ASIDE))
        _check_rules(document.get("rules"))
    return policy


MOST_REFUSED: Final = 20
"""Entries that one refusal names: more are named once these are mended."""


def _refuse_entries(document: Mapping[str, Any]) -> None:
    """Raise ValueError for the entries of the lists that nobody can mean, all of them in one."""
    try:
        found = [*domains.objections(document.get(domains.ATTRIBUTE)), *exclusions.objections(document)]
    except ValueError:  # the list of domains is none
        return
    if len(found) > 1:
        raise ValueError(Several(tuple(found[:MOST_REFUSED])))


def _check_rules(value: object) -> None:
    """Raise ValueError for an attribute that a rule does not have: mistyped transforms would be none."""
    for number, rule in enumerate(value if isinstance(value, list) else ()):
        if unknown := rule.keys() - {"rule", "trust", "transforms"}:
            name = min(map(str, unknown))[:80]
            raise ValueError(f"rules.{number}: has no attribute {name}: a rule has rule, trust and transforms")


def _check_trust(rules: Mapping[Rule, MatchRule], trust_emails: TrustEmails) -> None:
    mail = rules.get(Rule.MAIL)
    if trust_emails == "verified":
        if mail and mail.trust is Trust.STRONG:
            raise ValueError(
                Advice(
                    "rules: mail compares addresses that nobody verified;",
                    'it is strong only with "trustEmails": "inVerifiedDomains". Set that, or make the rule weak',
                    "weakMail",
                )
            )
        return
    if mail and mail.trust is Trust.WEAK:
        raise ValueError(
            Advice(
                "trustEmails: inVerifiedDomains makes the rule mail strong, and rules says that it is weak:",
                'leave mail out of the rules, or set "trustEmails": "verified"',
                "strongMail",
            )
        )
    if Rule.EMAIL not in rules:
        raise ValueError(
            "trustEmails: inVerifiedDomains needs the rule email, by which a run sees that another identity has the "
            "same address as an alias: add it to the rules, as weak"
        )


def _rules(value: object) -> tuple[MatchRule, ...]:
    try:
        if not isinstance(value, list):
            raise TypeError
        rules = [MatchRule(Rule(rule["rule"]), Trust(rule["trust"])) for rule in value]
        return tuple(_transforming(n, one, value[n]) for n, one in enumerate(rules))
    except _Untransformed as error:
        raise ValueError(str(error)) from error.__cause__
    except (TypeError, KeyError, ValueError):
        raise ValueError(
            f'rules: must be a list of {{"rule": …, "trust": …}}; rules: {", ".join(Rule)}; trusts: {", ".join(Trust)}'
        ) from None


class _Untransformed(Exception):
    """Transforms of a rule are wrong, missing, or not the rule's to have."""


def _transforming(number: int, rule: MatchRule, document: Mapping[str, Any]) -> MatchRule:
    """Return a rule with its transforms. Raises _Untransformed."""
    where = f"rules.{number}.transforms"
    try:
        found = read_transforms(where, document.get("transforms", []))
    except ValueError as error:
        raise _Untransformed(str(error)) from error
    if found and rule.rule not in TRANSFORMING:
        raise _Untransformed(
            f"{where}: the rule {rule.rule} has none; rules with transforms: {', '.join(TRANSFORMING)}"
        )
    if not found and rule.rule in (Rule.TRANSFORMED_NAME, Rule.TRANSFORMED_MAIL):
        plain = "userName" if rule.rule is Rule.TRANSFORMED_NAME else "mail"
        raise _Untransformed(f"{where}: the rule {rule.rule} needs one; without any it would be the rule {plain}")
    return replace(rule, transforms=found)


def _flag(document: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = document.get(name, default)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be true or false")
    return value


def _share(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name}: {NO_SHARE}")
    return abs(float(value))  # there is a zero below zero, which JSON shows as such


def _whole(document: Mapping[str, Any], name: str, default: int | None, low: int, high: int) -> int:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{name}: must be a whole number from {low} to {high}")
    return value


def _auto_approval(value: object) -> AutoApproval | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.keys() - {ON} != {"share", "number"}:
        raise ValueError('autoApprove: must be null, or an object like {"share": 0.01, "number": 50}')
    try:
        limit = _share(value, "share", 0), _whole(value, "number", None, 0, MOST_AUTO_LINKS)
        return AutoApproval(*limit, _flag(value, ON, True))
    except ValueError as error:
        raise ValueError(f"autoApprove.{error}") from None


def _schedule(value: object) -> Schedule | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or value.keys() - {ON} != {"source", "everyHours"}:
        raise ValueError('schedule: must be null, or an object like {"source": {"graph": {…}}, "everyHours": 24}')
    source = value["source"]
    if not isinstance(source, Mapping):
        raise ValueError("schedule.source: must be a source as POST /linking/runs takes it")
    try:
        return Schedule(dict(source), _whole(value, "everyHours", None, 1, MOST_EVERY_HOURS), _flag(value, ON, True))
    except ValueError as error:
        raise ValueError(f"schedule.{error}") from None
