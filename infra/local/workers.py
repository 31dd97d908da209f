"""Activities and replays in processes of their own, as Azure scales them out: requests keep a core while a job works.

A worker (worker.py) is started for the first call that it gets. Activities run at least once: what a worker had under
way when it died runs again in a new one. Replays have a worker to themselves, because a job goes on only after its
replay, which would wait behind an activity that computes. In the server, a replay of 36 ms over a thousand events held
up every request.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from infra.local.durable.wire import ReplayOutcome

log = logging.getLogger(__name__)

LIVES = 3
"""Workers that may die of one activity before it has failed."""
BUSY_REQUESTS = 10
"""Requests within BUSY_SECONDS from which on the server is busy: then one worker works on and the others rest."""
BUSY_SECONDS = 1.0
BUSY_LOAD = 2
"""Activities that the one worker has at most while the others rest. Each keeps a bucket of accounts in memory."""
_LOOK_SECONDS = 0.02
"""Seconds between two looks at whether that worker takes one more activity."""
_PATIENCE = 5.0
"""Seconds that a worker has to end by itself."""


class ActivityFailed(Exception):
    """An activity raised this in its worker."""


class WorkerDied(Exception):
    """The worker ended before the activity did."""


class Workers:
    """At most `number` processes for activities, and one for replays. `setup` tells each what to work on."""

    def __init__(self, number: int, setup: Mapping[str, Any]) -> None:
        self._setup = dict(setup)
        self._workers: list[_Worker | None] = [None] * number
        self._replayers: list[_Worker | None] = [None]
        self._starting = asyncio.Lock()
        self._requests = deque[float](maxlen=BUSY_REQUESTS)

    def note_request(self) -> None:
        """Be told of a request to the server: while many come, activities that begin have one worker only.

        Where as many processes compute as there are cores, a request waits for their time slices to end, however nice
        they are. The slowest of a hundred requests took 7 ms, where it takes 1.3 ms alone. Beside two processes that
        did nothing but count it took 9 ms.
        """
        self._requests.append(time.monotonic())

    def activities(self, names: Iterable[str]) -> Mapping[str, Callable[[Any], Awaitable[Any]]]:
        """Return the activities of these names, to be called as if they ran here."""

        def remote(name: str) -> Callable[[Any], Awaitable[Any]]:
            return lambda value: self._call(self._workers, name, value)

        return {name: remote(name) for name in names}

    def orchestrators(self, names: Iterable[str]) -> Mapping[str, Callable[[str], Awaitable[ReplayOutcome]]]:
        """Return the orchestrators of these names, to be replayed as if they ran here."""

        def remote(name: str) -> Callable[[str], Awaitable[ReplayOutcome]]:
            async def replay(request: str) -> ReplayOutcome:
                told = await self._call(self._replayers, name, request)
                return ReplayOutcome(**{**told, "actions": tuple(told["actions"])})

            return replay

        return {name: remote(name) for name in names}

    async def close(self) -> None:
        """End every worker; what they have under way is cut off."""
        await asyncio.gather(*(worker.close() for worker in (*self._workers, *self._replayers) if worker))

    async def _call(self, pool: list[_Worker | None], name: str, value: Any) -> Any:
        for life in itertools.count(1):
            worker = await self._least_busy(pool)
            try:
                return await worker.call(name, value)
            except WorkerDied:
                if life == LIVES:
                    raise
        raise AssertionError

    async def _least_busy(self, pool: list[_Worker | None]) -> _Worker:
        while True:
            async with self._starting:
                load = [worker.load if worker and worker.alive else 0 for worker in pool]
                resting = pool is self._workers and self._is_busy()
                chosen = 0 if resting else load.index(min(load))
                if not resting or load[chosen] < BUSY_LOAD:
                    worker = pool[chosen]
                    if worker is not None and not worker.alive:
                        await worker.close()  # its process may take a moment to end, and must not outlive us
                        worker = None
                    if worker is None:
                        worker = pool[chosen] = await _Worker.start(self._setup)
                    worker.load += 1
                    return worker
            await asyncio.sleep(_LOOK_SECONDS)

    def _is_busy(self) -> bool:
        full = len(self._requests) == BUSY_REQUESTS
        return full and self._requests[0] > time.monotonic() - BUSY_SECONDS


class _Worker:
    """One process, and the calls that it has under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._listening = asyncio.create_task(self._listen())
        self.load = 0
        self.alive = True

    @classmethod
    async def start(cls, setup: Mapping[str, Any]) -> _Worker:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "infra.local.worker", stdin=pipe, stdout=pipe, limit=2**24
        )
        worker = cls(process)
        worker._send(setup)
        return worker

    async def call(self, name: str, value: Any) -> Any:
        """Return what the function returns. Raises ActivityFailed and WorkerDied."""
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        try:
            if not self.alive:
                raise WorkerDied("the worker ended")
            self._send({"number": number, "name": name, "input": value})
            return await answer
        finally:
            del self._waiting[number]
            self.load -= 1

    async def close(self) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]  # it is a pipe
        try:
            await asyncio.wait_for(self._process.wait(), _PATIENCE)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._listening

    def _send(self, message: Mapping[str, Any]) -> None:
        with suppress(ConnectionError):  # it died: _listen() says so
            self._process.stdin.write(json.dumps(message).encode() + b"\n")  # type: ignore[union-attr]

    async def _listen(self) -> None:
        """Hand on the answers, until the worker dies; one that cannot be read is a reason to end it."""
        answers: asyncio.StreamReader = self._process.stdout  # type: ignore[assignment]  # it is a pipe
        try:
            while line := await answers.readline():
                self._hand_on(json.loads(line))
        except ValueError:  # cut off, because it was killed while it wrote, or longer than a line may be
            log.warning("a worker's answer cannot be read: the worker ends")
            with suppress(ProcessLookupError):
                self._process.kill()
        self.alive = False
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(WorkerDied("the worker ended before the activity did"))
        await answers.read()  # a pipe that nobody reads is never closed
        await self._process.wait()

    def _hand_on(self, told: Mapping[str, Any]) -> None:
        answer = self._waiting.get(told["number"])
        if answer is None or answer.done():
            return  # nobody waits any more
        if "error" in told:
            answer.set_exception(ActivityFailed(f"{told['type']}: {told['error']}"))
        else:
            answer.set_result(told["result"])
