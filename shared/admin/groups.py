"""Groups as the administrator sees them: who manages each, under which externalId, and its history.

scim_groups shows the members. accounts.py shows accounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import compress
from typing import Any, Final

from shared.admin.accounts import tell
from shared.admin.pages import select
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
from shared.directory.keys import ID, behind, is_group
from shared.directory.records.listing import Glance
from shared.directory.records.model import Authority, Group, Status
from shared.json_text import dump
from shared.scim.endpoint import Request, Response
from shared.scim.errors import InvalidValue

KEYS: Final = ("displayName", "externalId")
"""What a group is found by."""
STATES: Final[Mapping[str, Callable[[Glance], bool]]] = {
    "local": lambda one: one.status is Status.LOCAL,
    "linked": lambda one: one.status is Status.CLAIMED,
    "provisioned": lambda one: one.status is Status.PROVISIONED,
    "deletedOverScim": lambda one: one.retired,
}
"""What groups are listed by."""


async def find_groups(directory: Directory, request: Request) -> Response:
    """List the groups that carry a displayName or externalId.

    Without either of them it lists all groups, those in a state, or those of which a `member` is one itself. Each is a
    page at a time.
    """
    refuse_others(request, *KEYS, "state", "member", "count", "cursor")
    if "member" in request.params:
        return await _list_of(directory, request, request.params["member"])
    if not any(kind.lower() in request.params for kind in KEYS):
        state = STATES.get(read_choice(request, "state", STATES), lambda one: True)
        cursor, count = read_cursor(request, "groups"), read_count(request)
        listing = directory.group_listing
        found, more = await select(listing, listing.scan_glances, cursor, count, state)
        listed = await directory.groups.find_many(found)
        return page_answer(request, "groups", [_shown(group) for group in listed if group], more)
    key, cursor = read_key(request, *KEYS), read_id_cursor(request, "groups")
    groups, more = await directory.groups.page_by(key, cursor, read_count(request))
    return page_answer(request, "groups", [_shown(group) for group in groups], more)


async def _list_of(directory: Directory, request: Request, account_id: str) -> Response:
    """List the groups of which an account is a member itself, in order of id."""
    cursor, count = read_id_cursor(request, "groups"), read_count(request)
    if not ID.fullmatch(account_id) or await directory.accounts.find(account_id) is None:
        raise InvalidValue("member: name an account by its id")
    page, more = await directory.members.page_indexed(account_id, cursor, count)
    held = compress(page, await directory.members.held([(account_id, group) for group in page]))
    found = await directory.groups.find_many([*held])
    return page_answer(request, "groups", [_shown(group) for group in found if group], more)


async def list_members(directory: Directory, request: Request) -> Response:
    """List the members of a group, accounts and groups, in order of id, a page at a time."""
    cursor, count = read_id_cursor(request, "members"), read_count(request)
    group = request.params.get("group", "")
    if not ID.fullmatch(group) or await directory.groups.find_without_head(group) is None:
        raise InvalidValue("group: name a group by its id")
    low = {"low": behind(cursor)} if cursor else {}
    members = [member.id for member in await directory.members.first(group, count + 1, **low)]
    page = members[:count]
    accounts = [one for one in page if not is_group(one)]
    groups = [one for one in page if is_group(one)]
    found = [*await directory.accounts.find_many(accounts), *await directory.groups.find_many(groups)]
    known = {one.id: one.shown() | {"status": one.status.value} for one in found if one}
    rows = [{"group" if is_group(one) else "account": known.get(one, {"id": one, "deleted": True})} for one in page]
    return page_answer(request, "members", rows, page[-1] if len(members) > count else None)


async def get_group(directory: Directory, request: Request) -> Response:
    """Return a group with a page of its history; of a deleted one, the history."""
    if not ID.fullmatch(request.id):
        raise NotFound("no such group", "group", "GET /groups lists those there are")
    cursor, count = read_history_cursor(request), read_count(request)
    group = await directory.groups.find(request.id)
    history, more = await directory.groups.page_history(request.id, cursor, count)
    if group is None and not history:
        raise NotFound("no such group", "group", "GET /groups lists those there are")
    shown = _shown(group) if group else {"id": request.id, "deleted": True}
    return page_answer(request, "history", await tell(directory, history), more, shown)


def answer(group: Group) -> Response:
    """Return a group as one answer shows it."""
    return Response(200, dump(_shown(group)))


def _shown(group: Group) -> dict[str, Any]:
    authority = Authority.LOCAL if group.status is Status.LOCAL else Authority.IDP
    return {
        "id": group.id,
        "displayName": group.display_name,
        "externalId": group.external_id,
        "status": group.status.value,
        "sourceOfAuthority": authority.value,
        "created": group.created,
        "modified": group.modified,
        "deletedOverScim": group.retired,
    }
