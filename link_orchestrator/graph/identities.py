"""Microsoft Graph as a source: identities, what changed about them, and the schema of a provisioning job.

Each step is one request, and the steps that are left are plain JSON, so any process can go on after any step. The steps
that read groups are in groups.py.
https://learn.microsoft.com/graph/api/user-list, group-list-transitivemembers, serviceprincipal-list-approleassignedto,
user-delta, synchronization-synchronizationschema-get.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

from link_orchestrator.files.identities import identity_of
from link_orchestrator.graph import groups, tokens
from link_orchestrator.graph.client import (
    IDS,
    SECONDS,
    TOP,
    GraphClient,
    Refused,
    UnknownObject,
    in_filter,
    link_of,
    values_of,
)
from link_orchestrator.graph.groups import GROUP_READ, Step, to_do
from link_orchestrator.graph.tokens import Tokens
from link_orchestrator.graph.trail import Trail
from link_orchestrator.problems import Problem
from link_orchestrator.source import GraphScope, MappingSource, Page, Place, PlaceExpired, RunSource, SourceFailed
from shared.directory.matching.identity import TEXTS, Gone, Identity
from shared.host.graph_settings import GraphSettings

ATTRIBUTES: Final = (
    *("id", "userPrincipalName", "proxyAddresses", "otherMails", "accountEnabled", "userType"),
    *(name for name, _ in TEXTS),
)
SELECT: Final = f"$select={','.join(ATTRIBUTES)}"
"""Without this, Graph leaves most of them out. A delta reports changes of each, since Entra itself stores them all."""

USERS: Final = f"/v1.0/users?{SELECT}&$top={TOP}"
LATEST: Final = f"/v1.0/users/delta?{SELECT}&$deltatoken=latest"
USER_READ, APPLICATION_READ, SYNCHRONIZATION_READ = "User.Read.All", "Application.Read.All", "Synchronization.Read.All"


TELLS_ASSIGNED: Final = ("assigned", "users_of", "group", "members")
"""Steps that, beside everybody, read who is assigned to the application."""


class Graph:
    """Microsoft Graph for all directories. It keeps their tokens; a session lasts only while somebody reads."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._tokens: dict[str, Tokens] = {}

    def check(self, directory: str) -> None:
        """Raise SourceFailed naming a setting without which the identities of a directory cannot be read."""
        tokens.check(self._settings, directory)

    def tenant(self, directory: str) -> str:
        """Return the tenant of a directory as its setting names it, "" for the managed identity's own."""
        return self._settings.tenants.get(directory, "")

    @asynccontextmanager
    async def connect(self, directory: str) -> AsyncIterator[GraphClient]:
        """Return a client for a directory's tenant, usable until the block ends. Raises SourceFailed as check()."""
        import aiohttp

        self.check(directory)
        ours = self._tokens.setdefault(directory, Tokens(self._settings, directory))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS, sock_connect=10)) as session:
            yield GraphClient(session, self._settings.endpoint, ours)

    @asynccontextmanager
    async def open(self, directory: str, source: RunSource, *, groups: bool = False) -> AsyncIterator[GraphIdentities]:
        """Return the source of the identities that a run asks for, and of its `groups`, usable until the block ends."""
        async with self.connect(directory) as client:
            yield GraphIdentities(client, source.graph, groups=groups)

    async def read_schema(self, directory: str, source: MappingSource) -> Mapping[str, Any]:
        """Return the schema of a provisioning job. Raises as read_provisioning_schema()."""
        async with self.connect(directory) as client:
            return await read_provisioning_schema(client, source.graph.service_principal, source.graph.job)


class GraphIdentities:
    """An IdentitySource of the users in a scope, and of its groups if asked for. A place is the steps left to do."""

    def __init__(self, client: GraphClient, scope: GraphScope, *, groups: bool = False) -> None:
        self._client = client
        self._scope = scope
        self._groups = groups

    def changes(self, bookmark: str) -> Place | None:
        """Return where to read what changed since a delta link; None but for all users, as Graph has no other."""
        if self._scope.scope != "all":
            return None
        # Of assignments Graph tells no changes here: they are read whole.
        return {"steps": [["changes", bookmark], *self._groups_of_all(), *self._assigned()]}

    async def page(self, place: Place) -> Page:
        """Take the first step of a place. Raises SourceBusy and SourceFailed; the same place can then be read again."""
        step, *left = place.get("steps") or self._first()
        trail = Trail.of(place.get("trail")).followed(step[-1])
        page = await self._take(step, left)
        if self._scope.scope == "all" and step[0] in TELLS_ASSIGNED:
            page = replace(page, assigned=True)
        return replace(page, then={**page.then, "trail": trail.to_json()}) if page.then else page

    async def _take(self, step: Step, left: list[Step]) -> Page:
        """Take a step, behind which others are left."""
        rows: Sequence[Identity | Gone | Problem] = ()
        match step:
            case "latest", _:
                return Page((), {"steps": left}, await self._latest())
            case "changes", link:
                try:
                    changes = await read_changes(self._client, link)
                except Refused as refused:
                    # The link may be of another tenant or endpoint. Otherwise reading all is refused, too, and says so.
                    raise PlaceExpired(str(refused)) from None
                left = [*to_do("changed", changes.changed), *to_do("changes", changes.then), *left]
                gone = [Gone(object_id) for object_id in changes.removed]
                return Page(gone, {"steps": left} if left else None, changes.bookmark)
            case "changed", ids:
                rows = await self._changed(ids[:IDS])
                left = [*to_do("changed", ids[IDS:]), *left]
            case "users", link:
                rows, more = await self._users("users", link)
                left = [*more, *left]
            case "members", link:
                rows, more = await self._members(link)
                left = [*more, *left]
            case "users_of", ids:
                rows, more = await self._users("users", f"{USERS}&{in_filter(ids[:IDS])}")
                left = [*more, *to_do("users_of", ids[IDS:]), *left]
            case "group", group:
                members = f"/v1.0/groups/{group}/transitiveMembers/microsoft.graph.user?{SELECT}&$top={TOP}&$count=true"
                rows, more = await self._members(members)
                left = self._then_group([*more, *left], group)
            case "assigned", link:
                left = await self._assignments(link, left)
            case _:
                return await groups.page(self._client, step, left)
        return Page(rows, {"steps": left} if left else None)

    def _first(self) -> list[Step]:
        scope = self._scope
        if scope.scope == "all":
            # The link to later changes comes first, so that it covers what changes while the users are read.
            return [["latest", ""], ["users", USERS], *self._groups_of_all(), *self._assigned()]
        if scope.scope == "groups":
            return [["group", group] for group in dict.fromkeys(map(str.lower, scope.groups))]
        return self._assigned()

    def _assigned(self) -> list[Step]:
        """Return the step that begins to read who is assigned to the application; none where it is not named."""
        application = self._scope.service_principal
        return (
            [["assigned", f"/v1.0/servicePrincipals/{application}/appRoleAssignedTo?$top={TOP}"]] if application else []
        )

    def _groups_of_all(self) -> list[Step]:
        return [groups.ALL] if self._groups else []

    def _then_group(self, steps: list[Step], group: str) -> list[Step]:
        """Return the steps and, behind all people, one that reads the group itself, if groups are asked for."""
        if not self._groups or self._scope.scope == "all":
            return steps
        if not steps or steps[-1][0] != "groups_of":
            return [*steps, ["groups_of", [group]]]
        return [*steps[:-1], ["groups_of", [*steps[-1][1], group]]]

    async def _latest(self) -> str | None:
        """Return the link to changes from now on; None for a tenant of customers (External ID), which is read whole."""
        try:
            answer = await self._client.get(LATEST, permission=USER_READ)
        except Refused:
            return None
        return link_of(answer, "delta")

    async def _users(self, kind: str, link: str) -> tuple[list[Identity | Problem], list[Step]]:
        """Read a page of users. Return their identities, and the step to the next page if there is one."""
        permission = USER_READ if kind == "users" else f"{GROUP_READ} or {USER_READ}"
        answer = await self._client.get(link, permission=permission, advanced=kind == "members")
        users = list(values_of(answer))
        if kind == "members" and users and all(map(_is_withheld, users)):
            # https://learn.microsoft.com/graph/permissions-overview (limited information for inaccessible members)
            raise SourceFailed(
                f"Microsoft Graph shows members without their attributes: grant {USER_READ} as well", "graphPermission"
            )
        return list(map(_identity, users)), to_do(kind, link_of(answer, "next"))

    async def _members(self, link: str) -> tuple[list[Identity | Problem], list[Step]]:
        """Return a page of a group's people. Raises UnknownObject for a group that the run names and that is not there.

        An assigned group may have been deleted meanwhile: it has no people, and groups.py counts it as gone.
        """
        try:
            return await self._users("members", link)
        except UnknownObject:
            if self._scope.scope == "groups":
                raise
            return [], []

    async def _changed(self, ids: Sequence[str]) -> list[Identity | Gone | Problem]:
        """Read the users who changed: a delta need not hold all of a user. Those who are not found are gone."""
        rows, _ = await self._users("users", f"{USERS}&{in_filter(ids)}")
        found = {row.object_id.lower() for row in rows if isinstance(row, Identity)}
        return [*rows, *(Gone(object_id) for object_id in ids if object_id.lower() not in found)]

    async def _assignments(self, link: str, left: list[Step]) -> list[Step]:
        """Read a page of assignments. Return the steps that are left, with those for its users and its groups."""
        answer = await self._client.get(link, permission=APPLICATION_READ)
        by_type: dict[str, dict[str, None]] = {"User": {}, "Group": {}}
        for assignment in values_of(answer):
            if principal := assignment.get("principalId"):
                by_type.get(assignment.get("principalType", ""), {})[str(principal).lower()] = None
        # Users come next, so that a place stays small; groups after all assignments, so that each is read once.
        groups = [step for group in by_type["Group"] if (step := ["group", group]) not in left]
        now = [*to_do("users_of", list(by_type["User"])), *to_do("assigned", link_of(answer, "next"))]
        return [*now, *left, *groups]


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes since a link: ids of the users who changed, and of those who were removed.

    `then` leads to the next page. On the last page it is None, and `bookmark` leads to the changes to come.
    """

    changed: Sequence[str]
    removed: Sequence[str]
    then: str | None
    bookmark: str | None


async def read_changes(client: GraphClient, link: str) -> Changes:
    """Return a page of what changed since Graph gave a link. Raises PlaceExpired for a link of over seven days ago.

    A user may come twice, on one page or on several: the later one is the newer.
    """
    answer = await client.get(link, permission=USER_READ)
    changed = {str(user["id"]): user for user in values_of(answer) if user.get("id")}
    return Changes(
        [object_id for object_id, user in changed.items() if "@removed" not in user],
        [object_id for object_id, user in changed.items() if "@removed" in user],
        link_of(answer, "next"),
        link_of(answer, "delta"),
    )


async def read_provisioning_schema(client: GraphClient, service_principal: str, job: str = "") -> Mapping[str, Any]:
    """Return the schema of a provisioning job as the portal exports it. Raises SourceBusy and SourceFailed."""
    jobs = f"/v1.0/servicePrincipals/{service_principal}/synchronization/jobs"
    if not job:
        answer = await client.get(jobs, permission=SYNCHRONIZATION_READ)
        found = [str(known["id"]) for known in values_of(answer) if known.get("id")]
        if len(found) != 1:
            which = f"several: name one of {', '.join(found)}" if found else "none: set provisioning up first"
            raise SourceFailed(f"of provisioning jobs the application has {which}")
        job = found[0]
    return await client.get(f"{jobs}/{job}/schema", permission=SYNCHRONIZATION_READ)


def _is_withheld(user: Mapping[str, Any]) -> bool:
    """Tell whether Graph shows of a user nothing but the id."""
    return not any(user.get(name) for name in ATTRIBUTES if name != "id")


def _identity(user: Mapping[str, Any]) -> Identity | Problem:
    """Return the identity of a user of Graph. One without a name cannot be provisioned, and is a problem."""
    if user.get("id") and not user.get("userPrincipalName"):
        return Problem(
            1,
            "Microsoft Graph shows a user without userPrincipalName.",
            "Look for users without a name in Entra: give them one, or take them out of the scope of the run.",
        )
    return identity_of(user)
