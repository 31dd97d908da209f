"""Reads what a function app registered: its HTTP and timer functions, activities and orchestrators, ready to be called.

Bindings are named as in function.json. A function of another kind does not run on a laptop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import azure.functions as func
from azure.functions.decorators.function_app import Function

from infra.local.durable import wire

log = logging.getLogger(__name__)

AsyncFunction = Callable[..., Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class InvocationContext:
    """What a function with a parameter named `context` gets: the part of azure.functions.Context that is known here."""

    function_name: str
    invocation_id: str = field(default_factory=lambda: str(uuid4()))


@dataclass(frozen=True, slots=True)
class HttpFunction:
    """A function behind a route such as `scim/v2/Users/{id}`. No methods means all of them."""

    name: str
    route: str
    methods: frozenset[str]
    call: AsyncFunction
    request_name: str
    client_names: tuple[str, ...]
    wants_context: bool


@dataclass(frozen=True, slots=True)
class TimerFunction:
    """A function that runs at the moments of an NCRONTAB expression."""

    name: str
    schedule: str
    call: AsyncFunction
    timer_name: str
    client_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Functions:
    """All functions of an app by kind. An orchestrator is given its history as JSON and answers what it asks for."""

    http: tuple[HttpFunction, ...]
    activities: Mapping[str, Callable[[Any], Awaitable[Any]]]
    orchestrators: Mapping[str, Callable[[str], Awaitable[wire.ReplayOutcome]]]
    timers: tuple[TimerFunction, ...] = ()


def read_functions(app: func.FunctionRegister) -> Functions:
    """Return the functions of an app. An app answers this once only (get_functions refuses a second call)."""
    http: list[HttpFunction] = []
    timers: list[TimerFunction] = []
    activities: dict[str, Callable[[Any], Awaitable[Any]]] = {}
    orchestrators: dict[str, Callable[[str], Awaitable[wire.ReplayOutcome]]] = {}
    for function in app.get_functions():
        name, trigger = str(function.get_function_name()), function.get_trigger()
        match trigger and trigger.type:
            case "httpTrigger":
                http.append(_http_function(name, function))
            case "timerTrigger":
                timers.append(_timer_function(name, function))
            case "activityTrigger":
                activities[name] = _activity(name, function)
            case "orchestrationTrigger":
                orchestrators[name] = _orchestrator(function)
            case other:
                log.info("the function %s has a %s, which does not run on a laptop", name, other)
    return Functions(tuple(http), activities, orchestrators, tuple(timers))


def _http_function(name: str, function: Function) -> HttpFunction:
    trigger = function.get_trigger()
    methods = getattr(trigger, "methods", None) or ()
    call = function.get_user_function()
    return HttpFunction(
        name=name,
        route=getattr(trigger, "route", name),
        methods=frozenset(getattr(m, "value", str(m)).upper() for m in methods),
        call=_awaitable(call),
        request_name=getattr(trigger, "name", "req"),
        client_names=_client_names(function),
        wants_context="context" in inspect.signature(call).parameters,
    )


def _timer_function(name: str, function: Function) -> TimerFunction:
    trigger = function.get_trigger()
    return TimerFunction(
        name=name,
        schedule=getattr(trigger, "schedule", ""),
        call=_awaitable(function.get_user_function()),
        timer_name=getattr(trigger, "name", "timer"),
        client_names=_client_names(function),
    )


def _client_names(function: Function) -> tuple[str, ...]:
    return tuple(binding.name for binding in function.get_bindings() if binding.type == "durableClient")


def _activity(name: str, function: Function) -> Callable[[Any], Awaitable[Any]]:
    call = _awaitable(function.get_user_function())
    argument = getattr(function.get_trigger(), "name", "")
    wants_context = argument != "context" and "context" in inspect.signature(call).parameters

    async def run(value: Any) -> Any:
        return await call(**{argument: value}, **({"context": InvocationContext(name)} if wants_context else {}))

    return run


def _orchestrator(function: Function) -> Callable[[str], Awaitable[wire.ReplayOutcome]]:
    call = function.get_user_function()

    async def replay(request: str) -> wire.ReplayOutcome:
        return wire.replay(call, request)

    return replay


def _awaitable(call: Callable[..., Any]) -> AsyncFunction:
    """Return an `async def` function as it is, and a plain one as a call on a thread, as Azure's worker runs it."""
    if inspect.iscoroutinefunction(call):
        return call

    async def on_a_thread(**arguments: Any) -> Any:
        return await asyncio.to_thread(call, **arguments)

    on_a_thread.__signature__ = inspect.signature(call)  # type: ignore[attr-defined]  # read by inspect.signature
    return on_a_thread
