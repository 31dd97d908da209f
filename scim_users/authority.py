"""What the identity provider may do to an account that is there: change it, delete it, confirm its link. Pure.

It links nobody: an account that is managed here takes no write. What a create may get is in
shared/directory/matching/adoption.py, what a first link may change in shared/directory/matching/authority.py. A refusal
changes nothing and says what the administrator can do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from shared.directory.errors import Refused
from shared.directory.keys import same_letters
from shared.directory.matching.adoption import ADOPTION, RETURN
from shared.directory.matching.authority import GUARDED, guarded_change
from shared.directory.records.model import Account, Link, Status, digest_kept

MANAGED_HERE = (
    "this account is managed here: provisioning neither changes nor deletes it, and a write links nobody. Link it with "
    "a linking run or by hand, on its page in the portal (POST /accounts/{id}/link), or, if it is another person's, "
    "give it another userName or take the person out of the provisioning scope"
)


@dataclass(frozen=True, slots=True)
class Write:
    """A SCIM write: the account as it would become, and the externalId that the request itself carries, "" for none."""

    after: Account
    carried: str
    at: str


def authorise(before: Account, write: Write) -> Account:
    """Return the account to store. Raises Refused with reason and remedy."""
    refuse_protected(before)
    match before.status:
        case Status.PROVISIONED:
            return write.after
        case Status.CLAIMED:
            return _managed(before, write)
        case Status.LOCAL:
            raise Refused(MANAGED_HERE)


def refuse_protected(account: Account) -> None:
    """Raise Refused for a protected account: SCIM may not change, deactivate or delete it."""
    if account.protected:
        raise Refused(
            "this account is protected (a break-glass administrator): provisioning never changes it; "
            "take the person out of the provisioning scope, or lift the protection here"
        )


def retire(account: Account) -> Account:
    """Return a claimed account as SCIM's DELETE leaves it: inactive, unlinked, gone for SCIM, kept for the application.

    The identity stays as evidence: it gets the account back, and another one that comes with its name is told apart.
    """
    link = _link(account)
    _refuse_unconfirmed(account, "delete")
    document = account.document() | {"active": False}
    document.pop("externalId", None)
    evidence = replace(account.evidence, object_id=link.identity)
    kept = account.with_document(document)
    kept = replace(kept, status=Status.LOCAL, link=None, retired=True, evidence=evidence)
    return replace(kept, retired_as=digest_kept(kept))


def returned(kept: Account, document: dict[str, Any], by: str, at: str) -> Account:
    """Return a kept account as its identity gets it back, with a document that has its externalId.

    The link is confirmed: it was so when the account was deleted, and provisioning came with the same object id.
    """
    link = Link(kept.evidence.object_id or "", RETURN, at, by, at)
    return replace(kept.with_document(document), status=Status.CLAIMED, link=link, retired=False, retired_as=None)


def adopted(account: Account, document: dict[str, Any], object_id: str, by: str, at: str) -> Account:
    """Return an account that a create adopts, with a document that has its externalId.

    userName, e-mail addresses and `active` stay: they wait until provisioning comes through that externalId.
    """
    held = account.document()
    kept = {name: held[name] for name in GUARDED if name in held}
    merged = {name: value for name, value in (document | kept).items() if name in kept or name not in GUARDED}
    link = Link(object_id, ADOPTION, at, by)
    return replace(account.with_document(merged), status=Status.CLAIMED, link=link)


def confirmed(account: Account, at: str) -> Account:
    """Return a linked account after provisioning came through its stamped externalId."""
    link = _link(account)
    return replace(account, link=replace(link, confirmed=link.confirmed or at))


def unconfirmed(account: Account) -> bool:
    """Tell whether an account was linked here and provisioning has not come through the stamped key yet."""
    return account.link is not None and account.link.confirmed is None


def _managed(before: Account, write: Write) -> Account:
    link = _link(before)
    if not same_letters(write.after.external_id or "", link.identity):
        raise Refused(
            "externalId: this account is linked to another identity; map objectId to externalId "
            "in the provisioning attribute mapping, or release the account's link here"
        )
    if write.carried:
        return confirmed(write.after, write.at)
    if changed := guarded_change(before, write.after):
        _refuse_unconfirmed(before, changed)
    return write.after


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
