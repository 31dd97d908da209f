"""What the identity provider may do to an account, and when writing to a local one links it.

The rules of linking hold here too (shared/directory/policy.py): a SCIM write to a local account is an adoption, allowed
only where a strong match rule holds, in a verified domain, for an account that is not protected. A refusal changes
nothing and says what the administrator can do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.directory.errors import Refused
from shared.directory.keys import fold
from shared.directory.model import Account, Link, Status
from shared.directory.policy import Policy, Rule, Trust

GUARDED = ("userName", "emails", "active")
"""By these a person signs in or is reached: a first link leaves them alone until provisioning has confirmed it."""


@dataclass(frozen=True, slots=True)
class Write:
    """A SCIM write as the identity provider presents the person.

    `after` is the account as it would become. The other values are the identity's: of a PATCH the resulting ones, as
    Entra sends only what differs; of a POST or PUT those in the body. `keyed` says that the request itself named
    externalId.
    """

    after: Account
    external_id: str | None
    user_name: str
    emails: tuple[str, ...]
    keyed: bool
    by: str
    at: str


def authorise(before: Account, write: Write, policy: Policy) -> Account:
    """Return the account to store, linked if this write adopts it. Raises Refused with reason and remedy."""
    refuse_protected(before)
    match before.status:
        case Status.PROVISIONED:
            return write.after
        case Status.CLAIMED:
            return _managed(before, write)
        case Status.LOCAL:
            return _adopted(before, write, policy)


def refuse_protected(account: Account) -> None:
    """Raise Refused for a protected account: SCIM may not change, deactivate or delete it."""
    if account.protected:
        raise Refused(
            "this account is protected (a break-glass administrator): provisioning never changes it; "
            "take the person out of the provisioning scope, or lift the protection here"
        )


def retire(account: Account) -> Account:
    """Return a claimed account as SCIM's DELETE leaves it: inactive, unlinked, gone for SCIM, kept for the application.

    The identity stays as evidence, so that whoever comes with its name later is compared with it.
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
    if unconfirmed(before) and not write.keyed:
        for name in GUARDED:
            if _guarded_changes(before, write.after, name):
                _refuse_unconfirmed(before, name)
    return confirmed(write.after, write.at) if write.keyed else write.after


def _adopted(before: Account, write: Write, policy: Policy) -> Account:
    if not write.external_id:
        raise Refused(
            "externalId: this account is managed here; it can only be linked by a write that carries its identity: "
            "map objectId to externalId in the provisioning attribute mapping, or link it with a linking run"
        )
    rule = _strong_rule(before, write, policy)
    if rule is None:
        raise Refused(
            "this account is managed here and no strong match rule shows that it is the same person: "
            "link it with a linking run, where an administrator reviews it"
        )
    keyed = rule in (Rule.EXTERNAL_ID, Rule.SIGN_IN_OBJECT_ID)
    changed = [name for name in GUARDED if _guarded_changes(before, write.after, name)]
    if changed and not keyed:
        raise Refused(
            f"{changed[0]}: a first link never changes it, so that a matching name or e-mail cannot take an account "
            "over: link the account with a linking run, then provision again"
        )
    # E-mail alone proves least: such a link waits for provisioning to come through the stamped key.
    at = None if rule is Rule.VERIFIED_EMAIL else write.at
    link = Link(write.external_id, rule.value, write.at, write.by, at)
    return replace(write.after, status=Status.CLAIMED, link=link, retired=False)


def _strong_rule(before: Account, write: Write, policy: Policy) -> Rule | None:
    """Return the first strong rule by which account and identity are the same person, in a verified domain."""
    if policy.excludes(write.external_id or "", write.user_name):
        return None
    held = {
        Rule.EXTERNAL_ID: _same(before.external_id, write.external_id),
        Rule.SIGN_IN_OBJECT_ID: _same(before.evidence.object_id, write.external_id),
        Rule.NAME_ID: _same(before.evidence.name_id, _name_id(write, policy)),
        Rule.USER_NAME: _same(before.user_name, write.user_name),
        Rule.VERIFIED_EMAIL: any(
            _verified(email, policy) and _same(email, presented)
            for email in before.evidence.verified_emails
            for presented in write.emails
        ),
    }
    known = before.evidence.object_id
    if known and not _same(known, write.external_id):
        # The person who signed in to this account had another identity: a name used again proves nothing.
        return None
    if not _verified(write.user_name, policy) and not any(_verified(email, policy) for email in write.emails):
        return None
    if not _verified(write.user_name, policy):
        held[Rule.USER_NAME] = False
    strong = (rule.rule for rule in policy.rules if rule.trust is Trust.STRONG)
    return next((rule for rule in strong if held.get(rule)), None)


def _name_id(write: Write, policy: Policy) -> str | None:
    match policy.name_id_source:
        case "userPrincipalName":
            return write.user_name
        case "objectId":
            return write.external_id
        case "mail":
            return write.emails[0] if write.emails else None
        case _:
            return None


def _same(ours: str | None, theirs: str | None) -> bool:
    return bool(ours) and bool(theirs) and fold(ours or "") == fold(theirs or "")


def _verified(address: str, policy: Policy) -> bool:
    return fold(address).rpartition("@")[2] in policy.verified_domains


def _guarded_changes(before: Account, after: Account, name: str) -> bool:
    match name:
        case "userName":
            return fold(before.user_name) != fold(after.user_name)
        case "active":
            return before.active != after.active
        case _:
            return set(map(fold, before.emails)) != set(map(fold, after.emails))


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
