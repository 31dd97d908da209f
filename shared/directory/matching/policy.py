"""The policy of a directory: match rules and how far each is trusted, verified domains, and who is excluded.

A linking run keeps a copy of it from its start; adoption over SCIM goes by the same rules. accounts.py applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Literal, Self, get_args

from shared.directory.keys import fold

NameIdSource = Literal["userPrincipalName", "mail", "objectId", "onPremisesImmutableId"]


class Rule(StrEnum):
    """What an identity and an account are compared by."""

    EXTERNAL_ID = "externalId"
    SIGN_IN_OBJECT_ID = "signInObjectId"
    NAME_ID = "nameId"
    USER_NAME = "userName"
    VERIFIED_EMAIL = "verifiedEmail"
    EMAIL = "email"
    EMPLOYEE_NUMBER = "employeeNumber"


class Trust(StrEnum):
    """A strong rule links once the plan is approved; a weak one waits for an administrator to review the row."""

    STRONG = "strong"
    WEAK = "weak"


@dataclass(frozen=True, slots=True)
class MatchRule:
    """A rule and its trust."""

    rule: Rule
    trust: Trust


DEFAULT_RULES: Final = (
    MatchRule(Rule.EXTERNAL_ID, Trust.STRONG),
    MatchRule(Rule.SIGN_IN_OBJECT_ID, Trust.STRONG),
    MatchRule(Rule.NAME_ID, Trust.STRONG),
    MatchRule(Rule.USER_NAME, Trust.STRONG),
    MatchRule(Rule.VERIFIED_EMAIL, Trust.STRONG),
    MatchRule(Rule.EMAIL, Trust.WEAK),
    MatchRule(Rule.EMPLOYEE_NUMBER, Trust.WEAK),
)


SAFEGUARD_SHARE: Final = 0.2
MAX_EXCLUDED_CHARS: Final = 300_000
"""Characters of exclusions in a policy: the row of a run, which has a copy of the policy, has room for a third more."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the administrator decided. Domains and exclusions are compared folded.

    `excluded` has object ids and user principal names. `adopt_on_create` lets a SCIM create that collides with an
    account link it, where a strong rule holds, instead of being refused. `create_beside_matches` lets a SCIM create
    make an account although one that is managed here shares an e-mail address or a number with it.
    `link_groups_on_create` lets the create of a group take over the group of that name that is managed here. Approving
    a plan that links more than `safeguard_share` of the directory's accounts takes the number of its links.

    Raises ValueError if a rule occurs twice; if externalId is missing, by which a run knows its own links; or if there
    are more exclusions than a run can keep.
    """

    rules: tuple[MatchRule, ...] = DEFAULT_RULES
    verified_domains: frozenset[str] = frozenset()
    name_id_source: NameIdSource = "userPrincipalName"
    excluded: frozenset[str] = frozenset()
    adopt_on_create: bool = False
    create_beside_matches: bool = False
    link_groups_on_create: bool = False
    safeguard_share: float = SAFEGUARD_SHARE

    def __post_init__(self) -> None:
        names = [rule.rule for rule in self.rules]
        if len(set(names)) != len(names) or Rule.EXTERNAL_ID not in names:
            raise ValueError("rules: each rule stands at most once, and externalId must be among them")
        object.__setattr__(self, "verified_domains", frozenset(map(fold, self.verified_domains)))
        object.__setattr__(self, "excluded", frozenset(map(fold, self.excluded)))
        if sum(map(len, self.excluded)) + 3 * len(self.excluded) > MAX_EXCLUDED_CHARS:
            raise ValueError(
                f"excluded: the list has at most {MAX_EXCLUDED_CHARS:,} characters, about 7,500 object ids: leave "
                "people out of the source instead, by its scope or by their line in the file"
            )

    def excludes(self, object_id: str, user_principal_name: str) -> bool:
        """Tell whether the administrator excluded this identity from linking."""
        return fold(object_id) in self.excluded or fold(user_principal_name) in self.excluded

    def to_json(self) -> dict[str, Any]:
        """Return the policy as the JSON document that `from_json` reads."""
        return {
            "rules": [{"rule": rule.rule.value, "trust": rule.trust.value} for rule in self.rules],
            "verifiedDomains": sorted(self.verified_domains),
            "nameIdSource": self.name_id_source,
            "excluded": sorted(self.excluded),
            "adoptOnCreate": self.adopt_on_create,
            "createBesideMatches": self.create_beside_matches,
            "linkGroupsOnCreate": self.link_groups_on_create,
            "safeguardShare": self.safeguard_share,
        }

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Return the policy of a JSON document; what it leaves out has its default.

        Raises ValueError naming the attribute that is wrong and what it may be.
        """
        if not isinstance(document, Mapping):
            raise ValueError("the policy must be a JSON object")
        known = cls().to_json().keys()
        if not known >= document.keys():
            raise ValueError(f"the policy has an unknown attribute; it may have: {', '.join(sorted(known))}")
        source = document.get("nameIdSource", "userPrincipalName")
        if source not in get_args(NameIdSource):
            raise ValueError(f"nameIdSource: must be one of {', '.join(get_args(NameIdSource))}")
        return cls(
            _rules(document["rules"]) if "rules" in document else DEFAULT_RULES,
            _texts(document, "verifiedDomains"),
            source,
            _texts(document, "excluded"),
            _flag(document, "adoptOnCreate"),
            _flag(document, "createBesideMatches"),
            _flag(document, "linkGroupsOnCreate"),
            _share(document, "safeguardShare", SAFEGUARD_SHARE),
        )


def _rules(value: object) -> tuple[MatchRule, ...]:
    try:
        if not isinstance(value, list):
            raise TypeError
        return tuple(MatchRule(Rule(rule["rule"]), Trust(rule["trust"])) for rule in value)
    except (TypeError, KeyError, ValueError):
        raise ValueError(
            f'rules: must be a list of {{"rule": …, "trust": …}}; rules: {", ".join(Rule)}; trusts: {", ".join(Trust)}'
        ) from None


def _flag(document: Mapping[str, Any], name: str) -> bool:
    value = document.get(name, False)
    if not isinstance(value, bool):
        raise ValueError(f"{name}: must be true or false")
    return value


def _share(document: Mapping[str, Any], name: str, default: float) -> float:
    value = document.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError(f"{name}: must be a number from 0 to 1")
    return float(value)


def _texts(document: Mapping[str, Any], name: str) -> frozenset[str]:
    value = document.get(name, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f"{name}: must be a list of strings")
    return frozenset(value)
