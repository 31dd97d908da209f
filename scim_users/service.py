"""Create, get, query, replace, patch and delete users against the directory (RFC 7644 sections 3.3 to 3.6).

PATCH is get, apply, replace if unchanged: the engine applies it to the document, the directory stores the result.
authority.py says what the identity provider may do to an account.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from scim_users import authority
from scim_users.authority import Write
from scim_users.collision import settle
from scim_users.doubles import refuse_gained, refuse_left_open, refuse_second_account
from scim_users.membership import Membership, Memberships, groups_of
from scim_users.resource import location, render, showing_manager, user_type, version
from scim_users.search import confirm_link, source
from shared import turns
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound, Refused
from shared.directory.records.model import Account, Status
from shared.directory.records.resources import Result, retry_stale
from shared.directory.work.refusals import Attempt
from shared.scim.document import keep_immutable, normalise, read_json
from shared.scim.endpoint import Request, Response
from shared.scim.paging import answer_page, fitting
from shared.scim.patch import PatchOperation, check, parse_operations, steps
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.scim.schema import ResourceType
from shared.tables.access import together


async def create(directory: Directory, request: Request) -> Response:
    """Create a user: 201. What collides with an existing account is refused, unless it gets that one (collision.py)."""
    projection = await _projection(directory, request)
    document = normalise(await user_type(directory), read_json(request.body))
    accounts = directory.accounts
    new = Account.new(accounts.keys.new_id(document["userName"]), document, Status.PROVISIONED, accounts.now())
    new.refuse_unfit()
    try:
        beside = await accounts.check_create(
            new.name, lambda: [refuse_left_open(directory, new)], lambda: [refuse_second_account(directory, new)]
        )
        shown = await showing_manager(directory, None, new)
        account = await accounts.create(shown, by=request.by, beside=beside)
    except AlreadyExists as taken:
        account = await settle(directory, new, taken, request.by)
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

    async def show(found: Sequence[Account]) -> list[str]:
        accounts = list(found)
        if asked.filter is not None:
            await confirm_link(directory, asked.filter, accounts, request.by)
        groups = await shown.read([account.id for account in accounts])
        texts = (render(account, request.base, asked.projection, groups.get(account.id, ())) for account in accounts)
        return await turns.take(fitting(texts))

    text = await answer_page(source(directory, request.base, shown), asked, directory.keys.sign, show)
    return Response(200, text)


async def replace(directory: Directory, request: Request) -> Response:
    """Replace a user by the body (PUT): 200."""
    body, user = read_json(request.body), await user_type(directory)

    async def change(before: Account) -> Write:
        document = keep_immutable(user, before.document(), normalise(user, body, id=before.id))
        after = before.with_document(_keeping_link(before, document))
        return Write(after, document.get("externalId", ""), directory.accounts.now())

    try:
        return await _change(directory, request, "PUT", change)
    except NotFound:
        normalise(user, body)  # a body that is wrong for everybody is judged first
        raise


async def patch(directory: Directory, request: Request) -> Response:
    """Apply PATCH operations to a user, all or none: 200 with the resource."""
    operations = parse_operations(read_json(request.body))
    user = await user_type(directory)

    async def change(before: Account) -> Write:
        *_, document = await turns.take(steps(operations, before.document(), user))
        carried = await _carried(operations, before, user)
        return Write(before.with_document(document), carried, directory.accounts.now())

    try:
        return await _change(directory, request, "PATCH", change)
    except NotFound:
        check(operations, user)  # operations that are wrong for everybody are judged first
        raise


async def _carried(operations: Sequence[PatchOperation], before: Account, user: ResourceType) -> str:
    """Return the externalId that a PATCH itself sets, "" for none; only where somebody asks for it.

    Whatever its shape, an operation sets what the document then has and had not before it: what a PATCH names and
    leaves as it is, is nothing that the client has shown.
    """
    if before.status is not Status.LOCAL and not authority.unconfirmed(before):
        return ""
    document = before.document()
    document.pop("externalId", None)
    *_, after = await turns.take(steps(operations, document, user))
    carried: str = after.get("externalId", "")
    return carried


async def delete(directory: Directory, request: Request) -> Response:
    """Delete a user: 204. A claimed account is kept for the application, and gone for SCIM."""

    async def remove(account: Account) -> Status:
        async with _recorded(directory, request, account, "DELETE"):
            authority.refuse_protected(account)
            if account.status is Status.LOCAL:
                raise Refused(authority.MANAGED_HERE)
        if account.status is Status.CLAIMED:
            retired = authority.retire(account)
            await directory.accounts.replace(account, retired, by=request.by, action="retire", keep=True)
        else:
            await directory.accounts.delete(account, by=request.by)
        return account.status

    removed = await _unchanged(directory, request, remove)
    # A crash before this leaves memberships of nobody, which the sweep removes.
    if removed is Status.CLAIMED:
        await directory.groups.take_out(request.id, by=request.by)
    else:
        await directory.members.leave(request.id, by=request.by)
    return Response(204)


async def _change(
    directory: Directory, request: Request, method: str, change: Callable[[Account], Awaitable[Write]]
) -> Response:
    """Store what a change makes of the account, as far as the identity provider may."""

    async def store(before: Account) -> Account:
        write = await change(before)
        async with _recorded(directory, request, before, method, write.carried):
            after = authority.authorise(before, write)
        after.refuse_unfit(before)

        def looks() -> list[Awaitable[None]]:
            provisioned = before.status is Status.PROVISIONED
            return [_refuse_gained(directory, request, before, after, method)] if provisioned else []

        await together(*looks())
        shown = await showing_manager(directory, before, after)
        action, kept = "replace" if before.link == after.link else "confirm", before.status is Status.CLAIMED
        return await directory.accounts.replace(before, shown, by=request.by, action=action, keep=kept, looks=looks)

    projection = await _projection(directory, request)
    stored, showing = _unchanged(directory, request, store), _groups(directory, request, projection)
    account, groups = await asyncio.gather(stored, showing)
    return _resource(account, request, 200, projection, groups)


@asynccontextmanager
async def _recorded(
    directory: Directory, request: Request, account: Account, method: str, external_id: str = ""
) -> AsyncIterator[None]:
    """Record it where a write to an account that is managed here is refused; the refusal goes on."""
    try:
        yield
    except Refused:
        if account.status is Status.LOCAL:
            await directory.refusals.record(Attempt(account.id, external_id, request.by, method))
        raise


async def _refuse_gained(directory: Directory, request: Request, before: Account, after: Account, method: str) -> None:
    """Refuse, and record it, what would make an account of provisioning somebody's second one."""
    try:
        await refuse_gained(directory, before, after)
    except AlreadyExists:
        await directory.refusals.record(Attempt(after.id, after.external_id or "", request.by, method))
        raise


async def _unchanged(directory: Directory, request: Request, act: Callable[[Account], Awaitable[Result]]) -> Result:
    async def checked(account: Account) -> Result:
        request.check_version(account.version)
        return await act(account)

    return await retry_stale("user", lambda: directory.accounts.get(request.id), checked)


def _keeping_link(before: Account, document: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the document with a link's externalId, which a PUT may leave out: it is ours as much as the client's."""
    if before.link is not None and before.external_id and "externalId" not in document:
        return {**document, "externalId": before.external_id}
    return document


async def _groups(directory: Directory, request: Request, projection: Projection) -> Sequence[Membership]:
    """Return the groups of the user that a request is about."""
    return (await groups_of(directory, [request.id], projection)).get(request.id, ())


async def _projection(directory: Directory, request: Request) -> Projection:
    """Read what of the resource is to be shown, before anything is stored: a refused request changes nothing."""
    return Projection.read(request.params, await user_type(directory))


def _resource(
    account: Account, request: Request, status: int, projection: Projection, groups: Sequence[Membership] = ()
) -> Response:
    text = render(account, request.base, projection, groups)
    return Response(status, text, version(account, groups), location(account, request.base))
