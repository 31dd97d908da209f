"""`python -m infra.local.graph`: a stand-in for Microsoft Graph on this machine, over a file of made-up identities.

It answers what link_orchestrator/graph asks, refuses what Graph refuses, and fails when it is told to. It prints the
variables by which the app reads there, then `ready: http://127.0.0.1:PORT`, and ends on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import web

from infra.local.closing import close
from infra.local.standins.login import CLIENT_ID, Login, make_certificate, tls
from infra.local.standins.tenant import APPLICATION, TENANT, Tenant, read_groups, read_users
from shared.host.graph_settings import GraphSettings

DEFAULT: Final = ("id", "displayName", "givenName", "surname", "mail", "jobTitle", "userPrincipalName")
"""The attributes that Graph shows of a user without $select, as far as they matter here."""
CHANGES_A_PAGE: Final = 200
"""Users in a page of changes."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request: an error, a broken answer, tokens that end, or a delay."""

    status: int = 0
    code: str = "TooManyRequests"
    retry_after: str | None = None
    location: str | None = None
    cut: bool = False
    expire: bool = False
    delay: float = 0.0


Faults = Callable[[int, str], Fault | None]
"""Returns what goes wrong with the request of a number (from 1) to a path, or None."""


class GraphStandIn:
    """Serves one tenant on 127.0.0.1. Use it with `async with`; its attributes may be changed at any time."""

    def __init__(self, tenant: Tenant, folder: Path, *, port: int = 0) -> None:
        self.tenant = tenant
        self.login = Login(TENANT)
        self.faults: Faults = lambda number, path: None
        self.after: Callable[[int], None] = lambda number: None
        """Called after each good answer with its number: to change the tenant between two pages."""
        self.top = 999
        """Objects in a page at most, whatever is asked for."""
        self.next_host = ""
        """Another address for links to the next page, to tell whether a client follows them."""
        self.circle = ""
        """An id behind which every link to a next page goes on: a circle, where that page was read before."""
        self.requests: list[str] = []
        self.url = ""
        self.authority = ""
        self._folder = folder
        self._port = port
        self._runners: list[web.AppRunner] = []
        self._again: list[str] = []

    async def __aenter__(self) -> Self:
        self._certificate = await asyncio.to_thread(make_certificate, self._folder, "login")
        graph, login = web.Application(), web.Application()
        graph.router.add_get("/msi/token", self.login.identity)
        graph.router.add_get("/v1.0/{path:.*}", self._answer)
        login.router.add_get("/{tenant}/v2.0/.well-known/openid-configuration", self.login.configuration)
        login.router.add_post("/{tenant}/oauth2/v2.0/token", self.login.token)
        self.url = f"http://{await self._serve(graph, self._port)}"
        self.authority = f"https://{await self._serve(login, 0, tls(self._certificate))}"
        self.login.endpoint = self.url
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await close(runner)

    async def _serve(self, app: web.Application, port: int, context: Any = None) -> str:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=context)
        await site.start()
        host, found = runner.addresses[-1][:2]
        return f"{host}:{found}"

    def environment(self) -> dict[str, str]:
        """Return the variables by which an app reads this tenant with its managed identity."""
        return {
            "SCIMLINK_GRAPH_TENANTS": f'{{"main": "{TENANT}"}}',
            "SCIMLINK_GRAPH_ENDPOINT": self.url,
            "SCIMLINK_GRAPH_AUTHORITY": self.authority,
            "IDENTITY_ENDPOINT": f"{self.url}/msi/token",
            "IDENTITY_HEADER": self.login.header,
            "REQUESTS_CA_BUNDLE": str(self._certificate),
        }

    def settings(self, **more: Any) -> GraphSettings:
        """Return the settings by which an app in this process reads this tenant; msal needs environment() as well."""
        known = GraphSettings.from_environment(self.environment())
        return GraphSettings.model_validate({**dict(known), **more})

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.raw_path)
        number = len(self.requests)
        fault = self.faults(number, request.path) or Fault()
        await asyncio.sleep(fault.delay)
        if fault.expire:
            self.login.expire()
        if request.headers.get("Authorization", "").removeprefix("Bearer ") not in self.login.valid:
            return _error(401, "InvalidAuthenticationToken")
        if fault.status:
            return _error(fault.status, fault.code, {"Retry-After": fault.retry_after, "Location": fault.location})
        try:
            found = self._find(request)
        except _Refusal as refusal:
            return _error(refusal.status, refusal.code)
        if fault.cut:
            return await _cut(request, found)
        self.after(number)
        return web.json_response(found)

    def _find(self, request: web.Request) -> dict[str, Any]:
        path, query = request.match_info["path"], request.query
        match path.split("/"):
            case ["users"]:
                self._allow("User.Read.All")
                return self._page(request, list(self.tenant.users), again=True)
            case ["users", "delta"]:
                self._allow("User.Read.All")
                return self._delta(request)
            case ["groups"]:
                self._allow("GroupMember.Read.All")
                return self._page(request, sorted(self.tenant.groups))
            case ["groups", group, "members"]:
                self._allow("GroupMember.Read.All")
                page = self._page(request, list(self._members(group, transitive=False)))
                return page | {"value": [{"@odata.type": self._kind(one["id"]), **one} for one in page["value"]]}
            case ["groups", group, "transitiveMembers", "microsoft.graph.user"]:
                self._allow("GroupMember.Read.All")
                if request.headers.get("ConsistencyLevel") != "eventual" or query.get("$count") != "true":
                    raise _Refusal(400, "Request_UnsupportedQuery")
                return self._page(request, list(self._members(group, transitive=True)))
            case ["servicePrincipals", principal, "appRoleAssignedTo"]:
                self._allow("Application.Read.All")
                _is_there(principal == APPLICATION)
                return self._page(request, [f"assignment{number:06d}" for number in range(len(self.tenant.assigned))])
            case ["servicePrincipals", principal, "synchronization", "jobs", *rest]:
                self._allow("Synchronization.Read.All")
                _is_there(principal == APPLICATION)
                if not rest:
                    return {"value": [{"id": job, "templateId": "scim"} for job in self.tenant.schemas]}
                _is_there(rest[0] in self.tenant.schemas and rest[1:] == ["schema"])
                return dict(self.tenant.schemas[rest[0]])
        raise _Refusal(404, "Request_ResourceNotFound")

    def _members(self, group: str, *, transitive: bool) -> Sequence[str]:
        _is_there(group in self.tenant.groups)
        return sorted(self.tenant.members_of(group, transitive=transitive))

    def _page(self, request: web.Request, ids: list[str], *, again: bool = False) -> dict[str, Any]:
        """Return a page of objects in order of their ids; its link names the id that came last."""
        query = request.query
        top = int(query.get("$top", "100"))
        if not 1 <= top <= 999:
            raise _Refusal(400, "Request_UnsupportedQuery")
        if (wanted := query.get("$filter")) is not None:
            chosen = re.findall(r"'([^']*)'", wanted)
            if not re.fullmatch(r"id in \('[^']*'(,'[^']*')*\)", wanted) or len(chosen) > 15:
                raise _Refusal(400, "Request_UnsupportedQuery")
            ids = [one for one in ids if one in chosen]
        if (after := query.get("$skiptoken")) is not None:
            ids = [one for one in ids if one > after]
        top = min(top, self.top)
        shown, more = ids[:top], len(ids) > top
        # A user who changes while the pages are read may be shown again.
        extra, self._again = (self._again, []) if again and after else ([], self._again)
        extra = [user for user in extra if user in self.tenant.users and user not in shown]
        page: dict[str, Any] = {"value": [self._shown(one, request) for one in (*shown, *extra)]}
        if more:
            page["@odata.nextLink"] = self._link(request, {"$skiptoken": self.circle or shown[-1]})
        return page

    def show_again(self, user_id: str) -> None:
        """Show a user once more on the next page of /users."""
        self._again.append(user_id)

    def _delta(self, request: web.Request) -> dict[str, Any]:
        """Return a page of changes since a token. `latest` gives a token only (delta-query-overview, sync from now)."""
        tenant, token = self.tenant, request.query.get("$deltatoken", "0")
        if token == "latest":  # noqa: S105 - a word of Graph
            return {"value": [], "@odata.deltaLink": self._link(request, {"$deltatoken": str(len(tenant.log))})}
        start, _, skipped = token.partition("-")
        if int(start) < tenant.oldest:
            raise _Refusal(400, "syncStateNotFound")
        changed, skip = tenant.changed_since(int(start)), int(skipped or 0)
        page: dict[str, Any] = {"value": [_selected(one, request) for one in changed[skip : skip + CHANGES_A_PAGE]]}
        if len(changed) > skip + CHANGES_A_PAGE:
            page["@odata.nextLink"] = self._link(request, {"$deltatoken": f"{start}-{skip + CHANGES_A_PAGE}"})
        else:
            page["@odata.deltaLink"] = self._link(request, {"$deltatoken": str(len(tenant.log))})
        return page

    def _shown(self, one: str, request: web.Request) -> dict[str, Any]:
        if one.startswith("assignment"):
            return {"id": one, **self.tenant.assigned[int(one.removeprefix("assignment"))]}
        if one in self.tenant.groups:
            return _selected(self.tenant.groups[one], request)
        if "User.Read.All" not in self.tenant.granted or one not in self.tenant.users:
            return {"@odata.type": self._kind(one), "id": one, "userPrincipalName": None}
        return _selected(self.tenant.users[one], request)

    def _kind(self, one: str) -> str:
        kind = "user" if one in self.tenant.users else "group" if one in self.tenant.groups else "device"
        return f"#microsoft.graph.{kind}"

    def _link(self, request: web.Request, changes: Mapping[str, str]) -> str:
        return str(request.url.with_query({**request.query, **changes})).replace(
            f"http://{request.host}", self.next_host or f"http://{request.host}"
        )

    def _allow(self, permission: str) -> None:
        if permission not in self.tenant.granted:
            raise _Refusal(403, "Authorization_RequestDenied")


class _Refusal(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


def _is_there(found: bool) -> None:
    if not found:
        raise _Refusal(404, "Request_ResourceNotFound")


def _selected(one: Mapping[str, Any], request: web.Request) -> dict[str, Any]:
    wanted = request.query["$select"].split(",") if "$select" in request.query else DEFAULT
    return {name: one.get(name) for name in wanted if name in one or name == "id"} | (
        {"@removed": one["@removed"]} if "@removed" in one else {}
    )


def _error(status: int, code: str, headers: Mapping[str, str | None] | None = None) -> web.Response:
    sent = {name: value for name, value in (headers or {}).items() if value is not None}
    return web.json_response({"error": {"code": code, "message": "made up"}}, status=status, headers=sent)


async def _cut(request: web.Request, found: object) -> web.StreamResponse:
    """Send half of an answer, and hang up."""
    text = json.dumps(found).encode()
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(text))})
    await response.prepare(request)
    await response.write(text[: len(text) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def every(throttle: int, cut: int, expire: int, slow: float) -> Faults:
    """Return faults that strike every `throttle`th, `cut`th and `expire`th request; 0 is never."""

    def fault(number: int, path: str) -> Fault:
        if throttle and number % throttle == 0:
            return Fault(429 if number // throttle % 2 else 503, retry_after="1", delay=slow)
        return Fault(cut=bool(cut) and number % cut == 0, expire=bool(expire) and number % expire == 0, delay=slow)

    return fault


def main() -> None:
    """Serve until a signal comes."""
    parser = argparse.ArgumentParser(prog="python -m infra.local.graph", description=main.__doc__)
    parser.add_argument("--identities", type=Path, required=True, help="pages of users, as demo_data writes them")
    parser.add_argument("--groups", type=Path, help="groups with their members, as demo_data writes them")
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--throttle", type=int, default=0, metavar="N", help="refuse every Nth request with 429 or 503")
    parser.add_argument("--cut", type=int, default=0, metavar="N", help="break off every Nth answer")
    parser.add_argument("--expire", type=int, default=0, metavar="N", help="end all tokens at every Nth request")
    parser.add_argument("--slow", type=float, default=0.0, metavar="SECONDS", help="wait before each answer")
    parser.add_argument("--change", action="store_true", help="change a user after each page, and show it again")
    asyncio.run(serve(parser.parse_args()))


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with tempfile.TemporaryDirectory() as folder:
        groups = read_groups(options.groups) if options.groups else None
        tenant = Tenant.of(read_users(options.identities), groups)
        async with GraphStandIn(tenant, Path(folder), port=options.port) as graph:
            graph.faults = every(options.throttle, options.cut, options.expire, options.slow)
            if options.change:
                graph.after = lambda number: _change(graph, number)
            for name, value in graph.environment().items():
                print(f"export {name}='{value}'")
            secret = f"SCIMLINK_GRAPH_CLIENT_ID={CLIENT_ID} SCIMLINK_GRAPH_CLIENT_SECRET={graph.login.secret}"
            print(f"# as an application, instead of the identity: {secret}")
            print(f"# the enterprise application: {APPLICATION}")
            print(f"ready: {graph.url}", flush=True)
            await stop.wait()


def _change(graph: GraphStandIn, number: int) -> None:
    first = next(iter(graph.tenant.users))
    graph.tenant.change(first, jobTitle=f"Changed {number} times")
    graph.show_again(first)


if __name__ == "__main__":
    main()
