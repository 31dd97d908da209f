"""What the identity provider may do to an account, given the decision on an adoption (adoption.py). Pure.

A refusal changes nothing and says what the administrator can do. The rules that predictions share are in
shared/directory/matching/authority.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scim_users.adoption import Presented
from shared.directory.errors import Refused
from shared.directory.keys import fold
from shared.directory.matching.accounts import Decision, DecisionKind, proving_rule
from shared.directory.matching.authority import guarded_change, links, refused_change
from shared.directory.matching.policy import Rule
from shared.directory.records.model import Account, Link, Status


@dataclass(frozen=True, slots=True)
class Write:
    """A SCIM write: the account as it would become, and what the request shows of the identity (adoption.py).

    `keyed` says that the request itself named externalId.
    """

    after: Account
    shown: Presented
    keyed: bool
    by: str
    at: str


def authorise(before: Account, write: Write, decision: Decision | None = None) -> Account:
    """Return the account to store, linked if this write adopts it. Raises Refused with reason and remedy.

    `decision` is about the identity that writes; only an account that is managed here needs one.
    """
    refuse_protected(before)
    match before.status:
        case Status.PROVISIONED:
            return write.after
        case Status.CLAIMED:
            return _managed(before, write)
        case Status.LOCAL:
            return _adopted(before, write, decision)


def refuse_protected(account: Account) -> None:
    """Raise Refused for a protected account: SCIM may not change, deactivate or delete it."""
    if account.protected:
        raise Refused(
            "this account is protected (a break-glass administrator): provisioning never changes it; "
            "take the person out of the provisioning scope, or lift the protection here"
        )


def retire(account: Account) -> Account:
    """Return a claimed account as SCIM's DELETE leaves it: inactive, unlinked, gone for SCIM, kept for the application.

    The identity stays as evidence: an identity that comes with its name later is compared with it.
    """
    link = _link(account)
    _refuse_unconfirmed(account, "delete")
    document = account.document() | {"active": False}
    document.pop("externalId", None)
    evidence = replace(account.evidence, object_id=link.identity)
    kept = account.with_document(document)
    return replace(kept, status=Status.LOCAL, link=None, retired=True, evidence=evidence)


def confirmed(account: Account, at: str) -> Account:
    """Return a linked account after provisioning came through its stamped externalId."""
    link = _link(account)
    return replace(account, link=replace(link, confirmed=link.confirmed or at))


def unconfirmed(account: Account) -> bool:
    """Tell whether an account was linked here and provisioning has not come through the stamped key yet."""
    return account.link is not None and account.link.confirmed is None


def _managed(before: Account, write: Write) -> Account:
    link = _link(before)
    if fold(write.after.external_id or "") != fold(link.identity):
        raise Refused(
            "externalId: this account is linked to another identity; map objectId to externalId "
            "in the provisioning attribute mapping, or release the account's link here"
        )
    if write.keyed:
        return confirmed(write.after, write.at)
    if changed := guarded_change(before, write.after):
        _refuse_unconfirmed(before, changed)
    return write.after


def _adopted(before: Account, write: Write, decision: Decision | None) -> Account:
    if decision is None or not links(decision, before.id):
        reason = f" {decision.reason}" if decision and decision.kind is not DecisionKind.NO_ACCOUNT else ""
        raise Refused(
            f"this account is managed here, and no strong match rule shows that it is the same person.{reason} "
            "Link it with a linking run, where an administrator reviews it"
        )
    if changed := refused_change(decision, before, write.after):
        raise Refused(
            f"{changed}: a first link never changes it, so that a matching name or e-mail cannot take an account "
            "over: link the account with a linking run, then provision again"
        )
    rule = proving_rule(decision.evidence)
    # E-mail alone proves least: such a link waits for provisioning to come through the stamped key.
    at = None if rule is Rule.VERIFIED_EMAIL else write.at
    link = Link(write.shown.external_id or "", rule.value, write.at, write.by, at)
    return replace(write.after, status=Status.CLAIMED, link=link, retired=False)


def _refuse_unconfirmed(account: Account, what: str) -> None:
    if unconfirmed(account):
        raise Refused(
            f"{what}: this account was linked here and provisioning has not come through its externalId yet: "
            "give objectId -> externalId matching precedence 1 in the attribute mapping, then restart provisioning"
        )


def _link(account: Account) -> Link:
    if account.link is None:
        raise ValueError("a claimed account has a link")
    return account.link
