"""Lists about provisioning: what it was refused, what its creates linked, and links to ids that are not Entra's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from link_orchestrator.requests.known import name_known
from shared.admin.pages import select
from shared.admin.parameters import page_answer, read_choice, read_count, read_cursor
from shared.directory.directory import Directory
from shared.directory.matching.identity import Identity
from shared.directory.object_ids import read_object_id
from shared.directory.records.listing import Glance
from shared.directory.records.model import Account, Status
from shared.directory.work.refusals import Refusal
from shared.scim.endpoint import Request, Response

IDENTITIES: Final = "identities"
"""The parameter that asks whose external ids are."""
MANAGED_HERE: Final = "The account is managed here: provisioning neither changes nor deletes it."
MAY_BE_ANOTHER: Final = (
    "What the write would add to the account keeps creates away: another account may be the person's."
)
LINK_IT: Final = (
    "Link it with a linking run, or by hand: POST /accounts/{id}/link. If it is another's than the person's whom Entra "
    "means, give it another userName, or take the person out of the provisioning scope; the attribute mapping stays."
)
LEAVE_IT: Final = (
    "None if the account is to stay: provisioning deletes no account that is managed here. If it is to go, delete it: "
    "DELETE /accounts/{id}. Do not link it: a linked account is provisioning's to delete."
)
PROTECTED: Final = "The account is protected: take the person out of the provisioning scope, or lift the protection."
CHANGED: Final = (
    "None if the account has by now what the write would have added: it was changed since. If not, the next write that "
    "is refused says again what to do."
)
LINKED: Final = (
    "None: the account is no longer managed here. If the refused write is a DELETE and the account is to stay, release "
    "it: POST /accounts/{id}/release."
)
SETTLE: Final = (
    "Provisioning made the account, and the write would give it what another account has, which may be the same "
    "person's: settle the person in a linking run, or link the other account by hand: POST /accounts/{id}/link."
)
GONE: Final = "None: the account was deleted."
REMEDIES: Final = {
    "managedHere": LINK_IT,
    "keptHere": LEAVE_IT,
    "protected": PROTECTED,
    "mayBeAnother": SETTLE,
    "changedSince": CHANGED,
    "linkedByNow": LINKED,
    "deleted": GONE,
}
"""What to do about refused writes, by what is in their way."""


async def list_refusals(directory: Directory, request: Request) -> Response:
    """List the writes by provisioning that were refused because an account is managed here, in the last 90 days.

    With `identities` it says of the first 50 external ids whose they are, as far as what was read last is kept.
    """
    named = read_choice(request, IDENTITIES, ("true", "false")) == "true"
    found, cursor = await directory.refusals.page(read_cursor(request, "refusals"), read_count(request))
    accounts = await directory.accounts.find_many([refusal.attempt.account for refusal in found])
    asked = (refusal.attempt.external_id or "" for refusal in found) if named else ()
    known = await name_known(directory, asked)
    rows = [_refusal(refusal, account, known) for refusal, account in zip(found, accounts, strict=True)]
    return page_answer(request, "refusals", rows, cursor)


async def list_adoptions(directory: Directory, request: Request) -> Response:
    """List the accounts that creates over SCIM linked, where the policy has adoptOnCreate."""
    found, cursor = await directory.adoptions.page(read_cursor(request, "adoptions"), read_count(request))
    accounts = await directory.accounts.find_many([adoption.account for adoption in found])
    made = [account for adoption, account in zip(found, accounts, strict=True) if account and adoption.made(account)]
    return page_answer(request, "adoptions", [_linked(account) for account in made], cursor)


async def list_foreign_links(directory: Directory, request: Request) -> Response:
    """List the accounts that are linked to an id which is no object id of Entra's: such links keep working."""
    cursor, count = read_cursor(request, "links"), read_count(request)
    found, more = await select(directory.listing, directory.listing.scan_glances, cursor, count, _is_foreign)
    accounts = await directory.accounts.find_many(found)
    return page_answer(request, "links", [_linked(account) for account in accounts if account], more)


def _is_foreign(account: Glance) -> bool:
    return account.link is not None and read_object_id(account.link.identity) is None


def _refusal(refusal: Refusal, account: Account | None, known: Mapping[str, Identity]) -> dict[str, Any]:
    attempt = refusal.attempt
    identity = known.get(read_object_id(attempt.external_id or "") or "")
    cause = _cause(refusal, account)
    shown = account.shown() | {"status": account.status.value} if account else {"id": attempt.account, "deleted": True}
    return {
        "account": shown,
        "externalId": attempt.external_id,
        **({"identity": _name(identity)} if identity else {}),
        "credential": attempt.credential,
        "method": attempt.method,
        "first": refusal.first,
        "last": refusal.last,
        "count": refusal.count,
        "reason": MAY_BE_ANOTHER if cause in ("mayBeAnother", "changedSince") else MANAGED_HERE,
        "cause": cause,
        "remedy": REMEDIES[cause],
    }


def _name(identity: Identity) -> dict[str, Any]:
    known = {"objectId": identity.object_id, "userPrincipalName": identity.user_principal_name}
    return known | ({"displayName": identity.display_name} if identity.display_name else {})


def _cause(refusal: Refusal, account: Account | None) -> str:
    """Return what is in the way of provisioning now, by which the remedy is chosen.

    What came through since was in nobody's way any more: each cycle sends what was refused again.
    """
    if account is None:
        return "deleted"
    if account.status is Status.PROVISIONED:
        return "changedSince" if account.modified > refusal.last else "mayBeAnother"
    if account.status is Status.CLAIMED:
        return "linkedByNow"
    if account.protected:
        return "protected"
    return "keptHere" if refusal.attempt.method == "DELETE" else "managedHere"


def _linked(account: Account) -> dict[str, Any]:
    link = account.link
    shown: dict[str, Any] = {"account": account.shown()}
    return shown | ({} if link is None else link.to_json())
