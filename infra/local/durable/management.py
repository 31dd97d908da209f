"""The HTTP API by which the SDK's DurableOrchestrationClient reaches the executor, and the binding that names it.

In Azure the extension serves it on the host's loopback address. Here it has a port of its own and a random key in its
path. The client may start, ask, tell and purge; what else it knows is answered with 404.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from aiohttp import web

from infra.local.closing import close
from infra.local.durable.executor import AlreadyStarted, Executor, UnknownOrchestrator
from infra.local.durable.store import OPEN, Head
from shared.tables.port import LimitExceeded

_INSTANCE = "/instances/{instance}"
_MAX_BODY = 16 * 1024 * 1024


class Management:
    """Serves the API for one executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._key = secrets.token_urlsafe(24)
        self._runner: web.AppRunner | None = None
        self.binding = ""
        """The JSON that a durable client binding receives."""

    async def start(self) -> None:
        """Listen on a free loopback port."""
        app = web.Application(client_max_size=_MAX_BODY)
        root = f"/{self._key}"
        app.add_routes(
            [
                web.post(f"{root}/orchestrators/{{name}}", self._start_new),
                web.post(f"{root}/orchestrators/{{name}}/{{instance}}", self._start_new),
                web.get(f"{root}{_INSTANCE}", self._status),
                web.delete(f"{root}{_INSTANCE}", self._purge),
                web.post(f"{root}{_INSTANCE}/raiseEvent/{{event}}", self._raise_event),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.binding = json.dumps(binding(f"http://{host}:{port}{root}"))

    async def close(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await close(self._runner)

    async def _start_new(self, request: web.Request) -> web.Response:
        # The client sends its input as JSON inside a JSON string.
        body = await request.text()
        sent = json.loads(body) if body else None
        input_text = sent if sent is None or isinstance(sent, str) else json.dumps(sent)
        try:
            instance_id = await self._executor.start_new(
                request.match_info["name"], request.match_info.get("instance"), input_text
            )
        except (UnknownOrchestrator, LimitExceeded) as problem:
            return web.json_response({"ExceptionMessage": str(problem)}, status=400)
        except AlreadyStarted as problem:
            # Azure says it with a status of 500 (https://github.com/Azure/azure-sdk-for-python/issues/28602).
            told = {"Message": "Something went wrong while processing your request", "ExceptionMessage": str(problem)}
            return web.json_response(told, status=500)
        return web.json_response({"id": instance_id}, status=202)

    async def _status(self, request: web.Request) -> web.Response:
        head = await self._executor.find(request.match_info["instance"])
        if head is None:
            return web.Response(status=404)
        status = _status(head, await self._executor.store.find_input(head))
        return web.json_response(status, status=202 if head.status in OPEN else 200)

    async def _raise_event(self, request: web.Request) -> web.Response:
        # Also JSON inside a JSON string, and here Azure does not open it: the orchestrator is given the string
        # (https://github.com/Azure/azure-functions-durable-python/issues/295).
        text = json.dumps(await request.json())
        head = await self._executor.raise_event(request.match_info["instance"], request.match_info["event"], text)
        # 202 for an instance that was open, 410 for one that had ended.
        return web.Response(status=404 if head is None else 202 if head.status in OPEN else 410)

    async def _purge(self, request: web.Request) -> web.Response:
        removed = await self._executor.purge(request.match_info["instance"])
        return web.json_response({"instancesDeleted": int(removed)}, status=200 if removed else 404)


def _status(head: Head, input_text: str | None) -> dict[str, Any]:
    texts = {"input": input_text, "output": head.output, "customStatus": head.custom_status}
    return {
        "name": head.name,
        "instanceId": head.instance_id,
        "runtimeStatus": head.status,
        "createdTime": head.created,
        "lastUpdatedTime": head.updated,
        **{name: None if text is None else json.loads(text) for name, text in texts.items()},
    }


def binding(base: str) -> dict[str, Any]:
    """Return the binding. The client itself uses rpcBaseUrl alone; the other addresses are for its callers."""
    one = f"{base}/instances/INSTANCEID"
    urls = {
        "id": "INSTANCEID",
        "statusQueryGetUri": one,
        "sendEventPostUri": f"{one}/raiseEvent/{{eventName}}",
        "purgeHistoryDeleteUri": one,
    }
    create = f"{base}/orchestrators/{{functionName}}"
    return {
        "taskHubName": "scimlinkdurable",
        "creationUrls": {"createNewInstancePostUri": f"{create}[/{{instanceId}}]"},
        "managementUrls": urls,
        "rpcBaseUrl": f"{base}/",
    }
