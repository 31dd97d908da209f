"""What is read from Microsoft Graph: identities, what changed about them, and a provisioning job's mapping.

Every step is one request, and what is left to do is plain JSON, so that any process can go on after any step. The steps
that read groups are in groups.py.
https://learn.microsoft.com/graph/api/user-list, group-list-transitivemembers, serviceprincipal-list-approleassignedto,
user-delta, synchronization-synchronizationschema-get.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from link_orchestrator.graph.groups import GROUP_READ, Step
from link_orchestrator.graph.tokens import Tokens
from link_orchestrator.problems import Problem
from link_orchestrator.source import GraphScope, MappingSource, Page, Place, PlaceExpired, RunSource, SourceFailed
from shared.directory.matching.identity import TEXTS, Gone, Identity
from shared.host.graph_settings import GraphSettings

ATTRIBUTES: Final = (
    *("id", "userPrincipalName", "proxyAddresses", "otherMails", "accountEnabled", "userType"),
    *(name for name, _ in TEXTS),
)
SELECT: Final = f"$select={','.join(ATTRIBUTES)}"
"""Without it Graph leaves most of these out. All are stored in Entra itself, so changes of each are told as well."""

USERS: Final = f"/v1.0/users?{SELECT}&$top={TOP}"
LATEST: Final = f"/v1.0/users/delta?{SELECT}&$deltatoken=latest"
USER_READ, APPLICATION_READ, SYNCHRONIZATION_READ = "User.Read.All", "Application.Read.All", "Synchronization.Read.All"


class Graph:
    """Microsoft Graph for the whole app: tokens are kept by the process, a session lasts as long as somebody reads."""

    def __init__(self, settings: GraphSettings) -> None:
        self._settings = settings
        self._tokens: dict[str, Tokens] = {}

    def check(self, directory: str) -> None:
        """Raise SourceFailed naming the setting that is missing to read the identities of a directory."""
        tokens.check(self._settings, directory)

    @asynccontextmanager
    async def connect(self, directory: str) -> AsyncIterator[GraphClient]:
        """Return a client for the tenant of a directory, until the block ends. Raises SourceFailed, as check()."""
        import aiohttp

        self.check(directory)
        ours = self._tokens.setdefault(directory, Tokens(self._settings, directory))
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS, sock_connect=10)) as session:
            yield GraphClient(session, self._settings.endpoint, ours)

    @asynccontextmanager
    async def open(self, directory: str, source: RunSource, *, groups: bool = False) -> AsyncIterator[GraphIdentities]:
        """Return the identities that a run asks for, to be read until the block ends; behind them the groups."""
        async with self.connect(directory) as client:
            yield GraphIdentities(client, source.graph, groups=groups)

    async def read_schema(self, directory: str, source: MappingSource) -> Mapping[str, Any]:
        """Return the schema of a provisioning job, as read_provisioning_schema() does."""
        async with self.connect(directory) as client:
            return await read_provisioning_schema(client, source.graph.service_principal, source.graph.job)


class GraphIdentities:
    """The users in a scope, and its groups if asked for, as an IdentitySource. A place is the steps that are left."""

    def __init__(self, client: GraphClient, scope: GraphScope, *, groups: bool = False) -> None:
        self._client = client
        self._scope = scope
        self._groups = groups

    def changes(self, bookmark: str) -> Place | None:
        """Return where to read what changed since a delta link, which Graph gives for all users only."""
        return {"steps": [["changes", bookmark], *self._groups_of_all()]} if self._scope.scope == "all" else None

    async def page(self, place: Place) -> Page:
        """Do one step. Raises SourceBusy and SourceFailed; then the place is still the one to go on from."""
        step, *left = place.get("steps") or self._first()
        rows: Sequence[Identity | Gone | Problem] = ()
        match step:
            case "latest", _:
                return Page((), {"steps": left}, await self._latest())
            case "changes", link:
                try:
                    changes = await read_changes(self._client, link)
                except Refused as refused:
                    # Of another tenant, or another endpoint: what reading all comes to is said by reading all.
                    raise PlaceExpired(str(refused)) from None
                more: list[Step] = [["changed", changes.changed]] if changes.changed else []
                more += [["changes", changes.then]] if changes.then else []
                left = [*more, *left]
                gone = [Gone(object_id) for object_id in changes.removed]
                return Page(gone, {"steps": left} if left else None, changes.bookmark)
            case "changed", ids:
                rows = await self._changed(ids[:IDS])
                left = [*([["changed", ids[IDS:]]] if ids[IDS:] else []), *left]
            case "users", link:
                rows, more = await self._users("users", link)
                left = [*more, *left]
            case "members", link:
                rows, more = await self._members(link)
                left = [*more, *left]
            case "users_of", ids:
                rows, more = await self._users("users", f"{USERS}&{in_filter(ids[:IDS])}")
                left = [*more, *([["users_of", ids[IDS:]]] if ids[IDS:] else []), *left]
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
            # The link to what changes from now on comes first: what changes while the users are read is in it, too.
            return [["latest", ""], ["users", USERS], *self._groups_of_all()]
        if scope.scope == "groups":
            return [["group", group] for group in dict.fromkeys(map(str.lower, scope.groups))]
        return [["assigned", f"/v1.0/servicePrincipals/{scope.service_principal}/appRoleAssignedTo?$top={TOP}"]]

    def _groups_of_all(self) -> list[Step]:
        return [groups.ALL] if self._groups else []

    def _then_group(self, steps: list[Step], group: str) -> list[Step]:
        """Return the steps with the group itself behind all people, if groups are asked for."""
        if not self._groups:
            return steps
        if not steps or steps[-1][0] != "groups_of":
            return [*steps, ["groups_of", [group]]]
        return [*steps[:-1], ["groups_of", [*steps[-1][1], group]]]

    async def _latest(self) -> str | None:
        """Return the link to changes from now on. Tenants of customers (External ID) have none; their runs read all."""
        try:
            answer = await self._client.get(LATEST, permission=USER_READ)
        except Refused:
            return None
        return link_of(answer, "delta")

    async def _users(self, kind: str, link: str) -> tuple[list[Identity | Problem], list[Step]]:
        permission = USER_READ if kind == "users" else f"{GROUP_READ} or {USER_READ}"
        answer = await self._client.get(link, permission=permission, advanced=kind == "members")
        more = link_of(answer, "next")
        return list(map(_identity, values_of(answer))), [[kind, more]] if more else []

    async def _members(self, link: str) -> tuple[list[Identity | Problem], list[Step]]:
        """Return a page of a group's people. An assigned group that was deleted meanwhile has none.

        Among the groups it is counted as gone. One that the run names itself is to be there.
        """
        try:
            return await self._users("members", link)
        except UnknownObject:
            if self._scope.scope != "assigned":
                raise
            return [], []

    async def _changed(self, ids: Sequence[str]) -> list[Identity | Gone | Problem]:
        """Return users who changed, whole: a delta holds "at least" what changed. Who cannot be read is gone."""
        rows, _ = await self._users("users", f"{USERS}&{in_filter(ids)}")
        found = {row.object_id.lower() for row in rows if isinstance(row, Identity)}
        return [*rows, *(Gone(object_id) for object_id in ids if object_id.lower() not in found)]

    async def _assignments(self, link: str, left: list[Step]) -> list[Step]:
        """Return the steps that a page of assignments adds to those left: users one by one, each group once."""
        answer = await self._client.get(link, permission=APPLICATION_READ)
        by_type: dict[str, dict[str, None]] = {"User": {}, "Group": {}}
        for assignment in values_of(answer):
            by_type.get(assignment.get("principalType", ""), {})[str(assignment["principalId"]).lower()] = None
        # Users at once, so that a place stays small; groups after all assignments, so that each is seen once.
        now: list[Step] = [["users_of", list(by_type["User"])]] if by_type["User"] else []
        if more := link_of(answer, "next"):
            now.append(["assigned", more])
        groups = [step for group in by_type["Group"] if (step := ["group", group]) not in left]
        return [*now, *left, *groups]


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes since a link: the ids of the users who changed, and of those who left.

    `then` leads to the next page; after the last it is None and `bookmark` leads to the changes to come.
    """

    changed: Sequence[str]
    removed: Sequence[str]
    then: str | None
    bookmark: str | None


async def read_changes(client: GraphClient, link: str) -> Changes:
    """Return a page of what changed since a delta link was given. Raises PlaceExpired after seven days: read all again.

    A user may come twice, within a page and over several: the later one is the newer.
    """
    answer = await client.get(link, permission=USER_READ)
    changed = {str(user["id"]): user for user in values_of(answer)}
    return Changes(
        [object_id for object_id, user in changed.items() if "@removed" not in user],
        [object_id for object_id, user in changed.items() if "@removed" in user],
        link_of(answer, "next"),
        link_of(answer, "delta"),
    )


async def read_provisioning_schema(client: GraphClient, service_principal: str, job: str = "") -> Mapping[str, Any]:
    """Return the schema of an application's provisioning job, with its attribute mappings, as the portal exports it."""
    jobs = f"/v1.0/servicePrincipals/{service_principal}/synchronization/jobs"
    if not job:
        answer = await client.get(jobs, permission=SYNCHRONIZATION_READ)
        found = [str(one["id"]) for one in values_of(answer) if one.get("id")]
        if len(found) != 1:
            which = f"several: name one of {', '.join(found)}" if found else "none: set provisioning up first"
            raise SourceFailed(f"of provisioning jobs the application has {which}")
        job = found[0]
    return await client.get(f"{jobs}/{job}/schema", permission=SYNCHRONIZATION_READ)


def _identity(user: Mapping[str, Any]) -> Identity | Problem:
    """Return a user of Graph as an identity. Raises SourceFailed if Graph keeps back who it is."""
    if user.get("id") and not user.get("userPrincipalName"):
        # https://learn.microsoft.com/graph/permissions-overview, limited information for inaccessible member objects
        raise SourceFailed(f"Microsoft Graph shows members without their attributes: grant {USER_READ} as well")
    return identity_of(user)
