"""`python -m infra.local.worker`: a process that runs activities or replays for a server (workers.py starts it).

It reads lines of JSON from stdin and answers on stdout. The first line is the setup: which tables, and the app's
settings. Each other line is a function to call. The process ends when stdin does, so that it outlives its server by a
moment at most, however that ended.
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
from infra.local.serve import ACCOUNTS, open_tables, start_log
from shared.host.graph_settings import GraphSettings
from shared.host.settings import Settings

Callables = Mapping[str, Callable[[Any], Awaitable[Any]]]
"""What can be called, by the function's name."""


def main() -> None:
    """Work until the server lets go of stdin."""
    # Ctrl-C reaches every process of the terminal; what it means, the server decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)  # requests go first
    # Whatever the app prints must not get between the answers.
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0) as answers:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        asyncio.run(_work(answers))


async def _work(answers: BinaryIO) -> None:
    reader = asyncio.StreamReader(limit=2**24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    setup = json.loads(await reader.readline() or "null")
    if setup is None:
        return
    import function_app

    start_log(setup["logLevel"])
    tables = open_tables(setup["data"] and Path(setup["data"]), setup["tables"], ACCOUNTS, patient=True)
    try:
        settings = {**setup["settings"], "graph": GraphSettings.from_environment(os.environ)}
        app = function_app.build(Settings.model_validate(settings), tables)
        # A bucket is some hundred thousand objects, which live as long as the slice that works on it. Looking through
        # them after every 700 new ones would take a twelfth of a run's time.
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await _serve(reader, answers, _callables(read_functions(app)))
    finally:
        await tables.close()


def _callables(functions: Functions) -> Callables:
    """Return the activities, and a replay of each orchestrator."""

    def replayed(name: str) -> Callable[[Any], Awaitable[Any]]:
        async def replay(request: str) -> Any:
            return asdict(await functions.orchestrators[name](request))

        return replay

    return {**functions.activities, **{name: replayed(name) for name in functions.orchestrators}}


async def _serve(reader: asyncio.StreamReader, answers: BinaryIO, callables: Callables) -> None:
    running: set[asyncio.Task[None]] = set()
    while line := await reader.readline():
        task = asyncio.create_task(_answer(json.loads(line), answers, callables))
        running.add(task)
        task.add_done_callback(running.discard)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def _answer(asked: Mapping[str, Any], answers: BinaryIO, callables: Callables) -> None:
    answer: dict[str, Any] = {"number": asked["number"]}
    try:
        answer["result"] = await callables[asked["name"]](asked["input"])
    # Each error of an activity is a result that the orchestrator may catch.
    except Exception as problem:
        answer |= {"error": str(problem), "type": type(problem).__name__}
    with suppress(BrokenPipeError):  # the server is gone
        answers.write(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
