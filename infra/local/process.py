"""A server in a process of its own; on Linux also the CPU time and memory that it and its workers have used."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

_PROCESS_CLOCK = 2
"""CPUCLOCK_SCHED, which clock_getcpuclockid(3) combines with a pid: exact to nanoseconds, where /proc counts 10 ms."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server that answers at `url`."""

    pid: int
    url: str

    def cpu(self) -> float:
        """Return the CPU seconds, user and system, of all threads of the server and its workers so far."""
        return sum(time.clock_gettime(~pid << 3 | _PROCESS_CLOCK) for pid in self._pids())

    def peak(self) -> float:
        """Return the most memory that one of the processes ever held, in MB of a million bytes (VmHWM)."""
        return max(map(_peak, self._pids()))

    def _pids(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task").glob("*/children")
        return [self.pid, *(int(pid) for child in children for pid in child.read_text().split())]


def _peak(pid: int) -> float:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise RuntimeError("the kernel does not tell a process's peak memory")
    return int(found[1]) * 1024 / 1e6


@asynccontextmanager
async def running(module: str, *arguments: str, variables: Mapping[str, str] | None = None) -> AsyncIterator[Process]:
    """Run a module that serves and prints `ready: URL`, with further variables; stop it when the block ends.

    Raises RuntimeError if that is not its first line.
    """
    environment = {**os.environ, **(variables or {})}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdout=asyncio.subprocess.PIPE, env=environment
    )
    try:
        if process.stdout is None:
            raise RuntimeError("the server's output was asked for")
        line = (await process.stdout.readline()).decode()
        if not line.startswith("ready: "):
            raise RuntimeError(f"{module} did not start")
        yield Process(process.pid, line.removeprefix("ready: ").strip())
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
