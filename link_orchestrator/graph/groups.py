"""The steps that read the groups of a run's scope from Microsoft Graph, with their direct members.

Entra provisions only users whom a group holds directly, so groups within a group and devices are counted and left out.
identities.py takes these steps after those that read identities.
https://learn.microsoft.com/graph/api/group-list, group-list-members.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from link_orchestrator.files.entra_groups import EntraGroup, entra_group_of
from link_orchestrator.graph.client import IDS, TOP, GraphClient, UnknownObject, in_filter, link_of, values_of
from link_orchestrator.problems import Problem
from link_orchestrator.source import GROUPS, IN_GROUPS, Page

GROUP_READ: Final = "GroupMember.Read.All"
MEMBERS_READ: Final = f"{GROUP_READ} (and Member.Read.Hidden, if a group hides its members)"
GROUPS_A_PAGE: Final = 100
"""Groups in a page. More would not do: the place, which is a row, names all of them until their members are read, and
the link to the next page waits for that and must not expire."""
NAMED: Final = f"/v1.0/groups?$select=id,displayName&$top={GROUPS_A_PAGE}"
NOT_PEOPLE, GONE = "groups.notPeople", "groups.gone"
"""Counts beside those of groups and of people in them: members who are no people, and groups deleted while reading."""

Step = Sequence[Any]
"""What to do, as a word, and on what: a link, ids, or a group."""
ALL: Final[Step] = ("groups", NAMED)


def to_do(what: str, *on: Any) -> list[Step]:
    """Return a step in a list, which is empty if there is nothing to take it on: no further link, no more ids."""
    return [[what, *on]] if on[-1] else []


async def page(client: GraphClient, step: Step, left: Sequence[Step]) -> Page:
    """Take one step that reads groups; `left` are the steps behind it. Raises SourceBusy and SourceFailed."""
    match step:
        case "groups", link:
            answer = await client.get(link, permission=GROUP_READ)
            return _named(values_of(answer), to_do("groups", link_of(answer, "next")), left)
        case "groups_of", [*ids]:
            answer = await client.get(f"{NAMED}&{in_filter(ids[:IDS])}", permission=GROUP_READ)
            found, more = list(values_of(answer)), link_of(answer, "next")
            then = [*to_do("groups", more), *to_do("groups_of", ids[IDS:])]
            return _named(found, then, left, gone=0 if more else len(ids[:IDS]) - len(found))
        case "members_of", [[group, name], *others]:
            members = f"/v1.0/groups/{quote(group, safe='')}/members?$select=id&$top={TOP}"
            return await _members(client, group, name, members, [*to_do("members_of", others), *left])
        case "group_members", group, name, link:
            return await _members(client, group, name, link, left)
    raise ValueError(f"no step of a reading: {step[0]}")


def _named(found: Iterable[Mapping[str, Any]], more: Sequence[Step], left: Sequence[Step], gone: int = 0) -> Page:
    """Return a page of groups. Their members are read next, so that no more groups wait than a page holds."""
    groups = [entra_group_of({**group, "members": []}) for group in found]
    usable = [[group.object_id, group.display_name] for group in groups if isinstance(group, EntraGroup)]
    problems = [group for group in groups if isinstance(group, Problem)]
    return _page(problems, [*to_do("members_of", usable), *more, *left], {GONE: gone} if gone else {})


async def _members(client: GraphClient, group: str, name: str, link: str, left: Sequence[Step]) -> Page:
    """Read a page of a group's members. The last page makes the group whole; a group that was deleted never is."""
    try:
        answer = await client.get(link, permission=MEMBERS_READ)
    except UnknownObject:
        return _page((), left, {GONE: 1})
    members, more = list(values_of(answer)), link_of(answer, "next")
    found = entra_group_of({"id": group, "displayName": name, "members": members}, whole=more is None)
    if isinstance(found, Problem):
        return _page((found,), left, {})
    counts = {GROUPS: int(found.whole), IN_GROUPS: len(found.members), NOT_PEOPLE: len(members) - len(found.members)}
    return _page((found,), [*to_do("group_members", group, name, more), *left], counts)


def _page(rows: Sequence[EntraGroup | Problem], steps: Sequence[Step], counts: Mapping[str, int]) -> Page:
    return Page(rows, {"steps": list(steps)} if steps else None, counts=counts)
