"""`python -m infra.local.worker`: a process that runs activities or replays for a server (workers.py starts it).

It reads lines of JSON from stdin and answers on stdout: the first says which app over which tables, each other one is
a function to call. It ends when stdin does, so that it outlives its server by a moment at most, however that ended.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from infra.local.functions import Functions, read_functions
from infra.local.host import set_app_settings
from infra.local.serve import ACCOUNTS, open_tables, start_log
from shared.host.graph_settings import GraphSettings
from shared.host.settings import Settings

Calls = Mapping[str, Callable[[Any], Awaitable[Any]]]


def main() -> None:
    """Work until the server lets go of stdin."""
    # Ctrl-C reaches every process of the terminal; the server is the one that decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)  # requests go first
    # Whatever the app prints must not get between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        asyncio.run(_work(answers))


async def _work(answers: BinaryIO) -> None:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    first = json.loads(await reader.readline() or "null")
    if first is None:
        return
    import function_app

    start_log(first["logLevel"])
    set_app_settings()
    tables = open_tables(first["data"] and Path(first["data"]), first["tables"], ACCOUNTS, patient=True)
    try:
        settings = {**first["settings"], "graph": GraphSettings.from_environment(os.environ)}
        app = function_app.build(Settings.model_validate(settings), tables)
        # A slice holds a bucket in some hundred thousand objects that live as long as it does: looking through them
        # after every 700 new ones takes a twelfth of a run's time.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await _serve(reader, answers, _calls(read_functions(app)))
    finally:
        await tables.close()


def _calls(functions: Functions) -> Calls:
    """Return what can be called by name: the activities, and orchestrators to be replayed."""

    def told(name: str) -> Callable[[Any], Awaitable[Any]]:
        async def replay(request: str) -> Any:
            return asdict(await functions.orchestrators[name](request))

        return replay

    return {**functions.activities, **{name: told(name) for name in functions.orchestrators}}


async def _serve(reader: asyncio.StreamReader, answers: BinaryIO, calls: Calls) -> None:
    running: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(json.loads(line), answers, calls))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _answer(asked: Mapping[str, Any], answers: BinaryIO, calls: Calls) -> None:
    answer: dict[str, Any] = {"number": asked["number"]}
    try:
        answer["result"] = await calls[asked["name"]](asked["input"])
    # Each error of an activity is a result that the orchestrator may catch.
    except Exception as problem:
        answer |= {"error": str(problem), "type": type(problem).__name__}
    with suppress(BrokenPipeError):  # the server is gone
        answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
