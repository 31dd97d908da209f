"""Create, get, query, replace, patch and delete groups against the directory (RFC 7644 sections 3.3 to 3.6).

The document of a group changes as a user's does. Its members are rows, so that a change of some reads no others;
shared/scim/members.py tells the two apart in a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace as replaced
from typing import Any

from scim_groups import authority
from scim_groups.resource import location, member_texts, member_value, render
from scim_groups.search import GROUPS_AT_ONCE, MEMBER_LIMIT, read_bounded, source
from shared import turns
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound, Refused
from shared.directory.keys import ID, Key, behind, fold, is_group
from shared.directory.matching.groups import Created, is_bound_to, refused_on_create, refused_return
from shared.directory.records.members import Member, Members
from shared.directory.records.model import NO_HEAD, Group, Status
from shared.directory.records.resources import Result, retry_stale
from shared.scim.document import normalise, read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import TooMany
from shared.scim.members import (
    MembershipChange,
    check_expected,
    expected_members,
    split_body,
    split_operations,
)
from shared.scim.paging import answer_page, fitting
from shared.scim.patch import PatchOperation, check, parse_operations, steps
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.scim.schema import GROUP
from shared.tables.access import in_parts, together
from shared.tables.port import ANY

NAMED = 100
"""Members in an answer up to which each is looked up, so that it shows its name, or is left out if it was deleted."""


async def create(directory: Directory, request: Request) -> Response:
    """Create a group: 201. A group of the same name that is managed here is linked only where the policy says so.

    A linked group that SCIM deleted before comes back to the externalId that it had.
    """
    projection = Projection.read(request.params, GROUP)
    body, members = split_body(read_json(request.body))
    document = normalise(GROUP, body)
    groups = directory.groups
    new = Group.new(groups.keys.new_id(document["displayName"]), document, Status.PROVISIONED, groups.now())
    new.refuse_unfit()
    known = sorted(_known(members or {}), key=lambda member: member.id)
    try:
        beside = await groups.check_create(new.name, lambda: [_refuse_second(directory, new)])
        group = await groups.create(new, by=request.by, beside=beside, members=known)
        few = known[: NAMED + 1]
    except AlreadyExists as taken:
        group, few = await _take_over(directory, request, taken, document), None
        await directory.members.announce(group.id, known)
        group = await _move(directory, request, group, into=known)
    return await _resource(directory, group, request, 201, projection, few)


async def get(directory: Directory, request: Request) -> Response:
    """Return a group with all its members: 200, or 304 where If-None-Match names its version."""
    projection = Projection.read(request.params, GROUP)
    if not ID.fullmatch(request.id):
        raise NotFound(f"no group {request.id}", "group")
    if request.if_match or request.if_none_match:
        version = (await directory.groups.get(request.id)).version
        if request.has_version(version):
            return Response(304, version=version)
    if not projection.shows("members"):
        return await _resource(directory, await directory.groups.get(request.id), request, 200, projection)
    group, (head, few) = await asyncio.gather(
        directory.groups.find_without_head(request.id), directory.members.read(request.id, NAMED + 1)
    )
    if group is None or group.retired:
        raise NotFound(f"no group {request.id}", "group")
    return await _resource(directory, group.with_head(head), request, 200, projection, few)


async def query(directory: Directory, request: Request) -> Response:
    """Return the groups that a filter selects, or a page of all of them, with their members."""
    return await _answer(directory, request, Query.parse(request.params, GROUP))


async def search(directory: Directory, request: Request) -> Response:
    """Answer a SearchRequest (POST /.search) as `query` does."""
    return await _answer(directory, request, Query.from_message(read_json(request.body), GROUP))


async def _answer(directory: Directory, request: Request, asked: Query) -> Response:
    with_members = asked.projection.shows("members")

    async def show(groups: Sequence[Group]) -> list[str]:
        if with_members:
            held = await _members_of(directory, groups)
        else:
            held = [(group, []) for group in await directory.groups.with_heads(groups)]
        texts = (
            render(group, request.base, asked.projection, [member_texts(members, request.base, asked.projection)])
            for group, members in held
        )
        return await turns.take(fitting(texts))

    groups = source(directory, request.base, heads=not with_members)
    return Response(200, await answer_page(groups, asked, directory.keys.sign, show))


async def replace(directory: Directory, request: Request) -> Response:
    """Replace a group and its members by the body (PUT): 200."""
    projection = Projection.read(request.params, GROUP)
    body, members = split_body(read_json(request.body))

    async def change(before: Group) -> Mapping[str, Any]:
        return authority.keeping_link(before, normalise(GROUP, body, id=request.id))

    try:
        group = await _change_document(directory, request, change)
    except NotFound:
        normalise(GROUP, body)  # a body that is wrong for every group is judged first
        raise
    group = await _change_members(directory, request, group, [MembershipChange(members or {}, exact=True)])
    return await _resource(directory, group, request, 200, projection)


async def patch(directory: Directory, request: Request) -> Response:
    """Apply PATCH operations to a group: 200 with the resource. First the document, all or none, then the members.

    If this is cut off in the middle, each member is in or out, and the same PATCH sent again ends right. A large group
    is answered 204: adding one member must not cost what reading a hundred thousand does. RFC 7644 section 3.5.2 allows
    both, but wants 200 where the client names attributes. (scim-sanity wants 200, Microsoft's collection 204, Entra
    takes either.)
    """
    projection = Projection.read(request.params, GROUP)
    operations, changes = split_operations(parse_operations(read_json(request.body)))
    try:
        group = await _patch(directory, request, operations, changes)
    except NotFound:
        check(operations, GROUP)  # operations that are wrong for every group are judged first
        raise
    return await _resource(
        directory, group, request, 200, projection, most=NAMED if projection.included is None else None
    )


async def _patch(
    directory: Directory, request: Request, operations: Sequence[PatchOperation], changes: list[MembershipChange]
) -> Group:
    """Apply operations to the document of a group, and then the changes of its members."""
    if not ID.fullmatch(request.id):
        raise NotFound(f"no group {request.id}", "group")
    expected = expected_members(changes)
    first = changes.pop(0) if changes and changes[0].is_plain and not expected else None
    into, out = (_known(first.into), first.out) if first else ([], ())
    # Mostly there is one change. What it needs is made ready while the group is read.
    leaving, group, _ = await asyncio.gather(
        directory.members.find(request.id, filter(ID.fullmatch, out)),
        _writable(directory, request, headless=first is not None and not operations),
        directory.members.announce(request.id, into),
    )

    async def change(before: Group) -> Mapping[str, Any]:
        *_, document = await turns.take(steps(operations, before.document(), GROUP))
        return document

    if expected:
        held = await directory.members.find(request.id, filter(ID.fullmatch, expected))
        check_expected(changes, {member.id: member_value(member, request.base) for member in held})
    if operations:
        group = await _change_document(directory, request, change, group)
    if first:
        group = await _move(directory, request, group, into=into, out=leaving, exactly=not operations)
    return await _change_members(directory, request, group, changes, exactly=not operations and not first)


async def delete(directory: Directory, request: Request) -> Response:
    """Delete a group and its memberships: 204. A linked group is kept for the application, and gone for SCIM."""

    async def remove(group: Group) -> Status:
        if group.status is Status.CLAIMED:
            await directory.groups.replace(group, authority.retire(group), by=request.by, action="retire")
        else:
            await directory.groups.delete(group, by=request.by)
        return group.status

    removed = await _unchanged(directory, request, remove)
    # What a crash leaves from here on is invisible, and the sweep removes it.
    if removed is Status.CLAIMED:
        await directory.linked_members.end(request.id)
        await directory.groups.take_out(request.id, by=request.by)
    else:
        await together(directory.members.clear(request.id), directory.members.leave(request.id, by=request.by))
    return Response(204)


async def _change_document(
    directory: Directory,
    request: Request,
    change: Callable[[Group], Awaitable[Mapping[str, Any]]],
    read: Group | None = None,
) -> Group:
    """Store what a change makes of the group's document, for which the group may be `read` already."""

    async def store(before: Group) -> Group:
        after = authority.authorise(before, await change(before))
        if fold(after.external_id or "") != fold(before.external_id or ""):
            await _refuse_second(directory, after)
        after.refuse_unfit(before)
        return await directory.groups.replace(before, after, by=request.by)

    return await _unchanged(directory, request, store, read)


async def _unchanged(
    directory: Directory, request: Request, act: Callable[[Group], Awaitable[Result]], first: Group | None = None
) -> Result:
    """Act on the group as it was read; where it changed meanwhile, read and act again.

    Requests that name a version meet at the head, whatever they change: of two that name the same one is refused.
    """

    async def act_at_head(group: Group) -> Result:
        if request.if_match and group.head:
            head = await directory.members.touch(group.id, by=request.by, etag=group.head.etag, number=group.changes)
            group = group.with_head(head)
        return await act(group)

    return await retry_stale("group", lambda: _writable(directory, request), act_at_head, first)


async def _change_members(
    directory: Directory, request: Request, group: Group, changes: Sequence[MembershipChange], *, exactly: bool = False
) -> Group:
    """Make the changes in order. With `exactly`, the first is conditional on the version that the client named."""
    members = _members(directory, group)
    for number, change in enumerate(changes):
        conditional = exactly and number == 0
        into = _known(change.into)
        if change.passes is not None:
            async for page in members.scan(group.id):
                out = [m for m in page if members.is_movable(m) and change.passes(member_value(m, request.base))]
                if out:
                    group = await _move(directory, request, group, out=out, exactly=conditional)
                    conditional = False
        elif change.exact:
            group = await _move(directory, request, group, into=into, others=True, exactly=conditional)
        else:
            leaving, _ = await asyncio.gather(
                members.find(group.id, filter(ID.fullmatch, change.out)), members.announce(group.id, into)
            )
            group = await _move(directory, request, group, into=into, out=leaving, exactly=conditional)
    return group


async def _move(
    directory: Directory,
    request: Request,
    group: Group,
    *,
    into: Sequence[Member] = (),
    out: Sequence[Member] = (),
    others: bool = False,
    exactly: bool = False,
) -> Group:
    """Put announced members in and take members out, with `others` everybody else, and return the new version.

    A change that is conditional on the head is tried again where the head changed after the group was read. `out` are
    members as they are stored.
    """
    if not into and not out and not others:
        return (await directory.groups.with_heads([group]))[0]
    conditional = exactly and bool(request.if_match)

    async def move(group: Group) -> Group:
        members = _members(directory, group)
        etag = group.head.etag if group.head and conditional else ANY
        if others:
            head = await members.replace(group.id, into, by=request.by, etag=etag, number=group.changes)
        else:
            head = await members.change(group.id, into, out, by=request.by, etag=etag, number=group.changes)
        return group.with_head(head) if head else (await directory.groups.with_heads([group]))[0]

    again = replaced(request, id=group.id)

    async def read() -> Group:
        group = await _writable(directory, again, again=not conditional)
        await directory.groups.admit(group)
        return group

    return await retry_stale("group", read, move, group)


def _members(directory: Directory, group: Group) -> Members:
    """Return what moves the members of a group: in one that existed before, who was only here stays in."""
    return directory.linked_members if group.status is Status.CLAIMED else directory.members


async def _writable(directory: Directory, request: Request, *, headless: bool = False, again: bool = False) -> Group:
    """Return the group that a request may change. Raises NotFound, PreconditionFailed, or Refused for a local one.

    `headless` says that its version is not needed, unless the client names one. `again` is for a request that has
    begun: its version was right then.
    """
    named = bool(request.if_match or request.if_none_match)
    find = directory.groups.find_without_head if headless and not named else directory.groups.find
    group = await find(request.id)
    if group is None or group.retired:
        raise NotFound(f"no group {request.id}", "group")
    if named and not again:
        request.check_version(group.version)
    if group.status is Status.LOCAL:
        raise Refused("this group is managed here: approve its link in a linking run, then provision it")
    if group.head == NO_HEAD:
        # Made by an older release; or being deleted, and then it is not found above when this is tried again.
        group = group.with_head(await directory.members.open(group.id))
    return group


async def _refuse_second(directory: Directory, after: Group) -> None:
    """Raise AlreadyExists if another group that existed before is linked under a group's externalId, or was."""
    if not after.external_id:
        return
    found = await directory.groups.list_by(Key("externalId", after.external_id), but=after.id)
    # One that is linked by now before one that was: that one does not come back.
    for group in sorted(found, key=lambda group: group.retired):
        if is_bound_to(group, after.external_id):
            raise AlreadyExists("externalId", group.id, "a group that existed here before is linked under it")


async def _take_over(directory: Directory, request: Request, taken: AlreadyExists, document: dict[str, Any]) -> Group:
    """Hand the group that a create collided with over to provisioning. Raises AlreadyExists where that may not be."""

    if isinstance(taken.found, Group) and taken.found.status is not Status.LOCAL:
        raise taken

    async def read() -> Group:
        before = await directory.groups.find(taken.holder)
        if before is None or before.status is not Status.LOCAL:
            raise taken
        return before

    async def act(before: Group) -> Group:
        if reason := await _refused(directory, before, document):
            raise AlreadyExists(taken.attribute, taken.holder, reason)
        after, action = authority.linked(before, document), "return" if before.retired else "link"
        return await directory.groups.link(before, after, by=request.by, action=action)

    return await retry_stale("group", read, act)


async def _refused(directory: Directory, before: Group, document: Mapping[str, Any]) -> str:
    """Return why a create may not take over a group that is managed here, or ""."""
    policy, external_id = await directory.policies.get(), document.get("externalId")
    if before.retired:
        return refused_return(before, external_id, policy)
    created = Created(document["displayName"], external_id)
    if policy.links_groups and external_id:
        carrying = await directory.groups.list_by(Key("externalId", external_id))
        created = replaced(created, carrying=carrying, left_open=await directory.left_open.find(external_id))
    return refused_on_create(before, created, policy)


def _known(members: Mapping[str, str | None]) -> list[Member]:
    """Return the members whose ids can be ours. An id that a client made up is nobody's here, like a deleted one."""
    return [Member(member_id, display) for member_id, display in members.items() if ID.fullmatch(member_id)]


async def _resource(
    directory: Directory,
    group: Group,
    request: Request,
    status: int,
    projection: Projection,
    few: Sequence[Member] | None = None,
    *,
    most: int | None = None,
) -> Response:
    """Return the group with its members, read and rendered a page at a time; 204 where it has more than `most`.

    `few` are its first members, where they were read with its head.
    """
    texts: list[str] = []
    if projection.shows("members"):
        few = await directory.members.first(group.id, NAMED + 1) if few is None else few
        if len(few) <= NAMED:
            texts = [member_texts(await _with_names(directory, few), request.base, projection)]
        elif most is not None:
            return Response(204, version=group.version)
        else:
            rest = directory.members.scan(group.id, behind(few[-1].id))
            texts = [member_texts(few, request.base, projection)]
            texts += [member_texts(page, request.base, projection) async for page in rest]
    text = render(group, request.base, projection, texts)
    return Response(status, text, group.version, location(group, request.base))


async def _members_of(directory: Directory, groups: Sequence[Group]) -> list[tuple[Group, list[Member]]]:
    """Return each group of a page with its members. Raises TooMany where they are too many for one answer."""
    held: list[tuple[Group, list[Member]]] = []
    left = MEMBER_LIMIT
    for some in in_parts(groups, GROUPS_AT_ONCE):
        read = await read_bounded(
            some, left, lambda group, most: directory.members.read(group.id, most), lambda found: len(found[1])
        )
        if read is None:
            raise TooMany(f"these groups have more than {MEMBER_LIMIT} members: ask with excludedAttributes=members")
        held += [(group.with_head(head), members) for group, (head, members) in zip(some, read, strict=True)]
        left -= sum(len(members) for _, members in read)
    if MEMBER_LIMIT - left <= NAMED:
        held = [(group, await _with_names(directory, members)) for group, members in held]
    return held


async def _with_names(directory: Directory, members: Sequence[Member]) -> list[Member]:
    """Return the members that still exist; a member that was given no name shows its displayName of now."""
    ids = [member.id for member in members]
    users, groups = [i for i in ids if not is_group(i)], [i for i in ids if is_group(i)]
    names: dict[str, str | None] = {}
    for account in await directory.accounts.find_many(users) if users else ():
        if account and not account.retired:
            names[account.id] = None if account.protected else account.document().get("displayName")
    for group in await directory.groups.find_many(groups) if groups else ():
        if group and not group.retired:
            names[group.id] = group.display_name
    return [Member(m.id, m.display or names[m.id]) for m in members if m.id in names]
