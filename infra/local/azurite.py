"""Azurite, Microsoft's stand-in for Azure Storage, without Docker: installed on first use, started on a free port.

One of its services runs, in memory: what is stored is gone when it stops.
"""

from __future__ import annotations

import base64
import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from infra.local.node import NODE, install

_SOURCE = Path(__file__).parent / "azurite"
_READY_SECONDS = 30
"""Seconds that Azurite has until it answers."""


@contextlib.contextmanager
def start(service: Literal["table", "blob"] = "table") -> Iterator[str]:
    """Run a service of Azurite on a free loopback port, yield its connection string, and stop it afterwards.

    The account and its key are made up anew each time.
    """
    program = install(_SOURCE) / "node_modules" / "azurite" / "dist" / "src" / service / "main.js"
    account, key, port = "scimlink", base64.b64encode(secrets.token_bytes(64)).decode(), _free_port()
    command = [str(NODE), str(program), f"--{service}Host", "127.0.0.1", f"--{service}Port", str(port)]
    command += ["--inMemoryPersistence", "--disableTelemetry", "--silent", "--skipApiVersionCheck"]
    environment = {**os.environ, "AZURITE_ACCOUNTS": f"{account}:{key}"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield (
            f"DefaultEndpointsProtocol=http;AccountName={account};AccountKey={key};"
            f"{service.title()}Endpoint=http://127.0.0.1:{port}/{account};"
        )
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"Azurite ended at once, with status {process.returncode}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"Azurite did not answer within {_READY_SECONDS} seconds")


if __name__ == "__main__":
    with start() as connection_string, contextlib.suppress(KeyboardInterrupt):
        print(connection_string, flush=True)
        while True:
            time.sleep(3600)
