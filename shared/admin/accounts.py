"""What the application and its administrator read of an account beyond SCIM; the policy and the schemas.

Beyond SCIM are who manages an account, its link, its evidence and its history. account_changes.py changes an account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from shared.admin.changed_values import Values, values_of
from shared.admin.pages import K, Scan, select
from shared.admin.parameters import (
    page_answer,
    read_choice,
    read_count,
    read_cursor,
    read_history_cursor,
    read_id_cursor,
    read_key,
    refuse_others,
)
from shared.directory.directory import Directory
from shared.directory.errors import NotFound
from shared.directory.keys import APPLICATION_ID, Key, application_key, fold
from shared.directory.object_ids import compared_id
from shared.directory.records.audit import Change
from shared.directory.records.kept import list_kept
from shared.directory.records.listing import Glance, Login
from shared.directory.records.model import FORMER_USER_NAME, Account, Status
from shared.json_text import dump
from shared.scim.document import read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue
from shared.scim.extension import read_extensions
from shared.scim.schema import USER

KEYS: Final = (
    "userName", "email", "externalId", APPLICATION_ID, "nameId", "objectId", "employeeNumber", FORMER_USER_NAME,
)  # fmt: skip
"""What an account is found by."""
BEGINS: Final = "begins"
"""Parameter with the beginning of a userName or an e-mail address."""
STATES: Final[Mapping[str, Callable[[Glance], bool]]] = {
    "local": lambda one: one.status is Status.LOCAL,
    "linked": lambda one: one.link is not None,
    "unconfirmed": lambda one: one.link is not None and one.link.confirmed is None,
    "provisioned": lambda one: one.status is Status.PROVISIONED,
    "protected": lambda one: one.protected,
    "inactive": lambda one: not one.active,
    "deletedOverScim": lambda one: one.retired,
}
"""What accounts are listed by."""


async def find_accounts(directory: Directory, request: Request) -> Response:
    """List the accounts that have a userName, email, externalId, applicationId, nameId, objectId or employeeNumber.

    By formerUserName it lists those that had a userName before the one that they have now. With `begins` it looks
    through all accounts for those whose userName, or one of whose e-mail addresses, begins so.

    Without any of them it lists all accounts, or those in a state. Either is a page at a time.
    """
    refuse_others(request, *KEYS, BEGINS, "state", "count", "cursor")
    if request.params.get(BEGINS):
        return await _list_beginning(directory, request)
    if not any(kind.lower() in request.params for kind in KEYS):
        return await _list_accounts(directory, request)
    key = read_key(request, *KEYS)
    if key.kind == APPLICATION_ID:
        key = application_key(key.value)
    elif key.kind in ("objectId", "externalId", "nameId"):
        key = Key(key.kind, compared_id(key.value))
    accounts, more = await directory.accounts.page_by(key, read_id_cursor(request, "accounts"), read_count(request))
    return page_answer(request, "accounts", [_shown(account) for account in accounts], more)


async def _list_accounts(directory: Directory, request: Request) -> Response:
    state = STATES.get(read_choice(request, "state", STATES), lambda one: True)
    return await _looked_through(directory, request, directory.listing.scan_glances, state)


async def _list_beginning(directory: Directory, request: Request) -> Response:
    """List the accounts that a beginning finds. Keys are hashes of whole values, so that no range of them does."""
    if other := next((one for one in (*KEYS, "state") if one.lower() in request.params), None):
        raise InvalidValue(f"{BEGINS}: goes without {other}")
    begins = fold(request.params[BEGINS])

    def named(login: Login) -> bool:
        return any(name.startswith(begins) for name in login.names)

    return await _looked_through(directory, request, directory.listing.scan_logins, named)


async def _looked_through(
    directory: Directory, request: Request, scan: Scan[K], condition: Callable[[K], bool]
) -> Response:
    cursor, count = read_cursor(request, "accounts"), read_count(request)
    found, more = await select(directory.listing, scan, cursor, count, condition)
    accounts = await directory.accounts.find_many(found)
    return page_answer(request, "accounts", [_shown(account) for account in accounts if account], more)


async def get_account(directory: Directory, request: Request) -> Response:
    """Return an account with the latest page of its history; of a deleted one, the history."""
    cursor, count = read_history_cursor(request), read_count(request)
    account = await directory.accounts.find(request.id)
    changes = account.changes if account else 0
    history, shown, before = await directory.accounts.latest_history(
        request.id, changes=changes, cursor=cursor, count=count
    )
    if account is None and not history:
        raise NotFound("no such account", "account", "GET /accounts lists those there are")
    document = _shown(account) if account else {"id": request.id, "deleted": True}
    values = await _values(directory, account, history)
    told = await tell(directory, history[:shown])
    rows = [
        row | {"number": c.number, "before": c.before} | ({"values": changed} if changed else {})
        for row, c, changed in zip(told, history, values, strict=False)
    ]
    return page_answer(request, "history", rows, before, document, account.version if account else None)


async def _values(directory: Directory, account: Account | None, history: Sequence[Change]) -> list[Values]:
    """Return from what to what each change of an account led, of its history from one of them on."""
    first, since = history[0].number if history else 0, await directory.term_begin()
    kept = await list_kept(directory.tables, directory.keys, account.id, first, since) if account else []
    return values_of(history, kept, account)


async def tell(directory: Directory, history: Sequence[Change]) -> list[dict[str, Any]]:
    """Return the changes of a history as answers show them, with the names of people where they are known."""
    people = await directory.activity.people(change.by for change in history)
    return [
        {"action": c.action, "by": c.by, "at": c.at, "attributes": c.attributes}
        | ({"person": people[c.by]} if c.by in people else {})
        for c in history
    ]


def answer(account: Account) -> Response:
    """Return an account as the account API shows it, with its version."""
    return Response(200, dump(_shown(account)), account.version)


async def get_policy(directory: Directory, request: Request) -> Response:
    """Return the directory's policy."""
    stored = await directory.policies.read()
    return Response(200, dump(stored.policy.to_json()), stored.version)


async def get_schemas(directory: Directory, request: Request) -> Response:
    """Return the directory's own schemas."""
    return Response(200, await directory.schemas.get())


async def put_schemas(directory: Directory, request: Request) -> Response:
    """Replace the directory's own schemas, which extend User from then on."""
    text = read_extensions(read_json(request.body, written=True), USER)
    await directory.schemas.set(text)
    return Response(200, text)


def _shown(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "userName": account.user_name,
        APPLICATION_ID: account.application_id,
        "status": account.status.value,
        "sourceOfAuthority": account.authority.value,
        "active": account.active,
        "protected": account.protected,
        "deletedOverScim": account.retired,
        "formerUserNames": list(account.former_names),
        "link": account.link.to_json() if account.link else None,
        "evidence": account.evidence.to_json(),
        "created": account.created,
        "modified": account.modified,
        "document": account.document(),
    }
