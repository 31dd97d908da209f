"""`python -m infra.smoke --scim URL --admin URL`: whether a pair of apps that was deployed does its work.

The tokens come from SMOKE_SCIM_TOKEN and SMOKE_ADMIN_TOKEN. It makes one user and one group over SCIM, imports one
account through Durable Functions, and deletes all three, also where a check fails; nothing else is changed. No function
is called with what it could act on: bodies are no objects, and ids are of nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
from rich.console import Console
from rich.table import Table

from infra.local.functions import HttpFunction, read_functions
from shared.host.functions import UNANSWERED
from shared.host.settings import Role, Settings
from shared.tables.sqlite import SqliteTables

SCIM_TOKEN, ADMIN_TOKEN = "SMOKE_SCIM_TOKEN", "SMOKE_ADMIN_TOKEN"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
PATCH_OP = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
JOB_SECONDS = 300
"""Seconds that the import of one account may take: an app that was idle begins to poll its queues slowly."""
TOTAL_SECONDS = 1200
"""Seconds after which no check is tried any more."""
IS_UP, AWAY = "is up", "no answer: "
"""In the name of an app's first check, and how the fault of a check begins that got no answer."""
NOBODY = "0f9a0000-0000-4000-8000-000000000000"
"""An id that nothing has."""
NO_OBJECT = b"[0]"
"""A body that every function refuses: it is no object, and no file of accounts or identities."""
UNCALLED = {"linking_schedule_resume"}
"""Functions of which it is only asked whether they are there: this one takes no body, and would start the schedule."""
FORGED = {
    "X-MS-CLIENT-PRINCIPAL": base64.b64encode(
        json.dumps({"auth_typ": "aad", "role_typ": "roles", "claims": [{"typ": "roles", "val": "Owner"}]}).encode()
    ).decode(),
    "X-MS-CLIENT-PRINCIPAL-ID": NOBODY,
    "X-MS-CLIENT-PRINCIPAL-NAME": "administrator",
}
"""What App Service Authentication tells an app of a person; whoever sends it from outside is nobody."""


class Failed(Exception):
    """What a check found instead of what it expected."""


@dataclass(frozen=True, slots=True)
class App:
    """An app in one of its roles, and a session with it that sends no token of itself."""

    role: Role
    address: str
    session: aiohttp.ClientSession
    token: str

    async def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None, **headers: str
    ) -> tuple[int, str]:
        """Return the status and the text of an answer. `token` in place of the app's own; "" sends none."""
        token = self.token if token is None else token
        sent = {"Content-Type": "application/json", **headers} | ({"Authorization": f"Bearer {token}"} if token else {})
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(method, path, data=data, headers=sent, allow_redirects=False) as answer:
            return answer.status, await answer.text()

    async def expect(self, method: str, path: str, body: object = None, *statuses: int) -> Any:
        """Return the JSON of an answer that has one of these statuses, 200 unless given. Raises Failed."""
        status, text = await self.call(method, path, body)
        if status not in (statuses or (200,)):
            raise Failed(f"{method} {path}: {status}, {text[:200]}")
        return json.loads(text) if text else None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a check."""

    name: str
    fault: str
    seconds: float


Check = Callable[[], Awaitable[None]]
"""Raises Failed."""


def main() -> int:
    """Run every check, print a table, and return 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m infra.smoke", description=__doc__)
    parser.add_argument("--scim", required=True, metavar="URL", help="address of the app with the role scim")
    parser.add_argument("--admin", required=True, metavar="URL", help="address of the app with the role admin")
    arguments = parser.parse_args()
    missing = [name for name in (SCIM_TOKEN, ADMIN_TOKEN) if not os.environ.get(name)]
    if missing:
        sys.exit(f"set {' and '.join(missing)}: a token of each role, as the apps' SCIMLINK_CREDENTIALS have its hash")
    addresses: dict[Role, str] = {"scim": arguments.scim, "admin": arguments.admin}
    tokens: dict[Role, str] = {"scim": os.environ[SCIM_TOKEN], "admin": os.environ[ADMIN_TOKEN]}
    return asyncio.run(run(addresses, tokens, Console(width=None if sys.stdout.isatty() else 140, highlight=False)))


async def run(addresses: Mapping[Role, str], tokens: Mapping[Role, str], console: Console) -> int:
    """Run every check against the apps at these addresses; return the exit code."""
    async with AsyncExitStack() as stack:
        apps = {role: await stack.enter_async_context(_app(role, addresses[role], tokens[role])) for role in addresses}
        outcomes = await _outcomes(await _checks(apps["scim"], apps["admin"]))
    table = Table("check", "result", "ms", title="Smoke test")
    for outcome in outcomes:
        table.add_row(outcome.name, outcome.fault or "ok", f"{outcome.seconds * 1000:.0f}")
    console.print(table)
    failed = sum(bool(outcome.fault) for outcome in outcomes)
    console.print(f"{failed} of {len(outcomes)} checks failed" if failed else f"all {len(outcomes)} checks passed")
    return 1 if failed else 0


@asynccontextmanager
async def _app(role: Role, address: str, token: str) -> AsyncIterator[App]:
    timeout = aiohttp.ClientTimeout(total=120)  # an app that starts takes its time
    async with aiohttp.ClientSession(address.rstrip("/") + "/", timeout=timeout) as session:
        yield App(role, address, session, token)


async def _outcomes(checks: Mapping[str, Check]) -> list[Outcome]:
    """Try all checks, but those of an app that does not answer at all, for TOTAL_SECONDS at most."""
    outcomes: list[Outcome] = []
    until, dead = time.monotonic() + TOTAL_SECONDS, set[str]()
    for name, check in checks.items():
        role, left = name.partition(":")[0], until - time.monotonic()
        if role in dead or left <= 0:
            outcomes.append(Outcome(name, "not tried: " + ("the app is away" if role in dead else "out of time"), 0))
            continue
        outcomes.append(await _outcome(name, check, left))
        if IS_UP in name and outcomes[-1].fault.startswith(AWAY):
            dead.add(role)
    return outcomes


async def _outcome(name: str, check: Check, seconds: float) -> Outcome:
    began = time.perf_counter()
    try:
        async with asyncio.timeout(seconds):
            await check()
        fault = ""
    except (aiohttp.ClientError, TimeoutError) as error:
        fault = f"{AWAY}{type(error).__name__}: {error}"
    except (Failed, ValueError, LookupError, TypeError, AttributeError) as error:
        # The last three: an answer is JSON of another form.
        fault = f"{type(error).__name__}: {error}" if not isinstance(error, Failed) else str(error)
    return Outcome(name, fault, time.perf_counter() - began)


async def _checks(scim: App, admin: App) -> dict[str, Check]:
    """Return all checks by name, in their order."""
    checks: dict[str, Check] = {}
    for app in (scim, admin):
        checks |= {
            f"{app.role}: {IS_UP}, and its storage takes a row and gives it back": partial(_is_healthy, app),
            f"{app.role}: refuses who has no token, or another": partial(_refuses_strangers, app),
            f"{app.role}: takes no person from forged headers": partial(_ignores_headers, app),
        }
    checks |= {
        "scim: says what it can do": partial(_discovers, scim),
        "scim: a user is made, found, switched off, deleted": partial(_user_lives, scim),
        "scim: a group gets a member, and is deleted": partial(_group_lives, scim),
        "admin: its portal lets in nobody who has not signed in": partial(_hides_portal, admin),
        "admin: an import of one account goes through Durable Functions": partial(_import_ends, admin),
    }
    if scim.address != admin.address:
        checks |= {
            "scim: opens none of the administrator's doors": partial(_stays_shut, scim, "linking/runs"),
            "scim: has no portal": partial(_stays_shut, scim, "portal"),
            "admin: opens no SCIM": partial(_stays_shut, admin, "scim/v2/Users"),
        }
    for app in (scim, admin):
        for function in await functions_of(app.role):
            for method in sorted(function.methods - {"HEAD"}):
                name = f"{app.role}: {method} /{function.route} is answered by its function"
                checks[name] = partial(_answers, app, method, function)
    return checks


async def functions_of(role: Role) -> tuple[HttpFunction, ...]:
    """Return the HTTP functions of this version that an app of a role has, but for the last one and health."""
    import function_app

    with tempfile.TemporaryDirectory() as folder:
        tables = SqliteTables.open(Path(folder) / "none.db")
        found = read_functions(function_app.build(Settings(app_roles=frozenset({role})), tables)).http
        await tables.close()
    return tuple(f for f in found if f.name != UNANSWERED and not f.route.startswith("health"))


async def _is_healthy(app: App) -> None:
    for path in ("health/live", "health/ready"):
        await app.expect("GET", path)


def _door(app: App) -> str:
    return "scim/v2/Users" if app.role == "scim" else "linking/runs"


async def _refuses_strangers(app: App) -> None:
    for token in ("", "x" * 43):
        status, _ = await app.call("GET", _door(app), token=token)
        # App Service Authentication answers before the app does, and may send a person to sign in.
        if status not in ({401} if app.role == "scim" else {401, 403, 302}):
            raise Failed(f"{status} for {'another' if token else 'no'} token")


async def _ignores_headers(app: App) -> None:
    status, _ = await app.call("GET", _door(app), token="", **FORGED)
    if status not in ({401} if app.role == "scim" else {401, 403, 302}):
        raise Failed(f"{status} for a principal that was made up")


async def _hides_portal(admin: App) -> None:
    # Whoever sits at the machine of a local host is signed in there, but for who says so in a header.
    local = urlsplit(admin.address).hostname in ("127.0.0.1", "::1", "localhost")
    for headers in [FORGED] if local else [{}, FORGED]:
        status, _ = await admin.call("GET", "portal", token="", **headers)
        if status < 300:
            raise Failed(f"{status} for {'a principal that was made up' if headers else 'nobody'}")


async def _stays_shut(app: App, path: str) -> None:
    status, text = await app.call("GET", path)
    # A token that opens one role is told so (403) whether the path is there or not.
    if status not in (401, 403, 404):
        raise Failed(f"{status}, {text[:200]}")


async def _discovers(scim: App) -> None:
    config = await scim.expect("GET", "scim/v2/ServiceProviderConfig")
    if not config["patch"]["supported"]:
        raise Failed("PATCH is not supported")
    types = {one["name"] for one in (await scim.expect("GET", "scim/v2/ResourceTypes"))["Resources"]}
    schemas = {one["id"] for one in (await scim.expect("GET", "scim/v2/Schemas"))["Resources"]}
    if not ({"User", "Group"} <= types and {USER, GROUP} <= schemas):
        raise Failed(f"{sorted(types)}, {sorted(schemas)}")


def _probe() -> str:
    return f"smoke-{uuid4().hex}@smoke.invalid"


@asynccontextmanager
async def _removed(app: App, path: str, *statuses: int) -> AsyncIterator[None]:
    """Delete what is at a path behind the block, also where the block fails: then that it failed is what counts."""
    try:
        yield
    except BaseException:
        with suppress(Failed, aiohttp.ClientError, TimeoutError):
            await app.expect("DELETE", path, None, *statuses)
        raise
    await app.expect("DELETE", path, None, *statuses)


async def _user_lives(scim: App) -> None:
    name = _probe()
    user = await scim.expect("POST", "scim/v2/Users", {"schemas": [USER], "userName": name, "active": True}, 201)
    path = f"scim/v2/Users/{user['id']}"
    async with _removed(scim, path, 204):
        found = await scim.expect("GET", f'scim/v2/Users?filter=userName eq "{name}"')
        if [one["id"] for one in found["Resources"]] != [user["id"]]:
            raise Failed(f"{found['totalResults']} found by userName")
        off = {"schemas": [PATCH_OP], "Operations": [{"op": "replace", "path": "active", "value": False}]}
        if (await scim.expect("PATCH", path, off, 200))["active"] is not False:
            raise Failed("the user is still active")
    await scim.expect("GET", path, None, 404)


async def _group_lives(scim: App) -> None:
    user = await scim.expect("POST", "scim/v2/Users", {"schemas": [USER], "userName": _probe()}, 201)
    async with _removed(scim, f"scim/v2/Users/{user['id']}", 204):
        group = await scim.expect("POST", "scim/v2/Groups", {"schemas": [GROUP], "displayName": _probe()}, 201)
        path = f"scim/v2/Groups/{group['id']}"
        async with _removed(scim, path, 204):
            member = {"op": "add", "path": "members", "value": [{"value": user["id"]}]}
            await scim.expect("PATCH", path, {"schemas": [PATCH_OP], "Operations": [member]}, 200, 204)
            members = (await scim.expect("GET", path)).get("members", [])
            if [one["value"] for one in members] != [user["id"]]:
                raise Failed(f"{len(members)} members, expected the one that was added")


async def _import_ends(admin: App) -> None:
    name = _probe()
    status, text = await admin.call(
        "POST", "accounts/import", f"userName\n{name}\n".encode(), **{"Content-Type": "text/csv"}
    )
    if status != 202:
        raise Failed(f"POST accounts/import: {status}, {text[:200]}")
    try:
        await _wait_for(admin, f"accounts/imports/{json.loads(text)['id']}")
    finally:
        # Whatever became of the job: it may have made the account.
        found = (await admin.expect("GET", f"accounts?userName={name}"))["accounts"]
        for account in found:
            await admin.expect("DELETE", f"accounts/{account['id']}", None, 200, 204)
    if len(found) != 1:
        raise Failed(f"{len(found)} accounts of that name")


async def _wait_for(admin: App, path: str) -> None:
    """Wait until a job is done; one that takes too long is cancelled, so that it makes nothing later."""
    until = time.monotonic() + JOB_SECONDS
    while (job := await admin.expect("GET", path))["phase"] != "done":
        if "ended" in job or time.monotonic() > until:
            if "ended" not in job:
                await admin.call("POST", f"{path}/cancel")
            raise Failed(f"the import is {job['phase']}: {job.get('reason', 'it takes too long')}")
        await asyncio.sleep(0.5)


async def _answers(app: App, method: str, function: HttpFunction) -> None:
    """Call a function with what it refuses, or finds nothing for. The last function of all must not have answered."""
    path = re.sub(r"\{\*?\w+\}", NOBODY, function.route)
    if function.name in UNCALLED:
        await app.expect("OPTIONS", path, None, 204)
        return
    status, text = await app.call(method, path, None if method in ("GET", "DELETE") else NO_OBJECT)
    if status >= 500 or status in (401, 403, 405) or not text:
        raise Failed(f"{status}, {text[:200]}")
    if status == 404 and "no such endpoint" in text:
        raise Failed("no function has this route")
    if method not in ("GET", "DELETE") and status < 400:
        raise Failed(f"{status}: it took a body that is no object")


if __name__ == "__main__":
    sys.exit(main())
