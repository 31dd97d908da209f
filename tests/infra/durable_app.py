"""A small app of durable functions, and a process that runs it: `python -m tests.infra.durable_app DIR MOST`.

The process stops before more than MOST activities have had their effect, and waits to be killed.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import azure.durable_functions as df
import azure.functions as func

from infra.local.durable.executor import Executor
from infra.local.durable.store import OPEN, Head
from infra.local.host import LocalHost
from shared.tables.sqlite import SqliteTables
from tests.waiting import until

os.environ["AZURE_FUNCTIONS_DURABLE_STRICT_TYPING"] = "1"  # as in the app
Orchestration = Generator[Any, Any, Any]


class Boom(Exception):
    """What an activity here fails with."""


class Growing(df.RetryOptions):
    """Retry options whose interval grows as the extension reads it, and the SDK does not write it."""

    def to_json(self) -> dict[str, Any]:
        return {**super().to_json(), "backoffCoefficient": 10, "maxRetryIntervalInMilliseconds": 50}


class Clockwork:
    """What an orchestrator must not depend on: it differs from replay to replay."""

    ticks = 0


def build(effect: Callable[[str], None] = lambda line: None, failures: int = 0) -> df.DFApp:
    """Return a new app. Each activity calls `effect`; the activity `flaky` fails that often for each input."""
    app = df.DFApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    _add_activities(app, effect, failures)
    for orchestrator in (
        fan, window, race, patient, retrying, growing, mixed, failing, catching, giving_up, reporting, unsteady, echo,
        nameless, waiting, leaving, by_http, by_another, anew,
    ):  # fmt: skip
        app.orchestration_trigger(context_name="context")(orchestrator)
    return app


def _add_activities(app: df.DFApp, effect: Callable[[str], None], failures: int) -> None:
    left: dict[str, int] = {}

    @app.activity_trigger(input_name="n")
    async def double(n: int) -> int:
        effect(f"double {n}")
        return 2 * n

    @app.activity_trigger(input_name="n")
    async def slow(n: int) -> int:
        await asyncio.sleep(0.01)
        effect(f"slow {n}")
        return n

    @app.activity_trigger(input_name="key")
    async def flaky(key: str) -> str:
        effect(f"flaky {key}")
        left[key] = left.get(key, failures) - 1
        if left[key] >= 0:
            raise Boom("not yet")
        return key

    @app.activity_trigger(input_name="n")
    async def late(n: int) -> int:
        await asyncio.sleep(0.2)
        effect(f"late {n}")
        return n

    @app.activity_trigger(input_name="value")
    def same(value: Any) -> Any:
        return value

    @app.activity_trigger(input_name="nothing")
    async def unserializable(nothing: Any) -> Any:
        return {1, 2}


def fan(context: Any) -> Orchestration:
    n = context.get_input()
    results = yield context.task_all([context.call_activity("double", i) for i in range(n)])
    return sum(results)


def window(context: Any) -> Orchestration:
    n, total = context.get_input(), 0
    waiting = [context.call_activity("slow", i) for i in range(5)]
    begun = len(waiting)
    while waiting:
        done = yield context.task_any(waiting)
        waiting.remove(done)
        total += done.result
        if begun < n:
            waiting.append(context.call_activity("slow", begun))
            begun += 1
    return total


def race(context: Any) -> Orchestration:
    timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=context.get_input()))
    approval = context.wait_for_external_event("approve")
    first = yield context.task_any([approval, timer])
    if first is timer:
        return "too late"
    timer.cancel()
    return approval.result


def patient(context: Any) -> Orchestration:
    yield context.call_activity("slow", 1)
    first = yield context.wait_for_external_event("go")
    second = yield context.wait_for_external_event("go")
    return [first, second]


def retrying(context: Any) -> Orchestration:
    options = df.RetryOptions(first_retry_interval_in_milliseconds=5, max_number_of_attempts=3)
    result = yield context.call_activity_with_retry("flaky", options, "a")
    return result


def growing(context: Any) -> Orchestration:
    result = yield context.call_activity_with_retry("flaky", Growing(1, context.get_input()), "a")
    return result


def giving_up(context: Any) -> Orchestration:
    """Goes on when one of two activities has failed; the extension does not before the other has ended."""
    try:
        yield context.task_all([context.call_activity("flaky", "a"), context.call_activity("late", 1)])
    except Exception:
        yield context.call_activity("double", 2)
    return "went on"


def leaving(context: Any) -> Orchestration:
    """Ends while a timer that it did not cancel is open."""
    timer = context.create_timer(context.current_utc_datetime + timedelta(milliseconds=context.get_input()))
    yield context.task_any([timer, context.call_activity("double", 1)])
    return "left"


def mixed(context: Any) -> Orchestration:
    """Retries and the code's own tasks take ids from the same sequence, in any order."""
    options = df.RetryOptions(first_retry_interval_in_milliseconds=1, max_number_of_attempts=5)
    retried = [context.call_activity_with_retry("flaky", options, key) for key in "abc"]
    total = 0
    steps = [context.call_activity("slow", 0)]
    while len(steps) < 6:
        total += yield steps[-1]
        if len(steps) == 1:
            every = context.task_all(retried)
            steps.append(context.call_activity("slow", 1))
            yield context.task_any([every, steps[-1]])
        else:
            steps.append(context.call_activity("slow", len(steps)))
    results = yield every
    return [total, *results]


def failing(context: Any) -> Orchestration:
    yield context.call_activity("double", 1)
    raise Boom("gave up")


def catching(context: Any) -> Orchestration:
    seen = []
    for activity in ("unserializable", "missing"):
        try:
            yield context.call_activity(activity)
        except Exception as problem:
            seen.append(str(problem))
    return seen


def reporting(context: Any) -> Orchestration:
    context.set_custom_status({"phase": "first"})
    yield context.wait_for_external_event("next")
    context.set_custom_status({"phase": "second"})
    return "ended"


def unsteady(context: Any) -> Orchestration:
    Clockwork.ticks += 1
    yield context.call_activity("double" if Clockwork.ticks == 1 else "slow", 1)


def echo(context: Any) -> Orchestration:
    result = yield context.call_activity("same", context.get_input())
    return result


def nameless(context: Any) -> Orchestration:
    result = yield context.call_activity("same", None)
    return [result, context.get_input()]


def waiting(context: Any) -> Orchestration:
    yield context.wait_for_external_event("never")


def by_http(context: Any) -> Orchestration:
    yield context.call_http("GET", "http://127.0.0.1/")


def by_another(context: Any) -> Orchestration:
    yield context.call_sub_orchestrator("fan", 1)


def anew(context: Any) -> Orchestration:
    yield context.call_activity("double", 1)
    context.continue_as_new(1)


async def ended(host: LocalHost | Executor, instance_id: str) -> Head:
    """Return an instance once it has ended."""
    executor = host.executor if isinstance(host, LocalHost) else host

    async def head() -> Head | None:
        found = await executor.find(instance_id)
        return found if found is not None and found.status not in OPEN else None

    return await until(head)


async def run(host: LocalHost, name: str, value: Any = None) -> Any:
    """Run an orchestration to its end and return its output; fails if it fails."""
    head = await ended(host, await host.executor.start_new(name, None, json.dumps(value)))
    assert head.status == "Completed", head.output
    return json.loads(head.output or "null")


async def _main(folder: Path, most: int) -> None:
    with (folder / "effects").open("a", buffering=1) as effects:
        left = iter(range(most))

        def effect(line: str) -> None:
            if next(left, None) is None:
                sys.stdin.read()  # until it is killed: whoever kills it may be slow
            print(line, file=effects)

        tables = SqliteTables.open(folder / "hub.db", "hub")
        async with LocalHost(build(effect), tables) as host:
            if await host.executor.find("the-one") is None:
                await host.executor.start_new("window", "the-one", "80")
            await ended(host, "the-one")
        await tables.close()


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1]), int(sys.argv[2])))
