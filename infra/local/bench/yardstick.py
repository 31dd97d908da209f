"""The least that an answer can cost here: aiohttp without a framework, and one SELECT by key.

It is measured in the same run as the app, because the ratio of the two says more than either on a busy or slow machine.
`python -m infra.local.bench.yardstick FILE` makes a database of 10,000 rows in the file and serves it.
"""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import sys

from aiohttp import web

ROWS = 10_000
_TEXT = "x" * 600
"""A text about as long as a User."""


def open_database(path: str) -> sqlite3.Connection:
    """Return a connection to a new table of ROWS texts under the keys `0`, `1`, …"""
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE texts (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID")
    connection.executemany("INSERT INTO texts VALUES (?, ?)", ((str(number), _TEXT) for number in range(ROWS)))
    connection.commit()
    return connection


async def serve(path: str) -> None:
    """Answer GET /KEY with the text under that key, until SIGTERM."""
    connection = open_database(path)

    async def answer(request: web.BaseRequest) -> web.Response:
        (text,) = connection.execute("SELECT text FROM texts WHERE key = ?", (request.raw_path[1:],)).fetchone()
        return web.Response(text=text, content_type="application/json")

    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    runner = web.ServerRunner(web.Server(answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"ready: http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    await stop.wait()
    await runner.cleanup()
    connection.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
