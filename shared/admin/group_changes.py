"""What the administrator may do to one group: release it. groups.py reads it.

A run's links of groups are taken back by an undo; this is for a link that a create over SCIM made, and for one group.
"""

from __future__ import annotations

from typing import Literal

from shared.admin.body import Body
from shared.admin.groups import answer
from shared.directory.directory import Directory
from shared.directory.errors import AlreadyExists, NotFound
from shared.directory.keys import ID
from shared.directory.records.audit import group_before
from shared.directory.records.model import Group, Status
from shared.directory.records.resources import retry_stale
from shared.scim.endpoint import Request, Response


class GroupRelease(Body, strict=True):
    """How a group is given back to local management."""

    keep: Literal["attributes"] | None = None
    """`attributes`: name and members stay as provisioning made them; otherwise they are what they were before."""


async def release_group(directory: Directory, request: Request) -> Response:
    """Give a group back to local management, as it was before it was linked: 200.

    One that provisioning made keeps its name and its members.
    """
    asked = GroupRelease.read(request, required=False)
    if not ID.fullmatch(request.id):
        raise NotFound("no such group", "group", "GET /groups lists those there are")

    async def act(group: Group) -> Group:
        before = await _state_before(directory, group)
        if before is None:
            return group
        after = group.with_link_state(before, keep=asked.keep is not None)
        try:
            await directory.groups.replace(group, after, by=request.by, action="release")
        except AlreadyExists as taken:
            reason = 'another group has the former name by now: rename that one, or send {"keep": "attributes"}'
            raise AlreadyExists(taken.attribute, taken.holder, reason) from taken
        await directory.groups.give_back(group, by=request.by, keep=asked.keep is not None)
        return await directory.groups.get(group.id)

    return answer(await retry_stale("group", lambda: directory.groups.get_any(request.id), act))


async def _state_before(directory: Directory, group: Group) -> dict[str, object] | None:
    """Return the link state to which a release takes a group back; None for one that was never anybody else's."""
    history = await directory.groups.history(group.id)
    links = [place for place, change in enumerate(history) if change.action == "link"]
    if group.status is Status.LOCAL and not group.retired:
        # If it was linked once, then perhaps taken back by what was cut off before the members were given back.
        return group.link_state() if links else None
    return group_before(history, links[-1]) if links else {"status": Status.LOCAL.value, "externalId": None}
