"""Create, get, query, replace, patch and delete groups against the directory (RFC 7644 sections 3.3 to 3.6).

The document of a group changes as a user's does; its members are rows, so that a change of them reads no others. What
is where in a request, shared/scim/membership.py tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace as replaced
from typing import Any

from scim_groups.resource import location, member_texts, member_value, render
from scim_groups.search import MEMBER_LIMIT, find
from shared.directory.bulk import in_parts
from shared.directory.claims import together
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, Busy, NotFound, Refused, Stale
from shared.directory.groups import Group, new_group
from shared.directory.keys import ID, is_group
from shared.directory.members import Member
from shared.directory.model import Status
from shared.scim.document import normalise, read_json
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidCursor, TooMany
from shared.scim.membership import Change, split_body, split_operations
from shared.scim.messages import list_response
from shared.scim.patch import apply, parse_operations
from shared.scim.projection import Projection
from shared.scim.query import Query
from shared.scim.schema import GROUP

ATTEMPTS = 5
"""How often a change is applied again to what others left, before the client is asked to."""
NAMED = 100
"""Up to so many members in an answer are looked up: they show their names, and who was deleted is left out."""
GROUPS_AT_ONCE = 16


async def create(directory: Directory, request: Request) -> Response:
    """Create a group: 201. A group of the same name that is managed here is linked only where the policy says so."""
    projection = _projection(request)
    body, members = split_body(read_json(request.body))
    document = normalise(GROUP, body)
    groups = directory.groups
    new = new_group(groups.keys.new_id(document["displayName"]), document, Status.PROVISIONED, groups.now())
    known = _known(members or {})
    try:
        # Members first: a group that can be seen has them, however the process ends.
        await directory.members.add(new.id, known)
        group = await groups.create(new, by=request.by)
    except AlreadyExists as taken:
        await directory.members.replace(new.id, ())
        group = await _link(directory, request, taken, document)
        await directory.members.add(group.id, known)
    return await _resource(directory, group, request, 201, projection)


async def get(directory: Directory, request: Request) -> Response:
    """Return a group with all its members: 200, or 304 where If-None-Match names its version."""
    group = await directory.groups.get(request.id)
    if request.has_version(group.version):
        return Response(304, version=group.version)
    return await _resource(directory, group, request, 200, _projection(request))


async def query(directory: Directory, request: Request) -> Response:
    """Return the groups that a filter selects, or a page of all of them, with their members."""
    return await _answer(directory, request, Query.parse(request.params, GROUP))


async def search(directory: Directory, request: Request) -> Response:
    """Answer a SearchRequest (POST /.search) as `query` does."""
    return await _answer(directory, request, Query.from_message(read_json(request.body), GROUP))


async def _answer(directory: Directory, request: Request, asked: Query) -> Response:
    if asked.cursor is not None:
        # Ignored, a cursor would let a client take the first page for all.
        raise InvalidCursor("Groups have no cursors: page by startIndex and count.")
    if asked.filter is None and asked.sort is None:
        total, groups = await directory.group_listing.page(asked.start_index, asked.count)
    else:
        found = await find(directory, asked, request.base)
        total, groups = len(found), found[asked.start_index - 1 :][: asked.count]
    held = await _members_of(directory, groups) if asked.projection.shows("members") else [[] for _ in groups]
    texts = [
        render(group, request.base, asked.projection, [member_texts(members, request.base, asked.projection)])
        for group, members in zip(groups, held, strict=True)
    ]
    return Response(200, list_response(texts, total, asked.start_index))


async def replace(directory: Directory, request: Request) -> Response:
    """Replace a group and its members by the body (PUT): 200."""
    projection = _projection(request)
    body, members = split_body(read_json(request.body))
    group = await _change_document(directory, request, lambda _: normalise(GROUP, body, id=request.id))
    group = await _change_members(directory, request, group, [Change(members or {}, exact=True)])
    return await _resource(directory, group, request, 200, projection)


async def patch(directory: Directory, request: Request) -> Response:
    """Apply PATCH operations to a group: 200 with the resource. First the document, all or none, then the members.

    Cut off in the middle, each member is in or out, and the same PATCH sent again ends right. 204 where the group is
    large: adding one member must not cost what reading a hundred thousand does, and RFC 7644 section 3.5.2 allows both.
    (Of those who check, scim-sanity wants 200, Microsoft's collection 204, Entra either.)
    """
    projection = _projection(request)
    operations, changes = split_operations(parse_operations(read_json(request.body)))
    if not ID.fullmatch(request.id):
        raise NotFound(f"no group {request.id}")
    first = changes.pop(0) if changes and changes[0].is_plain else None
    into, out = (_known(first.into), first.out) if first else ([], ())
    # What the first change needs, and mostly there is no other, is made ready while the group is read.
    leaving, found, _ = await asyncio.gather(
        directory.members.look_up(request.id, filter(ID.fullmatch, out)),
        directory.groups.find(request.id),
        directory.members.announce(request.id, into),
    )
    group = _writable(found, request)
    if operations:
        group = await _change_document(directory, request, lambda g: apply(operations, g.document(), GROUP))
    if first:
        await together(directory.members.take_out(group.id, leaving), directory.members.join(group.id, into))
    if first or changes:
        group = await _change_members(directory, request, group, changes)
    return await _resource(directory, group, request, 200, projection, most=NAMED)


async def delete(directory: Directory, request: Request) -> Response:
    """Delete a group and its memberships: 204."""
    for _ in range(ATTEMPTS):
        group = _writable(await directory.groups.find(request.id), request)
        try:
            await directory.groups.delete(group, by=request.by)
        except Stale:
            continue
        # What a crash leaves from here on, the sweep removes; nobody sees it.
        await together(directory.members.replace(group.id, ()), directory.members.leave(group.id))
        return Response(204)
    raise Busy("the group is being changed by others", retry_after=1)


async def _change_document(
    directory: Directory, request: Request, change: Callable[[Group], Mapping[str, Any]]
) -> Group:
    """Store what a change makes of the group's document; where it changed meanwhile, read and change it again."""
    for _ in range(ATTEMPTS):
        before = _writable(await directory.groups.find(request.id), request)
        try:
            return await directory.groups.replace(before, before.with_document(change(before)), by=request.by)
        except Stale:
            continue
    raise Busy("the group is being changed by others", retry_after=1)


async def _change_members(directory: Directory, request: Request, group: Group, changes: Sequence[Change]) -> Group:
    """Change the members in order, then give the group its new version."""
    members = directory.members
    for change in changes:
        into = _known(change.into)
        if change.passes is not None:
            async for page in members.scan(group.id):
                await members.remove(group.id, [m.id for m in page if change.passes(member_value(m, request.base))])
        elif change.exact:
            await members.replace(group.id, into)
        else:
            await together(members.remove(group.id, filter(ID.fullmatch, change.out)), members.add(group.id, into))
    try:
        return await directory.groups.touch(group, by=request.by, action="members")
    except NotFound:
        await members.replace(group.id, ())
        raise


def _writable(group: Group | None, request: Request) -> Group:
    """Return the group that a request may change. Raises NotFound, PreconditionFailed, or Refused for a local one."""
    if group is None:
        raise NotFound(f"no group {request.id}")
    request.check_version(group.version)
    if group.status is Status.LOCAL:
        raise Refused("this group is managed here: approve its link in a linking run, then provision it")
    return group


async def _link(directory: Directory, request: Request, taken: AlreadyExists, document: dict[str, Any]) -> Group:
    """Hand a local group over to provisioning, where the policy allows it; else raise `taken` with the reason."""
    before = await directory.groups.find(taken.holder)
    if before is None or before.status is not Status.LOCAL:
        raise taken
    if not (await directory.policies.get()).link_groups_on_create:
        reason = (
            "a group that is managed here has this name: approve its link in a linking run, or set linkGroupsOnCreate "
            "in the directory's policy"
        )
        raise AlreadyExists(taken.attribute, taken.holder, reason)
    after = replaced(before.with_document({**before.document(), **document}), status=Status.CLAIMED)
    return await directory.groups.replace(before, after, by=request.by, action="link")


def _known(members: Mapping[str, str | None]) -> list[Member]:
    """Return those members whose ids can be ours; what a client made up is nobody here, as one who was deleted."""
    return [Member(member_id, display) for member_id, display in members.items() if ID.fullmatch(member_id)]


def _projection(request: Request) -> Projection:
    """Read what of the resource is to be shown; before anything is stored, for a refused request changes nothing."""
    given = {name.lower(): value for name, value in request.params.items()}
    return Projection.parse(given.get("attributes"), given.get("excludedattributes"), GROUP)


async def _resource(
    directory: Directory,
    group: Group,
    request: Request,
    status: int,
    projection: Projection,
    *,
    most: int | None = None,
) -> Response:
    """Return the group with its members, read and rendered a page at a time; 204 where it has more than `most`."""
    texts: list[str] = []
    if projection.shows("members"):
        few = await directory.members.first(group.id, NAMED + 1)
        if len(few) <= NAMED:
            texts = [member_texts(await _with_names(directory, few), request.base, projection)]
        elif most is not None:
            return Response(204, version=group.version)
        else:
            texts = [member_texts(page, request.base, projection) async for page in directory.members.scan(group.id)]
    text = render(group, request.base, projection, texts)
    return Response(status, text, group.version, location(group, request.base))


async def _members_of(directory: Directory, groups: Sequence[Group]) -> list[list[Member]]:
    """Return the members of each group of a page. Raises TooMany where they are too many for one answer."""
    held: list[list[Member]] = []
    left = MEMBER_LIMIT
    for some in in_parts(groups, GROUPS_AT_ONCE):
        held += await together(*(directory.members.first(group.id, left + 1) for group in some))
        left = MEMBER_LIMIT - sum(map(len, held))
        if left < 0:
            raise TooMany(f"these groups have more than {MEMBER_LIMIT} members: ask with excludedAttributes=members")
    if sum(map(len, held)) <= NAMED:
        held = [await _with_names(directory, members) for members in held]
    return held


async def _with_names(directory: Directory, members: Sequence[Member]) -> list[Member]:
    """Return the members who are still there; who was given no name shows the displayName of now."""
    ids = [member.id for member in members]
    users, groups = [i for i in ids if not is_group(i)], [i for i in ids if is_group(i)]
    names: dict[str, str | None] = {}
    for account in await directory.accounts.find_many(users) if users else ():
        if account and not account.retired:
            names[account.id] = None if account.protected else account.document().get("displayName")
    for group in await directory.groups.find_many(groups) if groups else ():
        if group:
            names[group.id] = group.display_name
    return [Member(m.id, m.display or names[m.id]) for m in members if m.id in names]
