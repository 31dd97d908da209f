"""The keys by which an identity's accounts are looked up: one for each value that a rule compares.

Rules and policy are in policy.py. What an account that carries a key has to do with the identity is in evidence.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple

from shared.directory.keys import fold
from shared.directory.matching.domains import may_have_other_spelling, other_spelling
from shared.directory.matching.exclusions import is_guest
from shared.directory.matching.identity import Identity
from shared.directory.matching.policy import ADDRESSES, IDENTITY, LOGIN_NAMES, MatchRule, Policy, Rule, Trust
from shared.directory.matching.transforms import in_words, transformed

Kind = Literal["externalId", "objectId", "nameId", "userName", "email", "employeeNumber"]
MOST_SHARED: Final = 3
"""Accounts, or identities, that may carry a value by which a weak rule matches. One that more carry is no evidence."""
FORMER_NAME: Final = "formerUserPrincipalName"
"""Attribute of a name that an identity had before it was deleted: weak evidence, whatever the trust of the rule."""

SPELLED: Final = " (with its domain in the other spelling)"
"""What an attribute is followed by where an account is looked up with Unicode for the letters of the DNS, or the other
way round: weak evidence. SCIM compares letters, so provisioning does not find the account by it."""


class MatchKey(NamedTuple):
    """One value of an identity by which accounts are looked up.

    `kind` and the folded `value` are the key of the accounts that carry it. `attribute` is where the identity has the
    value, `literal` how it is written there. `outside` says that it is an address outside the verified domains, which
    is no evidence. `excluded` says that the administrator excluded the identity, `among_many` that an entry did which
    leaves many out: nobody looked at this one.
    """

    rule: Rule
    trust: Trust
    kind: Kind
    value: str
    attribute: str
    literal: str
    outside: bool = False
    excluded: bool = False
    among_many: bool = False


def identity_keys(identity: Identity, policy: Policy) -> tuple[MatchKey, ...]:
    """Return the match keys of an identity in the order of the policy's rules.

    Those of its sign-ins it has under any rules: whose account it is does not depend on which rules link.
    """
    entry = policy.exclusion_of(identity)
    excluded, among_many = bool(entry), entry not in ("", IDENTITY)
    keys: list[MatchKey] = []
    for rule, match_rule in policy.compared.items():
        known: set[str] = set()
        for attribute, literal in _spelled(rule, _VALUES[rule][1](identity, policy)):
            value = fold(literal)
            if value and value not in known and not (rule is Rule.EMPLOYEE_NUMBER and is_filler(value)):
                known.add(value)
                keys.append(_match_key(match_rule, attribute, literal, value, policy, excluded, among_many))
    return tuple(keys)


def _spelled(rule: Rule, values: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield values by their attributes, and behind an address the same with its domain in the other spelling."""
    for attribute, literal in values:
        yield attribute, literal
        if may_have_other_spelling(literal) and rule in _OF_ADDRESSES:
            local, _, domain = unicodedata.normalize("NFKC", literal).strip().rpartition("@")
            if local and (other := other_spelling(domain)):
                yield attribute + SPELLED, f"{local}@{other}"


_OF_ADDRESSES: Final = frozenset((*ADDRESSES, Rule.NAME_ID))
"""Rules of addresses, and of names like them."""


def match_key(
    match_rule: MatchRule,
    attribute: str,
    literal: str,
    policy: Policy,
    *,
    excluded: bool = False,
    among_many: bool = False,
) -> MatchKey:
    """Return the match key that a rule makes of one value of an identity."""
    return _match_key(match_rule, attribute, literal, fold(literal), policy, excluded, among_many)


def _match_key(
    match_rule: MatchRule,
    attribute: str,
    literal: str,
    value: str,
    policy: Policy,
    excluded: bool,
    among_many: bool,
) -> MatchKey:
    rule, trust = match_rule.rule, match_rule.trust
    # An address proves something only in a domain that the customer has proved to own: anybody can register
    # jane@elsewhere.example in an application, and a guest's home tenant can rename its users.
    outside = (rule in ADDRESSES or (rule in LOGIN_NAMES and "@" in literal)) and not policy.verifies(literal)
    if trust is Trust.STRONG and (
        attribute == FORMER_NAME or attribute.endswith(SPELLED) or is_name_as_address(rule, attribute)
    ):
        trust = Trust.WEAK
    return MatchKey(rule, trust, _VALUES[rule][0], value, attribute, literal, outside, excluded, among_many)


def is_name_as_address(rule: str, attribute: str) -> bool:
    """Tell whether a key is a name that an account may have as its e-mail: it need not be anybody's mailbox."""
    return rule == Rule.EMAIL and attribute in ("userPrincipalName", FORMER_NAME)


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
    if identity.user_principal_name == identity.mail:
        return
    # Provisioning sends the name, and a name that is the account's e-mail is most likely the same person's.
    for attribute, name in _user_name(identity, policy):
        if "@" in fold(name):
            yield attribute, name


def _employee_id(identity: Identity, policy: Policy) -> Iterator[tuple[str, str]]:
    number = identity.employee_id or ""
    yield "employeeId", number
    if number and (transforms := policy.compared[Rule.EMPLOYEE_NUMBER].transforms) and not is_filler(number):
        yield in_words("employeeId", transforms), transformed(number, transforms)


def _login_name(rule: Rule, attribute: str, field: str) -> _Values:
    """Return what yields a name or address of an identity in the form into which a rule's transforms bring it.

    A guest has none: another tenant chose the name. Neither has an address outside the verified domains, whatever
    would be made of it.
    """

    def values(identity: Identity, policy: Policy) -> Iterator[tuple[str, str]]:
        value: str = getattr(identity, field) or ""
        if value and not is_guest(identity) and ("@" not in value or policy.verifies(value)):
            transforms = policy.compared[rule].transforms
            yield in_words(attribute, transforms), transformed(value, transforms)

    return values


_VALUES: Final[Mapping[Rule, tuple[Kind, _Values]]] = {
    Rule.EXTERNAL_ID: ("externalId", _object_id),
    Rule.SIGN_IN_OBJECT_ID: ("objectId", _object_id),
    Rule.NAME_ID: ("nameId", _name_id),
    Rule.USER_NAME: ("userName", _user_name),
    Rule.VERIFIED_EMAIL: ("email", _mail),
    Rule.MAIL: ("email", _mail),
    Rule.EMAIL: ("email", _addresses),
    Rule.EMPLOYEE_NUMBER: ("employeeNumber", _employee_id),
    Rule.MAIL_NICKNAME: ("userName", _login_name(Rule.MAIL_NICKNAME, "mailNickname", "mail_nickname")),
    Rule.SAM_ACCOUNT_NAME: (
        "userName",
        _login_name(Rule.SAM_ACCOUNT_NAME, "onPremisesSamAccountName", "on_premises_sam_account_name"),
    ),
    Rule.TRANSFORMED_NAME: (
        "userName",
        _login_name(Rule.TRANSFORMED_NAME, "userPrincipalName", "user_principal_name"),
    ),
    Rule.TRANSFORMED_MAIL: ("email", _login_name(Rule.TRANSFORMED_MAIL, "mail", "mail")),
}


def kind_of(rule: Rule) -> Kind:
    """Return the kind of key by which the accounts that carry a rule's value are found."""
    return _VALUES[rule][0]


def is_shared(identities: int, accounts: int) -> bool:
    """Tell whether a value that so many identities and accounts carry is no evidence for a weak rule."""
    return max(identities, accounts) > MOST_SHARED


def is_filler(number: str) -> bool:
    """Tell whether an employee number says that there is none: "N/A", "0", "-", "xxx". Such a one is nobody's."""
    if number.isascii() and number.isdigit():
        return not number.strip("0")  # most of them, without a pattern
    core = re.sub(r"[\W_]+", "", fold(number))
    return _FILLER.fullmatch(core) is not None


_FILLER = re.compile(r"0*|x+|na|nan|none|null|nil|empty|unknown|undefined|notapplicable|tbd|tba|test|keine|unbekannt")


def numbers_contradict(left: str | None, right: str | None) -> bool:
    """Tell whether two employee numbers are both there and differ by more than the zeros before them."""
    one, other = comparable_number(left), comparable_number(right)
    return one is not None and other is not None and one != other


def comparable_number(number: str | None) -> str | None:
    """Return an employee number as two are compared, without the zeros before it; None if there is none."""
    return None if not number or is_filler(number) else fold(number).lstrip("0")
