"""What the local host hands to an HTTP function and makes of its answer, over real sockets."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import azure.durable_functions as df
import azure.functions as func
import pytest

from infra.local import host as local_host
from infra.local.host import LocalHost
from shared.tables.sqlite import SqliteTables
from tests.infra.durable_app import build
from tests.waiting import until


def _app() -> df.DFApp:
    app = build()

    def told(req: func.HttpRequest, **more: Any) -> func.HttpResponse:
        seen = {
            "method": req.method,
            "url": req.url,
            "params": dict(req.params),
            "route": dict(req.route_params),
            "header": req.headers.get("X-Thing"),
            "body": req.get_body().decode(),
            **more,
        }
        return func.HttpResponse(json.dumps(seen), status_code=203, mimetype="application/scim+json")

    @app.route(route="scim/v2/Users/{id}", methods=["GET", "PUT"])
    async def user(req: func.HttpRequest) -> func.HttpResponse:
        return told(req)

    @app.route(route="scim/v2/Users/.search")
    async def search(req: func.HttpRequest, context: func.Context) -> func.HttpResponse:
        return told(req, function=context.function_name)

    @app.route(route="files/{*rest}")
    def on_a_thread(req: func.HttpRequest) -> func.HttpResponse:
        return told(req)

    @app.route(route="broken/{how}")
    async def broken(req: func.HttpRequest) -> func.HttpResponse:
        if req.route_params["how"] == "raises":
            raise RuntimeError("a secret")
        return None  # type: ignore[return-value]  # what a forgetful function returns

    @app.route(route="plain")
    async def plain(req: func.HttpRequest) -> func.HttpResponse:
        return func.HttpResponse("ü", headers={"ETag": 'W/"1"'})

    _add_durable(app)
    return app


def _add_durable(app: df.DFApp) -> None:
    @app.route(route="runs/{name}", methods=["POST"])
    @app.durable_client_input(client_name="client")
    async def start(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        instance_id = await client.start_new(req.route_params["name"], req.params.get("id"), req.get_json())
        return func.HttpResponse(instance_id, status_code=202)

    @app.route(route="instances/{id}/{verb}")
    @app.durable_client_input(client_name="client")
    async def instance(req: func.HttpRequest, client: df.DurableOrchestrationClient) -> func.HttpResponse:
        instance_id = req.route_params["id"]
        match req.route_params["verb"]:
            case "status":
                status = await client.get_status(instance_id)
                return func.HttpResponse(json.dumps(status.to_json() if status else None))
            case "raise":
                await client.raise_event(instance_id, "approve", {"by": "me"})
            case "purge":
                purged = await client.purge_instance_history(instance_id)
                return func.HttpResponse(str(purged.instances_deleted))
        return func.HttpResponse(status_code=202)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[LocalHost]:
    tables = SqliteTables.open(tmp_path / "hub.db", "hub")
    async with LocalHost(_app(), tables) as started:
        yield started
    await tables.close()


@pytest.fixture
async def client(host: LocalHost) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(host.url) as session:
        yield session


async def test_a_function_sees_the_request_as_in_azure(host: LocalHost, client: aiohttp.ClientSession) -> None:
    target = "/scim/v2/users/a%20b/?Filter=x%2By&many=1&many=2&empty="
    async with client.put(target, data="body ü", headers={"x-thing": "yes"}) as answer:
        assert answer.status == 203
        assert answer.headers["Content-Type"] == "application/scim+json"
        seen = await answer.json(content_type=None)
    assert seen == {
        "method": "PUT",
        "url": host.url + target,
        "params": {"Filter": "x+y", "many": "1,2"},
        "route": {"id": "a b"},
        "header": "yes",
        "body": "body ü",
    }


async def test_an_encoded_slash_does_not_divide_a_path(host: LocalHost) -> None:
    answer = await host.handle("GET", "/%73cim/v2/Users/a%2Fb%20c")
    assert json.loads(answer.get_body())["route"] == {"id": "a%2Fb c"}


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ({"b_one": "things/one", "a_any": "things/{id}"}, "a_any"),
        ({"a_one": "things/one", "b_any": "things/{id}"}, "a_one"),
        ({"Z_rest": "things/{*rest}", "z_one": "things/one", "y_other": "other/one"}, "z_one"),
        ({"a_b": "things/one", "ab": "things/{id}"}, "ab"),
        ({"a_other": "things/one/more", "rest": "{*rest}"}, "rest"),
        ({"a_put": "things/{id}", "b_one": "things/one"}, "b_one"),
    ],
)
async def test_of_routes_that_match_the_first_by_the_name_of_its_function_answers(
    tmp_path: Path, names: dict[str, str], first: str
) -> None:
    """As in Azure, where neither literals nor long routes have precedence; in .NET "_" sorts behind the letters."""
    app = df.DFApp()

    def add(name: str, route: str) -> None:
        @app.function_name(name)
        @app.route(route, methods=["PUT" if "put" in name else "GET"])
        async def answer(req: func.HttpRequest) -> func.HttpResponse:
            return func.HttpResponse(name)

    for name, route in names.items():
        add(name, route)
    tables = SqliteTables.open(tmp_path / "histories.db")
    async with LocalHost(app, tables) as host:
        assert (await host.handle("GET", "/things/one")).get_body().decode() == first
    await tables.close()


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("Filter=a&filter=b&FILTER=c", {"Filter": "a,b,c"}),
        ("a=1&b=&a=", {"a": "1,"}),
        ("a&b=&c==", {"c": "="}),
        ("a=%2B+%26", {"a": "+ &"}),
    ],
)
async def test_names_of_parameters_that_differ_in_case_are_one(
    host: LocalHost, query: str, params: dict[str, str]
) -> None:
    answer = await host.handle("GET", f"/scim/v2/Users/7?{query}")
    assert json.loads(answer.get_body())["params"] == params


async def test_a_body_in_chunks_does_not_arrive(host: LocalHost, client: aiohttp.ClientSession) -> None:
    """As in Azure, whose host hands on a body with a Content-Length alone."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 100_000

    for _ in range(2):  # the connection is good for more
        async with client.put("/scim/v2/Users/7", data=chunks()) as answer:
            assert (await answer.json(content_type=None))["body"] == ""
        async with client.put("/scim/v2/Users/7", data=b"whole") as answer:
            assert (await answer.json(content_type=None))["body"] == "whole"


async def test_a_body_beyond_what_azure_takes_is_a_bare_413(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert local_host.MAX_BODY == 104_857_600
    monkeypatch.setattr(local_host, "MAX_BODY", 10)
    async with client.put("/scim/v2/Users/7", data=b"x" * 10) as answer:
        assert answer.status == 203
    async with client.put("/scim/v2/Users/7", data=b"x" * 11) as answer:
        assert (answer.status, await answer.read()) == (413, b"")


async def test_a_host_that_is_no_name_is_a_bare_400(client: aiohttp.ClientSession) -> None:
    """As in Azure. An answer repeats the name, and a byte that is no UTF-8 broke it after all was done."""
    for name in ("localhost", "127.0.0.1:7071", "[::1]:80", "a_b.example-1.com"):
        async with client.get("/plain", headers={"Host": name}) as answer:
            assert answer.status == 200, name
    for name in ("a b", 'a"b', "a/b", "a@b", "a:b", "\xff", "[a"):
        async with client.get("/plain", headers={"Host": name}) as answer:
            assert (answer.status, await answer.read()) == (400, b""), name


async def test_a_catch_all_has_the_rest_of_the_path_even_where_there_is_none(client: aiohttp.ClientSession) -> None:
    for path, route in (
        ("/files", {}),
        ("/files/", {}),
        ("/files/a/b/", {"rest": "a/b/"}),
        ("/files/a//b//", {"rest": "a//b//"}),
    ):
        async with client.get(path) as answer:
            assert (await answer.json(content_type=None))["route"] == route


async def test_an_address_with_its_host_is_one_without(host: LocalHost) -> None:
    """A server must take both (RFC 9112 section 3.2.2)."""
    for target in ("http://127.0.0.1:7071/scim/v2/Users/7?a=1", "HTTP://localhost/scim/v2/Users/7?a=1"):
        seen = json.loads((await host.handle("GET", target, {"Host": "here:1"})).get_body())
        assert (seen["url"], seen["route"], seen["params"]) == (
            "http://here:1/scim/v2/Users/7?a=1",
            {"id": "7"},
            {"a": "1"},
        )


async def test_head_has_what_get_has_but_the_body(client: aiohttp.ClientSession) -> None:
    async with client.head("/plain") as answer:
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Length"] == "2"


async def test_a_plain_function_runs_on_a_thread(client: aiohttp.ClientSession) -> None:
    async with client.get("/files/a/b/c") as answer:
        assert (await answer.json(content_type=None))["route"] == {"rest": "a/b/c"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/scim/v2/Users"),
        ("DELETE", "/scim/v2/Users/1"),
        ("GET", "/x/plain"),
        # Azure's host finds no function for an empty segment either, nor for letters that only look alike.
        ("GET", "//plain"),
        ("GET", "/plain//"),
        ("GET", "/files//"),
        ("GET", "/files//a"),
        ("GET", "/f%C4%B1les/a"),
    ],
)
async def test_what_no_function_answers_is_a_bare_404(
    host: LocalHost, client: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with client.request(method, host.url + path) as answer:
        assert (answer.status, await answer.read()) == (404, b"")


@pytest.mark.parametrize("how", ["raises", "forgets"])
async def test_a_function_that_fails_is_a_bare_500(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    with caplog.at_level(logging.ERROR):
        async with client.get(f"/broken/{how}") as answer:
            assert (answer.status, await answer.read()) == (500, b"")
    assert "the function broken" in caplog.text


async def test_a_text_answer_has_its_charset_and_headers(client: aiohttp.ClientSession) -> None:
    async with client.get("/plain") as answer:
        assert (await answer.read()).decode() == "ü"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert answer.headers["ETag"] == 'W/"1"'


async def test_a_request_needs_no_socket(host: LocalHost) -> None:
    answer = await host.handle("GET", "/scim/v2/Users/7?a=1", {"X-Thing": "t"})
    seen = json.loads(answer.get_body())
    assert (answer.status_code, seen["route"], seen["params"], seen["header"]) == (203, {"id": "7"}, {"a": "1"}, "t")


async def _status(client: aiohttp.ClientSession, instance_id: str, wanted: str) -> Any:
    async def status() -> Any:
        async with client.get(f"/instances/{instance_id}/status") as answer:
            told = await answer.json(content_type=None)
        return told if told["runtimeStatus"] == wanted else None

    return await until(status)


async def test_the_durable_client_starts_and_asks(client: aiohttp.ClientSession) -> None:
    async with client.post("/runs/fan?id=one", json=3) as answer:
        assert (answer.status, await answer.text()) == (202, "one")
    status = await _status(client, "one", "Completed")
    assert (status["name"], status["input"], status["output"]) == ("fan", 3, 6)
    assert status["createdTime"] <= status["lastUpdatedTime"]


async def test_an_event_of_the_python_client_arrives_as_a_json_string(client: aiohttp.ClientSession) -> None:
    """As in Azure: the client encodes twice and the host decodes once."""
    async with client.post("/runs/race?id=one", json=60_000):
        pass
    async with client.get("/instances/one/raise") as answer:
        assert answer.status == 202
    assert json.loads((await _status(client, "one", "Completed"))["output"]) == {"by": "me"}


async def test_the_durable_client_purges_what_has_ended(client: aiohttp.ClientSession) -> None:
    async def purged() -> str:
        async with client.get("/instances/one/purge") as answer:
            return await answer.text()

    async with client.post("/runs/race?id=one", json=60_000):
        pass
    assert await purged() == "0"
    async with client.get("/instances/one/raise"):
        pass
    await _status(client, "one", "Completed")
    assert [await purged(), await purged()] == ["1", "0"]
    async with client.get("/instances/one/status") as answer:
        assert await answer.json(content_type=None) is None


@pytest.mark.parametrize("path", ["/runs/nothing?id=one", "/instances/none/raise"])
async def test_the_durable_client_raises_for_what_is_not_there(
    client: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    async with client.post(path, json=1) as answer:
        assert answer.status == 500
    assert "no orchestrator function 'nothing'" in caplog.text or "No instance with ID" in caplog.text


@pytest.mark.parametrize("timers", [True, False])
async def test_timers_run_where_they_are_asked_for(tmp_path: Path, timers: bool) -> None:
    app, came = build(), list[Any]()

    @app.timer_trigger(schedule="* * * * * *", arg_name="timer")
    @app.durable_client_input(client_name="client")
    async def look(timer: func.TimerRequest, client: df.DurableOrchestrationClient) -> None:
        came.append((timer.past_due, (await client.get_status("nobody")).runtime_status))

    tables = SqliteTables.open(tmp_path / "histories.db")
    async with LocalHost(app, tables, timers=timers) as host:
        if timers:
            await until(lambda: came)
        else:
            assert came == []
            await host.run_timer("look")
            assert came == [(False, None)]
    await tables.close()
