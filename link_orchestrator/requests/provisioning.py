"""Lists about provisioning: what it was refused, what its creates linked, and links to ids that are not Entra's."""

from __future__ import annotations

import re
from typing import Any, Final

from shared.admin.parameters import page_answer, read_count
from shared.directory.directory import Directory
from shared.directory.keys import ID, LIVE, RETIRED, behind
from shared.directory.matching.identity import read_object_id
from shared.directory.records.model import Account, Status
from shared.directory.work.buckets import read_place
from shared.directory.work.refusals import Refusal
from shared.scim.endpoint import Request, Response

SCANNED: Final = 20_000
"""Accounts that one page of the list of foreign links reads: it may have fewer rows than asked for, or none."""
_CURSOR: Final = re.compile(rf"[0-9a-f]{{2}}(?:{LIVE}|{RETIRED}){ID.pattern}")

MANAGED_HERE: Final = "The account is managed here: provisioning neither changes nor deletes it."
LINK_IT: Final = (
    "Link it with a linking run, or by hand: POST /accounts/{id}/link. If it is nobody's in Entra, take the matching "
    "by userName out of the provisioning attribute mapping."
)
PROTECTED: Final = "The account is protected: take the person out of the provisioning scope, or lift the protection."
LINKED: Final = "None: the account is no longer managed here."
GONE: Final = "None: the account was deleted."


async def list_refusals(directory: Directory, request: Request) -> Response:
    """List the writes by provisioning that were refused because an account is managed here, in the last 90 days."""
    found, cursor = await directory.refusals.page(request.params.get("cursor", ""), read_count(request))
    accounts = await directory.accounts.find_many([refusal.attempt.account for refusal in found])
    rows = [_refusal(refusal, account) for refusal, account in zip(found, accounts, strict=True)]
    return page_answer("refusals", rows, cursor)


async def list_adoptions(directory: Directory, request: Request) -> Response:
    """List the accounts that creates over SCIM linked, where the policy has adoptOnCreate."""
    found, cursor = await directory.adoptions.page(request.params.get("cursor", ""), read_count(request))
    accounts = await directory.accounts.find_many([adoption.account for adoption in found])
    made = [account for adoption, account in zip(found, accounts, strict=True) if account and adoption.made(account)]
    return page_answer("adoptions", [_linked(account) for account in made], cursor)


async def list_foreign_links(directory: Directory, request: Request) -> Response:
    """List the accounts that are linked to an id which is no object id of Entra's: such links keep working."""
    cursor, count = request.params.get("cursor", ""), read_count(request)
    found, more = await _foreign_links(directory, read_place(cursor, _CURSOR, directory.keys.buckets), count)
    return page_answer("links", [_linked(account) for account in found], more)


async def _foreign_links(directory: Directory, place: tuple[int, str], count: int) -> tuple[list[Account], str | None]:
    first, after = place
    low = behind(after) if after else LIVE
    found, scanned = list[Account](), 0
    for bucket in range(first, directory.keys.buckets):
        async for account in directory.listing.scan_facts(bucket, low):
            scanned += 1
            if account.link and read_object_id(account.link.identity) is None:
                found.append(account)
            if len(found) == count or scanned == SCANNED:
                return found, f"{bucket:02x}{account.key}"
        low = LIVE
    return found, None


def _refusal(refusal: Refusal, account: Account | None) -> dict[str, Any]:
    attempt = refusal.attempt
    shown = account.shown() | {"status": account.status.value} if account else {"id": attempt.account, "deleted": True}
    return {
        "account": shown,
        "externalId": attempt.external_id,
        "credential": attempt.credential,
        "method": attempt.method,
        "first": refusal.first,
        "last": refusal.last,
        "count": refusal.count,
        "reason": MANAGED_HERE,
        "remedy": _remedy(account),
    }


def _remedy(account: Account | None) -> str:
    if account is None:
        return GONE
    if account.status is not Status.LOCAL:
        return LINKED
    return PROTECTED if account.protected else LINK_IT


def _linked(account: Account) -> dict[str, Any]:
    link = account.link
    shown: dict[str, Any] = {"account": account.shown()}
    return shown | ({} if link is None else link.to_json())
