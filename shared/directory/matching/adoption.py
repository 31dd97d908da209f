"""Whose account a create over SCIM gets: one that it adopts, or the one that was kept when SCIM deleted it. Pure.

Beside runs and administrators these are the only ways in which an account that is managed here is linked. What counts
is what the create itself carries, in the same letters: look-ups prove nothing, and neither does what is left out. The
room reads what the last plan knew (scim_users/collision.py); policy.adopt_on_create switches adoption on.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from shared.directory.keys import fold, same_letters
from shared.directory.matching.accounts import is_parted, objection
from shared.directory.matching.evidence import AccountFacts
from shared.directory.matching.identity import Identity
from shared.directory.matching.match_keys import numbers_contradict
from shared.directory.matching.policy import Policy, Rule, Trust
from shared.directory.object_ids import read_object_id
from shared.directory.records.model import ENTERPRISE, Account, Status, digest_kept
from shared.directory.text import counted

ADOPTION: Final = "adoption"
"""The rule of a link that a create over SCIM made."""
RETURN: Final = "return"
"""The rule of a link by which an identity got back its account, which SCIM had deleted."""


@dataclass(frozen=True, slots=True)
class Sent:
    """What a create carries of its identity. `work_email` is its primary work address, or the only one."""

    external_id: str
    user_name: str
    emails: tuple[str, ...] = ()
    work_email: str | None = None
    employee_number: str | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Self:
        """Return what the document of a create, normalised, carries."""
        emails = [email for email in document.get("emails", ()) if email.get("value")]
        return cls(
            external_id=document.get("externalId", ""),
            user_name=document["userName"],
            emails=tuple(email["value"] for email in emails),
            work_email=_work_email(emails),
            employee_number=document.get(ENTERPRISE, {}).get("employeeNumber"),
        )

    @property
    def object_id(self) -> str | None:
        """The externalId where it is an object id as Entra writes it, case aside."""
        object_id = read_object_id(self.external_id)
        return object_id if object_id == self.external_id.lower() else None

    def identity(self) -> Identity:
        """Return the identity as far as the create shows it."""
        return Identity(
            self.external_id, self.user_name, self.work_email, other_mails=self.emails, employee_id=self.employee_number
        )


def _work_email(emails: Sequence[Mapping[str, Any]]) -> str | None:
    work = [email for email in emails if str(email.get("type", "")).lower() == "work"]
    primary = [email for email in work if email.get("primary") is True]
    chosen = primary or work
    return chosen[0]["value"] if len(chosen) == 1 else None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the create and the account.

    `planned` says that everybody was planned lately. `near` has the identities that met the account in the last plan,
    with the claim of each, "" where it has none. `left_open` has, by object id, what the last plan left to the
    administrator, of these and of the identity that is to be created. `others` are the ids of further accounts that
    carry a key of that identity. `as_planned` says that the account is as that plan saw it: who else meets another one,
    as by an alias, no plan has looked at.
    """

    planned: bool
    near: Mapping[str, str] = field(default_factory=dict)
    left_open: Mapping[str, str] = field(default_factory=dict)
    others: Sequence[str] = ()
    as_planned: bool = True


def obstacle_to_adoption(sent: Sent, account: AccountFacts, around: Surroundings, policy: Policy) -> str:
    """Return why a create does not adopt the account that it collides with, "" if it does."""
    return (
        _about_the_account(sent, account, policy)
        or _about_the_identity(sent, around, policy)
        or _about_others(sent, around, policy)
        or ("" if proving_rule_of(sent, account, policy) else _UNPROVED)
    )


def proving_rule_of(sent: Sent, account: AccountFacts, policy: Policy) -> Rule | None:
    """Return the strong rule by which what was sent proves that the account is the identity's; None if none does.

    Of addresses only a verified one counts, however far the policy trusts the others: trustEmails is for plans that a
    person approves.
    """
    strong = {match_rule.rule for match_rule in policy.rules if match_rule.trust is Trust.STRONG}
    if Rule.USER_NAME in strong and _proves(sent.user_name, (account.user_name,), policy):
        return Rule.USER_NAME
    if Rule.VERIFIED_EMAIL in strong and _proves(sent.work_email, account.verified_emails, policy):
        return Rule.VERIFIED_EMAIL
    return None


def _proves(value: str | None, held: Sequence[str], policy: Policy) -> bool:
    # A domain in letters that only look like the verified one's is another, whatever it is mapped to.
    if not value or unicodedata.normalize("NFKC", value) != value or not policy.verifies(value):
        return False
    return any(same_letters(value, one) for one in held)


_UNPROVED: Final = (
    "neither its userName nor its primary work address, against a verified one, is the account's in the same letters "
    "and in a verified domain"
)
_NO_OBJECT_ID: Final = (
    "externalId is no object id as Entra writes it; map objectId to externalId in the provisioning attribute mapping, "
    "with precedence 1"
)


def _about_the_account(sent: Sent, account: AccountFacts, policy: Policy) -> str:
    if account.protected:
        return "the account is protected"
    if account.status is not Status.LOCAL or account.retired:
        return "the account is not managed here"
    if not account.active:
        return "the account is deactivated"
    if policy.sets_aside(account.id, account.user_name):
        return "the policy sets the account aside"
    if against := objection(sent.identity(), account, policy):
        return against[0].lower() + against[1:].removesuffix(".")
    if _was_signed_in_otherwise(sent, account, policy):
        return "the account's NameID is not what the create sends"
    if numbers_contradict(sent.employee_number, account.employee_number):
        return "the account has another employeeNumber"
    if is_parted(account.parted, sent.external_id):
        return _PARTED
    return ""


def _was_signed_in_otherwise(sent: Sent, account: AccountFacts, policy: Policy) -> bool:
    """Tell whether the account's NameID, where provisioning sends what it is made of, is somebody else's."""
    sources = {"userPrincipalName": (sent.user_name,), "mail": sent.emails}
    known = sources.get(policy.name_id_source)
    return known is not None and account.name_id is not None and fold(account.name_id) not in map(fold, known)


def _about_the_identity(sent: Sent, around: Surroundings, policy: Policy) -> str:
    if sent.object_id is None:
        return _NO_OBJECT_ID
    if any(policy.excludes(sent.external_id, name) for name in (sent.user_name, *sent.emails)):
        return "the policy excludes this identity"
    if decision := around.left_open.get(sent.object_id):
        return f"the last plan left this identity to an administrator ({decision})"
    if not around.planned:
        return "nobody planned a run over everybody in the last 30 days"
    return ""


def _about_others(sent: Sent, around: Surroundings, policy: Policy) -> str:
    if around.others:
        return f"something of this identity is in {counted(len(around.others), 'more account')}"
    if not around.as_planned:
        return "the account was made or changed here since the last plan"
    for other, claim in around.near.items():
        if fold(other) == sent.object_id:
            continue
        if claim:
            return "another identity matched the account in the last plan"
        if around.left_open.get(other) or policy.excludes(other, ""):
            return "an identity that the last plan left to an administrator meets the account"
    return ""


_PARTED: Final = "an administrator took this pair apart, and only a person joins it again"


def was_its_own(sent: Sent, account: Account) -> bool:
    """Tell whether SCIM deleted the account as that of the identity which is to be created."""
    former = account.evidence.object_id
    return account.retired and bool(former) and same_letters(sent.external_id, former or "")


def obstacle_to_return(sent: Sent, account: Account, left_open: str, policy: Policy) -> str:
    """Return why a kept account does not go back to the identity that is to be created, "" if it does.

    `left_open` is what the last plan decided on the identity, where that is the administrator's to settle.
    """
    if not was_its_own(sent, account):
        own = read_object_id(account.evidence.object_id or "")
        return _NO_OBJECT_ID if own and own == read_object_id(sent.external_id) else "it was another identity's"
    if account.protected:
        return "it is protected by now"
    if account.retired_as is None:
        return "an earlier version of the app deleted it, and noted nothing by which an edit since would show"
    if account.retired_as != digest_kept(account):
        return "it was edited here since"
    if any(policy.excludes(sent.external_id, name) for name in (sent.user_name, *sent.emails)):
        return "the policy excludes this identity"
    if left_open:
        return f"the last plan left this identity to an administrator ({left_open})"
    return _PARTED if is_parted(account.parted, sent.external_id) else ""
