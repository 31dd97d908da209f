"""Create, get, query, replace, patch and delete users against the directory (RFC 7644 sections 3.3 to 3.6).

PATCH is get, apply, replace if unchanged: the engine applies it to the document, the directory stores the result.
authority.py says what the identity provider may do to an account.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from scim_users import authority
from scim_users.adoption import Presented, decide_adoption, presented, refuse_left_open
from scim_users.authority import Write
from scim_users.membership import Memberships, groups_of
from scim_users.resource import location, manager_of, render, user_type, version, with_manager
from scim_users.search import remember, source
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Refused
from shared.directory.keys import Key, fold
from shared.directory.records.model import Account, Group, Status
from shared.directory.records.resources import Result, retry_stale
from shared.scim.document import keep_immutable, normalise, read_json
from shared.scim.endpoint import Request, Response
from shared.scim.paging import get_page
from shared.scim.patch import PatchOperation, apply, parse_operations, touches
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.tables.access import together

SHOWN = ("externalId", "userName", "emails")
"""Attributes by which a write shows whose it is."""


async def create(directory: Directory, request: Request) -> Response:
    """Create a user: 201. What collides with an existing account is refused, or adopted where the policy allows it."""
    projection = await _projection(directory, request)
    document = normalise(await user_type(directory), read_json(request.body))
    accounts = directory.accounts
    new = Account.new(accounts.keys.new_id(document["userName"]), document, Status.PROVISIONED, accounts.now())
    new = await _showing_manager(directory, None, new)
    try:
        account = await accounts.create(
            new,
            by=request.by,
            beside=lambda: [_refuse_left_open(directory, new), _refuse_second_account(directory, new)],
        )
    except AlreadyExists as taken:
        account = await _adopt(directory, request, taken, document)
    return _resource(account, request, 201, projection)


async def get(directory: Directory, request: Request) -> Response:
    """Return a user: 200, or 304 where If-None-Match names its version."""
    projection = await _projection(directory, request)
    account, groups = await asyncio.gather(directory.accounts.get(request.id), _groups(directory, request, projection))
    if request.has_version(version(account, groups)):
        return Response(304, version=version(account, groups))
    return _resource(account, request, 200, projection, groups)


async def query(directory: Directory, request: Request) -> Response:
    """Return the users that a filter selects, or a page of all of them."""
    return await _answer(directory, request, Query.parse(request.params, await user_type(directory)))


async def search(directory: Directory, request: Request) -> Response:
    """Answer a SearchRequest (POST /.search) as `query` does."""
    return await _answer(directory, request, Query.from_message(read_json(request.body), await user_type(directory)))


async def _answer(directory: Directory, request: Request, asked: Query) -> Response:
    shown = Memberships(directory, asked.projection)
    page = await get_page(source(directory, request.base, shown), asked, directory.keys.sign)
    accounts = list(page.resources)
    if asked.filter is not None:
        await remember(directory, asked.filter, accounts, request.by)
    groups = await shown.read([account.id for account in accounts])
    texts = [render(account, request.base, asked.projection, groups.get(account.id, ())) for account in accounts]
    return Response(200, page.text(texts, asked, directory.keys.sign))


async def replace(directory: Directory, request: Request) -> Response:
    """Replace a user by the body (PUT): 200."""
    body, user = read_json(request.body), await user_type(directory)

    def change(before: Account) -> Write:
        document = keep_immutable(user, before.document(), normalise(user, body, id=before.id))
        after = before.with_document(_keeping_link(before, document))
        return _write(directory, request, after, presented(document), keyed="externalId" in document)

    return await _change(directory, request, change)


async def patch(directory: Directory, request: Request) -> Response:
    """Apply PATCH operations to a user, all or none: 200 with the resource."""
    operations = parse_operations(read_json(request.body))
    touched = [name for name in SHOWN if touches(operations, name)]
    user = await user_type(directory)

    def change(before: Account) -> Write:
        document = apply(operations, before.document(), user)
        # What a PATCH leaves as it is says nothing of the identity; look-ups are remembered for that.
        shown = presented({name: document[name] for name in touched if name in document})
        return _write(directory, request, before.with_document(document), shown, keyed="externalId" in touched)

    return await _change(directory, request, change)


async def delete(directory: Directory, request: Request) -> Response:
    """Delete a user: 204. A claimed account is kept for the application, and gone for SCIM."""

    async def remove(account: Account) -> None:
        authority.refuse_protected(account)
        match account.status:
            case Status.LOCAL:
                raise Refused("this account is managed here and not linked: provisioning cannot delete it")
            case Status.CLAIMED:
                kept = authority.retire(account)
                await directory.accounts.replace(account, kept, by=request.by, action="retire", keep=True)
            case Status.PROVISIONED:
                await directory.accounts.delete(account, by=request.by)

    await _unchanged(directory, request, remove)
    # A crash before this leaves memberships of nobody, which the sweep removes.
    await directory.members.leave(request.id, by=request.by)
    return Response(204)


async def _change(directory: Directory, request: Request, change: Callable[[Account], Write]) -> Response:
    """Store what a change makes of the account, as far as the identity provider may."""

    async def store(before: Account) -> Account:
        after = await _authorised(directory, before, change(before))
        action = "replace" if before.link == after.link else "link" if before.link is None else "confirm"
        return await directory.accounts.replace(before, after, by=request.by, action=action, keep=True)

    projection = await _projection(directory, request)
    stored, showing = _unchanged(directory, request, store), _groups(directory, request, projection)
    account, groups = await asyncio.gather(stored, showing)
    return _resource(account, request, 200, projection, groups)


async def _unchanged(directory: Directory, request: Request, act: Callable[[Account], Awaitable[Result]]) -> Result:
    async def checked(account: Account) -> Result:
        request.check_version(account.version)
        return await act(account)

    return await retry_stale("user", lambda: directory.accounts.get(request.id), checked)


async def _refuse_second_account(directory: Directory, new: Account) -> None:
    """Raise AlreadyExists if an account that is managed here shares a key with a new one: it may be the same person's.

    A linking run would hold such a pair for review (shared/directory/matching/accounts.py). A second account would
    settle it wrongly and for good, since Entra keeps the id that it was given.
    """
    if (await directory.policies.get()).create_beside_matches:
        return
    claims = directory.accounts.claims
    keys = [key for key in new.found_by() if key.kind in _SHARED]
    # An account whose userName is the e-mail has no pointer from it. With the new userName the create collides anyway.
    emails = [key for key in keys if key.kind == "email" and key.value != fold(new.user_name)]

    async def named() -> list[str]:
        return [i or "" for i in await claims.claimed_many([Key("userName", email.value) for email in emails])]

    found = await together(*map(claims.pointed, keys), *([named()] if emails else []))
    led = [(key, i) for key, ids in zip(keys, found, strict=False) for i in ids]
    led += zip(emails, found[-1], strict=True) if emails else ()
    # Its own pointers may be there by now: it is being announced.
    others = [(key, i) for key, i in led if i not in ("", new.id)]
    for (key, _), account in zip(others, await directory.accounts.find_many([i for _, i in others]), strict=True):
        if account and account.status is Status.LOCAL and key in account.found_by():
            raise AlreadyExists(_SHARED[key.kind], account.id, _MAY_BE_THE_SAME)


async def _refuse_left_open(directory: Directory, new: Account) -> None:
    """Raise AlreadyExists if a plan left the identity to the administrator, because of an alias, say."""
    if (await directory.policies.get()).create_beside_matches:
        return
    try:
        await refuse_left_open(directory, new.external_id or "")
    except Refused as refused:
        raise AlreadyExists("externalId", "", str(refused)) from refused


_SHARED = {"email": "emails", "externalId": "externalId", "employeeNumber": "employeeNumber"}
_MAY_BE_THE_SAME = (
    "an account that is managed here has it too, and may be the same person's: settle the pair in a linking run, "
    "or set createBesideMatches in the directory's policy"
)


async def _adopt(directory: Directory, request: Request, taken: AlreadyExists, document: dict[str, Any]) -> Account:
    """Link the account that a POST collided with, where the policy allows adoption on create."""
    policy = await directory.policies.get()
    before = await directory.accounts.find(taken.holder)
    if not policy.adopt_on_create or before is None or before.status is not Status.LOCAL:
        raise taken
    # As a PATCH would: what the application knows beyond the body stays, within an extension too.
    replaced = apply([PatchOperation("replace", None, document)], before.document(), await user_type(directory))
    after = before.with_document(replaced)
    write = _write(directory, request, after, presented(document), keyed="externalId" in document)
    try:
        adopted = await _authorised(directory, before, write)
    except Refused as refused:
        raise AlreadyExists(taken.attribute, taken.holder, f"not linked, {refused}") from refused
    return await directory.accounts.replace(before, adopted, by=request.by, action="link", keep=True)


def _write(directory: Directory, request: Request, after: Account, shown: Presented, *, keyed: bool) -> Write:
    return Write(after, shown, keyed, request.by, directory.accounts.now())


async def _authorised(directory: Directory, before: Account, write: Write) -> Account:
    """Return the account to store; where the write would adopt it, by the decision on that."""
    authority.refuse_protected(before)
    decision = None
    if before.status is Status.LOCAL:
        decision = await decide_adoption(directory, before, write.shown, await directory.policies.get())
    return await _showing_manager(directory, before, authority.authorise(before, write, decision))


async def _showing_manager(directory: Directory, before: Account | None, after: Account) -> Account:
    """Return the account with a manager that the write changed shown in full, where there is such a user.

    Not when the account is read, since a page of a hundred would cost a hundred reads. The name is therefore the one
    that the manager had at the time of the write.
    """
    asked = manager_of(after)
    if not asked or asked == manager_of(before) or not asked.get("value"):
        return after
    manager = await directory.accounts.find(asked["value"])
    return after if manager is None or manager.retired else with_manager(after, before, manager)


def _keeping_link(before: Account, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document with a link's externalId, which a PUT may leave out: it is ours as much as the client's."""
    if before.link is not None and before.external_id and "externalId" not in document:
        return {**document, "externalId": before.external_id}
    return document


async def _groups(directory: Directory, request: Request, projection: Projection) -> Sequence[Group]:
    """Return the groups of the user that a request is about."""
    return (await groups_of(directory, [request.id], projection)).get(request.id, ())


async def _projection(directory: Directory, request: Request) -> Projection:
    """Read what of the resource is to be shown, before anything is stored: a refused request changes nothing."""
    return Projection.read(request.params, await user_type(directory))


def _resource(
    account: Account, request: Request, status: int, projection: Projection, groups: Sequence[Group] = ()
) -> Response:
    text = render(account, request.base, projection, groups)
    return Response(status, text, version(account, groups), location(account, request.base))
