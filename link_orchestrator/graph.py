"""What is read from Microsoft Graph: identities, what changed about them, groups, and a provisioning job's mapping.

Every step is one request, and what is left to do is plain JSON, so that any process can go on after any step.
https://learn.microsoft.com/graph/api/user-list, group-list-transitivemembers, serviceprincipal-list-approleassignedto,
user-delta, synchronization-synchronizationschema-get.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from link_orchestrator import tokens
from link_orchestrator.from_file import identity_of
from link_orchestrator.graph_client import SECONDS, GraphClient, Refused
from link_orchestrator.sources import GraphScope, MappingSource, Page, Place, RunSource, SourceFailed
from link_orchestrator.tabular import Problem
from link_orchestrator.tokens import Tokens
from shared.directory.identity import TEXTS, Identity
from shared.host.graph_settings import GraphSettings

TOP: Final = 999
"""The largest page there is. Changes come in pages of Graph's own choice."""
IDS: Final = 15
"""Values that `in` takes in a filter (https://developer.microsoft.com/graph/known-issues, query parameters)."""
ATTRIBUTES: Final = (
    *("id", "userPrincipalName", "proxyAddresses", "otherMails", "accountEnabled", "userType"),
    *(name for name, _ in TEXTS),
)
SELECT: Final = f"$select={','.join(ATTRIBUTES)}"
"""Without it Graph leaves most of these out. All are stored in Entra itself, so changes of each are told as well."""

USERS: Final = f"/v1.0/users?{SELECT}&$top={TOP}"
LATEST: Final = f"/v1.0/users/delta?{SELECT}&$deltatoken=latest"
USER_READ, GROUP_READ = "User.Read.All", "GroupMember.Read.All"
APPLICATION_READ, SYNCHRONIZATION_READ = "Application.Read.All", "Synchronization.Read.All"

Step = Sequence[Any]
"""What is to be done, and on what: a link, ids, or a group's id."""


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
    async def open(self, directory: str, source: RunSource) -> AsyncIterator[GraphIdentities]:
        """Return the identities that a run asks for, to be read until the block ends."""
        async with self.connect(directory) as client:
            yield GraphIdentities(client, source.graph)

    async def read_schema(self, directory: str, source: MappingSource) -> Mapping[str, Any]:
        """Return the schema of a provisioning job, as read_provisioning_schema() does."""
        async with self.connect(directory) as client:
            return await read_provisioning_schema(client, source.graph.service_principal, source.graph.job)


class GraphIdentities:
    """The users in a scope, as an IdentitySource. A place is the list of steps that are left."""

    def __init__(self, client: GraphClient, scope: GraphScope) -> None:
        self._client = client
        self._scope = scope

    async def page(self, place: Place) -> Page:
        """Do one step. Raises SourceBusy and SourceFailed; then the place is still the one to go on from."""
        step, *left = place.get("steps") or self._first()
        rows: Sequence[Identity | Problem] = ()
        match step:
            case "latest", _:
                return Page((), {"steps": left}, await self._latest())
            case "users" | "members" as kind, link:
                rows, more = await self._users(kind, link)
                left = [*more, *left]
            case "users_of", ids:
                quoted = ",".join(f"'{object_id}'" for object_id in ids[:IDS])
                rows, _ = await self._users("users", f"{USERS}&$filter=id%20in%20({quoted})")
                left = [*([["users_of", ids[IDS:]]] if ids[IDS:] else []), *left]
            case "group", group:
                members = f"/v1.0/groups/{group}/transitiveMembers/microsoft.graph.user?{SELECT}&$top={TOP}&$count=true"
                rows, more = await self._users("members", members)
                left = [*more, *left]
            case "assigned", link:
                left = await self._assignments(link, left)
        return Page(rows, {"steps": left} if left else None)

    def _first(self) -> list[Step]:
        scope = self._scope
        if scope.scope == "all":
            # The link to what changes from now on comes first: what changes while the users are read is in it, too.
            return [["latest", ""], ["users", USERS]]
        if scope.scope == "groups":
            return [["group", group] for group in dict.fromkeys(map(str.lower, scope.groups))]
        return [["assigned", f"/v1.0/servicePrincipals/{scope.service_principal}/appRoleAssignedTo?$top={TOP}"]]

    async def _latest(self) -> str | None:
        """Return the link to changes from now on. Tenants of customers (External ID) have none; their runs read all."""
        try:
            answer = await self._client.get(LATEST, permission=USER_READ)
        except Refused:
            return None
        return _link(answer, "delta")

    async def _users(self, kind: str, link: str) -> tuple[list[Identity | Problem], list[Step]]:
        permission = USER_READ if kind == "users" else f"{GROUP_READ} or {USER_READ}"
        answer = await self._client.get(link, permission=permission, advanced=kind == "members")
        more = _link(answer, "next")
        return list(map(_identity, _values(answer))), [[kind, more]] if more else []

    async def _assignments(self, link: str, left: list[Step]) -> list[Step]:
        """Return the steps that a page of assignments adds to those left: users one by one, each group once."""
        answer = await self._client.get(link, permission=APPLICATION_READ)
        by_type: dict[str, dict[str, None]] = {"User": {}, "Group": {}}
        for assignment in _values(answer):
            by_type.get(assignment.get("principalType", ""), {})[str(assignment["principalId"]).lower()] = None
        # Users at once, so that a place stays small; groups after all assignments, so that each is seen once.
        now: list[Step] = [["users_of", list(by_type["User"])]] if by_type["User"] else []
        if more := _link(answer, "next"):
            now.append(["assigned", more])
        groups = [step for group in by_type["Group"] if (step := ["group", group]) not in left]
        return [*now, *left, *groups]


@dataclass(frozen=True, slots=True)
class Changes:
    """A page of changes since a link: users with the attributes that changed, at least, and the ids of those who left.

    `then` leads to the next page; after the last it is None and `bookmark` leads to the changes to come.
    """

    changed: Sequence[Mapping[str, Any]]
    removed: Sequence[str]
    then: str | None
    bookmark: str | None


async def read_changes(client: GraphClient, link: str) -> Changes:
    """Return a page of what changed since a delta link was given. Raises PlaceExpired after seven days: read all again.

    A user may come twice, within a page and over several: the later one is the newer.
    """
    answer = await client.get(link, permission=USER_READ)
    changed = {str(user["id"]): user for user in _values(answer)}
    return Changes(
        [user for user in changed.values() if "@removed" not in user],
        [object_id for object_id, user in changed.items() if "@removed" in user],
        _link(answer, "next"),
        _link(answer, "delta"),
    )


async def read_provisioning_schema(client: GraphClient, service_principal: str, job: str = "") -> Mapping[str, Any]:
    """Return the schema of an application's provisioning job, with its attribute mappings, as the portal exports it."""
    jobs = f"/v1.0/servicePrincipals/{service_principal}/synchronization/jobs"
    if not job:
        answer = await client.get(jobs, permission=SYNCHRONIZATION_READ)
        found = [str(one["id"]) for one in _values(answer) if one.get("id")]
        if len(found) != 1:
            which = f"several: name one of {', '.join(found)}" if found else "none: set provisioning up first"
            raise SourceFailed(f"of provisioning jobs the application has {which}")
        job = found[0]
    return await client.get(f"{jobs}/{job}/schema", permission=SYNCHRONIZATION_READ)


async def read_groups(client: GraphClient) -> AsyncIterator[dict[str, Any]]:
    """Yield every group as `{"id", "displayName", "members": [ids]}`, with its direct members of any kind."""
    async for group in _all(client, f"/v1.0/groups?$select=id,displayName&$top={TOP}"):
        members = f"/v1.0/groups/{group['id']}/members?$select=id&$top={TOP}"
        ids = [str(member["id"]) async for member in _all(client, members)]
        yield {"id": group["id"], "displayName": group.get("displayName") or "", "members": list(dict.fromkeys(ids))}


async def _all(client: GraphClient, link: str | None) -> AsyncIterator[Mapping[str, Any]]:
    while link:
        answer = await client.get(link, permission=GROUP_READ)
        for value in _values(answer):
            yield value
        link = _link(answer, "next")


def _values(answer: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    return (value for value in answer.get("value") or () if isinstance(value, Mapping))


def _link(answer: Mapping[str, Any], kind: str) -> str | None:
    link = answer.get(f"@odata.{kind}Link")
    return link if isinstance(link, str) and link else None


def _identity(user: Mapping[str, Any]) -> Identity | Problem:
    """Return a user of Graph as an identity. Raises SourceFailed if Graph keeps back who it is."""
    if user.get("id") and not user.get("userPrincipalName"):
        # https://learn.microsoft.com/graph/permissions-overview, limited information for inaccessible member objects
        raise SourceFailed(f"Microsoft Graph shows members without their attributes: grant {USER_READ} as well")
    return identity_of(user)
