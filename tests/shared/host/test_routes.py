"""Every request reaches its function under the rule of Azure's host, and what no function answers is answered well."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import azure.functions as func
import pytest

import function_app
from infra.local import host as local_host
from infra.local.functions import AsyncFunction, Functions, HttpFunction, read_functions
from infra.local.host import LocalHost, Routes
from shared.host.functions import UNANSWERED
from shared.host.http import Edge
from shared.host.routes import matcher
from shared.host.settings import ROLES, Settings
from shared.tables.sqlite import SqliteTables
from tests.scim_groups.test_service import assert_error
from tests.scim_users.conftest import ADMIN_TOKEN, TOKEN, Server

NAME = "X-Function"
WITHOUT_TOKEN = {"health": 200, "health_live": 200, "health_ready": 200, "portal_page": 404, "portal_form": 404}
"""What functions answer to whoever brings no token, where it is not 401. Nobody signs in here: there is no portal."""


def naming(name: str) -> AsyncFunction:
    async def answer(**_: object) -> func.HttpResponse:
        return func.HttpResponse(headers={NAME: name})

    return answer


@pytest.fixture
def functions(sqlite_tables: SqliteTables) -> Functions:
    """The app's functions. Each HTTP function answers with its name."""
    found = read_functions(function_app.build(Settings.local("token"), sqlite_tables))
    return replace(found, http=tuple(replace(f, call=naming(f.name)) for f in found.http))


@pytest.fixture
async def session(
    functions: Functions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of a host that serves these functions."""
    monkeypatch.setattr(local_host, "read_functions", lambda app: functions)
    histories = SqliteTables.open(tmp_path / "histories.db")
    async with LocalHost(func.FunctionApp(), histories) as host, aiohttp.ClientSession(host.url) as opened:
        yield opened
    await histories.close()


async def test_every_function_is_sent_the_requests_of_its_own_route(
    functions: Functions, session: aiohttp.ClientSession
) -> None:
    for function in functions.http:
        path = path_of(function.route)
        for method in function.methods or ("GET", "OPTIONS"):
            async with session.request(method, path) as answer:
                assert answer.headers[NAME] == function.name, (method, path)


async def test_every_function_but_those_of_health_asks_for_a_token(
    functions: Functions, sqlite_tables: SqliteTables, tmp_path: Path
) -> None:
    histories = SqliteTables.open(tmp_path / "histories.db")
    app = function_app.build(Settings(app_roles=ROLES), sqlite_tables)
    async with LocalHost(app, histories) as host, aiohttp.ClientSession(host.url) as session:
        for function in functions.http:
            for method in function.methods or ("GET", "OPTIONS"):
                async with session.request(method, path_of(function.route), json={}) as answer:
                    assert answer.status == WITHOUT_TOKEN.get(function.name, 401), (method, function.name)
    await histories.close()


def path_of(route: str) -> str:
    """Return a path that a route matches."""
    return "/" + re.sub(r"\{\*?\w+\}", "0f9a", route)


def test_no_two_routes_match_one_request_but_that_of_the_last_function_by_name(functions: Functions) -> None:
    *others, last = sorted(functions.http, key=lambda function: function.name.upper())
    assert (last.name, last.route, last.methods) == (UNANSWERED, "{*path}", frozenset())
    for one, other in itertools.combinations(others, 2):
        assert not (one.methods & other.methods and overlap(one, other)), (one.name, other.name)


def overlap(one: HttpFunction, other: HttpFunction) -> bool:
    """Tell whether a path could match both routes."""
    segments = [function.route.lower().split("/") for function in (one, other)]
    rests = [len(each) - 1 if each[-1].startswith("{*") else None for each in segments]
    fixed = [each[:rest] for each, rest in zip(segments, rests, strict=True)]
    same_length = len(fixed[0]) == len(fixed[1])
    may_be_as_long = same_length or any(
        rest is not None and len(fixed[1 - number]) > rest for number, rest in enumerate(rests)
    )
    return may_be_as_long and all(a == b or "{" in a + b for a, b in zip(*fixed, strict=False))


def in_dotnet(route: str, path: str) -> dict[str, str] | None:
    """Return the parameters of a path as aspnetcore's RoutePatternMatcher finds them, or None."""
    template, segments, values, at = route.split("/"), path[1:].split("/"), dict[str, str](), 1
    if segments[-1] == "":
        segments.pop()  # one slash at the end does not count
    for number, segment in enumerate(segments):
        if segment == "" or number >= len(template):
            return None
        part = template[number]
        if part.startswith("{*"):
            return values | {part[2:-1]: path[at:]}
        if part.startswith("{"):
            values[part[1:-1]] = segment
        elif part.lower() != segment.lower():
            return None
        at += len(segment) + 1
    return values if template[len(segments) :] == [] or template[len(segments)].startswith("{*") else None


async def test_any_request_goes_where_azures_host_sends_it(functions: Functions) -> None:
    """Held against the host's own rules on 5,000 addresses near those of the app."""
    dice, routes = random.Random(7), Routes(functions.http)
    by_name = sorted(functions.http, key=lambda function: function.name.upper())
    words = sorted({word for function in by_name for word in function.route.split("/")} | {"", ".", "..", "%2F", "x"})
    for _ in range(5_000):
        segments = dice.choice(by_name).route.split("/")
        for _ in range(dice.randint(0, 3)):
            segments[dice.randrange(len(segments))] = dice.choice(words)
        path = "/" + "/".join([*segments, *dice.choices(words, k=dice.choice((0, 0, 0, 1)))])
        path, method = dice.choice((path, path.upper())), dice.choice(("GET", "HEAD", "POST", "PUT", "OPTIONS"))
        takers = (function for function in by_name if not function.methods or method in function.methods)
        sent = ((function.name, in_dotnet(function.route, path)) for function in takers)
        found = routes.find(method, path)
        assert (found and (found[0].name, found[1])) == next((one for one in sent if one[1] is not None), None), path


PATHS = (
    ("/scim/v2/Users", TOKEN, "GET, HEAD, OPTIONS, POST"),
    ("/scim/v2/users/", TOKEN, "GET, HEAD, OPTIONS, POST"),
    ("/scim/v2/Users/0f9a", TOKEN, "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"),
    ("/scim/v2/Users/.search", TOKEN, "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ("/scim/v2/Bulk", TOKEN, "OPTIONS, POST"),
    ("/scim/v2/ServiceProviderConfig", TOKEN, "GET, HEAD, OPTIONS"),
    ("/scim/v2", TOKEN, "GET, HEAD, OPTIONS"),
    ("/accounts/0f9a", ADMIN_TOKEN, "DELETE, GET, HEAD, OPTIONS, PATCH"),
    ("/linking/runs", ADMIN_TOKEN, "GET, HEAD, OPTIONS, POST"),
    ("/openapi.json", ADMIN_TOKEN, "GET, HEAD, OPTIONS"),
    ("/health/ready", ADMIN_TOKEN, "GET, HEAD, OPTIONS"),
)


@pytest.mark.parametrize(("path", "token", "allowed"), PATHS)
async def test_an_address_says_which_methods_it_takes(server: Server, path: str, token: str, allowed: str) -> None:
    headers = {"Authorization": f"Bearer {token}"}
    async with server.session.options(server.url + path, headers=headers) as answer:
        assert (answer.status, answer.headers["Allow"], await answer.read()) == (204, allowed, b"")
    async with server.session.request("TRACE", server.url + path, headers=headers) as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, allowed)
        assert allowed in (await answer.json(content_type=None))["detail"]


@pytest.mark.parametrize(("path", "token", "allowed"), PATHS)
async def test_what_an_address_takes_is_told_to_nobody_without_its_token(
    server: Server, path: str, token: str, allowed: str
) -> None:
    other = TOKEN if token == ADMIN_TOKEN else ADMIN_TOKEN
    for method, sent, status in (("OPTIONS", "x", 401), ("TRACE", "x", 401), ("OPTIONS", other, 403)):
        headers = {"Authorization": f"Bearer {sent}"}
        async with server.session.request(method, server.url + path, headers=headers) as answer:
            assert (answer.status, "Allow" in answer.headers) == (status, False)


async def test_every_address_names_the_methods_of_its_functions(functions: Functions, server: Server) -> None:
    others = [function for function in functions.http if function.name != UNANSWERED]
    for path in {path_of(function.route) for function in others}:
        methods = {m for f in others if matcher(f.route)(path) for m in f.methods} | {"OPTIONS"}
        assert "HEAD" in methods or "GET" not in methods, path
        token = TOKEN if path.startswith("/scim/") else ADMIN_TOKEN
        headers = {"Authorization": f"Bearer {token}"}
        async with server.session.options(server.url + path.upper(), headers=headers) as answer:
            assert (answer.status, {*answer.headers["Allow"].split(", ")}) == (204, methods), path
        async with server.session.request("TRACE", server.url + path, headers=headers) as answer:
            assert (answer.status, {*answer.headers["Allow"].split(", ")}) == (405, methods), path


@pytest.mark.parametrize(
    "path",
    [
        "/scim/v2/Nothing",
        "/scim/v2/Users//",
        "/scim/v2//Users",
        "/scim//v2/Users",
        "/scim",
        "/",
        "/accounts/1/2/3",
        "/%F0%9F%98%80",
        "/%C5%BFcim/v2/Users",
    ],
)
async def test_what_is_no_address_is_not_found_by_any_method(server: Server, path: str) -> None:
    token = TOKEN if path.startswith("/scim/v2/") else ADMIN_TOKEN
    for method in ("GET", "HEAD", "OPTIONS", "POST", "DELETE", "TRACE"):
        headers = {"Authorization": f"Bearer {token}"}
        async with server.session.request(method, server.url + path, headers=headers) as answer:
            assert (answer.status, "Allow" in answer.headers) == (404, False)
            assert method == "HEAD" or (await answer.json(content_type=None))["status"] == "404"


async def test_for_a_stranger_no_routes_are_gone_through(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scanners ask for addresses of 8 KB, which takes every pattern milliseconds."""
    asked = list[str]()
    monkeypatch.setattr(Edge, "methods", lambda _, path: asked.append(path) or frozenset())
    for token in ("x", ADMIN_TOKEN):
        headers = {"Authorization": f"Bearer {token}"}
        async with server.session.get(f"{server.url}/linking/runs/{'a' * 7_000}/x", headers=headers) as answer:
            assert answer.status == (401 if token == "x" else 404)
    assert len(asked) == 1


@pytest.mark.parametrize("path", ["/Users", "/Groups", "/ServiceProviderConfig", "/Schemas", "", "/Users/none"])
async def test_head_answers_as_get_without_a_body(server: Server, path: str) -> None:
    got, head = [await server.send(method, path) for method in ("GET", "HEAD")]
    assert (head.status, head.body) == (got.status, None)
    for name in ("Content-Type", "Content-Length"):
        assert head.headers[name] == got.headers[name]


async def test_head_of_a_resource_has_its_version(server: Server) -> None:
    user = (await server.send("POST", "/Users", {"userName": "ada@contoso.com"})).body
    head = await server.send("HEAD", f"/Users/{user['id']}")
    assert (head.status, head.headers["ETag"]) == (200, user["meta"]["version"])
    again = await server.send("HEAD", f"/Users/{user['id']}", if_none_match=head.headers["ETag"])
    assert again.status == 304


async def test_the_root_is_the_query_over_all_types(server: Server) -> None:
    user = (await server.send("POST", "/Users", {"userName": "ada@contoso.com"})).body
    group = (await server.send("POST", "/Groups", {"displayName": "Sales"})).body
    everything = await server.send("GET", "")
    assert (everything.status, everything.body["totalResults"]) == (200, 2)
    assert [found["id"] for found in everything.body["Resources"]] == [user["id"], group["id"]]
    assert (await server.send("GET", "/")).body == everything.body
    found = await server.send("GET", '?filter=displayName eq "sales"&attributes=displayName&count=5')
    assert [one["id"] for one in found.body["Resources"]] == [group["id"]]
    assert "members" not in found.body["Resources"][0]
    assert (await server.send("GET", "?startIndex=2&count=1")).body["Resources"] == [group]
    first = await server.send("GET", "?cursor&count=1")
    after = await server.send("GET", f"?cursor={first.body['nextCursor']}&count=1")
    assert [page.body["Resources"][0]["id"] for page in (first, after)] == [user["id"], group["id"]]
    assert_error(await server.send("GET", "?sortBy=userName"), 400, "invalidValue")
    assert_error(await server.send("GET", "?filter=userName"), 400, "invalidFilter")
